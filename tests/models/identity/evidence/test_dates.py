"""Forms of birth dates, alone and as a column tells them."""

import polars as pl
import pytest

from customer360.models.identity.evidence.dates import iso_dates


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("19-Feb-91", "1991-02-19"), ("15-AUG-67", "1967-08-15"), ("05-JUN-03", "2003-06-05"), ("10-May-85 00:00",
        "1985-05-10"),
        ("3. März 1950", "1950-03-03"), ("2 Dezember 1955", "1955-12-02"), ("12 août 1971", "1971-08-12"),
        ("1er juin 1980", "1980-06-01"), ("5 de mayo de 1999", "1999-05-05"), ("21-DIC-60", "1960-12-21"),
        ("14 febbraio 1988", "1988-02-14"), ("9 giugno 1970", "1970-06-09"), ("19-SET-91", "1991-09-19"),
        ("7 października 1977", "1977-10-07"), ("28 lutego 1964", "1964-02-28"), ("3 мая 1961", "1961-05-03"),
        ("17 августа 1980", "1980-08-17"), ("1980年5月3日", "1980-05-03"), ("1980년 5월 3일", "1980-05-03"),
        ("١٩٨٠-٠٤-٠٣", "1980-04-03"), ("2523-05-03", "1980-05-03"), ("1991-Feb-19", "1991-02-19"), ("March 5, 89",
        "1989-03-05"),
        ("平成3年2月12日", "1991-02-12"), ("昭和42年8月3日", "1967-08-03"), ("S42.8.3", "1967-08-03"), ("h31/4/30",
        "2019-04-30"), ("令和元年5月1日", "2019-05-01"), ("民國80年2月12日", "1991-02-12"), ("中華民國80年2月12日",
        "1991-02-12"), ("昭和年8月", None),
        ("Feb 1991", "1991-02"), ("soon", None), ("12-Foo-91", None),
    ],
)  # fmt: skip
def test_forms(text: str, iso: str | None) -> None:
    assert iso_dates(pl.Series("dob", [text]))[0] == iso


def test_ages_of_a_column_tell_its_two_digit_years() -> None:
    """Adults only: nobody was born in 2008 or later, so that 08 to 26 are of the century before."""
    years = [*range(1921, 2005)] * 2
    read = iso_dates(pl.Series("dob", [f"{1 + at % 28:02}-Jun-{year % 100:02}" for at, year in enumerate(years)]))
    assert read.str.head(4).cast(pl.Int64).to_list() == years
