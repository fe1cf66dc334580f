"""Funnels and revenue of campaigns: DuckDB counts the same, nothing is counted twice, programs are set apart."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customer360.pipelines.campaigns import clicks_of, messages_of
from customer360.pipelines.gold.campaigns import campaign_performance
from customer360.pipelines.gold.messages import message_outcomes
from customer360.pipelines.rules import EnrichmentRules
from customer360.pipelines.silver.campaign_names import CampaignNames
from customer360.pipelines.silver.engagement import Campaigns, Touches
from customer360.pipelines.silver.message_clicks import message_clicks
from customer360.pipelines.silver.sales import Transactions
from customer360.platform import tables

RULES, AS_OF = EnrichmentRules(), date(2026, 5, 1)
START = datetime(2026, 3, 1, 9, tzinfo=UTC)
Row = dict[str, Any]

INDEPENDENT = """
WITH named AS (
  SELECT CASE WHEN n.method = 'NO_CAMPAIGN' THEN NULL ELSE coalesce(n.campaign_id, t.campaign_id) END AS campaign_id,
         t.* EXCLUDE (campaign_id), date_trunc('day', t.occurred_at) AS day, coalesce(t.status, 'SUCCESS') = 'SUCCESS' AS fine
  FROM touches t LEFT JOIN names n ON n.said = t.campaign_id WHERE t.occurred_at < $end),
meant AS (
  SELECT t.*, t.source_system || '/' || t.customer_id || '/' || coalesce(t.message_id, t.campaign_id || ' ' || greatest(1,
           (SELECT count(DISTINCT s.day) FROM named s WHERE s.action = 'SENT' AND s.message_id IS NULL AND s.occurred_at <= t.occurred_at
            AND (s.source_system, s.customer_id, s.campaign_id, s.channel) = (t.source_system, t.customer_id, t.campaign_id, t.channel)))) AS message
  FROM named t),
messages AS (
  SELECT campaign_id, channel, source_system, message, min(subject_id) AS subject_id,
         bool_or(fine AND NOT is_machine AND action = 'CLICKED') AS clicked,
         bool_or(fine AND NOT is_machine AND action IN ('OPENED', 'CLICKED')) AS opened,
         bool_or(fine AND action IN ('DELIVERED', 'OPENED', 'CLICKED', 'UNSUBSCRIBED')) AS arrived,
         bool_or(NOT fine) AS failed, bool_or(fine AND action = 'UNSUBSCRIBED') AS left_,
         bool_or(fine AND action = 'DELIVERED') AS reported,
         min(occurred_at) FILTER (fine AND NOT is_machine AND action = 'CLICKED') AS clicked_at
  FROM meant WHERE campaign_id IS NOT NULL GROUP BY ALL),
staged AS (
  SELECT *, CASE WHEN bool_or(reported) OVER (PARTITION BY campaign_id, channel, source_system) THEN arrived
                 ELSE arrived OR NOT failed END AS delivered FROM messages),
credited AS (
  SELECT m.campaign_id, m.channel, s.transaction_id, s.gross_amount - CASE WHEN s.returned_at < $end THEN s.return_amount ELSE 0 END AS revenue
  FROM sales s JOIN meant m ON m.subject_id = s.subject_id AND m.fine AND NOT m.is_machine AND m.action = 'CLICKED'
   AND m.campaign_id IS NOT NULL AND m.occurred_at <= s.occurred_at AND s.occurred_at - m.occurred_at <= INTERVAL 90 DAY
  WHERE s.is_sale AND s.occurred_at < $end
  QUALIFY row_number() OVER (PARTITION BY s.source_system, s.transaction_id ORDER BY m.occurred_at DESC) = 1)
SELECT campaign_id, channel, count(*) AS sent_count, count(*) FILTER (delivered) AS delivered_count,
       count(*) FILTER (opened) AS opened_count, count(*) FILTER (clicked) AS clicked_count,
       count(*) FILTER (left_) AS unsubscribed_count, count(*) FILTER (failed AND NOT arrived) AS bounced_count,
       count(DISTINCT subject_id) AS sent_person_count, count(DISTINCT subject_id) FILTER (clicked) AS clicked_person_count,
       (SELECT count(*) FROM credited c WHERE c.campaign_id = s.campaign_id AND c.channel = s.channel) AS conversion_count,
       (SELECT coalesce(sum(revenue), 0) FROM credited c WHERE c.campaign_id = s.campaign_id AND c.channel = s.channel) AS revenue_amount
