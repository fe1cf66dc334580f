"""Points outstanding: what they are worth, how much of them will never be spent."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from customer360.pipelines.inference.jackknife import GROUPS, Array, interval
from customer360.pipelines.inference.verdicts import NOT_ENOUGH_EVIDENCE
from customer360.pipelines.money import TOTAL, UNSTATED, with_rate
from customer360.pipelines.points import ACCOUNT
from customer360.pipelines.rules.loyalty import LoyaltyRules
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Float, Integer, OneOf, String, Table, Total

LOT = ["source_system", "customer_id", "lot_id"]
READS: dict[str, tuple[str, ...]] = {
    "silver.loyalty_lot_movements": (
        "source_system", "customer_id", "lot_id", "lot_at", "expires_on", "occurred_at", "movement", "points",
        "taken_at",
    )
}  # fmt: skip
SPENT = ("REDEEMED", "RESTORED")
GONE = ("EXPIRED", "ADJUSTED", "REINSTATED")
CANCELLED = ("TAKEN_BACK", "GIVEN_BACK")  # with the goods that earned them
_ENDS = pl.col("movement").is_in((*SPENT, *GONE))
MOST_MONTHS = 60  # of age that a curve tells
EXACT = pl.Decimal(38, 12)  # a sum that is the same in whatever order Polars takes the rows; of floats it is not


class PointsRedemption(
    Table, table="gold.points_redemption", partition_by=("as_of",), sort_by=("source_system", "age_months")
):
    """One row per system, month of age of points and as_of date: how much of what is earned is spent by then.

    Ages that points were observed through alone count (actuarial life table); spending and expiry are competing ends
    (Aalen and Johansen, 1978), so points that expire are not taken for points that would have been spent later. Points
    that were taken back with the goods that earned them are out of it from the month on; what a reversal gives back had
    never been taken.
    """

    as_of = Date(primary_key=True)
    source_system = String(primary_key=True)
    age_months = Integer(primary_key=True, min=1, description="At the end of the month of age; a month is 30 days")
    account_count = Integer(description="With points that were observed through the month")
    at_risk_points = Integer(
        description="Open when the month began, of points observed through it and not cancelled in it"
    )
    redeemed_points = Integer(description="Of these, spent in the month")
    lost_points = Integer(description="Of these, expired or adjusted away in the month")
    redeemed_rate = Float(description="Estimated share of points that are spent by that age")
    redeemed_rate_low = Float()
    redeemed_rate_high = Float()
    open_rate = Float(description="Estimated share of points that are still open at that age")
    later_redeemed_rate = Float(
        nullable=True, description="Of points open at that age, the share that is spent later; null where none is open"
    )


class PointsBreakage(Table, table="gold.points_breakage", partition_by=("as_of",), sort_by=("source_system",)):
    """One row per system and as_of date: the share of points that is never spent, estimated from lots of all ages."""

    as_of = Date(primary_key=True)
    source_system = String(primary_key=True)
    status = OneOf(
        "FINAL", "AT_MOST", NOT_ENOUGH_EVIDENCE,
        description="FINAL: nearly no point is open at the oldest age; AT_MOST: some are, and may be spent yet;"
        " NOT_ENOUGH_EVIDENCE: fewer accounts than the rule file asks for, nothing is told",
    )  # fmt: skip
    account_count = Integer(description="Accounts that points came to before as_of")
    earned_points = Integer(description="Points that came, whatever became of them")
    horizon_months = Integer(nullable=True, description="Oldest age that enough accounts were observed through")
    breakage_rate = Float(nullable=True, description="1 - the share that is spent by the horizon")
    breakage_rate_low = Float(nullable=True)
    breakage_rate_high = Float(nullable=True)
    open_rate = Float(nullable=True, description="Share that is still open at the horizon")


@builds(PointsRedemption, rules="loyalty", reads=READS)
def points_redemption(silver_loyalty_lot_movements: pl.LazyFrame, as_of: date, params: LoyaltyRules) -> pl.LazyFrame:
    """A life table of points for each system, with an interval over accounts."""
    tables = [PointsRedemption.create_empty().lazy()]
    for system, (sums, accounts) in _monthly(silver_loyalty_lot_movements, as_of).items():
        months = int((accounts >= params.least_accounts).cumprod().sum())
        if not months:
            continue
        sums = sums[:, :months]
        rate, low, high = interval(sums, _incidence, params.confidence)
        whole = sums.sum(axis=0)
        open_rate = _open(whole)
        with np.errstate(divide="ignore", invalid="ignore"):
            later = np.where(open_rate > 0, (rate[-1] - rate) / open_rate, np.nan)
        counts = dict(zip(("at_risk_points", "redeemed_points", "lost_points"), whole.T.astype(np.int64), strict=True))
        tables.append(
            pl.LazyFrame(
                {
                    "source_system": [system] * months, "age_months": np.arange(1, months + 1), **counts,
                    "account_count": accounts[:months].astype(np.int64), "redeemed_rate": rate,
                    "redeemed_rate_low": low.clip(0, 1), "redeemed_rate_high": high.clip(0, 1),
                    "open_rate": open_rate, "later_redeemed_rate": later,
                }
            ).with_columns(pl.col("later_redeemed_rate").fill_nan(None), as_of=pl.lit(as_of))
        )  # fmt: skip
    columns = list(PointsRedemption.columns())
    return pl.concat([table.select(columns) for table in tables], how="vertical_relaxed")


def _lots(past: pl.LazyFrame, whole: pl.Expr) -> pl.LazyFrame:
    """Lots that were observed for a month and more, by account: ``until``, the month in which none was open any more
    or observed, and the ``group`` of accounts.
    """
    moved_in, kind = pl.col("month"), pl.col("movement")
    # A lot is open until all of it is spent or lost, and not in the month in which the last of it is cancelled.
    ended = pl.max_horizontal(moved_in.filter(_ENDS).max() + 1, moved_in.filter(kind.is_in(CANCELLED)).max())
    lots = past.filter(whole > 0).group_by(LOT).agg(
        left=pl.col("points").sum(), whole=whole.first(), ended=ended.fill_null(0)
    )  # fmt: skip
    until = pl.when(pl.col("left") == 0).then(pl.min_horizontal("whole", "ended")).otherwise("whole")
    accounts = lots.group_by(ACCOUNT).agg(until=until.max())
    number = pl.col("customer_id").rank("dense").over("source_system").cast(pl.Int64) - 1
    count = pl.len().over("source_system").cast(pl.Int64)
    return accounts.with_columns(group=number % pl.min_horizontal(count, pl.lit(GROUPS, pl.Int64)))


def _monthly(moves: pl.LazyFrame, as_of: date) -> dict[str, tuple[Array, Array]]:
    """By system, of lots before ``as_of`` month by month of their age, as far as each was observed: [groups of
    accounts, months, (open when it began, spent, lost)], and the number of accounts by month.
    """
    now = pl.lit(as_of).cast(pl.Datetime("us", "UTC"))
    before = moves.filter(pl.col("occurred_at") < now)
    owed = before.filter(pl.col("movement").is_in(["OVERDRAWN", "REPAID"])).select(LOT).unique()
    # What was taken without being there is nobody's points. What is reversed never was, in the month it was taken in.
    at = pl.coalesce("taken_at", "occurred_at")
    age, kind = ((at - pl.col("lot_at")).dt.total_days() // 30).clip(0, MOST_MONTHS), pl.col("movement")
    whole = ((now - pl.col("lot_at")).dt.total_days() // 30).clip(0, MOST_MONTHS)
    past = before.join(owed, on=LOT, how="anti").with_columns(month=age)
    accounts = _lots(past, whole)
    sums = {
        "opened": pl.col("points").filter(kind == "OPENED").sum(),
        "spent": -pl.col("points").filter(kind.is_in(SPENT)).sum(),
        "lost": -pl.col("points").filter(kind.is_in(GONE)).sum(),
        "cancelled": -pl.col("points").filter(kind.is_in(CANCELLED)).sum(),
    }
    folded_ = past.join(accounts, on=ACCOUNT).group_by("source_system", "group", "month", whole=whole).agg(**sums)
    counts = accounts.group_by("source_system", "until").agg(pl.len().cast(pl.Int64))
    rows, ends = pl.collect_all([folded_, counts])
    told = {}
    for (system,), own in rows.group_by("source_system", maintain_order=False):
        ended = ends.filter(pl.col("source_system") == system)
        open_until = np.bincount(ended["until"].to_numpy(), weights=ended["len"].to_numpy(), minlength=MOST_MONTHS + 1)
        told[str(system)] = _through(own), open_until[::-1].cumsum()[::-1][1:]
    return dict(sorted(told.items()))


def _through(rows: pl.DataFrame) -> Array:
    """[groups, months, (open, spent, lost)] of sums by group, month of the movement and whole months observed."""
    months = MOST_MONTHS
    size = (int(rows["group"].max()) + 1, months + 1, months + 1)  # type: ignore[arg-type]
    at = tuple(rows[c].to_numpy() for c in ("group", "month", "whole"))
    opened, spent, lost, cancelled = np.zeros((4, *size))
    for sums, column in ((opened, "opened"), (spent, "spent"), (lost, "lost"), (cancelled, "cancelled")):
        np.add.at(sums, at, rows[column].to_numpy())
    gone = spent + lost
    left = opened.sum(axis=1, keepdims=True) - gone.cumsum(axis=1) + gone - cancelled.cumsum(axis=1)
    is_observed = np.arange(months + 1)[None, :] > np.arange(months)[:, None]  # [month, whole]
    parts = [(part[:, :months] * is_observed).sum(axis=2) for part in (left, spent, lost)]
    return np.stack(parts, axis=-1)


def _rates(sums: Array) -> tuple[Array, Array]:
    at_risk = np.maximum(sums[..., 0], 1e-9)
    return np.clip(sums[..., 1] / at_risk, -1, 1), np.clip(sums[..., 2] / at_risk, -1, 1)


def _open(sums: Array) -> Array:
    spent, lost = _rates(sums)
    return np.asarray(np.cumprod(np.clip(1 - spent - lost, 0, None)), dtype=np.float64)


def _incidence(sums: Array) -> Array:
    """Share spent by the end of each month: [months] of sums [months, (open, spent, lost)]."""
    spent, _ = _rates(sums)
    before = np.concatenate([[1.0], _open(sums)[:-1]])
    return np.asarray(np.cumsum(before * spent), dtype=np.float64)


@builds(PointsBreakage, rules="loyalty", reads=READS)
def points_breakage(
    silver_loyalty_lot_movements: pl.LazyFrame, gold_points_redemption: pl.LazyFrame, as_of: date, params: LoyaltyRules
) -> pl.LazyFrame:
    """What the curve says at its end."""
    past = silver_loyalty_lot_movements.filter(
        pl.col("occurred_at") < pl.lit(as_of).cast(pl.Datetime("us", "UTC")), pl.col("movement") == "OPENED"
    )
    known = past.group_by("source_system").agg(
        account_count=pl.col("customer_id").n_unique().cast(pl.Int64), earned_points=pl.col("points").sum()
    )
    end = gold_points_redemption.sort("age_months").group_by("source_system").last()
    rate, still = pl.col("redeemed_rate"), pl.col("open_rate")
    return known.join(end.drop("as_of", "account_count"), on="source_system", how="left").select(
        "source_system", "account_count", "earned_points", "open_rate",
        as_of=pl.lit(as_of),
        status=pl.when(rate.is_null()).then(pl.lit(NOT_ENOUGH_EVIDENCE))
        .when(still < params.settled_below).then(pl.lit("FINAL")).otherwise(pl.lit("AT_MOST")),
        horizon_months="age_months",
        breakage_rate=(1 - rate).clip(0, 1),
        breakage_rate_low=1 - pl.col("redeemed_rate_high"),
        breakage_rate_high=1 - pl.col("redeemed_rate_low"),
    ).select(list(PointsBreakage.columns()))  # fmt: skip


class PointsLiability(
    Table, table="gold.points_liability", partition_by=("as_of",), sort_by=("source_system", "age_months_from")
):
    """One row per system, band of age and as_of date: points outstanding, and what they are worth.

    Points that are overdrawn stand in the band of the day on which they were taken and count below zero.
    """

    as_of = Date(primary_key=True)
    source_system = String(primary_key=True)
    age_months_from = Integer(primary_key=True, description="Months of 30 days since the points came")
    age_months_to = Integer(nullable=True, description="Excluded; null: no end")
    account_count = Integer(description="With points of the band")
    open_points = Integer(description="Outstanding, those that are overdue included")
    overdue_points = Integer(description="Past their last day, without an entry that expires them")
    expiring_30d_points = Integer(description="Whose last day is within 30 days from as_of")
    point_currency = String(description=f"Of the amounts, by the rule file; {UNSTATED}: nothing names one")
    value_amount = Total(description="open_points that are not overdue, at the rule file's value of a point")
    expected_amount = Float(
        nullable=True,
        description="Of it what will be redeemed, by gold.points_redemption; null where that says nothing",
    )
    reporting_currency = String(description=f"Of reporting_amount; {UNSTATED}: nothing names one")
    reporting_amount = Total(
        nullable=True, description="value_amount in the reporting currency, at the rate of as_of; null: no rate"
    )
    is_expected_complete = Boolean(description="Every open point of the band has an age that the curve knows")


@builds(PointsLiability, rules="loyalty", reads=READS)
def points_liability(
    silver_loyalty_lot_movements: pl.LazyFrame,
    gold_points_redemption: pl.LazyFrame,
    silver_reporting_rates: pl.LazyFrame,
    silver_reporting_currency: pl.LazyFrame,
    as_of: date,
    params: LoyaltyRules,
) -> pl.LazyFrame:
    """Every lot that is open before ``as_of``, by its age."""
    now = pl.lit(as_of).cast(pl.Datetime("us", "UTC"))
    open_lots = (
        silver_loyalty_lot_movements.filter(pl.col("occurred_at") < now)
        .group_by(LOT)
        .agg(pl.col("points").sum(), pl.col("lot_at").first(), pl.col("expires_on").first())
        .filter(pl.col("points") != 0)
        .with_columns(age=((now - pl.col("lot_at")).dt.total_days() // 30).cast(pl.Int64))
    )
    curve = gold_points_redemption.select("source_system", age="age_months", later="later_redeemed_rate")
    first = gold_points_redemption.group_by("source_system").agg(
        later=pl.col("redeemed_rate").sort_by("age_months").last(), age=pl.lit(0, pl.Int64)
    )
    known = pl.concat([curve, first.select("source_system", "age", "later")], how="vertical_relaxed")
    overdue = (pl.col("expires_on") < as_of).fill_null(False)
    points, worth = pl.col("points"), pl.when(overdue).then(0).otherwise(pl.col("points"))
    cuts = [0, *params.age_bands]
    band = pl.coalesce(*(pl.when(pl.col("age") >= cut).then(cut) for cut in reversed(cuts)), pl.lit(0))
    ends = dict(zip(cuts, [*params.age_bands, None], strict=True))
    totals = (
        open_lots.join(known, on=["source_system", "age"], how="left")
        .group_by("source_system", age_months_from=band.cast(pl.Int64))
        .agg(
            account_count=pl.col("customer_id").n_unique().cast(pl.Int64),
            open_points=points.sum(),
            overdue_points=points.filter(overdue).sum(),
            expiring_30d_points=points.filter(
                pl.col("expires_on").is_between(as_of, pl.lit(as_of).dt.offset_by("30d"))
            ).sum(),
            value_points=worth.sum(),
            expected_points=(worth * pl.col("later")).cast(EXACT).sum().cast(pl.Float64),
            is_expected_complete=pl.col("later").filter(worth != 0).is_not_null().all(),
        )
    )
    value = (pl.col("value_points") * params.point_value).round(2)
    return (
        totals.join(_currencies(silver_reporting_currency, params), how="cross")
        .with_columns(as_of=pl.lit(as_of), value_amount=value)
        .pipe(with_rate, silver_reporting_rates, currency="point_currency", on="as_of", into="rate")
        .with_columns(
            age_months_to=pl.col("age_months_from").replace_strict(ends, return_dtype=pl.Int64),
            expected_amount=pl.when("is_expected_complete").then(pl.col("expected_points") * params.point_value),
            reporting_amount=pl.when(pl.col("point_currency") == pl.col("reporting_currency"))
            .then("value_amount")
            .otherwise((pl.col("value_amount") * pl.col("rate")).round(2)),
        )
        .cast({"value_amount": TOTAL, "reporting_amount": TOTAL})
        .select(list(PointsLiability.columns()))
    )


def _currencies(reporting: pl.LazyFrame, params: LoyaltyRules) -> pl.LazyFrame:
    known = pl.concat([reporting.select(reporting_currency="currency"),
                       pl.LazyFrame({"reporting_currency": [UNSTATED]})]).head(1)  # fmt: skip
    return known.with_columns(point_currency=pl.coalesce(pl.lit(params.point_currency), "reporting_currency"))
