"""Dates and times in several columns, in the forms that tills write them."""

from __future__ import annotations

# ruff: noqa: E501 - a form a line
import polars as pl
import pytest

from customer360.platform.sources.profiling.survey import Delivery, Place
from customer360.serve.drafting import sql
from customer360.serve.drafting.moments import together
from customer360.serve.drafting.names import vocabulary

WORDS = vocabulary()


def made(columns: dict[str, list[str]]) -> dict[str, tuple[str, str]]:
    """SQL and first value of each column that was put together."""
    delivery = Delivery("a.csv", Place("a.csv"), ("a.csv",), pl.DataFrame(columns), 1, whole=True)
    found = together(delivery, WORDS).columns.values()
    return {c.name: (sql.name(c), c.data[0]) for c in found if c.form}


@pytest.mark.parametrize(
    ("columns", "expression", "first"),
    [
        ({"Datum": ["03.02.2026", "14.02.2026"], "Uhrzeit": ["9:05", "14:30"]}, "Datum || ' ' || COALESCE(Uhrzeit, '')", "03.02.2026 9:05"),
        ({"date": ["2026-02-03"] * 2, "time": ["09:05:10", None]}, "\"date\" || ' ' || COALESCE(\"time\", '')", "2026-02-03 09:05:10"),
        ({"fecha": ["3/2/2026"] * 2, "hora": ["1:05 PM", "11:00 am"]}, "fecha || ' ' || COALESCE(hora, '')", "3/2/2026 1:05 PM"),
        ({"jaar": ["2026"] * 2, "maand": ["2", "12"], "dag": ["3", "28"]}, "jaar || '-' || LPAD(maand, 2, '0') || '-' || LPAD(dag, 2, '0')", "2026-02-03"),
        ({"TRANS_DATE": ["20260203"] * 3, "TRANS_TIME": ["905", "1430", "1502"]}, "TRANS_DATE || ' ' || COALESCE(LEFT(LPAD(TRANS_TIME, 4, '0'), 2) || ':' || SUBSTR(LPAD(TRANS_TIME, 4, '0'), 3, 2), '')", "20260203 09:05"),
        ({"Tag": ["2026-02-03 00:00:00"] * 2, "Zeit": ["09:05", "10:00"]}, "LEFT(CAST(Tag AS VARCHAR), 10) || ' ' || COALESCE(Zeit, '')", "2026-02-03 09:05"),
    ],
    ids=["german", "a time is lacking", "twelve hours", "three columns", "digits", "from a workbook"],
)  # fmt: skip
def test_columns_of_one_moment_are_one(columns: dict[str, list[str]], expression: str, first: str) -> None:
    assert list(made(columns).values()) == [(expression, first)]


@pytest.mark.parametrize(
    "columns",
    [
        {"Datum": ["03.02.2026 10:00"], "Uhrzeit": ["9:05"]},
        {"order_date": ["2026-01-01"], "birth_date": ["1990-01-01"], "note": ["x"], "open_time": ["09:00"]},
        {"year": ["2026"], "month": ["13"], "day": ["3"]},
        {"date": ["2026-01-01"], "time_on_page": ["341"], "qty": ["3"]},
    ],
    ids=["the date has a time", "of which date", "no month", "seconds"],
)
def test_others_stay_apart(columns: dict[str, list[str]]) -> None:
    assert made(columns) == {}
