"""Prices against competitors', sources that can be trusted, and what is not known before its release."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from customer360.pipelines.bronze.market import Weather as bronze_weather
from customer360.pipelines.gold.demand_drivers import _by_day, _own, _weather, demand_drivers
from customer360.pipelines.gold.market.comparisons import price_comparisons, price_index, price_positions
from customer360.pipelines.gold.market.reactions import price_reactions
from customer360.pipelines.gold.market.reliability import price_sources
from customer360.pipelines.rules import EnrichmentRules, MarketRules
from customer360.platform.tables import READS

AS_OF = date(2026, 6, 1)
RULES = EnrichmentRules(market=MarketRules(least_checks=2, least_products=3))
INSTANT, MONEY = pl.Datetime("us", "UTC"), pl.Decimal(12, 2)


def looks(*rows: tuple[str, str, str, int, str]) -> pl.LazyFrame:
    """Rows of competitor, number, source, days ago, price."""
    names = ["competitor", "competitor_product_id", "data_source", "ago", "price"]
    frame = pl.DataFrame([(*r[:4], Decimal(r[4])) for r in rows], schema=names, orient="row")
    on = (AS_OF - pl.duration(days="ago")).cast(pl.Date)
    return frame.lazy().with_columns(
        pl.col("price").cast(MONEY), on=on, observed_at=on.cast(INSTANT), currency=pl.lit("EUR"),
        reporting_price=pl.col("price").cast(MONEY), is_available=pl.lit(None, pl.Boolean),
    ).drop("ago")  # fmt: skip


def test_who_is_late_and_who_is_alone_is_told_apart() -> None:
    fresh = [("R", "X", "fresh", ago, price) for ago, price in ((40, "10"), (30, "10"), (20, "12"), (10, "12"))]
    late = [("R", "X", "late", ago, price) for ago, price in ((40, "10"), (30, "77"), (20, "10"), (10, "12"))]
    found = price_sources(looks(*fresh, *late, ("R", "Y", "late", 5, "3")), AS_OF, RULES).collect()
    rows = {row["data_source"]: row for row in found.iter_rows(named=True)}
    counts = ("confirmed_count", "stale_count", "contradicted_count", "unchecked_count")
    assert [rows["late"][c] for c in counts] == [2, 1, 1, 1]
    assert [rows["fresh"][c] for c in counts] == [2, 0, 0, 2]
    assert rows["fresh"]["weight"] > rows["late"]["weight"]
    ahead = price_sources(looks(*fresh, *late), AS_OF - timedelta(days=25), RULES).collect()
    assert ahead["price_count"].to_list() == [2, 2], "looks of later days are not known yet"


def test_a_price_is_judged_once_by_most_of_those_who_looked() -> None:
    two = [("R", f"X{n}", s, 5, "10") for n in range(4) for s in ("a", "b", "c")]
    alone = [("R", f"Y{n}", "a", 5, "10") for n in range(4)]
    outvoted = [("R", "Z", "a", 5, "99"), ("R", "Z", "b", 5, "10"), ("R", "Z", "c", 5, "10")]
    found = price_sources(looks(*two, *alone, *outvoted), AS_OF, RULES).collect()
    counts = ("confirmed_count", "stale_count", "contradicted_count", "unchecked_count")
    said = {row["data_source"]: [row[c] for c in counts] for row in found.iter_rows(named=True)}
    assert said == {"a": [4, 0, 1, 4], "b": [5, 0, 0, 0], "c": [5, 0, 0, 0]}


def compared() -> pl.DataFrame:
    prices = looks(
        ("R", "X1", "good", 3, "8"), ("R", "X1", "bad", 1, "99"), ("R", "X9", "good", 3, "7"),
        ("S", "Y1", "good", 3, "10"), ("S", "Y2", "good", 80, "4"), ("S", "Y3", "good", 0, "4"),
    )  # fmt: skip
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return against(prices, ("LIST", start, None, "10"), ("PROMOTION", start, datetime(2026, 2, 1, tzinfo=UTC), "5"),
                   ("SOLD", start, None, "9"))  # fmt: skip


def test_what_is_gone_at_the_last_look_is_not_compared_nor_what_we_sold_long_ago() -> None:
    seen = looks(("R", "X1", "good", 20, "9"), ("R", "X1", "good", 3, "0"), ("S", "Y1", "good", 3, "10"))
    gone = seen.with_columns(is_available=pl.col("price") > 0)
    end = datetime(2026, 6, 1, tzinfo=UTC)
    listed = against(gone, ("LIST", end - timedelta(days=900), None, "10"))
    assert listed["competitor"].to_list() == ["S"]
    assert against(gone, ("SOLD", end - timedelta(days=46), None, "10")).is_empty()
    assert against(gone, ("SOLD", end - timedelta(days=45), None, "10")).height == 1


def against(prices: pl.LazyFrame, *entries: tuple[str, datetime, datetime | None, str]) -> pl.DataFrame:
    """Prices of competitors beside ours of G1: kind, since, until, price."""
    theirs = [("R", "X1", "G1"), ("R", "X9", "G1"), ("S", "Y1", "G1"), ("S", "Y2", "G2"), ("S", "Y3", "G2")]
    matched = pl.DataFrame(theirs, schema=["competitor", "competitor_product_id", "product_id"], orient="row")
    ours = pl.DataFrame(
        [("G1", kind, since, until, Decimal(price)) for kind, since, until, price in entries],
        schema={
            "product_id": pl.String,
            "price_type": pl.String,
            "valid_from": INSTANT,
            "valid_until": INSTANT,
            "price": MONEY,
        },
        orient="row",
    ).with_columns(currency=pl.lit("EUR"), last_seen_at=pl.col("valid_from"))
    rates = pl.LazyFrame(
        {"currency": ["EUR"], "on": [date(1990, 1, 1)], "rate": [1.0], "valid_until_on": [None]},
        schema_overrides={"valid_until_on": pl.Date},
    )
    return price_comparisons(
        prices, matched.lazy().with_columns(status=pl.lit("MATCHED"), match_confidence=1.0), ours.lazy(),
        pl.LazyFrame({"product_id": ["G1"], "category": ["Tea"]}), rates,
        pl.LazyFrame({"data_source": ["good", "bad"], "weight": [0.9, 0.2]}), AS_OF, RULES,
    ).collect()  # fmt: skip


def test_the_price_list_meets_the_cheapest_of_theirs_by_the_trusted_source() -> None:
    rows = {row["competitor"]: row for row in compared().iter_rows(named=True)}
    assert set(rows) == {"R", "S"} and {row["product_id"] for row in rows.values()} == {"G1"}
    assert (rows["R"]["our_price"], rows["R"]["their_price"]) == (Decimal("10.00"), Decimal("7.00"))
    assert rows["R"]["competitor_product_id"] == "X9" and rows["S"]["is_equal"]
    place = price_positions(compared().lazy(), AS_OF, RULES).collect().row(0, named=True)
    assert (place["rank"], place["competitor_count"], place["position"]) == (2, 2, "ABOVE")
    assert place["cheapest_competitor"] == "R" and place["median_price"] == 8.5
    index = price_index(compared().lazy(), AS_OF, RULES).collect()
    assert set(index["status"]) == {"NOT_ENOUGH_EVIDENCE"} and index["price_index"].null_count() == index.height


def test_an_index_is_judged_among_all_indices() -> None:
    """One category of which p is .03 by itself; among twenty that are level it is what chance brings."""
    spread = np.array([-1.0, -0.5, 0.0, 0.5, 1.0]) * 0.02
    shifts = {"C0": 0.0225, **{f"C{n}": 0.0 for n in range(1, 20)}}
    given = pl.DataFrame(
        [(f"{c}-{n}", "R", c, float(np.exp(shift + s))) for c, shift in shifts.items() for n, s in enumerate(spread)],
        schema=["product_id", "competitor", "category", "price_ratio"], orient="row",
    )  # fmt: skip
    rules = EnrichmentRules(market=MarketRules(least_products=3))

    def judged(rows: pl.DataFrame) -> dict[str, object]:
        return price_index(rows.lazy(), AS_OF, rules).collect().filter(category="C0", competitor="R").row(0, named=True)

    alone, among = judged(given.filter(category="C0")), judged(given)
    assert alone["status"] == "DEARER" and among["status"] == "NO_DIFFERENCE_SHOWN"
    assert alone["price_index_low"] == among["price_index_low"] > 100


def test_nothing_gives_empty_tables() -> None:
    nothing = looks(("R", "X", "s", 3, "1")).filter(pl.lit(value=False))
    assert price_sources(nothing, AS_OF, RULES).collect().is_empty()
    none = compared().clear().lazy()
    assert (
        price_index(none, AS_OF, RULES).collect().is_empty()
        and price_positions(none, AS_OF, RULES).collect().is_empty()
    )


def test_a_series_counts_from_the_day_after_its_release(retailer) -> None:  # type: ignore[no-untyped-def]
    tables = ("silver.transaction_items", "silver.product_categories", "silver.stores", "silver.weather")
    inputs = [retailer.frame(t) for t in tables]
    economy, as_of = retailer.frame("silver.economic_indicators"), retailer.as_of
    rules = EnrichmentRules(market=MarketRules(least_days=90))
    told = demand_drivers(*inputs, economy, as_of, rules).collect()
    end = pl.lit(as_of).cast(INSTANT) - pl.duration(days=1)
    future = economy.with_columns(value=pl.when(pl.col("released_at") >= end).then(1e6).otherwise("value"))
    again = demand_drivers(*inputs, future, as_of, rules).collect()
    key = ["category", "driver"]
    assert_frame_equal(told.sort(key), again.sort(key), rel_tol=1e-6)
    assert told.height == told.select(key).n_unique() > 20
    assert {"TEMPERATURE", "PRICE", "CPI"} <= set(told["driver"])


def test_a_state_weighs_by_its_stores_whatever_the_number_of_its_stations() -> None:
    stations = [("AK", "USA", -20.0)] * 10 + [("NY", "USA", 10.0), ("NY", "CAN", 99.0), ("TX", None, 40.0)]
    seen = pl.DataFrame(stations, schema=["area_code", "country_code", "temperature_mean"], orient="row")
    rain = seen.lazy().with_columns(on=AS_OF, precipitation_mm=10.0)
    stores = pl.LazyFrame({"state_code": ["AK", *["NY"] * 5], "country_code": ["USA"] * 6})
    assert _weather(rain, stores).collect().rows() == [(AS_OF, pytest.approx((-20 + 5 * 10) / 6), 1.0)]
    nameless = stores.with_columns(country_code=pl.lit(None, pl.String))
    assert _weather(rain.filter(pl.col("country_code") != "CAN"), nameless).collect().row(0)[1] == pytest.approx(5)
    states = (bronze_weather.columns()["AREA_CODE"].metadata or {}).get(READS)
    assert states == "state", "California is CA, as it is in the stores"


def test_drivers_are_the_same_to_the_last_digit_each_time() -> None:
    chance, days = random.Random(7), [AS_OF - timedelta(days=n + 1) for n in range(30)]
    places = [(day, place) for day in days for place in range(40)]
    some = [chance.uniform(0.1, 1) * 10 ** chance.randint(0, 8) for _ in places]
    rain = pl.LazyFrame(
        {"on": [day for day, _ in places], "area_code": [f"A{n}" for _, n in places], "country_code": "USA",
         "temperature_mean": some, "precipitation_mm": some}
    )  # fmt: skip
    stores = pl.LazyFrame(schema={"state_code": pl.String, "country_code": pl.String})
    lines = pl.LazyFrame(
        {"category": "C", "product_id": [f"P{n}" for _, n in places], "currency": "EUR",
         "occurred_on": [day for day, _ in places], "quantity": 1, "unit_price": some, "discount_amount": 0.0}
    )  # fmt: skip
    assert len({tuple(_weather(rain, stores).collect().sort("on").rows()) for _ in range(5)}) == 1
    assert len({tuple(_own(_by_day(lines).collect()).sort("on").rows()) for _ in range(5)}) == 1


def test_reactions_count_units_before_and_after_and_leave_overlaps_out() -> None:
    prices = looks(("R", "X", "s", 60, "12"), ("R", "X", "s", 50, "14"), ("R", "X", "s", 10, "9")).with_columns(
        previous_price=pl.Series([Decimal("10"), Decimal("12"), Decimal("14")], dtype=MONEY)
    )
    matched = pl.LazyFrame(
        {"competitor": ["R"], "competitor_product_id": ["X"], "product_id": ["G"], "status": ["MATCHED"]}
    )
    days = [AS_OF - timedelta(days=d) for d in range(1, 100)]
    own = pl.DataFrame(
        {"product_id": "G", "occurred_on": days, "quantity": [2 if d < AS_OF - timedelta(days=60) else 3 for d in days]}
    )
    other = own.with_columns(product_id=pl.lit("H"), quantity=pl.lit(5, pl.Int64))
    sold = pl.concat([own, other]).lazy().with_columns(is_sale=True, is_product=True)
    kinds = pl.LazyFrame({"product_id": ["G", "H"], "category": ["Tea", "Tea"]})
    sources = pl.LazyFrame({"data_source": ["s"], "weight": [0.5]})
    row = (
        price_reactions(prices, matched, sold, kinds, sources, AS_OF, RULES)
        .collect()
        .filter(category="Tea")
        .row(0, named=True)
    )
    assert (row["event_count"], row["units_before"], row["units_after"]) == (1, 56, 84)
    assert row["status"] == "NOT_ENOUGH_EVIDENCE" and row["elasticity"] is None
    assert pytest.approx(RULES.market.reaction_days) == 28
