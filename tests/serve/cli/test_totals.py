"""What the demo prints: a bounded number of lines however many tables there are, and every sum that does not hold."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import polars as pl

from customer360.pipelines.gold.customers import GROUPS, Customer360
from customer360.platform.ledger import NodeRun, Run
from customer360.platform.quality import Balance
from customer360.platform.warehouse.load import LoadReport, TableLoad
from customer360.platform.warehouse.reconcile import Check
from customer360.serve.cli import portrait, totals
from customer360.serve.publication.quality import Overview

TABLES = 200


def test_conservation_is_a_line_a_kind_of_sum() -> None:
    sums = [(f"bronze.t{n}", Balance(f"feed{n} #1", 10, {"landed": 9, "dead": 1})) for n in range(TABLES)]
    made = [(f"silver.t{n}", Balance(f"silver.t{n}", 9, {"silver": 8, "quarantined": 1})) for n in range(TABLES)]
    landed, built = totals.conserved([*sums, *made])
    assert landed == "200 of 200 batches hold: 2,000 = 1,800 landed + 200 dead"
    assert built == "200 of 200 tables hold: 1,800 = 1,600 silver + 200 quarantined"


def test_what_does_not_hold_is_named() -> None:
    made = [(f"silver.t{n}", Balance(f"silver.t{n}", 9 + (n == 7), {"silver": 9})) for n in range(TABLES)]
    said = totals.conserved(made)
    assert said[0].startswith("199 of 200 tables hold: 1,801 = 1,800 silver") and "DOES NOT HOLD" in said[0]
    assert said[1:] == ["  silver.t7: 10 = 9 silver   DOES NOT HOLD"]
    assert totals.conserved([]) == []


def test_sums_that_differ_both_ways_do_not_cancel_out() -> None:
    made = [("silver.a", Balance("silver.a", 9, {"silver": 8})), ("silver.b", Balance("silver.b", 7, {"silver": 8}))]
    said = totals.conserved(made)
    assert said[0].startswith("0 of 2 tables hold") and len(said) == 3


def test_a_load_of_the_warehouse_is_a_line_a_kind_of_sum() -> None:
    names = [f"customer.t{n}" for n in range(TABLES)]
    checks = [Check(t, m, 5, 5) for t in names for m in ("rows", "net_amount")]
    checks += [Check(t, "product_id without a row in customer.dim_products", 0, 0) for t in names]
    report = LoadReport([TableLoad(t, 1000, 10, 16, 16) for t in names], checks)
    assert totals.loaded(report) == [
        "warehouse: 200 tables, 200,000 rows, 2,000 changed",
        "rows: 200 of 200 tables hold, 200 compared with the lake",
        "sums of columns: 200 of 200 tables hold, 200 compared with the lake",
        "references: 200 of 200 tables hold, 200 compared with the lake",
    ]
    wrong = LoadReport(report.tables, [*checks, Check("customer.t3", "tax_amount", 5, 6)])
    said = totals.loaded(wrong)
    assert "sums of columns: 199 of 200 tables hold, 201 compared with the lake" in said
    assert "  customer.t3 tax_amount: 5 in the star, 6 in the lake" in said and len(said) == 5


def test_a_run_is_a_line_a_layer() -> None:
    nodes = [NodeRun(f"source f{n}", "built", rows=10) for n in range(TABLES)]
    nodes += [NodeRun(f"silver.t{n}", "built" if n else "current", rows=5) for n in range(TABLES)]
    nodes += [NodeRun("gold.predictions/churn", "built", rows=7), NodeRun("gold.x", "failed")]
    assert totals.built(Run("1", "2026-01-01", "demo", nodes=nodes)) == [
        "bronze    200 built, 2,000 rows",
        "silver    1 current, 199 built, 995 rows",
        "gold      1 built, 1 failed, 7 rows",
    ]


def test_quality_is_three_lines() -> None:
    count = pl.Series([10] * TABLES)
    measured = pl.DataFrame({"table_name": [f"bronze.t{n}" for n in range(TABLES)],
                             "quality_score": [None, *(50.0 + n / 4 for n in range(1, TABLES))],
                             "total_records": count, "valid_records": count - 1, "invalid_records": count - 9})  # fmt: skip  # noqa: E501
    alerts = pl.DataFrame({"table_name": [f"bronze.t{n}" for n in range(TABLES)], "dimension": "validity",
                           "cleared_at": pl.Series([None] * TABLES, dtype=pl.Datetime)})  # fmt: skip
    scores = pl.DataFrame({"needs_data": [True, False]})
    none = pl.DataFrame()
    said = totals.graded(Overview(measured, none, none, alerts, scores, none, none, none))
    assert said[0].startswith("quality of 200 tables: scores from 50.2 (bronze.t1) to 100; 2,000 rows = 1,800 valid")
    assert said[1].startswith("alerts that stand: 200, first bronze.t0 validity, ") and len(said[1]) < portrait.WIDTH
    assert said[2] == "people who need more data: 1 of 2"


def test_a_profile_is_at_most_a_line_a_group() -> None:
    row: dict[str, Any] = dict.fromkeys(Customer360.columns())
    said = list(portrait.profile(row))
    assert len(said) == 1 and said[0].startswith("  no fact yet: identity (")
    row |= {name: Decimal("12.5") for name in GROUPS["value"].columns()}
    row |= {f"{name}_until_at": datetime(2026, 1, 1, tzinfo=UTC) for name in GROUPS}
    row |= {"churn_reasons": [{"feature": "recency_days", "value": 3.0, "contribution": 0.5}] * 40}
    said = list(portrait.profile(row))
    assert len(said) == 3 and all(len(line) <= portrait.WIDTH for line in said)
    assert said[0].startswith("  value       2026-01-01  first_purchase_on 12.5; ")
    assert "recency_days = 3 (+0.50)" in said[1]


def test_an_answer_is_a_line_and_one_an_item() -> None:
    items = [{"rank": n, "name": "x" * 300} for n in range(5)]
    said = list(portrait.answer({"generation": "1", "is_stale": False, "items": items, "withheld": [], "profile": {}}))
    assert len(said) == 6 and all(len(line) <= portrait.WIDTH for line in said)
    assert said[0] == '  {"is_stale": false, "withheld": [], "profile": "0 columns, as above"}'


def test_a_portrait_says_that_nobody_asked() -> None:
    """A person without any answer is not one without consent columns: what was never asked is named."""
    from customer360.serve.cli import portrait
    from customer360.serve.compose import compose

    compose()
    from customer360.platform import tables

    empty = dict.fromkeys(tables.by_name("gold.customer_360").columns())
    asked = {"unanswered_purposes": ["PERSONALIZATION", "EMAIL", "SMS", "PHONE", "PUSH"], "may_email": False}
    line = next(line for line in portrait.profile(empty | asked) if "consent" in line)
    assert line.split()[:3] == ["consent", "not", "asked"] and "EMAIL" in line and "may_email False" in line
