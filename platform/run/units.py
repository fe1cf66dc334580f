"""Units of work: what a worker does. Plain functions over values; they read and write files and return facts, never
data.

A build of a table whose inputs are stored by subject runs one unit a bucket, or one for several buckets where they hold
little: a unit costs some 20 ms, whatever it reads. A build with another grain goes through
an *exchange*: its inputs are split by the key of its grain (``split``), each part is built (``build``), and its rows,
which belong to many buckets, are gathered into one file a bucket (``gather``). Small inputs skip the split and gather.

Why so and not by a shuffle of Ray Data: pieces are files, so that a unit may be tried again, no worker holds more than
its part, and the same three functions run in this process. Why parts by key and rows by bucket: a build may only be cut
where rows of one key stay together, and the table is read by subject.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache, wraps
from typing import Any, Protocol, TypeVar

import polars as pl

from customer360.platform import judging, tables
from customer360.platform.errors import ContractError
from customer360.platform.graph import Node
from customer360.platform.lake import BUCKET, Add, File, Lake, bucket_numbers, constant
from customer360.platform.lake.pieces import get_piece, put_piece
from customer360.platform.quality import ADDRESS
from customer360.platform.quality.ahead import MARGIN
from customer360.platform.quality.checks import TableChecks, Tally
from customer360.platform.run.deletions import Snapshot
from customer360.platform.run.records import Current, current_records
from customer360.platform.run.touched import Told, Touch, touch
from customer360.platform.sorting import in_order
from customer360.platform.tables import SUBJECT_KEYS, Table

MANY = 10  # files of a bucket, beyond which they are folded
SMALL = 5000  # rows of a bucket, up to which it is one file
SLICED = 8  # rows of a file for each value of a run between touched subjects, from which runs are copied as they lie
NUMBER = "number__"  # of equal rows
SEVERAL, LITTLE = 4, 1024 * 1024  # files of an input, and bytes of them together, that are read at once


@dataclass(frozen=True, kw_only=True)
class InputPart:
    """The part of an input table that a unit reads: files of the table, or pieces of an exchange; all columns
    or some.
    """

    table: str
    files: tuple[File, ...] = ()
    pieces: tuple[str, ...] | None = None
    columns: tuple[str, ...] | None = None


@dataclass
class UnitResult:
    """What a unit wrote: files by table name, exchange pieces by target part, counts, and counts of quality.

    ``left`` are pieces that say which stored rows moved, by the bucket that they leave; ``touches`` tell who reads the
    files next of which subjects they have other rows.
    """

    adds: dict[str, list[Add]] = field(default_factory=dict)
    pieces: dict[int, str] = field(default_factory=dict)
    left: dict[int, str] = field(default_factory=dict)
    facts: dict[str, int] = field(default_factory=dict)
    tally: Tally = field(default_factory=dict)
    touches: list[Touch] = field(default_factory=list)
    seconds: float = 0.0  # of processor time


class _Timed(Protocol):
    seconds: float


R = TypeVar("R", bound=_Timed)


def timed(run: Callable[[Any], R]) -> Callable[[Any], R]:
    """A unit's ``run`` that says in its result what it took of processor time: units of several tables run between
    each other, so that the clock says nothing of one."""

    @wraps(run)
    def timing(unit: Any) -> R:
        start = time.process_time()
        result = run(unit)
        result.seconds = time.process_time() - start
        return result

    return timing


@dataclass(frozen=True, kw_only=True)
class Place:
    """The file of one bucket that a unit makes: named ``stem``, else after its content; ``stored`` are the bucket's
    rows of subjects of which some stay as they are.
    """

    bucket: int
    stem: str | None = None
    stored: tuple[File, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BuildUnit:
    """Run a node's function over one part of its inputs."""

    lake: Lake
    node: Node
    inputs: tuple[InputPart, ...]
    reserved: dict[str, Any]
    partition: dict[str, str]  # as_of and part, fixed for the node
    places: tuple[Place, ...] = ()  # the part is these buckets, each with a file of its own
    staging: str | None = None  # write pieces a bucket there instead of table files
    replaced: tuple[str, ...] = ()  # bronze rows that corrections stand for
    checks: TableChecks | None = None  # what the quality of a record table is measured by
    margin: timedelta = MARGIN  # how far a time may lie after the landing of its row
    snapshots: tuple[Snapshot, ...] = ()  # of the sources of what is judged
    refuse: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by judged table: see `TableChecks.refuse`
    known: tuple[InputPart, ...] = ()  # of buckets: their inputs when the stored rows were made, which others keep
    told: tuple[tuple[str, Told], ...] = ()  # of those, by table, what need not be found by comparing

    @timed
    def run(self) -> UnitResult:
        records, judged = self.node.records, self.node.judged
        touched = self._touched() if self.known else None
        frames, current = [], None
        for part in self.inputs:
            frame = self._of(touched, part.table, read_part(self.lake, part))
            frame = frame.collect().lazy() if is_little(part) else frame
            if part.table in judged:
                own = part.table == records
                frame = self.node.judges[part.table](frame) if part.table in self.node.judges else frame
                table, replaced, checks = tables.by_name(part.table), set(self.replaced), self.checks if own else None
                bronze, extent = frame.collect(), (self.margin, self.snapshots)
                columns = self.refuse.get(part.table, ())
                made = current_records(table, bronze, replaced, checks, *extent, measured=own, refuse=columns)
                current, frame = made if own else current, made.rows.lazy()
            frames.append(frame)
        output = conform_to_storage(self.node.table, self.node.function(*frames, **self.reserved), self.partition)
        result = UnitResult(facts={"rows": output.height})
        if current is not None:
            _account(self, result, current, output.height)
        self._write(output, touched, result)
        return result

    def _touched(self) -> pl.Series:
        """Subjects that an input has other rows of than when the stored rows were made."""
        now, found = {part.table: part for part in self.inputs}, [told.subjects for _, told in self.told]
        for known in self.known:
            subject = owner_column(known.table, self.node.per or "") or ""
            seen = {path for table, told in self.told if table == known.table for path in told.paths}
            before, after = apart(known, now[known.table], seen)
            if before.files:
                were, are = (read_part(self.lake, part).collect() for part in (before, after))
                found += [rows[subject] for rows in other_rows(were, are, known.table)]
            elif after.files:
                found.append(read_part(self.lake, after).select(subject).collect()[subject])
        touched = pl.concat(found).unique() if found else pl.Series("subject", [], pl.String)
        return touched.filter(self._are_own(touched))

    def _of(self, touched: pl.Series | None, table: str, frame: pl.LazyFrame) -> pl.LazyFrame:
        """An input; of one that is not stored by bucket the rows of the unit's buckets, and where only some subjects
        are made anew, theirs."""
        subject = owner_column(table, self.node.per or "")
        if subject is None:
            return frame
        if self.places and not tables.spec(tables.by_name(table)).bucketed:
            rows = frame.collect()
            frame = rows.filter(self._are_own(rows[subject])).lazy()
        return frame if touched is None else frame.filter(pl.col(subject).is_in(touched.implode()))

    def _are_own(self, subjects: pl.Series) -> pl.Series:
        """Whether each subject lies in the buckets of the unit."""
        return bucket_numbers(subjects, self.lake.buckets).is_in([place.bucket for place in self.places])

    def _write(self, output: pl.DataFrame, touched: pl.Series | None, result: UnitResult) -> None:
        name = tables.spec(self.node.table).name
        if self.places:
            result.adds[name] = self._placed(output, touched, result)
            result.facts["rows"] = sum(add.rows for add in result.adds[name])
        elif self.staging is not None:
            for number, rows in _by_bucket(self.lake, output):
                result.pieces[number] = put_piece(self.lake, f"{self.staging}/out-{number}", rows)
        else:
            result.adds[name] = write_output(self.lake, self.node.table, output, self.partition)

    def _placed(self, output: pl.DataFrame, touched: pl.Series | None, result: UnitResult) -> list[Add]:
        """The files of the unit's buckets, where only some subjects are made anew with the rows of the others."""
        made, name = dict(_by_bucket(self.lake, output)), tables.spec(self.node.table).name
        if stray := sorted(set(made) - {place.bucket for place in self.places}):
            raise ContractError(f"{self.node.name} made rows of subjects that its inputs do not have (buckets {stray})")
        adds = []
        for place in self.places:
            rows = made.get(place.bucket, output.clear())
            if touched is not None:
                adds += self._beside(rows, place, touched, result)
                continue
            partition: dict[str, str | None] = {**self.partition, BUCKET: str(place.bucket)}
            adds.append(self.lake.write_file(name, rows, partition, place.stem))
        return adds

    def _beside(self, rows: pl.DataFrame, place: Place, touched: pl.Series, result: UnitResult) -> list[Add]:
        """A bucket's rows of touched subjects beside the stored ones of the others; the stored files where no row is
        another one."""
        name, per = tables.spec(self.node.table).name, self.node.per or ""
        held = self.lake.scan(name, list(place.stored)).collect()
        is_touched = held[per].is_in(touched.implode())
        before = held.filter(is_touched)
        # Rows without a key may come several times, which a comparison does not see.
        changed = other_rows(before, rows) if self.node.table.primary_key() else (before, rows)
        if all(part.is_empty() for part in changed):
            return [Add(f.path, f.size, f.rows, f.partition, "") for f in place.stored]
        whole = inserted(held, rows, touched, per, storage_order(self.node.table), is_one=len(place.stored) == 1)
        add = self.lake.write_file(name, whole, {**self.partition, BUCKET: str(place.bucket)}, place.stem)
        if told := touch(name, place.bucket, place.stored, [add], changed, whole.height):
            result.touches.append(told)
        return [add]


