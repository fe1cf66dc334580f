"""What moves revenue from month to month: customers, their frequency and their baskets; prices, volume and mix.

Every split adds up to the cent, currency by currency and as delivered, so that no rate of exchange looks like a price.
How a change is shared: `pipelines.decomposition`. Months are calendar months that ended by as_of.
"""

from __future__ import annotations

from datetime import date

import polars as pl

from customer360.pipelines.decomposition import effects, to_the_cent
from customer360.pipelines.money import TOTAL, UNSTATED, ZERO
from customer360.pipelines.rules import EnrichmentRules
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Float, Integer, Money, OneOf, String, Table, Total

STATUSES = ("NEW", "REPEAT", "REACTIVATED")
CURRENCY = f"ISO 4217; what names none is of the reporting currency; {UNSTATED}: nothing names one"
NOTHING = pl.lit(0).cast(TOTAL)


class PurchaseMonths(
    Table,
    table="gold.purchase_months",
    per="subject_id",
    sort_by=("subject_id", "month", "currency"),
    serves="OPERATION",
):
    """One row per subject, calendar month and currency in which its money moved: as delivered, and how it came to buy.

    A row reads the past of its month alone, so that later months change nothing in it.
    """

    subject_id = String(primary_key=True)
    month = Date(primary_key=True, description="First day of the month")
    currency = String(primary_key=True, description=CURRENCY)
    person_id = String(nullable=True, description="Null: a guest")
    status = OneOf(
        *STATUSES, nullable=True,
        description="By the first purchase of the month in any currency: NEW the first ever; REACTIVATED after more"
        " than reactivated_after_days without one; else REPEAT. Null: a guest, or no purchase in the month",
    )  # fmt: skip
    first_purchase_on = Date(nullable=True, description="In the month and currency")
    order_count = Integer(description="Completed purchases")
    gross_amount = Money(description="Of these, with what their lines took back at once")
    return_amount = Money(description="Given back in the month, in the currency of the refund")
    exchange_amount = Money(description="Differences of exchanges, below zero where money was given back")


@builds(
    PurchaseMonths,
    rules="enrichment",
    reads={
        "silver.transactions": (
            "subject_id", "person_id", "occurred_on", "returned_on", "transaction_type", "transaction_status",
            "is_sale", "total_amount", "refunded_amount", "exchanged_amount", "currency", "refund_currency",
        )
    },
)  # fmt: skip
def purchase_months(
    silver_transactions: pl.LazyFrame, silver_reporting_currency: pl.LazyFrame, params: EnrichmentRules
) -> pl.LazyFrame:
    """Sales and exchanges in the month that they were made in, what was given back in the month of the refund."""
    is_exchange = (pl.col("transaction_type") == "EXCHANGE") & (pl.col("transaction_status") == "COMPLETED")
    is_sale, total = pl.col("is_sale"), pl.col("total_amount")
    taken_back = pl.col("exchanged_amount").fill_null(0)
    owner = ("subject_id", "person_id")
    taken = silver_transactions.filter(is_sale | is_exchange).select(
        *owner,
        "currency",
        on="occurred_on",
        first_purchase_on=pl.when(is_sale).then("occurred_on"),
        order_count=is_sale.cast(pl.Int64),
        gross_amount=pl.when(is_sale).then(total + taken_back).otherwise(ZERO),
        return_amount=pl.when(is_sale).then(taken_back).otherwise(ZERO),
        exchange_amount=pl.when(is_sale).then(ZERO).otherwise(total),
    )
    given = silver_transactions.filter(pl.col("returned_on").is_not_null()).select(
        *owner,
        currency="refund_currency",
        on="returned_on",
        first_purchase_on=pl.lit(None, pl.Date),
        order_count=pl.lit(0, pl.Int64),
        gross_amount=ZERO,
        return_amount="refunded_amount",
        exchange_amount=ZERO,
    )
    rows = _named(pl.concat([taken, given], how="vertical_relaxed"), silver_reporting_currency)
    key = ["subject_id", "month", "currency"]
    return (
        rows.with_columns(month=pl.col("on").dt.truncate("1mo"))
        .group_by(key)
        .agg(
            pl.col("person_id").drop_nulls().first(),
            pl.col("first_purchase_on").min(),
            pl.col("order_count", "gross_amount", "return_amount", "exchange_amount").sum(),
        )
        .join(_came_by(taken, params.reactivated_after_days), on=["subject_id", "month"], how="left")
        .with_columns(
            status=pl.when(pl.col("order_count") > 0, pl.col("person_id").is_not_null()).then("status")
        )
        .select(list(PurchaseMonths.columns()))
    )  # fmt: skip


