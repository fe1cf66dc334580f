"""Files whose rows are not alike say so, with what to do; files whose rows are stay silent."""

import polars as pl
import pytest

from customer360.models.files import meanings


def frame(**columns: list[object]) -> pl.DataFrame:
    return pl.DataFrame({"user": [str(row) for row in range(6)], **columns})


def test_views_beside_purchases_are_told_with_what_was_bought() -> None:
    kinds = ["pv", "PV", "pv", "cart", "buy", "buy"]
    (note,) = meanings.told(frame(behavior_type=kinds))
    assert "column behavior_type tells kinds of rows apart: pv (3), buy (2), cart (1)" in note
    assert "give the rows of 'buy' alone" in note


@pytest.mark.parametrize("stars", [[1, 5, 4, 5, 2, 5], ["1.0", "5.0", " 4", "5", "2", "5"]])
def test_poor_ratings_are_counted(stars: list[object]) -> None:
    (note,) = meanings.told(frame(overall=stars))
    assert "ratings from 1 to 5, and the 2 rows below the middle" in note and "leave out" in note


@pytest.mark.parametrize(
    "columns",
    [
        {"event_type": ["purchase"] * 6},
        {"event_type": ["view"] * 6},  # one kind: a file of views wants lists of what is viewed
        {"event_type": ["sale", "sale", "refund", "sale", "sale", "sale"]},
        {"rating": ["good", "bad", "1", "2", "3", "4"]},
        {"score": [5, 5, 5, 5, 5, 5]},
        {"price": [1, 2, 3, 4, 5, 5]},
    ],
)
def test_nothing_is_said_of_rows_that_are_alike(columns: dict[str, list[object]]) -> None:
    assert meanings.told(frame(**columns)) == []
