"""Which currency money is reported in, and what others are worth in it."""

from __future__ import annotations

import polars as pl

from customer360.pipelines.rules import EnrichmentRules
from customer360.pipelines.vocabulary import EARLIEST_DATE, Activity
from customer360.platform.graph import builds
from customer360.platform.tables import Date, Float, String, Table

ACTIVITY: Activity = "standardization"


class ReportingCurrency(Table, table="silver.reporting_currency"):
    """One row per lake: the currency of all amounts that are added up; no row where nothing names a currency."""

    currency = String(primary_key=True)


@builds(
    ReportingCurrency,
    rules="enrichment",
    reads={"bronze.transactions": ("_source_system", "TRANSACTION_ID", "CURRENCY_CODE")},
)
def reporting_currency(bronze_transactions: pl.LazyFrame, params: EnrichmentRules) -> pl.LazyFrame:
    """The rule, else the currency of most transactions, the first in the alphabet among equals. The table holds nothing
    else, so that another batch of the same shop does not change it.
    """
    if params.reporting_currency:
        return pl.LazyFrame({"currency": [params.reporting_currency]})
    counted = (
        bronze_transactions.filter(pl.col("CURRENCY_CODE").is_not_null())
        .group_by(currency="CURRENCY_CODE")
        .agg(count=pl.struct("_source_system", "TRANSACTION_ID").n_unique())
    )
    return counted.sort("count", "currency", descending=[True, False]).head(1).select("currency")


class ExchangeRates(
    Table,
    table="silver.exchange_rates",
    per="from_currency",
    sort_by=("from_currency", "to_currency", "on", "source_system"),
):
    """One row per rate, as last delivered."""

    from_currency = String(primary_key=True)
    to_currency = String(primary_key=True)
    on = Date(primary_key=True)
    source_system = String(primary_key=True)
    rate = Float(description="Units of to_currency for one of from_currency")


@builds(ExchangeRates)
def exchange_rates(bronze_exchange_rates: pl.LazyFrame) -> pl.LazyFrame:
    """Rates as delivered, in silver's names."""
    return bronze_exchange_rates.select(
        from_currency="FROM_CURRENCY",
        to_currency="TO_CURRENCY",
        on="RATE_DATE",
        source_system="_source_system",
        rate="RATE",
    )


class ReportingRates(Table, table="silver.reporting_rates", sort_by=("currency", "on")):
    """One row per currency and day with a rate: what one unit is worth in the reporting currency."""

    currency = String(primary_key=True)
    on = Date(primary_key=True)
    rate = Float(description="Units of the reporting currency for one of this")
    valid_until_on = Date(nullable=True, description="Last day that it is used for; null: for ever")


@builds(ReportingRates, rules="enrichment")
def reporting_rates(
    silver_exchange_rates: pl.LazyFrame, silver_reporting_currency: pl.LazyFrame, params: EnrichmentRules
) -> pl.LazyFrame:
    """A delivered rate, else the inverse of one, else by way of a third currency on the same day (the first in the
    alphabet). Of several systems the first in the alphabet counts. The reporting currency itself is worth 1.
    """
    reporting = silver_reporting_currency.select(to_currency="currency")
    given = silver_exchange_rates.filter(pl.col("from_currency") != pl.col("to_currency")).with_columns(way=pl.lit(0))
    inverse = given.select(
        from_currency="to_currency", to_currency="from_currency", on="on", source_system="source_system",
        rate=1 / pl.col("rate"), way=pl.lit(1),
    )  # fmt: skip
    every = (
        pl.concat([given, inverse.select(given.collect_schema().names())])
        .sort("way", "source_system")
        .unique(["from_currency", "to_currency", "on"], keep="first", maintain_order=True)
    )
    straight = every.join(reporting, on="to_currency", how="semi")
    around = (
        every.join(straight.select(to_currency="from_currency", on="on", onward="rate"), on=["to_currency", "on"])
        .join(reporting, left_on="from_currency", right_on="to_currency", how="anti")
        .with_columns(rate=pl.col("rate") * pl.col("onward"), way=2 + pl.col("way"))
        .sort("to_currency")
        .drop("onward")
    )
    found = pl.concat([straight, around]).sort("way", maintain_order=True)
    first = found.unique(["from_currency", "on"], keep="first", maintain_order=True)
    valid_until = pl.col("on").dt.offset_by(f"{params.rate_valid_days}d")
    rates = first.select("on", "rate", currency="from_currency", valid_until_on=valid_until)
    itself = reporting.select(
        on=EARLIEST_DATE, rate=pl.lit(1.0), currency="to_currency", valid_until_on=pl.lit(None, pl.Date)
    )
    return pl.concat([rates, itself])
