"""Amounts far above all that is usual: found by the customer's habit, counted as usual, nothing else touched."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from customer360.models.purchasing import outliers

BEFORE = date(2024, 1, 1)


def shop(people: int = 120, seed: int = 0) -> pl.DataFrame:
    """Days of customers; the first one buys in bulk, a hundred times as much as the others, each time."""
    rng = np.random.default_rng(seed)
    count = rng.integers(1, 9, people)
    count[0] = 6
    purse = rng.lognormal(3.5, 0.6, people)
    purse[0] *= 100
    person = np.repeat(np.arange(people), count)
    turn = np.concatenate([np.arange(each) for each in count])
    amount = np.round(purse[person] * rng.lognormal(0.0, 0.4, len(person)), 2)
    return pl.DataFrame({"person": person, "turn": turn, "amount": amount}).select(
        person_id=pl.format("p{}", pl.col("person").cast(pl.String).str.zfill(3)),
        on=pl.lit(BEFORE - timedelta(days=300)) + pl.duration(days=pl.col("turn") * 30 + pl.col("person") % 30),
        order_count=pl.lit(1, pl.Int64),
        gross_amount=pl.col("amount").cast(pl.Decimal(14, 2)),
        net_amount=pl.col("amount").cast(pl.Decimal(14, 2)),
    )


def mistyped(days: pl.DataFrame, row: int, times: int) -> pl.DataFrame:
    amount = pl.when(pl.int_range(pl.len()) == row).then(pl.col("gross_amount") * times).otherwise("gross_amount")
    return days.with_columns(gross_amount=amount.cast(pl.Decimal(14, 2)), net_amount=amount.cast(pl.Decimal(14, 2)))


def test_a_usual_shop_has_none_and_bulk_buyers_are_usual_to_themselves() -> None:
    days = shop()
    tempered = outliers.temper(days.lazy(), BEFORE)
    assert tempered.found.is_empty() and tempered.days.collect().equals(days)


@pytest.mark.parametrize("times", [30, 2500])
def test_a_mistyped_amount_counts_as_usual_and_the_rest_stays(times: int) -> None:
    days = shop()
    often = days.with_row_index().filter(pl.len().over("person_id") > 3, pl.col("person_id") != "p000")
    for row in often["index"].gather_every(40).to_list():
        wrong = mistyped(days, row, times)
        tempered = outliers.temper(wrong.lazy(), BEFORE)
        assert tempered.found["person_id"].to_list() == [days["person_id"][row]]
        assert tempered.found["amount"][0] == pytest.approx(float(wrong["gross_amount"][row]))
        assert 0.2 < tempered.found["usual"][0] / float(days["gross_amount"][row]) < 5
        after = tempered.days.collect()
        assert after["gross_amount"][row] == pytest.approx(tempered.found["usual"][0]) == after["net_amount"][row]
        same = pl.col("gross_amount").cast(pl.Float64)
        assert (
            after.with_row_index()
            .filter(pl.col("index") != row)
            .select(same)
            .equals(days.with_row_index().filter(pl.col("index") != row).select(same))
        )


def test_the_only_purchase_of_a_customer_is_judged_by_the_others() -> None:
    days = shop()
    once = days.with_row_index().filter(pl.len().over("person_id") == 1)["index"][0]
    found = outliers.find(mistyped(days, once, 2500).lazy(), BEFORE)
    assert found["person_id"].to_list() == [days["person_id"][once]]
    assert found["usual"][0] == pytest.approx(np.exp(3.5), rel=0.5)


def test_what_follows_the_date_is_neither_read_nor_changed() -> None:
    days = mistyped(shop(), 5, 2500)
    at = days["on"][5]
    assert outliers.find(days.lazy(), at).is_empty()
    assert outliers.temper(days.lazy(), at).days.collect().equals(days)


def test_equal_prices_and_few_purchases_make_no_outlier() -> None:
    days = shop().with_columns(gross_amount=pl.lit(9.99))
    assert outliers.find(days.lazy(), BEFORE).is_empty()
    assert outliers.find(days.head(outliers.LEAST_DAYS - 1).lazy(), BEFORE).is_empty()
    twice = days.with_columns(gross_amount=pl.when(pl.int_range(pl.len()) == 3).then(19.98).otherwise("gross_amount"))
    assert outliers.find(twice.lazy(), BEFORE).is_empty()
