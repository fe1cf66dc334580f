"""How the files of a folder refer to its products and stores, and whose numbers are of one system: names say it, values
have the last word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

from customer360.platform.sources.profiling.columns import Column
from customer360.platform.sources.profiling.relations import JOINS, joined_by, meeting, overlap
from customer360.serve.drafting.meaning import Match, Meaning
from customer360.serve.drafting.names import Vocabulary

REFERENCES = {"PRODUCT_ID": "bronze.products", "STORE_ID": "bronze.stores"}
CUSTOMERS, SALES = "bronze.customers", ("bronze.transactions", "bronze.transaction_items")
SAYING_NOTHING = frozenset(  # names of folders that are no system's
    "data api export exports raw csv json files file download downloads input in out landing archive seeds seed "
    "examples example sample samples dataset datasets source sources excel db database tables src assets public "
    "resources processed daten dati datos import imports".split()
)
FEW = 10  # distinct values, below which a common value says nothing
COMPARED = 3  # accounts of one number in two files of customers, from which on what else is known of them counts


@dataclass(frozen=True)
class Reference:
    """A column of one delivery whose values are those of another's."""

    child: Meaning
    column: str
    parent: Meaning
    share: float


def settled(meanings: list[Meaning], vocabulary: Vocabulary) -> list[Meaning]:
    """The meanings, where keys that do not meet are exchanged for columns whose values do."""
    found = list(meanings)
    for key, table in REFERENCES.items():
        for place, child in enumerate(found):
            if child.table == table or child.table not in vocabulary.tables:
                continue
            if key not in vocabulary.tables[child.table].columns:
                continue
            for spot, parent in enumerate(found):
                if parent.table == table:
                    found[place], found[spot] = _met(found[place], found[spot], key, vocabulary)
    return found


def references(meanings: list[Meaning]) -> Iterator[Reference]:
    """Which columns refer to which master file, with the share of values that are found there."""
    for key, table in REFERENCES.items():
        for child in meanings:
            column = child.column(key)
            if column is None or child.table == table:
                continue
            for parent in meanings:
                there = parent.column(key)
                if parent.table == table and there is not None and (share := overlap(column, there)) > 0:
                    yield Reference(child, key, parent, share)


def _met(child: Meaning, parent: Meaning, key: str, vocabulary: Vocabulary) -> tuple[Meaning, Meaning]:
    """Both, with the pair of columns whose values meet in place of one that does not."""
    mine, theirs = child.column(key), parent.column(key)
    if mine is not None and theirs is not None and overlap(mine, theirs) >= JOINS:
        return child, parent
    if mine is not None and len(mine.distinct) >= FEW:  # the master has another number for them
        other, share = joined_by(mine, [c for c in _free(parent, key) if c.is_unique])
        if other is not None and len(other.distinct) >= FEW:
            return child, _with(
                parent, key, other, f"{share:.0%} of {mine.name} in {child.delivery.path} are found here"
            )
    if theirs is not None:
        for column in _free(child, key):
            names = {c for c in vocabulary.concepts_of(column.name) if c in vocabulary.entities}
            about = vocabulary.tables[parent.table].about
            telling = len(column.distinct) >= FEW and (not column.is_whole or bool(names & about))
            if telling and column.is_a("id") == 1.0 and (share := overlap(column, theirs)) >= 0.8:
                return _with(
                    child, key, column, f"{share:.0%} of its values are {theirs.name} of {parent.delivery.path}"
                ), parent
    return child, parent


def _free(meaning: Meaning, key: str) -> list[Column]:
    """Columns that nothing else is read from, and that of the key."""
    taken = {
        match.column.name for name, match in meaning.matches.items() if name not in (key, "LOYALTY_ID", "EMAIL_ADDRESS")
    }
    return [c for name, c in meaning.delivery.columns.items() if name not in taken and not c.is_moment]


def _with(meaning: Meaning, key: str, column: Column, why: str) -> Meaning:
    return replace(meaning, matches={**meaning.matches, key: Match(column, 0.8, why)})


