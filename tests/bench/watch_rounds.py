"""Memory and seconds of a resident driver over many rounds, each of one small file.

    python tests/bench/watch_rounds.py [--rounds 1000] [--rows 3]

One source into one bronze and one silver table, in this process. Prints, every tenth part, the megabytes that the
process holds, the seconds of a round since then, and the files of the bronze table, which the rounds fold.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from customer360.serve import watch

TABLE, SILVER = "bronze.stores", "silver.stores"


def resident_megabytes() -> float:
    """What this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def deliver(root: Path, number: int, rows: int) -> None:
    """A file of stores: some new ones, and one that every file names again."""
    lines = [f"S{number}-{row},Store {number}" for row in range(rows)] + [f"S0,Store of {number}"]
    path = root / "landing" / "stores" / f"{number:06d}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text("\n".join(["STORE_ID,STORE_NAME", *lines]) + "\n")
    part.rename(path)


def main() -> None:
    from customer360.platform import telemetry
    from customer360.platform.run import RunRequest, lake_of
    from customer360.serve.cli.options import configured

    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rounds", type=int, default=1000)
    asked.add_argument("--rows", type=int, default=3)
    given = asked.parse_args()
    root = Path(tempfile.mkdtemp(prefix="watch_rounds"))
    config = root / "settings.json"
    sources = {"stores": {"table": TABLE, "system": "ERP", "path": "stores/*.csv", "format": "csv"}}
    config.write_text(
        json.dumps({"extends": "base.yaml", "landing": str(root / "landing"), "state": str(root / "state"),
                    "lake": {"root": str(root / "lake")}, "execution": {"executor": "local"}, "sources": sources})
    )  # fmt: skip
    settings = configured(config)
    telemetry.configure("WARNING")
    watch.SETTLED = 0.0
    stop, began = watch.Stop(), [time.perf_counter()]
    step = max(1, given.rounds // 10)

    def tell(done: watch.Round, record: Any) -> None:
        assert done.state == "done", done
        if done.number % step == 0:
            seconds = (time.perf_counter() - began[0]) / step
            files = len(lake_of(settings).files(TABLE))
            print(f"{done.number:6,} rounds {resident_megabytes():7.0f} MB {seconds:6.2f} s a round {files:5} files", flush=True)  # fmt: skip  # noqa: E501
            began[0] = time.perf_counter()
        if done.number == given.rounds:
            stop.ask()
        else:
            deliver(root, done.number + 1, given.rows)

    deliver(root, 1, given.rows)
    watch.watch(settings, 0.001, None, None, RunRequest(end=SILVER), publish=False, tell=tell, stop=stop)


if __name__ == "__main__":
    main()
