"""Customer value: revenue of the next 90 days, in the lake's currency, of every customer active within a year.

BG/NBD gives expected purchases and Gamma-Gamma the expected value of one; their product is the starting point. Few
shallow Tweedie trees correct it with the other features. The season of a cut is one factor, revenue over starting point
of everybody but the largest accounts: labels are divided by it, so that the season is not taken for the worth of a
customer, and no label counts more than `label_cap` times its starting point, so that a single large order does not lead
the trees. Whether the trees are used is settled on the last training cut. They move value among customers; the total,
again without the largest, is that of the starting points, times the factor of the cut about a year before the scored date, or of all cuts where the
data hold no such cut.
"""

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import xgboost
from numpy.typing import NDArray
from pydantic import Field
from scipy.stats import spearmanr

from customer360.models import btyd, evaluation, frames
from customer360.models.base import PAYLOADS, Evaluation, Model, Params, Progress, Snapshot, register
from customer360.models.btyd import BetaGeometric, GammaGamma
from customer360.platform.errors import ModelError

EXPECTED, VALUE, START = "expected_purchases", "expected_order_amount", "start_amount"
INPUTS = (*frames.FEATURES, EXPECTED, VALUE)
WHOLESALE_SHARE = 0.01  # of customers, by starting point: a third of the revenue here, whose luck is not the season's
YEAR_DAYS, SEASON_SLACK_DAYS = 365, 30
LEAST_START = 0.1  # of a typical start, for the cap of labels: else a return from long silence would count nothing
TINY = 1e-3  # purchases, and orders of the mean start: keeps the logarithm of nothing expected finite
DECILES = 10
DAYS = "silver.subject_days"

Array = NDArray[np.float64]


class ClvParams(Params):
    """Parameters of the value model; the defaults were chosen on cuts of the public retail log before 2011-06-13."""

    method: Literal["auto", "btyd", "boosted"] = "auto"
    horizon_days: int = Field(90, ge=1)
    active_within_days: int = Field(365, ge=1)
    min_history_days: int = Field(180, ge=0)
    cut_count: int = Field(4, ge=1)
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
class Spending:
    """How often and for how much customers buy, as of one date."""

    purchases: BetaGeometric
    values: GammaGamma


@dataclass(frozen=True)
class ClvFitted:
    """A fitted value model. `booster` is None where the correction did not help; `unit` is the mean starting point in
    currency; `typical` the mean logarithm of expected purchases and of order value; `level` the total of the starting
    points over that of the trees at `as_of`; `factor` and `seasons` (by training cut) revenue over starting point; all
    three without the largest accounts.
    """

    params: ClvParams
    as_of: date
    spending: Spending
    booster: xgboost.Booster | None
    unit: float
    typical: tuple[float, float]
    level: float
    factor: float
    seasons: dict[str, float]

    def save(self, directory: Path) -> None:
        """Write `model.ubj` (trees, where there are any) and `clv.json` (everything else)."""
        directory.mkdir(parents=True, exist_ok=True)
        if self.booster is not None:
            self.booster.save_model(directory / "model.ubj")
        rest = {
            "params": self.params.model_dump(),
            "as_of": self.as_of.isoformat(),
            "purchases": self.spending.purchases.as_dict(),
            "values": self.spending.values.as_dict(),
            "unit": self.unit,
            "typical": list(self.typical),
            "level": self.level,
            "factor": self.factor,
            "seasons": self.seasons,
        }
        (directory / "clv.json").write_text(json.dumps(rest, indent=1, sort_keys=True))

    def factor_at(self, as_of: date) -> float:
        """The factor of the training cut about a year before `as_of` if there is one, else that of all cuts."""
        for cut, factor in self.seasons.items():
            if abs((as_of - date.fromisoformat(cut)).days - YEAR_DAYS) <= SEASON_SLACK_DAYS:
                return factor
        return self.factor


