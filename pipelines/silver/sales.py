"""Transactions and their lines, each with the subject it belongs to. Headers and lines stay apart:
joined, an amount of the header would count once a line."""

from __future__ import annotations

import polars as pl

from customer360.pipelines.money import MONEY, ZERO, converted, known_rate, rated, with_rate
from customer360.pipelines.receipts import brought_in, counts, goes_back, marked, with_lines_given_back
from customer360.pipelines.rules import StandardizationRules
from customer360.pipelines.subjects import Owner, own_key
from customer360.pipelines.vocabulary import ONLINE_CHANNELS, Activity
from customer360.platform.graph import builds, joined_on
from customer360.platform.tables import Boolean, Date, Float, Integer, Money, String, Table, Timestamp, personal

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
    is_sale = Boolean(description="A completed purchase: an order, even if its lines take back more than they sell")
    is_return = Boolean(description="A completed return or refund, or a purchase below zero that sells nothing")
    total_amount = Money(description="As delivered, in currency")
    refunded_amount = Money(
        description="Given back of a sale, or by a return, positive; as delivered, in refund_currency"
    )
    exchanged_amount = Money(
        nullable=True, description="Lines that a sale took back as it was made, positive; as delivered, in currency"
    )
    returned_at = Timestamp(
        nullable=True, description="When money was given back, where any was; never before occurred_at"
    )
    returned_on = Date(nullable=True)
    gross_amount = Money(
        description="total_amount of a sale and exchanged_amount, in the reporting currency, else 0:"
        " +50 and -30 on a receipt are 50 sold and 30 returned"
    )
    return_amount = Money(description="Amount given back, then or later, positive, in the reporting currency, else 0")
    net_amount = Money(description="gross_amount - return_amount, exchanges at their difference; reporting currency")
    reporting_amount = Money(nullable=True, description="total_amount in the reporting currency; null without a rate")
    is_unconverted = Boolean(
        description="Moves money in a currency without a rate: an order or return, its reporting amounts 0 and unknown"
    )
    tax_amount = Money(nullable=True, description="As delivered, in currency; so are shipping and discount")
    shipping_amount = Money(nullable=True)
    discount_amount = Money(nullable=True)
    currency = String(nullable=True, description="As delivered; null: the reporting currency")
    refund_currency = String(nullable=True)
    exchange_rate = Float(nullable=True, description="Reporting currency for one of currency that day; null: no rate")
    payment_method = String(nullable=True)
    card_type = String(nullable=True)
    store_id = String(nullable=True)
    online_order_id = String(nullable=True)
    loyalty_points_earned = Integer(nullable=True)
    loyalty_points_redeemed = Integer(nullable=True)
    promotion_code = String(nullable=True)
    coupon_code = String(nullable=True)
    refund_reason = String(nullable=True)
    duplicate_of = String(
        nullable=True,
        description="SYSTEM/number of the transaction that tells of the same sale or return from another channel; this"
        " one then is neither and moves no money: silver.sale_duplicates has the evidence",
    )


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


