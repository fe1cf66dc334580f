"""Upkeep of the lake: fold small files, delete what no promised version needs, and what the policy does not keep."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from customer360.serve.cli.options import ConfigOption, configured

if TYPE_CHECKING:
    from customer360.platform.lake import Lake

app = typer.Typer()
group = typer.Typer(no_args_is_help=True, help="Upkeep of the lake's files, and what the policy does not keep.")
app.add_typer(group, name="lake")

DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done")]


@group.command("compact")
def compact_command(
    names: Annotated[list[str] | None, typer.Argument(metavar="[TABLE]...", help="Default: all of bronze")] = None,
    dry_run: DryRunOption = False,
    config: ConfigOption = None,
) -> None:
    """Fold the small files that batches leave in bronze into large ones, also where they are fewer than a run waits
    for; nothing is built again for it.
    """
    from customer360.platform.run import lake_of, upkeep
    from customer360.serve.cli import report

    settings = configured(config)
    lake = lake_of(settings)
    if built := [n for n in names or () if not n.startswith("bronze.") and n not in upkeep.GROWING]:
        raise typer.BadParameter(
            f"{', '.join(built)}: only bronze grows by small files; a run writes the other tables one file a bucket"
        )
    grid = report.grid("Would fold" if dry_run else "Folded", "table", "files before", "files after")
    with lake.run_lock("lake compact"):
        for name in _stored(lake, names, "bronze.") if names else upkeep.growing(lake):
            done = upkeep.compact(lake, name, settings.lake.of(name), dry_run=dry_run)
            grid.add_row(name, f"{done.before:,}", f"{done.after:,}")
    report.console.print(grid)


@group.command("vacuum")
def vacuum_command(
    names: Annotated[list[str] | None, typer.Argument(metavar="[TABLE]...", help="Default: all tables")] = None,
    days: Annotated[
        int | None,
        typer.Option("--retention-days", help="Versions of so many days stay readable: 30 unless said, 7 at least"),
    ] = None,
    dry_run: DryRunOption = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask")] = False,
    config: ConfigOption = None,
) -> None:
    """Delete files that no version of the last days needs, those with erased people among them. Cannot be undone.

    `identity show --as-of` and whoever else reads earlier versions goes back no further than that.
    """
    from customer360.platform.lake import upkeep
    from customer360.platform.run import lake_of
    from customer360.serve.cli import report

    lake = lake_of(configured(config))
    retention = upkeep.KEPT if days is None else timedelta(days=days)
    if not dry_run and not yes:
        typer.confirm(f"Delete versions of {lake.root} that are older than {retention.days} days?", abort=True)
    grid = report.grid("Would be freed" if dry_run else "Freed", "table", "files", "bytes")
    with lake.run_lock("lake vacuum"):
        freed = [upkeep.vacuum(lake, name, retention, dry_run=dry_run) for name in _stored(lake, names, "")]
    for each in (f for f in freed if f.files):
        grid.add_row(each.table, f"{each.files:,}", f"{each.size:,}")
    report.console.print(grid)
    typer.echo(
        f"{sum(f.files for f in freed):,} files, {sum(f.size for f in freed):,} bytes of {len(freed)} tables "
        + ("would be freed" if dry_run else "freed")
    )


@group.command("retire")
def retire_command(dry_run: DryRunOption = False, config: ConfigOption = None) -> None:
    """Take out what configs/rules/policy.yaml does not keep any longer, as runs do.

    Rows of bronze and of logs, editions of dated gold, files of the state folder. What is built on rows that went
    follows with the next run.
    """
    from customer360.platform.run import lake_of
    from customer360.serve import expiry
    from customer360.serve.cli import report

    settings = configured(config)
    grid = report.grid("Would go" if dry_run else "Gone", "what", "rows or files", "kept for days")
    with lake_of(settings).run_lock("lake retire"):
        days, rows = expiry.periods(settings), expiry.retired(settings, dry_run=dry_run)
        files = expiry.retire_files(settings, dry_run=dry_run)
    for name, count in rows.items():
        grid.add_row(name, f"{count:,}", f"{days[name]:,}")
    own = {str(kind): number for kind, number in expiry.rules(settings).state_days.items()}
    for kind, count in files.items():
        grid.add_row(f"{kind} (state folder)", f"{count:,}", f"{own[kind]:,}")
    report.console.print(grid)
    if not days and not own:
        typer.echo("the policy keeps everything: no keep_days in configs/rules/policy.yaml")


def _stored(lake: Lake, names: list[str] | None, prefix: str) -> list[str]:
    """The named tables, or all stored ones below a prefix. An unknown name is refused."""
    from customer360.platform import tables

    if names:
        return [tables.spec(tables.by_name(name)).name for name in names]
    return [name for name in sorted(tables.TABLES) if name.startswith(prefix) and lake.exists(name)]
