"""Who a person is, and how sure that is."""

from __future__ import annotations

import polars as pl

from customer360.platform.tables import Float, Integer, List, String, Table, Timestamp, personal


class Identity(Table, serves="OPERATION"):
    """Who it is, from which accounts, and how surely they are one person."""

    entity_type = String(nullable=True, description="person or organisation; null in editions of before")
    first_name = String(
        nullable=True,
        metadata=personal("name"),
        description="Of the golden record: chosen among the accounts by the rules of survivorship, as all that follows",
    )
    last_name = String(
        nullable=True, metadata=personal("name"), description="Of the golden record; null of an organisation"
    )
    organisation_name = String(nullable=True, description="Of an organisation its name, of a person where it works")
    email_address = String(nullable=True, metadata=personal("email"), description="Of the golden record")
    phone_number = String(nullable=True, metadata=personal("phone"), description="Of the golden record")
    city = String(nullable=True, metadata=personal("address"), description="Of the golden address")
    state_code = String(nullable=True, description="Of the golden address")
    country_code = String(nullable=True, description="Of the golden address")
    record_count = Integer(description="Accounts that were resolved to this person")
    source_systems = List(String(), description="Systems that have an account of the person")
    identity_confidence = Float(
        nullable=True, description="0 to 1: of the account that is tied worst; 1 for a lone account"
    )
    identity_until_at = Timestamp(nullable=True, description="Latest change of any account")


def identity(people: pl.LazyFrame, accounts: pl.LazyFrame) -> pl.LazyFrame:
    """``silver.people`` with the columns of Identity alone, by person; ``accounts``: silver.person_accounts."""
    known = people.join(
        accounts.select("person_id", "identity_confidence", identity_until_at="last_updated_at"),
        on="person_id",
        how="left",
    )
    return known.select("person_id", *Identity.columns())
