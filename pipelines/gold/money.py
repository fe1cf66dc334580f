"""Money as it was taken and given back, currency by currency: what was delivered, whatever it is worth elsewhere."""

from __future__ import annotations

from datetime import date

import polars as pl

from customer360.pipelines.money import UNSTATED, ZERO
from customer360.platform.graph import builds
from customer360.platform.tables import Date, Integer, Money, String, Table


class MoneyByCurrency(
    Table,
    table="gold.money_by_currency",
    per="person_id",
    partition_by=("as_of",),
    sort_by=("person_id", "currency"),
    serves="OPERATION",
):
    """One row per person, currency and as_of date with money in it: amounts as delivered, strictly before as_of.

    Amounts of two rows must not be added. A sale counts in its currency, what was given back in that of the refund.
    """

    person_id = String(primary_key=True)
    currency = String(primary_key=True, description=f"ISO 4217; {UNSTATED}: the rows name none")
    as_of = Date(primary_key=True)
    order_count = Integer(description="Completed purchases in this currency")
    gross_amount = Money(description="Of sales before as_of, with what their receipts took back at once")
    return_amount = Money(description="Given back in this currency before as_of, at once or later")
    net_amount = Money(description="gross_amount - return_amount, exchanges at their difference")
    unconverted_count = Integer(description="Transactions of these that have no rate to the reporting currency")


@builds(
    MoneyByCurrency,
    reads={
        "silver.transactions": (
            "subject_id", "person_id", "occurred_on", "returned_on", "transaction_type", "transaction_status",
            "is_sale", "total_amount", "refunded_amount", "exchanged_amount", "currency", "refund_currency",
            "is_unconverted",
        )
    },
)  # fmt: skip
def money_by_currency(silver_transactions: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """What sales and exchanges brought by the day of the sale, what was given back by the day of the refund."""
    known = silver_transactions.filter(pl.col("person_id").is_not_null())
    is_exchange = (pl.col("transaction_type") == "EXCHANGE") & (pl.col("transaction_status") == "COMPLETED")
    taken_back = pl.col("exchanged_amount").fill_null(0)
    taken = known.filter(pl.col("is_sale") | is_exchange, pl.col("occurred_on") < as_of).select(
        "person_id",
        currency="currency",
        order_count=pl.col("is_sale").cast(pl.Int64),
        gross_amount=pl.when("is_sale").then(pl.col("total_amount") + taken_back).otherwise(ZERO),
        return_amount=taken_back,
        net_amount="total_amount",
        unconverted_count=pl.col("is_unconverted").cast(pl.Int64),
    )
    is_return_alone = ~pl.col("is_sale") & ~is_exchange
    given = known.filter(pl.col("returned_on") < as_of).select(
        "person_id",
        currency="refund_currency",
        order_count=pl.lit(0, pl.Int64),
        gross_amount=ZERO,
        return_amount="refunded_amount",
        net_amount=-pl.col("refunded_amount"),
        unconverted_count=(pl.col("is_unconverted") & is_return_alone).cast(pl.Int64),
    )
    return (
        pl.concat([taken, given])
        .group_by("person_id", pl.col("currency").fill_null(UNSTATED))
        .agg(pl.exclude("person_id", "currency").sum())
        .with_columns(as_of=pl.lit(as_of))
    )
