"""Scored pairs: which records meet, how alike they are, and what each comparison said.

The model is Splink's: its levels, conditions and parameters, of which the settings hold all. The pairs come from
`pairs.meeting`, the conditions run in DuckDB over chunks of pairs, and what is added up are whole levels; a test holds
the outcome to Splink's own. Splink itself asks of every pair under a key whether an earlier key proposes it, too, and
carries all columns of both records through every step: four times the time and memory.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import duckdb
import numpy as np
import polars as pl

from customer360.models.identity.evidence.features import KEY_PREFIX
from customer360.models.identity.rules import IdentityRules
from customer360.models.identity.threads import at_once
from customer360.models.identity.weighing.engine import engine
from customer360.models.identity.weighing.model import IdentityModel, adjusted_columns
from customer360.models.identity.weighing.relatives import COMPARISON, LABEL, explained
from customer360.models.identity.weighing.tasks import scored_in_tasks
from customer360.models.identity.weighing.vectors import answers, sides
from customer360.platform.run.executor import Executor

EVIDENCE = pl.List(pl.Struct({"comparison": pl.String, "level": pl.String, "weight": pl.Float64}))
PAIR_SCHEMA: dict[str, type[pl.DataType] | pl.DataType] = {
    "rid_l": pl.Int64,
    "rid_r": pl.Int64,
    "match_weight": pl.Float64,
    "match_probability": pl.Float64,
    "match_key": pl.String,
    "evidence": EVIDENCE,
}
_CHUNK = 250_000  # pairs whose columns a thread holds at once
_FEW = 20_000  # pairs that are not parted among threads
_OPEN = -2  # the number of a level that is not known yet
_ROUNDING = 1e-6  # bits that sums in another order may differ by, and far more


def score_planned(
    pairs: pl.DataFrame,
    frame: pl.DataFrame,
    keys: Sequence[str],
    model: IdentityModel,
    rules: IdentityRules,
    executor: Executor | None,
) -> pl.DataFrame:
    """As `score`, and the same edge for edge: in tasks of `engine.pairs_per_task` by `executor`, where there is one;
    else in this process with all its threads."""
    limits = rules.engine
    if executor is None:
        return score(pairs, frame, keys, model, rules)
    single = rules.model_copy(update={"engine": limits.model_copy(update={"threads": 1})})
    read = columns_read(model)
    scoring = partial(score, keys=keys, model=model, rules=single)
    rows = frame.select(name for name in frame.columns if name in read)
    return scored_in_tasks(pairs, rows, scoring, limits.pairs_per_task, executor)


def columns_read(model: IdentityModel) -> set[str]:
    """Columns that the comparisons read, with names among them that are none, and the shares of values."""
    conditions = (level["sql_condition"] for c in model.settings["comparisons"] for level in c["comparison_levels"])
    return {name for name, _ in sides(conditions)} | {f"tf_{column}" for column in adjusted_columns(model)}


def score(
    pairs: pl.DataFrame, frame: pl.DataFrame, keys: Sequence[str], model: IdentityModel, rules: IdentityRules
) -> pl.DataFrame:
    """Of `pairs` (`pairs.MEETING`) those with at least `decision.audit_weight` bits, as `PAIR_SCHEMA`, in their order.

    `frame`: evidence and `tf_*` columns, the row of a rid at that place.
    """
    scales = [_Scale.of(comparison, frame) for comparison in model.settings["comparisons"]]
    if pairs.is_empty() or not scales:
        return pl.DataFrame(schema=PAIR_SCHEMA)
    names = pl.Series([key.removeprefix(KEY_PREFIX) for key in keys], dtype=pl.String)
    prior = model.settings["probability_two_random_records_match"]
    prior_weight = math.log2(prior / (1.0 - prior))
    least, threads = rules.decision.audit_weight, rules.engine.threads
    size = min(_CHUNK, max(_FEW, -(-pairs.height // threads)))

    def scored(chunk: pl.DataFrame) -> pl.DataFrame:
        with con.cursor() as own:
            kept, levels, weights = _reaching(own, chunk, frame, scales, least - prior_weight)
        at_home = explained(weights, levels, [scale.name for scale in scales], model.household)
        total = prior_weight + weights.sum(axis=1) + at_home
        return (
            chunk[kept]
            .select(
                "rid_l",
                "rid_r",
                pl.Series("match_weight", total),
                pl.Series("match_probability", 1.0 / (1.0 + np.exp2(-total))),
                names.gather(chunk["key"].gather(kept)).alias("match_key"),
                _evidence(scales, levels, weights, at_home if model.household else None),
            )
            .filter(pl.col("match_weight") >= least)
        )

    # Fetching and weighing take one thread each time: chunks side by side keep all of them at work.
    with engine(rules.engine) as con:
        return pl.concat(at_once(scored, pairs.iter_slices(size), threads))


def _reaching(
    con: duckdb.DuckDBPyConnection, pairs: pl.DataFrame, frame: pl.DataFrame, scales: list[_Scale], bits: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places of the pairs that the comparisons give `bits` or more, int64 (n,), and their levels, int8, and bits,
    float64 (n, comparisons). Whether values are missing or equal is asked of all pairs, and what costs distances of
    texts only of those that it can still bring that far, the comparison that rules out most at least cost first."""
    levels = answers(con, pairs, frame, [scale.sketch for scale in scales]).copy()  # one column alone comes read-only
    weights = np.stack([s.weight(levels[:, at], pairs, frame) for at, s in enumerate(scales)], axis=1)
    total = weights.sum(axis=1)  # what is open counts as if it were as good as it can be
    kept = np.arange(pairs.height)
    for at in sorted(range(len(scales)), key=lambda at: scales[at].cost):
        kept = kept[total[kept] >= bits - _ROUNDING]
        open_ = kept[levels[kept, at] == _OPEN]
        some = pairs[open_]
        levels[open_, at] = answers(con, some, frame, [scales[at].sql])[:, 0]
        exact = scales[at].weight(levels[open_, at], some, frame)
        total[open_] += exact - weights[open_, at]
        weights[open_, at] = exact
    kept = kept[total[kept] >= bits - _ROUNDING]
    return kept, levels[kept], weights[kept]


