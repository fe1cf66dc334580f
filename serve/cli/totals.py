"""Totals in a line or two, for who reads along: what a run built, which sums hold, how good the data are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import polars as pl

from customer360.platform.ledger import Run
from customer360.platform.quality import Balance

if TYPE_CHECKING:  # DuckDB and Jinja, which no other command needs
    from customer360.platform.warehouse.load import LoadReport
    from customer360.serve.publication.quality import Overview

ALERTS_NAMED = 3


def built(record: Run) -> list[str]:
    """A line a layer: how many of its sources or tables a run built or found current, and the rows built."""
    layers: dict[str, dict[str, int]] = {}
    for node in record.nodes:
        layer = "bronze" if node.node.startswith("source ") else node.node.partition(".")[0]
        counts = layers.setdefault(layer, {"rows": 0})
        counts[node.state] = counts.get(node.state, 0) + 1
        counts["rows"] += node.rows if node.state == "built" else 0
    return [
        f"{layer:<10}" + ", ".join(f"{n:,} {state}" for state, n in counts.items() if state != "rows")
        + f", {counts['rows']:,} rows"
        for layer, counts in layers.items()
    ]  # fmt: skip


def conserved(balances: Iterable[tuple[str, Balance]]) -> list[str]:
    """A line for the batches that landed and one for the tables built of them; below each, what does not hold."""
    kinds: dict[str, list[Balance]] = {}
    for table, balance in balances:
        kinds.setdefault("batches" if table.startswith("bronze") else "tables", []).append(balance)
    return [line for kind, found in kinds.items() for line in _kind(kind, found)]


def _kind(kind: str, found: list[Balance]) -> list[str]:
    outcomes = {name: sum(b.outcomes[name] for b in found) for name in found[0].outcomes}
    together = Balance(kind, sum(b.received for b in found), outcomes, sum(b.added for b in found))
    wrong = [f"  {balance.scope}: {balance.text}" for balance in found if not balance.holds]
    return [f"{len(found) - len(wrong)} of {len(found)} {kind} hold: {together.text}", *wrong]


def loaded(done: LoadReport) -> list[str]:
    """What a load of the warehouse did; a line a kind of sum: rows, columns, references; below each, what differs."""
    state = "everything is current" if done.is_current else f"{sum(t.changed for t in done.tables):,} changed"
    lines = [f"warehouse: {len(done.tables)} tables, {sum(t.rows for t in done.tables):,} rows, {state}"]
    kinds: dict[str, list[tuple[str, bool, str]]] = {}
    for check in done.checks:
        is_key = "without a row in" in check.measure
        kind = "references" if is_key else "rows" if check.measure == "rows" else "sums of columns"
        said = f"  {check.table} {check.measure}: {check.star} in the star, {check.lake} in the lake"
        kinds.setdefault(kind, []).append((check.table, check.holds, said))
    for kind, found in kinds.items():
        tables, wrong = {t for t, _, _ in found}, {t for t, holds, _ in found if not holds}
        lines.append(f"{kind}: {len(tables - wrong)} of {len(tables)} tables hold, {len(found)} compared with the lake")
        lines += [said for _, holds, said in found if not holds]
    return lines


def graded(found: Overview) -> list[str]:
    """Scores and rows of the measured tables together, what stands as an alert, who needs more data."""
    scored = found.tables.drop_nulls("quality_score").sort("quality_score")
    sums = found.tables.select(pl.col("total_records", "valid_records", "invalid_records").sum()).row(0)
    counts = "{:,} rows = {:,} valid + {:,} invalid".format(*sums)
    score = f"scores from {scored['quality_score'][0]:.1f} ({scored['table_name'][0]})" if scored.height else "no score"
    lines = [f"quality of {found.tables.height} tables: {score} to 100; {counts}"]
    standing = found.alerts.filter(pl.col("cleared_at").is_null())
    named = ", ".join(f"{row['table_name']} {row['dimension']}" for row in standing.head(ALERTS_NAMED).to_dicts())
    lines.append(f"alerts that stand: {standing.height}" + (f", first {named}" if named else ""))
    needing = int(found.scores["needs_data"].sum())
    return [*lines, f"people who need more data: {needing:,} of {found.scores.height:,}"]
