"""Into bronze: a worker reads one input of a batch, casts its records to the contract and writes them with their
metadata.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from customer360.platform import privacy, tables
from customer360.platform.errors import TRANSIENT, ConfigError, SourceError
from customer360.platform.lake import Add, Lake
from customer360.platform.ledger import Batch, InputOutcome
from customer360.platform.quality import DeadLetters
from customer360.platform.quality.checks import TableChecks, punctuality
from customer360.platform.sources import formats, joins, timestamps
from customer360.platform.sources.base import Source
from customer360.platform.sources.casting import Fitted, fit
from customer360.platform.sources.formats.records import DEAD, POSITION, LineCount, Records
from customer360.platform.sources.landing import Landing
from customer360.platform.sources.mapping import Mapping
from customer360.platform.sources.numbering import Numbering, countable
from customer360.platform.sources.renames import likely_name, names_in
from customer360.platform.sources.values import Reading, Words

_QUOTED = re.compile(r"""\[[^\]]*\]|"[^"]*"|'[^']*'""")
WHOLE = 0  # position of the dead letter that stands for all of an input
KEPT_BYTES = 65_536  # of a file that cannot be read as a whole; the rest of it stays where it is
REPLAY_OF = "_replay_of"  # in a batch of corrections: the bronze row or dead letter that a record stands for


@dataclass(frozen=True)
class Landed:
    """What one input gave: files of the bronze and dead-letter tables, and the counts that must balance.

    ``notes`` say what was assumed, ``warnings`` what is likely wrong.
    """

    bronze: list[Add]
    dead: list[Add]
    facts: dict[str, int]
    notes: tuple[str, ...] = ()
    outcome: InputOutcome = field(default_factory=lambda: InputOutcome("", {}))
    warnings: tuple[str, ...] = ()


@dataclass
class _Progress:
    """An input on its way in: what its pieces gave so far; ``failure`` is why all of it is one dead letter."""

    reading: Reading
    columns: list[str] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)
    failure: str = ""
    bronze: list[Add] = field(default_factory=list)
    dead: list[Add] = field(default_factory=list)
    facts: Counter[str] = field(default_factory=Counter)
    lines: LineCount = field(default_factory=LineCount)
    notes: dict[str, None] = field(default_factory=dict)
    keyed: bool = False
    numbering: Numbering = field(default_factory=Numbering)


