"""What support costs: by person, and by segment beside what the segment buys."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from customer360.pipelines.inference import sums
from customer360.pipelines.inference.comparisons import Z
from customer360.pipelines.money import TOTAL
from customer360.pipelines.points import with_tier
from customer360.pipelines.rules.service import ServiceRules
from customer360.platform.graph import builds
from customer360.platform.tables import Date, Float, Integer, Money, OneOf, String, Table, Total

UNKNOWN = "UNKNOWN"


class CostToServe(
    Table, table="gold.cost_to_serve", per="person_id", partition_by=("as_of",), sort_by=("person_id",),
    serves="PROFILING",
):  # fmt: skip
    """One row per person who bought or asked within the rule file's window, and as_of date: what support cost.

    Amounts are in the reporting currency, costs by the rates of the rule file `service`.
    """

    person_id = String(primary_key=True)
    as_of = Date(primary_key=True)
    contact_count = Integer(description="Contacts within the window")
    handling_minutes = Float(description="As reported, else the rule file's minutes_if_unknown")
    cost_amount = Money(description="Of these contacts")
    unpriced_contact_count = Integer(description="Of a type without a rate: they cost nothing here")
    order_count = Integer(description="Orders within the window")
    net_amount = Money(description="Sold less given back within the window; below 0 of who only gave back")
    cost_per_order = Float(nullable=True, description="Null: no order")


@builds(
    CostToServe,
    rules="service",
    reads={
        "silver.service_contacts": ("person_id", "occurred_on", "contact_type", "resolution_minutes"),
        "silver.subject_days": ("person_id", "on", "order_count", "net_amount"),
    },
)
def cost_to_serve(
    silver_service_contacts: pl.LazyFrame, silver_subject_days: pl.LazyFrame, as_of: date, params: ServiceRules
) -> pl.LazyFrame:
    """Contacts of people who are known, priced by type."""
    start, known = as_of - timedelta(days=params.window_days), pl.col("person_id").is_not_null()
    each, minute = (
        pl.col("contact_type").replace_strict(
            {kind: getattr(cost, part) for kind, cost in params.costs.items()}, default=None, return_dtype=pl.Float64
        )
        for part in ("each", "minute")
    )
    minutes = pl.col("resolution_minutes").cast(pl.Float64).fill_null(params.minutes_if_unknown)
    asked = (
        silver_service_contacts.filter(known, pl.col("occurred_on").is_between(start, as_of, closed="left"))
        .with_columns(minutes=minutes, cost=each + minute * minutes)
        .group_by("person_id")
        .agg(
            contact_count=pl.len().cast(pl.Int64),
            handling_minutes=sums.total(pl.col("minutes")),
            cost_amount=sums.total(pl.col("cost")).round(2).cast(pl.Decimal(12, 2)),
            unpriced_contact_count=pl.col("cost").is_null().sum().cast(pl.Int64),
        )
    )
    bought = (
        silver_subject_days.filter(known, pl.col("on").is_between(start, as_of, closed="left"))
        .group_by("person_id")
        .agg(pl.col("order_count").sum(), pl.col("net_amount").sum().cast(pl.Decimal(12, 2)))
    )
    counts = ("contact_count", "unpriced_contact_count", "order_count")
    return (
        asked.join(bought, on="person_id", how="full", coalesce=True)
        .with_columns(
            pl.col(counts).fill_null(0),
            pl.col("cost_amount", "net_amount").fill_null(0),
            pl.col("handling_minutes").fill_null(0.0),
        )
        # Who only gave back has no row of its own; of who asked, too, what was given back counts.
        .filter((pl.col("order_count") > 0) | (pl.col("contact_count") > 0))
        .with_columns(
            as_of=pl.lit(as_of),
            cost_per_order=pl.when(pl.col("order_count") > 0).then(
                pl.col("cost_amount").cast(pl.Float64) / pl.col("order_count")
            ),
        )
        .select(list(CostToServe.columns()))
    )


class CostToServeSegments(
    Table, table="gold.cost_to_serve_segments", partition_by=("as_of",), sort_by=("dimension", "segment")
):
    """One row per segment and as_of date: what support of its people cost, and what they bought.

    Amounts are in the reporting currency.
    """

    as_of = Date(primary_key=True)
    dimension = OneOf("CUSTOMER_SEGMENT", "LOYALTY_TIER", primary_key=True, description="What segment is of")
    segment = String(primary_key=True, description=f"{UNKNOWN}: the golden record does not say")
    person_count = Integer(description="Who bought or asked, and lets itself be profiled")
    asking_count = Integer(description="Who asked")
    contact_count = Integer(description="Of these people, as the next three")
    order_count = Integer(description="Within the window")
    cost_amount = Total(description="Of the contacts")
    net_amount = Total(description="Net sales within the window")
    cost_per_person = Float(description="Mean")
    cost_per_person_low = Float(nullable=True, description="95 % interval; null: fewer than least_tickets people")
    cost_per_person_high = Float(nullable=True)
    cost_share = Float(nullable=True, description="Of net sales; null: none")


@builds(
    CostToServeSegments,
    rules="service",
    reads={"silver.people": ("person_id", "customer_segment", "loyalty_tier")},
)
def cost_to_serve_segments(
    gold_cost_to_serve: pl.LazyFrame,
    silver_people: pl.LazyFrame,
    silver_loyalty_tiers: pl.LazyFrame,
    as_of: date,
    params: ServiceRules,
) -> pl.LazyFrame:
    """Every person once in each dimension; tiers as in gold.customer_360."""
    told = with_tier(silver_people.select("person_id", "customer_segment", "loyalty_tier"), silver_loyalty_tiers, as_of)
    rows = gold_cost_to_serve.join(told, on="person_id", how="left")
    cost = pl.col("cost_amount").cast(pl.Float64)
    parts = [
        rows.with_columns(dimension=pl.lit(name), segment=pl.col(name.lower()).fill_null(UNKNOWN))
        for name in ("CUSTOMER_SEGMENT", "LOYALTY_TIER")
    ]
    half = Z * pl.col("spread__") / pl.col("person_count").sqrt()
    enough = pl.col("person_count") >= params.least_tickets
    net = pl.col("net_amount").cast(pl.Float64)
    return (
        pl.concat(parts)
        .group_by("dimension", "segment")
        .agg(
            pl.col("contact_count", "order_count").sum(),
            pl.col("cost_amount", "net_amount").sum().cast(TOTAL),
            person_count=pl.len().cast(pl.Int64),
            asking_count=(pl.col("contact_count") > 0).sum().cast(pl.Int64),
            cost_per_person=sums.mean(cost),
            spread__=sums.deviation(cost),
        )
        .with_columns(
            as_of=pl.lit(as_of),
            cost_per_person_low=pl.when(enough).then((pl.col("cost_per_person") - half).clip(0)),
            cost_per_person_high=pl.when(enough).then(pl.col("cost_per_person") + half),
            cost_share=pl.when(net > 0).then(pl.col("cost_amount").cast(pl.Float64) / net),
        )
        .select(list(CostToServeSegments.columns()))
    )
