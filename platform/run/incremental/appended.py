"""Record tables by what is new: where nothing but new bronze rows came since the last commit, their keys alone are
judged and folded again.

What a record table holds of a key, and what it counts of it, depends on the bronze rows of that key alone. So a batch
is worth what its keys give with all their rows, less what they gave before: rows that are other ones now are taken out
of the files that hold them, new ones are written beside, and counts are added up. Rows of the keys that came earlier
are found by the directory of ``keys``, wherever in history they lie. Rows of another table that the build joins by its
own grain, as the header of a line is, touch the keys of which they changed; those that it joins otherwise, as a
product, those of the stored rows that it says they concern (``Node.concerns``). A correction touches the key of the row
that it stands for, too.

A bucket so has several files, which are folded when they are many (``units.folded``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import polars as pl

from customer360.platform import tables
from customer360.platform.errors import ContractError, Customer360Error
from customer360.platform.graph import Node
from customer360.platform.lake import BUCKET, Add, File, Lake, bucket_numbers
from customer360.platform.quality import Quarantine, row_id
from customer360.platform.quality.checks import TableChecks, Tally
from customer360.platform.run.deletions import Snapshot
from customer360.platform.run.incremental.keys import files_with
from customer360.platform.run.records import Current, current_records
from customer360.platform.run.touched import Touch, touch
from customer360.platform.run.units import (
    InputPart,
    apart,
    conform_to_storage,
    folded,
    is_little,
    is_small,
    key_column,
    other_rows,
    read_part,
    storage_order,
    timed,
)
from customer360.platform.sorting import in_order

QUARANTINE = "quality.quarantine"
MOST = 300_000  # rows that changed rows of another table may concern: one unit makes all of them


@dataclass
class Changes:
    """What a unit did: files that it wrote and files of which nothing is left, by table; counts to add, negative ones
    among them; ``before`` and ``after`` are quality counts to take away and to add; rows that were stored and are not
    any more, and rows that are new."""

    adds: dict[str, list[Add]] = field(default_factory=dict)
    gone: dict[str, list[str]] = field(default_factory=dict)
    facts: dict[str, int] = field(default_factory=dict)
    before: Tally = field(default_factory=dict)
    after: Tally = field(default_factory=dict)
    rows_gone: int = 0
    rows_new: int = 0
    touches: list[Touch] = field(default_factory=list)
    seconds: float = 0.0  # of processor time


@dataclass(frozen=True, kw_only=True)
class AppendUnit:
    """Bring the keys of new bronze rows into a record table."""

    lake: Lake
    node: Node
    fresh: tuple[File, ...]  # bronze files that were not read yet
    earlier: tuple[File, ...]  # those that were
    inputs: tuple[InputPart, ...]  # every input of the node as it is now, in order
    known: tuple[InputPart, ...]  # inputs that are joined by the node's grain, as they were at the last commit
    stored: tuple[File, ...]
    refused: tuple[File, ...]  # files of the quarantine of the bronze table
    reserved: dict[str, Any]
    partition: dict[str, str]
    replaced: tuple[str, ...]  # addresses of bronze rows that corrections stand for
    replaced_before: tuple[str, ...]  # those of the last commit
    checks: TableChecks | None
    margin: timedelta
    snapshots: tuple[Snapshot, ...]
    refuse: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by judged table: see `TableChecks.refuse`

    @timed
    def run(self) -> Changes:
        table, column = tables.by_name(self.records), self.column
        fresh = self.lake.scan(self.records, list(self.fresh)).collect()
        if not table.columns()[column].nullable or fresh[column].null_count() == 0:
            keys = pl.concat([fresh[column], *self._keys_joined()]).drop_nulls().unique()
        else:
            raise ContractError(f"{self.node.name}: rows without {column} belong together")
        corrected = self._corrected(self.records, self.earlier)
        keys = pl.concat([keys, corrected[column].drop_nulls()]).unique()
        hit = self._files_with(self.records, column, self.earlier, keys)
        earlier = self.lake.scan(self.records, hit).filter(pl.col(column).is_in(keys.implode())).collect()
        # A row that is corrected may have had no key.
        earlier = pl.concat([earlier, corrected.filter(pl.col(column).is_null())])
        before = self._current(earlier, self.replaced_before)
        after = self._current(pl.concat([earlier, fresh]), self.replaced)
        were, are = self._made(before, keys, self.known), self._made(after, keys, ())
        result = Changes(before=before.tally, after=after.tally)
        result.facts = _less(_facts(after, are), _facts(before, were))
        gone, new = other_rows(were, are)
        result.rows_gone, result.rows_new = gone.height, new.height
        self._store(result, gone, new)
        self._refuse(result, pl.concat([earlier, fresh]).select(row_id()).to_series(), after.quarantined)
        return result

    @property
    def records(self) -> str:
        return self.node.records or ""

    @property
    def column(self) -> str:
        return grain_of(self.node)

    def _keys_joined(self) -> list[pl.Series]:
        """Keys of rows of joined inputs that are others now than at the last commit."""
        now = {part.table: part for part in self.inputs}
        dtype = tables.schema(tables.by_name(self.records))[self.column]
        found = []
        for known in self.known:
            old, new = apart(known, now[known.table])
            columns = [c for c in known.columns or tables.schema(tables.by_name(known.table)) if c not in self._owners]
            were, are = (read_part(self.lake, part).select(columns).collect() for part in (old, new))
            others = other_rows(were, are, known.table)
            if known.table in self.node.concerns:
                found.append(self._concerned(known.table, pl.concat(others)).cast(dtype))
                continue
            name = key_column(known.table, self.node.per or "") or ""
            found += [other[name].cast(dtype) for other in others]
            if known.table in self.node.judged:
                found.append(self._stood_under(known, new, name).cast(dtype))
                found.append(self._corrected(known.table, known.files)[name].cast(dtype))
        return found

    def _concerned(self, table: str, changed: pl.DataFrame) -> pl.Series:
        """Keys of the stored rows that changed rows of an input concern, which is joined by another column."""
        per, stored = self.node.per or "", self.lake.scan(tables.spec(self.node.table).name, list(self.stored))
        if changed.is_empty() or not self.stored:
            return pl.Series(per, [], pl.String)
        keys: pl.Series = self.node.concerns[table](stored, changed.lazy()).select(per).collect()[per]
        if keys.len() > MOST:
            raise Customer360Error(f"other rows of {table} concern {keys.len():,} of its rows")
        return keys

    def _corrected(self, table: str, files: Sequence[File]) -> pl.DataFrame:
        """Rows of some files of a bronze table that corrections of the batch stand for."""
        new = sorted(set(self.replaced) - set(self.replaced_before))
        placed = [address.split("/", 2)[:2] for address in new]
        held = [f for f in files if f.partition.get("_source") in {source for source, _ in placed}]
        seqs = sorted({int(seq) for _, seq in placed if seq.isdecimal()})
        batches = self.lake.scan(table, held).filter(pl.col("_seq").is_in(seqs))
        return batches.filter(row_id().is_in(new)).collect()

    def _stood_under(self, known: InputPart, new: InputPart, name: str) -> pl.Series:
        """Keys under which earlier versions of the new rows of another bronze table stood: a line may move."""
        if not (own := joined_key(self.node, known.table)):
            return pl.Series(name, [], tables.schema(tables.by_name(known.table))[name])
        ids = read_part(self.lake, new).select(own).collect().to_series()
        hit = self._files_with(known.table, own, known.files, ids)
        earlier = self.lake.scan(known.table, hit).filter(pl.col(own).is_in(ids.implode()))
        return earlier.select(name).collect().to_series()

    def _files_with(self, table: str, column: str, files: Sequence[File], keys: pl.Series) -> list[File]:
        """Files that may hold one of the keys. Of keys that are personal no directory is kept: all are looked into."""
        return files_with(self.lake, table, column, files, keys) if is_listed(table, column) else list(files)

    @property
    def _owners(self) -> tuple[str, ...]:
        """What of a joined input says only whose a row is: stored rows followed that already."""
        return tables.SUBJECT_KEYS if self.node.follows else ()

    def _current(self, bronze: pl.DataFrame, replaced: Iterable[str]) -> Current:
        table = tables.by_name(self.records)
        refuse = self.refuse.get(self.records, ())
        return current_records(table, bronze, set(replaced), self.checks, self.margin, self.snapshots, refuse=refuse)

    def _made(self, current: Current, keys: pl.Series, known: tuple[InputPart, ...]) -> pl.DataFrame:
        """Rows of the table of current records; of ``known`` inputs as those were, but whose they are is of now."""
        if current.rows.is_empty():
            return pl.DataFrame(schema=tables.schema(self.node.table))
        then, replaced = {part.table: part for part in known}, self.replaced_before if known else self.replaced
        frames = [
            current.rows.lazy() if part.table == self.records else self._of(then.get(part.table, part), keys, replaced)
            for part in self.inputs
        ]
        made = self.node.function(*frames, **self.reserved)
        if then and self.node.follows:
            now = {part.table: part for part in self.inputs}
            made = self.node.follows(made, *(self._of(now[name], keys, replaced) for name in self.node.followed))
        rows = conform_to_storage(self.node.table, made, self.partition)
        if rows.height > current.rows.height:
            raise ContractError(
                f"{self.node.name} made {rows.height} rows of {current.rows.height} records; "
                "a record table has one row a record"
            )
        return rows

    def _of(self, part: InputPart, keys: pl.Series, replaced: Iterable[str]) -> pl.LazyFrame:
        """An input; of one that is joined by the node's grain the rows of the keys, of a bronze table those that
        stand."""
        name, frame = key_column(part.table, self.node.per or ""), read_part(self.lake, part)
        frame = frame.filter(pl.col(name).is_in(keys.implode())) if name else frame
        if part.table not in self.node.judged:
            return frame.collect().lazy() if is_little(part) else frame
        table, extent = tables.by_name(part.table), (self.margin, self.snapshots)
        rows, refuse = frame.collect(), self.refuse.get(part.table, ())
        return current_records(table, rows, set(replaced), None, *extent, measured=False, refuse=refuse).rows.lazy()

    def _store(self, result: Changes, gone: pl.DataFrame, new: pl.DataFrame) -> None:
        table = self.node.table
        name, key = tables.spec(table).name, list(table.primary_key())
        leaving, arriving = _by_bucket(self.lake, table, gone), _by_bucket(self.lake, table, new)
        for bucket in sorted({*leaving, *arriving}, key=lambda b: -1 if b is None else b):
            held = [f for f in self.stored if bucket is None or f.partition[BUCKET] == str(bucket)]
            partition: dict[str, str | None] = {**self.partition, **({} if bucket is None else {BUCKET: str(bucket)})}
            left = leaving.get(bucket, gone.clear()).select(key)
            rows = arriving.get(bucket, new.clear())
            count = sum(f.rows for f in held) - left.height + rows.height
            kept: list[File | Add]
            if count and is_small(count):
                kept = [self._one_file(held, left, rows, partition)]
            else:
                kept = _without(self.lake, name, held, left, result) if left.height else list(held)
                if bucket in arriving:
                    kept.append(self.lake.write_file(name, arriving[bucket], partition))
                kept = folded(self.lake, table, kept, partition)
            _note(name, held, kept, result)
            changed = [leaving.get(bucket, gone.clear()), rows]
            if bucket is not None and (told := touch(name, bucket, held, kept, changed, count)):
                result.touches.append(told)

    def _one_file(
        self, held: Sequence[File], left: pl.DataFrame, rows: pl.DataFrame, partition: dict[str, str | None]
    ) -> Add:
        """The rows of a small bucket less those that left, with new ones: the one file that folding makes of them."""
        table = self.node.table
        name = tables.spec(table).name
        stored = self.lake.scan(name, list(held)).collect() if held else rows.clear()
        rest = stored.join(left, on=left.columns, how="anti")
        if stored.height - rest.height != left.height:
            raise ContractError(f"{name} holds {stored.height - rest.height} of {left.height} rows that changed")
        made = in_order(pl.concat([rest, rows]), storage_order(table))
        return self.lake.write_file(name, made, partition)

    def _refuse(self, result: Changes, sought: pl.Series, after: pl.DataFrame) -> None:
        """Of all rows of the keys (``sought``, by address) the quarantine holds those that are refused ``after`` the
        batch, whatever it held: a run that died may have got as far as the quarantine.
        """
        if sought.is_empty():
            return
        stored = self.lake.scan(QUARANTINE, list(self.refused)).select("row_id").filter(
            pl.col("row_id").is_in(sought.implode())
        ).collect()["row_id"].unique()  # fmt: skip
        healed = stored.filter(~stored.is_in(after["row_id"].implode()))
        new = after.filter(~pl.col("row_id").is_in(stored.implode()))
        held, scratch = list(self.refused), Changes()
        kept: list[File | Add] = list(held)
        if healed.len():
            kept = list(_without(self.lake, QUARANTINE, held, healed.unique().to_frame(), scratch, exact=False))
        partition: dict[str, str | None] = {"table_name": self.records}
        if new.height:
            kept.append(self.lake.write_file(QUARANTINE, new, partition))
        if len(kept) > len(held) or healed.len():
            _note(QUARANTINE, held, folded(self.lake, Quarantine, kept, partition), result)


def grain_of(node: Node) -> str:
    """The column of a record table's bronze rows that holds the key of its grain."""
    return key_column(node.records or "", node.per or "") or ""


