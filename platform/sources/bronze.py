"""Into bronze: a worker reads one input of a batch, casts its records to the contract and writes them with their
metadata.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from customer360.platform import erasure_list, tables
from customer360.platform.errors import TRANSIENT, ConfigError, SourceError
from customer360.platform.evolution import Column, SchemaContract, Seen
from customer360.platform.lake import Add, Lake
from customer360.platform.ledger import Batch, Input, InputOutcome
from customer360.platform.quality import ERASED, DeadLetters
from customer360.platform.quality.ahead import refused_ahead
from customer360.platform.quality.checks import TableChecks, punctuality
from customer360.platform.sources import formats, grouping
from customer360.platform.sources.base import Source
from customer360.platform.sources.cards import cleared, cleared_fit, cleared_rows, cleared_text
from customer360.platform.sources.casting import DELETED, Fitted, fit, refused_rows
from customer360.platform.sources.expressions import nested
from customer360.platform.sources.formats.records import DEAD, POSITION, LineCount, Records
from customer360.platform.sources.landing import Landing
from customer360.platform.sources.mapping import Mapping, Taken
from customer360.platform.sources.mapping.numbering import Numbering
from customer360.platform.sources.mapping.renames import likely_name
from customer360.platform.sources.observed import DISCARDED, Observer, letters, without_rows
from customer360.platform.sources.stated import (
    absent,
    deletion_faults,
    deletions,
    mapping_of,
    marking,
    orders,
    renamed,
    spared,
    tells_columns,
    unmapped,
    unused,
    used_columns,
)
from customer360.platform.sources.values import Reading

_QUOTED = re.compile(r"""\[[^\]]*\]|"[^"]*"|'[^']*'""")
WHOLE = 0  # position of the dead letter that stands for all of an input
TRIED = 100  # records of a file on which a mapping that groups is tried
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
    staged: tuple[tuple[int, str], ...] = ()  # records of a source that groups them: part of the groups, path
    refused: tuple[Add, ...] = ()  # which records were of erased people
    seen: Seen = field(default_factory=Seen)  # what it brought; of an input that failed, nothing


