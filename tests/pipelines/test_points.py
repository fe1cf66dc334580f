"""Accounts of points: DuckDB adds up the same, lots hold what is left, and every kind of break is named."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customer360.pipelines.silver.loyalty import loyalty_balances, loyalty_breaks, loyalty_lot_movements, loyalty_tiers

DAY = datetime(2026, 1, 1, tzinfo=UTC)
SCHEMA = {
    "entry_id": pl.String, "source_system": pl.String, "subject_id": pl.String, "person_id": pl.String,
    "customer_id": pl.String, "entry_type": pl.String, "points": pl.Int64, "occurred_at": pl.Datetime("us", "UTC"),
    "reverses_entry_id": pl.String, "expires_on": pl.Date, "stated_balance": pl.Int64,
}  # fmt: skip

# Written from the meaning of the entries, not from the code.
INDEPENDENT = """
WITH signed AS (
  SELECT l.*, CASE WHEN entry_type IN ('REDEEM', 'EXPIRE') THEN -abs(points) ELSE points END AS plain FROM ledger l)
SELECT e.customer_id, sum(CASE
    WHEN e.entry_type <> 'REVERSE' OR o.entry_id IS NULL OR o.occurred_at > e.occurred_at THEN e.plain
    ELSE -sign(o.plain) * abs(e.points) END)::BIGINT AS balance
FROM signed e LEFT JOIN signed o ON e.entry_type = 'REVERSE' AND o.entry_type <> 'REVERSE'
  AND o.entry_id = e.reverses_entry_id AND o.customer_id = e.customer_id AND o.source_system = e.source_system
