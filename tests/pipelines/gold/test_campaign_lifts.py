"""What campaigns caused: DuckDB counts the same, and nothing is claimed where the comparison is not fair."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
from scipy.stats import norm

from customer360.pipelines.gold.campaign_lifts import campaign_lifts
from customer360.pipelines.rules import EnrichmentRules
from customer360.pipelines.silver.campaign_names import CampaignNames
from customer360.pipelines.silver.engagement import CampaignAudiences, Campaigns
from customer360.pipelines.silver.journey import SubjectDays
from customer360.platform import tables

RULES, AS_OF, ASSIGNED = EnrichmentRules(), date(2026, 5, 1), date(2026, 3, 1)
NO_RATES = pl.LazyFrame(schema={"currency": pl.String, "on": pl.Date, "valid_until_on": pl.Date, "rate": pl.Float64})

INDEPENDENT = """
WITH people AS (
  SELECT campaign_id, subject_id, bool_and(is_treated) AS treated,
         count(DISTINCT source_system || '/' || customer_id) = 1 AS clear,
         min(assigned_on) AS begins FROM audiences WHERE assigned_on < $end GROUP BY ALL),
judged AS (
  SELECT *, EXISTS (SELECT 1 FROM days d WHERE d.subject_id = p.subject_id AND d.order_count > 0
                    AND d."on" >= begins AND d."on" < begins + 14) AS buys,
         (SELECT coalesce(sum(net_amount), 0) FROM days d WHERE d.subject_id = p.subject_id
          AND d."on" >= begins AND d."on" < begins + 14) AS net
  FROM people p WHERE clear AND begins + 14 <= $end)
SELECT campaign_id, count(*) FILTER (treated) AS treated_count, count(*) FILTER (NOT treated) AS control_count,
       count(*) FILTER (treated AND buys) AS treated_buyer_count,
       count(*) FILTER (NOT treated AND buys) AS control_buyer_count,
       coalesce(sum(net) FILTER (treated), 0) AS treated_net_amount