@builds(
    Transactions,
    rules="standardization",
    follows=TRANSACTION_OWNER.of,
    reached=TRANSACTION_OWNER.reached,
    concerns={
        "silver.reporting_rates": rated,
        "silver.sale_duplicates": joined_on("transaction_id", "source_system"),
    },
)
def transactions(
    bronze_transactions: pl.LazyFrame,
    bronze_transaction_items: pl.LazyFrame,
    silver_reporting_rates: pl.LazyFrame,
    silver_identity_links: pl.LazyFrame,
    silver_sale_duplicates: pl.LazyFrame,
    params: StandardizationRules,
) -> pl.LazyFrame:
    """Signs, channel, money and subject of every transaction; only completed ones move money. What lines of a
    purchase give back is a return (see pipelines.receipts). A sale or return that two channels deliver counts once.
    """
    kind, status = pl.col("TRANSACTION_TYPE"), pl.col("TRANSACTION_STATUS")
    counted_once = bronze_transactions.join(
        silver_sale_duplicates.select("duplicate_of", TRANSACTION_ID="transaction_id", _source_system="source_system"),
        on=["TRANSACTION_ID", "_source_system"],
        how="left",
    )
    completed = (status == "COMPLETED") & pl.col("duplicate_of").is_null()
    same = {
        c: c.upper()
        for c in ("transaction_id", "customer_id", "visitor_id", "channel", "transaction_type", "transaction_status", "total_amount",  # noqa: E501
                  "tax_amount", "shipping_amount", "discount_amount", "payment_method", "card_type", "store_id", "online_order_id",  # noqa: E501
                  "loyalty_points_earned", "loyalty_points_redeemed", "promotion_code", "coupon_code", "refund_reason")
    }  # fmt: skip
    is_below = (kind == "PURCHASE") & (pl.col("TOTAL_AMOUNT") < 0)
    facts = counted_once.select(
        "duplicate_of",
        *(pl.col(source).alias(c) for c, source in same.items()),
        source_system="_source_system",
        occurred_at="TRANSACTION_DATE",
        occurred_on=pl.col("TRANSACTION_DATE").dt.date(),
        channel_group=channel_group(pl.col("CHANNEL")),
        is_sale=completed & (kind == "PURCHASE") & ~is_below,
        is_return=completed & (kind.is_in(["RETURN", "REFUND"]) | is_below),
        refunded_amount=pl.when(completed).then("REFUNDED_AMOUNT").fill_null(ZERO),
        returned_at=_given_back_at(),
        currency="CURRENCY_CODE",
        refund_currency="REFUNDED_CURRENCY",
    )
    lined = with_lines_given_back(facts, bronze_transaction_items, params.product_code_pattern)
    return TRANSACTION_OWNER.of(
        _in_reporting_currency(_given_back(lined), silver_reporting_rates), silver_identity_links
    )


def _given_back(lined: pl.LazyFrame) -> pl.LazyFrame:
    """Adds how much was given back in all, when, and in which currency. What lines and header say is the same money:
    the larger sum stands, and the header's where it is in another currency.
    """
    is_return, refunded, later = pl.col("is_return"), pl.col("refunded_amount"), pl.col("later")
    own = pl.col("refund_currency").is_null() | pl.col("refund_currency").eq_missing(pl.col("currency"))
    told = pl.when(own | (refunded == 0)).then(pl.max_horizontal(refunded, later)).otherwise(refunded)
    return lined.with_columns(
        refunded_amount=pl.when(is_return).then(pl.col("total_amount").abs()).otherwise(told).cast(MONEY),
        returned_at=pl.when(is_return).then("occurred_at").otherwise("returned_at"),
        refund_currency=pl.when(is_return | (refunded == 0)).then("currency").otherwise(
            pl.coalesce("refund_currency", "currency")
        ),
    ).drop("later")  # fmt: skip


def _given_back_at() -> pl.Expr:
    """When money of a sale was given back, as far as its row tells: never before the sale."""
    told = pl.coalesce("REFUNDED_DATE", "LAST_UPDATED_DATE", "TRANSACTION_DATE")
    return pl.max_horizontal(told, "TRANSACTION_DATE")


