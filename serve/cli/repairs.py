"""Automatic repairs: how many stand by rule, each of them, and where a rule file undoes it."""

from __future__ import annotations

import json
from typing import Annotated

import polars as pl
import typer

from customer360.serve.cli.options import ConfigOption, configured

app = typer.Typer()
repairs_app = typer.Typer(
    no_args_is_help=True, help="What was repaired without asking: counts, rows, and how to undo it in a rule file."
)
app.add_typer(repairs_app, name="repairs")
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON: of `list` one array, of `show` a line a repair")]


@repairs_app.command("list")
def list_repairs(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """How many repairs of each rule stand, by table and column, and what undoes them."""
    from customer360.pipelines import repairs
    from customer360.platform.run import lake_of
    from customer360.serve.cli import report
    from customer360.serve.compose import rules_of

    settings = configured(config)
    found, rules = repairs.standing(lake_of(settings)).to_dicts(), rules_of(settings)
    if as_json:
        typer.echo(json.dumps(found, default=str, indent=2))
        return
    shown = report.grid("Automatic repairs that stand", "rule", "table", "column", "rows", "change", "made", "run")
    for row in found:
        made = repairs.RULES[row["rule"]].is_applied(rules, row["table_name"], row["column_name"])
        counts = f"{row['row_count']:,}", f"{row['change_count']:+,}"
        at = row["rule"], row["table_name"], row["column_name"]
        shown.add_row(*at, *counts, "yes" if made else "off", row["run_id"])
    report.console.print(shown)
    for rule in repairs.RULES.values():
        report.console.print(f"{rule.name}: {rule.what}; undone by: {rule.switch}", soft_wrap=True, highlight=False)


@repairs_app.command("show")
def show_repairs(
    rule: Annotated[str, typer.Argument(help="As `repairs list` names it")],
    table: Annotated[str | None, typer.Option(help="Bronze table; of rules that repair any")] = None,
    column: Annotated[str | None, typer.Option(help="Only repairs of this column")] = None,
    key: Annotated[str | None, typer.Option(help="Only of this record, by its key without the system")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows shown")] = 20,
    personal: Annotated[bool, typer.Option("--personal", help="Show personal values; noted in the audit")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Each repair of a rule: the record, its value before and after, or what it is a duplicate of. Values are read from
    the lake; personal ones are masked, and so is what broke a contract: it may be of any other column.
    """
    from customer360.pipelines import repairs
    from customer360.platform.run import lake_of
    from customer360.platform.run.snapshots import of_table
    from customer360.serve import lineage
    from customer360.serve.cli import report
    from customer360.serve.compose import rules_of

    settings = configured(config)
    lake = lake_of(settings)
    held = of_table(lake, settings, table) if table else ()
    found = repairs.rows_of(lake, rules_of(settings), rule, table, key=key, snapshots=held)
    found = found if column is None else found.filter(pl.col("column_name") == column)
    whole = found.collect()
    if personal:
        lineage.note_personal(settings, f"repairs show {rule}" + (f" --table {table}" if table else ""))
    rows = whole.head(limit) if personal else repairs.masked(whole.head(limit), rule)
    if as_json:
        for row in rows.to_dicts():
            typer.echo(json.dumps(row, ensure_ascii=False))
        return
    shown = report.grid(
        f"{rule}: first {rows.height} of {whole.height:,}", "table", "record", "column", "value", "repaired",
        "duplicate of", "row",
    )  # fmt: skip
    for row in rows.to_dicts():
        record = "/".join(part for part in (row["source_system"], row["record_key"]) if part)
        told = (row["column_name"], row["before"], row["after"], row["duplicate_of"], row["row_id"])
        shown.add_row(row["table_name"], record, *(text or "" for text in told))
    report.console.print(shown)
    report.console.print(f"undone by: {repairs.named(rule).switch}", soft_wrap=True, highlight=False)
