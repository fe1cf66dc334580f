"""Areas: nobody is told of in a small group, not by a difference of rows either; nothing known breaks nothing."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from customer360.pipelines.areas import folded
from customer360.pipelines.gold.customers.location import location
from customer360.pipelines.gold.expansion import cannibalization, white_space
from customer360.pipelines.gold.locations import area_performance, store_catchments, trade_areas
from customer360.pipelines.gold.store_performance import store_months, visit_conversion
from customer360.pipelines.rules import EnrichmentRules, LocationRules
from customer360.platform import graph, tables
from customer360.serve.compose import compose

# What a receipt says of which nothing was given back.
NUMBERED = (pl.int_range(pl.len()).cast(pl.String).alias("transaction_id"), pl.lit("POS").alias("source_system"))
KEPT = {
    "returned_on": pl.lit(None, pl.Date), "return_amount": pl.lit(Decimal("0.00")), "is_unconverted": pl.lit(False),
    "exchanged_amount": pl.lit(Decimal("0.00")), "currency": pl.lit("EUR"), "exchange_rate": pl.lit(1.0),
}  # fmt: skip
RULES, AS_OF = EnrichmentRules(), date(2026, 6, 1)
EUR = pl.LazyFrame({"currency": ["EUR"]})


def town(seed: int, people: int = 300) -> tuple[pl.LazyFrame, pl.LazyFrame, pl.LazyFrame]:
    """Customers of three stores in areas of very different sizes, some of them found nowhere."""
    rng = np.random.default_rng(seed)
    area = np.minimum(rng.geometric(0.12, people), 25)
    known = rng.random(people) > 0.1
    ids = [f"P{n}" for n in range(people)]
    homes = pl.DataFrame(
        {
            "person_id": ids,
            "area_id": [f"USA/{a:05d}" if k else None for a, k in zip(area, known, strict=True)],
            "cell": [f"cell{a // 3}" if k else None for a, k in zip(area, known, strict=True)],
            "coarse_cell": [f"coarse{a // 9}" if k else None for a, k in zip(area, known, strict=True)],
            "latitude": np.where(known, 40 + area / 20, np.nan),
            "longitude": np.where(known, -80.0, np.nan),
        }
    ).with_columns(pl.col("latitude", "longitude").fill_nan(None))
    sales = pl.DataFrame({"person_id": ids, "store_id": [f"S{n}" for n in np.minimum(rng.geometric(0.6, people), 4)]})
    sold = sales.with_columns(
        occurred_on=pl.lit(date(2026, 5, 1)), channel_group=pl.lit("IN_STORE"), is_sale=True,
        net_amount=pl.lit(Decimal("5.00")), **KEPT,
    )  # fmt: skip
    stores = pl.LazyFrame(
        {"store_id": ["S1", "S2", "S3"], "latitude": [40.1, 40.5, None], "longitude": [-80.0, -80.0, None]}
    )
    return sold.lazy(), homes.lazy(), stores


@pytest.mark.parametrize("seed", range(8))
def test_no_row_tells_of_few_people_and_none_is_lost(seed: int) -> None:
    sales, homes, stores = town(seed)
    least = RULES.location.least_people
    by_store = sales.collect()["store_id"].value_counts().filter(pl.col("count") >= least)
    for build in (trade_areas, store_catchments):
        rows = build(sales, homes, stores, EUR, AS_OF, RULES).collect()
        assert rows["customer_count"].min() >= least
        told = rows.group_by("store_id").agg(pl.col("customer_count").sum())
        assert dict(told.iter_rows()) == dict(by_store.iter_rows()), "a store of enough customers tells of all of them"
        rates = rows.group_by("store_id").agg(pl.col("sales_rate").sum())["sales_rate"]
        assert rates.to_list() == pytest.approx([1.0] * len(rates))


def test_what_is_left_takes_the_smallest_other_row_with_it() -> None:
    """Twelve and three: a row of twelve and a total of fifteen would tell of the three."""
    rows = pl.LazyFrame(
        {"area_id": ["a", "b", "c"], "cell": ["x", "y", "y"], "coarse_cell": ["X", "Y", "Y"], "people": [12, 30, 3]}
    )
    shown = folded(rows, [], "people", 10).collect()
    assert dict(shown.select("area_id", "level").iter_rows()) == {"a": "REST", "b": "POSTAL_CODE", "c": "REST"}
    two = folded(rows.filter(pl.col("area_id") != "b"), [], "people", 10).collect()
    assert set(two["level"]) == {"REST"} and len(two) == 2
    assert folded(rows.filter(pl.col("area_id") == "c"), [], "people", 10).collect().is_empty()


def test_a_place_is_told_with_the_population_of_its_own_areas() -> None:
    homes = pl.DataFrame(
        {"person_id": [f"P{n}" for n in range(40)], "area_id": ["USA/1"] * 25 + ["USA/2"] * 6 + ["USA/3"] * 9}
    )
    homes = homes.with_columns(cell=pl.lit("c"), coarse_cell=pl.lit("C"))
    areas = pl.LazyFrame({"area_id": [f"USA/{n}" for n in (1, 2, 3, 4)], "population": [1000, 100, 200, 400]})
    areas = areas.with_columns(cell=pl.lit("c"), coarse_cell=pl.lit("C"))
    sales = homes.select(
        "person_id", occurred_on=pl.lit(date(2026, 5, 1)), is_sale=True, net_amount=pl.lit(Decimal("5.00")), **KEPT
    )
    rows = area_performance(sales.lazy(), homes.lazy(), areas, EUR, AS_OF, RULES).collect().sort("customer_count")
    told = rows.select(
        "level", "place", "customer_count", "population", "penetration_rate", "net_per_customer_low"
    ).rows()
    assert told == [
        ("CELL", "c", 15, 700, pytest.approx(15 / 700), 5.0),
        ("POSTAL_CODE", "USA/1", 25, 1000, 0.025, 5.0),
    ]


def empty(name: str) -> pl.LazyFrame:
    return pl.LazyFrame(schema=tables.schema(tables.by_name(name)))


OURS = ("silver.areas", "silver.cities", "silver.person_areas", "silver.store_places", "silver.store_visits",
        "silver.deliveries", "gold.store_catchments", "gold.trade_areas", "gold.area_performance", "gold.store_months",
        "gold.visit_conversion", "gold.cannibalization", "gold.white_space", "gold.lead_times",
        "gold.vendor_scorecard", "gold.order_cycles", "gold.product_demand", "gold.stock_plan",
        "gold.stock_efficiency")  # fmt: skip


@pytest.mark.parametrize("name", OURS)
def test_nothing_known_is_no_row(name: str) -> None:
    compose()
    node = graph.NODES[name]
    reserved = {"as_of": AS_OF, "params": RULES}
    made = node.function(*map(empty, node.inputs), **{k: v for k, v in reserved.items() if k in node.wants})
    assert tables.conform(node.table, made).collect().is_empty()


def test_a_person_has_the_nearest_store_that_is_open() -> None:
    people = pl.LazyFrame({"person_id": ["near", "nowhere"], "found_by": ["CITY", "NONE"], "coarse_cell": ["C", None],
                           "latitude": [40.0, None], "longitude": [-80.0, None]})  # fmt: skip
    stores = pl.LazyFrame(
        {"store_id": ["open", "future", "lost", "gone"], "latitude": [40.5, 40.0, None, 40.1],
         "longitude": [-80.0, -80.0, None, -80.0], "opened_on": [None, AS_OF, None, None],
         "closed_on": [AS_OF, None, None, date(2026, 5, 1)]}, schema_overrides={"opened_on": pl.Date},
    )  # fmt: skip
    profile = people.select("person_id")
    told = location(profile, people, stores, empty("silver.store_visits"), AS_OF).collect().sort("person_id")
    assert told["nearest_store_id"].to_list() == ["open", None]
    assert told["nearest_store_km"].to_list() == [56.0, None]
    assert told["located_by"].to_list() == ["CITY", "NONE"]


def test_a_store_without_controls_claims_nothing() -> None:
    sales, homes, _ = town(1)
    stores = pl.LazyFrame({"store_id": ["S1", "NEW"], "latitude": [40.1, 40.2], "longitude": [-80.0, -80.0],
                           "opened_on": [date(2010, 1, 1), date(2026, 2, 1)], "closed_on": None},
                          schema_overrides={"closed_on": pl.Date})  # fmt: skip
    rows = cannibalization(sales, homes, stores, AS_OF, RULES).collect()
    assert set(rows["metric"]) == {"ORDERS", "SALES"} and set(rows["status"]) == {"NOT_ENOUGH_EVIDENCE"}
    assert rows["change_rate"].null_count() == 2


def test_without_population_no_place_is_ranked() -> None:
    sales, homes, stores = town(1)
    areas = homes.unique("area_id").select(
        "area_id", "coarse_cell", "latitude", "longitude", population=pl.lit(None, pl.Int64)
    )
    stores = stores.with_columns(opened_on=pl.lit(None, pl.Date), closed_on=pl.lit(None, pl.Date))
    assert white_space(sales, homes, areas, stores, AS_OF, RULES).collect().is_empty()


def noticed(*rows: tuple[str, str, int, int | None]) -> pl.LazyFrame:
    """Visits of one store: visit, person, minutes after noon of entering and of leaving."""
    noon = datetime(2026, 5, 1, 12, tzinfo=UTC)
    told = [
        (visit, person, noon + timedelta(minutes=i), None if o is None else noon + timedelta(minutes=o))
        for visit, person, i, o in rows
    ]
    moment = pl.Datetime("us", "UTC")
    schema = {"visit_id": pl.String, "person_id": pl.String, "entered_at": moment, "left_at": moment}
    frame = pl.LazyFrame(told, schema=schema, orient="row")
    return frame.with_columns(
        source_system=pl.lit("W"), store_id=pl.lit("S"), entered_on=pl.col("entered_at").dt.date()
    )


def test_a_visit_that_two_systems_noticed_is_one() -> None:
    visits = noticed(
        ("wifi", "P", 0, 50), ("app", "P", 30, None), ("clock", "P", 55, None), ("other day", "P", 600, None),
        ("else", "Q", 5, None), ("beacon", "Q", 8, None),
    )  # fmt: skip
    sold = pl.LazyFrame(
        {"person_id": ["P"], "store_id": ["S"], "channel_group": ["IN_STORE"], "is_sale": [True],
         "occurred_at": [datetime(2026, 5, 1, 12, 45, tzinfo=UTC)]}
    ).cast({"occurred_at": pl.Datetime("us", "UTC")})  # fmt: skip
    row = visit_conversion(visits, sold, AS_OF, RULES).collect().row(0, named=True)
    assert (row["visit_count"], row["purchase_visit_count"]) == (4, 1), "wifi and app are one; the clock begins later"
    people = pl.LazyFrame({"person_id": ["P", "Q"]})
    homes = empty("silver.person_areas")
    profile = location(people, homes, empty("silver.store_places"), visits, AS_OF).collect().sort("person_id")
    assert profile["store_visit_count_365d"].to_list() == [3, 1]


def test_what_a_customer_brings_is_not_told_of_a_few() -> None:
    """Nine customers and a guest's orders: the mean of an order is told, that of a customer is not."""
    least = RULES.location.least_people
    for count, told in ((least - 1, None), (least, 5.0)):
        sales = pl.LazyFrame({"person_id": [f"P{n}" for n in range(count)] + [None] * 5}).with_columns(
            store_id=pl.lit("S"), occurred_on=pl.lit(date(2026, 4, 3)), channel_group=pl.lit("IN_STORE"), is_sale=True,
            net_amount=pl.lit(Decimal("5.00")), **KEPT,
        ).with_columns(NUMBERED)  # fmt: skip
        row = store_months(sales, empty("silver.store_visits"), EUR, AS_OF, RULES).collect().row(0, named=True)
        assert (row["net_per_customer"], row["status"]) == (told, "MEASURED")


