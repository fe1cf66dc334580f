"""Propensity: will a customer buy from a category within the next 30 days?

One XGBoost model over all pairs of customer and category, which knows each category by how it sells and each customer
by what it did with that category and at all. Probabilities are calibrated on the newest training window, which the
trees have not seen (beta calibration), so that their level is that of the last month, and moved by what last year's
purchases did from that month to the one to come.
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
from customer360.models.base import Evaluation, Model, Params, Progress, Snapshot, register
from customer360.models.lifecycle import evaluation
from customer360.models.outputs import PAYLOADS
from customer360.models.propensity import pairs
from customer360.models.propensity.pairs import FEATURES
from customer360.platform.errors import ModelError

if TYPE_CHECKING:
    import xgboost

DAYS, INTERACTIONS = "silver.subject_days", "gold.interactions"
CERTAIN = 1e-6  # a probability stays so far from 0 and 1, for its logarithms
PEOPLE_AT_ONCE = 50_000  # scored together: times categories, the rows in memory

Array = NDArray[np.float64]


class PropensityParams(Params):
    """Parameters of the propensity model."""

    horizon_days: int = Field(30, ge=1)
    active_within_days: int = Field(365, ge=1)
    min_history_days: int = Field(180, ge=0)
    cut_count: int = Field(6, ge=2, description="the newest calibrates, the others train")
    cut_step_days: int = Field(30, ge=1)
    least_buyers: int = Field(50, ge=1, description="known buyers of a year that a category needs")
    most_categories: int = Field(30, ge=1)
    people_per_cut: int = Field(8000, ge=1, description="drawn at random where more are active")
    judged_people: int = Field(5000, ge=1, description="drawn at random for an evaluation")
    rounds: int = Field(120, ge=1)
    max_depth: int = Field(4, ge=1)
    learning_rate: float = Field(0.08, gt=0)
    min_child_weight: float = Field(30.0, ge=0)
    subsample: float = Field(0.8, gt=0, le=1)
    colsample_bytree: float = Field(0.6, gt=0, le=1)
    reg_lambda: float = Field(5.0, ge=0)
    seed: int = 0
    threads: int = Field(
        1, ge=1, description="threads of XGBoost itself; with more, a machine of fewer cores fits another model"
    )


@dataclass(frozen=True)
class Beta:
    """Beta calibration: logit of the probability = a ln p - b ln(1 - p) + c."""

    a: float
    b: float
    c: float

    @classmethod
    def fit(cls, probability: Array, truth: Array) -> Beta:
        from sklearn.linear_model import LogisticRegression

        found = LogisticRegression(C=1e3, max_iter=1000).fit(cls.signals(probability), truth)
        a, b = (float(weight) for weight in found.coef_[0])
        if a < 0 or b < 0:  # would turn the order round somewhere: shift and stretch the log-odds alone
            plain = LogisticRegression(C=1e3, max_iter=1000).fit(logit(_clipped(probability))[:, None], truth)
            a = b = float(plain.coef_[0][0])
            return cls(a, b, float(plain.intercept_[0]))
        return cls(a, b, float(found.intercept_[0]))

    @staticmethod
    def signals(probability: Array) -> Array:
        p = _clipped(probability)
        return np.column_stack([np.log(p), -np.log1p(-p)])

    def __call__(self, probability: Array) -> Array:
        return np.asarray(expit(self.signals(probability) @ np.array([self.a, self.b]) + self.c), dtype=np.float64)


@dataclass(frozen=True)
class PropensityFitted:
    """A fitted propensity model."""

    params: PropensityParams
    as_of: date
    booster: xgboost.Booster
    beta: Beta

    def save(self, directory: Path) -> None:
        """Write `model.ubj` (trees) and `propensity.json` (everything else)."""
        directory.mkdir(parents=True, exist_ok=True)
        self.booster.save_model(directory / "model.ubj")
        rest = {"params": self.params.model_dump(), "as_of": self.as_of.isoformat(), "beta": vars(self.beta)}
        (directory / "propensity.json").write_text(json.dumps(rest, indent=1, sort_keys=True))


def load(directory: Path) -> PropensityFitted:
    """Read what `PropensityFitted.save` wrote."""
    import xgboost

    rest: dict[str, Any] = json.loads((directory / "propensity.json").read_text())
    return PropensityFitted(
        params=PropensityParams(**rest["params"]),
        as_of=date.fromisoformat(rest["as_of"]),
        booster=xgboost.Booster(model_file=str(directory / "model.ubj")),
        beta=Beta(**rest["beta"]),
    )


def fit(snapshot: Snapshot, params: PropensityParams, progress: Progress) -> PropensityFitted:
    """Fit on all cuts whose outcome is known at `snapshot.as_of`; the newest calibrates. Raises ModelError when fewer
    than two fit, no category has buyers enough, or nobody buys in a window.
    """
    first = frames.first_purchase_on(snapshot[DAYS])
    known = frames.cuts(
        first, snapshot.as_of, params.horizon_days, params.min_history_days, params.cut_count, params.cut_step_days
    )
    if len(known) < 2:
        raise ModelError(
            f"one training cut ({known[0]}): propensity needs two, one to train and one to calibrate; a cut needs"
            f" {params.min_history_days} days of history"
        )
    *train, newest = (_examples(snapshot, cut, params, params.people_per_cut) for cut in known)
    past = pl.concat(train)
    for part in (past, newest):
        if not 0 < part["bought"].sum() < part.height:
            raise ModelError(f"{part.height} pairs hold {part['bought'].sum()} purchases: both outcomes are needed")
    booster = _boost(past, params, progress)
    beta = Beta.fit(_raw(booster, newest, params), newest["bought"].to_numpy().astype(np.float64))
    return PropensityFitted(params, snapshot.as_of, booster, beta)


def _examples(snapshot: Snapshot, cut: date, params: PropensityParams, people: int) -> pl.DataFrame:
    """Pairs at a cut with `bought`, the outcome of the window after it."""
    persons, rated = _known(snapshot, cut, params)
    frame = pairs.pairs(snapshot[INTERACTIONS], pairs.drawn(persons, people, params.seed), rated, cut)
    return frame.with_columns(bought=pairs.bought_after(snapshot[INTERACTIONS], frame, cut, params.horizon_days))


def _known(snapshot: Snapshot, as_of: date, params: PropensityParams) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Active customers and categories of a date, each with its features."""
    names = pairs.categories(snapshot[INTERACTIONS], as_of, params.least_buyers, params.most_categories)
    if not names:
        raise ModelError(
            f"no category has {params.least_buyers} known buyers in the year before {as_of}: gold.interactions needs"
            " categories (from a catalogue), or lower least_buyers"
        )
    persons = pairs.people(snapshot[DAYS], as_of, params.active_within_days)
    return persons, pairs.rates(snapshot[INTERACTIONS], snapshot[DAYS], as_of, names, params.horizon_days)


