"""What a batch of five minutes costs a resident driver, from the landing zone to the publication, and one of few rows.

    python tests/bench/five_minutes.py [--customers 20000] [--days 10] [--share 0.05] [--keep FOLDER] [--rounds 3]
        [--executor local|ray] [--reports]

The lake holds ``--days`` days of a retailer, written by `customer360 sample`; a batch is five minutes of a further day
at ``--share`` of the specification's volume: 174,000 events, 17,000 transactions, 52,000 lines, 35,000 messages and
4,000 others. Then ``--rounds`` batches of a hundred rows, each after a round with nothing new. Rounds are as those of
`run --watch`: reports rest for fifteen minutes, and a last round makes those that did; ``--reports`` makes them in each
round. Prints seconds of each round, its slowest nodes, and memory.
"""

from __future__ import annotations

import argparse
import gzip
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl

BATCH = {"events": 174_000, "transactions": 17_000, "items": 52_000, "engagement": 35_000, "others": 4_000}
FIVE_MINUTES = 5 / (24 * 60)
BIG, SMALL = "batch", "further"
CLI = [sys.executable, "-m", "customer360.serve.cli"]


def resident_megabytes() -> float:
    """What this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def prepared(root: Path, customers: int, days: int, share: float) -> Path:
    """A lake's landing folder with its first days, and a further day beside it; the settings file."""
    from customer360.pipelines.sample.write import END_ON

    config = root / "settings.yaml"
    if config.exists():
        return config
    base = ["--customers", str(customers), "--days", str(max(days, 30)), "--out", str(root / "sample")]
    subprocess.run([*CLI, "sample", *base], check=True, stdout=subprocess.DEVNULL)
    known = {p.relative_to(root / "sample/landing") for p in (root / "sample/landing").rglob("*")}
    for number, folder in enumerate((BIG, SMALL)):
        shutil.copytree(root / "sample", root / folder)
        day = END_ON + timedelta(days=1 + number)
        # A day of the specification at the rate of five minutes: the rows of five minutes, whatever their times are.
        words = ["--day", f"{day:%Y-%m-%d}", "--rate", f"{share * FIVE_MINUTES:.9f}", "--out", str(root / folder)]
        subprocess.run([*CLI, "sample", *words], check=True, stdout=subprocess.DEVNULL)
        for path in (root / folder / "landing").rglob("*"):
            if path.is_file() and path.relative_to(root / folder / "landing") in known:
                path.unlink()
    config.write_text(
        f"extends: local.yaml\nlanding: {root}/sample/landing\nstate: {root}/state\nlake: {{root: {root}/lake}}\n"
        "execution: {executor: local}\n"
    )
    return config


def deliver(root: Path, folder: str, rows: int | None) -> int:
    """Move what a folder holds into the landing zone, or about so many of its rows; how many there were."""
    files = [p for p in sorted((root / folder / "landing").rglob("*")) if p.is_file()]
    moved = 0
    for path in files:
        target = root / "sample/landing" / path.relative_to(root / folder / "landing")
        each = None if rows is None else rows // len(files) + 1
        moved += _head(path, target.with_name(f"{time.time_ns()}-{target.name}"), each)
    return moved


def _head(path: Path, target: Path, rows: int | None) -> int:
    """The first rows of a file, or all, into another; the rest stays."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        frame = pl.read_parquet(path)
        frame.head(rows or frame.height).write_parquet(target)
        frame.slice(rows or frame.height).write_parquet(path)
        return min(rows or frame.height, frame.height)
    packed = path.suffix == ".gz"
    raw = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
    lines = raw.splitlines(keepends=True)
    header = lines[:1] if ".csv" in path.name else []
    count = min(rows or len(lines), len(lines) - len(header))
    body = lines[len(header) :]
    for to, own in ((target, body[:count]), (path, body[count:])):
        content = b"".join([*header, *own])
        to.write_bytes(gzip.compress(content) if packed else content)
    return count


def rounds(config: Path, root: Path, count: int, few: int, *, executor: str, due: bool) -> None:
    """The first landing, a batch that begins a day, one of five minutes, then small ones, all in this process."""
    from customer360.platform import telemetry
    from customer360.platform.run import RunRequest
    from customer360.platform.run.executor import ray_session
    from customer360.serve import pipelines
    from customer360.serve.cli.options import configured
    from customer360.serve.compose import rules_kept

    found = configured(config)
    settings = found.model_copy(update={"execution": found.execution.model_copy(update={"executor": executor})})
    telemetry.configure("WARNING")
    plan: list[tuple[str, str | None, int | None]] = [
        ("first landing", None, None), ("a day begins", SMALL, few), ("five minutes", BIG, None),
        *[("nothing new", None, None), ("few rows", SMALL, few)] * count, ("reports", None, None),
    ]  # fmt: skip
    warm = ray_session(settings.execution, Path(settings.state)) if executor == "ray" else nullcontext()
    with rules_kept(settings), warm:
        for title, folder, wanted in plan:
            rows = deliver(root, folder, wanted) if folder else 0
            start, cpu = time.perf_counter(), _cpu_seconds()
            record = pipelines.run(settings, request=RunRequest(due=due and title != "reports"))
            seconds, used = time.perf_counter() - start, _cpu_seconds() - cpu
            assert record is not None
            print(f"{title:14} {rows:9,} rows {seconds:8.1f} s, of CPU {used:7.1f} s, {resident_megabytes():6.0f} MB", flush=True)  # fmt: skip  # noqa: E501
            built = sorted((n for n in record.nodes if n.state == "built"), key=lambda n: -n.seconds)
            for node in built[:8]:
                print(f"    {node.node:40} {node.seconds:7.2f} s {node.rows:10,} rows")
            states = Counter(n.state for n in record.nodes)
            print(f"    {', '.join(f'{number} {state}' for state, number in sorted(states.items()))}", flush=True)


def _cpu_seconds() -> float:
    """Of all processes of this session, those of Ray among them."""
    session, ticks = os.getsid(0), 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        ticks += sum(map(int, words[11:15])) if int(words[3]) == session else 0
    return ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--customers", type=int, default=20_000)
    asked.add_argument("--days", type=int, default=30)
    asked.add_argument("--share", type=float, default=0.05)
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--executor", choices=("local", "ray"), default="local")
    asked.add_argument("--reports", action="store_true")
    asked.add_argument("--keep", type=Path)
    given: Any = asked.parse_args()
    root = given.keep or Path(tempfile.mkdtemp(prefix="five_minutes"))
    root.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    config = prepared(root, given.customers, given.days, given.share)
    print(
        f"written in {time.perf_counter() - start:.0f} s; a batch is {given.share:.0%} of {sum(BATCH.values()):,} rows"
    )
    rounds(config, root, given.rounds, few=100, executor=given.executor, due=not given.reports)


if __name__ == "__main__":
    main()
