"""Purchase days whose amount is far above all that is usual: a mistyped amount, a test order, an account like no other.

One such amount would decide what a shop's customers are worth. In a fit it counts as what is usual for its customer,
learnt from the customer's other purchases and, where these are few, from those of all; that somebody bought on the day
stays true. Amounts are compared by their logarithms, spreads are medians of distances, which no single amount moves.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from customer360.models import frames

LEAST_RATIO = 6.0  # over the usual amount: below, an amount is no outlier however alike the others are
LEAST_DEVIATIONS = 4.0  # of what is expected of one more amount of this customer
LEAST_DAYS = 20  # purchases of a shop, to know what is usual in it
NORMAL = 1.4826  # standard deviations to a median distance, of normal noise
LEAST_SPREAD = 0.05
STEADY = 6.0  # purchases that the shop's spread weighs beside a customer's own

LOG_PARTS = 2.0**16  # of a logarithm: the sums of its squares are exact, too

_SCHEMA = {
    "person_id": pl.String,
    "on": pl.Date,
    "amount": pl.Float64,
    "usual": pl.Float64,
    "bound": pl.Float64,
}


@dataclass(frozen=True)
class Tempered:
    """`days` with each outlier at its usual amount; `found`: one row an outlier, the largest first: `person_id`, `on`,
    `amount`, `usual`, and `bound`, the largest amount that would have passed.
    """

    days: pl.LazyFrame
    found: pl.DataFrame

    @property
    def persons(self) -> pl.Series:
        """Whose purchases they are."""
        return self.found["person_id"].unique()


def temper(days: pl.LazyFrame, before: date) -> Tempered:
    """Days (as `silver.subject_days`) in which outliers before a date count as usual; nothing on or after it is read
    or changed.
    """
    found = find(days, before)
    return Tempered(days if found.is_empty() else counted_as(days, found, "usual"), found)


def counted_as(days: pl.LazyFrame, found: pl.DataFrame, amount: str) -> pl.LazyFrame:
    """Days in which the outliers of `find` have another amount: their `usual` one, or their `bound`."""
    other = found.lazy().select("person_id", "on", _counted=amount)
    gross, net, counted = (pl.col(name).cast(pl.Float64) for name in ("gross_amount", "net_amount", "_counted"))
    return (
        days.join(other, on=["person_id", "on"], how="left", maintain_order="left")
        .with_columns(gross_amount=pl.coalesce(counted, gross), net_amount=pl.coalesce(net - gross + counted, net))
        .drop("_counted")
    )


def find(days: pl.LazyFrame, before: date) -> pl.DataFrame:
    """The outliers before a date, as `Tempered.found` has them."""
    priced = pl.col("gross_amount").cast(pl.Float64)
    bought = (
        days.filter(pl.col("person_id").is_not_null(), pl.col("order_count") > 0, pl.col("on") < before, priced > 0)
        .select("person_id", "on", amount=priced, log=frames.on_grid(priced.log(), LOG_PARTS))  # sums are exact
        .collect()
    )
    if bought.height < LEAST_DAYS:
        return pl.DataFrame(schema=_SCHEMA)
    middle, between, within = _spreads(bought)
    others = pl.len().over("person_id").cast(pl.Float64) - 1.0
    rest = pl.col("log").sum().over("person_id") - pl.col("log")
    squares = (pl.col("log") ** 2).sum().over("person_id") - pl.col("log") ** 2
    around = (squares - rest**2 / others.clip(1.0)).clip(0.0)
    # Who buys for now little, now much is no outlier to themselves; nobody is held to be steadier than the shop.
    own = ((STEADY * within**2 + around) / (STEADY + (others - 1.0).clip(0.0))).clip(within**2)
    weight = others / own + 1.0 / between**2
    centre = (rest / own + middle / between**2) / weight
    reach = (LEAST_DEVIATIONS * (own + 1.0 / weight).sqrt()).clip(float(np.log(LEAST_RATIO)))
    told = bought.with_columns(usual=centre.exp(), bound=(centre + reach).exp())
    found = told.filter(pl.col("amount") > pl.col("bound")).select(*_SCHEMA)
    return found.sort("amount", "person_id", "on", descending=[True, False, False])


def _spreads(bought: pl.DataFrame) -> tuple[float, float, float]:
    """Of logarithms of amounts: the middle customer, and the spreads between customers and within one."""
    own = bought.group_by("person_id").agg(pl.col("log").median().alias("own"), count=pl.len())
    middle = _median(own["own"])
    between = max(NORMAL * _median((own["own"] - middle).abs()), LEAST_SPREAD)
    often = bought.join(own.filter(pl.col("count") > 2), on="person_id")
    if often.height < LEAST_DAYS:
        return middle, between, between
    return middle, between, max(NORMAL * _median((often["log"] - often["own"]).abs()), LEAST_SPREAD)


def _median(values: pl.Series) -> float:
    return float(np.median(values.to_numpy()))
