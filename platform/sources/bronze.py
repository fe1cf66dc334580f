"""Into bronze: a worker reads one input of a batch, casts its records to the contract and writes them with their metadata."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from customer360.platform import privacy, tables
from customer360.platform.lake import Add, Lake
from customer360.platform.ledger import Batch, Input
from customer360.platform.quality import DeadLetters
from customer360.platform.quality.checks import TableChecks, punctuality
from customer360.platform.sources import formats, timestamps
from customer360.platform.sources.base import Source
from customer360.platform.sources.casting import Fitted, Mapping, fit
from customer360.platform.sources.formats.records import POSITION, LineCount, Records
from customer360.platform.sources.landing import Landing
from customer360.platform.sources.values import Reading, Words

REPLAY_OF = "_replay_of"  # in a batch of corrections: the bronze row or dead letter that a record stands for


@dataclass(frozen=True)
class Landed:
    """What one input gave: files of the bronze and dead-letter tables, and the counts that must balance."""

    bronze: list[Add]
    dead: list[Add]
    facts: dict[str, int]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class IngestUnit:
    """One input of a batch on its way into the lake: all that a worker needs to land it, picklable.

    The names of the files that it writes depend on the batch alone, so a unit that is run again writes them again.
    """

    lake: Lake
    landing: Landing
    name: str
    source: Source
    batch: Batch
    index: int
    checks: TableChecks | None = None
    reading: Reading = field(default_factory=Reading)

    @property
    def address(self) -> str:
        """What the rows hold in ``_file``: the name of the input, or the object of the corrections."""
        return self.batch.inline or self.batch.inputs[self.index].name

    def run(self) -> Landed:
        """Read, cast, leave out erased people; write bronze and dead-letter files, one of each a piece of the input."""
        bronze: list[Add] = []
        dead: list[Add] = []
        facts: Counter[str] = Counter()
        lines = LineCount()
        notes: dict[str, None] = {}
        reading = self.reading
        for number, records in enumerate(self._pieces()):
            part = self._landed(records, number, reading)
            bronze, dead = bronze + part.bronze, dead + part.dead
            facts.update(part.facts)
            lines += records.lines or LineCount(records.count)
            notes.update(dict.fromkeys(part.notes))
            # An order of day and month that a piece shows is that of later pieces that leave it open.
            reading = reading.model_copy(update={"usual": reading.usual | _orders(facts)})
        if lost := lines.missing(facts["read"]):  # the reader itself is at fault; the batch will not balance
            facts["lines_unaccounted"] = lost
        return Landed(bronze, dead, dict(facts), tuple(notes))

    def _landed(self, records: Records, number: int, reading: Reading) -> Landed:
        fitted = self._fitted(records, reading)
        erased = privacy.erased_rows(self.lake, fitted.frame, self.source.system)
        rows = _with_metadata(self, fitted.frame.filter(~erased))
        letters = _dead_letters(self, records.dead)
        facts = {
            "read": records.count,
            "landed": rows.height,
            "dead": letters.height,
            "collapsed": fitted.collapsed,
            "left_out": fitted.left_out,
            "erased": int(erased.sum()),
            "rescued": int(rows["_rescued"].is_not_null().sum()),
            **fitted.facts,
            **punctuality(rows, self.checks),
        }
        bronze = self._write(self.source.table, rows, {"_source": self.name}, number)
        dead = self._write("quality.dead_letters", letters, {"source": self.name}, number)
        return Landed(bronze, dead, facts, (*records.notes, *fitted.notes))

    def _pieces(self) -> Iterator[Records]:
        if self.batch.inline:
            return iter([formats.read(self.lake.get(self.batch.inline) or b"", "json")])
        piece = self.batch.inputs[self.index]
        if self.source.group_by:  # a group's records may lie in any piece
            return iter([self.source.read(self.landing, piece)])
        return self.source.pieces(self.landing, piece)

    def _fitted(self, records: Records, reading: Reading) -> Fitted:
        table = tables.by_name(self.source.table)
        if not self.batch.inline:
            return fit(records.frame, table, mapping_of(self.source), reading)
        own = Mapping({})  # corrections are written in the contract's columns
        fitted = fit(records.frame.drop(REPLAY_OF), table, own, Reading(words=reading.words))
        addresses = records.frame.select(POSITION, REPLAY_OF)
        frame = fitted.frame.join(addresses, on=POSITION, how="left", maintain_order="left")
        return Fitted(frame, fitted.collapsed, fitted.left_out, fitted.facts, fitted.notes)

    def _write(self, table: str, rows: pl.DataFrame, partition: dict[str, str | None], number: int) -> list[Add]:
        stem = f"{self.name}-{self.batch.seq:08d}-{self.index:05d}" + (f"-{number:05d}" if number else "")
        return [self.lake.write_file(table, rows, partition, stem)] if rows.height else []


def mapping_of(source: Source) -> Mapping:
    """How the columns of a source become contract columns."""
    return Mapping(source.mapping, tuple(source.group_by), source.where)


def reading_of(source: Source, rules: dict[str, Any] | None = None, facts: dict[str, Any] | None = None) -> Reading:
    """How the values of a source are read. ``facts`` are those of its last batch: an order of day and month that it showed
    is that of later files that leave it open."""
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


def mapping_faults(landing: Landing, source: Source, inputs: list[Input]) -> list[str]:
    """Faults of a source's mapping against the columns of its first input; empty when there is none to look at."""
    if not inputs:
        return []
    first = next(iter(source.pieces(landing, inputs[0])), None)  # names stand at the beginning
    columns = [c for c in first.frame.columns if c != POSITION] if first is not None else []
    if first is not None and not columns and first.dead.height:
        return []  # the file is dead letters, which the run keeps with their reasons
    return [f"{inputs[0].name}: {fault}" for fault in mapping_of(source).faults(tables.by_name(source.table), columns)]


def _with_metadata(unit: IngestUnit, frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(
        _source=pl.lit(unit.name),
        _source_system=pl.lit(unit.source.system),
        _seq=pl.lit(unit.batch.seq, pl.Int64),
        _file=pl.lit(unit.address),
        _ingested_at=_moment(unit.batch),
        _replay_of=pl.col(REPLAY_OF) if REPLAY_OF in frame.columns else pl.lit(None, pl.String),
    ).select(list(tables.schema(tables.by_name(unit.source.table))))


def _dead_letters(unit: IngestUnit, dead: pl.DataFrame) -> pl.DataFrame:
    name, batch, path = unit.name, unit.batch, unit.address
    return dead.select(
        letter_id=pl.format("{}/{}/{}/{}", pl.lit(name), pl.lit(batch.seq), pl.lit(path), POSITION),
        source=pl.lit(name),
        source_system=pl.lit(unit.source.system),
        table_name=pl.lit(unit.source.table),
        seq=pl.lit(batch.seq, pl.Int64),
        file=pl.lit(path),
        position=pl.col(POSITION),
        reason=pl.col("reason"),
        raw=pl.col("raw"),
        received_at=_moment(batch),
    ).select(list(DeadLetters.columns()))


def _moment(batch: Batch) -> pl.Expr:
    """When the batch was made: the same for every row, and after a crash the same again."""
    text = pl.lit(batch.created_at)
    return text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us").dt.convert_time_zone("UTC")
