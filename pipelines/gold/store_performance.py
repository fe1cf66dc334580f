"""Stores month by month, and how many visits end in a purchase."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from customer360.pipelines.inference import sums
from customer360.pipelines.inference.estimates import mean_interval, wilson
from customer360.pipelines.inference.proportions import design_effect, squares_of
from customer360.pipelines.inference.verdicts import MEASURED, NOT_ENOUGH_EVIDENCE
from customer360.pipelines.money import UNSTATED
from customer360.pipelines.receipts import MOVES, moved
from customer360.pipelines.rules import EnrichmentRules
from customer360.pipelines.stays import stays
from customer360.platform.graph import builds
from customer360.platform.tables import Date, Float, Integer, OneOf, String, Table, Total

MONEY_OF_STORES = ("person_id", "store_id", "channel_group", "source_system", "transaction_id", *MOVES)
PURCHASES = ("person_id", "store_id", "occurred_at", "channel_group", "is_sale")
LEAST_ORDERS = 10  # of which a mean is told
LEAST_VISITS = 30  # of which a share of visits is told


class StoreMonths(Table, table="gold.store_months", sort_by=("store_id", "month")):
    """One row per store and calendar month that is over: orders, sales, customers, people at the door."""

    store_id = String(primary_key=True)
    month = Date(primary_key=True, description="First day of the month")
    order_count = Integer(description="Completed purchases of the month in the store")
    net_amount = Total(
        description="Sold in the month less given back in it at this store, whenever it was bought; reporting currency"
    )
    customer_count = Integer(description="Known customers; guests are in order_count alone")
    net_per_order = Float(
        nullable=True, description="net_amount / order_count. Null, as its interval, when NOT_ENOUGH_EVIDENCE"
    )
    net_per_order_low = Float(
        nullable=True,
        description="95 % interval of the ratio (linearized, Student), over known people, each with all that it did in"
        " the month, and receipts of guests; null of one alone",
    )
    net_per_order_high = Float(nullable=True)
    net_per_customer = Float(nullable=True, description="Of known people's part of net_amount; null below least_people")
    status = OneOf(MEASURED, NOT_ENOUGH_EVIDENCE, description=f"NOT_ENOUGH_EVIDENCE: fewer than {LEAST_ORDERS} orders")
    footfall = Integer(nullable=True, description="People that counters counted; null: no counter reported")
    orders_per_person = Float(nullable=True, description="order_count / footfall: people come in company, buy twice")
    currency = String(description=f"The reporting currency; {UNSTATED}: nothing names one")


@builds(
    StoreMonths,
    rules="enrichment",
    reads={
        "silver.transactions": MONEY_OF_STORES,
        "silver.store_visits": ("store_id", "entered_on", "visit_source", "person_count"),
    },
)
def store_months(
    silver_transactions: pl.LazyFrame,
    silver_store_visits: pl.LazyFrame,
    silver_reporting_currency: pl.LazyFrame,
    as_of: date,
    params: EnrichmentRules,
) -> pl.LazyFrame:
    """Months before that of ``as_of``."""
    end, amount = as_of.replace(day=1), pl.col("net_amount")
    currency = pl.concat([silver_reporting_currency.select("currency"), pl.LazyFrame({"currency": [UNSTATED]})]).head(1)
    here = silver_transactions.filter(pl.col("channel_group") == "IN_STORE", pl.col("store_id").is_not_null())
    # What a receipt sold and what came back of it in the month are one, and so is what a person did: apart, each would
    # be off the mean by itself.
    traded = (
        moved(here, "person_id", "store_id", "source_system", "transaction_id")
        .filter(pl.col("on") < end)
        .group_by("store_id", "source_system", "transaction_id", month=pl.col("on").dt.truncate("1mo"))
        .agg(pl.col("person_id").first(), pl.col("order_count", "net_amount").sum())
    )
    receipt = pl.concat_str("source_system", "transaction_id", separator="/")
    buyers = traded.group_by(
        "store_id", "month", "person_id", receipt=pl.when(pl.col("person_id").is_null()).then(receipt)
    ).agg(pl.col("order_count", "net_amount").sum())
    known, bought = pl.col("person_id").is_not_null(), pl.col("order_count")
    each = amount.cast(pl.Float64)
    months = buyers.group_by("store_id", "month").agg(
        order_count=bought.sum(),
        net_amount=amount.sum(),
        buyers=pl.len().cast(pl.Int64),
        squares=sums.total(each**2),
        of_orders=sums.total(each * bought),
        order_squares=(bought**2).sum(),
        customer_count=(known & (bought > 0)).sum().cast(pl.Int64),
        of_known=amount.filter(known).sum().cast(pl.Float64),
    )
    counters = silver_store_visits.filter(pl.col("visit_source") == "COUNTER", pl.col("entered_on") < end)
    door = counters.group_by("store_id", month=pl.col("entered_on").dt.truncate("1mo")).agg(
        footfall=pl.col("person_count").sum()
    )
    orders, customers = pl.col("order_count"), pl.col("customer_count")
    enough = orders >= LEAST_ORDERS
    mean = pl.when(enough).then(amount.cast(pl.Float64) / orders)
    # A ratio: receipts that only give back add to the amount and not to the count.
    off = pl.col("squares") - 2 * mean * pl.col("of_orders") + mean**2 * pl.col("order_squares")
    count = pl.col("buyers")
    low, high = mean_interval(mean, (off.clip(0) / (count - 1)).sqrt() * count / orders, count)
    return (
        months.join(door, on=["store_id", "month"], how="full", coalesce=True)
        .with_columns(pl.col("order_count", "customer_count", "net_amount").fill_null(0))
        .join(currency, how="cross")
        .with_columns(
            status=pl.when(enough).then(pl.lit(MEASURED)).otherwise(pl.lit(NOT_ENOUGH_EVIDENCE)),
            net_per_order=mean,
            net_per_order_low=low,
            net_per_order_high=high,
            net_per_customer=pl.when(customers >= params.location.least_people).then(pl.col("of_known") / customers),
            orders_per_person=pl.when(pl.col("footfall") > 0).then(orders / pl.col("footfall")),
        )
        .select(list(StoreMonths.columns()))
    )


class VisitConversion(Table, table="gold.visit_conversion", partition_by=("as_of",), sort_by=("store_id",)):
    """One row per store and as_of date: how many of the visits of known, consenting people ended in a purchase.

    What several systems noticed of one visit (a network and an app) is one.
    A purchase is of the latest visit of its person to its store that began at most visit_purchase_minutes before it
    (or clock_minutes after it). It says nothing of those who did not agree to be located.
    """

    store_id = String(primary_key=True)
    as_of = Date(primary_key=True)
    visit_count = Integer(description="Of the window; visits whose time for a purchase reaches as_of are left out")
    purchase_visit_count = Integer(description="Of these, with a purchase")
    conversion_rate = Float(
        nullable=True, description="purchase_visit_count / visit_count; null when NOT_ENOUGH_EVIDENCE"
    )
    conversion_low = Float(nullable=True, description="95 % interval (Wilson), wider as visits of one person are alike")
    conversion_high = Float(nullable=True)
    status = OneOf(MEASURED, NOT_ENOUGH_EVIDENCE, description=f"NOT_ENOUGH_EVIDENCE: fewer than {LEAST_VISITS} visits")


@builds(
    VisitConversion,
    rules="enrichment",
    reads={
        "silver.transactions": PURCHASES,
        "silver.store_visits": (
            "visit_id",
            "source_system",
            "person_id",
            "store_id",
            "entered_at",
            "entered_on",
            "left_at",
        ),
    },
)
def visit_conversion(
    silver_store_visits: pl.LazyFrame, silver_transactions: pl.LazyFrame, as_of: date, params: EnrichmentRules
) -> pl.LazyFrame:
    """Visits and purchases matched in time."""
    rules = params.location
    span, clocks = timedelta(minutes=rules.visit_purchase_minutes), timedelta(minutes=rules.clock_minutes)
    end = pl.lit(as_of).cast(pl.Datetime("us", "UTC"))
    since = as_of - timedelta(days=rules.window_days)
    visits = stays(silver_store_visits.filter(pl.col("entered_on") >= since), clocks).filter(
        pl.col("entered_at") + span < end
    )
    sold = silver_transactions.filter(
        "is_sale", pl.col("channel_group") == "IN_STORE", pl.col("person_id").is_not_null(), pl.col("occurred_at") < end
    ).select("person_id", "store_id", at__=pl.col("occurred_at") + clocks)  # fmt: skip
    found = sold.sort("at__").join_asof(
        visits.with_columns(entered__="entered_at").sort("entered__", "visit_id"), left_on="at__", right_on="entered__",
        by=["person_id", "store_id"], strategy="backward", tolerance=span + clocks, check_sortedness=False,
    )  # fmt: skip
    bought = found.filter(pl.col("visit_id").is_not_null()).select("visit_id", "source_system", bought=True).unique()
    people = visits.join(bought, on=["visit_id", "source_system"], how="left").group_by("store_id", "person_id").agg(
        n=pl.len().cast(pl.Int64), a=pl.col("bought").count().cast(pl.Int64)
    )  # fmt: skip
    counted = people.group_by("store_id").agg(
        visit_count=pl.col("n").sum(), purchase_visit_count=pl.col("a").sum(),
        squares=squares_of(pl.col("a"), pl.col("n")),
    )  # fmt: skip
    hits, trials = pl.col("purchase_visit_count"), pl.col("visit_count")
    design = design_effect(hits, trials, pl.col("squares"))
    low, high = wilson(hits / design, trials / design)
    told = {"conversion_rate": hits / trials, "conversion_low": low, "conversion_high": high}
    enough = trials >= LEAST_VISITS
    return counted.with_columns(
        *(pl.when(enough).then(value).alias(name) for name, value in told.items()),
        as_of=pl.lit(as_of),
        status=pl.when(enough).then(pl.lit(MEASURED)).otherwise(pl.lit(NOT_ENOUGH_EVIDENCE)),
    ).select(list(VisitConversion.columns()))
