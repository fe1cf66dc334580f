"""Why a table has no rows: the feed, the column or the evidence that it lacks."""

from __future__ import annotations

import polars as pl
import pytest

from customer360.platform import tables
from customer360.platform.graph import builds
from customer360.platform.lake import Lake
from customer360.platform.run.control import write_rows
from customer360.platform.settings import Settings
from customer360.platform.tables import String, Table
from customer360.serve.missing import missing


@pytest.fixture
def shop(empty_graph: None, lake: Lake) -> Lake:
    """Sales without stores or coupons have landed; nothing fills the table of stores."""

    class Sales(Table, table="bronze.t_sales", key=("SALE_ID",)):
        """One row per sale."""

        SALE_ID = String(nullable=False)
        STORE_ID = String(nullable=True)
        COUPON = String(nullable=True)
        CHANNEL = String(nullable=True)

    class Stores(Table, table="bronze.t_stores", key=("STORE_ID",)):
        """One row per store."""

        STORE_ID = String(nullable=False)

    class Sold(Table, table="silver.t_sales"):
        """One row per sale."""

        sale_id = String(primary_key=True)
        coupon = String(nullable=True)
        place = String(nullable=True)

    class Places(Table, table="silver.t_stores"):
        """One row per store."""

        store_id = String(primary_key=True)

    class ByStore(Table, table="gold.t_by_store"):
        """One row per store that sold."""

        store_id = String(primary_key=True)

    class Nearest(Table, table="gold.t_nearest"):
        """One row per sale with a store."""

        sale_id = String(primary_key=True)

    class Coupons(Table, table="gold.t_coupons"):
        """One row per coupon."""

        coupon = String(primary_key=True)

    class Rare(Table, table="gold.t_rare"):
        """One row per place of a hundred sales."""

        place = String(primary_key=True)

    @builds(Sold)
    def t_sales(bronze_t_sales: pl.LazyFrame) -> pl.LazyFrame:
        place = pl.coalesce("STORE_ID", "CHANNEL")
        return bronze_t_sales.select(sale_id="SALE_ID", coupon="COUPON", place=place)

    @builds(Places)
    def t_stores(bronze_t_stores: pl.LazyFrame) -> pl.LazyFrame:
        return bronze_t_stores.select(store_id="STORE_ID")

    @builds(ByStore)
    def t_by_store(silver_t_stores: pl.LazyFrame, silver_t_sales: pl.LazyFrame) -> pl.LazyFrame:
        return silver_t_stores.join(silver_t_sales, left_on="store_id", right_on="place", how="semi")

    @builds(Nearest)
    def t_nearest(silver_t_sales: pl.LazyFrame, silver_t_stores: pl.LazyFrame) -> pl.LazyFrame:
        return silver_t_sales.join(silver_t_stores, left_on="place", right_on="store_id").select("sale_id")

    @builds(Coupons)
    def t_coupons(silver_t_sales: pl.LazyFrame) -> pl.LazyFrame:
        return silver_t_sales.filter(pl.col("coupon").is_not_null()).select("coupon").unique()

    @builds(Rare)
    def t_rare(silver_t_sales: pl.LazyFrame) -> pl.LazyFrame:
        return silver_t_sales.group_by("place").agg(n=pl.len()).filter(pl.col("n") > 100).select("place")

    lake.ensure(Sales)
    landed = pl.DataFrame([{"SALE_ID": "1", "CHANNEL": "WEB"}], schema=tables.schema(Sales))
    lake.append_batch(
        "bronze.t_sales", [lake.write_file("bronze.t_sales", landed, {"_source": "s"})], source="s", seq=1
    )
    write_rows(lake, Sold, [{"sale_id": "1", "place": "WEB"}])
    return lake


def test_each_table_without_rows_says_what_it_lacks(shop: Lake) -> None:
    found = {each.table: (each.lacks, each.names) for each in missing(shop, Settings(), {})}
    stores = ("bronze.t_stores (no source)",)
    assert found == {
        "silver.t_stores": ("FEED", stores),
        "gold.t_by_store": ("FEED", stores),
        "gold.t_nearest": ("ANY_FEED", stores),
        "gold.t_coupons": ("COLUMN", ("bronze.t_sales.COUPON",)),
        "gold.t_rare": ("EVIDENCE", ()),
    }


def test_a_source_that_brought_nothing_is_named(shop: Lake) -> None:
    source = {"table": "bronze.t_stores", "system": "S", "path": "stores.csv", "format": "csv"}
    settings = Settings.model_validate({"sources": {"stores": source}})
    said = next(each for each in missing(shop, settings, {}) if each.table == "silver.t_stores")
    assert said.text == "no rows of bronze.t_stores (stores brought none)"
