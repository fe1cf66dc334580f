"""Segments month by month: as they were, whatever came later; and everybody who moved, counted once."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from customer360.pipelines.features import features
from customer360.pipelines.gold.customers.features import customer_features
from customer360.pipelines.gold.customers.migration import (
    LADDER,
    NOT_BUYING,
    rfm_month_bounds,
    segment_migrations,
    segment_months,
)
from customer360.pipelines.gold.customers.rfm import rfm_bounds, rfm_scores
from customer360.pipelines.gold.customers.value import value
from customer360.pipelines.rules import EnrichmentRules
from customer360.pipelines.silver.journey import SubjectDays
from customer360.platform import tables

AS_OF, RULES = date(2026, 3, 17), EnrichmentRules(segment_history_months=8)
COUNTED = [c for c in SubjectDays.columns() if c.endswith("_count")]


def days(people: int = 150, until: date = date(2026, 6, 1), seed: int = 0) -> pl.LazyFrame:
    """People with rhythms of their own who come and go; also days without a purchase, and days of nobody."""
    rng = np.random.default_rng(seed)
    rows = {}
    for person in range(people):
        on = date(2024, 9, 1) + timedelta(days=int(rng.integers(0, 400)))
        rhythm, stop = rng.gamma(2, 25) + 2, date(2025, 3, 1) + timedelta(days=int(rng.integers(0, 600)))
        while on < min(until, stop):
            name = None if person == 0 else f"p{person:03}"
            rows[person, on] = (f"s{person}", on, name, int(rng.random() < 0.8), Decimal(int(rng.gamma(2, 2000))) / 100)
            on += timedelta(days=1 + int(rng.exponential(rhythm)))
    frame = pl.DataFrame(
        list(rows.values()), schema=["subject_id", "on", "person_id", "orders", "amount"], orient="row"
    )
    money = pl.when(pl.col("orders") > 0).then("amount").otherwise(Decimal(0)).cast(pl.Decimal(12, 2))
    last = pl.col("on").cast(pl.Datetime("us", "UTC"))
    filled = frame.with_columns(
        **dict.fromkeys(COUNTED, pl.lit(0, pl.Int64)), gross_amount=money, net_amount=money,
        return_amount=pl.lit(Decimal(0)), discount_amount=pl.lit(Decimal(0)), seconds_on_site=0, first_at=last, last_at=last,  # noqa: E501
    ).with_columns(
        order_count=pl.col("orders").cast(pl.Int64),
        unconverted_order_count=pl.when(pl.col("amount") > Decimal(80)).then("orders").otherwise(0).cast(pl.Int64),
    )  # fmt: skip
    return tables.conform(SubjectDays, filled.select(list(SubjectDays.columns())).lazy()).collect().lazy()


@pytest.fixture(scope="module")
def history() -> pl.DataFrame:
    log = days()
    return segment_months(log, rfm_month_bounds(log, AS_OF, RULES)).sort("person_id", "month").collect()


def test_every_month_equals_the_customer_view_of_that_day(history: pl.DataFrame) -> None:
    log = days()
    months = history["month"].unique().sort().to_list()
    assert len(months) == 9 and months[-1] == date(2026, 3, 1)
    for month in months:
        view = features(log, month).select("person_id").pipe(value, log, RULES, month)
        scores = rfm_scores(log, rfm_bounds(customer_features(log, month), month), month)
        wanted = scores.join(view, on="person_id").sort("person_id")
        expected = wanted.select("person_id", "rfm_segment", "gross_amount_365d").collect()
        told = history.filter(pl.col("month") == month).sort("person_id").drop("month")
        assert told.equals(expected), month


def test_what_comes_later_changes_no_month(history: pl.DataFrame) -> None:
    past = days().filter(pl.col("on") < date(2026, 3, 1))
    told = segment_months(past, rfm_month_bounds(past, AS_OF, RULES)).sort("person_id", "month").collect()
    assert told.equals(history)


def test_everybody_who_moved_is_counted_once(history: pl.DataFrame) -> None:
    moves = segment_migrations(history.lazy()).collect()
    months = history["month"].unique().sort().to_list()
    assert set(moves["month"]) == set(months[:-1])
    for month, following in pairwise(months):
        own = moves.filter(pl.col("month") == month)
        for side, at, amount in (("from", month, "spend_amount"), ("to", following, "next_spend_amount")):
            told = own.filter(pl.col(f"{side}_segment") != NOT_BUYING)
            counted = dict(told.group_by(f"{side}_segment").agg(pl.col("person_count").sum()).rows())
            there = history.filter(pl.col("month") == at)
            assert counted == dict(there.group_by("rfm_segment").agg(pl.len()).rows())
            assert told[amount].sum() == there["gross_amount_365d"].sum()
    shares = moves.filter(pl.col("share").is_not_null()).group_by("month", "from_segment").agg(pl.col("share").sum())
    assert shares["share"].to_list() == pytest.approx([1.0] * shares.height)
    assert not moves.filter((pl.col("from_segment") == NOT_BUYING) & (pl.col("to_segment") == NOT_BUYING)).height
    assert moves["direction"].n_unique() == 3
    down = moves.filter(pl.col("direction") == "DOWN").select("from_segment", "to_segment").rows()
    assert all(LADDER.index(before) > LADDER.index(after) for before, after in down)


def test_a_log_that_begins_late_has_no_month_before_it() -> None:
    log = days().filter(pl.col("on") >= date(2026, 2, 1))
    assert rfm_month_bounds(log, AS_OF, RULES).collect()["month"].to_list() == [date(2026, 3, 1)]
    nobody = log.filter(pl.col("on") < date(2026, 2, 1))
    empty = segment_months(nobody, rfm_month_bounds(nobody, AS_OF, RULES))
    assert empty.collect().is_empty() and segment_migrations(empty).collect().is_empty()