def _in_reporting_currency(facts: pl.LazyFrame, rates: pl.LazyFrame) -> pl.LazyFrame:
    """Adds what the transaction moves in the reporting currency, all of it or, where a rate is missing, nothing.

    A refund in the currency of its sale is worth what it was at the sale, so that of a sale given back nothing is left;
    in another currency it has the rate of its own day.
    """
    total, refunded, rate = pl.col("total_amount"), pl.col("refunded_amount"), pl.col("exchange_rate")
    back = pl.when(refunded > 0).then("returned_at")
    dated = facts.with_columns(
        returned_at=back,
        returned_on=back.dt.date(),
        refund_currency=pl.when(refunded > 0).then("refund_currency"),
    ).with_columns(refunded_on__=pl.coalesce("returned_on", "occurred_on"))
    rated = with_rate(
        with_rate(dated, rates, currency="currency", on="occurred_on", into="exchange_rate"),
        rates, currency="refund_currency", on="refunded_on__", into="refund_rate__",
    )  # fmt: skip
    own = pl.col("refund_currency").eq_missing(pl.col("currency")) | (refunded == 0)
    amounts = rated.with_columns(
        reporting_amount=converted(total, rate),
        back__=converted(refunded, pl.when(own).then(rate).otherwise("refund_rate__")),
    )
    is_exchange = (pl.col("transaction_type") == "EXCHANGE") & (pl.col("transaction_status") == "COMPLETED")
    sold = pl.when(pl.col("is_sale") | is_exchange).then("reporting_amount").otherwise(ZERO)
    taken_back = converted(pl.col("exchanged_amount"), known_rate()).fill_null(ZERO)
    given_back = pl.when(refunded > 0).then("back__").otherwise(ZERO)
    moves = (total != 0) | (pl.col("exchanged_amount") != 0)
    unknown = (pl.any_horizontal(sold.is_null() & moves, given_back.is_null())).fill_null(False)
    return amounts.with_columns(
        is_unconverted=unknown,
        gross_amount=pl.when(pl.col("is_sale") & ~unknown).then(sold + taken_back).otherwise(ZERO).fill_null(ZERO),
        return_amount=pl.when(unknown).then(ZERO).otherwise(given_back + taken_back),
        net_amount=pl.when(unknown).then(ZERO).otherwise(sold.fill_null(ZERO) - given_back),
    ).drop("refunded_on__", "refund_rate__", "back__")


class TransactionItems(
    Table,
    table="silver.transaction_items",
    per="transaction_id",
    sort_by=("occurred_at", "source_system", "transaction_id", "item_id"),
):
    """One row per line of a transaction, as last delivered.

    A line of a sale gives goods back if its status is RETURNED, or its quantity is below zero, or its amount is and it
    names goods; other negative lines (coupons, deposits) lower what is sold. A voided line is neither sold nor
    returned. What is RETURNED was sold on the receipt before it came back, so that gross_amount and return_amount both
    have it, as those of the header do, unless the total says that it was bought on another.
    """

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
    currency = String(nullable=True, description="Of the header; null: the reporting currency")
    gross_amount = Money(
        description="total_price of a sold line, be it given back since, in the reporting currency, else 0"
    )
    return_amount = Money(description="Amount given back, positive, in the reporting currency, else 0")
    returned_on = Date(nullable=True, description="Day on which what the line gives back moved; null: it gives nothing")
    is_unconverted = Boolean(
        description="Moves money in a currency without a rate: its reporting amounts are 0 and unknown"
    )
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
PARTS = ("total_amount", "tax_amount", "shipping_amount", "discount_amount", "exchanged_amount")
HEADER_OF_LINES = (*HEADER, *PARTS, "currency", "exchange_rate", "returned_on")


def subject_of_header(lines: pl.LazyFrame, silver_transactions: pl.LazyFrame) -> pl.LazyFrame:
    """Lines with the subject and person of their header now; an orphan is its receipt's."""
    headers = silver_transactions.select("transaction_id", "source_system", "subject_id", "person_id")
    bare = lines.drop("subject_id", "person_id", strict=False)
    joined = bare.join(headers, on=["transaction_id", "source_system"], how="left")
    return joined.with_columns(subject_id=pl.coalesce("subject_id", RECEIPT))


def lines_of(lines: pl.LazyFrame, silver_transactions: pl.LazyFrame) -> pl.LazyFrame:
    """The lines that have one of the headers."""
    return lines.join(silver_transactions, on=["transaction_id", "source_system"], how="semi")


