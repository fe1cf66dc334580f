"""Serve answers, hand out keys, put a publication back, erase a person, show it all."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from customer360.serve.cli.options import ConfigOption, configured

app = typer.Typer()
publication_app = typer.Typer(no_args_is_help=True, help="Publications that the serving application answers from.")
app.add_typer(publication_app, name="publication")


@app.command()
def serve(
    plain: Annotated[bool, typer.Option(help="One uvicorn process without Ray")] = False,
    config: ConfigOption = None,
) -> None:
    """Start the HTTP application on Ray Serve; the first start makes an API key and prints it once."""
    from customer360.serve.app import start

    start(configured(config, whole=["state"]), plain=plain)


@app.command()
def erase(
    person: Annotated[str | None, typer.Argument(help="person_id, current or former")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask")] = False,
    prove: Annotated[
        bool,
        typer.Option("--prove", help="Search every byte of every store afterwards; ends with 1 where a file remains"),
    ] = False,
    also: Annotated[
        list[Path] | None, typer.Option("--also", help="Search this folder or file, too: exports, logs, backups")
    ] = None,
    verify: Annotated[Path | None, typer.Option("--verify", help="Only check the signature of a report")] = None,
    config: ConfigOption = None,
) -> None:
    """Erase one person from every store and its history, and prove it.

    With `--prove` a signed report says what was looked for, where, and which files remain; never a value.
    """
    from customer360.serve import jobs
    from customer360.serve.cli import rights
    from customer360.serve.rights import proof

    settings = configured(config)
    if verify is not None:
        rights.show_report(proof.verify_report(settings, verify))
        return
    if person is None:
        raise typer.BadParameter("say whom to erase, or which report to verify")
    if (current := jobs.current_person(settings, person)) != person:
        typer.echo(f"{person} is a former id of {current}: the person {current} is erased")
        person = current
    if not yes:
        typer.confirm(f"Erase {person} from {settings.lake.root}? This cannot be undone", abort=True)
    rows, found = (
        jobs.erase_proven(settings, person, tuple(also or ())) if prove else (jobs.erase(settings, person), None)
    )
    for table, count in rows.items():
        typer.echo(f"{table}: {count} {'files' if table.endswith(')') else 'rows'}")
    if found is not None:
        file = proof.write_report(settings, found)
        rights.show_report(proof.verify_report(settings, file))
        typer.echo(f"report: {file}")
        raise typer.Exit(0 if found.is_clean else 1)


@app.command()
def demo(
    customers: Annotated[int, typer.Option(min=100)] = 20_000,
    days: Annotated[int, typer.Option(min=400, help="Models need a year to learn from and be judged on")] = 540,
    config: ConfigOption = None,
) -> None:
    """The main job from nothing: sample, run, train, score, serve; prints what came out."""
    from customer360.serve.cli import demo as script

    script.play(configured(config), customers, days)


@publication_app.command("list")
def publication_list(config: ConfigOption = None) -> None:
    """Show the publications that are kept, oldest first, and which of them is in service."""
    from customer360.platform import online
    from customer360.serve.cli import report
    from customer360.serve.compose import state_folder

    state = state_folder(configured(config, whole=["state"]))
    served = online.current(state)
    grid = report.grid("Publications", "id", "as of", "state", "documents")
    for each in online.generations(state):
        in_service = served is not None and each.id == served.id
        grid.add_row(each.id, str(each.as_of), "in service" if in_service else "", f"{sum(each.counts.values()):,}")
    report.console.print(grid)


@publication_app.command("restore")
def publication_restore(
    generation: Annotated[str, typer.Argument(metavar="ID", help="As `publication list` shows it")],
    config: ConfigOption = None,
) -> None:
    """Answer from an earlier publication, marked stale, until a run publishes again; running servers follow in a
    second.
    """
    from customer360.platform import online
    from customer360.serve.compose import state_folder
    from customer360.serve.publication import freshness
    from customer360.serve.shared import refuse_where_it_follows, share

    settings = configured(config, whole=["state"])
    refuse_where_it_follows(settings)
    state = state_folder(settings)
    restored = online.activate(state, generation)
    freshness.restored(state, is_newest=restored.id == online.generations(state)[-1].id)
    share(settings)
    typer.echo(f"{restored.id} (as of {restored.as_of}) is in service; the next `customer360 run` publishes anew")


@publication_app.command("share")
def publication_share(config: ConfigOption = None) -> None:
    """Tell the machines that follow what is published here, as every run does; what was told before is left."""
    from customer360.platform.errors import ConfigError
    from customer360.serve.shared import refuse_where_it_follows, share

    settings = configured(config, whole=["state"])
    refuse_where_it_follows(settings)
    if not settings.serve.shared:
        raise ConfigError("serve.shared: no object store is named through which publications are shared")
    typer.echo(f"shared: number {share(settings, at_once=True)}")


@publication_app.command("follow")
def publication_follow(config: ConfigOption = None) -> None:
    """Fetch what another machine shares and put it into service, once, at the moment that was told; a server does so by
    itself."""
    from customer360.platform import online
    from customer360.platform.errors import ConfigError
    from customer360.serve.compose import state_folder
    from customer360.serve.following import Follower

    settings = configured(config, whole=["state"])
    if not settings.serve.follows:
        raise ConfigError("serve.follows: these settings follow no other machine")
    Follower(settings).catch_up()
    served = online.current(state_folder(settings))
    typer.echo(f"in service: {served.id}" if served else "nothing is shared yet")
