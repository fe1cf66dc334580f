"""Errors reach whoever waits for them in another process."""

from __future__ import annotations

import pickle

import pytest

from customer360.platform.errors import Customer360Error, NothingLanded, RunError


@pytest.mark.parametrize("fault", [
    Customer360Error("what and where"), RunError({"gold.x": "no rows"}, "run-7"), NothingLanded({"pos": "no file"}),
])  # fmt: skip
def test_an_error_is_the_same_in_another_process(fault: Exception) -> None:
    again = pickle.loads(pickle.dumps(fault))
    assert (type(again), str(again), vars(again)) == (type(fault), str(fault), vars(fault))
