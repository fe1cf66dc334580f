"""What a project is told whose sales name buyers while no source says who they are: which columns to map, and how."""

from __future__ import annotations

import json
from collections.abc import Iterator

import polars as pl

from customer360.platform.lake import Lake
from customer360.platform.settings import Settings, SourceSettings

CUSTOMERS, SALES = "bronze.customers", ("bronze.transactions", "bronze.online_orders")
LOOKED_AT = 500  # rows whose unmapped columns are read
SHOWN = 8


def without_people(lake: Lake, settings: Settings) -> Iterator[str]:
    """A line for every source of sales, where no source gives customers: the second source that its files may be."""
    if any(source.table == CUSTOMERS for source in settings.sources.values()):
        return
    for name, source in settings.sources.items():
        files = (
            [f for f in lake.files(source.table) if f.partition.get("_source") == name] if source.table in SALES else []
        )
        if files:
            rows = lake.scan(source.table, files).select("_rescued", "CUSTOMER_ID").head(LOOKED_AT).collect()
            yield _told(name, source, _unmapped(rows), has_guests=rows["CUSTOMER_ID"].null_count() > 0)


def _told(name: str, source: SourceSettings, unmapped: dict[str, bool], *, has_guests: bool) -> str:
    buyer = source.mapping.get("CUSTOMER_ID") or ("" if source.mapping else "CUSTOMER_ID")
    mail = next((_quoted(column) for column, is_mail in unmapped.items() if is_mail), "")
    account = f"LOWER({mail})" if mail and not buyer else buyer or "<the column that names the buyer>"
    guests = ""
    if mail and buyer and has_guests:
        account = f"COALESCE({buyer}, LOWER({mail}))"
        guests = f"; for guests, who have no number, give {name} the same CUSTOMER_ID"
    elif mail and not buyer:
        guests = f"; give {name} the same CUSTOMER_ID"
    contact = f"EMAIL_ADDRESS: {mail or '<the column of the address>'}"
    others = [column for column, is_mail in unmapped.items() if not is_mail]
    left = f" (not mapped yet: {', '.join(others[:SHOWN])}{', …' if len(others) > SHOWN else ''})" if others else ""
    return (
        f"nobody is known: {name} sells to no person, as no source fills {CUSTOMERS}. Its files may say who buys: "
        f"add a source with `table: {CUSTOMERS}`, `system: {source.system}`, the path of {name}, and "
        f"`mapping: {{CUSTOMER_ID: {account}, {contact}, …}}` with names and address{left}{guests}"
    )


def _unmapped(rows: pl.DataFrame) -> dict[str, bool]:
    """Columns of the files that no mapping takes, and whether most of their values are e-mail addresses."""
    values: dict[str, list[str]] = {}
    for text in rows["_rescued"].drop_nulls():
        for column, value in json.loads(text).items():
            if value is not None:
                values.setdefault(column, []).append(str(value))
    return {column: 2 * sum("@" in v for v in held) > len(held) for column, held in values.items()}


def _quoted(column: str) -> str:
    return column if column.isidentifier() else '"' + column.replace('"', '""') + '"'
