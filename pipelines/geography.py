"""Where things lie: postal codes as they are compared, cells of the earth, and distances, without a call to anybody.

Cells are those of H3 (Uber, 2018): hexagons of about equal size. `CELL` is a district of about 36 square kilometres,
`COARSE` a town and its surroundings, about 1,770.
"""

from __future__ import annotations

from datetime import date

import h3
import numpy as np
import polars as pl

CELL, COARSE = 6, 4
EARTH_KM = 6371.0088
# Countries whose codes are so many digits: spreadsheets take the zeros at the front away.
DIGITS = {"AUS": 4, "CHE": 4, "DEU": 5, "ESP": 5, "EST": 5, "FIN": 5, "FRA": 5, "HRV": 5, "ITA": 5, "JPN": 7, "KOR": 5,
          "MEX": 5, "NOR": 4, "TUR": 5, "USA": 5}  # fmt: skip
# Countries where lists often hold the first characters of a code alone; of a British one all but the last three,
# of a Brazilian one the code of its district.
FIRST = {"CAN": 3, "IRL": 3, "MLT": 3, "NLD": 4}


def is_open(as_of: date) -> pl.Expr:
    """Whether a store has opened and not closed before a date, as far as is known."""
    return (pl.col("opened_on").is_null() | (pl.col("opened_on") < as_of)) & ~has_closed(as_of)


def has_closed(as_of: date) -> pl.Expr:
    """Whether the last day of business lies before a date."""
    return (pl.col("closed_on") < as_of).fill_null(False)


def postal_key(code: pl.Expr, country: pl.Expr) -> pl.Expr:
    """A postal code as it is compared: capitals and digits, American ones without their last four, zeros restored."""
    bare = code.str.to_uppercase().str.strip_chars()
    american = country == "USA"
    told = pl.when(american).then(bare.str.split("-").list.first()).otherwise(bare).str.replace_all(r"[^A-Z0-9]", "")
    width = country.replace_strict(DIGITS, default=0, return_dtype=pl.Int64)
    digits = told.str.contains(r"^[0-9]{2,}$") & (told.str.len_chars() < width)
    padded = pl.when(digits).then(pl.lit("0000000").add(told).str.tail(width)).otherwise(told)
    nine = american & told.str.contains(r"^[0-9]{9}$")
    key = pl.when(nine).then(told.str.head(5)).otherwise(padded)
    return pl.when(key.str.len_chars() > 0).then(key)


def postal_prefix(key: pl.Expr, country: pl.Expr) -> pl.Expr:
    """The part of a whole code that lists of its country often stop at; null where there is no such custom."""
    first = country.replace_strict(FIRST, default=0, return_dtype=pl.Int64)
    return (
        pl.when((country == "GBR") & (key.str.len_chars() >= 5)).then(key.str.head(-3))
        .when((country == "BRA") & (key.str.len_chars() == 8)).then(key.str.head(5) + "000")
        .when((first > 0) & (key.str.len_chars() > first)).then(key.str.head(first))
    )  # fmt: skip


def place_key(name: pl.Expr) -> pl.Expr:
    """A city's name as it is compared: letters without case and accents; St and Saint are one."""
    bare = name.str.normalize("NFKD").str.to_lowercase().str.replace_all(r"\bst\.?\s", "saint ")
    key = bare.str.replace_all(r"[^\p{L}]", "")
    return pl.when(key.str.len_chars() > 0).then(key)


def cells(latitude: pl.Series, longitude: pl.Series, resolution: int) -> pl.Series:
    """The H3 cell of each point; null where it has no place."""
    found = [
        None if lat is None or lon is None else h3.latlng_to_cell(lat, lon, resolution)
        for lat, lon in zip(latitude, longitude, strict=True)
    ]
    return pl.Series("cell", found, dtype=pl.String)


def with_cells(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Rows with ``latitude`` and ``longitude`` with their ``cell`` and ``coarse_cell``."""

    def both(frame: pl.DataFrame) -> pl.DataFrame:
        at = frame["latitude"], frame["longitude"]
        return frame.with_columns(cells(*at, CELL).alias("cell"), cells(*at, COARSE).alias("coarse_cell"))

    schema = {**rows.collect_schema(), "cell": pl.String(), "coarse_cell": pl.String()}
    return rows.map_batches(both, schema=schema)


def on_sphere(latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """Points of the unit sphere: float64 [points, 3]."""
    lat, lon = np.radians(latitude), np.radians(longitude)
    return np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


def arc_km(chord: np.ndarray) -> np.ndarray:
    """Kilometres along the ground of a straight line between two points of the unit sphere."""
    arc: np.ndarray = 2 * EARTH_KM * np.arcsin(np.minimum(chord / 2, 1.0))
    return arc


def nearest(here: np.ndarray, there: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The nearest ``count`` points of ``there`` to each of ``here`` (both of `on_sphere`), the nearest first: distances
    in km, and row numbers of ``there``, each [here, count at most]."""
    from scipy.spatial import cKDTree

    take = min(count, len(there))
    chord, row = cKDTree(there).query(here, k=take)
    return arc_km(np.asarray(chord).reshape(len(here), take)), np.asarray(row).reshape(len(here), take)


def distance_km(lat1: str, lon1: str, lat2: str, lon2: str) -> pl.Expr:
    """Great-circle distance of two points of a row (haversine), in km; null where either has no place."""
    a, b = pl.col(lat1).radians(), pl.col(lat2).radians()
    half = ((b - a) / 2).sin() ** 2 + a.cos() * b.cos() * ((pl.col(lon2) - pl.col(lon1)).radians() / 2).sin() ** 2
    return 2 * EARTH_KM * half.clip(0, 1).sqrt().arcsin()
