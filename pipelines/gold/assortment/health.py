"""What sells and what does not: shares of sales, dead stock, empty shelves and what they cost."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from customer360.pipelines.geography import has_closed
from customer360.pipelines.inference.intervals import weighted_counts
from customer360.pipelines.rules import AssortmentRules, EnrichmentRules
from customer360.platform.graph import builds
from customer360.platform.tables import Date, Float, Integer, OneOf, String, Table, Total

A_SHARE, B_SHARE = 0.8, 0.95  # of sales: the usual classes of an ABC analysis
SHELF = ["product_id", "store_id"]
LEAST_DAYS = 7.0  # in stock, of a shelf: from less no rate of sale is told


class Assortment(Table, table="gold.assortment", partition_by=("as_of",), sort_by=("rank", "product_id")):
    """One row per product of the catalogue and as_of date: its part of the sales, its stock, and what is wrong with it.

    Sales are those of `window_days`; amounts are in the reporting currency. What empty shelves cost is the rate of sale
    of each shelf (a product in a store) while it was there, times the days that it was not, added up over shelves that
    had it for a week of the window; the interval is that of Fay and Feuer for such sums of counts. A store without
    the product before, or in the whole window, does not offer it. A shelf that stays empty is missed for
    `dead_after_days`, and not at all where the product has one of the `ended_statuses` now. It supposes that demand was
    the same on both kinds of days, and that nobody took another product.
    """

    product_id = String(primary_key=True)
    as_of = Date(primary_key=True)
    category = String(nullable=True, description="Of silver.product_categories")
    unit_count = Integer(description="Units sold in the window")
    order_count = Integer(description="Receipts of the window that sold it")
    net_amount = Total(description="Sold less given back, each on the day that it was")
    rank = Integer(min=1, description="By net_amount; equal ones by product_id")
    cumulative_share = Float(nullable=True, description="Of all net_amount above zero, up to and with this product")
    abc_class = OneOf("A", "B", "C", nullable=True, description="First 80 % of sales, next 15 %, rest; null: none sold")
    last_sold_on = Date(nullable=True, description="Of all sales before as_of")
    days_since_sale = Integer(nullable=True, description="Days from last_sold_on to as_of; null: never sold")
    quantity_on_hand = Integer(
        nullable=True,
        description="Last reported before as_of, of stores that have not closed; snapshots of days count where no other"
        " feed has it; null: no stock is reported",
    )
    store_count = Integer(description="Stores whose stock of it was counted in the window")
    in_stock_days = Float(description="Store-days of the window on which it was there")
    out_of_stock_days = Float(description="On which it was missing, in stores that offer it")
    in_stock_rate = Float(nullable=True, description="in_stock_days / (in_stock_days + out_of_stock_days)")
    in_stock_unit_count = Integer(description="Units sold in these stores while it was there")
    sold_while_out_count = Integer(description="Units sold while the count says that there was none: wrong counts")
    lost_units = Float(nullable=True, description="Expected on the days without stock; null: on no shelf for a week")
    lost_units_low = Float(nullable=True, description="95 % interval")
    lost_units_high = Float(nullable=True)
    status = OneOf("SELLING", "SLOW", "DEAD_STOCK", "NEVER_SOLD", "NEW", "GONE", description="SLOW: not sold for"
                   " dead_after_days, and no stock is reported. DEAD_STOCK: the same with stock. GONE: with a stock of"
                   " none. NEW: launched within new_days and not sold yet")  # fmt: skip


@builds(
    Assortment,
    rules="enrichment",
    reads={
        "silver.products": ("product_id", "launched_on", "is_product", "product_status"),
        "silver.transaction_items": ("transaction_id", "source_system", "product_id", "occurred_at", "occurred_on", "is_sale", "is_product", "quantity", "gross_amount", "return_amount", "returned_on"),  # noqa: E501
        "silver.transactions": ("transaction_id", "source_system", "store_id"),
        "silver.stock": (*SHELF, "quantity_on_hand", "updated_at"),
        "silver.stores": ("store_id", "closed_on"),
    },
)  # fmt: skip
def assortment(
    silver_products: pl.LazyFrame,
    silver_product_categories: pl.LazyFrame,
    silver_transaction_items: pl.LazyFrame,
    silver_transactions: pl.LazyFrame,
    silver_stock: pl.LazyFrame,
    silver_stock_counts: pl.LazyFrame,
    silver_stock_intervals: pl.LazyFrame,
    silver_stores: pl.LazyFrame,
    as_of: date,
    params: EnrichmentRules,
) -> pl.LazyFrame:
    """Goods alone, those that were not launched before ``as_of`` left out."""
    rules = params.assortment
    end = pl.lit(as_of).cast(pl.Datetime("us", "UTC"))
    goods = silver_products.filter(
        "is_product", pl.col("launched_on").is_null() | (pl.col("launched_on") < as_of)
    ).select("product_id", "launched_on")
    lines = silver_transaction_items.filter("is_product", pl.col("occurred_on") < as_of)
    closed = silver_stores.filter(has_closed(as_of)).select("store_id")
    reports = (silver_stock, silver_stock_counts.filter(pl.col("counted_at") < end))
    stock = _on_hand(*(told.join(closed, on="store_id", how="anti") for told in reports))
    status = pl.col("product_status").str.strip_chars().str.to_uppercase()
    ended = silver_products.filter(status.is_in([s.upper() for s in rules.ended_statuses])).select("product_id")
    shelves = _shelves(silver_stock_intervals, ended, silver_stores, as_of, rules)
    sold_here = _sold_by_stock(lines, silver_transactions, shelves, as_of, rules)
    known = (
        goods.join(silver_product_categories.select("product_id", "category"), on="product_id", how="left")
        .join(_sales(lines, as_of, rules), on="product_id", how="left")
        .join(stock, on="product_id", how="left")
        .join(_by_product(shelves, sold_here), on="product_id", how="left")
    )
    counts = ("unit_count", "order_count", "store_count", "in_stock_unit_count", "sold_while_out_count")
    filled = known.with_columns(
        pl.col(*counts, "net_amount", "in_stock_days", "out_of_stock_days").fill_null(0), as_of=pl.lit(as_of)
    )
    return _shared(filled).with_columns(status=_status(as_of, rules)).select(list(Assortment.columns()))


def _on_hand(stock: pl.LazyFrame, counts: pl.LazyFrame) -> pl.LazyFrame:
    """product_id, quantity_on_hand: the last count of each shelf; one that was only ever reported without a date has
    that."""
    last = counts.sort("counted_at").unique(SHELF, keep="last", maintain_order=True)
    undated = stock.filter(pl.col("updated_at").is_null()).join(last, on=SHELF, how="anti")
    both = pl.concat([frame.select("product_id", "quantity_on_hand") for frame in (last, undated)])
    return both.group_by("product_id").agg(pl.col("quantity_on_hand").clip(0).sum())


def _sales(lines: pl.LazyFrame, as_of: date, rules: AssortmentRules) -> pl.LazyFrame:
    recent = pl.col("occurred_on") >= as_of - timedelta(days=rules.window_days)
    sold = (pl.col("is_sale") | (pl.col("gross_amount") != 0)) & (pl.col("quantity") > 0)  # also what came back since
    order = pl.struct("source_system", "transaction_id")
    returned_on = pl.coalesce("returned_on", "occurred_on")
    came_back = (returned_on >= as_of - timedelta(days=rules.window_days)) & (returned_on < as_of)
    return lines.group_by("product_id").agg(
        unit_count=pl.col("quantity").filter(sold & recent).sum(),
        order_count=order.filter(sold & recent).n_unique().cast(pl.Int64),
        net_amount=pl.col("gross_amount").filter(recent).sum() - pl.col("return_amount").filter(came_back).sum(),
        last_sold_on=pl.col("occurred_on").filter(sold).max(),
    )


def _shelves(
    intervals: pl.LazyFrame, ended: pl.LazyFrame, stores: pl.LazyFrame, as_of: date, rules: AssortmentRules
) -> pl.LazyFrame:
    """Intervals of stock cut to the window, and to the last day of a store that has closed; ``days`` are those that
    count: on which it was there, or was missing."""
    end = pl.lit(as_of).cast(pl.Datetime("us", "UTC"))
    begin = end - timedelta(days=rules.window_days)
    is_last = pl.col("valid_until").is_null() | (pl.col("valid_until") >= end)
    shut = (pl.col("closed_on") + timedelta(days=1)).cast(pl.Datetime("us", "UTC"))
    known = (
        intervals.filter(pl.col("valid_from") < end)
        .join(ended.select("product_id", is_ended=True), on="product_id", how="left")
        .join(stores.select("store_id", "closed_on"), on="store_id", how="left")
        .with_columns(first=pl.col("valid_from").filter("is_in_stock").min().over(SHELF))
    )
    cut = known.select(
        *SHELF, "is_in_stock", since=pl.max_horizontal("valid_from", begin),
        until=pl.min_horizontal(pl.col("valid_until").fill_null(end), end, shut),
        missed_until=pl.when(is_last & pl.col("is_ended").fill_null(False)).then("valid_from")
        .when(is_last).then(pl.col("valid_from") + timedelta(days=rules.dead_after_days)),
        is_offered=(pl.col("valid_from") >= pl.col("first")).fill_null(False),
    ).filter(pl.col("until") > pl.col("since"))  # fmt: skip
    there = pl.col("is_in_stock")
    counts_until = pl.when(there).then("until").otherwise(pl.min_horizontal("until", "missed_until"))
    lasted = ((counts_until - pl.col("since")).dt.total_seconds() / 86_400).clip(0)
    counts = pl.col("is_offered") & there.any().over(SHELF)
    return cut.with_columns(days=pl.when(counts).then(lasted).otherwise(0.0))


def _by_product(shelves: pl.LazyFrame, sold: pl.LazyFrame) -> pl.LazyFrame:
    """Days and units of all shelves of a product, and what was not sold on empty ones."""
    there, days = pl.col("is_in_stock"), pl.col("days")
    held = (  # in order: sums of fractions are then the same in every run
        shelves.sort(*SHELF, "since").group_by(SHELF, maintain_order=True)
        .agg(inside=days.filter(there).sum(), outside=days.filter(~there).sum())
    )  # fmt: skip
    units = pl.col("in_stock_unit_count").fill_null(0)
    is_told = pl.col("inside") >= LEAST_DAYS
    weight = pl.when(is_told).then(pl.col("outside") / pl.col("inside")).otherwise(0.0)
    both = held.join(sold, on=SHELF, how="left", maintain_order="left").with_columns(weight=weight)
    counted = both.group_by("product_id", maintain_order=True).agg(
        pl.col("in_stock_unit_count", "sold_while_out_count").sum(),
        store_count=pl.len().cast(pl.Int64), in_stock_days=pl.col("inside").sum(),
        out_of_stock_days=pl.col("outside").sum(), lost=(pl.col("weight") * units).sum(),
        square=(pl.col("weight") ** 2 * units).sum(), most=pl.col("weight").max(), told=is_told.any(),
    ).collect()  # fmt: skip
    low, high = weighted_counts(*(counted[c].cast(pl.Float64).to_numpy() for c in ("lost", "square", "most")))
    lost = {"lost_units": counted["lost"], "lost_units_low": pl.Series(low), "lost_units_high": pl.Series(high)}
    total = pl.col("in_stock_days") + pl.col("out_of_stock_days")
    return counted.lazy().with_columns(
        in_stock_rate=pl.when(total > 0).then(pl.col("in_stock_days") / total),
        **{c: pl.when("told").then(pl.lit(value)) for c, value in lost.items()},
    ).drop("lost", "square", "most", "told")  # fmt: skip


def _sold_by_stock(
    lines: pl.LazyFrame, transactions: pl.LazyFrame, shelves: pl.LazyFrame, as_of: date, rules: AssortmentRules
) -> pl.LazyFrame:
    """Units sold by shelf, by whether the count of their shelf says that there were any."""
    recent = pl.col("occurred_on") >= as_of - timedelta(days=rules.window_days)
    sold = lines.filter(recent, "is_sale", pl.col("quantity") > 0, pl.col("occurred_at").is_not_null())
    stores = transactions.filter(pl.col("store_id").is_not_null())
    placed = sold.join(stores, on=["source_system", "transaction_id"]).select(*SHELF, "occurred_at", "quantity")
    found = placed.sort("occurred_at").join_asof(
        shelves.sort("since"), left_on="occurred_at", right_on="since", by=SHELF, strategy="backward",
        check_sortedness=False,
    )  # fmt: skip
    within, there = pl.col("occurred_at") < pl.col("until"), pl.col("is_in_stock")
    return found.group_by(SHELF).agg(
        in_stock_unit_count=pl.col("quantity").filter(within & there).sum(),
        sold_while_out_count=pl.col("quantity").filter(within & ~there).sum(),
    )


def _shared(known: pl.LazyFrame) -> pl.LazyFrame:
    """With rank, cumulative share and class by net amount; what brought nothing has neither share nor class."""
    amount = pl.col("net_amount").cast(pl.Float64).clip(0)
    ordered = known.sort("net_amount", "product_id", descending=[True, False]).with_columns(
        rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int64), share=amount.cum_sum() / amount.sum(), own=amount
    )
    before = pl.col("share") - pl.col("own") / pl.col("own").sum()  # the product that crosses a line is above it
    letter = (
        pl.when(pl.col("own") <= 0).then(None).when(before < A_SHARE - 1e-9).then(pl.lit("A"))
        .when(before < B_SHARE - 1e-9).then(pl.lit("B")).otherwise(pl.lit("C"))
    )  # fmt: skip
    return ordered.with_columns(
        cumulative_share=pl.when(pl.col("own") > 0).then("share"), abc_class=letter,
        days_since_sale=(pl.col("as_of") - pl.col("last_sold_on")).dt.total_days(),
    ).drop("share", "own")  # fmt: skip


def _status(as_of: date, rules: AssortmentRules) -> pl.Expr:
    is_new = (pl.lit(as_of) - pl.col("launched_on")).dt.total_days() <= rules.new_days
    stock = pl.col("quantity_on_hand")
    return (
        pl.when(pl.col("last_sold_on").is_null() & is_new.fill_null(False)).then(pl.lit("NEW"))
        .when(pl.col("last_sold_on").is_null()).then(pl.lit("NEVER_SOLD"))
        .when(pl.col("days_since_sale") < rules.dead_after_days).then(pl.lit("SELLING"))
        .when(stock > 0).then(pl.lit("DEAD_STOCK")).when(stock <= 0).then(pl.lit("GONE"))
        .otherwise(pl.lit("SLOW"))
    )  # fmt: skip
