"""What a run says while it goes on: one line a table."""

from __future__ import annotations

from typing import Any

from customer360.platform import tables, telemetry
from customer360.platform.run.planning import Job


def tell(job: Job, facts: dict[str, Any], seconds: float) -> None:
    """One line and a count for who watches: what was built, or what of it is new or changed hands."""
    rows, counted = f"{facts['rows']:,}", telemetry.ROWS
    table = tables.spec(job.node.table).name
    if job.stands:
        counted.labels(table=table, outcome="moved").inc(facts["rows_moved"])
        moved, buckets = f"{facts['rows_moved']:,}", facts["buckets_rewritten"]
        telemetry.event(f"moved  {job.node.name:<34} {moved:>12} of {rows} rows, {buckets} buckets  {seconds:7.1f} s")
    elif "rows_new" in facts:
        counted.labels(table=table, outcome="built").inc(facts["rows_new"])
        new, gone = f"{facts['rows_new']:,}", facts["rows_gone"]
        telemetry.event(f"added  {job.node.name:<34} {new:>12} of {rows} rows, {gone:,} in place  {seconds:7.1f} s")
    else:
        counted.labels(table=table, outcome="built").inc(facts["rows"])
        telemetry.event(f"built  {job.node.name:<34} {rows:>12} rows  {seconds:7.1f} s")
