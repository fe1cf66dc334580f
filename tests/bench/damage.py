"""Does a damaged file take serving down, and is it found? A publication of the size that `--people` says and a small
lake, each file of state and lake damaged in each way, one at a time, before a server starts (cold) and under one that
answers (running); and what checking a publication costs. `--part 2/4` plays every fourth combination, from the second.

Prints one row a file and way: what `/healthz` and a profile answered, whether health said why, how much `customer360
doctor` named; then how many there were, and those where an answer was an error or wrong, or the damage was not found.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime
from itertools import product
from pathlib import Path
from typing import Any

import polars as pl
from starlette.testclient import TestClient

from customer360.platform import access, audit, ledger, online, tables
from customer360.platform.lake import Lake
from customer360.platform.online import OnlineStore, files
from customer360.platform.settings import LakeSettings, Settings
from customer360.serve import doctor
from customer360.serve.app import build_app
from customer360.serve.compose import compose

WAYS: dict[str, Callable[[Path], object]] = {
    "gone": Path.unlink,
    "empty": lambda file: file.write_bytes(b""),
    "cut": lambda file: os.truncate(file, file.stat().st_size // 2),
    "one byte": lambda file: changed(file),
    "other version": lambda file: file.write_bytes(b'{"format": 99, "state": "later"}'),
    "zeros": lambda file: file.write_bytes(bytes(file.stat().st_size)),
    "other bytes": lambda file: file.write_bytes(os.urandom(max(file.stat().st_size, 64))),
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"\0more"),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
}
STATE = ("keys.json", "online/CURRENT", "online/LAST_RUN", "online/generations/*/generation.json",
         "online/generations/*/data.mdb", "refusals/online/CURRENT", "refusals/online/generations/*/generation.json",
         "refusals/online/generations/*/data.mdb", "audit/*.jsonl", "mlflow/mlflow.db",
         "online/hidden.json", "online/hidden_copy.json")  # fmt: skip
LAKE = ("bronze/stores/*/*.parquet", "bronze/stores/_delta_log/*1.json", "_batches/*/*.json", "_landed/*/*.json",
        "_bound/*/*.json", "_runs/*.json")  # fmt: skip
WHEN = ("cold", "running")
ERASED = "p2"  # is being erased, and must not be answered
LOOK = online.POLL_SECONDS + 0.1  # the store looks again after that
UNTOLD = {  # of what is gone, or was added behind the end, nothing says that it was there, or there is no harm
    ("keys.json", "gone"), ("online/LAST_RUN", "gone"), ("audit/*.jsonl", "gone"), ("audit/*.jsonl", "empty"),
    ("audit/*.jsonl", "cut"),
    ("audit/*.jsonl", "longer"), ("mlflow/mlflow.db", "gone"), ("mlflow/mlflow.db", "longer"),
    ("refusals/online/CURRENT", "longer"), ("online/CURRENT", "longer"),
    ("_batches/*/*.json", "gone"), ("_runs/*.json", "gone"), ("_landed/*/*.json", "gone"),
    ("_bound/*/*.json", "gone"), ("_bound/*/*.json", "a folder"), ("_bound/*/*.json", "other version"),
    ("online/hidden_copy.json", "gone"), ("online/LAST_RUN", "one byte"), ("mlflow/mlflow.db", "one byte"),
}  # fmt: skip
DOCUMENT = '{"profile": {"person_id": "%s", "may_personalize": true}, "accounts": [], "filler": "%s"}'


def changed(file: Path) -> None:
    with file.open("r+b") as handle:
        handle.seek(file.stat().st_size // 2)
        byte = handle.read(1)
        handle.seek(-1, os.SEEK_CUR)
        handle.write(bytes([byte[0] ^ 0xFF]))


def documents(people: int) -> Iterator[pl.DataFrame]:
    for start in range(0, people, 10_000):
        keys = [f"p{i}" for i in range(start, min(start + 10_000, people))]
        texts = [DOCUMENT % (key, "x" * 1800) for key in keys]
        yield pl.DataFrame({"kind": "person", "key": keys, "document": texts})


def prepared(state: Path, people: int) -> str:
    for _ in range(2):
        online.publish(state, documents(people), as_of=date(2026, 3, 1), sources={}, is_told=False)
    refused = pl.DataFrame({"kind": "refused", "key": ["p1"], "document": ['{"purposes": ["EMAIL"]}']})
    online.publish(state / "refusals", [refused], as_of=date.min, sources={}, is_told=False)
    online.hide(state, [("person", ERASED)])
    (state / "online" / "LAST_RUN").write_text('{"state": "unpublished", "command": "run", "at": "2026-03-01"}')
    audit.append(state, person="p1")
    (state / "mlflow").mkdir()
    with closing(sqlite3.connect(state / "mlflow" / "mlflow.db")) as database:
        database.execute("CREATE TABLE runs AS SELECT 1 AS n")
        database.commit()
    return access.issue(state, "bench", "service")


def stored(root: Path) -> None:
    """A lake of one table of two batches, with a manifest and a run."""
    lake, contract = Lake(str(root), buckets=2), tables.by_name("bronze.stores")
    lake.ensure(contract)
    wanted = tables.schema(contract)
    for seq in (1, 2):
        row = dict.fromkeys(wanted) | {"STORE_ID": f"S{seq}", "_source": "erp", "_seq": seq}
        frame = pl.DataFrame([row | {"_ingested_at": datetime(2026, 1, seq, tzinfo=UTC)}], schema=wanted)
        lake.append_batch("bronze.stores", [lake.write_file("bronze.stores", frame, {"_source": "erp"})],
                          source="erp", seq=seq)  # fmt: skip
    batch = ledger.open_batch(lake, "erp", [ledger.Input("stores.csv")])
    ledger.Outcome("erp", batch.seq, (ledger.InputOutcome("stores.csv", {"landed": 2}),), {}).save(lake)
    lake.put("_bound/_batches/erp.json", b"{}")
    ledger.start_run("run").save(lake)


def measured(state: Path) -> None:
    home = files.home_of(state)
    folder = files.folder_of(home, files.stored_ids(home)[-1])
    size = (folder / files.DATA).stat().st_size
    began = time.perf_counter()
    files.check(folder)
    whole = time.perf_counter() - began
    store = OnlineStore(state)
    store.view()
    began = time.perf_counter()
    for _ in range(10_000):
        store.view()
    each = (time.perf_counter() - began) / 10_000
    print(
        f"checking {size / 1e6:,.0f} MB: {whole:.2f} s ({size / 1e6 / whole:,.0f} MB/s); "
        f"a look whether it was touched: {each * 1e6:.1f} us"
    )


def damaged(kept: Path, here: Path, key: str, sound: str, pattern: str, way: str, when: str) -> tuple[str, list[str]]:
    """A row of the table, and what is not in order of it. ``sound`` is what health says of undamaged files."""
    shutil.rmtree(here, ignore_errors=True)
    shutil.copytree(kept, here)
    access._CACHE.clear()
    settings = Settings(state=str(here / "state"), lake=LakeSettings(root=str(here / "lake"), buckets=2))
    file = sorted((here / ("lake" if pattern in LAKE else "state")).glob(pattern))[-1]
    answers: list[Any] = []
    if when == "cold":
        WAYS[way](file)
    client = TestClient(build_app(settings), headers={"X-API-Key": key}, raise_server_exceptions=False)
    if when == "running":
        assert [client.get(path).status_code for path in ("/healthz", "/v1/people/p1")] == [200, 200]
        WAYS[way](file)
        answers.append(client.get("/v1/people/p1"))
        time.sleep(LOOK)
    hidden = client.get(f"/v1/people/{ERASED}").status_code
    health, profile = client.get("/healthz"), client.get("/v1/people/p1")
    access._CACHE.clear()  # the doctor is another process
    found = list(doctor.findings(settings))
    why = health.status_code == 200 and health.json()["stale_because"] != sound
    wrong = [f"health answered {health.status_code}"] if health.status_code == 500 else []
    if hidden == 200:
        wrong.append("who is being erased is answered")
    for answer in (*answers, profile):
        if answer.status_code == 500:
            wrong.append("a profile answered 500")
        if answer.status_code == 200 and answer.json()["profile"]["person_id"] != "p1":
            wrong.append("a profile is another one")
    if not found and (pattern, way) not in UNTOLD:
        wrong.append("not found")
    return (
        f"{pattern:45} {way:14} {when:8} {health.status_code:<8} {profile.status_code:<8} {why!s:9} {len(found)}",
        wrong,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=20_000)
    parser.add_argument("--part", default="1/1", help="2/4: every fourth combination, from the second")
    parser.add_argument("--only", default="", help="files whose name holds this")
    given = parser.parse_args()
    people, (first, step) = given.people, map(int, given.part.split("/"))
    compose()
    with tempfile.TemporaryDirectory() as folder:
        kept, here = Path(folder, "kept"), Path(folder, "here")
        key = prepared(kept / "state", people)
        stored(kept / "lake")
        measured(kept / "state")
        undamaged = Settings(state=str(kept / "state"), lake=LakeSettings(root=str(kept / "lake"), buckets=2))
        sound, faults = TestClient(build_app(undamaged)).get("/healthz").json()["stale_because"], []
        print(f"{'file':45} {'way':14} {'when':8} {'health':8} profile  says why  found")
        asked = [pattern for pattern in (*STATE, *LAKE) if given.only in pattern]
        played = list(product(asked, WAYS, WHEN))[first - 1 :: step]
        for pattern, way, when in played:
            row, wrong = damaged(kept, here, key, sound, pattern, way, when)
            print(row + (f"   WRONG: {', '.join(wrong)}" if wrong else ""), flush=True)
            faults += [f"{pattern} {way} {when}: {each}" for each in wrong]
    print(f"{len(played)} combinations, {len(faults)} not in order", *faults, sep="\n")
    raise SystemExit(1 if faults else 0)


if __name__ == "__main__":
    main()
