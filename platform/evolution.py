"""How a source may change what it brings: the words of its schema contract, types of columns, and what changed.

The words are dlt's. ``columns`` says what becomes of a column that nobody knew, ``data_type`` of a value that does not
have the type of its column: ``evolve`` takes it in, ``freeze`` lets the batch wait, ``discard_row`` makes the record a
dead letter, ``discard_value`` leaves the value out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

Mode = Literal["evolve", "freeze", "discard_row", "discard_value"]
Kind = Literal["new", "missing", "widened", "narrowed", "changed", "uncast", "filled"]

# What values are, from the narrowest: each type by those that hold all its values, too. ``empty``: none was seen yet.
WIDER = {
    "empty": ("boolean", "integer", "decimal", "date", "timestamp", "json", "text"),
    "boolean": ("text",),
    "integer": ("decimal", "text"),
    "decimal": ("text",),
    "date": ("timestamp", "text"),
    "timestamp": ("text",),
    "json": ("text",),
    "text": (),
}
WIDENED = {("integer", "decimal"), ("date", "timestamp")}


class SchemaContract(BaseModel):
    """What a source may change. One word stands for both keys: ``schema_contract: freeze``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: Mode = "evolve"
    data_type: Mode = "evolve"

    @model_validator(mode="before")
    @classmethod
    def _of_a_word(cls, written: Any) -> Any:
        if isinstance(written, str):
            return {"columns": written, "data_type": written}
        if isinstance(written, dict) and "tables" in written:
            raise ValueError("tables: a source fills one table, which its `table` names; say `columns` and `data_type`")
        return written

    @property
    def orders_batches(self) -> bool:
        """Whether what a batch gives depends on the schema that the batch before left."""
        return (self.columns, self.data_type) != ("evolve", "evolve")

    @property
    def thawed(self) -> SchemaContract:
        """For what landed before and is read again: what was let in stays in."""
        return SchemaContract(
            columns="evolve" if self.columns == "freeze" else self.columns,
            data_type="evolve" if self.data_type == "freeze" else self.data_type,
        )


def joined(one: str, other: str) -> str:
    """The narrowest type that holds the values of both."""
    if one == other or other in WIDER[one]:
        return other
    return one if one in WIDER[other] else "text"


@dataclass(frozen=True)
class Column:
    """A column that is known of a source: its type, and whether records may come without it."""

    type: str
    optional: bool = False


@dataclass(frozen=True)
class Seen:
    """What one input brought: its columns with the types of their values.

    ``used`` are those that the source makes something of: their values are judged by the contract of the table, of
    which ``uncast`` counts what did not cast, by contract column. ``partial``: its records may leave columns out, or
    say nothing of them. ``samples`` are some values of columns that nobody knew; they are kept nowhere.
    """

    columns: dict[str, str] = field(default_factory=dict)
    used: frozenset[str] = frozenset()
    partial: bool = False
    uncast: dict[str, int] = field(default_factory=dict)
    samples: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """One difference between what is known of a source or a contract, and what is there now."""

    kind: Kind
    column: str
    before: str = ""
    after: str = ""
    place: str = ""  # the input that showed it first
    count: int = 0
    renamed_to: str = ""
    optional: bool = False  # other inputs of the batch lack a column that is new

    @property
    def entity(self) -> Literal["columns", "data_type"]:
        """Which key of the schema contract it is judged by."""
        return "columns" if self.kind in ("new", "missing") else "data_type"

    def __str__(self) -> str:
        if self.kind == "new":
            return f"column {self.column!r} ({self.after}) is new"
        if self.kind == "missing":
            near = f"; {self.renamed_to!r} is likely its new name" if self.renamed_to else ""
            return f"column {self.column!r} ({self.before}) is missing{near}"
        if self.kind == "uncast":
            return f"{self.count:,} values of {self.column} are no {self.after}"
        if self.kind == "filled":
            return f"column {self.column!r} has its first values ({self.after})"
        done = {"widened": "was widened", "narrowed": "was narrowed", "changed": "changed its type"}[self.kind]
        return f"column {self.column!r} {done}: {self.before} -> {self.after}"


