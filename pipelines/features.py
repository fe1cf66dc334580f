"""Point-in-time features of a person from days of activity; one definition for batch, training and serving.

A pure function of ``silver.subject_days`` and a date: rows on or after the date change nothing.
"""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

WINDOWS_DAYS = (30, 90, 180, 365)
SEASON_DAYS = 365  # the same window a year before
HORIZON_DAYS = 90
ACTIVE_WITHIN_DAYS = 365
QUIET_DAYS = 7  # a shop may be closed on the last days of a window: silence this short is not missing data
UNCONVERTED = "unconverted_order_count"  # orders whose amount is not known in the reporting currency
MIN_GAP_DAYS = 1.0  # a mean gap below a day would make recency / gap explode

MEANINGS = {
    "recency_days": "Days since the latest purchase; null: none",
    "tenure_days": "Days since the first purchase; null: none",
    "days_since_seen": "Days since the latest activity of any kind",
    "purchase_day_count": "Days with a purchase, ever",
    "purchase_day_count_90d": "Days with a purchase in the last 90",
    "purchase_day_count_365d": "Days with a purchase in the last 365",
    **{f"order_count_{w}d": f"Orders of the last {w} days" for w in WINDOWS_DAYS},
    **{f"gross_amount_{w}d": f"Spent in the last {w} days, returns not taken off" for w in WINDOWS_DAYS},
    "order_count": "Orders, ever",
    "gross_amount": "Spent, ever, returns not taken off",
    "net_amount": "Spent, ever, less returns",
    "mean_order_amount": "gross_amount an order whose amount is known; null without one",
    "max_day_amount": "Most that was spent on a day; null without a known amount",
    "unit_count": "Units bought, ever",
    "units_per_order": "unit_count / order_count",
    "items_per_order": "Lines an order",
    "mean_gap_days": "Mean of the days between one purchase day and the next; null below two of them",
    "std_gap_days": "Their standard deviation; null below three purchase days",
    "recency_to_gap": f"recency_days / mean_gap_days, of {MIN_GAP_DAYS:g} day at least: above 1, later than usual",
    "order_trend": "Orders of the last 90 days less those of the 90 before, over both: -1 to 1",
    "season_order_count": f"Orders in the {HORIZON_DAYS} days from a year ago on: those the year before that come next",
    "return_rate": "Returns an order, ever, at most 1: of orders, not of money",
    "discount_rate": "Discounts / gross_amount, at most 1",
    "store_order_share": "Share of the orders in stores",
    "online_order_share": "Share of the orders online",
    "mobile_order_share": "Share of the orders in the app",
    "session_count_30d": "Visits of the last 30 days",
    "session_count_90d": "Visits of the last 90 days",
    "view_count_30d": "Product views of the last 30 days",
    "search_count_30d": "Searches of the last 30 days",
    "cart_add_count_30d": "Times that something was put into a basket in the last 30 days",
    "cart_add_count_90d": "Times that something was put into a basket in the last 90 days",
}
FEATURES = tuple(MEANINGS)


