"""Vendors: how long they take, whether they deliver on time, in full, sound and at the price; and order cycles."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
from scipy import special

from customer360.pipelines.inference import sums
from customer360.pipelines.inference.estimates import shrunk_means, shrunk_rates, wilson
from customer360.pipelines.inference.verdicts import MEASURED, NOT_ENOUGH_EVIDENCE
from customer360.pipelines.money import UNSTATED
from customer360.pipelines.rules import EnrichmentRules, SupplyRules
from customer360.platform.graph import builds
from customer360.platform.tables import Date, Float, Integer, OneOf, String, Table, Total

NO_RECEIPTS = "NO_RECEIPTS"
PRIOR_DEGREES = 10  # observations that the spread of all vendors weighs in that of one (Smyth 2004)
Z_95 = 1.6448536269514722  # quantile of the normal distribution
LINE = ("source_system", "purchase_order_id", "line_number")
LINE_OF_RECEIPT = (
    pl.col("order_source_system").alias("source_system"), "purchase_order_id",
    pl.col("purchase_order_line").alias("line_number"),
)  # fmt: skip


class LeadTimes(Table, table="gold.lead_times", partition_by=("as_of",), sort_by=("vendor_id",)):
    """One row per vendor and as_of date: days from order to the first receipt of a line, as counted and as fitted.

    The fit is lognormal: the mean logarithm of a vendor is drawn to that of all vendors as far as it is uncertain, its
    spread by the pooled one. Of a vendor with few lines the fit says what vendors are like.
    """

    vendor_id = String(primary_key=True)
    source_system = String(primary_key=True)
    as_of = Date(primary_key=True)
    line_count = Integer(description="Lines ordered in the window, settle_days ago at least, and received since")
    open_count = Integer(description="Such lines of which nothing has come: their time is longer than any told here")
    mean_days = Float(nullable=True, description="Of line_count lines, as the next three and sd_days")
    sd_days = Float(nullable=True, description="Null of fewer than two lines")
    p50_days = Float(nullable=True, description="Median")
    p90_days = Float(nullable=True, description="Nine of ten lines took no longer")
    p95_days = Float(nullable=True, description="19 of 20 lines took no longer")
    fitted_median_days = Float(nullable=True, description="Median of the fit")
    fitted_median_low = Float(nullable=True, description="95 % interval")
    fitted_median_high = Float(nullable=True, description="Upper end of the interval of fitted_median_days")
    fitted_log_sd = Float(nullable=True, description="Standard deviation of the logarithm of the days")
    fitted_mean_days = Float(nullable=True, description="Mean of the fit")
    fitted_sd_days = Float(nullable=True, description="Standard deviation of the fit")
    fitted_p95_days = Float(nullable=True, description="95th percentile of the fit")
    status = OneOf(MEASURED, NOT_ENOUGH_EVIDENCE, description="NOT_ENOUGH_EVIDENCE: fewer lines than least_lines")


def _window(as_of: date, rules: SupplyRules) -> date:
    return as_of - timedelta(days=rules.window_days)


def _first_receipts(deliveries: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    came = deliveries.filter(pl.col("received_on") < as_of, pl.col("received_quantity") > 0)
    return came.group_by(*LINE_OF_RECEIPT).agg(lead_days=pl.col("lead_days").min())


def settled_lead_days(orders: pl.LazyFrame, deliveries: pl.LazyFrame, as_of: date, rules: SupplyRules) -> pl.LazyFrame:
    """Order lines of the window that are old enough to tell: with ``lead_days``, null where nothing has come."""
    last = as_of - timedelta(days=rules.settle_days)
    old = orders.filter(
        pl.col("ordered_on").is_between(_window(as_of, rules), last, closed="left"), ~pl.col("is_cancelled")
    )
    return old.join(_first_receipts(deliveries, as_of), on=list(LINE), how="left")


@builds(LeadTimes, rules="enrichment")
def lead_times(
    silver_purchase_orders: pl.LazyFrame, silver_deliveries: pl.LazyFrame, as_of: date, params: EnrichmentRules
) -> pl.LazyFrame:
    """What was ordered within the window and has settled."""
    rules = params.supply
    lines = settled_lead_days(silver_purchase_orders, silver_deliveries, as_of, rules)
    days = pl.col("lead_days")
    logs = days.clip(0.5).log()
    counted = (
        lines.group_by("vendor_id", "source_system")
        .agg(
            line_count=days.count().cast(pl.Int64),
            open_count=days.null_count().cast(pl.Int64),
            mean_days=sums.mean(days),
            sd_days=sums.deviation(days),
            p50_days=days.quantile(0.5, "linear"),
            p90_days=days.quantile(0.9, "linear"),
            p95_days=days.quantile(0.95, "linear"),
            log_mean=sums.mean(logs),
            log_var=sums.variance(logs),
        )
        .sort("vendor_id", "source_system")
    )
    fitted = ("fitted_median_days", "fitted_median_low", "fitted_median_high", "fitted_log_sd", "fitted_mean_days",
              "fitted_sd_days", "fitted_p95_days")  # fmt: skip
    schema = {**counted.collect_schema(), **dict.fromkeys(fitted, pl.Float64())}
    return (
        counted.map_batches(_fitted, schema=schema)
        .with_columns(
            as_of=pl.lit(as_of),
            status=pl.when(pl.col("line_count") >= rules.least_lines)
            .then(pl.lit(MEASURED))
            .otherwise(pl.lit(NOT_ENOUGH_EVIDENCE)),
        )
        .select(list(LeadTimes.columns()))
    )


def _fitted(vendors: pl.DataFrame) -> pl.DataFrame:
    """Adds the lognormal fit; null for all where no vendor has two lines."""
    count = vendors["line_count"].to_numpy()
    spread = vendors["log_var"].fill_null(0.0).to_numpy()
    free = np.maximum(count - 1, 0)
    names = ("median_days", "median_low", "median_high", "log_sd", "mean_days", "sd_days", "p95_days")
    if not free.sum():
        return vendors.with_columns(pl.lit(None, pl.Float64).alias(f"fitted_{n}") for n in names)
    pooled = (free * spread).sum() / free.sum()
    variance = np.maximum((free * spread + PRIOR_DEGREES * pooled) / (free + PRIOR_DEGREES), 1e-6)
    has = count > 0
    middle, error = np.full(len(count), np.nan), np.full(len(count), np.nan)
    middle[has], error[has] = shrunk_means(vendors["log_mean"].to_numpy()[has], np.sqrt(variance[has] / count[has]))
    mean = np.exp(middle + variance / 2)
    log_sd = np.where(has, np.sqrt(variance), np.nan)
    half = special.stdtrit(free + PRIOR_DEGREES, 0.975) * error  # the spread of the logarithms is estimated, too
    ends = np.exp(middle - half), np.exp(middle + half)
    told = (np.exp(middle), *ends, log_sd, mean, mean * np.sqrt(np.expm1(variance)), np.exp(middle + Z_95 * log_sd))
    return vendors.with_columns(
        pl.Series(f"fitted_{n}", values).fill_nan(None) for n, values in zip(names, told, strict=True)
    )


class VendorScorecard(
    Table, table="gold.vendor_scorecard", partition_by=("as_of",), sort_by=("vendor_rank", "vendor_id")
):
    """One row per vendor and as_of date: on time in full, defects, price, each with its interval.

    Rates are drawn to those of all vendors as far as few lines leave them open, and vendors are ranked by what they
    surely reach, so that two perfect lines win nothing. Lines are judged once their promise has passed; of a system
    whose orders no receipt answers nothing is known. Defects come by batch: their interval counts receipts as far as
    the units of one are alike.
    """

    vendor_id = String(primary_key=True)
    source_system = String(primary_key=True)
    as_of = Date(primary_key=True)
    due_count = Integer(description="Lines promised within the window and before as_of, not cancelled by us")
    on_time_count = Integer(
        description="Of these, something came, and nothing of it late; 0 where NO_RECEIPTS, as below"
    )
    in_full_count = Integer(description="Received whole and sound before as_of, whenever")
    on_time_in_full_count = Integer(description="Received whole and sound by the promised day and grace_days")
    on_time_in_full_rate = Float(nullable=True, description="on_time_in_full_count / due_count; null where NO_RECEIPTS")
    on_time_in_full_estimate = Float(nullable=True, description="Drawn to the rate of all vendors")
    on_time_in_full_low = Float(nullable=True, description="95 % interval")
    on_time_in_full_high = Float(nullable=True)
    ordered_quantity = Integer(description="Of the due lines")
    received_quantity = Integer(description="Accepted of the due lines before as_of, at most what was ordered")
    fill_rate = Float(nullable=True, description="received_quantity / ordered_quantity; null where NO_RECEIPTS")
    inspected_quantity = Integer(description="Received within the window, of whatever line")
    rejected_quantity = Integer(description="Of these, rejected at the receipt")
    defect_rate = Float(nullable=True, description="rejected_quantity / inspected_quantity")
    defect_estimate = Float(nullable=True, description="As on_time_in_full_estimate, of defects")
    defect_low = Float(nullable=True)
    defect_high = Float(nullable=True)
    priced_line_count = Integer(description="Lines ordered in the window whose product has a cost in the catalogue")
    standard_amount = Total(description="These lines at the catalogue's cost, in the reporting currency")
    price_variance_amount = Total(description="What they cost more than that; negative: less")
    price_variance_rate = Float(nullable=True, description="price_variance_amount / standard_amount")
    currency = String(description=f"The reporting currency; {UNSTATED}: nothing names one")
    status = OneOf(
        MEASURED, NOT_ENOUGH_EVIDENCE, NO_RECEIPTS,
        description=f"{NOT_ENOUGH_EVIDENCE}: fewer due lines than least_lines; {NO_RECEIPTS}: no receipt answers an"
        " order of this system; such vendors have no rank",
    )  # fmt: skip
    vendor_rank = Integer(nullable=True, description="1 is the best, by on_time_in_full_low x (1 - defect_high)")


@builds(VendorScorecard, rules="enrichment", reads={"silver.products": ("product_id", "cost", "currency")})
def vendor_scorecard(
    silver_purchase_orders: pl.LazyFrame,
    silver_deliveries: pl.LazyFrame,
    silver_products: pl.LazyFrame,
    silver_reporting_currency: pl.LazyFrame,
    as_of: date,
    params: EnrichmentRules,
) -> pl.LazyFrame:
    """Vendors with an order in the window."""
    rules, key = params.supply, ["vendor_id", "source_system"]
    since = _window(as_of, rules)
    orders = silver_purchase_orders.filter(pl.col("ordered_on") < as_of, ~pl.col("is_cancelled"))
    currency = pl.concat([silver_reporting_currency.select("currency"), pl.LazyFrame({"currency": [UNSTATED]})]).head(1)
    received = silver_deliveries.filter(pl.col("received_on") < as_of)
    answered = received.filter(~pl.col("is_orphan")).with_columns(source_system="order_source_system")
    inspected = _inspected(answered.filter(pl.col("received_on") >= since))
    with_receipts = answered.select("source_system", has_receipts=True).unique()
    parts = (
        _judged(orders, received, since, as_of, rules),
        inspected,
        _priced(orders.filter(pl.col("ordered_on") >= since), silver_products, currency),
    )
    vendors = pl.concat([part.select(key) for part in parts]).unique()
    for part in parts:
        vendors = vendors.join(part, on=key, how="left")
    counts = [c for c in VendorScorecard.columns() if c.endswith(("_count", "_quantity", "_amount"))]
    whole = (
        vendors.join(with_receipts, on="source_system", how="left")
        .with_columns(pl.col(*counts, *BY_RECEIPT).fill_null(0), pl.col("has_receipts").fill_null(False))
        .sort(key)
    )
    estimates = [f"{what}_{end}" for what in ("on_time_in_full", "defect") for end in ("estimate", "low", "high")]
    schema = {**whole.collect_schema(), **dict.fromkeys(estimates, pl.Float64())}
    known = pl.col("has_receipts")
    enough = known & (pl.col("due_count") >= rules.least_lines)
    sure = pl.when(enough).then(pl.col("on_time_in_full_low") * (1 - pl.col("defect_high").fill_null(1.0)))
    return (
        whole.map_batches(_shrunk, schema=schema)
        .join(currency, how="cross")
        .with_columns(
            as_of=pl.lit(as_of),
            on_time_in_full_rate=pl.when(known).then(_share("on_time_in_full_count", "due_count")),
            fill_rate=pl.when(known).then(_share("received_quantity", "ordered_quantity")),
            defect_rate=_share("rejected_quantity", "inspected_quantity"),
            price_variance_rate=_share("price_variance_amount", "standard_amount"),
            status=pl.when(~known)
            .then(pl.lit(NO_RECEIPTS))
            .when(enough)
            .then(pl.lit(MEASURED))
            .otherwise(pl.lit(NOT_ENOUGH_EVIDENCE)),
            vendor_rank=sure.rank("min", descending=True).cast(pl.Int64),
        )
        .select(list(VendorScorecard.columns()))
    )


def _share(part: str, whole: str) -> pl.Expr:
    return pl.when(pl.col(whole) > 0).then(pl.col(part).cast(pl.Float64) / pl.col(whole).cast(pl.Float64))


def _judged(orders: pl.LazyFrame, received: pl.LazyFrame, since: date, as_of: date, rules: SupplyRules) -> pl.LazyFrame:
    """Due lines by vendor, and what came of them."""
    limit = pl.col("promised_on") + pl.duration(days=rules.grace_days)
    due = orders.filter((pl.col("promised_on") >= since) & (limit < as_of)).with_columns(limit__=limit)
    came = received.select(*LINE_OF_RECEIPT, "received_on", "received_quantity", "accepted_quantity")
    units, in_time = pl.col("accepted_quantity").fill_null(0), pl.col("received_on") <= pl.col("limit__")
    arrived = pl.col("received_quantity").fill_null(0)
    lines = (
        due.join(came, on=list(LINE), how="left")
        .group_by(*LINE, "vendor_id", "ordered_quantity")
        .agg(
            units=units.sum(),
            arrived=arrived.sum(),
            units_in_time=units.filter(in_time).sum(),
            late=(~in_time & (arrived > 0)).any(),
        )
    )
    full = pl.col("ordered_quantity") * rules.full_from
    return lines.group_by("vendor_id", "source_system").agg(
        due_count=pl.len().cast(pl.Int64),
        on_time_count=((pl.col("arrived") > 0) & ~pl.col("late").fill_null(False)).sum().cast(pl.Int64),
        in_full_count=(pl.col("units") >= full).sum().cast(pl.Int64),
        on_time_in_full_count=(pl.col("units_in_time") >= full).sum().cast(pl.Int64),
        ordered_quantity=pl.col("ordered_quantity").sum(),
        received_quantity=pl.min_horizontal("units", "ordered_quantity").sum(),
    )


BY_RECEIPT = ("receipt_count", "squares", "cross", "rejected_squares")


def _inspected(received: pl.LazyFrame) -> pl.LazyFrame:
    """Units by vendor, and sums over receipts (lines of goods receipts) of what `_alike` needs."""
    units, rejected = pl.col("received_quantity"), pl.col("rejected_quantity")
    return received.filter(units > 0).group_by("vendor_id", "source_system").agg(
        inspected_quantity=units.sum(), rejected_quantity=rejected.sum(), receipt_count=pl.len().cast(pl.Int64),
        squares=(units**2).sum(), cross=(units * rejected).sum(), rejected_squares=(rejected**2).sum(),
    )  # fmt: skip


def _alike(vendors: pl.DataFrame) -> float:
    """How alike the units of one receipt are, sound or not: the intraclass correlation, 0 to 1, of all vendors together
    by the method of moments: squared deviations of receipts from their vendor's rate, over those of single units."""
    units, rejected, count, squares, cross, both = (
        vendors[c].cast(pl.Float64).to_numpy()
        for c in ("inspected_quantity", "rejected_quantity", "receipt_count", "squares", "cross", "rejected_squares")
    )
    rate = rejected / np.maximum(units, 1)
    off = (both - 2 * rate * cross + rate**2 * squares) * count / np.maximum(count - 1, 1)
    one = rate * (1 - rate) * (count > 1)
    pairs = (one * (squares - units)).sum()
    return float(np.clip((off[count > 1].sum() - (one * units).sum()) / pairs, 0, 1)) if pairs > 0 else 0.0


