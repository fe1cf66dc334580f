"""The loyalty programme's own books: every movement of points, and every change of tier."""

from __future__ import annotations

import dataframely as dy
import polars as pl

from customer360.pipelines import vocabulary as v
from customer360.platform.tables import Date, Identifier, Integer, OneOf, Series, String, Table, Timestamp, personal

ENTRY_TYPES = ("EARN", "REDEEM", "EXPIRE", "ADJUST", "REVERSE")


class LoyaltyLedger(Table, table="bronze.loyalty_ledger", key=("ENTRY_ID",), past=("ENTRY_DATE",)):
    """One row per delivered version of an entry in a member's account of points that can be spent.

    The type says the direction of what is redeemed and expires, whatever sign the source writes; earned and adjusted
    points count as delivered. A reversal that names its entry goes against it, else it counts as delivered.
    """

    ENTRY_ID = Identifier(nullable=False)
    CUSTOMER_ID = Identifier(nullable=False, metadata=personal("account"), description="The member")
    ENTRY_TYPE = OneOf(*ENTRY_TYPES)
    POINTS = Integer()
    ENTRY_DATE = Timestamp()
    REFERENCE_ID = Identifier(nullable=True, description="Transaction that earned or spent the points")
    REVERSES_ENTRY_ID = Identifier(nullable=True, description="Of a REVERSE: the entry that it takes back")
    EXPIRY_DATE = Date(nullable=True, description="Of earned points: the last day on which they can be spent")
    BALANCE_AFTER = Integer(nullable=True, description="What the source says the account held after the entry")
    REASON = String(nullable=True, max_length=1000, metadata=personal("text"))

    @dy.rule()
    def was_booked_in_sensible_time(cls) -> pl.Expr:
        return v.is_sensible("ENTRY_DATE")


class LoyaltyTiers(
    Table, table="bronze.loyalty_tiers", key=("CHANGE_ID",), past=("CHANGE_DATE",),
    holds=Series(("CUSTOMER_ID",), ends="VALID_UNTIL"),
):  # fmt: skip
    """One row per delivered version of a change of a member's tier."""

    CHANGE_ID = Identifier(nullable=False)
    CUSTOMER_ID = Identifier(nullable=False, metadata=personal("account"), description="The member")
    TIER = String(max_length=100, description="The tier from then on, in the programme's own words")
    CHANGE_DATE = Timestamp()
    PREVIOUS_TIER = String(nullable=True, max_length=100)
    VALID_UNTIL = Date(nullable=True, description="Last day of the tier, where it ends by itself")
    REASON = String(nullable=True, max_length=255, description="QUALIFIED, DOWNGRADED, GRANTED, …")

    @dy.rule()
    def changed_in_sensible_time(cls) -> pl.Expr:
        return v.is_sensible("CHANGE_DATE")

    @dy.rule()
    def ends_after_it_begins(cls) -> pl.Expr:
        return pl.col("VALID_UNTIL") >= pl.col("CHANGE_DATE").dt.date()