def receipts(*rows: tuple[str | None, str, date, bool, str, str, date | None]) -> pl.LazyFrame:
    """Receipts of stores: person, store, day, whether it is a sale, net and returned amount, day of the return."""
    names = ("person_id", "store_id", "occurred_on", "is_sale", "net_amount", "return_amount", "returned_on")
    schema = dict.fromkeys(names, pl.String) | {"occurred_on": pl.Date, "is_sale": pl.Boolean, "returned_on": pl.Date}
    kept = {name: value for name, value in KEPT.items() if name not in names}
    return (
        pl.LazyFrame(rows, schema=schema, orient="row")
        .with_columns(
            pl.col("net_amount", "return_amount").cast(pl.Decimal(12, 2)), channel_group=pl.lit("IN_STORE"), **kept
        )
        .with_columns(NUMBERED)
    )


def test_what_a_store_takes_back_lowers_its_net_amount_in_its_month() -> None:
    april, may = date(2026, 4, 3), date(2026, 5, 7)
    sold = [(f"P{n}", "S", april, True, "10.00", "0.00", None) for n in range(12)]
    told = receipts(
        *sold,
        ("P0", "S", april, False, "-4.00", "4.00", april),  # a return with a receipt of its own
        (None, "S", may, False, "-2.00", "2.00", may),  # of a guest, bought who knows when
        ("P1", "S", april, True, "7.00", "3.00", may),  # given back of the sale, a month later
        ("P2", "S", april, False, "0.00", "0.00", None),  # never completed
    )
    rows = store_months(told, empty("silver.store_visits"), EUR, AS_OF, RULES).collect().sort("month")
    shown = rows.select("month", "order_count", "net_amount", "customer_count").rows()
    assert shown == [
        (date(2026, 4, 1), 13, Decimal("126.00"), 12),
        (date(2026, 5, 1), 0, Decimal("-5.00"), 0),
    ], "120 and 10 sold, 4 given back in April; 2 and 3 in May"
    first = rows.row(0, named=True)
    assert first["net_per_order"] == pytest.approx(126 / 13) and first["net_per_customer"] == pytest.approx(10.5)
    assert first["net_per_order_low"] < 126 / 13 < first["net_per_order_high"]


