"""A visit to the shop while the demo looks: what a page sends of it, and the micro-batch that lands it.

A run for it asks the collector's log alone and builds what real time needs, as a round of `run --watch` does beside
everything else; scores and features of gold wait for the day to end.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any
from uuid import uuid4

import polars as pl

from customer360.platform import graph
from customer360.platform.connections.collector import Collector
from customer360.platform.lake import Lake
from customer360.platform.run import RunRequest
from customer360.platform.settings import Settings

REAL_TIME = "gold.real_time_"
EVENTS = "bronze.events"


def collector_of(settings: Settings) -> tuple[str, Collector] | None:
    """The name of the settings' collector, and what they say of it; None where there is none."""
    found = ((name, said) for name, said in settings.connections.items() if isinstance(said, Collector))
    return next(found, None)


def account_of(lake: Lake, person: str, system: str) -> str | None:
    """An account by which the person logs in to the shop; None without one."""
    held = lake.scan("silver.identities").filter(pl.col("person_id") == person, pl.col("source_system") == system)
    return held.select(pl.col("customer_id").min()).collect().item()


def calls(account: str, products: Sequence[str]) -> list[dict[str, Any]]:
    """Calls of a client library: who came, which products were looked at, and that the first was put in the cart."""
    visitor = f"demo-{uuid4()}"
    who = {"userId": account, "anonymousId": visitor}
    seen = [{"type": "track", "event": "Product Viewed", "properties": {"product_id": p}, **who} for p in products]
    added = {"type": "track", "event": "Product Added", "properties": {"product_id": products[0]}, **who}
    return [{"type": "identify", **who}, *seen, added]


def request(settings: Settings, collector: str, as_of: date) -> RunRequest:
    """The micro-batch: of the sources the collector's events, of gold what tells of now."""
    graphed = {name for name in graph.NODES if name.startswith(REAL_TIME)}
    below = set().union(*(graph.selection(None, name) for name in graphed))
    nodes = graphed | {name for name in below if not name.startswith("gold.")}
    sources = tuple(
        name
        for name, source in settings.sources.items()
        if source.table == EVENTS and getattr(source, "connection", None) == collector
    )
    return RunRequest(only=frozenset(nodes), sources=sources, as_of=as_of, command="demo")
