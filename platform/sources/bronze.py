"""Into bronze: a worker reads one input of a batch, casts its records to the contract and writes them with their metadata."""

from __future__ import annotations

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
from customer360.platform.sources.formats.records import POSITION, Records
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
        """Read, cast, leave out erased people, write a bronze file and a dead-letter file."""
        records = self._records()
        fitted = self._fitted(records)
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
        bronze = self._write(self.source.table, rows, {"_source": self.name})
        return Landed(bronze, self._write("quality.dead_letters", letters, {"source": self.name}), facts, fitted.notes)

    def _records(self) -> Records:
        if self.batch.inline:
            return formats.read(self.lake.get(self.batch.inline) or b"", "json")
        return self.source.read(self.landing, self.batch.inputs[self.index])

    def _fitted(self, records: Records) -> Fitted:
        table = tables.by_name(self.source.table)
        if not self.batch.inline:
            return fit(records.frame, table, mapping_of(self.source), self.reading)
        own = Mapping({})  # corrections are written in the contract's columns
        fitted = fit(records.frame.drop(REPLAY_OF), table, own, Reading(words=self.reading.words))
        addresses = records.frame.select(POSITION, REPLAY_OF)
        frame = fitted.frame.join(addresses, on=POSITION, how="left", maintain_order="left")
        return Fitted(frame, fitted.collapsed, fitted.left_out, fitted.facts, fitted.notes)

    def _write(self, table: str, rows: pl.DataFrame, partition: dict[str, str | None]) -> list[Add]:
        stem = f"{self.name}-{self.batch.seq:08d}-{self.index:05d}"
        return [self.lake.write_file(table, rows, partition, stem)] if rows.height else []


def mapping_of(source: Source) -> Mapping:
    """How the columns of a source become contract columns."""
    return Mapping(source.mapping, tuple(source.group_by), source.where)


def reading_of(source: Source, rules: dict[str, Any] | None = None, facts: dict[str, Any] | None = None) -> Reading:
    """How the values of a source are read. ``facts`` are those of its last batch: an order of day and month that it showed
    is that of later files that leave it open."""
    words = (rules or {}).get("standardization")
    shown = (fact.split("|") for fact in facts or {} if fact.startswith("dates|"))
    orders: dict[str, timestamps.Order] = {c: "day_first" if o == "day_first" else "month_first" for _, c, o in shown}
    return Reading(
        words=words if isinstance(words, Words) else Words(),
        timezone=source.timezone,
        dates=source.dates,
        decimal=source.decimal,
        usual=orders,
    )


def mapping_faults(landing: Landing, source: Source, inputs: list[Input]) -> list[str]:
    """Faults of a source's mapping against the columns of its first input; empty when there is none to look at."""
    if not inputs:
        return []
    columns = [c for c in source.read(landing, inputs[0]).frame.columns if c != POSITION]
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
