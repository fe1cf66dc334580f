"""JSON objects, one a line, in one parse: where the values that are written balance those that were read.

A parser that is told the keys passes over others in silence. To look for these would mean to read all keys a second
time. Here they are counted: a colon behind a quote ends each key, and stands in some texts. So a text names no value
that was not read, and none twice, when it has as many of these, without those before a null, as the parser found values
that are not null. Every value passed over, and every text that looks like a key, makes the first number the larger one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

import numpy as np
import polars as pl

from customer360.platform.sources.formats.lines import Lines
from customer360.platform.sources.formats.ndjson.odd_objects import stands_after, whole

COLON, QUOTE, BLANK, BEGINS_NULL = 58, 34, 32, ord("n")
PLAIN = {str, int, float, bool, type(None)}
AHEAD = 3  # bytes from the end of a key to where its value begins at the latest, unless blanks are wasted
AT_ONCE = 1 << 17  # bytes
LOOKED_AT = 128  # lines whose keys are taken for those of the text


def parsed(data: bytes, lines: Lines) -> pl.DataFrame | None:
    """The keys of all lines as text columns; None where that is not certain, or a line is no flat JSON object.

    ``data`` are the bytes of ``lines``. One thing is not told from the count: a key that a line names twice, with null
    the second time, while just as many lines lack a key that all lines looked at have. Then the first value stands.
    """
    keys = _keys(lines)
    if keys is None:
        return None
    always, sometimes = keys
    frame = of_keys(data, (*always, *sometimes))
    if frame is None or frame.height != len(lines.starts):
        return None
    written = _written(lines.data)
    if written is None:
        return None
    values, nulls = written
    empty = {column.name: column.null_count() for column in frame}
    read = frame.height * frame.width - sum(empty.values())
    if values != read or (nulls and nulls != sum(empty[name] for name in always)):
        return None
    return frame


def of_keys(data: bytes, names: Sequence[str]) -> pl.DataFrame | None:
    """Lines with text columns of these keys; None when a line is no JSON object."""
    try:
        return pl.read_ndjson(as_written(data), schema=dict.fromkeys(names, pl.String)).rechunk()
    except pl.exceptions.PolarsError:
        return None


def as_written(data: bytes) -> bytes:
    """Lines that Polars reads as they are: text that begins with the bytes of gzip, zlib or zstd it would unpack."""
    return data if data[:1] == b"{" else b"\n" + data


def _keys(lines: Lines) -> tuple[list[str], list[str]] | None:
    """The keys that all of the lines looked at have, and the others of these lines; None where one is no flat object,
    or names a key twice.
    """
    count = len(lines.starts)
    kinds = Counter[tuple[str, ...]]()
    places = sorted({place * (count - 1) // (LOOKED_AT - 1) for place in range(LOOKED_AT)}) if count else []
    for place in places:
        try:
            pairs = json.loads(lines.raw(place), object_pairs_hook=_Pairs)
        except (ValueError, RecursionError):
            return None
        if not isinstance(pairs, _Pairs) or not {type(value) for _, value in pairs} <= PLAIN:
            return None
        kinds[tuple(name for name, _ in pairs)] += 1
    found = dict.fromkeys(name for kind in kinds for name in kind)
    if not found or any(len(set(kind)) < len(kind) for kind in kinds) or any(whole(name) != name for name in found):
        return None
    always = [name for name in found if all(name in kind for kind in kinds)]
    return always, [name for name in found if name not in always]


class _Pairs(list[tuple[str, object]]):
    """Keys and values of an object."""


def _written(data: np.ndarray) -> tuple[int, int] | None:
    """How many values that are not null, and how many nulls, a text has at most; None where a blank may stand before a
    colon.
    """
    values = nulls = 0
    for first in range(0, len(data), AT_ONCE):  # what fits the cache takes half the time
        piece = data[first : first + AT_ONCE + AHEAD]
        if len(piece) <= AHEAD:
            piece = np.append(piece, np.zeros(AHEAD + 1, np.uint8))
        size = min(AT_ONCE, len(piece) - AHEAD)
        before, colon = piece[:size], piece[1 : size + 1] == COLON
        blank = before <= BLANK
        blank &= colon
        if blank.any() and stands_after(data, first + np.flatnonzero(blank), QUOTE):
            return None
        colon &= before == QUOTE
        values += int(np.count_nonzero(colon))
        after = piece[2 : size + 2]
        nulls += int(np.count_nonzero(colon & (after == BEGINS_NULL)))
        colon &= after == BLANK
        if colon.any():
            nulls += int(np.count_nonzero(colon & (piece[3 : size + 3] == BEGINS_NULL)))
    return values - nulls, nulls
