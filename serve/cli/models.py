"""Train models and score with them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from customer360.serve.cli.options import AsOfOption, ConfigOption, configured, day

app = typer.Typer()
EXIT_REFUSED, EXIT_BROKEN = 3, 4
ModelArgument = Annotated[str, typer.Argument(help="A model, e.g. churn")]


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="churn, hybrid, or all")] = "all",
    as_of: AsOfOption = None,
    config: ConfigOption = None,
) -> None:
    """Train on the past of the lake, judge on the last known window, register in MLflow; the first is champion."""
    from customer360.serve import modelling

    settings = configured(config)
    modelling.train(settings, model, day(as_of))


@app.command("models")
def listed(as_of: AsOfOption = None, config: ConfigOption = None) -> None:
    """List the models: days of purchases that each needs to be trained, and how many there are."""
    from customer360.models.base import MODELS
    from customer360.serve import modelling
    from customer360.serve.cli import report

    found = modelling.histories(configured(config), day(as_of))
    grid = report.grid("Models", "model", "predicts", "days needed", "days there", "can be trained")
    for each in found:
        there = "none" if each.known is None else str(each.known)
        grid.add_row(each.model, MODELS[each.model].target, str(each.needed), there, "yes" if each.suffices else "no")
    report.console.print(grid)


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

    from customer360.serve import modelling

    tuned = modelling.tune(configured(config), model, day(as_of), trials, resume=resume, apply=apply)
    stopped = sum(not trial.is_whole for trial in tuned.trials)
    typer.echo(
        f"# {tuned.run.objective.metric} on the windows of {', '.join(map(str, tuned.run.cuts))}: in force"
        f" {tuned.incumbent.score:.4f}, best {tuned.best.score:.4f} (trial {tuned.best.index} of {trials}, {stopped}"
        f" not run to the end). The best of many is flattered by chance; `customer360 train` judges it on a new window."
    )
    typer.echo(yaml.safe_dump(tuned.best.drawn, sort_keys=True) if tuned.best.drawn else "# nothing beat them")


@app.command()
def evaluate(
    model: ModelArgument,
    version: Annotated[str | None, typer.Option(help="A registered version; default: the champion")] = None,
    window: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Start of the judged window")] = None,
    as_of: AsOfOption = None,
    config: ConfigOption = None,
) -> None:
    """Judge a registered version on a window; default: the newest whose outcome is known."""
    from customer360.models.lifecycle import promotion
    from customer360.serve import modelling

    job = modelling.model_job(configured(config), model, day(as_of))
    judged = promotion.judge(job, version or job.champion(), day(window))
    how = "its recipe fitted at that date: it knew the window" if judged.is_refitted else "as registered"
    typer.echo(f"{model} version {judged.version} on the window from {judged.at}, {how}")
    for name, value in judged.evaluation.metrics.items():
        typer.echo(f"  {name:40} {value:.4g}")
    for name, verdict in judged.evaluation.verdicts.items():
        typer.echo(f"  {name:40} {verdict}")
    if broken := promotion.broken_guardrails(job.plan, judged):
        typer.echo(f"guardrail broken: {broken}")
        raise typer.Exit(EXIT_BROKEN)


@app.command()
def compare(
    model: ModelArgument,
    one: Annotated[str | None, typer.Argument(help="Version; default: the challenger")] = None,
    other: Annotated[str | None, typer.Argument(help="Version; default: the champion")] = None,
    window: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Start of the judged window")] = None,
    as_of: AsOfOption = None,
    config: ConfigOption = None,
) -> None:
    """Compare two versions on the same customers, with a 95 % interval of the difference."""
    from customer360.models.lifecycle import promotion
    from customer360.serve import modelling

    job = modelling.model_job(configured(config), model, day(as_of))
    first, second = (promotion.judge(job, v, day(window)) for v in (one or job.challenger(), other or job.champion()))
    typer.echo(
        f"{model} {first.version} over {second.version} from {first.at}: {promotion.compare(job, first, second)}"
    )


@app.command()
def promote(
    model: ModelArgument,
    version: Annotated[str | None, typer.Argument(help="Version; default: the challenger")] = None,
    force: Annotated[bool, typer.Option("--force", help="Promote it whatever the gate says; needs --reason")] = False,
    reason: Annotated[str, typer.Option(help="Why it is forced; kept with the version")] = "",
    as_of: AsOfOption = None,
    config: ConfigOption = None,
) -> None:
    """Make a version champion if it is better on the newest known window and breaks no guardrail; else exit code 3.

    The first champion may not lose to the baseline that the model's file names.
    """
    from customer360.models.lifecycle import promotion
    from customer360.platform.errors import ModelError
    from customer360.serve import modelling

    if force != bool(reason.strip()):
        raise ModelError("--force needs a reason, and --reason is for --force: write --force --reason TEXT")
    job = modelling.model_job(configured(config), model, day(as_of))
    decision = promotion.gate(job, version or job.challenger(), reason.strip())
    typer.echo(f"{'promoted' if decision.is_promoted else 'refused'} {model} {decision.challenger}: {decision.reason}")
    if not decision.is_promoted:
        raise typer.Exit(EXIT_REFUSED)


@app.command()
def rollback(
    model: ModelArgument,
    reason: Annotated[str, typer.Option(help="Kept as a tag of the version that is taken back")] = "by hand",
    config: ConfigOption = None,
) -> None:
    """Put the previous champion back in use."""
    from customer360.models.lifecycle.job import registry_of
    from customer360.serve import modelling

    settings = configured(config)
    typer.echo(f"champion: {registry_of(settings).rollback(modelling.known_model(model).name, reason)}")


@app.command()
def drift(model: ModelArgument, as_of: AsOfOption = None, config: ConfigOption = None) -> None:
    """Compare the newest month with the one before the champion's date; writes gold.drift; exit code 4 on an alarm."""
    from customer360.models.lifecycle import promotion
    from customer360.serve import modelling

    report = promotion.check_drift(modelling.model_job(configured(config), model, day(as_of)))
    typer.echo(f"{model} version {report.version}: {report.reference_on} against {report.as_of}")
    for moved in report.moved:
        state = "ALARM" if moved in report.alarms else "quiet"
        typer.echo(f"  {moved.part}: {state}, p = {moved.p_value:.4f} (level {report.part_level:.4f})")
        for column, distance in sorted(moved.distances.items(), key=lambda item: -abs(item[1]))[:5]:
            typer.echo(f"    {column:28} distance {distance:.4f}  PSI {moved.indices.get(column, float('nan')):.3f}")
    for part, why in report.unknown.items():
        typer.echo(f"  {part}: not known, {why}")
    if report.alarms:
        raise typer.Exit(EXIT_BROKEN)


