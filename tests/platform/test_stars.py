"""Loads are declared beside their contracts; a star that cannot hold is refused when it is composed."""

from __future__ import annotations

import polars as pl
import pytest

from customer360.platform import stars
from customer360.platform.errors import GraphError
from customer360.platform.stars import loads, references
from customer360.platform.tables import Integer, String, Table


@pytest.fixture
def nothing(registries: None) -> None:
    stars.LOADS.clear()


def test_an_unknown_input_is_refused(nothing: None) -> None:
    class Facts(Table, table="t_star.t_facts"):
        """One row per fact."""

        fact_id = String(primary_key=True)

    @loads(Facts)
    def t_facts(silver_t_nowhere: pl.LazyFrame) -> pl.LazyFrame:
        return silver_t_nowhere

    with pytest.raises(GraphError, match=r"t_star\.t_facts is loaded from silver\.t_nowhere"):
        stars.check()


def test_a_reference_needs_a_dimension_with_one_key_column(nothing: None) -> None:
    class Pairs(Table, table="t_star.t_pairs"):
        """One row per pair."""

        left = String(primary_key=True)
        right = String(primary_key=True)
        pair = String(metadata=references("t_star.t_pairs"))

    @loads(Pairs)
    def t_pairs() -> pl.LazyFrame:
        return pl.LazyFrame()

    with pytest.raises(GraphError, match="no dimension with one key column"):
        stars.check()


def test_dimensions_come_before_their_facts(nothing: None) -> None:
    class Zones(Table, table="t_star.t_zones"):
        """One row per zone."""

        zone_key = Integer(primary_key=True)
        is_far = stars.tables.Boolean()

    class Facts(Table, table="t_star.t_facts"):
        """One row per fact."""

        fact_id = String(primary_key=True)
        zone_key = Integer(metadata=references("t_star.t_zones"))

    @loads(Facts)
    def t_facts() -> pl.LazyFrame:
        return pl.LazyFrame()

    @loads(Zones)
    def t_zones() -> pl.LazyFrame:
        return pl.LazyFrame()

    assert [each.name for each in stars.ordered()] == ["t_star.t_zones", "t_star.t_facts"]
    assert stars.unknown_member(Zones).rows() == [(stars.UNKNOWN_NUMBER, False)]
