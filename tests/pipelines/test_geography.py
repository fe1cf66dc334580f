"""Postal codes, cities, cells and distances; and areas as public lists write them."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from customer360.pipelines.geography import (
    arc_km,
    distance_km,
    nearest,
    on_sphere,
    place_key,
    postal_key,
    postal_prefix,
    with_cells,
)
from customer360.pipelines.inference.estimates import mean_interval, shrunk_means, shrunk_rates, wilson


@pytest.mark.parametrize(
    ("code", "country", "key"),
    [
        ("02108-1234", "USA", "02108"), ("2108", "USA", "02108"), ("021081234", "USA", "02108"),
        (" 02108 ", "USA", "02108"), ("01067", "DEU", "01067"), ("1067", "DEU", "01067"),
        ("SW1A 1AA", "GBR", "SW1A1AA"), ("1000-001", "PRT", "1000001"), ("800", "AUS", "0800"),
        ("1234 ab", "NLD", "1234AB"), ("?", "USA", None), ("", "", None),
    ],
)  # fmt: skip
def test_codes_are_compared_as_people_write_them(code: str, country: str, key: str | None) -> None:
    assert pl.select(postal_key(pl.lit(code), pl.lit(country))).item() == key


def test_a_whole_code_is_found_in_a_list_of_parts() -> None:
    whole = {"SW1A1AA": ("GBR", "SW1A"), "K1A0B1": ("CAN", "K1A"), "VLT1117": ("MLT", "VLT"), "D02AF30": ("IRL", "D02"),
             "01310200": ("BRA", "01310000"), "02108": ("USA", None), "K1A": ("CAN", None)}  # fmt: skip
    for key, (country, part) in whole.items():
        assert pl.select(postal_prefix(pl.lit(key), pl.lit(country))).item() == part, key


def test_cities_are_compared_without_case_and_accents() -> None:
    names = ["St. Louis", "SAINT LOUIS", "Zürich", "Zu\u0308rich", "--"]
    assert pl.Series(names).to_frame("n").select(place_key(pl.col("n")))["n"].to_list() == [
        "saintlouis", "saintlouis", "zurich", "zurich", None,
    ]  # fmt: skip


def test_distances_and_cells_of_known_points() -> None:
    rows = pl.LazyFrame({"latitude": [52.52, 48.8566, None], "longitude": [13.405, 2.3522, None]})
    far = rows.head(1).join(rows.slice(1, 1), how="cross", suffix="_2")
    km = far.select(distance_km("latitude", "longitude", "latitude_2", "longitude_2")).collect().item()
    assert km == pytest.approx(877.5, abs=1)  # Berlin to Paris
    points = on_sphere(np.array([52.52, 48.8566]), np.array([13.405, 2.3522]))
    assert arc_km(np.linalg.norm(points[0] - points[1])) == pytest.approx(km)
    told, which = nearest(points[:1], points, 5)
    assert which.tolist() == [[0, 1]] and told[0] == pytest.approx([0, km])
    cells = with_cells(rows).collect()
    assert cells["cell"].to_list()[0] == "861f1d48fffffff" and cells["coarse_cell"].to_list()[2] is None


def test_intervals_are_those_of_the_books() -> None:
    low, high = pl.select(a=wilson(pl.lit(8), pl.lit(10))[0], b=wilson(pl.lit(8), pl.lit(10))[1]).row(0)
    assert (low, high) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    rows = pl.DataFrame({"n": [5, 1]}).select(
        low=mean_interval(pl.lit(10.0), pl.lit(2.0), pl.col("n"))[0]
    )  # t(4) is 2.776445
    assert rows["low"].to_list() == [pytest.approx(10 - 2.776445 * 2 / 5**0.5), None]


def test_few_observations_are_drawn_to_the_others() -> None:
    hits, trials = np.array([2, 970, 60, 70, 55, 65, 0]), np.array([2, 1000, 100, 100, 100, 100, 0])
    rate, low, high = shrunk_rates(hits, trials)
    assert rate[0] < 0.95 and rate[1] == pytest.approx(0.97, abs=0.01) and low[0] < low[1]
    assert ((low < rate) & (rate < high)).all()
    mean, error = shrunk_means(np.array([1.0, 2.0, 3.0, 9.0]), np.array([0.1, 0.1, 0.1, 8.0]))
    assert 2 < mean[3] < 4 and error[3] <= 8 and abs(mean[0] - 1) < 0.1


def test_groups_that_do_not_differ_leave_their_mean_open() -> None:
    """Twenty equal groups of few trials: the interval is no narrower than that of all trials together."""
    _, low, high = shrunk_rates(np.full(20, 1.0), np.full(20, 40.0))
    together = wilson(pl.lit(20), pl.lit(800))
    least = pl.select(together[0].alias("low"), together[1].alias("high")).row(0)
    assert (high - low).min() > 0.8 * (least[1] - least[0])
