"""The order of products at a moment: a choice model of what was taken from lists that the shop has shown.

It learns from impressions (`silver.impressions`) which properties of a product count where, when, on which device and
how far into a session, beside the order that the list had. Serving orders the candidates of a placement by it; it fills
no table. It is judged on lists of the days after its date against the order that they have without a ranker, by NDCG@10
in which what was taken further down counts by the inverse of how seldom one looks there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from pydantic import Field

from customer360.models.base import Evaluation, Model, NotEnough, Params, Progress, Snapshot, register
from customer360.models.lifecycle import evaluation
from customer360.models.ranking import fitting
from customer360.models.ranking.features import (
    CONTEXTS,
    IMPRESSIONS,
    INTERACTIONS,
    NUMBERS,
    PRODUCTS,
    SHARES,
    Dense,
    Examples,
    examples,
)
from customer360.models.ranking.fitting import POSITIONS, Weights

NDCG_AT = 10
BOUGHT_JUDGES = 2.0  # clicks that a purchase counts more than one, where places are weighed
LEAST_PROPENSITY = 0.1  # that a click is weighed by
DEEPEST = 200  # candidates that are put in order, where the log says by which score lists were ordered
SCORED_SHARE = 0.9  # of the lists whose score has to be known for that
WEEKS_OF_DRIFT = timedelta(days=30)

ContextName = Literal["location", "time", "weekday", "device", "activity", "session"]


class RankingParams(Params):
    """Parameters of the ranker."""

    horizon_days: int = Field(28, ge=1, description="days that judge it")
    contexts: tuple[ContextName, ...] = ("location", "time", "weekday", "device", "activity", "session")
    shrinkage: float = Field(8.0, gt=0, description="how far the weights of contexts are drawn to nought")
    bought_weight: float = Field(2.0, ge=0, description="clicks that a purchase counts more than one")
    least_lists: int = Field(50, ge=1, description="lists with a value of a context that has weights of its own")
    min_lists: int = Field(500, ge=1, description="lists in which something was taken, without which nothing is learnt")
    most_lists: int = Field(50_000, ge=1, description="the newest that it learns from")
    seed: int = 0


@dataclass(frozen=True)
class RankingFitted:
    """Weights, and where they hold: placements with enough lists, and so many candidates from the top."""

    params: RankingParams
    as_of: date
    weights: Weights
    placements: tuple[str, ...]
    depth: int
    list_count: int

    def save(self, directory: Path) -> None:
        """Write `ranking.json`."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "ranking.json").write_text(json.dumps(self.record(), indent=1), encoding="utf-8")

    def record(self) -> dict[str, Any]:
        """As JSON holds it; weights to six digits."""
        weights = self.weights
        return {
            "params": self.params.model_dump(mode="json"),
            "as_of": self.as_of.isoformat(),
            "placements": self.placements,
            "depth": self.depth,
            "list_count": self.list_count,
            "properties": [*weights.categories, *NUMBERS],
            "centre": _rounded(weights.centre),
            "spread": _rounded(weights.spread),
            "base": _rounded(weights.base),
            "contexts": {c: {v: _rounded(w) for v, w in values.items()} for c, values in weights.contexts.items()},
            "shares": dict(zip(SHARES, _rounded(weights.shares), strict=True)),
            "position": _rounded(weights.position),
        }

    @staticmethod
    def of_record(kept: dict[str, Any]) -> RankingFitted:
        """Raises KeyError or ValueError: it is none, or of another release."""
        if tuple(kept["properties"][-len(NUMBERS) :]) != NUMBERS or tuple(kept["shares"]) != SHARES:
            raise ValueError("its properties are those of another release")
        weights = Weights(
            tuple(kept["properties"][: -len(NUMBERS)]),
            np.array(kept["centre"]),
            np.array(kept["spread"]),
            np.array(kept["base"]),
            {c: {v: np.array(w) for v, w in values.items()} for c, values in kept["contexts"].items()},
            np.array(list(kept["shares"].values())),
            np.array(kept["position"]),
        )
        return RankingFitted(
            RankingParams(**kept["params"]), date.fromisoformat(kept["as_of"]), weights, tuple(kept["placements"]),
            kept["depth"], kept["list_count"],
        )  # fmt: skip


def _rounded(values: Dense) -> list[float]:
    return [round(float(v), 6) for v in values]


def load(directory: Path) -> RankingFitted:
    """Read what `RankingFitted.save` wrote."""
    return RankingFitted.of_record(json.loads((directory / "ranking.json").read_text(encoding="utf-8")))


