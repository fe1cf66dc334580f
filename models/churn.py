"""Churn: will an active customer buy nothing in the next 90 days?

BG/NBD in season time (`starts`) says how likely a customer is to buy nothing; a logistic curve over that is the
starting margin, and a few shallow, strongly regularised XGBoost trees correct it with the other features. Trees alone
rank worse than the BG/NBD on a log of a few thousand customers. The level of the probabilities follows the season
through the clock; where a year is known, what last year's window says of the buyers counts half.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import expit, logit

from customer360.models import frames
from customer360.models.base import Evaluation, Model, NoProgress, Params, Progress, Snapshot, register
from customer360.models.lifecycle import evaluation
from customer360.models.outputs import PAYLOADS
from customer360.models.purchasing import starts
from customer360.models.purchasing.season import Clock
from customer360.models.purchasing.starts import EXPECTED, INPUTS, QUIET, WINDOW, Examples, Spending
from customer360.platform.errors import ModelError

if TYPE_CHECKING:
    import xgboost

MONOTONE = {"recency_days": 1, EXPECTED: -1, QUIET: 1}  # what must not turn round because of a few rows
SURVIVAL_DAYS = (30, 60, 90, 180)
TINY = 1e-3  # keeps the logarithm of an empty window finite
CERTAIN = 1e-4  # a probability stays so far from 0 and 1, for its log-odds
DAYS = "silver.subject_days"

Array = NDArray[np.float64]


class ChurnParams(Params):
    """Parameters of the churn model; the defaults were chosen on cuts of the public retail log up to 2011-03-15."""

    horizon_days: int = Field(90, ge=1)
    active_within_days: int = Field(365, ge=1)
    min_history_days: int = Field(180, ge=0)
    cut_count: int = Field(13, ge=1)
    cut_step_days: int = Field(30, ge=1)
    rounds: int = Field(60, ge=1)
    checkpoint_rounds: int = Field(20, ge=0, description="rounds between checkpoints of the final fit; 0 keeps none")
    max_depth: int = Field(3, ge=1)
    learning_rate: float = Field(0.03, gt=0)
    min_child_weight: float = Field(20.0, ge=0)
    subsample: float = Field(0.7, gt=0, le=1)
    colsample_bytree: float = Field(0.5, gt=0, le=1)
    reg_lambda: float = Field(10.0, ge=0)
    seed: int = 0
    threads: int = Field(
        1, ge=1, description="threads of XGBoost itself; with more, a machine of fewer cores fits another model"
    )
    reason_count: int = Field(3, ge=1)


@dataclass(frozen=True)
class Margin:
    """Log-odds of churn from the log-odds of no purchase by BG/NBD and the logarithm of the window's length in season
    days over calendar days: rare customers follow the season more than regular ones.
    """

    weights: tuple[float, float]
    intercept: float

    def __call__(self, frame: pl.DataFrame, horizon_days: int) -> Array:
        return _signals(frame, horizon_days) @ np.array(self.weights) + self.intercept


@dataclass(frozen=True)
class ChurnFitted:
    """A fitted churn model. `spending` holds the BG/NBD model and the clock as of `as_of`, `typical_margin` is the mean
    starting margin, `shift` moves log-odds to the level that last year's window asks for (0 where there is none).
    """

    params: ChurnParams
    as_of: date
    booster: xgboost.Booster
    spending: Spending
    margin: Margin
    typical_margin: float
    shift: float

    def save(self, directory: Path) -> None:
        """Write `model.ubj` (trees) and `churn.json` (everything else)."""
        directory.mkdir(parents=True, exist_ok=True)
        self.booster.save_model(directory / "model.ubj")
        rest = {
            "params": self.params.model_dump(),
            "as_of": self.as_of.isoformat(),
            "spending": self.spending.as_dict(),
            "margin": [*self.margin.weights, self.margin.intercept],
            "typical_margin": self.typical_margin,
            "shift": self.shift,
        }
        (directory / "churn.json").write_text(json.dumps(rest, indent=1, sort_keys=True))


def load(directory: Path) -> ChurnFitted:
    """Read what `ChurnFitted.save` wrote."""
    import xgboost

    rest: dict[str, Any] = json.loads((directory / "churn.json").read_text())
    quiet, window, intercept = rest["margin"]
    return ChurnFitted(
        params=ChurnParams(**rest["params"]),
        as_of=date.fromisoformat(rest["as_of"]),
        booster=xgboost.Booster(model_file=str(directory / "model.ubj")),
        spending=Spending.from_dict(rest["spending"]),
        margin=Margin((quiet, window), intercept),
        typical_margin=rest["typical_margin"],
        shift=rest["shift"],
    )


def fit(snapshot: Snapshot, params: ChurnParams, progress: Progress) -> ChurnFitted:
    """Fit on all cuts whose outcome is known at `snapshot.as_of`. Raises ModelError when no cut fits or only one class
    occurs.
    """
    days, horizon = snapshot[DAYS], params.horizon_days
    first = frames.first_purchase_on(days)
    cuts = frames.cuts(first, snapshot.as_of, horizon, params.min_history_days, params.cut_count, params.cut_step_days)
    return fit_examples(
        starts.examples(days, snapshot.as_of, cuts, horizon, params.active_within_days), params, progress
    )


def fit_examples(examples: Examples, params: ChurnParams, progress: Progress | None = None) -> ChurnFitted:
    """Fit on pooled examples (`starts.examples`)."""
    frame, horizon = examples.past, params.horizon_days
    churned = frame["churned"].cast(pl.Float64).to_numpy()
    if not 0 < churned.sum() < len(churned):
        raise ModelError(f"{len(churned)} training rows hold {int(churned.sum())} churned: both outcomes are needed")
    margin = _margin(frame, churned, horizon)
    booster = _boost(_matrix(frame, margin, churned, params), params, progress or NoProgress())
    typical = float(np.mean(margin(frame, horizon)))
    fitted = ChurnFitted(params, examples.as_of, booster, examples.spending, margin, typical, 0.0)
    return ChurnFitted(**{**vars(fitted), "shift": _shift(fitted, examples)})


def _shift(fitted: ChurnFitted, examples: Examples) -> float:
    """Half of the way, in log-odds, from the model's mean probability to that of last year's window."""
    current, known = examples.current, examples.last_year
    if known is None or current.is_empty():
        return 0.0
    log_odds = _log_odds(fitted, current)[0]
    rates = np.clip([expit(log_odds).mean(), 1.0 - known.buyer_share], CERTAIN, 1.0 - CERTAIN)
    return level(log_odds, float(expit(logit(rates).mean())))


def level(log_odds: Array, rate: float) -> float:
    """The shift of log-odds at which their mean probability is `rate`."""
    from scipy.optimize import brentq

    reach = float(np.abs(log_odds).max() + abs(logit(rate))) + 1.0

    def excess(shift: float) -> float:
        return float(expit(log_odds + shift).mean()) - rate

    return float(brentq(excess, -reach, reach))


def _log_odds(fitted: ChurnFitted, rows: pl.DataFrame) -> tuple[Array, Array]:
    """Log-odds before the shift, and the contributions of `INPUTS` and of the constant, shape (n, inputs + 1)."""
    start = fitted.margin(rows, fitted.params.horizon_days)
    trees = fitted.booster.predict(_features_only(rows, fitted.params), pred_contribs=True).astype(np.float64)
    log_odds = start + trees.sum(axis=1)
    trees[:, INPUTS.index(QUIET)] += start - fitted.typical_margin
    return log_odds, trees


def score(fitted: ChurnFitted, frame: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """Churn probability and its reasons for rows of features (`frames.features`) taken at `as_of`; one row or millions.

    Returns `person_id`, `score`, `reasons` in the order of the rows. A contribution is in log-odds of churn against the
    typical customer of the training data; that of
    `no_purchase_probability` includes the starting margin. Raises ModelError
    for a row without a purchase.
    """
    rows = _started(fitted, frame, as_of)
    log_odds, contributions = _log_odds(fitted, rows)
    reasons = _reasons(rows, contributions[:, :-1], fitted.params.reason_count)
    return pl.DataFrame(
        {"person_id": rows["person_id"], "score": expit(log_odds + fitted.shift), "reasons": reasons}
    ).cast(PAYLOADS["gold.predictions"])


def survival(
    fitted: ChurnFitted, frame: pl.DataFrame, as_of: date, at_days: tuple[int, ...] = SURVIVAL_DAYS
) -> pl.DataFrame:
    """P(no purchase within h days) for each h of `at_days`: `person_id`, `quiet_30d`, …; rows as in `frame`.

    The curve of the starting points, its exponent set for each customer so that it passes through the score at the
    horizon of the model: it never rises with h.
    """
    rows = _started(fitted, frame, as_of)
    spending, probability = fitted.spending, score(fitted, frame, as_of)["score"].to_numpy()

    def quiet(days: int) -> Array:
        return np.clip(starts.quiet(rows, spending, as_of, days), CERTAIN, 1.0 - CERTAIN)

    exponent = np.log(probability) / np.log(quiet(fitted.params.horizon_days))
    curve = {f"quiet_{days}d": quiet(days) ** exponent for days in sorted(at_days)}
    return pl.DataFrame({"person_id": rows["person_id"], **curve})


def _started(fitted: ChurnFitted, frame: pl.DataFrame, as_of: date) -> pl.DataFrame:
    unknown = frame["recency_days"].null_count()
    if unknown:
        raise ModelError(f"{unknown} rows have no purchase: churn is defined for customers only")
    return starts.with_start(frame, fitted.spending, as_of, fitted.params.horizon_days)


def predict(fitted: ChurnFitted, snapshot: Snapshot) -> pl.DataFrame:
    """Score the active population of a snapshot, sorted by person."""
    population = starts.population(snapshot[DAYS], snapshot.as_of, fitted.params.active_within_days)
    return score(fitted, population, snapshot.as_of)


def evaluate(fitted: ChurnFitted, snapshot: Snapshot) -> Evaluation:
    """Judge a model fitted at `snapshot.as_of` on the window after it, beside the recency rule and BG/NBD expected
    purchases.
    """
    days, params = snapshot[DAYS], fitted.params
    frames.require_outcome(days, snapshot.as_of, params.horizon_days)
    frame = frames.examples(days, snapshot.as_of, params.horizon_days, params.active_within_days).collect()
    churned, probability = frame["churned"].to_numpy(), score(fitted, frame, snapshot.as_of)["score"].to_numpy()
    metrics, verdicts = evaluation.binary_metrics(churned, probability), {}
    metrics |= survival_error(fitted, days, frame, snapshot.as_of)
    for name, baseline in baselines(days, frame, snapshot.as_of, params.horizon_days).items():
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


def survival_error(fitted: ChurnFitted, days: pl.LazyFrame, frame: pl.DataFrame, as_of: date) -> dict[str, float]:
    """By day of `SURVIVAL_DAYS` within the known window, `survival_error_30d`, …: mean of the curve minus the share of
    customers that bought nothing until then.
    """
    known = tuple(day for day in SURVIVAL_DAYS if day <= fitted.params.horizon_days)
    curve, found = survival(fitted, frame, as_of, known), {}
    for day in known:
        window = pl.col("on").is_between(as_of, as_of + timedelta(days=day), closed="left")
        bought = days.filter(window, pl.col("order_count") > 0).select("person_id").unique().collect()["person_id"]
        quiet = ~curve["person_id"].is_in(bought.drop_nulls().implode())
        found[f"survival_error_{day}d"] = float(curve[f"quiet_{day}d"].to_numpy().mean() - quiet.to_numpy().mean())
    return found


def baselines(days: pl.LazyFrame, frame: pl.DataFrame, as_of: date, horizon_days: int) -> dict[str, Array]:
    """Scores of the rules to beat, higher for likelier churn: days since the last purchase, and fewer expected
    purchases by BG/NBD on calendar time.
    """
    plain = starts.with_start(frame, starts.fit_plain(days, as_of, Clock(as_of)), as_of, horizon_days)
    return {"recency": frame["recency_days"].to_numpy(), "bgnbd": -plain[EXPECTED].to_numpy()}


def _signals(frame: pl.DataFrame, horizon_days: int) -> Array:
    quiet = np.clip(frame[QUIET].to_numpy(), CERTAIN, 1.0 - CERTAIN)
    length = np.maximum(frame[WINDOW].to_numpy(), TINY) / horizon_days
    return np.column_stack([logit(quiet), np.log(length)])


def _margin(frame: pl.DataFrame, churned: Array, horizon_days: int) -> Margin:
    from sklearn.linear_model import LogisticRegression

    found = LogisticRegression(C=1.0, max_iter=1000).fit(_signals(frame, horizon_days), churned)
    quiet, window = (float(weight) for weight in found.coef_[0])
    return Margin((quiet, window), float(found.intercept_[0]))


def _features_only(frame: pl.DataFrame, params: ChurnParams) -> xgboost.DMatrix:
    import xgboost

    values = frame.select(
        pl.col(INPUTS).cast(pl.Float32)
    ).to_numpy()  # null becomes NaN, which XGBoost reads as missing
    return xgboost.DMatrix(values, feature_names=list(INPUTS), nthread=params.threads)


def _matrix(frame: pl.DataFrame, margin: Margin, churned: Array, params: ChurnParams) -> xgboost.DMatrix:
    matrix = _features_only(frame, params)
    matrix.set_label(churned)
    matrix.set_base_margin(margin(frame, params.horizon_days))
    return matrix


def _boost(matrix: xgboost.DMatrix, params: ChurnParams, progress: Progress) -> xgboost.Booster:
    """Boost in steps of `checkpoint_rounds`, going on from the trees that `progress` kept; the result is that of one
    run.
    """
    import xgboost

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
        score=score,
        training_cuts=1,
        backend="xgboost",
    )
)
