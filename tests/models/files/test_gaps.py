"""What a file leaves open is told in a line; where every answer would be wrong the file is refused."""

from datetime import date, datetime, timedelta

import polars as pl
import pytest

from customer360.models.files import gaps
from customer360.platform.errors import ModelError

AS_OF, FIRST = date(2024, 7, 1), datetime(2024, 1, 1, 9)


def rows(days: list[int], amount: float = 5.0, customer: str = "a", hour: int = 1) -> pl.DataFrame:
    at = [FIRST + timedelta(days=day, hours=hour * (place % 7)) for place, day in enumerate(days)]
    return pl.DataFrame(
        {"customer": [customer] * len(days), "at": at, "amount": [amount + d for d in range(len(days))]}
    )


DAILY = list(range(182))  # up to 2024-06-30


@pytest.mark.parametrize("end", [182, 175, 400])
def test_a_file_that_reaches_the_date_says_nothing(end: int) -> None:
    assert gaps.told(rows(list(range(end))), AS_OF) == []


def test_a_file_that_ends_early_is_refused_with_the_date_that_it_is_good_for() -> None:
    with pytest.raises(ModelError, match=r"ends on 2024-05-01, 60 days before .*give --as-of 2024-05-02") as fault:
        gaps.told(rows(DAILY[:122]), AS_OF)
    good = str(fault.value).split("--as-of ")[2][:10]
    assert gaps.told(rows(DAILY[:122]), date.fromisoformat(good)) == []


def test_a_shop_that_sells_once_a_month_has_not_ended_after_a_month() -> None:
    assert gaps.told(rows([0, 30, 61, 91, 122]), AS_OF) == []


def test_days_that_are_missing_are_named_and_a_rare_shop_has_none() -> None:
    holes = [day for day in DAILY if not 40 <= day < 61 and not 100 <= day < 115]
    (note,) = gaps.told(rows(holes), AS_OF)
    assert "no sale from 2024-02-10 to 2024-03-01, 2024-04-10 to 2024-04-24:" in note and "add them" in note
    assert gaps.told(rows([day for day in DAILY if not 40 <= day < 47]), AS_OF) == []
    assert gaps.told(rows(list(range(0, 182, 6))), AS_OF) == []


def test_rows_that_stand_twice_are_told() -> None:
    once = rows(DAILY)
    (note,) = gaps.told(pl.concat([once, once.head(20)]), AS_OF)
    assert "20 of 202 rows are equal" in note and "remove these" in note
    numbered = pl.concat([once, once]).with_columns(invoice=pl.lit("1"), item=pl.lit("x"))
    assert gaps.told(numbered, AS_OF) == []
    dated = rows(DAILY, hour=0).with_columns(pl.col("at").dt.truncate("1d"))
    assert gaps.told(pl.concat([dated, dated.head(20)]), AS_OF) == []
    assert "182 of 364" in gaps.told(pl.concat([dated, dated]), AS_OF)[0]


def test_who_cannot_be_scored_is_counted_with_the_reason() -> None:
    free = rows([10, 20], customer="free").with_columns(amount=pl.lit(0.0))
    back = rows([11], customer="back").with_columns(amount=pl.lit(-3.0))
    later = rows([200], customer="later")
    found = gaps.told(pl.concat([rows(DAILY), free, back, later]), AS_OF)
    assert found[0] == "2 rows with an amount of 0 are neither a purchase nor a return"
    assert "3 customers cannot be scored as of 2024-07-01" in found[1]
    assert "2 without a purchase above 0 before it, 1 who begin on it or later" in found[1]
