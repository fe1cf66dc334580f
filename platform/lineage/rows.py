"""Lineage of rows: from some rows of a table back to the records of files that they were made of, or forth.

Each table on the way is read once, with the columns alone by which its rows belong to others (`links`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import polars as pl

from customer360.platform import graph, tables
from customer360.platform.errors import LakeError
from customer360.platform.lake import BUCKET, File, Lake, bucket_numbers, editions
from customer360.platform.lineage.links import all_links, links_of
from customer360.platform.quality import ADDRESS
from customer360.platform.tables import SUBJECT_KEYS

FEW = 64  # values, up to which files are chosen by their buckets
PLACE = (*ADDRESS, "_deleted", "_replay_of")
SCORED = ("model", "version", "score")  # what a row of a model's says of it


@dataclass(frozen=True)
class Reached:
    """Rows of one table: ``rows`` with the columns that name them and link them to others, ``by`` in words how they
    were come to, ``whole`` the neighbours from which there is no way by columns: all rows count."""

    table: str
    rows: pl.DataFrame
    by: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()


@dataclass
class _Asked:
    """What is asked of a table: keys by the columns that hold them."""

    keys: dict[tuple[str, ...], list[pl.DataFrame]] = field(default_factory=dict)
    by: dict[str, None] = field(default_factory=dict)
    whole: dict[str, None] = field(default_factory=dict)


def rows_of(lake: Lake, table: str, keys: Mapping[str, Any], as_of: date | None = None) -> pl.DataFrame:
    """Rows of a table whose columns have these values; of a dated table those of one edition, the current one unless
    another is named.

    Raises:
        ContractError: there is no such table.
        LakeError: there is no such column, or a value is not of its type.
    """
    one = typed_keys(table, keys)
    return lake.scan(table, _files(lake, table, one, as_of)).join(one.lazy(), on=list(keys), how="semi").collect()


def typed_keys(table: str, keys: Mapping[str, Any]) -> pl.DataFrame:
    """Values of columns of a table, as text or not, as one row of the columns' types. Raises as `rows_of`."""
    schema = tables.schema(tables.by_name(table))
    if unknown := [c for c in keys if c not in schema]:
        raise LakeError(f"{table} has no column {', '.join(unknown)}; it has {', '.join(schema)}")
    one = pl.DataFrame({c: [value] for c, value in keys.items()})
    try:
        return one.with_columns(_typed(one, c, schema[c]) for c in keys)
    except pl.exceptions.PolarsError:
        wanted = ", ".join(f"{c} ({schema[c]})" for c in keys)
        raise LakeError(f"{table}: {', '.join(map(str, keys.values()))} is no value of {wanted}") from None


def key_of(table: str, words: Iterable[str]) -> dict[str, str]:
    """The key columns of a table with values, as somebody writes them: ``COLUMN=VALUE``, or values alone in the order
    of the key; fewer than the key has name several rows. Of a dated table the date is no part of it.

    Raises:
        LakeError: more values than the key has columns, or the table has no key.
    """
    columns = [c for c in naming_columns(table) if c != "as_of"]
    named: dict[str, str] = {}
    for word in words:
        column, sign, value = word.partition("=")
        if sign and column in tables.schema(tables.by_name(table)):
            named[column] = value
            continue
        free = [c for c in columns if c not in named]
        if not free:
            key = ", ".join(columns) or "none; name columns as COLUMN=VALUE"
            raise LakeError(f"{word!r} names nothing more in {table}: its key is {key}")
        named[free[0]] = word
    return named


def naming_columns(table: str) -> tuple[str, ...]:
    """Columns that name a row: the key of a bronze table, else the primary key."""
    contract = tables.by_name(table)
    if tables.spec(contract).key:
        system = ("_source_system",) if tables.spec(contract).layer == "bronze" else ()
        return (*tables.spec(contract).key, *system)
    return tuple(contract.primary_key())


def behind(
    lake: Lake, table: str, rows: pl.DataFrame, as_of: date | None = None, only: Iterable[str] | None = None
) -> list[Reached]:
    """The rows that some rows of a table were made of, table by table down to bronze, whose rows are records of files.
    Tables in ``only`` are followed and no others, where it is given."""
    allowed = None if only is None else set(only)
    return _followed(lake, {table: rows}, _order(), _backward, as_of, allowed)


def reached_from(lake: Lake, start: Mapping[str, pl.DataFrame]) -> list[Reached]:
    """The rows that were made of some rows, table by table up to gold, in the current editions."""
    return _followed(lake, start, list(reversed(_order())), _forward, None, None)


def _order() -> list[str]:
    """All tables, each before what it is made of; of a producer's the main one last: it stands behind the others."""
    nodes = [node for stage in reversed(graph.levels()) for node in stage]
    made = [tables.spec(output).name for node in nodes for output in node.outputs]
    return list(dict.fromkeys([*made, *sorted(name for name in tables.TABLES if name.startswith("bronze."))]))


