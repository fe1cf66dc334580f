"""Truths about the loyalty programme: how much is never redeemed, how tiers change, what rewards do."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import planted
import polars as pl

from customer360.pipelines.gold.points import points_breakage, points_redemption
from customer360.pipelines.gold.rewards import reward_effects
from customer360.pipelines.gold.tiers import tier_migrations
from customer360.pipelines.rules.loyalty import LoyaltyRules

RULES = LoyaltyRules()
AS_OF = date(2026, 7, 1)
NOW = datetime(2026, 7, 1, tzinfo=UTC)
CURRENCY = pl.LazyFrame({"currency": ["EUR"]})

# ---- breakage ------------------------------------------------------------------------------------------------------

LIFE_MONTHS, HAZARD = 12, 0.1
BREAKAGE = (1 - HAZARD) ** LIFE_MONTHS  # of points that nobody spends before they expire


def _lots(seed: int, accounts: int, hazard: float) -> pl.LazyFrame:
    """Movements of lots over two years: each is spent whole in a month of its life with a chance, else it expires."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(accounts), 4)
    born = rng.integers(0, 720, len(owner))
    points = rng.integers(50, 500, len(owner))
    month = rng.geometric(hazard, len(owner)) - 1 if hazard < 1 else np.zeros(len(owner), dtype=np.int64)
    spent = month < LIFE_MONTHS
    end = born + np.where(spent, month * 30 + rng.integers(0, 30, len(owner)), LIFE_MONTHS * 30 - 1)
    lots = {"customer_id": owner, "lot_id": np.arange(len(owner)), "born": born, "end": end, "points": points}
    at = pl.Datetime("us", "UTC")
    base = pl.DataFrame(lots | {"spent": spent}).cast({"customer_id": pl.String, "lot_id": pl.String})
    start = pl.lit(NOW - timedelta(days=720))
    own = base.with_columns(
        source_system=pl.lit("L"), lot_at=start + pl.duration(days="born"), taken_at=pl.lit(None, at),
        expires_on=(start + pl.duration(days=pl.col("born") + 360)).dt.date(),
    )  # fmt: skip
    opened = own.with_columns(occurred_at="lot_at", movement=pl.lit("OPENED"))
    ended = own.with_columns(
        occurred_at=start + pl.duration(days="end"), points=-pl.col("points"),
        movement=pl.when("spent").then(pl.lit("REDEEMED")).otherwise(pl.lit("EXPIRED")),
    )  # fmt: skip
    # By mistake every third lot expired at once, and the day after it was given back.
    wrong = own.filter(pl.col("lot_id").cast(pl.Int64) % 3 == 0)
    expired = wrong.with_columns(occurred_at="lot_at", points=-pl.col("points"), movement=pl.lit("EXPIRED"))
    back = wrong.with_columns(
        occurred_at=pl.col("lot_at") + pl.duration(days=1), taken_at="lot_at", movement=pl.lit("REINSTATED")
    )
    # A tenth more came with goods that were brought back within a fortnight.
    returned = own.filter(pl.col("lot_id").cast(pl.Int64) % 10 == 0).with_columns(lot_id=pl.lit("r") + pl.col("lot_id"))
    cancelled = returned.with_columns(
        occurred_at=pl.col("lot_at") + pl.duration(days=14), points=-pl.col("points"), movement=pl.lit("TAKEN_BACK")
    )
    came = returned.with_columns(occurred_at="lot_at", movement=pl.lit("OPENED"))
    return pl.concat([opened, ended, expired, back, came, cancelled]).drop("born", "end", "spent").lazy()


def _breakage(lots: pl.LazyFrame) -> dict[str, float]:
    curve = points_redemption(lots, AS_OF, RULES).collect().lazy()
    return points_breakage(lots, curve, AS_OF, RULES).collect().row(0, named=True)


def _unspent(seed: int) -> planted.Found:
    """Of 400 accounts, lots that are spent with a chance of a tenth a month of their year; half of them are young. Some
    expired by mistake, which was reversed; some were taken back with the goods."""
    told = _breakage(_lots(seed, 400, HAZARD))
    return planted.Found(told["breakage_rate"], told["breakage_rate_low"], told["breakage_rate_high"])


def _all_spent(seed: int) -> tuple[int, int]:
    """Every point is spent in its first month, as far as time allowed."""
    told = _breakage(_lots(seed, 150, 1.0))
    return int(told["breakage_rate_low"] > 0), 1


# ---- tiers -----------------------------------------------------------------------------------------------------------

UP_RATE = 0.12


