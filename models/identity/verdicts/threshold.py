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
# Weights are told apart to so many parts of a bit: sums in another order change none of them.
_PARTS = 100


@dataclass(frozen=True)
class Threshold:
    """Pairs of at least `bits` are accepted: about `pairs` of them, of which about `false` are two people."""

    bits: float
    pairs: float
    false: float


def chosen(weights: np.ndarray, times: np.ndarray, decision: Decision) -> Threshold:
    """The least weight from which the expected share of false pairs is at most `decision.false_pairs`, and no less than
    `decision.least_accept_weight`. Where it can only be had beyond `most_accept_weight`, and there only for half of the
    right pairs or fewer, that weight. A fixed `decision.accept_weight` stands as it is.

    `weights`: float64 (pairs,), bits of pairs that no rule vetoes; `times`: how many pairs each stands for.
    """
    steps = np.floor(weights * _PARTS + 1e-6)
    order = np.argsort(-steps, kind="stable")
    steps, times = steps[order], times[order]
    found = np.cumsum(times)
    false = np.cumsum(times / (1.0 + np.exp2(np.clip(weights[order], -500, 500))))
    least = decision.accepts_from
    if decision.accept_weight is None:
        most, enough = decision.most_accept_weight, _sufficient(steps, found, false, decision)
        if enough > most:
            kept, wanted = (_right(steps, found, false, bits) for bits in (enough, most))
            enough = enough if kept > _MOST_GIVEN_UP * wanted else most
        least = max(least, enough)
    reached = np.flatnonzero(steps >= math.floor(least * _PARTS + 1e-6))
    if not len(reached):
        return Threshold(least, 0.0, 0.0)
    return Threshold(least, float(found[reached[-1]]), float(false[reached[-1]]))


def _right(steps: np.ndarray, found: np.ndarray, false: np.ndarray, bits: float) -> float:
    """Pairs of at least so many bits that are expected to be one person."""
    reached = int((steps >= math.floor(bits * _PARTS + 1e-6)).sum())
    return float(found[reached - 1] - false[reached - 1]) if reached else 0.0


def _sufficient(steps: np.ndarray, found: np.ndarray, false: np.ndarray, decision: Decision) -> float:
    """The least weight from which few enough of the pairs are false. `steps` falls; `found` and `false` are sums."""
    reached = steps >= math.floor(decision.least_accept_weight * _PARTS + 1e-6)
    ends = np.append(steps[1:] != steps[:-1], True)  # all pairs of one weight, or none
    kept = np.flatnonzero(reached & ends & (false <= decision.false_pairs * found))
    if not len(kept):
        return math.ceil(math.log2((1.0 - decision.false_pairs) / decision.false_pairs) * _PARTS) / _PARTS
    is_last = not reached[kept[-1] + 1 :].any()
    return decision.least_accept_weight if is_last else float(steps[kept[-1]] / _PARTS)


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
    return model.model_copy(update={"accept_weight": made.bits, "diagnostics": diagnostics})