def predict(fitted: PropensityFitted, snapshot: Snapshot) -> pl.DataFrame:
    """Probability of every active customer and category, sorted by person; `rank` 1 is a person's likeliest category,
    `lift` the probability over the mean of all customers.
    """
    persons, rated = _known(snapshot, snapshot.as_of, fitted.params)
    step, parts = _step(fitted, snapshot, rated), []
    for chunk in persons.iter_slices(PEOPLE_AT_ONCE):
        frame = pairs.pairs(snapshot[INTERACTIONS], chunk, rated, snapshot.as_of)
        parts.append(frame.select("person_id", "category", score=pl.Series(score(fitted, frame, step))))
    scored = (
        pl.concat(parts)
        if parts
        else pl.DataFrame(schema={"person_id": pl.String, "category": pl.String, "score": pl.Float64})
    )
    # Rounded before ranking: equal pairs are ordered by name.
    ranked = scored.with_columns(order=pl.col("score").round(9)).sort(
        "person_id", "order", "category", descending=[False, True, False]
    )
    return ranked.select(
        "person_id",
        "category",
        rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over("person_id"),
        score="score",
        lift=pl.col("score") / pl.col("score").mean().over("category"),
    ).cast(PAYLOADS["gold.category_scores"])


def score(fitted: PropensityFitted, frame: pl.DataFrame, step: float = 1.0) -> Array:
    """Calibrated probabilities of rows of `pairs.pairs`; `step` is how far the odds move with the season."""
    calibrated = fitted.beta(_raw(fitted.booster, frame, fitted.params))
    return np.asarray(expit(logit(_clipped(calibrated)) + np.log(step)), dtype=np.float64)


def _step(fitted: PropensityFitted, snapshot: Snapshot, rated: pl.DataFrame) -> float:
    """From the window that calibrated the model to the one after `snapshot.as_of`."""
    horizon = fitted.params.horizon_days
    since = fitted.as_of - timedelta(days=horizon)
    return pairs.season_step(
        snapshot[INTERACTIONS],
        snapshot[DAYS],
        rated["category"].to_list(),
        since,
        snapshot.as_of,
        horizon,
        fitted.params.least_buyers,
    )


