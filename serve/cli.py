"""The `customer360` command."""

from __future__ import annotations

import sys
from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import typer

from customer360.platform import settings as configuration
from customer360.platform import telemetry
from customer360.platform.errors import Customer360Error
from customer360.platform.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Retail Customer 360: raw files in, a personalized answer out.",
)
quarantine_app = typer.Typer(no_args_is_help=True, help="Rows and records that were refused: list, export, replay.")
key_app = typer.Typer(no_args_is_help=True, help="API keys of the serving application.")
app.add_typer(quarantine_app, name="quarantine")
app.add_typer(key_app, name="key")

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", envvar="CUSTOMER360_CONFIG", help="Settings file; default configs/local.yaml"),
]
AsOfOption = Annotated[
    datetime | None,
    typer.Option("--as-of", formats=["%Y-%m-%d"], help="Cut date; default: end of the last complete day in the data"),
]


def _configured(config: Path | None) -> Settings:
    from customer360.serve.compose import compose

    telemetry.configure()
    compose()
    return configuration.load(config)


def _day(moment: datetime | None) -> date | None:
    return moment.date() if moment else None


@app.command()
def sample(
    customers: Annotated[int, typer.Option(min=1, help="People")] = 20_000,
    days: Annotated[int, typer.Option(min=30)] = 540,
    seed: int = 7,
    out: Annotated[Path, typer.Option(help="Folder for landing/ and truth/")] = Path("data/sample"),
) -> None:
    """Write a synthetic retailer: landing files as its systems would deliver them, and the truth beside them."""
    from customer360.pipelines.sample import write_sample

    telemetry.configure()
    shown: dict[str, float] = {}

    def progress(step: str, done: int, total: int) -> None:
        if done == total or done - shown.get(step, -total) >= total / 4:
            shown[step] = done
            telemetry.event(f"  {step}", done=f"{done}/{total}")

    summary = write_sample(out, customers=customers, days=days, seed=seed, progress=progress)
    typer.echo(summary)


@app.command()
def run(
    pipeline: Annotated[str | None, typer.Argument(help="bronze, silver, gold or a table; default: everything")] = None,
    start: Annotated[str | None, typer.Option("--from", help="First table or layer; all that needs it follows")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Last table or layer, with all that it needs")] = None,
    full_refresh: Annotated[
        list[str] | None, typer.Option("--full-refresh", help="Rebuild this table even if it is current")
    ] = None,
    as_of: AsOfOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print mapping faults and the plan; load nothing")] = False,
    publish: Annotated[bool, typer.Option(help="Publish to the online store when gold was built")] = True,
    config: ConfigOption = None,
) -> None:
    """Land what is new and build what is not current."""
    from customer360.serve import jobs, report

    settings = _configured(config)
    if dry_run:
        faults = report.plan(settings, start, end or pipeline, _day(as_of))
        raise typer.Exit(1 if faults else 0)
    record = jobs.run_pipeline(
        settings,
        start=start,
        end=end or pipeline,
        as_of=_day(as_of),
        refresh=tuple(full_refresh or ()),
        command=" ".join(sys.argv[1:]) or "run",
    )
    report.run_summary(settings, record)
    if publish and end is None and pipeline is None:
        jobs.publish(settings)


@app.command()
def plan(
    start: Annotated[str | None, typer.Option("--from")] = None,
    end: Annotated[str | None, typer.Option("--to")] = None,
    as_of: AsOfOption = None,
    config: ConfigOption = None,
) -> None:
    """Show what a run would do, in order, and why."""
    from customer360.serve import report

    faults = report.plan(_configured(config), start, end, _day(as_of))
    raise typer.Exit(1 if faults else 0)


@app.command()
def status(config: ConfigOption = None) -> None:
    """Freshness and counts per table, conservation, refused rows, the last runs."""
    from customer360.serve import report

    report.status(_configured(config))


@app.command()
def catalog(out: Annotated[Path, typer.Option(help="Folder for the pages")] = Path("docs/tables")) -> None:
    """Write the table catalogue as Markdown from the contracts, and in a checkout the README's matrix."""
    from customer360.platform import catalogue
    from customer360.serve.compose import compose

    compose()
    for page in catalogue.write(out):
        typer.echo(page)
    readme, requirements = Path("README.md"), Path("configs/requirements.yaml")
    if readme.exists() and requirements.exists():
        readme.write_text(catalogue.with_matrix(readme.read_text(encoding="utf-8"), requirements), encoding="utf-8")
        typer.echo(readme)


@app.command()
def ddl(table: str, dialect: str = "postgresql") -> None:
    """Print the CREATE TABLE statement of a table's contract."""
    from customer360.platform import tables, warehouse
    from customer360.serve.compose import compose

    compose()
    typer.echo(warehouse.ddl(tables.by_name(table), dialect))


@app.command()
def sql(
    query: Annotated[
        str, typer.Argument(help="e.g. 'SELECT value_segment, count(*) FROM gold.customer_360 GROUP BY 1'")
    ],
    config: ConfigOption = None,
) -> None:
    """Query the lake with DuckDB; tables are bronze.*, silver.*, gold.*, quality.*."""
    from customer360.platform import warehouse
    from customer360.platform.run import lake_of

    typer.echo(warehouse.query(lake_of(_configured(config)), query))


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="churn, item_to_item, or all")] = "all",
    as_of: AsOfOption = None,
    config: ConfigOption = None,
) -> None:
    """Train on the past of the lake, judge on the last known window, register in MLflow; the first is champion."""
    from customer360.serve import jobs

    settings = _configured(config)
    jobs.train(settings, model, _day(as_of))


