"""Rows of every table that the specification asks for, after a demo: `python tests/bench/demo_tables.py`.

Reads the lake that the settings name (variables of the environment count, as for `customer360 demo`), counts the rows
of all tables of silver and gold and of those that `configs/requirements.yaml` names, says what each empty one lacks,
and ends with 1 where one is empty that no reason is known for. Runs nothing.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import polars as pl
import yaml
from conditions import conditions

from customer360.platform import settings as configuration
from customer360.platform import tables
from customer360.platform.run import lake_of
from customer360.serve.compose import compose, rules_of
from customer360.serve.missing import missing

REQUIREMENTS = Path(__file__).resolve().parents[2] / "configs" / "requirements.yaml"
WAREHOUSE = ("customer", "behavior", "personalization")  # of its tables `customer360 warehouse status` tells
# What one demo, whose sources are files, cannot have, and why.
WITHOUT = {
    "control.full_load_schedule": "of databases",
    "control.incremental_load_tracking": "of databases",
    "control.streaming_watermarks": "of topics",
    "gold.drift": "`customer360 drift` judges a champion when time has passed since it was trained",
    "silver.identity_aliases": "all records came at once, and nobody was merged later",
    "silver.identity_keys": "what later batches of people need, written by the first of them",
    "silver.steward_decisions": "no steward decides in a demo",
}


def main() -> int:
    compose()
    settings = configuration.load(None, dict(os.environ))
    lake, rules = lake_of(settings), rules_of(settings)
    asked = {name for name in tables.TABLES if name.partition(".")[0] in ("silver", "gold")}
    told = yaml.safe_load(REQUIREMENTS.read_text(encoding="utf-8"))
    named = {name for row in told.values() for name in row.get("tables", ())}
    asked |= {name for name in named if name.partition(".")[0] not in WAREHOUSE}
    rows = {n: lake.scan(n).select(pl.len()).collect().item() if lake.exists(n) else 0 for n in sorted(asked)}
    lacks = {found.table: found.text for found in missing(lake, settings, rules)}
    empty = [name for name, count in rows.items() if not count]
    print(f"### Tables of a demo\n\n{conditions('polars', 'deltalake')}\n\n| table | rows |\n|---|---|")
    for name, count in rows.items():
        print(f"| {name} | {count:,} |")
    print(f"\nOf {len(rows)} tables {len(rows) - len(empty)} have rows.\n")
    for name in empty:
        print(f"- {name}: {WITHOUT.get(name) or lacks.get(name) or 'empty'}")
    return int(bool(set(empty) - WITHOUT.keys()))


if __name__ == "__main__":
    sys.exit(main())
