"""What is bought together: counts against brute force, chance against simulation, a hand case, planted companions."""

from __future__ import annotations

from datetime import date
from itertools import combinations

import numpy as np
import polars as pl
import pytest
from scipy.stats import false_discovery_control, poisson

from customer360.pipelines.gold.affinity import _Baskets, associations, category_affinity, product_affinity
from customer360.pipelines.inference.intervals import adjusted
from customer360.pipelines.rules import BasketRules, EnrichmentRules
from customer360.pipelines.sample.catalog import CATEGORIES, COMPANION

RULES = BasketRules(least_baskets=2, partners=1000)


def lines(baskets: list[set[str]]) -> pl.DataFrame:
    rows = [("POS", f"t{i:05}", item) for i, basket in enumerate(baskets) for item in sorted(basket)]
    return pl.DataFrame(rows, schema=["source_system", "transaction_id", "item"], orient="row")


def at_random(count: int, seed: int = 0, products: int = 40) -> list[set[str]]:
    """Popular and rare products spread over small and large baskets without any affinity."""
    rng = np.random.default_rng(seed)
    weight = 1 / np.arange(1, products + 1) ** 0.7
    sizes = np.minimum(rng.geometric(0.25, count) + rng.choice([0, 8], count, p=[0.8, 0.2]), 20)
    keys = np.log(weight) + rng.gumbel(size=(count, products))
    return [{f"p{i:02}" for i in np.argsort(-row)[:size]} for row, size in zip(keys, sizes, strict=True)]


def test_a_hand_case() -> None:
    """Tea and mugs: 6 of 20 baskets, all of two things, hold both."""
    baskets = [{"tea", "mug"}] * 6 + [{"tea", "pen"}] * 2 + [{"pen", "cup"}] * 10 + [{"mug", "cup"}] * 2
    found = associations(lines(baskets), RULES)
    row = found.row(by_predicate=(pl.col("item") == "tea") & (pl.col("other") == "mug"), named=True)
    assert (row["both_count"], row["own_count"], row["other_count"], row["basket_count"]) == (6, 8, 8, 20)
    assert (row["support"], row["confidence"], row["lift"]) == pytest.approx((0.3, 0.75, 0.75 / 0.4))
    rates = {"tea": 0.4, "mug": 0.4, "pen": 0.6, "cup": 0.6}
    spread = sum(r * (1 - r) for r in rates.values())
    chance = 20 * 0.4 * 0.4 * (1 - 0.6 * 0.6 / spread)
    assert row["expected_count"] == pytest.approx(chance)
    assert row["p_value"] == pytest.approx(poisson.sf(5, chance))
    assert (row["rank"], row["is_significant"]) == (1, False), "twenty baskets are too few to say so"
    many = associations(lines(baskets * 4), RULES)
    assert many.filter(pl.col("item") == "tea")["is_significant"].to_list() == [True]


def test_counts_equal_brute_force() -> None:
    baskets = at_random(400)
    found = associations(lines(baskets), RULES)
    counted: dict[tuple[str, str], int] = {}
    for basket in baskets:
        for pair in combinations(sorted(basket), 2):
            counted[pair] = counted.get(pair, 0) + 1
    for row in found.to_dicts():
        assert row["both_count"] == counted[min(row["item"], row["other"]), max(row["item"], row["other"])]
        assert row["own_count"] == sum(row["item"] in basket for basket in baskets)
    directions = found.select("item", "other").rows()
    assert set(directions) == {(b, a) for a, b in directions}, "each pair stands in both directions"


def test_chance_is_what_spreading_at_random_gives() -> None:
    """Over shufflings of products of unequal popularity over unequal baskets: the mean count of each pair."""
    met, chance = np.zeros((40, 40)), np.zeros((40, 40))
    for seed in range(10):
        baskets = _Baskets.of(lines(at_random(1000, seed)), RULES)
        counts = (baskets.held.T @ baskets.held).toarray()
        one, other = np.triu_indices(40, 1)
        met[one, other] += counts[one, other]
        chance[one, other] += baskets.expected(one, other)
        assert not associations(lines(at_random(1000, seed)), RULES)["is_significant"].any()
    popular = chance > 100
    off = (met[popular] - chance[popular]) / np.sqrt(chance[popular])
    assert abs(off).max() < 4.5 and off.std() < 1.05, "a Poisson count varies no less"
    assert met.sum() / chance.sum() == pytest.approx(1, abs=0.005)


