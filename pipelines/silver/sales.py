"""Transactions and their lines, each with the subject it belongs to. Headers and lines stay apart:
joined, an amount of the header would count once a line."""

from __future__ import annotations

import polars as pl

from customer360.pipelines.rules import EnrichmentRules
from customer360.pipelines.subjects import Owner, own_key
from customer360.pipelines.vocabulary import ONLINE_CHANNELS, Activity
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Float, Integer, Money, OneOf, String, Table, Timestamp, personal

ACTIVITY: Activity = "enrichment"


class Transactions(
    Table, table="silver.transactions", per="transaction_id", sort_by=("occurred_at", "source_system", "transaction_id")
):
    """One row per transaction, as last delivered."""

    transaction_id = String(primary_key=True)
    source_system = String(primary_key=True)
    subject_id = String()
    person_id = String(nullable=True)
    customer_id = String(nullable=True, metadata=personal("account"))
    visitor_id = String(nullable=True, metadata=personal("device"))
    occurred_at = Timestamp()
    occurred_on = Date()
    channel = String()
    channel_group = String(description="IN_STORE, ONLINE or MOBILE")
    transaction_type = String()
    transaction_status = String()
    is_sale = Boolean(description="A completed purchase")
    is_return = Boolean(description="A completed return or refund")
    total_amount = Money(description="As delivered")
    gross_amount = Money(description="total_amount of a sale, else 0")
    return_amount = Money(description="Amount given back by a return, positive, else 0")
    net_amount = Money(description="gross_amount - return_amount, exchanges at their difference")
    tax_amount = Money(nullable=True)
    shipping_amount = Money(nullable=True)
    discount_amount = Money(nullable=True)
    currency = String(nullable=True)
    payment_method = String(nullable=True)
    card_type = String(nullable=True)
    store_id = String(nullable=True)
    online_order_id = String(nullable=True)
    loyalty_points_earned = Integer(nullable=True)
    loyalty_points_redeemed = Integer(nullable=True)
    promotion_code = String(nullable=True)
    coupon_code = String(nullable=True)
    refund_reason = String(nullable=True)


def channel_group(channel: pl.Expr) -> pl.Expr:
    """The declared values mapped exactly: by substring, WHATSAPP would be a mobile (docs/specification.md#fault-9)."""
    return (
        pl.when(channel == "POS").then(pl.lit("IN_STORE"))
        .when(channel.is_in(ONLINE_CHANNELS)).then(pl.lit("ONLINE"))
        .when(channel == "MOBILE").then(pl.lit("MOBILE"))
        .otherwise(pl.lit("OTHER"))
    )  # fmt: skip


RECEIPT = own_key("t", "transaction_id")
TRANSACTION_OWNER = Owner(at="occurred_at", visitor="visitor_id", otherwise=RECEIPT)


@builds(Transactions, follows=TRANSACTION_OWNER.of)
def transactions(bronze_transactions: pl.LazyFrame, silver_identity_links: pl.LazyFrame) -> pl.LazyFrame:
    """Signs, channel and subject of every transaction; only completed ones move money."""
    kind, status, total = pl.col("TRANSACTION_TYPE"), pl.col("TRANSACTION_STATUS"), pl.col("TOTAL_AMOUNT")
    completed = status == "COMPLETED"
    is_sale, is_return = completed & (kind == "PURCHASE"), completed & kind.is_in(["RETURN", "REFUND"])
    zero = pl.lit(0).cast(pl.Decimal(12, 2))
    gross, returned = pl.when(is_sale).then(total).otherwise(zero), pl.when(is_return).then(total.abs()).otherwise(zero)
    exchanged = pl.when(completed & (kind == "EXCHANGE")).then(total).otherwise(zero)
    same = {
        c: c.upper()
        for c in ("transaction_id", "customer_id", "visitor_id", "channel", "transaction_type", "transaction_status", "total_amount",  # noqa: E501
                  "tax_amount", "shipping_amount", "discount_amount", "payment_method", "card_type", "store_id", "online_order_id",  # noqa: E501
                  "loyalty_points_earned", "loyalty_points_redeemed", "promotion_code", "coupon_code", "refund_reason")
    }  # fmt: skip
    facts = bronze_transactions.select(
        *(pl.col(source).alias(c) for c, source in same.items()),
        source_system="_source_system",
        occurred_at="TRANSACTION_DATE",
        occurred_on=pl.col("TRANSACTION_DATE").dt.date(),
        channel_group=channel_group(pl.col("CHANNEL")),
        is_sale=is_sale,
        is_return=is_return,
        gross_amount=gross,
        return_amount=returned,
        net_amount=gross - returned + exchanged,
        currency="CURRENCY_CODE",
    )
    return TRANSACTION_OWNER.of(facts, silver_identity_links)


