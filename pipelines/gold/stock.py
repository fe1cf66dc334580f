"""Stock: demand of each product by day, reorder points and safety stock for a service level, cover, turns and
stock-outs."""

from __future__ import annotations

from datetime import date, timedelta
from math import ceil
from zlib import crc32

import numpy as np
import polars as pl
from scipy import special

from customer360.pipelines.geography import has_closed
from customer360.pipelines.inference.estimates import Z
from customer360.pipelines.inference.verdicts import MEASURED, NOT_ENOUGH_EVIDENCE, NOT_ENOUGH_HISTORY
from customer360.pipelines.rules import EnrichmentRules, SupplyRules
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Float, Integer, OneOf, String, Table

NO_VENDOR = "NO_LEAD_TIME"
DRAWS = 2_000  # lead times and stretches of demand that the empirical reorder point is read from
OWN_LEADS = 30  # a vendor with so many lines is drawn from its own, another from the fit
WEEK = 7


class ProductDemand(
    Table, table="gold.product_demand", per="product_id", partition_by=("as_of",), sort_by=("product_id",)
):
    """One row per product of the catalogue and as_of date: units sold a day, with days on which nothing was sold.

    Sales are what was asked for as far as there was stock. Days count from the start of the data, the product's launch
    or its first sale, whichever is last and lies in the window.
    """

    product_id = String(primary_key=True)
    as_of = Date(primary_key=True)
    day_count = Integer(description="Days that demand is counted over")
    unit_count = Integer(description="Units sold on them")
    daily_mean = Float(nullable=True, description="unit_count / day_count; null without a day")
    daily_mean_low = Float(nullable=True, description="95 % interval, from the spread of whole weeks")
    daily_mean_high = Float(nullable=True)
    daily_sd = Float(
        nullable=True, description="Standard deviation of the units of a day, days without a sale among them"
    )
    status = OneOf(
        MEASURED,
        NOT_ENOUGH_HISTORY,
        NOT_ENOUGH_EVIDENCE,
        description="Below least_demand_days, least_units of the rule file",
    )


def _sold(items: pl.LazyFrame, as_of: date, rules: SupplyRules) -> pl.LazyFrame:
    since = as_of - timedelta(days=rules.demand_days)
    sold = items.filter("is_sale", "is_product", pl.col("quantity") > 0)
    days = sold.filter(pl.col("occurred_on").is_between(since, as_of, closed="left"))
    return days.group_by("product_id", on="occurred_on").agg(units=pl.col("quantity").sum())


ITEMS = ("product_id", "occurred_on", "is_sale", "is_product", "quantity")
STOCK = ("product_id", "store_id", "quantity_on_hand", "updated_at")
STORES = ("store_id", "closed_on")
INSTANT = pl.Datetime("us", "UTC")


