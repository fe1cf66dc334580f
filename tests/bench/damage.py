"""Does a damaged file take serving down, and is it found? A publication of the size that `--people` says, each file of
the state damaged in each way, one at a time; and what checking a publication costs.

Prints one row a file and way: whether `/healthz` and a profile still answered, from which publication, whether health
said why, whether `customer360 doctor` named it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import polars as pl
from starlette.testclient import TestClient

from customer360.platform import access, online
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
}
FILES = ("keys.json", "online/CURRENT", "online/LAST_RUN", "online/generations/*/generation.json",
         "online/generations/*/data.mdb", "refusals/online/CURRENT",
         "refusals/online/generations/*/data.mdb")  # fmt: skip
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
    (state / "online" / "LAST_RUN").write_text('{"state": "unpublished", "command": "run", "at": "2026-03-01"}')
    return access.issue(state, "bench", "service")


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=20_000)
    people = parser.parse_args().people
    compose()
    with tempfile.TemporaryDirectory() as folder:
        kept, state = Path(folder, "kept"), Path(folder, "state")
        key = prepared(kept, people)
        measured(kept)
        settings = Settings(state=str(state), lake=LakeSettings(root=str(Path(folder, "lake"))))
        print(f"{'file':45} {'way':14} {'health':8} profile  says why  found")
        for pattern in FILES:
            for way, damage in WAYS.items():
                shutil.rmtree(state, ignore_errors=True)
                shutil.copytree(kept, state)
                damage(sorted(state.glob(pattern))[-1])
                access._CACHE.clear()
                client = TestClient(build_app(settings), headers={"X-API-Key": key})
                health, profile = client.get("/healthz"), client.get("/v1/people/p1")
                found = len(list(doctor.findings(settings)))
                why = bool(health.json()["stale_because"])
                print(f"{pattern:45} {way:14} {health.status_code:<8} {profile.status_code:<8} {why!s:9} {found}")


if __name__ == "__main__":
    main()
