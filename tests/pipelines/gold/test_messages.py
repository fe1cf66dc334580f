"""Outcomes of messages: each subject alone gives what all together give, and counts are those of brute force."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from customer360.pipelines.campaigns import UNNAMED
from customer360.pipelines.gold.messages import message_outcomes
from customer360.pipelines.rules import EnrichmentRules
from customer360.pipelines.silver.behavior import Sessions
from customer360.pipelines.silver.campaign_names import CampaignNames, campaign_names, campaign_synonyms
from customer360.pipelines.silver.engagement import CampaignAliases, CampaignAudiences, Campaigns, Touches
from customer360.pipelines.silver.message_clicks import message_clicks
from customer360.pipelines.silver.sales import Transactions
from customer360.platform import tables

RULES, AS_OF = EnrichmentRules(), date(2026, 5, 1)
START = datetime(2026, 2, 1, 9, tzinfo=UTC)
OWNERS = {"c1": "P1", "c2": "P1", "c3": "P2", "c4": "a:CRM/c4"}  # accounts of persons, and one of nobody
Row = dict[str, Any]

AT = st.integers(0, 95).map(lambda day: START + timedelta(days=day))
TOUCHES = st.lists(st.fixed_dictionaries({
    "customer_id": st.sampled_from([*OWNERS]),
    "campaign_id": st.sampled_from(["C1", "fb_c1", "C2", "(not set)", None]),
    "message_id": st.sampled_from(["m1", "m2", None, None]),
    "channel": st.sampled_from(["EMAIL", "SMS"]),
    "action": st.sampled_from(["SENT", "SENT", "DELIVERED", "OPENED", "CLICKED", "CLICKED", "UNSUBSCRIBED"]),
    "is_machine": st.sampled_from([True, False, False]),
    "status": st.sampled_from(["SUCCESS", None, None, "BOUNCED"]),
    "occurred_at": AT,
}), max_size=30)  # fmt: skip
SALES = st.lists(st.fixed_dictionaries({
    "subject_id": st.sampled_from([*OWNERS.values()]),
    "occurred_at": AT,
    "is_sale": st.sampled_from([True, True, False]),
    "is_unconverted": st.sampled_from([True, False, None]),
    "gross_amount": st.integers(0, 9).map(Decimal),
}), max_size=8)  # fmt: skip
NAMED = [
    {"said": "C1", "campaign_id": "C1", "method": "ID"}, {"said": "C2", "campaign_id": None, "method": "UNRESOLVED"},
    {"said": "fb_c1", "campaign_id": "C1", "method": "PREFIX"},
    {"said": "(not set)", "campaign_id": None, "method": "NO_CAMPAIGN"},
]  # fmt: skip


def frame(table: type[tables.Table], rows: list[Row], **defaults: Any) -> pl.LazyFrame:
    schema = tables.schema(table)
    full = [{**dict.fromkeys(schema), **defaults, **row} for row in rows]
    return pl.DataFrame(full, schema=schema, orient="row").lazy()


NAMES = frame(CampaignNames, NAMED)


def touched(rows: list[Row]) -> pl.LazyFrame:
    owned = [
        {"engagement_id": str(n), "subject_id": OWNERS[row["customer_id"]], "person_id": OWNERS[row["customer_id"]],
         **row} for n, row in enumerate(rows)
    ]  # fmt: skip
    return frame(Touches, owned, source_system="CRM")


def sold(rows: list[Row]) -> pl.LazyFrame:
    return frame(Transactions, rows, source_system="SHOP", return_amount=Decimal(0))


def outcomes(touches: pl.LazyFrame, sales: pl.LazyFrame, names: pl.LazyFrame = NAMES) -> pl.DataFrame:
    made = message_outcomes(touches, message_clicks(touches, names), sales, names, AS_OF, RULES)
    return tables.conform(tables.by_name("gold.message_outcomes"), made).collect().sort(pl.all())


@settings(max_examples=60, deadline=None)
@given(TOUCHES, SALES)
def test_each_subject_alone_gives_what_all_together_give(rows: list[Row], sales: list[Row]) -> None:
    touches, trade = touched(rows), sold(sales)
    whole = outcomes(touches, trade)
    alone = [
        outcomes(touches.filter(pl.col("subject_id") == who), trade.filter(pl.col("subject_id") == who))
        for who in sorted(set(OWNERS.values()))
    ]
    assert pl.concat(alone).sort(pl.all()).equals(whole)
    key = [name for name, column in tables.by_name("gold.message_outcomes").columns().items() if column.primary_key]
    assert whole.select(key).is_unique().all() and not whole.select(key).null_count().sum_horizontal().item()


@settings(max_examples=60, deadline=None)
@given(TOUCHES, SALES)
def test_names_that_mean_themselves_say_nothing(rows: list[Row], sales: list[Row]) -> None:
    synonyms = campaign_synonyms(NAMES)
    assert synonyms.collect()["said"].to_list() == ["fb_c1", "(not set)"]
    assert outcomes(touched(rows), sold(sales), synonyms).equals(outcomes(touched(rows), sold(sales)))


@settings(max_examples=60, deadline=None)
@given(TOUCHES)
def test_earlier_messages_are_those_of_the_days_before(rows: list[Row]) -> None:
    told = outcomes(touched(rows), sold([])).to_dicts()
    sent = [r for r in told if r["sent_at"] and not r["is_bounced"]]
    days = timedelta(days=RULES.engagement.frequency_days)
    for row in told:
        earlier = sum(
            other["subject_id"] == row["subject_id"] and row["sent_at"] - days <= other["sent_at"] < row["sent_at"]
            for other in sent
        ) if row in sent else None  # fmt: skip
        assert row["earlier_count"] == earlier


@settings(max_examples=60, deadline=None)
@given(TOUCHES, SALES)
def test_each_purchase_is_credited_once_at_most_and_to_a_campaign(rows: list[Row], sales: list[Row]) -> None:
    told = outcomes(touched(rows), sold(sales))
    clicks = [
        (OWNERS[r["customer_id"]], r["occurred_at"]) for r in rows
        if r["action"] == "CLICKED" and not r["is_machine"] and r["status"] != "BOUNCED"
        and r["campaign_id"] not in (None, "(not set)")
    ]  # fmt: skip
    days, end = timedelta(days=RULES.engagement.conversion_days), datetime(2026, 5, 1, tzinfo=UTC)
    followed = [
        s for s in sales if s["is_sale"] and s["occurred_at"] < end
        and any(who == s["subject_id"] and s["occurred_at"] - days <= at <= s["occurred_at"] for who, at in clicks)
    ]  # fmt: skip
    assert told["conversion_count"].sum() == len(followed)
    assert told["unconverted_count"].sum() == sum(s["is_unconverted"] or False for s in followed)
    assert told["revenue_amount"].sum() == sum(s["gross_amount"] for s in followed)
    assert told.filter(campaign_id=UNNAMED)["conversion_count"].sum() == 0


def test_a_message_without_a_campaign_and_nothing_at_all() -> None:
    row: Row = {"customer_id": "c1", "message_id": "m1", "channel": "SMS", "action": "SENT", "occurred_at": START,
                "is_machine": False}  # fmt: skip
    (told,) = outcomes(touched([row]), sold([])).to_dicts()
    assert (told["campaign_id"], told["earlier_count"], told["revenue_amount"]) == (UNNAMED, 0, 0)
    assert outcomes(touched([]), sold([])).is_empty()


def test_a_campaign_that_is_listed_as_the_word_for_none_is_none() -> None:
    """Its messages and those without a campaign would have one key."""
    row: Row = {"customer_id": "c1", "message_id": "m1", "channel": "SMS", "action": "SENT", "occurred_at": START,
                "is_machine": False, "occurred_on": START.date()}  # fmt: skip
    touches = touched([{**row, "campaign_id": name} for name in (None, UNNAMED, "brand", "Nothing")])
    names = campaign_names(
        touches, frame(Sessions, []), frame(CampaignAudiences, []),
        frame(Campaigns, [{"campaign_id": UNNAMED, "campaign_name": "nothing"}]),
        frame(CampaignAliases, [{"spelling": "brand", "campaign_id": UNNAMED}]), RULES,
    )  # fmt: skip
    assert names.select("method", "campaign_id", "candidate_count").unique().collect().rows() == [
        ("NO_CAMPAIGN", None, 0)
    ]
    (told,) = outcomes(touches, sold([]), campaign_synonyms(names)).to_dicts()
    assert (told["campaign_id"], told["message"]) == (UNNAMED, "m1")