def test_a_planted_pair_is_found_among_unequal_baskets() -> None:
    baskets = at_random(2000)
    for basket in baskets[:60]:
        basket |= {"p30", "p35"}
    found = associations(lines(baskets), RULES).filter("is_significant")
    assert {frozenset(pair) for pair in found.select("item", "other").rows()} == {frozenset(("p30", "p35"))}


def test_large_baskets_are_left_out_and_partners_are_limited() -> None:
    baskets = [{"a", "b"}] * 20 + [{"c", "d"}] * 20 + [{f"x{i}" for i in range(61)} | {"a", "c"}] * 5
    found = associations(lines(baskets), RULES)
    assert set(found["item"]) == {"a", "b", "c", "d"}
    assert found["basket_count"].unique().to_list() == [40]
    limited = associations(lines(at_random(500)), BasketRules(least_baskets=2, partners=3))
    assert limited.group_by("item").len()["len"].max() == 3
    assert limited["rank"].max() == 3


def test_the_window_and_what_was_sold_decide() -> None:
    cut = date(2026, 1, 1)
    sold = {"source_system": "POS", "is_sale": True, "is_product": True, "quantity": 1}
    rows = [
        {**sold, "transaction_id": f"t{i}{kind}", "product_id": product, "occurred_on": on, **odd}
        for i in range(9)
        for kind, on, odd in (
            ("good", date(2025, 12, 31), {}), ("late", cut, {}), ("old", date(2024, 12, 31), {}),
            ("return", date(2025, 6, 1), {"is_sale": False}), ("fee", date(2025, 6, 1), {"is_product": False}),
            ("back", date(2025, 6, 1), {"quantity": -1}),
        )
        for product in ("a", f"b_{kind}")
    ]  # fmt: skip
    noise = [{**sold, "transaction_id": f"n{i}", "product_id": "z", "occurred_on": date(2025, 5, 1)} for i in range(9)]
    found = product_affinity(pl.LazyFrame(rows + noise), cut, EnrichmentRules()).collect()
    assert found.is_empty(), "one pair alone is as often together as chance says"
    other = [{**r, "transaction_id": r["transaction_id"] + "2", "product_id": r["product_id"] + "2"} for r in rows]
    found = product_affinity(pl.LazyFrame(rows + noise + other), cut, EnrichmentRules()).collect()
    assert set(found["product_id"]) == {"a", "b_good", "a2", "b_good2"}
    assert set(found["own_count"]) == {9} and set(found["as_of"]) == {cut}


def test_adjustment_is_benjamini_and_hochberg() -> None:
    p = np.random.default_rng(0).uniform(size=50) ** 3
    assert adjusted(p, 50) == pytest.approx(false_discovery_control(p))
    padded = false_discovery_control(np.append(p, np.ones(150)))[:50]
    assert adjusted(p, 200) == pytest.approx(padded)


def test_nothing_sold_gives_no_pair() -> None:
    assert associations(lines([]).cast(pl.String), RULES).is_empty()


def test_the_companions_of_the_synthetic_retailer_come_back(retailer) -> None:
    """Categories that its baskets were made to go on to, and no others."""
    planted = {frozenset((CATEGORIES[at], CATEGORIES[to])) for at, to in enumerate(COMPANION)}
    sold = retailer.frame("silver.transaction_items")
    found = category_affinity(sold, retailer.as_of, retailer.rules["enrichment"]).filter("is_significant").collect()
    pairs = {frozenset(pair) for pair in found.select("category", "other_category").rows()}
    assert pairs <= planted and len(pairs) >= len(planted) / 2
