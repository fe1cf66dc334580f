"""How campaigns do: who got, opened and clicked their messages, what was bought after a click, what it cost."""

from __future__ import annotations

from datetime import date

import polars as pl

from customer360.pipelines.campaigns import (
    UNNAMED,
    midnight,
    rates,
    reporting,
    spending,
    stages,
)
from customer360.pipelines.inference.proportions import squares_of
from customer360.pipelines.money import TOTAL, UNSTATED
from customer360.pipelines.rules import EnrichmentRules
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Float, Integer, String, Table, Timestamp, Total

STAGES = ("sent", "delivered", "opened", "clicked", "converted", "unsubscribed", "bounced", "machine_opened")
PEOPLE = ("sent", "delivered", "opened", "clicked", "converted")
RATES = {  # name to count and what it is counted among
    "delivered": ("delivered_count", "sent_count"),
    "open": ("opened_count", "delivered_count"),
    "click": ("clicked_count", "delivered_count"),
    "click_to_open": ("clicked_count", "opened_count"),
    "conversion": ("converted_count", "clicked_count"),
    "unsubscribe": ("unsubscribed_count", "delivered_count"),
}
ALONE = {  # rates that say nothing where nobody reported what was sent
    name for name, (_, among) in RATES.items() if among in ("sent_count", "delivered_count")
}


class CampaignPerformance(
    Table, table="gold.campaign_performance", partition_by=("as_of",), sort_by=("campaign_id", "channel")
):
    """One row per campaign, channel and as_of date: its funnel, each message and each person counted once a stage.

    A stage that a later one needs was passed: a click without a reported opening is an opening, and no rate is above
    1. Openings by programs (Apple Mail Privacy Protection, scanners) are counted apart and in no rate. Revenue is what
    followed a click, not what the campaign caused: gold.campaign_lifts tells that where people were held back.
    """

    campaign_id = String(primary_key=True, description="As listed; a name that means no listed one stands as it is")
    channel = String(primary_key=True, description="As the platform names it: EMAIL, SMS, …")
    as_of = Date(primary_key=True)
    campaign_name = String(nullable=True, description="As listed; null where none is")
    is_listed = Boolean(description="Whether a list of campaigns has it")
    first_sent_at = Timestamp(nullable=True, description="Null where the platform reports no sending")
    last_sent_at = Timestamp(nullable=True, description="See first_sent_at")
    sent_count = Integer(description="Messages of which anything is known")
    delivered_count = Integer(description="Reported, or followed by an answer; where no delivery of the campaign is"
                              " reported, all that did not bounce")  # fmt: skip
    opened_count = Integer(description="By a person: opened or clicked")
    clicked_count = Integer(description="By a person")
    converted_count = Integer(description="Clicked messages that a purchase within the rule's days is credited to")
    unsubscribed_count = Integer(description="Messages after which somebody unsubscribed")
    bounced_count = Integer(description="Failed and never delivered")
    machine_opened_count = Integer(description="Fetched by programs, whether a person opened it too or not")
    sent_person_count = Integer(description="Subjects (people, else accounts): each once, over all messages")
    delivered_person_count = Integer(description="As sent_person_count, of delivered ones")
    opened_person_count = Integer(description="Of opened ones")
    clicked_person_count = Integer(description="Of clicked ones")
    converted_person_count = Integer(description="Of those followed by a purchase")
    delivered_rate = Float(
        nullable=True,
        description="Of messages, with Wilson's interval, wider as those of one subject are alike. Null where nothing"
        " is"
        " counted among, and where the platform reports neither sending nor delivery",
    )
    delivered_rate_low = Float(nullable=True)
    delivered_rate_high = Float(nullable=True)
    open_rate = Float(nullable=True, description="opened_count / delivered_count")
    open_rate_low = Float(nullable=True)
    open_rate_high = Float(nullable=True)
    click_rate = Float(nullable=True, description="clicked_count / delivered_count")
    click_rate_low = Float(nullable=True)
    click_rate_high = Float(nullable=True)
    click_to_open_rate = Float(nullable=True, description="clicked_count / opened_count")
    click_to_open_rate_low = Float(nullable=True)
    click_to_open_rate_high = Float(nullable=True)
    conversion_rate = Float(nullable=True, description="converted_count / clicked_count")
    conversion_rate_low = Float(nullable=True)
    conversion_rate_high = Float(nullable=True)
    unsubscribe_rate = Float(nullable=True, description="unsubscribed_count / delivered_count")
    unsubscribe_rate_low = Float(nullable=True)
    unsubscribe_rate_high = Float(nullable=True)
    median_minutes_to_open = Float(nullable=True, description="From sending; as the platform says, else as it is seen")
    median_minutes_to_click = Float(nullable=True, description="As median_minutes_to_open")
    currency = String(description=f"The reporting currency, of all amounts; {UNSTATED}: nothing names one")
    conversion_count = Integer(description="Purchases credited, each to the latest click before it and to no other")
    unconverted_count = Integer(description="Of these, in a currency without a rate: in no amount")
    revenue_amount = Total(description="Of these purchases, less what was given back of them before as_of")
    spent_amount = Total(
        nullable=True,
        description="The campaign's spending at the rate of its first day, by channel as messages were sent; null"
        " where it is not known",
    )
    cost_per_response = Float(nullable=True, description="spent_amount / opened_count; null without one")
    cost_per_click = Float(nullable=True, description="spent_amount / clicked_count; null without one")
    cost_per_conversion = Float(nullable=True, description="spent_amount / conversion_count; null without one")
    message_roi = Float(
        nullable=True,
        description="(revenue_amount - spent_amount) / spent_amount: what followed clicks on messages against all that"
        " the campaign cost, its advertisements too; no measure of what it caused. Null without a spending",
    )
    is_final = Boolean(description="The days in which a purchase counts are over for every message")


