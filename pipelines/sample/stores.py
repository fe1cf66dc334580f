"""Places of the United States, the retailer's stores, and the stock in them."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl

from customer360.pipelines.sample.streams import Streams

# city, state, first zip code, telephone area code, latitude, longitude, hours behind UTC, population in ten thousands,
# sales tax in percent
_PLACES = """New York,NY,10001,212,40.71,-74.01,5,80,8.9
Los Angeles,CA,90001,213,34.05,-118.24,8,60,9.5
Chicago,IL,60601,312,41.88,-87.63,6,45,10.2
Houston,TX,77001,713,29.76,-95.37,6,40,8.2
Phoenix,AZ,85001,602,33.45,-112.07,7,32,8.6
Philadelphia,PA,19101,215,39.95,-75.17,5,30,8.0
San Antonio,TX,78201,210,29.42,-98.49,6,28,8.2
San Diego,CA,92101,619,32.72,-117.16,8,26,7.8
Dallas,TX,75201,214,32.78,-96.80,6,25,8.2
San Jose,CA,95101,408,37.34,-121.89,8,20,9.4
Austin,TX,78701,512,30.27,-97.74,6,20,8.2
Jacksonville,FL,32201,904,30.33,-81.66,5,18,7.5
Columbus,OH,43201,614,39.96,-83.00,5,18,7.5
Charlotte,NC,28201,704,35.23,-80.84,5,18,7.2
Indianapolis,IN,46201,317,39.77,-86.16,5,17,7.0
Seattle,WA,98101,206,47.61,-122.33,8,16,10.2
Denver,CO,80201,303,39.74,-104.99,7,15,8.8
Boston,MA,02108,617,42.36,-71.06,5,15,6.2
Nashville,TN,37201,615,36.16,-86.78,6,14,9.2
Detroit,MI,48201,313,42.33,-83.05,5,13,6.0
Portland,OR,97201,503,45.52,-122.68,8,13,0.0
Las Vegas,NV,89101,702,36.17,-115.14,8,13,8.4
Memphis,TN,37501,901,35.15,-90.05,6,12,9.8
Louisville,KY,40201,502,38.25,-85.76,5,12,6.0
Baltimore,MD,21201,410,39.29,-76.61,5,12,6.0
Milwaukee,WI,53201,414,43.04,-87.91,6,11,5.5
Albuquerque,NM,87101,505,35.08,-106.65,7,11,7.6
Tucson,AZ,85701,520,32.22,-110.97,7,10,8.7
Fresno,CA,93701,559,36.74,-119.79,8,10,8.4
Sacramento,CA,95801,916,38.58,-121.49,8,10,8.8
Kansas City,MO,64101,816,39.10,-94.58,6,10,8.6
Atlanta,GA,30301,404,33.75,-84.39,5,10,8.9
Omaha,NE,68101,402,41.26,-95.93,6,9,7.0
Raleigh,NC,27601,919,35.78,-78.64,5,9,7.2
Miami,FL,33101,305,25.76,-80.19,5,9,7.0
Minneapolis,MN,55401,612,44.98,-93.27,6,9,9.0
Tulsa,OK,74101,918,36.15,-95.99,6,8,8.5
Wichita,KS,67201,316,37.69,-97.34,6,8,7.5
New Orleans,LA,70112,504,29.95,-90.07,6,8,9.4
Cleveland,OH,44101,216,41.50,-81.69,5,8,8.0
Tampa,FL,33601,813,27.95,-82.46,5,8,7.5
Honolulu,HI,96801,808,21.31,-157.86,10,7,4.5
Lexington,KY,40501,859,38.04,-84.50,5,6,6.0
St. Louis,MO,63101,314,38.63,-90.20,6,6,9.7
Pittsburgh,PA,15201,412,40.44,-79.99,5,6,7.0
Anchorage,AK,99501,907,61.22,-149.90,9,5,0.0
Cincinnati,OH,45201,513,39.10,-84.51,5,6,7.8
Newark,NJ,07101,973,40.74,-74.17,5,6,6.6
Lincoln,NE,68501,402,40.81,-96.68,6,5,7.2
Orlando,FL,32801,407,28.54,-81.38,5,6,6.5
Buffalo,NY,14201,716,42.89,-78.88,5,5,8.8
Madison,WI,53701,608,43.07,-89.40,6,5,5.5
Boise,ID,83701,208,43.62,-116.20,7,5,6.0
Richmond,VA,23218,804,37.54,-77.44,5,5,6.0
Des Moines,IA,50301,515,41.59,-93.62,6,4,7.0
Salt Lake City,UT,84101,801,40.76,-111.89,7,5,7.8
Birmingham,AL,35201,205,33.52,-86.80,6,4,10.0
Little Rock,AR,72201,501,34.75,-92.29,6,4,8.6
Providence,RI,02901,401,41.82,-71.41,5,4,7.0
Charleston,SC,29401,843,32.78,-79.93,5,4,9.0"""
_REGIONS = {
    "NORTHEAST": "NY PA MA NJ RI MD",
    "SOUTH": "TX FL NC TN KY GA OK LA VA AL AR SC",
    "MIDWEST": "IL OH IN MI WI MO NE MN KS IA",
    "WEST": "CA AZ WA CO OR NV NM HI AK ID UT",
}
STORE_COUNT = 40
KM_A_DEGREE = 111.2
STOCKED_SHARE = 0.5  # share of the catalogue that one store holds


def places() -> pl.DataFrame:
    """One row per city: city, state_code, zip (Int64), area_code (Int64), latitude, longitude, utc_behind (hours),
    weight, tax_rate."""
    rows = [line.split(",") for line in _PLACES.replace("\n", "|").split("|")]
    names = ["city", "state_code", "zip", "area_code", "latitude", "longitude", "utc_behind", "weight", "tax_rate"]
    region = {state: name for name, states in _REGIONS.items() for state in states.split()}
    frame = pl.DataFrame(rows, schema=names, orient="row").cast(
        {
            "zip": pl.Int64,
            "area_code": pl.Int64,
            "utc_behind": pl.Int64,
            "latitude": pl.Float64,
            "longitude": pl.Float64,
            "weight": pl.Float64,
            "tax_rate": pl.Float64,
        }
    )
    return frame.with_columns(
        pl.col("weight") / pl.col("weight").sum(),
        pl.col("tax_rate") / 100,
        region=pl.col("state_code").replace_strict(region),
    )


def stores(streams: Streams, start_on: date) -> pl.DataFrame:
    """STORES, one row per store: the forty largest cities have one each, all opened before `start_on`."""
    rng = streams.stream("stores")
    where = places().sort("weight", descending=True, maintain_order=True).head(STORE_COUNT)
    count = len(where)
    opened = [start_on - timedelta(days=int(age)) for age in rng.integers(200, 7000, count)]
    number = rng.integers(100, 9900, count).astype(str)
    return where.select(
        STORE_ID=pl.format("ST{}", pl.int_range(1, count + 1).cast(pl.String).str.zfill(3)),
        STORE_NAME=pl.col("city")
        + pl.Series(rng.choice([" Downtown", " Galleria", " Commons", " Crossing", " Plaza"], count)),
        ADDRESS_LINE_1=pl.Series(number)
        + " "
        + pl.Series(rng.choice(["Market St", "Commerce Blvd", "Mall Dr", "Main St"], count)),
        CITY="city",
        STATE_CODE="state_code",
        ZIP_CODE=pl.col("zip").cast(pl.String).str.zfill(5),
        COUNTRY_CODE=pl.lit("USA"),
        REGION="region",
        LATITUDE=pl.col("latitude") + pl.Series(rng.normal(0, 0.03, count).round(4)),
        LONGITUDE=pl.col("longitude") + pl.Series(rng.normal(0, 0.03, count).round(4)),
        OPENED_DATE=pl.Series(opened),
    ).with_columns(pl.col("LATITUDE", "LONGITUDE").round(4))


def distances_km(store_table: pl.DataFrame) -> np.ndarray:
    """How far every place is from every store: float64 [places, stores]."""
    here = places().select("latitude", "longitude").to_numpy()
    there = store_table.select("LATITUDE", "LONGITUDE").to_numpy()
    # A degree of longitude shrinks with the cosine of the latitude; good enough to find a neighbour.
    gap = here[:, None, :] - there[None, :, :]
    gap[:, :, 1] *= np.cos(np.radians(here[:, 0]))[:, None]
    far: np.ndarray = np.sqrt((gap**2).sum(axis=2)) * KM_A_DEGREE
    return far


def home_stores(store_table: pl.DataFrame) -> np.ndarray:
    """The nearest store of every place, as a row number of STORES: Int64 [places]."""
    nearest: np.ndarray = distances_km(store_table).argmin(axis=1)
    return nearest


def inventory(streams: Streams, product_ids: pl.Series, store_ids: pl.Series, end_on: date) -> pl.DataFrame:
    """INVENTORY, one row per (product, store) that the store holds, as of the end of `end_on`."""
    rng = streams.stream("inventory")
    held = np.flatnonzero(rng.random(len(product_ids) * len(store_ids)) < STOCKED_SHARE)
    minutes = rng.integers(0, 20 * 60, len(held))
    midnight = pl.lit(end_on).cast(pl.Datetime("us", "UTC"))
    return pl.DataFrame(
        {
            "PRODUCT_ID": product_ids.gather(held // len(store_ids)),
            "STORE_ID": store_ids.gather(held % len(store_ids)),
            "QUANTITY_ON_HAND": rng.negative_binomial(2, 0.06, len(held)),
            "REORDER_POINT": rng.integers(3, 25, len(held)),
        }
    ).with_columns(UPDATED_AT=midnight + pl.duration(minutes=pl.lit(pl.Series(minutes))))