def _account(unit: BuildUnit, result: UnitResult, current: Current, silver: int) -> None:
    """Counts for the law of conservation, and the quarantine file."""
    if silver > current.rows.height:
        raise ContractError(
            f"{unit.node.name} made {silver} rows of {current.rows.height} records; a record table has one row a record"
        )
    result.tally = current.tally
    result.facts |= current.facts | {"silver": silver, "set_apart": current.rows.height - silver}
    if current.quarantined.height:
        partition: dict[str, str | None] = {"table_name": unit.node.records}
        result.adds["quality.quarantine"] = [unit.lake.write_file("quality.quarantine", current.quarantined, partition)]


@dataclass(frozen=True, kw_only=True)
class SplitUnit:
    """Split some files of one input by a hash of a key column into ``parts`` pieces; the hash is no part of what is
    stored, so it need not be one that other engines know."""

    lake: Lake
    part: InputPart
    key: str
    parts: int
    staging: str

    @timed
    def run(self) -> UnitResult:
        frame = read_part(self.lake, self.part).collect()
        keys = frame[key_column(self.part.table, self.key) or ""].cast(pl.String)
        numbered = frame.with_columns((keys.hash(0) % self.parts).alias("part__"))
        result = UnitResult(facts={"rows": frame.height})
        for (number,), rows in numbered.partition_by("part__", as_dict=True, include_key=False).items():
            result.pieces[int(number)] = put_piece(self.lake, f"{self.staging}/{self.part.table}-{number}", rows)
        return result