@dataclass(frozen=True)
class _Scale:
    """A comparison of the model. Levels are numbered in their order, -1 is null, -2 open; `bits`: of each level, then
    the most that an open one can have, then null's. `sketch`: SQL that settles null and the first level and leaves
    others open. `by_share`: level -> (column, log2 of u, floor, part) whose rarer values say more. `cost`: distances of
    texts in the SQL for each bit that the answer can take off."""

    name: str
    sql: str
    sketch: str
    labels: tuple[str, ...]
    bits: np.ndarray
    by_share: dict[int, tuple[str, float, float, float]]
    cost: float

    @classmethod
    def of(cls, comparison: dict[str, Any], frame: pl.DataFrame) -> _Scale:
        levels = comparison["comparison_levels"]
        stated = [level for level in levels if not level.get("is_null_level")]
        bits = [math.log2(level["m_probability"] / level["u_probability"]) for level in stated]
        most, by_share = max(0.0, *bits[1:]), {}
        for place, level in enumerate(stated):
            column, part = level.get("tf_adjustment_column"), level.get("tf_adjustment_weight", 1.0)
            if column and part and level["sql_condition"].strip().upper() != "ELSE":
                floor = level.get("tf_minimum_u_value", 0.0)
                base = math.log2(level["u_probability"])
                by_share[place] = (column, base, floor, part)
                rarest = frame[f"tf_{column}"].min()
                if rarest is not None and place:
                    most = max(most, bits[place] + part * (base - math.log2(max(float(rarest), floor))))  # type: ignore[arg-type]
        sql = _case(levels)
        return cls(
            comparison["output_column_name"],
            sql,
            _case(levels[: levels.index(stated[0]) + 1], str(_OPEN)),
            tuple(level.get("label_for_charts") or level["sql_condition"] for level in stated),
            np.array([*bits, most, 0.0]),
            by_share,
            len(re.findall("winkler|damerau", sql)) / max(most - min(bits), 1e-3),
        )

    def weight(self, levels: np.ndarray, pairs: pl.DataFrame, frame: pl.DataFrame) -> np.ndarray:
        """Bits of each pair, float64."""
        weight = self.bits[levels]
        for level, (column, base, floor, part) in self.by_share.items():
            at = np.flatnonzero(levels == level)
            shares = frame[f"tf_{column}"]
            one, other = (
                shares.gather(pairs[side].gather(at)).fill_null(np.nan).to_numpy() for side in ("rid_l", "rid_r")
            )
            higher = np.fmax(np.fmax(one, other), floor)
            known = ~(np.isnan(one) & np.isnan(other))  # a value without a share takes part without adjustment
            weight[at[known]] += part * (base - np.log2(higher[known]))
        return weight


def _case(levels: list[dict[str, Any]], last: str = "null") -> str:
    """SQL of the number of the level that a pair falls into; `last` where it is none of them."""
    branches, place = [], 0
    for level in levels:
        number = -1 if level.get("is_null_level") else place
        place += number >= 0
        condition = level["sql_condition"]
        if condition.strip().upper() == "ELSE":
            last = str(number)
        else:
            branches.append(f"when {condition} then {number}")
    return f"case {' '.join(branches)} else {last} end"


def _evidence(scales: list[_Scale], levels: np.ndarray, weights: np.ndarray, at_home: np.ndarray | None) -> pl.Series:
    """Per pair a list of (comparison, level, weight); `at_home`: bits that a shared home takes off."""
    stated = [(scale.name, scale.labels) for scale in scales]
    if at_home is not None:
        stated.append((COMPARISON, (LABEL,)))
        levels = np.hstack([levels, np.zeros((len(levels), 1), levels.dtype)])
        weights = np.hstack([weights, at_home[:, None]])
    labels = [label for _, own in stated for label in (*own, "null")]
    ends = np.cumsum([len(own) + 1 for _, own in stated])
    starts = ends - [len(own) + 1 for _, own in stated]
    places = np.where(levels < 0, ends - 1, starts + levels).ravel()
    flat = pl.DataFrame(
        {
            "comparison": pl.Series([name for name, _ in stated], dtype=pl.String).gather(
                np.tile(np.arange(len(stated)), len(levels))
            ),
            "level": pl.Series(labels, dtype=pl.String).gather(places),
            "weight": weights.ravel(),
        }
    )
    return flat.to_struct("evidence").reshape((len(levels), len(stated))).arr.to_list()
