"""The star of the synthetic retailer: every load keeps its contract and its grain, every key resolves, facts equal
gold.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from customer360.platform import judging, stars, tables
from customer360.platform.lake import bucket_numbers
from customer360.platform.stars import Load
from customer360.serve.compose import compose

compose()
STAR = sorted(name for name in stars.LOADS if not name.partition(".")[2].startswith("t_"))
SLICED = [name for name in STAR if stars.LOADS[name].sliced]
PARTS = 8
PERSONAL = {"customer.dim_customers", "customer.customer_360"}


@pytest.fixture(scope="session")
def lake_frames(retailer: Any) -> dict[str, pl.DataFrame]:
    """What the loads read. No model has scored, so that the lists are the products that people looked at most."""
    seen = retailer.frame("gold.interactions").collect()
    lists = (
        seen.group_by("person_id", "product_id").len()
        .sort("person_id", "len", "product_id", descending=[False, True, False])
        .with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over("person_id"))
        .filter(pl.col("rank") <= 5)
        .with_columns(score=pl.col("len").cast(pl.Float64), model=pl.lit("most_seen"), version=pl.lit("1"), mode=pl.lit("all"),  # noqa: E501
                      as_of=pl.lit(retailer.as_of - timedelta(days=60)))
    )  # fmt: skip
    made = {"gold.recommendations": lists.select(list(tables.schema(tables.by_name("gold.recommendations"))))}
    for load in (stars.LOADS[name] for name in STAR):
        for name in load.inputs:
            if name not in made:
                made[name] = retailer.frame(name).collect()
    return made


def rows(load: Load, frames: dict[str, pl.DataFrame]) -> pl.DataFrame:
    made = tables.conform(load.table, load.function(*(frames[name].lazy() for name in load.inputs))).collect()
    return judging.require(load.table, made).sort(stars.key_of(load.table))


@pytest.fixture(scope="session")
def star(lake_frames: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    return {name: rows(stars.LOADS[name], lake_frames) for name in STAR}


@pytest.mark.parametrize("name", STAR)
def test_a_table_has_rows_and_keeps_its_contract(name: str, star: dict[str, pl.DataFrame]) -> None:
    assert star[name].height > 0


@pytest.mark.parametrize("name", SLICED)
def test_a_load_may_be_split_by_subject(
    name: str, star: dict[str, pl.DataFrame], lake_frames: dict[str, pl.DataFrame]
) -> None:
    load = stars.LOADS[name]

    def share(table: str, number: int) -> pl.DataFrame:
        frame = lake_frames[table]
        if table not in load.sliced:
            return frame
        return frame.filter(
            bucket_numbers(frame["subject_id" if "subject_id" in frame.columns else "person_id"], PARTS) == number
        )

    parts = [rows(load, {t: share(t, number) for t in load.inputs}) for number in range(PARTS)]
    assert_frame_equal(pl.concat(parts).sort(stars.key_of(load.table)), star[name])


@pytest.mark.parametrize("name", STAR)
def test_every_key_resolves(name: str, star: dict[str, pl.DataFrame]) -> None:
    for column, dimension in stars.foreign_keys(stars.LOADS[name].table).items():
        (key,) = stars.key_of(stars.LOADS[dimension].table)
        members = pl.concat([star[dimension][key], stars.unknown_member(stars.LOADS[dimension].table)[key]])
        assert set(star[name][column]) <= set(members), f"{column} -> {dimension}"


def test_facts_of_the_three_schemas_share_customers_and_days() -> None:
    for name in STAR:
        if ".fact_" in name:
            found = stars.foreign_keys(stars.LOADS[name].table)
            assert found["customer_key"] == "customer.dim_customers" and found["date_key"] == "customer.dim_dates", name


def test_personal_columns_stand_with_the_customer_alone() -> None:
    assert {name for name in STAR if tables.pii_columns(stars.LOADS[name].table)} == PERSONAL


def test_revenue_counts_guests(star: dict[str, pl.DataFrame], lake_frames: dict[str, pl.DataFrame]) -> None:
    facts, lake = star["customer.fact_transactions"], lake_frames["silver.transactions"]
    guests = facts.filter(pl.col("customer_key") == stars.UNKNOWN)
    assert guests["net_amount"].sum() == lake.filter(pl.col("person_id").is_null())["net_amount"].sum() > 0
    assert (
        facts["net_amount"].sum() == lake["net_amount"].sum() == star["customer.fact_interactions"]["net_amount"].sum()
    )


def test_a_customers_receipts_before_the_date_are_its_value(star: dict[str, pl.DataFrame], retailer: Any) -> None:
    """The two facts meet: what gold says of a person at as_of is the sum of the receipts before it."""
    until = int(f"{retailer.as_of:%Y%m%d}")
    receipts = star["customer.fact_transactions"].filter(
        pl.col("date_key") < until, pl.col("customer_key") != stars.UNKNOWN
    )
    summed = receipts.group_by("customer_key").agg(
        pl.col("net_amount").sum(), order_count=pl.col("is_sale").sum().cast(pl.Int64)
    )
    values = star["customer.fact_customer_values"].select("customer_key", "net_amount", "order_count")
    joined = values.join(summed, on="customer_key", how="left").with_columns(
        pl.col("net_amount_right", "order_count_right").fill_null(0)
    )
    assert joined.filter(pl.col("net_amount") != pl.col("net_amount_right")).is_empty()
    assert joined.filter(pl.col("order_count") != pl.col("order_count_right")).is_empty()
    assert values["net_amount"].sum() > 0


def test_a_product_that_no_catalogue_has_is_inferred(lake_frames: dict[str, pl.DataFrame]) -> None:
    catalogue = lake_frames["silver.products"]
    sold = lake_frames["silver.transaction_items"]["product_id"].drop_nulls()[0]
    fewer = lake_frames | {"silver.products": catalogue.filter(pl.col("product_id") != sold)}
    made = rows(stars.LOADS["customer.dim_products"], fewer)
    assert made.filter(pl.col("product_key") == sold).select("is_inferred", "product_name").rows() == [(True, None)]
    assert made.height == catalogue.height


def test_journeys_end_with_a_purchase(star: dict[str, pl.DataFrame], lake_frames: dict[str, pl.DataFrame]) -> None:
    steps = star["behavior.fact_journeys"]
    assert steps["is_conversion"].sum() == lake_frames["silver.transactions"]["is_sale"].sum()
    last = steps.filter(pl.col("step_number") == pl.col("step_count"))
    assert last["journey_id"].n_unique() == last.height == steps["journey_id"].n_unique()
    assert (last["is_conversion"] == last["has_converted"]).all() and not last["has_converted"].all()
    assert steps.filter("is_conversion", pl.col("step_number") < pl.col("step_count")).is_empty()
    assert steps.filter((pl.col("step_number") == 1) != pl.col("minutes_since_previous").is_null()).is_empty()


def test_rates_by_algorithm_are_one_query(star: dict[str, pl.DataFrame], lake_frames: dict[str, pl.DataFrame]) -> None:
    name = "personalization.fact_personalization_events"
    joined = star[name].join(star["personalization.dim_recommendations"], on="recommendation_key")
    first = joined.filter("is_first").group_by("algorithm", "version", "placement").agg(
        *(pl.col("event_type").eq(kind).sum().alias(kind) for kind in ("OFFERED", "VIEWED", "PURCHASED"))
    )  # fmt: skip
    (row,) = first.rows(named=True)
    assert row["OFFERED"] == lake_frames["gold.recommendations"].height
    assert 0 < row["PURCHASED"] < row["OFFERED"] and 0 < row["VIEWED"] < row["OFFERED"]


def test_only_responses_within_the_days_after_the_list_count(
    lake_frames: dict[str, pl.DataFrame], retailer: Any
) -> None:
    offer = lake_frames["gold.recommendations"].head(1)
    as_of, person, product = offer.select("as_of", "person_id", "product_id").row(0)
    days = [-1, 0, 13, 14]
    seen = pl.DataFrame(
        [{"person_id": person, "product_id": product, "on": as_of + timedelta(days=d), "kind": "view", "category": None,
          "count": 2, "quantity": 0} for d in days],
        schema=tables.schema(tables.by_name("gold.interactions")),
    )  # fmt: skip
    load = stars.LOADS["personalization.fact_personalization_events"]
    made = rows(load, {"gold.recommendations": offer, "gold.interactions": seen}).filter(
        pl.col("event_type") == "VIEWED"
    )
    keys = [int(f"{as_of + timedelta(days=d):%Y%m%d}") for d in (0, 13)]
    assert made.select("date_key", "is_first", "event_count").rows() == [(keys[0], True, 2), (keys[1], False, 2)]


def test_new_lists_say_that_their_responses_are_not_complete(lake_frames: dict[str, pl.DataFrame]) -> None:
    offer = lake_frames["gold.recommendations"]
    last = lake_frames["gold.interactions"]["on"].max()
    load = stars.LOADS["personalization.dim_recommendations"]
    for days, complete in ((13, True), (12, False)):
        lists = offer.with_columns(as_of=pl.lit(last - timedelta(days=days)))
        made = rows(load, lake_frames | {"gold.recommendations": lists})
        assert made["is_response_complete"].to_list() == [complete]


def test_the_calendar_names_days_as_the_specification_counts_them(star: dict[str, pl.DataFrame]) -> None:
    day = star["customer.dim_dates"].filter(pl.col("date_key") == 20260628).row(0, named=True)  # a Sunday
    assert (day["day_of_week"], day["is_weekend"], day["quarter"], day["week"]) == (1, True, 2, 26)
    assert star["behavior.dim_times"]["day_part"].to_list()[::6] == ["NIGHT", "MORNING", "AFTERNOON", "EVENING"]