@dataclass
class _Progress:
    """An input on its way in: what its pieces gave so far; ``failure`` is why all of it is one dead letter."""

    reading: Reading
    columns: list[str] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)
    failure: str = ""
    bronze: list[Add] = field(default_factory=list)
    dead: list[Add] = field(default_factory=list)
    refused: list[Add] = field(default_factory=list)
    facts: Counter[str] = field(default_factory=Counter)
    lines: LineCount = field(default_factory=LineCount)
    notes: dict[str, None] = field(default_factory=dict)
    keyed: bool = False
    lacking: list[str] = field(default_factory=list)  # columns of optional values that it came without
    only_deletions: bool = False  # so its first piece is, and nothing beside the key is asked of its columns
    unmet: str = ""  # what a record that is no deletion would need of such an input
    numbering: Numbering = field(default_factory=Numbering)
    staged: list[tuple[int, str]] = field(default_factory=list)
    observer: Observer | None = None  # none of corrections, and of an input that failed


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
    parts: int = 1  # into which the groups of a source are split
    known: dict[str, Column] | None = None  # columns that are known of the source; None: nothing is
    variants: tuple[str, ...] = ()  # contract columns of which values that do not cast were accepted
    schema_contract: SchemaContract = field(default_factory=SchemaContract)

    @property
    def address(self) -> str:
        """What the rows hold in ``_file``: the name of the input, or the object of the corrections."""
        return self.batch.inline or self.piece.name

    @property
    def piece(self) -> Input:
        """The input; a unit that went to a worker has no other."""
        return self.batch.inputs[min(self.index, len(self.batch.inputs) - 1)]

    def __getstate__(self) -> dict[str, Any]:
        """For a worker, of the batch the one input: each of thousands of units would carry thousands."""
        return {**vars(self), "batch": replace(self.batch, inputs=self.batch.inputs and (self.piece,), cursor=None)}

    @property
    def lane(self) -> str:
        """Units of one lane run one after the other; see `Source.lane`."""
        return "" if self.batch.inline else self.source.lane

    @property
    def falls_with(self) -> str:
        """Units of one source land together: where one fails, the others are read for nothing. What is read again does
        not."""
        return "" if self.attempt else self.name

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
            done = _Progress(self.reading, done.columns, done.state, cleared_text(self.source, failure_text(fault)))
            self._land(self._first_bytes(done.failure), 0, done)
        used = used_columns(self.source, done.columns, keyed=done.keyed)
        is_empty = not (done.columns or done.failure)
        if done.only_deletions or is_empty:  # says nothing of the columns that records have
            used = {"only_deletions": 1, **{f"columns|{column}": 1 for column in self.usual}}
        gone = [] if done.failure or done.keyed else [c for c in self.usual if f"columns|{c}" not in used]
        facts = dict(done.facts) | used
        facts |= {f"vanished|{column}": 1 for column in gone}
        facts |= {f"lacking|{column}": facts.get("read", 0) for column in done.lacking if not done.failure}
        outcome = InputOutcome(self.address, facts, done.failure, done.state)
        warnings = tuple(self._vanished(column, done.columns) for column in gone if column not in done.lacking)
        warnings += ("is empty: it has neither a header nor a record",) if is_empty and not done.keyed else ()
        lists = (tuple(done.notes), outcome, warnings, tuple(done.staged), tuple(done.refused))
        return Landed(done.bronze, done.dead, facts, *lists, done.observer.seen() if done.observer else Seen())

    def _vanished(self, column: str, columns: list[str]) -> str:
        """A sentence about a column that the last delivery had and this input lacks."""
        near = likely_name(column, unused(self.source, columns))
        renamed = f"; {near!r} is likely its new name, map it" if near else ""
        return f"lacks the column {column!r} that the last delivery had: its values are null{renamed}"

    def _land_pieces(self, done: _Progress) -> None:
        if not self.batch.inline:
            done.state = self.source.state(self.landing, self.piece)
            done.observer = Observer(self.source, self.known, self.schema_contract)
        waits = told = False
        for number, records in enumerate(cleared(self.source, self._pieces())):
            done.columns = list(dict.fromkeys([*done.columns, *(c for c in records.frame.columns if c != POSITION)]))
            done.keyed = records.keyed
            whole = records.dead.filter(pl.col(POSITION) == WHOLE)["reason"].to_list()
            if whole and not done.bronze:  # a file that breaks off keeps the rows before that
                done.failure = whole[0]
            tells = tells_columns(records)
            asked = tells and not (told or whole or self.batch.inline)  # later pieces have the columns of the first
            told |= tells
            if done.observer and not whole:
                done.observer.look(records)
                waits = waits or (asked and self._lacks_known_columns(records, done))
            if waits:  # for a person: nothing of the batch is landed
                continue
            if asked and (faults := self._faults(records, done)):
                raise SourceError("; ".join(faults))
            if number and done.unmet:
                records = self._deletions_alone(records, done)
            if asked and not records.keyed and not done.only_deletions:
                done.lacking = spared(self.source, done.columns)
                if lacking := absent(self.source, done.columns):
                    done.notes[f"no {', '.join(lacking)}: read as empty"] = None
            if done.observer:
                done.observer.partial |= done.only_deletions
                records = done.observer.admitted(records)
            self._land(records, number, done)
        if lost := done.lines.missing(done.facts["read"]):  # the reader is at fault; the batch will not balance
            done.facts["lines_unaccounted"] = lost

    def _lacks_known_columns(self, records: Records, done: _Progress) -> bool:
        """Whether an input came without columns of a frozen schema; one of deletions alone needs but its key."""
        if done.observer is None or not done.observer.missing():
            return False
        asked = (self.source, done.columns, records.frame, self.landing, done.reading)
        return not self.source.deleted or deletion_faults(*asked, keyed=records.keyed) is None

    def _faults(self, records: Records, done: _Progress) -> list[str]:
        """What an input lacks by its first piece; of deletions alone nothing but their key is asked."""
        source, columns, keyed = self.source, done.columns, records.keyed
        found = unmapped(source, columns, records.frame, self.landing, keyed=keyed)
        of_key = deletion_faults(source, columns, records.frame, self.landing, done.reading, keyed=keyed)
        if of_key is not None:
            done.only_deletions, done.unmet = True, "; ".join(found)
            found = of_key
        return [*found, *renamed(source, columns, self.landing, keyed=keyed)] if found else []

    def _deletions_alone(self, records: Records, done: _Progress) -> Records:
        """A later piece of an input that began with nothing but deletions, and whose columns are enough for no other
        record: those are dead letters. Objects may bring what was lacking; then all of them are read.
        """
        told = deletions(self.source, records.frame, self.landing, done.reading)
        others = told.filter(~pl.col(DELETED))[POSITION]
        if others.is_empty():
            return records
        if not unmapped(self.source, done.columns, records.frame, self.landing, keyed=records.keyed):
            done.only_deletions, done.unmet = False, ""
            return records
        is_other = pl.col(POSITION).is_in(others.implode())
        rows = records.frame.filter(is_other)
        reason = f"no deletion, in a file that begins with deletions alone: {done.unmet}"
        dead = letters(rows, pl.Series([reason], dtype=pl.String).new_from_index(0, rows.height))
        return replace(records, frame=records.frame.filter(~is_other), dead=pl.concat([records.dead, dead]))

    def _first_bytes(self, reason: str) -> Records:
        """The input as one dead letter: its first bytes, the rest stays in the file."""
        try:
            raw = self.landing.beginning_of(self.address, KEPT_BYTES)
        except OSError:
            raw = b""
        dead = pl.DataFrame([[WHOLE], [reason], [raw]], schema=DEAD, orient="col")
        return next(cleared(self.source, [Records(pl.DataFrame(schema={POSITION: pl.Int64}), dead)]))

    def _land(self, records: Records, number: int, done: _Progress) -> None:
        """Write one piece, and add to ``done`` what it gave."""
        if grouping.is_grouped(self.source) and not self.batch.inline and not done.failure:
            self._stage(records, number, done)
            return
        records, fitted = self._cast(records, done)
        frame = fitted.frame
        if not self.batch.inline:  # corrections name the rows that they stand for
            reached = [*done.columns, *self.source.mapping]
            frame = done.numbering.filled(tables.by_name(self.source.table), frame, reached)
        table, refuse = tables.by_name(self.source.table), done.reading.refuse
        numbered = {} if frame is fitted.frame else {"refused": refused_rows(frame, table, refuse)}
        erased = erasure_list.erased_rows(self.lake, frame, self.source.system, tables.by_name(self.source.table))
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
            **_discarded(done),
            **numbered,
            **punctuality(rows, self.checks),
            **refused_ahead(tables.by_name(self.source.table), rows, done.reading.margin, done.reading.refuse),
        }
        done.bronze += self._write(self.source.table, rows, {"_source": self.name}, number)
        done.dead += self._write("quality.dead_letters", letters, {"source": self.name}, number)
        done.refused += self._write(ERASED, _of_erased(self, frame.filter(erased)), {"source": self.name}, number)
        done.facts.update(facts)
        done.lines += records.lines or LineCount(records.count)
        done.notes |= dict.fromkeys((*records.notes, *fitted.notes))
        # An order of day and month that a piece shows is that of later pieces that leave it open.
        done.reading = done.reading.model_copy(update={"usual": done.reading.usual | orders(facts)})

    def _stage(self, records: Records, number: int, done: _Progress) -> None:
        """Keep the records of a piece for their groups, which are made once all of the batch is read."""
        mapping, table = mapping_of(self.source, self.landing), tables.by_name(self.source.table)
        if not number:  # what is wrong with the mapping is the affair of this file
            fit(records.frame.head(TRIED), table, mapping, done.reading)
        taken = mapping.taken(records.frame, table, done.reading)
        kept = grouping.staged(cleared_rows(self.source, taken.frame), mapping, done.reading)
        letters = _dead_letters(self, records.dead, done)
        stem = f"{self.name}/{self.batch.seq:08d}-{self.index:05d}-{number:05d}"
        done.staged += grouping.stage(self.lake, kept, self.parts, stem)
        done.dead += self._write("quality.dead_letters", letters, {"source": self.name}, number)
        counted = {"read": records.count, "dead": letters.height, "collapsed": kept.height, "left_out": taken.left_out}
        done.facts.update({**counted, "landed": 0, "erased": 0, "rescued": 0, **_apart(taken), **_discarded(done)})
        done.lines += records.lines or LineCount(records.count)
        done.notes |= dict.fromkeys(records.notes)

    def _pieces(self) -> Iterator[Records]:
        if self.batch.inline:
            return iter([formats.read(self.lake.get(self.batch.inline) or b"", "json")])
        if self.source.group_by and not grouping.is_grouped(self.source):  # a group's records may lie in any piece
            return iter([self.source.read(self.landing, self.piece)])
        return self.source.pieces(self.landing, self.piece)

    def _cast(self, records: Records, done: _Progress) -> tuple[Records, Fitted]:
        """The records of a piece as rows, as far as its schema contract lets in values that do not cast."""
        fitted, mode = cleared_fit(self.source, self._fitted(records, done)), self.schema_contract.data_type
        uncast = {c: rows for c, rows in fitted.uncast.items() if c not in self.variants}
        if done.observer is None or not uncast:
            return records, fitted
        done.observer.uncast.update({c: int(rows.sum()) for c, rows in uncast.items()})
        if mode == "discard_value":
            done.observer.discarded.update({f"{c}|data_type": int(rows.sum()) for c, rows in uncast.items()})
        if mode != "discard_row":
            return records, fitted
        types, places = tables.by_name(self.source.table).columns(), records.frame[POSITION]
        at = fitted.frame[POSITION]
        at = nested.records_of(at) if fitted.exploded or self.source.explode or self.source.unpivot else at
        reasons = pl.Series([None], dtype=pl.String).new_from_index(0, places.len())
        for column, rows in uncast.items():
            said = f"{DISCARDED}a value of {column} is no {types[column].dtype} (data_type: discard_row)"
            reasons = reasons.set(places.is_in(at.filter(rows).implode()) & reasons.is_null(), said)
        records = without_rows(records, reasons)
        return records, cleared_fit(self.source, self._fitted(records, done))

    def _fitted(self, records: Records, done: _Progress) -> Fitted:
        table = tables.by_name(self.source.table)
        if not self.batch.inline:
            mapping = Mapping({}) if done.failure else marking(self.source, self.landing)
            variants = self.variants if self.schema_contract.data_type == "discard_value" else None
            return fit(records.frame, table, mapping, done.reading, variants)
        marks = {DELETED: f'"{DELETED}"'} if DELETED in records.frame.columns else {}
        own = Mapping(marks)  # corrections are written in the contract's columns
        fitted = fit(
            records.frame.drop(REPLAY_OF, strict=False),  # a file that an erasure emptied has no columns
            table, own, Reading(words=done.reading.words, refuse=done.reading.refuse),
        )  # fmt: skip
        named = pl.col(REPLAY_OF) if REPLAY_OF in records.frame.columns else pl.lit(None, pl.String)
        addresses = records.frame.select(POSITION, named.alias(REPLAY_OF))
        frame = fitted.frame.join(addresses, on=POSITION, how="left", maintain_order="left")
        return replace(fitted, frame=frame)

    def _write(self, table: str, rows: pl.DataFrame, partition: dict[str, str | None], number: int) -> list[Add]:
        again = f"-r{self.attempt}" if self.attempt else ""
        stem = f"{self.name}-{self.batch.seq:08d}-{self.index:05d}{again}" + (f"-{number:05d}" if number else "")
        return [self.lake.write_file(table, rows, partition, stem)] if rows.height else []


