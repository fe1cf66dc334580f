"""A lake of very many batches: what it costs to open a table, plan, look at the status and find one customer.

    python tests/bench/many_batches.py [--batches 1000] [--rows 3] [--keep FOLDER] [--before]

Batches are written as a run writes them (manifest, outcome, bronze commit), without reading files; then the table is
built, measured, compacted by the policy of the settings, and measured again. Each figure is of a fresh process.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from customer360.platform.lake import File

SOURCE, TABLE, SILVER = "till", "bronze.transactions", "silver.transactions"
HEAD = "TRANSACTION_ID,CUSTOMER_ID,CHANNEL,TRANSACTION_DATE,TRANSACTION_TYPE,TOTAL_AMOUNT,TRANSACTION_STATUS"
START = datetime(2026, 1, 1, tzinfo=UTC)
CUSTOMERS = 5_000


def content_of(number: int, rows: int) -> str:
    """A file of a till: some sales, five minutes after those of the file before."""
    at = START + timedelta(minutes=5 * number)
    lines = [
        f"T{number}-{row},K{(number * rows + row) * 7919 % CUSTOMERS},POS,{at:%Y-%m-%dT%H:%M:%SZ},PURCHASE,9,COMPLETED"
        for row in range(rows)
    ]
    return "\n".join([HEAD, *lines]) + "\n"


def configuration(root: Path) -> Path:
    """Settings of a lake with one source."""
    path = root / "settings.json"
    sources = {SOURCE: {"table": TABLE, "system": "TILL", "path": "till/**/*.csv", "format": "csv"}}
    path.write_text(
        json.dumps({"extends": "base.yaml", "landing": str(root / "landing"), "state": str(root / "state"),
                    "lake": {"root": str(root / "lake")}, "execution": {"executor": "local"}, "sources": sources})
    )  # fmt: skip
    return path


def fill(config: Path, root: Path, count: int, rows: int) -> None:
    """Land ``count`` files, a batch each, and leave them in the landing folder. The first and the last are committed
    as by a run; the others are the first with other ids and times, and their commits are written into the log as Delta
    writes them, with a checkpoint at the end as it makes one every hundred commits.
    """
    from customer360.platform import ledger, tables
    from customer360.platform.quality import DeadLetters
    from customer360.platform.run import lake_of
    from customer360.platform.run.ingest import commit_batch
    from customer360.platform.sources.base import configured
    from customer360.platform.sources.bronze import IngestUnit, Landed
    from customer360.platform.sources.landing import landing_of
    from customer360.serve.cli.options import configured as settings_of

    settings = settings_of(config)
    lake, source, landing = lake_of(settings), configured(settings, SOURCE), landing_of(settings)
    for table in (DeadLetters, tables.by_name(TABLE)):
        lake.ensure(table)
    first: Any = None
    for number in [1, *range(max(2, len(lake.objects(f"{ledger.BATCHES}/{SOURCE}")) + 1), count + 1)]:
        name = f"till/{number // 1000:03d}/{number:06d}.csv"
        path = root / "landing" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content_of(number, rows))
        piece = landing.state_of(name)
        assert piece is not None
        at = START + timedelta(minutes=5 * number)
        made = at + timedelta(minutes=5)
        batch = ledger.Batch(SOURCE, number, made.isoformat(), (piece,))
        lake.put(f"{ledger.BATCHES}/{SOURCE}/{number:08d}.json", json.dumps(asdict(batch)).encode())
        if first is None:
            landed = IngestUnit(lake, landing, SOURCE, source, batch, 0).run()
            if not lake.transaction(TABLE, f"batch:{SOURCE}"):
                commit_batch(lake, source, batch, [landed])
            files = [File(a.path, a.rows, a.size, a.partition) for a in landed.bronze]
            first = lake.scan(TABLE, files).collect(), landed
            continue
        frame = first[0].with_columns(
            TRANSACTION_ID=pl.format("T{}-{}", pl.lit(number), pl.int_range(pl.len())),
            CUSTOMER_ID=pl.format("K{}", (number * rows + pl.int_range(pl.len())) * 7919 % CUSTOMERS),
            TRANSACTION_DATE=pl.lit(at), _seq=pl.lit(number, pl.Int64), _file=pl.lit(name), _ingested_at=pl.lit(made),
        )  # fmt: skip
        bronze = lake.write_file(TABLE, frame, {"_source": SOURCE}, f"{SOURCE}-{number:08d}-00000")
        state = {**piece.detail, "sha256": landing.digest_of(name)}
        outcome = replace(first[1].outcome, name=name, state=state)
        if number < count:  # dead letters of none are a commit of nothing; the last stands for them
            held = ledger.Outcome(
                SOURCE, number, (outcome,), {**first[1].facts, "inputs": 1, "seq": number, "failed": 0}
            )
            held.save(lake)
            _append(lake, bronze, number, held.facts)
        else:
            lake.delta(TABLE).create_checkpoint()
            commit_batch(lake, source, batch, [Landed([bronze], [], first[1].facts, outcome=outcome)])
        if number % 1000 == 0:
            print(f"{number:,} batches", file=sys.stderr, flush=True)
    ledger.bind(lake, SOURCE)


def _append(lake: Any, add: Any, number: int, facts: dict[str, Any]) -> None:
    log = Path(lake.uri(TABLE)) / "_delta_log"
    now = int(time.time() * 1000)
    said = {"customer360.app": f"batch:{SOURCE}", "customer360.facts": json.dumps(facts)}
    info = {"timestamp": now, "operation": "WRITE", "operationParameters": {"mode": "Append"}, **said}
    file = {"path": add.path, "partitionValues": add.partition, "size": add.size, "modificationTime": now,
            "dataChange": True, "stats": add.stats}  # fmt: skip
    actions = [{"commitInfo": info}, {"add": file}, {"txn": {"appId": f"batch:{SOURCE}", "version": number}}]
    (log / f"{number:020}.json").write_text("\n".join(map(json.dumps, actions)))


# ---- what is measured, each in a process of its own ----------------------------------------------------------------


def opening(config: Path) -> Any:
    return _lake(config).version(TABLE)


def planning(config: Path) -> Any:
    from customer360.platform.run.ingest import pending
    from customer360.platform.sources.base import configured
    from customer360.platform.sources.landing import landing_of

    settings = _settings(config)
    return len(pending(_lake(config), landing_of(settings), SOURCE, configured(settings, SOURCE)))


def status(config: Path) -> Any:
    from customer360.serve.cli import report

    with open(os.devnull, "w") as nowhere:
        report.console.file = nowhere
        report.status(_settings(config))


def one_subject(config: Path) -> Any:
    lake = _lake(config)
    name = SILVER if lake.exists(SILVER) else TABLE
    column = "customer_id" if name == SILVER else "CUSTOMER_ID"
    return lake.scan(name).filter(pl.col(column).str.ends_with("K77")).collect().height


def of_bronze(config: Path) -> Any:
    return _lake(config).scan(TABLE).filter(pl.col("CUSTOMER_ID") == "K77").collect().height


def running(config: Path) -> Any:
    from customer360.platform.run import RunRequest
    from customer360.serve import jobs

    record = jobs.run_pipeline(_settings(config), RunRequest(end=SILVER))
    return {node.state for node in record.nodes}


MEASURES: dict[str, Callable[[Path], Any]] = {
    "open a table": opening,
    "plan what is new": planning,
    "status": status,
    "bronze rows of one customer": of_bronze,
    "silver rows of one customer": one_subject,
    "a run": running,
}


def _settings(config: Path) -> Any:
    from customer360.serve.cli.options import configured

    return configured(config)


def _lake(config: Path) -> Any:
    from customer360.platform.run import lake_of

    return lake_of(_settings(config))


def measured(config: Path, what: str) -> dict[str, Any]:
    """One measure in a fresh process: seconds without imports, answer, megabytes at most."""
    done = subprocess.run(
        [sys.executable, __file__, "--measure", what, "--config", str(config)], capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def measure(config: Path, what: str) -> None:
    from customer360.platform import telemetry
    from customer360.serve.cli import report  # imports are no part of what is compared

    assert report
    _settings(config)
    telemetry.configure("WARNING")
    start, cpu = time.perf_counter(), time.process_time()
    found = MEASURES[what](config)
    seconds, used = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        json.dumps({"seconds": round(seconds, 2), "cpu": round(used, 2), "megabytes": round(peak), "found": str(found)})
    )


def table_of(config: Path, title: str) -> None:
    print(f"{title}\n{'':32}{'seconds':>8}{'of CPU':>8}{'MB':>7}  answer", flush=True)
    for what in MEASURES:
        got = measured(config, what)
        print(f"{what:32}{got['seconds']:8.2f}{got['cpu']:8.2f}{got['megabytes']:7}  {got['found'][:60]}", flush=True)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--batches", type=int, default=1000)
    asked.add_argument("--rows", type=int, default=3)
    asked.add_argument("--keep", type=Path, help="folder that stays")
    asked.add_argument("--measure")
    asked.add_argument("--config", type=Path)
    given = asked.parse_args()
    if given.measure:
        measure(given.config, given.measure)
        return
    root = given.keep or Path(tempfile.mkdtemp(prefix="many_batches"))
    root.mkdir(parents=True, exist_ok=True)
    config = root / "settings.json"
    if not config.exists():
        config = configuration(root)
        start = time.perf_counter()
        fill(config, root, given.batches, given.rows)
        print(f"{given.batches:,} batches written in {time.perf_counter() - start:.0f} s", flush=True)
    table_of(config, "before anything was built")
    table_of(config, "after a run")


if __name__ == "__main__":
    main()
