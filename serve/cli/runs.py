"""Runs of the past: who or what started them, what they did, and how they ended."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from customer360.platform.errors import ConfigError
from customer360.serve.cli.options import ConfigOption, configured

if TYPE_CHECKING:
    from customer360.platform.ledger import Run

app = typer.Typer()
group = typer.Typer(no_args_is_help=True, help="Runs of the past: who started them, what they did, how they ended.")
app.add_typer(group, name="runs")


@group.command("list")
def list_command(
    limit: Annotated[int, typer.Option(min=1, help="The newest so many")] = 20,
    failed: Annotated[bool, typer.Option("--failed", help="Those alone that did not end with 0")] = False,
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M"], help="Begun from then on (UTC)")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a line, newest first")] = False,
    config: ConfigOption = None,
) -> None:
    """The newest runs, newest first."""
    from customer360.platform import ledger
    from customer360.platform.lake.lock import LOCK, holder_of
    from customer360.platform.run import lake_of
    from customer360.serve.cli import report
    from customer360.serve.operations import about

    first = since.isoformat() if since else ""
    lake = lake_of(configured(config))
    holder = holder_of(lake.root, lake.get(LOCK))
    shown: list[dict[str, Any]] = []
    for record in ledger.runs(lake, 100_000 if failed or since else limit):
        if record.started_at < first or len(shown) == limit:
            break
        if not failed or record.exit_code != 0:
            shown.append(about(record, holder, lake.root))
    if as_json:
        for each in shown:
            typer.echo(json.dumps(each, ensure_ascii=False))
        return
    grid = report.grid("Runs", "run", "command", "state", "code", "started by", "seconds", "landed", "dead", "nodes")
    for each in shown:
        landed, dead = (sum(s[count] for s in each["sources"].values()) for count in ("landed", "dead"))
        nodes = ", ".join(f"{count} {state}" for state, count in each["nodes"].items())
        grid.add_row(
            each["run"], each["command"][:60], each["state"], _or_empty(each["exit_code"]), each["started_by"],
            _or_empty(each["seconds"]), f"{landed:,}", f"{dead:,}", nodes,
        )  # fmt: skip
    report.console.print(grid)


@group.command("show")
def show_command(
    run: Annotated[str, typer.Argument(help="Id of the run, as `runs list` shows it; `last`: the newest")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object")] = False,
    config: ConfigOption = None,
) -> None:
    """One run: its sources with their batches and rows, what it built, and why something failed."""
    from customer360.platform import ledger
    from customer360.platform.lake.lock import LOCK, holder_of
    from customer360.platform.run import lake_of
    from customer360.serve.cli import report
    from customer360.serve.operations import COUNTS, about

    lake = lake_of(configured(config))
    found = next(iter(ledger.runs(lake, 1)), None) if run == "last" else ledger.run_of(lake, run)
    if found is None:
        raise ConfigError(f"there is no run {run!r}: `customer360 runs list`")
    told = about(found, holder_of(lake.root, lake.get(LOCK)), lake.root)
    if as_json:
        typer.echo(json.dumps(told | {"tables": _tables(found)}, ensure_ascii=False, indent=2))
        return
    for name in ("run", "command", "state", "exit_code", "error", "started_by", "host", "pid", "started_at", "ended_at", "seconds", "as_of"):  # fmt: skip  # noqa: E501
        report.console.print(f"{name:<12}{_or_empty(told[name])}", highlight=False, soft_wrap=True)
    sources = report.grid("Sources", "source", "state", "batches", *COUNTS, "reason")
    for name, each in told["sources"].items():
        batches = ", ".join(map(str, each["batches"]))
        sources.add_row(name, each["state"], batches, *(f"{each[count]:,}" for count in COUNTS), each["reason"])
    report.console.print(sources)
    built = report.grid("Tables", "node", "state", "rows", "seconds", "reason")
    for table in _tables(found):
        built.add_row(table["node"], table["state"], f"{table['rows']:,}", f"{table['seconds']:.1f}", table["reason"])
    report.console.print(built)
    for loss in found.losses:
        report.console.print(f"lost: {loss}", style="red")


def _tables(record: Run) -> list[dict[str, Any]]:
    return [
        {"node": n.node, "state": n.state, "rows": n.rows, "seconds": round(n.seconds, 3), "reason": n.reason}
        for n in record.nodes
        if not n.node.startswith("source ")
    ]


def _or_empty(value: Any) -> str:
    return "" if value is None else str(value)
