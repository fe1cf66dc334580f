"""From how many bits a pair is accepted: so that among the accepted pairs of these records no more than a stated share
is expected to be two people.

A fixed weight bounds the odds of one pair, not the share of all: where few records are one person's, the pairs just
above it are most of what is accepted. The probabilities are the model's own, summed over the pairs that the block keys
propose; of many records, over a sample of the keys' values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from customer360.models.identity.evidence.features import KEY_PREFIX, Features
from customer360.models.identity.rules import Decision, IdentityRules
from customer360.models.identity.threads import at_once
from customer360.models.identity.verdicts.decide import ACCEPTED, decide
from customer360.models.identity.weighing.model import IdentityModel
from customer360.models.identity.weighing.pairs import among_few, meeting
from customer360.models.identity.weighing.predict import score

# Proposed pairs that are scored to find the weight, about so many.
_PAIRS = 200_000
# Of more records, those that share one of a sample of the values are looked at.
_RECORDS = 40_000
# The share of the right pairs that may be given up for a weight beyond `most_accept_weight`.
_MOST_GIVEN_UP = 0.5
# So many times the stated share may be false where more would be given up. Beyond it nothing is known well enough to be
# accepted: a steward says of these pairs what the columns cannot.
_MOST_TIMES = 4.0
# Weights are told apart to so many parts of a bit: sums in another order change none of them.
_PARTS = 100


@dataclass(frozen=True)
class Threshold:
    """Pairs of at least `bits` are accepted: about `pairs` of them, of which about `false` are two people. `held`
    (pairs, false ones): those from `most_accept_weight` on that are not, since too many of them are two people."""

    bits: float
    pairs: float
    false: float
    held: tuple[float, float] = (0.0, 0.0)


def chosen(weights: np.ndarray, times: np.ndarray, decision: Decision) -> Threshold:
    """The least weight from which the expected share of false pairs is at most `decision.false_pairs`, and no less than
    `decision.least_accept_weight`.

    Where it can only be had beyond `most_accept_weight`, and there only for half of the right pairs or fewer, that
    weight, unless so many of its pairs are false that they are better held back. A fixed `decision.accept_weight`
    stands as it is.

    `weights`: float64 (pairs,), bits of pairs that no rule vetoes; `times`: how many pairs each stands for.
    """
    sums = _Sums.of(weights, times)
    if decision.accept_weight is not None:
        return Threshold(decision.accept_weight, *sums.reached(decision.accept_weight))
    most, enough = max(decision.most_accept_weight, decision.least_accept_weight), _sufficient(sums, decision)
    at_most, at_enough = sums.reached(most), sums.reached(enough)
    is_dear = enough > most and _right(at_enough) <= _MOST_GIVEN_UP * _right(at_most)
    is_held = is_dear and at_most[1] > _MOST_TIMES * decision.false_pairs * at_most[0]
    if is_dear and not is_held:
        enough, at_enough = most, at_most
    held = (at_most[0] - at_enough[0], at_most[1] - at_enough[1]) if is_held else (0.0, 0.0)
    return Threshold(enough, *at_enough, held)


@dataclass(frozen=True)
class _Sums:
    """Pairs in falling order of their weights: `steps`, in parts of a bit, and up to each how many are `found`, and how
    many of them are expected to be `false`."""

    steps: np.ndarray
    found: np.ndarray
    false: np.ndarray

    @classmethod
    def of(cls, weights: np.ndarray, times: np.ndarray) -> _Sums:
        steps = np.floor(weights * _PARTS + 1e-6)
        order = np.argsort(-steps, kind="stable")
        false = times[order] / (1.0 + np.exp2(np.clip(weights[order], -500, 500)))
        return cls(steps[order], np.cumsum(times[order]), np.cumsum(false))

    def reached(self, bits: float) -> tuple[float, float]:
        """Pairs of at least so many bits, and false ones among them."""
        many = int((self.steps >= math.floor(bits * _PARTS + 1e-6)).sum())
        return (float(self.found[many - 1]), float(self.false[many - 1])) if many else (0.0, 0.0)


def _right(reached: tuple[float, float]) -> float:
    return reached[0] - reached[1]


def _sufficient(sums: _Sums, decision: Decision) -> float:
    """The least weight from which few enough of the pairs are false."""
    share, lowest = decision.false_pairs, decision.least_accept_weight
    inside = sums.steps >= math.floor(lowest * _PARTS + 1e-6)
    ends = np.append(sums.steps[1:] != sums.steps[:-1], True)  # all pairs of one weight, or none
    kept = np.flatnonzero(inside & ends & (sums.false <= share * sums.found))
    if not len(kept):
        return max(lowest, math.ceil(math.log2((1.0 - share) / share) * _PARTS) / _PARTS)
    return lowest if not inside[kept[-1] + 1 :].any() else float(sums.steps[kept[-1]] / _PARTS)


def of_records(
    frame: pl.DataFrame, keys: Sequence[str], caps: Mapping[str, int], model: IdentityModel, rules: IdentityRules
) -> Threshold:
    """The threshold on these records. `frame`: evidence with keys and `tf_*`; `caps`: block key to the most records
    that may share a value of it."""
    part, pairs = _sampled(frame, keys, caps, rules.engine.threads)
    lowest = rules.decision.model_copy(update={"audit_weight": rules.decision.accepts_from})
    least = rules.model_copy(update={"decision": lowest})
    scored = score(pairs, frame, keys, model, least).select("rid_l", "rid_r", "match_weight")
    few, rids = among_few(scored)
    people = frame[rids].with_columns(rid=pl.int_range(rids.len(), dtype=pl.Int64))
    decided = decide(few, Features(people, tuple(keys)), least, model.idle_vetoes)
    accepted = decided.filter(pl.col("decision") == ACCEPTED)
    times = _times(people.select(keys), accepted, part)
    return chosen(accepted["match_weight"].to_numpy(), times, rules.decision)


def _sampled(
    frame: pl.DataFrame, keys: Sequence[str], caps: Mapping[str, int], threads: int
) -> tuple[int, pl.DataFrame]:
    """Every how manieth value of the keys was looked at, and the pairs that share one of them."""
    coarse = max(1, frame.height // _RECORDS)
    held = at_once(lambda key: _holders(frame[key], caps[key], coarse), keys, threads)
    sizes = [rows["value"].value_counts(name="size")["size"].cast(pl.Int64) for rows in held]
    proposed = sum(int((size * (size - 1) // 2).sum()) for size in sizes)
    part = coarse * max(1, -(-proposed // _PAIRS))
    rows = (one.lazy().filter(pl.col("value") % part == 0).with_columns(is_new=pl.lit(True)) for one in held)
    return part, meeting(rows)


def _holders(key: pl.Series, cap: int, part: int) -> pl.DataFrame:
    """(value, rid) of every so manieth value that at least two records share, and no more than `cap`."""
    rows = pl.DataFrame({"value": key, "rid": pl.int_range(key.len(), dtype=pl.Int64, eager=True)})
    rows = rows.filter(pl.col("value") % part == 0) if part > 1 else rows.drop_nulls("value")
    return rows.filter(pl.len().over("value").is_between(2, cap))


def _times(keys: pl.DataFrame, pairs: pl.DataFrame, part: int) -> np.ndarray:
    """How many pairs each of the sample stands for: one that shares many values is seldom missed."""
    if part == 1:
        return np.ones(pairs.height)
    shared = np.zeros(pairs.height)
    for name in keys.columns:
        both = keys[name].gather(pairs["rid_l"]) == keys[name].gather(pairs["rid_r"])
        shared += both.fill_null(False).to_numpy()
    times: np.ndarray = 1.0 / (1.0 - (1.0 - 1.0 / part) ** np.maximum(shared, 1.0))
    return times


def with_threshold(
    frame: pl.DataFrame, caps: Mapping[str, int], model: IdentityModel, rules: IdentityRules
) -> IdentityModel:
    """The model with the weight from which it accepts pairs of these records, and in its diagnostics what is expected
    of it."""
    keys = [name for name in frame.columns if name.startswith(KEY_PREFIX)]
    made = of_records(frame, keys, caps, model, rules)
    expected = {"pairs": round(made.pairs, 1), "false pairs": round(made.false, 2)}
    diagnostics = model.diagnostics | {"accepts from": made.bits, "expected": expected}
    if made.held[0]:
        least = rules.decision.most_accept_weight
        diagnostics["held back"] = {"pairs": round(made.held[0]), "false pairs": round(made.held[1]), "from": least}
    return model.model_copy(update={"accept_weight": made.bits, "diagnostics": diagnostics})
