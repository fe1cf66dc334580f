"""Prices and stock as they were: intervals of one price, and of goods that were there or not."""

from __future__ import annotations

import polars as pl

from customer360.pipelines.money import UNSTATED
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Integer, Money, String, Table, Timestamp

SOLD = "SOLD"
LIST = "LIST"
INSTANT = pl.Datetime("us", "UTC")
SHELF = ["product_id", "store_id"]


class ListPrices(Table, table="silver.list_prices", per="product_id", sort_by=("product_id", "valid_from")):
    """One row per entry of a price list: what a product costs from a moment on."""

    product_id = String(primary_key=True)
    price_type = String(primary_key=True)
    currency = String(primary_key=True, description=f"{UNSTATED}: the entry names none")
    valid_from = Timestamp(primary_key=True)
    valid_to = Timestamp(nullable=True)
    source_system = String(primary_key=True)
    price = Money()


@builds(ListPrices)
def list_prices(bronze_product_prices: pl.LazyFrame) -> pl.LazyFrame:
    """Entries that name no kind are of the list; of two that thereby say the same kind the lower."""
    entries = bronze_product_prices.select(
        product_id="PRODUCT_ID", price_type=pl.col("PRICE_TYPE").fill_null(LIST),
        currency=pl.col("CURRENCY_CODE").fill_null(UNSTATED), valid_from="VALID_FROM", valid_to="VALID_TO",
        source_system="_source_system", price="PRICE",
    )  # fmt: skip
    key = [name for name in ListPrices.columns() if name not in ("valid_to", "price")]
    return entries.sort("price", "valid_to").unique(key, keep="first", maintain_order=True)


class PriceIntervals(
    Table, table="silver.price_intervals", per="product_id",
    sort_by=("product_id", "price_type", "valid_from", "currency", "source_system"),
):  # fmt: skip
    """One row per product, kind of price, currency, source system and stretch of time in which the price was the same.

    Kinds are those of the price lists, and SOLD: the price of most lines of a day before discounts, which holds until
    a day shows another. Prices are in their own currency: a rate of exchange is no change of price.
    """

    product_id = String(primary_key=True)
    price_type = String(primary_key=True, description=f"LIST, PROMOTION … of price lists; {SOLD}: seen on sold lines")
    currency = String(primary_key=True, description=f"{UNSTATED}: nothing names one")
    source_system = String(primary_key=True)
    valid_from = Timestamp(primary_key=True)
    valid_until = Timestamp(nullable=True, description="First moment after it; null: none is known")
    price = Money()
    previous_price = Money(nullable=True, description="Of the interval before; null: the first")
    observation_count = Integer(description="Entries of price lists, or lines sold, that say so")
    last_seen_at = Timestamp(description="When it was last said; a sold price may have changed unseen since")


KEY = ["source_system", "product_id", "price_type", "currency"]


@builds(
    PriceIntervals,
    reads={"silver.transaction_items": ("source_system", "product_id", "is_sale", "is_product", "quantity", "unit_price", "currency", "occurred_on")},  # noqa: E501
)  # fmt: skip
def price_intervals(
    silver_list_prices: pl.LazyFrame,
    silver_transaction_items: pl.LazyFrame,
    silver_reporting_currency: pl.LazyFrame,
) -> pl.LazyFrame:
    """A price holds until the next of its kind begins, or until its own end where that is earlier; then the latest of
    those before that has not ended holds again. Of several from one moment on the lowest counts."""
    named = pl.concat([silver_reporting_currency.select(reporting="currency"), pl.LazyFrame({"reporting": [UNSTATED]})])
    stated = pl.when(pl.col("currency") != UNSTATED).then("currency")
    listed = (
        silver_list_prices.join(named.head(1), how="cross")
        .select(
            "source_system", "product_id", "price_type", "price", currency=pl.coalesce(stated, "reporting"),
            at="valid_from", said="valid_from", ends="valid_to", seen=pl.lit(1, pl.Int64),
        )
    )  # fmt: skip
    sold = (
        _sold(silver_transaction_items)
        .join(named.head(1), how="cross")
        .with_columns(currency=pl.coalesce("currency", "reporting"))
    )
    columns = listed.collect_schema().names()
    entries = pl.concat([listed, _resumed(listed).select(columns), sold.select(columns)])
    return _stretches(entries.with_columns(key__=pl.struct(KEY).rank("dense")).collect())