def _named(rows: pl.LazyFrame, reporting: pl.LazyFrame) -> pl.LazyFrame:
    """Rows whose currency is never null: without one they are of the reporting currency, where there is one."""
    known = pl.concat([reporting.select(own__="currency"), pl.LazyFrame({"own__": [UNSTATED]})]).head(1)
    return rows.join(known, how="cross").with_columns(currency=pl.coalesce("currency", "own__")).drop("own__")


def _came_by(taken: pl.LazyFrame, after_days: int) -> pl.LazyFrame:
    """``status`` of each month of a subject with a purchase, by the days since the purchase before its first one."""
    days = taken.filter(pl.col("order_count") > 0).select("subject_id", "on").unique().sort("subject_id", "on")
    since = (pl.col("on") - pl.col("on").shift(1).over("subject_id")).dt.total_days()
    return (
        days.with_columns(since=since, month=pl.col("on").dt.truncate("1mo"))
        .group_by("subject_id", "month")
        .agg(pl.col("since").sort_by("on").first())
        .select(
            "subject_id",
            "month",
            status=pl.when(pl.col("since").is_null()).then(pl.lit("NEW"))
            .when(pl.col("since") > after_days).then(pl.lit("REACTIVATED"))
            .otherwise(pl.lit("REPEAT")),
        )
    )  # fmt: skip


class ProductDrivers(Table, table="gold.product_drivers", sort_by=("month", "currency", "product_id")):
    """One row per month, currency and product sold in it or in the month before: what moved its sales.

    Of products sold in both months the change is shared among volume (all their units together), mix (this product's
    share of them) and price; of others it is the assortment's. There is no row where the month before is not whole, or
    where one of the two has no lines at all.
    """

    month = Date(primary_key=True, description="First day of the month; the change is against the month before")
    currency = String(primary_key=True, description=CURRENCY)
    product_id = String(primary_key=True)
    status = OneOf(
        "CONTINUED", "NEW", "RESUMED", "NOT_SOLD",
        description="CONTINUED: sold in both; NEW: never sold before in the data; RESUMED: sold before, not in the"
        " month before; NOT_SOLD: sold in the month before alone, be it discontinued or out of stock",
    )  # fmt: skip
    unit_count = Integer(description="Units sold in the month")
    units_before = Integer(description="In the month before")
    sales_amount = Total(description="Lines of completed purchases, as delivered")
    amount_before = Total(description="sales_amount of the month before")
    change_amount = Total(description="sales_amount - amount_before, the sum of the four effects")
    price_effect = Total(description="By a changed price of a unit")
    volume_effect = Total(description="By more or fewer units of all products together")
    mix_effect = Total(description="By another share of them that is this product's")
    assortment_effect = Total(description="The whole change of a product that is not CONTINUED, else 0")


