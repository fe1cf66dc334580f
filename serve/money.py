"""What a run says aloud of money that is in no sum, or that looks wrong."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
from pydantic import BaseModel

from customer360.pipelines.returns import MIXED
from customer360.pipelines.rules import EnrichmentRules
from customer360.platform.lake import Lake

TRANSACTIONS, REPORTING = "silver.transactions", "silver.reporting_currency"
TOLD = (TRANSACTIONS, REPORTING)  # what a run tells is read from
READ = ("is_sale", "is_unconverted", "currency", "refund_currency", "exchange_rate", "gross_amount", "return_amount",
        "total_amount")  # fmt: skip


def notices(lake: Lake, rules: Mapping[str, BaseModel]) -> list[str]:
    """A line on which currency amounts are in where nobody said so and there are several, one on transactions that are
    in no amount, by currency, and one on sales that gave back more than they took; nothing where there are none.
    """
    if not (lake.exists(TRANSACTIONS) and lake.exists(REPORTING)):
        return []
    held = lake.scan(TRANSACTIONS).select(READ)
    enrichment = rules.get("enrichment")
    stated = enrichment if isinstance(enrichment, EnrichmentRules) else EnrichmentRules()
    reporting = " ".join(lake.scan(REPORTING).collect()["currency"])
    chosen = [] if stated.reporting_currency else _chosen(held, reporting)
    return [*chosen, *_unconverted(held, reporting, stated.rate_valid_days), *_overpaid(held)]


def _chosen(held: pl.LazyFrame, reporting: str) -> list[str]:
    currencies = held.select(pl.col("currency").drop_nulls().n_unique()).collect().item()
    if currencies < 2:
        return []
    return [
        f"money: amounts are in {reporting}, the currency of most transactions of {currencies}; "
        f"`reporting_currency: {reporting}` in the rule file enrichment.yaml keeps it so whatever is sold next"
    ]


def _unconverted(held: pl.LazyFrame, reporting: str, days: int) -> list[str]:
    """What is missing is the rate of the transaction, or of its refund where that is in another currency."""
    missing = pl.when(pl.col("exchange_rate").is_null()).then("currency").otherwise("refund_currency")
    counted = (
        held.filter("is_unconverted").group_by(missing=missing).len().sort("len", "missing", descending=[True, False])
    )
    found = counted.collect()
    if found.is_empty():
        return []
    told = ", ".join(f"{_named(currency)} {count:,}" for currency, count in found.rows())
    total = held.select(pl.len()).collect().item()
    return [
        f"money: {found['len'].sum():,} of {total:,} transactions are in no amount, only counted as unconverted: their "
        f"currency has no rate to {reporting} on the day or within {days} days before ({told}); "
        f"deliver rates to bronze.exchange_rates (RATE_DATE, FROM_CURRENCY, TO_CURRENCY, RATE). "
        f"gold.money_by_currency has the amounts of people as delivered"
    ]


def _named(currency: str | None) -> str:
    return "refunds in several currencies" if currency == MIXED else str(currency)


def _overpaid(held: pl.LazyFrame) -> list[str]:
    is_more = (pl.col("return_amount") > pl.col("gross_amount")) & (pl.col("total_amount") >= 0)
    more = held.filter("is_sale", is_more).select(pl.len()).collect().item()
    if not more:
        return []
    return [
        f"money: {more:,} sales gave back more than they took; that is kept as it is: "
        f"look whether REFUNDED_AMOUNT, or the feed of refunds, is mapped as meant"
    ]
