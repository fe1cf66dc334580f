"""Weather in one unit, series as they were known, competitors' products matched: hand-made cases and the retailer."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_array

from customer360.pipelines.rules import EnrichmentRules, MarketRules, StandardizationRules
from customer360.pipelines.silver.market import matching
from customer360.pipelines.silver.market.matching import competitor_products
from customer360.pipelines.silver.market.outside import economic_indicators, weather
from customer360.pipelines.silver.market.prices import competitor_prices
from customer360.pipelines.texts.classification import weighed

NUMBERS = ("TEMPERATURE_MEAN", "TEMPERATURE_MIN", "TEMPERATURE_MAX", "PRECIPITATION", "SNOW_DEPTH")


def test_weather_is_in_celsius_and_millimetres_and_impossible_values_are_none() -> None:
    rows = [
        {"TEMPERATURE_MEAN": 68.0, "TEMPERATURE_UNIT": "F", "PRECIPITATION": 1.0, "PRECIPITATION_UNIT": "IN"},
        {"TEMPERATURE_MIN": 273.15, "TEMPERATURE_MAX": 283.15, "TEMPERATURE_UNIT": "K"},
        {"TEMPERATURE_MEAN": 200.0, "PRECIPITATION": 3.0},
        {"TEMPERATURE_MEAN": -9999.0, "TEMPERATURE_MIN": -2.0, "TEMPERATURE_MAX": 4.0},
    ]
    texts = ("STATION_ID", "AREA_CODE", "COUNTRY_CODE", "TEMPERATURE_UNIT", "PRECIPITATION_UNIT", "_source_system")
    schema = dict.fromkeys(texts, pl.String) | dict.fromkeys(NUMBERS, pl.Float64) | {"WEATHER_DATE": pl.Date}
    found = weather(pl.DataFrame(rows, schema=schema).lazy()).collect()  # type: ignore[arg-type]
    assert found["temperature_mean"].to_list() == [20.0, 5.0, None, 1.0]
    assert found["precipitation_mm"].to_list() == [25.4, None, 3.0, None]
    assert found["is_plausible"].to_list() == [True, True, False, False]


def test_releases_of_a_period_are_numbered_in_order() -> None:
    moments = [datetime(2026, month, 12, tzinfo=UTC) for month in (4, 3, 4)]
    periods, values = [date(2026, 2, 1), date(2026, 2, 1), date(2026, 3, 1)], [1.1, 1.0, 1.2]
    rows = pl.LazyFrame({"SERIES_ID": "CPI", "PERIOD": periods, "RELEASED_AT": moments, "VALUE": values})
    named = rows.with_columns(
        pl.lit(None, pl.String).alias(c) for c in ("SERIES_NAME", "UNIT", "FREQUENCY", "COUNTRY_CODE")
    )
    found = economic_indicators(named.with_columns(_source_system=pl.lit("OFFICE"))).collect()
    said = found.sort("period", "released_at").select("value", "release_number", "revised_from").rows()
    assert said == [(1.0, 1, None), (1.1, 2, 1.0), (1.2, 1, None)]


OURS = [
    ("G1", "Cast-iron skillet 26 cm", "Ironleaf", "07610050000009", 260.0, "mm"),
    ("G2", "Cast-iron skillet 30 cm", "Ironleaf", None, 300.0, "mm"),
    ("G3", "Copper wok", "Saveur", None, None, None),
    ("G4", "Copper wok", "Saveur", None, None, None),
    ("G5", "Nordic duvet cover", "Haven", "07610050000375", None, None),
]


def matched(
    *theirs: tuple[str, str, str | None], codes: dict[str, str] | None = None, **options: float
) -> dict[str, dict[str, object]]:
    """Rows of the table by their number; theirs: name, brand, gtin."""
    looks = pl.DataFrame(
        [(f"X{n}", *row) for n, row in enumerate(theirs)], orient="row",
        schema={"competitor_product_id": pl.String, "product_name": pl.String, "brand": pl.String, "gtin": pl.String},
    )  # fmt: skip
    seen_at = datetime(2026, 5, 1, tzinfo=UTC)
    looks = looks.with_columns(
        competitor=pl.lit("Rival"), data_source=pl.lit("s"), observed_at=seen_at, color=pl.lit(None, pl.String)
    )
    known = codes or {}
    also = pl.LazyFrame(
        {"product_id": list(known.values()), "gtin": list(known)}, schema={"product_id": pl.String, "gtin": pl.String}
    )
    names = {"product_id": pl.String, "product_name": pl.String, "brand": pl.String, "gtin": pl.String,
             "size_value": pl.Float64, "size_unit": pl.String}  # fmt: skip
    ours = pl.DataFrame(OURS, schema=names, orient="row").with_columns(
        is_product=True, pack_count=pl.lit(None, pl.Int64), color=pl.lit(None, pl.String)
    )
    rules = EnrichmentRules(market=MarketRules(**options))  # type: ignore[arg-type]
    found = competitor_products(looks.lazy(), ours.lazy(), ours.drop("product_name").lazy(), also, rules).collect()
    return {str(row["competitor_product_id"]): row for row in found.iter_rows(named=True)}


def test_a_barcode_settles_and_texts_are_sure_or_silent() -> None:
    rows = matched(
        ("anything", "Other", "07610050000009"),
        ("IRONLEAF cast iron skillet 30cm", "IRON-LEAF", None),
        ("Ironleaf cast iron skillet 24 cm", "Ironleaf", None),  # a size that we do not have
        ("Saveur copper woks", "Saveur", None),  # two of ours are called so
        ("Haven nordic duvet cover", "Haven", "00036000291452"),  # ours has another barcode
        ("umbrella", "Rival", None),
    )
    said = [(row["product_id"], row["match_method"], row["status"]) for row in rows.values()]
    assert said[:2] == [("G1", "GTIN", "MATCHED"), ("G2", "TEXT", "MATCHED")]
    assert said[2] == (None, None, "UNMATCHED") and said[3] == (None, None, "AMBIGUOUS")
    assert said[4:] == [(None, None, "UNMATCHED")] * 2
    assert rows["X0"]["match_confidence"] == 1 and 0.8 <= float(str(rows["X1"]["match_confidence"])) <= 1
    assert rows["X1"]["precision"] is None, "one barcode that judges a match by text is not enough"


def test_every_barcode_of_a_product_is_its_own() -> None:
    second = "00036000291452"
    row = matched(("Haven nordic duvet cover", "Haven", second), codes={second: "G5"})["X0"]
    assert (row["product_id"], row["match_method"]) == ("G5", "GTIN")
    shared = matched(("Haven nordic duvet cover", "Haven", second), codes={second: "G1"})["X0"]
    assert (shared["product_id"], shared["best_product_id"]) == ("G1", "G5"), "the code is another product's"


def test_their_own_numbers_are_no_barcodes_and_colours_are_those_of_the_rules() -> None:
    numbers = ["96385074", "4006381333931", "4006381333931", "SKU-7"]
    rows = pl.LazyFrame(
        {"COMPETITOR": "Rival", "COMPETITOR_PRODUCT_ID": numbers, "DATA_SOURCE": ["a", "b", "c", "d"],
         "GTIN": [None, None, "123", None], "OBSERVED_AT": datetime(2026, 5, 1, tzinfo=UTC), "PRICE": Decimal("5.00"),
         "IS_AVAILABLE": True, "PRODUCT_NAME": "Tee - Red", "BRAND": None, "_source_system": "c",
         "CURRENCY_CODE": None},
        schema_overrides={"CURRENCY_CODE": pl.String, "BRAND": pl.String, "PRICE": pl.Decimal(12, 2)},
    )  # fmt: skip
    rates = pl.LazyFrame(schema={"currency": pl.String, "on": pl.Date, "rate": pl.Float64, "valid_until_on": pl.Date})
    french = StandardizationRules(colors={"ROUGE": ["red", "rouge"]})
    found = competitor_prices(rows, rates, french).sort("data_source").collect()
    assert found["gtin"].to_list() == [None, "04006381333931", None, None]
    assert found["color"].to_list() == ["ROUGE"] * 4


def test_without_products_nothing_is_matched() -> None:
    assert matched() == {}


@pytest.mark.parametrize("seed", range(3))
def test_the_most_alike_are_those_of_all_pairs_sorted(seed: int) -> None:
    """Also among equals, of which the earlier of ours count, and for texts without a word of ours."""
    rng = np.random.default_rng(seed)
    texts = [[f"w{w}" for w in sorted(set(rng.zipf(1.4, 4) % 40))] for _ in range(300)]
    known, every = weighed(pl.Series(texts[:250]), pl.Series([*texts[250:], ["unheard"], texts[0]]), pairs=False)
    cosine = (every @ known.T).toarray()
    want = [
        (first, ours)
        for first, row in enumerate(cosine)
        for ours in sorted(np.flatnonzero(row), key=lambda at, row=row: (-row[at], at))[: matching.CANDIDATES]
    ]
    found = matching._nearest(every, csr_array(known.T), 0)
    assert found.select("theirs", "ours").rows() == want and len(want) > 300
    assert (
        matching._nearest(every[7:9], csr_array(known.T), 7).rows()
        == found.filter(pl.col("theirs").is_in([7, 8])).rows()
    )


def test_the_matches_of_the_retailer_are_right(retailer) -> None:  # type: ignore[no-untyped-def]
    truth = pl.read_parquet(retailer.truth / "competitor_products.parquet").rename({"product_id": "truth"})
    found = retailer.frame("silver.competitor_products").collect()
    both = found.join(truth, on=["competitor", "competitor_product_id"])
    assert both.height == truth.height > 300
    matches = both.filter(status="MATCHED")
    right = (matches["product_id"] == matches["truth"]).fill_null(value=False).mean()
    assert right >= 0.97 and set(matches["match_method"]) == {"GTIN", "TEXT"}
    assert matches.height >= 0.9 * truth["truth"].count()
    assert found["precision"][0] == pytest.approx(1.0, abs=0.03) and found["labelled_count"][0] >= 30