@dataclass(frozen=True, kw_only=True)
class GatherUnit:
    """Concatenate the pieces of one bucket into its table file."""

    lake: Lake
    table: type[Table]
    bucket: int
    pieces: tuple[str, ...]
    partition: dict[str, str]

    @timed
    def run(self) -> UnitResult:
        name = tables.spec(self.table).name
        rows = in_order(pl.concat([get_piece(self.lake, p) for p in self.pieces]), storage_order(self.table))
        add = self.lake.write_file(name, rows, {**self.partition, BUCKET: str(self.bucket)})
        return UnitResult(adds={name: [add]}, facts={"rows": rows.height})


def key_column(table: str, key: str) -> str | None:
    """The column of a table that holds a grain's key: silver name, or the source's upper-case name in bronze.

    Bronze keeps the sources' own names, and a build from bronze has the grain of its silver table.
    """
    columns = tables.by_name(table).column_names()
    return next((c for c in (key, key.upper()) if c in columns), None)


def owner_column(table: str, per: str) -> str | None:
    """The column of an input by which its rows belong to a subject of a build that goes by ``per``. A table by bucket
    may have persons alone, or subjects alone: the id of a known subject is its person's.
    """
    is_by_subject = per in SUBJECT_KEYS and tables.spec(tables.by_name(table)).bucketed
    names = (per, *SUBJECT_KEYS) if is_by_subject else (per,)
    return next((c for name in names if (c := key_column(table, name))), None)


