"""One person in few lines: its records, why they are one person, its profile, and answers of the HTTP application."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import polars as pl
from rich import box
from rich.table import Table as Grid

from customer360.pipelines.gold.customers import GROUPS
from customer360.pipelines.gold.customers.consent import PURPOSES
from customer360.platform import tables
from customer360.platform.errors import Customer360Error
from customer360.platform.lake import Lake
from customer360.platform.lake.editions import scan_current

RECORDS_SHOWN, PAIRS_SHOWN = 5, 5
VALUES_SHOWN = 4  # of a group of the profile
WIDTH = 150
RECORD = (
    "record_id", "first_name", "last_name", "email_address", "phone_number", "date_of_birth", "address_line_1",
    "zip_code",
)  # fmt: skip
WITHOUT_NEWS = {"generation", "stale_because", "person_id"}  # of an answer: what the lines before it say


def typical(lake: Lake) -> str:
    """A typical merged person: one record in each source system, facts in most groups, consent; then the lowest id.

    Raises:
        Customer360Error: there is none with purchases and a score.
    """
    scored = scan_current(lake, "gold.customer_360").filter(
        pl.col("churn_probability").is_not_null(), pl.col("may_personalize"), pl.col("order_count_365d") > 2
    )
    merged = scored.filter(pl.col("record_count") > 1).with_columns(
        systems=pl.col("source_systems").list.len(),
        groups=pl.sum_horizontal(pl.col(f"{group}_until_at").is_not_null() for group in GROUPS),
    )
    order = (pl.col("record_count") == pl.col("systems"), "systems", "groups", "order_count_365d", "person_id")
    found = merged.sort(*order, descending=[True, True, True, True, False]).select("person_id").head(1).collect()
    if found.is_empty():
        raise Customer360Error("no merged person with purchases and a churn score to show; was the sample too small?")
    return str(found.item())


def records(lake: Lake, person: str) -> Grid:
    """The records of a person, as their sources wrote them. Nothing is masked: for synthetic people."""
    shown = lake.scan("silver.customer_records").filter(pl.col("record_id").is_in(_members(lake, person)))
    grid = _grid(*RECORD)
    for row in shown.select(RECORD).sort("record_id").head(RECORDS_SHOWN).collect().rows():
        grid.add_row(*("" if value is None else str(value) for value in row))
    return grid


def reasons(lake: Lake, person: str) -> Grid:
    """Pairs of a person's records with their weight in bits, the decision and the strongest evidence."""
    members = _members(lake, person)
    ends = pl.col("record_id_l").is_in(members) & pl.col("record_id_r").is_in(members)
    edges = lake.scan("silver.identity_edges").filter(ends).sort("record_id_l", "record_id_r").head(PAIRS_SHOWN)
    grid = _grid("pair", "weight", "decision", "strongest evidence")
    for edge in edges.collect().to_dicts():
        parts = sorted(edge["evidence"] or [], key=lambda e: -(e["weight"] or 0))[:3]
        said = ", ".join(f"{p['comparison']}: {p['level']} {p['weight']:+.1f}" for p in parts)
        weight = "login" if edge["match_weight"] is None else f"{edge['match_weight']:.1f}"
        grid.add_row(f"{edge['record_id_l']} ~ {edge['record_id_r']}", weight, edge["decision"], said)
    return grid


def _members(lake: Lake, person: str) -> list[str]:
    held = lake.scan("silver.identities").filter(pl.col("person_id") == person)
    return held.select("record_id").collect()["record_id"].to_list()


def _grid(*columns: str) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, header_style="bold", show_edge=False)
    for column in columns:
        grid.add_column(column)
    return grid


def profile(row: dict[str, Any]) -> Iterator[str]:
    """A line a group of the profile: how fresh it is and its first values; last the groups without a fact."""
    empty = []
    for name, group in GROUPS.items():
        until = row[f"{name}_until_at"]
        known = [c for c in group.columns() if c != f"{name}_until_at" and row[c] not in (None, [])]
        if until is None and row.get("unanswered_purposes") and "unanswered_purposes" in known:
            asked = "not asked" if len(row["unanswered_purposes"]) == len(PURPOSES) else "no date"
            values = "; ".join(f"{c} {_shown(row[c])}" for c in known)
            yield _cut(f"  {name:<11} {asked:<10}  {values}")
            continue
        if until is None or not known:
            empty.append(f"{name} ({tables.summary(group)})")
            continue
        values = "; ".join(f"{c} {_shown(row[c])}" for c in known[:VALUES_SHOWN])
        more = len(known) - VALUES_SHOWN
        yield _cut(f"  {name:<11} {until:%Y-%m-%d}  {values}" + (f"; and {more} more" if more > 0 else ""))
    if empty:
        yield _cut(f"  no fact yet: {', '.join(empty)}")


def _shown(value: Any) -> str:
    """Lists of reasons and shares as short text."""
    if isinstance(value, list):
        return ", ".join(_item(v) if isinstance(v, dict) else str(v) for v in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _item(item: dict[str, Any]) -> str:
    if "share" in item:
        return f"{item['name']} {item['share']:.0%}"
    known = "" if item["value"] is None else f" = {item['value']:.3g}"
    return f"{item['feature']}{known} ({item['contribution']:+.2f})"


def answer(body: dict[str, Any]) -> Iterator[str]:
    """An answer as JSON, a line for its plain fields and one for each item of its lists; the profile only counted."""
    plain = {name: value for name, value in body.items() if not _is_listing(value) and name not in WITHOUT_NEWS}
    if "profile" in plain:
        plain["profile"] = f"{len(body['profile'])} columns, as above"
    yield _cut(f"  {_json(plain)}")
    for name, value in body.items():
        if _is_listing(value):
            yield from (_cut(f"    {name}: {_json(item)}") for item in value)


def _json(fields: dict[str, Any]) -> str:
    shown = {name: round(value, 4) if isinstance(value, float) else value for name, value in fields.items()}
    return json.dumps(shown, ensure_ascii=False)


def _is_listing(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _cut(line: str) -> str:
    return line if len(line) <= WIDTH else line[: WIDTH - 2] + " …"
