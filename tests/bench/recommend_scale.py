"""Stand-alone lists of a large shop: `python tests/bench/recommend_scale.py [--users 100000] [--items 50000] [--events
1000000]`.

Zipf items, gamma-distributed activity, one year. Runs `customer360 offline recommend` in a process of its own and
prints seconds, CPU and peak memory; `--ease N` inverts EASE of N items instead.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import polars as pl
from conditions import conditions
from scipy import sparse

from customer360.models.recommenders import ease


def shop(users: int, items: int, events: int, seed: int = 0) -> pl.DataFrame:
    """Rows `user`, `item`, `timestamp` (seconds); users prefer one of 50 departments."""
    rng = np.random.default_rng(seed)
    activity = rng.gamma(0.7, size=users)
    user = rng.choice(users, size=events, p=activity / activity.sum())
    share = 1 / np.arange(1, items + 1) ** 0.9
    item = rng.choice(items, size=events, p=share / share.sum())
    at_home = rng.random(events) < 0.6
    item[at_home] = item[at_home] // 50 * 50 + user[at_home] % 50
    at = 1_640_995_200 + np.sort(rng.integers(0, 365 * 86_400, size=events))
    return pl.DataFrame({"user": user, "item": np.minimum(item, items - 1), "timestamp": at})


def lists(options: argparse.Namespace) -> str:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "log.parquet"
        shop(options.users, options.items, options.events).write_parquet(file)
        began = perf_counter()
        command = ["offline", "recommend", "--interactions", str(file), "--as-of", "2023-01-01", "--mode", options.mode, "--out", f"{folder}/o.parquet"]  # fmt: skip  # noqa: E501
        subprocess.run([sys.executable, "-m", "customer360.serve.cli", *command], check=True)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (
            f"{options.users:,} users, {options.items:,} items, {options.events:,} events, mode {options.mode}: {perf_counter() - began:.0f} s, "  # noqa: E501
            f"{used.ru_utime + used.ru_stime:.0f} s of CPU, peak {used.ru_maxrss / 1e6:.2f} GB"
        )


def inverse(items: int) -> str:
    baskets = sparse.random_array(
        (60_000, items), density=40 / items, format="csr", dtype=np.float32, rng=np.random.default_rng(0)
    )
    baskets.data[:] = 1.0
    began = process_time()
    ease.weights(sparse.csr_array(baskets), 200.0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return f"EASE of {items:,} items: {process_time() - began:.0f} s of CPU, peak {peak:.2f} GB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--mode", choices=["new", "all"], default="new")
    parser.add_argument("--ease", type=int)
    options = parser.parse_args()
    print(inverse(options.ease) if options.ease else lists(options))
    print(conditions("numpy", "scipy"))


if __name__ == "__main__":
    main()
