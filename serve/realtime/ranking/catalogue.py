"""The products of one publication in memory, by columns, for the stages that look at many of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from threading import Lock, local
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from customer360.platform.conditions import condition
from customer360.platform.tables import Column
from customer360.serve.publication.offers import is_offered
from customer360.serve.realtime.ranking.merchandise import PRODUCT

NO_CATEGORY = 0  # number of a category that is not known
UNKNOWN = -1  # place of a product that the catalogue does not hold: the last row, of which nothing is known
MOST_MASKS = 256  # conditions whose products are kept
SHOWN = ("name", "category", "price", "currency")
_TYPES = {"price": pl.Float64, "margin_rate": pl.Float64, "launched_on": pl.Date}

Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Catalogue:
    """Products by place; the last place is of those that are not here. ``is_offered``: may be shown at all."""

    as_of: date
    products: list[str]
    place: dict[str, int]
    shown: list[dict[str, Any]]
    frame: pl.DataFrame
    is_offered: Flags
    category: NDArray[np.object_]
    code: Ints  # number of the category; `NO_CATEGORY` where it is not known
    codes: Mapping[str, int]  # by category
    margin: NDArray[np.float64]
    fresh: NDArray[np.float64]
    _masks: dict[tuple[str, frozenset[str]], Flags] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)
    _rows: local = field(default_factory=local)  # of each thread

    @staticmethod
    def of(documents: Iterable[tuple[str, dict[str, Any]]], as_of: date) -> Catalogue:
        """From keys and documents of kind product."""
        found = list(documents)
        products, rows = [key for key, _ in found], [document for _, document in found]
        rows.append({})
        columns: dict[str, list[Any]] = {name: [r.get(name) for r in rows] for name in PRODUCT if name != "product_id"}
        columns["price"] = [None if p is None else float(p) for p in columns["price"]]
        columns["launched_on"] = [None if d is None else date.fromisoformat(d) for d in columns["launched_on"]]
        types = {name: _TYPES.get(name, pl.String) for name in columns}
        frame = pl.DataFrame({"product_id": [*products, None], **columns}, schema={"product_id": pl.String, **types})
        codes: dict[str | None, int] = {None: NO_CATEGORY}
        code = [codes.setdefault(name, len(codes)) for name in columns["category"]]
        age = (pl.lit(as_of) - pl.col("launched_on")).dt.total_days()
        fresh = frame.select(pl.when(age >= 0).then(0.5 ** (age / 30)).fill_null(0.0).round(4)).to_series()
        return Catalogue(
            as_of,
            products,
            {product: place for place, product in enumerate(products)},
            [{name: r.get(name) for name in SHOWN} for r in rows],
            frame,
            np.array([*(is_offered(r) for r in rows[:-1]), True], dtype=np.bool_),
            np.array(columns["category"], dtype=object),
            np.array(code, dtype=np.int64),
            {name: number for name, number in codes.items() if name is not None},
            frame["margin_rate"].fill_null(0.0).round(4).to_numpy(),
            fresh.to_numpy(),
        )

    @cached_property
    def names(self) -> NDArray[np.object_]:
        """Products by place, for many places at once."""
        return np.array(self.products, dtype=object)

    def places(self, products: Iterable[str]) -> Ints:
        """Their places; `UNKNOWN` for those that are not here."""
        return np.array([self.place.get(product, UNKNOWN) for product in products], dtype=np.int64)

    def first_of(self, places: Ints) -> Ints:
        """For each of some places (none unknown) where it stands first among them. A row as long as the catalogue is
        written where they are, and read there; what others left in it is never looked at."""
        row = getattr(self._rows, "row", None)
        if row is None:
            row = self._rows.row = np.empty(len(self.is_offered), dtype=np.int64)
        row[places[::-1]] = np.arange(len(places) - 1, -1, -1)
        first: Ints = row[places]
        return first

    def mask(self, where: str, columns: Mapping[str, Column] = PRODUCT) -> Flags:
        """Which products a condition over some columns means; kept, as rules and callers ask again. Raises
        ExpressionError."""
        key = (where, frozenset(columns))
        kept = self._masks.get(key)
        if kept is not None:
            return kept
        mask = _meant(self.frame, condition(where, columns, self.as_of))
        mask.flags.writeable = False
        with self._lock:
            if len(self._masks) >= MOST_MASKS:
                self._masks.pop(next(iter(self._masks)))
            self._masks[key] = mask
        return mask

    def means(
        self, where: str, products: Sequence[str], columns: Mapping[str, Column] = PRODUCT, places: Ints | None = None
    ) -> Flags:
        """Which of some products (at these ``places``, if they were found already) a condition means; of one that is
        not here only the id is known. Raises ExpressionError."""
        places = self.places(products) if places is None else places
        found = self.mask(where, columns)[places]
        strange = np.flatnonzero(places == UNKNOWN)
        if len(strange) and "product_id" in where:
            ids = pl.DataFrame({"product_id": [products[at] for at in strange.tolist()]})
            rest = (pl.lit(None, dtype=t).alias(name) for name, t in self.frame.schema.items() if name != "product_id")
            found[strange] = _meant(ids.with_columns(*rest), condition(where, columns, self.as_of))
        return found


def _meant(frame: pl.DataFrame, means: pl.Expr) -> Flags:
    said = frame.select(means.alias("means")).to_series()
    return said.to_numpy().copy() if len(said) == len(frame) else np.full(len(frame), said.item())
