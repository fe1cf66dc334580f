"""Money in the reporting currency: amounts of several currencies are never added as they stand."""

from __future__ import annotations

import polars as pl

MONEY = pl.Decimal(12, 2)
LIMIT = 10.0**10
TOTAL = pl.Decimal(18, 2)  # of many amounts
ZERO = pl.lit(0).cast(MONEY)
UNSTATED = "unstated"  # where nothing names a currency
WHOLE = ("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF")


def converted(amount: pl.Expr, rate: pl.Expr) -> pl.Expr:
    """An amount at a rate, to two decimals, half away from zero; as it stands at a rate of 1, null without a rate or
    where the result has more than ten digits before the point."""
    product = (amount.cast(pl.Float64) * rate).round(2, mode="half_away_from_zero")
    exchanged = pl.when(product.abs() < LIMIT).then(product).cast(MONEY)
    return pl.when(rate == 1).then(amount).otherwise(exchanged)


def known_rate(currency: str = "currency", rate: str = "exchange_rate") -> pl.Expr:
    """The rate of a row of silver: without a currency it is of the reporting one, and its rate 1."""
    return pl.when(pl.col(currency).is_null()).then(1.0).otherwise(pl.col(rate))


def with_rate(rows: pl.LazyFrame, rates: pl.LazyFrame, *, currency: str, on: str, into: str) -> pl.LazyFrame:
    """Rows with the rate of their currency on their day in a column ``into``: the latest on or before the day that is
    still valid, of silver.reporting_rates. Null where there is none; a row without a currency is of the reporting one.
    """
    known = rates.select(currency__="currency", rate_on="on", until__="valid_until_on", rate__="rate").sort("rate_on")
    found = rows.sort(on).join_asof(
        known,
        left_on=on,
        right_on="rate_on",
        by_left=currency,
        by_right="currency__",
        strategy="backward",
        check_sortedness=False,
    )
    in_time = pl.col("until__").is_null() | (pl.col(on) <= pl.col("until__"))
    rate = pl.when(pl.col(currency).is_null()).then(1.0).when(in_time).then("rate__")
    return found.with_columns(rate.alias(into)).drop("rate_on", "until__", "rate__")


def rated(stored: pl.LazyFrame, changed: pl.LazyFrame) -> pl.LazyFrame:
    """Stored transactions that changed rows of silver.reporting_rates may concern: those of their currency, or given
    back in it, from the first day on that changed.
    """
    since = changed.group_by("currency").agg(since__=pl.col("on").min())
    day = pl.max_horizontal("occurred_on", "returned_on")
    found = [
        stored.join(since, left_on=column, right_on="currency", how="inner", coalesce=False)
        for column in ("currency", "refund_currency")
    ]
    return pl.concat([rows.filter(day >= pl.col("since__")).select("transaction_id") for rows in found])


def minor_unit(currency: pl.Expr) -> pl.Expr:
    """The smallest amount of a currency (ISO 4217) that money here can tell: 1 where it has no decimals, else 0.01."""
    return pl.when(currency.is_in(WHOLE)).then(1.0).otherwise(0.01)