Neighbour = tuple[str, tuple[str, ...], tuple[str, ...]]  # a table, the columns here, and there
Links = Callable[[str], list[Neighbour]]


def _backward(table: str) -> list[Neighbour]:
    """What a table is made of."""
    nodes = [graph.NODES[name] for name in graph.producers_of().get(table, ())]
    found = [link for node in nodes for link in links_of(node) if link.table == table]
    return [(link.other, link.columns, link.others) for link in dict.fromkeys(found)]


def _forward(table: str) -> list[Neighbour]:
    """What is made of a table."""
    return [(link.table, link.others, link.columns) for link in all_links() if link.other == table]


def _followed(
    lake: Lake,
    start: Mapping[str, pl.DataFrame],
    order: list[str],
    links: Links,
    as_of: date | None,
    allowed: set[str] | None,
) -> list[Reached]:
    asked: dict[str, _Asked] = {name: _Asked() for name in order}
    found: list[Reached] = []
    for name in dict.fromkeys([*start, *order]):
        if name in start:
            rows, mine = start[name], _Asked()
        else:
            mine = asked[name]
            if not mine.keys or not lake.exists(name):
                if mine.whole and lake.exists(name):
                    found.append(Reached(name, pl.DataFrame(), (), tuple(mine.whole)))
                continue
            rows = _matching(lake, name, mine, as_of, wanted_columns(name, links))
        found.append(Reached(name, rows, tuple(mine.by), tuple(mine.whole)))
        for other, own, theirs in links(name):
            if other not in asked or other in start or (allowed is not None and other not in allowed):
                continue
            if not own or not set(own) <= set(rows.columns):
                asked[other].whole[name] = None
            elif rows.height:
                keys = rows.select(pl.col(c).alias(t) for c, t in zip(own, theirs, strict=True)).unique().drop_nulls()
                asked[other].keys.setdefault(theirs, []).append(keys)
                asked[other].by[f"{name} by {' and '.join(own)}"] = None
    return found


def wanted_columns(name: str, links: Links = _forward) -> list[str]:
    """Columns that name a row, link it to others, and say where it stood."""
    schema = tables.schema(tables.by_name(name))
    linking = [c for _, own, _ in links(name) for c in own]
    wanted = [*naming_columns(name), "person_id", *linking, *(PLACE if name.startswith("bronze.") else SCORED)]
    return [c for c in dict.fromkeys(wanted) if c in schema]


def _matching(lake: Lake, name: str, asked: _Asked, as_of: date | None, wanted: list[str]) -> pl.DataFrame:
    parts = []
    schema = tables.schema(tables.by_name(name))
    for columns, frames in asked.keys.items():
        keys = pl.concat(frames).unique()
        keys = keys.with_columns(pl.col(c).cast(schema[c]) for c in columns)
        files = _files(lake, name, keys, as_of)
        parts.append(lake.scan(name, files).join(keys.lazy(), on=list(columns), how="semi").select(wanted))
    found = pl.concat(parts).collect()
    return found.unique(maintain_order=True) if len(parts) > 1 else found


def _files(lake: Lake, name: str, keys: pl.DataFrame, as_of: date | None) -> list[File]:
    """Files of a table that may hold rows with these keys, of one edition."""
    files = lake.files(name)
    if tables.spec(tables.by_name(name)).is_dated:
        dated = [f for f in files if f.partition.get("as_of") == str(as_of)] if as_of else []
        files = dated or editions.current_files(lake, name, files)
    subject = next((c for c in SUBJECT_KEYS if c in keys.columns), None)
    if subject is None or keys.height > FEW or not tables.spec(tables.by_name(name)).bucketed:
        return files
    buckets = {str(b) for b in bucket_numbers(keys[subject], lake.buckets_of(name))}
    return [f for f in files if f.partition.get(BUCKET) in (None, *buckets)]


def _typed(frame: pl.DataFrame, column: str, dtype: pl.DataType) -> pl.Expr:
    """A value that may be text as one of the column's type."""
    if frame.schema[column] != pl.String or dtype == pl.String:
        return pl.col(column).cast(dtype)
    if dtype == pl.Date:
        return pl.col(column).str.to_date("%Y-%m-%d")
    if isinstance(dtype, pl.Datetime):
        return pl.col(column).str.to_datetime(time_zone="UTC", time_unit="us").cast(dtype)
    return pl.col(column).cast(dtype)


__all__ = [
    "ADDRESS",
    "Reached",
    "behind",
    "key_of",
    "naming_columns",
    "reached_from",
    "rows_of",
    "typed_keys",
    "wanted_columns",
]