def load(directory: Path) -> ClvFitted:
    """Read what `ClvFitted.save` wrote."""
    rest: dict[str, Any] = json.loads((directory / "clv.json").read_text())
    trees = directory / "model.ubj"
    return ClvFitted(
        params=ClvParams(**rest["params"]),
        as_of=date.fromisoformat(rest["as_of"]),
        spending=Spending(BetaGeometric(**rest["purchases"]), GammaGamma(**rest["values"])),
        booster=xgboost.Booster(model_file=str(trees)) if trees.exists() else None,
        unit=rest["unit"],
        typical=(rest["typical"][0], rest["typical"][1]),
        level=rest["level"],
        factor=rest["factor"],
        seasons=rest["seasons"],
    )


def fit_spending(days: pl.LazyFrame, as_of: date) -> Spending:
    """BG/NBD over every customer who bought before `as_of`, Gamma-Gamma over those of them who came back."""
    columns = ["purchase_day_count", "recency_days", "tenure_days", "gross_amount"]
    known = frames.features(days, as_of).filter(pl.col("purchase_day_count") > 0).select(columns).collect()
    repeaters = known.filter(pl.col("purchase_day_count") > 1, pl.col("gross_amount") > 0)
    return Spending(btyd.fit(*btyd.summary(known)), btyd.fit_value(*_orders(repeaters)))


def with_start(frame: pl.DataFrame, spending: Spending, horizon_days: int) -> pl.DataFrame:
    """Add `expected_purchases` of the next `horizon_days`, `expected_order_amount` and their product `start_amount`."""
    expected = btyd.expected_purchases(spending.purchases, *btyd.summary(frame), horizon_days)
    value = btyd.expected_value(spending.values, *_orders(frame))
    return frame.with_columns(
        pl.Series(EXPECTED, expected), pl.Series(VALUE, value), pl.Series(START, expected * value)
    )


def training_frame(days: pl.LazyFrame, at: list[date], params: ClvParams) -> pl.DataFrame:
    """Pooled examples of the cuts with their starting points, each from the past of its own cut; one row per person and
    cut.
    """
    horizon, active = params.horizon_days, params.active_within_days
    return pl.concat(
        with_start(frames.examples(days, cut, horizon, active).collect(), fit_spending(days, cut), horizon)
        for cut in sorted(at)
    )


def fit(snapshot: Snapshot, params: ClvParams, progress: Progress) -> ClvFitted:
    """Fit on all cuts whose outcome is known at `snapshot.as_of`. Raises ModelError when no cut fits or nobody buys."""
    days = snapshot[DAYS]
    at = frames.cuts(
        frames.first_purchase_on(days), snapshot.as_of, params.horizon_days, params.min_history_days, params.cut_count
    )
    spending = fit_spending(days, snapshot.as_of)
    current = with_start(_active(snapshot, params), spending, params.horizon_days)
    return fit_frame(training_frame(days, at, params), current, spending, snapshot.as_of, params)


def fit_frame(
    frame: pl.DataFrame, current: pl.DataFrame, spending: Spending, as_of: date, params: ClvParams
) -> ClvFitted:
    """Fit on a training frame (`training_frame`); `spending` is what scoring will use, `current` the population at
    `as_of` with starting points from it.
    """
    seasons, factor = season_factors(frame)
    frame = frame.filter(pl.col("as_of").cast(pl.String).is_in(list(seasons)))
    unit = float(np.mean(frame[START].to_numpy()))
    boosted = params.method == "boosted" or (params.method == "auto" and correction_helps(frame, unit, params))
    booster = _boost(frame, unit, params) if boosted else None
    typical = _logs(frame, unit).mean(axis=0)
    moved = current.with_columns(corrected=pl.Series(_amount(booster, current, unit, params))).filter(_ordinary())
    return ClvFitted(
        params=params,
        as_of=as_of,
        spending=spending,
        booster=booster,
        unit=unit,
        typical=(float(typical[0]), float(typical[1])),
        level=_ratio(moved[START], moved["corrected"]) if moved.height else 1.0,
        factor=factor,
        seasons=seasons,
    )


