"""The tables of countries, currencies and states: complete, and every code is its own."""

from __future__ import annotations

import pytest

from customer360.platform.sources.values import iso


def test_every_code_of_a_country_stands_for_itself() -> None:
    two_of = iso.alpha_2()
    assert len(two_of) == len(set(two_of.values())) == 249
    for three, two in two_of.items():
        assert iso.countries()[three] == iso.countries()[two] == three
    numbers = {name: code for name, code in iso.countries().items() if name.isdigit() and len(name) == 3}
    assert len(numbers) == len(set(numbers.values())) == 249


def test_currencies_and_states_stand_for_themselves() -> None:
    codes = set(iso.currencies().values())
    assert {"EUR", "USD", "GBP", "JPY", "XOF", "XCD"} <= codes and all(iso.currencies()[c] == c for c in codes)
    assert all(iso.states()[code] == code for code in iso.states().values()) and len(set(iso.states().values())) == 56


@pytest.mark.parametrize("written", ["Dollar", "kr", "Krone", "XXX", ""])
def test_what_stands_for_several_or_none_is_no_currency(written: str) -> None:
    assert iso.plain(written) not in iso.currencies()


@pytest.mark.parametrize(
    ("written", "two"),
    [("Türkiye", "TR"), ("Viet Nam", "VN"), ("the Netherlands", "NL"), ("Virgin Islands, U.S.", "VI"), ("congo", "CG"),
     ("Republic of Korea", "KR"), ("Great Britain", "GB"), ("Hong Kong", "HK"), ("Trinidad and Tobago", "TT"),
     ("Bosnia & Herzegovina", "BA"), ("Bolivia, Plurinational State of", "BO"), ("Macao", "MO"), ("Czechia", "CZ")],
)  # fmt: skip
def test_names_of_countries_in_use(written: str, two: str) -> None:
    assert iso.alpha_2()[iso.countries()[iso.plain(written)]] == two
