"""Churn and value of the customers of one transaction file, learnt from the past of that file alone.

The models are those of the platform (`churn`, `clv`) over the same point-in-time features. How far each is trusted
against BG/NBD alone is settled by an inner time split: both are fitted as of one horizon before the date and judged on
what followed. A file too small or too short for that is scored by BG/NBD and Gamma-Gamma alone, or by purchase rates.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit, logit

from customer360.models import churn, clv, frames
from customer360.models.files import gaps
from customer360.models.files.transactions import Transactions, days
from customer360.models.lifecycle import evaluation
from customer360.models.purchasing import btyd, interval, outliers, season, starts
from customer360.models.purchasing.starts import QUIET, START, Examples
from customer360.platform.errors import ModelError

ACTIVE_WITHIN_DAYS = frames.ACTIVE_WITHIN_DAYS  # the models learn from customers who bought so recently
MIN_CUSTOMERS = 100  # below: no trees
HISTORY_DAYS = (180, 120, 90, 60)  # a cut needs so much data before it; less where the file is short
ENOUGH_CUTS = 4
MOST_CUTS = 13
DOUBTED = 2.0  # standard errors of a gain: one passes in every sixth shop of which nothing can be learnt
WEIGHTS = (1.0, 0.5, 0.0)  # of the model against BG/NBD
SAME = 0.02  # of the least loss: by so much more, a weight counts a third as much
SHORT_DAYS = 90  # window that sets the level of BG/NBD where no window of the whole horizon is known
SHORT_BUYERS = 50
JUDGED = 0.98  # of the customers: a larger error than their revenue counts as that, so that nobody settles it alone
LEVEL_BOUNDS = (2 / 3, 3 / 2)
CERTAIN = 1e-4
NAMED = 5  # outliers, the largest

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """`table`: customer_id, p_churn (no purchase within the horizon), clv (revenue of it), clv_low and clv_high (80 %
    of outcomes lie between); one row per customer with a purchase before the date. `notes`: what was chosen, and why.
    """

    table: pl.DataFrame
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Weights:
    """How far the model is trusted against BG/NBD, from 0 to 1."""

    churn: float = 1.0
    clv: float = 1.0


@dataclass(frozen=True)
class Estimate:
    """One row a customer: probability of no purchase, amount and its interval."""

    p_churn: Array
    amount: Array
    low: Array
    high: Array


def score(transactions: Transactions, as_of: date, horizon_days: int) -> Scores:
    """Score every customer with a purchase before `as_of`; rows on or after it are never read.

    Raises ModelError when nobody bought before the date, and where the file ends long before it.
    """
    _require_purchases(transactions.lines, as_of)
    open_ends = gaps.told(transactions.lines, as_of)
    past = frames.summable(days(transactions.lines.filter(pl.col("at").dt.date() < as_of))).collect().lazy()
    first = frames.first_purchase_on(past)
    tempered = outliers.temper(past, as_of)
    own = frames.summable(outliers.counted_as(past, tempered.found, "bound"))
    customers = frames.features(own, as_of).filter(pl.col("recency_days").is_not_null()).collect()
    notes = [
        *transactions.notes,
        f"{customers.height:,} customers with a purchase from {first} to {as_of}; horizon {horizon_days} days",
        *open_ends,
        *_told(tempered.found, past),
    ]
    ordinary = ~customers["person_id"].is_in(tempered.persons.implode()).to_numpy()
    estimate, reasons = _estimate(
        frames.summable(tempered.days).collect().lazy(), customers, ordinary, first, as_of, horizon_days
    )
    table = pl.DataFrame(
        {
            "customer_id": customers["person_id"].cast(transactions.customer_type),
            "p_churn": estimate.p_churn,
            "clv": estimate.amount,
            "clv_low": estimate.low,
            "clv_high": estimate.high,
        }
    )
    _require_finite(table)
    return Scores(table, (*notes, *reasons))


def _require_finite(table: pl.DataFrame) -> None:
    wrong = [c for c in table.columns[1:] if not table[c].is_finite().fill_null(False).all()]
    if wrong:
        raise ModelError(
            f"the scores of the file are no numbers ({', '.join(wrong)}): nothing is written; try another --horizon "
            "or --as-of"
        )


def _told(found: pl.DataFrame, past: pl.LazyFrame) -> list[str]:
    """Outliers by name, and what they would have done to the total."""
    if found.is_empty():
        return []
    total = past.select(pl.col("gross_amount").sum()).collect().item()
    without = total - float((found["amount"] - found["usual"]).sum())
    named = "; ".join(
        f"{row['person_id']} on {row['on']}: {row['amount']:,.2f}, usual is {row['usual']:,.2f}"
        for row in found.head(NAMED).iter_rows(named=True)
    )
    more = f"; and {found.height - NAMED:,} more" if found.height > NAMED else ""
    return [
        f"warning: {found.height:,} purchases are far above all that is usual ({named}{more}): kept out of the fit, "
        f"else the total of what was bought were {total / without:,.2f} times as large; correct them where they are "
        "mistyped"
    ]


def _require_purchases(lines: pl.DataFrame, as_of: date) -> None:
    sold = lines.filter(pl.col("amount") > 0)["at"].dt.date()
    if sold.is_empty():
        raise ModelError("no row of the file is a purchase: an amount above 0 is one, a return is below 0")
    first, last = (moment for moment in sold.sort().gather([0, -1]))
    if first >= as_of:
        raise ModelError(f"nobody bought before {as_of}: the purchases of the file run from {first} to {last}")


def _estimate(
    past: pl.LazyFrame,
    customers: pl.DataFrame,
    ordinary: NDArray[np.bool_],
    first: date,
    as_of: date,
    horizon: int,
) -> tuple[Estimate, list[str]]:
    cuts = _cuts(first, as_of, horizon)
    why = (
        f"fewer than {MIN_CUSTOMERS} customers"
        if customers.height < MIN_CUSTOMERS
        else f"no window of {horizon} days with enough history before it"
        if not cuts
        else ""
    )
    if not why and not _came_back(past, min(cuts)):
        why = f"nobody bought again before {min(cuts)}"
    if not why:
        examples = starts.examples(past, as_of, cuts, horizon, ACTIVE_WITHIN_DAYS)
        outcomes = examples.past["churned"]
        if outcomes.any() and not outcomes.all():
            return _modelled(past, examples, customers, ordinary, first, horizon)
        why = "all customers of the known windows did the same"
    try:
        return _by_btyd(past, customers, first, as_of, horizon, why)
    except ModelError as fault:
        return _by_rate(customers, horizon), [f"warning: {why}, and {fault}: scored by purchase rates"]


def _came_back(past: pl.LazyFrame, cut: date) -> bool:
    """Somebody bought on two days before a cut, so that what an order is worth can be learnt there."""
    bought = past.filter(pl.col("order_count") > 0, pl.col("on") < cut)
    return bool(bought.group_by("person_id").len().select((pl.col("len") > 1).any()).collect().item())


def _cuts(first: date, as_of: date, horizon: int) -> list[date]:
    """Training cuts with as much history as the file allows; none where it is too short."""
    found: list[date] = []
    step = min(30, max(7, horizon // 3))
    for history in HISTORY_DAYS:
        if len(found) >= ENOUGH_CUTS or history < min(HISTORY_DAYS[0], horizon // 3):
            break
        if first + timedelta(days=history + horizon) <= as_of:
            found = frames.cuts(first, as_of, horizon, history, MOST_CUTS, step)
    return found


def _fitted(examples: Examples, horizon: int) -> tuple[churn.ChurnFitted, clv.ClvFitted]:
    # One thread: a machine of one core would add in another order than one of two.
    shared = {"horizon_days": horizon, "active_within_days": ACTIVE_WITHIN_DAYS, "threads": 1}
    return (
        churn.fit_examples(examples, churn.ChurnParams.model_validate(shared)),
        clv.fit_examples(examples, clv.ClvParams.model_validate(shared | {"method": "boosted"})),
    )


def _modelled(
    past: pl.LazyFrame,
    examples: Examples,
    customers: pl.DataFrame,
    ordinary: NDArray[np.bool_],
    first: date,
    horizon: int,
) -> tuple[Estimate, list[str]]:
    """The platform's models, blended with BG/NBD as the inner split says."""
    as_of = examples.as_of
    weights, notes = _inner_split(past, first, as_of, horizon)
    clock = (
        "season time (paces of the last year, newest month first: "
        + " ".join(f"{pace:.2f}" for pace in examples.spending.clock.pace[: season.MONTHS])
        + ")"
        if examples.spending.clock.is_seasonal
        else "calendar time: no year of data, or no season in it"
    )
    notes = [
        f"learnt from {examples.past.height:,} rows of {examples.past['as_of'].n_unique()} cuts, the newest "
        f"{max(examples.past['as_of'].to_list())}; {clock}",
        *notes,
    ]
    fitted = _fitted(examples, horizon)
    active = customers.select("person_id").join(
        examples.current.select("person_id", active=True), on="person_id", how="left"
    )
    is_active = active["active"].fill_null(False).to_numpy()
    return _blend(fitted, customers, (is_active & ordinary, ~is_active & ordinary), as_of, weights), notes


