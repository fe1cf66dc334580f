"""Wide records as rows: one for each of their columns that holds a value, such as the rates of a day by currency."""

from __future__ import annotations

from typing import Annotated

import polars as pl
from pydantic import BeforeValidator, Field, model_validator

from customer360.platform.settings import Frozen
from customer360.platform.sources.expressions.nested import ELEMENTS
from customer360.platform.sources.formats.records import POSITION
from customer360.platform.sources.values import Reading

NUMBER = "\0number"


def _as_list(given: object) -> object:
    return [given] if isinstance(given, str) else given


class Unpivot(Frozen):
    """Which columns of a record every row of it keeps; each other one that holds a value becomes a row, with its
    name in ``name`` and what it holds in ``value``. What is written for nothing (`N/A`) is no value.
    """

    keep: Annotated[list[str], BeforeValidator(_as_list), Field(min_length=1)]
    name: str = "name"
    value: str = "value"

    @model_validator(mode="after")
    def _apart(self) -> Unpivot:
        if len({*self.keep, self.name, self.value}) < len(self.keep) + 2:
            raise ValueError("the names of `keep`, `name` and `value` must differ")
        return self

    @property
    def made(self) -> tuple[str, str]:
        """The columns that rows have beside the kept ones."""
        return self.name, self.value

    @property
    def columns(self) -> list[str]:
        """The columns of rows."""
        return [*self.keep, *self.made]

    def faults(self, columns: list[str]) -> list[str]:
        """What of it a file with these columns cannot give."""
        absent = [name for name in self.keep if name not in columns]
        return [f"unpivot needs file column(s) {absent}, the file has {columns}"] if absent else []

    def rows(self, records: pl.DataFrame, reading: Reading) -> pl.DataFrame:
        """``_position`` (the record's times `ELEMENTS`, and the column's number), the kept columns, name, value."""
        wide = [c for c in records.columns if c not in (POSITION, *self.keep)]
        kept = records.select(
            POSITION, *(pl.col(c) if c in records.columns else pl.lit(None, pl.String).alias(c) for c in self.keep)
        )
        if len({records.schema[c] for c in wide}) > 1:
            records = records.with_columns(pl.col(wide).cast(pl.String))
        parts = [
            kept.select(
                pl.col(POSITION) * ELEMENTS + number,
                *self.keep,
                pl.lit(column.strip()).alias(self.name),
                records[column].alias(self.value),
            )
            for number, column in enumerate(wide, 1)
        ]
        empty = kept.head(0).with_columns(pl.lit(None, pl.String).alias(c) for c in self.made)
        rows = pl.concat(parts) if parts else empty
        text = pl.col(self.value).cast(pl.String).str.strip_chars().str.to_lowercase()
        return rows.filter(text.is_not_null() & ~text.is_in(["", *reading.words.nulls])).sort(POSITION)