@dataclass(frozen=True)
class IngestUnit:
    """One input of a batch on its way into the lake: all that a worker needs to land it, picklable.

    The names of the files that it writes depend on the batch and the attempt alone, so a unit that is run again writes
    them again. A new ``attempt`` is made of inputs that landed, whose files stay until its own are committed.
    """

    lake: Lake
    landing: Landing
    name: str
    source: Source
    batch: Batch
    index: int
    checks: TableChecks | None = None
    reading: Reading = field(default_factory=Reading)
    attempt: int = 0
    usual: tuple[str, ...] = ()  # columns that the last delivery had and this source uses

    @property
    def address(self) -> str:
        """What the rows hold in ``_file``: the name of the input, or the object of the corrections."""
        return self.batch.inline or self.batch.inputs[self.index].name

    def run(self) -> Landed:
        """Read, cast, leave out erased people; write bronze and dead-letter files, one of each a piece of the input.

        An input that cannot be read or mapped is one dead letter with the reason: files that earlier pieces of it wrote
        are committed by nobody.

        Raises:
            TransientError, SourceError: as the source's ``read``, where its inputs do not stand alone.
        """
        done = _Progress(self.reading)
        try:
            self._land_pieces(done)
        except BaseException as fault:  # a panic of Polars is no Exception
            if not isinstance(fault, Exception) and type(fault).__name__ != "PanicException":
                raise
            if self.batch.inline or not self.source.stand_alone or isinstance(fault, TRANSIENT):
                raise
            done = _Progress(self.reading, done.columns, done.state, failure_text(fault))
            self._land(self._first_bytes(done.failure), 0, done)
        used = used_columns(self.source, done.columns, keyed=done.keyed)
        gone = [] if done.failure or done.keyed else [c for c in self.usual if f"columns|{c}" not in used]
        facts = dict(done.facts) | used
        facts |= {f"vanished|{column}": 1 for column in gone}
        outcome = InputOutcome(self.address, facts, done.failure, done.state)
        warnings = tuple(self._vanished(column, done.columns) for column in gone)
        return Landed(done.bronze, done.dead, facts, tuple(done.notes), outcome, warnings)

    def _vanished(self, column: str, columns: list[str]) -> str:
        """A sentence about a column that the last delivery had and this input lacks."""
        near = likely_name(column, _unused(self.source, columns))
        renamed = f"; {near!r} is likely its new name, map it" if near else ""
        return f"lacks the column {column!r} that the last delivery had: its values are null{renamed}"

    def _land_pieces(self, done: _Progress) -> None:
        if not self.batch.inline:
            done.state = self.source.state(self.landing, self.batch.inputs[self.index])
        for number, records in enumerate(self._pieces()):
            done.columns = list(dict.fromkeys([*done.columns, *(c for c in records.frame.columns if c != POSITION)]))
            done.keyed = records.keyed
            whole = records.dead.filter(pl.col(POSITION) == WHOLE)["reason"].to_list()
            if whole and not done.bronze:  # a file that breaks off keeps the rows before that
                done.failure = whole[0]
            asked = not number and not whole and not self.batch.inline  # later pieces have the columns of the first
            if asked and (
                faults := unmapped(self.source, done.columns, records.frame, self.landing, keyed=records.keyed)
            ):
                renamed = _renamed(self.source, done.columns, self.landing, keyed=records.keyed)
                raise SourceError("; ".join([*faults, *renamed]))
            if asked and not records.keyed and (absent := _absent(self.source, done.columns)):
                done.notes[f"no {', '.join(absent)}: read as empty"] = None
            self._land(records, number, done)
        if lost := done.lines.missing(done.facts["read"]):  # the reader is at fault; the batch will not balance
            done.facts["lines_unaccounted"] = lost

    def _first_bytes(self, reason: str) -> Records:
        """The input as one dead letter: its first bytes, the rest stays in the file."""
        try:
            raw = self.landing.beginning_of(self.address, KEPT_BYTES)
        except OSError:
            raw = b""
        dead = pl.DataFrame([[WHOLE], [reason], [raw]], schema=DEAD, orient="col")
        return Records(pl.DataFrame(schema={POSITION: pl.Int64}), dead)

    def _land(self, records: Records, number: int, done: _Progress) -> None:
        """Write one piece, and add to ``done`` what it gave."""
        fitted = self._fitted(records, done)
        frame = fitted.frame
        if not self.batch.inline:  # corrections name the rows that they stand for
            reached = [*done.columns, *self.source.mapping]
            frame = done.numbering.filled(tables.by_name(self.source.table), frame, reached)
        erased = privacy.erased_rows(self.lake, frame, self.source.system)
        rows = _with_metadata(self, frame.filter(~erased))
        letters = _dead_letters(self, records.dead, done)
        facts = {
            "read": records.count,
            "landed": rows.height,
            "dead": letters.height,
            "collapsed": fitted.collapsed,
            "left_out": fitted.left_out,
            "erased": int(erased.sum()),
            "rescued": int(rows["_rescued"].is_not_null().sum()),
            **_apart(fitted),
            **fitted.facts,
            **punctuality(rows, self.checks),
        }
        done.bronze += self._write(self.source.table, rows, {"_source": self.name}, number)
        done.dead += self._write("quality.dead_letters", letters, {"source": self.name}, number)
        done.facts.update(facts)
        done.lines += records.lines or LineCount(records.count)
        done.notes |= dict.fromkeys((*records.notes, *fitted.notes))
        # An order of day and month that a piece shows is that of later pieces that leave it open.
        done.reading = done.reading.model_copy(update={"usual": done.reading.usual | _orders(facts)})

    def _pieces(self) -> Iterator[Records]:
        if self.batch.inline:
            return iter([formats.read(self.lake.get(self.batch.inline) or b"", "json")])
        piece = self.batch.inputs[self.index]
        if self.source.group_by:  # a group's records may lie in any piece
            return iter([self.source.read(self.landing, piece)])
        return self.source.pieces(self.landing, piece)

    def _fitted(self, records: Records, done: _Progress) -> Fitted:
        table = tables.by_name(self.source.table)
        if not self.batch.inline:
            return fit(
                records.frame,
                table,
                Mapping({}) if done.failure else mapping_of(self.source, self.landing),
                done.reading,
            )
        own = Mapping({})  # corrections are written in the contract's columns
        fitted = fit(records.frame.drop(REPLAY_OF), table, own, Reading(words=done.reading.words))
        addresses = records.frame.select(POSITION, REPLAY_OF)
        frame = fitted.frame.join(addresses, on=POSITION, how="left", maintain_order="left")
        return replace(fitted, frame=frame)

    def _write(self, table: str, rows: pl.DataFrame, partition: dict[str, str | None], number: int) -> list[Add]:
        again = f"-r{self.attempt}" if self.attempt else ""
        stem = f"{self.name}-{self.batch.seq:08d}-{self.index:05d}{again}" + (f"-{number:05d}" if number else "")
        return [self.lake.write_file(table, rows, partition, stem)] if rows.height else []


