"""Serve answers, hand out keys, erase a person, show it all."""

from __future__ import annotations

from typing import Annotated

import typer

from customer360.serve.cli.options import ConfigOption, configured

app = typer.Typer()
key_app = typer.Typer(no_args_is_help=True, help="API keys of the serving application.")
app.add_typer(key_app, name="key")


@app.command()
def serve(
    plain: Annotated[bool, typer.Option(help="One uvicorn process without Ray")] = False,
    config: ConfigOption = None,
) -> None:
    """Start the HTTP application on Ray Serve; the first start makes an API key and prints it once."""
    from customer360.serve.app import start

    start(configured(config), plain=plain)


@app.command()
def erase(
    person: Annotated[str, typer.Argument(help="person_id")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask")] = False,
    config: ConfigOption = None,
) -> None:
    """Erase one person from every current table, quarantine, dead letters and the online store."""
    from customer360.serve import jobs

    settings = configured(config)
    if not yes:
        typer.confirm(f"Erase {person} from {settings.lake.root}? This cannot be undone", abort=True)
    for table, rows in jobs.erase(settings, person).items():
        typer.echo(f"{table}: {rows} rows")


@app.command()
def demo(
    customers: Annotated[int, typer.Option(min=100)] = 20_000,
    days: Annotated[int, typer.Option(min=400, help="Models need a year to learn from and be judged on")] = 540,
    config: ConfigOption = None,
) -> None:
    """The main job from nothing: sample, run, train, score, serve; prints what came out."""
    from customer360.serve.cli import demo as script

    script.play(configured(config), customers, days)


@key_app.command("issue")
def key_issue(name: str, role: str = "reader", config: ConfigOption = None) -> None:
    """Make an API key; it is shown once and stored only as a digest."""
    from customer360.platform import access
    from customer360.serve.compose import state_folder

    typer.echo(access.issue(state_folder(configured(config)), name, role))
