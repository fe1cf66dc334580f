"""Kinds of people who are one or two whatever their home shares, among people on whom a model is trained."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"
# The first of January of a plausible year is a known year in some sources: namesakes born in it are joined.
LEAST = {"default birth dates": 0.6}


@pytest.mark.slow
def test_groups_of_every_kind_come_out_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH))
    bench = importlib.import_module("identity_kinds")
    kinds = importlib.import_module("kinds")
    rows = kinds.town(21, 5000, 6)
    made = bench.resolved(rows)
    assert made.model.diagnostics["mode"] == "trained"
    found = kinds.judged(rows, made.assignments)
    assert set(found) == set(kinds.KINDS)
    poor = {kind: f"{right} of {of}" for kind, (right, of) in found.items() if right < LEAST.get(kind, 0.8) * of}
    assert not poor
    assert sum(right for right, _ in found.values()) >= 0.95 * sum(of for _, of in found.values())
