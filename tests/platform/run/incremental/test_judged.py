"""A build by subject that sees a bronze table as record tables do: judged, corrected and folded."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

import customer360.platform.run as runs
from customer360.platform.graph import builds
from customer360.platform.quality.checks import TableChecks
from customer360.platform.run import replay
from customer360.platform.tables import Integer, String, Table

NAME = "silver.t_line_counts"


def every(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows


def declare() -> None:
    class LineCounts(Table, table="silver.t_line_counts", per="subject_id"):
        """One row per subject of a sale."""

        subject_id = String(primary_key=True)
        line_count = Integer()

    @builds(LineCounts, judges={"bronze.t_lines": every})
    def t_line_counts(silver_t_sales: pl.LazyFrame, bronze_t_lines: pl.LazyFrame) -> pl.LazyFrame:
        lines = bronze_t_lines.group_by(sale_id="SALE_ID").agg(lines=pl.len().cast(pl.Int64))
        both = silver_t_sales.join(lines, on="sale_id", how="left")
        return both.group_by("subject_id").agg(line_count=pl.col("lines").fill_null(0).sum())


@pytest.fixture
def judged(shop: Any) -> Any:
    shop.widen(3)
    declare()
    shop.deliver("links", "a0,p0,1")
    shop.deliver("sales", "s0,a0,2,1")
    shop.deliver("lines", "l0,s0,a", "l1,s0,too long")
    return shop


def counted(shop: Any, rules: dict[str, Any], **options: Any) -> list[tuple[str, int]]:
    runs.run(shop.settings, runs.RunRequest(as_of=shop.as_of, **options), rules=rules)
    return list(shop.lake.scan(NAME).collect().rows())


def test_other_rules_for_what_it_reads_judged_make_its_buckets_anew(judged: Any) -> None:
    assert counted(judged, {}) == [("p0", 2)], "a value of an optional column costs the row nothing"
    checks = {"bronze.t_lines": TableChecks(refuse=["NOTE"])}
    strict = {"validation": SimpleNamespace(tables=checks, model_dump=dict, ahead_hours=38)}
    assert counted(judged, strict) == [("p0", 1)]
    assert counted(judged, strict, refresh=(NAME,)) == [("p0", 1)]
    assert counted(judged, {}) == [("p0", 2)]


def test_what_was_corrected_does_not_count_beside_its_correction(judged: Any) -> None:
    checks = {"bronze.t_lines": TableChecks(refuse=["NOTE"])}
    strict = {"validation": SimpleNamespace(tables=checks, model_dump=dict, ahead_hours=38)}
    assert counted(judged, strict) == [("p0", 1)]
    out = judged.root / "open.jsonl"
    replay.export(judged.lake, out)
    (line,) = (json.loads(line) for line in out.read_text().splitlines())
    out.write_text(json.dumps(line | {"LINE_ID": "l8", "NOTE": "b"}) + "\n")
    replay.replay(judged.lake, judged.settings, out)
    assert counted(judged, strict) == [("p0", 2)]
    assert counted(judged, {}) == [("p0", 2)], "what was corrected would be valid by these rules"
