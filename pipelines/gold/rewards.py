"""What spending points does to spending money: redeemers against members who could have redeemed and did not.

Who redeems has just bought much, and buys less afterwards whether it redeems or not (regression to the mean); and who
buys often redeems more often. So a purchase with a redemption is compared with purchases without one, of members who
held enough points, in the same quarter, after as many orders in the window before and with alike balances. Of both,
what is spent in the window after is set against the window before last, which the redemption did not follow from:
members who always bought more stand out in both and cancel. What is left may still follow from what no table knows; a
holdout (`configs/experiments.yaml`) is the proof.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import polars as pl

from customer360.pipelines.inference.jackknife import GROUPS, Array, interval
from customer360.pipelines.inference.verdicts import EFFECT, NO_EFFECT_SHOWN, NOT_ENOUGH_EVIDENCE
from customer360.pipelines.money import UNSTATED
from customer360.pipelines.rules.loyalty import LoyaltyRules
from customer360.platform.graph import builds
from customer360.platform.tables import Date, Float, Integer, OneOf, String, Table

ORDER_BANDS = (1, 2, 3, 4)  # orders in the window before; the last band has no end
BALANCE_BANDS = (2, 4)  # times the least balance that counts as enough
ENOUGH_QUANTILE = 0.1  # of redeemed points: with so many a member could have redeemed
LEAST_CONTROLS = 5  # people, below which a stratum says too little of what would have been
PERSON_DAYS = 1_000_000  # apart, so that persons and days make one ordered number


class RewardEffects(Table, table="gold.reward_effects", partition_by=("as_of",)):
    """One row per as_of date, none where nobody redeemed: what members spend more in the window after a redemption."""

    as_of = Date(primary_key=True)
    status = OneOf(
        EFFECT, NO_EFFECT_SHOWN, NOT_ENOUGH_EVIDENCE,
        description="EFFECT: the interval is on one side of zero; NOT_ENOUGH_EVIDENCE: too few comparable redemptions",
    )  # fmt: skip
    window_days = Integer(description="After the day of the redemption; also the windows before it")
    redemption_count = Integer(description="Days on which a person redeemed, whose window after is over")
    comparable_count = Integer(description="Of these with a purchase, enough points, and purchases like it without one")
    control_count = Integer(description="Purchases without redemption that they are compared with")
    redeemer_count = Integer(description="People among the comparable ones")
    currency = String(description=f"The reporting currency, of all amounts; {UNSTATED}: nothing names one")
    spend_after = Float(nullable=True, description="Mean net amount of comparable redeemers in the window after")
    spend_before = Float(nullable=True, description="The same in the window before; not what the effect is measured by")
    effect_amount = Float(nullable=True, description="Spent more a redemption, in the window after; null: not enough")
    effect_low = Float(nullable=True)
    effect_high = Float(nullable=True)


@builds(
    RewardEffects,
    rules="loyalty",
    reads={
        "silver.subject_days": ("person_id", "on", "order_count", "net_amount"),
        "silver.loyalty_ledger": ("person_id", "occurred_on", "entry_type", "points"),
        "silver.loyalty_lot_movements": ("person_id", "occurred_at", "points"),
    },
)
def reward_effects(
    silver_subject_days: pl.LazyFrame,
    silver_loyalty_ledger: pl.LazyFrame,
    silver_loyalty_lot_movements: pl.LazyFrame,
    silver_reporting_currency: pl.LazyFrame,
    as_of: date,
    params: LoyaltyRules,
) -> pl.LazyFrame:
    """Matched difference in differences, with an interval over people."""
    window = params.reward_window_days
    known = pl.col("person_id").is_not_null()
    redeemed = (
        silver_loyalty_ledger.filter(known, pl.col("entry_type") == "REDEEM")
        .filter(pl.col("occurred_on") < as_of, _is_over("occurred_on", window, as_of))
        .group_by("person_id", on="occurred_on")
        .agg(redeemed=pl.col("points").abs().sum())
        .collect()
    )
    if redeemed.is_empty():
        return RewardEffects.create_empty().lazy()
    enough = max(float(redeemed["redeemed"].quantile(ENOUGH_QUANTILE) or 0), 1.0)
    members = silver_loyalty_lot_movements.filter(known).select("person_id").unique()
    days = silver_subject_days.filter(known, pl.col("on") < as_of).join(members, on="person_id", how="semi").collect()
    held = silver_loyalty_lot_movements.filter(known).select("person_id", "points", on=pl.col("occurred_at").dt.date())
    units = _units(days, held.collect(), redeemed, window, as_of, enough)
    told = _told(units, params)
    currency = silver_reporting_currency.collect()["currency"]
    fixed = {
        "as_of": as_of, "window_days": window, "redemption_count": redeemed.height,
        "currency": currency[0] if len(currency) else UNSTATED,
    }  # fmt: skip
    return pl.LazyFrame([fixed | told], schema=RewardEffects.create_empty().schema)


def _is_over(on: str, window: int, as_of: date) -> pl.Expr:
    return pl.col(on) + pl.duration(days=window) < as_of


def _units(
    days: pl.DataFrame, held: pl.DataFrame, redeemed: pl.DataFrame, window: int, as_of: date, enough: float
) -> pl.DataFrame:
    """One row per day with a purchase of a member who held enough: person (number), treated, stratum, and what was
    spent in the window after, before, and before that."""
    people = days.select("person_id").unique().sort("person_id").with_row_index("person")
    people = people.cast({"person": pl.Int64})

    def numbered(rows: pl.DataFrame, *columns: str) -> pl.DataFrame:
        key = pl.col("person") * PERSON_DAYS + pl.col("on").to_physical().cast(pl.Int64)
        return (
            rows.join(people, on="person_id").with_columns(key=key).sort("key").select("key", "person", "on", *columns)
        )

    traded = numbered(days.cast({"net_amount": pl.Float64}), "order_count", "net_amount")
    moved = numbered(held, "points")
    bought = traded.filter(pl.col("order_count") > 0, _is_over("on", window, as_of))
    key = bought["key"].to_numpy()
    spent, orders = _Running(traded, "net_amount"), _Running(traded, "order_count")
    first = traded.group_by("person").agg(first=pl.col("key").min())
    units = bought.select("key", "person", "on").with_columns(
        after=spent.between(key, key + window),
        before=spent.between(key - window - 1, key - 1),
        earlier=spent.between(key - 2 * window - 1, key - window - 1),
        orders=orders.between(key - window - 1, key - 1),
        balance=_Running(moved, "points").between(bought["person"].to_numpy() * PERSON_DAYS, key - 1),
    )
    treated = numbered(redeemed).select("key", treated=pl.lit(True))
    known = (
        units.join(treated, on="key", how="left")
        .join(first, on="person")
        .with_columns(pl.col("treated").fill_null(False))
    )
    quarter = pl.col("on").dt.year() * 4 + pl.col("on").dt.quarter()
    stratum = pl.struct(
        quarter, _band(pl.col("orders"), ORDER_BANDS), _band(pl.col("balance") / enough, BALANCE_BANDS).alias("held")
    )
    return known.filter(pl.col("balance") >= enough, pl.col("first") <= pl.col("key") - 2 * window).with_columns(
        stratum=stratum.rank("dense").cast(pl.Int64) - 1
    )


class _Running:
    """Sums of a column over days of a person, by two look-ups."""

    def __init__(self, rows: pl.DataFrame, column: str) -> None:
        self.keys = rows["key"].to_numpy()
        self.sums = np.concatenate([[0.0], np.cumsum(rows[column].to_numpy().astype(np.float64))])

    def between(self, after: Any, until: Any) -> Array:
        """What lies after one key, up to and with the other; both of one person."""
        low, high = (np.searchsorted(self.keys, key, side="right") for key in (after, until))
        return np.asarray(self.sums[high] - self.sums[low], dtype=np.float64)


def _band(value: pl.Expr, cuts: tuple[int, ...]) -> pl.Expr:
    return pl.sum_horizontal((value >= cut).cast(pl.Int64) for cut in cuts)


def _told(units: pl.DataFrame, params: LoyaltyRules) -> dict[str, Any]:
    """Counts, means, and where there is enough of both, the effect."""
    controls = pl.col("person").filter(~pl.col("treated")).n_unique().over("stratum")
    matched = units.filter(pl.col("treated").any().over("stratum") & (controls >= LEAST_CONTROLS))
    ours, others = matched.filter("treated"), matched.filter(~pl.col("treated"))
    told: dict[str, Any] = {
        "comparable_count": ours.height, "control_count": others.height, "redeemer_count": ours["person"].n_unique(),
        "spend_after": ours["after"].mean(), "spend_before": ours["before"].mean(),
        "effect_amount": None, "effect_low": None, "effect_high": None, "status": NOT_ENOUGH_EVIDENCE,
    }  # fmt: skip
    if min(ours.height, others.height, ours["person"].n_unique()) < params.least_redemptions:
        return told
    effect, low, high = (float(x) for x in interval(_parts(matched), _effect, params.confidence))
    status = EFFECT if low > 0 or high < 0 else NO_EFFECT_SHOWN
    return told | {"effect_amount": effect, "effect_low": low, "effect_high": high, "status": status}


def _parts(matched: pl.DataFrame) -> Array:
    """[groups of people, strata, (treated, not), (count, gain)]; the gain is after less earlier."""
    stratum = matched["stratum"].rank("dense").cast(pl.Int64) - 1
    parts = np.zeros((GROUPS, int(stratum.max() or 0) + 1, 2, 2))  # type: ignore[arg-type]
    place = (
        matched["person"].rank("dense").to_numpy().astype(np.int64) % GROUPS, stratum.to_numpy(),
        (~matched["treated"]).to_numpy().astype(np.int64),
    )  # fmt: skip
    np.add.at(parts[..., 0], place, 1.0)
    np.add.at(parts[..., 1], place, (matched["after"] - matched["earlier"]).to_numpy())
    return parts


def _effect(sums: Array) -> float:
    """Mean over treated of the gain above that of their stratum's controls; strata without either count nothing."""
    count, gain = sums[..., 0], sums[..., 1]
    weight = np.where(count[:, 1] > 0, count[:, 0], 0.0)
    means = gain / np.maximum(count, 1e-9)
    return float((weight * (means[:, 0] - means[:, 1])).sum() / max(weight.sum(), 1e-9))
