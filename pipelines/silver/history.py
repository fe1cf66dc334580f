"""What a transaction is, and what its subject had done before it."""

from __future__ import annotations

import polars as pl

from customer360.pipelines.money import ZERO
from customer360.pipelines.receipts import given_back_since
from customer360.pipelines.rules import EnrichmentRules
from customer360.pipelines.vocabulary import Activity
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Float, Integer, Money, OneOf, String, Table, Timestamp

ACTIVITY: Activity = "enrichment"


class TransactionFacts(
    Table,
    table="silver.transaction_facts",
    per="subject_id",
    sort_by=("occurred_at", "source_system", "transaction_id"),
):
    """One row per transaction: what it is, and what its subject had done before it (never what came later).

    "Before" counts completed sales of the same subject that stand earlier by (occurred_at, source_system,
    transaction_id); the row itself is left out. What depends on a date is in gold.purchase_profiles.
    """

    transaction_id = String(primary_key=True)
    source_system = String(primary_key=True)
    subject_id = String()
    person_id = String(nullable=True)
    occurred_at = Timestamp()
    occurred_on = Date()
    is_sale = Boolean()
    channel_group = String()
    transaction_category = OneOf("HIGH_VALUE", "MEDIUM_VALUE", "LOW_VALUE", nullable=True)
    basket_size = OneOf("LARGE", "MEDIUM", "SMALL", nullable=True, description="Null, as the category, without a rate")
    is_first_purchase = Boolean(description="A completed sale with none before it")
    is_home_store = Boolean(description="The person's preferred store; false where either is unknown")
    orders_before = Integer(description="Completed sales")
    spent_before = Money(
        description="Net, in the reporting currency: what was given back before it counts negative; without what is"
        " unconverted"
    )
    mean_order_before = Float(nullable=True, description="Gross amount an order whose amount is known")
    days_since_order = Integer(nullable=True, description="Whole days since the sale before")
    categories_before = Integer(description="Different product categories bought")
    channels_before = Integer(description="Different channels bought through")
    stores_before = Integer(description="Different stores bought in")
    product_affinity = Float(
        description="Share of the categories bought before that this transaction has again, 0 to 1"
    )
    quarter = Integer()
    month = Integer()
    day_of_week = Integer(description="1 is Sunday, 7 is Saturday, as in the specification")
    hour = Integer(description="UTC")


ORDER = ("occurred_at", "source_system", "transaction_id")
HEADER = ("transaction_id", "source_system", "subject_id", "person_id", "occurred_at", "occurred_on", "is_sale",
          "channel", "channel_group", "store_id", "reporting_amount", "gross_amount", "return_amount", "net_amount",
          "returned_at", "is_unconverted", "exchanged_amount", "currency", "exchange_rate")  # fmt: skip
IS_LATE = (pl.col("returned_at") > pl.col("occurred_at")).fill_null(False)  # given back after the day of the sale
ROW_KEY = ("subject_id", *ORDER)  # the subject first: several transactions of one subject never tie


@builds(
    TransactionFacts,
    rules="enrichment",
    reads={
        "silver.transactions": HEADER,
        "silver.transaction_items": ("transaction_id", "source_system", "subject_id", "category", "is_sale", "is_product"),  # noqa: E501
        "silver.people": ("person_id", "preferred_store_id"),
    },
)  # fmt: skip
def transaction_facts(
    silver_transactions: pl.LazyFrame,
    silver_transaction_items: pl.LazyFrame,
    silver_people: pl.LazyFrame,
    params: EnrichmentRules,
) -> pl.LazyFrame:
    """The specification's transaction logic on rows as they happened; orphan lines have no row and change nothing."""
    home = silver_people.select("person_id", home_store="preferred_store_id")
    ordered = (
        silver_transactions.join(home, on="person_id", how="left")
        .sort(ROW_KEY)
        .with_columns(row=pl.int_range(pl.len(), dtype=pl.Int64))
    )
    known = ordered.join(
        _category_novelty(ordered, silver_transaction_items), on="row", how="left", maintain_order="left"
    ).join(_returned_before(ordered), on="row", how="left", maintain_order="left")
    return known.with_columns(
        pl.col("new_categories", "known_categories", "returned_before").fill_null(0),
        **_novelty("channel"),
        **_novelty("store_id"),
    ).with_columns(**_before()).select(
        *("transaction_id", "source_system", "subject_id", "person_id", "occurred_at", "occurred_on", "is_sale", "channel_group"),  # noqa: E501
        *("orders_before", "spent_before", "mean_order_before", "days_since_order"),
        *("categories_before", "channels_before", "stores_before"),
        **_bands(params),
        is_first_purchase=pl.col("is_sale") & (pl.col("orders_before") == 0),
        is_home_store=(pl.col("store_id") == pl.col("home_store")).fill_null(False),
        product_affinity=pl.when(pl.col("categories_before") > 0)
        .then(pl.col("known_categories") / pl.col("categories_before")).otherwise(0.0),
        **_calendar("occurred_at"),
    )  # fmt: skip


