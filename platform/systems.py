"""Recipes of known systems: what the exports of a shop, a CRM or a tracker look like, and which tables they fill.

``configs/systems/<system>.yaml`` holds one system; an export of it is named ``system/export``. A source that names a
recipe stands for one source for each table that the export fills::

    shop: {recipe: shopify/orders_csv, path: shop/orders*.csv}

becomes ``shop_transactions``, ``shop_transaction_items`` and ``shop_customers``. What is said beside the recipe goes
to each of them; ``mapping`` is by table, ``only`` names those to have, ``currency`` says what amounts are in where the
export does not.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from customer360.platform import configs
from customer360.platform.errors import ConfigError

FOLDER = "systems"
OWN = ("recipe", "mapping", "only", "currency", "where")  # what an entry says beside the keys of every source
# Keys that say how the bytes of a file are read
READING = ("format", "delimiter", "encoding", "header", "columns", "skip", "footer", "escape", "sheet", "members")
FIXED = ("table", "group_by", "explode", "join", "needs")  # of the recipe alone
CURRENCY, UNKNOWN = "CURRENCY_CODE", "NULL"


class _Described(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Export(_Described):
    """One kind of file that a system writes.

    ``recognize`` are the names of columns (of JSON: paths of keys) that every such file has, a list where one of
    several will do; other columns that a mapping names may be missing, as exports leave out what a shop does not use.
    ``sources`` are by name the sources that the export makes, with the keys of a source except path and system.
    """

    title: str
    recognize: list[str | list[str]]
    sources: dict[str, dict[str, Any]]
    notes: list[str] = []

    @property
    def needs(self) -> list[str]:
        """Columns that every such file has under one name."""
        return [name for name in self.recognize if isinstance(name, str)]

    def fits(self, columns: Collection[str]) -> bool:
        """Whether a file with these columns, in plain words, may be such an export."""
        asked = ([name] if isinstance(name, str) else name for name in self.recognize)
        return all(any(_plain(name) in columns for name in names) for names in asked)

    @property
    def tables(self) -> list[str]:
        """The tables that the export fills."""
        return list(dict.fromkeys(str(source["table"]) for source in self.sources.values()))


class System(_Described):
    """A system with its exports; ``system`` is the namespace of its identifiers, ``documentation`` where the formats
    are described."""

    title: str
    documentation: str
    system: str
    exports: dict[str, Export]


@cache
def systems() -> dict[str, System]:
    """Every known system by the name of its file.

    Raises:
        ConfigError: a file is no description of a system.
    """
    found = {}
    for name, file in configs.listed(FOLDER).items():
        try:
            found[name] = System.model_validate(configs.read_yaml(file))
        except ValidationError as fault:
            lines = [f"  {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in fault.errors()]
            raise ConfigError(f"{file} describes no system:\n" + "\n".join(lines)) from None
    return found


def exports() -> dict[str, Export]:
    """Every known export by ``system/export``."""
    return {f"{name}/{key}": export for name, system in systems().items() for key, export in system.exports.items()}


def export_of(recipe: str) -> Export:
    """An export by name.

    Raises:
        ConfigError: there is none; says the nearest ones.
    """
    known = exports()
    if recipe in known:
        return known[recipe]
    near = [name for name in known if recipe.strip("/") in (name.split("/")[0], name.split("/")[1])]
    near = near or difflib.get_close_matches(recipe, known, n=3, cutoff=0.4)
    hint = f"; did you mean {', '.join(near)}?" if near else ";"
    raise ConfigError(f"there is no recipe {recipe!r}{hint} `customer360 systems` lists them")


def recognized(columns: Collection[str]) -> list[str]:
    """Names of the exports that files with these columns may be, those that ask most of them first.

    Blanks around names and case do not count. Of JSON, ``columns`` are keys, and paths of keys such as ``customer.id``.
    """
    have = {_plain(column) for column in columns}
    fitting = [name for name, export in exports().items() if export.fits(have)]
    return sorted(fitting, key=lambda name: -len(exports()[name].recognize))


def expanded(name: str, entry: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The sources that an entry with a ``recipe`` stands for, by name.

    Raises:
        ConfigError: the recipe is unknown, or the entry names tables that it does not fill or keys that are the
            recipe's.
    """
    recipe = str(entry["recipe"])
    export, where = export_of(recipe), f"sources.{name}"
    if fixed := [key for key in FIXED if key in entry]:
        raise ConfigError(f"{where}: {', '.join(fixed)} is of the recipe {recipe}; `customer360 systems {recipe}` "
                          "prints its sources to paste and change")  # fmt: skip
    only, mappings = entry.get("only", list(export.sources)), entry.get("mapping") or {}
    for key, named in (("only", only), ("mapping", mappings)):
        if not isinstance(named, list | dict) or (unknown := [n for n in named if n not in export.sources]):
            shown = ", ".join(map(str, unknown)) if isinstance(named, list | dict) else repr(named)
            raise ConfigError(f"{where}.{key}: {shown} is none of {', '.join(export.sources)}, which {recipe} fills")
    system = systems()[recipe.partition("/")[0]].system
    beside = {key: value for key, value in entry.items() if key not in OWN}
    made = {}
    for part in only:
        said = export.sources[part]
        if entry.get("kind", "files") != "files":  # an answer of the API has the columns of the export, and no file
            said = {key: value for key, value in said.items() if key not in READING}
        source = {"system": system, "needs": export.needs, **said, **beside}
        source |= {"join": _beside(source["join"], str(entry.get("path", "")))} if "join" in source else {}
        mapping = _with_currency(source.get("mapping", {}), entry.get("currency"))
        conditions = [c for c in (export.sources[part].get("where"), entry.get("where")) if c]
        source |= {"mapping": mapping | (mappings.get(part) or {})}
        source |= {"where": " AND ".join(f"({c})" for c in conditions)} if conditions else {}
        made[f"{name}_{part}"] = source
    return made


def with_recipes(sources: Any) -> Any:
    """The ``sources`` of a configuration with recipes resolved; what is no mapping is left to the settings to refuse.

    Raises:
        ConfigError: as `expanded`; or a source that a recipe makes has the name of another.
    """
    if not isinstance(sources, dict):
        return sources
    found: dict[str, Any] = {}
    for name, entry in sources.items():
        made = expanded(name, entry) if isinstance(entry, dict) and "recipe" in entry else {name: entry}
        if twice := sorted(found.keys() & made.keys()):
            raise ConfigError(f"sources.{name}: {', '.join(twice)} is the name of another source as well")
        found |= made
    return found


def _beside(joins: dict[str, dict[str, Any]], path: str) -> dict[str, dict[str, Any]]:
    """The joins of a recipe with their files in the folder that an entry reads."""
    folder = path.rpartition("/")[0]
    return {name: join | {"path": f"{folder}/{join['path']}".lstrip("/")} for name, join in joins.items()}


def _with_currency(mapping: dict[str, str], currency: Any) -> dict[str, str]:
    """The mapping with the currency that the user names, where the export says none."""
    if currency and mapping.get(CURRENCY) == UNKNOWN:
        return mapping | {CURRENCY: f"'{currency}'"}
    return mapping


def _plain(column: str) -> str:
    return " ".join(column.replace("\ufeff", "").split()).casefold()
