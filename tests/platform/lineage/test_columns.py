"""Lineage of columns as the builds say it, and as rows prove it."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from customer360.platform import graph
from customer360.platform.errors import GraphError
from customer360.platform.graph import builds, produces
from customer360.platform.lineage.columns import PRODUCED, lineage_of, of_node
from customer360.platform.lineage.plans import ANY, Use
from customer360.platform.tables import Integer, Table


def test_a_column_is_followed_to_bronze(shop: Any) -> None:
    found = lineage_of({}).upstream("gold.t_people", "is_top")
    assert found[("gold.t_people", "is_top")] == {
        Use("silver.t_days", "units", "conditional"),
        Use("gold.t_bounds", "most_units", "conditional"),
    }
    assert found[("silver.t_sales", "units")] == {Use("bronze.t_sales", "UNITS", "identity")}
    assert found[("bronze.t_sales", "UNITS")] == frozenset()


def test_a_column_is_followed_to_all_that_is_made_of_it(shop: Any) -> None:
    found = lineage_of({}).downstream("bronze.t_sales", "UNITS")
    assert {("silver.t_sales", "units"), ("gold.t_bounds", "most_units"), ("gold.t_people", "is_top")} <= found.keys()
    assert not any(column == "email" for _, column in found)
    assert ("gold.t_people", ANY) in lineage_of({}).downstream("silver.t_days", "person_id"), "it decides the rows"


def test_an_unknown_column_is_named_with_those_near_it(shop: Any) -> None:
    with pytest.raises(GraphError, match=r"gold.t_people has no column 'unit'; did you mean units\?"):
        lineage_of({}).behind("gold.t_people", "unit")


def test_a_producer_is_known_by_its_tables_alone(shop: Any) -> None:
    class Scores(Table, table="gold.t_scores"):
        """One row."""

        score = Integer()

    @produces(Scores, inputs=("silver.t_days",))
    def t_scores(context: Any, silver_t_days: pl.LazyFrame) -> pl.LazyFrame:
        raise AssertionError("nobody runs it")

    made = of_node(graph.NODES["gold.t_scores"], {})
    assert not made.is_derived
    assert made.flows["gold.t_scores"].columns["score"] == {Use("silver.t_days", ANY, PRODUCED)}
    assert ("gold.t_scores", "score") in lineage_of({}).downstream("silver.t_days", "units")


def test_a_build_that_looks_at_rows_on_its_way_may_use_any_column(shop: Any) -> None:
    class Looks(Table, table="gold.t_looks"):
        """One row a month."""

        units = Integer()

    @builds(Looks)
    def t_looks(silver_t_days: pl.LazyFrame) -> pl.LazyFrame:
        days = silver_t_days.select("subject_id").collect()
        parts = [silver_t_days.filter(pl.col("subject_id") == each).select("units") for each in days["subject_id"]]
        return pl.concat([pl.LazyFrame(schema={"units": pl.Int64}), *parts])

    flow = of_node(graph.NODES["gold.t_looks"], {}).flows["gold.t_looks"]
    assert {u.column for u in flow.columns["units"]} == {"subject_id", "person_id", "sale_count", "units"}
    assert flow.at_most == {"units"}


@pytest.mark.parametrize("column", ["subject_id", "person_id", "sale_count", "units"])
def test_what_changes_with_a_column_is_named(shop: Any, column: str) -> None:
    """The law of the bench `lineage_law.py` on this graph: values dealt anew change nothing that is not named."""
    node = graph.NODES["gold.t_people"]
    flow = of_node(node, {}).flows["gold.t_people"]
    days = pl.DataFrame(
        {"subject_id": ["a", "b", "c"], "person_id": ["a", "b", "c"], "sale_count": [1, 2, 3], "units": [5, 6, 7]}
    )
    bounds = pl.LazyFrame({"most_units": [6]})
    before = node.function(days.lazy(), bounds).collect().sort("person_id")
    after = node.function(days.with_columns(pl.col(column).reverse()).lazy(), bounds).collect().sort("person_id")
    changed = [c for c in before.columns if not before[c].equals(after[c])]
    is_deciding = any(u.column == column for u in flow.rows)
    assert is_deciding or all(any(u.column == column for u in flow.columns[c]) for c in changed)
    assert bool(changed) == (column in ("person_id", "units"))