GROUP BY 1 ORDER BY 1
"""


def ledger(*entries: dict[str, Any]) -> pl.LazyFrame:
    """Entries a day apart unless they say when: id, type, points, and what else they say."""
    rows = [
        {"entry_id": f"e{n}", "source_system": "L", "subject_id": "p", "person_id": "p", "customer_id": "c",
         "occurred_at": DAY + timedelta(days=entry.pop("day", n))} | entry
        for n, entry in enumerate(entries)
    ]  # fmt: skip
    return pl.LazyFrame(rows, schema=SCHEMA)


def entry(kind: str, points: int, **more: Any) -> dict[str, Any]:
    return {"entry_type": kind, "points": points} | more


def left(rows: pl.LazyFrame) -> dict[str, int]:
    """Points left by lot."""
    moved = loyalty_lot_movements(rows).group_by("lot_id").agg(pl.col("points").sum()).collect()
    return {lot: points for lot, points in moved.sort("lot_id").rows() if points}


def kinds(rows: pl.LazyFrame) -> list[tuple[str, str]]:
    return loyalty_breaks(rows).sort("entry_id", "break_type").select("entry_id", "break_type").collect().rows()


def test_the_oldest_points_are_spent_first_whatever_sign_a_source_writes() -> None:
    for sign in (1, -1):
        rows = ledger(entry("EARN", 100), entry("EARN", 50), entry("REDEEM", sign * 120))
        assert left(rows) == {"e1": 30} and kinds(rows) == []


def test_an_expiry_takes_what_is_due_and_a_redemption_what_is_not() -> None:
    rows = ledger(
        entry("EARN", 100, expires_on=date(2027, 1, 1)), entry("EARN", 50, expires_on=date(2026, 1, 4)),
        entry("EXPIRE", 50, day=4),
    )  # fmt: skip
    assert left(rows) == {"e0": 100}
    late = ledger(
        entry("EARN", 40, expires_on=date(2026, 1, 2)), entry("EARN", 60, expires_on=date(2027, 1, 1)),
        entry("REDEEM", 50, day=9),
    )  # fmt: skip
    assert left(late) == {"e0": 40, "e1": 10}, "what is overdue cannot be spent while other points can"


def test_a_reversed_redemption_gives_back_the_points_it_took() -> None:
    rows = ledger(
        entry("EARN", 100, expires_on=date(2026, 6, 1)), entry("EARN", 100), entry("REDEEM", 150),
        entry("REVERSE", 150, reverses_entry_id="e2"),
    )  # fmt: skip
    assert left(rows) == {"e0": 100, "e1": 100}
    part = ledger(entry("EARN", 100), entry("EARN", 100), entry("REDEEM", 150),
                  entry("REVERSE", -60, reverses_entry_id="e2"))  # fmt: skip
    assert left(part) == {"e0": 10, "e1": 100}, "the last that were taken come back first"


def test_a_returned_purchase_takes_its_own_points() -> None:
    rows = ledger(entry("EARN", 100), entry("EARN", 80), entry("REVERSE", 80, reverses_entry_id="e1"))
    assert left(rows) == {"e0": 100}
    spent = ledger(entry("EARN", 80), entry("REDEEM", 80), entry("REVERSE", -80, reverses_entry_id="e0"),
                   entry("EARN", 100))  # fmt: skip
    assert left(spent) == {"e3": 20}, "later points pay what was taken back without being there"
    assert kinds(spent) == [("e2", "NEGATIVE_BALANCE")]


def test_a_reversal_says_what_it_gives_back_and_when_that_was_taken() -> None:
    rows = ledger(
        entry("EARN", 90), entry("REDEEM", 20), entry("EXPIRE", 30), entry("EARN", -10),
        entry("REVERSE", 20, reverses_entry_id="e1"), entry("REVERSE", 30, reverses_entry_id="e2"),
        entry("REVERSE", 10, reverses_entry_id="e3"),
    )  # fmt: skip
    moved = loyalty_lot_movements(rows).filter(pl.col("taken_at").is_not_null()).sort("entry_id").collect()
    assert moved.select("movement", "points").rows() == [("RESTORED", 20), ("REINSTATED", 30), ("GIVEN_BACK", 10)]
    assert [(at - DAY).days for at in moved["taken_at"]] == [1, 2, 3] and left(rows) == {"e0": 90}


def test_an_overdue_lot_that_comes_back_is_still_the_last_to_be_spent() -> None:
    rows = ledger(
        entry("EARN", 40, expires_on=date(2026, 1, 2)), entry("EARN", 60), entry("REDEEM", 100, day=5),
        entry("REVERSE", 100, day=6, reverses_entry_id="e2"), entry("REDEEM", 50, day=7),
    )  # fmt: skip
    assert left(rows) == {"e0": 40, "e1": 10}


def test_an_account_with_many_overdue_lots_takes_no_longer_for_each() -> None:
    """A card at a till: 3,000 purchases whose points are never expired by an entry, and as many redemptions."""
    earned = [entry("EARN", 2, day=n / 1000, expires_on=date(2026, 1, 5)) for n in range(3000)]
    spent = [entry("REDEEM", 1, day=30 + n / 1000) for n in range(3000)]
    began = time.process_time()
    assert sum(left(ledger(*earned, *spent)).values()) == 3000
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("entries", "wanted"),
    [
        ([entry("REDEEM", 50), entry("EARN", 80)], [("e0", "NEGATIVE_BALANCE"), ("e0", "REDEEMED_BEFORE_EARNED")]),
        ([entry("EARN", 30), entry("REDEEM", 50)], [("e1", "NEGATIVE_BALANCE")]),
        ([entry("EARN", 30), entry("EXPIRE", 31)], [("e1", "EXPIRED_UNEARNED"), ("e1", "NEGATIVE_BALANCE")]),
        ([entry("EARN", 30), entry("REVERSE", -30, reverses_entry_id="none")], [("e1", "REVERSES_UNKNOWN")]),
        (
            [entry("EARN", 90), entry("REDEEM", 40), entry("REVERSE", 40, reverses_entry_id="e1"),
             entry("REVERSE", 1, reverses_entry_id="e1")],
            [("e3", "REVERSES_TOO_MUCH")],
        ),
        ([entry("EARN", 30, stated_balance=530), entry("EARN", 1, stated_balance=531)], [("e0", "OPENING_BALANCE")]),
        (
            [entry("EARN", 30, stated_balance=30), entry("EARN", 1, stated_balance=41), entry("EARN", 1),
             entry("EARN", 1, stated_balance=43)],
            [("e1", "BALANCE_DIFFERS")],
        ),
        ([entry("EARN", 30, day=1, stated_balance=40), entry("EARN", 10, day=1, stated_balance=10)], []),
        ([entry("ADJUST", -5), entry("EARN", 5)], [("e0", "NEGATIVE_BALANCE")]),
        ([entry("EARN", 90), entry("REDEEM", 40), entry("REVERSE", 40)], []),
    ],
)  # fmt: skip
def test_what_does_not_add_up_is_told_once(entries: list[dict[str, Any]], wanted: list[tuple[str, str]]) -> None:
    assert kinds(ledger(*entries)) == wanted


def test_a_balance_counts_each_kind_and_says_what_the_source_says() -> None:
    rows = ledger(
        entry("EARN", 100, stated_balance=100), entry("REDEEM", -30), entry("EXPIRE", 20, stated_balance=55),
        entry("ADJUST", 5), entry("REVERSE", 30, reverses_entry_id="e1"),
    )  # fmt: skip
    told = loyalty_balances(rows).collect().row(0, named=True)
    counted = [told[f"{k}_points"] for k in ("earned", "redeemed", "expired", "adjusted", "reversed", "balance")]
    assert counted == [100, 30, 20, 5, 30, 85]
    assert told["stated_balance"] == 90 and told["is_broken"], "what came after its last word counts in it, too"


entries = st.tuples(
    st.sampled_from(["EARN", "EARN", "REDEEM", "EXPIRE", "ADJUST", "REVERSE"]), st.integers(-60, 120),
    st.integers(0, 12), st.integers(0, 25), st.one_of(st.none(), st.integers(0, 20)),
)  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(st.lists(entries, max_size=25))
def test_lots_and_duckdb_make_the_same_balance(drawn: list[tuple[str, int, int, int, int | None]]) -> None:
    """Whatever the books say: movements add up to the balance, and no account has open points and debts at once."""
    rows = ledger(*(
        entry(kind, abs(points) if kind == "EARN" else points, day=day, customer_id=f"c{points % 2}",
              subject_id=f"c{points % 2}", reverses_entry_id=f"e{of}" if kind == "REVERSE" else None,
              expires_on=None if life is None else (DAY + timedelta(days=day + life)).date())
        for kind, points, day, of, life in drawn
    ))  # fmt: skip
    moved = loyalty_lot_movements(rows).collect()
    with duckdb.connect() as base:
        base.register("ledger", rows.collect().to_arrow())
        theirs = dict(base.sql(INDEPENDENT).fetchall())
    ours = dict(loyalty_balances(rows).select("customer_id", "balance_points").collect().rows())
    assert ours == theirs
    totals = dict(moved.group_by("customer_id").agg(pl.col("points").sum()).rows())
    assert {c: b for c, b in totals.items() if b} == {c: b for c, b in theirs.items() if b}
    lots = moved.group_by("customer_id", "lot_id").agg(pl.col("points").sum())
    for _, own in lots.group_by("customer_id"):
        assert own["points"].min() >= 0 or own["points"].max() <= 0  # type: ignore[operator]
    assert moved.select(pl.struct("customer_id", "lot_id", "entry_id", "movement").is_unique().all()).item()


def test_the_retailer_s_books_are_rebuilt_to_the_point(retailer) -> None:  # type: ignore[no-untyped-def]
    truth = pl.read_parquet(retailer.truth / "loyalty.parquet")
    told = retailer.frame("silver.loyalty_balances").select("customer_id", "balance_points").collect()
    both = truth.join(told, on="customer_id", suffix="_told")
    assert both.height == truth.height > 20
    assert both["balance_points"].to_list() == both["balance_points_told"].to_list()
    found = retailer.frame("silver.loyalty_breaks").collect()
    assert set(found["break_type"]) <= {"BALANCE_DIFFERS", "OPENING_BALANCE"}
    by_member = found.group_by("customer_id").agg(found=pl.len().cast(pl.Int64))
    counted = truth.join(by_member, on="customer_id", how="left").with_columns(pl.col("found").fill_null(0))
    assert counted["found"].to_list() == counted["wrong_count"].to_list()


def changes(*rows: tuple[str, int, str | None]) -> pl.LazyFrame:
    """Tier, day, and the last day where it ends by itself."""
    said = [
        {"change_id": f"t{n}", "source_system": "L", "subject_id": "p", "person_id": "p", "customer_id": "c",
         "tier": tier, "occurred_at": DAY + timedelta(days=day),
         "valid_until_on": date.fromisoformat(until) if until else None, "reason": None}
        for n, (tier, day, until) in enumerate(rows)
    ]  # fmt: skip
    schema = dict.fromkeys(("change_id", "source_system", "subject_id", "person_id", "customer_id", "tier"), pl.String)
    return pl.LazyFrame(
        said, schema=schema | {"occurred_at": SCHEMA["occurred_at"], "valid_until_on": pl.Date, "reason": pl.String}
    )


def test_tiers_are_intervals_that_end_by_a_change_or_by_themselves() -> None:
    told = loyalty_tiers(
        changes(("SILVER", 0, None), ("SILVER", 5, None), ("GOLD", 9, "2026-01-20"), ("SILVER", 40, None))
    ).sort("valid_from").collect()  # fmt: skip
    spans = [(t["tier"], (t["valid_from"] - DAY).days, t["valid_to"] and (t["valid_to"] - DAY).days, t["previous_tier"])
             for t in told.iter_rows(named=True)]  # fmt: skip
    assert spans == [("SILVER", 0, 9, None), ("GOLD", 9, 20, "SILVER"), ("SILVER", 40, None, None)]
