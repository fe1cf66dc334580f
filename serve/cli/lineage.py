"""Where data come from, where they went, and how they came to be: lineage, blast radius, history."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from customer360.serve.cli.options import ConfigOption, configured, day

if TYPE_CHECKING:
    from customer360.platform.lineage.history import Version
    from customer360.serve.lineage import Radius, Traced

app = typer.Typer()
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object")]
PersonalOption = Annotated[bool, typer.Option("--personal", help="Show values of personal columns; noted in the audit")]
SHOWN_PATHS = 3  # ways to a table, and positions in a file, that are named
LONGEST_VALUE = 60  # characters


@app.command("lineage")
def lineage_command(
    table: Annotated[str | None, typer.Argument(help="e.g. gold.customer_360, or gold.customer_360.net_amount")] = None,
    key: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Values of the table's key, or COLUMN=VALUE")
    ] = None,
    column: Annotated[str | None, typer.Option(help="Only what this column is made of")] = None,
    person: Annotated[
        str | None, typer.Option(help="person_id, current or former; the table is gold.customer_360")
    ] = None,
    down: Annotated[bool, typer.Option("--down", help="What is made of the table or column instead")] = False,
    as_of: Annotated[
        datetime | None, typer.Option("--as-of", formats=["%Y-%m-%d"], help="Edition; default: the current one")
    ] = None,
    as_json: JsonOption = False,
    personal: PersonalOption = False,
    config: ConfigOption = None,
) -> None:
    """Where a table, a column or a row comes from: with an ID down to the records of files, and the model versions that
    scored. Derived from the builds, so it is that of the code as it is.
    """
    from customer360.serve import jobs, lineage

    settings = configured(config)
    if person is not None:
        table, key = table or lineage.PROFILES, [f"person_id={jobs.current_person(settings, person)}"]
    if table is None:
        raise typer.BadParameter("name a table, or --person")
    if column is None and not key:
        table, column = lineage.parted(table)
    name = lineage.check_table(table)
    if down and (key or person):
        raise typer.BadParameter("--down goes with a table or a column; `blast-radius` follows rows forward")
    if key:
        traced = lineage.trace(settings, name, key, column, day(as_of))
        if personal:
            lineage.note_personal(settings, f"lineage {name}")
        _print(lineage_as_json(traced, personal=personal)) if as_json else _show_trace(traced, personal=personal)
    elif column:
        found: Any = (
            lineage.columns_reached(settings, name, column) if down else lineage.columns_behind(settings, name, column)
        )
        told = found if down else found.in_words
        _print(told) if as_json else _show_uses(told)
    else:
        told = lineage.tables_around(name, down=down)
        _print(told) if as_json else _show_uses(told)


@app.command("blast-radius")
def blast_radius_command(
    what: Annotated[
        str, typer.Argument(metavar="FILE|BATCH", help="A landed file, by its path or name; or SOURCE/NUMBER")
    ],
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Everything that a file or a batch touched: rows table by table, people, models trained on it, what is served; and
    what can be done about it.
    """
    from customer360.serve import lineage

    found = lineage.blast_radius(configured(config), what)
    _print(radius_as_json(found)) if as_json else _show_radius(found)


@app.command("history")
def history_command(
    table: Annotated[str, typer.Argument(help="e.g. silver.transactions or bronze.service_tickets")],
    key: Annotated[list[str], typer.Argument(metavar="ID...", help="Values of the table's key, or COLUMN=VALUE")],
    as_json: JsonOption = False,
    personal: PersonalOption = False,
    config: ConfigOption = None,
) -> None:
    """Every version of a record: each as it was delivered, when, in which file, and what became of it; and as the table
    stored it, as far back as its versions are kept.
    """
    from customer360.serve import lineage

    settings = configured(config)
    name = lineage.check_table(table)
    delivered, stored, before = lineage.versions(settings, name, key)
    if not delivered and not stored:
        typer.echo(f"nothing is, or was, known of {' '.join(key)} in {name}", err=True)
        raise typer.Exit(1)
    if personal:
        lineage.note_personal(settings, f"history {name}")
    bronze = lineage.delivered_in(name)
    if as_json:
        made = {
            "delivered": [version_as_json(bronze, v, personal=personal) for v in delivered],
            "stored": [version_as_json(name, v, personal=personal) for v in stored],
            "stored_before": before,
        }
        _print(made)
        return
    if delivered:
        _show_versions(f"Delivered to {bronze}", bronze, delivered, personal=personal)
    if stored:
        _show_versions(f"Stored in {name}", name, stored, personal=personal)
    if before:
        typer.echo(f"{before} versions of {name} before these were not looked into, or their files were deleted")


