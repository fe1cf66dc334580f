"""Batch scores: three long tables that models share, and one producer a model that fills its part of them.

A new model needs no new table (law 11): registering it is enough to get its part of ``gold.predictions``,
``gold.recommendations`` or ``gold.category_scores``, scored by its champion and redone when the champion, its inputs or the date change.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl

from customer360.models.base import COLUMNS, MODELS, Model, Snapshot, predictions
from customer360.models.lifecycle.train import registry_of
from customer360.platform import graph, tables, telemetry
from customer360.platform.errors import ModelError
from customer360.platform.graph import produces
from customer360.platform.run.planning import Context
from customer360.platform.tables import Date, Float, Integer, List, String, Struct, Table, Timestamp


class Predictions(
    Table, table="gold.predictions", per="person_id", partition_by=("model", "as_of"), sort_by=("person_id",)
):
    """One row per person, model and as_of date: a score with its reasons."""

    person_id = String(primary_key=True)
    model = String(primary_key=True)
    version = String()
    target = String(description="What the score is the probability or amount of")
    score = Float()
    reasons = List(Struct({"feature": String(), "value": Float(nullable=True), "contribution": Float()}), nullable=True)
    scored_at = Timestamp()
    as_of = Date(primary_key=True)
    low = Float(nullable=True, description="Lower end of the score's interval, where the model states one")
    high = Float(nullable=True, description="Upper end; clv: 80 % of outcomes lie between")


class Recommendations(
    Table,
    table="gold.recommendations",
    per="person_id",
    partition_by=("model", "as_of"),
    sort_by=("person_id", "mode", "rank"),
):
    """One row per person, model, mode and rank: a recommended product."""

    person_id = String(primary_key=True)
    rank = Integer(primary_key=True, min=1)
    product_id = String()
    score = Float()
    model = String(primary_key=True)
    version = String()
    mode = String(primary_key=True, description="new: never bought before; all: repurchases included")
    as_of = Date(primary_key=True)


class CategoryScores(
    Table, table="gold.category_scores", per="person_id", partition_by=("model", "as_of"), sort_by=("person_id", "rank")
):
    """One row per person, category, model and as_of date: a score of the person for the category."""

    person_id = String(primary_key=True)
    category = String(primary_key=True)
    rank = Integer(min=1, description="1: the person's highest score")
    score = Float()
    lift = Float(description="Score over the mean score of all persons for the category")
    model = String(primary_key=True)
    version = String()
    target = String(description="What the score is the probability of")
    scored_at = Timestamp()
    as_of = Date(primary_key=True)


def declare_scorers() -> None:
    """One producer a registered model. Called once, after all model modules are loaded."""
    for model in MODELS.values():
        _declare(model)


def _declare(model: Model[Any, Any]) -> None:
    contract = tables.by_name(model.output)

    def version(context: Context) -> str:
        """Of the champion and of the code that scores."""
        code = graph.code_fingerprint(model.predict, [contract])
        return f"{registry_of(context.settings).champion_version(model.name)}:{code}"

    def score(context: Context, *frames: pl.LazyFrame) -> pl.LazyFrame:
        champion = registry_of(context.settings).load_champion(model.name)
        if champion is None:
            telemetry.event(f"no champion of {model.name} yet; `customer360 train {model.name}` makes one")
            return contract.create_empty(lazy=True).select(COLUMNS[model.output])
        if context.as_of is None:
            raise ModelError(f"{model.name} is scored as of a date, and the run has none")
        fitted, champion_version = champion
        snapshot = Snapshot(dict(zip(model.tables, frames, strict=True)), context.as_of)
        return predictions(model, fitted, snapshot, champion_version, datetime.now(UTC)).lazy()

    score.__qualname__ = f"score_{model.name}"
    produces(contract, inputs=model.tables, part=("model", model.name), dated=True, version=version)(score)
