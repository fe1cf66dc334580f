"""The specification's control tables of loads, derived at the end of a run: FULL_LOAD_SCHEDULE,
INCREMENTAL_LOAD_TRACKING, MICRO_BATCH_CONFIG and STREAMING_WATERMARKS; and the registry of schemas as a table.

They say what the ledger and the settings say and decide nothing: a run that finds them gone makes them again. Sources
are those whose kind has a ``strategy``, or a ``topic``.
"""

from __future__ import annotations

import calendar
import hashlib
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import dataframely as dy
import polars as pl

from customer360.platform import ledger, schemas, tables
from customer360.platform.lake import Lake
from customer360.platform.lake.opened import File
from customer360.platform.ledger import Batch, Outcome, Run
from customer360.platform.run.units import conform_to_storage, write_output
from customer360.platform.settings import Settings, SourceSettings
from customer360.platform.sources.base import Source, configured
from customer360.platform.tables import Integer, OneOf, String, Table, Timestamp

MOST_ROWS = 2_000_000  # of a source in bronze, up to which new rows are told from changed ones
FREQUENCIES = ("DAILY", "WEEKLY", "MONTHLY")


class FullLoadSchedule(Table, table="control.full_load_schedule", sort_by=("source_system", "table_name", "source")):
    """One row per source that is loaded as a whole."""

    source = String(primary_key=True, description="Name of the source in the settings")
    source_system = String()
    table_name = String(description="The bronze table that it fills")
    load_frequency = OneOf(*FREQUENCIES, nullable=True, description="Null: every run looks whether rows changed")
    last_full_load_date = Timestamp(nullable=True, description="When the newest batch that landed was fixed")
    next_scheduled_load_date = Timestamp(nullable=True, description="The first moment at which a run loads it again")
    estimated_record_count = Integer(nullable=True, description="Records of the newest batch that landed")
    enabled = dy.Bool()


class IncrementalLoadTracking(Table, table="control.incremental_load_tracking", sort_by=("source", "batch_number")):
    """One row per batch of a source that is loaded incrementally or in micro-batches."""

    source = String(primary_key=True, description="Name of the source in the settings")
    batch_number = Integer(primary_key=True)
    source_system = String()
    table_name = String(description="The bronze table that it fills")
    load_batch_id = String()
    start_timestamp = Timestamp(description="When its inputs were fixed")
    end_timestamp = Timestamp(nullable=True, description="When it was committed to bronze; null: it was not")
    window_start = String(nullable=True, description="Above which value of the column rows were read; null: from all")
    window_end = String(nullable=True, description="Up to which value")
    records_processed = Integer(nullable=True, min=0, description="Read")
    records_inserted = Integer(nullable=True, min=0, description="Keys that the source had not delivered before")
    records_updated = Integer(nullable=True, min=0, description="Keys that it had, with other values")
    records_deleted = Integer(nullable=True, min=0, description="Records that say that their key is gone")
    load_status = OneOf("SUCCESS", "FAILED", "IN_PROGRESS")
    error_message = String(nullable=True)


class MicroBatchConfig(
    Table, table="control.micro_batch_config", sort_by=("source_system", "table_name", "source"),
    key=("source_system", "table_name", "source"),
):  # fmt: skip
    """One row per source that is loaded in micro-batches, and per system and table that ``micro_batches`` names."""

    source_system = String(primary_key=True)
    table_name = String(primary_key=True, description="The bronze table")
    source = String(primary_key=True, description="Name of the source; empty: of those that say nothing themselves")
    batch_interval_minutes = Integer(min=1)
    last_batch_timestamp = Timestamp(nullable=True, description="When the newest batch that landed was fixed")
    batch_size = Integer(min=1, description="Rows")
    parallel_partitions = Integer(min=1)
    enabled = dy.Bool()


class StreamingWatermarks(
    Table, table="control.streaming_watermarks", sort_by=("source", "partition_number")
):  # fmt: skip
    """One row per partition of a stream that a source reads."""

    source = String(primary_key=True, description="Name of the source in the settings")
    partition_number = Integer(primary_key=True, min=0)
    source_system = String()
    stream_name = String(description="The topic")
    last_processed_offset = Integer(min=0, description="The offset after the newest message in bronze")
    last_processed_timestamp = Timestamp(description="When the newest batch that landed was fixed")
    processing_status = OneOf("SUCCESS", "FAILED", description="Of the run that looked last")
    consumer_group = String()