FROM staged s GROUP BY ALL
"""  # noqa: E501


def test_duckdb_counts_the_same(retailer) -> None:  # type: ignore[no-untyped-def]
    inputs = ("silver.touches", "silver.campaigns", "silver.campaign_names", "silver.transactions",
              "silver.reporting_rates", "silver.reporting_currency")  # fmt: skip
    frames = {name: retailer.frame(name) for name in inputs}
    rules = EnrichmentRules.model_validate({"engagement": {"conversion_days": 90}})  # few click and buy within a week
    told = message_outcomes(
        frames["silver.touches"], retailer.frame("silver.message_clicks"), frames["silver.transactions"],
        retailer.frame("silver.campaign_synonyms"), retailer.as_of, rules,
    )  # fmt: skip
    rest = [frames[n] for n in ("silver.campaigns", "silver.reporting_rates", "silver.reporting_currency")]
    ours = campaign_performance(told, *rest, retailer.as_of, rules).collect()
    with duckdb.connect() as base:
        base.sql("SET TimeZone = 'UTC'")
        for name, table in {
            "touches": "silver.touches",
            "names": "silver.campaign_names",
            "sales": "silver.transactions",
        }.items():
            base.register(name, frames[table].collect().to_arrow())
        theirs = base.sql(INDEPENDENT, params={"end": datetime.combine(retailer.as_of, datetime.min.time(), UTC)}).pl()
    ours, theirs = (rows.sort("campaign_id", "channel") for rows in (ours, theirs))
    assert ours.height == theirs.height > 20
    for column in theirs.columns:
        assert ours[column].to_list() == theirs[column].to_list(), column
    assert ours["conversion_count"].sum() > 5


def frame(table: type[tables.Table], rows: list[Row], **defaults: Any) -> pl.LazyFrame:
    schema = tables.schema(table)
    full = [{**dict.fromkeys(schema), **defaults, **row} for row in rows]
    return pl.DataFrame(full, schema=schema, orient="row").lazy()


def events(*rows: Row) -> pl.LazyFrame:
    numbered = [{"engagement_id": str(n), "occurred_at": START, **row} for n, row in enumerate(rows)]
    return frame(
        Touches, numbered, source_system="CRM", customer_id="c1", subject_id="P1", channel="EMAIL", campaign_id="C1",
        is_machine=False,
    )  # fmt: skip


def performance(touches: pl.LazyFrame, sales: list[Row] = [], campaigns: list[Row] = []) -> pl.DataFrame:  # noqa: B006
    sold = frame(
        Transactions, sales, source_system="SHOP", subject_id="P1", is_sale=True, return_amount=Decimal(0),
        is_unconverted=False,
    )  # fmt: skip
    exchange = pl.LazyFrame(
        [("USD", date(2026, 2, 1), None, 0.5)], schema={"currency": pl.String, "on": pl.Date, "valid_until_on": pl.Date, "rate": pl.Float64}, orient="row"  # noqa: E501
    )  # fmt: skip
    names = frame(CampaignNames, [{"said": "fb_c1", "campaign_id": "C1", "method": "PREFIX"}])
    told = message_outcomes(touches, message_clicks(touches, names), sold, names, AS_OF, RULES)
    return campaign_performance(
        told, frame(Campaigns, campaigns), exchange, pl.LazyFrame({"currency": ["EUR"]}), AS_OF, RULES
    ).collect()


def test_each_message_and_each_person_counts_once_a_stage() -> None:
    sent = [{"action": "SENT", "message_id": m} for m in ("m1", "m2")]
    answers = [{"action": a, "message_id": "m1"} for a in ("OPENED", "OPENED", "CLICKED", "CLICKED")]
    only_clicked = {"action": "CLICKED", "message_id": "m2", "campaign_id": "fb_c1"}
    row = performance(events(*sent, *answers, only_clicked)).row(0, named=True)
    counts = {
        stage: (row[f"{stage}_count"], row[f"{stage}_person_count"])
        for stage in ("sent", "delivered", "opened", "clicked")
    }
    assert set(counts.values()) == {(2, 1)}, "a click without an opening is an opening, without a delivery a delivery"


def test_openings_by_programs_are_in_no_rate() -> None:
    fetched = {"action": "OPENED", "is_machine": True}
    clicked = {"action": "CLICKED", "is_machine": True, "customer_id": "c2", "subject_id": "P2"}
    row = performance(events({"action": "SENT"}, fetched, clicked)).row(0, named=True)
    assert (row["opened_count"], row["clicked_count"], row["machine_opened_count"]) == (0, 0, 2)
    assert row["open_rate"] == 0


def test_a_bounce_is_no_delivery_and_unknown_sendings_give_no_rate() -> None:
    bounced = {"action": "SENT", "status": "BOUNCED", "customer_id": "c2", "subject_id": "P2"}
    row = performance(events({"action": "SENT"}, bounced)).row(0, named=True)
    assert (row["sent_count"], row["delivered_count"], row["bounced_count"]) == (2, 1, 1)
    row = performance(events({"action": "OPENED"}, {"action": "CLICKED"})).row(0, named=True)
    assert row["opened_count"] == 1 and row["open_rate"] is None and row["click_to_open_rate"] == 1


def test_a_purchase_is_credited_to_the_latest_click_alone_and_costs_are_of_the_reporting_currency() -> None:
    touches = events(
        {"action": "SENT"}, {"action": "CLICKED"},
        {"action": "CLICKED", "campaign_id": "C2", "occurred_at": START + timedelta(days=1)},
    )  # fmt: skip
    sales = [
        {"transaction_id": "t1", "occurred_at": START + timedelta(days=2), "gross_amount": Decimal("30.00")},
        {"transaction_id": "t2", "occurred_at": START + timedelta(hours=1), "gross_amount": Decimal("20.00"),
         "return_amount": Decimal("5.00"), "returned_at": START + timedelta(days=9)},
        {"transaction_id": "late", "occurred_at": START + timedelta(days=30), "gross_amount": Decimal("99.00")},
    ]  # fmt: skip
    listed = [{"campaign_id": "C1", "campaign_name": "Spring", "spent_amount": Decimal("20.00"), "currency": "USD",
               "started_on": date(2026, 2, 3)}]  # fmt: skip
    rows = performance(touches, sales, listed).sort("campaign_id").rows(named=True)
    assert [(r["conversion_count"], r["revenue_amount"]) for r in rows] == [(1, Decimal(15)), (1, Decimal(30))]
    assert rows[0]["spent_amount"] == Decimal("10.00") and rows[0]["message_roi"] == pytest.approx(0.5)
    assert rows[0]["cost_per_click"] == pytest.approx(10) and rows[1]["spent_amount"] is None
    assert all(r["is_final"] for r in rows) and [r["is_listed"] for r in rows] == [True, False]


def test_a_later_click_on_a_message_is_credited_too() -> None:
    touches = events(
        {"action": "SENT"}, *({"action": "CLICKED", "occurred_at": START + timedelta(days=d)} for d in (1, 57))
    )  # fmt: skip
    sold = [{"transaction_id": "t1", "occurred_at": START + timedelta(days=57, hours=1), "gross_amount": Decimal(30)}]
    row = performance(touches, sold).row(0, named=True)
    assert (row["clicked_count"], row["converted_count"], row["conversion_count"]) == (1, 1, 1)
    assert row["revenue_amount"] == 30 and not row["is_final"], "the days after the second click are not over"


def test_without_an_id_each_day_of_sending_is_a_message_of_its_own() -> None:
    weekly = [START + timedelta(days=7 * n) for n in range(4)]
    sent = [{"action": "SENT", "occurred_at": at} for at in [*weekly, START + timedelta(hours=1)]]
    opened = [{"action": "OPENED", "occurred_at": at + timedelta(hours=2)} for at in weekly[1:3]]
    late = {"action": "OPENED", "occurred_at": weekly[2] + timedelta(days=1)}
    other = [{"action": "SENT", "message_id": "m1", "occurred_at": at} for at in weekly]
    row = performance(events(*sent, *opened, late)).row(0, named=True)
    assert (row["sent_count"], row["opened_count"], row["sent_person_count"]) == (4, 2, 1)
    assert performance(events(*other))["sent_count"].to_list() == [1], "the platform's id tells"


TOUCHED = st.fixed_dictionaries({
    "customer_id": st.sampled_from(["c1", "c2", None]),
    "campaign_id": st.sampled_from(["C1", "fb_c1", "C2", None]),
    "message_id": st.sampled_from(["m1", None, None]),
    "action": st.sampled_from(["SENT", "SENT", "OPENED", "CLICKED", "CLICKED"]),
    "is_machine": st.sampled_from([True, False, False, None]),
    "status": st.sampled_from(["SUCCESS", None, None, "FAILED"]),
    "occurred_at": st.integers(0, 70).map(lambda hour: START + timedelta(hours=hour)),
})  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.lists(TOUCHED, max_size=14))
def test_clicks_are_of_the_messages_that_all_events_make(rows: list[Row]) -> None:
    """Clicks are numbered among what was sent to their accounts alone; all events give the same."""
    touches, names = events(*rows), frame(CampaignNames, [{"said": "fb_c1", "campaign_id": "C1", "method": "PREFIX"}])
    message = ["source_system", "customer_id", "campaign_id", "channel", "message"]
    told = messages_of(touches, names, AS_OF).drop_nulls("clicked_at").select(*message, "clicked_at", "last_clicked_at")
    clicks = clicks_of(touches, names).group_by(message).agg(
        clicked_at=pl.col("occurred_at").min(), last_clicked_at=pl.col("occurred_at").max()
    )  # fmt: skip
    assert clicks.collect().sort(pl.all()).equals(told.collect().sort(pl.all()))


def test_what_comes_later_changes_nothing(retailer) -> None:  # type: ignore[no-untyped-def]
    day = retailer.as_of - timedelta(days=60)
    touches, sales = retailer.frame("silver.touches"), retailer.frame("silver.transactions")
    names = retailer.frame("silver.campaign_synonyms")
    rest = [
        retailer.frame(f"silver.{n}") for n in ("campaigns", "reporting_rates", "reporting_currency")
    ]  # fmt: skip
    made = [
        campaign_performance(message_outcomes(t, message_clicks(t, names), s, names, day, RULES), *rest, day, RULES)
        .sort("campaign_id", "channel")
        .collect()
        for t, s in (
            (touches, sales),
            (touches.filter(pl.col("occurred_on") < day), sales.filter(pl.col("occurred_on") < day)),
        )
    ]
    assert made[0].height and made[0].equals(made[1])
