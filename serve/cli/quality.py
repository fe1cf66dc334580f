"""How good the data are; what was refused, and its repair."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from customer360.serve.cli.options import ConfigOption, configured

app = typer.Typer()
quarantine_app = typer.Typer(no_args_is_help=True, help="Rows and records that were refused: list, export, replay.")
app.add_typer(quarantine_app, name="quarantine")


@app.command("quality")
def show_quality(
    html: Annotated[Path | None, typer.Option(help="Also write a page with pictures to this file")] = None,
    limit: Annotated[int, typer.Option(min=0, help="Rules and people shown")] = 15,
    config: ConfigOption = None,
) -> None:
    """Tables in five dimensions, alerts, what fails most, and who needs more data; personal data is masked."""
    from customer360.platform.run import lake_of
    from customer360.serve.cli import report
    from customer360.serve.publication import quality

    settings = configured(config)
    found = quality.overview(lake_of(settings), limit)
    report.quality_summary(found, limit)
    if html:
        html.write_text(quality.page(found, settings.name), encoding="utf-8")
        typer.echo(f"page: {html}")


@quarantine_app.command("list")
def quarantine_list(
    table: Annotated[str | None, typer.Option(help="bronze table")] = None,
    rule: str | None = None,
    limit: int = 20,
    config: ConfigOption = None,
) -> None:
    """Refused rows with rule and place; personal values are masked."""
    from customer360.serve.cli import report

    report.refused(configured(config), table, rule, limit)


@quarantine_app.command("export")
def quarantine_export(
    out: Annotated[Path, typer.Option(help="JSON-lines file, readable by you alone: it holds personal data")],
    table: str | None = None,
    config: ConfigOption = None,
) -> None:
    """Write refused rows and dead letters to a file for repair."""
    from customer360.platform.run import lake_of, replay

    rows, letters = replay.export(lake_of(configured(config)), out, table)
    typer.echo(
        f"{rows} quarantined rows and {letters} dead letters in {out}; "
        f"repair them, then: customer360 quarantine replay {out}"
    )


@quarantine_app.command("replay")
def quarantine_replay(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)], config: ConfigOption = None
) -> None:
    """Land repaired rows as corrections and build on."""
    from customer360.platform.run import RunRequest, lake_of, replay
    from customer360.serve import jobs
    from customer360.serve.cli import report

    settings = configured(config)
    for source, rows in replay.replay(lake_of(settings), settings, file).items():
        typer.echo(f"{rows} corrections of {source}")
    report.run_summary(settings, jobs.run_pipeline(settings, RunRequest(command="quarantine replay")))