_TABLES = (FullLoadSchedule, IncrementalLoadTracking, MicroBatchConfig, StreamingWatermarks)
CONTROL = (*(tables.spec(table).name for table in _TABLES), schemas.NAME)


def write_control_tables(lake: Lake, settings: Settings, record: Run) -> None:
    """Bring the control tables up to date; what did not change is not written. Tables without a row are not made."""
    loads = {
        name: source
        for name, entry in settings.sources.items()
        if hasattr(entry, "strategy") and isinstance(source := configured(settings, name), Source)
    }
    found = {
        FullLoadSchedule: [_schedule(lake, n, s) for n, s in loads.items() if strategy(s) == "full"],
        IncrementalLoadTracking: [
            row for n, s in loads.items() if strategy(s) != "full" for row in _tracking(lake, n, s, record)
        ],
        MicroBatchConfig: [*_defaults(settings), *_micro_batches(lake, loads)],
        StreamingWatermarks: [row for n, s in settings.sources.items() for row in _watermarks(lake, n, s, record)],
    }
    for table, rows in found.items():
        write_rows(lake, table, rows)
    write_schema_versions(lake)


def write_schema_versions(lake: Lake) -> None:
    """Bring `control.schema_versions` up to date; nothing is read where no version came since."""
    paths = schemas.registered(lake)
    digest = int(hashlib.sha256(json.dumps(paths).encode()).hexdigest()[:15], 16)
    if paths and lake.transaction(schemas.NAME, "control") != digest:
        found = schemas.readable(lake, paths)
        # Where one is damaged the next run looks again
        write_rows(
            lake, schemas.SchemaVersions, list(schemas.rows(found)), digest if len(found) == len(paths) else None
        )


def write_rows(lake: Lake, table: type[Table], rows: list[dict[str, Any]], digest: int | None = None) -> None:
    """Replace a table that is told anew at the end of each run; where the rows are those that stand, nothing is
    written.
    """
    name = tables.spec(table).name
    if rows or lake.exists(name):
        lake.ensure(table)
        frame = conform_to_storage(table, pl.LazyFrame(rows, schema=dict(table.create_empty().schema)), {})
        adds = write_output(lake, table, frame, {})
        if digest is None:
            digest = int(hashlib.sha256(json.dumps([add.path for add in adds]).encode()).hexdigest()[:15], 16)
        lake.replace(name, adds, scope={}, app="control", app_version=digest, unless_equal=True)


def strategy(source: SourceSettings) -> str:
    """How a source is loaded; empty where its kind has but one way."""
    return str(getattr(source, "strategy", ""))


def _newest(lake: Lake, name: str, source: SourceSettings) -> tuple[datetime | None, int | None]:
    """When the newest batch that landed was fixed, and how many records it had."""
    seq = lake.transaction(source.table, f"batch:{name}") if lake.exists(source.table) else None
    batch, outcome = (ledger.batch(lake, name, seq), ledger.outcome(lake, name, seq)) if seq else (None, None)
    return _moment(batch.created_at) if batch else None, outcome.facts.get("read") if outcome else None


def _watermarks(lake: Lake, name: str, source: Any, record: Run) -> Iterator[dict[str, Any]]:
    """Where a stream stands, by the cursor of its newest batch in bronze."""
    seq = (
        lake.transaction(source.table, f"batch:{name}") if hasattr(source, "topic") and lake.exists(source.table) else 0
    )
    batch = ledger.batch(lake, name, seq) if seq else None
    has_failed = any(n.node == f"source {name}" and n.state == "failed" for n in record.nodes)
    if batch is None or not batch.cursor:
        return
    for partition, offset in batch.cursor.items():
        yield {
            "source": name,
            "partition_number": int(partition),
            "source_system": source.system,
            "stream_name": source.topic,
            "last_processed_offset": offset,
            "last_processed_timestamp": _moment(batch.created_at),
            "processing_status": "FAILED" if has_failed else "SUCCESS",
            "consumer_group": source.group,
        }


