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
def tune(
    model: Annotated[str, typer.Argument(help="One model whose file has the sections search and objective")],
    trials: Annotated[int, typer.Option(min=2, help="The parameters in force are the first")] = 20,
    as_of: AsOfOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from where an equal search was broken off")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Use the best parameters from the next training on")] = False,
    config: ConfigOption = None,
) -> None:
    """Search parameters on windows before the last one; prints the best as YAML. The last window stays unseen."""
    import yaml

    from customer360.serve import jobs

    tuned = jobs.tune(configured(config), model, day(as_of), trials, resume=resume, apply=apply)
    stopped = sum(not trial.is_whole for trial in tuned.trials)
    typer.echo(
        f"# {tuned.run.objective.metric} on the windows of {', '.join(map(str, tuned.run.cuts))}: in force"
        f" {tuned.incumbent.score:.4f}, best {tuned.best.score:.4f} (trial {tuned.best.index} of {trials}, {stopped}"
        f" not run to the end). The best of many is flattered by chance; `customer360 train` judges it on a new window."
    )
    typer.echo(yaml.safe_dump(tuned.best.drawn, sort_keys=True) if tuned.best.drawn else "# nothing beat them")


@app.command()
def score(as_of: AsOfOption = None, config: ConfigOption = None) -> None:
    """Score with the champions and rebuild what shows the scores."""
    from customer360.serve import jobs, report

    settings = configured(config)
    record = jobs.run_pipeline(settings, start="gold", as_of=day(as_of), command="score")
    report.run_summary(settings, record)
    jobs.publish(settings)
