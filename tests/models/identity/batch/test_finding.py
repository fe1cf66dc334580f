"""Places of values among others are those that a dictionary gives."""

import numpy as np
import polars as pl
import pytest

from customer360.models.identity.batch import finding
from customer360.models.identity.batch.finding import places_among


def by_dictionary(wanted: pl.Series, known: pl.Series) -> list[int | None]:
    last = {value: place for place, value in enumerate(known)}
    return [last.get(value) for value in wanted]


def texts(numbers: np.ndarray) -> pl.Series:
    return pl.Series([f"S/{number}" for number in numbers], dtype=pl.String)


def hashes(numbers: np.ndarray) -> pl.Series:
    return pl.Series(numbers, dtype=pl.UInt64).hash(seed=7).rename("")


@pytest.mark.parametrize("of", [texts, hashes])
@pytest.mark.parametrize(("few", "wanted", "known"), [(0, 900, 1000), (0, 1000, 30), (0, 20, 1000), (2000, 60, 1000)])
def test_places_are_those_of_the_values(monkeypatch, of, few, wanted, known):
    monkeypatch.setattr(finding, "_FEW", few)
    chance = np.random.default_rng(wanted)
    there = of(chance.permutation(known))
    asked = of(chance.integers(0, 2 * known, wanted))  # half of them are not there
    found = places_among(asked, there)
    assert found.dtype == pl.Int64 and found.to_list() == by_dictionary(asked, there)


@pytest.mark.parametrize("slots", [1, 4])
def test_values_in_one_slot_of_the_table_are_told_apart(monkeypatch, slots):
    monkeypatch.setattr(finding, "_FEW", 0)
    monkeypatch.setattr(finding, "_SLOTS", slots)
    there = pl.Series([1 + (n << 40) for n in range(500)], dtype=pl.UInt64)  # alike in their last bits
    asked = pl.concat([there.reverse(), there.head(5) + (1 << 63)])
    assert places_among(asked, there).to_list() == [*range(499, -1, -1), *[None] * 5]


def test_of_a_value_that_is_there_twice_the_last_place_is_told(monkeypatch):
    monkeypatch.setattr(finding, "_FEW", 0)
    there = pl.concat([hashes(np.arange(50)), hashes(np.arange(40))])
    assert places_among(hashes(np.arange(60)), there).to_list() == [*range(50, 90), *range(40, 50), *[None] * 10]


def test_nobody_is_found_among_nobody(monkeypatch):
    monkeypatch.setattr(finding, "_FEW", 0)
    nobody, somebody = texts(np.arange(0)), texts(np.arange(3))
    assert places_among(somebody, nobody).to_list() == [None] * 3
    assert places_among(nobody, somebody).to_list() == []