@app.command()
def score(as_of: AsOfOption = None, config: ConfigOption = None) -> None:
    """Score with the champions and rebuild what shows the scores."""
    from customer360.serve import jobs, report

    settings = _configured(config)
    record = jobs.run_pipeline(settings, start="gold", as_of=_day(as_of), command="score")
    report.run_summary(settings, record)
    jobs.publish(settings)


@app.command()
def serve(
    plain: Annotated[bool, typer.Option(help="One uvicorn process without Ray")] = False,
    config: ConfigOption = None,
) -> None:
    """Start the HTTP application on Ray Serve; the first start makes an API key and prints it once."""
    from customer360.serve.app import start

    start(_configured(config), plain=plain)


@app.command()
def erase(
    person: Annotated[str, typer.Argument(help="person_id")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask")] = False,
    config: ConfigOption = None,
) -> None:
    """Erase one person from every current table, quarantine, dead letters and the online store."""
    from customer360.serve import jobs

    settings = _configured(config)
    if not yes:
        typer.confirm(f"Erase {person} from {settings.lake.root}? This cannot be undone", abort=True)
    for table, rows in jobs.erase(settings, person).items():
        typer.echo(f"{table}: {rows} rows")


@app.command()
def demo(
    customers: Annotated[int, typer.Option(min=100)] = 20_000,
    days: Annotated[int, typer.Option(min=200)] = 540,
    config: ConfigOption = None,
) -> None:
    """The main job from nothing: sample, run, train, score, serve; prints what came out."""
    from customer360.serve import demo as script

    script.play(_configured(config), customers, days)


@quarantine_app.command("list")
def quarantine_list(
    table: Annotated[str | None, typer.Option(help="bronze table")] = None,
    rule: str | None = None,
    limit: int = 20,
    config: ConfigOption = None,
) -> None:
    """Refused rows with rule and place; personal values are masked."""
    from customer360.serve import report

    report.refused(_configured(config), table, rule, limit)


@quarantine_app.command("export")
def quarantine_export(
    out: Annotated[Path, typer.Option(help="JSON-lines file, readable by you alone: it holds personal data")],
    table: str | None = None,
    config: ConfigOption = None,
) -> None:
    """Write refused rows and dead letters to a file for repair."""
    from customer360.platform.run import lake_of, replay

    rows, letters = replay.export(lake_of(_configured(config)), out, table)
    typer.echo(
        f"{rows} quarantined rows and {letters} dead letters in {out}; repair them, then: customer360 quarantine replay {out}"
    )


@quarantine_app.command("replay")
def quarantine_replay(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)], config: ConfigOption = None
) -> None:
    """Land repaired rows as corrections and build on."""
    from customer360.platform.run import lake_of, replay
    from customer360.serve import jobs, report

    settings = _configured(config)
    for source, rows in replay.replay(lake_of(settings), settings, file).items():
        typer.echo(f"{rows} corrections of {source}")
    report.run_summary(settings, jobs.run_pipeline(settings, command="quarantine replay"))


@key_app.command("issue")
def key_issue(name: str, role: str = "reader", config: ConfigOption = None) -> None:
    """Make an API key; it is shown once and stored only as a digest."""
    from customer360.platform import access
    from customer360.serve.compose import state_folder

    typer.echo(access.issue(state_folder(_configured(config)), name, role))


def main() -> None:
    """Entry point: project errors end with their message and exit code 2, without a traceback."""
    try:
        app()
    except Customer360Error as fault:
        typer.echo(f"error: {fault}", err=True)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
