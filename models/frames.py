"""Point-in-time frames: what was known of a person before a date, and what happened after it.

Features are those of `gold.customer_features`. Everything here is a pure function of `silver.subject_days` (one row per
subject and day). A cut is a date `as_of`: features read rows strictly before it, labels read the window `[as_of, as_of
+ horizon)`. Every result is per person, so a frame may be built bucket by bucket: `f(whole) == concat(f(part) for part
split by person)`.
"""

from datetime import date, timedelta

import polars as pl

from customer360.pipelines.features import (
    ACTIVE_WITHIN_DAYS,
    FEATURES,
    HORIZON_DAYS,
    QUIET_DAYS,
    UNCONVERTED,
    features,
    unconverted_of_year,
    with_unconverted,
)
from customer360.platform.errors import ModelError

GRID = 2.0**20  # parts of a unit of money: sums of such amounts are exact up to 2**33
MONEY = ("gross_amount", "net_amount", "discount_amount")

__all__ = [
    "ACTIVE_WITHIN_DAYS",
    "FEATURES",
    "HORIZON_DAYS",
    "cuts",
    "examples",
    "features",
    "first_purchase_on",
    "labels",
    "population",
    "priced",
    "require_outcome",
    "summable",
    "unconverted_of_year",
]


def summable(days: pl.LazyFrame) -> pl.LazyFrame:
    """Days whose amounts are Float64 in whole parts of 2**-20: their sums are exact, so that neither the order of rows
    nor the number of threads is seen in a last bit, which a search for parameters would make larger.
    """
    return days.with_columns(on_grid(pl.col(name).cast(pl.Float64)) for name in MONEY)


def on_grid(values: pl.Expr, parts: float = GRID) -> pl.Expr:
    """Floats to the nearest whole part of a power of two."""
    return (values * parts).round() / parts


def labels(days: pl.LazyFrame, as_of: date, horizon_days: int = HORIZON_DAYS) -> pl.LazyFrame:
    """What followed for every person with a purchase before `as_of`: `person_id`, `churned` (no purchase in the
    window), `purchases` (days with one, Float64), `revenue` (Float64, gross).

    The window is `[as_of, as_of + horizon_days)`; whether the data reach its end is the caller's to know (`cuts`,
    `require_outcome`).
    """
    after = pl.col("on").ge(as_of) & (pl.col("order_count") > 0)
    return (
        days.filter(pl.col("person_id").is_not_null(), pl.col("on") < as_of + timedelta(days=horizon_days))
        .sort("person_id", "on")  # amounts are added in one order, else their last bit changes from run to run
        .group_by("person_id", maintain_order=True)
        .agg(
            known=((pl.col("on") < as_of) & (pl.col("order_count") > 0)).any(),
            churned=~after.any(),
            purchases=after.sum().cast(pl.Float64),
            revenue=pl.col("gross_amount").cast(pl.Float64).filter(after).sum(),
        )
        .filter("known")
        .drop("known")
        .sort("person_id")
    )


def population(days: pl.LazyFrame, as_of: date, active_within_days: int = ACTIVE_WITHIN_DAYS) -> pl.LazyFrame:
    """Persons whose last purchase before `as_of` is at most `active_within_days` old: one column, `person_id`."""
    recent = pl.col("on").is_between(as_of - timedelta(days=active_within_days), as_of, closed="left")
    return (
        days.filter(pl.col("person_id").is_not_null(), recent, pl.col("order_count") > 0)
        .select("person_id")
        .unique()
        .sort("person_id")
    )


def priced(days: pl.LazyFrame, before: date) -> pl.LazyFrame:
    """Days without those of persons who have an order before a date whose amount is not known in the reporting
    currency: what they spend is unknown, which is not less.
    """
    unknown = ((pl.col(UNCONVERTED) > 0) & (pl.col("on") < before)).any().over("person_id")
    return with_unconverted(days).filter(pl.col("person_id").is_null() | ~unknown)


def examples(
    days: pl.LazyFrame,
    as_of: date,
    horizon_days: int = HORIZON_DAYS,
    active_within_days: int = ACTIVE_WITHIN_DAYS,
) -> pl.LazyFrame:
    """Population, features and labels of one cut: `person_id`, `as_of`, `FEATURES`, `churned`, `purchases`, `revenue`;
    one row per person.
    """
    return (
        population(days, as_of, active_within_days)
        .join(features(days, as_of), on="person_id", how="left")
        .join(labels(days, as_of, horizon_days), on="person_id", how="left")
        .with_columns(as_of=pl.lit(as_of))
        .sort("person_id")
    )


def cuts(
    first_on: date,
    as_of: date,
    horizon_days: int = HORIZON_DAYS,
    min_history_days: int = 270,
    at_most: int = 4,
    step_days: int | None = None,
) -> list[date]:
    """Training cuts known at `as_of`, oldest first: one each `step_days` (the horizon where None), the last label
    window ending on `as_of` itself.

    A cut needs `min_history_days` of data before it (`first_on` is the first day in the data). Raises ModelError when
    none fits.
    """
    step = step_days or horizon_days
    found = [as_of - timedelta(days=horizon_days + step * back) for back in range(at_most)]
    kept = sorted(cut for cut in found if cut - timedelta(days=min_history_days) >= first_on)
    if not kept:
        raise ModelError(
            f"no training cut: data begin on {first_on}, as_of is {as_of}, a cut needs {min_history_days} days of "
            f"history and {horizon_days} days of outcome"
        )
    return kept


def first_purchase_on(days: pl.LazyFrame) -> date:
    """The first day with a purchase in the data. Raises ModelError when there is none."""
    return _extreme_purchase_on(days, pl.col("on").min())


def require_outcome(days: pl.LazyFrame, as_of: date, horizon_days: int = HORIZON_DAYS) -> None:
    """Raise ModelError unless the data reach the end of the label window of `as_of`, give or take `QUIET_DAYS` without
    a sale.
    """
    last, needed = _extreme_purchase_on(days, pl.col("on").max()), as_of + timedelta(days=horizon_days - 1)
    if last < needed - timedelta(days=QUIET_DAYS):
        raise ModelError(f"the outcome of {as_of} is not known: data end on {last}, its window ends on {needed}")


def _extreme_purchase_on(days: pl.LazyFrame, expression: pl.Expr) -> date:
    found = days.filter(pl.col("order_count") > 0).select(expression).collect().item()
    if found is None:
        raise ModelError("silver.subject_days holds no purchase")
    return found