class TransactionItems(
    Table,
    table="silver.transaction_items",
    per="transaction_id",
    sort_by=("occurred_at", "source_system", "transaction_id", "item_id"),
):
    """One row per line of a transaction, as last delivered."""

    item_id = String(primary_key=True)
    transaction_id = String(primary_key=True)
    source_system = String(primary_key=True)
    subject_id = String()
    person_id = String(nullable=True)
    occurred_at = Timestamp(nullable=True, description="Of the header; null for an orphan")
    occurred_on = Date(nullable=True)
    is_orphan = Boolean(description="No header was delivered")
    is_sale = Boolean(description="Line of a completed purchase")
    is_return = Boolean(description="Line that gives goods back, by its own status or its header")
    is_product = Boolean(description="False for postage, fees, vouchers and other codes that are no product")
    product_id = String(nullable=True)
    product_name = String(nullable=True)
    category = String(nullable=True)
    subcategory = String(nullable=True)
    brand = String(nullable=True)
    quantity = Integer(description="As delivered; negative for returned goods")
    unit_price = Money(nullable=True)
    total_price = Money(description="As delivered")
    gross_amount = Money(description="total_price of a sold line, else 0")
    return_amount = Money(description="Amount given back, positive, else 0")
    discount_amount = Money(nullable=True)
    item_status = String(nullable=True)
    item_rating = Integer(nullable=True)


HEADER = (
    "transaction_id",
    "source_system",
    "subject_id",
    "person_id",
    "occurred_at",
    "occurred_on",
    "is_sale",
    "is_return",
)


def subject_of_header(lines: pl.LazyFrame, silver_transactions: pl.LazyFrame) -> pl.LazyFrame:
    """Lines with the subject and person of their header now; an orphan is its receipt's."""
    headers = silver_transactions.select("transaction_id", "source_system", "subject_id", "person_id")
    bare = lines.drop("subject_id", "person_id", strict=False)
    joined = bare.join(headers, on=["transaction_id", "source_system"], how="left")
    return joined.with_columns(subject_id=pl.coalesce("subject_id", RECEIPT))


@builds(TransactionItems, reads={"silver.transactions": HEADER}, follows=subject_of_header)
def transaction_items(
    bronze_transaction_items: pl.LazyFrame, silver_transactions: pl.LazyFrame, silver_products: pl.LazyFrame
) -> pl.LazyFrame:
    """Lines with the subject and time of their header. A line without header is kept, as an orphan."""
    headers = silver_transactions.select(
        "transaction_id", "source_system", "occurred_at", "occurred_on",
        header_sale="is_sale", header_return="is_return",
    )  # fmt: skip
    catalogue = silver_products.select(
        "product_id", "is_product", c="category", s="subcategory", b="brand", n="product_name"
    )
    same = ("item_id", "transaction_id", "product_id", "product_name", "category", "subcategory", "brand", "quantity",
            "unit_price", "total_price", "discount_amount", "item_status", "item_rating")  # fmt: skip
    lines = bronze_transaction_items.select(*(pl.col(c.upper()).alias(c) for c in same), source_system="_source_system")
    owned = subject_of_header(lines, silver_transactions)
    joined = owned.join(headers, on=["transaction_id", "source_system"], how="left").join(
        catalogue, on="product_id", how="left"
    )
    total, zero = pl.col("total_price"), pl.lit(0).cast(pl.Decimal(12, 2))
    goes_back = (pl.col("quantity") < 0) | pl.col("item_status").eq_missing("RETURNED")
    gives_back = (pl.col("header_return") | (pl.col("header_sale") & goes_back)).fill_null(False)
    sold = (pl.col("header_sale") & ~goes_back).fill_null(False)
    return joined.with_columns(
        is_orphan=pl.col("header_sale").is_null(),
        is_sale=sold,
        is_return=gives_back,
        is_product=pl.col("is_product").fill_null(True) & pl.col("product_id").is_not_null(),
        category=pl.coalesce("category", "c"),
        subcategory=pl.coalesce("subcategory", "s"),
        brand=pl.coalesce("brand", "b"),
        product_name=pl.coalesce("product_name", "n"),
        gross_amount=pl.when(sold).then(total).otherwise(zero),
        return_amount=pl.when(gives_back).then(total.abs()).otherwise(zero),
    ).drop("header_sale", "header_return", "c", "s", "b", "n")