def test_a_sale_and_what_comes_back_of_it_in_the_month_are_one_receipt() -> None:
    """Thirty of a hundred orders of 50 come back whole: receipts are 0 or 50, and so wide is the interval."""
    day, later = date(2026, 4, 3), date(2026, 4, 9)
    told = receipts(
        *((f"P{n}", "S", day, True, "50.00", "0.00", None) for n in range(70)),
        *((f"Q{n}", "S", day, True, "0.00", "50.00", later) for n in range(30)),
    )
    row = store_months(told, empty("silver.store_visits"), EUR, AS_OF, RULES).collect().row(0, named=True)
    deviation = math.sqrt((70 * 15**2 + 30 * 35**2) / 99)
    assert row["net_per_order"] == 35.0
    assert row["net_per_order_high"] - 35 == pytest.approx(1.984 * deviation / 10, rel=0.02)


def test_what_one_person_does_twice_is_no_independent_evidence() -> None:
    """Ten people buy ten times each, always for the same: ten means, not a hundred. Of one alone nothing is told."""
    day = date(2026, 4, 3)
    told = receipts(*((f"P{n % 10}", "S", day, True, f"{10 * (n % 10)}.00", "0.00", None) for n in range(100)))
    row = store_months(told, empty("silver.store_visits"), EUR, AS_OF, RULES).collect().row(0, named=True)
    deviation = math.sqrt(sum((10 * n - 45) ** 2 for n in range(10)) / 9)
    assert row["net_per_order"] == 45
    assert row["net_per_order_high"] - 45 == pytest.approx(2.262 * deviation / math.sqrt(10), rel=0.001)
    alone = receipts(*(("P", "S", day, True, f"{n}.00", "0.00", None) for n in range(20)))
    row = store_months(alone, empty("silver.store_visits"), EUR, AS_OF, RULES).collect().row(0, named=True)
    assert (row["net_per_order"], row["net_per_order_low"]) == (9.5, None)


