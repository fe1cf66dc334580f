"""Which columns a plan makes of which, node by node and expression by expression."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest

from customer360.platform.lineage.plans import Flow, Inputs, Use, flow_of

LEFT = {"k": pl.String(), "v": pl.Int64(), "on": pl.Date(), "many": pl.List(pl.Int64())}
RIGHT = {"k": pl.String(), "w": pl.Int64(), "v": pl.Int64(), "since": pl.Date()}


def flow(build: Callable[[pl.LazyFrame, pl.LazyFrame], pl.LazyFrame]) -> Flow:
    given = Inputs({"a.left": LEFT, "a.right": RIGHT})
    return flow_of(build(*given.frames), given)


def used(*names: str) -> frozenset[Use]:
    """``left.v:sum`` written short: table, column and how."""
    found = []
    for name in names:
        column, _, how = name.partition(":")
        table, _, of = column.partition(".")
        found.append(Use(f"a.{table}", of, how))
    return frozenset(found)


@pytest.mark.parametrize(
    ("build", "column", "expected"),
    [
        (lambda a, b: a.select("v"), "v", used("left.v:identity")),
        (lambda a, b: a.select(x="v"), "x", used("left.v:identity")),
        (lambda a, b: a.select(x=pl.lit(1)), "x", used()),
        (lambda a, b: a.select(x=pl.col("v").cast(pl.String)), "x", used("left.v:transformation")),
        (lambda a, b: a.select(x=pl.col("v") + 1), "x", used("left.v:transformation")),
        (lambda a, b: a.with_columns(x=pl.col("v") + 1).select(y=pl.col("x").sum()), "y", used("left.v:aggregation")),
        (lambda a, b: a.select(x=pl.col("v").sum()).select(y=pl.col("x") * 2), "y", used("left.v:aggregation")),
        (
            lambda a, b: a.select(x=pl.when(pl.col("on").is_null()).then("v").otherwise(0)),
            "x",
            used("left.v:transformation", "left.on:conditional"),
        ),
        (lambda a, b: a.group_by("k").agg(pl.col("v").max()), "v", used("left.v:aggregation")),
        (
            lambda a, b: a.group_by("k").agg(x=pl.col("v").sort_by("on").implode()),
            "x",
            used("left.v:aggregation", "left.on:sort"),
        ),
        (
            lambda a, b: a.select(x=pl.col("v").filter(pl.col("k") == "z").sum()),
            "x",
            used("left.v:aggregation", "left.k:filter"),
        ),
        (
            lambda a, b: a.select(x=pl.col("v").sum().over("k")),
            "x",
            used("left.v:aggregation", "left.k:window"),
        ),
        (lambda a, b: a.join(b, on="k", how="left"), "w", used("right.w:identity")),
        (lambda a, b: a.join(b, on="k", how="left"), "v_right", used("right.v:identity")),
        (lambda a, b: a.join(b, on="k", how="full", coalesce=True), "k", used("left.k:identity", "right.k:identity")),
        (lambda a, b: a.join(b, on="k", how="right"), "k", used("right.k:identity")),
        (
            lambda a, b: pl.concat([a.select("k", "v"), b.select("k", v="w")]),
            "v",
            used("left.v:identity", "right.w:identity"),
        ),
        (lambda a, b: a.unpivot(on=["v"], index="k", value_name="x"), "x", used("left.v:identity")),
        (lambda a, b: a.explode("many"), "many", used("left.many:identity")),
        (lambda a, b: a.with_row_index("n"), "n", used()),
        (lambda a, b: a.rename({"v": "x"}), "x", used("left.v:identity")),
    ],
)
def test_what_a_column_is_made_of(build: Callable[..., pl.LazyFrame], column: str, expected: frozenset[Use]) -> None:
    assert flow(build).columns[column] == expected


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda a, b: a.filter(pl.col("v") > 1), used("left.v:filter")),
        (lambda a, b: a.sort("on").head(1), used("left.on:sort")),
        (lambda a, b: a.join(b, on="k", how="semi"), used("left.k:join", "right.k:join")),
        (lambda a, b: a.group_by("k").len(), used("left.k:group_by")),
        (
            lambda a, b: a.join(b, on="k").filter(pl.col("v") > pl.col("v_right")).select("on"),
            used("left.k:join", "right.k:join", "left.v:filter", "right.v:filter"),
        ),
        (lambda a, b: a.unique(subset="k"), used("left.k:group_by")),
        (
            lambda a, b: a.join_asof(b, left_on="on", right_on="since", by="k"),
            used("left.on:join", "right.since:join", "left.k:join", "right.k:join"),
        ),
    ],
)
def test_what_decides_the_rows(build: Callable[..., pl.LazyFrame], expected: frozenset[Use]) -> None:
    assert flow(build).rows >= expected
    assert {(u.table, u.column) for u in flow(build).rows} == {(u.table, u.column) for u in expected}


def test_what_cannot_be_seen_counts_as_made_of_all() -> None:
    hidden = flow(lambda a, b: a.select("k", "v", x=pl.col("v").map_batches(lambda s: s, return_dtype=pl.Int64)))
    assert {u.column for u in hidden.columns["x"]} >= {"k", "v"}
    assert hidden.at_most == {"x"}
    frame = flow(
        lambda a, b: a.select("k", "v").map_batches(
            lambda f: f.with_columns(y=1), schema={"k": pl.String, "v": pl.Int64, "y": pl.Int64}
        )
    )
    assert {u.column for u in frame.columns["y"]} == {"k", "v"}
    assert "y" in frame.at_most


def test_what_was_read_on_the_way_is_noted() -> None:
    given = Inputs({"a.left": LEFT})
    given.frames[0].select("v").collect()
    assert given.read == {"a.left": {"v"}}