def season_factors(frame: pl.DataFrame) -> tuple[dict[str, float], float]:
    """Revenue over starting point of each cut, and of all: everybody but the `WHOLESALE_SHARE` with the highest
    starting points. A cut whose customers bought nothing is left out. Raises ModelError when that leaves none.
    """
    sums = (
        frame.filter(_ordinary().over("as_of"))
        .group_by("as_of")
        .agg(pl.col("revenue", START).sum())
        .filter(pl.col("revenue") > 0)
        .sort("as_of")
    )
    if sums.is_empty():
        raise ModelError(f"{frame.height} training rows hold no revenue")
    factors = (sums["revenue"] / sums[START]).to_list()
    seasons = {cut.isoformat(): factor for cut, factor in zip(sums["as_of"], factors, strict=True)}
    return seasons, _ratio(sums["revenue"], sums[START])


def _ratio(part: pl.Series, whole: pl.Series) -> float:
    return float(part.to_numpy().sum() / whole.to_numpy().sum())


def _ordinary() -> pl.Expr:
    """Everybody but the `WHOLESALE_SHARE` with the highest starting points."""
    return pl.col(START).rank("ordinal", descending=True) > WHOLESALE_SHARE * pl.len()


def correction_helps(frame: pl.DataFrame, unit: float, params: ClvParams) -> bool:
    """Trees of the earlier cuts have a smaller absolute error on the last cut than the starting point has, both brought
    to its true total; True where there is one cut only.
    """
    last = frame["as_of"].max()
    learn, judge = frame.filter(pl.col("as_of") < last), frame.filter(pl.col("as_of") == last)
    revenue = judge["revenue"].to_numpy()
    if learn.is_empty():
        return True

    def error(score: Array) -> float:
        return float(np.abs(score * revenue.sum() / score.sum() - revenue).mean())

    return error(_amount(_boost(learn, unit, params), judge, unit, params)) < error(judge[START].to_numpy())


