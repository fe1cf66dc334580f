"""Parameters of the Fellegi-Sunter model from unlabelled records, over counted comparison patterns.

u (how often a level occurs among records of different people) comes from random pairs, m (among records of one person)
from expectation maximisation over pairs that agree on something else. Pairs are reduced to counts of their patterns in
the database once; the iterations then run on some thousand numbers, whatever the number of records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from customer360.models.identity.evidence.features import Features
from customer360.models.identity.weighing.comparisons import Comparison
from customer360.models.identity.weighing.vectors import answers

Session = tuple[str, ...]
# Records that share a value more often than this share no person with each other.
_LARGEST_BLOCK = 500
_PIECE = 250_000  # rows whose texts are joined at once
_ITERATIONS = 200
_TOLERANCE = 1e-6
# How many pairs the stated m counts for: a level seen once says little.
PSEUDO_PAIRS = 25.0


@dataclass(frozen=True)
class Patterns:
    """`levels`: int8 (patterns, comparisons), -1 for null, else the place of the level in `Comparison.levels`.
    `counts`: pairs of each pattern, float64."""

    levels: np.ndarray
    counts: np.ndarray


def gamma_sql(comparison: Comparison) -> str:
    """The place of the level that a pair falls into, -1 where the comparison says nothing."""
    branches = [f"when {level.sql} then {place}" for place, level in enumerate(comparison.levels[:-1])]
    last = len(comparison.levels) - 1
    return f"case when {comparison.null_sql} then -1 {' '.join(branches)} else {last} end"


def patterns(con: Any, features: Features, comparisons: Sequence[Comparison], pairs: pl.DataFrame) -> Patterns:
    """Counted patterns of pairs (rid_l, rid_r)."""
    names = [comparison.name for comparison in comparisons]
    vectors = pl.DataFrame(answers(con, pairs, features.frame, [gamma_sql(c) for c in comparisons]), schema=names)
    table = vectors.group_by(names).len("pairs").sort(names)
    return Patterns(table.select(names).to_numpy(), table["pairs"].to_numpy().astype(np.float64))


def random_pairs(records: int, wanted: int, seed: int) -> pl.DataFrame:
    """(rid_l, rid_r) of `wanted` random pairs of different records, or of all pairs where there are no more."""
    if records * (records - 1) // 2 <= wanted:
        left, right = np.triu_indices(records, 1)
    else:
        draws = np.random.default_rng(seed).integers(0, records, size=(2, wanted))
        left, right = draws[:, draws[0] != draws[1]]
    return pl.DataFrame({"rid_l": left.astype(np.int64), "rid_r": right.astype(np.int64)})


def session_pairs(
    features: Features, session: Session, wanted: int, largest: int = _LARGEST_BLOCK
) -> tuple[pl.DataFrame, float]:
    """(rid_l, rid_r) of pairs that agree on the columns of `session`, at most about `wanted`, and the share of the
    records with these columns that they were drawn from. Whole values are left out by their hash, so that the same
    records give the same pairs; so are those that more than `largest` records share."""
    rows = coded(features.frame, session)
    known = rows.height
    sizes = rows["code"].value_counts(name="size")
    total = (sizes["size"].cast(pl.Int64) * (sizes["size"].cast(pl.Int64) - 1)).sum() // 2
    used = sizes.filter(pl.col("size") <= largest)
    if total > wanted:
        total = (used["size"].cast(pl.Int64) * (used["size"].cast(pl.Int64) - 1)).sum() // 2
        used = used.filter(pl.col("code") % 10_000 < int(10_000 * min(1.0, wanted / max(total, 1))))
    kept = int(used["size"].sum()) / max(known, 1)
    rows = rows.join(used.filter(pl.col("size") > 1).select("code"), on="code", how="semi")
    pairs = rows.join(rows, on="code", suffix="_r").select(rid_l="rid", rid_r="rid_r")
    return pairs.filter(pl.col("rid_l") < pl.col("rid_r")).sort("rid_l", "rid_r"), kept


def coded(frame: pl.DataFrame, columns: Session) -> pl.DataFrame:
    """(rid, code) of the rows that have all `columns`, equal values of them with one code: piece by piece, as the texts
    of everybody at once would be most of what training holds."""
    code = pl.concat_str(columns, separator="|").hash(seed=0)
    pieces = frame.select("rid", *columns).iter_slices(_PIECE)
    made = [rows.drop_nulls().select("rid", code=code) for rows in pieces]
    return pl.concat([pl.DataFrame(schema={"rid": pl.Int64, "code": pl.UInt64}), *made])


def shares(found: Patterns, comparisons: Sequence[Comparison]) -> list[np.ndarray]:
    """Per comparison the pairs of each level, null left out."""
    return [
        np.bincount(found.levels[:, at][known], weights=found.counts[known], minlength=len(comparison.levels))
        for at, comparison in enumerate(comparisons)
        for known in [found.levels[:, at] >= 0]
    ]


def maximise(
    found: Patterns,
    m: Sequence[np.ndarray],
    others: Sequence[Sequence[np.ndarray]],
    most_apart: Sequence[float] | None = None,
) -> tuple[list[np.ndarray], float]:
    """Expectation maximisation: (m of each comparison, share of matches among the pairs).

    `m` is where it starts, and counts as `PSEUDO_PAIRS` pairs. `others`: the fixed shares of levels of each class of
    pairs of different people (strangers, people of one home). `most_apart`: the largest share of the last level of each
    comparison. A session without matches ends at a share near 0.
    """
    bounds = most_apart or [1.0] * len(m)
    stated, m = m, list(m)
    known = found.levels >= 0
    places = np.maximum(found.levels, 0)
    against = np.stack([_log_likelihood(u, places, known) for u in others])
    parts = np.full(len(others), 0.5 / len(others))
    share = 0.5
    for _ in range(_ITERATIONS):
        apart = np.log(parts)[:, None] + against
        odds = np.log(share) + _log_likelihood(m, places, known) - np.logaddexp.reduce(apart, axis=0)
        matches = found.counts / (1.0 + np.exp(-np.clip(odds, -500, 500)))
        before, share = share, float(np.clip(matches.sum() / found.counts.sum(), 1e-6, 1 - 1e-6))
        if len(others) > 1:
            of_class = np.exp(apart - np.logaddexp.reduce(apart, axis=0)) @ (found.counts - matches)
            parts = np.maximum((1 - share) * of_class / max(of_class.sum(), 1e-9), 1e-9)
        else:
            parts = np.array([1 - share])
        m = [
            _bounded(
                _normal(PSEUDO_PAIRS * stated[at] + np.bincount(places[seen, at], matches[seen], len(stated[at]))),
                bounds[at],
            )
            for at, seen in enumerate(known.T)
        ]
        if abs(share - before) < _TOLERANCE:
            break
    return m, share


def among_strangers(found: Patterns, m: Sequence[np.ndarray], u: Sequence[np.ndarray], prior: float) -> Patterns:
    """The patterns of random pairs, each counted by its chance to be two people; `prior`: that of two random records to
    be one. `u` is where it starts: all the pairs. Of few records with many duplicates most that agree on much are one
    person's, and those that hold little else would be taken for strangers."""
    known, places = found.levels >= 0, np.maximum(found.levels, 0)
    matching = np.log(prior / (1.0 - prior)) + _log_likelihood(m, places, known)
    counts = found.counts
    for _ in range(_ITERATIONS):
        before = counts
        counts = found.counts / (1.0 + np.exp(np.clip(matching - _log_likelihood(u, places, known), -500, 500)))
        if np.abs(counts - before).sum() < 1e-3:
            break
        drawn = (np.bincount(places[seen, at], counts[seen], len(u[at])) for at, seen in enumerate(known.T))
        u = [observed_u(one, level) for one, level in zip(u, drawn, strict=True)]
    return Patterns(found.levels, counts)


def of(found: Patterns, places: Sequence[int]) -> Patterns:
    """The same pairs with the comparisons at `places` alone."""
    return Patterns(found.levels[:, list(places)], found.counts)


def _log_likelihood(parameters: Sequence[np.ndarray], places: np.ndarray, known: np.ndarray) -> np.ndarray:
    logs = (np.where(known[:, at], np.log(p)[places[:, at]], 0.0) for at, p in enumerate(parameters))
    return np.sum(list(logs), axis=0)


def _normal(values: np.ndarray) -> np.ndarray:
    total: np.ndarray = values / values.sum()
    return total


def _bounded(m: np.ndarray, most: float) -> np.ndarray:
    """m whose last level has no more than that share; the others in proportion."""
    if m[-1] <= most:
        return m
    return np.append(m[:-1] * (1 - most) / max(m[:-1].sum(), 1e-300), most)


def observed_u(stated: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Share of the random pairs at each level; of a level without a whole pair the stated value, but no more than what
    three pairs would make of it (the rule of three)."""
    total = max(float(drawn.sum()), 1.0)
    return np.where(drawn >= 1, drawn / total, np.minimum(stated, 3.0 / total) if drawn.sum() else stated)