def changes(
    known: Mapping[str, Column], variants: Iterable[str], seen: Seen, place: str, types: Mapping[str, str]
) -> list[Change]:
    """How an input differs from what is known of its source. ``variants`` are contract columns of which values that do
    not cast were accepted; ``types`` are those of the contract. What fits a known type is no change: of integers in a
    column of decimals nobody is told.
    """
    found: list[Change] = []
    for name, type_ in seen.columns.items():
        if name not in known:
            found.append(Change("new", name, "", type_, place))
        elif (wider := joined(known[name].type, type_)) != known[name].type:
            before = known[name].type
            kind: Kind = "filled" if before == "empty" else "widened" if (before, wider) in WIDENED else "changed"
            found.append(Change(kind, name, before, wider, place))
    if not seen.partial and seen.columns:
        gone = (name for name, column in known.items() if name not in seen.columns and not column.optional)
        found += [Change("missing", name, known[name].type, "", place) for name in gone]
    allowed = set(variants)
    found += [
        Change("uncast", column, "", types.get(column, ""), place, count)
        for column, count in seen.uncast.items()
        if count and column not in allowed
    ]
    return found


def fate(change: Change, contract: SchemaContract, used: Iterable[str]) -> Literal["evolves", "waits", "discarded"]:
    """What becomes of a change. A column that the mapping or the contract names was let in by whoever named it; its
    values are judged by what does not cast, not by the look of their texts: identifiers that were digits so far may
    have letters."""
    mode: Mode = getattr(contract, change.entity)
    if change.kind == "filled" or (change.kind in ("new", "widened", "changed") and change.column in set(used)):
        return "evolves"
    if mode == "freeze":
        return "waits"
    return "evolves" if mode == "evolve" or change.kind == "missing" else "discarded"


def taken_in(
    known: Mapping[str, Column], found: Iterable[Change], contract: SchemaContract | None, used: Iterable[str]
) -> dict[str, Column]:
    """What is known of a source once these changes are: all of them, or those that its contract lets in."""
    now, spoken = dict(known), set(used)
    for change in found:
        name = change.column
        if change.kind == "new" and (contract is None or contract.columns == "evolve" or name in spoken):
            now[name] = Column(joined(now[name].type, change.after) if name in now else change.after, change.optional)
        elif change.kind == "missing" and (contract is None or contract.columns != "freeze"):
            now[name] = Column(now[name].type, optional=True)
        elif change.kind in ("widened", "changed", "filled") and name in now:
            lets = contract is None or contract.data_type == "evolve" or change.kind == "filled"
            if lets or (name in spoken and contract is not None and contract.data_type != "freeze"):
                now[name] = Column(joined(now[name].type, change.after), now[name].optional)
    return now


def learned(
    known: Mapping[str, Column] | None,
    variants: Iterable[str],
    seen: Iterable[tuple[str, Seen]],
    contract: SchemaContract | None,
    types: Mapping[str, str],
) -> tuple[dict[str, Column], list[Change]]:
    """What is known of a source after the inputs of a batch, by place, and how they differ from what was known; of a
    source of which nothing was, whatever it brings is known from then on. Without a ``contract`` all is let in."""
    inputs = list(seen)
    if known is None:
        known = {}
        for _, one in inputs:
            known |= {c: Column(joined(known[c].type if c in known else "empty", t)) for c, t in one.columns.items()}
        spare = _spare(known, inputs)
        now = {c: replace(column, optional=c in spare) for c, column in known.items()}
        found = [c for place, one in inputs for c in changes(now, variants, one, place, types) if c.kind == "uncast"]
        return now, added(found)
    found = added(c for place, one in inputs for c in changes(known, variants, one, place, types))
    spare = _spare({c.column for c in found if c.kind == "new"}, inputs)
    found = [replace(c, optional=c.kind == "new" and c.column in spare) for c in found]
    used = {c for _, one in inputs for c in one.used}
    return taken_in(known, found, contract, used), found


def added(found: Iterable[Change]) -> list[Change]:
    """The same change of several inputs as one, of the place that showed it first."""
    told: dict[tuple[str, str], Change] = {}
    for change in found:
        key = (change.kind, change.column)
        if first := told.get(key):
            after = first.after if change.kind == "uncast" else joined(first.after or "empty", change.after or "empty")
            change = replace(first, after=after if change.after else first.after, count=first.count + change.count)
        told[key] = change
    return list(told.values())


def _spare(new: Iterable[str], inputs: list[tuple[str, Seen]]) -> set[str]:
    """Columns that nobody knew and that some inputs of the batch have no part in."""
    whole = [one.columns for _, one in inputs if not one.partial and one.columns]
    return {c for c in new if any(c not in columns for columns in whole)}
