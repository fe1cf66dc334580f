"""Points and tiers of members: the ledger, what it adds up to, where it breaks, and tiers as intervals."""

from __future__ import annotations

import polars as pl

from customer360.pipelines import points
from customer360.pipelines.subjects import BY_ACCOUNT, Owner
from customer360.pipelines.vocabulary import Activity
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Integer, OneOf, String, Table, Timestamp, personal

ACTIVITY: Activity = "validation"


class LoyaltyLedger(Table, table="silver.loyalty_ledger", per="entry_id", sort_by=("occurred_at", "entry_id")):
    """One row per entry in a member's account of points, as last delivered."""

    entry_id = String(primary_key=True)
    source_system = String(primary_key=True)
    subject_id = String()
    person_id = String(nullable=True)
    customer_id = String(metadata=personal("account"))
    entry_type = String()
    points = Integer(description="As delivered; gold and silver tables of lots and balances know its direction")
    occurred_at = Timestamp()
    occurred_on = Date()
    reference_id = String(nullable=True)
    reverses_entry_id = String(nullable=True)
    expires_on = Date(nullable=True)
    stated_balance = Integer(nullable=True)


LEDGER_OWNER = Owner(at="occurred_at", otherwise=BY_ACCOUNT)


@builds(LoyaltyLedger, follows=LEDGER_OWNER.of, reached=LEDGER_OWNER.reached)
def loyalty_ledger(bronze_loyalty_ledger: pl.LazyFrame, silver_identity_links: pl.LazyFrame) -> pl.LazyFrame:
    """Entries with their subject; remarks stay in bronze."""
    same = ("entry_id", "customer_id", "entry_type", "points", "reference_id", "reverses_entry_id")
    facts = bronze_loyalty_ledger.select(
        *(pl.col(c.upper()).alias(c) for c in same),
        source_system="_source_system",
        occurred_at="ENTRY_DATE",
        occurred_on=pl.col("ENTRY_DATE").dt.date(),
        expires_on="EXPIRY_DATE",
        stated_balance="BALANCE_AFTER",
    )
    return LEDGER_OWNER.of(facts, silver_identity_links)


class LoyaltyLotMovements(
    Table, table="silver.loyalty_lot_movements", per="subject_id", sort_by=("occurred_at", "lot_id")
):
    """One row per lot of points, entry that moved it, and kind of movement.

    All rows of an account add up to its balance. A lot is what one entry brought. Redemptions take the oldest points
    that can still be spent, expiries those that are due. What is taken beyond the balance is OVERDRAWN, a lot below
    zero that later points repay. Of a reversal, points that were redeemed are RESTORED, what expired or was adjusted
    away is REINSTATED, and what was taken back is GIVEN_BACK.
    """

    subject_id = String(primary_key=True)
    person_id = String(nullable=True)
    source_system = String(primary_key=True)
    customer_id = String(primary_key=True, metadata=personal("account"))
    lot_id = String(primary_key=True, description="Entry that brought the points, or overdrew the account")
    lot_at = Timestamp(description="When the lot came to be")
    expires_on = Date(nullable=True, description="Last day on which its points can be spent")
    entry_id = String(primary_key=True)
    occurred_at = Timestamp()
    movement = OneOf(*points.MOVEMENTS, primary_key=True)
    points = Integer(description="Signed: what came is above zero")
    taken_at = Timestamp(nullable=True, description="Of points that come back: when they had been taken")


@builds(LoyaltyLotMovements)
def loyalty_lot_movements(silver_loyalty_ledger: pl.LazyFrame) -> pl.LazyFrame:
    """Every account rebuilt entry by entry (`pipelines.points`)."""
    return points.movements(silver_loyalty_ledger).select(list(LoyaltyLotMovements.columns()))


class LoyaltyBalances(Table, table="silver.loyalty_balances", per="subject_id", sort_by=("customer_id",)):
    """One row per account of a member: all entries added up to its balance."""

    subject_id = String(primary_key=True)
    person_id = String(nullable=True)
    source_system = String(primary_key=True)
    customer_id = String(primary_key=True, metadata=personal("account"))
    earned_points = Integer()
    redeemed_points = Integer(description="Positive; so is expired_points")
    expired_points = Integer()
    adjusted_points = Integer(description="Signed; so is reversed_points")
    reversed_points = Integer()
    balance_points = Integer(description="earned - redeemed - expired + adjusted + reversed")
    stated_balance = Integer(nullable=True, description="What the source said last")
    is_broken = Boolean(description="stated_balance is known and another, or the balance is below zero")
    entry_count = Integer()
    first_entry_at = Timestamp()
    last_entry_at = Timestamp()


@builds(LoyaltyBalances)
def loyalty_balances(silver_loyalty_ledger: pl.LazyFrame) -> pl.LazyFrame:
    """Sums by type of entry. Of entries of one moment that state balances, one that agrees is enough."""
    effect, kind = pl.col("effect"), pl.col("entry_type")

    def total(name: str) -> pl.Expr:
        return effect.filter(kind == name).sum()

    last_said = pl.col("occurred_at").filter(pl.col("stated_balance").is_not_null()).max()
    said = pl.col("stated_balance").filter(
        pl.col("stated_balance").is_not_null() & (pl.col("occurred_at") == last_said)
    )
    then = effect.filter(pl.col("occurred_at") <= last_said).sum()
    since = pl.col("balance_points") - pl.col("then")
    folded = (
        points.effects(silver_loyalty_ledger)
        .group_by("subject_id", "source_system", "customer_id")
        .agg(
            pl.col("person_id").first(),
            earned_points=total("EARN"),
            redeemed_points=-total("REDEEM"),
            expired_points=-total("EXPIRE"),
            adjusted_points=total("ADJUST"),
            reversed_points=total("REVERSE"),
            balance_points=effect.sum(),
            then=then,
            agreed=(said == then).any(),
            said=said.max(),
            entry_count=pl.len().cast(pl.Int64),
            first_entry_at=pl.col("occurred_at").min(),
            last_entry_at=pl.col("occurred_at").max(),
        )
        .with_columns(stated_balance=pl.when("agreed").then("then").otherwise("said") + since)
    )
    differs = (pl.col("stated_balance") != pl.col("balance_points")).fill_null(False)
    return folded.with_columns(is_broken=differs | (pl.col("balance_points") < 0)).select(
        list(LoyaltyBalances.columns())
    )


