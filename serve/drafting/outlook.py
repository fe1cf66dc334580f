"""What a draft would give: its sources tried on the sample, and the parts of a profile and the models that it feeds."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any

import polars as pl

from customer360.platform import judging, systems, tables
from customer360.platform.errors import Customer360Error
from customer360.platform.settings import Settings
from customer360.platform.sources.base import Source, configured
from customer360.platform.sources.casting import fit
from customer360.platform.sources.formats.records import numbered
from customer360.platform.sources.landing import Landing, landing_of
from customer360.platform.sources.mapping.numbering import Numbering
from customer360.platform.sources.stated import mapping_of, reading_of
from customer360.serve.drafting.draft import Draft
from customer360.serve.drafting.entries import Entry

SALES = "bronze.transactions"
PARTS = (  # of a profile: what it takes
    ("who a person is", {"bronze.customers"}),
    ("value, recency and frequency", {SALES}),
    ("categories and brands bought", {"bronze.transaction_items"}),
    ("visits and what was looked at", {"bronze.events"}),
    ("contacts with the support desk", {"bronze.service_tickets", "bronze.service_interactions"}),
    ("messages and their effect", {"bronze.engagement_events"}),
    ("what a person allows", {"bronze.preferences"}),
)
MODELS = (
    ("churn, clv, segments", {SALES}),
    ("propensity, item_to_item, hybrid", {"bronze.transaction_items"}),
    ("two_tower", {"bronze.transaction_items", "bronze.products"}),
)


@dataclass
class SourceOutlook:
    """One source on the sample: rows looked at, rows of the table that they make, and how many of these are refused."""

    name: str
    table: str
    read: int
    rows: int = 0
    refused: int = 0
    fault: str = ""


@dataclass
class Outlook:
    """All sources on the sample; amounts by currency (empty: none is named), days of the first and last sale."""

    sources: list[SourceOutlook] = field(default_factory=list)
    people: int = 0
    orders: int = 0
    known_orders: int = 0
    amounts: dict[str, float] = field(default_factory=dict)
    first: date | None = None
    last: date | None = None
    is_whole: bool = True

    @property
    def tables(self) -> set[str]:
        """Tables that get rows."""
        return {source.table for source in self.sources if source.rows > source.refused}

    def enough_for(self, wanted: tuple[tuple[str, set[str]], ...]) -> tuple[list[str], list[str]]:
        """Of a list of things with the tables they take: those that there is enough for, and the others."""
        have = [
            name
            for name, needs in wanted
            if needs & self.tables and (len(needs) < 2 or needs <= self.tables or wanted is PARTS)
        ]
        return have, [name for name, _ in wanted if name not in have]


def outlook(draft: Draft, settings: Settings, rules: dict[str, Any]) -> Outlook:
    """Try every source of a draft on the rows that were looked at."""
    found = Outlook()
    accounts: set[tuple[str, str]] = set()
    again: set[tuple[str, str]] = set()
    sold: list[tuple[str, pl.DataFrame]] = []
    landing = landing_of(settings)
    for entry in draft.entries:
        found.is_whole &= entry.delivery.whole
        for name in _names(entry):
            said, rows = _tried(name, entry, configured(settings, name), landing, rules)
            found.sources.append(said)
            if said.table == "bronze.customers" and rows is not None:
                held = again if entry.is_again else accounts
                held |= {(entry.system, key) for key in rows["CUSTOMER_ID"].drop_nulls()}
            if said.table == SALES and rows is not None:
                sold.append((entry.system, rows))
    for system, rows in sold:
        known = {key for of, key in accounts | again if of == system} if found.is_whole else None
        _add_sales(found, rows, known)
    found.people = len(accounts)
    return found


def _names(entry: Entry) -> list[str]:
    if not entry.recipe:
        return [entry.name]
    return [f"{entry.name}_{part}" for part in systems.export_of(entry.recipe).sources]


def _tried(
    name: str, entry: Entry, source: Source, landing: Landing, rules: dict[str, Any]
) -> tuple[SourceOutlook, pl.DataFrame | None]:
    sample = entry.delivery.sample
    said = SourceOutlook(name, source.table, sample.height)
    table = tables.by_name(source.table)
    places = pl.int_range(1, sample.height + 1, eager=True)
    try:
        fitted = fit(numbered(sample.clone(), places), table, mapping_of(source, landing), reading_of(source, rules))
        reached = [*sample.columns, *source.mapping]
        rows = fitted.frame if source.group_by else Numbering().filled(table, fitted.frame, reached)
        verdict = judging.judge(table, rows)
    except (Customer360Error, pl.exceptions.PolarsError) as fault:
        said.fault = " ".join(str(fault).split())[:200]
        return said, None
    said.rows, said.refused = rows.height, rows.height - verdict.valid.height
    return said, verdict.valid


def _add_sales(found: Outlook, rows: pl.DataFrame, known: set[str] | None) -> None:
    """Add sales. ``known``: their system's customers, None where only a part of these was looked at."""
    sold = rows.filter(pl.col("TRANSACTION_STATUS") == "COMPLETED").unique("TRANSACTION_ID")
    found.orders += sold.height
    buyer = sold["CUSTOMER_ID"].drop_nulls()
    found.known_orders += len(buyer) if known is None else int(buyer.is_in(sorted(known)).sum())
    for currency, amount in sold.group_by("CURRENCY_CODE").agg(pl.col("TOTAL_AMOUNT").cast(pl.Float64).sum()).rows():
        found.amounts[currency or ""] = found.amounts.get(currency or "", 0.0) + amount
    days = sold["TRANSACTION_DATE"].dt.date().drop_nulls()
    if len(days):
        low, high = days.min(), days.max()
        found.first = min(found.first or low, low)  # type: ignore[type-var,assignment]
        found.last = max(found.last or high, high)  # type: ignore[type-var,assignment]
