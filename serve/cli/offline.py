"""Scores for one file of a retailer's export: no lake, no configuration."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()
offline_app = typer.Typer(no_args_is_help=True, help="Score one exported file; nothing but the file is needed.")
app.add_typer(offline_app, name="offline")


@offline_app.callback()
def offline() -> None:
    """Keeps `offline` a group while it has one command."""


@offline_app.command("score")
def score(
    transactions: Annotated[Path, typer.Option("--transactions", help="CSV (also .gz), Parquet or JSON lines: customer, timestamp, amount, optional invoice and item")],
    as_of: Annotated[datetime, typer.Option("--as-of", formats=["%Y-%m-%d"], help="Learn from rows before this day, score the window from it on")],
    out: Annotated[Path, typer.Option("--out", help="Parquet (or .csv): customer_id, p_churn, clv, clv_low, clv_high")],
    horizon: Annotated[int, typer.Option("--horizon", min=1, help="Length of the window in days")] = 90,
    columns: Annotated[str, typer.Option("--columns", help="Names in the file, as customer=CustomerID,amount=Total")] = "",
) -> None:  # fmt: skip
    """Churn probability and revenue of the next days for every customer who bought before a date."""
    from customer360.models import file_scores
    from customer360.models import transactions as files

    found = file_scores.score(files.read(transactions, files.mapping(columns)), as_of.date(), horizon)
    for note in found.notes:
        typer.echo(note)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix.lower() == ".csv":
        found.table.write_csv(out)
    else:
        found.table.write_parquet(out)
    typer.echo(f"{found.table.height:,} customers written to {out}")