def _blend(
    fitted: tuple[churn.ChurnFitted, clv.ClvFitted],
    frame: pl.DataFrame,
    groups: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    as_of: date,
    weights: Weights,
) -> Estimate:
    """Models and BG/NBD, weighted in log-odds and in logarithms; the level over the active customers, the first of the
    groups, is the models'. The trees have seen none of the silent ones, the second: their total is half the trees',
    half that of BG/NBD at the same level. Who is in neither sets no level: an account like no other.
    """
    active, silent = groups
    leaving, value = fitted
    rows = starts.with_start(frame, leaving.spending, as_of, leaving.params.horizon_days)
    p_model = churn.score(leaving, frame, as_of)["score"].to_numpy()
    scored = clv.score(value, frame, as_of)
    log_odds = _mixed(_log_odds(p_model), _plain_log_odds(leaving, rows), weights.churn)
    amount = np.exp(
        _mixed(np.log(scored["score"].to_numpy()), np.log(np.maximum(rows[START].to_numpy(), 1e-9)), weights.clv)
    )
    if weights.churn < 1 and active.any():
        log_odds = log_odds + churn.level(log_odds[active], float(p_model[active].mean()))
    if weights.clv < 1 and active.any():
        amount = amount * clv.total_ratio(scored["score"].to_numpy()[active], amount[active])
    if active.any() and silent.any():
        start = rows[START].to_numpy()
        level = clv.total_ratio(amount[active], start[active]) * clv.total_ratio(start[silent], amount[silent])
        amount = np.where(silent, amount * np.sqrt(level), amount)
    low, high = value.interval.of(rows, amount, value.spending)
    return Estimate(expit(log_odds), amount, low, high)


