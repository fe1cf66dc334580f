"""Rows of every table of bronze, made from its contract alone: a feed that nobody thought of here is planted, too.

``row`` makes one row of a table; what its texts say is the caller's. ``sources`` and ``write`` bring rows to a site
through feeds of its own, one for each table.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import polars as pl

from customer360.platform import tables
from customer360.platform.tables import READS, Table

DAY = "2026-06-20"
FOLDER, SYSTEM = "every_feed", "SHOP"
CODES = {"country": "USA", "state": "TX", "currency": "USD"}
# What makes a row mean something, where the contract's types alone do not tell.
MEANT: dict[str, dict[str, Any]] = {
    "bronze.customers": {"ENTITY_TYPE": None, "ORGANISATION_NAME": None, "ORGANISATION_NUMBER": None, "WEBSITE": None},
    "bronze.payments": {"CARD_LAST4": "4242", "CARD_BIN": "424242"},
    "bronze.preferences": {"PREFERENCE_TYPE": "BRAND"},
    "bronze.store_visits": {"VISIT_SOURCE": "WIFI", "LOCATION_CONSENT": True},
}
Says = Callable[[str, str], Any]  # of a column and what it is (`roles`): its value


def every() -> list[str]:
    """Tables of bronze that a source fills."""
    return sorted(n for n in tables.TABLES if n.startswith("bronze.") and n != "bronze.grouped_records")


def roles(table: type[Table]) -> dict[str, str]:
    """What each column of text is: its kind of personal data, `key` (of the row), `id` (of something else) or `plain`;
    codes and words of a closed list are none."""
    kinds, keys = tables.pii_columns(table), tables.spec(table).key
    found = {}
    for name, column in table.columns().items():
        meta = column.metadata or {}
        if column.dtype == pl.String and "values" not in meta and meta.get(READS) not in CODES:
            plain = "id" if meta.get(READS) == "id" else "plain"
            found[name] = "key" if name in keys and name not in kinds else kinds.get(name, plain)
    return found


def row(name: str, says: Says, day: str = DAY) -> dict[str, Any]:
    """A row of a day that keeps the contract; columns of text say what they are told, others as little as they may."""
    table, meant = tables.by_name(name), MEANT.get(name, {})
    texts = roles(table)
    made = {c: meant[c] if c in meant else says(c, texts[c]) for c in texts}
    rest = {
        c: meant[c] if c in meant else _least(column, day) for c, column in table.columns().items() if c not in texts
    }
    times = {c: f"{day}T10:00:00Z" for c in (*tables.spec(table).past[:1], tables.spec(table).version) if c}
    dates = {c: day for c in times if table.columns()[c].dtype == pl.Date}
    return made | rest | times | dates


def _least(column: tables.Column, day: str) -> Any:
    meta = column.metadata or {}
    if column.nullable and meta.get(READS) != "currency":
        return None
    if "values" in meta:
        return meta["values"][0]
    if meta.get(READS) in CODES:
        return CODES[meta[READS]]
    if column.dtype == pl.Date:
        return day
    if column.dtype == pl.Datetime:
        return f"{day}T10:00:00Z"
    return True if column.dtype == pl.Boolean else 1


def sources() -> str:
    """Settings of one source for each table, as YAML below `sources:`."""
    line = "  every_{0}: {{table: bronze.{0}, system: {1}, path: {2}/{0}/*.jsonl, format: json}}\n"
    return "".join(line.format(name.partition(".")[2], SYSTEM, FOLDER) for name in every())


def write(landing: Path, rows: Iterable[tuple[str, dict[str, Any]]], file: str = "zz.jsonl") -> None:
    """Files of rows by table, as the sources look for them."""
    by_table: dict[str, list[str]] = {}
    for name, made in rows:
        by_table.setdefault(name, []).append(json.dumps(made))
    for name, lines in by_table.items():
        target = landing / FOLDER / name.partition(".")[2] / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("\n".join(lines) + "\n", encoding="utf-8")