FROM judged GROUP BY campaign_id ORDER BY campaign_id
"""


def test_duckdb_counts_the_same(retailer) -> None:  # type: ignore[no-untyped-def]
    inputs = ("silver.campaign_audiences", "silver.campaigns", "silver.campaign_synonyms", "silver.subject_days",
              "silver.reporting_rates", "silver.reporting_currency")  # fmt: skip
    frames = {name: retailer.frame(name) for name in inputs}
    ours = campaign_lifts(*frames.values(), retailer.as_of, RULES).sort("campaign_id").collect()
    with duckdb.connect() as base:
        base.register("audiences", frames["silver.campaign_audiences"].collect().to_arrow())
        base.register("days", frames["silver.subject_days"].collect().to_arrow())
        theirs = base.sql(INDEPENDENT, params={"end": retailer.as_of}).pl()
    told = ours.filter(pl.col("treated_count") + pl.col("control_count") > 0)
    assert told.height == theirs.height > 10
    for column in theirs.columns:
        assert told[column].to_list() == theirs[column].to_list(), column


def frame(table: type[tables.Table], rows: list[dict[str, Any]]) -> pl.LazyFrame:
    schema = tables.schema(table)
    return pl.DataFrame([{**dict.fromkeys(schema), **row} for row in rows], schema=schema, orient="row").lazy()


def lifts(
    treated: int, control: int, buys: tuple[int, int] = (0, 0), before: tuple[int, int] = (0, 0),
    listed: dict[str, Any] | None = None, more: list[dict[str, Any]] = [], as_of: date = AS_OF,  # noqa: B006
    traded_too: list[dict[str, Any]] = [],  # noqa: B006
) -> dict[str, Any]:  # fmt: skip
    """The row of C1: so many treated and held back, of each group so many who buy after and before."""
    groups = {True: treated, False: control}
    chosen = [
        {"customer_id": f"{t}{n}", "subject_id": f"{t}{n}", "campaign_id": "C1", "is_treated": t,
         "assigned_on": ASSIGNED}
        for t, size in groups.items() for n in range(size)
    ]  # fmt: skip
    traded = [
        {"subject_id": f"{t}{n}", "on": day, "order_count": 1, "net_amount": Decimal("10.00")}
        for counts, day in ((buys, ASSIGNED), (before, ASSIGNED - timedelta(days=1)))
        for t, count in zip(groups, counts, strict=True) for n in range(count)
    ]  # fmt: skip
    table = campaign_lifts(
        frame(CampaignAudiences, chosen + more), frame(Campaigns, [{"campaign_id": "C1", **(listed or {})}]),
        frame(CampaignNames, []), frame(SubjectDays, traded + traded_too), NO_RATES,
        pl.LazyFrame({"currency": ["EUR"]}), as_of, RULES,
    ).collect()  # fmt: skip
    return table.filter(campaign_id="C1").row(0, named=True)


def test_an_effect_is_told_with_what_it_brought_and_cost() -> None:
    row = lifts(1000, 500, (150, 40), listed={"spent_amount": Decimal("700.00"), "control_share": 0.333})
    assert row["status"] == "HIGHER" and row["difference"] == pytest.approx(0.07)
    assert row["difference_low"] < 0.07 < row["difference_high"]
    assert row["incremental_buyer_count"] == pytest.approx(70) and row["cost_per_incremental_buyer"] == pytest.approx(
        10
    )
    assert row["incremental_net_amount"] == pytest.approx(700)
    assert row["incremental_net_amount_low"] < 700 < row["incremental_net_amount_high"]
    error = np.sqrt(190 / 1500 * (1 - 190 / 1500) * (1 / 1000 + 1 / 500))
    assert row["p_value"] == pytest.approx(2 * norm.sf(0.07 / error))
    assert lifts(1000, 500, (80, 75))["status"] == "LOWER"
    assert lifts(1000, 500, (80, 40))["status"] == "NO_DIFFERENCE_SHOWN"


def test_a_list_of_campaigns_is_corrected_for_its_length() -> None:
    """One campaign of which p is .03 is a finding; beside nineteen without an effect it is what chance brings."""
    chosen, traded = [], []
    for number in range(20):
        for treated in (True, False):
            buyers = (128 if treated else 98) if number == 0 else 110
            for n in range(1000):
                who = f"{number}/{treated}{n}"
                chosen.append({"customer_id": who, "subject_id": who, "campaign_id": f"C{number}",
                               "is_treated": treated, "assigned_on": ASSIGNED})  # fmt: skip
                if n < buyers:
                    traded.append({"subject_id": who, "on": ASSIGNED, "order_count": 1, "net_amount": Decimal("10.00")})

    def told(campaigns: int) -> dict[str, Any]:
        kept = [row for row in chosen if int(str(row["campaign_id"])[1:]) < campaigns]
        table = campaign_lifts(
            frame(CampaignAudiences, kept), frame(Campaigns, []), frame(CampaignNames, []), frame(SubjectDays, traded),
            NO_RATES, pl.LazyFrame({"currency": ["EUR"]}), AS_OF, RULES,
        ).collect()  # fmt: skip
        return table.filter(campaign_id="C0").row(0, named=True)

    alone, among = told(1), told(20)
    assert alone["p_value"] == among["p_value"] == pytest.approx(0.0346, abs=1e-3)
    assert (alone["status"], alone["net_amount_status"]) == ("HIGHER", "HIGHER")
    assert (among["status"], among["net_amount_status"]) == ("NO_DIFFERENCE_SHOWN",) * 2
    assert alone["q_value"] == alone["p_value"] and among["q_value"] == pytest.approx(20 * among["p_value"])


def test_money_is_judged_beside_buyers_and_against_the_spending() -> None:
    """As many buy, those who were chosen for ten times as much."""
    rich = [{"subject_id": f"True{n}", "on": ASSIGNED, "order_count": 1, "net_amount": Decimal("90.00")}
            for n in range(100)]  # fmt: skip
    row = lifts(1000, 1000, (100, 100), listed={"spent_amount": Decimal("3000.00")}, traded_too=rich)
    assert (row["status"], row["net_amount_status"]) == ("NO_DIFFERENCE_SHOWN", "HIGHER")
    assert row["incremental_net_amount"] == pytest.approx(9000) and row["incremental_roi"] == pytest.approx(2)
    assert 0 < row["incremental_roi_low"] < 2 < row["incremental_roi_high"]
    assert row["balance_p_value"] is None, "nobody bought before: nothing was compared"


@pytest.mark.parametrize(
    ("row", "status"),
    [
        (lifts(500, 0, (50, 0)), "NO_HOLDOUT"),
        (lifts(0, 0), "NO_HOLDOUT"),
        (lifts(500, 99, (200, 1)), "NOT_ENOUGH_EVIDENCE"),
        (lifts(500, 500, (4, 0)), "NOT_ENOUGH_EVIDENCE"),
        (lifts(600, 400, (200, 20), listed={"control_share": 0.5}), "SAMPLE_RATIO_MISMATCH"),
        (lifts(500, 500, (200, 20), before=(150, 50)), "UNBALANCED_BEFORE"),
        (lifts(500, 500, as_of=ASSIGNED + timedelta(days=13)), "RUNNING"),
    ],
)
def test_what_cannot_be_compared_is_not(row: dict[str, Any], status: str) -> None:
    assert row["status"] == status
    assert row["cost_per_incremental_buyer"] is None


def drawn(who: str, account: str, is_treated: bool) -> dict[str, Any]:
    return {"customer_id": account, "subject_id": who, "campaign_id": "C1", "is_treated": is_treated,
            "assigned_on": ASSIGNED}  # fmt: skip


def test_who_was_drawn_twice_is_in_neither_group_whatever_was_drawn() -> None:
    row = lifts(200, 200, (2, 0), more=[drawn("True0", "other", False), drawn("True1", "another", True)])
    counts = ("treated_count", "control_count", "both_count", "several_count", "treated_buyer_count")
    assert [row[c] for c in counts] == [198, 200, 1, 2, 0]


def test_a_draw_of_accounts_is_judged_by_accounts_and_makes_no_effect() -> None:
    """A tenth of the accounts is held back; a fifth of the people have two accounts and all buy, as few others do."""
    rng = np.random.default_rng(7)
    more = [drawn(f"T{n}", f"T{n}/{k}", bool(rng.random() < 0.9)) for n in range(1000) for k in range(2)]
    traded = [{"subject_id": f"T{n}", "on": ASSIGNED, "order_count": 1, "net_amount": Decimal("10.00")}
              for n in range(1000)]  # fmt: skip
    row = lifts(3600, 400, (360, 40), listed={"control_share": 0.1}, more=more, traded_too=traded)
    assert row["status"] == "NO_DIFFERENCE_SHOWN" and row["sample_ratio_p_value"] > 0.01
    assert row["several_count"] == 1000 and 0 < row["both_count"] < 400


def test_newcombe_s_interval_is_that_of_his_paper() -> None:
    """56 of 70 against 48 of 80: 0.2, from 0.0524 to 0.3339 (Newcombe 1998, table II, method 10)."""
    from customer360.pipelines.inference.proportions import newcombe

    counts = pl.DataFrame({"a": [56], "m": [70], "b": [48], "n": [80]})
    low, high = newcombe(pl.col("a"), pl.col("m"), pl.col("b"), pl.col("n"), 0.95)
    assert counts.select(low.round(4).alias("low"), high.round(4).alias("high")).row(0) == (0.0524, 0.3339)
