"""Truths about payments and growth."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import planted
import polars as pl

from customer360.pipelines.gold.growth import growth_opportunities
from customer360.pipelines.gold.payment_risks import payment_risks
from customer360.pipelines.rules import EnrichmentRules
from customer360.pipelines.silver.payments import Payments
from customer360.platform.tables import schema

AS_OF, PAYERS, FRAUDSTERS, COUPLES = date(2026, 6, 1), 400, 10, 2
RULES = EnrichmentRules()
NO_HOMES = pl.LazyFrame(schema={"person_id": pl.String, "household_id": pl.String})
SALES = {"person_id": pl.String, "occurred_on": pl.Date, "is_sale": pl.Boolean, "is_return": pl.Boolean,
         "refunded_amount": pl.Decimal(12, 2), "returned_on": pl.Date}  # fmt: skip


def shop(seed: int, fraudsters: int) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    """Payments and sales of people whose rates of decline differ (a beta about 4 %), the first of whom are fraudsters:
    in turn they test cards, pay with stolen ones, give nearly everything back. The last are couples who share a card,
    and no home that is known."""
    rng = np.random.default_rng(seed)
    count = 3 + rng.poisson(6, PAYERS)
    person = np.repeat(np.arange(PAYERS), count)
    own = rng.beta(1, 24, PAYERS)[person]
    declined = rng.random(len(person)) < own
    minute = rng.integers(0, 360 * 24 * 60, len(person))
    pays = np.where(person >= PAYERS - 2 * COUPLES, person - person % 2, person)
    card = pays * 3 + rng.integers(0, 2, len(person))
    abroad, back = rng.random(len(person)) < 0.01, rng.random(len(person)) < 0.001
    kinds = np.arange(fraudsters) % 3
    testers, thieves = np.flatnonzero(kinds == 0), np.flatnonzero(kinds == 1)
    for who, tries, share in ((testers, 20, 0.9), (thieves, 5, 0.0)):
        extra = np.repeat(who, tries)
        person, n = np.append(person, extra), len(extra)
        declined = np.append(declined, rng.random(n) < share)
        start = rng.integers(0, 350 * 24 * 60, len(who))
        step = 2 if share else 60 * 30
        minute = np.append(minute, np.repeat(start, tries) + np.tile(np.arange(tries) * step, len(who)))
        card = np.append(card, 10_000 + len(card) + np.arange(n))
        abroad = np.append(abroad, np.full(n, True))
        back = np.append(back, np.full(n, not share))
    begin = datetime(2025, 6, 1, tzinfo=UTC)
    at = pl.Series([begin + timedelta(minutes=int(m)) for m in minute])
    columns = {name: pl.lit(None).cast(kind).alias(name) for name, kind in schema(Payments).items()}
    rows = pl.DataFrame(
        {"person": person, "at": at, "card": card, "declined": declined, "abroad": abroad, "back": back}
    ).with_columns(list(columns.values()))
    made = rows.with_columns(
        person_id=pl.format("P{}", "person"), subject_id=pl.format("P{}", "person"),
        attempt_id=pl.int_range(pl.len()).cast(pl.String), source_system=pl.lit("SHOP"), attempted_at="at",
        attempted_on=pl.col("at").dt.date(), instrument_id=pl.format("c{}", "card"),
        declined_at=pl.when("declined").then("at"), captured_by_at=pl.when(~pl.col("declined")).then("at"),
        captured_amount=pl.when(~pl.col("declined")).then(pl.lit(Decimal("5.00"))).otherwise(pl.lit(Decimal("0.00"))),
        charged_back_at=pl.when(pl.col("back") & ~pl.col("declined")).then("at"),
        bin_country=pl.when("abroad").then(pl.lit("BRA")).otherwise(pl.lit("USA")), billing_country=pl.lit("USA"),
    )  # fmt: skip
    sold = np.repeat(np.arange(PAYERS), 10)
    rate = rng.beta(2, 18, PAYERS)
    rate[: len(kinds)][kinds == 2] = 0.98
    given = rng.random(len(sold)) < rate[sold]
    on = [date(2026, 1, 1)] * len(sold)
    refunded = [Decimal("5.00") if g else Decimal("0.00") for g in given]
    sales = pl.LazyFrame(
        {"person_id": [f"P{p}" for p in sold], "occurred_on": on, "is_sale": [True] * len(sold),
         "is_return": [False] * len(sold), "refunded_amount": refunded,
         "returned_on": on}, schema=SALES,
    )  # fmt: skip
    return made.lazy(), sales


def _risks(seed: int, fraudsters: int) -> pl.DataFrame:
    payments, sales = shop(seed, fraudsters)
    return payment_risks(payments, sales, NO_HOMES, AS_OF, RULES).collect().sort("rank")


def _precision(seed: int) -> planted.Found:
    """Of the ten payers ranked first, how many are fraudsters."""
    first = _risks(seed, FRAUDSTERS).head(FRAUDSTERS)["payer_id"]
    found = float(first.is_in([f"P{p}" for p in range(FRAUDSTERS)]).mean())
    return planted.Found(found, found, found)


def _honest(seed: int) -> tuple[int, int]:
    """A shop of honest people who differ is told of no alert: one statement a shop."""
    return int((_risks(seed, 0)["risk_status"] == "ALERT").any()), 1


GAP = -0.15


def _customers(seed: int, gap: float) -> pl.DataFrame:
    """gold.growth_opportunities of 900 customers in three states, where those of TX order less often, and of them so
    many fewer buy A; nobody of a state is otherwise unlike the others."""
    rng = np.random.default_rng(seed)
    count = 900
    state = rng.integers(0, 3, count)
    orders = 1 + rng.poisson(np.where(state == 0, 1.0, 3.0))
    base = np.minimum(0.3 + 0.05 * orders, 0.6)
    rates = np.stack([base + gap * (state == 0), base, base * 0.5, base * 0.8], axis=1)
    has = rng.random(rates.shape) < rates
    who, what = np.nonzero(has)
    day, ids = date(2026, 1, 5), [f"P{n}" for n in range(count)]
    of = np.repeat(np.arange(count), orders)
    sales = pl.LazyFrame({"person_id": np.array(ids)[of], "occurred_on": [day] * len(of),
                          "is_sale": [True] * len(of), "channel_group": ["ONLINE"] * len(of)})  # fmt: skip
    items = pl.LazyFrame({"person_id": np.array(ids)[who], "occurred_on": [day] * len(who),
                          "is_sale": [True] * len(who), "is_product": [True] * len(who),
                          "category": np.array(list("ABCD"))[what],
                          "gross_amount": [Decimal("20.00")] * len(who)})  # fmt: skip
    people = pl.LazyFrame({"person_id": ids, "state_code": np.array(["TX", "CA", "NY"])[state],
                           "loyalty_tier": [None] * count}, schema_overrides={"loyalty_tier": pl.String})  # fmt: skip
    no_tiers = pl.LazyFrame(schema={"person_id": pl.String, "tier": pl.String, "valid_from": pl.Datetime("us", "UTC"),
                                    "valid_to": pl.Datetime("us", "UTC")})  # fmt: skip
    euros = pl.LazyFrame({"currency": ["EUR"]})
    return growth_opportunities(items, sales, people, euros, no_tiers, AS_OF, RULES).collect()


def _gap(seed: int) -> planted.Found:
    row = _customers(seed, GAP).row(by_predicate=(pl.col("segment") == "TX") & (pl.col("category") == "A"), named=True)
    return planted.Found(row["gap_rate"], row["gap_low"], row["gap_high"])


def _no_gap(seed: int) -> tuple[int, int]:
    """A shop whose states differ in nothing but how often they order is told of no gap: one statement a shop."""
    return int(_customers(seed, 0.0)["status"].is_in(["OPPORTUNITY", "AHEAD"]).any()), 1


TRUTHS = [
    planted.Truth(
        "gold.payment_risks", "precision at 10 of 10 fraudsters among 400 payers", 1.0, _precision, _honest, 0.95,
    ),
    planted.Truth("gold.growth_opportunities", "gap in buyers of a segment that orders less", GAP, _gap, _no_gap, 0.95),
]  # fmt: skip
