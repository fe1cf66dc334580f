"""Load the warehouse, look at it, write its DDL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from customer360.serve.cli.options import ConfigOption, configured

if TYPE_CHECKING:
    from customer360.platform.warehouse.load import LoadReport

app = typer.Typer()
group = typer.Typer(no_args_is_help=True, help="The star schemas CUSTOMER, BEHAVIOR and PERSONALIZATION, for analysts.")
app.add_typer(group, name="warehouse")


@group.command("load")
def load_command(config: ConfigOption = None) -> None:
    """Bring the star up to date with the lake: what changed is merged, then everything is counted and summed."""
    from customer360.serve import jobs

    settings = configured(config)
    show(jobs.load_warehouse(settings))
    typer.echo(f"warehouse: {jobs.warehouse_file(settings)}")


@group.command("ddl")
def ddl_command(
    dialect: Annotated[str, typer.Option(help="duckdb, snowflake, postgresql, mysql, sqlite or mssql")] = "duckdb",
    clone: Annotated[str | None, typer.Option(help="Snowflake: also clone each schema to <schema>_<this>")] = None,
) -> None:
    """Print the star's DDL, written from the contracts."""
    from customer360.platform import warehouse
    from customer360.serve.compose import compose

    compose()
    typer.echo(warehouse.star_ddl(dialect, clone))


@group.command("status")
def status_command(config: ConfigOption = None) -> None:
    """Rows, parts and freshness of each table, and the last reconciliation."""
    from customer360.platform.warehouse.load import state
    from customer360.serve import jobs
    from customer360.serve.cli import report

    listed, checks = state(jobs.warehouse_file(configured(config)))
    grid = report.grid("Warehouse", "table", "rows", "parts", "last commit")
    for row in listed.to_dicts():
        grid.add_row(
            row["table_name"], f"{row['rows']:,}", str(row["parts"]), f"{row['loaded_at']:%Y-%m-%d %H:%M:%S} UTC"
        )
    report.console.print(grid)
    measured = report.grid(
        "Reconciliation of the last load that changed anything", "table", "measure", "star", "lake", "equal"
    )
    for row in checks.to_dicts():
        measured.add_row(
            row["table_name"], row["measure"], row["star_value"], row["lake_value"], "yes" if row["is_equal"] else "NO"
        )
    report.console.print(measured)


def show(done: LoadReport) -> None:
    """Print what a load did: tables, then counts and sums of star and lake."""
    from customer360.serve.cli import report

    grid = report.grid("Warehouse", "table", "state", "rows", "changed", "parts loaded")
    for each in done.tables:
        grid.add_row(each.table, each.state, f"{each.rows:,}", f"{each.changed:,}", f"{each.loaded} of {each.parts}")
    report.console.print(grid)
    sums = report.grid("Reconciliation: star = lake", "table", "measure", "star", "lake", "equal")
    for check in (c for c in done.checks if "without a row in" not in c.measure):
        sums.add_row(
            check.table, check.measure, _number(check.star), _number(check.lake), "yes" if check.holds else "NO"
        )
    report.console.print(sums)
    keys = [c for c in done.checks if "without a row in" in c.measure]
    report.console.print(
        f"{len(keys)} references between facts and dimensions, {sum(c.star for c in keys):,} keys without a row; "
        + ("nothing was new, everything is current" if done.is_current else f"{len(done.checks)} checks hold")
    )


def _number(value: object) -> str:
    return f"{value:,.4f}" if isinstance(value, float) else f"{value:,}"
