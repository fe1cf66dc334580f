"""What a client raises reaches whoever waits for it in another process."""

from __future__ import annotations

import pickle

import pytest

from customer360.serve.client.faults import ProblemError, TooMany, Unreachable


@pytest.mark.parametrize("fault", [
    TooMany(429, "Too many", "wait", 1.5), ProblemError(500, "Broken", "the log says where"), Unreachable("no answer"),
])  # fmt: skip
def test_an_error_is_the_same_in_another_process(fault: Exception) -> None:
    again = pickle.loads(pickle.dumps(fault))
    assert (type(again), str(again), vars(again)) == (type(fault), str(fault), vars(fault))
