"""A person, or an organisation, as it was known at an instant: who held which record then, and what they said then."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import polars as pl

from customer360.models.identity import registry
from customer360.models.identity.golden import golden
from customer360.models.identity.organisations.among_customers import golden_rows
from customer360.models.identity.organisations.mentions import MENTION, account_of, is_mention
from customer360.models.identity.organisations.telling import ORGANISATION, PERSON
from customer360.models.identity.registry import RegistryError, decisions
from customer360.models.identity.registry.ids import person_numbers
from customer360.models.identity.rules import IdentityRules
from customer360.platform.lake import Lake

RECORDS = "silver.customer_records"


def golden_as_of(lake: Lake, rules: IdentityRules, person_id: str, at: datetime) -> dict[str, Any]:
    """The golden record at an instant: its values, `entity_type`, `provenance`, `records`, and the `current_id` behind
    the id; of an organisation its `contacts`, of a person its `organisations`, by their ids then.

    Values are those that the records gave under today's survivorship rules; what stewards set counts where it was set
    by then.

    Raises:
        RegistryError: the id held no record then, or leads to several persons, or the lake keeps no version of the
            records that old.
    """
    stored = registry.load(lake, rules.ids.seed)
    held = registry.memberships(lake, at)
    if person_id in held["person_id"]:
        ids, current = [person_id], stored.person_id(stored.person(person_id))
    else:  # of several persons' data none is the id's
        ids = [current := stored.owner(person_id)]
    members = held.filter(pl.col("person_id").is_in(ids)).select("record_id", "person_id")
    if members.is_empty():
        raise RegistryError(f"{person_id} held no record at {at:%Y-%m-%d %H:%M:%S} UTC")
    records = lake.scan(RECORDS, version=_version_at(lake, at))
    accounts = members.select(account_of(pl.col("record_id"))).to_series()
    mine = golden_rows(records.filter(pl.col("record_id").is_in(accounts.implode())).collect(), rules)
    mine = mine.join(members, on="record_id", how="semi")
    (row,) = golden(mine, members, rules, _overrides(stored, held, ids[0], at)).to_dicts()
    is_firm = bool((mine["entity_type"] == ORGANISATION).any() or mine.select(is_mention().any()).item())
    kind = ORGANISATION if is_firm else PERSON
    return {"current_id": current, "entity_type": kind, "as_of": at, **row} | {
        "provenance": json.loads(row["provenance"]),
        "records": sorted(members["record_id"]),
        **_beside(held, members["record_id"], is_firm),
    }


def _beside(held: pl.DataFrame, records: pl.Series, is_firm: bool) -> dict[str, list[str]]:
    """Of an organisation the persons who are its contacts, of a person the organisations that its accounts name."""
    others = records.filter(records.str.ends_with(MENTION)).str.strip_suffix(MENTION) if is_firm else records + MENTION
    ids = held.filter(pl.col("record_id").is_in(others.implode()))["person_id"].unique().sort().to_list()
    return {"contacts" if is_firm else "organisations": ids} if ids else {}


def _version_at(lake: Lake, at: datetime) -> int:
    """Newest version of the records that was committed by then."""
    limit = at.timestamp() * 1000
    commits = [(c["timestamp"], c["version"]) for c in lake.history(RECORDS) if c.get("timestamp") is not None]
    found = [version for stamp, version in commits if stamp <= limit]
    if not found:
        oldest = datetime.fromtimestamp(min(stamp for stamp, _ in commits) / 1000, UTC)
        raise RegistryError(f"{RECORDS} goes back to {oldest:%Y-%m-%d %H:%M:%S} UTC")
    return max(found)


def _overrides(stored: registry.Stored, held: pl.DataFrame, person_id: str, at: datetime) -> pl.DataFrame:
    """Values that were set by then, by who held the records then: what was set of others who are one with the person
    since was none of its own."""
    then = held.join(stored.names, on="record_id")
    members = then.select("record", person=person_numbers(then["person_id"], stored.seed))
    made = decisions.overrides(stored.lake, stored, at, members)
    return made.filter(pl.col("person_id") == person_id)