def joined_key(node: Node, table: str) -> str:
    """The column by which earlier versions of the rows of a joined bronze table are found; empty where its key holds
    the node's grain, under which they stay, and where it has no key, so that no row has versions."""
    own = tables.spec(tables.by_name(table)).key
    return "" if not own or key_column(table, node.per or "") in own else own[0]


def is_listed(table: str, column: str) -> bool:
    """Whether a directory of keys is kept: of personal ones there is none."""
    return column not in tables.pii_columns(tables.by_name(table))


def _facts(current: Current, made: pl.DataFrame) -> dict[str, int]:
    return current.facts | {"silver": made.height, "set_apart": current.rows.height - made.height}


def _less(after: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    return {key: after.get(key, 0) - before.get(key, 0) for key in {**after, **before}}


def _by_bucket(lake: Lake, table: type[tables.Table], rows: pl.DataFrame) -> dict[int | None, pl.DataFrame]:
    if rows.is_empty():
        return {}
    if not tables.spec(table).bucketed:
        return {None: rows}
    subject = next(c for c in tables.SUBJECT_KEYS if c in rows.columns)
    numbered = rows.with_columns(bucket_numbers(rows[subject], lake.buckets).alias("part__"))
    parts = numbered.partition_by("part__", as_dict=True, include_key=False, maintain_order=True)
    return {int(key[0]): part for key, part in parts.items()}


def _without(
    lake: Lake, name: str, files: Iterable[File], gone: pl.DataFrame, result: Changes, *, exact: bool = True
) -> list[File | Add]:
    """The files without the rows of some keys: those that hold none as they are, others written anew."""
    kept: list[File | Add] = []
    key, found = gone.columns, 0
    for file in files:
        frame = lake.scan(name, [file])
        held = frame.select(key).collect().join(gone, on=key, how="semi").height
        found += held
        if not held:
            kept.append(file)
        elif held < file.rows:
            rest = frame.collect().join(gone, on=key, how="anti", maintain_order="left")
            # Named after the file it stands for, too: two files may well become equal, and both must stay.
            stem = "k" + hashlib.sha256(f"{file.path} {sorted(gone.rows())}".encode()).hexdigest()[:24]
            kept.append(lake.write_file(name, rest, file.partition, stem))
    if exact and found != gone.height:
        raise ContractError(f"{name} holds {found} of {gone.height} rows that changed")
    return kept


def _note(name: str, held: Sequence[File], kept: Sequence[File | Add], result: Changes) -> None:
    """Note what of the files of a bucket goes and comes."""
    paths, before = {f.path for f in kept}, {f.path for f in held}
    result.gone.setdefault(name, []).extend(path for path in before if path not in paths)
    result.adds.setdefault(name, []).extend(f for f in kept if isinstance(f, Add) and f.path not in before)
