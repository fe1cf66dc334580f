"""Churn: will an active customer buy nothing in the next 90 days?

A BG/NBD model of each cut's past gives expected purchases; a logistic curve over their logarithm is the starting
margin, and a few shallow, strongly regularised XGBoost trees correct it with the other features. Trees alone rank worse
than the BG/NBD on a log of a few thousand customers. Calibration is learnt from scores of persons that the fold's model
has not seen; where a training cut stands a year before the scored date, its intercept replaces the pooled one, because
the base rate follows the season.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import xgboost
from numpy.typing import NDArray
from pydantic import Field
from scipy.optimize import brentq
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from customer360.models import btyd, evaluation, frames
from customer360.models.base import PAYLOADS, Evaluation, Model, NoProgress, Params, Progress, Snapshot, register
from customer360.models.btyd import BetaGeometric
from customer360.platform.errors import ModelError

EXPECTED = "expected_purchases"
INPUTS = (*frames.FEATURES, EXPECTED)
MONOTONE = {"recency_days": 1, EXPECTED: -1}  # what must not turn round because of a few rows
FOLDS = 3
YEAR_DAYS, SEASON_SLACK_DAYS = 365, 30
TINY = 1e-3  # keeps the logarithm of no expected purchases finite
DAYS = "silver.subject_days"

Array = NDArray[np.float64]


class ChurnParams(Params):
    """Parameters of the churn model; the defaults were chosen on three cuts of the public retail log, 2011-06-13 among them."""

    horizon_days: int = Field(90, ge=1)
    active_within_days: int = Field(365, ge=1)
    min_history_days: int = Field(270, ge=0)
    cut_count: int = Field(4, ge=1)
    rounds: int = Field(40, ge=1)
    checkpoint_rounds: int = Field(20, ge=0, description="rounds between checkpoints of the final fit; 0 keeps none")
    max_depth: int = Field(3, ge=1)
    learning_rate: float = Field(0.03, gt=0)
    min_child_weight: float = Field(20.0, ge=0)
    subsample: float = Field(0.7, gt=0, le=1)
    colsample_bytree: float = Field(0.5, gt=0, le=1)
    reg_lambda: float = Field(10.0, ge=0)
    seed: int = 0
    threads: int = Field(2, ge=1, description="threads of XGBoost itself; part of what makes a model repeatable")
    reason_count: int = Field(3, ge=1)


@dataclass(frozen=True)
class Line:
    """slope * x + intercept, on the log-odds scale."""

    slope: float
    intercept: float

    def __call__(self, x: Array) -> Array:
        return self.slope * x + self.intercept


@dataclass(frozen=True)
class ChurnFitted:
    """A fitted churn model. `margin` maps log expected purchases to log-odds, `calibration` raw log-odds to calibrated
    ones, `seasons` holds the intercept that each training cut needed; `purchases` is the BG/NBD model as of `as_of`,
    `typical_margin` the mean starting margin.
    """

    params: ChurnParams
    as_of: date
    booster: xgboost.Booster
    purchases: BetaGeometric
    margin: Line
    typical_margin: float
    calibration: Line
    seasons: dict[str, float]

    def save(self, directory: Path) -> None:
        """Write `model.ubj` (trees) and `churn.json` (everything else)."""
        directory.mkdir(parents=True, exist_ok=True)
        self.booster.save_model(directory / "model.ubj")
        rest = {
            "params": self.params.model_dump(),
            "as_of": self.as_of.isoformat(),
            "purchases": self.purchases.as_dict(),
            "margin": [self.margin.slope, self.margin.intercept],
            "typical_margin": self.typical_margin,
            "calibration": [self.calibration.slope, self.calibration.intercept],
            "seasons": self.seasons,
        }
        (directory / "churn.json").write_text(json.dumps(rest, indent=1, sort_keys=True))

    def calibration_at(self, as_of: date) -> Line:
        """The pooled calibration, its intercept replaced by that of the training cut about a year before `as_of` if
        there is one.
        """
        for cut, intercept in self.seasons.items():
            if abs((as_of - date.fromisoformat(cut)).days - YEAR_DAYS) <= SEASON_SLACK_DAYS:
                return Line(self.calibration.slope, intercept)
        return self.calibration


def load(directory: Path) -> ChurnFitted:
    """Read what `ChurnFitted.save` wrote."""
    rest: dict[str, Any] = json.loads((directory / "churn.json").read_text())
    booster = xgboost.Booster(model_file=str(directory / "model.ubj"))
    return ChurnFitted(
        params=ChurnParams(**rest["params"]),
        as_of=date.fromisoformat(rest["as_of"]),
        booster=booster,
        purchases=BetaGeometric(**rest["purchases"]),
        margin=Line(*rest["margin"]),
        typical_margin=rest["typical_margin"],
        calibration=Line(*rest["calibration"]),
        seasons=rest["seasons"],
    )


def fit_purchases(days: pl.LazyFrame, as_of: date) -> BetaGeometric:
    """BG/NBD over every customer who bought before `as_of` (a population cut by recency would break it)."""
    known = frames.features(days, as_of).filter(pl.col("purchase_day_count") > 0)
    return btyd.fit(*btyd.summary(known.select("purchase_day_count", "recency_days", "tenure_days").collect()))


def with_expected(frame: pl.DataFrame, purchases: BetaGeometric, horizon_days: int) -> pl.DataFrame:
    """Add `expected_purchases` of the next `horizon_days` to rows of features."""
    expected = btyd.expected_purchases(purchases, *btyd.summary(frame), horizon_days)
    return frame.with_columns(pl.Series(EXPECTED, expected))


def training_frame(days: pl.LazyFrame, at: Sequence[date], params: ChurnParams) -> pl.DataFrame:
    """Pooled examples of the cuts with `expected_purchases`, each from the past of its own cut; one row per person and
    cut.
    """
    horizon, active = params.horizon_days, params.active_within_days
    return pl.concat(
        with_expected(frames.examples(days, cut, horizon, active).collect(), fit_purchases(days, cut), horizon)
        for cut in sorted(at)
    )


def fit(snapshot: Snapshot, params: ChurnParams, progress: Progress) -> ChurnFitted:
    """Fit on all cuts whose outcome is known at `snapshot.as_of`. Raises ModelError when no cut fits or only one class
    occurs.
    """
    days = snapshot[DAYS]
    at = frames.cuts(
        frames.first_purchase_on(days), snapshot.as_of, params.horizon_days, params.min_history_days, params.cut_count
    )
    return fit_frame(
        training_frame(days, at, params), fit_purchases(days, snapshot.as_of), snapshot.as_of, params, progress
    )


def fit_frame(
    frame: pl.DataFrame,
    purchases: BetaGeometric,
    as_of: date,
    params: ChurnParams,
    progress: Progress | None = None,
) -> ChurnFitted:
    """Fit on a training frame (`training_frame`); `purchases` is the BG/NBD model that scoring will use."""
    churned = frame["churned"].cast(pl.Float64).to_numpy()
    if not 0 < churned.sum() < len(churned):
        raise ModelError(f"{len(churned)} training rows hold {int(churned.sum())} churned: both outcomes are needed")
    margin = _logistic(_log_expected(frame), churned)
    unseen = _unseen_log_odds(frame, churned, margin, params)
    calibration = _logistic(unseen, churned)
    booster = _boost(_matrix(frame, margin, churned, params), params, progress or NoProgress())
    typical = float(np.mean(margin(_log_expected(frame))))
    seasons = _season_intercepts(frame["as_of"], calibration.slope * unseen, churned)
    return ChurnFitted(params, as_of, booster, purchases, margin, typical, calibration, seasons)


def score(fitted: ChurnFitted, frame: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """Churn probability and its reasons for rows of features (`frames.features`) taken at `as_of`; one row or millions.

    Returns `person_id`, `score`, `reasons` in the order of the rows. A contribution is in log-odds of churn against the
    typical customer of the training data; that of `expected_purchases` includes the starting margin. Raises ModelError
    for a row without a purchase.
    """
    if frame["recency_days"].null_count():
        raise ModelError(
            f"{frame['recency_days'].null_count()} rows have no purchase: churn is defined for customers only"
        )
    rows = with_expected(frame, fitted.purchases, fitted.params.horizon_days)
    start = fitted.margin(_log_expected(rows))
    contributions = fitted.booster.predict(_features_only(rows, fitted.params), pred_contribs=True)
    trees = contributions.astype(np.float64)
    line = fitted.calibration_at(as_of)
    probability = expit(line(start + trees.sum(axis=1)))
    trees[:, INPUTS.index(EXPECTED)] += start - fitted.typical_margin
    reasons = _reasons(rows, line.slope * trees[:, :-1], fitted.params.reason_count)
    return pl.DataFrame({"person_id": rows["person_id"], "score": probability, "reasons": reasons}).cast(
        PAYLOADS["gold.predictions"]
    )


def predict(fitted: ChurnFitted, snapshot: Snapshot) -> pl.DataFrame:
    """Score the active population of a snapshot, sorted by person."""
    return score(fitted, _active(snapshot, fitted.params).collect(), snapshot.as_of)


def evaluate(fitted: ChurnFitted, snapshot: Snapshot) -> Evaluation:
    """Judge a model fitted at `snapshot.as_of` on the window after it, beside the recency rule and BG/NBD expected
    purchases.
    """
    days, params = snapshot[DAYS], fitted.params
    frames.require_outcome(days, snapshot.as_of, params.horizon_days)
    frame = frames.examples(days, snapshot.as_of, params.horizon_days, params.active_within_days).collect()
    churned, probability = frame["churned"].to_numpy(), score(fitted, frame, snapshot.as_of)["score"].to_numpy()
    metrics, verdicts = evaluation.binary_metrics(churned, probability), {}
    for name, baseline in baselines(fitted, frame).items():
        compared = evaluation.compare_auc(churned, probability, baseline, params.seed)
        metrics |= {
            f"{name}_auc": evaluation.auc(churned, baseline),
            f"auc_over_{name}": compared.difference,
            f"auc_over_{name}_low": compared.low,
            f"auc_over_{name}_high": compared.high,
        }
        verdicts[f"auc_over_{name}"] = compared.verdict
    rows = frame.select("person_id", truth="churned").with_columns(score=pl.Series(probability))
    return Evaluation(metrics, verdicts, rows)


def baselines(fitted: ChurnFitted, frame: pl.DataFrame) -> dict[str, Array]:
    """Scores of the rules to beat, higher for likelier churn: days since the last purchase, and fewer expected
    purchases (BG/NBD).
    """
    expected = with_expected(frame, fitted.purchases, fitted.params.horizon_days)[EXPECTED].to_numpy()
    return {"recency": frame["recency_days"].to_numpy(), "bgnbd": -expected}


def _active(snapshot: Snapshot, params: ChurnParams) -> pl.LazyFrame:
    active = frames.population(snapshot[DAYS], snapshot.as_of, params.active_within_days)
    return active.join(frames.features(snapshot[DAYS], snapshot.as_of), on="person_id").sort("person_id")


def _log_expected(frame: pl.DataFrame) -> Array:
    return np.log(np.maximum(frame[EXPECTED].to_numpy(), 0.0) + TINY)


def _logistic(x: Array, y: Array) -> Line:
    found = LogisticRegression(C=1e4).fit(x[:, None], y)
    return Line(float(found.coef_[0, 0]), float(found.intercept_[0]))


def _features_only(frame: pl.DataFrame, params: ChurnParams) -> xgboost.DMatrix:
    values = frame.select(
        pl.col(INPUTS).cast(pl.Float32)
    ).to_numpy()  # null becomes NaN, which XGBoost reads as missing
    return xgboost.DMatrix(values, feature_names=list(INPUTS), nthread=params.threads)


def _matrix(frame: pl.DataFrame, margin: Line, churned: Array, params: ChurnParams) -> xgboost.DMatrix:
    matrix = _features_only(frame, params)
    matrix.set_label(churned)
    matrix.set_base_margin(margin(_log_expected(frame)))
    return matrix


def _boost(matrix: xgboost.DMatrix, params: ChurnParams, progress: Progress) -> xgboost.Booster:
    """Boost in steps of `checkpoint_rounds`, going on from the trees that `progress` kept; the result is that of one
    run.
    """
    kept = progress.restore()
    booster = xgboost.Booster(model_file=str(kept / "trees.ubj")) if kept else None
    done = booster.num_boosted_rounds() if booster else 0
    while done < params.rounds:
        step = min(params.checkpoint_rounds or params.rounds, params.rounds - done)
        booster = xgboost.train(_booster_params(params), matrix, num_boost_round=step, xgb_model=booster)
        done += step
        if done < params.rounds:
            progress.keep(partial(_save_trees, booster))
    if booster is None:
        raise ModelError("no boosting round was run")
    return booster


def _save_trees(booster: xgboost.Booster, directory: Path) -> None:
    booster.save_model(directory / "trees.ubj")


def _booster_params(params: ChurnParams) -> dict[str, Any]:
    return {
        "objective": "binary:logistic",
        "base_score": 0.5,  # log-odds 0: the starting margin says it all
        "tree_method": "hist",
        "max_depth": params.max_depth,
        "eta": params.learning_rate,
        "min_child_weight": params.min_child_weight,
        "subsample": params.subsample,
        "colsample_bytree": params.colsample_bytree,
        "lambda": params.reg_lambda,
        "monotone_constraints": str(tuple(MONOTONE.get(name, 0) for name in INPUTS)),
        "seed": params.seed,
        "seed_per_iteration": True,  # a resumed fit draws the same rows as an unbroken one
        "nthread": params.threads,
    }


def _unseen_log_odds(frame: pl.DataFrame, churned: Array, margin: Line, params: ChurnParams) -> Array:
    """Log-odds of every row by a model that saw neither it nor another cut of the same person."""
    persons, index = np.unique(frame["person_id"].to_numpy(), return_inverse=True)
    fold = np.random.default_rng(params.seed).permutation(len(persons))[index] % FOLDS
    found = np.empty(len(churned))
    for part in range(FOLDS):
        learn, rest = fold != part, fold == part
        if not rest.any():
            continue
        matrix = _matrix(frame.filter(learn), margin, churned[learn], params)
        booster = _boost(matrix, params, NoProgress())
        found[rest] = booster.predict(_matrix(frame.filter(rest), margin, churned[rest], params), output_margin=True)
    return found


def _season_intercepts(at: pl.Series, log_odds: Array, churned: Array) -> dict[str, float]:
    """For each cut the intercept with which the mean probability equals its observed rate; cuts with one outcome only
    are left out.
    """
    found = {}
    for cut in at.unique().sort():
        rows = (at == cut).to_numpy()
        if 0 < churned[rows].mean() < 1:
            found[cut.isoformat()] = _intercept(log_odds[rows], float(churned[rows].mean()))
    return found


def _intercept(log_odds: Array, rate: float) -> float:
    """The shift of log-odds at which their mean probability is `rate`."""
    reach = float(np.abs(log_odds).max() + abs(logit(rate))) + 1.0

    def excess(shift: float) -> float:
        return float(expit(log_odds + shift).mean()) - rate

    return float(brentq(excess, -reach, reach))


def _reasons(frame: pl.DataFrame, contributions: Array, count: int) -> pl.Series:
    """The `count` largest contributions of each row by size, as List(Struct(feature, value, contribution))."""
    top = np.argsort(-np.abs(contributions), axis=1, kind="stable")[:, :count]
    rows = np.arange(len(contributions))[:, None]
    values = frame.select(pl.col(INPUTS).cast(pl.Float64)).to_numpy()[rows, top]
    flat = pl.DataFrame(
        {
            "feature": np.array(INPUTS, dtype=object)[top].ravel().tolist(),
            "value": pl.Series(values.ravel()).fill_nan(None),
            "contribution": contributions[rows, top].ravel(),
        }
    )
    return flat.to_struct("reasons").reshape((-1, top.shape[1])).arr.to_list()


MODEL = register(
    Model(
        name="churn",
        target="churned_90d",
        output="gold.predictions",
        tables=(DAYS,),
        inputs=pl.Schema({"person_id": pl.String} | dict.fromkeys(frames.FEATURES, pl.Float64)),
        params=ChurnParams,
        fit=fit,
        predict=predict,
        evaluate=evaluate,
        load=load,
        backend="xgboost",
    )
)
