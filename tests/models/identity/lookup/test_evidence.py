"""One record's evidence without a query is what the batch makes of it: the same stages, run in two ways."""

from __future__ import annotations

import random
import unicodedata
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from customer360.models.identity.evidence.features import build_features
from customer360.models.identity.evidence.standardize import RAW_COLUMNS, standardize
from customer360.models.identity.lookup.evidence import RecordError, SingleEvidence
from customer360.models.identity.lookup.from_polars import ExpressionError, Program
from customer360.models.identity.lookup.from_regex import PatternError, python_pattern
from customer360.models.identity.rules import IdentityRules

ROOT = Path(__file__).parents[4]
RULES = IdentityRules.model_validate(yaml.safe_load((ROOT / "configs/rules/identity.yaml").read_text()))
ONE = SingleEvidence(RULES, ("card",), (), {}, {})
CARDED = RULES.model_copy(update={"blocking": RULES.blocking.model_copy(update={"identifiers": ("card",)})})
COLUMNS = (*RAW_COLUMNS, "card")
FRAGMENTS = [
    "ann", "Dr.", "van der", "BERG", "de la", "Müller", "MARÍA", "Łukasz", "O’Neil-Smith", "jr.", "III", "2nd", "xxx", "n/a",  # noqa: E501
    "Unknown", "李", "Ольга", "ΟΔΥΣΣΕΎΣ", "İ", "ſ", "ﬁ", "e\u0301", "Bob", "Robert", "peggy", "q", "1st Baron of X", ",", " ",  # noqa: E501
    "\u00a0", "\u2003", "\x1c", "\n", "@", "+", "+shop", "ann.lee", "a.b.c", "gmail.com", "@gmial.com", "@googlemail.com",  # noqa: E501
    "@post.de", "bücher", "@none.com", "noreply", "..", "(415) 555-2671", "+44 20 7946 0018", "030 901820", "ext 4", "x7",  # noqa: E501
    "5555555", "0033 1 42 68 53 00", "٤١٥", "1234567890", "12", "Oak", "Street", "Apt 4b", "#4", "No. 5", "north", "straße",  # noqa: E501
    "02139-4307", "2139", "SW1A 1AA", "00000", "k1a 0b1", "UK", "us", "Germany", "Frau", "M", "-", "'", ".", "$1", "\\",
]  # fmt: skip
DATES = ["1980-05-17", "19800517", "17051980", "17/05/1980", "05/17/1980", "03/04/81", "3.4.1981", "3 March 1950", "May 3rd, 1980",  # noqa: E501
         "1950", "1950-07", "1950-00-00", "1980.0", "1980-13-45", "1900-01-01", "0850-02-03", "9999-12-31", "soon", "31 feb 1999",  # noqa: E501
         "١٩٨٠-٠٥-١٧", " 1980/5/7 ", "1980-05-17T00:00:00", "2000-01-01", "12-31-30", "12-31-31"]  # fmt: skip
LETTERS = st.characters(exclude_categories=("Cs", "Cn", "Co"))  # fmt: skip
WORDS = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(LETTERS, max_size=6)), min_size=1, max_size=5)
TEXT = st.none() | st.builds(lambda words, between: between.join(words), WORDS, st.sampled_from(["", " "]))
RECORD = st.fixed_dictionaries(
    {name: st.none() | st.sampled_from(DATES[:2]) if name == "date_of_birth" else TEXT for name in COLUMNS}
)


def batch(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Evidence of the records by the stages over a frame, in the order given."""
    numbered = [{"record_id": f"{place:06}"} | record for place, record in enumerate(records)]
    frame = pl.DataFrame(numbered, schema=dict.fromkeys(("record_id", *COLUMNS), pl.String))
    limits = {"max_names_per_email": 10**6, "max_names_per_phone": 10**6}
    open_ = RULES.model_copy(update={"standardization": RULES.standardization.model_copy(update=limits)})
    built = build_features(standardize(frame, open_), CARDED)
    return built.frame.drop("rid", "record_id", "email_own").to_dicts()


def agree(records: list[dict[str, Any]]) -> None:
    for record, expected in zip(records, batch(records), strict=True):
        found = ONE(record)
        differing = {name: (value, found[name]) for name, value in expected.items() if found[name] != value}
        assert not differing, record


@settings(deadline=None, max_examples=15)
@given(st.lists(RECORD, min_size=1, max_size=16))
def test_any_record_gives_what_the_batch_gives(records: list[dict[str, Any]]) -> None:
    agree(records)


@pytest.mark.parametrize("text", DATES)
def test_a_date_alone_is_read_as_a_column_of_one(text: str) -> None:
    agree([dict.fromkeys(COLUMNS) | {"date_of_birth": text}])


def test_the_retailers_records_and_two_thousand_spoilt_ones(raw_retailer) -> None:
    landing = raw_retailer(200, 400) / "landing"
    rows = []
    for table in (
        pl.read_csv(
            landing / "pos/customers/customers.csv",
            infer_schema=False,
            encoding="utf8-lossy",
            truncate_ragged_lines=True,
        ),
        pl.read_parquet(landing / "crm/customers/customers.parquet"),
    ):
        told = {name: pl.col(name.upper()).cast(pl.String) for name in RAW_COLUMNS if name.upper() in table.columns}
        rows += table.select(**told).to_dicts()
    assert len(rows) > 100
    known = [dict.fromkeys(COLUMNS) | row for row in rows]
    rng = random.Random(5)
    spoilt = [{name: _spoilt(value, rng) for name, value in rng.choice(known).items()} for _ in range(2000)]
    for row in spoilt:
        row["date_of_birth"] = rng.choice(known)["date_of_birth"]
    agree(known + spoilt)


def _spoilt(value: str | None, rng: random.Random) -> str | None:
    if value is None or rng.random() < 0.1:
        return rng.choice([None, "", rng.choice(FRAGMENTS)])
    place = rng.randrange(len(value) + 1)
    other = rng.choice(["", value[place : place + 1] * 2, rng.choice(FRAGMENTS), unicodedata.normalize("NFD", value)])
    return value[:place] + other + value[place + rng.randrange(2) :] if rng.random() < 0.6 else value.swapcase()


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(RecordError, match="zip_code of the record is of type int"):
        ONE({"zip_code": 94110})


def test_what_has_no_python_form_is_named() -> None:
    with pytest.raises(ExpressionError, match="TextReverse"):
        Program({"x": pl.col("a").str.reverse()})
    with pytest.raises(ExpressionError, match="expression Over"):
        Program({"x": pl.col("a").first().over("b")})
    with pytest.raises(PatternError, match="A"):
        python_pattern(r"\Aa")


def test_patterns_mean_what_polars_means() -> None:
    texts = pl.Series(
        ["a\n", "a", "\x1ca", "\u2003a", "٣", "3", "é", "e\u0301", "_", "ann lee", "12 oak", "12oak", None]
    )
    for pattern in (r"^\w$", r"a$", r"^\s", r"\d", r"^\p{L}+$", r"[^\p{L}\p{N}]", r"^(\d+)\b", r"\S\s\S", r"\p{M}"):
        compiled = python_pattern(pattern)
        found = [None if text is None else compiled.search(text) is not None for text in texts]
        assert found == texts.str.contains(pattern).to_list(), pattern
