"""Experiments: what one takes, start and stop it, what came of it."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from customer360.platform.audit import user
from customer360.serve.cli.options import AsOfOption, ConfigOption, configured, day

if TYPE_CHECKING:
    from customer360.serve.activation.experiments.analysis import Line, Report

app = typer.Typer()
group = typer.Typer(no_args_is_help=True, help="Experiments (configs/experiments.yaml): plan, start, report, stop.")
app.add_typer(group, name="experiment")
NameArgument = Annotated[str, typer.Argument(help="An experiment of the file")]
ActorOption = Annotated[str | None, typer.Option(help="Who does it; default: the user of this machine")]


@group.command("list")
def list_experiments(config: ConfigOption = None) -> None:
    """Experiments that the file defines or that started, and where the file says otherwise than what started."""
    from customer360.platform.run import lake_of
    from customer360.serve.activation.experiments import register
    from customer360.serve.cli import report

    settings = configured(config)
    known, (begun, faults) = register.rules(settings), register.readable(lake_of(settings))
    grid = report.grid("Experiments", "experiment", "state", "since", "arms", "of whom")
    for name in sorted({*known.experiments, *begun}):
        of = begun.get(name)
        definition = of.definition if of else known.experiments[name]
        arms = ", ".join(f"{arm} {share:.0%}" for arm, share in definition.arms.items())
        state = "defined" if of is None else "running" if of.is_running else "stopped"
        grid.add_row(name, state, f"{of.started_at:%Y-%m-%d}" if of else "", arms, definition.description)
    report.console.print(grid)
    for fault in faults:
        typer.echo(f"left out: {fault}", err=True)
    for name, of in begun.items():
        if differing := register.changed(of, known):
            typer.echo(f"{name}: the file says otherwise now ({', '.join(differing)}); what started holds")


@group.command("plan")
def plan_experiment(
    name: NameArgument,
    effect: Annotated[float, typer.Option(help="The relative effect to see: 0.05 is five percent", min=1e-6)] = 0.05,
    as_of: AsOfOption = None,
    config: ConfigOption = None,
) -> None:
    """How many subjects and days an experiment takes to see an effect, by what the metrics were of late."""
    from customer360.serve.activation.experiments import forecast
    from customer360.serve.cli import report

    settings = configured(config)
    plans = forecast.plan(settings, name, effect, day(as_of))
    grid = report.grid(f"{name}: to see {effect:+.1%}", "metric", "mean", "subjects a day", "subjects", "days",
                       "seen in 28 days", "explained before")  # fmt: skip
    for each in plans:
        enough = not math.isinf(each.subjects)
        grid.add_row(
            each.metric, f"{each.baseline.mean:,.4g}", f"{each.baseline.subjects_a_day:,.0f}",
            f"{each.subjects:,.0f}" if enough else "out of reach", f"{math.ceil(each.days):,}" if enough else "never",
            f"{each.detectable:.1%}", f"{each.baseline.explained:.0%}",
        )  # fmt: skip
    report.console.print(grid)


@group.command("start")
def start_experiment(
    name: NameArgument,
    since: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Another tool has assigned since then; default: from now"),
    ] = None,
    actor: ActorOption = None,
    config: ConfigOption = None,
) -> None:
    """Freeze the definition and begin to assign."""
    from customer360.serve.activation.experiments import register

    began = since.replace(tzinfo=UTC) if since else None
    made = register.start(configured(config), name, actor=actor or user(), since=began)
    typer.echo(f"{name} has run since {made.started_at:%Y-%m-%d %H:%M} UTC; what it says is fixed now")


@group.command("stop")
def stop_experiment(
    name: NameArgument,
    because: Annotated[str, typer.Option(help="Why; kept with it")],
    actor: ActorOption = None,
    config: ConfigOption = None,
) -> None:
    """Assign nobody any more. It cannot be started again."""
    from customer360.serve.activation.experiments import register

    register.stop(configured(config), name, actor=actor or user(), because=because)
    typer.echo(f"{name} has stopped; `customer360 experiment report {name}` goes on counting windows that are open")


@group.command("learn")
def learn_experiment(
    name: NameArgument, as_of: AsOfOption = None, actor: ActorOption = None, config: ConfigOption = None
) -> None:
    """Let a bandit learn from the choices whose windows have passed; schedule it under `schedules:`."""
    from customer360.serve.activation.experiments import analysis

    made = analysis.learn(configured(config), name, actor=actor or user(), as_of=day(as_of))
    shares = made.learnt.shares() if made.learnt and not made.definition.context else {}
    said = ", ".join(f"{arm} {share:.1%}" for arm, share in shares.items())
    typer.echo(f"{name}: edition {made.edition}" + (f": {said}" if said else ""))


@group.command("report")
def report_experiment(name: NameArgument, as_of: AsOfOption = None, config: ConfigOption = None) -> None:
    """What came of an experiment; ends with 1 where no figure can be told, and says why."""
    from customer360.serve.activation.experiments import analysis

    found = analysis.report(configured(config), name, day(as_of))
    _show(found)
    if found.fault:
        typer.echo(f"{name}: {found.fault}", err=True)
        raise typer.Exit(1)


def _show(found: Report) -> None:
    from customer360.serve.cli import report

    asked = found.of.definition
    typer.echo(f"{found.of.name} as of {found.as_of}: {asked.description}")
    unit = "choices" if asked.kind == "bandit" else "subjects"
    typer.echo(f"{unit}: " + ", ".join(f"{arm} {count:,}" for arm, count in found.counts.items()))
    if found.exposed is not None:
        out = found.exposed
        left = {"met two arms": out.mixed, "refused": out.refused, "windows open": out.still_open,
                "of unknown arms": out.strangers}  # fmt: skip
        typer.echo("left out: " + (", ".join(f"{count:,} {why}" for why, count in left.items() if count) or "nobody"))
    if found.lines:
        how = "at any look" if asked.sequential else "at one look"
        title = f"{1 - asked.alpha:.0%} intervals, {how}; p-values corrected by {asked.correction}"
        columns = ("metric", "row", asked.control, "arm's", "effect", "interval", "p", "explained", "reason")
        grid = report.grid(title, *columns)
        for line in [*found.lines, *found.guards]:
            grid.add_row(*_cells(line))
        report.console.print(grid)
    if found.preference is not None:
        p = found.preference
        typer.echo(
            f"subjects prefer {list(asked.arms)[1]} by {p.estimate:+.3f} "
            f"[{p.low:+.3f}, {p.high:+.3f}], p {p.p_value:.2g}"
        )
    if found.policies:
        grid = report.grid("What each policy would have earned a choice", "row", "IPS", "SNIPS", "DR", "worth rows")
        for policy, values in found.policies.items():
            said = [f"{v.estimate:.4g} [{v.low:.4g}, {v.high:.4g}]" for v in values.values()]
            grid.add_row(policy, *said, f"{values['IPS'].effective:,.0f}")
        report.console.print(grid)


def _cells(line: Line) -> list[str]:
    means = [f"{line.control_mean:,.4g}", f"{line.mean:,.4g}"]
    if line.effect is None:
        return [line.metric, line.arm, *means, "", "", "", "", line.because]
    bounded = not math.isinf(line.effect.low)
    interval = f"[{line.effect.low:+.1%}, {line.effect.high:+.1%}]" if bounded else "not bounded yet"
    p_value = "" if line.p_value is None else f"{line.p_value:.2g}"
    return [line.metric, line.arm, *means, f"{line.effect.estimate:+.1%}", interval, p_value, f"{line.explained:.0%}",
            line.verdict]  # fmt: skip
