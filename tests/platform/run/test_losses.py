"""What a batch lost: shares of its own records, whatever became of them."""

from __future__ import annotations

import pytest

from customer360.platform.run.losses import losses_of

NONE = {"read": 100, "landed": 100, "dead": 0, "left_out": 0, "erased": 0, "inputs": 3}


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({}, []),
        ({"dead": 5, "landed": 95}, []),
        ({"dead": 6, "landed": 94}, ["6 of 100 rows (6.0 %) were lost", "6 dead letters, 0 refused"]),
        ({"refused": 4, "dead": 2, "landed": 98}, ["6 of 100 rows", "2 dead letters, 4 refused"]),
        ({"ahead": 6}, ["6 of 100 rows (6.0 %)", "0 refused", "6 dated after they landed"]),
        ({"ahead": 3, "refused": 3}, ["6 of 100 rows", "3 refused by their contract, 3 dated after they landed"]),
        ({"ahead": 5}, []),
        ({"left_out": 90, "landed": 9, "dead": 1}, ["1 of 10 rows (10.0 %)"]),
        ({"landed": 10, "collapsed": 86, "dead": 4}, []),  # ten groups of 96 records
        ({"landed": 195, "dead": 5}, []),  # lists of two elements each
        ({"failed": 1, "dead": 1, "landed": 99}, ["1 of 3 files could not be read or mapped"]),
        ({"read": 0, "landed": 0}, []),
    ],
)
def test_what_is_said_of_a_batch(facts: dict[str, int], said: list[str]) -> None:
    text = " ".join(losses_of("shop batch 1", {**NONE, **facts}, 0.05))
    assert all(words in text for words in said) and bool(text) == bool(said)