@builds(
    ProductDrivers,
    reads={
        "silver.transaction_items": (
            "occurred_on", "is_sale", "is_product", "product_id", "quantity", "total_price", "currency",
        )
    },
)  # fmt: skip
def product_drivers(
    silver_transaction_items: pl.LazyFrame, silver_reporting_currency: pl.LazyFrame, as_of: date
) -> pl.LazyFrame:
    """Sold lines of goods with a positive quantity, months against months."""
    is_sold = pl.col("is_sale") & pl.col("is_product") & (pl.col("quantity") > 0)
    lines = silver_transaction_items.filter(is_sold, pl.col("occurred_on") < as_of.replace(day=1))
    key = ["currency", "product_id", "month"]
    sold = (
        _named(lines, silver_reporting_currency)
        .with_columns(month=pl.col("occurred_on").dt.truncate("1mo"))
        .group_by(key)
        .agg(
            unit_count=pl.col("quantity").sum(),
            sales_amount=pl.col("total_price").sum(),
            since__=pl.col("occurred_on").min(),
        )
        .with_columns(
            first__=pl.col("month").min().over("currency", "product_id"), since__=pl.col("since__").min()
        )
    )  # fmt: skip
    told = sold.filter(pl.col("since__") <= pl.col("month")).select("currency", "month").unique()
    after = sold.select("currency", "month").unique()
    pairs = told.with_columns(_next_month()).join(after, on=["currency", "month"])
    now = sold.join(pairs, on=["currency", "month"]).drop("since__")
    before = sold.with_columns(_next_month()).join(pairs, on=["currency", "month"])
    both = now.join(
        before.select(*key, units_before="unit_count", amount_before="sales_amount"), on=key, how="full", coalesce=True
    )
    status = (
        pl.when(pl.col("unit_count").is_null()).then(pl.lit("NOT_SOLD"))
        .when(pl.col("units_before").is_not_null()).then(pl.lit("CONTINUED"))
        .when(pl.col("first__") == pl.col("month")).then(pl.lit("NEW"))
        .otherwise(pl.lit("RESUMED"))
    )  # fmt: skip
    amounts = ("unit_count", "units_before", "sales_amount", "amount_before")
    return _by_price_volume_mix(both.with_columns(status=status).with_columns(pl.col(amounts).fill_null(0))).select(
        list(ProductDrivers.columns())
    )


def _next_month() -> pl.Expr:
    return pl.col("month").dt.offset_by("1mo")


def _by_price_volume_mix(products: pl.LazyFrame) -> pl.LazyFrame:
    """Adds the change of each product and its effects. Sales are volume x share of the volume x price."""
    goes_on = pl.col("status") == "CONTINUED"
    factors = []
    for units, amount in (("units_before", "amount_before"), ("unit_count", "sales_amount")):
        volume = pl.col(units).filter(goes_on).sum().over("currency", "month").cast(pl.Float64)
        factors.append((volume, pl.col(units) / volume, pl.col(amount).cast(pl.Float64) / pl.col(units)))
    change = pl.col("sales_amount").cast(TOTAL) - pl.col("amount_before").cast(TOTAL)
    names = ("volume_effect", "mix_effect", "price_effect")
    shared = to_the_cent(dict(zip(names, effects(*factors), strict=True)), change)
    return products.with_columns(
        change_amount=change,
        assortment_effect=pl.when(goes_on).then(NOTHING).otherwise(change),
        **{name: pl.when(goes_on).then(part).otherwise(NOTHING) for name, part in shared.items()},
    )


