"""What a run says while it goes on: one line a table."""

from __future__ import annotations

from typing import Any

from customer360.platform import tables, telemetry
from customer360.platform.run.planning import Job


def tell(job: Job, facts: dict[str, Any], seconds: float) -> None:
    """One line and a count for who watches: what was built, or what of it is new or changed hands."""
    rows, counted = f"{facts['rows']:,}", telemetry.ROWS
    table, node = tables.spec(job.node.table).name, job.node.name
    said: dict[str, object] = {"node": node, "seconds": round(seconds, 3), "rows": facts["rows"]}
    if job.stands:
        counted.labels(table=table, outcome="moved").inc(facts["rows_moved"])
        moved, buckets = f"{facts['rows_moved']:,}", facts["buckets_rewritten"]
        line = f"moved  {node:<34} {moved:>12} of {rows} rows, {buckets} buckets  {seconds:7.1f} s"
        telemetry.told(line, "moved", **said, rows_moved=facts["rows_moved"], buckets_rewritten=buckets)
    elif "rows_new" in facts:
        counted.labels(table=table, outcome="built").inc(facts["rows_new"])
        new, gone = f"{facts['rows_new']:,}", facts["rows_gone"]
        line = f"added  {node:<34} {new:>12} of {rows} rows, {gone:,} in place  {seconds:7.1f} s"
        telemetry.told(line, "added", **said, rows_new=facts["rows_new"], rows_gone=gone)
    else:
        counted.labels(table=table, outcome="built").inc(facts["rows"])
        telemetry.told(f"built  {node:<34} {rows:>12} rows  {seconds:7.1f} s", "built", **said)
