"""Customer value: revenue of the next 90 days, in the reporting currency, of every customer active within a year.

BG/NBD in season time gives expected purchases and Gamma-Gamma the expected value of one (`starts`); their product is
the starting point. Few shallow Tweedie trees correct it with the other features. Labels are divided by what their cut
made of its starting points, so that a good quarter is not taken for the worth of a customer, and no label counts more
than `label_cap` times its starting point, so that a single large order does not lead the trees. Whether the trees are
used is settled on the newest cuts. They move value among customers; the total is that of the starting points at the
rate of the newest cuts and, where a year is known, as much that of last year's window. Rates are of purchases, not of
revenue, which one order may decide. The interval is that of what a customer like this may buy, corrected by what the
newest cuts did (`purchasing.interval`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from customer360.models import frames
from customer360.models.base import Evaluation, Model, Params, Progress, Snapshot, register
from customer360.models.lifecycle import evaluation
from customer360.models.outputs import PAYLOADS
from customer360.models.purchasing import interval, starts
from customer360.models.purchasing.interval import Interval
from customer360.models.purchasing.season import Clock
from customer360.models.purchasing.starts import EXPECTED, INPUTS, START, VALUE, Examples, Spending
from customer360.platform.errors import ModelError

if TYPE_CHECKING:
    import xgboost

LARGEST_SHARE = 0.02  # of a total, that one account may weigh in the level of all
LEAST_START = 0.1  # of a typical start, for the cap of labels: else a return from long silence would count nothing
TINY = 1e-3  # purchases, and orders of the mean start: keeps the logarithm of nothing expected finite
LEVEL_HALF_LIFE_DAYS = 90  # of what a cut made of its starting points
PRIOR_PURCHASES = 50.0  # beside those of all windows: levels of shops lie within a seventh of 1 or so
AVERAGED_ROWS, MOST_AVERAGED = 40_000, 8  # fewer rows: each round is the mean of so many trees
DECILES = 10
DAYS = "silver.subject_days"

Array = NDArray[np.float64]


class ClvParams(Params):
    """Parameters of the value model; the defaults were chosen on cuts of the public retail log up to 2011-03-15."""

    method: Literal["auto", "btyd", "boosted"] = "auto"
    horizon_days: int = Field(90, ge=1)
    active_within_days: int = Field(365, ge=1)
    min_history_days: int = Field(180, ge=0)
    cut_count: int = Field(13, ge=1)
    cut_step_days: int = Field(30, ge=1)
    label_cap: float = Field(5.0, gt=1, description="largest label in training, as a multiple of the starting point")
    rounds: int = Field(80, ge=1)
    max_depth: int = Field(3, ge=1)
    learning_rate: float = Field(0.03, gt=0)
    tweedie_power: float = Field(1.5, gt=1, lt=2)
    min_child_weight: float = Field(5.0, ge=0)
    subsample: float = Field(0.7, gt=0, le=1)
    colsample_bytree: float = Field(0.5, gt=0, le=1)
    reg_lambda: float = Field(5.0, ge=0)
    seed: int = 0
    threads: int = Field(1, ge=1, description="threads of XGBoost itself; small data gains nothing from more")
    reason_count: int = Field(3, ge=1)


@dataclass(frozen=True)
class ClvFitted:
    """A fitted value model. `booster` is None where the correction did not help; `unit` is the mean starting point in
    currency; `typical` the mean logarithm of expected purchases and of order value; `level` the total over that of the
    trees at `as_of`; `interval` what outcomes did around expected amounts.
    """

    params: ClvParams
    as_of: date
    spending: Spending
    booster: xgboost.Booster | None
    unit: float
    typical: tuple[float, float]
    level: float
    interval: Interval

    def save(self, directory: Path) -> None:
        """Write `model.ubj` (trees, where there are any) and `clv.json` (everything else)."""
        directory.mkdir(parents=True, exist_ok=True)
        if self.booster is not None:
            self.booster.save_model(directory / "model.ubj")
        rest = {
            "params": self.params.model_dump(),
            "as_of": self.as_of.isoformat(),
            "spending": self.spending.as_dict(),
            "unit": self.unit,
            "typical": list(self.typical),
            "level": self.level,
            "interval": self.interval.as_dict(),
        }
        (directory / "clv.json").write_text(json.dumps(rest, indent=1, sort_keys=True))


def load(directory: Path) -> ClvFitted:
    """Read what `ClvFitted.save` wrote."""
    import xgboost

    rest: dict[str, Any] = json.loads((directory / "clv.json").read_text())
    trees = directory / "model.ubj"
    return ClvFitted(
        params=ClvParams(**rest["params"]),
        as_of=date.fromisoformat(rest["as_of"]),
        spending=Spending.from_dict(rest["spending"]),
        booster=xgboost.Booster(model_file=str(trees)) if trees.exists() else None,
        unit=rest["unit"],
        typical=(rest["typical"][0], rest["typical"][1]),
        level=rest["level"],
        interval=interval.from_stored(rest["interval"]),
    )


def fit(snapshot: Snapshot, params: ClvParams, progress: Progress) -> ClvFitted:
    """Fit on all cuts whose outcome is known at `snapshot.as_of`. Raises ModelError when no cut fits or nobody buys."""
    days, horizon = frames.priced(snapshot[DAYS], snapshot.as_of), params.horizon_days
    first = frames.first_purchase_on(days)
    cuts = frames.cuts(first, snapshot.as_of, horizon, params.min_history_days, params.cut_count, params.cut_step_days)
    return fit_examples(starts.examples(days, snapshot.as_of, cuts, horizon, params.active_within_days), params)


def fit_examples(examples: Examples, params: ClvParams) -> ClvFitted:
    """Fit on pooled examples (`starts.examples`)."""
    rates = cut_rates(examples.past)
    frame = examples.past.filter(pl.col("as_of").is_in(list(rates)))
    unit = float(np.mean(frame[START].to_numpy()))
    rate = newest_rate(rates, params.horizon_days, float(frame["purchases"].sum()) / len(rates))
    judged = judge(frame, unit, params)
    boosted = params.method == "boosted" or (params.method == "auto" and judged.trees_help)
    booster = _boost(frame, unit, params) if boosted else None
    typical = _logs(frame, unit).mean(axis=0)
    current = examples.current.with_columns(corrected=pl.Series(_amount(booster, examples.current, unit, params)))
    return ClvFitted(
        params=params,
        as_of=examples.as_of,
        spending=examples.spending,
        booster=booster,
        unit=unit,
        typical=(float(typical[0]), float(typical[1])),
        level=_total_level(current, rate, examples),
        interval=interval.fit(
            judged.rows, judged.boosted if boosted else judged.start, judged.revenue, examples.spending
        ),
    )


def cut_rates(frame: pl.DataFrame) -> dict[date, float]:
    """Purchases over expected ones of each cut (`purchase_rate`). A cut whose customers bought nothing is left out.
    Raises ModelError when that leaves none.
    """
    ordered = frame.sort("as_of", maintain_order=True).partition_by("as_of", maintain_order=True)
    rates = {rows["as_of"][0]: starts.purchase_rate(rows) for rows in ordered if (rows["purchases"] > 0).any()}
    if not rates:
        raise ModelError(f"{frame.height} training rows hold no purchase")
    return rates


def newest_rate(rates: dict[date, float], horizon_days: int, purchases: float = np.inf) -> float:
    """Geometric mean of the cuts' rates, each weighing half of one that is `LEVEL_HALF_LIFE_DAYS` newer, drawn to 1 as
    far as the windows are few: of n that do not overlap, n / (n + 1) of its logarithm counts. One window is as much
    luck as level; and so are few `purchases` (of a mean cut), which `PRIOR_PURCHASES` stand beside.
    """
    newest, oldest = max(rates), min(rates)
    weights = [0.5 ** ((newest - cut).days / LEVEL_HALF_LIFE_DAYS) for cut in rates]
    windows = 1.0 + (newest - oldest).days / horizon_days
    kept = windows / (windows + 1.0) / (1.0 + PRIOR_PURCHASES / (purchases * windows))
    return float(np.exp(np.average(np.log(list(rates.values())), weights=weights) * kept))


def _total_level(current: pl.DataFrame, share: float, examples: Examples) -> float:
    """Factor from the corrected amounts of the population to its expected total. Capped labels shrink small amounts
    more than large ones: where the trees' own total is not taken whole, the largest accounts get what the others lost.
    """
    if current.is_empty():
        return share
    known = examples.last_year
    if known is not None and known.purchases > 0:
        share = float(np.sqrt(share * known.purchases / current[EXPECTED].to_numpy().sum()))
    return share * total_ratio(current[START].to_numpy(), current["corrected"].to_numpy())


def total_ratio(part: Array, whole: Array) -> float:
    """One total over another of the same customers, none of whom weighs more than `LARGEST_SHARE` of either: what one
    account does is no level of all others.
    """
    most = [LARGEST_SHARE * amounts.sum() / np.maximum(amounts, 1e-300) for amounts in (part, whole)]
    weight = np.minimum(1.0, np.minimum(*most))
    return float((part * weight).sum() / (whole * weight).sum())


@dataclass(frozen=True)
class Judged:
    """The newest cuts with their true totals: `revenue`, and amounts of the starting point and of trees that saw
    earlier windows only. `rows` are the examples themselves.
    """

    rows: pl.DataFrame
    revenue: Array
    start: Array
    boosted: Array

    @property
    def trees_help(self) -> bool:
        """The trees have the smaller absolute error."""
        return bool(np.abs(self.boosted - self.revenue).mean() < np.abs(self.start - self.revenue).mean())


def judge(frame: pl.DataFrame, unit: float, params: ClvParams) -> Judged:
    """Judge trees on the newest cuts, whose windows no training cut touches; where there is no earlier cut, on the rows
    that they learnt from.
    """
    last = frame["as_of"].max()
    border = last - timedelta(days=params.horizon_days)  # type: ignore[operator]
    learn, rows = frame.filter(pl.col("as_of") <= border), frame.filter(pl.col("as_of") > border)
    booster = _boost(frame if learn.is_empty() else learn, unit, params)
    revenue, start = (rows[name].to_numpy() for name in ("revenue", START))
    amounts = np.array([start, _amount(booster, rows, unit, params)])
    for cut in rows["as_of"].unique():
        # By numpy, in the order of the rows: Polars adds up a part a thread, and the last bit would tell how many.
        of = (rows["as_of"] == cut).to_numpy()
        amounts[:, of] *= revenue[of].sum() / amounts[:, of].sum(axis=1, keepdims=True)
    return Judged(rows, revenue, *amounts)


def score(fitted: ClvFitted, frame: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """Expected revenue, its interval and its reasons for rows of features (`frames.features`) taken at `as_of`; one row
    or millions.

    Returns `person_id`, `score` (currency, of the next `horizon_days`), `reasons`, `low`, `high` in the order of the
    rows. A contribution c means: times exp(c) against the typical customer of the training data. Those of
    `expected_purchases` and `expected_order_amount` include the starting point. Raises ModelError for a row without a
    purchase.
    """
    if frame["recency_days"].null_count():
        raise ModelError(f"{frame['recency_days'].null_count()} rows have no purchase: value needs a customer")
    params = fitted.params
    rows = starts.with_start(frame, fitted.spending, as_of, params.horizon_days)
    logs = _logs(rows, fitted.unit)
    contributions = np.zeros((rows.height, len(INPUTS) + 1))  # the last is the constant of the trees
    if fitted.booster is not None:
        contributions += fitted.booster.predict(_matrix(rows, params), pred_contribs=True).astype(np.float64)
    amount = np.exp(logs.sum(axis=1) + contributions.sum(axis=1)) * fitted.unit * fitted.level
    contributions[:, [INPUTS.index(EXPECTED), INPUTS.index(VALUE)]] += logs - np.array(fitted.typical)
    low, high = fitted.interval.of(rows, amount, fitted.spending)
    columns = {
        "person_id": rows["person_id"],
        "score": amount,
        "reasons": _reasons(rows, contributions[:, :-1], params.reason_count),
        "low": low,
        "high": high,
    }
    return pl.DataFrame(columns, schema_overrides=PAYLOADS["gold.predictions"])


def predict(fitted: ClvFitted, snapshot: Snapshot) -> pl.DataFrame:
    """Score the active population of a snapshot, sorted by person; nobody with an order whose amount is unknown."""
    days = frames.priced(snapshot[DAYS], snapshot.as_of)
    population = starts.population(days, snapshot.as_of, fitted.params.active_within_days)
    return score(fitted, population, snapshot.as_of)


def evaluate(fitted: ClvFitted, snapshot: Snapshot) -> Evaluation:
    """Judge a model fitted at `snapshot.as_of` on the window after it, beside three rules.

    Comparisons are of the absolute error of each person; `error_gain` is positive where the model's is smaller.
    """
    params = fitted.params
    days = frames.priced(snapshot[DAYS], snapshot.as_of + timedelta(days=params.horizon_days))
    frames.require_outcome(days, snapshot.as_of, params.horizon_days)
    frame = frames.examples(days, snapshot.as_of, params.horizon_days, params.active_within_days).collect()
    scored = score(fitted, frame, snapshot.as_of)
    revenue, amount = frame["revenue"].to_numpy(), scored["score"].to_numpy()
    metrics, verdicts = amount_metrics(revenue, amount) | decile_table(revenue, amount), {}
    inside = (revenue >= scored["low"].to_numpy()) & (revenue <= scored["high"].to_numpy())
    metrics |= {
        "row_count": float(frame.height),
        "boosted": float(fitted.booster is not None),
        "interval_coverage": float(inside.mean()),
        "interval_width": float((scored["high"] - scored["low"]).mean() / revenue.mean()),
    }
    metrics |= starts.parameters(days, fitted.as_of, fitted.spending)
    for name, baseline in baselines(days, frame, snapshot.as_of, params.horizon_days).items():
        metrics |= {f"{name}_{measure}": value for measure, value in amount_metrics(revenue, baseline).items()}
        gain = evaluation.compare_means(-np.abs(amount - revenue), -np.abs(baseline - revenue), params.seed)
        metrics |= {
            f"error_gain_over_{name}{end}": value
            for end, value in (("", gain.difference), ("_low", gain.low), ("_high", gain.high))
        }
        verdicts[f"error_over_{name}"] = gain.verdict
    rows = frame.select("person_id", truth="revenue").with_columns(score=pl.Series(amount))
    return Evaluation(metrics, verdicts, rows)


def baselines(days: pl.LazyFrame, frame: pl.DataFrame, as_of: date, horizon_days: int) -> dict[str, Array]:
    """Amounts of the rules to beat: own revenue a day times the horizon (a tenure counts at least one horizon), revenue
    of the last 90 days, and BG/NBD on calendar time with Gamma-Gamma.
    """
    rate = frame["gross_amount"] / frame["tenure_days"].clip(horizon_days)
    alone = starts.with_start(frame, starts.fit_plain(days, as_of, Clock(as_of)), as_of, horizon_days)[START]
    return {
        "rate": rate.to_numpy() * horizon_days,
        "last_90d": frame["gross_amount_90d"].to_numpy(),
        "btyd": alone.to_numpy(),
    }


def amount_metrics(truth: Array, amount: Array) -> dict[str, float]:
    """Mean absolute error, Spearman, normalized Gini (1 is the true order) and error of the total as a share of it."""
    from scipy.stats import spearmanr

    return {
        "mae": float(np.abs(amount - truth).mean()),
        "spearman": float(spearmanr(truth, amount).statistic),
        "gini": _concentration(truth, amount) / _concentration(truth, truth),
        "total_error": float(amount.sum() / truth.sum() - 1.0),
    }


def decile_table(truth: Array, amount: Array) -> dict[str, float]:
    """Mean amount and mean truth of each tenth by amount, the highest first, and `decile_error`: their mean difference,
    weighted by rows, over the mean truth.
    """
    tenths = np.array_split(np.argsort(-amount, kind="stable"), DECILES)
    found: dict[str, float] = {}
    gaps = 0.0
    for place, rows in enumerate(tenths, start=1):
        found |= {
            f"decile_{place:02}_amount": float(amount[rows].mean()),
            f"decile_{place:02}_truth": float(truth[rows].mean()),
        }
        gaps += abs(float(amount[rows].sum() - truth[rows].sum()))
    return found | {"decile_error": gaps / float(truth.sum())}


def _concentration(truth: Array, by: Array) -> float:
    """Area between the cumulated share of `truth`, taken in falling order of `by`, and the diagonal."""
    share = np.cumsum(truth[np.argsort(-by, kind="stable")]) / truth.sum()
    return float(share.mean() - (len(truth) + 1) / (2 * len(truth)))


def _logs(frame: pl.DataFrame, unit: float) -> Array:
    """Logarithms of expected purchases and of expected order value in units of `unit`; shape (n, 2). Their sum is the
    logarithm of the starting point.
    """
    parts = np.column_stack([frame[EXPECTED].to_numpy(), frame[VALUE].to_numpy() / unit])
    return np.log(np.maximum(parts, TINY))


def _matrix(frame: pl.DataFrame, params: ClvParams) -> xgboost.DMatrix:
    import xgboost

    values = frame.select(pl.col(INPUTS).cast(pl.Float32)).to_numpy()  # null becomes NaN: missing to XGBoost
    return xgboost.DMatrix(values, feature_names=list(INPUTS), nthread=params.threads)


def _boost(frame: pl.DataFrame, unit: float, params: ClvParams) -> xgboost.Booster:
    """Trees on labels in units of `unit`, divided by the rate of their cut, then capped."""
    import xgboost

    rate = pl.col("as_of").replace_strict(cut_rates(frame), return_dtype=pl.Float64)
    cap = params.label_cap * pl.max_horizontal(START, pl.lit(unit * LEAST_START))
    label = frame.select(pl.min_horizontal(pl.col("revenue") / rate, cap) / unit).to_series().to_numpy()
    matrix = _matrix(frame, params)
    matrix.set_label(label)
    matrix.set_base_margin(_logs(frame, unit).sum(axis=1))
    # Boosting is chaotic in few rows: one label more or less is another tree, and every later one. A mean is steady.
    averaged = int(np.clip(AVERAGED_ROWS // max(frame.height, 1), 1, MOST_AVERAGED))
    return xgboost.train(
        _booster_params(params) | {"num_parallel_tree": averaged}, matrix, num_boost_round=params.rounds
    )


def _amount(booster: xgboost.Booster | None, frame: pl.DataFrame, unit: float, params: ClvParams) -> Array:
    """Starting points, corrected by the trees if there are any, before the level."""
    margin = _logs(frame, unit).sum(axis=1)
    if booster is not None and frame.height:
        margin += booster.predict(_matrix(frame, params), output_margin=True).astype(np.float64)
    return np.exp(margin) * unit


def _booster_params(params: ClvParams) -> dict[str, Any]:
    return {
        "objective": "reg:tweedie",
        "tweedie_variance_power": params.tweedie_power,
        "base_score": 1.0,  # logarithm 0: the starting margin says it all
        "tree_method": "hist",
        "max_depth": params.max_depth,
        "eta": params.learning_rate,
        "min_child_weight": params.min_child_weight,
        "subsample": params.subsample,
        "colsample_bytree": params.colsample_bytree,
        "lambda": params.reg_lambda,
        "seed": params.seed,
        "nthread": params.threads,
    }


def _reasons(frame: pl.DataFrame, contributions: Array, count: int) -> pl.Series:
    """The `count` largest contributions of each row by size, as List(Struct(feature, value, contribution))."""
    top = np.argsort(-np.abs(contributions), axis=1, kind="stable")[:, :count]
    rows = np.arange(len(contributions))[:, None]
    values = frame.select(pl.col(INPUTS).cast(pl.Float64)).to_numpy()[rows, top]
    columns = {
        "feature": np.array(INPUTS, dtype=object)[top].ravel().tolist(),
        "value": pl.Series(values.ravel()).fill_nan(None),
        "contribution": contributions[rows, top].ravel(),
    }
    return pl.DataFrame(columns).to_struct("reasons").reshape((-1, top.shape[1])).arr.to_list()


MODEL = register(
    Model(
        name="clv",
        target="revenue_90d",
        output="gold.predictions",
        tables=(DAYS,),
        inputs=pl.Schema({"person_id": pl.String} | dict.fromkeys(frames.FEATURES, pl.Float64)),
        params=ClvParams,
        fit=fit,
        predict=predict,
        evaluate=evaluate,
        load=load,
        score=score,
        training_cuts=1,
        backend="xgboost",
    )
)