def test_visits_of_one_person_are_alike() -> None:
    """Twenty people come ten times, half of them buy each time: twenty coins, not two hundred."""
    visits = noticed(*((f"{p} {n}", f"P{p}", 600 * n, None) for p in range(20) for n in range(10)))
    sold = visits.filter(pl.col("person_id").str.slice(1).cast(pl.Int64) < 10).select(
        "person_id", "store_id", channel_group=pl.lit("IN_STORE"), is_sale=True, occurred_at="entered_at"
    )
    row = visit_conversion(visits, sold, AS_OF, RULES).collect().row(0, named=True)
    assert (row["visit_count"], row["conversion_rate"]) == (200, 0.5)
    assert (row["conversion_low"], row["conversion_high"]) == pytest.approx((0.299, 0.701), abs=0.001)


def test_areas_tell_what_customers_left_after_their_returns() -> None:
    day = date(2026, 5, 1)
    told = receipts(
        *((f"P{n}", "S", day, True, "10.00", "0.00", None) for n in range(12)),
        ("P0", "S", day, False, "-10.00", "10.00", day),
        ("Q", "S", day, False, "-6.00", "6.00", day),  # gave back what it bought before the window
    )
    homes = pl.LazyFrame({"person_id": [*(f"P{n}" for n in range(12)), "Q"]}).with_columns(
        area_id=pl.lit("USA/1"), cell=pl.lit("c"), coarse_cell=pl.lit("C"), latitude=40.0, longitude=-80.0
    )
    stores = pl.LazyFrame({"store_id": ["S"], "latitude": [40.1], "longitude": [-80.0]})
    for build in (trade_areas, store_catchments):
        row = build(told, homes, stores, EUR, AS_OF, RULES).collect().row(0, named=True)
        assert (row["customer_count"], row["order_count"], row["net_amount"]) == (12, 12, Decimal("104.00"))
    row = area_performance(told, homes, empty("silver.areas"), EUR, AS_OF, RULES).collect().row(0, named=True)
    assert (row["customer_count"], row["net_amount"]) == (12, Decimal("104.00"))
    assert row["net_per_customer"] == pytest.approx(104 / 12)
    assert row["net_per_customer_low"] < 104 / 12 < row["net_per_customer_high"]