def _apart(fitted: Fitted) -> dict[str, int]:
    """What taking records apart changed in their number; nothing where none was."""
    facts = {"exploded": fitted.exploded, "without_elements": fitted.without_elements}
    facts |= {f"unmatched|{name}": count for name, count in fitted.unmatched.items()}
    return {fact: count for fact, count in facts.items() if count}


def mapping_of(source: Source, landing: Landing | None = None) -> Mapping:
    """How the columns of a source become contract columns; with ``landing``, the files that it is joined with are read.

    Raises:
        SourceError: a file that it is joined with is not there, or cannot be read.
    """
    files = joins.loaded(landing, source.join) if landing is not None else ()
    needs = None if source.needs is None else tuple(source.needs)
    return Mapping(
        source.mapping, tuple(source.group_by), source.where, tuple(source.explode), needs=needs, joins=files
    )  # fmt: skip


def _absent(source: Source, columns: list[str]) -> list[str]:
    """Columns that a file may lack, and does."""
    return [name for name in mapping_of(source).optional(columns) if name not in source.join]


def reading_of(source: Source, rules: dict[str, Any] | None = None, facts: dict[str, Any] | None = None) -> Reading:
    """How the values of a source are read. ``facts`` are those of its last batch: an order of day and month that it
    showed is that of later files that leave it open."""
    words = (rules or {}).get("standardization")
    return Reading(
        words=words if isinstance(words, Words) else Words(),
        timezone=source.timezone,
        dates=source.dates,
        decimal=source.decimal,
        usual=_orders(facts or ()),
    )


def _orders(facts: Iterable[str]) -> dict[str, timestamps.Order]:
    """Order of day and month by column, as facts of a batch name it."""
    shown = (fact.split("|") for fact in facts if fact.startswith("dates|"))
    return {column: "day_first" if order == "day_first" else "month_first" for _, column, order in shown}


def unmapped(
    source: Source,
    columns: list[str],
    sample: pl.DataFrame | None = None,
    landing: Landing | None = None,
    *,
    keyed: bool,
) -> list[str]:
    """What of a source's mapping an input with these columns lacks; empty where there is no mapping to apply.

    Without one there is nothing to get wrong: a column that an input lacks shows as quarantined rows. ``keyed`` records
    (JSON objects) leave out what they have no value for, so of them only required columns are asked.
    """
    is_mapped = source.mapping or source.group_by or source.explode or source.join
    return column_faults(source, columns, sample, landing, keyed=keyed) if is_mapped else []


