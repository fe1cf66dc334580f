"""Equal files give equal bytes: whatever the order of rows and however many threads work."""

import hashlib
import os
import subprocess
import sys
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from customer360.models.files import interactions, recommend, scores
from customer360.models.files.transactions import Transactions

AS_OF = date(2024, 7, 1)


def sales(people: int, seed: int = 0) -> pl.DataFrame:
    """Lines of people over 500 days, several on some days; amounts whose sum depends on the order of adding."""
    rng = np.random.default_rng(seed)
    purse = rng.lognormal(3.5, 0.8, people)
    rows = [
        (f"c{person:03}", AS_OF - timedelta(days=int(day)), float(purse[person] * rng.lognormal(0.0, 0.5)))
        for person in range(people)
        for day in np.repeat(rng.choice(500, int(rng.integers(2, 14)), replace=False) + 1, 3)
    ]
    frame = pl.DataFrame(rows, schema=["customer", "at", "amount"], orient="row")
    return frame.with_columns(pl.col("at").cast(pl.Datetime("us")))


def clicks(users: int = 60, items: int = 40, seed: int = 0) -> pl.DataFrame:
    """Purchases of users of two tastes, more of some items than of others."""
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, items + 1)
    rows = [
        (f"u{user:02}", f"i{(item * 2 + user % 2) % items:02}", datetime(2024, 6, 30) - timedelta(hours=int(hour)))
        for user in range(users)
        for item, hour in zip(rng.choice(items, 14, p=share / share.sum()), rng.integers(0, 24 * 300, 14), strict=True)
    ]
    return pl.DataFrame(rows, schema=["user", "item", "at"], orient="row").unique(maintain_order=True)


def scored(lines: pl.DataFrame) -> pl.DataFrame:
    return scores.score(Transactions(lines, (), pl.String()), AS_OF, 60).table


def listed(rows: pl.DataFrame, mode: str) -> pl.DataFrame:
    found = interactions.Interactions(rows, rows["item"].head(0), {})
    return recommend.recommend_users(found, datetime(2024, 7, 1), mode, 10, lambda _: None)  # type: ignore[arg-type]


def digest(frame: pl.DataFrame) -> str:
    return hashlib.sha256(frame.write_ipc(None).getvalue()).hexdigest()


def digests() -> list[str]:
    """Of scores by the models, of scores by BG/NBD alone, and of lists in both modes."""
    return [
        digest(scored(sales(120))),
        digest(scored(sales(60))),
        *(digest(listed(clicks(), m)) for m in ("new", "all")),
    ]


@pytest.mark.parametrize("people", [60, pytest.param(120, marks=pytest.mark.slow)])
def test_scores_do_not_depend_on_the_order_of_rows(people: int) -> None:
    lines = sales(people)
    assert digest(scored(lines.sample(fraction=1.0, shuffle=True, seed=1))) == digest(scored(lines))


@pytest.mark.parametrize("mode", ["new", "all"])
def test_lists_do_not_depend_on_the_order_of_rows(mode: str) -> None:
    rows = clicks()
    assert digest(listed(rows.sample(fraction=1.0, shuffle=True, seed=1), mode)) == digest(listed(rows, mode))


@pytest.mark.slow
def test_scores_and_lists_do_not_depend_on_how_many_threads_work() -> None:
    there = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "HOME") if name in os.environ}

    def of(threads: str) -> str:
        names = ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        command = f"import runpy; print(runpy.run_path({__file__!r})['digests']())"
        done = subprocess.run(
            [sys.executable, "-c", command], env=there | dict.fromkeys(names, threads), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    assert of("1") == of("3")
