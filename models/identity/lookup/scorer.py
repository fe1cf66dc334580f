"""The model as a function of two records, without a database: what a request of one record is scored with.

Compiled from the same settings that Splink scores batches with, so both say the same of a pair (to 1e-9; a test and a
benchmark hold them to it).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from customer360.models.identity.lookup.from_sql import Evaluate, columns_of, compile_condition
from customer360.models.identity.weighing.comparisons import GIVEN
from customer360.models.identity.weighing.relatives import COMPARISON, LABEL, Relatives

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Evidence:
    """What one comparison says of a pair: its level, and the bits that it adds (term frequency included)."""

    comparison: str
    level: str
    weight: float


@dataclass(frozen=True)
class Score:
    """``weight``: log2 of the odds that two records are one person; the evidence and the prior add up to it."""

    weight: float
    prior: float
    evidence: tuple[Evidence, ...]

    @property
    def probability(self) -> float:
        return 1.0 / (1.0 + 2.0**-self.weight)


@dataclass(frozen=True)
class _Level:
    label: str
    applies: Evaluate | None  # None: whatever is left
    weight: float
    frequency_of: str | None = None  # column whose rarer values say more
    base: float = 0.0  # log2 of the chance of equality that `weight` counts with
    floor: float = 0.0
    share: float = 1.0  # of the adjustment that counts
    is_null: bool = False


class Scorer:
    """``Scorer(settings, household)`` scores pairs of feature rows, which carry the shares of their values as ``tf_*``.
    ``household``: the model's, what people of one home share.

    A value without a share takes part without adjustment, as it does in Splink. Raises ConditionError when a condition
    of the model has no Python form.
    """

    def __init__(self, settings: Mapping[str, Any], household: Relatives | None = None) -> None:
        self._household = household
        prior = settings["probability_two_random_records_match"]
        self.prior = math.log2(prior / (1.0 - prior))
        self._comparisons = [
            (comparison["output_column_name"], [_level(entry) for entry in comparison["comparison_levels"]])
            for comparison in settings["comparisons"]
        ]
        names = sorted(_columns(settings))
        self._left, self._right = ([(f"{name}_{side}", name) for name in names] for side in "lr")

    def __call__(self, left: Record, right: Record) -> Score:
        """Score a pair of rows of `pins.evidence`."""
        pair = {key: left[name] for key, name in self._left}
        pair |= {key: right[name] for key, name in self._right}
        evidence = []
        at_home = self._household.odds if self._household else -math.inf
        for name, levels in self._comparisons:
            place, level = next((n, one) for n, one in enumerate(levels) if one.applies is None or one.applies(pair))
            weight = level.weight + _adjustment(level, pair)
            evidence.append(Evidence(name, level.label, weight))
            rank = place - levels[0].is_null
            if self._household and name == GIVEN.name:
                at_home += self._household.of_given(weight, rank == 0)
            if self._household and name in self._household.bits and not level.is_null:
                at_home += weight + self._household.bits[name][rank]
        if self._household:
            evidence.append(Evidence(COMPARISON, LABEL, -_plus_one(at_home)))
        return Score(self.prior + sum(e.weight for e in evidence), self.prior, tuple(evidence))


def _columns(settings: Mapping[str, Any]) -> set[str]:
    """Columns of a record that the comparisons read."""
    levels = [level for comparison in settings["comparisons"] for level in comparison["comparison_levels"]]
    texts = (level["sql_condition"] for level in levels if level["sql_condition"].strip().upper() != "ELSE")
    read = {name[:-2] for text in texts for name in columns_of(text) if name.endswith(("_l", "_r"))}
    return read | {f"tf_{level['tf_adjustment_column']}" for level in levels if level.get("tf_adjustment_column")}


def _adjustment(level: _Level, pair: Record) -> float:
    """Bits by which agreement on this value says more or less than agreement on any; the more frequent side counts."""
    if level.frequency_of is None:
        return 0.0
    found = (pair[f"tf_{level.frequency_of}_{side}"] for side in "lr")
    shares = [share for share in found if share is not None]
    return level.share * (level.base - math.log2(max(*shares, level.floor))) if shares else 0.0


def _plus_one(bits: float) -> float:
    """log2 of one more than so many bits say."""
    return max(bits, 0.0) + math.log1p(2.0 ** -abs(bits)) / math.log(2.0)


def _level(entry: Mapping[str, Any]) -> _Level:
    sql = entry["sql_condition"]
    applies = None if sql.strip().upper() == "ELSE" else compile_condition(sql)
    if entry.get("is_null_level"):
        return _Level("null", applies, 0.0, is_null=True)
    m, u = entry["m_probability"], entry["u_probability"]
    label = entry.get("label_for_charts") or sql
    weight = math.log2(m / u)
    column, share = entry.get("tf_adjustment_column"), entry.get("tf_adjustment_weight", 1.0)
    if not column or not share or applies is None:
        return _Level(label, applies, weight)
    # The model's levels state their own chance of equality (`disable_tf_exact_match_detection`).
    return _Level(label, applies, weight, column, math.log2(u), entry.get("tf_minimum_u_value", 0.0), share)
