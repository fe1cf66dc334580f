"""Alerts: what stands, and whether they arrive where they should."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from customer360.platform.errors import ConfigError, Customer360Error
from customer360.serve.cli.options import ConfigOption, configured

app = typer.Typer()
group = typer.Typer(no_args_is_help=True, help="Alerts of sources, runs and schedules: what stands, and where it goes.")
app.add_typer(group, name="alerts")


@group.command("list")
def list_command(
    everything: Annotated[bool, typer.Option("--all", help="Also what was resolved, newest first")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object")] = False,
    config: ConfigOption = None,
) -> None:
    """Alerts that stand, and messages that a sink has not taken, as the last look left them."""
    from customer360.platform import alerts
    from customer360.serve.cli import report

    known = alerts.read(Path(configured(config).state))
    waiting = [
        {"sink": s.sink, "state": s.notice["state"], "kind": s.notice["kind"], "subject": s.notice["subject"],
         "tries": s.tries, "next_at": s.next_at, "fault": s.fault} for s in known.sending
    ]  # fmt: skip
    if as_json:
        told = {"version": 1, "open": list(known.open.values()), "unsent": waiting}
        typer.echo(json.dumps(told | ({"past": known.past} if everything else {}), ensure_ascii=False, indent=2))
        return
    grid = report.grid("Alerts that stand", "kind", "about", "since (UTC)", "reason")
    for each in known.open.values():
        grid.add_row(each["kind"], each["subject"], each["since"][:16], each["text"])
    report.console.print(grid)
    for each in waiting:
        line = f"not taken by {each['sink']}: {each['state']} {each['kind']} {each['subject']} ({each['fault']})"
        report.console.print(line, style="yellow", highlight=False, soft_wrap=True)
    if everything:
        past = report.grid("Told", "at (UTC)", "what", "kind", "about", "reason")
        for each in reversed(known.past):
            past.add_row(each["at"][:16], each["state"], each["kind"], each["subject"], each["text"])
        report.console.print(past)


@group.command("check")
def check_command(config: ConfigOption = None) -> None:
    """Look what stands now and tell what is new, for a scheduler of yours: runs and the daemon do it by themselves.
    Exit codes: 0 nothing stands, 1 something does.
    """
    from customer360.serve import alerting

    found = alerting.check(configured(config))
    if found is None:
        raise Customer360Error("another process is looking at the alerts now")
    for each in found.open.values():
        typer.echo(f"{each['kind']} {each['subject']} since {each['since'][:16]}: {each['text']}")
    if found.open:
        raise typer.Exit(1)


@group.command("test")
def test_command(
    sink: Annotated[str | None, typer.Argument(help="One sink; default: all")] = None, config: ConfigOption = None
) -> None:
    """Send a test message. Exit codes: 0 every sink took it, 1 one did not."""
    from customer360.platform import alerts

    settings = configured(config)
    names = [sink] if sink else list(settings.alerts.sinks)
    if unknown := [name for name in names if name not in settings.alerts.sinks]:
        known = ", ".join(settings.alerts.sinks) or "none"
        raise ConfigError(f"alerts.sinks has no {unknown[0]!r}; there is {known}")
    if not names:
        raise ConfigError("there are no sinks under `alerts:` in the settings")
    is_bad = False
    for name in names:
        try:
            alerts.try_out(settings, name)
            typer.echo(f"{name}: sent")
        except Customer360Error as fault:
            typer.echo(f"{name}: {fault}", err=True)
            is_bad = True
    if is_bad:
        raise typer.Exit(1)
