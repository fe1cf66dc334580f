"""What it costs to erase one person of a retailer, and to prove it: until no answer names the person, until every table
is rewritten and old files are gone, until every byte of every store was searched.

    python tests/bench/erasure.py [--customers 20000] [--days 30] [--thin N] [--no-warehouse] [--cpus N] [--keep FOLDER]

Landing files are written by `customer360 sample`, then landed, published and loaded into the warehouse, in process. The
person with most records goes. Prints seconds of the clock and of CPU for each, megabytes searched, and what the proof
names. ``--keep`` keeps the folder: the next call erases somebody else of it. ``--thin`` keeps one line of so many of
what was clicked, so that the lake of many people is made in a time that one has; people, receipts, messages and all
else stay whole.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROWS_LOST = 5  # a run ends so where a small feed lost more than its share of rows; what landed is built
CLI = [sys.executable, "-m", "customer360.serve.cli"]


def thinned(landing: Path, keep: int) -> None:
    """One line of so many of each file of clicks."""
    for file in landing.glob("web/events/*.jsonl.gz"):
        with gzip.open(file, "rb") as lines:
            kept = b"".join(itertools.islice(lines, 0, None, keep))
        file.write_bytes(gzip.compress(kept, compresslevel=1))


def prepared(root: Path, given: Any) -> Path:
    """The settings of an installation with a lake, a publication and, unless it is left out, a warehouse."""
    config = root / "settings.yaml"
    config.write_text(
        f"extends: local.yaml\nlanding: {root}/sample/landing\nstate: {root}/state\nlake: {{root: {root}/lake}}\n"
        f"execution: {{executor: local{f', cpus: {given.cpus}' if given.cpus else ''}}}\n"
    )
    if not (root / "sample").exists():
        size = ["--customers", str(given.customers), "--days", str(given.days), "--out", str(root / "sample")]
        made("sample", [*CLI, "sample", *size])
        thinned(root / "sample/landing", given.thin)
    for command in ("run", "warehouse load")[: 1 if given.no_warehouse else 2]:  # both do what is missing
        made(command, [*CLI, *command.split(), "--config", str(config)])
    return config


def made(name: str, command: list[str]) -> None:
    """Run a command, and say what it took."""
    begun = time.perf_counter(), cpu_seconds()
    ended = subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode
    if ended not in (0, ROWS_LOST):
        sys.exit(f"{' '.join(command)} ended with {ended}")
    print(f"{name:30} {time.perf_counter() - begun[0]:8.1f} s, of CPU {cpu_seconds() - begun[1]:8.1f} s", flush=True)


def cpu_seconds() -> float:
    """Of this process, and of those that it started and that ended."""
    of = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in of)


def erased(settings: Any) -> None:
    """Erase somebody, and print when what was reached."""
    from customer360.platform import lake
    from customer360.platform.run import lake_of
    from customer360.serve import jobs

    people = lake_of(settings).scan("silver.identities").group_by("person_id").len().collect()
    person = people.sort("len", "person_id", descending=[True, False])["person_id"][0]
    begun = time.perf_counter(), cpu_seconds()
    marks: dict[str, tuple[float, float]] = {}

    def mark(name: str) -> None:
        marks.setdefault(name, (time.perf_counter() - begun[0], cpu_seconds() - begun[1]))

    wanted = {"after hiding": "no answer names the person", "before purge": "everything is rewritten"}
    lake.observers.append(lambda reached: mark(wanted[reached]) if reached in wanted else None)
    prove = jobs.prove

    def proven(*given: Any) -> Any:
        mark("old files are gone")
        found = prove(*given)
        mark("proven")
        return found

    jobs.prove = proven
    _, proof = jobs.erase_proven(settings, person)
    for name, (seconds, cpu) in marks.items():
        print(f"{name:30} {seconds:8.1f} s, of CPU {cpu:8.1f} s")
    seen = proof.looked_at.values()
    files, size = sum(each["files"] for each in seen), sum(each["bytes"] for each in seen) / 1e6
    clock, cpu = (marks["proven"][at] - marks["old files are gone"][at] for at in (0, 1))
    print(f"searched {files:,} files, {size:,.0f} MB in {clock:.1f} s ({size / clock:.1f} MB/s)")
    print(f"    of CPU {cpu:.1f} s ({size / cpu:.1f} MB/s)")
    for store, each in proof.looked_at.items():
        print(f"    {store.partition(' ')[0]:10} {each['files']:7,} files {each['bytes'] / 1e6:10,.1f} MB")
    left = sorted({remains.store for remains in proof.remains})
    print(f"looked for {json.dumps(proof.searched)}; {len(proof.remains)} files remain in {left}")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(f"memory {memory:,.0f} MB; load {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores")


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--customers", type=int, default=20_000)
    asked.add_argument("--days", type=int, default=30)
    asked.add_argument("--thin", type=int, default=1, metavar="N", help="keep one of so many lines of web events")
    asked.add_argument("--no-warehouse", action="store_true", help="make no star of the lake")
    asked.add_argument("--cpus", type=int)
    asked.add_argument("--keep", type=Path)
    given: Any = asked.parse_args()
    root = given.keep or Path(tempfile.mkdtemp(prefix="erasure"))
    root.mkdir(parents=True, exist_ok=True)
    config = prepared(root, given)

    from customer360.platform import telemetry
    from customer360.serve.cli.options import configured
    from customer360.serve.compose import rules_kept

    settings = configured(config)
    telemetry.configure("WARNING")
    with rules_kept(settings):
        erased(settings)


if __name__ == "__main__":
    main()