def _schedule(lake: Lake, name: str, source: Any) -> dict[str, Any]:
    last, count = _newest(lake, name, source)
    return {
        **_names(name, source),
        "load_frequency": source.load_frequency.upper() if source.load_frequency else None,
        "last_full_load_date": last,
        "next_scheduled_load_date": next_load(last, source.load_frequency) if last else None,
        "estimated_record_count": count,
        "enabled": source.enabled,
    }


def next_load(last: datetime, frequency: str | None) -> datetime | None:
    """The first moment of the next day, week (from Monday) or month, in UTC."""
    day = last.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if frequency is None:
        return None
    days = {
        "daily": 1,
        "weekly": 7 - day.weekday(),
        "monthly": calendar.monthrange(day.year, day.month)[1] - day.day + 1,
    }
    return day + timedelta(days=days[frequency])


def _tracking(lake: Lake, name: str, source: Source, record: Run) -> Iterator[dict[str, Any]]:
    """A row a batch; what the table says of one that landed stands."""
    table = tables.spec(IncrementalLoadTracking).name
    stood = lake.scan(table).filter(pl.col("source") == name).collect().to_dicts() if lake.exists(table) else []
    done = {row["batch_number"]: row for row in stood if row["load_status"] == "SUCCESS"}
    landed = lake.transaction(source.table, f"batch:{name}") or 0 if lake.exists(source.table) else 0
    reason = next((n.reason for n in record.nodes if n.node == f"source {name}" and n.state == "failed"), None)
    outcomes, committed = ledger.outcomes(lake, name), dict[int, datetime]()
    for batch in ledger.batches(lake, name):
        outcome = outcomes.get(batch.seq)
        is_dropped = outcome is not None and bool(outcome.dropped)
        if batch.inline or (batch.seq in done and not is_dropped):
            yield from [done[batch.seq]] if batch.seq in done else []
            continue
        if not committed and batch.seq <= landed:
            committed = _committed(lake, source.table, name)
        is_landed = batch.seq <= landed
        yield {
            **_names(name, source),
            "batch_number": batch.seq,
            "load_batch_id": batch.id,
            "start_timestamp": _moment(batch.created_at),
            "end_timestamp": committed[batch.seq] if is_landed and batch.seq in committed else None,
            **_window(batch),
            **(_counts(lake, name, source, batch.seq, outcome) if is_landed and not is_dropped else {}),
            **_status(is_landed, reason, outcome),
        }


def _names(name: str, source: SourceSettings) -> dict[str, Any]:
    return {"source": name, "source_system": source.system, "table_name": source.table}


def _status(is_landed: bool, reason: str | None, outcome: Outcome | None) -> dict[str, Any]:
    if is_landed and outcome and outcome.dropped:
        return {"load_status": "FAILED", "error_message": f"dropped: {outcome.dropped}"}
    if is_landed:
        return {"load_status": "SUCCESS", "error_message": None}
    return {"load_status": "FAILED" if reason else "IN_PROGRESS", "error_message": reason}


def _committed(lake: Lake, table: str, name: str) -> dict[int, datetime]:
    """When the batches of a source were committed, as far as the log of the table still tells it."""
    found = dict[int, datetime]()
    for commit in lake.history(table):
        if commit.get("customer360.app") == f"batch:{name}":
            seq = json.loads(commit.get("customer360.facts") or "{}").get("seq")
            found[seq] = datetime.fromtimestamp(commit["timestamp"] / 1000, UTC)
    return found


def _window(batch: Batch) -> dict[str, Any]:
    """From where to where rows were read, as text."""
    ends = [piece.detail for piece in batch.inputs if "timeless" not in piece.detail]
    first, last = (ends[0].get("after"), ends[-1].get("upto")) if ends else (None, None)
    return {"window_start": _text(first), "window_end": _text(last)}


def _text(bound: Any) -> str | None:
    value = next(iter(bound.values())) if isinstance(bound, dict) else bound
    return None if value is None else str(value)