def _discarded(done: _Progress) -> dict[str, int]:
    """How many values a schema contract left out since the last piece: ``discarded|COLUMN|data_type``, say."""
    if done.observer is None:
        return {}
    facts = {f"discarded|{what}": count for what, count in done.observer.discarded.items()}
    done.observer.discarded.clear()
    return facts


def _apart(fitted: Fitted | Taken) -> dict[str, int]:
    """What taking records apart changed in their number; nothing where none was."""
    facts = {"exploded": fitted.exploded, "without_elements": fitted.without_elements}
    facts |= {f"unmatched|{name}": count for name, count in fitted.unmatched.items()}
    return {fact: count for fact, count in facts.items() if count}


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
        _deleted=pl.col(DELETED) if DELETED in frame.columns else pl.lit(None, pl.Boolean),
        _restates=pl.lit(True if unit.source.is_in_order and not unit.batch.inline else None, pl.Boolean),
    ).select(list(tables.schema(tables.by_name(unit.source.table))))


def _of_erased(unit: IngestUnit, frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(
        source=pl.lit(unit.name),
        source_system=pl.lit(unit.source.system),
        table_name=pl.lit(unit.source.table),
        seq=pl.lit(unit.batch.seq, pl.Int64),
        file=pl.lit(unit.address),
        position=pl.col(POSITION),
        digest=erasure_list.record_digests(unit.lake, frame.drop(POSITION)),
        received_at=_moment(unit.batch),
    )


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
