"""JSON objects, one a line, in one parse: where the values that are written balance those that were read.

A parser that is told the keys passes over others in silence. To look for these would mean to read all keys a second
time. Here they are counted: a colon behind a quote ends each key, and stands in some texts. So a text names no value
that was not read, and none twice, when it has as many of these, without those before a null, as the parser found values
that are not null. Every value passed over, and every text that looks like a key, makes the first number the larger one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import polars as pl

from customer360.platform.sources.formats.lines import Lines
from customer360.platform.sources.formats.odd_objects import whole

COLON, QUOTE, BLANK, BEGINS_NULL = 58, 34, 32, ord("n")
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
        return pl.read_ndjson(data, schema=dict.fromkeys(names, pl.String)).rechunk()
    except pl.exceptions.PolarsError:
        return None


def _keys(lines: Lines) -> tuple[list[str], list[str]] | None:
    """The keys that all of the lines looked at have, and the others of these lines; None where one is no flat object,
    or names a key twice.
    """
    count = len(lines.starts)
    found: dict[str, int] = {}
    places = sorted({place * (count - 1) // (LOOKED_AT - 1) for place in range(LOOKED_AT)}) if count else []
    for place in places:
        try:
            pairs = json.loads(lines.raw(place), object_pairs_hook=_Pairs)
        except (ValueError, RecursionError):
            return None
        if not isinstance(pairs, _Pairs) or any(isinstance(value, (list, tuple)) for _, value in pairs):
            return None
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names) or any(whole(name) != name for name in names):
            return None
        for name in names:
            found[name] = found.get(name, 0) + 1
    always = [name for name, times in found.items() if times == len(places)]
    return (always, [name for name in found if found[name] < len(places)]) if found else None


class _Pairs(list[tuple[str, object]]):
    """Keys and values of an object."""


def _written(data: np.ndarray) -> tuple[int, int] | None:
    """How many values that are not null, and how many nulls, a text has at most; None where a blank may stand before a
    colon.
    """
    colons = np.flatnonzero(data == COLON)
    before = data[np.maximum(colons - 1, 0)]
    if (before <= BLANK).any() and _parts_keys(data, colons[before <= BLANK]):
        return None
    ends, last = colons[before == QUOTE], len(data) - 1
    after, next_after = (data[np.minimum(ends + ahead, last)] for ahead in (1, 2))
    nulls = int(np.count_nonzero((after == BEGINS_NULL) | ((after == BLANK) & (next_after == BEGINS_NULL))))
    return len(ends) - nulls, nulls


def _parts_keys(data: np.ndarray, colons: np.ndarray) -> bool:
    """Whether a quote stands before the blanks before some colons."""
    places = colons - 1
    while len(places):
        held = data[places]
        if (held == QUOTE).any():
            return True
        places = places[(held <= BLANK) & (places > 0)] - 1
    return False
