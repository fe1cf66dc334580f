"""What people like: weights over categories, a favourite brand in each, a price level, and a few products they come
back for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from customer360.pipelines.sample.catalog import BRANDS_PER_CATEGORY, CATEGORIES, TIERS, Shelf, season_table
from customer360.pipelines.sample.streams import Streams, pick_rows

CONCENTRATION = 0.45  # of the Dirichlet over categories: small values make specialists
BRAND_SHARE, TIER_SHARE = (
    0.3,
    0.4,
)  # draws led by the favourite brand, by the price level; the others by popularity alone
FAVOURITE_SHARE = 0.3  # draws that return to one of the person's favourite products
FAVOURITES = 4  # favourite products a person and category


@dataclass(frozen=True)
class Tastes:
    """category Float64 [people, categories], rows sum to one; brand Int64 [people, categories] in 0..4; tier Int64
    [people] in 0..2."""

    category: np.ndarray
    brand: np.ndarray
    tier: np.ndarray

    def draw(
        self, shelf: Shelf, person: np.ndarray, month: np.ndarray, day: np.ndarray, rng: np.random.Generator,
        category: np.ndarray | None = None,
    ) -> np.ndarray:  # fmt: skip
        """One product for each (person, month 0..11, day number), all Int64 [m]; `category` (-1: free) fixes the
        category of a draw."""
        free = self._category(person, month, rng)
        chosen = free if category is None else np.where(category >= 0, category, free)
        by_brand = shelf.pick(
            "brand", chosen * BRANDS_PER_CATEGORY + self.brand[person, chosen], rng.random(len(person))
        )
        tier_group = chosen * TIERS + self.tier[person]
        by_tier = shelf.pick("tier", tier_group, rng.random(len(person)))
        by_rank = shelf.pick("category", chosen, rng.random(len(person)))
        slot = rng.integers(0, FAVOURITES, len(person))
        favourite = shelf.pick("tier", tier_group, _fixed(person, chosen, slot))
        how = rng.random(len(person))
        product = np.where(how < BRAND_SHARE, by_brand, np.where(how < BRAND_SHARE + TIER_SHARE, by_tier, by_rank))
        product = np.where(rng.random(len(person)) < FAVOURITE_SHARE, favourite, product)
        return shelf.launched(product, day)

    def _category(self, person: np.ndarray, month: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        season = season_table()
        draws, chosen = rng.random(len(person)), np.zeros(len(person), dtype=np.int64)
        for m in np.unique(month):
            weights = np.cumsum(self.category * season[m], axis=1)
            rows = month == m
            chosen[rows] = pick_rows(weights / weights[:, -1:], person[rows], draws[rows])
        return chosen


def _fixed(person: np.ndarray, category: np.ndarray, slot: np.ndarray) -> np.ndarray:
    """A constant of (person, category, slot) in [0, 1): the same every time, so that the same products come back."""
    key = (person * len(CATEGORIES) + category) * FAVOURITES + slot
    mixed = (key.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(31)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    constant: np.ndarray = (mixed >> np.uint64(11)).astype(np.float64) / float(1 << 53)
    return constant


def tastes(streams: Streams, people: int) -> Tastes:
    """Draw everybody's tastes."""
    rng = streams.stream("tastes")
    weights = rng.dirichlet(np.full(len(CATEGORIES), CONCENTRATION), people) + 1e-4
    return Tastes(
        category=weights / weights.sum(axis=1, keepdims=True),
        brand=rng.integers(0, BRANDS_PER_CATEGORY, (people, len(CATEGORIES))),
        tier=rng.choice(TIERS, people, p=[0.35, 0.4, 0.25]),
    )