def _mixed(model: Array, plain: Array, weight: float) -> Array:
    return weight * model + (1.0 - weight) * plain


def _plain_log_odds(leaving: churn.ChurnFitted, rows: pl.DataFrame) -> Array:
    """Log-odds of no purchase in the order of BG/NBD's, as steep as outcomes were: what the model begins with. Steeper
    or flatter ones would be worse by their loss, and say nothing of the order.
    """
    steep = leaving.margin.weights[0] > 0
    return leaving.margin(rows, leaving.params.horizon_days) if steep else _log_odds(rows[QUIET].to_numpy())


def _log_odds(probability: Array) -> Array:
    return logit(np.clip(probability, CERTAIN, 1.0 - CERTAIN))


def _inner_split(past: pl.LazyFrame, first: date, as_of: date, horizon: int) -> tuple[Weights, list[str]]:
    """Fit as of one horizon before the date, judge on the window up to it. Candidates are compared at the true level:
    the level of one window is one observation, and not what tells them apart.
    """
    at = as_of - timedelta(days=horizon)
    cuts = _cuts(first, at, horizon)
    if not cuts or not _came_back(past, min(cuts)):
        return Weights(), [f"no inner split: the file is too short to judge a fit as of {at}; models taken unjudged"]
    examples = starts.examples(past, at, cuts, horizon, ACTIVE_WITHIN_DAYS)
    outcomes = examples.past["churned"]
    frame = frames.examples(past, at, horizon, ACTIVE_WITHIN_DAYS).collect()
    churned, revenue = frame["churned"].cast(pl.Float64).to_numpy(), frame["revenue"].to_numpy()
    if not (outcomes.any() and not outcomes.all() and 0 < churned.mean() < 1 and revenue.sum() > 0):
        return Weights(), [f"no inner split: all customers did the same around {at}; models taken unjudged"]
    fitted, everybody = _fitted(examples, horizon), (np.ones(frame.height, bool), np.zeros(frame.height, bool))
    worst = _worst(revenue)
    tried = {weight: _blend(fitted, frame, everybody, at, Weights(weight, weight)) for weight in WEIGHTS}

    def losses(weight: float) -> Array:
        log_odds = _log_odds(tried[weight].p_churn)
        probability = expit(log_odds + churn.level(log_odds, float(churned.mean())))
        return np.asarray(-np.where(churned == 1, np.log(probability), np.log1p(-probability)))

    def log_loss(weight: float) -> float:
        return float(losses(weight).mean())

    def error(weight: float) -> float:
        amount = tried[weight].amount
        missed = np.abs(amount * revenue.sum() / amount.sum() - revenue)
        return float(np.minimum(missed, worst).mean())

    weights = Weights(_trust(losses(0.0) - losses(1.0)), _balanced(error))
    final = _blend(fitted, frame, everybody, at, weights)
    return weights, _verdict(at, weights, log_loss, error, final, churned, revenue, frame.height)