@app.command()
def retrain(
    model: Annotated[str, typer.Argument(help="A model, or all")] = "all",
    as_of: AsOfOption = None,
    config: ConfigOption = None,
) -> None:
    """Unattended, e.g. each night: roll back what broke, train what is due by age or drift, promote what is better.

    Exit code 0: all in order; 1: a model failed; 3: a challenger was refused; 4: a champion broke a guardrail.
    """
    from customer360.serve import modelling

    outcomes = modelling.retrain(configured(config), model, day(as_of))
    for outcome in outcomes:
        typer.echo(f"{outcome.model}: {outcome.kind}: {outcome.reason}")
    codes = {"failed": 1, "refused": EXIT_REFUSED, "rolled back": EXIT_BROKEN}
    found = [codes[outcome.kind] for outcome in outcomes if outcome.kind in codes]
    if found:
        raise typer.Exit(1 if 1 in found else max(found))


@app.command()
def score(as_of: AsOfOption = None, config: ConfigOption = None) -> None:
    """Score with the champions and rebuild what shows the scores."""
    from customer360.platform.run import RunRequest
    from customer360.serve import jobs
    from customer360.serve.cli import report

    settings = configured(config)
    record = jobs.run_pipeline(settings, RunRequest(start="gold", as_of=day(as_of), command="score"))
    report.run_summary(settings, record)
    jobs.publish(settings)
