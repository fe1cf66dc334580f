"""People who are merged, parted again and erased: facts and days follow them, as if they had been built so from the
start.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from customer360.platform import graph, privacy
from customer360.platform.ledger import Run

pytestmark = pytest.mark.slow

PEOPLE, DAYS, SEED = 34, 30, 5  # fewer than 50 accounts: identity scores with its defaults
END = "silver.subject_days"
DAYS_OF = ("silver.sessions", END)
SAID = {"actor": "steward", "reason": "test"}


def facts() -> tuple[str, ...]:
    return tuple(
        sorted(name for name, node in graph.NODES.items() if node.follows and name in graph.selection(None, END))
    )


def held(site: Any) -> dict[str, list[str]]:
    rows = site.business()
    return {name: rows[name].to_list() for name in (*facts(), *DAYS_OF)}


def rebuilt(site: Any) -> dict[str, list[str]]:
    record = site.run(end=END, refresh=(*facts(), *DAYS_OF))
    assert not moved(record)
    return held(site)


def moved(record: Run) -> set[str]:
    return {n.node for n in record.nodes if n.state == "built" and "rows_moved" in n.facts}


def active(site: Any) -> list[str]:
    """The two persons who did most."""
    days = site.lake.scan(END).filter(pl.col("person_id").is_not_null(), pl.col("order_count") > 0)
    return days.group_by("person_id").len().sort("len", "person_id").collect()["person_id"].to_list()[-2:]


def days(site: Any, person: str) -> dict[str, Any]:
    rows = site.lake.scan(END).filter(pl.col("subject_id") == person)
    return rows.select("gross_amount", "event_count", "order_count").sum().collect().row(0, named=True)


def test_facts_and_days_follow_their_person(
    site: Callable[..., Any], raw_retailer: Callable[..., Path], tmp_path: Path
) -> None:
    from customer360.models.identity.erasure import forget, identifiers_of
    from customer360.models.identity.registry import stewardship
    from customer360.serve.compose import identity_rules

    here = site(raw_retailer(PEOPLE, DAYS, SEED)).copy(tmp_path / "site")
    here.run(end=END)
    first = held(here)
    one, other = active(here)
    before = days(here, one), days(here, other)
    seed = identity_rules(here.settings).ids.seed

    (event,) = stewardship.merge(here.lake, seed, one, other, **SAID).to_dicts()
    merging = moved(here.run(end=END))
    assert set(facts()) <= merging | {"silver.touches", "silver.service_contacts"}, "none was built from bronze"
    stays = one if days(here, one)["order_count"] else other
    assert days(here, stays) == {key: before[0][key] + before[1][key] for key in before[0]}
    assert not any(days(here, other if stays == one else one).values())
    merged = held(here)
    assert rebuilt(here) == merged != first

    stewardship.undo(here.lake, seed, event["event"], **SAID)
    assert moved(here.run(end=END)) == merging
    assert held(here) == first, "parted again, each has what it had"

    who = identifiers_of(here.lake, stays)
    privacy.erase_rows(here.lake, who)
    forget(here.lake, who, identity_rules(here.settings))
    here.run(end=END)
    assert stays not in "".join(row for rows in held(here).values() for row in rows)
    assert days(here, other if stays == one else one) == before[stays == one]
