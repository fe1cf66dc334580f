"""The person of `canaries` in every feed: what is theirs by account, by device, by handle or by the row it belongs to,
and what rows of others say of them. Made from the contracts, so that a feed that is new is planted, too.

Words that begin with `OWN` must be gone after an erasure from every byte; `WORD` stands where the contract knows
nothing personal (a brand, a channel): gone from every current table, while a sum of before may name it. `KEPT` are
numbers of sales, products and the like, which stay by contract; `OTHERS` number rows of somebody else, which stay
without what they say of the person.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from customer360.platform import tables
from customer360.platform.tables import Table
from customer360.serve.compose import compose


def _beside(name: str) -> ModuleType:
    if name not in sys.modules:
        found = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        assert found and found.loader
        sys.modules[name] = importlib.util.module_from_spec(found)
        found.loader.exec_module(sys.modules[name])
    return sys.modules[name]


canaries: Any = _beside("canaries")
feeds: Any = _beside("feeds")

OWN, WORD, KEPT, OTHERS = "ownplant", "wordplant", "keptplant", "otherplant"
HANDLE = "@ownplant.handle"
NAMED = {
    "PLATFORM": f"{WORD}.social",
    "FIRST_NAME": canaries.FIRST,
    "LAST_NAME": canaries.LAST,
    "ADDRESS_LINE_1": canaries.STREET,
}
SAID = f"for {canaries.FIRST} {canaries.LAST} ({canaries.MAIL})"
Row = dict[str, Any]


def plants(neighbour: str) -> Iterator[tuple[str, str, Row]]:
    """Table, how the row is the person's (`others`: it is of ``neighbour``), and the row."""
    for name in feeds.every():
        table = tables.by_name(name)
        for how in _ways(table):
            yield name, how, own(name, how)
        if name != "bronze.exchange_rates":  # has no text
            yield name, "others", others(name, neighbour)


def _ways(table: type[Table]) -> list[str]:
    kinds, columns = tables.pii_columns(table), table.columns()
    if tables.spec(table).erasure == "none":
        return []
    account = next((c for c, kind in kinds.items() if kind == "account"), None)
    if account is None:
        return ["account"]  # by the row that it names, which is of the account
    ways = ["account"]
    if columns[account].nullable and "VISITOR_ID" in columns:
        ways.append("device")
    if columns[account].nullable and "handle" in kinds.values():
        ways.append("handle")
    return ways


@cache
def _kept_numbers() -> frozenset[str]:
    """Columns that number something which no erasure deletes."""
    kept = (tables.spec(tables.by_name(n)) for n in feeds.every())
    return frozenset(c for each in kept if each.erasure != "delete" for c in each.key)


def own(name: str, how: str) -> Row:
    """A row of the person's. Numbers are the same wherever a column of their name stands."""
    table = tables.by_name(name)
    stays = tables.spec(table).erasure == "anonymize"

    def says(column: str, role: str) -> Any:
        mark = f"{WORD if role in ('id', 'plain') else OWN}{how}{column}".lower()
        if role in ("key", "id") and (stays or column in _kept_numbers()):
            return f"{KEPT}{how}{column}".lower()
        if column == "VISITOR_ID":
            return canaries.DEVICE if how == "device" or not table.columns()[column].nullable else None
        told = {"account": canaries.SHOP if how == "account" else None, "handle": HANDLE, "email": canaries.MAIL,
                "phone": canaries.PHONE, "name": f"{canaries.FIRST} {canaries.LAST}"}  # fmt: skip
        if column in NAMED or role in told:
            return NAMED.get(column, told.get(role))
        return SAID if role == "plain" and stays else mark

    return dict(feeds.row(name, says))


def others(name: str, neighbour: str) -> Row:
    """A row of somebody else, every text of which names the person."""
    table = tables.by_name(name)
    keys = tables.spec(table).key

    def says(column: str, role: str) -> Any:
        number = f"{OTHERS}{name}{column}".lower().replace(".", "")
        if column in keys:
            return number
        if role in ("plain", "text", "person", "address", "agent"):
            return SAID
        if role == "account":
            return neighbour
        return None if table.columns()[column].nullable else number

    return dict(feeds.row(name, says))


def settings_of(folder: Path) -> Path:
    """A file of settings beside a site: the synthetic retailer's sources, and one for each table."""
    compose()
    config = folder / "every_feed.yaml"
    config.write_text(f"extends: local.yaml\nsources:\n{feeds.sources()}", encoding="utf-8")
    return config


def plant(landing: Path, neighbour: str) -> int:
    """Write the rows into landing files; how many there are."""
    rows = [(name, row) for name, _, row in plants(neighbour)]
    feeds.write(landing, rows)
    return len(rows)
