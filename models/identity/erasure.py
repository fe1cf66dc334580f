"""What names a person in raw data, for erasure."""

from __future__ import annotations

import polars as pl

from customer360.platform.errors import Customer360Error
from customer360.platform.lake import Lake
from customer360.platform.privacy import Identifiers


class UnknownPerson(Customer360Error):
    """No person has this id."""


def identifiers_of(lake: Lake, person_id: str) -> Identifiers:
    """Accounts, devices that no one else used, and contact values that no one else has.

    Raises:
        UnknownPerson: the id is in no current identity.
    """
    everyone = lake.scan("silver.identities").select("record_id", "person_id").collect()
    mine = set(everyone.filter(pl.col("person_id") == person_id)["record_id"])
    if not mine:
        raise UnknownPerson(f"no person {person_id} in {lake.root}; erased already, or never resolved")
    links = (
        lake.scan("silver.identity_links")
        .filter(pl.col("kind") == "visitor")
        .select("identifier", "person_id")
        .collect()
    )
    devices = set(links.filter(pl.col("person_id") == person_id)["identifier"])
    devices -= set(links.filter(pl.col("person_id") != person_id)["identifier"])
    contacts = lake.scan("silver.customer_records").select("record_id", "email_address", "phone_number").collect()
    own, others = (
        contacts.filter(pl.col("record_id").is_in(list(mine))),
        contacts.filter(~pl.col("record_id").is_in(list(mine))),
    )
    texts = set()
    for column in ("email_address", "phone_number"):
        texts |= set(own[column].drop_nulls()) - set(others[column].drop_nulls())
    return Identifiers(frozenset(mine), frozenset(devices), frozenset(texts))
