"""Stores and areas: who comes from where, and what an area brings. No row tells of fewer than `least_people`
customers."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import polars as pl

from customer360.pipelines.areas import LEVEL, LEVELS, PLACE, REST, folded
from customer360.pipelines.geography import distance_km
from customer360.pipelines.inference import sums
from customer360.pipelines.inference.estimates import mean_interval, wilson
from customer360.pipelines.money import UNSTATED
from customer360.pipelines.receipts import MOVES, moved
from customer360.pipelines.rules import EnrichmentRules, LocationRules
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Float, Integer, OneOf, String, Table, Total

SALES = ("person_id", "store_id", "channel_group", *MOVES)
COUNTED = ("customer_count", "order_count", "net_amount")
NET = (
    "Sold less given back, in the window; what was given back counts at the store that took it, of its own receipt, on"
    " the day that it did, whenever it was bought"
)
NOWHERE = "UNKNOWN"  # band of customers whose address was not found, and of stores that lie nowhere


def _sold(transactions: pl.LazyFrame, as_of: date, rules: LocationRules) -> pl.LazyFrame:
    since = as_of - timedelta(days=rules.window_days)
    here = transactions.filter(
        pl.col("channel_group") == "IN_STORE", pl.col("store_id").is_not_null(), pl.col("person_id").is_not_null()
    )
    return moved(here, "person_id", "store_id").filter(pl.col("on").is_between(since, as_of, closed="left"))


def _currency(reporting: pl.LazyFrame) -> pl.LazyFrame:
    return pl.concat([reporting.select("currency"), pl.LazyFrame({"currency": [UNSTATED]})]).head(1)


def _per_person(sold: pl.LazyFrame, areas: pl.LazyFrame, stores: pl.LazyFrame) -> pl.LazyFrame:
    """People of each store with their area, distance, orders and amount; who gave back alone is no customer."""
    by_store = sold.group_by("store_id", "person_id").agg(pl.col("order_count", "net_amount").sum()).with_columns(
        customer_count=(pl.col("order_count") > 0).cast(pl.Int64)
    )  # fmt: skip
    places = stores.select("store_id", store_latitude="latitude", store_longitude="longitude")
    return (
        by_store.join(areas, on="person_id", how="left")
        .join(places, on="store_id", how="left")
        .with_columns(distance_km=distance_km("latitude", "longitude", "store_latitude", "store_longitude"))
    )


class StoreCatchments(
    Table, table="gold.store_catchments", partition_by=("as_of",), sort_by=("store_id", "band_number")
):
    """One row per store, distance band and as_of date: who bought there in the window, by how far away they live.

    Distances are as the crow flies, from the middle of the customer's area. Neighbouring bands are put together until
    they hold least_people; a store of fewer customers has no row.
    """

    store_id = String(primary_key=True)
    band_number = Integer(primary_key=True, description="1 is the nearest")
    as_of = Date(primary_key=True)
    distance_band = String(description="In km, as 5-10; UNKNOWN: address or store not found")
    customer_count = Integer(min=1, description="Known people who live so far away and bought there in the window")
    customer_rate = Float(description="Share of the store's customers")
    order_count = Integer(description="Their purchases")
    net_amount = Total(description=NET)
    sales_rate = Float(
        nullable=True,
        description="Of the net_amount of the store's rows; may be below 0. Who only gave back, in a place without"
        " buyers, is in none",
    )
    currency = String(description=f"The reporting currency; {UNSTATED}: nothing names one")


@builds(StoreCatchments, rules="enrichment", reads={"silver.transactions": SALES})
def store_catchments(
    silver_transactions: pl.LazyFrame,
    silver_person_areas: pl.LazyFrame,
    silver_store_places: pl.LazyFrame,
    silver_reporting_currency: pl.LazyFrame,
    as_of: date,
    params: EnrichmentRules,
) -> pl.LazyFrame:
    """Known customers; guests live nowhere."""
    rules = params.location
    edges = sorted(set(rules.distance_bands_km))
    customers = _per_person(_sold(silver_transactions, as_of, rules), silver_person_areas, silver_store_places)
    far = pl.col("distance_km")
    band = (
        pl.when(far.is_null())
        .then(len(edges) + 2)
        .otherwise(pl.sum_horizontal((far >= e).cast(pl.Int64) for e in edges) + 1)
    )
    bands = (
        customers.group_by("store_id", band=band)
        .agg(pl.col(COUNTED).sum())
        .filter(pl.col("customer_count").sum().over("store_id") >= rules.least_people)
        .sort("store_id", "band")
    )
    names = [f"{a:g}-{b:g}" for a, b in zip([0, *edges], edges, strict=False)] + [
        f"{edges[-1]:g}+",
        NOWHERE,
    ]
    schema = {"store_id": pl.String(), "band_number": pl.Int64(), "distance_band": pl.String(),
              "customer_count": pl.Int64(), "order_count": pl.Int64(), "net_amount": pl.Decimal(18, 2)}  # fmt: skip
    grouped = bands.map_batches(lambda rows: _put_together(rows, rules.least_people, names, schema), schema=schema)
    amount = pl.col("net_amount").cast(pl.Float64)
    total = amount.sum().over("store_id")
    return grouped.join(_currency(silver_reporting_currency), how="cross").with_columns(
        as_of=pl.lit(as_of),
        customer_rate=pl.col("customer_count") / pl.col("customer_count").sum().over("store_id"),
        sales_rate=pl.when(total > 0).then(amount / total),
    ).select(list(StoreCatchments.columns()))  # fmt: skip


def _put_together(bands: pl.DataFrame, least: int, names: list[str], schema: dict[str, pl.DataType]) -> pl.DataFrame:
    """Neighbouring bands of a store, from the nearest on, until each has ``least`` people; what is left joins the last,
    and who lives nobody knows where is put with the farthest where they are few."""
    out: list[tuple[object, ...]] = []
    for (store,), rows in bands.group_by("store_id", maintain_order=True):
        groups: list[list[tuple[int, int, int, Decimal]]] = []
        for row in rows.select("band", *COUNTED).iter_rows():
            if groups and sum(people for _, people, *_ in groups[-1]) < least:
                groups[-1].append(row)
            else:
                groups.append([row])
        if len(groups) > 1 and sum(people for _, people, *_ in groups[-1]) < least:
            last = groups.pop()
            groups[-1] += last
        for number, group in enumerate(groups, 1):
            told, *counts = zip(*group, strict=True)
            out.append((store, number, _span(names, told[0], told[-1]), *map(sum, counts)))
    return pl.DataFrame(out, schema=schema, orient="row")


def _span(names: list[str], first: int, last: int) -> str:
    """Name of the bands from one to another, numbered from 1; the last is UNKNOWN."""
    known = min(last, len(names) - 1)
    if first == len(names):
        return NOWHERE
    low, high = names[first - 1].rstrip("+").split("-")[0], names[known - 1]
    span = names[first - 1] if first == known else (f"{low}+" if high.endswith("+") else f"{low}-{high.split('-')[1]}")
    return f"{span}, {NOWHERE}" if last == len(names) else span


class TradeAreas(Table, table="gold.trade_areas", partition_by=("as_of",), sort_by=("store_id", "sales_rank", "place")):
    """One row per store, place and as_of date: where the store's sales come from, and which places hold most of them.

    A place is a postal code of at least least_people customers of the store, or the rest of a cell, or of all.
    """

    store_id = String(primary_key=True)
    level = OneOf(*LEVELS, REST, primary_key=True, description="CELL and COARSE_CELL: what smaller places of it left")
    place = String(primary_key=True, description="area_id, H3 cell, or REST")
    as_of = Date(primary_key=True)
    customer_count = Integer(min=1, description="Known people of the place who bought in the store in the window")
    order_count = Integer(description="Their purchases")
    net_amount = Total(description=NET)
    sales_rate = Float(
        nullable=True,
        description="Of the net_amount of the store's rows; may be below 0. Who only gave back, in a place without"
        " buyers, is in none",
    )
    cumulative_rate = Float(nullable=True, description="sales_rate of this place and those before it; REST comes last")
    sales_rank = Integer(description="1: the place with the highest net_amount; REST comes last")
    is_primary = Boolean(description="Of the fewest places that hold trade_area_share of the sales")
    currency = String(description=f"The reporting currency; {UNSTATED}: nothing names one")


@builds(TradeAreas, rules="enrichment", reads={"silver.transactions": SALES})
def trade_areas(
    silver_transactions: pl.LazyFrame,
    silver_person_areas: pl.LazyFrame,
    silver_store_places: pl.LazyFrame,
    silver_reporting_currency: pl.LazyFrame,
    as_of: date,
    params: EnrichmentRules,
) -> pl.LazyFrame:
    """Known customers of the window."""
    rules = params.location
    customers = _per_person(_sold(silver_transactions, as_of, rules), silver_person_areas, silver_store_places)
    by_area = customers.group_by("store_id", *LEVELS.values()).agg(pl.col(COUNTED).sum())
    shown = folded(by_area, ["store_id"], "customer_count", rules.least_people)
    # Of a place without a customer there is no row, lest it tells what a single person gave back.
    counted = shown.group_by("store_id", LEVEL, PLACE).agg(pl.col(COUNTED).sum()).filter(pl.col("customer_count") > 0)
    amount = pl.col("net_amount").cast(pl.Float64)
    total = amount.sum().over("store_id")
    is_rest = pl.col(LEVEL) == REST
    ranked = counted.with_columns(is_rest__=is_rest).sort(
        "store_id", "is_rest__", "net_amount", PLACE, descending=[False, False, True, False]
    ).with_columns(
        sales_rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over("store_id"),
        sales_rate=pl.when(total > 0).then(amount / total),
        cumulative_rate=pl.when(total > 0).then(amount.cum_sum().over("store_id") / total),
    )  # fmt: skip
    before = pl.col("cumulative_rate") - pl.col("sales_rate")
    primary = (before < rules.trade_area_share - 1e-12) & ~is_rest
    return ranked.join(_currency(silver_reporting_currency), how="cross").with_columns(
        as_of=pl.lit(as_of), is_primary=primary.fill_null(False)
    ).select(list(TradeAreas.columns()))  # fmt: skip


class AreaPerformance(Table, table="gold.area_performance", partition_by=("as_of",), sort_by=("level", "place")):
    """One row per place and as_of date: customers of the window by where they live, over all channels, what they bring,
    and how many of those who live there they are.

    A place is a postal code of at least least_people customers, or the rest of a cell, or of all.
    """

    level = OneOf(*LEVELS, REST, primary_key=True, description="What the place is; REST: what is left of all")
    place = String(primary_key=True, description="area_id, H3 cell, or REST")
    as_of = Date(primary_key=True)
    customer_count = Integer(min=1, description="Known people who live there and bought in the window")
    order_count = Integer(description="Their purchases")
    net_amount = Total(
        description="Sold less given back in the window by those who live there, as in gold.customer_360"
    )
    net_per_customer = Float(description="net_amount / customer_count")
    net_per_customer_low = Float(
        nullable=True,
        description="95 % interval (Student); below 0 where few customers of very unequal amounts leave it open",
    )
    net_per_customer_high = Float(nullable=True)
    population = Integer(nullable=True, description="Of the place's areas; null where the list leaves one out")
    penetration_rate = Float(nullable=True, description="customer_count / population")
    penetration_low = Float(nullable=True, description="95 % interval (Wilson)")
    penetration_high = Float(nullable=True)
    currency = String(description=f"The reporting currency; {UNSTATED}: nothing names one")


@builds(AreaPerformance, rules="enrichment", reads={"silver.transactions": SALES})
def area_performance(
    silver_transactions: pl.LazyFrame,
    silver_person_areas: pl.LazyFrame,
    silver_areas: pl.LazyFrame,
    silver_reporting_currency: pl.LazyFrame,
    as_of: date,
    params: EnrichmentRules,
) -> pl.LazyFrame:
    """Areas of the list without a customer count for the population of the cell around them."""
    rules, amount = params.location, pl.col("net_amount").cast(pl.Float64)
    since = as_of - timedelta(days=rules.window_days)
    known = moved(silver_transactions.filter(pl.col("person_id").is_not_null()), "person_id")
    people = known.filter(pl.col("on").is_between(since, as_of, closed="left")).group_by("person_id").agg(
        pl.col("order_count", "net_amount").sum()
    ).join(silver_person_areas, on="person_id", how="left")  # fmt: skip
    is_customer = pl.col("order_count") > 0
    bought = people.group_by(list(LEVELS.values())).agg(
        pl.col("order_count", "net_amount").sum(),
        customer_count=is_customer.sum().cast(pl.Int64),
        of_customers=sums.total(amount.filter(is_customer)),
        squares=sums.total(amount**2),
    )  # fmt: skip
    listed = silver_areas.select(*LEVELS.values(), "population", is_listed=pl.lit(True))
    areas = bought.join(listed, on=list(LEVELS.values()), how="full", coalesce=True).with_columns(
        pl.col("customer_count", "order_count").fill_null(0), pl.col("squares", "of_customers").fill_null(0.0),
        pl.col("net_amount").fill_null(0),
    )  # fmt: skip
    held = pl.col("population").is_not_null()  # nor of who was found by the city alone
    counted = folded(areas, [], "customer_count", rules.least_people).group_by(LEVEL, PLACE).agg(
        pl.col(*COUNTED).sum(),
        squares=sums.total(pl.col("squares")),
        of_customers=sums.total(pl.col("of_customers")),
        population=pl.when(held.all()).then(pl.col("population").sum()),
    ).filter(pl.col("customer_count") > 0)  # fmt: skip
    count = pl.col("customer_count")
    mean = amount / count  # a ratio: who gave back alone adds to the amount and not to the count
    off = pl.col("squares") - 2 * mean * pl.col("of_customers") + mean**2 * count
    variance = off.clip(0) / (count - 1)
    low, high = mean_interval(mean, pl.when(count > 1).then(variance.sqrt()), count)
    lives = pl.when((pl.col("population") >= count) & (pl.col(LEVEL) != REST)).then("population")
    share_low, share_high = wilson(count, pl.col("population"))
    return (
        counted.with_columns(population=lives)
        .join(_currency(silver_reporting_currency), how="cross")
        .with_columns(
            as_of=pl.lit(as_of),
            net_per_customer=mean,
            net_per_customer_low=low,
            net_per_customer_high=high,
            penetration_rate=count / pl.col("population"),
            penetration_low=share_low,
            penetration_high=share_high,
        )
        .select(list(AreaPerformance.columns()))
    )