def _stretches(entries: pl.DataFrame) -> pl.LazyFrame:
    """Entries, their keys numbered in ``key__``, folded to intervals. Four texts take longer to sort than all else."""
    known = (
        entries.lazy()
        .sort("key__", "at", "price", "ends", descending=[False, False, False, True], nulls_last=False)
        .group_by("key__", "at", maintain_order=True)
        .agg(pl.col("price", "ends").first(), pl.col("seen").sum(), pl.col("said").max())
    )
    until = pl.min_horizontal("ends", pl.col("at").shift(-1).over("key__"))
    follows = (pl.col("price") == pl.col("price").shift()) & (pl.col("until").shift() == pl.col("at"))
    runs = known.with_columns(until=until).with_columns(is_new=~follows.over("key__").fill_null(False))
    stretches = (
        runs.with_columns(run=pl.col("is_new").cum_sum().over("key__"))
        .group_by("key__", "run")
        .agg(
            pl.col("price").first(), valid_from=pl.col("at").min(), valid_until=pl.col("until").last(),
            observation_count=pl.col("seen").sum(), last_seen_at=pl.col("said").max(),
        )
        .sort("key__", "valid_from")
    )  # fmt: skip
    before = pl.col("price").shift().over("key__")
    keys = entries.lazy().select("key__", *KEY).unique("key__")
    named = stretches.with_columns(previous_price=before).join(keys, on="key__")
    return named.select(list(PriceIntervals.columns()))


def _resumed(listed: pl.LazyFrame) -> pl.LazyFrame:
    """Entries that hold again at the end of another, from that moment on: the latest that began before it and still
    holds. Only those that another entry interrupted can; where the last that began goes on, it held already."""
    ordered = listed.sort(
        *KEY, "at", "price", "ends", descending=[False] * (len(KEY) + 1) + [True, False], nulls_last=True
    )
    after = pl.col("at").shift(-1).over(KEY)
    interrupted = ordered.filter(after.is_not_null() & (pl.col("ends").is_null() | (after < pl.col("ends"))))
    moments = listed.select(*KEY, again="ends").filter(pl.col("again").is_not_null()).unique()
    begun = listed.select(*KEY, again="at").unique()
    last = ordered.unique([*KEY, "at"], keep="last", maintain_order=True).select(*KEY, "at", goes_on="ends")
    free = (
        moments.join(begun, on=[*KEY, "again"], how="anti")
        .sort("again")
        .join_asof(
            last.sort("at"), left_on="again", right_on="at", by=KEY, allow_exact_matches=False, check_sortedness=False
        )
        .filter(pl.col("goes_on") <= pl.col("again"))
    )
    back = (
        free.select(*KEY, "again")
        .join(interrupted, on=KEY)
        .filter(pl.col("at") < pl.col("again"), pl.col("ends").is_null() | (pl.col("ends") > pl.col("again")))
        .sort(*KEY, "again", "at", "price", descending=[False] * (len(KEY) + 1) + [True, False])
        .unique([*KEY, "again"], keep="first", maintain_order=True)
    )
    return back.with_columns(at="again", seen=pl.lit(0, pl.Int64))


def _sold(items: pl.LazyFrame) -> pl.LazyFrame:
    """By system, product, currency and day the unit price of most lines sold, the lowest among equals."""
    sold = items.filter("is_sale", "is_product", pl.col("quantity") > 0, pl.col("unit_price") > 0)
    day = ("source_system", "product_id", "currency", "occurred_on")
    counted = sold.filter(pl.col("product_id").is_not_null(), pl.col("occurred_on").is_not_null())
    return (
        counted.group_by(*day, "unit_price").agg(seen=pl.len().cast(pl.Int64))
        .sort("seen", "unit_price", descending=[True, False])
        .group_by(day).agg(pl.col("unit_price", "seen").first())
        .with_columns(
            price_type=pl.lit(SOLD), price="unit_price", at=pl.col("occurred_on").cast(INSTANT),
            said=pl.col("occurred_on").cast(INSTANT), ends=pl.lit(None, INSTANT),
        )
    )  # fmt: skip