class LoyaltyBreaks(Table, table="silver.loyalty_breaks", per="subject_id", sort_by=("occurred_at", "entry_id")):
    """One row per entry and kind of break: where a ledger contradicts itself or what its source states.

    OPENING_BALANCE: the first stated balance is another than the entries make, as where an export begins in the middle
    of a history. BALANCE_DIFFERS: a difference arises; it is told once. The others say what their names do.
    """

    subject_id = String(primary_key=True)
    person_id = String(nullable=True)
    source_system = String(primary_key=True)
    customer_id = String(primary_key=True, metadata=personal("account"))
    entry_id = String(primary_key=True)
    break_type = OneOf(*points.BREAKS, primary_key=True)
    occurred_at = Timestamp()
    points = Integer(description="Effect of the entry on the balance")
    expected_points = Integer(nullable=True, description="Balance, or points that could be taken, by the entries")
    stated_points = Integer(nullable=True, description="What the source states instead")


@builds(LoyaltyBreaks)
def loyalty_breaks(silver_loyalty_ledger: pl.LazyFrame) -> pl.LazyFrame:
    """What does not add up, from the same rebuilding as the lots."""
    return points.breaks(silver_loyalty_ledger).select(list(LoyaltyBreaks.columns()))


class LoyaltyTierChanges(
    Table, table="silver.loyalty_tier_changes", per="change_id", sort_by=("occurred_at", "change_id")
):
    """One row per change of a member's tier, as last delivered."""

    change_id = String(primary_key=True)
    source_system = String(primary_key=True)
    subject_id = String()
    person_id = String(nullable=True)
    customer_id = String(metadata=personal("account"))
    tier = String()
    occurred_at = Timestamp()
    valid_until_on = Date(nullable=True)
    reason = String(nullable=True)


@builds(LoyaltyTierChanges, follows=LEDGER_OWNER.of, reached=LEDGER_OWNER.reached)
def loyalty_tier_changes(bronze_loyalty_tiers: pl.LazyFrame, silver_identity_links: pl.LazyFrame) -> pl.LazyFrame:
    """Changes with their subject; tiers in upper case, so that one tier has one name."""
    facts = bronze_loyalty_tiers.select(
        change_id="CHANGE_ID",
        customer_id="CUSTOMER_ID",
        source_system="_source_system",
        tier=pl.col("TIER").str.strip_chars().str.to_uppercase(),
        occurred_at="CHANGE_DATE",
        valid_until_on="VALID_UNTIL",
        reason="REASON",
    )
    return LEDGER_OWNER.of(facts, silver_identity_links)


class LoyaltyTiers(Table, table="silver.loyalty_tiers", per="subject_id", sort_by=("valid_from", "customer_id")):
    """One row per account and unbroken time in one tier."""

    subject_id = String(primary_key=True)
    person_id = String(nullable=True)
    source_system = String(primary_key=True)
    customer_id = String(primary_key=True, metadata=personal("account"))
    valid_from = Timestamp(primary_key=True)
    valid_to = Timestamp(nullable=True, description="Excluded; null: no end is known")
    tier = String()
    previous_tier = String(nullable=True, description="Null: the first, or the one before had ended")


@builds(LoyaltyTiers)
def loyalty_tiers(silver_loyalty_tier_changes: pl.LazyFrame) -> pl.LazyFrame:
    """A tier lasts until the next change, or until it ends by itself; being confirmed in a tier begins nothing."""
    own = ["subject_id", *points.ACCOUNT]
    ends = (pl.col("valid_until_on") + pl.duration(days=1)).cast(pl.Datetime("us", "UTC"))
    stretches = (
        silver_loyalty_tier_changes.sort(*own, "occurred_at", "change_id")
        .unique([*own, "occurred_at"], keep="last", maintain_order=True)
        .with_columns(valid_to=pl.min_horizontal(pl.col("occurred_at").shift(-1).over(own), ends))
        .with_columns(before=pl.col("tier").shift(1).over(own), ended=pl.col("valid_to").shift(1).over(own))
        .with_columns(joins=(pl.col("ended") == pl.col("occurred_at")).fill_null(False))
        .with_columns(begins=(~pl.col("joins") | (pl.col("before") != pl.col("tier"))).fill_null(True))
        .with_columns(stretch=pl.col("begins").cum_sum().over(own))
    )
    return (
        stretches.group_by(*own, "stretch")
        .agg(
            pl.col("person_id").first(),
            pl.col("tier").first(),
            valid_from=pl.col("occurred_at").min(),
            valid_to=pl.col("valid_to").last(),
            previous_tier=pl.when("joins").then("before").first(),
        )
        .select(list(LoyaltyTiers.columns()))
    )