def _priced(lines: pl.LazyFrame, products: pl.LazyFrame, currency: pl.LazyFrame) -> pl.LazyFrame:
    """Lines at what they cost and at the catalogue's cost, where that is in the reporting currency."""
    own = products.join(currency.rename({"currency": "reporting"}), how="cross").filter(
        pl.col("currency").is_null() | (pl.col("currency") == pl.col("reporting")), pl.col("cost") > 0
    )
    priced = lines.filter(pl.col("reporting_unit_cost").is_not_null()).join(
        own.select("product_id", "cost"), on="product_id"
    )
    units = pl.col("ordered_quantity").cast(pl.Decimal(18, 0))
    standard, paid = (pl.col("cost") * units).sum(), (pl.col("reporting_unit_cost") * units).sum()
    return priced.group_by("vendor_id", "source_system").agg(
        priced_line_count=pl.len().cast(pl.Int64),
        standard_amount=standard.cast(pl.Decimal(18, 2)),
        price_variance_amount=(paid - standard).cast(pl.Decimal(18, 2)),
    )


def _shrunk(vendors: pl.DataFrame) -> pl.DataFrame:
    units = vendors["inspected_quantity"].to_numpy()
    # So many units of receipts are worth one that is independent of the others (Kish's design effect).
    effect = 1 + _alike(vendors) * np.maximum(vendors["squares"].to_numpy() / np.maximum(units, 1) - 1, 0)
    known = vendors["has_receipts"].to_numpy()
    rates = {
        "on_time_in_full": (vendors["on_time_in_full_count"].to_numpy(), vendors["due_count"].to_numpy() * known),
        "defect": (vendors["rejected_quantity"].to_numpy() / effect, units / effect),
    }
    for name, (hits, trials) in rates.items():
        told = shrunk_rates(hits, trials)
        has = pl.Series(trials > 0)
        columns = zip(("estimate", "low", "high"), told, strict=True)
        vendors = vendors.with_columns(
            pl.when(has).then(pl.Series(values)).alias(f"{name}_{end}") for end, values in columns
        )
    return vendors


