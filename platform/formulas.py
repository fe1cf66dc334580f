"""Texts that a spreadsheet would run as a formula, in files that people open there.

Also within a text: where the list separator of the country is a semicolon, a CSV is cut at semicolons too, quoted or
not, and what comes after one begins a cell.
"""

from __future__ import annotations

import re

import polars as pl

# What Excel, LibreOffice and Google Sheets take for the beginning of one; blanks before it do not help.
STARTS = r"[=+\-@\t\r\n|%\uFF1D\uFF0B\uFF0D\uFF20]"
SUSPECT = rf"(?:^|[;\t\r\n])\s*{STARTS}"
_FORMULA = re.compile(rf"\s*{STARTS}")
_NUMBER = re.compile(r"\s*+[+\-]?[\d ().,/-]++(?:[eE][+\-]?\d+)?+\s*+")  # also telephone numbers: they compute nothing
_CUT = re.compile(r"([;\t\r\n])")


def as_text(cell: str) -> str:
    """A cell with an apostrophe before whatever a spreadsheet would run; numbers stay as they are."""
    body = cell.lstrip()
    first, *further = _CUT.split(body)  # texts and, at even places of the rest, what they were cut at
    safe = (f"'{part}" if at % 2 and _runs(part) else part for at, part in enumerate(further))
    return ("'" if _runs(cell) else "") + cell[: len(cell) - len(body)] + first + "".join(safe)


def _runs(text: str) -> bool:
    return bool(_FORMULA.match(text)) and not _NUMBER.fullmatch(text)


def defused(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with an apostrophe before whatever in its texts begins like a formula."""
    mended = ((column, _mended(column)) for column in frame.select(pl.col(pl.String)))
    return frame.with_columns(column.replace(safe) for column, safe in mended if safe)


def count(frame: pl.DataFrame) -> int:
    """Different texts of a frame, by column, of which a spreadsheet would run something."""
    return sum(len(_mended(column)) for column in frame.select(pl.col(pl.String)))


def _mended(column: pl.Series) -> dict[str, str]:
    """The texts of a column that begin like a formula, and what is written in their place."""
    found = column.filter(column.str.contains(SUSPECT).fill_null(False)).unique().to_list()
    return {text: safe for text in found if (safe := as_text(text)) != text}


__all__ = ["as_text", "count", "defused"]
