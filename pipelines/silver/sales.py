"""Transactions and their lines, each with the subject it belongs to. Header and line grain stay apart (fault 6)."""

from __future__ import annotations

import polars as pl

from customer360.pipelines.subjects import with_subject
from customer360.pipelines.vocabulary import ONLINE_CHANNELS, record_id
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Integer, Money, String, Table, Timestamp, personal


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
    """The declared values mapped exactly; no substring tests (faults 8 and 9)."""
    return (
        pl.when(channel == "POS").then(pl.lit("IN_STORE"))
        .when(channel.is_in(ONLINE_CHANNELS)).then(pl.lit("ONLINE"))
        .when(channel == "MOBILE").then(pl.lit("MOBILE"))
        .otherwise(pl.lit("OTHER"))
    )  # fmt: skip


@builds(Transactions)
def transactions(bronze_transactions: pl.LazyFrame, silver_identity_links: pl.LazyFrame) -> pl.LazyFrame:
    """Signs, channel and subject of every transaction; only completed ones move money (fault 17)."""
    kind, status, total = pl.col("TRANSACTION_TYPE"), pl.col("TRANSACTION_STATUS"), pl.col("TOTAL_AMOUNT")
    completed = status == "COMPLETED"
    is_sale, is_return = completed & (kind == "PURCHASE"), completed & kind.is_in(["RETURN", "REFUND"])
    zero = pl.lit(0).cast(pl.Decimal(12, 2))
    gross, returned = pl.when(is_sale).then(total).otherwise(zero), pl.when(is_return).then(total.abs()).otherwise(zero)
    exchanged = pl.when(completed & (kind == "EXCHANGE")).then(total).otherwise(zero)
    same = {
        c: c.upper()
        for c in ("transaction_id", "customer_id", "visitor_id", "channel", "transaction_type", "transaction_status", "total_amount",
                  "tax_amount", "shipping_amount", "discount_amount", "payment_method", "card_type", "store_id", "online_order_id",
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
        account=record_id("_source_system", "CUSTOMER_ID"),
    )
    receipt = pl.concat_str(pl.lit("t:"), "source_system", pl.lit("/"), "transaction_id")
    return with_subject(
        facts, silver_identity_links, account="account", visitor="visitor_id", at="occurred_at", otherwise=receipt
    ).drop("account")


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


@builds(TransactionItems, reads={"silver.transactions": HEADER})
def transaction_items(
    bronze_transaction_items: pl.LazyFrame, silver_transactions: pl.LazyFrame, silver_products: pl.LazyFrame
) -> pl.LazyFrame:
    """Lines with the subject and time of their header. A line without header is kept, as an orphan."""
    headers = silver_transactions.select(
        "transaction_id", "source_system", "subject_id", "person_id", "occurred_at", "occurred_on",
        header_sale="is_sale", header_return="is_return",
    )  # fmt: skip
    catalogue = silver_products.select(
        "product_id", "is_product", c="category", s="subcategory", b="brand", n="product_name"
    )
    same = ("item_id", "transaction_id", "product_id", "product_name", "category", "subcategory", "brand", "quantity",
            "unit_price", "total_price", "discount_amount", "item_status", "item_rating")  # fmt: skip
    lines = bronze_transaction_items.select(*(pl.col(c.upper()).alias(c) for c in same), source_system="_source_system")
    joined = lines.join(headers, on=["transaction_id", "source_system"], how="left").join(
        catalogue, on="product_id", how="left"
    )
    total, zero = pl.col("total_price"), pl.lit(0).cast(pl.Decimal(12, 2))
    gives_back = (pl.col("header_return") | (pl.col("header_sale") & (pl.col("quantity") < 0))).fill_null(False)
    sold = (pl.col("header_sale") & (pl.col("quantity") >= 0)).fill_null(False)
    return joined.with_columns(
        subject_id=pl.coalesce(
            "subject_id", pl.concat_str(pl.lit("t:"), "source_system", pl.lit("/"), "transaction_id")
        ),
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
