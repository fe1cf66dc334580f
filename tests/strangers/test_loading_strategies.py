"""The same three days by every loading strategy, and from every kind of system, end in the same silver rows."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime
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
DROP_SLOTS = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()"
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


def landed_days(found: Any, connection: dict[str, Any], source: dict[str, Any], arrives: Arrives) -> Any:
    """Three days that arrive one after the other, each with a run behind it."""
    made = Settings.model_validate({
        "connections": {"shop": connection},
        "sources": {"sales": {"table": "bronze.transactions", "system": "POS", "connection": "shop", **source}},
    })  # fmt: skip
    own = {"sources": made.sources, "connections": made.connections}
    found = type(found)(found.root, found.settings.model_copy(update=own))
    for day in (1, 2, 3):
        arrives(found, [dict(zip(COLUMNS, row, strict=True)) for row in sales(day)])
        found.run(end="silver.transactions")
    return silver(found)


def by_topic(found: Any, request: pytest.FixtureRequest) -> dict[str, pl.Series]:
    kafka = request.getfixturevalue("kafka")

    def arrives(_: Any, rows: list[dict[str, str]]) -> None:
        for row in rows:  # by key, so that what became of a sale comes behind it
            kafka.send("sales", [json.dumps(row).encode()], key=row["TRANSACTION_ID"].encode())

    source = {"kind": "streams", "topic": "sales", "batch_size": 9}
    return landed_days(found, {"kind": "kafka", "servers": kafka.servers}, source, arrives)


def by_changes(found: Any, request: pytest.FixtureRequest) -> dict[str, pl.Series]:
    """Logical replication of PostgreSQL: what was inserted and what was updated."""
    postgres = request.getfixturevalue("postgres")
    database = postgres.fresh()
    declared = ", ".join(f'"{n}" {kind}' for n, kind in COLUMNS.items())
    postgres.execute(database, f"CREATE TABLE sales ({declared})", "CREATE PUBLICATION customer360 FOR TABLE sales")
    request.addfinalizer(lambda: postgres.execute(database, DROP_SLOTS))

    def arrives(_: Any, rows: list[dict[str, str]]) -> None:
        postgres.execute(database, changed(int(rows[-1]["TRANSACTION_ID"][0])))

    source = {"kind": "cdc", "relation": "public.sales", "slot": f"s_{database}"}
    return landed_days(found, postgres.connection(database), source, arrives)


def by_binlog(found: Any, request: pytest.FixtureRequest) -> dict[str, pl.Series]:
    """The log of MariaDB, whose columns hold moments in UTC."""
    maria = request.getfixturevalue("maria")
    database = maria.fresh()
    kinds = {"timestamptz": "timestamp(6) NULL", "numeric(12, 2)": "decimal(12, 2)", "text": "varchar(20)",
             "text PRIMARY KEY": "varchar(20) PRIMARY KEY", "char(3)": "char(3)"}  # fmt: skip
    maria.execute(database, f"CREATE TABLE sales ({', '.join(f'{n} {kinds[kind]}' for n, kind in COLUMNS.items())})")

    def arrives(_: Any, rows: list[dict[str, str]]) -> None:
        values = (", ".join(f"'{value.removesuffix('+00')}'" for value in row.values()) for row in rows)
        update = ", ".join(f"{name} = VALUES({name})" for name in COLUMNS)
        told = ", ".join(f"({value})" for value in values)
        maria.execute(database, "SET time_zone = '+00:00'",
                      f"INSERT INTO sales VALUES {told} ON DUPLICATE KEY UPDATE {update}")  # fmt: skip

    return landed_days(found, maria.connection(database), {"kind": "binlog", "relation": "sales"}, arrives)


def by_debezium(found: Any, request: pytest.FixtureRequest) -> dict[str, pl.Series]:
    """A topic to which Debezium writes what was inserted and updated, each change twice, as after a restart."""
    kafka = request.getfixturevalue("kafka")
    stood: dict[str, dict[str, str]] = {}

    def arrives(_: Any, rows: list[dict[str, str]]) -> None:
        for place, row in enumerate(rows):
            number = row["TRANSACTION_ID"]
            at = {"lsn": 1000 * int(rows[-1]["TRANSACTION_ID"][0]) + place, "ts_ms": 1_772_400_000_000, "txId": place,
                  "connector": "postgresql", "db": "shop", "schema": "public", "table": "sales"}  # fmt: skip
            told = {"op": "u" if number in stood else "c", "before": stood.get(number), "after": row, "source": at}
            stood[number] = row
            for _ in range(2):
                kafka.send("shop.public.sales", [json.dumps(told).encode()], key=number.encode())

    source = {"kind": "streams", "topic": "shop.public.sales", "envelope": "debezium"}
    return landed_days(found, {"kind": "kafka", "servers": kafka.servers}, source, arrives)


def by_messages(found: Any, request: pytest.FixtureRequest) -> dict[str, pl.Series]:
    """Webhooks, one sale or a list of them, some sent twice."""
    from starlette.testclient import TestClient

    from customer360.serve.app import build_app

    request.getfixturevalue("monkeypatch").setenv("T_HOOK", "s3cret")

    def arrives(now: Any, rows: list[dict[str, str]]) -> None:
        client = TestClient(build_app(now.settings))
        for told in (*rows[:10], *rows[:3], rows[10:]):
            body = json.dumps(told).encode()
            headers = {"X-Signature": hmac.new(b"s3cret", body, "sha256").hexdigest()}
            assert client.post("/hooks/sales", content=body, headers=headers).status_code == 202

    source = {"kind": "webhooks", "batch_size": 4}
    return landed_days(found, {"kind": "webhook", "secret_env": "T_HOOK"}, source, arrives)


def by_api(found: Any, request: pytest.FixtureRequest, **keys: Any) -> dict[str, pl.Series]:
    """Pages of what changed, or of everything."""
    shop = request.getfixturevalue("shop_api")
    held: dict[str, dict[str, Any]] = {}

    def arrives(_: Any, rows: list[dict[str, str]]) -> None:
        now = datetime.now(UTC).isoformat()
        held.update({r["TRANSACTION_ID"]: {**r, "id": r["TRANSACTION_ID"], "updated_at": now} for r in rows})
        shop.orders = list(held.values())

    paging = {"kind": "cursor", "path": "meta.after", "parameter": "cursor", "more": "meta.has_more"}
    asked = {"kind": "apis", "path": "cursor/orders", "every_minutes": 0, "paging": paging}
    connection = {"kind": "api", "url": shop.url, "rate": {"per_minute": 6_000, "burst": 500}}
    return landed_days(found, connection, {**asked, **keys}, arrives)


def by_api_since(found: Any, request: pytest.FixtureRequest) -> dict[str, pl.Series]:
    return by_api(found, request, since={"overlap_seconds": 0}, parameters={"since": "{since}", "limit": "15"})


def by_api_snapshot(found: Any, request: pytest.FixtureRequest) -> dict[str, pl.Series]:
    return by_api(found, request, mode="snapshot", parameters={"limit": "15"})


Arrives = Callable[[Any, list[dict[str, str]]], None]
# What a way is given: a site without sources, and pytest's request for the server that it needs. One line adds another.
ARRIVALS: dict[str, Callable[[Any, pytest.FixtureRequest], dict[str, pl.Series]]] = {
    "topic": by_topic,
    "log of changes": by_changes,
    "log of MariaDB": by_binlog,
    "Debezium's topic": by_debezium,
    "webhooks": by_messages,
    "API, what changed": by_api_since,
    "API, everything": by_api_snapshot,
}


@pytest.fixture(scope="module")
def of_files(site: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, pl.Series]:
    return by_files(site, tmp_path_factory.mktemp("of_files"))


@pytest.mark.slow
@pytest.mark.parametrize("way", list(ARRIVALS))
def test_whatever_system_sales_come_from_silver_has_the_same_rows(
    site: Callable[..., Any], tmp_path: Path, request: pytest.FixtureRequest, of_files: dict[str, pl.Series], way: str
) -> None:
    found = ARRIVALS[way](site(tmp_path / "site"), request)
    for table, rows in of_files.items():
        assert len(rows) == 120
        assert found[table].to_list() == rows.to_list(), f"{way}: {table}"


@pytest.mark.slow
def test_every_strategy_ends_in_the_same_silver_rows(site: Callable[..., Any], tmp_path: Path, postgres: Any) -> None:
    expected = by_files(site, tmp_path / "files")
    assert {len(rows) for rows in expected.values()} == {120}
    for name, way in WAYS.items():
        found = by_database(site, tmp_path / name.replace(" ", "_"), postgres, way)
        for table, rows in expected.items():
            assert found[table].to_list() == rows.to_list(), f"{name}: {table}"
