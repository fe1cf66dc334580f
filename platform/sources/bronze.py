"""Into bronze: a worker reads one input of a batch, casts its records to the contract and writes them with their metadata."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from customer360.platform import privacy, tables
from customer360.platform.errors import TRANSIENT, ConfigError, SourceError
from customer360.platform.lake import Add, Lake
from customer360.platform.ledger import Batch, Input, InputOutcome
from customer360.platform.quality import DeadLetters
from customer360.platform.quality.checks import TableChecks, punctuality
from customer360.platform.sources import formats
from customer360.platform.sources.base import Source
from customer360.platform.sources.casting import Fitted, Mapping, fit
from customer360.platform.sources.formats.records import DEAD, POSITION, Records
from customer360.platform.sources.landing import Landing

_QUOTED = re.compile(r"""\[[^\]]*\]|"[^"]*"|'[^']*'""")
WHOLE = 0  # position of the dead letter that stands for all of an input
KEPT_BYTES = 65_536  # of a file that cannot be read as a whole; the rest of it stays where it is
REPLAY_OF = "_replay_of"  # in a batch of corrections: the bronze row or dead letter that a record stands for


@dataclass(frozen=True)
class Landed:
    """What one input gave: files of the bronze and dead-letter tables, and the counts that must balance."""

    bronze: list[Add]
    dead: list[Add]
    facts: dict[str, int]
    outcome: InputOutcome = field(default_factory=lambda: InputOutcome("", {}))


@dataclass(frozen=True)
class _Read:
    """One input after reading and casting; ``failure`` is why all of it is one dead letter, empty where it is not."""

    records: Records
    fitted: Fitted
    columns: list[str]
    state: dict[str, Any]
    failure: str = ""


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
    attempt: int = 0

    @property
    def address(self) -> str:
        """What the rows hold in ``_file``: the name of the input, or the object of the corrections."""
        return self.batch.inline or self.batch.inputs[self.index].name

    def run(self) -> Landed:
        """Read, cast, leave out erased people, write a bronze file and a dead-letter file."""
        read = self._read()
        erased = privacy.erased_rows(self.lake, read.fitted.frame, self.source.system)
        rows = _with_metadata(self, read.fitted.frame.filter(~erased))
        letters = _dead_letters(self, read)
        facts = {
            "read": read.records.count,
            "landed": rows.height,
            "dead": letters.height,
            "collapsed": read.fitted.collapsed,
            "left_out": read.fitted.left_out,
            "erased": int(erased.sum()),
            "rescued": int(rows["_rescued"].is_not_null().sum()),
            **punctuality(rows, self.checks),
        }
        return Landed(
            self._write(self.source.table, rows, {"_source": self.name}),
            self._write("quality.dead_letters", letters, {"source": self.name}),
            facts,
            InputOutcome(self.address, facts, read.failure, read.state),
        )

    def _read(self) -> _Read:
        """The records of the input, cast; where it cannot be read or mapped, one dead letter with the reason.

        Raises:
            TransientError, SourceError: as the source's ``read``, where its inputs do not stand alone.
        """
        state: dict[str, Any] = {}
        try:
            if not self.batch.inline:
                state = self.source.state(self.landing, self.batch.inputs[self.index])
            records = self._records()
            columns = [c for c in records.frame.columns if c != POSITION]
            whole = [r for r in records.dead.to_dicts() if r[POSITION] == WHOLE]
            if faults := [] if whole or self.batch.inline else unmapped(self.source, columns):
                raise SourceError("; ".join(faults))
            return _Read(records, self._fitted(records), columns, state, whole[0]["reason"] if whole else "")
        except BaseException as fault:  # a panic of Polars is no Exception
            if not isinstance(fault, Exception) and type(fault).__name__ != "PanicException":
                raise
            if self.batch.inline or not self.source.stand_alone or isinstance(fault, TRANSIENT):
                raise
            return self._failed(_reason(fault), state)

    def _failed(self, reason: str, state: dict[str, Any]) -> _Read:
        """The input as one dead letter: its first bytes, the rest stays in the file."""
        try:
            raw = self.landing.beginning_of(self.address, KEPT_BYTES)
        except OSError:
            raw = b""
        dead = pl.DataFrame([[WHOLE], [reason], [raw]], schema=DEAD)
        records = Records(pl.DataFrame(schema={POSITION: pl.Int64}), dead)
        nothing = fit(records.frame, tables.by_name(self.source.table), Mapping({}))
        return _Read(records, nothing, [], state, reason)

    def _records(self) -> Records:
        if self.batch.inline:
            return formats.read(self.lake.get(self.batch.inline) or b"", "json")
        return self.source.read(self.landing, self.batch.inputs[self.index])

    def _fitted(self, records: Records) -> Fitted:
        table = tables.by_name(self.source.table)
        if not self.batch.inline:
            return fit(records.frame, table, mapping_of(self.source))
        own = Mapping({})  # corrections are written in the contract's columns
        fitted = fit(records.frame.drop(REPLAY_OF), table, own)
        addresses = records.frame.select(POSITION, REPLAY_OF)
        frame = fitted.frame.join(addresses, on=POSITION, how="left", maintain_order="left")
        return Fitted(frame, fitted.collapsed, fitted.left_out)

    def _write(self, table: str, rows: pl.DataFrame, partition: dict[str, str | None]) -> list[Add]:
        again = f"-r{self.attempt}" if self.attempt else ""
        stem = f"{self.name}-{self.batch.seq:08d}-{self.index:05d}{again}"
        return [self.lake.write_file(table, rows, partition, stem)] if rows.height else []


