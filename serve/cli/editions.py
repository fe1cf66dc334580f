"""Editions of the dated tables: list them, withdraw one that was made for a wrong date."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from customer360.serve.cli.options import ConfigOption, configured

app = typer.Typer()
group = typer.Typer(no_args_is_help=True, help="Editions of the dated tables: one for every date of a run.")
app.add_typer(group, name="edition")


@group.command("list")
def list_command(config: ConfigOption = None) -> None:
    """Show the dates that dated tables hold rows for, and which of them the newest run made the current one."""
    from customer360.platform.lake import editions
    from customer360.platform.run import lake_of
    from customer360.serve.cli import report
    from customer360.serve.publication.inputs import PROFILES

    lake = lake_of(configured(config))
    current = editions.current_edition(lake, PROFILES, lake.files(PROFILES))
    grid = report.grid("Editions", "as of", "state", "tables", "rows")
    for day, rows in editions.stored(lake).items():
        state = "current" if current and current.as_of == day else ""
        grid.add_row(str(day), state, f"{len(rows):,}", f"{sum(rows.values()):,}")
    report.console.print(grid)


@group.command("withdraw")
def withdraw_command(
    as_of: Annotated[datetime, typer.Argument(metavar="DATE", formats=["%Y-%m-%d"], help="As `edition list` shows it")],
    config: ConfigOption = None,
) -> None:
    """Remove the edition of a date from every table, and publish without it. Earlier table versions keep it until
    `lake vacuum`.
    """
    from customer360.serve import jobs

    removed = jobs.withdraw_edition(configured(config), as_of.date())
    typer.echo(f"withdrew {as_of.date()}: {sum(removed.values()):,} rows of {len(removed)} tables")
