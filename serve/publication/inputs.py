"""The tables that a publication is made of, each pinned to one version."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date

import polars as pl

from customer360.platform import tables
from customer360.platform.errors import TableMissing
from customer360.platform.lake import BUCKET, File, Lake
from customer360.platform.lake.editions import current_files, editions

PROFILES, IDENTITIES = "gold.customer_360", "silver.identities"
RECOMMENDATIONS, PREDICTIONS, INTERACTIONS = "gold.recommendations", "gold.predictions", "gold.interactions"
CATEGORY_SCORES, AFFINITY = "gold.category_scores", "gold.product_affinity"
PRODUCTS, STOCK = "silver.products", "silver.stock"
SALES, SOLD_LINES = "silver.transactions", "silver.transaction_items"
PUBLISHED = (
    PROFILES,
    IDENTITIES,
    RECOMMENDATIONS,
    PREDICTIONS,
    CATEGORY_SCORES,
    INTERACTIONS,
    PRODUCTS,
    STOCK,
    AFFINITY,
    SALES,
    SOLD_LINES,
)
WHERE = {INTERACTIONS: pl.col("kind") == "purchase"}  # of a table's rows those that documents by person are made of


@dataclass(frozen=True)
class Inputs:
    """The tables of one publication, each pinned to one Delta version; those that do not exist are empty. ``editions``:
    of the ``files`` those that are current, pinned as well: which ones are is told by what a table's log says last."""

    lake: Lake
    versions: dict[str, int]
    files: dict[str, list[File]] = field(default_factory=dict)
    editions: dict[str, list[File]] = field(default_factory=dict)

    @classmethod
    def pin(cls, lake: Lake) -> Inputs:
        with lake.at_one_look(PUBLISHED):
            versions = {name: lake.version(name) for name in PUBLISHED if lake.exists(name)}
            files = {name: lake.files(name, version) for name, version in versions.items()}
            return cls(lake, versions, files, {name: _current(lake, name, held) for name, held in files.items()})

    @property
    def as_of(self) -> date:
        """The current edition of the profiles.

        Raises:
            TableMissing: there is none.
        """
        current = next(iter(editions(self.current(PROFILES))), None)
        if current is None:
            raise TableMissing(f"{PROFILES} has no rows in {self.lake.root} yet; `customer360 run` builds it")
        return current

    def current(self, name: str) -> list[File]:
        """Files of each model's current edition (of the current edition, where a table has no models)."""
        return self.editions.get(name, [])

    def buckets(self, name: str) -> Iterator[tuple[list[File], pl.DataFrame]]:
        """Files and rows of the current edition, bucket by bucket; a person is whole within one."""
        for files in by_bucket(self.current(name)).values():
            yield files, rows_of(self.lake, name, files).collect()

    def scan(self, name: str) -> pl.LazyFrame:
        """Rows of the current edition."""
        return self.lake.scan(name, self.current(name))

    def has(self, name: str) -> bool:
        return bool(self.files.get(name))


def _current(lake: Lake, name: str, files: list[File]) -> list[File]:
    is_dated = bool(files) and tables.spec(tables.by_name(name)).is_dated
    return current_files(lake, name, files) if is_dated else files


def by_bucket(files: list[File]) -> dict[str, list[File]]:
    """Files of a table of people by bucket, in order."""
    found: dict[str, list[File]] = {}
    for file in files:
        found.setdefault(file.partition[BUCKET] or "", []).append(file)
    return dict(sorted(found.items()))


def rows_of(lake: Lake, name: str, files: list[File]) -> pl.LazyFrame:
    """Rows of some files of a table that documents by person are made of."""
    rows = lake.scan(name, files)
    return rows.filter(WHERE[name]) if name in WHERE else rows
