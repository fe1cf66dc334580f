"""Traces: a value is found however it is spelt, and nobody else's is taken for it."""

from __future__ import annotations

import html
import json
from urllib.parse import quote, quote_plus

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from customer360.platform.traces import Traces, Value

ANN = Traces.of(
    [
        Value("e-mail", ("ann.li@x.org",)),
        Value("phone", ("+49 221 5550147",)),
        Value("name", ("Änn", "O'Lee")),
        Value("account", ("P00017X",)),
        Value("address", ("5 Mill  Way",)),
    ]
)


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("ANN.LI@X.ORG", {"e-mail"}), ("to=ann.li%40x.org&", {"e-mail"}), (r"ann.li\u0040x.org", {"e-mail"}),
        ("(ann.li@x.org).", {"e-mail"}), ("u%3Dann.li%40x.org", {"e-mail"}), ("<ann.li@x.org>", {"e-mail"}),
        ("joann.li@x.org", set()), ("mary-ann.li@x.org", set()),
        ("ann.li@x.org.uk", set()), ("ann.li@x.organic", set()),
        ("0049 (221) 555-0147", {"phone"}), ("+492215550147", {"phone"}), ("%2B49%20221%205550147", {"phone"}),
        ("99999492215550147", set()), ("2215550147.25", {"phone"}), ("22155501478", set()), ("0.2215550147", set()),
        ("änn o'lee", {"name"}), ("O'LEE, ÄNN", {"name"}), ("Änn J. O'Lee", {"name"}), ("Änn+O%27Lee", {"name"}),
        ("&Auml;nn O&#39;Lee", {"name"}), (json.dumps({"first": "Änn", "last": "O'Lee"}), {"name"}),
        ("<f>Änn</f>\n  <l>O'Lee</l>", {"name"}), ("Änn and O'Lee", set()),
        ("Hänn O'Lee", set()), ("Änn O'Leery", set()),
        ("P00017X", {"account"}), ("POS/p00017x", {"account"}), ("P00017XY", set()), ("1P00017X", set()),
        ("5 mill way", {"address"}), ("5%20Mill+Way", {"address"}), ("15 Mill Way", set()),
    ],
)  # fmt: skip
def test_a_value_is_found_in_any_spelling_and_as_a_word_of_its_own(text: str, kinds: set[str]) -> None:
    assert ANN.among(pl.Series([f"so {text} it is"])) == kinds


LETTERS = st.characters(codec="utf-8", categories=["Lu", "Ll", "Nd"], max_codepoint=0x24F)
PLAIN = st.text(LETTERS, min_size=9, max_size=14).filter(lambda t: t.lower() == t.upper().lower() and t.strip() == t)
WRITTEN = {
    "plain": str,
    "url": quote,
    "form": quote_plus,
    "json": json.dumps,
    "html": lambda t: html.escape(t).encode("ascii", "xmlcharrefreplace").decode(),
}


@given(PLAIN, st.sampled_from(sorted(WRITTEN)))
def test_no_encoding_hides_a_value(text: str, way: str) -> None:
    found = Traces.of([Value("device", (text,))])
    assert found.among(pl.Series([f"<{WRITTEN[way](text)}>"])) == {"device"}


def test_what_is_short_or_shared_is_not_looked_for_and_counted() -> None:
    short = [Value("account", ("1234",)), Value("phone", ("110",)), Value("name", ("A", "B")), Value("device", ("",))]
    told = Traces.of([*short, Value("account", ("POS/1234",))], shared=[Value("e-mail", ("info@x.org",))])
    assert told.kinds == {"account": 1} and told.common == {"account": 1, "phone": 1, "name": 1, "e-mail": 1}
    assert told.among(pl.Series(["1234 110 A B info@x.org"])) == set()


def test_names_are_found_in_two_columns_of_one_row() -> None:
    rows = pl.DataFrame({"a": [" änn", "Änn", "x"], "b": ["O'LEE ", "Other", "O'Lee"]})
    assert ANN.in_columns(rows) == {"name"} and ANN.in_columns(rows[1:]) == set()


def test_a_text_is_cleaned_of_every_value() -> None:
    said = "Änn O'Lee (ann.li@x.org, 0221/555 01 47) and joann.li@x.org"
    assert ANN.without(said, "•") == "• (•, •) and joann.li@x.org"


def test_many_values_are_found_too() -> None:
    many = Traces.of(Value("device", (f"V{number:07d}",)) for number in range(300))
    assert many.among(pl.Series(["V0000299", "V0000300"])) == {"device"} and not many.among(pl.Series(["V0000300"]))
