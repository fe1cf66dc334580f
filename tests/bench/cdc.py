"""Changes of a database applied to silver, by the second: `python tests/bench/cdc.py [--changes 50000] [--way cdc]`.

A source lands its customers; then the database makes changes (six updates, three insertions, one deletion in ten), and
one run lands them and builds ``silver.customer_records``. Counted is from the start of that run to its end: looking,
reading the log, casting, committing, folding, building. Then one more change is made after a pause in which other
tables were busy (``idle``): a source that comes back. Each way against a server that this script starts, in this
process.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import polars as pl
from conditions import conditions

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from servers import maria_server, postgres_server

from customer360.platform import run as runs
from customer360.platform.lake import Lake
from customer360.platform.run import RunRequest
from customer360.platform.settings import Settings
from customer360.serve.compose import compose

TARGET = 2_000  # changes a second
MAPPING = {"CUSTOMER_ID": "id", "FIRST_NAME": "first_name", "LAST_NAME": "last_name", "EMAIL_ADDRESS": "email"}
COLUMNS = "(id int PRIMARY KEY, first_name varchar(80), last_name varchar(80), email varchar(120))"
ONE_TRANSACTION = 500  # changes


def changes(count: int, known: int) -> list[tuple[str, int]]:
    """What happens to which customer, the same each time."""
    found, fresh = list[tuple[str, int]](), known
    for n in range(count):
        if n % 10 < 6:
            found.append(("u", n * 7919 % known + 1))
        elif n % 10 < 9:
            fresh += 1
            found.append(("c", fresh))
        else:
            found.append(("d", fresh - 1))
    return found


def statements(done: list[tuple[str, int]], start: int) -> list[str]:
    made = []
    for n, (op, number) in enumerate(done, start):
        values = f"'First{number}', 'Last{n}', 'c{number}.{n}@example.org'"
        made.append({
            "u": f"UPDATE customers SET last_name = 'Last{n}', email = 'c{number}.{n}@example.org' WHERE id = {number}",
            "c": f"INSERT INTO customers VALUES ({number}, {values})",
            "d": f"DELETE FROM customers WHERE id = {number}",
        }[op])  # fmt: skip
    return made


class Followed:
    """A database of customers that a source follows into a lake."""

    def __init__(self, server: Any, kind: str, folder: Path, known: int):
        self.server, self.folder, self.known = server, folder, known
        self.database = server.fresh()
        rows = ", ".join(f"({n}, 'First{n}', 'Last', 'c{n}@example.org')" for n in range(1, known + 1))
        server.execute(self.database, f"CREATE TABLE customers {COLUMNS}", f"INSERT INTO customers VALUES {rows}")
        server.execute(self.database, "CREATE TABLE other (id int PRIMARY KEY, x text)")
        own: dict[str, Any] = {"kind": kind, "connection": "db", "relation": "customers"}
        if kind == "cdc":
            server.execute(self.database, "CREATE PUBLICATION customer360 FOR TABLE customers")
        self.settings = settings(folder, own, {"db": server.connection(self.database)})

    def happen(self, count: int) -> None:
        made = statements(changes(count, self.known), 0)
        for at in range(0, count, ONE_TRANSACTION):
            self.server.execute(self.database, "BEGIN", *made[at : at + ONE_TRANSACTION], "COMMIT")

    def idle(self) -> None:
        """Other tables are busy, and this one is not."""
        for n in range(200):
            rows = ", ".join(f"({n * 1000 + i}, '{'x' * 500}')" for i in range(1000))
            self.server.execute(self.database, f"INSERT INTO other VALUES {rows}")
        self.server.execute(self.database, "UPDATE customers SET last_name = 'Back' WHERE id = 1")


class Written:
    """Files of Debezium that a source lands."""

    def __init__(self, folder: Path, known: int):
        self.folder, self.known = folder, known
        own = {"kind": "files", "path": "*.jsonl", "format": "json", "envelope": "debezium"}
        self.settings = settings(folder, own, {})
        self._write("0", [("r", n) for n in range(1, known + 1)])

    def _write(self, name: str, done: list[tuple[str, int]]) -> None:
        lines = []
        for n, (op, number) in enumerate(done):
            row = {
                "id": number,
                "first_name": f"First{number}",
                "last_name": f"Last{n}",
                "email": f"c{number}.{n}@x.org",
            }
            source = {"connector": "postgresql", "table": "customers", "lsn": n, "ts_ms": 1_700_000_000_000 + n}
            sides = {"before": row if op == "d" else None, "after": None if op == "d" else row}
            lines.append(json.dumps({**sides, "source": source, "op": op, "ts_ms": 1_700_000_000_000}))
        (self.folder / "landing" / f"{name}.jsonl").write_text("\n".join(lines) + "\n")

    def happen(self, count: int) -> None:
        self._write("1", changes(count, self.known))

    def idle(self) -> None:
        self._write("2", [("u", 1)])


def settings(folder: Path, own: dict[str, Any], connections: dict[str, Any]) -> Settings:
    (folder / "landing").mkdir()
    source = {"table": "bronze.customers", "system": "CRM", "mapping": MAPPING, **own}
    return Settings.model_validate(
        {
            "landing": str(folder / "landing"), "state": str(folder / "state"),
            "lake": {"root": str(folder / "lake"), "buckets": 4}, "execution": {"executor": "local"},
            "connections": connections, "sources": {"customers": source},
        }
    )  # fmt: skip


def run(followed: Followed | Written) -> tuple[float, float]:
    """Seconds by the clock, and of this process's CPU, that a run takes."""
    began, cpu = perf_counter(), process_time()
    runs.run(followed.settings, RunRequest(only=frozenset({"silver.customer_records"})), rules={})
    return perf_counter() - began, process_time() - cpu


def standing(followed: Followed | Written) -> int:
    lake = Lake(followed.settings.lake.root, {}, 4)
    return int(lake.scan("silver.customer_records").select(pl.len()).collect().item())


def measured(way: str, followed: Followed | Written, count: int) -> float:
    run(followed)
    followed.happen(count)
    took, cpu = run(followed)
    made = changes(count, followed.known)
    expected = followed.known + sum(op == "c" for op, _ in made) - len({n for op, n in made if op == "d"})
    assert standing(followed) == expected, f"{way}: {standing(followed):,} of {expected:,} customers stand"
    followed.idle()
    back, _ = run(followed)
    print(f"{way:<10} {took:6.1f} s {count / took:8,.0f} changes/s, {count / cpu:8,.0f} by this process's CPU; "
          f"back after an idle time in {back:.1f} s; {conditions()}")  # fmt: skip
    return count / took


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--changes", type=int, default=50_000)
    arguments.add_argument("--customers", type=int, default=20_000)
    arguments.add_argument("--way", choices=("cdc", "binlog", "debezium", "all"), default="all")
    said = arguments.parse_args()
    compose()
    print(conditions())
    servers: dict[str, Any] = {"cdc": postgres_server, "binlog": maria_server}
    rates = {}
    for way in ("cdc", "binlog", "debezium") if said.way == "all" else (said.way,):
        with tempfile.TemporaryDirectory() as folder:
            if way == "debezium":
                rates[way] = measured(way, Written(Path(folder), said.customers), said.changes)
                continue
            opened: AbstractContextManager[Any] = servers[way]()
            with opened as server:
                rates[way] = measured(way, Followed(server, way, Path(folder), said.customers), said.changes)
    if slow := [way for way, rate in rates.items() if rate < TARGET]:
        sys.exit(f"below {TARGET:,} changes/s: {', '.join(slow)}")


if __name__ == "__main__":
    main()