LIVE, DEAD = ("PAID", "SHIPPED", "DELIVERED"), ("CANCELLED", "PAYMENT_FAILED")  # statuses of orders awaited, and not


class OrderCycles(Table, table="gold.order_cycles", sort_by=("month", "shipping_method")):
    """One row per month of ordering that is over and shipping method: how long online orders took, and how many came
    late. Orders that never ship (unpaid, cancelled) are counted and have no time.
    """

    month = Date(primary_key=True, description="First day of the calendar month of the order")
    shipping_method = String(primary_key=True, description="UNKNOWN: the order names none")
    order_count = Integer(description="Orders of the month, whatever became of them")
    shipped_count = Integer(description="Before as_of")
    delivered_count = Integer(description="Before as_of; orders of the last month may still be under way")
    ship_hours_p50 = Float(nullable=True, description="From order to shipping")
    ship_hours_p90 = Float(nullable=True, description="Nine of ten shipped orders took no longer")
    cycle_hours_p50 = Float(nullable=True, description="From order to delivery")
    cycle_hours_p90 = Float(nullable=True, description="Nine of ten delivered orders took no longer")
    due_count = Integer(
        nullable=True, description="Orders paid or shipped, not cancelled, whose promised day had passed at as_of, but"
        " those delivered nobody knows when; null, as the rate: no delivery of the method was told of so far"
    )  # fmt: skip
    late_count = Integer(nullable=True, description="Of these, delivered after that day, or not yet")
    late_rate = Float(nullable=True, description="late_count / due_count")
    late_low = Float(nullable=True, description="95 % interval (Wilson)")
    late_high = Float(nullable=True)


