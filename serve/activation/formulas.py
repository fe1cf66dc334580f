"""Texts that a spreadsheet would run as a formula, in files that people open there."""

from __future__ import annotations

import polars as pl

# What Excel, LibreOffice and Google Sheets take for the beginning of one; blanks before it do not help.
FORMULA = r"^\s*[=+\-@\t\r\n|%\uFF1D\uFF0B\uFF0D\uFF20]"
NUMBER = r"^\s*[+\-]?[\d ().,/-]+$"  # also telephone numbers: they compute nothing


def defused(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with an apostrophe before each text that begins like a formula; numbers stay as they are."""
    texts = [name for name, kind in frame.schema.items() if kind == pl.String]
    return frame.with_columns(
        pl.when(pl.col(c).str.contains(FORMULA) & ~pl.col(c).str.contains(NUMBER)).then("'" + pl.col(c)).otherwise(c)
        .alias(c)
        for c in texts
    )  # fmt: skip
