"""What people ask for, and what a proof of an erasure says."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from customer360.platform.audit import user
from customer360.serve.cli.options import ConfigOption, configured

if TYPE_CHECKING:
    from customer360.serve.rights.requests import Request

app = typer.Typer()
group = typer.Typer(no_args_is_help=True, help="What people ask for: access, correction, erasure, restraint.")
app.add_typer(group, name="rights")

ActorOption = Annotated[str | None, typer.Option(help="Who does it; default: the user of this machine")]
IdentityOption = Annotated[str, typer.Option(help="How it was made sure who asks; kept with the request")]


@group.command("open")
def open_command(
    kind: Annotated[str, typer.Argument(help="access, rectify, erase, restrict or opt_out (of sale)")],
    person: Annotated[str, typer.Argument(help="person_id, current or former")],
    law: Annotated[str, typer.Option(help="Whose days hold; default: that of the rule file")] = "",
    received: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Day on which it came in; default: today")
    ] = None,
    identity: IdentityOption = "",
    values: Annotated[
        list[str] | None, typer.Option("--set", help="attribute=value to rectify; give it once per attribute")
    ] = None,
    actor: ActorOption = None,
    config: ConfigOption = None,
) -> None:
    """Note what a person asks for; prints its number and the day by which it is due."""
    from customer360.serve import fulfilment

    wrong = [pair for pair in values or () if "=" not in pair]
    if wrong:
        raise typer.BadParameter(f"{wrong[0]!r} is no attribute=value")
    pairs = {key: value for key, _, value in (pair.partition("=") for pair in values or ())}
    day = received.date() if received else None
    settings = configured(config)
    made = fulfilment.open_request(settings, kind, person, actor=actor or user(), law=law, identity=identity,
                             received_on=day, values=pairs)  # fmt: skip
    _show(made)


@group.command("list")
def list_command(
    everything: Annotated[bool, typer.Option("--all", help="Fulfilled ones, too")] = False,
    config: ConfigOption = None,
) -> None:
    """Requests that are open, those due first; ends with 1 where one is late."""
    from customer360.platform.run import lake_of
    from customer360.serve.cli import report
    from customer360.serve.rights import requests

    found = [r for r in requests.requests(lake_of(configured(config))) if everything or r.state == "open"]
    today = datetime.now(UTC).date()
    grid = report.grid("Requests", "number", "row", "person", "law", "due", "state", "identity")
    for each in found:
        state = "late" if each.is_late(today) else each.state
        grid.add_row(str(each.number), each.kind, each.person, each.law, str(each.due_on), state, each.identity or "-")
    report.console.print(grid)
    raise typer.Exit(1 if any(each.is_late(today) for each in found) else 0)


@group.command()
def fulfil(number: int, identity: IdentityOption = "", actor: ActorOption = None, config: ConfigOption = None) -> None:
    """Do what was asked for. Access writes everything held as JSON and CSV; restrictions hold at once."""
    from customer360.serve import fulfilment

    _show(fulfilment.fulfil(configured(config), number, identity=identity, actor=actor or user()))


@group.command()
def release(number: int, actor: ActorOption = None, config: ConfigOption = None) -> None:
    """End a restriction, or an opt-out, that was fulfilled."""
    from customer360.serve import fulfilment

    _show(fulfilment.release(configured(config), number, actor=actor or user()))


def _show(made: Request) -> None:
    said = f"request {made.number}: {made.kind} of {made.person}, {made.state}"
    typer.echo(f"{said}, due {made.due_on} ({made.law})" if made.state == "open" else f"{said}: {made.result}")


def show_report(report: dict[str, Any]) -> None:
    """A report in words: what was looked for, where, what remains."""
    sought = ", ".join(f"{count} {kind}" for kind, count in sorted(report["searched"].items()))
    typer.echo(f"looked for: {sought or 'nothing that tells the person'}")
    if report["too_common"]:
        common = ", ".join(f"{count} {kind}" for kind, count in sorted(report["too_common"].items()))
        typer.echo(f"too common or too short to tell: {common}")
    for place, seen in report["looked_at"].items():
        typer.echo(f"in {place}: {seen['files']:,} files, {seen['bytes']:,} bytes")
    for left in report["remains"]:
        what = ", ".join(left["kinds"]) or "unknown"
        typer.echo(
            f"remains: {left['store']} {left['place']}: {what}" + (f" ({left['unread']})" if left["unread"] else "")
        )
    said = "nothing of the person is left" if report["is_clean"] else f"{len(report['remains'])} files remain"
    typer.echo(f"made {report['made_at']}, signature good: {said}")