def _tiers(seed: int) -> planted.Found:
    """Of 500 in silver at the beginning of June, each is in gold at its end with a chance."""
    rng = np.random.default_rng(seed)
    moves = rng.random(500) < UP_RATE
    began, at = datetime(2025, 1, 1, tzinfo=UTC), datetime(2026, 6, 10, tzinfo=UTC)
    person = [f"P{n}" for n in range(500)]
    silver = pl.DataFrame({"person_id": person, "valid_to": [at if m else None for m in moves]}).with_columns(
        tier=pl.lit("SILVER"), valid_from=pl.lit(began)
    )
    gold = silver.filter(pl.col("valid_to").is_not_null()).with_columns(
        tier=pl.lit("GOLD"), valid_from=pl.lit(at), valid_to=pl.lit(None, silver.schema["valid_to"])
    )
    rows = pl.concat([silver, gold.select(silver.columns)]).with_columns(subject_id="person_id").lazy()
    told = tier_migrations(rows, AS_OF, RULES).collect()
    up = told.filter(pl.col("month") == date(2026, 6, 1), pl.col("direction") == "UP").row(0, named=True)
    return planted.Found(up["rate"], up["rate_low"], up["rate_high"])


# ---- rewards ---------------------------------------------------------------------------------------------------------

PEOPLE, DAYS, GAIN_AMOUNT = 1200, 540, 30.0


def _rewarded(seed: int, gain: float, choosy: bool) -> dict[str, object]:
    """People who buy at rates of their own, and redeem at some purchases, more so where they lately bought much; the
    redemption itself brings ``gain`` within the following window, half of the times."""
    rng = np.random.default_rng(seed)
    rate = rng.gamma(2.0, 0.008, PEOPLE)
    bought = rng.random((PEOPLE, DAYS)) < rate[:, None]
    recent = np.cumsum(bought, axis=1)
    recent = recent - np.pad(recent, ((0, 0), (60, 0)))[:, :DAYS]
    person, day = np.nonzero(bought)
    chance = 0.1 + (0.12 * np.minimum(recent[person, day], 4) + 4 * rate[person] if choosy else 0.15)
    redeems = (rng.random(len(person)) < chance) & (day > 30)
    amount = rng.gamma(4.0, 12.5, len(person))
    extra = redeems & (rng.random(len(person)) < 0.5)
    later = np.minimum(day[extra] + rng.integers(1, 61, extra.sum()), DAYS - 1)
    rows = {
        "person": np.concatenate([person, person[extra]]), "day": np.concatenate([day, later]),
        "net_amount": np.concatenate([amount, np.full(extra.sum(), 2 * gain)]),
        "order_count": np.concatenate([np.ones(len(person), dtype=np.int64), np.zeros(extra.sum(), dtype=np.int64)]),
    }  # fmt: skip
    on = (pl.lit(AS_OF) - pl.duration(days=DAYS) + pl.duration(days="day")).cast(pl.Date)
    name = pl.col("person").cast(pl.String)
    days = (
        pl.DataFrame(rows).group_by(person_id=name, on=on)
        .agg(pl.col("order_count").sum(), pl.col("net_amount").sum())
    )  # fmt: skip
    spent = pl.DataFrame({"person": person[redeems], "day": day[redeems]}).select(
        person_id=name, occurred_on=on, entry_type=pl.lit("REDEEM"), points=pl.lit(200, pl.Int64)
    )
    held = pl.DataFrame({"person": np.arange(PEOPLE), "day": np.zeros(PEOPLE, dtype=np.int64)}).select(
        person_id=name, occurred_at=on.cast(pl.Datetime("us", "UTC")), points=pl.lit(5000, pl.Int64)
    )
    told = reward_effects(days.lazy(), spent.lazy(), held.lazy(), CURRENCY, AS_OF, RULES)
    return told.collect().row(0, named=True)


def _gain(seed: int) -> planted.Found:
    """Redemptions at random moments that bring so much on average."""
    told = _rewarded(seed, GAIN_AMOUNT, choosy=False)
    return planted.Found(told["effect_amount"], told["effect_low"], told["effect_high"])  # type: ignore[arg-type]


def _no_gain(seed: int) -> tuple[int, int]:
    """Who has lately bought much, and who always does, redeems more often; the redemption brings nothing."""
    return int(_rewarded(seed, 0.0, choosy=True)["status"] == "EFFECT"), 1


TRUTHS = [
    planted.Truth("gold.points_breakage", "share of points that nobody spends", BREAKAGE, _unspent, _all_spent, 0.95),
    planted.Truth("gold.tier_migrations", "share of a tier that moves up in a month", UP_RATE, _tiers, None, 0.95),
    planted.Truth("gold.reward_effects", "spent more within 90 days of a redemption", GAIN_AMOUNT, _gain, _no_gain,
                  0.95),
]  # fmt: skip