@builds(
    CampaignPerformance,
    rules="enrichment",
    reads={
        "gold.message_outcomes": (
            "subject_id", "source_system", "campaign_id", "channel", "first_at", "sent_at", "opened_at", "clicked_at",
            "last_clicked_at", "says_delivered", "has_arrived", "is_bounced", "is_unsubscribed", "is_machine_opened",
            "minutes_to_open", "minutes_to_click", "conversion_count", "unconverted_count", "revenue_amount",
        ),
    },
)  # fmt: skip
def campaign_performance(
    gold_message_outcomes: pl.LazyFrame,
    silver_campaigns: pl.LazyFrame,
    silver_reporting_rates: pl.LazyFrame,
    silver_reporting_currency: pl.LazyFrame,
    as_of: date,
    params: EnrichmentRules,
) -> pl.LazyFrame:
    """Every campaign and channel of which a message is known before ``as_of``."""
    rules = params.engagement
    messages = gold_message_outcomes.filter(pl.col("campaign_id") != UNNAMED)
    told = stages(messages).with_columns(is_converted=pl.col("conversion_count") > 0)
    told = told.collect().lazy()  # used twice, it would be made as often
    # Of one message each, persons are free draws; of a series of messages under one name they are not.
    counts = [pl.col(f"is_{stage}").sum().cast(pl.Int64).alias(f"{stage}_count") for stage in STAGES]
    people = told.group_by("campaign_id", "channel", "subject_id").agg(counts)
    alike = people.group_by("campaign_id", "channel").agg(
        squares_of(pl.col(hits), pl.col(among)).alias(f"{name}_squares") for name, (hits, among) in RATES.items()
    )
    counted = told.group_by("campaign_id", "channel").agg(
        *counts,
        *(pl.col("subject_id").filter(pl.col(f"is_{stage}")).n_unique().cast(pl.Int64).alias(f"{stage}_person_count")
          for stage in PEOPLE),
        pl.col("conversion_count", "unconverted_count").sum().cast(pl.Int64),
        pl.col("revenue_amount").sum().cast(TOTAL),
        first_sent_at=pl.col("sent_at").min(), last_sent_at=pl.col("sent_at").max(),
        median_minutes_to_open=pl.col("minutes_to_open").median(),
        median_minutes_to_click=pl.col("minutes_to_click").median(),
        is_told=(pl.col("says_sent") | pl.col("says_delivered")).any(),
        last_at=pl.max_horizontal("first_at", "sent_at", "last_clicked_at").max(),
    )  # fmt: skip
    known = rates(counted.join(alike, on=["campaign_id", "channel"]), RATES, rules.confidence).with_columns(
        pl.when("is_told").then(pl.col(f"{name}_rate{end}")).alias(f"{name}_rate{end}")
        for name in ALONE for end in ("", "_low", "_high")
    )  # fmt: skip
    over = pl.lit(midnight(as_of)) - pl.duration(days=rules.conversion_days)
    return (
        _costed(known, silver_campaigns, silver_reporting_rates)
        .join(reporting(silver_reporting_currency), how="cross")
        .with_columns(as_of=pl.lit(as_of), is_final=pl.col("last_at") <= over)
        .select(list(CampaignPerformance.columns()))
    )


def _costed(counted: pl.LazyFrame, campaigns: pl.LazyFrame, rates_of: pl.LazyFrame) -> pl.LazyFrame:
    spent, sent = pl.col("spent_amount").cast(pl.Float64), pl.col("sent_count")
    share = sent / sent.sum().over("campaign_id")
    costs = {"response": "opened_count", "click": "clicked_count", "conversion": "conversion_count"}
    listed = spending(campaigns, rates_of).select(
        "campaign_id", "campaign_name", spent="spent_amount", is_listed=pl.lit(True)
    )
    return (
        counted.join(listed, on="campaign_id", how="left")
        .with_columns(
            pl.col("is_listed").fill_null(False),
            spent_amount=(pl.col("spent").cast(pl.Float64) * share).round(2).cast(TOTAL),
        )
        .with_columns(
            *(pl.when(pl.col(n) > 0).then(spent / pl.col(n)).alias(f"cost_per_{name}") for name, n in costs.items()),
            message_roi=pl.when(spent > 0).then((pl.col("revenue_amount").cast(pl.Float64) - spent) / spent),
        )
    )
