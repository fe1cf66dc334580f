"""The `customer360` command: one module a subject, put together here."""

from __future__ import annotations

import typer

from customer360.platform.errors import Customer360Error
from customer360.serve.cli import (
    audiences,
    batches,
    editions,
    identity,
    init,
    keys,
    lake,
    models,
    offline,
    pipelines,
    quality,
    serving,
    systems,
    warehouse,
)
from customer360.serve.cli import people as people  # adds its commands to the group of identity

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Retail Customer 360: raw files in, a personalized answer out.",
)
for subject in (
    init,
    pipelines, systems, models, offline, audiences, batches, quality, serving, keys, lake, editions,
    warehouse, identity,
):  # fmt: skip
    app.add_typer(subject.app)  # without a name: its commands stand at the top


def main() -> None:
    """Entry point: project errors end with their message and exit code 2, without a traceback."""
    try:
        app()
    except Customer360Error as fault:
        typer.echo(f"error: {fault}", err=True)
        raise SystemExit(2) from None
