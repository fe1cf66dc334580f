"""How a person pays."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from customer360.platform.tables import Float, Integer, String, Table, Timestamp

WINDOW_DAYS = 365
LEAST_ATTEMPTS = 3  # rates of fewer attempts say nothing


class PaymentHabits(Table, serves="OPERATION"):
    """Attempts to pay of the last year; an attempt that was tried again is two."""

    payment_attempt_count = Integer(description="Attempts to pay of the 365 days before as_of")
    payment_declined_count = Integer(description="Of these, declined")
    payment_decline_rate = Float(
        nullable=True, description=f"payment_declined_count / payment_attempt_count; null below {LEAST_ATTEMPTS}"
    )
    preferred_payment_method = String(nullable=True, description="Of most captured payments; the later of equals")
    payment_instrument_count = Integer(
        description="Different cards, wallets and accounts that payments were tried with"
    )
    chargeback_count = Integer(description="Payments taken back by the bank")
    payments_until_at = Timestamp(nullable=True, description="Latest attempt, as far as it had come by as_of")


def payment_habits(profile: pl.LazyFrame, payments: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """Adds PaymentHabits; ``payments``: silver.payments. What was taken back since ``as_of`` is not known yet."""
    start, cut = as_of - timedelta(days=WINDOW_DAYS), pl.lit(as_of).cast(pl.Datetime("us", "UTC"))
    past = payments.filter(
        pl.col("person_id").is_not_null(), pl.col("attempted_on").is_between(start, as_of, closed="left")
    )
    captured = past.filter(pl.col("captured_by_at") < cut, pl.col("payment_method").is_not_null())
    preferred = (
        captured.group_by("person_id", "payment_method")
        .agg(n=pl.len(), last=pl.col("attempted_at").max())
        .sort("n", "last", "payment_method")
        .group_by("person_id")
        .agg(preferred_payment_method=pl.col("payment_method").last())
    )
    counted = past.group_by("person_id").agg(
        payment_attempt_count=pl.len().cast(pl.Int64),
        payment_declined_count=(pl.col("declined_at") < cut).sum().cast(pl.Int64),
        payment_instrument_count=pl.col("instrument_id").drop_nulls().n_unique().cast(pl.Int64),
        chargeback_count=(pl.col("charged_back_at") < cut).sum().cast(pl.Int64),
        payments_until_at=pl.col("attempted_at").max(),
    )
    tried, declined = pl.col("payment_attempt_count"), pl.col("payment_declined_count")
    counts = ("payment_attempt_count", "payment_declined_count", "payment_instrument_count", "chargeback_count")
    return (
        profile.join(counted, on="person_id", how="left")
        .join(preferred, on="person_id", how="left")
        .with_columns(pl.col(counts).fill_null(0))
        .with_columns(payment_decline_rate=pl.when(tried >= LEAST_ATTEMPTS).then(declined / tried))
    )