def _worst(revenue: Array) -> float:
    """The revenue that few customers exceed; where few buy at all, of those who do."""
    worst = float(np.quantile(revenue, JUDGED))
    return worst if worst > 0 else float(np.quantile(revenue[revenue > 0], JUDGED))


def _trust(gains: Array) -> float:
    """How far a model that brings each customer such a gain is trusted: not at all up to `DOUBTED` standard errors of
    the mean, whole from one more on. Few customers cannot tell trees from luck, and the order of BG/NBD is good.
    """
    error = float(gains.std()) / np.sqrt(len(gains))
    return float(np.clip(gains.mean() / error - DOUBTED, 0.0, 1.0)) if error > 0 else 0.0


def _balanced(loss: Callable[[float], float]) -> float:
    """Mean of the weights tried, each counting by how near its loss is to the least: no loss decides by a hair."""
    losses = np.array([loss(weight) for weight in WEIGHTS])
    if losses.min() > 0:
        share = np.exp(-(losses / losses.min() - 1.0) / SAME)
    else:
        share = (losses == losses.min()).astype(np.float64)
    return float(np.average(WEIGHTS, weights=share))


def _verdict(
    at: date,
    weights: Weights,
    log_loss: Callable[[float], float],
    error: Callable[[float], float],
    final: Estimate,
    churned: Array,
    revenue: Array,
    count: int,
) -> list[str]:
    def listed(measure: Callable[[float], float], form: str) -> str:
        return ", ".join(f"{weight:g}: {measure(weight):{form}}" for weight in WEIGHTS)

    found = clv.amount_metrics(revenue, final.amount)
    inside = float(((revenue >= final.low) & (revenue <= final.high)).mean())
    return [
        f"inner split: {count:,} customers as of {at}, judged on the window after it",
        f"  churn: weight of the model against BG/NBD {weights.churn:.2f} by how sure the gain of its log loss at the "
        f"true level is "
        f"({listed(log_loss, '.4f')}); AUC {evaluation.auc(churned, final.p_churn):.3f}, "
        f"calibration error {evaluation.calibration_error(churned, final.p_churn):.3f}",
        f"  clv: weight of the model against BG/NBD and Gamma-Gamma {weights.clv:.2f} by absolute error at the true "
        f"total ({listed(error, '.1f')}); MAE {found['mae']:.1f}, Spearman {found['spearman']:.3f}, "
        f"total {found['total_error']:+.1%}, {inside:.0%} of outcomes inside the interval",
    ]


