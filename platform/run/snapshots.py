"""Snapshots: deliveries that are the whole of what a source holds, so that what is missing from the newest is deleted.

One file is one snapshot; where the source says ``parts``, all files of a batch together are. Their order is that of
delivery. A snapshot *stands* where it may delete; one that could not be read in full, is empty, or would delete a
larger share than the source's ``may_delete``, is *held*: its records land, it deletes nothing, and that is said until a
person confirms it or a later snapshot stands. What stands is kept with the outcome of the batch, so that a rebuild of
the tables gives the same, and a batch that is dropped takes its deletions back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import polars as pl

from customer360.platform import ledger, tables
from customer360.platform.delivery import natural
from customer360.platform.errors import SourceError
from customer360.platform.lake import Add, File, Lake
from customer360.platform.ledger import Batch, Outcome
from customer360.platform.run.deletions import Snapshot
from customer360.platform.settings import Settings, SourceSettings
from customer360.platform.sources.bronze import Landed

STANDS = "stands"


def newest(lake: Lake, name: str, source: SourceSettings, before: int | None = None) -> Snapshot | None:
    """The newest snapshot of a source that stands and is in its bronze table; ``before``: of earlier batches alone."""
    landed = lake.transaction(source.table, f"batch:{name}") or 0
    last = landed if before is None else min(landed, before - 1)
    for seq, outcome in sorted(ledger.outcomes(lake, name).items(), reverse=True):
        if seq > last or outcome.dropped:
            continue
        files = [i.name for i in outcome.inputs if i.snapshot == STANDS]
        if files:
            return Snapshot(name, seq, "" if source.parts else max(files, key=natural))
    return None


def of_table(lake: Lake, settings: Settings, table: str) -> tuple[Snapshot, ...]:
    """The newest snapshot of every source that fills a bronze table by snapshots."""
    found = (
        newest(lake, name, source)
        for name, source in settings.sources.items()
        if source.table == table and (source.mode == "snapshot" or source.is_in_order) and lake.exists(table)
    )
    return tuple(snapshot for snapshot in found if snapshot is not None)


def judged(lake: Lake, name: str, source: SourceSettings, batch: Batch, landed: Sequence[Landed]) -> dict[str, str]:
    """Which snapshots of a batch stand, by input: `STANDS`, or why one is held. Inputs that failed are no snapshots.

    ``landed`` is what the batch gave; it need not be in the table yet.
    """
    if batch.inline:
        return {}
    if source.mode != "snapshot":  # a log of changes says that all before was deleted
        return {piece.name: STANDS for piece in batch.inputs if piece.detail.get("emptied")}
    parts = sorted(landed, key=lambda part: natural(part.outcome.name))
    whole = [parts] if source.parts else [[part] for part in parts]
    known = _known_keys(lake, name, source, batch)
    found: dict[str, str] = {}
    for files in whole:
        keys = _keys(lake, source, [add for part in files for add in part.bronze])
        failed = [part.outcome.name for part in files if part.outcome.failure]
        if failed and len(failed) == len(files):
            continue
        missing = known.join(keys, on=known.columns, how="anti")
        unread = sum(part.facts["dead"] for part in files) + keys.filter(pl.any_horizontal(pl.all().is_null())).height
        why = _why_held(source, known.height, missing.height, keys.height, unread, failed)
        found |= {part.outcome.name: why or STANDS for part in files if not part.outcome.failure}
        known = pl.concat([known, keys]).unique() if why else keys
    return found


def _why_held(source: SourceSettings, known: int, missing: int, holds: int, unread: int, failed: Sequence[str]) -> str:
    if not missing:
        return ""
    would = f"would delete {missing:,} of {known:,}"
    if failed:
        return f"{would}, but {', '.join(failed)} could not be read"
    if unread:
        return f"{would}, but {unread:,} of its records could not be read"
    if not holds:
        return f"{would}: it is empty"
    return f"{would}, more than `may_delete` allows" if missing / known > source.may_delete else ""


def _known_keys(lake: Lake, name: str, source: SourceSettings, batch: Batch) -> pl.DataFrame:
    """Keys that stand before a batch: those of the newest snapshot that stands, and of what came after it."""
    before = newest(lake, name, source, batch.seq)
    files = [f for f in lake.files(source.table) if f.partition.get("_source") == name]
    rows = lake.scan(source.table, files).filter(pl.col("_seq") < batch.seq)
    key = list(tables.spec(tables.by_name(source.table)).key)
    if before is None:
        return rows.select(key).drop_nulls().unique().collect()
    at = rows.filter(pl.col("_seq") >= before.seq).select(*key, "_seq", "_file").collect()
    since = [f for f in at["_file"].unique().to_list() if natural(f) >= natural(before.file)]
    is_in = (pl.col("_seq") > before.seq) | pl.col("_file").is_in(since)
    return at.filter(is_in).select(key).drop_nulls().unique()


def _keys(lake: Lake, source: SourceSettings, adds: Sequence[Add]) -> pl.DataFrame:
    """Keys of rows that were written, nulls included."""
    files = [File(add.path, add.rows, add.size, add.partition) for add in adds]
    return lake.scan(source.table, files).select(tables.spec(tables.by_name(source.table)).key).unique().collect()


def held(outcome: Outcome) -> list[str]:
    """What a person should know of the snapshots of a batch that delete nothing."""
    if outcome.dropped:
        return []
    return [f"{i.name}: {i.snapshot}" for i in outcome.inputs if i.snapshot not in ("", STANDS)]


def confirm(lake: Lake, name: str, seq: int) -> int:
    """Let the held snapshots of a batch stand: the next run deletes what they lack. Needs the lake's run lock.

    Raises:
        SourceError: nothing of the batch is held.
    """
    outcome = ledger.outcomes(lake, name).get(seq)
    waiting = held(outcome) if outcome else []
    if outcome is None or not waiting:
        raise SourceError(
            f"no snapshot of batch {seq} of {name} is held; `customer360 batch list {name}` shows which are"
        )
    inputs = tuple(replace(i, snapshot=STANDS) if i.snapshot else i for i in outcome.inputs)
    note = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} confirmed: {'; '.join(waiting)}"
    replace(outcome, inputs=inputs, trail=(*outcome.trail, note)).save(lake)
    return len(waiting)