def test_new_customers_in_sparse_areas_are_no_change() -> None:
    """Fifty far areas sell once before and fifty others once after: together as much as before, as near the store."""
    day, moment = date(2026, 1, 1), timedelta(days=60)
    rows = [(f"F{n}", "FAR", day + (moment if n % 2 else -moment)) for n in range(100)]
    rows += [(f"N{n % 20}", "OLD", day + (moment if n < 200 else -moment)) for n in range(400)]
    rows += [(f"N{n % 20}", "SHUT", day - moment) for n in range(200)]  # closed the day after the other opened
    sales = pl.DataFrame(rows, schema=["person_id", "store_id", "occurred_on"], orient="row")
    homes = sales.select("person_id", area_id="person_id", coarse_cell=pl.lit("c")).unique().with_columns(
        latitude=pl.when(pl.col("person_id").str.starts_with("N")).then(40.0).otherwise(44.0), longitude=-80.0
    )  # fmt: skip
    sold = sales.with_columns(channel_group=pl.lit("IN_STORE"), is_sale=True, net_amount=pl.lit(Decimal("5.00")))
    stores = pl.LazyFrame(
        {"store_id": ["OLD", "NEW", "FAR", "SHUT"], "latitude": [40.0, 40.03, 44.0, 40.0], "longitude": [-80.0] * 4,
         "opened_on": [None, day, None, None], "closed_on": [None, None, None, day + timedelta(days=1)]}
    )  # fmt: skip
    told = cannibalization(sold.lazy(), homes.lazy(), stores, AS_OF, RULES).collect().row(0, named=True)
    assert told["far_area_count"] == 100 and told["status"] == "NO_EFFECT_SHOWN"
    assert told["change_rate"] == pytest.approx(0.0)


@pytest.mark.parametrize("bands", [[], [0], [-5, 10]])
def test_bands_that_say_nothing_are_refused(bands: list[float]) -> None:
    with pytest.raises(ValueError, match="distance_bands_km"):
        LocationRules(distance_bands_km=bands)


def test_where_a_person_lives_is_personal_in_every_column() -> None:
    columns = tables.by_name("silver.person_areas").columns()
    tagged = {name for name, column in columns.items() if column.metadata}
    assert tagged >= {"area_id", "latitude", "longitude", "cell", "coarse_cell"}