@app.command("openlineage")
def openlineage_command(
    run: Annotated[str | None, typer.Option(help="Id of a run, as `status` shows it; default: the newest")] = None,
    send: Annotated[bool, typer.Option("--send", help="Deliver to where the settings say; else print")] = False,
    config: ConfigOption = None,
) -> None:
    """The OpenLineage events of a run, made again from the ledger: one JSON object a line, or delivered."""
    from customer360.serve import lineage

    settings = configured(config)
    events = list(lineage.events(settings, run))
    if send:
        typer.echo(f"{lineage.deliver(settings, events)} events delivered")
        return
    for event in events:
        sys.stdout.write(json.dumps(event, ensure_ascii=False) + "\n")


# ---- what is printed ------------------------------------------------------------------------------------------


def _print(made: Any) -> None:
    typer.echo(json.dumps(made, ensure_ascii=False, default=str))


def _show_uses(told: dict[str, list[str]]) -> None:
    for name, uses in told.items():
        typer.echo(name)
        for use in uses:
            typer.echo(f"    {use}")


def lineage_as_json(traced: Traced, *, personal: bool) -> dict[str, Any]:
    """A trace as one object: the rows, what their columns are made of, tables, files and models behind them."""
    from dataclasses import asdict

    from customer360.serve.lineage import covered

    return {
        "table": traced.table,
        "rows": [covered(traced.table, row, personal=personal) for row in traced.row.to_dicts()],
        "columns": traced.columns.in_words,
        "tables": [
            {"table": s.table, "rows": s.rows.height, "by": list(s.by), "whole": list(s.whole)} for s in traced.steps
        ],
        "files": traced.files.to_dicts(),
        "models": [asdict(each) for each in traced.models],
        "reasons": traced.reasons,
    }


def _show_trace(traced: Traced, *, personal: bool) -> None:
    from customer360.serve.cli import report
    from customer360.serve.lineage import covered

    asked = [c for t, c in traced.columns.uses if t == traced.table][:1]
    for row in traced.row.to_dicts():
        shown = covered(traced.table, row, personal=personal)
        named = {c: shown[c] for c in [*traced.row.columns[:2], *asked]}
        typer.echo(f"{traced.table}: " + ", ".join(f"{c} = {_short(v)}" for c, v in named.items()))
    _show_uses({name: uses for name, uses in traced.columns.in_words.items() if uses})
    grid = report.grid("Rows behind it", "table", "rows", "because")
    for step in traced.steps:
        if step.rows.height:
            grid.add_row(step.table, f"{step.rows.height:,}", _ways(step.by))
    report.console.print(grid)
    if whole := [s.table for s in traced.steps if s.whole and not s.rows.height]:
        typer.echo(f"read as a whole: {', '.join(whole)}")
    if traced.files.height:
        grid = report.grid("Records of files", "table", "batch", "file", "records", "at")
        for table, source, seq, file, count, places in traced.files.rows():
            at = ", ".join(map(str, places[:SHOWN_PATHS])) + (", …" if count > SHOWN_PATHS else "")
            grid.add_row(table, f"{source}/{seq}", file, f"{count:,}", at)
        report.console.print(grid)
    for each in traced.models:
        data = ", ".join(f"{name} version {version}" for name, version in each.data.items())
        typer.echo(
            f"scored by {each.name} version {each.version} ({each.stage}), trained as of {each.trained_as_of} "
            f"on {data}; run {each.run_id}"
        )

    for reason in traced.reasons:
        typer.echo(f"  {reason['model']}: {reason['feature']} = {_short(reason['value'])}")


