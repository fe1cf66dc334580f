"""What is planted is found, and where nothing is planted little is claimed; a few seeds of each truth."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from scipy.stats import binom

sys.path.insert(0, str(Path(__file__).parent))
import planted

SEEDS = range(6)
PAGE = Path(__file__).parents[1] / "docs" / "truths.md"


@pytest.mark.parametrize("truth", planted.truths(), ids=lambda truth: truth.name)
def test_a_planted_truth_is_found(truth: planted.Truth) -> None:
    said = planted.tried(truth, SEEDS)
    chance = binom.cdf(said.covered, said.seeds, truth.confidence)
    assert chance > 1e-3, f"{said.covered} of {said.seeds} intervals hold {said.planted}: {said}"
    if truth.null:
        assert said.statements, "the null says nothing at all"
        chance = binom.sf(said.claims - 1, said.statements, truth.level)
        assert chance > 1e-3, f"{said.claims} of {said.statements} claims where nothing is planted"


def test_the_page_tells_of_every_truth_and_no_other() -> None:
    rows = [line.split("|") for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    told = {f"{row[1].strip(' `')}: {row[2].strip()}" for row in rows}
    assert told == {truth.name for truth in planted.truths()}, "python tests/bench/truths.py --write"
