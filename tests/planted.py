"""Truths that tests plant and tables find: what one looks like, and where they are collected.

Each module of ``tests/planted/`` holds the truths of one domain as ``TRUTHS``, a list of `Truth`. `test_planted` tries
a few seeds of each; ``tests/bench/truths.py`` tries many and writes docs/truths.md.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).with_name("planted")


@dataclass(frozen=True)
class Found:
    """What a table says of a planted value: the estimate and its interval, whose ends are the estimate where the table
    counts and does not estimate; `planted` where the value differs from seed to seed."""

    estimate: float
    low: float
    high: float
    planted: float | None = None


@dataclass(frozen=True)
class Truth:
    """One analytic.

    what: in the words of its users, unique within the table. find: makes the inputs of a seed with the value planted,
    computes the table by its build, reads the estimate. null: the same with nothing planted; returns how many of how
    many statements claim an effect all the same. confidence: of the interval, 1 where the table counts (every seed must
    be right). level: false claims that the table allows.
    """

    table: str
    what: str
    planted: float
    find: Callable[[int], Found]
    null: Callable[[int], tuple[int, int]] | None = None
    confidence: float = 1.0
    level: float = 0.05

    @property
    def name(self) -> str:
        return f"{self.table}: {self.what}"


@dataclass(frozen=True)
class Tried:
    """What many seeds of a truth gave: means, the share of intervals that hold the planted value, false claims of
    statements."""

    planted: float
    estimate: float
    low: float
    high: float
    covered: int
    seeds: int
    claims: int
    statements: int


def tried(truth: Truth, seeds: range) -> Tried:
    """Find the truth under each seed, and its null."""
    found = [truth.find(seed) for seed in seeds]
    planted = [truth.planted if f.planted is None else f.planted for f in found]
    spare = [1e-9 * max(1.0, abs(value)) for value in planted]
    covered = sum(f.low - s <= p <= f.high + s for f, p, s in zip(found, planted, spare, strict=True))
    nulls = [truth.null(seed) for seed in seeds] if truth.null else []

    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    return Tried(
        planted=mean(planted), estimate=mean([f.estimate for f in found]), low=mean([f.low for f in found]),
        high=mean([f.high for f in found]), covered=covered, seeds=len(found),
        claims=sum(claims for claims, _ in nulls), statements=sum(statements for _, statements in nulls),
    )  # fmt: skip


@cache
def truths() -> tuple[Truth, ...]:
    """All of them, by domain."""
    found: list[Truth] = []
    for file in sorted(FOLDER.glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"planted_{file.stem}", file)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found += module.TRUTHS
    names = [truth.name for truth in found]
    assert len(names) == len(set(names)), "two truths of one name"
    return tuple(found)
