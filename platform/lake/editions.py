"""Editions: a dated table keeps its rows once for every ``as_of``, each in a partition of its own.

The *current* edition is the one that the newest run made, whatever its date: every commit of a run names the date of
its edition (the application transaction ``edition:NODE``). A wrong date that a run once took, far in the future, so
stays behind as soon as another run has taken the right one; ``withdraw`` removes it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

import polars as pl

from customer360.platform import tables
from customer360.platform.errors import LakeError
from customer360.platform.lake import BUCKET, File, Lake

NONE = 0  # no edition; dates are their ordinal numbers


@dataclass(frozen=True)
class Edition:
    """The files of a dated table for one date."""

    as_of: date
    files: list[File]


def mark(node: str, as_of: date | None) -> dict[str, int]:
    """What the commit of a node says of the edition that it makes current."""
    return {_app(node): as_of.toordinal() if as_of else NONE}


def _app(node: str) -> str:
    return f"edition:{node}"


def editions(files: Iterable[File]) -> dict[date, list[File]]:
    """Files of a dated table by date, oldest first."""
    by_date: dict[str, list[File]] = {}
    for file in files:
        by_date.setdefault(file.partition["as_of"] or "", []).append(file)
    return {date.fromisoformat(day): by_date[day] for day in sorted(by_date)}


def current_edition(lake: Lake, node: str, files: Iterable[File]) -> Edition | None:
    """The edition that the newest run of a node made, among files of its table; None where there are no files.

    ``node`` is the table, with ``/part`` where several nodes fill it (a model's scores). In a lake of before commits
    named their edition, and where that one was withdrawn, it is the edition of the latest date.
    """
    found = editions(files)
    if not found:
        return None
    made = lake.transaction(node.partition("/")[0], _app(node)) or NONE
    chosen = next((day for day in found if day.toordinal() == made), max(found))
    return Edition(chosen, found[chosen])


def current_files(lake: Lake, name: str, files: Iterable[File]) -> list[File]:
    """Of files of a dated table those of its current edition; where several nodes fill it, of the current one of each
    (of each model's scores)."""
    parts: dict[str, list[File]] = {}
    for file in files:
        part = [value or "" for key, value in file.partition.items() if key not in ("as_of", BUCKET)]
        parts.setdefault("/".join([name, *part]), []).append(file)
    found = (current_edition(lake, node, own) for node, own in sorted(parts.items()))
    return [file for edition in found if edition for file in edition.files]


def scan_current(lake: Lake, name: str) -> pl.LazyFrame:
    """Rows of a dated table's current edition; none where the table was not built yet."""
    found = current_edition(lake, name, lake.files(name))
    return tables.by_name(name).create_empty().lazy() if found is None else lake.scan(name, found.files)


def stored(lake: Lake) -> dict[date, dict[str, int]]:
    """Rows by table of every edition that the lake holds, oldest first."""
    found: dict[date, dict[str, int]] = {}
    for name in sorted(n for n, table in tables.TABLES.items() if tables.spec(table).is_dated):
        for day, files in editions(lake.files(name)).items():
            found.setdefault(day, {})[name] = sum(f.rows for f in files)
    return dict(sorted(found.items()))


def withdraw(lake: Lake, as_of: date, nodes: Iterable[str]) -> dict[str, int]:
    """Remove an edition from every dated table, each in one commit; returns the rows by table. Call it under the lock.

    ``nodes`` are those that fill dated tables: one whose last commit made this edition is no longer current, so that
    the next run builds it again.

    Raises:
        LakeError: there is no such edition; names those that there are.
    """
    known = stored(lake)
    if as_of not in known:
        there = ", ".join(str(day) for day in known) or "none"
        raise LakeError(f"there is no edition of {as_of}; there are: {there}")
    for name in known[as_of]:
        made_it = [n for n in nodes if n.partition("/")[0] == name and _made(lake, n) == as_of.toordinal()]
        forgotten = {_app(n): NONE for n in made_it} | not_current(made_it)
        files = editions(lake.files(name))[as_of]
        lake.commit(name, [], files, app="withdraw", app_version=as_of.toordinal(), marks=forgotten)
    return known[as_of]


def retire(lake: Lake, name: str, before: date, *, dry_run: bool = False) -> int:
    """Remove the editions of dates before a day from a dated table, in one commit; those that are current stay, however
    old. Rows that went, or would go. Call it under the lock."""
    files = lake.files(name)
    stays = {file.path for file in current_files(lake, name, files)}
    old = [f for day, own in editions(files).items() if day < before for f in own if f.path not in stays]
    if old and not dry_run:
        lake.commit(name, [], old, app="rewrite:retention", app_version=time.time_ns() // 1_000_000)
    return sum(file.rows for file in old)


def not_current(nodes: Iterable[str]) -> dict[str, int]:
    """What a commit says of nodes that did not make the rows that it leaves, so that the next run builds them again."""
    return {f"node:{node}": NONE for node in nodes}


def made_last(lake: Lake, node: str) -> list[File]:
    """Files of the newest commit of a node: all that it has, or where its table is dated those of one edition."""
    name, _, part = node.partition("/")
    files = [file for file in lake.files(name) if not part or part in file.partition.values()]
    if not tables.spec(tables.by_name(name)).is_dated:
        return files
    found = current_edition(lake, node, files)
    return found.files if found else []


def _made(lake: Lake, node: str) -> int | None:
    return lake.transaction(node.partition("/")[0], _app(node))