def score(fitted: ClvFitted, frame: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """Expected revenue and its reasons for rows of features (`frames.features`) taken at `as_of`; one row or millions.

    Returns `person_id`, `score` (currency, of the next `horizon_days`), `reasons` in the order of the rows. A
    contribution c means: times exp(c) against the typical customer of the training data. Those of `expected_purchases`
    and `expected_order_amount` include the starting point. Raises ModelError for a row without a purchase.
    """
    if frame["recency_days"].null_count():
        raise ModelError(f"{frame['recency_days'].null_count()} rows have no purchase: value needs a customer")
    params = fitted.params
    rows = with_start(frame, fitted.spending, params.horizon_days)
    logs = _logs(rows, fitted.unit)
    contributions = np.zeros((rows.height, len(INPUTS) + 1))  # the last is the constant of the trees
    if fitted.booster is not None:
        contributions += fitted.booster.predict(_matrix(rows, params), pred_contribs=True).astype(np.float64)
    amount = np.exp(logs.sum(axis=1) + contributions.sum(axis=1)) * fitted.unit
    contributions[:, [INPUTS.index(EXPECTED), INPUTS.index(VALUE)]] += logs - np.array(fitted.typical)
    columns = {
        "person_id": rows["person_id"],
        "score": amount * (fitted.level * fitted.factor_at(as_of)),
        "reasons": _reasons(rows, contributions[:, :-1], params.reason_count),
    }
    return pl.DataFrame(columns).cast(PAYLOADS["gold.predictions"])


def predict(fitted: ClvFitted, snapshot: Snapshot) -> pl.DataFrame:
    """Score the active population of a snapshot, sorted by person."""
    return score(fitted, _active(snapshot, fitted.params), snapshot.as_of)


def evaluate(fitted: ClvFitted, snapshot: Snapshot) -> Evaluation:
    """Judge a model fitted at `snapshot.as_of` on the window after it, beside three rules.

    Comparisons are of the absolute error of each person; `error_gain` is positive where the model's is smaller.
    """
    days, params = snapshot[DAYS], fitted.params
    frames.require_outcome(days, snapshot.as_of, params.horizon_days)
    frame = frames.examples(days, snapshot.as_of, params.horizon_days, params.active_within_days).collect()
    revenue, amount = frame["revenue"].to_numpy(), score(fitted, frame, snapshot.as_of)["score"].to_numpy()
    metrics, verdicts = amount_metrics(revenue, amount) | decile_table(revenue, amount), {}
    metrics |= {"row_count": float(frame.height), "boosted": float(fitted.booster is not None)}
    for name, baseline in baselines(fitted, frame).items():
        metrics |= {f"{name}_{measure}": value for measure, value in amount_metrics(revenue, baseline).items()}
        gain = evaluation.compare_means(-np.abs(amount - revenue), -np.abs(baseline - revenue), params.seed)
        metrics |= {f"error_gain_over_{name}{end}": value for end, value in
                    (("", gain.difference), ("_low", gain.low), ("_high", gain.high))}  # fmt: skip
        verdicts[f"error_over_{name}"] = gain.verdict
    rows = frame.select("person_id", truth="revenue").with_columns(score=pl.Series(amount))
    return Evaluation(metrics, verdicts, rows)


def baselines(fitted: ClvFitted, frame: pl.DataFrame) -> dict[str, Array]:
    """Amounts of the rules to beat: own revenue a day times the horizon (a tenure counts at least one horizon), revenue
    of the last 90 days, and BG/NBD with Gamma-Gamma alone.
    """
    horizon = fitted.params.horizon_days
    rate = frame["gross_amount"] / frame["tenure_days"].clip(horizon)
    alone = with_start(frame, fitted.spending, horizon)[START]
    return {
        "rate": rate.to_numpy() * horizon,
        "last_90d": frame["gross_amount_90d"].to_numpy(),
        "btyd": alone.to_numpy(),
    }


def amount_metrics(truth: Array, amount: Array) -> dict[str, float]:
    """Mean absolute error, Spearman, normalized Gini (1 is the true order) and error of the total as a share of it."""
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


def _active(snapshot: Snapshot, params: ClvParams) -> pl.DataFrame:
    """Features of the population of a snapshot, sorted by person."""
    active = frames.population(snapshot[DAYS], snapshot.as_of, params.active_within_days)
    return active.join(frames.features(snapshot[DAYS], snapshot.as_of), on="person_id").sort("person_id").collect()


def _orders(frame: pl.DataFrame) -> tuple[Array, Array]:
    """Purchase days and mean revenue of one, per row. A customer with free orders only has a mean of 0."""
    count = frame["purchase_day_count"].to_numpy()
    return count, frame["gross_amount"].to_numpy() / count


def _logs(frame: pl.DataFrame, unit: float) -> Array:
    """Logarithms of expected purchases and of expected order value in units of `unit`; shape (n, 2). Their sum is the
    logarithm of the starting point.
    """
    parts = np.column_stack([frame[EXPECTED].to_numpy(), frame[VALUE].to_numpy() / unit])
    return np.log(np.maximum(parts, TINY))


def _matrix(frame: pl.DataFrame, params: ClvParams) -> xgboost.DMatrix:
    values = frame.select(pl.col(INPUTS).cast(pl.Float32)).to_numpy()  # null becomes NaN: missing to XGBoost
    return xgboost.DMatrix(values, feature_names=list(INPUTS), nthread=params.threads)


def _boost(frame: pl.DataFrame, unit: float, params: ClvParams) -> xgboost.Booster:
    """Trees on labels in units of `unit`, divided by the season of their cut, then capped."""
    seasons, _ = season_factors(frame)
    season = pl.col("as_of").cast(pl.String).replace_strict(seasons, return_dtype=pl.Float64)
    cap = params.label_cap * pl.max_horizontal(START, pl.lit(unit * LEAST_START))
    label = frame.select(pl.min_horizontal(pl.col("revenue") / season, cap) / unit).to_series().to_numpy()
    matrix = _matrix(frame, params)
    matrix.set_label(label)
    matrix.set_base_margin(_logs(frame, unit).sum(axis=1))
    return xgboost.train(_booster_params(params), matrix, num_boost_round=params.rounds)


def _amount(booster: xgboost.Booster | None, frame: pl.DataFrame, unit: float, params: ClvParams) -> Array:
    """Starting points, corrected by the trees if there are any, before level and season."""
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
        backend="xgboost",
    )
)
