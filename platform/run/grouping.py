"""The driver of sources that group records: a batch into its groups, and all groups of a source anew.

A batch makes the groups anew that it touches. Where what landed changes (files read again, a batch dropped, another
mapping), all groups of the source are made anew of the records that are kept, and take the place of its rows in one
commit. The table of kept records is committed before the bronze table: a death between the two is seen by the
transactions that they name, and the next run makes the groups again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from customer360.platform import ledger, telemetry
from customer360.platform.errors import RunError
from customer360.platform.lake import File, Lake, reached
from customer360.platform.ledger import Batch
from customer360.platform.quality import ERASED, ErasedRecords
from customer360.platform.quality.checks import TableChecks
from customer360.platform.run.executor import Executor, Failure
from customer360.platform.run.rewriting import taken
from customer360.platform.sources.base import Source
from customer360.platform.sources.bronze import IngestUnit, Landed
from customer360.platform.sources.grouping import (
    GROUPED,
    STAGING,
    Grouped,
    GroupedRecords,
    GroupUnit,
    added,
    is_grouped,
)
from customer360.platform.sources.stated import is_of, made_by
from customer360.platform.sources.values import Reading

PART_BYTES = 32 * 1024 * 1024  # of files, the records of which one unit groups
KEPT_BYTES = PART_BYTES // 8  # kept records are compressed
MARKS = "_groups"  # what the groups of a source were last made anew by


def parts_of(batch: Batch) -> int:
    """Into how many parts the groups of a batch are split, so that no unit holds more than its share."""
    return max(1, -(-_size(batch) // PART_BYTES))


def _size(batch: Batch) -> int:
    return sum(int(piece.detail.get("size") or 0) for piece in batch.inputs)


def gathered(
    lake: Lake,
    executor: Executor,
    source: Source,
    batch: Batch,
    landed: Sequence[Landed],
    reading: Reading,
    checks: TableChecks | None,
) -> Grouped:
    """The rows of the groups that a batch touches; nothing is committed yet.

    Raises:
        RunError: a part of the groups cannot be made.
    """
    lake.ensure(GroupedRecords)
    files = tuple(_files(lake, GROUPED, batch.source))
    staged = _staged((batch, part) for part in landed)
    units = [
        GroupUnit(
            lake=lake, name=batch.source, source=source, pieces=tuple(pieces), files=files, part=part,
            parts=parts_of(batch), stem=f"{batch.source}-{batch.seq:08d}", before=batch.seq, reading=reading,
            checks=checks,
        )
        for part, pieces in sorted(staged.items())
    ]  # fmt: skip
    return _grouped(executor, batch.source, units)


def _staged(landed: Any) -> dict[int, list[tuple[int, str, str, str]]]:
    """Staged pieces by part of the groups: batch, its moment, input, path."""
    found: dict[int, list[tuple[int, str, str, str]]] = {}
    for batch, part in landed:
        for number, path in part.staged:
            found.setdefault(number, []).append((batch.seq, batch.created_at, part.outcome.name, path))
    return {number: sorted(pieces) for number, pieces in found.items()}


def _grouped(executor: Executor, name: str, units: list[GroupUnit]) -> Grouped:
    results = []
    for _, result in telemetry.beating(executor.map(units), f"grouping {name}"):
        if isinstance(result, Failure):
            raise RunError({f"source {name}": f"its groups cannot be made: {result.reason}"})
        results.append(result)
        reached(f"after write groups {name}")
    return added(results)


def _files(lake: Lake, table: str, name: str) -> list[File]:
    return [file for file in lake.files(table) if file.partition.get("_source") == name]


def facts_with(facts: dict[str, Any], grouped: Grouped) -> dict[str, Any]:
    """The counts of a batch, of which every record was kept for its group, with those of the rows of the groups."""
    rows, erased = sum(grouped.rows.values()), sum(grouped.erased.values())
    together = {**facts, **{key: facts.get(key, 0) + count for key, count in grouped.facts.items()}}
    collapsed = facts["collapsed"] - rows - erased
    return together | {"landed": rows, "erased": facts["erased"] + erased, "collapsed": collapsed}


# ---- all groups of a source anew


@dataclass(frozen=True)
class Regrouped:
    """Rows of a source before and after its groups were made anew; rows after and erased records by batch."""

    before: int
    rows: dict[int, int]
    erased: dict[int, int]


def is_stale(lake: Lake, name: str, source: Source) -> bool:
    """Whether the groups of a source are of other settings than today's, or of before records were kept, or half
    made anew.
    """
    if not is_grouped(source) or not lake.exists(source.table):
        return False
    landed = lake.transaction(source.table, f"batch:{name}") or 0
    batches = [b for b in ledger.batches(lake, name) if b.inputs and b.seq <= landed]
    if not batches:
        return False
    done = lake.transaction(GROUPED, f"reread:{name}")
    if done is not None and done != lake.transaction(source.table, f"reread:{name}"):
        return True
    outcomes, now = ledger.outcomes(lake, name), made_by(source)
    dropped = {seq for seq, outcome in outcomes.items() if outcome.dropped}
    made = [outcomes[b.seq].made_by if b.seq in outcomes else {} for b in batches if b.seq not in dropped]
    mark = json.loads(lake.get(_mark(name)) or b"{}")
    return not all(is_of(each, now) for each in made) and not is_of(mark, now)


def _mark(name: str) -> str:
    return f"{MARKS}/{name}.json"


def regrouped(
    lake: Lake,
    executor: Executor,
    source: Source,
    name: str,
    done: Sequence[tuple[IngestUnit, Landed]],
    *,
    attempt: int,
    reading: Reading,
    checks: TableChecks | None = None,
    without: int | None = None,
) -> Regrouped:
    """Make all groups of a source anew, with what was read again (``done``) in the place of what was kept of it, or
    ``without`` a batch. Rows of before records were kept, and corrections, stay as they are.

    Raises:
        RunError: a part of the groups cannot be made; nothing changed.
    """
    lake.ensure(GroupedRecords)
    replaced = [(unit.batch.seq, unit.address) for unit, _ in done]
    replaced += [(without, file) for file in _files_of(lake, name, without)] if without is not None else []
    staged = _staged((unit.batch, landed) for unit, landed in done)
    parts = max((unit.parts for unit, _ in done), default=parts_anew(lake, name, []))
    files = tuple(_files(lake, GROUPED, name))
    units = [
        GroupUnit(
            lake=lake, name=name, source=source, pieces=tuple(staged.get(part, ())), files=files, part=part,
            parts=parts, stem=f"{name}-r{attempt}", every=True, replaced=tuple(replaced), reading=reading,
            checks=checks,
        )
        for part in range(parts)
    ]  # fmt: skip
    made = _grouped(executor, name, units)
    lake.delete(lake.objects(f"{STAGING}/{name}"))
    places = pl.DataFrame(replaced, schema={"seq": pl.Int64, "file": pl.String}, orient="row")
    known = lake.scan(GROUPED, list(files)).select(seq="_seq", file="_file").unique().collect()
    covered = pl.concat([known, places]).unique()
    at = pl.struct(pl.col("_seq").alias("seq"), pl.col("_file").alias("file"))
    gone = taken(lake, GROUPED, name, at.is_in(places.to_struct().implode()), f"k{attempt}")
    app, facts = f"reread:{name}", {"inputs": len(done)}
    lake.commit(GROUPED, [*gone.rest, *made.kept], gone.gone, app=app, app_version=attempt, facts=facts)
    reached(f"after records of groups {name}")
    own = pl.col("_replay_of").is_null() & at.is_in(covered.to_struct().implode())
    old = taken(lake, source.table, name, own, f"k{attempt}")
    lake.commit(source.table, [*old.rest, *made.bronze], old.gone, app=app, app_version=attempt, facts=facts)
    if made.refused:  # beside those that were noted when they came
        lake.ensure(ErasedRecords)
        lake.commit(ERASED, made.refused, [], app=app, app_version=attempt, facts=facts)
    lake.put(_mark(name), json.dumps(made_by(source)).encode())
    return Regrouped(old.rows, made.rows, made.erased)


def parts_anew(lake: Lake, name: str, batches: Sequence[Batch]) -> int:
    """Into how many parts the groups of a source are split when all are made anew."""
    kept = sum(file.size for file in _files(lake, GROUPED, name)) if lake.exists(GROUPED) else 0
    return max(1, -(-kept // KEPT_BYTES), -(-sum(map(_size, batches)) // PART_BYTES))


def _files_of(lake: Lake, name: str, seq: int) -> list[str]:
    rows = lake.scan(GROUPED, _files(lake, GROUPED, name)).filter(pl.col("_seq") == seq)
    return rows.select(pl.col("_file").unique()).collect()["_file"].to_list()


def noted(lake: Lake, name: str, source: Source, made: Regrouped) -> None:
    """Keep what each batch of a source gave, now that its groups were made anew."""
    rows = lake.scan(source.table, _files(lake, source.table, name)).filter(pl.col("_replay_of").is_null())
    held = dict(rows.group_by("_seq").len().collect().rows())
    for seq, outcome in ledger.outcomes(lake, name).items():
        if outcome.dropped or not outcome.inputs or not outcome.facts.get("inputs"):
            continue
        erased = outcome.facts["erased"] + made.erased.get(seq, 0)
        facts = outcome.facts | {"landed": held.get(seq, 0), "erased": erased}
        left = facts["read"] - facts["dead"] - facts["left_out"] - facts["landed"] - facts["erased"]
        replace(outcome, facts=facts | {"collapsed": left}).save(lake)
