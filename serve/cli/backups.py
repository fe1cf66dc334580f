"""Back up lake, state folder and configuration; restore them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from customer360.serve.cli.options import ConfigOption, configured

app = typer.Typer()


@app.command("backup")
def backup_command(
    destination: Annotated[str, typer.Argument(metavar="DEST", help="Folder, or URL of an object store")],
    keep: Annotated[
        int | None, typer.Option(min=1, help="Only the newest so many backups stay there; default: all")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Back up nothing: read every file of every backup, compare its checksum")
    ] = False,
    listed: Annotated[bool, typer.Option("--list", help="Back up nothing: show which backups are there")] = False,
    config: ConfigOption = None,
) -> None:
    """Back up lake, state folder and configs as of one moment, also while runs and servers go on. What is there already
    is not copied again.

    Not in it: the landing zone, environment variables, keys in plain. It holds personal data: guard it like the lake.
    """
    from customer360.platform import telemetry
    from customer360.serve import recovery

    settings = configured(config, whole=())
    repository = recovery.repository_of(settings, destination)
    if listed:
        _show(repository)
        return
    if verify:
        with telemetry.heartbeat("reading every backup"):
            damaged = list(repository.verify())
        for line in damaged:
            typer.echo(line)
        typer.echo(f"{len(repository.ids())} backups in {repository.root}: " + _count(damaged))
        raise typer.Exit(1 if damaged else 0)
    with telemetry.heartbeat("backing up"):
        done = recovery.take(settings, config, repository, keep)
    sizes = [kept.size for _, kept in done.snapshot.every_file()]
    typer.echo(
        f"backup {done.snapshot.id} in {repository.root}: {len(sizes):,} files, {sum(sizes):,} bytes, "
        f"{len(done.snapshot.tables)} tables; new there: {done.new_files:,} files, {done.new_bytes:,} bytes"
        + (f"; {done.freed_bytes:,} bytes of older backups deleted" if done.freed_bytes else "")
    )
    for path, reason in sorted(done.snapshot.left_out.items()):
        typer.echo(f"left out: {path} ({reason})")
    for path in done.secrets:
        typer.echo(f"{path} holds storage options or credentials, and so does the backup")


def _count(damaged: list[str]) -> str:
    return f"{len(damaged)} files are damaged or gone" if damaged else "every file is as it was written"


def _show(repository: object) -> None:
    from customer360.platform.backup import Repository
    from customer360.serve.cli import report

    assert isinstance(repository, Repository)
    grid = report.grid(f"Backups in {repository.root}", "run", "as of", "tables", "files", "bytes")
    for each in repository.snapshots():
        sizes = [kept.size for _, kept in each.every_file()]
        grid.add_row(each.id, f"{each.at:%Y-%m-%d %H:%M:%S} UTC", str(len(each.tables)), f"{len(sizes):,}",
                     f"{sum(sizes):,}")  # fmt: skip
    report.console.print(grid)


@app.command()
def restore(
    source: Annotated[str, typer.Argument(metavar="SRC", help="Where `customer360 backup` wrote")],
    at: Annotated[
        str | None, typer.Option(help="A moment (2026-03-01T12:00, UTC) or id: the backup of then; default: the newest")
    ] = None,
    into: Annotated[
        Path | None, typer.Option(help="Folder that lake, state and configs go to; default: their places")
    ] = None,
    erasures: Annotated[
        str | None, typer.Option(help="A later lake: who was erased there is erased from what is restored")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Make lake and state folder of a backup again where there are none, erase who was erased since, and look for
    damage: code 1 where there is some.
    """
    from customer360.platform import telemetry
    from customer360.serve import recovery

    settings = configured(config, whole=())
    repository = recovery.repository_of(settings, source)
    with telemetry.heartbeat("restoring"):
        done = recovery.restore(settings, repository, at, into, erasures)
    typer.echo(f"restored {done.snapshot.id} ({done.snapshot.at:%Y-%m-%d %H:%M:%S} UTC): {done.size:,} bytes")
    typer.echo(f"  lake   {done.settings.lake.root}")
    typer.echo(f"  state  {done.settings.state}")
    if into is not None:
        typer.echo("  " + " ".join(f"{k}={v}" for k, v in recovery.in_settings(done.settings).items()))
    if done.erased:
        typer.echo(f"erased again: {len(done.erased)} persons who were erased after this backup")
    for notice in done.notices:
        typer.echo(notice)
    for each in done.findings:
        typer.echo(f"{each.file}\n  {each.fault}\n  {each.remedy}")
    typer.echo(f"{len(done.findings)} damaged" if done.findings else "nothing is damaged")
    if done.findings:
        raise typer.Exit(1)