def _by_btyd(
    past: pl.LazyFrame, customers: pl.DataFrame, first: date, as_of: date, horizon: int, why: str
) -> tuple[Estimate, list[str]]:
    """BG/NBD and Gamma-Gamma alone, their level set by a shorter window where one is known."""
    clock = season.fit(past, as_of)
    spending = starts.fit(past, as_of, clock)
    rows = starts.with_start(customers, spending, as_of, horizon)
    log_odds, factor, note = _short_level(past, first, as_of, horizon, clock)
    x, last, age = starts.summary(rows, as_of, clock)
    window = float(clock.between(as_of, horizon))
    low, high = btyd.value_interval(
        spending.purchases, spending.values, (x, last, age), starts.orders(rows), window, interval.SHARE
    )
    amount = rows[START].to_numpy() * factor
    return Estimate(
        expit(_log_odds(rows[QUIET].to_numpy()) + log_odds),
        amount,
        np.minimum(low * factor, amount),
        np.maximum(high * factor, amount),
    ), [f"warning: {why}: scored by BG/NBD and Gamma-Gamma alone, intervals from their own distribution", note]


def _short_level(
    past: pl.LazyFrame, first: date, as_of: date, horizon: int, clock: season.Clock
) -> tuple[float, float, str]:
    """Half of the shift of log-odds, and the root of the factor of amounts, with which BG/NBD fits the last
    `SHORT_DAYS` before the date: one window is as much luck as level.
    """
    window = min(SHORT_DAYS, horizon, (as_of - first).days // 2)
    at = as_of - timedelta(days=max(window, 1))
    frame = frames.examples(past, at, window, ACTIVE_WITHIN_DAYS).collect()
    if (
        window < 1
        or frame.height == 0
        or (~frame["churned"]).sum() < SHORT_BUYERS
        or frame["churned"].sum() < SHORT_BUYERS
    ):
        return 0.0, 1.0, "level as BG/NBD has it: no window before the date has enough buyers to check it"
    rows = starts.with_start(frame, starts.fit(past.filter(pl.col("on") < at), at, clock), at, window)
    churned = frame["churned"].cast(pl.Float64).to_numpy()
    shift = churn.level(_log_odds(rows[QUIET].to_numpy()), float(churned.mean())) / 2.0
    factor = float(np.sqrt(np.clip(starts.purchase_rate(rows), *LEVEL_BOUNDS)))
    return (
        shift,
        factor,
        (f"level from the {window} days before the date: log-odds of churn {shift:+.2f}, amounts x {factor:.2f}"),
    )


def _by_rate(customers: pl.DataFrame, horizon: int) -> Estimate:
    """Own purchases a day, drawn towards those of all; the own mean amount of one."""
    count, mean = starts.orders(customers)
    age = customers["tenure_days"].to_numpy()
    overall = (float((count - 1.0).sum()) + 0.5) / max(float(age.sum()), 1.0)
    expected = (count - 1.0 + overall * age.mean()) / (age + age.mean()) * horizon
    amount = expected * mean
    return Estimate(np.exp(-expected), amount, np.zeros_like(amount), amount + 2.0 * mean * np.sqrt(expected))
