"""The season clock: paces found, time measured both ways, and no season where there is none to be known."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from customer360.models.purchasing import season
from customer360.models.purchasing.season import Clock

AT = date(2024, 1, 1)


def log(paces: np.ndarray, people: int = 400, days: int = 730, seed: int = 0) -> pl.LazyFrame:
    """Purchases of people with rates of their own, times the pace of the month of the year (12 values)."""
    rng = np.random.default_rng(seed)
    on = np.arange(days)
    month = ((days - 1 - on) / season.MONTH_DAYS).astype(int) % 12  # back from AT
    rate = rng.gamma(1.0, 1 / 40, people)[:, None] * paces[month]
    person, day = np.nonzero(rng.random((people, days)) < rate)
    return pl.LazyFrame(
        {
            "person_id": pl.Series(person).cast(pl.String),
            "on": pl.Series([AT - timedelta(days=int(days - d)) for d in day]),
            "order_count": 1,
            "gross_amount": 10.0,
        }
    )


SEASONAL = np.array([2.5, 1.5, 1.0, 0.8, 0.7, 0.7, 0.7, 0.8, 0.9, 1.0, 0.8, 0.6])


def test_finds_the_paces_of_a_seasonal_shop() -> None:
    clock = season.fit(log(SEASONAL), AT)
    assert clock.is_seasonal
    assert np.array(clock.pace[:12]) == pytest.approx(SEASONAL / SEASONAL.mean(), abs=0.15)
    assert np.mean(clock.pace[:12]) == pytest.approx(1.0)


def test_the_window_ahead_is_that_of_last_year() -> None:
    clock = Clock(AT, (2.0,) * 3 + (0.5,) * 9)
    ahead = clock.between(AT, 365.25)
    assert ahead == pytest.approx(-clock.between(AT, -365.25))
    assert clock.between(AT, 30) == pytest.approx(15)  # a year after the oldest month
    assert clock.between(AT, -30) == pytest.approx(-60)
    assert clock.between(AT + timedelta(days=10), [-10, 0, 20]) == pytest.approx([-5, 0, 10])
    assert clock.position([800]) == pytest.approx(2 * ahead + clock.position([800 - 2 * 365.25]))


def test_time_before_the_first_month_is_calendar_time() -> None:
    clock = Clock(AT, (2.0,) * 12)
    assert clock.position(-12 * season.MONTH_DAYS - 100) == pytest.approx(-24 * season.MONTH_DAYS - 100)
    assert Clock(AT).between(AT, [-5, 7]).tolist() == [-5, 7]


def test_no_season_below_a_year_nor_from_one_cohort() -> None:
    assert not season.fit(log(SEASONAL, days=300), AT).is_seasonal
    rng, rows = np.random.default_rng(1), []
    for person in range(600):  # all join in the first weeks, buy once or come back with ever fewer purchases
        first = int(rng.integers(0, 60))
        rate, leave = rng.gamma(0.3, 1 / 30), rng.beta(0.8, 2.4)
        day = float(first)
        while day < 500:
            rows.append((str(person), AT - timedelta(days=500 - int(day))))
            day += max(1.0, rng.exponential(1 / rate))
            if rng.random() < leave:
                break
    cohort = pl.DataFrame(rows, schema=["person_id", "on"], orient="row").unique().lazy()
    assert not season.fit(cohort.with_columns(order_count=1, gross_amount=10.0), AT).is_seasonal


def test_nothing_after_the_date_moves_the_clock() -> None:
    known = log(SEASONAL)
    both = pl.concat([known, known.with_columns(pl.col("on") + timedelta(days=730))])
    assert season.fit(both, AT) == season.fit(known, AT)
    assert season.last_year(both, AT, 90, 365) == season.last_year(known, AT, 90, 365)


def test_last_years_window_foretells_buyers_and_purchases() -> None:
    days = log(SEASONAL, days=1095, seed=3)
    at = AT - timedelta(days=90)
    totals = season.last_year(days, at, 90, 365)
    before = days.filter(pl.col("on") < at, pl.col("on") >= at - timedelta(days=365))
    known = before.select("person_id").unique().collect()
    after = days.filter(pl.col("on") >= at).collect().join(known, on="person_id", how="semi")
    assert totals is not None
    assert totals.buyer_share == pytest.approx(after["person_id"].n_unique() / known.height, abs=0.08)
    assert totals.purchases == pytest.approx(after.height, rel=0.1)
    assert season.last_year(log(SEASONAL, days=300), AT, 90, 365) is None