class RevenueDrivers(Table, table="gold.revenue_drivers", sort_by=("currency", "month")):
    """One row per currency and month since its first one: revenue, and what moved it against the month before.

    net_amount = gross_amount - return_amount + exchange_amount. The change of gross_amount is told twice: it is the
    sum of the effects of customers, frequency, basket and guests, and the sum of those of price, volume, mix, products
    and the rest. With the effects of returns and exchanges either gives change_amount, to the cent. Effects are null
    where the month before is not whole: in the first month of a currency, and after one that the data begin in.
    """

    month = Date(primary_key=True, description="First day of the month")
    currency = String(primary_key=True, description=CURRENCY)
    gross_amount = Total(description="Completed purchases, as delivered, with what their lines took back at once")
    return_amount = Total(description="Given back in the month")
    exchange_amount = Total(description="Differences of exchanges")
    net_amount = Total(description="Gross less returned, with exchanges")
    customer_count = Integer(description="Known persons with a purchase; the sum of new, repeat and reactivated_count")
    order_count = Integer(description="Their purchases")
    orders_per_customer = Float(nullable=True, description="order_count / customer_count; null without a customer")
    amount_per_order = Float(nullable=True, description="Their gross_amount / order_count; null without an order")
    guest_order_count = Integer(description="Purchases of nobody who is known")
    guest_amount = Total(description="Of gross_amount; with new, repeat and reactivated_amount all of it")
    new_count = Integer(description="First purchase ever; see gold.purchase_months")
    new_amount = Total(description="Of gross_amount, of these customers")
    repeat_count = Integer(description="Bought before, at most reactivated_after_days ago")
    repeat_amount = Total(description="Of gross_amount, of these")
    reactivated_count = Integer(description="Bought before, longer ago than that")
    reactivated_amount = Total(description="Of gross_amount, of these")
    change_amount = Total(nullable=True, description="net_amount against the month before")
    customer_effect = Total(nullable=True, description="More or fewer customers; all of it from or to none")
    frequency_effect = Total(nullable=True, description="Orders a customer")
    basket_effect = Total(nullable=True, description="Amount an order")
    guest_effect = Total(nullable=True, description="Change of guest_amount")
    return_effect = Total(nullable=True, description="Below zero where more was given back")
    exchange_effect = Total(nullable=True, description="Change of exchange_amount")
    price_effect = Total(nullable=True, description="Sums of gold.product_drivers; null where a month has no lines")
    volume_effect = Total(nullable=True, description="More or fewer units of products that were sold in both months")
    mix_effect = Total(nullable=True, description="Dearer or cheaper ones among them")
    new_product_effect = Total(nullable=True, description="Products never sold before in the data")
    resumed_product_effect = Total(nullable=True, description="Sold before, not in the month before")
    not_sold_product_effect = Total(nullable=True, description="Sold in the month before alone")
    other_effect = Total(nullable=True, description="Of gross_amount, what no line of goods says: postage, tax, coupon")
    is_history_short = Boolean(
        description="The first sale of the data lies fewer than reactivated_after_days before the month: some who count"
        " as new may have bought before the data begin"
    )


@builds(RevenueDrivers, rules="enrichment")
def revenue_drivers(
    gold_purchase_months: pl.LazyFrame, gold_product_drivers: pl.LazyFrame, as_of: date, params: EnrichmentRules
) -> pl.LazyFrame:
    """Months that ended by ``as_of``; one without a sale between the first and the last of them is a month of zeros."""
    end = as_of.replace(day=1)
    past = gold_purchase_months.filter(pl.col("month") < end)
    known = _every_month(_monthly(past), end)
    since = past.select(since=pl.col("first_purchase_on").min())
    changed = _changed(known.join(since, how="cross").with_columns(pl.col("since").fill_null(end)))
    products = gold_product_drivers.group_by("currency", "month").agg(**_of_products())
    shares = list(_of_products())
    gross = pl.sum_horizontal("customer_effect", "frequency_effect", "basket_effect", "guest_effect")
    rest = pl.when(pl.col("price_effect").is_not_null(), pl.col("change_amount").is_not_null()).then(
        gross - pl.sum_horizontal(shares)
    )
    return (
        changed.join(products, on=["currency", "month"], how="left")
        .with_columns(
            pl.when(pl.col("change_amount").is_not_null()).then(pl.col(shares)),
            other_effect=rest,
            is_history_short=(pl.col("month") - pl.col("since")).dt.total_days() < params.reactivated_after_days,
        )
        .select(list(RevenueDrivers.columns()))
    )