def conform_to_storage(table: type[Table], frame: pl.LazyFrame, partition: dict[str, str]) -> pl.DataFrame:
    """The build's rows in contract order, types and storage order."""
    have = frame.collect_schema()
    fixed = {k: v for k, v in partition.items() if k not in have and k in table.columns()}
    full = frame.with_columns(constant(v, tables.schema(table)[k]).alias(k) for k, v in fixed.items())
    rows = tables.conform(table, full).collect()
    order = storage_order(table)
    return judging.require(table, rows if lies_by(rows, order) else in_order(rows, order))


def inserted(
    held: pl.DataFrame, rows: pl.DataFrame, touched: pl.Series, per: str, order: Sequence[str], *, is_one: bool
) -> pl.DataFrame:
    """The rows of ``held`` with those of the ``touched`` of ``per`` replaced by ``rows``, in storage order. The rows of
    one file (``is_one``) lie so, and between few subjects the others are copied as they lie."""
    names = touched.drop_nulls().unique().sort()
    is_ordered = is_one and order[0] == per and held[per].null_count() == 0 and held[per].is_sorted()
    is_theirs = rows[per].is_in(names.implode()).fill_null(False).all()  # others have no place between those held
    if not (is_ordered and is_theirs) or SLICED * len(names) * held.width > held.height:
        return in_order(pl.concat([held.filter(~held[per].is_in(touched.implode())), rows]), order)
    made = in_order(rows, order)
    bounds = [frame[per].search_sorted(names, side) for frame in (held, made) for side in ("left", "right")]
    parts, end = [], 0
    for first, last, begin, until in zip(*(each.to_list() for each in bounds), strict=True):
        parts += [held[end:first], made[begin:until]]
        end = last
    return pl.concat([*parts, held[end:]], rechunk=True)


def lies_by(rows: pl.DataFrame, order: Sequence[str]) -> bool:
    """Whether the rows lie by these columns already, missing values last: to see it takes a tenth of sorting again."""
    if any(rows.schema[column].is_nested() for column in order):
        return False
    keeps, ties = pl.lit(True), pl.lit(True)
    for column in order:
        value, before = pl.col(column), pl.col(column).shift()
        follows = (value > before).fill_null(value.is_null() & before.is_not_null())
        keeps = keeps & ~(ties & ~follows & ~value.eq_missing(before))
        ties = ties & value.eq_missing(before)
    return rows.height < 2 or bool(rows.select(keeps.slice(1).all()).item())


def storage_order(table: type[Table]) -> list[str]:
    """Rows lie by subject, then by the contract's order: that is what makes per-subject builds cheap."""
    return list(_order_of(table))  # type: ignore[arg-type]  # a class is hashable


@cache
def _order_of(table: type[Table]) -> list[str]:
    declared = tables.spec(table)
    subject = [c for c in SUBJECT_KEYS if c in table.columns()][:1] if declared.bucketed else []
    rest = declared.sort_by or tuple(table.primary_key())
    return list(dict.fromkeys([*subject, *rest])) or list(table.columns())[:1]


def write_output(lake: Lake, table: type[Table], output: pl.DataFrame, partition: dict[str, str]) -> list[Add]:
    """Write a whole output: one file a bucket for bucketed tables, else one file; files are named after content."""
    name = tables.spec(table).name
    if not tables.spec(table).bucketed:
        return [lake.write_file(name, output, dict(partition))] if output.height else []
    return [
        lake.write_file(name, rows, {**partition, BUCKET: str(number)}) for number, rows in _by_bucket(lake, output)
    ]


