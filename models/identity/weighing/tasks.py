"""Pairs in tasks: what is too much for one process is parted by left record, scored apart and put together again.

A task carries its pairs and the rows that they name, so it needs no more memory than they do and may run anywhere, and
again. Block keys are joined before: a key that spans tasks would propose its pairs in each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from customer360.models.identity.weighing.model import IdentityModelError
from customer360.models.identity.weighing.pairs import among_few
from customer360.platform.run.executor import Executor, Failure

Scoring = Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame]


@dataclass(frozen=True)
class Task:
    """Pairs to score. `pairs`: rid_l and rid_r (with what else `scoring` reads) as places in `rows`; `rids`: what these
    are called outside; `scoring`: of pairs and rows to scored pairs with rid_l and rid_r."""

    pairs: pl.DataFrame
    rows: pl.DataFrame
    rids: pl.Series
    scoring: Scoring

    @staticmethod
    def of(pairs: pl.DataFrame, frame: pl.DataFrame, scoring: Scoring) -> Task:
        """A task that holds of `frame` the rows that `pairs` name."""
        local, rids = among_few(pairs)
        return Task(local, frame[rids], rids, scoring)

    def run(self) -> pl.DataFrame:
        """The scored pairs, under their names outside."""
        scored = self.scoring(self.pairs, self.rows)
        return scored.with_columns(rid_l=self.rids.gather(scored["rid_l"]), rid_r=self.rids.gather(scored["rid_r"]))


def parted(pairs: pl.DataFrame, size: int) -> list[pl.DataFrame]:
    """`pairs` in slices of about `size`, in their order: neighbours with one left record stay together, so that its row
    travels once. A slice passes `size` by less than one record's pairs."""
    left = pairs["rid_l"].to_numpy()
    if not left.size:
        return []
    starts = np.flatnonzero(np.r_[True, left[1:] != left[:-1]])
    numbers = starts // size
    cuts = starts[np.r_[True, numbers[1:] != numbers[:-1]]]
    ends = np.r_[cuts[1:], left.size]
    return [pairs.slice(int(cut), int(end - cut)) for cut, end in zip(cuts, ends, strict=True)]


def scored_in_tasks(
    pairs: pl.DataFrame, frame: pl.DataFrame, scoring: Scoring, size: int, executor: Executor
) -> pl.DataFrame:
    """`scoring` of `pairs`, in their order, by tasks of about `size` pairs that `executor` runs.

    `frame`: the row of a rid at that place, with the columns that `scoring` reads. Where the answer for a pair depends
    on that pair and its two rows alone, this equals `scoring(pairs, frame)`. Raises IdentityModelError when a task
    fails for good.
    """
    tasks = [Task.of(part, frame, scoring) for part in parted(pairs, size)]
    if not tasks:
        return scoring(pairs, frame)
    found: dict[int, pl.DataFrame] = {}
    for place, made in executor.map(tasks):
        if isinstance(made, Failure):
            raise IdentityModelError(f"scoring pairs: task {place + 1} of {len(tasks)} failed: {made.reason}")
        found[place] = made
    return pl.concat([found[place] for place in range(len(tasks))])
