"""Schedules: what is due when, started by a daemon or handed to another scheduler."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from customer360.serve.cli.options import ConfigOption, configured

if TYPE_CHECKING:
    from threading import Event

    from customer360.platform.settings import Settings

ALERTS_SECONDS = 60.0  # between two looks of the daemon at what stands
app = typer.Typer()
group = typer.Typer(no_args_is_help=True, help="Commands that `schedules:` of the settings start by the clock.")
app.add_typer(group, name="schedule")


class Form(StrEnum):
    """What another scheduler reads."""

    crontab = "crontab"
    kubernetes = "kubernetes"


@group.command("list")
def list_command(config: ConfigOption = None) -> None:
    """Show each schedule, when it is due next, and how its newest turn ended."""
    from customer360.serve.cli import report
    from customer360.serve.daemon import FOLDER, History

    settings = configured(config)
    grid = report.grid("Schedules", "name", "command", "when", "next (UTC)", "newest", "ended")
    now = datetime.now(UTC)
    for name, schedule in settings.schedules.items():
        turns = History(Path(settings.state) / FOLDER / f"{name}.jsonl").turns()
        newest = next((turn for turn in reversed(turns) if turn.state != "skipped"), None)
        when = f"every {schedule.every_minutes} min" if schedule.every_minutes else schedule.cron
        then = schedule.next_after(now) if schedule.enabled else None
        grid.add_row(
            name, schedule.command, f"{when} {'' if schedule.every_minutes else schedule.timezone}".strip(),
            f"{then:%Y-%m-%d %H:%M}" if then else "never" if schedule.enabled else "off",
            f"{newest.due_at[:16]} {newest.state}" if newest else "", newest.ended_at[:16] if newest else "",
        )  # fmt: skip
    report.console.print(grid)


@group.command("print")
def print_command(
    form: Annotated[Form, typer.Option("--as", help="For cron, or CronJobs of Kubernetes")] = Form.crontab,
    image: Annotated[str, typer.Option(help="Of containers, with --as kubernetes")] = "customer360:latest",
    config: ConfigOption = None,
) -> None:
    """Print the schedules for another scheduler."""
    from customer360.platform import schedules

    settings = configured(config)
    where = str(Path(config).absolute()) if config else "configs/local.yaml"
    if form == Form.crontab:
        typer.echo(schedules.as_crontab(settings.schedules, "customer360", where), nl=False)
    else:
        typer.echo(schedules.as_cron_jobs(settings.schedules, image, where), nl=False)


def _look_at_alerts(settings: Settings, asked: Event) -> None:
    """Once a minute, until the end is asked for; a sink that does not answer keeps no schedule waiting."""
    from customer360.serve import alerting

    while not asked.wait(ALERTS_SECONDS):
        alerting.check_beside(settings)


@app.command("daemon")
def daemon_command(config: ConfigOption = None) -> None:
    """Stay, start what `schedules:` says when it is due, and look at the alerts once a minute. SIGTERM or Ctrl-C ends
    it, after what runs was asked to end. Exit codes: 0 after that, 2 where another daemon has the state folder.
    """
    import signal
    import threading

    from customer360.platform import telemetry
    from customer360.platform.errors import ConfigError
    from customer360.serve import daemon

    settings = configured(config)
    if not settings.schedules:
        raise ConfigError("there are no `schedules:` in the settings")
    folder, asked = Path(settings.state) / daemon.FOLDER, threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    with daemon.alone(folder):
        now = datetime.now(UTC)
        place = str(Path(config).absolute()) if config else None
        start = daemon.launched(place, settings.schedules)
        made = daemon.Daemon(settings.schedules, folder, start, daemon.begun_at(folder, now), daemon.outlived)
        telemetry.event(f"schedules of {settings.name}: {', '.join(settings.schedules)}; SIGTERM or Ctrl-C ends")
        beside = threading.Thread(target=_look_at_alerts, args=(settings, asked), daemon=True, name="alerts")
        beside.start()
        while not asked.is_set():
            made.tick(datetime.now(UTC))
            asked.wait(1.0)
        made.stop()
        while not made.is_idle:
            made.tick_ends(datetime.now(UTC))
            threading.Event().wait(0.2)
