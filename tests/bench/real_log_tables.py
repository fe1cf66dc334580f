"""Every table that the public log's columns allow, and what each of the others lacks:
`python tests/bench/real_log_tables.py [--data DIR] [--scratch DIR]`.

Runs `configs/online_retail.yaml` up to gold without a model, counts the tables that have rows, names what each other
one lacks as `customer360 status --missing` does, and has DuckDB count cohorts, revenue and its decomposition anew, by
the statements of tests/pipelines/gold. Prints one Markdown block. DIR holds the log's CSV files; the scratch folder is
kept, so that a second call counts without running again.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
from conditions import conditions, measured
from real_log import ROOT, configured, table

from customer360.platform import graph, tables
from customer360.platform.lake import Lake
from customer360.platform.run import RunRequest, lake_of
from customer360.serve import jobs
from customer360.serve.compose import compose, rules_of
from customer360.serve.missing import LAYERS, missing

STATEMENTS = {"cohorts": "test_cohorts", "revenue and what moved it": "test_revenue"}


@dataclass(frozen=True)
class Standing:
    """The lake as the tests of gold take a retailer: its tables, and the date they are told as of."""

    lake: Lake
    as_of: date

    def frame(self, name: str) -> pl.LazyFrame:
        rows = self.lake.scan(name)
        is_dated = tables.spec(tables.by_name(name)).is_dated
        return rows.filter(pl.col("as_of") == self.as_of) if is_dated else rows


def statement(name: str) -> Callable[[Any], None]:
    """The test that compares a table with DuckDB's own count."""
    file = ROOT / "tests/pipelines/gold" / f"{name}.py"
    found = importlib.util.spec_from_file_location(name, file)
    assert found and found.loader
    module: ModuleType = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module.test_duckdb_counts_the_same


def compared(standing: Standing) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for what, name in STATEMENTS.items():
        try:
            statement(name)(standing)
            rows.append((what, "equal"))
        except AssertionError as fault:
            rows.append((what, f"DIFFERS: {traceback.extract_tb(fault.__traceback__)[-1].line}"))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "retail")
    parser.add_argument("--scratch", type=Path, help="Folder of lake and state; default: one that is removed")
    parser.add_argument("--executor", choices=["ray", "local"], default="local")
    options = parser.parse_args()
    before = conditions("polars", "deltalake", "duckdb")
    compose()
    with tempfile.TemporaryDirectory() as folder:
        settings = configured(options.data, options.scratch or Path(folder), options.executor)
        ran = measured(lambda: jobs.run_pipeline(settings, RunRequest(command="bench")))
        lake, rules = lake_of(settings), rules_of(settings)
        lacking = missing(lake, settings, rules)
        made = [name for name in graph.producers_of() if name.partition(".")[0] in LAYERS]
        full = len(made) - len(lacking)
        print(f"### Tables of Online Retail II\n\n{before}\n")
        print(
            f"Of {len(made)} tables of silver and gold {full} have rows, {len(lacking)} have none "
            f"({ran.seconds:.0f} s, {ran.cpu:.0f} s of CPU).\n"
        )
        print(table("lacks|tables", sorted(Counter(each.text for each in lacking).items(), key=lambda row: -row[1])))
        print("\n" + table("without rows|lacks", [(each.table, each.text) for each in lacking]))
        print("\n" + table("counted by DuckDB|", compared(Standing(lake, graph.default_as_of(lake)))))


if __name__ == "__main__":
    main()
