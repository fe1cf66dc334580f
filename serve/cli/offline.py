"""Stand-alone use on a file of any retailer: no lake, no configuration, no registry."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer()
offline_app = typer.Typer(no_args_is_help=True, help="Use the models on a file of any retailer, without a lake.")
app.add_typer(offline_app, name="offline")


@offline_app.command()
def recommend(
    interactions: Annotated[
        Path,
        typer.Option(
            help="CSV (also .gz), Parquet or JSON lines: user, item, timestamp; heeded where there: "
            "session, quantity, item_text"
        ),
    ],
    as_of: Annotated[str, typer.Option(help="Date, ISO timestamp or epoch; only rows before it are learned from")],
    out: Annotated[
        Path, typer.Option(help="File to write (.parquet, .csv, .tsv, .jsonl): user or session, item, rank, score")
    ],
    mode: Annotated[
        Literal["new", "all", "session"],
        typer.Option(help="new: nothing the user ever touched; all: repurchases too; session: the next item"),
    ] = "new",
    k: Annotated[int, typer.Option(min=1, help="Items a list")] = 20,
    columns: Annotated[
        str,
        typer.Option(
            help="Names in the file, as user=CustomerID,item=StockCode,…; "
            "places without a header: user=1,item=2,timestamp=4"
        ),
    ] = "",
    horizon: Annotated[
        float | None, typer.Option(min=0.01, help="Days that the lists are for; default up to 90")
    ] = None,
    towers: Annotated[
        bool, typer.Option(help="Train the two towers as a further method: a little better, three times as long")
    ] = False,
    fast: Annotated[bool, typer.Option("--fast", help="A weighted sum of the cheap methods, without a ranker")] = False,
    best: Annotated[bool, typer.Option("--best", help="Every method and more rounds: a little better, dearer")] = False,
    open_hours: Annotated[float, typer.Option(min=0, help="A session is open this long after its last event")] = 48.0,
) -> None:
    """Rank items for every user, or the next item of every open session; methods are chosen on the file's own past."""
    from customer360.models.files import interactions as reading
    from customer360.models.files import output
    from customer360.models.files import recommend as offline
    from customer360.platform import telemetry
    from customer360.platform.sources.values import timestamps

    if fast and best:
        raise typer.BadParameter("--fast and --best exclude each other")
    telemetry.configure()
    names = reading.column_names(columns)
    moment = timestamps.moment(as_of)
    output.require(out, interactions)
    owners = ("session", "user") if mode == "session" else ("user",)
    found = reading.read(interactions, moment, names, owners)
    telemetry.event(f"{found.rows.height:,} rows of {interactions.name} before {moment}; learning from these alone")
    for note in found.notes:
        telemetry.event(f"  {note}")
    for reason, count in found.left_out.items():
        telemetry.event(f"  left out: {count:,} rows {reason}")
    if mode == "session":
        lists = offline.recommend_sessions(found, moment, k, telemetry.event, open_hours)
    else:
        effort = "fast" if fast else "best" if best else "default"
        lists = offline.recommend_users(found, moment, mode, k, telemetry.event, horizon, towers, effort)
    output.write(lists, out)
    telemetry.event(f"{lists.height:,} rows to {out}")


@offline_app.command("score")
def score(
    transactions: Annotated[
        Path,
        typer.Option(
            help="CSV (also .gz), Parquet or JSON lines: customer, timestamp, amount, optional invoice and item"
        ),
    ],
    as_of: Annotated[str, typer.Option("--as-of", help="Learn from rows before this day, score the window from it on")],
    out: Annotated[
        Path,
        typer.Option(
            "--out", help="File to write (.parquet, .csv, .tsv, .jsonl): customer_id, p_churn, clv, clv_low, clv_high"
        ),
    ],
    horizon: Annotated[int, typer.Option("--horizon", min=1, help="Length of the window in days")] = 90,
    columns: Annotated[
        str,
        typer.Option(
            help="Names in the file, as customer=CustomerID,amount=Total; "
            "places without a header: customer=1,timestamp=2,amount=4"
        ),
    ] = "",
) -> None:
    """Churn probability and revenue of the next days for every customer who bought before a date.

    At least one purchase before the date is needed; trees are used from 100 customers and a known window of the same
    length on, BG/NBD and Gamma-Gamma from one customer who came back on, else purchase rates: the notes say which.
    """
    from customer360.models.files import output, scores
    from customer360.models.files import transactions as files
    from customer360.platform.sources.values import timestamps

    day = timestamps.moment(as_of).date()
    output.require(out, transactions)
    found = scores.score(files.read(transactions, files.mapping(columns)), day, horizon)
    for note in found.notes:
        typer.echo(note)
    output.write(found.table, out)
    typer.echo(f"{found.table.height:,} customers written to {out}")
