"""What lineage costs, on a lake that stands.

    python tests/bench/lineage.py CONFIG [persons] [runs]

Derives the lineage of all columns; follows the view of customers back to records of files for some persons (every so
many by id); the first batch of each source forward; gives the versions of a record of each bronze table that has one.
Prints the median and the longest seconds of CPU of each, in this process, without the start of Python. Then runs gold
anew, without events and with events into a file, in turns; the lake is written to.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from customer360.platform import ledger, settings, tables, telemetry
from customer360.platform.lineage import history, reach, rows
from customer360.platform.lineage.columns import lineage_of
from customer360.platform.run import RunRequest, lake_of
from customer360.platform.settings import OpenLineageSettings, Settings
from customer360.serve import jobs
from customer360.serve.compose import compose, rules_of

VIEW = "gold.customer_360"


def timed(said: str, do: Callable[[Any], Any], about: Iterable[Any]) -> None:
    seconds = []
    for each in about:
        began = time.process_time()
        do(each)
        seconds.append(time.process_time() - began)
    if seconds:
        print(
            f"{said:<56} {len(seconds):>4} x  median {statistics.median(seconds):.2f} s  longest {max(seconds):.2f} s"
        )


def main(config: Path, persons: int, runs: int) -> None:
    compose()
    configured = settings.load(config)
    lake, rules = lake_of(configured), rules_of(configured)
    counted = {n: sum(f.rows for f in lake.files(n)) for n in tables.TABLES if lake.exists(n)}
    bronze = sum(rows_ for name, rows_ in counted.items() if name.startswith("bronze."))
    print(f"{len(counted)} tables, {bronze:,} rows of bronze, {sum(counted.values()):,} in all")
    timed("columns: lineage of all derived", lambda _: lineage_of(rules), range(3))
    everybody = lake.scan(VIEW).select("person_id").collect()["person_id"].sort()
    chosen = everybody.gather_every(max(1, len(everybody) // persons)).to_list()
    timed("rows: a person's view back to records", lambda p: _back(lake, p), chosen)
    firsts = [
        f"{name}/{ledger.batches(lake, name)[0].seq}" for name in configured.sources if ledger.batches(lake, name)
    ]
    timed("rows: a batch forward", lambda b: reach.reach_of(lake, reach.find(lake, configured.sources, b)), firsts)
    timed("history: a record as delivered", lambda k: history.delivered(lake, *k), _records(lake))
    timed("history: a person's view as stored", lambda p: history.stored(lake, VIEW, {"person_id": p}), chosen[:5])
    _events(configured, runs)


def _back(lake: Any, person: str) -> None:
    rows.behind(lake, VIEW, rows.rows_of(lake, VIEW, {"person_id": person}))


def _records(lake: Any) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for name in sorted(n for n in tables.TABLES if n.startswith("bronze.") and lake.exists(n)):
        key = [*tables.spec(tables.by_name(name)).key, "_source_system"]
        one = lake.scan(name).select(key).drop_nulls().head(1).collect()
        if len(key) > 1 and one.height:
            found.append((name, one.to_dicts()[0]))
    return found


def _events(configured: Settings, runs: int) -> None:
    """Runs of gold whose every table is made anew, with and without events, in turns."""
    seconds: dict[str, list[float]] = {"without": [], "with": []}
    with tempfile.TemporaryDirectory() as folder, telemetry.only_heartbeats():
        file = Path(folder, "events.ndjson")
        told = configured.model_copy(update={"openlineage": OpenLineageSettings(file=str(file))})
        for _ in range(runs):
            for name, these in (("without", configured), ("with", told)):
                began = time.process_time()
                jobs.run_pipeline(these, RunRequest(start="gold", refresh=("gold.customer_features", VIEW)))
                seconds[name].append(time.process_time() - began)
        events = [json.loads(line) for line in file.read_text().splitlines()] if runs else []
    for name, each in seconds.items():
        if each:
            spread = f"{min(each):.2f} to {max(each):.2f}"
            print(f"a run of gold {name} events: median {statistics.median(each):.2f} s of CPU, {spread}")
    if events:
        size = sum(len(json.dumps(e)) for e in events) / runs
        print(f"{len(events) // runs} events a run, {size / 1024:,.0f} kB")


if __name__ == "__main__":
    given = sys.argv[2:]
    main(Path(sys.argv[1]), int(given[0]) if given else 20, int(given[1]) if len(given) > 1 else 5)