def _category_novelty(ordered: pl.LazyFrame, items: pl.LazyFrame) -> pl.LazyFrame:
    """By row: new_categories, those that its sale brings for the first time, and known_categories, those of an earlier
    sale that any transaction has again."""
    pairs = (
        items.filter("is_product", pl.col("category").is_not_null())
        .select("source_system", "transaction_id", "category")
        .unique()
        .join(ordered.select("source_system", "transaction_id", "subject_id", "row", "is_sale"), on=["source_system", "transaction_id"])  # noqa: E501
    )  # fmt: skip
    first = pl.col("row").filter(pl.col("is_sale")).min().over("subject_id", "category")
    return (
        pairs.with_columns(first=first)
        .group_by("row")
        .agg(
            new_categories=(pl.col("first") == pl.col("row")).sum().cast(pl.Int64),
            known_categories=(pl.col("first") < pl.col("row")).sum().cast(pl.Int64),
        )
    )


def _returned_before(ordered: pl.LazyFrame) -> pl.LazyFrame:
    """By row: what its subject was given back before the row, of sales of earlier moments than that."""
    late = ordered.filter(IS_LATE).sort("returned_at").select(
        "subject_id", "returned_at", returned_before=given_back_since().cum_sum().over("subject_id")
    )  # fmt: skip
    return (
        ordered.select("row", "subject_id", "occurred_at")
        .sort("occurred_at")
        .join_asof(
            late,
            left_on="occurred_at",
            right_on="returned_at",
            by="subject_id",
            strategy="backward",
            allow_exact_matches=False,
            check_sortedness=False,
        )
        .select("row", "returned_before")
    )


def _novelty(column: str) -> dict[str, pl.Expr]:
    """1 where a sale is the subject's first with this value of a header column, else 0."""
    fits = pl.col("is_sale") & pl.col(column).is_not_null()
    first = pl.col("row").filter(fits).min().over("subject_id", column)
    return {f"new_{column}": (fits & (first == pl.col("row"))).fill_null(False).cast(pl.Int64)}


def _before() -> dict[str, pl.Expr]:
    """Running totals of a subject in order of time, each without the current row."""

    def running(value: pl.Expr) -> pl.Expr:
        return value.cum_sum().over("subject_id") - value

    sale = pl.col("is_sale").cast(pl.Int64)
    orders = running(sale)
    priced = running(sale * ~pl.col("is_unconverted").fill_null(False))
    gross = running(pl.col("gross_amount"))  # money stays Decimal: sums are exact in any order
    moved = pl.col("net_amount") + pl.when(IS_LATE).then(given_back_since()).otherwise(ZERO)
    last_sale = pl.when("is_sale").then("occurred_at").shift().forward_fill().over("subject_id")
    return {
        "orders_before": orders,
        "spent_before": running(moved) - pl.col("returned_before"),
        "mean_order_before": pl.when(priced > 0).then(gross.cast(pl.Float64) / priced),
        "days_since_order": (pl.col("occurred_at") - last_sale).dt.total_days(),
        "categories_before": running(pl.col("new_categories")),
        "channels_before": running(pl.col("new_channel")),
        "stores_before": running(pl.col("new_store_id")),
    }


def _bands(params: EnrichmentRules) -> dict[str, pl.Expr]:
    total, rules = pl.col("reporting_amount").cast(pl.Float64), params.transactions
    return {
        "transaction_category": pl.when(total.is_null()).then(None)
        .when(total > rules.high_value_above).then(pl.lit("HIGH_VALUE"))
        .when(total > rules.medium_value_above).then(pl.lit("MEDIUM_VALUE"))
        .otherwise(pl.lit("LOW_VALUE")),
        "basket_size": pl.when(total.is_null()).then(None)
        .when(total > rules.large_basket_above).then(pl.lit("LARGE"))
        .when(total > rules.medium_basket_above).then(pl.lit("MEDIUM"))
        .otherwise(pl.lit("SMALL")),
    }  # fmt: skip


def _calendar(at: str) -> dict[str, pl.Expr]:
    when = pl.col(at).dt
    weekday = when.weekday().cast(pl.Int64) % 7 + 1
    return {
        "quarter": when.quarter().cast(pl.Int64),
        "month": when.month().cast(pl.Int64),
        "day_of_week": weekday,
        "hour": when.hour().cast(pl.Int64),
    }
