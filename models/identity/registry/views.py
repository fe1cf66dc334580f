"""What readers ask of the registry: who held a record when, what became of an id, and what happened to it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import polars as pl

from customer360.models.identity.registry.contracts import (
    IdentityAliases,
    IdentityCommits,
    IdentityEvents,
    IdentityMembers,
)
from customer360.models.identity.registry.core import MERGE, UnknownId, former_of
from customer360.models.identity.registry.ids import person_ids
from customer360.models.identity.registry.store import Stored
from customer360.platform import tables
from customer360.platform.lake import Lake

BY_DECISION = "decision "


def memberships(lake: Lake, at: datetime | None = None) -> pl.DataFrame:
    """One row per record and stretch of time in which one person held it: record_id, person_id, valid_from, valid_to
    (exclusive; null: still so). With `at`, only what held at that instant.

    The time is that of the registry's knowledge: when it was decided, not since when it was true.
    """
    if not lake.exists(_name(IdentityCommits)):
        return pl.DataFrame(
            schema={"record_id": pl.String, "person_id": pl.String}
            | dict.fromkeys(("valid_from", "valid_to"), pl.Datetime("us", "UTC"))
        )
    commits = lake.scan(_name(IdentityCommits)).select("commit", valid_from="committed_at")
    stretches = (
        lake.scan(_name(IdentityMembers))
        .join(commits, on="commit")
        .sort("record", "commit")
        .with_columns(valid_to=pl.col("valid_from").shift(-1).over("record"))
        .filter(pl.col("person_id").is_not_null())
        .select("record_id", "person_id", "valid_from", "valid_to")
    )
    if at is not None:
        stretches = stretches.filter(
            (pl.col("valid_from") <= at) & (pl.col("valid_to").is_null() | (pl.col("valid_to") > at))
        )
    return stretches.sort("record_id", "valid_from").collect()


def former_records(lake: Lake) -> pl.DataFrame:
    """(alias_id, record_id): what each id held when it ended, of the records that are not forgotten."""
    if not all(map(lake.exists, (_name(IdentityCommits), _name(IdentityAliases)))):
        return pl.DataFrame(schema={"alias_id": pl.String, "record_id": pl.String})
    log = lake.scan(_name(IdentityMembers)).collect()
    turns = lake.scan(_name(IdentityAliases)).collect()
    numbers = log.select(alias_id="person_id", alias="person").drop_nulls().unique()
    former = former_of(log, turns.join(numbers, on="alias_id").select("alias", "commit", person="person_id"))
    names = log.select("record", "record_id").unique()
    return former.join(numbers, on="alias").join(names, on="record").select("alias_id", "record_id")


def history(stored: Stored, identifier: str) -> pl.DataFrame:
    """Events of a person id or a record id, oldest first: event, committed_at, kind, person_id, from_person_id,
    record_ids, cause, actor, is_lead (an id alone leads on, no record moves). For a person: its own and those of every
    id that leads to it.

    Raises:
        UnknownId: neither a person nor a record of this registry.
    """
    lake = stored.lake
    known = stored.names.filter(pl.col("record_id") == identifier)["record"]
    if not known.is_empty():
        concerned = pl.col("records").list.contains(int(known[0]))
    else:
        family = _leading_to(stored, stored.person(identifier))
        concerned = pl.col("person").is_in(family) | pl.col("from_person").is_in(family)
    commits = lake.scan(_name(IdentityCommits)).select("commit", "committed_at")
    rows = lake.scan(_name(IdentityEvents)).filter(concerned).join(commits, on="commit").collect().sort("event")
    record_ids = (
        rows.select("event", record="records")
        .explode("record")
        .join(stored.names, on="record")
        .group_by("event")
        .agg(record_ids=pl.col("record_id").sort())
    )
    named = rows.join(record_ids, on="event", how="left", maintain_order="left")
    return named.select(
        "event",
        "committed_at",
        "kind",
        person_ids(named["person"], stored.seed).alias("person_id"),
        person_ids(named["from_person"], stored.seed).alias("from_person_id"),
        "record_ids",
        "cause",
        "actor",
        is_lead=(named["kind"] == MERGE) & (named["records"].list.len() == 0),
    )


def _leading_to(stored: Stored, person: int) -> list[int]:
    family, aliases = {person}, stored.registry.aliases
    while True:
        more = set(aliases.filter(pl.col("person").is_in(list(family)))["alias"]) - family
        if not more:
            return sorted(family)
        family |= more


def event_of(stored: Stored, event: int) -> dict[str, Any]:
    """One event as numbers.

    Raises:
        UnknownId: there is no such event.
    """
    rows = stored.lake.scan(_name(IdentityEvents)).filter(pl.col("event") == event).collect()
    if rows.is_empty():
        raise UnknownId(f"there is no event {event}; `identity history ID` lists a person's")
    return rows.row(0, named=True)


def events_with(stored: Stored, event: dict[str, Any]) -> list[dict[str, Any]]:
    """An event with those that came of the same decision; one of a resolution stands alone."""
    if not event["cause"].startswith(BY_DECISION):
        return [event]
    same = (pl.col("commit") == event["commit"]) & (pl.col("cause") == event["cause"])
    return stored.lake.scan(_name(IdentityEvents)).filter(same).collect().sort("event").to_dicts()


def events_by(stored: Stored, decision: str) -> list[dict[str, Any]]:
    """Events that a decision brought about, oldest first; none in a new lake."""
    if not stored.lake.exists(_name(IdentityEvents)):
        return []
    caused = (pl.col("cause") == decision) | pl.col("cause").str.starts_with(f"{decision},")
    return stored.lake.scan(_name(IdentityEvents)).filter(caused).collect().sort("event").to_dicts()


def _name(table: type[tables.Table]) -> str:
    return tables.spec(table).name
