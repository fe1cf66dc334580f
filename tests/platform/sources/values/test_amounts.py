"""Amounts as files write them; what is none is null; where point and comma could be either it is said."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from customer360.platform.errors import SourceError
from customer360.platform.sources.values import amounts


def read(values: list, decimal: str | None = None) -> tuple[list, list[str]]:
    told: list[str] = []
    found = amounts.read(pl.Series(values, dtype=pl.String), "log.csv, column Total", told.append, decimal)
    return found.to_list(), told


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("5", 5), ("5.00", 5), ("5,00", 5), ("1.234,56", 1234.56), ("1,234.50", 1234.5), ("12,34,567.00", 1234567),
        ("1 234,56", 1234.56), ("1\u202f234,56", 1234.56), ("1 234 567,8", 1234567.8), ("1'234.50", 1234.5),
        ("1.000.000", 1e6), ("0.125", 0.125), (",5", 0.5), ("5.", 5), ("5,-", 5), ("1234.567", 1234.567),
        ("£5", 5), ("$ 1,234.50", 1234.5), ("US$ 5", 5), ("12.50 EUR", 12.5), ("12,50€", 12.5), ("kr 12,50", 12.5),
        ("(5.00)", -5), ("($1,234.50)", -1234.5), ("-£3", -3), ("£-3", -3), ("3.00-", -3), ("\u22125", -5), ("+5", 5),
        ("-5.00 GBP", -5), (" 7 ", 7), ("1e3", 1000), ("1.5E-02", 0.015),
        ("oops", None), ("", None), ("1.2.3", None), ("(5.00", None), ("Jan 12", None), ("1,23,4", None), ("12 pcs", None),  # noqa: E501
    ],
)  # fmt: skip
def test_an_amount_in_its_usual_forms(value, expected) -> None:
    assert read([value, None, "8"]) == ([expected, None, 8.0], [])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1.234", "5,00"], [1234, 5]), (["1,234", "5.00"], [1234, 5]), (["1.234", "1.000.000"], [1234, 1e6]),
        (["1.234", "0.500"], [1.234, 0.5]), (["-1.234", "5,5"], [-1234, 5.5]), (["1,234", "5,00"], [1.234, 5]),
    ],
)  # fmt: skip
def test_the_whole_column_says_which_sign_is_before_the_fraction(values, expected) -> None:
    assert read(values) == (expected, [])


def test_where_nothing_decides_the_assumption_is_said() -> None:
    found, told = read(["1,234", "2,500", "7"])
    assert found == [1234, 2500, 7]
    assert told == [
        "log.csv, column Total: 2 values like '1,234' could be thousands or fractions (nothing in the column tells); read with a "  # noqa: E501
        "point before fractions. Numbers like 1234.56 are safe"
    ]
    assert read(["1.234"])[0] == [1.234]
    assert read(["1,234"], decimal=",") == ([1.234], [])  # another column of the file told
    found, told = read(["5,00", "6,00", "7.00", "1.234"])
    assert found == [5, 6, 7, 1234] and "both signs occur" in told[0]


def test_a_declared_sign_is_no_question() -> None:
    told: list[str] = []
    for sign, expected in ((",", [1234.0, 1234.5, 5.0]), (".", [1.234, 1234.5, 5.0])):
        found = amounts.parsed(pl.Series(["1.234", "1.234,50", "5"]), "", told.append, declared=sign)
        assert found.to_list() == expected and told == []


def test_currencies_that_are_mixed_are_said() -> None:
    assert read(["£5", "5 GBP"])[1] == []
    assert "amounts in EUR, GBP are added as they stand" in read(["£5", "5 €"])[1][0]


def test_a_column_without_any_number_is_refused() -> None:
    with pytest.raises(
        SourceError, match=r"column Total: no number can be read, for example \['gift', 'none'\]; write"
    ):
        read(["gift", "none"])
    assert read([None, None]) == ([None, None], []) and read([]) == ([], [])


def test_numbers_stay_what_they_are() -> None:
    assert amounts.read(pl.Series([1, None, 2]), "", print).to_list() == [1.0, None, 2.0]
    assert amounts.read(pl.Series(["1.50"]).cast(pl.Decimal(10, 2)), "", print).to_list() == [1.5]


CENTS = st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=20)
STYLES = {
    "{:,.2f}": lambda text: text,
    "{:.2f}": lambda text: text,
    "{:_.2f}": lambda text: text.replace(".", ",").replace("_", "."),
    "{: >1,.2f}": lambda text: text.replace(",", " ").replace(".", ","),
    "{:,.2f} EUR": lambda text: text,
    "{:_.2f}€": lambda text: text.replace(".", ",").replace("_", "'"),
}


@given(CENTS, st.sampled_from(sorted(STYLES)), st.booleans())
def test_what_is_written_in_any_style_is_read_back(cents: list[int], style: str, brackets: bool) -> None:
    def written(value: int) -> str:
        text = STYLES[style](style.format(abs(value) / 100))
        return text if value >= 0 else f"({text})" if brackets else f"-{text}"

    found, told = read([written(value) for value in cents])
    assert found == pytest.approx([value / 100 for value in cents]) and told == []
