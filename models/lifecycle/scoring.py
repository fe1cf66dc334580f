"""Batch scores: one producer a model, which fills its part of the long table that its output belongs to.

Registering a model is enough to get its part of ``gold.predictions``, ``gold.recommendations`` or
``gold.category_scores`` (`outputs`), scored by its champion and redone when the champion, its inputs or the date
change.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl

from customer360.models.base import MODELS, Model, Snapshot, predictions
from customer360.models.lifecycle import content
from customer360.models.lifecycle.job import denying, left_out, needs, registered
from customer360.models.outputs import COLUMNS, Output
from customer360.platform import graph, tables, telemetry
from customer360.platform.errors import ModelError
from customer360.platform.graph import produces
from customer360.platform.run.planning import Context


def declare_scorers() -> None:
    """One producer a registered model that fills a table. Called once, after all model modules are loaded."""
    for model in MODELS.values():
        if model.output is not None:
            _declare(model, model.output)


def _declare(model: Model[Any, Any], output: Output) -> None:
    contract = tables.by_name(output)

    def version(context: Context) -> str:
        """Of the champion, of the code that scores, and of who is left out: no input names all of them."""
        code = graph.code_fingerprint(model.predict, [contract])
        firms = content.of_firms(left_out(context.lake, model, fitting=False))
        return f"{registered(context.settings).champion_version(model.name)}:{code}" + (f":{firms}" if firms else "")

    def score(context: Context, *frames: pl.LazyFrame) -> pl.LazyFrame:
        champion = registered(context.settings).load_champion(model.name)
        if champion is None:
            telemetry.event(f"no champion of {model.name} yet; `customer360 train {model.name}` makes one")
            return contract.create_empty(lazy=True).select(COLUMNS[output])
        if context.as_of is None:
            raise ModelError(f"{model.name} is scored as of a date, and the run has none")
        fitted, champion_version = champion
        without = left_out(context.lake, model, fitting=False)
        people = (content.without(frame, without) for frame in frames)
        snapshot = Snapshot(dict(zip(model.tables, people, strict=True)), context.as_of)
        if withheld := denying(context.lake, model, fitting=False):
            said = " or ".join(sorted(needs(model, fitting=False))).lower()
            telemetry.event(f"{model.name}: {len(withheld):,} people withheld: {said} refused")
        return predictions(model, fitted, snapshot, champion_version, datetime.now(UTC)).lazy()

    score.__qualname__ = f"score_{model.name}"
    produces(contract, inputs=model.tables, part=("model", model.name), dated=True, version=version)(score)