def radius_as_json(found: Radius) -> dict[str, Any]:
    """A blast radius as one object."""
    from dataclasses import asdict

    from customer360.platform.lineage.reach import remedies

    reached = found.reach
    return {
        "delivered": [asdict(each) for each in reached.delivered],
        "landed": dict(reached.landed),
        "refused": dict(reached.refused),
        "tables": [
            {"table": s.table, "rows": s.rows.height, "by": list(s.by), "whole": list(s.whole)} for s in reached.tables
        ],
        "persons": reached.persons,
        "warehouse": list(reached.stars),
        "models": [asdict(each) for each in found.models],
        "publication": found.publication.id if found.publication else None,
        "remedies": [list(each) for each in remedies(reached)],
    }


def _show_radius(found: Radius) -> None:
    from customer360.platform.lineage.reach import remedies
    from customer360.serve.cli import report

    reached = found.reach
    for each in reached.delivered:
        typer.echo(f"{each.file} of {each.batch}, {each.state}, came in at {each.landed_at:%Y-%m-%d %H:%M:%S} UTC")
    for what, count in reached.refused.items():
        typer.echo(f"  {count:,} {what}")
    grid = report.grid("Rows made with it", "table", "rows", "because")
    for step in reached.tables:
        if step.rows.height:
            grid.add_row(step.table, f"{step.rows.height:,}", _ways(step.by) or "landed")
    report.console.print(grid)
    if whole := [s.table for s in reached.tables if s.whole and not s.rows.height]:
        typer.echo(f"made of such a table as a whole: {', '.join(whole)}")
    typer.echo(f"people with such a row: {reached.persons:,}")
    if reached.stars:
        typer.echo(f"warehouse tables loaded from these: {', '.join(reached.stars)}")
    for model in found.models:
        typer.echo(f"trained on it: {model.name} version {model.version} ({model.stage}), as of {model.trained_as_of}")
    if found.publication:
        typer.echo(f"served: publication {found.publication.id} was made with it")
    typer.echo("What can be done:")
    said = remedies(reached)
    for command, effect in said:
        typer.echo(f"  {command:<{max(len(each) for each, _ in said)}}  {effect}")


def _ways(by: tuple[str, ...]) -> str:
    more = f", and {len(by) - SHOWN_PATHS} more" if len(by) > SHOWN_PATHS else ""
    return ", ".join(by[:SHOWN_PATHS]) + more


def version_as_json(table: str, version: Version, *, personal: bool) -> dict[str, Any]:
    """A version as one object; values of personal columns are masked unless they may be seen."""
    from customer360.serve.lineage import covered

    return {
        "known_at": version.known_at,
        "by": version.by,
        "state": version.state,
        "values": covered(table, dict(version.values), personal=personal),
        "changed": {c: list(pair) for c, pair in _changes(table, version, personal=personal).items()},
    }


def _show_versions(title: str, table: str, found: list[Version], *, personal: bool) -> None:
    from customer360.serve.cli import report
    from customer360.serve.lineage import covered

    grid = report.grid(title, "known at", "state", "because", "changed")
    for version in found:
        changes = _changes(table, version, personal=personal)
        said = "; ".join(f"{c}: {_short(old)} → {_short(new)}" for c, (old, new) in changes.items())
        if not version.changed and version is found[0]:
            values = covered(table, dict(version.values), personal=personal)
            said = ", ".join(f"{c} = {_short(v)}" for c, v in values.items() if v is not None)
        grid.add_row(f"{version.known_at:%Y-%m-%d %H:%M:%S}", version.state, version.by, said)
    report.console.print(grid)


def _changes(table: str, version: Version, *, personal: bool) -> dict[str, tuple[Any, Any]]:
    from customer360.serve.lineage import covered

    old = covered(table, {c: pair[0] for c, pair in version.changed.items()}, personal=personal)
    new = covered(table, {c: pair[1] for c, pair in version.changed.items()}, personal=personal)
    return {c: (old[c], new[c]) for c in version.changed}


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"


__all__ = ["app"]
