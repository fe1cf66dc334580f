"""What a node reads of a small table decides whether it is current, and nothing else of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from customer360.platform import graph
from customer360.platform.graph import builds
from customer360.platform.lake.folds import written
from customer360.platform.run import contents
from customer360.platform.tables import Integer, String, Table


@pytest.fixture
def named(filled: Any) -> Any:
    """The shop with a small table, ``silver.t_words``, of which two builds read one column: by subject, and none."""

    class Words(Table, table="silver.t_words", per="word", bucketed=False):
        """One row per word."""

        word = String(primary_key=True)
        meaning = String()
        click_count = Integer()

    class Named(Table, table="silver.t_named", per="subject_id"):
        """One row per subject with an order."""

        subject_id = String(primary_key=True)
        meaning = String()

    class Meanings(Table, table="gold.t_meanings"):
        """One row per meaning."""

        meaning = String(primary_key=True)

    @builds(Words)
    def t_words(silver_t_clicks: pl.LazyFrame) -> pl.LazyFrame:
        several = pl.when(pl.len() > 3).then(pl.lit("many")).otherwise(pl.lit("few"))
        return silver_t_clicks.select(word=pl.lit("clicks"), meaning=several, click_count=pl.len())

    @builds(Named, reads={"silver.t_words": ("meaning",)})
    def t_named(silver_t_orders: pl.LazyFrame, silver_t_words: pl.LazyFrame) -> pl.LazyFrame:
        filled.calls.append("silver.t_named")
        return silver_t_orders.select("subject_id").unique().join(silver_t_words.select("meaning"), how="cross")

    @builds(Meanings, reads={"silver.t_words": ("meaning",)})
    def t_meanings(silver_t_words: pl.LazyFrame) -> pl.LazyFrame:
        filled.calls.append("gold.t_meanings")
        return silver_t_words.select("meaning")

    return filled


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    contents._contents.clear()
    yield
    contents._contents.clear()


def states(nodes: dict[str, Any]) -> list[str]:
    return [nodes[name].state for name in ("silver.t_words", "silver.t_named", "gold.t_meanings")]


def test_another_value_of_what_is_not_read_makes_nothing_anew(named: Any) -> None:
    named.run()
    named.clicks("2.json", {"CLICK_ID": "c3", "SUBJECT_ID": "eve"})
    assert states(named.run()) == ["built", "current", "current"]
    assert named.rows("silver.t_words") == [("clicks", "few", 3)]
    named.orders("2.csv", "o9,kim,1,1.00,1")
    told = named.run()
    assert states(told) == ["current", "built", "current"] and told["silver.t_named"].facts["buckets_rewritten"] == 1
    assert {row[1] for row in named.rows("silver.t_named")} == {"few"}


def test_another_value_of_what_is_read_makes_the_readers_anew(named: Any) -> None:
    named.run()
    named.clicks("2.json", *({"CLICK_ID": f"d{n}", "SUBJECT_ID": "eve"} for n in range(3)))
    assert states(named.run()) == ["built", "built", "built"]
    assert {row[1] for row in named.rows("silver.t_named")} == {"many"}
    assert named.rows("gold.t_meanings") == [("many",)]


def test_a_large_table_and_one_with_subjects_are_known_by_their_files(
    named: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    named.run()
    lake, node = named.lake, graph.NODES["gold.t_meanings"]
    files = lake.files("silver.t_words")
    assert contents.held(lake, node, "silver.t_words", files) != written(lake, "silver.t_words", files)
    monkeypatch.setattr(contents, "SMALL", 1)
    assert contents.held(lake, node, "silver.t_words", files) == written(lake, "silver.t_words", files)
    monkeypatch.undo()
    orders = lake.files("silver.t_orders")
    reader = replace(node, reads={"silver.t_orders": ("units",)}, inputs=("silver.t_orders",))
    assert contents.held(lake, reader, "silver.t_orders", orders) == written(lake, "silver.t_orders", orders)


def test_a_process_keeps_few_contents(named: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    named.run()
    monkeypatch.setattr(contents, "KEPT", 1)
    lake, node, files = named.lake, graph.NODES["gold.t_meanings"], named.lake.files("silver.t_words")
    other = replace(node, reads={"silver.t_words": ("word",)})
    told = [contents.held(lake, each, "silver.t_words", files) for each in (node, other, node)]
    assert told[0] == told[2] != told[1] and len(contents._contents) == 1