def systems_of(meanings: Sequence[Meaning], refers: Mapping[int, int], default: str) -> list[str]:
    """The namespace of each meaning's customers: files whose accounts are the same have the same one."""
    names = [""] * len(meanings)
    groups: list[list[int]] = []
    for place, meaning in enumerate(meanings):
        if meaning.buyer.column("CUSTOMER_ID") is None:
            continue
        meeting = [group for group in groups if any(_are_of_one(place, other, meanings, refers) for other in group)]
        rest = [group for group in groups if group not in meeting]
        groups = [*rest, [place, *(p for group in meeting for p in group)]]
    taken: set[str] = set()
    for group in sorted(
        groups, key=lambda g: (all(meanings[p].named for p in g if meanings[p].table == CUSTOMERS), -len(g))
    ):
        name = _system(meanings[min(group)], default, taken)
        taken.add(name)
        for place in group:
            names[place] = name
    first = next((name for name in names if name), default)
    for place, meaning in enumerate(meanings):
        names[place] = names[place] or _beside(meaning, meanings, names)
    return [
        name or (_system(m, default, taken) if len(taken) > 1 and m.table in SALES else first)
        for name, m in zip(names, meanings, strict=True)
    ]


def _are_of_one(one: int, other: int, meanings: Sequence[Meaning], refers: Mapping[int, int]) -> bool:
    """Whether two files mean the same accounts by the same number."""
    if one in refers or other in refers:
        return refers.get(one, one) == refers.get(other, other)
    mine, theirs = meanings[one].buyer.column("CUSTOMER_ID"), meanings[other].buyer.column("CUSTOMER_ID")
    if mine is None or theirs is None or meanings[one].delivery is meanings[other].delivery:
        return False
    met = meeting(mine, theirs)
    if met.most < 0.1:
        return False
    if meanings[one].table == meanings[other].table == CUSTOMERS:
        agreed = _agreement(meanings[one], meanings[other], mine, theirs)
        return met.surplus >= 0.1 if agreed is None else agreed >= JOINS
    return met.surplus >= 0.1 or mine.name.lower() == theirs.name.lower()


def _agreement(one: Meaning, other: Meaning, mine: Column, theirs: Column) -> float | None:
    """Share of the accounts of one number whose address or name is the same in both; None where that is not known."""
    for fact in ("EMAIL_ADDRESS", "LAST_NAME", "FULL_NAME", "PHONE_NUMBER"):
        left, right = one.column(fact), other.column(fact)
        if left is None or right is None or mine.name == left.name or theirs.name == right.name:
            continue
        pairs = _facts(mine, left).join(_facts(theirs, right), on="key").drop_nulls()
        if pairs.height >= COMPARED:
            return float((pairs["fact"] == pairs["fact_right"]).mean() or 0.0)  # type: ignore[arg-type]
    return None


def _facts(key: Column, fact: Column) -> pl.DataFrame:
    data = (column.data.cast(pl.String, strict=False).str.strip_chars() for column in (key, fact))
    rows = (
        pl.DataFrame(dict(zip(("key", "fact"), data, strict=True)))
        .drop_nulls("key")
        .unique("key", keep="first", maintain_order=True)
    )
    return rows.with_columns(pl.col("fact").str.to_lowercase())


def _beside(meaning: Meaning, meanings: Sequence[Meaning], names: list[str]) -> str:
    """The namespace of a file of lines or products: of the file with which it shares orders or articles."""
    for key in ("TRANSACTION_ID", "PRODUCT_ID", "STORE_ID", "CAMPAIGN_ID"):
        for place, other in enumerate(meanings):
            mine, theirs = meaning.column(key), other.column(key)
            if names[place] and mine is not None and theirs is not None and overlap(mine, theirs) >= JOINS:
                return names[place]
    return ""


def _system(meaning: Meaning, default: str, taken: set[str]) -> str:
    """A name for a system: of the folder that the file lies in, else of the file."""
    parts = meaning.delivery.path.split("/")
    own = [name for part in parts[:-1] if (name := identifier(part)) and name.lower() not in SAYING_NOTHING][:1]
    own += [default if default.lower() not in SAYING_NOTHING else "SHOP", identifier(parts[-1].split(".")[0])]
    free = [name for name in own if name and name not in taken]
    return free[0] if free else f"{default}_{len(taken) + 1}"


def identifier(text: str) -> str:
    """A name of letters, digits and underscores in capitals."""
    signs = "".join(sign if sign.isascii() and sign.isalnum() else "_" for sign in text.upper())
    return "_".join(part for part in signs.split("_") if part)
