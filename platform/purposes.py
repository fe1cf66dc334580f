"""What personal data may be used for, and what a person's refusal takes away: derived from the contracts.

A contract says what it serves: ``class Predictions(Table, table="gold.predictions", serves="PROFILING", …)`` for its
rows, a group of columns (``class Churn(Table, serves="PROFILING")``) for the columns that it lends to a wide table.
Everything else follows and is remembered nowhere:

- a build of such a table is given ``DENIALS`` beside its inputs, and what a person denies leaves its output
  (`Withholding`, put around the function by ``graph.builds``);
- a model needs what the tables that it reads and fills serve, and TRAINING where it is fitted (`of_tables`);
- rows that stand in editions of before leave with the run that lands the refusal (`withdraw`).

OPERATION is no purpose that a person can refuse here: what a contract, a receipt or the law needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial, update_wrapper
from typing import Any, Literal, get_args

import polars as pl

from customer360.platform import tables
from customer360.platform.errors import ContractError
from customer360.platform.lake import File, Lake, editions
from customer360.platform.tables import Table

Purpose = Literal["PERSONALIZATION", "PROFILING", "TRAINING", "EMAIL", "SMS", "PHONE", "PUSH", "SALE"]
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
OPERATION = "OPERATION"
DENIALS = "gold.denials"  # person_id, purpose: what each person denies now
PERSON = "person_id"


@dataclass(frozen=True)
class Part:
    """What columns that serve no purpose themselves hold of one: ``holds`` tells rows with any of it, ``without`` makes
    their columns anew."""

    purpose: Purpose
    holds: pl.Expr
    without: Mapping[str, pl.Expr]


Parts = Mapping[str, Part]  # by table


def of_columns(table: type[Table]) -> dict[str, str]:
    """Purpose by column, of columns that are emptied where it is denied; raises ContractError for an unknown one."""
    return dict(_of_columns(table))  # type: ignore[arg-type]  # a class is hashable


@cache  # a contract never changes, and who tells of all tables asks thousands of times
def _of_columns(table: type[Table]) -> dict[str, str]:
    declared = tables.spec(table)
    found: dict[str, str | None] = {}
    for base in reversed(table.__mro__):
        serves = vars(base).get("__serves__")
        if serves is not None and base is not table and issubclass(base, Table):
            found |= dict.fromkeys(base.columns(), serves)
    if declared.kept:
        found |= dict.fromkeys((c for c in table.columns() if c not in declared.kept), declared.serves)
    return {column: of for column, purpose in found.items() if (of := _checked(table, purpose)) != OPERATION}


def of_rows(table: type[Table]) -> str | None:
    """The purpose without which a person has no row in a table."""
    declared = tables.spec(table)
    if declared.serves is None or declared.kept:
        return None
    return None if _checked(table, declared.serves) == OPERATION else declared.serves


def _checked(table: type[Table], purpose: str | None) -> str:
    if purpose is None or purpose not in (*PURPOSES, OPERATION):
        raise ContractError(f"{table.__name__} serves {purpose!r}; purposes are {', '.join((*PURPOSES, OPERATION))}")
    return purpose


def is_withheld(table: type[Table]) -> bool:
    """Whether a refusal takes rows or values out of a table."""
    return PERSON in table.columns() and (of_rows(table) is not None or bool(of_columns(table)))


def of_tables(names: Iterable[str]) -> frozenset[str]:
    """Purposes without which nothing of a person may be read of these tables as a whole."""
    contracts = [tables.by_name(name) for name in names]
    return frozenset(p for each in contracts for p in (of_rows(each), *of_columns(each).values()) if p is not None)


def without_denied(table: type[Table], rows: pl.LazyFrame, denials: pl.LazyFrame) -> pl.LazyFrame:
    """The rows of a table without what their persons deny (``denials``: person_id, purpose): rows go, columns are
    emptied (null, or an empty list where the contract knows no null)."""
    if (purpose := of_rows(table)) is not None:
        return rows.join(_who(denials, purpose), on=PERSON, how="anti", maintain_order="left")
    by_purpose: dict[str, list[str]] = {}
    for column, of in of_columns(table).items():
        by_purpose.setdefault(of, []).append(column)
    declared = table.columns()  # asked once: it names each column anew
    for purpose, columns in by_purpose.items():
        told = rows.join(
            _who(denials, purpose).with_columns(denied__=True), on=PERSON, how="left", maintain_order="left"
        )
        stays = pl.when(pl.col("denied__").is_null())
        emptied = [stays.then(pl.col(c)).otherwise(_nothing(table, c, declared[c])).alias(c) for c in columns]
        rows = told.with_columns(emptied).drop("denied__")
    return rows


def _who(denials: pl.LazyFrame, purpose: str) -> pl.LazyFrame:
    return denials.filter(pl.col("purpose") == purpose).select(PERSON).unique()


def _nothing(table: type[Table], column: str, declared: tables.Column) -> pl.Expr:
    if declared.nullable:
        return pl.lit(None, declared.dtype)
    if isinstance(declared, tables.List):
        return pl.lit([], declared.dtype)
    raise ContractError(f"{table.__name__}.{column} serves a purpose that may be refused, so it must be nullable")


class Withholding:
    """A build whose output is without what persons deny. ``place`` is where its own inputs have ``DENIALS``; None: it
    reads them not, and they come last."""

    def __init__(self, table: type[Table], function: Callable[..., Any], place: int | None) -> None:
        update_wrapper(self, function)
        self.table, self.function, self.place = table, function, place

    def __call__(self, *frames: pl.LazyFrame, **reserved: Any) -> pl.LazyFrame:
        denials = frames[-1 if self.place is None else self.place]
        made = self.function(*(frames[:-1] if self.place is None else frames), **reserved)
        return without_denied(self.table, made, denials)


def withholding(
    table: type[Table], function: Callable[..., Any], inputs: tuple[str, ...]
) -> tuple[Withholding, tuple[str, ...]]:
    """A build and its inputs, with ``DENIALS`` among them."""
    if DENIALS in inputs:
        return Withholding(table, function, inputs.index(DENIALS)), inputs
    return Withholding(table, function, None), (*inputs, DENIALS)


def withdraw(lake: Lake, denials: pl.DataFrame, nodes: Iterable[str], parts: Parts | None = None) -> dict[str, int]:
    """Take what persons deny (person_id, purpose) out of what is stored, earlier editions included. Rows by table that
    went or were emptied; nothing where nothing of them was left.

    ``nodes`` are those that fill tables: one whose last rows change is no longer current, so that the next run builds
    it again. A refusal may have ended by then, and what it took would be missed.
    """
    nodes = list(nodes)
    found = {}
    for name, table in sorted(tables.TABLES.items()):
        part = (parts or {}).get(name)
        if (
            tables.spec(table).layer == "gold"
            and is_withheld(table)
            and lake.exists(name)
            and _holds(lake, name, lake.files(name), denials, part)
        ):
            made_it = [n for n in nodes if n.partition("/")[0] == name]
            changed = [n for n in made_it if _holds(lake, name, editions.made_last(lake, n), denials, part)]
            without, marks = partial(_stored_without, table, denials, part), editions.not_current(changed)
            found[name] = lake.rewrite(name, without, reason="refusal", marks=marks)
    return {name: rows for name, rows in found.items() if rows}


def _holds(lake: Lake, name: str, files: list[File], denials: pl.DataFrame, part: Part | None) -> bool:
    """Whether files of a table hold anything that is denied; reads the columns alone that could."""
    table = tables.by_name(name)
    purpose, columns = of_rows(table), of_columns(table)
    served = {purpose} if purpose else {*columns.values(), *([part.purpose] if part else [])}
    denied = denials.filter(pl.col("purpose").is_in(sorted(served)))
    if denied.is_empty():
        return False
    theirs = lake.scan(name, files).join(denied.lazy().select(PERSON).unique(), on=PERSON, how="semi")
    if purpose is None:
        has_part = [part.holds] if part else []
        theirs = theirs.filter(pl.any_horizontal(*(_is_something(table, c) for c in columns), *has_part))
    return not theirs.head(1).select(PERSON).collect().is_empty()


def _is_something(table: type[Table], column: str) -> pl.Expr:
    declared = table.columns()[column]
    if isinstance(declared, tables.List) and not declared.nullable:
        return pl.col(column).list.len().fill_null(0) > 0
    return pl.col(column).is_not_null()


def _stored_without(table: type[Table], denials: pl.DataFrame, part: Part | None, rows: pl.DataFrame) -> pl.DataFrame:
    left = without_denied(table, rows.lazy(), denials.lazy())
    if part is not None:
        theirs = pl.col(PERSON).is_in(_who(denials.lazy(), part.purpose).collect()[PERSON].implode()) & part.holds
        left = left.with_columns(
            pl.when(theirs).then(new).otherwise(pl.col(c)).alias(c) for c, new in part.without.items()
        )
    return left.select(rows.columns).collect()


def counted(rows: Mapping[str, int]) -> str:
    """What `withdraw` took, in words."""
    return ", ".join(f"{number:,} of {name}" for name, number in rows.items())