def column_faults(
    source: Source,
    columns: list[str],
    sample: pl.DataFrame | None = None,
    landing: Landing | None = None,
    *,
    keyed: bool,
) -> list[str]:
    """What a source's mapping and contract lack in an input with these columns; `unmapped` where a mapping asks.

    With ``landing``, the files that the source is joined with are looked at, too.

    Raises:
        ConfigError: an expression of the mapping is no SQL.
    """
    if landing is not None and (found := joins.faults(landing, source.join)):
        return found
    table, mapping = tables.by_name(source.table), mapping_of(source, landing)
    if keyed:
        contract = table.columns()
        asked = {c: e for c, e in mapping.columns.items() if c not in contract or not contract[c].nullable}
        mapping = replace(mapping, columns=asked)
    return mapping.faults(table, [*columns, *countable(table)], sample)


def missing_columns(
    source: Source, columns: list[str], landing: Landing | None = None, *, keyed: bool
) -> tuple[list[str], list[str]]:
    """Columns that the mapping needs and an input with these columns lacks, and faults that no column would mend."""
    missing: list[str] = []
    faults = column_faults(source, columns, landing=landing, keyed=keyed)
    names = [name for name in names_in(_expressions(source)) if name not in columns] if faults else []
    for name in [*names, *names]:  # of an expression that needs two, the second shows once the first is there
        left = column_faults(source, [*columns, *missing, name], landing=landing, keyed=keyed)
        if name not in missing and _heads(left) != _heads(faults):
            missing, faults = [*missing, name], left
    return missing, faults


def _heads(faults: list[str]) -> set[str]:
    """Faults without the columns that the file has."""
    return {fault.split(", the file has")[0] for fault in faults}


def _expressions(source: Source) -> list[str]:
    """All SQL of a source that names columns of its files, but for the condition."""
    grouped = (text if re.search(r'[("]', text) else f'"{text}"' for text in source.group_by)
    return [*source.mapping.values(), *grouped, *source.explode]


def _renamed(source: Source, columns: list[str], landing: Landing, *, keyed: bool) -> list[str]:
    """Sentences about columns of an input that are likely missing ones under a new name."""
    missing, _ = missing_columns(source, columns, landing, keyed=keyed)
    near = {name: likely_name(name, _unused(source, columns)) for name in missing}
    return [f"{new!r} is likely the new name of {name!r}" for name, new in near.items() if new]


def _unused(source: Source, columns: list[str]) -> list[str]:
    """Columns of an input that a source makes nothing of."""
    used = {column.casefold() for column in expected_columns(used_columns(source, columns, keyed=True))}
    return [column for column in columns if column.casefold() not in used]


def used_columns(source: Source, columns: list[str], *, keyed: bool) -> dict[str, int]:
    """Facts of an input: ``columns|NAME`` for each of its columns that the source uses, as the mapping spells it, and
    ``headed`` where its records cannot leave columns out.

    Names that neither settings nor contract know are none of them: where a header is missing they are values.
    """
    paths = names_in([*_expressions(source), source.where])
    named = {*paths, *(path.partition(".")[0] for path in paths)}
    own = set() if source.group_by else set(tables.by_name(source.table).columns()) - set(source.mapping)
    have = {column.casefold() for column in columns}
    there = [*(n for n in sorted(named) if n.casefold() in have), *(n for n in sorted(own - named) if n in columns)]
    facts = {f"columns|{name}": 1 for name in there}
    return facts if keyed or not facts else {"headed": 1, **facts}


def expected_columns(facts: dict[str, Any]) -> tuple[str, ...]:
    """Columns that a batch had and its source uses, from its facts."""
    return tuple(fact.partition("|")[2] for fact, count in facts.items() if fact.startswith("columns|") and count)


