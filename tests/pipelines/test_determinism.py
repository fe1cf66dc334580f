"""For every build with floats, without being asked: equal inputs give equal tables to the last bit, in whatever order
rows come and however many threads add up."""

from __future__ import annotations

import os
import subprocess
import sys

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from customer360.pipelines.inference import sums
from customer360.platform import graph, tables
from customer360.platform.graph import Node
from customer360.platform.run.units import conform_to_storage, storage_order
from customer360.serve.compose import compose

compose()
# Made of everything by one unit: their files are named after what is in them, and stay where the rows come out alike.
WHOLE = ("gold.product_prices", "silver.device_links", "silver.price_intervals", "silver.promotion_uses")
BUILDS = sorted(
    n.name for n in graph.NODES.values()
    if not n.is_producer and not n.name.split(".")[1].startswith("t_") and pl.Float64 in tables.schema(n.table).values()
)  # fmt: skip


def built(node: Node, frames: dict[str, pl.DataFrame], retailer) -> pl.DataFrame:  # type: ignore[no-untyped-def]
    values = {"as_of": retailer.date_of(node.name), "params": retailer.rules.get(node.rules or "")}
    reserved = {k: v for k, v in values.items() if k in node.wants}
    partition = {"as_of": str(retailer.as_of)} if tables.spec(node.table).is_dated else {}
    made = conform_to_storage(
        node.table, node.function(*(frames[t].lazy() for t in node.inputs), **reserved), partition
    )
    return made.sort(node.table.primary_key() or made.columns)


@pytest.mark.parametrize("name", BUILDS)
def test_rows_in_any_order_give_the_same_table(name: str, retailer) -> None:  # type: ignore[no-untyped-def]
    node = graph.NODES[name]
    frames = {t: retailer.frame(t).collect() for t in node.inputs}
    mixed = {t: f.sample(fraction=1.0, shuffle=True, seed=1) for t, f in frames.items()}
    assert_frame_equal(built(node, mixed, retailer), built(node, frames, retailer), check_exact=True)


@pytest.mark.parametrize("name", WHOLE)
def test_equal_rows_are_equal_files(name: str) -> None:
    table = tables.by_name(name)
    assert {*storage_order(table), *tables.spec(table).partition_by} >= set(table.primary_key())


SUMMED = """
import numpy as np, polars as pl
from customer360.pipelines.inference import sums
rng = np.random.default_rng(0)
values = rng.normal(size=50_000) * 10.0 ** rng.integers(-3, 6, 50_000)
rows = pl.DataFrame({"g": rng.integers(0, 7, 50_000), "x": values})
every = {name: getattr(sums, name)(pl.col("x")) for name in ("total", "mean", "variance", "deviation")}
for given in (rows, rows.sample(fraction=1.0, shuffle=True, seed=1)):
    made = given.lazy().group_by("g").agg(**every).sort("g").collect()
    beside = given.lazy().select("g", x=every["total"].over("g")).unique().sort("g", "x").collect()
    print([value.hex() for value in [*made.drop("g").to_numpy().ravel(), *beside["x"]]])
"""


def test_sums_are_the_same_of_any_order_and_number_of_threads() -> None:
    told = set()
    for threads in ("1", "2", "7"):
        ran = subprocess.run(
            [sys.executable, "-c", SUMMED], env={**os.environ, "POLARS_MAX_THREADS": threads}, capture_output=True,
            text=True, check=True,
        )  # fmt: skip
        told |= set(ran.stdout.splitlines())
    assert len(told) == 1, "or Polars sums what is sorted in another way now"


@pytest.mark.parametrize("values", [[], [None], [1.5], [1.5, None, -4.0, 0.25]])
def test_they_are_the_usual_ones(values: list[float | None]) -> None:
    frame, x = pl.DataFrame({"x": values}, schema={"x": pl.Float64}), pl.col("x")
    told = frame.select(a=sums.total(x), b=sums.mean(x), c=sums.variance(x), d=sums.deviation(x)).row(0)
    assert told == pytest.approx(frame.select(a=x.sum(), b=x.mean(), c=x.var(), d=x.std()).row(0))
