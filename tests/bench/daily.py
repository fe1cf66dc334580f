"""What one new day costs after short and long history, and a run with nothing new: CPU seconds of each run.

    python tests/bench/daily.py [people] [days...]

Prints, for each length of history, the CPU seconds of the new day less those of a run with nothing new, and the ratio
of the longest history to the shortest. In process, without Ray: its start is no part of what is compared.
"""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl
import yaml

from customer360.pipelines.sample.write import END_ON

LAST = f"{END_ON:%Y-%m-%d}"
DATED = {
    "pos/transactions": "TRANSACTION_DATE", "shop/transactions": "TRANSACTION_DATE", "web/events": "EVENT_DATE",
    "web/sessions": "SESSION_START", "crm/engagement": "ENGAGEMENT_DATE", "shop/orders": "ORDER_DATE",
    "support/tickets": "CREATION_DATE",
}  # fmt: skip
LINES = {"pos/transaction_items": "pos/transactions", "shop/transaction_items": "shop/transactions"}


def hold_back(landing: Path, held: Path) -> int:
    """Move the rows of the last day out of the newest file of each feed; returns how many there are."""
    ids: dict[str, set[str]] = {}
    rows = 0
    for feed, column in DATED.items():
        newest = max((landing / feed).iterdir())
        rows += _parted(
            newest, held / feed, lambda frame, c=column: frame[c].cast(pl.String).str.starts_with(LAST), feed, ids
        )
    for feed, of in LINES.items():
        newest = max((landing / feed).iterdir())
        rows += _parted(newest, held / feed, lambda frame, o=of: frame["TRANSACTION_ID"].is_in(list(ids[o])), feed, ids)
    return rows


def _parted(newest: Path, folder: Path, of_the_day, feed: str, ids: dict[str, set[str]]) -> int:
    folder.mkdir(parents=True)
    if newest.suffix == ".parquet":
        frame = pl.read_parquet(newest)
        last = of_the_day(frame).fill_null(False)
        frame.filter(last).write_parquet(folder / f"{LAST}.parquet")
        frame.filter(~last).write_parquet(newest)
        return int(last.sum())
    packed = newest.suffix == ".gz"
    text = (gzip.decompress(newest.read_bytes()) if packed else newest.read_bytes()).decode("latin-1")
    header, lines = ([], text.split("\n")) if packed else (text.split("\n")[:1], text.split("\n")[1:])
    keys = ["TRANSACTION_ID"]
    if packed:
        frame = pl.DataFrame({c: [_json_value(line, c) for line in lines] for c in {*keys, DATED.get(feed, keys[0])}})
    else:
        places = {name: i for i, name in enumerate(header[0].split(","))}
        frame = pl.DataFrame({c: [_cell(line, places[c]) for line in lines] for c in {*keys, DATED.get(feed, keys[0])}})
    last = of_the_day(frame).fill_null(False).to_list()
    if feed in LINES.values():
        ids[feed] = set(frame.filter(last)["TRANSACTION_ID"].drop_nulls())
    for target, part in ((folder / newest.name.replace(newest.name.split(".")[0], LAST), True), (newest, False)):
        body = (
            "\n".join([*header, *(line for line, is_last in zip(lines, last, strict=True) if is_last is part)]) + "\n"
        ).encode("latin-1")
        target.write_bytes(gzip.compress(body) if packed else body)
    return sum(last)


def _cell(line: str, place: int) -> str | None:
    cells = line.split(",")
    return cells[place] if place < len(cells) else None


def _json_value(line: str, column: str) -> str | None:
    start = line.find(f'"{column}":"')
    return None if start < 0 else line[start + len(column) + 4 :].split('"', 1)[0]


def settings(folder: Path) -> Path:
    local = yaml.safe_load(Path("configs/local.yaml").read_text())
    local["extends"] = str(Path("configs/base.yaml").absolute())
    local |= {"landing": str(folder / "landing"), "state": str(folder / "state")}
    local["lake"] = {**local.get("lake", {}), "root": str(folder / "lake")}
    local["execution"] = {"executor": os.environ.get("BENCH_EXECUTOR", "local")}
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump(local))
    return path


def cpu_of_run(config: Path, *options: str) -> tuple[float, float, str]:
    """CPU seconds and wall seconds of one `customer360 run`, and what it said."""
    before, start = os.times(), time.perf_counter()
    command = [sys.executable, "-m", "customer360.serve.cli", "run", "--config", str(config), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    after = os.times()
    if done.returncode not in (0, 5):
        raise SystemExit(done.stdout + done.stderr)
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return cpu, time.perf_counter() - start, done.stdout + done.stderr


def main(people: int, lengths: list[int], root: Path) -> None:
    costs = {}
    for days in lengths:
        folder = root / f"days{days}"
        command = [sys.executable, "-m", "customer360.serve.cli", "sample", "--customers", str(people)]
        subprocess.run([*command, "--days", str(days), "--out", str(folder)], check=True, capture_output=True)
        new = hold_back(folder / "landing", folder / "held")
        config = settings(folder)
        first = cpu_of_run(config)
        nothing = min(cpu_of_run(config)[:2] for _ in range(2))
        for file in sorted((folder / "held").rglob("*.*")):
            file.rename(folder / "landing" / file.relative_to(folder / "held"))
        cpu, wall, said = cpu_of_run(config)
        (folder / "day.log").write_text(said)
        costs[days] = cpu - nothing[0]
        print(
            f"{days:4} days: first run {first[0]:6.1f} s CPU; nothing new {nothing[0]:5.1f} s CPU, {nothing[1]:.1f} s; "
            f"a day of {new:,} rows {cpu:6.1f} s CPU, {wall:6.1f} s, less nothing new {costs[days]:6.1f} s",
            flush=True,
        )
    print(f"ratio {max(lengths)} to {min(lengths)} days: {costs[max(lengths)] / costs[min(lengths)]:.2f}")


if __name__ == "__main__":
    arguments = [int(a) for a in sys.argv[1:]]
    if where := os.environ.get("BENCH_FOLDER"):
        main(arguments[0] if arguments else 2000, arguments[1:] or [60, 480], Path(where))
    else:
        with tempfile.TemporaryDirectory() as made:
            main(arguments[0] if arguments else 2000, arguments[1:] or [60, 480], Path(made))