class StockLevels(
    Table, table="silver.stock_levels", per="product_id", sort_by=("product_id", "store_id", "counted_at")
):
    """One row per count of a product in a store."""

    product_id = String(primary_key=True)
    store_id = String(primary_key=True)
    counted_at = Timestamp(primary_key=True)
    source_system = String(primary_key=True)
    quantity_on_hand = Integer()


@builds(StockLevels)
def stock_levels(bronze_stock_levels: pl.LazyFrame) -> pl.LazyFrame:
    """Counts as delivered, in silver's names."""
    return bronze_stock_levels.select(
        product_id="PRODUCT_ID", store_id="STORE_ID", counted_at="COUNTED_AT", source_system="_source_system",
        quantity_on_hand="QUANTITY_ON_HAND",
    )  # fmt: skip


class StockCounts(
    Table, table="silver.stock_counts", per="product_id", sort_by=("product_id", "store_id", "counted_at")
):
    """One row per product, store and moment at which the stock is known, whichever feed says it.

    Stock levels and the dated current stock come first; snapshots of days count for products that neither counts.
    gold.stock_plan takes both, each location as last reported.
    """

    product_id = String(primary_key=True)
    store_id = String(primary_key=True, description="Of a snapshot its location, which may be a distribution centre")
    counted_at = Timestamp(primary_key=True, description="Of a snapshot the last moment of its day")
    quantity_on_hand = Integer(description="Of several counts of one moment the lowest")


@builds(StockCounts, reads={"silver.stock": (*SHELF, "quantity_on_hand", "updated_at")})
def stock_counts(
    silver_stock_levels: pl.LazyFrame, silver_stock: pl.LazyFrame, silver_stock_days: pl.LazyFrame
) -> pl.LazyFrame:
    """The feeds of stock in one form."""
    columns = [*SHELF, "counted_at", "quantity_on_hand"]
    dated = silver_stock.filter(pl.col("updated_at").is_not_null()).rename({"updated_at": "counted_at"})
    counted = pl.concat([silver_stock_levels.select(columns), dated.select(columns)])
    end = (pl.col("on") + pl.duration(days=1)).cast(INSTANT) - pl.duration(microseconds=1)
    snapshots = silver_stock_days.select("product_id", "quantity_on_hand", store_id="location_id", counted_at=end).join(
        counted.select("product_id").unique(), on="product_id", how="anti"
    )
    known = pl.concat([counted, snapshots.select(columns)])
    return known.group_by(*SHELF, "counted_at").agg(pl.col("quantity_on_hand").min())


class StockIntervals(
    Table, table="silver.stock_intervals", per="product_id", sort_by=("product_id", "store_id", "valid_from")
):
    """One row per product, store and stretch of time in which goods were there, or were not."""

    product_id = String(primary_key=True)
    store_id = String(primary_key=True)
    valid_from = Timestamp(primary_key=True, description="First count that says so")
    valid_until = Timestamp(nullable=True, description="First count that says otherwise; null: none yet")
    is_in_stock = Boolean(description="More than nothing was counted")
    first_quantity = Integer()
    last_quantity = Integer()
    lowest_quantity = Integer()
    count_count = Integer(description="Counts in the stretch")


@builds(StockIntervals)
def stock_intervals(silver_stock_counts: pl.LazyFrame) -> pl.LazyFrame:
    """Counts by their moment."""
    counts = silver_stock_counts.select(*SHELF, at="counted_at", quantity="quantity_on_hand")
    known = counts.sort(*SHELF, "at").with_columns(is_in_stock=pl.col("quantity") > 0)
    turns = (pl.col("is_in_stock") != pl.col("is_in_stock").shift().over(SHELF)).fill_null(True)
    stretches = (
        known.with_columns(run=turns.cum_sum().over(SHELF))
        .group_by(*SHELF, "run")
        .agg(
            pl.col("is_in_stock").first(), valid_from=pl.col("at").min(), first_quantity=pl.col("quantity").first(),
            last_quantity=pl.col("quantity").last(), lowest_quantity=pl.col("quantity").min(),
            count_count=pl.len().cast(pl.Int64),
        )
        .sort(*SHELF, "valid_from")
    )  # fmt: skip
    return stretches.with_columns(valid_until=pl.col("valid_from").shift(-1).over(SHELF)).drop("run")