def _by_bucket(lake: Lake, output: pl.DataFrame) -> list[tuple[int, pl.DataFrame]]:
    subject = next(c for c in SUBJECT_KEYS if c in output.columns)
    numbers = bucket_numbers(output[subject], lake.buckets)
    if output.height and numbers.min() == numbers.max():
        return [(int(numbers[0]), output)]
    numbered = output.with_columns(numbers.alias("part__"))
    parts = numbered.partition_by("part__", as_dict=True, include_key=False, maintain_order=True)
    return sorted(((int(key[0]), rows) for key, rows in parts.items()), key=lambda p: p[0])


def read_part(lake: Lake, part: InputPart) -> pl.LazyFrame:
    """The part as a lazy frame of its columns."""
    if part.pieces is None:
        frame = lake.scan(part.table, list(part.files))
    elif part.pieces:
        frame = pl.concat([get_piece(lake, p) for p in part.pieces]).lazy()
    else:
        frame = pl.LazyFrame(schema=tables.schema(tables.by_name(part.table)))
    return frame.select(part.columns) if part.columns else frame


def is_little(part: InputPart) -> bool:
    """Whether an input is read before its build, with all of its columns: within one plan, each use of it opens all of
    its files anew, which costs more than what several small files hold."""
    return len(part.files) >= SEVERAL and sum(f.size for f in part.files) <= LITTLE


def apart(old: InputPart, new: InputPart, but: Collection[str] = ()) -> tuple[InputPart, InputPart]:
    """Two states of an input without the files that they share, and without some paths."""
    left_out = {f.path for f in old.files} & {f.path for f in new.files} | set(but)
    parts = [
        InputPart(table=p.table, files=tuple(f for f in p.files if f.path not in left_out), columns=p.columns)
        for p in (old, new)
    ]
    return parts[0], parts[1]


def other_rows(
    before: pl.DataFrame, after: pl.DataFrame, table: str | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of the one that the other lacks, and the other way round; all rows where columns are nested.

    ``table`` is the one that they are of, where these may be some of its columns. Without its key several of its rows
    are equal, and another number of them is a change: such rows are given once each, where there are more or fewer.
    """
    if any(dtype.is_nested() for dtype in before.schema.values()):
        return before, after
    if table is not None and not _has_key(table, before.columns):
        before, after = (rows.group_by(rows.columns).len(NUMBER) for rows in (before, after))
    on = before.columns
    gone = before.join(after, on=on, how="anti", nulls_equal=True)
    new = after.join(before, on=on, how="anti", nulls_equal=True)
    return gone.drop(NUMBER, strict=False), new.drop(NUMBER, strict=False)


def _has_key(table: str, columns: Collection[str]) -> bool:
    """Whether no two rows of a table are equal in these columns; a row of bronze is named by where it stood."""
    contract = tables.by_name(table)
    key = ADDRESS if tables.spec(contract).layer == "bronze" else contract.primary_key()
    return bool(key) and set(key) <= set(columns)


def is_small(rows: int) -> bool:
    """Whether a bucket of so many rows is kept as one file."""
    return rows <= SMALL


def folded(
    lake: Lake, table: type[Table], files: Sequence[File | Add], partition: dict[str, str | None]
) -> list[File | Add]:
    """The files of a bucket: one where it is small; of more than `MANY` the small ones in one, or all in one where
    those hold half as many rows as the largest. So each row is written again a few times, whatever the length of
    history. What is in one file is named after its rows, as a build would name it.
    """
    is_one = is_small(sum(f.rows for f in files)) and any(isinstance(f, Add) for f in files)
    if (len(files) <= MANY and not is_one) or not files:
        return list(files)
    name = tables.spec(table).name
    *small, largest = sorted(files, key=lambda f: (f.rows, f.path))
    if is_one or 2 * sum(f.rows for f in small) >= largest.rows:
        small = [*small, largest]
    parts = [File(f.path, f.rows, f.size, f.partition) for f in small]
    rows = in_order(lake.scan(name, parts).collect(), storage_order(table))
    written = lake.write_file(name, rows, partition)
    return [written] if len(small) == len(files) else [largest, written]
