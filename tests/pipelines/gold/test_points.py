"""Points outstanding, tiers and rewards: DuckDB counts the same, and what follows from chance is no effect."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from customer360.pipelines.gold.customers.loyalty import programme
from customer360.pipelines.gold.points import points_breakage, points_liability, points_redemption
from customer360.pipelines.gold.rewards import RewardEffects, reward_effects
from customer360.pipelines.gold.tiers import tier_migrations
from customer360.pipelines.rules.loyalty import LoyaltyRules

sys.path.insert(0, str(Path(__file__).parents[2]))
import planted

RULES = LoyaltyRules()
AS_OF = date(2026, 7, 1)
NOW = datetime(2026, 7, 1, tzinfo=UTC)
RATES = pl.LazyFrame({"currency": ["EUR"], "on": [AS_OF], "rate": [1.25], "valid_until_on": [None]},
                     schema_overrides={"valid_until_on": pl.Date})  # fmt: skip
REPORTING = pl.LazyFrame({"currency": ["USD"]})
LIABILITY = """
WITH lots AS (
  SELECT lot_id, customer_id, sum(points) AS points, min(lot_at) AS came, min(expires_on) AS until
  FROM moves WHERE occurred_at < $now GROUP BY ALL HAVING sum(points) <> 0),
aged AS (SELECT *, datesub('day', came, $now) // 30 AS age FROM lots)
SELECT CASE WHEN age >= 24 THEN 24 WHEN age >= 12 THEN 12 WHEN age >= 6 THEN 6 WHEN age >= 3 THEN 3 ELSE 0 END AS low,
       sum(points)::BIGINT, count(DISTINCT customer_id), coalesce(sum(points) FILTER (until < $now::DATE), 0)::BIGINT
FROM aged GROUP BY 1 ORDER BY 1
"""


def test_duckdb_finds_the_same_points_outstanding(retailer) -> None:  # type: ignore[no-untyped-def]
    moves = retailer.frame("silver.loyalty_lot_movements")
    for back in (0, 100):
        day = retailer.as_of - timedelta(days=back)
        now = datetime.combine(day, datetime.min.time(), UTC)
        curve = points_redemption(moves, day, RULES).collect()
        told = points_liability(moves, curve.lazy(), RATES, REPORTING, day, RULES).sort("age_months_from").collect()
        with duckdb.connect() as base:
            base.execute("SET TimeZone = 'UTC'")
            base.register("moves", moves.collect().to_arrow())
            theirs = base.sql(LIABILITY, params={"now": now}).fetchall()
        assert told.select("age_months_from", "open_points", "account_count", "overdue_points").rows() == theirs
        held = told["open_points"].sum()
        booked = retailer.frame("silver.loyalty_lot_movements").filter(pl.col("occurred_at") < now)
        assert held == booked.select(pl.col("points").sum()).collect().item()
        assert set(told["reporting_currency"]) == set(told["point_currency"]) == {"USD"}


def lot(points: int, days: int, until: date | None = None, **more: Any) -> dict[str, Any]:
    """A lot that came so many days before as_of."""
    at = NOW - timedelta(days=days)
    return {"source_system": "L", "customer_id": "c", "lot_id": f"l{days}", "lot_at": at, "expires_on": until,
            "occurred_at": at, "movement": "OPENED", "points": points, "person_id": "p", "taken_at": None,
            } | more  # fmt: skip


def moves(*rows: dict[str, Any]) -> pl.LazyFrame:
    at = pl.Datetime("us", "UTC")
    return pl.LazyFrame(rows, schema_overrides={"lot_at": at, "occurred_at": at, "taken_at": at, "expires_on": pl.Date})


def test_what_is_overdue_is_outstanding_and_worth_nothing() -> None:
    rows = moves(lot(100, 400, AS_OF - timedelta(days=1)), lot(50, 380, AS_OF + timedelta(days=30)), lot(7, 0))
    curve = points_redemption(rows, AS_OF, RULES)
    rules = RULES.model_copy(update={"point_value": 0.02, "point_currency": "EUR"})
    told = points_liability(rows, curve, RATES, REPORTING, AS_OF, rules).sort("age_months_from").collect()
    old = told.row(0, named=True)
    assert (old["open_points"], old["overdue_points"], old["expiring_30d_points"]) == (150, 100, 50)
    assert (old["value_amount"], old["reporting_amount"]) == (Decimal("1.00"), Decimal("1.25"))
    assert old["expected_amount"] is None and not old["is_expected_complete"], "the curve knows no such age"
    none = points_liability(rows, curve, RATES.filter(pl.lit(False)), REPORTING, AS_OF, rules).collect()
    assert none["reporting_amount"].null_count() == none.height, "without a rate there is no amount"
    assert told.height == 1, "what came on as_of is not known yet"


def test_what_is_expected_is_the_same_to_the_last_digit_each_time() -> None:
    rows = moves(*(lot(10 ** (n % 9) + n, 31 + n) for n in range(700)))
    later = [1 / (3 + n) for n in range(60)]
    curve = pl.LazyFrame(
        {"source_system": "L", "age_months": range(1, 61), "redeemed_rate": later, "later_redeemed_rate": later}
    )
    told = [points_liability(rows, curve, RATES, REPORTING, AS_OF, RULES) for _ in range(20)]
    amounts = {tuple(t.sort("age_months_from").collect()["expected_amount"]) for t in told}
    assert len(amounts) == 1 and None not in amounts.pop()


def test_too_few_accounts_have_no_breakage_and_a_number_is_never_made_up() -> None:
    rows = moves(lot(100, 400), lot(100, 300, customer_id="d"))
    curve = points_redemption(rows, AS_OF, RULES)
    told = points_breakage(rows, curve, AS_OF, RULES).collect().row(0, named=True)
    assert told["status"] == "NOT_ENOUGH_EVIDENCE" and told["breakage_rate"] is None
    assert (told["account_count"], told["earned_points"]) == (2, 200)
    assert points_breakage(rows.filter(pl.lit(False)), curve, AS_OF, RULES).collect().is_empty()


def test_points_that_expire_are_not_taken_for_points_that_would_be_spent() -> None:
    """Of 200 accounts half spend 100 points after 40 days, the others let them expire after 70."""
    rows = [lot(100, 200, customer_id=f"c{n}") for n in range(200)]
    ends = [
        lot(-100, 200, customer_id=f"c{n}", occurred_at=NOW - timedelta(days=200 - (40 if n % 2 else 70)),
            movement="REDEEMED" if n % 2 else "EXPIRED")
        for n in range(200)
    ]  # fmt: skip
    curve = points_redemption(moves(*rows, *ends), AS_OF, RULES).sort("age_months").collect()
    assert curve["redeemed_rate"].to_list() == pytest.approx([0, 0.5, 0.5])
    assert curve["open_rate"].to_list() == pytest.approx([1, 0.5, 0])
    assert curve["later_redeemed_rate"][:2].to_list() == pytest.approx([0.5, 0])
    told = points_breakage(moves(*rows, *ends), curve.lazy(), AS_OF, RULES).collect().row(0, named=True)
    assert told["status"] == "FINAL" and told["breakage_rate"] == pytest.approx(0.5)


def test_what_is_reversed_never_was_and_cancelled_points_are_not_unspent() -> None:
    """All of 200 accounts lose 100 points to an expiry after 70 days; half of them have it reversed a month later, and
    spend the points at last. A tenth of all points was taken back with the goods.
    """

    def ago(days: int) -> datetime:
        return NOW - timedelta(days=days)

    rows = []
    for n in range(200):
        own = {"customer_id": f"c{n}"}
        rows += [lot(100, 200, **own), lot(-100, 200, movement="EXPIRED", occurred_at=ago(130), **own)]
        if n % 2:
            rows += [
                lot(100, 200, movement="REINSTATED", occurred_at=ago(100), taken_at=ago(130), **own),
                lot(-100, 200, movement="REDEEMED", occurred_at=ago(70), **own),
            ]
        if n % 10 == 0:
            rows += [lot(50, 199, **own), lot(-50, 199, movement="TAKEN_BACK", occurred_at=ago(190), **own)]
    curve = points_redemption(moves(*rows), AS_OF, RULES).sort("age_months").collect()
    told = points_breakage(moves(*rows), curve.lazy(), AS_OF, RULES).collect().row(0, named=True)
    assert told["status"] == "FINAL" and told["breakage_rate"] == pytest.approx(0.5)
    assert curve["redeemed_rate"].min() >= 0 and curve["at_risk_points"][0] == 20_000


def test_the_curve_is_that_of_every_lot_month_by_month() -> None:
    """Brute force: each lot of each account, through each month of its age."""
    loyalty = next(t for t in planted.truths() if t.table == "gold.points_breakage")
    rows = loyalty.find.__globals__["_lots"](5, 60, 0.05)
    told = points_redemption(rows, AS_OF, RULES.model_copy(update={"least_accounts": 20})).sort("age_months").collect()
    sums: dict[int, list[Any]] = {}
    for _, own in rows.collect().sort("occurred_at").group_by("customer_id", "lot_id"):
        born = own["lot_at"][0]
        age = [min((at - born).days // 30, 60) for at in own.select(pl.coalesce("taken_at", "occurred_at")).to_series()]
        for month in range(min((NOW - born).days // 30, 60)):
            cell = sums.setdefault(month, [0, 0, 0, set()])
            counted = list(zip(age, own["movement"], own["points"], strict=True))
            cancels = ("TAKEN_BACK", "GIVEN_BACK")
            left = sum(p for m, kind, p in counted if kind == "OPENED" or m < month or (m == month and kind in cancels))
            cell[0] += left
            for place, kinds in ((1, ("REDEEMED", "RESTORED")), (2, ("EXPIRED", "ADJUSTED", "REINSTATED"))):
                cell[place] -= sum(p for m, kind, p in counted if m == month and kind in kinds)
            if left:
                cell[3].add(own["customer_id"][0])
    wanted = [(*sums[month - 1][:3], len(sums[month - 1][3])) for month in told["age_months"]]
    assert told.select("at_risk_points", "redeemed_points", "lost_points", "account_count").rows() == wanted
    assert told.height > 6 and told["lost_points"].sum() > 0


TIERS = """
WITH ranked AS (SELECT coalesce(person_id, subject_id) AS member, valid_from, valid_to, tier,
  list_position(['BRONZE', 'SILVER', 'GOLD', 'PLATINUM'], tier) AS height FROM tiers),
stood AS (
  SELECT m.month, member, arg_max(tier, height) AS tier FROM ranked, months m
  WHERE valid_from < m.month AND (valid_to IS NULL OR valid_to >= m.month) GROUP BY ALL)
SELECT m.month::DATE, coalesce(a.tier, 'NO_TIER'), coalesce(b.tier, 'NO_TIER'), count(*)
FROM months m JOIN (SELECT DISTINCT member FROM stood) p ON m.month < (SELECT max(month) FROM months)
LEFT JOIN stood a ON a.month = m.month AND a.member = p.member
LEFT JOIN stood b ON b.month = m.month + INTERVAL 1 MONTH AND b.member = p.member
WHERE a.tier IS NOT NULL OR b.tier IS NOT NULL GROUP BY ALL ORDER BY ALL
"""


def test_duckdb_finds_the_same_moves_between_tiers(retailer) -> None:  # type: ignore[no-untyped-def]
    tiers = retailer.frame("silver.loyalty_tiers")
    this = retailer.as_of.replace(day=1)
    first = pl.select(pl.lit(this).dt.offset_by("-12mo")).item()
    months = pl.select(month=pl.date_range(first, this, "1mo").cast(pl.Datetime("us", "UTC")))
    with duckdb.connect() as base:
        base.execute("SET TimeZone = 'UTC'")
        base.register("tiers", tiers.collect().to_arrow())
        base.register("months", months.to_arrow())
        theirs = base.sql(TIERS).fetchall()
    told = tier_migrations(tiers, retailer.as_of, RULES).sort("month", "from_tier", "to_tier").collect()
    assert told.select("month", "from_tier", "to_tier", "member_count").rows() == theirs and told.height > 10
    assert {"JOINED", "UP", "SAME"} <= set(told["direction"])
    assert (
        told.filter(pl.col("status") != "MEASURED")["rate"].null_count()
        == told.filter(pl.col("status") != "MEASURED").height
    )


def test_spending_that_falls_back_by_itself_is_no_effect_of_the_reward() -> None:
    """Who redeems after a good month buys less in the next with and without the reward."""
    loyalty = next(t for t in planted.truths() if t.table == "gold.reward_effects")
    made = loyalty.null.__globals__["_rewarded"](3, 0.0, choosy=True)  # type: ignore[union-attr]
    assert made["spend_before"] > made["spend_after"] + 5, "before and after alone would claim a loss"
    assert made["status"] == "NO_EFFECT_SHOWN" and made["effect_low"] < 0 < made["effect_high"]


def test_few_redemptions_are_counted_and_nothing_is_claimed() -> None:
    days = pl.LazyFrame({"person_id": ["p"], "on": [date(2026, 1, 5)], "order_count": [1], "net_amount": [10.0]})
    spent = pl.LazyFrame(
        {"person_id": ["p"], "occurred_on": [date(2026, 1, 5)], "entry_type": ["REDEEM"], "points": [9]}
    )
    told = reward_effects(days, spent, moves(lot(100, 300)), REPORTING, AS_OF, RULES).collect().row(0, named=True)
    assert (told["status"], told["redemption_count"], told["effect_amount"]) == ("NOT_ENOUGH_EVIDENCE", 1, None)
    none = reward_effects(days, spent.filter(pl.lit(False)), moves(lot(100, 300)), REPORTING, AS_OF, RULES).collect()
    assert none.is_empty() and none.columns == list(RewardEffects.columns())


def test_the_profile_knows_what_expires_soon_and_since_when_the_tier_holds() -> None:
    rows = moves(
        lot(100, 300, AS_OF + timedelta(days=30)), lot(40, 200, AS_OF + timedelta(days=31)),
        lot(-60, 300, AS_OF + timedelta(days=30), movement="REDEEMED", occurred_at=NOW - timedelta(days=2)),
        lot(500, 0, AS_OF + timedelta(days=9)),
    )  # fmt: skip
    tiers = pl.LazyFrame(
        {"person_id": ["p", "p", "r", "s"], "tier": ["BRONZE", "SILVER", "GOLD", "GOLD"],
         "valid_from": [NOW - timedelta(days=90), NOW - timedelta(days=30), NOW - timedelta(days=90), NOW],
         "valid_to": [NOW - timedelta(days=30), None, NOW - timedelta(days=9), None]}
    )  # fmt: skip
    people = ["p", "q", "r", "s"]
    profile = pl.LazyFrame(
        {"person_id": people, "is_member": [None] * 4, "identity_until_at": [NOW] * 4, "stated_tier": ["BASIC"] * 4,
         "stated_points": [7] * 4},
        schema_overrides={"is_member": pl.Boolean},
    )  # fmt: skip
    told = programme(profile, rows, tiers, AS_OF).sort("person_id").collect()
    one, other, ended, later = told.rows(named=True)
    assert [(r["loyalty_tier"], r["loyalty_points"]) for r in (one, other)] == [("SILVER", 80), ("BASIC", 7)]
    assert (ended["loyalty_tier"], ended["tier_since"]) == (None, None), "the changes know it, and that it holds none"
    assert (later["loyalty_tier"], later["tier_since"]) == ("BASIC", None), "changes since as_of are not known yet"
    assert (one["points_balance"], one["points_expiring_30d"], one["is_member"]) == (80, 40, True)
    assert one["tier_since"] == date(2026, 6, 1)
    assert (other["points_balance"], other["is_member"], other["tier_since"]) == (None, None, None)
