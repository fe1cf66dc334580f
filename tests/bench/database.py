"""PostgreSQL to committed bronze against ADBC to Parquet: `python tests/bench/database.py [--rows 1000000]`.

Ours is a run that looks for what is new (a digest of all rows, in the server), reads them, casts them to the contract
of `bronze.transactions`, and commits. The other reads the same rows by ADBC and writes what it gets to Parquet. Both
in this process, one after the other, against a server that this script starts; the least of the repeats counts.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time

import pyarrow.parquet as pq
from conditions import conditions

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from servers import PostgresServer, postgres_server

from customer360.platform import run as runs
from customer360.platform.run import RunRequest
from customer360.platform.settings import Settings
from customer360.serve.compose import compose

TARGET = 0.5  # of the speed of ADBC to Parquet
TABLE = """CREATE TABLE sales AS SELECT
  i AS "TRANSACTION_ID", (i::bigint * 7919 % 200000)::text AS "CUSTOMER_ID",
  (ARRAY['POS', 'ECOMMERCE', 'MOBILE'])[i % 3 + 1] AS "CHANNEL",
  timestamptz '2025-01-01' + i * interval '31 seconds' AS "TRANSACTION_DATE", 'PURCHASE' AS "TRANSACTION_TYPE",
  round((i % 30000) / 97.0, 2)::numeric(12, 2) AS "TOTAL_AMOUNT",
  round((i % 3000) / 97.0, 2)::numeric(12, 2) AS "TAX_AMOUNT",
  'USD' AS "CURRENCY_CODE", 'CARD' AS "PAYMENT_METHOD", 'S' || i % 400 AS "STORE_ID",
  CASE WHEN i % 5 = 0 THEN 'P' || i % 90 END AS "PROMOTION_CODE", 'COMPLETED' AS "TRANSACTION_STATUS",
  timestamptz '2025-01-01' + i * interval '33 seconds' AS "LAST_UPDATED_DATE"
FROM generate_series(1, {rows}) AS i"""
WAYS = {
    "full": {},
    "full, 4 ranges": {"partition": {"by": "TRANSACTION_ID", "parts": 4}},
    "incremental": {"strategy": "incremental", "column": "LAST_UPDATED_DATE"},
}


def seconds(work: Callable[[], int], rows: int) -> tuple[float, float]:
    """Seconds by the clock, and of this process's CPU, that some work took; it says how many rows it wrote."""
    began, cpu = perf_counter(), process_time()
    written = work()
    took = perf_counter() - began, process_time() - cpu
    assert written == rows, f"{written:,} of {rows:,} rows"
    return took


def to_parquet(server: PostgresServer, database: str, folder: Path) -> int:
    from adbc_driver_postgresql import dbapi

    where = f"host={server.folder} user=postgres dbname={database}"
    with dbapi.connect(where) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT * FROM sales")
        reader = cursor.fetch_record_batch()
        with pq.ParquetWriter(folder / "sales.parquet", reader.schema, compression="zstd") as writer:
            for batch in reader:
                writer.write_batch(batch)
    return pq.read_metadata(folder / "sales.parquet").num_rows


def to_bronze(server: PostgresServer, database: str, folder: Path, way: dict[str, object]) -> int:
    (folder / "landing").mkdir()
    source = {
        "table": "bronze.transactions",
        "system": "POS",
        "kind": "database",
        "connection": "shop",
        "relation": "sales",
    }
    settings = Settings.model_validate({
        "landing": str(folder / "landing"), "lake": {"root": str(folder / "lake")}, "state": str(folder / "state"),
        "execution": {"executor": "local"}, "connections": {"shop": server.connection(database)},
        "sources": {"sales": source | way},
    })  # fmt: skip
    runs.run(settings, RunRequest(end="bronze.transactions"), rules={})
    return sum(file.rows for file in runs.lake_of(settings).files("bronze.transactions"))


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rows", type=int, default=1_000_000)
    asked.add_argument("--repeats", type=int, default=2)
    asked.add_argument("--ways", nargs="*", choices=list(WAYS), default=list(WAYS))
    options = asked.parse_args()
    compose()
    print(conditions())
    with postgres_server() as server:
        database = server.fresh()
        server.execute(
            database, TABLE.format(rows=options.rows), 'CREATE INDEX ON sales ("LAST_UPDATED_DATE")', "ANALYZE sales"
        )
        ways: dict[str, Callable[[Path], int]] = {
            "ADBC to Parquet": lambda folder: to_parquet(server, database, folder)
        }
        for name, way in ((name, WAYS[name]) for name in options.ways):
            ways[name] = lambda folder, way=way: to_bronze(server, database, folder, way)  # type: ignore[misc]
        least: dict[str, tuple[float, float]] = {}
        for _ in range(options.repeats):
            for name, work in ways.items():
                with tempfile.TemporaryDirectory() as folder:
                    took = seconds(lambda: work(Path(folder)), options.rows)  # noqa: B023 - called here
                least[name] = min(took, least.get(name, took))
    base = least["ADBC to Parquet"]
    for name, (clock, cpu) in least.items():
        speed = f"speed {base[0] / clock:.2f}, of CPU {base[1] / cpu:.2f}"
        print(f"{name:<16} {clock:6.1f} s  {cpu:6.1f} s CPU  {options.rows / clock:10,.0f} rows/s  {speed}")
    assert base[0] / min(least[name][0] for name in options.ways) >= TARGET, "slower than the target"


if __name__ == "__main__":
    main()
