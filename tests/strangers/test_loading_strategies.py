"""The same three days by every loading strategy, from files and from a database, end in the same silver rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from customer360.platform.settings import Settings

COLUMNS = {
    "TRANSACTION_ID": "text PRIMARY KEY", "CUSTOMER_ID": "text", "CHANNEL": "text", "TRANSACTION_DATE": "timestamptz",
    "TRANSACTION_TYPE": "text", "TOTAL_AMOUNT": "numeric(12, 2)", "CURRENCY_CODE": "char(3)",
    "TRANSACTION_STATUS": "text", "LAST_UPDATED_DATE": "timestamptz",
}  # fmt: skip
OF_LOADING = ("_seq", "_file", "_position", "_source", "_ingested_at", "_row")  # where a row came from, not what it is
CHANGED = 5  # each so-manieth sale is pending on its day, and completed or cancelled on the next


def sales(day: int) -> list[tuple[str, ...]]:
    """What changed on a day: its own sales, and what became of the pending ones of the day before."""
    found = []
    for born in (day - 1, day):
        for n in range(1, 41) if born else ():
            waits = n % CHANGED == 0
            if born == day or waits:
                status = "PENDING" if waits and born == day else "CANCELLED" if waits and n % 2 else "COMPLETED"
                sold = f"2026-03-0{born} {n % 24:02}:15:00.123456+00"
                updated = sold if born == day else f"2026-03-0{day} 06:{n:02}:00+00"
                found.append((f"{born}-{n:03}", f"C{n % 7}", ("POS", "ECOMMERCE")[n % 2], sold, "PURCHASE",
                              f"{n * 100 + born}.05", "USD", status, updated))  # fmt: skip
    return found


def changed(day: int) -> str:
    rows = ", ".join("(" + ", ".join(f"'{value}'" for value in row) + ")" for row in sales(day))
    update = ", ".join(f'"{name}" = excluded."{name}"' for name in COLUMNS)
    return f'INSERT INTO sales VALUES {rows} ON CONFLICT ("TRANSACTION_ID") DO UPDATE SET {update}'


BY_TIME = {"column": "LAST_UPDATED_DATE", "lag": "2 hours"}
WAYS: dict[str, dict[str, Any]] = {
    "full": {},
    "snapshot in ranges": {"mode": "snapshot", "parts": True, "partition": {"by": "TRANSACTION_ID", "parts": 3}},
    "incremental": {"strategy": "incremental", **BY_TIME},
    "micro-batch": {"strategy": "micro_batch", **BY_TIME, "batch_size": 7},
}


def silver(site: Any) -> dict[str, pl.Series]:
    found = {}
    for name in ("silver.transactions",):
        frame = site.lake.scan(name).collect()
        kept = frame.drop(OF_LOADING, strict=False)
        found[name] = kept.select(row=pl.struct(pl.all()).struct.json_encode()).to_series().sort()
    return found


def by_files(site: Callable[..., Any], root: Path) -> dict[str, pl.Series]:
    found = site(root)
    source = {"table": "bronze.transactions", "system": "POS", "path": "sales/*.csv"}
    own = {"sources": Settings.model_validate({"sources": {"sales": source}}).sources}
    found = type(found)(found.root, found.settings.model_copy(update=own))
    for day in (1, 2, 3):
        found.deliver(f"sales/{day}.csv", [",".join(COLUMNS), *(",".join(row) for row in sales(day))])
        found.run(end="silver.transactions")
    return silver(found)


def by_database(site: Callable[..., Any], root: Path, postgres: Any, way: dict[str, Any]) -> dict[str, pl.Series]:
    found, database = site(root), postgres.fresh()
    source = {"table": "bronze.transactions", "system": "POS", "kind": "database", "connection": "shop",
              "relation": "sales", **way}  # fmt: skip
    made = Settings.model_validate(
        {"connections": {"shop": postgres.connection(database)}, "sources": {"sales": source}}
    )
    own = {"sources": made.sources, "connections": made.connections}
    found = type(found)(found.root, found.settings.model_copy(update=own))
    declared = ", ".join(f'"{n}" {kind}' for n, kind in COLUMNS.items())
    postgres.execute(database, f"CREATE TABLE sales ({declared})")
    for day in (1, 2, 3):
        postgres.execute(database, changed(day))
        found.run(end="silver.transactions")
    return silver(found)


@pytest.mark.slow
def test_every_strategy_ends_in_the_same_silver_rows(site: Callable[..., Any], tmp_path: Path, postgres: Any) -> None:
    expected = by_files(site, tmp_path / "files")
    assert {len(rows) for rows in expected.values()} == {120}
    for name, way in WAYS.items():
        found = by_database(site, tmp_path / name.replace(" ", "_"), postgres, way)
        for table, rows in expected.items():
            assert found[table].to_list() == rows.to_list(), f"{name}: {table}"
