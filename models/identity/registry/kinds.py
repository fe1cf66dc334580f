"""Persons and organisations in one registry: what a record is of, as the last run told."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from customer360.models.identity.organisations.mentions import is_mention
from customer360.models.identity.organisations.telling import ORGANISATION, PERSON
from customer360.models.identity.registry.core import RegistryError
from customer360.models.identity.registry.store import Stored

IDENTITIES = "silver.identities"


def kind_of(stored: Stored, records: Sequence[int]) -> str | None:
    """Person or organisation; None where no run has told, or the records are of both."""
    ids = stored.names.filter(pl.col("record").is_in(list(records))).select("record_id")
    told = {ORGANISATION} if ids.select(is_mention().any()).item() else set[str]()
    if stored.lake.exists(IDENTITIES):
        held = stored.lake.scan(IDENTITIES).select("record_id", "entity_type").drop_nulls()
        told |= set(held.join(ids.lazy(), on="record_id", how="semi").collect()["entity_type"])
    return told.pop() if len(told) == 1 else None


def require_one_kind(stored: Stored, left: Sequence[int], right: Sequence[int]) -> None:
    """Raises RegistryError where one side is a person and the other an organisation, which are never one."""
    kinds = kind_of(stored, left), kind_of(stored, right)
    if set(kinds) == {PERSON, ORGANISATION}:
        names = dict(stored.names.filter(pl.col("record").is_in([left[0], right[0]])).iter_rows())
        one, other = (names.get(record, "an erased record") for record in (left[0], right[0]))
        raise RegistryError(
            f"{one} is of a{'n' if kinds[0] == ORGANISATION else ''} {kinds[0]} and {other} of "
            f"a{'n' if kinds[1] == ORGANISATION else ''} {kinds[1]}, which are never one; correct what the source says "
            "of it (ENTITY_TYPE), or its name"
        )
