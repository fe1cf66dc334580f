"""Land, build and look at tables."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from customer360.platform import telemetry
from customer360.platform.errors import ConfigError
from customer360.platform.settings import Settings
from customer360.serve.cli.options import AsOfOption, ConfigOption, configured, day, is_scheduled, started_by

if TYPE_CHECKING:
    from customer360.platform.ledger import Run
    from customer360.platform.run import RunRequest

app = typer.Typer()


@app.command()
def sample(
    customers: Annotated[int | None, typer.Option(min=1, help="People; 20,000 unless the folder has a sample")] = None,
    days: Annotated[int, typer.Option(min=30, help="Length of the story; with --day it is that of the sample")] = 540,
    seed: int = 7,
    out: Annotated[Path, typer.Option(help="Folder for landing/ and truth/")] = Path("data/sample"),
    one_day: Annotated[
        datetime | None,
        typer.Option("--day", formats=["%Y-%m-%d"], help="Write one further day instead, beside what is there"),
    ] = None,
    rate: Annotated[
        float, typer.Option(help="With --day: 1 is 5M transactions, 15M lines, 50M events, 10M messages")
    ] = 0.001,
) -> None:
    """Write a synthetic retailer: landing files as its systems would deliver them, and the truth beside them; or one
    more of its days, at any share of a large retailer's volume.
    """
    from customer360.pipelines.sample import write_day, write_sample

    telemetry.configure()
    shown: dict[str, float] = {}

    def progress(step: str, done: int, total: int) -> None:
        if done == total or done - shown.get(step, -total) >= total / 4:
            shown[step] = done
            telemetry.event(f"  {step}", done=f"{done}/{total}")

    if one_day is not None:
        made = write_day(out, one_day.date(), rate=rate, customers=customers, seed=seed, progress=progress)
    else:
        made = write_sample(out, customers=customers or 20_000, days=days, seed=seed, progress=progress)
    typer.echo(made)


@app.command()
def run(
    pipeline: Annotated[
        str | None,
        typer.Argument(help="master, bronze, silver, gold, warehouse, a model or a table; default: all tables"),
    ] = None,
    stage: Annotated[
        str | None,
        typer.Option(
            help="One activity of silver (identity, enrichment, standardization, validation) or gold "
            "(customer_360, personalization_features, recommendation_models), with all that it needs"
        ),
    ] = None,
    start: Annotated[str | None, typer.Option("--from", help="First table or layer; all that needs it follows")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Last table or layer, with all that it needs")] = None,
    full_refresh: Annotated[
        list[str] | None, typer.Option("--full-refresh", help="Rebuild this table even if it is current")
    ] = None,
    reland: Annotated[
        list[str] | None, typer.Option("--reland", help="Read the files of this source again and replace its rows")
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option("--source", help="Land this source alone, also one that is left alone; then build"),
    ] = None,
    due: Annotated[
        bool,
        typer.Option("--due", help="Of sources and reports only those whose interval is over"),
    ] = False,
    as_of: AsOfOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Rehearse on the first rows of what is new, print the plan; load nothing")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="With --dry-run: print every finding and node")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --dry-run: print it as one JSON object; with --watch: a line a round")
    ] = False,
    watch: Annotated[
        float | None,
        typer.Option(
            "--watch", min=0.1, metavar="SECONDS", help="Stay, look so often for what is new, and run where there is"
        ),
    ] = None,
    publish: Annotated[bool, typer.Option(help="Publish to the online store when gold was built")] = True,
    config: ConfigOption = None,
) -> None:
    """Land what is new and build what is not current; `run master` also loads the warehouse, `run MODEL` trains and
    scores.

    Exit code 0: all in order; 2: something failed; 5: all was done, and a source lost more rows than `loss` allows, or
    a whole file. With --watch: 0 after SIGTERM or SIGINT, which end it after the commit under way; a round that fails
    is told of and tried again.
    """
    from customer360.platform.run import LOST, RunRequest
    from customer360.serve import pipelines
    from customer360.serve.cli import rehearsal, report

    settings = configured(config)
    pipelines.check(pipeline, stage)
    if dry_run:
        _show_plan(settings, start, end or pipeline, as_of, everything, as_json)
    if as_json and watch is None:
        raise ConfigError("--json is for --dry-run and --watch: what a run did is in `customer360 status`")
    request = RunRequest(
        start=start,
        end=end,
        as_of=day(as_of),
        refresh=tuple(full_refresh or ()),
        reland=tuple(reland or ()),
        sources=tuple(source or ()),
        due=due or is_scheduled() or watch is not None,
        command=" ".join(sys.argv[1:]) or "run",
        started_by=started_by(),
    )
    if watch is not None:
        _watch(settings, watch, pipeline, stage, request, publish=publish, as_json=as_json)
        return
    record = pipelines.run(settings, pipeline, stage, request, publish=publish)
    if record is not None:
        report.run_summary(settings, record)
        rehearsal.show_losses(record)
        if record.losses:
            raise typer.Exit(LOST)


def _watch(
    settings: Settings,
    seconds: float,
    pipeline: str | None,
    stage: str | None,
    request: RunRequest,
    *,
    publish: bool,
    as_json: bool,
) -> None:
    """Rounds until somebody asks for the end; each is printed."""
    from customer360.serve import watch
    from customer360.serve.cli import report

    if request.reland or request.refresh:
        raise ConfigError("--watch goes with neither --reland nor --full-refresh: every round would do it again")

    def tell(done: watch.Round, record: Run | None) -> None:
        if as_json:
            typer.echo(json.dumps(done.as_dict(), ensure_ascii=False))
        else:
            report.round_summary(done)
        sys.stdout.flush()

    telemetry.event(f"watching the sources of {settings.name} every {seconds:g} s; SIGTERM or Ctrl-C ends it")
    watch.watch(settings, seconds, pipeline, stage, request, publish=publish, tell=tell, stop=watch.Stop())


@app.command()
def plan(
    start: Annotated[str | None, typer.Option("--from")] = None,
    end: Annotated[str | None, typer.Option("--to")] = None,
    as_of: AsOfOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Print every finding and node")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object")] = False,
    config: ConfigOption = None,
) -> None:
    """Show what a run would do, in order, and why."""
    _show_plan(configured(config), start, end, as_of, everything, as_json)


def _show_plan(
    settings: Settings, start: str | None, end: str | None, as_of: datetime | None, everything: bool, as_json: bool
) -> NoReturn:
    """Print what a run would do; exit code 1 where a source would lose rows beyond its share."""
    from customer360.platform.run import RunRequest
    from customer360.serve import jobs
    from customer360.serve.cli import rehearsal

    found = jobs.preview_pipeline(settings, RunRequest(start=start, end=end, as_of=day(as_of), command="plan"))
    if as_json:
        typer.echo(rehearsal.as_json(found))
    else:
        rehearsal.show(found, everything=everything)
    raise typer.Exit(1 if found.faults else 0)


@app.command()
def backfill(
    source: Annotated[
        str, typer.Argument(help="A database source with a column that says what is new, or an API with since:")
    ],
    start: Annotated[str, typer.Option("--from", help="From this moment (ISO 8601) or value of its column on")],
    until: Annotated[str, typer.Option("--until", help="Before this one")],
    publish: Annotated[bool, typer.Option(help="Publish to the online store when gold was built")] = True,
    config: ConfigOption = None,
) -> None:
    """Read a window of a source again, as a batch of its own; then build. The source goes on from where it stood.

    Exit codes as those of `run`.
    """
    from customer360.platform.run import LOST
    from customer360.platform.run.request import RunRequest, Window
    from customer360.serve import pipelines
    from customer360.serve.cli import rehearsal, report

    settings = configured(config)
    if source not in settings.sources:
        raise ConfigError(f"there is no source {source!r}; configured are {', '.join(settings.sources) or 'none'}")
    request = RunRequest(
        sources=(source,), window=Window(source, start, until), command=" ".join(sys.argv[1:]), started_by=started_by()
    )
    record = pipelines.run(settings, None, None, request, publish=publish)
    if record is not None:
        report.run_summary(settings, record)
        rehearsal.show_losses(record)
        if record.losses:
            raise typer.Exit(LOST)


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Sources, runs and alerts as one JSON object")] = False,
    prometheus: Annotated[
        bool, typer.Option("--prometheus", help="Sources, runs and alerts as metrics, for a textfile collector")
    ] = False,
    ask: Annotated[bool, typer.Option("--ask", help="Ask servers, too, how far bronze is behind them now")] = False,
    missing: Annotated[
        bool, typer.Option("--missing", help="Only the tables without rows, and the feed or column that each lacks")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """How each source fares, freshness and counts per table, conservation, refused rows, the last runs."""
    from customer360.serve.cli import report, sources

    settings = configured(config)
    if missing:
        if ask or prometheus:
            raise ConfigError("--missing goes with --json alone")
        report.missing(settings, as_json=as_json)
        return
    if ask and (as_json or prometheus):
        raise ConfigError("--ask prints a table; --json and --prometheus tell what the last run found")
    if as_json or prometheus:
        typer.echo(sources.as_metrics(settings) if prometheus else sources.as_json(settings), nl=not prometheus)
        return
    sources.show(settings)
    if ask:
        sources.ask(settings)
    report.status(settings)


@app.command()
def catalog(out: Annotated[Path, typer.Option(help="Folder for the pages")] = Path("docs/tables")) -> None:
    """Write the table catalogue as Markdown from the contracts; in a checkout also the matrix of requirements and the
    tree.
    """
    from customer360.pipelines.vocabulary import MEANINGS
    from customer360.platform import catalogue
    from customer360.serve.compose import compose

    compose()
    for page in catalogue.write(out, MEANINGS):
        typer.echo(page)


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
        str, typer.Argument(help="e.g. 'SELECT value_segment, count(*) FROM current.customer_360 GROUP BY 1'")
    ],
    shape: Annotated[
        Literal["table", "csv", "sheet", "json"] | None,
        typer.Option("--format", help="table: the first rows, cut to the window; csv and json (a line a row): all of "
                     "them, as they are, for programs; sheet: CSV for a spreadsheet, in which no text is a formula. "
                     "Default: table in a terminal, else csv"),
    ] = None,
    config: ConfigOption = None,
) -> None:  # fmt: skip
    """Query lake and warehouse with DuckDB; schemas are bronze, silver, gold, current (of gold, the edition of the
    newest run alone), quality, customer, behavior, personalization. It reads: a statement that writes is refused.
    """
    from customer360.platform import warehouse
    from customer360.platform.run import lake_of
    from customer360.serve.cli import rows
    from customer360.serve.jobs import warehouse_file

    settings = configured(config)
    found = warehouse.query(lake_of(settings), query, warehouse_file(settings))
    shape = shape or ("table" if sys.stdout.isatty() else "csv")
    if found is None or shape == "table":
        typer.echo(telemetry.shown(str(found)) if found is not None else found)
    else:
        rows.write(found.columns, warehouse.rows(found), sys.stdout, shape)
