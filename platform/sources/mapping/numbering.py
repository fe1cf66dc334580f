"""Numbers for rows that their source gives none: lines of a receipt, in the order in which a file holds them.

A column says so in its metadata (``tables.numbered_within``). Where a source has no such column at all, the rows of one
value of the other column count from 1 within each file, before anything is left out for an erasure. So equal goods
twice in a receipt are two lines, and a receipt that is delivered again, whole, has the same numbers and replaces
itself. A file that names a receipt is taken to hold all of it: lines that another file adds would count from 1, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import polars as pl

from customer360.platform import tables
from customer360.platform.sources.formats.records import POSITION
from customer360.platform.tables import Table


def countable(table: type[Table]) -> dict[str, str]:
    """Columns of a table that may be numbered, and the column within whose values they count."""
    return {
        name: str(column.metadata[tables.NUMBERED])
        for name, column in table.columns().items()
        if column.metadata and tables.NUMBERED in column.metadata
    }


@dataclass
class Numbering:
    """Counts of one file so far, as its pieces come one after the other."""

    counts: dict[str, pl.DataFrame] = field(default_factory=dict)

    def filled(self, table: type[Table], frame: pl.DataFrame, reached: Iterable[str]) -> pl.DataFrame:
        """The rows of the next piece, in order of position, with a number in each column that the file cannot reach:
        ``reached`` are the columns of the file and those that its mapping names."""
        for column, within in countable(table).items():
            if column not in set(reached):
                frame = self._numbered(frame.sort(POSITION), column, within)
        return frame

    def _numbered(self, frame: pl.DataFrame, column: str, within: str) -> pl.DataFrame:
        before = self.counts.get(column, pl.DataFrame(schema={within: pl.String, "before": pl.Int64}))
        place = pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over(within)
        joined = frame.join(before, on=within, how="left", maintain_order="left").with_columns(
            number=place + pl.col("before").fill_null(0)
        )
        seen = joined.filter(pl.col(within).is_not_null()).group_by(within).agg(before=pl.col("number").max())
        self.counts[column] = pl.concat([before.join(seen, on=within, how="anti"), seen])
        number = pl.when(pl.col(within).is_not_null()).then(pl.col("number").cast(frame.schema[column]))
        return joined.with_columns(number.alias(column)).drop("before", "number")