def usual_columns(source: Source, facts: dict[str, Any]) -> tuple[str, ...]:
    """Columns that the last batch had, from its facts, and that the source still uses."""
    used = used_columns(source, list(expected_columns(facts)), keyed=True)
    return expected_columns(used)


def contract_faults(source: Source) -> list[str]:
    """What is wrong with a source's mapping whatever its inputs hold: no SQL, or names of no contract column."""
    contract = tables.by_name(source.table).columns()
    try:
        named = mapping_of(source).expressions()
    except ConfigError as fault:
        return [str(fault)]
    return [f"mapping names {c!r}, which is no column of {source.table}" for c in named if c not in contract]


def made_by(source: Source) -> dict[str, str]:
    """Fingerprints of what decides the rows of a source: its mapping, its reader's options, the columns of its
    table.
    """
    columns = {name: str(c.dtype) for name, c in tables.by_name(source.table).columns().items()}
    mapping = [
        source.mapping,
        source.group_by,
        source.where,
        source.system,
        *([source.explode] if source.explode else []),
    ]
    if source.join:
        files = {name: join.model_dump(exclude={"sha256"}) for name, join in source.join.items()}
        mapping.append(files)
    parts = {"mapping": mapping, "reader": source.reader_options(), "contract": columns}
    parts |= {"join": [join.sha256 for join in source.join.values()]} if source.join else {}
    return {k: hashlib.sha256(json.dumps(v, sort_keys=True).encode()).hexdigest()[:16] for k, v in parts.items()}


def failure_text(fault: BaseException) -> str:
    """Why an input failed, in one line. What a fault of a library quotes may be personal: the dead letter holds the
    bytes.
    """
    text = " ".join(str(fault).split()) or "no reason given"
    if isinstance(fault, SourceError | ConfigError):
        return text
    return f"{type(fault).__name__}: {_QUOTED.sub('•••', text)[:400]}"


def _with_metadata(unit: IngestUnit, frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(
        _source=pl.lit(unit.name),
        _source_system=pl.lit(unit.source.system),
        _seq=pl.lit(unit.batch.seq, pl.Int64),
        _file=pl.lit(unit.address),
        _ingested_at=_moment(unit.batch),
        _replay_of=pl.col(REPLAY_OF) if REPLAY_OF in frame.columns else pl.lit(None, pl.String),
    ).select(list(tables.schema(tables.by_name(unit.source.table))))


def _dead_letters(unit: IngestUnit, dead: pl.DataFrame, done: _Progress) -> pl.DataFrame:
    name, batch, path = unit.name, unit.batch, unit.address
    raw = pl.col("raw")
    if done.failure and unit.source.stand_alone:
        raw = raw.bin.slice(0, KEPT_BYTES)
    return dead.select(
        letter_id=pl.format("{}/{}/{}/{}", pl.lit(name), pl.lit(batch.seq), pl.lit(path), POSITION),
        source=pl.lit(name),
        source_system=pl.lit(unit.source.system),
        table_name=pl.lit(unit.source.table),
        seq=pl.lit(batch.seq, pl.Int64),
        file=pl.lit(path),
        position=pl.col(POSITION),
        reason=pl.col("reason"),
        raw=raw,
        received_at=_moment(batch),
        origin=pl.lit(json.dumps(_origin(unit, done), ensure_ascii=False)),
    ).select(list(DeadLetters.columns()))


def _origin(unit: IngestUnit, done: _Progress) -> dict[str, Any]:
    """What it takes to read the letters of an input when the input is gone and the settings have changed."""
    source = unit.source
    mapping = {"mapping": source.mapping, "where": source.where, "group_by": source.group_by, "explode": source.explode}
    content = {k: v for k, v in done.state.items() if k != "modified"}  # a time of change says nothing of the bytes
    return {**mapping, **source.reader_options(), "columns": done.columns, "state": content}


def _moment(batch: Batch) -> pl.Expr:
    """When the batch was made: the same for every row, and after a crash the same again."""
    text = pl.lit(batch.created_at)
    return text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us").dt.convert_time_zone("UTC")