def _monthly(past: pl.LazyFrame) -> pl.LazyFrame:
    """Counts and amounts by currency and month, by what a customer was then."""
    is_known = pl.col("person_id").is_not_null()
    gross, orders = pl.col("gross_amount"), pl.col("order_count")
    by_status = {}
    for status in STATUSES:
        own = pl.col("status") == status
        by_status[f"{status.lower()}_count"] = own.sum().cast(pl.Int64)
        by_status[f"{status.lower()}_amount"] = gross.filter(own).sum()
    return past.group_by("currency", "month").agg(
        pl.col("gross_amount", "return_amount", "exchange_amount").sum(),
        order_count=orders.filter(is_known).sum(),
        guest_order_count=orders.filter(~is_known).sum(),
        guest_amount=gross.filter(~is_known).sum(),
        **by_status,
    )


def _every_month(monthly: pl.LazyFrame, end: date) -> pl.LazyFrame:
    """With a month of zeros where nothing moved, and what follows of the sums."""
    first = monthly.group_by("currency").agg(pl.col("month").min())
    every = first.with_columns(month=pl.date_ranges("month", pl.lit(end), "1mo", closed="left")).explode("month")
    filled = every.join(monthly, on=["currency", "month"], how="left").with_columns(
        pl.exclude("currency", "month").fill_null(0)
    )
    known_amount = pl.col("gross_amount") - pl.col("guest_amount")
    customers, orders = pl.sum_horizontal(f"{s.lower()}_count" for s in STATUSES), pl.col("order_count")
    return filled.with_columns(
        net_amount=pl.col("gross_amount") - pl.col("return_amount") + pl.col("exchange_amount"),
        customer_count=customers,
        orders_per_customer=pl.when(customers > 0).then(orders / customers),
        amount_per_order=pl.when(orders > 0).then(known_amount.cast(pl.Float64) / orders),
        known_amount=known_amount,
    )


def _changed(months: pl.LazyFrame) -> pl.LazyFrame:
    """Adds the change of each month and its effects. What known customers bought is customers x orders of each x amount
    of an order; a month without customers has the frequency and basket of the other, so that all is the customers'.
    """
    names = ("customer_count", "orders_per_customer", "amount_per_order")
    moved = ("net_amount", "known_amount", "guest_amount", "return_amount", "exchange_amount")
    held = months.sort("currency", "month").with_columns(
        pl.col(*names, *moved, "month").shift(1).over("currency").name.suffix("__before")
    )
    is_told = (pl.col("since") <= pl.col("month__before")).fill_null(False)
    change = {c: pl.col(c).cast(TOTAL) - pl.col(f"{c}__before").cast(TOTAL) for c in moved}
    before = [pl.coalesce(f"{c}__before", c, pl.lit(0)).cast(pl.Float64) for c in names]
    after = [pl.coalesce(c, f"{c}__before", pl.lit(0)).cast(pl.Float64) for c in names]
    of_customers = dict(
        zip(("customer_effect", "frequency_effect", "basket_effect"), effects(before, after), strict=True)
    )
    told = {
        "change_amount": change["net_amount"],
        **to_the_cent(of_customers, change["known_amount"]),
        "guest_effect": change["guest_amount"],
        "return_effect": -change["return_amount"],
        "exchange_effect": change["exchange_amount"],
    }
    return held.with_columns(pl.when(is_told).then(effect).alias(name) for name, effect in told.items())


def _of_products() -> dict[str, pl.Expr]:
    """The effects of products, summed over them."""
    of_kind = {"new_product_effect": "NEW", "resumed_product_effect": "RESUMED", "not_sold_product_effect": "NOT_SOLD"}
    return {
        **{c: pl.col(c).sum() for c in ("price_effect", "volume_effect", "mix_effect")},
        **{c: pl.col("assortment_effect").filter(pl.col("status") == kind).sum() for c, kind in of_kind.items()},
    }
