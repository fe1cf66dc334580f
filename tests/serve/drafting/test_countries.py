"""The country of national telephone numbers: what tells it, and that nothing weaker does."""

# ruff: noqa: E501 - a folder a line

from __future__ import annotations

import polars as pl
import pytest

from customer360.platform.sources.profiling.columns import Column
from customer360.platform.sources.profiling.survey import Delivery, Place
from customer360.serve.drafting.countries import lacking, settle, zone_of
from customer360.serve.drafting.entries import Entry, Guess
from customer360.serve.drafting.names import vocabulary

WORDS = vocabulary()
USED = {"phone": "PHONE_NUMBER", "mail": "EMAIL_ADDRESS", "zip": "ZIP_CODE", "state": "STATE_CODE"}


def entry(**columns: list[str]) -> Entry:
    frame = pl.DataFrame(columns)
    made = Entry("people", "bronze.customers", Delivery("p.csv", Place("p.csv"), ("p.csv",), frame, 1, whole=True))
    made.used = {USED[name]: Column(name, frame[name]) for name in columns if name in USED}
    return made


@pytest.mark.parametrize(
    ("columns", "country", "zone"),
    [
        ({"phone": ["0171 1234567", "030 123456", "089 65432"], "mail": ["a@web.de", "b@gmx.de", "c@t.de"]}, "DE", "Europe/Berlin"),
        ({"phone": ["07700 900123", "07700 900456", "020 7946 0018"], "zip": ["SW1A 2AA", "M1 1AE", "B33 8TH"]}, "GB", "Europe/London"),
        ({"phone": ["0478 12 34 56", "0478 65 43 21", "+32 2 555 12 12", "+32 3 555 12 12", "+32 9 555 12 12"]}, "BE", "Europe/Brussels"),
        ({"phone": ["(212) 555-0188", "415-555-0133", "312 555 0147"], "zip": ["10001", "94105", "60601"], "state": ["NY", "CA", "IL"]}, "US", ""),
        ({"phone": ["555-0188", "555-0133", "555-0147"]}, "", ""),
        ({"phone": ["0171 1234567", "030 123456", "089 65432"], "zip": ["10115", "80331", "50667"]}, "", ""),
        ({"phone": ["0171 1234567", "0664 123456", "079 1234567"], "mail": ["a@web.de", "b@chello.at", "c@bluewin.ch"]}, "", ""),
    ],
    ids=["mail ends", "postal codes", "prefixes", "states", "nothing", "codes of many countries", "three countries"],
)  # fmt: skip
def test_a_country_is_taken_where_the_evidence_is_for_one(
    columns: dict[str, list[str]], country: str, zone: str
) -> None:
    people = entry(**columns)
    settle([people], WORDS)
    assert (people.country, zone_of([people], WORDS)[0], bool(lacking([people]))) == (country, zone, not country)
    assert bool(people.country_why) is bool(country)


def test_numbers_with_prefixes_and_files_with_countries_need_none() -> None:
    abroad, known = entry(phone=["+49 30 123456", "0049 89 65432"]), entry(phone=["030 123456"])
    known.mapping["COUNTRY_CODE"] = Guess("land", "named so")
    assert lacking([abroad, known]) == []