def evaluate(fitted: PropensityFitted, snapshot: Snapshot) -> Evaluation:
    """Judge a model fitted at `snapshot.as_of` on the window after it: the order of all pairs and within categories,
    the calibration of each category, beside `baselines`. Intervals are paired and draw persons, with all their
    categories.
    """
    params = fitted.params
    frames.require_outcome(snapshot[DAYS], snapshot.as_of, params.horizon_days)
    frame = _examples(snapshot, snapshot.as_of, params, params.judged_people)
    step = _step(fitted, snapshot, frame.select("category").unique().sort("category"))
    truth, found = frame["bought"].to_numpy().astype(np.float64), score(fitted, frame, step)
    categories = frame["category"].to_numpy()
    metrics = evaluation.binary_metrics(truth, found) | _category_errors(truth, found, categories)
    metrics |= {
        "season_step": step,
        "category_auc": _category_auc(truth, found, categories),
        "category_count": float(len(np.unique(categories))),
    }
    persons, verdicts = frame["person_id"], {}
    for name, rival in baselines(frame).items():
        compared = evaluation.compare_auc(truth, found, rival, params.seed, groups=persons)
        metrics |= {
            f"{name}_auc": evaluation.auc(truth, rival),
            f"{name}_category_auc": _category_auc(truth, rival, categories),
            f"auc_over_{name}": compared.difference,
            f"auc_over_{name}_low": compared.low,
            f"auc_over_{name}_high": compared.high,
        }
        verdicts[f"auc_over_{name}"] = compared.verdict
    rows = frame.select("person_id", "category", truth="bought").with_columns(score=pl.Series(found))
    return Evaluation(metrics, verdicts, rows)


def baselines(frame: pl.DataFrame) -> dict[str, Array]:
    """Scores of the rules to beat: the category's rate of last month; days since the own last purchase in the category,
    never counting as last; days of the last year with a purchase in it, the category's rate deciding between equals.
    """
    recency = frame["own_recency_days"].fill_null(10.0 * pairs.YEAR).to_numpy()
    rate = frame["category_rate_30d"].fill_null(0).to_numpy()
    return {"rate": rate, "last_purchase": -recency, "frequency": frame["own_days_365d"].fill_null(0).to_numpy() + rate}


def _category_auc(truth: Array, found: Array, categories: NDArray[Any]) -> float:
    """Mean AUC within categories of which both outcomes occur."""
    each = [(truth[categories == name], found[categories == name]) for name in np.unique(categories)]
    aucs = [evaluation.auc(y, score) for y, score in each if 0 < y.sum() < len(y)]
    return float(np.mean(aucs)) if aucs else float("nan")


def _category_errors(truth: Array, found: Array, categories: NDArray[Any]) -> dict[str, float]:
    """Mean and largest calibration error of a category."""
    names = np.unique(categories)
    errors = [evaluation.calibration_error(truth[categories == name], found[categories == name]) for name in names]
    return {"category_ece": float(np.mean(errors)), "category_ece_max": float(np.max(errors))}


def _raw(booster: xgboost.Booster, frame: pl.DataFrame, params: PropensityParams) -> Array:
    return np.asarray(booster.predict(_matrix(frame, params)), dtype=np.float64)


def _clipped(probability: Array) -> Array:
    return np.clip(probability, CERTAIN, 1.0 - CERTAIN)


def _matrix(frame: pl.DataFrame, params: PropensityParams) -> xgboost.DMatrix:
    import xgboost

    values = frame.select(
        pl.col(FEATURES).cast(pl.Float32)
    ).to_numpy()  # null becomes NaN, which XGBoost reads as missing
    return xgboost.DMatrix(values, feature_names=list(FEATURES), nthread=params.threads)


def _boost(past: pl.DataFrame, params: PropensityParams, progress: Progress) -> xgboost.Booster:
    """Boost, going on from the trees that `progress` kept half way."""
    import xgboost

    matrix = _matrix(past, params)
    matrix.set_label(past["bought"].to_numpy().astype(np.float32))
    kept = progress.restore()
    booster = xgboost.Booster(model_file=str(kept / "trees.ubj")) if kept else None
    half, done = params.rounds // 2, booster.num_boosted_rounds() if booster else 0
    for until in (half, params.rounds):
        if done < until:
            booster = xgboost.train(_booster_params(params), matrix, num_boost_round=until - done, xgb_model=booster)
            done = until
            if until < params.rounds:
                progress.keep(partial(_save_trees, booster))
    assert booster is not None
    return booster


def _save_trees(booster: xgboost.Booster, directory: Path) -> None:
    booster.save_model(directory / "trees.ubj")


def _booster_params(params: PropensityParams) -> dict[str, Any]:
    return {
        "objective": "binary:logistic", "base_score": 0.5, "tree_method": "hist", "max_depth": params.max_depth,
        "eta": params.learning_rate, "min_child_weight": params.min_child_weight, "subsample": params.subsample,
        "colsample_bytree": params.colsample_bytree, "lambda": params.reg_lambda, "seed": params.seed,
        "seed_per_iteration": True,  # a resumed fit draws the same rows as an unbroken one
        "nthread": params.threads,
    }  # fmt: skip


MODEL = register(
    Model(
        name="propensity",
        target="bought_in_category_30d",
        output="gold.category_scores",
        tables=(DAYS, INTERACTIONS),
        inputs=pl.Schema({"person_id": pl.String, "category": pl.String} | dict.fromkeys(FEATURES, pl.Float64)),
        params=PropensityParams,
        fit=fit,
        predict=predict,
        evaluate=evaluate,
        load=load,
        training_cuts=2,
        backend="xgboost",
    )
)