def fit(snapshot: Snapshot, params: RankingParams, progress: Progress) -> RankingFitted:
    """Learn from the lists before `snapshot.as_of`. Raises NotEnough where there are too few."""
    found = examples(snapshot, None, snapshot.as_of, params.most_lists)
    if found.count < params.min_lists:
        raise NotEnough(
            f"ranking needs {params.min_lists:,} shown lists in which something was taken and something was not"
            f" (min_lists): before {snapshot.as_of} there are {found.count:,}; products stay in the order of their"
            " sources"
        )
    columns = tuple(column for name in params.contexts for column in CONTEXTS[name])
    weights = fitting.fit(
        found, columns, shrinkage=params.shrinkage, bought_weight=params.bought_weight,
        least_lists=params.least_lists, uses_activity="activity" in params.contexts,
    )  # fmt: skip
    placements = found.lists["placement"].drop_nulls().value_counts()
    enough = placements.filter(pl.col("count") >= params.min_lists)["placement"].sort().to_list()
    is_scored = float(found.lists["is_scored"].cast(pl.Float64).to_numpy().mean()) >= SCORED_SHARE
    depth = DEEPEST if is_scored else int(found.lists["length"].max())  # type: ignore[arg-type]
    return RankingFitted(params, snapshot.as_of, weights, tuple(enough), min(depth, DEEPEST), found.count)


def evaluate(fitted: RankingFitted, snapshot: Snapshot) -> Evaluation:
    """Judge a ranker fitted at `snapshot.as_of` on the lists of the window after it, beside the order that they have
    without one: by score, where the log holds that of all their products, else as they were shown.

    Raises NotEnough where no list of the window can judge.
    """
    until = snapshot.as_of + timedelta(days=fitted.params.horizon_days)
    judged = examples(snapshot, snapshot.as_of, until, fitted.params.most_lists, are_ordered=True)
    if not judged.count:
        raise NotEnough(
            f"ranking is judged on lists in which something was taken and something was not, with the score or the"
            f" position of all their products: from {snapshot.as_of} to {until} there is none"
        )
    worth = judged.relevant / propensities(looked_at(judged), judged)
    ranked = ndcg(judged, fitted.weights.utility(judged), worth)
    shown = ndcg(judged, judged.base, worth)
    rows = judged.lists.select(person_id="subject_id", ndcg=pl.Series(ranked), shown=pl.Series(shown))
    people = rows.group_by("person_id").agg(pl.col("ndcg", "shown").mean()).sort("person_id")
    gain = evaluation.compare_means(people["ndcg"], people["shown"], fitted.params.seed)
    metrics = {
        "ndcg_10": float(people["ndcg"].to_numpy().mean()),
        "ndcg_10_shown": float(people["shown"].to_numpy().mean()),
        "ndcg_gain": gain.difference,
        "ndcg_gain_low": gain.low,
        "list_count": float(judged.count),
        "person_count": float(people.height),
    }
    return Evaluation(metrics, {"over_shown": str(gain.verdict)}, people.select("person_id", "ndcg"))


def looked_at(judged: Examples) -> Weights:
    """Weights of places as the judging lists themselves have them: the same for all versions that they judge, as gains
    by weights of its own would let the version win that thinks least of the first places."""
    return fitting.fit(judged, (), shrinkage=1.0, bought_weight=BOUGHT_JUDGES, least_lists=1, uses_activity=True)


def propensities(weights: Weights, found: Examples) -> Dense:
    """How much each product's place is looked at, as a share of the first; of an unknown place 1."""
    place = np.minimum(found.position, POSITIONS)
    share = np.exp(np.where(place >= 0, weights.position[place], 0.0))
    return np.clip(share, LEAST_PROPENSITY, 1.0)


def ndcg(found: Examples, score: Dense, worth: Dense) -> Dense:
    """NDCG@10 of each list in the order of ``score``; of equal ones the first stays first. ``worth``: the gain of each
    product."""
    return _gains(found, score, worth) / _gains(found, worth, worth)


def _gains(found: Examples, by: Dense, worth: Dense) -> Dense:
    order = np.lexsort((np.arange(len(by)), -by, found.group))
    starts = np.flatnonzero(np.diff(found.group, prepend=-1))
    place = np.arange(len(by)) - starts[found.group]
    gain = np.where(place < NDCG_AT, worth[order] / np.log2(place + 2), 0.0)
    return np.asarray(np.bincount(found.group, gain, found.count))


def predict(fitted: RankingFitted, snapshot: Snapshot) -> pl.DataFrame:
    """How well what each subject was shown in the month before `snapshot.as_of` suits the moment: person_id, score
    (mean utility). No table holds it: it tells whether what is shown drifts."""
    shown = examples(snapshot, snapshot.as_of - WEEKS_OF_DRIFT, snapshot.as_of, fitted.params.most_lists)
    utility = np.bincount(shown.group, fitted.weights.utility(shown), shown.count)
    mean = utility / np.maximum(np.bincount(shown.group, minlength=shown.count), 1)
    rows = shown.lists.select(person_id="subject_id", score=pl.Series(mean, dtype=pl.Float64))
    return rows.group_by("person_id").agg(pl.col("score").mean()).sort("person_id")


MODEL = register(
    Model(
        name="ranking",
        target="a click or a purchase from a shown list",
        output=None,
        tables=(IMPRESSIONS, INTERACTIONS, PRODUCTS),
        inputs=pl.Schema({name: pl.Float64() for name in (*NUMBERS, *SHARES)}),
        params=RankingParams,
        fit=fit,
        predict=predict,
        evaluate=evaluate,
        load=load,
    )
)