@builds(
    TransactionItems,
    rules="standardization",
    reads={"silver.transactions": HEADER_OF_LINES},
    follows=subject_of_header,
    reached=lines_of,
    concerns={"silver.products": joined_on("product_id")},
)
def transaction_items(
    bronze_transaction_items: pl.LazyFrame,
    silver_transactions: pl.LazyFrame,
    silver_products: pl.LazyFrame,
    params: StandardizationRules,
) -> pl.LazyFrame:
    """Lines with the subject, time and rate of their header. A line without header is kept, as an orphan. What a header
    says was given back without saying of which lines leaves the lines as they are.
    """
    headers = silver_transactions.select(
        "transaction_id", "source_system", "occurred_at", "occurred_on", "currency", "exchange_rate", "returned_on",
        header_sale="is_sale", header_return="is_return", exchanged__=pl.col("exchanged_amount").fill_null(0) != 0,
    )  # fmt: skip
    catalogue = silver_products.select(
        "product_id", "is_product", c="category", s="subcategory", b="brand", n="product_name"
    )
    same = ("item_id", "transaction_id", "product_id", "product_name", "category", "subcategory", "brand", "quantity",
            "unit_price", "total_price", "discount_amount", "item_status", "item_rating")  # fmt: skip
    lines = bronze_transaction_items.select(
        *(pl.col(c.upper()).alias(c) for c in same),
        source_system="_source_system",
        back__=goes_back(params.product_code_pattern),
        counts__=counts(),
    )
    owned = subject_of_header(lines, silver_transactions)
    key = ["transaction_id", "source_system"]
    elsewhere = brought_in(lines, silver_transactions.select(*key, "is_sale", *PARTS)).with_columns(elsewhere__=True)
    joined = (
        owned.join(headers, on=key, how="left")
        .join(elsewhere, on=key, how="left")
        .join(catalogue, on="product_id", how="left")
    )
    total = pl.col("total_price")
    worth = converted(total, known_rate())
    back, stands = pl.col("back__"), pl.col("counts__")
    gives_back = (stands & (pl.col("header_return") | (pl.col("header_sale") & back))).fill_null(False)
    sold = (stands & pl.col("header_sale") & ~back).fill_null(False)
    came_back = (gives_back & pl.col("header_sale") & marked()).fill_null(False)
    was_sold = sold | (came_back & pl.col("elsewhere__").is_null())
    # What a till takes back as it sells is of that day; of what came after it the header has the date.
    at_once = pl.col("header_return") | (pl.col("exchanged__") & (~came_back | pl.col("elsewhere__").is_not_null()))
    return joined.with_columns(
        is_orphan=pl.col("header_sale").is_null(),
        is_sale=sold,
        is_return=gives_back,
        is_product=pl.col("is_product").fill_null(True) & pl.col("product_id").is_not_null(),
        category=pl.coalesce("category", "c"),
        subcategory=pl.coalesce("subcategory", "s"),
        brand=pl.coalesce("brand", "b"),
        product_name=pl.coalesce("product_name", "n"),
        gross_amount=pl.when(was_sold).then(worth).otherwise(ZERO).fill_null(ZERO),
        return_amount=pl.when(gives_back).then(worth.abs()).otherwise(ZERO).fill_null(ZERO),
        returned_on=pl.when(gives_back & ~at_once).then(pl.coalesce("returned_on", "occurred_on")).when(gives_back)
        .then("occurred_on"),
        is_unconverted=(sold | gives_back) & (total != 0) & worth.is_null(),
    ).drop(
        "header_sale", "header_return", "exchanged__", "elsewhere__", "exchange_rate", "back__", "counts__",
        "c", "s", "b", "n",
    )  # fmt: skip


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


@builds(OnlineOrders, follows=ORDER_OWNER.of, reached=ORDER_OWNER.reached)
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
