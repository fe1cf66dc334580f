"""Lines that their source does not number count in the order of their receipt, whatever pieces a file comes in."""

from __future__ import annotations

from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from customer360.pipelines.bronze.sales import TransactionItems, Transactions
from customer360.platform.sources.formats.records import POSITION
from customer360.platform.sources.mapping.numbering import Numbering, countable

COLUMNS = ["TRANSACTION_ID", "SKU"]


def numbers(receipts: list[str | None], pieces: list[int], reached: list[str] = COLUMNS) -> list[str | None]:
    frame = pl.DataFrame(
        {"ITEM_ID": [None] * len(receipts), "TRANSACTION_ID": receipts, POSITION: list(range(1, len(receipts) + 1))},
        schema={"ITEM_ID": pl.String, "TRANSACTION_ID": pl.String, POSITION: pl.Int64},
    )
    counting, found, bounds = Numbering(), [], [0, *sorted(pieces), len(receipts)]
    for start, end in pairwise(bounds):
        piece = frame.slice(start, end - start)
        found += counting.filled(TransactionItems, piece.reverse(), reached)["ITEM_ID"].to_list()
    return found if reached is COLUMNS else found[::-1]


def test_lines_count_within_their_receipt() -> None:
    assert numbers(["a", "a", "b", "a", None, "b"], []) == ["1", "2", "1", "3", None, "2"]


@given(st.lists(st.sampled_from(["a", "b", "c", None]), max_size=30), st.lists(st.integers(0, 30), max_size=4))
def test_pieces_change_nothing(receipts: list[str | None], pieces: list[int]) -> None:
    assert numbers(receipts, [min(p, len(receipts)) for p in pieces]) == numbers(receipts, [])


@pytest.mark.parametrize("reached", [["ITEM_ID"], ["TRANSACTION_ID", "ITEM_ID"]])
def test_a_source_that_numbers_its_lines_is_believed(reached: list[str]) -> None:
    assert numbers(["a", "a"], [], reached) == [None, None]


def test_only_lines_are_counted() -> None:
    assert countable(TransactionItems) == {"ITEM_ID": "TRANSACTION_ID"} and countable(Transactions) == {}
