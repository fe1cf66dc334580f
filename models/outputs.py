"""What models write: three long tables that all of them share, so that a new model needs no new table.

A model's `predict` returns its `PAYLOADS`; `base.predictions` adds the stamps, which only the caller knows.
"""

from typing import Literal

import polars as pl

from customer360.platform import tables
from customer360.platform.tables import Date, Float, Integer, List, String, Struct, Table, Timestamp

Output = Literal["gold.predictions", "gold.recommendations", "gold.category_scores"]


class Predictions(
    Table,
    table="gold.predictions",
    per="person_id",
    partition_by=("model", "as_of"),
    sort_by=("person_id",),
    serves="PROFILING",
):
    """One row per person, model and as_of date: a score with its reasons."""

    person_id = String(primary_key=True)
    model = String(primary_key=True, description="Name in the registry")
    version = String(description="Of the model, in the registry")
    target = String(description="What the score is the probability or amount of")
    score = Float(description="What target names")
    reasons = List(
        Struct({"feature": String(), "value": Float(nullable=True), "contribution": Float()}),
        nullable=True,
        description="What moved the score most, the strongest first; of segments the persona, and what sets it apart",
    )
    scored_at = Timestamp(description="When it was computed")
    as_of = Date(primary_key=True)
    low = Float(nullable=True, description="Lower end of the score's interval, where the model states one")
    high = Float(nullable=True, description="Upper end; clv: 80 % of outcomes lie between")


class Recommendations(
    Table,
    table="gold.recommendations",
    per="person_id",
    partition_by=("model", "as_of"),
    sort_by=("person_id", "mode", "rank"),
    serves="PERSONALIZATION",
):
    """One row per person, model, mode and rank: a recommended product."""

    person_id = String(primary_key=True)
    rank = Integer(primary_key=True, min=1, description="1: shown first")
    product_id = String()
    score = Float(description="Of the model")
    model = String(primary_key=True, description="Name in the registry")
    version = String(description="Of the model, in the registry")
    mode = String(primary_key=True, description="new: never bought before; all: repurchases included")
    as_of = Date(primary_key=True)


class CategoryScores(
    Table,
    table="gold.category_scores",
    per="person_id",
    partition_by=("model", "as_of"),
    sort_by=("person_id", "rank"),
    serves="PROFILING",
):
    """One row per person, category, model and as_of date: a score of the person for the category."""

    person_id = String(primary_key=True)
    category = String(primary_key=True, description="Of the products")
    rank = Integer(min=1, description="1: the person's highest score")
    score = Float(description="What target names")
    lift = Float(description="Score over the mean score of all persons for the category")
    model = String(primary_key=True, description="Name in the registry")
    version = String(description="Of the model, in the registry")
    target = String(description="What the score is the probability of")
    scored_at = Timestamp(description="When it was computed")
    as_of = Date(primary_key=True)


_STAMPS = frozenset({"model", "version", "target", "scored_at", "as_of"})
_INTERVAL = ("low", "high")
_SCHEMAS = {tables.spec(each).name: tables.schema(each) for each in (Predictions, Recommendations, CategoryScores)}

COLUMNS: dict[str, tuple[str, ...]] = {name: tuple(schema) for name, schema in _SCHEMAS.items()}
PAYLOADS: dict[str, pl.Schema] = {
    name: pl.Schema({c: kind for c, kind in schema.items() if c not in (*_STAMPS, *_INTERVAL)})
    for name, schema in _SCHEMAS.items()
}
# Beside the payload of `gold.predictions`, where a model states an interval of its score.
INTERVAL = pl.Schema({name: _SCHEMAS["gold.predictions"][name] for name in _INTERVAL})
