"""Records: what every format and every kind of source gives. One row a readable record, what could not be read beside it."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

POSITION = "_position"
DEAD = {POSITION: pl.Int64, "reason": pl.String, "raw": pl.Binary}


@dataclass(frozen=True)
class Records:
    """``frame``: one row a readable record, ``_position`` first; ``dead``: position, reason, raw bytes."""

    frame: pl.DataFrame
    dead: pl.DataFrame

    @property
    def count(self) -> int:
        """Records in the file, readable or not."""
        return self.frame.height + self.dead.height


def no_records() -> Records:
    """The records of an empty file."""
    return Records(pl.DataFrame(schema={POSITION: pl.Int64}), pl.DataFrame(schema=DEAD))


def of_frame(frame: pl.DataFrame) -> Records:
    """Every row of a frame as a record, numbered from 1; for formats and kinds that have no unreadable records.

    Numbers, truth, text and instants stay what they are, nested values become JSON text and the rest text, so that a
    contract casts the values alike wherever they came from.
    """
    plain = pl.DataFrame([_plain(values) for values in frame])
    return Records(numbered(plain, pl.int_range(1, frame.height + 1, eager=True)), pl.DataFrame(schema=DEAD))


def whole_file_dead(data: bytes, reason: str) -> Records:
    """One unreadable record at position 0: all of the file."""
    return Records(pl.DataFrame(schema={POSITION: pl.Int64}), pl.DataFrame([[0], [reason], [data]], schema=DEAD))


def numbered(frame: pl.DataFrame, positions: pl.Series) -> pl.DataFrame:
    """The frame with its positions first; a file's own column of that name steps aside."""
    return frame.rename({POSITION: f"file:{POSITION}"}, strict=False).insert_column(0, positions.alias(POSITION))


def _plain(values: pl.Series) -> pl.Series:
    """Values as records hold them; see `of_frame`."""
    kind = values.dtype
    if kind.is_numeric() or kind in (pl.String, pl.Boolean, pl.Date, pl.Datetime):
        return values
    if kind.is_nested():
        text = values.to_frame("v").to_struct().struct.json_encode().str.slice(5).str.head(-1)
        return pl.select(pl.when(values.is_not_null()).then(text).alias(values.name)).to_series()
    if kind == pl.Binary:
        try:
            return values.cast(pl.String)
        except pl.exceptions.ComputeError:  # not UTF-8, so no text: keep the bytes readable
            return values.bin.encode("base64")
    return values.dt.to_string("iso") if kind == pl.Duration else values.cast(pl.String)