@builds(
    ProductDemand,
    rules="enrichment",
    reads={
        "silver.transaction_items": ITEMS,
        "silver.products": ("product_id", "launched_on", "is_product"),
        "silver.subject_days": ("on",),
    },
)
def product_demand(
    silver_transaction_items: pl.LazyFrame,
    silver_products: pl.LazyFrame,
    silver_subject_days: pl.LazyFrame,
    as_of: date,
    params: EnrichmentRules,
) -> pl.LazyFrame:
    """The last ``demand_days`` days."""
    rules = params.supply
    begin = pl.lit(as_of - timedelta(days=rules.demand_days))
    data = silver_subject_days.filter(pl.col("on") < as_of).select(data_on=pl.col("on").min())
    firsts = silver_transaction_items.filter("is_sale", pl.col("occurred_on") < as_of).group_by("product_id")
    goods = (
        silver_products.filter("is_product")
        .select("product_id", "launched_on")
        .join(firsts.agg(first_on=pl.col("occurred_on").min()), on="product_id", how="left")
        .join(data, how="cross")
    )
    # A launch that the catalogue dates after a sale is wrong; one without a sale and a date began with the data.
    own = pl.when(pl.col("launched_on") <= pl.col("first_on")).then("launched_on").otherwise(
        pl.coalesce("first_on", "launched_on", "data_on")
    )  # fmt: skip
    dated = goods.with_columns(since=pl.max_horizontal(begin, "data_on", own))
    days = (pl.lit(as_of) - pl.col("since")).dt.total_days().clip(0).fill_null(0)
    sold = _sold(silver_transaction_items, as_of, rules).join(dated.select("product_id", "since"), on="product_id")
    units, week = pl.col("units"), (pl.lit(as_of) - pl.col("on")).dt.total_days() - 1
    in_weeks = (week // WEEK) < (pl.lit(as_of) - pl.col("since")).dt.total_days() // WEEK
    weekly = (
        sold.filter(in_weeks).group_by("product_id", week=week // WEEK).agg(units.sum()).group_by("product_id")
        .agg(week_sum=units.sum(), week_squares=(units**2).sum())
    )  # fmt: skip
    daily = sold.group_by("product_id").agg(unit_count=units.sum(), squares=(units**2).sum())
    known = dated.with_columns(day_count=days).join(daily, on="product_id", how="left").join(
        weekly, on="product_id", how="left"
    ).with_columns(pl.col("unit_count", "squares", "week_sum", "week_squares").fill_null(0))  # fmt: skip
    count, total = pl.col("day_count"), pl.col("unit_count")
    weeks = count // WEEK
    spread = (pl.col("week_squares") - pl.col("week_sum") ** 2 / weeks) / (weeks - 1)
    error = pl.when(weeks >= 4).then((spread.clip(0) / weeks).sqrt() / WEEK)
    mean = pl.when(count > 0).then(total / count)
    return known.with_columns(
        as_of=pl.lit(as_of),
        daily_mean=mean,
        daily_mean_low=(mean - Z * error).clip(0),
        daily_mean_high=mean + Z * error,
        daily_sd=pl.when(count > 1).then(((pl.col("squares") - total**2 / count).clip(0) / (count - 1)).sqrt()),
        status=pl.when(count < rules.least_demand_days).then(pl.lit(NOT_ENOUGH_HISTORY))
        .when(total < rules.least_units).then(pl.lit(NOT_ENOUGH_EVIDENCE)).otherwise(pl.lit(MEASURED)),
    ).select(list(ProductDemand.columns()))  # fmt: skip


class StockPlan(Table, table="gold.stock_plan", partition_by=("as_of",), sort_by=("product_id",)):
    """One row per product and as_of date: at how much stock to order again so that so many order cycles pass without a
    stock-out, and whether it is time to.

    By the formula of textbooks (Silver, Pyke and Thomas, Inventory and Production Management, 4th ed., 2017): demand d
    of a day and lead time L, each with its spread, give d L + z sqrt(L sd_d^2 + d^2 sd_L^2), where the errors of the
    two means count as spread, too: without them less than the level is reached. And empirically: what was sold in
    stretches of the past as long as lead times were, of which no form is assumed; demand of few units is far from
    normal, and the formula then falls short. The plan is for all locations together.
    """

    product_id = String(primary_key=True)
    as_of = Date(primary_key=True)
    vendor_id = String(nullable=True, description="Of the latest order")
    service_level = Float(description="Share of order cycles that are to pass without a stock-out (rule file)")
    daily_mean = Float(nullable=True, description="gold.product_demand")
    daily_sd = Float(nullable=True, description="gold.product_demand")
    lead_mean_days = Float(nullable=True, description="gold.lead_times, fitted")
    lead_sd_days = Float(nullable=True, description="gold.lead_times, fitted")
    reorder_point = Float(nullable=True, description="Stock at which to order again, by the formula")
    reorder_point_low = Float(nullable=True, description="95 % interval: of demand and lead time as far as known")
    reorder_point_high = Float(nullable=True)
    safety_stock = Float(nullable=True, description="reorder_point less the mean demand of a lead time")
    empirical_reorder_point = Float(nullable=True, description="The same by stretches of the past")
    empirical_safety_stock = Float(
        nullable=True, description="empirical_reorder_point less the mean demand of a lead time"
    )
    on_hand = Integer(
        nullable=True,
        description="Of all locations, stores and distribution centres, by the feed that reported each last, however"
        " long ago (a report without a date counts at every as_of), without stores that have closed; null: none does."
        " gold.assortment tells that of stores",
    )
    location_count = Integer(description="Locations of on_hand: where one does not report, too much is due")
    on_order = Integer(description="Of lines open, ordered within the window: not received, or refused")
    is_due = Boolean(nullable=True, description="on_hand + on_order is at or below empirical_reorder_point")
    status = OneOf(
        MEASURED, NOT_ENOUGH_HISTORY, NOT_ENOUGH_EVIDENCE, NO_VENDOR, description="Only MEASURED has a reorder point"
    )


@builds(
    StockPlan,
    rules="enrichment",
    reads={"silver.transaction_items": ITEMS, "silver.stock": STOCK, "silver.stores": STORES},
)
def stock_plan(
    gold_product_demand: pl.LazyFrame,
    gold_lead_times: pl.LazyFrame,
    silver_transaction_items: pl.LazyFrame,
    silver_purchase_orders: pl.LazyFrame,
    silver_deliveries: pl.LazyFrame,
    silver_stock_days: pl.LazyFrame,
    silver_stock: pl.LazyFrame,
    silver_stock_counts: pl.LazyFrame,
    silver_stores: pl.LazyFrame,
    as_of: date,
    params: EnrichmentRules,
) -> pl.LazyFrame:
    """Every product with a row of demand."""
    rules = params.supply
    since = as_of - timedelta(days=rules.window_days)
    orders = silver_purchase_orders.filter(pl.col("ordered_on") < as_of, ~pl.col("is_cancelled"))
    latest = orders.sort("ordered_on", "purchase_order_id", "line_number").group_by("product_id", maintain_order=True)
    of_vendor = latest.agg(pl.col("vendor_id", "source_system").last())
    leads = gold_lead_times.filter(pl.col("fitted_mean_days").is_not_null()).select(
        "vendor_id", "source_system", "line_count", "fitted_median_days", "fitted_log_sd",
        lead_mean_days="fitted_mean_days", lead_sd_days="fitted_sd_days",
    )  # fmt: skip
    plans = (
        gold_product_demand.join(of_vendor, on="product_id", how="left")
        .join(leads, on=["vendor_id", "source_system"], how="left")
        .join(
            _position(silver_stock_days, silver_stock, silver_stock_counts, silver_stores, as_of),
            on="product_id",
            how="left",
        )
        .join(
            _on_order(orders.filter("is_open", pl.col("ordered_on") >= since), silver_deliveries, as_of),
            on="product_id",
            how="left",
        )
        .with_columns(
            pl.col("on_order", "location_count").fill_null(0),
            service_level=pl.lit(rules.service_level),
            status=pl.when((pl.col("status") == MEASURED) & pl.col("lead_mean_days").is_null())
            .then(pl.lit(NO_VENDOR))
            .otherwise("status"),
        )
        .sort("product_id")
    )
    by_formula = plans.with_columns(_by_formula(rules.service_level))
    own = _own_leads(orders, silver_deliveries, as_of, rules)
    told, past = pl.collect_all([own, _sold(silver_transaction_items, as_of, rules)])
    points = by_formula.map_batches(
        lambda rows: rows.with_columns(empirical_reorder_point=_empirical(rows, told, past, as_of, rules)),
        schema={**by_formula.collect_schema(), "empirical_reorder_point": pl.Float64()},
    )
    due = pl.col("on_hand") + pl.col("on_order") <= pl.col("empirical_reorder_point")
    mean = pl.col("daily_mean") * pl.col("lead_mean_days")
    return points.with_columns(is_due=due, empirical_safety_stock=pl.col("empirical_reorder_point") - mean).select(
        list(StockPlan.columns())
    )


def _by_formula(level: float) -> list[pl.Expr]:
    """Reorder point with its interval, and safety stock; null unless the status is MEASURED."""
    z = float(special.ndtri(level))
    d, sd, lead, lead_sd = (pl.col(c) for c in ("daily_mean", "daily_sd", "lead_mean_days", "lead_sd_days"))
    mean_error = (pl.col("daily_mean_high") - d) / Z
    lead_error = lead_sd / pl.col("line_count").clip(1).sqrt()
    # Of the next cycle: its own spread, and what is not known of the means.
    spread = (lead * sd**2 + d**2 * lead_sd**2 + lead**2 * mean_error**2 + d**2 * lead_error**2).sqrt()
    # Of the mean by both means; of the spread as of a normal sample of so many lead times' worth of days.
    stretches = (pl.col("day_count") / lead.clip(1)).clip(2)
    error = (lead**2 * mean_error**2 + d**2 * lead_error**2 + z**2 * spread**2 / (2 * stretches)).sqrt()
    point, known = d * lead + z * spread, pl.col("status") == MEASURED
    ends = {"reorder_point_low": (point - Z * error).clip(0), "reorder_point_high": point + Z * error}
    told = {"reorder_point": point, "safety_stock": z * spread} | ends
    return [pl.when(known).then(value).alias(name) for name, value in told.items()]


def _own_leads(orders: pl.LazyFrame, deliveries: pl.LazyFrame, as_of: date, rules: SupplyRules) -> pl.LazyFrame:
    """Days to the first receipt of settled lines, by vendor."""
    last = as_of - timedelta(days=rules.settle_days)
    first = as_of - timedelta(days=rules.window_days)
    came = deliveries.filter(
        pl.col("received_on") < as_of, pl.col("received_quantity") > 0,
        pl.col("ordered_on").is_between(first, last, closed="left"),
    )  # fmt: skip
    lines = came.group_by("purchase_order_id", "purchase_order_line", "vendor_id", source_system="order_source_system")
    days = lines.agg(pl.col("lead_days").min()).filter(pl.col("lead_days").is_not_null())
    kept = days.join(
        orders.select("source_system", "purchase_order_id", purchase_order_line="line_number"),
        on=["source_system", "purchase_order_id", "purchase_order_line"], how="semi",
    )  # fmt: skip
    return kept.sort("vendor_id", "source_system", "lead_days").group_by("vendor_id", "source_system").agg("lead_days")


def _empirical(
    plans: pl.DataFrame, leads: pl.DataFrame, sold: pl.DataFrame, as_of: date, rules: SupplyRules
) -> pl.Series:
    """The quantile of units sold in stretches of the past, each as long as a lead time that was drawn; where it
    lies above their mean, further by what so many stretches and lead times do not know of the mean of the next."""
    own = {(v, s): np.array(days) for v, s, days in leads.iter_rows()}
    row = {p: n for n, p in enumerate(plans["product_id"])}
    units = np.zeros((len(plans), rules.demand_days + 1))
    places = sold.with_columns(
        at=rules.demand_days - (pl.lit(as_of) - pl.col("on")).dt.total_days() + 1,
        row=pl.col("product_id").replace_strict(row, default=None, return_dtype=pl.Int64),
    ).filter(pl.col("row").is_not_null())
    units[places["row"].to_numpy(), places["at"].to_numpy()] = places["units"].to_numpy()
    total = units.cumsum(axis=1)
    points: list[float | None] = []
    least = max(ceil(DRAWS * rules.service_level - 1), 0)  # place of the quantile, as NumPy's "inverted_cdf" has it
    columns = ("status", "product_id", "vendor_id", "source_system", "day_count", "fitted_median_days",
               "fitted_log_sd", "line_count")  # fmt: skip
    for number, (status, product, vendor, system, days, median, sd, lines) in enumerate(
        plans.select(columns).iter_rows()
    ):
        if status != MEASURED:
            points.append(None)
            continue
        rng = np.random.default_rng(crc32(product.encode()))  # its own: other products change nothing
        told = own.get((vendor, system), np.array([]))
        drawn = rng.choice(told, DRAWS) if len(told) >= OWN_LEADS else np.round(median * rng.lognormal(0, sd, DRAWS))
        stretch = np.clip(drawn.astype(np.int64), 1, days)
        begin = rules.demand_days - days
        start = begin + np.floor(rng.random(DRAWS) * (days - stretch + 1)).astype(np.int64)
        during = total[number, start + stretch] - total[number, start]
        point, mean = np.partition(during, least)[least], during.mean()
        known = max(min(days / stretch.mean(), lines), 1.0)
        # Demand of few lumps may have a quantile below its mean, which nothing that is not known brings down.
        points.append(float(point + max(point - mean, 0.0) * (np.sqrt(1 + 1 / known) - 1)))
    return pl.Series(points, dtype=pl.Float64)


def _position(
    days: pl.LazyFrame, stock: pl.LazyFrame, counts: pl.LazyFrame, stores: pl.LazyFrame, as_of: date
) -> pl.LazyFrame:
    """Units of each product at all its locations, each as last reported before ``as_of`` by any feed: snapshots of days
    and counts; current stock without a date where there is neither. Stores that have closed hold none. With
    ``location_count``, and ``other_location_count``, those of which no snapshot tells.
    """
    closed = stores.filter(has_closed(as_of)).select("store_id")
    at, place = "counted_at", ["product_id", "store_id"]
    # Of a snapshot the last moment of its day; a count of that moment is the same as the snapshot, or comes after it.
    end = (pl.col("on") + pl.duration(days=1)).cast(INSTANT) - pl.duration(microseconds=1)
    snapshots = days.filter(pl.col("on") < as_of).sort("source_system").select(
        "product_id", "quantity_on_hand", store_id="location_id", counted_at=end, is_snapshot=pl.lit(True)
    )  # fmt: skip
    counted = counts.filter(pl.col(at) < pl.lit(as_of).cast(INSTANT)).with_columns(is_snapshot=pl.lit(False))
    undated = stock.filter(pl.col("updated_at").is_null()).with_columns(
        counted_at=pl.lit(None, INSTANT), is_snapshot=pl.lit(False)
    )
    columns = [*place, at, "quantity_on_hand", "is_snapshot"]
    told = pl.concat([undated.select(columns), counted.select(columns), snapshots.select(columns)])
    last = (
        told.join(closed, on="store_id", how="anti")
        .with_columns(pl.col("is_snapshot").any().over(place))
        .sort(at, nulls_last=False, maintain_order=True)
        .unique(place, keep="last", maintain_order=True)
    )
    return last.group_by("product_id").agg(
        on_hand=pl.col("quantity_on_hand").clip(0).sum(),
        location_count=pl.len().cast(pl.Int64),
        other_location_count=(~pl.col("is_snapshot")).sum().cast(pl.Int64),
    )


def _on_order(orders: pl.LazyFrame, deliveries: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    key = ["source_system", "purchase_order_id", "line_number"]
    came = (
        deliveries.filter(pl.col("received_on") < as_of)
        .group_by("purchase_order_id", source_system="order_source_system", line_number="purchase_order_line")
        .agg(came=pl.col("accepted_quantity").sum())
    )
    missing = (pl.col("ordered_quantity") - pl.col("came").fill_null(0)).clip(0)
    return orders.join(came, on=key, how="left").group_by("product_id").agg(on_order=missing.sum())


class StockEfficiency(
    Table, table="gold.stock_efficiency", per="product_id", partition_by=("as_of",), sort_by=("product_id",)
):
    """One row per product with snapshots of stock and as_of date: how long stock lasts, how often it turns, when it was
    out. Plain counts over the days of the window that have a snapshot.
    """

    product_id = String(primary_key=True)
    as_of = Date(primary_key=True)
    location_day_count = Integer(description="Snapshots of a location at the end of a day")
    stock_out_day_count = Integer(description="Of these, without a unit")
    stock_out_rate = Float(description="stock_out_day_count / location_day_count")
    mean_on_hand = Float(description="Units of the locations with snapshots, mean of the days")
    last_on_hand = Integer(description="Of all locations, as on_hand of gold.stock_plan")
    other_location_count = Integer(
        description="Locations whose stock another feed reports and no snapshot: above 0, mean_on_hand is not of all"
    )
    unit_count = Integer(description="Sold on the days with a snapshot")
    cover_days = Float(nullable=True, description="last_on_hand / daily units sold; null where none were")
    turns_a_year = Float(
        nullable=True,
        description="Units sold, taken to a year, over mean_on_hand; null without stock, and where other_location_count"
        " is above 0: what stores sell is no turn of a warehouse",
    )


@builds(
    StockEfficiency,
    rules="enrichment",
    reads={"silver.transaction_items": ITEMS, "silver.stock": STOCK, "silver.stores": STORES},
)
def stock_efficiency(
    silver_stock_days: pl.LazyFrame,
    silver_stock: pl.LazyFrame,
    silver_stock_counts: pl.LazyFrame,
    silver_stores: pl.LazyFrame,
    silver_transaction_items: pl.LazyFrame,
    as_of: date,
    params: EnrichmentRules,
) -> pl.LazyFrame:
    """Snapshots of the last ``window_days`` days; of two systems that report a place and day, the last by name."""
    since = as_of - timedelta(days=params.supply.window_days)
    snapshots = silver_stock_days.filter(pl.col("on").is_between(since, as_of, closed="left"))
    once = snapshots.sort("source_system").unique(["product_id", "location_id", "on"], keep="last", maintain_order=True)
    units = pl.col("quantity_on_hand").clip(0)
    days = once.group_by("product_id", "on").agg(
        units=units.sum(), places=pl.len().cast(pl.Int64), out=(units == 0).sum().cast(pl.Int64)
    )
    sold = silver_transaction_items.filter("is_sale", "is_product", pl.col("quantity") > 0).group_by(
        "product_id", on="occurred_on"
    ).agg(sold=pl.col("quantity").sum())  # fmt: skip
    counted = days.join(sold, on=["product_id", "on"], how="left").group_by("product_id").agg(
        location_day_count=pl.col("places").sum(),
        stock_out_day_count=pl.col("out").sum(),
        mean_on_hand=pl.col("units").mean(),
        unit_count=pl.col("sold").fill_null(0).sum(),
        days=pl.len(),
    )  # fmt: skip
    daily = pl.col("unit_count") / pl.col("days")
    return (
        counted.join(
            _position(silver_stock_days, silver_stock, silver_stock_counts, silver_stores, as_of),
            on="product_id",
            how="left",
        )
        .with_columns(
            as_of=pl.lit(as_of),
            last_on_hand="on_hand",
            stock_out_rate=pl.col("stock_out_day_count") / pl.col("location_day_count"),
            cover_days=pl.when(pl.col("unit_count") > 0).then(pl.col("on_hand") / daily),
            turns_a_year=pl.when(pl.col("mean_on_hand") > 0, pl.col("other_location_count") == 0).then(
                daily * 365 / pl.col("mean_on_hand")
            ),
        )
        .select(list(StockEfficiency.columns()))
    )
