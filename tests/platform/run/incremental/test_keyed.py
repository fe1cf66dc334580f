"""Tables of another grain than the subject are brought forward by the keys that a batch touches, and those about a date
stand while nothing before it has changed."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import polars as pl
import pytest

from customer360.platform import graph
from customer360.platform.errors import GraphError
from customer360.platform.graph import builds
from customer360.platform.run import keyed
from customer360.platform.tables import Integer, Table

BASKETS, NOTED, BOARD = "silver.t_baskets", "silver.t_noted", "gold.t_board"


@pytest.fixture
def seen(shop: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[set[str]]]:
    """By table the keys that each call of its build was given; a batch of a large history is few beside it."""
    monkeypatch.setattr(keyed, "MOSTLY", float("inf"))
    found: dict[str, list[set[str]]] = {BASKETS: [], NOTED: [], BOARD: []}

    def spied(name: str, column: str) -> None:
        node = graph.NODES[name]

        def function(first: pl.LazyFrame, *others: pl.LazyFrame, **reserved: Any) -> Any:
            found[name].append(set(first.collect()[column]) - {None})
            return node.function(first, *others, **reserved)

        function.__module__, function.__qualname__ = node.function.__module__, node.function.__qualname__
        graph.NODES[name] = replace(node, function=function)

    monkeypatch.setattr(graph, "code_fingerprint", lambda of, _: f"{of.__module__}.{of.__qualname__}{shop.code}")
    spied(BASKETS, "sale_id")
    spied(NOTED, "NOTE")
    spied(BOARD, "sold_on")
    return found


def opened(shop: Any) -> None:
    shop.deliver("links", "a0,p0,1", "a1,p1,1")
    shop.deliver("sales", *(f"s{n},a{n % 3},2,1" for n in range(12)))
    shop.deliver("lines", *(f"l0,s{n},{'ab'[n % 2]}" for n in range(12)), "l1,s0,c")
    shop.deliver("goods", "a,1", "b,2")
    shop.run()


def baskets(shop: Any) -> dict[str, tuple[Any, ...]]:
    rows = shop.lake.scan(BASKETS).select("sale_id", "person_id", "amount", "line_count", "note", "price").collect()
    return {row[0]: row[1:] for row in rows.rows()}


def test_only_the_keys_of_a_batch_are_made_anew(shop: Any, seen: dict[str, list[set[str]]]) -> None:
    opened(shop)
    before = baskets(shop)
    shop.deliver("lines", "l1,s3,a", "l0,s20,z")
    nodes = shop.run()
    assert seen[BASKETS] == [{f"s{n}" for n in range(12)}, {"s3", "s20"}]
    assert seen[NOTED] == [{"a", "b", "c"}, {"a", "z"}]
    assert "whole" not in nodes[BASKETS].facts and nodes[BASKETS].rows == 13 and nodes[NOTED].rows == 4
    now = baskets(shop)
    assert now.pop("s3") == (None if 3 % 3 == 2 else "p0", 2, 2, "a", 1)
    assert now.pop("s20") == (None, None, 1, "z", None)
    assert now == {key: row for key, row in before.items() if key != "s3"}


def test_rows_that_are_joined_by_another_column_concern_stored_rows(shop: Any, seen: dict[str, list[set[str]]]) -> None:
    opened(shop)
    shop.deliver("goods", "a,7", "q,1")
    shop.run()
    assert seen[BASKETS][1:] == [{"s2", "s4", "s6", "s8", "s10", "s0"}]
    assert {row[-1] for row in baskets(shop).values()} == {7, 2}


def test_a_person_who_has_another_account_takes_its_rows_along(shop: Any, seen: dict[str, list[set[str]]]) -> None:
    opened(shop)
    shop.deliver("links", "a2,p0,1")
    shop.run()
    assert seen[BASKETS][1:] == [{"s2", "s5", "s8", "s11"}]
    assert {row[0] for row in baskets(shop).values()} == {"p0", "p1"}


def test_other_code_or_rows_that_somebody_changed_make_all_anew(shop: Any, seen: dict[str, list[set[str]]]) -> None:
    opened(shop)
    shop.widen(2)
    shop.deliver("lines", "l1,s3,a")
    assert shop.run()[BASKETS].facts["whole"]
    shop.lake.rewrite(BASKETS, lambda rows: rows.filter(pl.col("sale_id") != "s1"), reason="test")
    shop.deliver("lines", "l1,s4,a")
    assert shop.run()[BASKETS].facts["whole"]
    assert len(seen[BASKETS][-1]) == 12 and len(baskets(shop)) == 12


def test_where_files_that_stood_are_gone_all_is_made_anew(shop: Any, seen: dict[str, list[set[str]]]) -> None:
    opened(shop)
    shop.erase("a1")
    shop.run()
    shop.deliver("lines", "l1,s3,a")
    shop.run()
    assert "p1" not in {row[0] for row in baskets(shop).values()}


@pytest.mark.parametrize("limit", ["LEAST", "MOSTLY"])
def test_little_or_mostly_new_is_made_whole(
    shop: Any, seen: dict[str, list[set[str]]], monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    opened(shop)
    monkeypatch.setattr(keyed, limit, 1 << 20 if limit == "LEAST" else 0.0)
    shop.deliver("lines", "l1,s3,a")
    shop.run()
    assert len(seen[BASKETS][-1]) == 12


def test_batches_after_batches_leave_what_a_build_of_all_would(shop: Any, seen: dict[str, list[set[str]]]) -> None:
    opened(shop)
    for number in range(4):
        shop.deliver("lines", f"l2,s{number},{'abc'[number % 3]}", f"l3,s{30 + number},d")
        shop.deliver("sales", f"s{number},a{number % 2},-1,{number + 2}", f"s{30 + number},a1,1,1")
        shop.run()
    rows = shop.rows()
    shop.run(refresh=(BASKETS, NOTED))
    assert shop.rows() == rows


def board(shop: Any) -> list[tuple[Any, ...]]:
    return sorted(shop.lake.scan(BOARD).select("as_of", "sale_count", "person_count", "amount").collect().rows())


def test_what_comes_after_the_date_leaves_a_table_as_it_is(shop: Any, seen: dict[str, list[set[str]]]) -> None:
    opened(shop)
    shop.deliver("sales", "s0,a0,1,2", "s1,a1,1,2")
    shop.run()
    assert board(shop) == [(date(2026, 1, 1), 2, 2, 2)] and len(seen[BOARD]) == 2
    files = shop.lake.files(BOARD)
    shop.deliver("sales", "s20,a0,2,1", "s5,a0,3,2")
    nodes = shop.run()
    assert len(seen[BOARD]) == 2 and shop.lake.files(BOARD) == files
    assert nodes[BOARD].state == "built" and nodes[BOARD].rows == 1
    assert shop.run()[BOARD].state == "current"


def test_what_was_before_the_date_makes_it_anew(shop: Any, seen: dict[str, list[set[str]]]) -> None:
    opened(shop)
    for rows, found in (
        (["s20,a0,1,1"], (1, 1, 1)),  # comes
        (["s20,a0,2,2", "s21,a1,1,1"], (1, 1, 1)),  # another leaves the time before it
        (["s21,,1,2"], (1, 0, 1)),  # is nobody's any more
        (["s22,a2,1,1", "s23,,1,1"], (3, 0, 3)),
    ):
        shop.deliver("sales", *rows)
        shop.run()
        assert board(shop) == [(date(2026, 1, 1), *found)]
    shop.deliver("links", "a2,p9,1")
    shop.run()
    assert board(shop) == [(date(2026, 1, 1), 3, 1, 3)]
    calls = len(seen[BOARD])
    shop.day(2)
    shop.run()
    assert len(seen[BOARD]) == calls + 1 and [row[1] for row in board(shop)] == [3, 16]
    shop.erase("a2")
    shop.run()
    assert board(shop)[-1][2] == 2


def test_a_date_is_for_builds_about_one(registries: None) -> None:
    class Undated(Table, table="silver.t_undated"):
        """One row."""

        number = Integer()

    with pytest.raises(GraphError, match="takes no as_of"):

        @builds(Undated, past={"silver.t_sales": "sold_on"})
        def undated(silver_t_sales: pl.LazyFrame) -> pl.LazyFrame:
            return silver_t_sales


def test_more_than_fits_one_unit_goes_through_an_exchange(
    shop: Any, seen: dict[str, list[set[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(shop)
    monkeypatch.setattr(keyed, "carried_bytes", lambda *_: 1 << 60)
    shop.deliver("lines", "l1,s3,a")
    assert shop.run()[BASKETS].facts["whole"]
    assert len(seen[BASKETS][-1]) == 12
