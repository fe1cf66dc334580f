"""Records: what every format and every kind of source gives. One row a readable record, what could not be read beside
it.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

POSITION = "_position"
DEAD = {POSITION: pl.Int64, "reason": pl.String, "raw": pl.Binary}
REORDERED = "it stands below a header that has the columns in another order"  # in the reason of a dead letter
KEPT_OF_A_FILE = 1 << 20  # bytes of a file that is dead as a whole; the file itself stays where it landed


class Unreadable(Exception):
    """A file that cannot be read as a whole: why, and what to do. Readers turn it into one dead letter."""


class Damaged(Unreadable):
    """A compressed file or member whose content breaks off or cannot be decompressed."""


@dataclass(frozen=True)
class LineCount:
    """Where the physical lines of a text went. ``total`` is counted on the bytes, apart from the reader.

    A record takes one line and those ``inside`` it (line breaks in quoted fields); ``blank`` lines and lines set
    ``aside`` (header, preamble, total lines that the source's options name) give no record.
    """

    total: int = 0
    inside: int = 0
    blank: int = 0
    aside: int = 0

    def __add__(self, other: LineCount) -> LineCount:
        return LineCount(
            self.total + other.total, self.inside + other.inside, self.blank + other.blank, self.aside + other.aside
        )

    def missing(self, records: int) -> int:
        """Lines that gave neither a record nor anything else that is counted; 0 where the reader lost and made none."""
        return self.total - records - self.inside - self.blank - self.aside


@dataclass(frozen=True)
class Records:
    """``frame``: one row a readable record, ``_position`` first; ``dead``: position, reason, raw bytes.

    ``lines``: where the lines of a text went, None for formats without lines. ``notes``: what a person should know of
    how the file was read (an encoding that was inferred, names that were changed). ``keyed``: a record names its values
    and may leave some out, so that a column which is not here may be in the next piece.
    """

    frame: pl.DataFrame
    dead: pl.DataFrame
    lines: LineCount | None = None
    notes: tuple[str, ...] = ()
    keyed: bool = False

    @property
    def count(self) -> int:
        """Records in the file, readable or not."""
        return self.frame.height + self.dead.height


def no_records(lines: LineCount | None = None, notes: tuple[str, ...] = ()) -> Records:
    """The records of an empty file."""
    return Records(pl.DataFrame(schema={POSITION: pl.Int64}), pl.DataFrame(schema=DEAD), lines, notes)


def of_frame(frame: pl.DataFrame, first_position: int = 1) -> Records:
    """Every row of a frame as a record, numbered on; for formats and kinds that have no unreadable records.

    Numbers, truth, text and instants stay what they are, nested values become JSON text and the rest text, so that a
    contract casts the values alike wherever they came from.
    """
    plain = pl.DataFrame([_plain(values) for values in frame])
    positions = pl.int_range(first_position, first_position + frame.height, eager=True)
    return Records(numbered(plain, positions), pl.DataFrame(schema=DEAD))


def whole_file_dead(data: bytes, reason: str) -> Records:
    """One unreadable record at position 0: all of the file, of which the first MiB is kept."""
    if len(data) > KEPT_OF_A_FILE:
        data, reason = data[:KEPT_OF_A_FILE], f"{reason} (the first MiB is kept here)"
    return Records(pl.DataFrame(schema={POSITION: pl.Int64}), pl.DataFrame([[0], [reason], [data]], schema=DEAD))


def together(pieces: Iterable[Records]) -> Records:
    """The pieces of one file as one; a column that a piece lacks is null in its rows, of types that differ text."""
    found = list(pieces)
    if not found:
        return no_records()
    lines = [piece.lines for piece in found if piece.lines is not None]
    notes = tuple(dict.fromkeys(note for piece in found for note in piece.notes))
    if len(found) == 1:
        return replace(found[0], notes=notes)
    frames = [piece.frame for piece in found if piece.frame.height] or [found[0].frame]
    widest = [frame for frame in frames if frame.width > 1] or frames
    return Records(
        pl.concat(_alike(widest), how="diagonal"),
        pl.concat([piece.dead for piece in found]),
        sum(lines, LineCount()) if lines else None,
        notes,
        found[0].keyed,
    )


def _alike(frames: list[pl.DataFrame]) -> list[pl.DataFrame]:
    kinds: dict[str, set[pl.DataType]] = {}
    for frame in frames:
        for name, kind in frame.schema.items():
            kinds.setdefault(name, set()).add(kind)
    mixed = {name for name, found in kinds.items() if len(found) > 1}
    return [frame.with_columns(pl.col(sorted(mixed & set(frame.columns))).cast(pl.String)) for frame in frames]


def dead_letters(dead: Iterable[tuple[int, str, bytes]]) -> pl.DataFrame:
    """Records that cannot be read: position, reason, raw bytes."""
    return pl.DataFrame(list(dead), schema=DEAD, orient="row")


def numbered(frame: pl.DataFrame, positions: pl.Series) -> pl.DataFrame:
    """The frame with its positions first; a file's own column of that name steps aside."""
    if POSITION in frame.columns:
        name = f"file:{POSITION}"
        while name in frame.columns:
            name = f"file:{name}"
        frame = frame.rename({POSITION: name})
    return frame.insert_column(0, positions.alias(POSITION))


def aside(frame: pl.DataFrame, names: Collection[str]) -> pl.DataFrame:
    """Records whose own columns of these names stand under others: what a sender writes in a message says nothing of
    the message.
    """
    taken, renamed = {name.casefold() for name in frame.columns} | set(names), dict[str, str]()
    for name in frame.columns:
        if name.strip().casefold() in names:
            other = f"payload:{name}"
            while other.casefold() in taken:
                other = f"payload:{other}"
            taken.add(other.casefold())
            renamed[name] = other
    return frame.rename(renamed)


def _plain(values: pl.Series) -> pl.Series:
    """Values as records hold them; see `of_frame`."""
    kind = values.dtype
    if kind.is_numeric() or kind in (pl.String, pl.Boolean, pl.Date, pl.Datetime):
        return values
    if kind.is_nested():
        values = _with_texts(values)
        text = values.to_frame("v").to_struct().struct.json_encode().str.slice(5).str.head(-1)
        return pl.select(pl.when(values.is_not_null()).then(text).alias(values.name)).to_series()
    if kind == pl.Binary:
        try:
            return values.cast(pl.String)
        except pl.exceptions.ComputeError:  # not UTF-8, so no text: keep the bytes readable
            return values.bin.encode("base64")
    return values.dt.to_string("iso") if kind == pl.Duration else values.cast(pl.String)


def _with_texts(values: pl.Series) -> pl.Series:
    """Nested values with text where they hold bytes: UTF-8, or base64 where one of a place is no UTF-8. JSON has no
    bytes.
    """
    kind = _text_kind(values.dtype)
    if kind == values.dtype:
        return values
    try:
        return values.cast(kind)
    except pl.exceptions.PolarsError:
        return pl.Series(values.name, [_in_base64(value) for value in values.to_list()], kind)


def _text_kind(kind: pl.DataType) -> pl.DataType:
    """A type with String wherever Binary stands in it."""
    if isinstance(kind, pl.List):
        return pl.List(_text_kind(kind.inner))  # type: ignore[arg-type]
    if isinstance(kind, pl.Array):
        return pl.List(_text_kind(kind.inner))  # type: ignore[arg-type]
    if isinstance(kind, pl.Struct):
        return pl.Struct([pl.Field(field.name, _text_kind(field.dtype)) for field in kind.fields])  # type: ignore[arg-type]
    return pl.String() if kind == pl.Binary else kind


def _in_base64(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {name: _in_base64(held) for name, held in value.items()}
    return [_in_base64(held) for held in value] if isinstance(value, list) else value