@builds(
    OrderCycles,
    reads={
        "silver.online_orders": (
            "ordered_at",
            "order_status",
            "shipping_method",
            "promised_on",
            "shipped_at",
            "delivered_at",
        )
    },
)
def order_cycles(silver_online_orders: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """As it stood at ``as_of``: what shipped or was delivered later is under way."""
    end = pl.lit(as_of).cast(pl.Datetime("us", "UTC"))
    known = silver_online_orders.filter(pl.col("ordered_at").dt.date() < as_of.replace(day=1)).with_columns(
        *(pl.when(pl.col(c) < end).then(pl.col(c)).alias(c) for c in ("shipped_at", "delivered_at")),
        undated__=(pl.col("order_status") == "DELIVERED") & pl.col("delivered_at").is_null(),
    )
    to_ship, to_deliver = (
        (pl.col(c) - pl.col("ordered_at")).dt.total_seconds() / 3600 for c in ("shipped_at", "delivered_at")
    )
    # An order that was to have come and never left is late, too; what came counts, whatever became of it.
    status, left = pl.col("order_status"), pl.col("shipped_at").is_not_null()
    waits = (status.is_in(LIVE) | left) & ~status.is_in(DEAD) & ~pl.col("undated__")
    due = ((pl.col("delivered_at").is_not_null() | waits) & (pl.col("promised_on") < as_of)).fill_null(False)
    late = due & (pl.col("delivered_at").is_null() | (pl.col("delivered_at").dt.date() > pl.col("promised_on")))
    method = pl.col("shipping_method").fill_null("UNKNOWN")
    counted = known.group_by(month=pl.col("ordered_at").dt.date().dt.truncate("1mo"), shipping_method=method).agg(
        order_count=pl.len().cast(pl.Int64),
        shipped_count=pl.col("shipped_at").count().cast(pl.Int64),
        delivered_count=pl.col("delivered_at").count().cast(pl.Int64),
        ship_hours_p50=to_ship.quantile(0.5, "linear"),
        ship_hours_p90=to_ship.quantile(0.9, "linear"),
        cycle_hours_p50=to_deliver.quantile(0.5, "linear"),
        cycle_hours_p90=to_deliver.quantile(0.9, "linear"),
        due_count=due.sum().cast(pl.Int64),
        late_count=late.sum().cast(pl.Int64),
    )
    # Until a first delivery of a method is told of, what is not told of is not late.
    first = pl.col("month").filter(pl.col("delivered_count") > 0).min().over("shipping_method")
    told = (pl.col("month") >= first).fill_null(False)
    counted = counted.with_columns(pl.when(told).then(pl.col(c)).alias(c) for c in ("due_count", "late_count"))
    low, high = wilson(pl.col("late_count"), pl.col("due_count"))
    return counted.with_columns(late_rate=_share("late_count", "due_count"), late_low=low, late_high=high).select(
        list(OrderCycles.columns())
    )
