"""Schemas of the sources: what they bring, what changed of it, and what a person lets in."""

from __future__ import annotations

from typing import Annotated

import typer

from customer360.platform.audit import user
from customer360.serve.cli.options import ConfigOption, configured

app = typer.Typer()
schema_app = typer.Typer(no_args_is_help=True, help="Columns and types that sources bring: list, show, diff, accept.")
app.add_typer(schema_app, name="schema")
Subject = Annotated[str, typer.Argument(help="A source, or a bronze table")]


@schema_app.command("list")
def schema_list(config: ConfigOption = None) -> None:
    """Every source with its schema contract, the version and columns that are known of it, and what waits."""
    from customer360.serve.cli import schema_report

    schema_report.overview(configured(config))


@schema_app.command("show")
def schema_show(
    subject: Subject,
    version: Annotated[int | None, typer.Option(min=1, help="A version; default: the newest")] = None,
    config: ConfigOption = None,
) -> None:
    """The columns of a source or of a bronze table's contract, with their types."""
    from customer360.serve.cli import schema_report

    schema_report.columns(configured(config), subject, version)


@schema_app.command("history")
def schema_history(subject: Subject, config: ConfigOption = None) -> None:
    """The versions of a source or of a bronze table's contract: what each changed, who let it in, and when."""
    from customer360.serve.cli import schema_report

    schema_report.history(configured(config), subject)


@schema_app.command("diff")
def schema_diff(
    subject: Annotated[str | None, typer.Argument(help="A source, or a bronze table; default: all")] = None,
    config: ConfigOption = None,
) -> None:
    """What a source brings now, and what a contract says now, against what is known; exit code 1 where they differ.

    What waits at the source is read as a run would read it; nothing is written.
    """
    from customer360.serve.cli import schema_report

    if schema_report.differences(configured(config), subject):
        raise typer.Exit(1)


@schema_app.command("accept")
def schema_accept(
    subject: Subject,
    column: Annotated[
        list[str] | None, typer.Option("--column", help="Only changes of this column; may repeat")
    ] = None,
    actor: Annotated[str | None, typer.Option(help="Who decides; default: the user of this process")] = None,
    config: ConfigOption = None,
) -> None:
    """Let in what a frozen source brings: the next run lands the batch that waits. Of a bronze table: cast what is
    stored to the types of its contract."""
    from customer360.serve import jobs

    for line in jobs.accept_schema(configured(config), subject, column or [], actor or user()):
        typer.echo(line)
