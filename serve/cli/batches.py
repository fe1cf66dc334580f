"""Batches of the sources: what came in, what sticks, and what a person does about it."""

from __future__ import annotations

from typing import Annotated

import typer

from customer360.serve.cli.options import ConfigOption, configured

app = typer.Typer()
batch_app = typer.Typer(no_args_is_help=True, help="Batches that came in: list, retry what failed, confirm, drop.")
app.add_typer(batch_app, name="batch")


@batch_app.command("list")
def batch_list(
    source: Annotated[str | None, typer.Argument(help="One source; default: all")] = None, config: ConfigOption = None
) -> None:
    """Batches with state, files, rows and dead letters, and why something sticks."""
    from customer360.serve.cli import report

    report.batches(configured(config), source)


@batch_app.command("retry")
def batch_retry(
    source: str,
    batch: Annotated[int | None, typer.Argument(help="Number of the batch; default: all of the source")] = None,
    config: ConfigOption = None,
) -> None:
    """Read files again that failed as a whole; exit code 1 where some fail again."""
    from customer360.serve import jobs
    from customer360.serve.cli import report

    settings = configured(config)
    done = jobs.retry_batch(settings, source, batch)
    typer.echo(f"{done.inputs} files of {source} read again, {done.rows:,} rows landed; customer360 run builds on them")
    for line in done.kept:
        typer.echo(line)
    if report.batches(settings, source):
        raise typer.Exit(1)


@batch_app.command("confirm")
def batch_confirm(
    source: str,
    batch: Annotated[int, typer.Argument(help="Number of the batch, as `batch list` shows it")],
    config: ConfigOption = None,
) -> None:
    """Let a snapshot delete what it lacks that was held back: it is right although it shrank or is not whole."""
    from customer360.serve import jobs

    count = jobs.confirm_batch(configured(config), source, batch)
    typer.echo(f"{count} snapshots of batch {batch} of {source} confirmed; customer360 run deletes what they lack")


@batch_app.command("drop")
def batch_drop(
    source: str,
    batch: Annotated[int, typer.Argument(help="Number of the batch, as `batch list` shows it")],
    ignore: Annotated[bool, typer.Option("--ignore", help="Its files stay known and are not read again")] = False,
    config: ConfigOption = None,
) -> None:
    """Take a batch back: its rows leave the lake. Its files are new to the next run, unless they are to be ignored."""
    from customer360.serve import jobs

    rows = jobs.drop_batch(configured(config), source, batch, ignore=ignore)
    then = "its files are not read again" if ignore else "the next run reads its files again"
    typer.echo(f"batch {batch} of {source} dropped: {rows:,} rows left bronze; {then}")