def mapping_of(source: Source) -> Mapping:
    """How the columns of a source become contract columns."""
    return Mapping(source.mapping, tuple(source.group_by), source.where)


def unmapped(source: Source, columns: list[str]) -> list[str]:
    """What of a source's mapping an input with these columns lacks; empty where there is no mapping to apply.

    Without one there is nothing to get wrong: a column that an input lacks shows as quarantined rows.
    """
    if not source.mapping and not source.group_by:
        return []
    return mapping_of(source).faults(tables.by_name(source.table), columns)


def contract_faults(source: Source) -> list[str]:
    """What is wrong with a source's mapping whatever its inputs hold: no SQL, or names of no contract column."""
    contract = tables.by_name(source.table).columns()
    try:
        named = mapping_of(source).expressions()
    except ConfigError as fault:
        return [str(fault)]
    return [f"mapping names {c!r}, which is no column of {source.table}" for c in named if c not in contract]


def mapping_faults(landing: Landing, source: Source, inputs: list[Input]) -> list[str]:
    """Faults of a source's mapping against the columns of its first input; empty when there is none to look at."""
    if not inputs:
        return []
    columns = [c for c in source.read(landing, inputs[0]).frame.columns if c != POSITION]
    return [f"{inputs[0].name}: {fault}" for fault in mapping_of(source).faults(tables.by_name(source.table), columns)]


def made_by(source: Source) -> dict[str, str]:
    """Fingerprints of what decides the rows of a source: its mapping, its reader's options, the columns of its table."""
    columns = {name: str(c.dtype) for name, c in tables.by_name(source.table).columns().items()}
    mapping = [source.mapping, source.group_by, source.where, source.system]
    parts = {"mapping": mapping, "reader": source.reader_options(), "contract": columns}
    return {k: hashlib.sha256(json.dumps(v, sort_keys=True).encode()).hexdigest()[:16] for k, v in parts.items()}


def _reason(fault: BaseException) -> str:
    """Why an input failed, in one line. What a fault of a library quotes may be personal: the dead letter holds the bytes."""
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


def _dead_letters(unit: IngestUnit, read: _Read) -> pl.DataFrame:
    name, batch, path = unit.name, unit.batch, unit.address
    raw = pl.col("raw")
    if read.failure and unit.source.stand_alone:
        raw = raw.bin.slice(0, KEPT_BYTES)
    return read.records.dead.select(
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
        origin=pl.lit(json.dumps(_origin(unit, read), ensure_ascii=False)),
    ).select(list(DeadLetters.columns()))


def _origin(unit: IngestUnit, read: _Read) -> dict[str, Any]:
    """What it takes to read the letters of an input when the input is gone and the settings have changed."""
    source = unit.source
    mapping = {"mapping": source.mapping, "where": source.where, "group_by": source.group_by}
    return {"columns": read.columns, **mapping, **source.reader_options(), "state": read.state}


def _moment(batch: Batch) -> pl.Expr:
    """When the batch was made: the same for every row, and after a crash the same again."""
    text = pl.lit(batch.created_at)
    return text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us").dt.convert_time_zone("UTC")
