"""A release hides everybody among k others, whatever the rows are and whatever an outsider brings."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customer360.platform import anonymity
from customer360.platform.anonymity import Law, anonymized, generalized
from customer360.platform.errors import ConfigError

ON = date(2026, 6, 1)
LEVELS = {
    "born": anonymity.ages(ON),
    "zip": anonymity.prefixes(5, 3, 2, 1),
    "sex": anonymity.values(),
    "since": anonymity.spans(),
}
SCHEMA = {"born": pl.Date, "zip": pl.String, "sex": pl.String, "since": pl.Date, "band": pl.String}
PERSON = st.tuples(
    st.one_of(st.none(), st.dates(date(1925, 1, 1), date(2010, 1, 1))),
    st.one_of(st.none(), st.sampled_from(["10115", "1011", "SW1A 1AA", "sw1a1aa", "80331", "80-331", ""])),
    st.sampled_from([None, "F", "M"]),
    st.one_of(st.none(), st.dates(date(2020, 1, 1), date(2026, 1, 1))),
    st.sampled_from(["VIP", "NEW", "NEW", None]),
)


def people(rows: list[tuple[object, ...]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


@given(st.lists(PERSON, min_size=1, max_size=60), st.integers(2, 6), st.integers(1, 2))
@settings(max_examples=40, deadline=None)
def test_an_outsider_finds_nobody_in_a_group_under_k(rows: list[tuple[object, ...]], k: int, diversity: int) -> None:
    """The outside list knows everything that the quasi-identifiers say of everybody, exactly."""
    told = people(rows)
    try:
        made = anonymized(told, LEVELS, ["band"], Law(k, diversity))
    except ConfigError:
        assert len(rows) < k or told["band"].n_unique() < diversity
        return
    outside = generalized(told.select(list(LEVELS)), LEVELS, made.levels).unique()
    joined = outside.join(made.rows, on=list(LEVELS)).group_by(list(LEVELS)).agg(pl.len(), pl.col("band").n_unique())
    assert joined["len"].min() >= k and joined["band"].min() >= diversity
    assert made.smallest == joined["len"].min() and made.groups == joined.height
    assert made.rows.height + made.suppressed == len(rows)
    assert made.rows.columns == [*LEVELS, "band"]


def test_the_least_is_lost_and_the_order_of_rows_tells_nothing() -> None:
    near = [(date(1980, 1, day), "10115", "F", date(2024, 3, day), band) for day, band in ((1, "VIP"), (2, "NEW"))]
    far = [(date(1950, 5, day), "80331", "M", date(2021, 7, day), band) for day, band in ((1, "VIP"), (2, "NEW"))]
    made = anonymized(people(near + far), LEVELS, ["band"], Law(2, 2))
    assert made.levels == dict.fromkeys(LEVELS, 0) and made.suppressed == 0
    assert made.rows["born"].to_list() == ["45-49", "45-49", "75-79", "75-79"]
    assert made.rows.equals(anonymized(people(far + near), LEVELS, ["band"], Law(2, 2)).rows)


@pytest.mark.parametrize(
    ("born", "age"),
    [(date(1996, 6, 1), "30-34"), (date(1996, 6, 2), "25-29"), (date(1930, 1, 1), "90+"), (date(2020, 1, 1), "15-19"),
     (None, "unknown")],
)  # fmt: skip
def test_ages_are_full_years_with_open_ends(born: date | None, age: str) -> None:
    made = generalized(people([(born, "1", "F", None, "A")]), LEVELS, dict.fromkeys(LEVELS, 0))
    assert made["born"].item() == age


def test_what_cannot_hide_anybody_is_refused() -> None:
    alone = people([(date(1980, 1, 1), "10115", "F", None, "VIP")])
    for wrong in (lambda: Law(1), lambda: Law(3, 4), lambda: anonymized(alone, LEVELS, ["band"], Law(2, 1)),
                  lambda: anonymized(alone, LEVELS, ["sex"], Law(2, 1))):  # fmt: skip
        with pytest.raises(ConfigError):
            wrong()
