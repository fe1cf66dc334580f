"""How a record's values are made, declared once and run in two ways: over a frame, or on one record.

A `Stage` computes columns from columns of the same row, step by step. `over` runs stages on a frame with Polars, once
per distinct combination of what they read; `single.Derivation` makes the same stages a Python function of one
record, for a request that cannot wait for a hundred queries of one row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class Parsed:
    """`name`: text by a Python function of the columns `of`, where `where` holds; null elsewhere."""

    name: str
    of: tuple[str, ...]
    where: pl.Expr
    function: Callable[..., str | None]

    def over(self, frame: pl.DataFrame) -> pl.DataFrame:
        rows = frame.filter(self.where).select(self.of).unique()
        made = pl.Series(self.name, [self.function(*row) for row in rows.iter_rows()], dtype=pl.String)
        return frame.join(rows.with_columns(made), on=self.of, how="left", nulls_equal=True, maintain_order="left")


@dataclass(frozen=True)
class Listed:
    """`name`: what `table` (columns `of` and `name`, of unique and filled values of `of`) has for the value of `of`;
    null for others."""

    name: str
    of: str
    table: pl.DataFrame

    def over(self, frame: pl.DataFrame) -> pl.DataFrame:
        return frame.join(self.table, on=self.of, how="left", maintain_order="left")


Step = Mapping[str, pl.Expr] | Parsed | Listed


@dataclass(frozen=True)
class Stage:
    """Columns `made` from the columns `of` by `steps`, each of which may read what the ones before it made. Without
    `of` from any column, row by row."""

    of: tuple[str, ...]
    made: tuple[str, ...]
    steps: tuple[Step, ...]

    def over(self, frame: pl.DataFrame) -> pl.DataFrame:
        work = frame.select(self.of).unique() if self.of else frame
        for step in self.steps:
            work = step.over(work) if isinstance(step, (Parsed, Listed)) else _with(work, step)
        if not self.of:
            return work
        kept = frame.drop(self.made, strict=False)
        made = work.select(*self.of, *self.made)
        return kept.join(made, on=self.of, how="left", nulls_equal=True, maintain_order="left")


def _with(frame: pl.DataFrame, made: Mapping[str, pl.Expr]) -> pl.DataFrame:
    """A query rather than a step at once: what several of the expressions share, often most of them, is computed
    once."""
    return frame.lazy().with_columns(**made).collect()


def each(**made: pl.Expr) -> Stage:
    """A stage of one step, row by row."""
    return Stage((), tuple(made), (made,))


def distinct(*of: str, **made: pl.Expr) -> Stage:
    """A stage of one step, once per distinct combination of the columns `of`."""
    return Stage(of, tuple(made), (made,))


def over(frame: pl.DataFrame, stages: Iterable[Stage]) -> pl.DataFrame:
    """The frame with what the stages make."""
    for stage in stages:
        frame = stage.over(frame)
    return frame