def _counts(lake: Lake, name: str, source: Source, seq: int, outcome: Outcome | None) -> dict[str, Any]:
    """Records of a batch, and how many of its keys are new or have other values than before."""
    read = outcome.facts.get("read") if outcome else None
    counts: dict[str, Any] = {"records_processed": read}
    table = tables.by_name(source.table)
    key, bounds = list(tables.spec(table).key), _bounds(lake, source.table)
    files = [f for f in lake.files(source.table) if f.partition["_source"] == name]
    here = _scan(lake, source.table, [f for f in files if _may_hold(bounds, f, "_seq", seq, seq)])
    here = here.filter(pl.col("_seq") == seq)
    counts["records_deleted"] = here.select(pl.col("_deleted").fill_null(value=False).sum()).collect().item()
    files = [f for f in files if _may_hold(bounds, f, "_seq", None, seq - 1)]
    whole = [c for c in key if tables.schema(table)[c] in (pl.Int64, pl.Int32, pl.Date)]  # bounds that are exact
    for column, least, most, nulls in _ends(here, whole):
        files = [f for f in files if nulls or _may_hold(bounds, f, column, least, most)]
    if not key or sum(f.rows for f in files) > MOST_ROWS:
        return counts
    columns = list(table.columns())
    before = _scan(lake, source.table, files).filter(pl.col("_seq") < seq)
    earlier = before.join(here.select(key), on=key, how="semi", nulls_equal=True)
    alive = here.filter(~pl.col("_deleted").fill_null(value=False)).select(columns)
    known = earlier.select(key).unique().with_columns(known=pl.lit(value=True))
    changed = _anti(alive, earlier.select(columns), columns).select(key).unique()
    told = changed.join(known, on=key, how="left", nulls_equal=True).select(
        inserted=pl.col("known").is_null().sum(), updated=pl.col("known").sum()
    )
    inserted, updated = told.collect().row(0)
    return counts | {"records_inserted": inserted, "records_updated": updated}


def _scan(lake: Lake, table: str, files: list[File]) -> pl.LazyFrame:
    return lake.scan(table, files) if files else pl.LazyFrame(schema=tables.schema(tables.by_name(table)))


def _ends(rows: pl.LazyFrame, columns: Sequence[str]) -> Iterator[tuple[str, Any, Any, int]]:
    """The least and the greatest value of columns, and how many rows have none."""
    for column in columns:
        value = pl.col(column)
        found = rows.select(value.min().alias("least"), value.max().alias("most"), value.null_count().alias("nulls"))
        yield column, *found.collect().row(0)


def _bounds(lake: Lake, table: str) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """The least and the greatest values of columns by data file, as far as the log of the table tells them."""
    actions = pl.DataFrame(lake.delta(table).get_add_actions())
    known = actions.select([c for c in ("path", "min", "max") if c in actions.columns]).to_dicts()
    return {unquote(row["path"]): (row.get("min") or {}, row.get("max") or {}) for row in known}


def _may_hold(bounds: dict[str, Any], file: File, column: str, least: Any, most: Any) -> bool:
    """Whether a file can hold a value of a column from ``least`` to ``most``; of None that end is open."""
    lows, highs = bounds.get(file.path, ({}, {}))
    low, high = lows.get(column), highs.get(column)
    if low is None or high is None:
        return True
    return (least is None or high >= least) and (most is None or low <= most)


def _anti(rows: pl.LazyFrame, others: pl.LazyFrame, columns: Sequence[str]) -> pl.LazyFrame:
    return rows.join(others.unique(), on=list(columns), how="anti", nulls_equal=True)


def _defaults(settings: Settings) -> list[dict[str, Any]]:
    return [
        {
            "source_system": each.system, "table_name": each.table, "source": "",
            "batch_interval_minutes": each.interval_minutes, "last_batch_timestamp": None,
            "batch_size": each.batch_size, "parallel_partitions": each.parallel_partitions, "enabled": each.enabled,
        }
        for each in settings.micro_batches
    ]  # fmt: skip


def _micro_batches(lake: Lake, loads: dict[str, Source]) -> Iterator[dict[str, Any]]:
    for name, source in loads.items():
        if strategy(source) == "micro_batch":
            sizes: Any = source
            yield {
                **_names(name, source),
                "batch_interval_minutes": sizes.interval_minutes,
                "last_batch_timestamp": _newest(lake, name, source)[0],
                "batch_size": sizes.batch_size,
                "parallel_partitions": sizes.parallel_partitions,
                "enabled": sizes.enabled,
            }


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
