"""Train models and score with them."""

from __future__ import annotations

from typing import Annotated

import typer

from customer360.serve.cli.options import AsOfOption, ConfigOption, configured, day

app = typer.Typer()


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="churn, item_to_item, or all")] = "all",
    as_of: AsOfOption = None,
    config: ConfigOption = None,
) -> None:
    """Train on the past of the lake, judge on the last known window, register in MLflow; the first is champion."""
    from customer360.serve import jobs

    settings = configured(config)
    jobs.train(settings, model, day(as_of))


@app.command()
def score(as_of: AsOfOption = None, config: ConfigOption = None) -> None:
    """Score with the champions and rebuild what shows the scores."""
    from customer360.serve import jobs, report

    settings = configured(config)
    record = jobs.run_pipeline(settings, start="gold", as_of=day(as_of), command="score")
    report.run_summary(settings, record)
    jobs.publish(settings)
