"""Which training sessions are believed, and how many pairs match by what they show.

A session shows two classes of pairs, and calls one of them matches. In records with few duplicates or none the other
structure of the file (one town, one decade) may be that class. Two marks tell it from persons: most of what it compares
differs as often as one person's at most may, and it claims many times the matches that the other sessions leave room
for, since by capture and recapture each of them tells how many there are in all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from customer360.models.identity.weighing.comparisons import Comparison
from customer360.models.identity.weighing.estimate import PSEUDO_PAIRS, Patterns, Session

# Pairs that agree on these are as often a household as a person: they train given names where nothing else does.
_HOUSEHOLD = frozenset({("family", "zip"), ("street",), ("family",)})
# Sessions of one file tell the number of matches within a factor of two; the stated m may be off by another two.
_MOST_TIMES_THE_OTHERS = 4.0
_MOST_AT_BOUND = 0.5


@dataclass(frozen=True, eq=False)
class Seen:
    """What a session showed: patterns over all comparisons, m of those that it may train, matches among its pairs, the
    share of the records that the pairs were drawn from, and the share of its comparisons whose last level is as large
    as it may be."""

    session: Session
    found: Patterns
    trained: dict[str, np.ndarray]
    matches: float
    kept: float
    at_bound: float = 0.0


def witnesses(
    frame: pl.DataFrame, comparisons: Sequence[Comparison], settings: dict[str, Any], seen: Sequence[Seen]
) -> list[Seen]:
    """The sessions that are believed. One with fewer matches than the stated m counts for moves nothing, and is not
    judged. `frame`: the evidence, `settings`: those with the stated m."""
    chances = _agreeing(frame, comparisons, settings)
    claims = [_claimed(one, chances) for one in seen]
    complete = [set(one.session) <= set(chances) for one in seen]
    believed = []
    for at, one in enumerate(seen):
        others = [claim for place, claim in enumerate(claims) if place != at and complete[place]]
        # One against one settles nothing: that which finds few may be of a column that is mistyped everywhere.
        room = _MOST_TIMES_THE_OTHERS * float(np.median(others)) if len(others) > 1 else math.inf
        is_judged = one.matches > PSEUDO_PAIRS
        if not is_judged or (one.at_bound <= _MOST_AT_BOUND and claims[at] <= room):
            believed.append(one)
    return believed


def recaptured(
    frame: pl.DataFrame, comparisons: Sequence[Comparison], settings: dict[str, Any], seen: Sequence[Seen]
) -> float | None:
    """How many pairs match, by the m of `settings`: the median over the sessions of persons, None without any.

    What deterministic rules find would need a guess at how much they miss (`prior_recall`).
    """
    chances = _agreeing(frame, comparisons, settings)
    usable = [one for one in from_persons(seen) if set(one.session) <= set(chances)]
    counted = [_claimed(one, chances) for one in usable if one.kept > 0]
    return float(np.median(counted)) if counted else None


def from_persons(seen: Sequence[Seen]) -> list[Seen]:
    """Sessions without those of households, where there are others."""
    return [one for one in seen if one.session not in _HOUSEHOLD] or list(seen)


def _claimed(one: Seen, chances: dict[str, float]) -> float:
    """Capture and recapture: with the chance that a matching pair agrees on the session's columns, its matches are this
    share of all. Of a column without one the chance is taken to be 1, so that the claim is the least possible."""
    return one.matches / max(one.kept, 1e-9) / math.prod(chances.get(name, 1.0) for name in one.session)


def _agreeing(frame: pl.DataFrame, comparisons: Sequence[Comparison], settings: dict[str, Any]) -> dict[str, float]:
    """Per column the chance that the records of a matching pair both have it, and agree."""
    chances = {}
    for comparison, entry in zip(comparisons, settings["comparisons"], strict=True):
        name = comparison.levels[0].exact_on
        agree = entry["comparison_levels"][1].get("m_probability", comparison.levels[0].m)
        if name and agree:
            chances[name] = agree * (1 - frame[name].null_count() / frame.height) ** 2
    return {name: chance for name, chance in chances.items() if chance > 0}
