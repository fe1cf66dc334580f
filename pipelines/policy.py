"""The policy of every personal column, generated from the contracts, the graph and the rule file `policy`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from customer360.pipelines.rules import PolicyRules
from customer360.platform import graph, purposes, retention, tables
from customer360.platform.errors import ConfigError
from customer360.platform.tables import Table

REPAIRED = ("quarantine", "dead_letters", "grouped_records")  # of no domain: what any source may have delivered


@dataclass(frozen=True)
class ColumnPolicy:
    """What holds for one personal column; several owners where it is made of several domains. ``serves``: purposes that
    a person may refuse, and OPERATION, for which what is built of its table is used; of gold its own."""

    table: str
    column: str
    kind: str
    owner: str
    purpose: str
    basis: str
    retention: str
    serves: str


def policies(rules: PolicyRules) -> list[ColumnPolicy]:
    """One entry a personal column of every table, in the order of their names.

    Raises:
        ConfigError: the rule file has no policy for the domain of a table.
    """
    found, readers, days = [], graph.readers_of(), keep_days(rules)
    for name, table in sorted(tables.TABLES.items()):
        kinds, served = tables.pii_columns(table), purposes.of_columns(table)
        if not kinds:
            continue
        domains = [rules.domains[d] for d in _known(rules, name, table)]
        owners, bases = (" + ".join(dict.fromkeys(getattr(d, a) for d in domains)) for a in ("owner", "basis"))
        usual = purposes.of_rows(table) or " + ".join(dict.fromkeys(d.purpose for d in domains))
        kept, below = _retention(days.get(name), name, table), " + ".join(uses(name, readers))
        for column, kind in kinds.items():
            serves = served.get(column, below)
            found.append(ColumnPolicy(name, column, kind, owners, served.get(column, usual), bases, kept, serves))
    return found


def uses(name: str, readers: Mapping[str, set[str]] | None = None) -> tuple[str, ...]:
    """What a table is used for: of gold what it serves; of bronze and silver what the gold tables serve that read it,
    or silver tables made of it, and OPERATION alone where none does. Sorted. ``readers`` are `graph.readers_of`, for
    who asks of many tables."""
    found, todo, seen = set[str](), [name], {name}
    readers = graph.readers_of() if readers is None else readers
    while todo:
        each = todo.pop()
        if each.startswith("gold."):
            found |= _own_uses(tables.by_name(each))
            continue
        fresh = readers.get(each, set()) - seen
        seen |= fresh
        todo += fresh
    return tuple(sorted(found or {purposes.OPERATION}))


def _own_uses(table: type[Table]) -> set[str]:
    rows, columns = purposes.of_rows(table), set(purposes.of_columns(table).values())
    return {rows} if rows else columns | {purposes.OPERATION}


def keep_days(rules: PolicyRules) -> dict[str, int]:
    """Days by table that says for how long it keeps its rows, or editions; the table's own number before its domain's.
    Tables that a domain's number reaches and whose rows have no age are none of them (`ageless`)."""
    said = _said(rules)
    stay = retention.without_age(name for name in said if name not in rules.keep_days)
    return {name: days for name, days in said.items() if name not in stay}


def ageless(rules: PolicyRules) -> list[str]:
    """Tables of a domain with a number of days whose rows do not say when they are from: these stay."""
    return retention.without_age(name for name in _said(rules) if name not in rules.keep_days)


def _said(rules: PolicyRules) -> dict[str, int]:
    found = {}
    for name, table in tables.TABLES.items():
        if tables.spec(table).layer == "bronze" and tables.pii_columns(table) and tables.spec(table).erasure != "none":
            domain = rules.domains.get(_domain(name, table))
            found[name] = rules.keep_days.get(name, domain.keep_days if domain else None)
    found |= {name: days for name, days in rules.keep_days.items() if name not in found}
    found |= _of_editions({name: days for name, days in found.items() if days is not None}, set(rules.keep_days))
    return {name: days for name, days in found.items() if days is not None}


def _of_editions(days: Mapping[str, int], said: set[str]) -> dict[str, int]:
    """Dated tables of persons, where the rule file does not say for how long, keep their editions as long as the source
    below them that is kept for the shortest time."""
    sources = {name for name in days if name.startswith("bronze.")}
    found, readers = dict[str, int](), graph.readers_of() if sources else {}
    for source in sources:
        for name in _built_on(source, readers):
            if name not in said and _is_of_persons(name):
                found[name] = min(days[source], found.get(name, days[source]))
    return found


def _built_on(name: str, readers: Mapping[str, set[str]]) -> set[str]:
    found, todo = set[str](), [name]
    while todo:
        fresh = readers.get(todo.pop(), set()) - found
        found |= fresh
        todo += fresh
    return found


def _is_of_persons(name: str) -> bool:
    table = tables.by_name(name)
    personal = bool(tables.pii_columns(table)) or "person_id" in table.columns()
    return name.startswith("gold.") and tables.spec(table).is_dated and personal


def _known(rules: PolicyRules, name: str, table: type[Table]) -> list[str]:
    domains = _domains(name, table)
    if missing := sorted(set(domains) - set(rules.domains)):
        raise ConfigError(f"policy: no domain {', '.join(missing)}, of which {name} holds personal data")
    return domains


def _domain(name: str, table: type[Table]) -> str:
    return "quality" if name.endswith(REPAIRED) else table.__module__.rpartition(".")[2]


def _domains(name: str, table: type[Table]) -> list[str]:
    """The domains that a table is made of: its own, if it is a source's; else those of the sources below it."""
    if name.endswith(REPAIRED) or tables.spec(table).layer == "bronze":
        return [_domain(name, table)]
    makers, todo = graph.producers_of(), [name]
    seen: set[str] = set()
    while todo:
        for maker in makers.get(todo.pop(), ()):
            node = graph.NODES[maker]  # rows of a record table are their source's; other inputs say whose they are
            fresh = [i for i in ([node.records] if node.records else node.inputs) if i not in seen]
            seen.update(fresh)
            todo += fresh
    below = {
        _domain(n, tables.by_name(n)) for n in seen if n.startswith("bronze.") and tables.pii_columns(tables.by_name(n))
    }
    return sorted(below) or ["identity" if tables.spec(table).layer == "silver" else "customers"]


def _retention(days: int | None, name: str, table: type[Table]) -> str:
    if tables.spec(table).layer == "bronze":
        lasts = "; of who ever refused until erased" if tables.spec(table).lasting else ""
        lasts += " from its end" if tables.spec(table).holds else ""
        return "until erased" if days is None else f"{days:,} days{lasts}"
    if name.endswith(REPAIRED):
        return "until repaired or erased" if days is None else f"{days:,} days, or until repaired or erased"
    return "as its sources" if days is None else f"as its sources; its editions {days:,} days"
