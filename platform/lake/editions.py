"""Editions: a dated table keeps its rows once for every ``as_of``, each in a partition of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

import polars as pl

from customer360.platform import tables
from customer360.platform.lake import File, Lake


@dataclass(frozen=True)
class Edition:
    """The files of a dated table for one date."""

    as_of: date
    files: list[File]


def newest_edition(files: Iterable[File]) -> Edition | None:
    """The edition of the latest date among files of a dated table; None where there are no files."""
    by_date: dict[str, list[File]] = {}
    for file in files:
        by_date.setdefault(file.partition["as_of"] or "", []).append(file)
    return Edition(date.fromisoformat(newest := max(by_date)), by_date[newest]) if by_date else None


def scan_newest(lake: Lake, name: str) -> pl.LazyFrame:
    """Rows of a dated table's newest edition; none where the table was not built yet."""
    found = newest_edition(lake.files(name))
    return tables.by_name(name).create_empty().lazy() if found is None else lake.scan(name, found.files)