def features(days: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """Features of every known person seen before `as_of`: `person_id` and the Float64 columns `FEATURES`, one row per
    person.

    Amounts are in the reporting currency, without orders that have no rate to it; means are over orders whose amount is
    known. Durations are in days, shares and rates in 0 to 1. A person without a purchase has null where a purchase is
    needed (recency, gaps, rates); counts are 0. Nothing is infinite or NaN. Source: rows of `silver.subject_days`
    before `as_of`.
    """
    known = pl.col("person_id").is_not_null() & (pl.col("on") < as_of)
    past = _amounts(with_unconverted(days)).filter(known).sort("person_id", "on")
    # What is added up stands in a column of its own first: filters inside of groups take several times as long.
    windows = _windows(as_of)
    past = past.with_columns(**windows, _person=pl.col("person_id").rle_id()).with_columns(_gap=_gap())
    sums = past.group_by("person_id", maintain_order=True).agg(
        *_times(as_of), *_totals(), *(pl.col(name).sum() for name in windows), *_gaps()
    )
    return sums.with_columns(*_ratios()).select("person_id", *(pl.col(name).cast(pl.Float64) for name in FEATURES))


def with_unconverted(days: pl.LazyFrame) -> pl.LazyFrame:
    """Days with ``unconverted_order_count``: 0 where the rows are not of a lake, and so of one currency."""
    known = UNCONVERTED in days.collect_schema()
    return days.with_columns(pl.col(UNCONVERTED).fill_null(0) if known else pl.lit(0, pl.Int64).alias(UNCONVERTED))


def unconverted_of_year(days: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """One row per known person seen within 365 days before `as_of`: `unconverted_order_count_365d`, orders of which no
    amount is known.
    """
    last_year = pl.col("on").is_between(as_of - timedelta(days=365), as_of, closed="left")
    known = with_unconverted(days).filter(pl.col("person_id").is_not_null(), last_year)
    return known.group_by("person_id").agg(pl.col(UNCONVERTED).sum().alias(f"{UNCONVERTED}_365d"))


def _amounts(days: pl.LazyFrame) -> pl.LazyFrame:
    """Money as Float64: ratios of Decimals would round to two digits."""
    return days.with_columns(pl.col("gross_amount", "net_amount", "discount_amount").cast(pl.Float64))


def _bought() -> pl.Expr:
    return pl.col("order_count") > 0


def _times(as_of: date) -> list[pl.Expr]:
    on = pl.col("on")
    return [
        (pl.lit(as_of) - on.filter(_bought()).max()).dt.total_days().alias("recency_days"),
        (pl.lit(as_of) - on.filter(_bought()).min()).dt.total_days().alias("tenure_days"),
        (pl.lit(as_of) - on.max()).dt.total_days().alias("days_since_seen"),
        _bought().sum().alias("purchase_day_count"),
    ]


def _totals() -> list[pl.Expr]:
    summed = (
        "order_count",
        "gross_amount",
        "net_amount",
        "unit_count",
        "item_count",
        "return_count",
        "discount_amount",
        UNCONVERTED,
    )
    channels = ("store_order_count", "online_order_count", "mobile_order_count")
    return [
        *(pl.col(name).sum() for name in (*summed, *channels)),
        pl.col("gross_amount").filter(pl.col("order_count") > pl.col(UNCONVERTED)).max().alias("max_day_amount"),
    ]


def _windows(as_of: date) -> dict[str, pl.Expr]:
    """By feature, what a day adds to it."""

    def within(expression: pl.Expr, window: int) -> pl.Expr:
        return pl.when(pl.col("on") >= as_of - timedelta(days=window)).then(expression).otherwise(0)

    season_start = as_of - timedelta(days=SEASON_DAYS)
    season = pl.col("on").is_between(season_start, season_start + timedelta(days=HORIZON_DAYS), closed="left")
    behaviour = {"session_count": (30, 90), "view_count": (30,), "search_count": (30,), "cart_add_count": (30, 90)}
    spent = dict.fromkeys(("order_count", "gross_amount"), WINDOWS_DAYS)
    found = {f"{name}_{w}d": within(pl.col(name), w) for name, windows in spent.items() for w in windows}
    found |= {f"purchase_day_count_{w}d": within(_bought().cast(pl.Int64), w) for w in (90, 365)}
    found |= {f"{name}_{w}d": within(pl.col(name), w) for name, windows in behaviour.items() for w in windows}
    return found | {"season_order_count": pl.when(season).then("order_count").otherwise(0)}


def _gap() -> pl.Expr:
    """Days since the purchase day before of the same person; null on others, and on the first. Days lie by person and
    time.
    """

    def before(value: str) -> pl.Expr:
        return pl.when(_bought()).then(pl.col(value)).forward_fill().shift()

    days = (pl.col("on") - before("on")).dt.total_days()
    return pl.when(_bought() & (before("_person") == pl.col("_person"))).then(days)


def _gaps() -> list[pl.Expr]:
    """Days between consecutive purchase days; null below one gap (mean) or two (standard deviation). The latter from
    sums of whole numbers, which no number of threads changes.
    """
    gap = pl.col("_gap")
    count, whole, squares = gap.count().cast(pl.Int64), gap.sum(), (gap * gap).sum()
    variance = (count * squares - whole * whole) / (count * (count - 1))
    deviation = pl.when(count > 1).then(variance.sqrt())
    return [gap.mean().alias("mean_gap_days"), deviation.alias("std_gap_days")]


def _ratio(part: str, whole: str) -> pl.Expr:
    """Part of a whole, null where the whole is zero: a rate of nothing is not known."""
    return pl.when(pl.col(whole) > 0).then(pl.col(part) / pl.col(whole))


def _ratios() -> list[pl.Expr]:
    recent = pl.col("order_count_90d")
    before = pl.col("order_count_180d") - recent
    return [
        pl.when(pl.col("order_count") > pl.col(UNCONVERTED))
        .then(pl.col("gross_amount") / (pl.col("order_count") - pl.col(UNCONVERTED)))
        .alias("mean_order_amount"),
        _ratio("unit_count", "order_count").alias("units_per_order"),
        _ratio("item_count", "order_count").alias("items_per_order"),
        # more returns than orders happen (returns of orders older than the data): a rate stays in 0 to 1
        _ratio("return_count", "order_count").clip(0, 1).alias("return_rate"),
        _ratio("discount_amount", "gross_amount").clip(0, 1).alias("discount_rate"),
        *(_ratio(f"{c}_order_count", "order_count").alias(f"{c}_order_share") for c in ("store", "online", "mobile")),
        (pl.col("recency_days") / pl.max_horizontal("mean_gap_days", pl.lit(MIN_GAP_DAYS))).alias("recency_to_gap"),
        # -1 all orders are older, +1 all are recent, 0 steady or none; unsigned counts would wrap in the difference
        ((recent.cast(pl.Float64) - before.cast(pl.Float64)) / pl.max_horizontal("order_count_180d", pl.lit(1))).alias(
            "order_trend"
        ),
    ]