class OnlineOrders(
    Table, table="silver.online_orders", per="online_order_id", sort_by=("ordered_at", "online_order_id")
):
    """One row per order of the shop or app, as last delivered."""

    online_order_id = String(primary_key=True)
    source_system = String(primary_key=True)
    subject_id = String()
    person_id = String(nullable=True)
    customer_id = String(nullable=True, metadata=personal("account"))
    visitor_id = String(nullable=True, metadata=personal("device"))
    ordered_at = Timestamp()
    order_status = String()
    shipping_method = String(nullable=True)
    promised_on = Date(nullable=True)
    shipped_at = Timestamp(nullable=True)
    delivered_at = Timestamp(nullable=True)
    delivery_hours = Float(nullable=True, description="From shipping to delivery")
    is_late = Boolean(nullable=True, description="Delivered after the promised day; null before delivery")
    total_amount = Money(nullable=True)
    currency = String(nullable=True)


ORDER_OWNER = Owner(at="ordered_at", visitor="visitor_id", otherwise=own_key("o", "online_order_id"))


@builds(OnlineOrders, follows=ORDER_OWNER.of)
def online_orders(bronze_online_orders: pl.LazyFrame, silver_identity_links: pl.LazyFrame) -> pl.LazyFrame:
    """Orders with their subject and how their delivery went; the address stays in bronze."""
    same = ("online_order_id", "customer_id", "visitor_id", "order_status", "shipping_method", "total_amount")
    shipped, delivered, promised = pl.col("SHIPPED_DATE"), pl.col("DELIVERED_DATE"), pl.col("PROMISED_DATE")
    facts = bronze_online_orders.select(
        *(pl.col(c.upper()).alias(c) for c in same),
        source_system="_source_system",
        ordered_at="ORDER_DATE",
        promised_on="PROMISED_DATE",
        shipped_at="SHIPPED_DATE",
        delivered_at="DELIVERED_DATE",
        delivery_hours=(delivered - shipped).dt.total_seconds() / 3600,
        is_late=delivered.dt.date() > promised,
        currency="CURRENCY_CODE",
    )
    return ORDER_OWNER.of(facts, silver_identity_links)


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
    transaction_category = OneOf("HIGH_VALUE", "MEDIUM_VALUE", "LOW_VALUE")
    basket_size = OneOf("LARGE", "MEDIUM", "SMALL")
    is_first_purchase = Boolean(description="A completed sale with none before it")
    is_home_store = Boolean(description="The person's preferred store; false where either is unknown")
    orders_before = Integer(description="Completed sales")
    spent_before = Money(description="Net: returns count negative")
    mean_order_before = Float(nullable=True, description="Gross amount an order")
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
ROW_KEY = ("subject_id", *ORDER)  # the subject first: several transactions of one subject never tie


@builds(
    TransactionFacts,
    rules="enrichment",
    reads={
        "silver.transactions": (*HEADER, "channel", "channel_group", "store_id", "total_amount", "gross_amount", "net_amount"),  # noqa: E501
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
    )
    return known.with_columns(
        pl.col("new_categories", "known_categories").fill_null(0), **_novelty("channel"), **_novelty("store_id")
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
    gross = running(pl.col("gross_amount"))  # money stays Decimal: sums are exact in any order
    last_sale = pl.when("is_sale").then("occurred_at").shift().forward_fill().over("subject_id")
    return {
        "orders_before": orders,
        "spent_before": running(pl.col("net_amount")),
        "mean_order_before": pl.when(orders > 0).then(gross.cast(pl.Float64) / orders),
        "days_since_order": (pl.col("occurred_at") - last_sale).dt.total_days(),
        "categories_before": running(pl.col("new_categories")),
        "channels_before": running(pl.col("new_channel")),
        "stores_before": running(pl.col("new_store_id")),
    }


def _bands(params: EnrichmentRules) -> dict[str, pl.Expr]:
    total, rules = pl.col("total_amount").cast(pl.Float64), params.transactions
    return {
        "transaction_category": pl.when(total > rules.high_value_above).then(pl.lit("HIGH_VALUE"))
        .when(total > rules.medium_value_above).then(pl.lit("MEDIUM_VALUE"))
        .otherwise(pl.lit("LOW_VALUE")),
        "basket_size": pl.when(total > rules.large_basket_above).then(pl.lit("LARGE"))
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
