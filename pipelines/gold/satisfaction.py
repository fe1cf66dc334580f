"""What satisfaction with support goes with: a regression on how tickets went."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from customer360.pipelines.inference.comparisons import holm, t_interval, t_p_value
from customer360.pipelines.inference.verdicts import NO_EFFECT_SHOWN, NO_VARIATION, NOT_ENOUGH_EVIDENCE
from customer360.pipelines.rules.service import ServiceRules
from customer360.platform.graph import builds
from customer360.platform.tables import Date, Float, Integer, OneOf, String, Table

TICKETS_A_DRIVER = 10  # that a regression needs at least
LEAST_OF_A_KIND = 10  # tickets of a channel or category with a driver of its own
NUMBERS = {
    "response_time": "each doubling of the open minutes to the first answer",
    "resolution_time": "each doubling of the open minutes to the resolution",
    "contacts": "each contact after the first",
    "reopened": "reopened or not",
    "escalated": "escalated or not",
}
VERDICTS = ("RAISES", "LOWERS", NO_EFFECT_SHOWN, NOT_ENOUGH_EVIDENCE, NO_VARIATION)


class SatisfactionDrivers(
    Table, table="gold.satisfaction_drivers", partition_by=("as_of",), sort_by=("driver", "value")
):
    """One row per driver and as_of date: by how much satisfaction (1 to 5) differs with it, the others being equal.

    Least squares over the rated tickets of the rule file's window, with errors that hold for unequal variances (HC3;
    MacKinnon and White 1985). It says what goes together: whoever waits long may also have the harder question.
    """

    as_of = Date(primary_key=True)
    driver = String(primary_key=True, description="; ".join(f"{k}: {v}" for k, v in NUMBERS.items())
                    + "; category, channel: against the most frequent one")  # fmt: skip
    value = String(primary_key=True, description="Of a category or channel; else empty")
    ticket_count = Integer(description="Rated tickets of the regression")
    effect = Float(nullable=True, description="Points of satisfaction; null: NOT_ENOUGH_EVIDENCE or NO_VARIATION")
    effect_low = Float(nullable=True, description="95 % interval, for this row alone")
    effect_high = Float(nullable=True)
    p_value = Float(nullable=True, description="Adjusted for all drivers (Holm)")
    verdict = OneOf(
        *VERDICTS,
        description=f"At the rule file's level; {NOT_ENOUGH_EVIDENCE}: tickets for so many drivers; {NO_VARIATION}:"
        " nothing to tell it by",
    )


@builds(SatisfactionDrivers, rules="service")
def satisfaction_drivers(gold_ticket_outcomes: pl.LazyFrame, as_of: date, params: ServiceRules) -> pl.LazyFrame:
    """One regression; what a ticket does not say (answer time, contacts) counts with the mean of those that do."""
    rated = gold_ticket_outcomes.filter(pl.col("satisfaction").is_not_null()).collect().sort("ticket_id")
    names, columns = _drivers(rated)
    design = np.column_stack([np.ones(len(rated)), *columns]) if len(rated) else np.ones((0, 1 + len(columns)))
    varies = [bool(len(c)) and float(np.ptp(c)) > 0 for c in columns]
    kept = _independent(design, [0, *(n + 1 for n, moves in enumerate(varies) if moves)])
    enough = len(rated) >= max(params.least_tickets, TICKETS_A_DRIVER * len(kept))
    effect, error = np.full(len(names), np.nan), np.full(len(names), np.nan)
    freedom = max(len(rated) - len(kept), 1)
    if enough:
        slopes, errors = _fit(design[:, kept], rated["satisfaction"].cast(pl.Float64).to_numpy())
        for place, column in enumerate(kept):
            if column:
                effect[column - 1], error[column - 1] = slopes[place], errors[place]
    p = holm(np.where(np.isnan(effect), np.nan, t_p_value(effect, error, np.array(freedom))))
    low, high = t_interval(effect, error, np.array(freedom))
    told = np.where(p < params.level, np.where(effect > 0, "RAISES", "LOWERS"), NO_EFFECT_SHOWN)
    verdict = np.where(np.isnan(effect), NO_VARIATION if enough else NOT_ENOUGH_EVIDENCE, told)
    return pl.LazyFrame(
        {"driver": [n for n, _ in names], "value": [v for _, v in names], "effect": effect, "effect_low": low,
         "effect_high": high, "p_value": p, "verdict": verdict.tolist()},
        schema_overrides={"driver": pl.String, "value": pl.String, "verdict": pl.String},
    ).with_columns(
        pl.col("effect", "effect_low", "effect_high", "p_value").fill_nan(None),
        as_of=pl.lit(as_of), ticket_count=pl.lit(len(rated), pl.Int64),
    ).select(list(SatisfactionDrivers.columns()))  # fmt: skip


def _drivers(rated: pl.DataFrame) -> tuple[list[tuple[str, str]], list[np.ndarray]]:
    """((driver, value), column [tickets]) of each."""
    plain = rated.select(
        response_time=_doublings("response_minutes"),
        resolution_time=_doublings("resolution_minutes"),
        contacts=_or_mean(pl.when(pl.col("contact_count") > 0).then(pl.col("contact_count") - 1)),
        reopened=pl.col("is_reopened").fill_null(False).cast(pl.Float64),
        escalated=_or_mean(pl.col("was_escalated")),
    )
    names, columns = [(n, "") for n in plain.columns], [c.to_numpy() for c in plain.get_columns()]
    for driver in ("category", "channel"):
        counts = rated[driver].drop_nulls().value_counts().sort("count", driver, descending=[True, False])
        for value in counts.filter(pl.col("count") >= LEAST_OF_A_KIND)[driver].to_list()[1:]:
            names.append((driver, value))
            columns.append((rated[driver] == value).fill_null(False).cast(pl.Float64).to_numpy())
    return names, columns


def _doublings(minutes: str) -> pl.Expr:
    return _or_mean((pl.col(minutes).cast(pl.Float64) + 1).log(2))


def _or_mean(told: pl.Expr) -> pl.Expr:
    numbers = told.cast(pl.Float64)
    return numbers.fill_null(numbers.mean()).fill_null(0.0)


def _independent(design: np.ndarray, wanted: list[int]) -> list[int]:
    """Columns that no combination of those before them makes up."""
    kept: list[int] = []
    basis = np.empty((len(design), 0))
    for column in wanted:
        rest = design[:, column] - basis @ (basis.T @ design[:, column])
        size = float(np.linalg.norm(rest))
        if size > 1e-9 * max(float(np.linalg.norm(design[:, column])), 1e-300):
            kept.append(column)
            basis = np.column_stack([basis, rest / size])
    return kept


def _fit(design: np.ndarray, outcome: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(slopes, HC3 errors) of each column."""
    inverse = np.linalg.inv(design.T @ design)
    slopes = inverse @ (design.T @ outcome)
    leverage = np.einsum("ij,jk,ik->i", design, inverse, design)
    weighed = design * ((outcome - design @ slopes) / np.maximum(1 - leverage, 1e-6))[:, None]
    return slopes, np.sqrt(np.diag(inverse @ (weighed.T @ weighed) @ inverse))
