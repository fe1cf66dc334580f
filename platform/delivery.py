"""The order of a source: number of the batch, natural order of the names of its inputs (day9 before day10), position.

It is what was delivered after what, and depends on no clock, no time of change of a file and no number of runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import polars as pl

INPUT = "_input"  # rank of a row's input in the natural order of names
DELIVERY = ("_seq", INPUT, "_position")


def natural(name: str) -> tuple[list[str | int], str]:
    """A key that sorts names as a person would: runs of digits by their number, day9 before day10."""
    pieces = re.split(r"([0-9]+)", name)
    return [int(piece) if place % 2 else piece for place, piece in enumerate(pieces)], name


def place(names: Iterable[str]) -> pl.Expr:
    """Place of a bronze row in the order of delivery, as a value that compares; ``names`` are all inputs of rows."""
    ordered = sorted(set(names), key=natural)
    rank = pl.col("_file").replace_strict(ordered, range(len(ordered)), default=None, return_dtype=pl.Int64)
    return pl.struct("_seq", rank.alias(INPUT), "_position")


def ranked(rows: pl.DataFrame) -> pl.DataFrame:
    """Bronze rows with the rank of their input, as ``DELIVERY`` sorts by."""
    names = sorted(rows["_file"].unique().to_list(), key=natural)
    ranks = pl.DataFrame({"_file": names, INPUT: range(len(names))}, schema={"_file": pl.String, INPUT: pl.Int64})
    return rows.join(ranks, on="_file", how="left", maintain_order="left")
