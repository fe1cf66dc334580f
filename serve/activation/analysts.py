"""A file for analysts: what customers are like, and who none of them is (`platform.anonymity`)."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from customer360.pipelines.denied import denied
from customer360.pipelines.gold.customers import Customer360
from customer360.platform import anonymity, purposes, tables
from customer360.platform.anonymity import Law, Level, Release
from customer360.platform.errors import ConfigError, TableMissing
from customer360.platform.formulas import defused
from customer360.platform.lake import Lake
from customer360.platform.lake.editions import current_edition

PEOPLE, VIEW = "silver.people", "gold.customer_360"
USUAL = ("value_segment", "order_count_365d")
FEW = 20  # different values of a text that is released as it is
FIFTHS = 5
POSTCODE = (5, 3, 2, 1)  # characters kept, level by level


@dataclass(frozen=True)
class Anonymous:
    """A release, how many people were looked at, and how many of all were withheld for what they refuse."""

    release: Release
    as_of: date
    people: int
    withheld: int


def hierarchies(as_of: date) -> dict[str, tuple[Level, ...]]:
    """Levels by quasi-identifier, as the contract of the people tags them."""
    kinds = {
        "age": anonymity.ages(as_of),
        "code": anonymity.prefixes(*POSTCODE),
        "day": anonymity.spans(),
        "name": anonymity.values(),
    }
    return {column: kinds[kind] for column, kind in tables.quasi_columns(tables.by_name(PEOPLE)).items()}


def anonymous(lake: Lake, columns: tuple[str, ...], law: Law) -> Anonymous:
    """People of the current customer view, anonymized; ``columns`` of the view are the sensitive ones.

    Raises:
        TableMissing: there is no customer view yet.
        ConfigError: a column is unknown, personal, or names things of one person; or nothing can be released.
    """
    _checked(columns)
    current = current_edition(lake, VIEW, lake.files(VIEW)) if lake.exists(VIEW) else None
    if current is None:
        raise TableMissing(f"{VIEW} has no rows in {lake.root} yet; `customer360 run` builds it")
    levels = hierarchies(current.as_of)
    people = lake.scan(PEOPLE).filter(pl.col("entity_type").ne_missing("organisation")).select("person_id", *levels)
    known = people.join(lake.scan(VIEW, current.files).select("person_id", *columns), on="person_id").collect()
    served = {"PROFILING", *(p for c, p in purposes.of_columns(Customer360).items() if c in columns)}
    no = denied(lake).filter(pl.col("purpose").is_in(sorted(served)))
    allowed = known.join(no, on="person_id", how="anti")
    shown = allowed.with_columns(_few(allowed, column) for column in columns)
    release = anonymity.anonymized(shown, levels, columns, law)
    return Anonymous(release, current.as_of, allowed.height, known.height - allowed.height)


def _checked(columns: tuple[str, ...]) -> None:
    view, personal = Customer360.columns(), tables.pii_columns(Customer360)
    for column in columns:
        if column not in view:
            raise ConfigError(f"{VIEW} has no column {column!r}")
        kind = view[column].dtype
        if column in personal or column in ("person_id", "household_id") or kind.is_nested() or kind.is_temporal():
            raise ConfigError(f"{column} may tell who somebody is: take numbers, yes or no, and texts of few values")


def _few(rows: pl.DataFrame, column: str) -> pl.Expr:
    """A column as it is released: numbers as fifths of the people, 1 the lowest; exact ones could be recognized."""
    values = rows[column]
    if values.dtype.is_numeric():
        ranks = pl.col(column).cast(pl.Float64).rank("max") / pl.col(column).count()
        return (ranks * FIFTHS).ceil().cast(pl.Int64).alias(column)
    if values.dtype == pl.String and values.n_unique() > FEW:
        raise ConfigError(
            f"{column} has {values.n_unique():,} different values, more than {FEW}: they may tell who it is"
        )
    return pl.col(column)


def write(rows: pl.DataFrame, out: Path) -> None:
    """Parquet, or CSV where the name ends so, in which no text begins like a formula. Its owner alone can read it."""
    content = io.BytesIO()
    if out.suffix.lower() == ".csv":
        defused(rows).write_csv(content)
    else:
        rows.write_parquet(content)
    out.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as handle:
        out.chmod(0o600)  # an older file may be open to others
        handle.write(content.getvalue())
