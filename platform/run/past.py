"""Builds about a date, of tables that nobody's key cuts: they stand while nothing before their date has changed.

A build that declares by which column rows of an input count only before ``as_of`` (``past``) gives the same rows
whatever comes after that date. Most of a day's batches bring nothing else. So its unit first compares, by the files
that came and went since the standing rows were made, what lies before the date: mostly nothing differs, and the files
stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import polars as pl

from customer360.platform import tables
from customer360.platform.graph import Node
from customer360.platform.lake import File
from customer360.platform.run.following import standing
from customer360.platform.run.keyed import known_parts
from customer360.platform.run.origins import files_digest
from customer360.platform.run.planning import Job
from customer360.platform.run.units import BuildUnit, InputPart, UnitResult, apart, other_rows, read_part, timed


@dataclass(frozen=True, kw_only=True)
class PastUnit:
    """Keep the ``stored`` files where ``known``, inputs as they were when these were made, differ in no row before the
    date; else build all rows."""

    build: BuildUnit
    known: tuple[InputPart, ...]
    stored: tuple[File, ...]

    @property
    def node(self) -> Node:
        return self.build.node

    @timed
    def run(self) -> UnitResult:
        if any(map(self._differs, self.known)):
            return self.build.run()
        files = [standing(file) for file in self.stored]
        return UnitResult(
            adds={tables.spec(self.node.table).name: files}, facts={"rows": sum(file.rows for file in files)}
        )

    def _differs(self, known: InputPart) -> bool:
        """Whether an input has other rows before the date."""
        now = next(part for part in self.build.inputs if part.table == known.table)
        is_past = before(self.node.past[known.table], self.build.reserved["as_of"])
        were, are = (read_part(self.build.lake, part).filter(is_past).collect() for part in apart(known, now))
        return any(not rows.is_empty() for rows in other_rows(were, are, known.table))


def before(column: str, as_of: date) -> pl.Expr:
    """Whether a row may count for a build about a date: one without a date may."""
    return (pl.col(column) < as_of).fill_null(True)


def past_unit(job: Job, whole: BuildUnit) -> PastUnit | None:
    """The unit that looks first; None where no more than the ``whole`` build is declared, or what stands was made from
    other code, rules or inputs, or most of what it reads is in other files."""
    lake, node, origin = job.context.lake, job.node, job.origin
    if not node.past or job.refreshed or origin is None or origin.ground != job.ground:
        return None
    every = lake.files(tables.spec(node.table).name)
    stored = [f for f in every if all(f.partition.get(k) == v for k, v in job.partition.items())]
    known = known_parts(job, list(node.past)) if origin.stored == files_digest(stored) else None
    return None if known is None else PastUnit(build=whole, known=known, stored=tuple(stored))
