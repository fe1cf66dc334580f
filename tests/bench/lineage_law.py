"""The law of column lineage: what changes when an input column does is what the lineage of the column says, or less.

    python tests/bench/lineage_law.py CONFIG [rows]

On a lake that stands (of ``CONFIG``), every build is made of the first ``rows`` people's rows, then once more for each
column of each input with that column's values dealt to other rows. An output column that differs, on keys that both
have, must name the column among its uses, or the build among those that decide its rows; a key that came or went must
be among the latter. A column that the output's key is made of gives its rows other names, and is not asked. Prints the
columns of which more is named than may be so, the uses that were missed (none is the law), how many that were named
changed anything, and the seconds that all lineage takes to derive.
"""

from __future__ import annotations

import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from customer360.platform import graph, settings, tables
from customer360.platform.graph import Node
from customer360.platform.lineage.columns import Made, lineage_of
from customer360.platform.run import lake_of
from customer360.platform.run.records import current_records
from customer360.platform.run.units import conform_to_storage
from customer360.serve.compose import compose, rules_of


def sample(lake: Any, table: str, people: pl.DataFrame, rows: int) -> pl.DataFrame:
    frame = lake.scan(table)
    if "person_id" in tables.by_name(table).columns():
        frame = frame.join(people.lazy(), on="person_id", how="semi")
    found = frame.head(rows).collect()
    return current_records(tables.by_name(table), found, set()).rows if table.startswith("bronze.") else found


def build(node: Node, frames: dict[str, pl.DataFrame], rules: dict[str, Any], as_of: date) -> pl.DataFrame:
    values = {"as_of": as_of, "params": rules.get(node.rules or "")}
    reserved = {k: v for k, v in values.items() if k in node.wants}
    partition = {"as_of": str(as_of)} if tables.spec(node.table).is_dated else {}
    return conform_to_storage(
        node.table, node.function(*(frames[t].lazy() for t in node.inputs), **reserved), partition
    )


def differing(before: pl.DataFrame, after: pl.DataFrame, key: list[str]) -> set[str]:
    """Columns whose values differ on keys that both have; ``*`` where the keys do."""
    if before.select(key).sort(key).equals(after.select(key).sort(key)):
        found: set[str] = set()
    else:
        found = {"*"}
    both = before.join(after, on=key, how="inner", suffix="__after", nulls_equal=True)
    for column in before.columns:
        if column not in key and not both[column].equals(both[f"{column}__after"]):
            found.add(column)
    return found


def main(config: Path, rows: int) -> None:
    compose()
    configured = settings.load(config)
    lake, rules = lake_of(configured), rules_of(configured)
    as_of = graph.default_as_of(lake, configured.zones)
    began = time.perf_counter()
    lineage = lineage_of(rules)
    print(f"lineage of {len(lineage.made)} nodes and loads derived in {time.perf_counter() - began:.2f} s")
    flows = [flow for made in lineage.made.values() if made.is_derived for flow in made.flows.values()]
    unsure = [flow for flow in flows if flow.at_most]
    whole = sum(len(flow.at_most) == len(flow.columns) for flow in unsure)
    print(
        f"{len(flows)} tables derived, {sum(len(f.columns) for f in flows):,} columns; in {len(unsure)} tables "
        f"{sum(len(f.at_most) for f in unsure)} columns name at most what they use, in {whole} of them all columns",
        flush=True,
    )
    people = lake.scan("silver.people").select("person_id").head(150).collect()
    missed, named, confirmed, tried = [], 0, 0, 0
    for node in graph.NODES.values():
        key = node.table.primary_key()
        if node.is_producer or not key:
            continue
        made = lineage.made[node.name]
        naming = {(u.table, u.column) for c in key for u in made.flows[tables.spec(node.table).name].columns[c]}
        frames = {
            t: sample(lake, t, people, rows) if lake.exists(t) else tables.by_name(t).create_empty()
            for t in node.inputs
        }
        whole = build(node, frames, rules, as_of)
        for table, frame in frames.items():
            for column in (c for c in frame.columns if (table, c) not in naming):
                dealt = frame[column].shuffle(seed=1)
                if frame.height < 2 or dealt.equals(frame[column]):
                    continue
                try:
                    other = build(node, frames | {table: frame.with_columns(dealt)}, rules, as_of)
                except Exception:  # noqa: BLE001, S112 - values that no lake would hold may break a build's own contract
                    continue
                tried += 1
                changed = differing(whole, other, key)
                unsaid = {c for c in changed if not is_named(made, node, c, table, column)}
                is_said = any(is_named(made, node, c, table, column) for c in [*node.table.columns(), "*"])
                named, confirmed = named + is_said, confirmed + bool(is_said and changed)
                missed += [f"{node.name}.{c} <- {table}.{column}" for c in sorted(unsaid)]
    print(f"{tried:,} columns of inputs dealt anew: {len(missed)} uses missed")
    print(f"{confirmed:,} of {named:,} columns that are named changed something")
    for line in missed[:40]:
        print("  missed", line)


def is_named(made: Made, node: Node, changed: str, table: str, column: str) -> bool:
    flow = made.flows[tables.spec(node.table).name]
    if any((u.table, u.column) == (table, column) for u in flow.rows):
        return True
    return changed != "*" and any((u.table, u.column) == (table, column) for u in flow.columns[changed])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 600)
