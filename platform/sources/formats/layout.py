"""Where a table begins in a text or a sheet, and what its columns are called: preambles, header rows, files without
one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from customer360.platform.sources.formats.options import Options
from customer360.platform.sources.formats.records import Unreadable

LOOKED_AT = 40  # rows that a header is looked for in
NUMBER = re.compile(r"[+-]?[$€£]?\d[\d.,]*%?")
YEAR, COUNTED = re.compile(r"(19|20|21)\d\d"), re.compile(r"\d{1,3}")
INSTANT = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T]\d{1,2}:\d{2}.*)?")
MAIL = re.compile(r"[^@\s]+@[^@\s]+\.\w+")
TOTAL = re.compile(
    r"\W*(grand |sub ?-?|overall )?(totals?|sum|summe|gesamt(summe)?|totale|totaal|somme|suma|итого)\b.{0,20}",
    re.IGNORECASE,
)
A_TOTAL = "looks like a total of the rows above it; give the source `footer: 1` to leave it out"


@dataclass(frozen=True)
class Layout:
    """``names`` of the columns; the records begin after ``above`` rows: what stands above the header, and the
    header.
    """

    names: tuple[str, ...]
    above: int
    notes: tuple[str, ...] = ()


def find(rows: Sequence[Sequence[str]], options: Options) -> Layout:
    """The layout of a table from its first rows, blank rows left out.

    Raises:
        Unreadable: the file seems to have no header, and its source does not say so.
    """
    rows = rows[options.skip :]
    if options.header == 0 or (options.columns and options.header == "auto" and not _repeats(rows, options.columns)):
        width = usual_width(rows)
        names = options.columns or tuple(f"column_{place}" for place in range(1, width + 1))
        return Layout(names, options.skip)
    first, count = (_header_row(rows), 1) if options.header == "auto" else (0, options.header)
    if first >= len(rows):
        return Layout((), options.skip + len(rows))
    if options.header == "auto":
        _require_names(rows[first:])
    cells = _joined(rows[first : first + count])
    names, notes = _named(_cut(cells, rows[first + count :]))
    if first:
        notes = (f"{first} line(s) above the header were left out", *notes)
    if options.columns:
        names = options.columns
    return Layout(names, options.skip + first + count, notes)


def usual_width(rows: Sequence[Sequence[str]]) -> int:
    """The number of cells that most rows have; of equally frequent ones the larger."""
    widths = Counter(len(row) for row in rows)
    return max(widths, key=lambda width: (widths[width], width)) if widths else 0


def is_total(cells: Sequence[str | None]) -> bool:
    """Whether a last row is a total of the column(s) above it: it says so in its first value, and half of it is
    empty.
    """
    filled = [cell for cell in cells if cell and cell.strip()]
    return len(cells) > 1 and bool(filled) and 2 * len(filled) <= len(cells) + 1 and bool(TOTAL.fullmatch(filled[0]))


def _repeats(rows: Sequence[Sequence[str]], columns: Sequence[str]) -> bool:
    return bool(rows) and [cell.strip() for cell in rows[0]] == list(columns)


def _filled(row: Sequence[str]) -> int:
    return sum(bool(cell.strip()) for cell in row)


def _header_row(rows: Sequence[Sequence[str]]) -> int:
    """The place of the header: the first row, unless it is no row of the table and a later one looks like names."""
    if len(rows) < 3:
        return 0
    width = usual_width(rows)
    full = Counter(_filled(row) for row in rows if len(row) == width)
    usual = max(full, key=lambda filled: (full[filled], filled))
    if width < 2 or usual < 2 or not _is_above(rows[0], width, usual):
        return 0
    for place, row in enumerate(rows[:LOOKED_AT]):
        if not _is_above(row, width, usual):
            looks_named = len(row) >= width and _filled(row) >= usual and not any(_shape(c) for c in row)
            below = sum(len(other) == width for other in rows[place + 1 :])
            return place if looks_named and below > 1 else 0
    return 0


def _is_above(row: Sequence[str], width: int, usual: int) -> bool:
    """Whether a row cannot be the table's: few of its cells are filled, fewer than half of the usual."""
    return (
        _filled(row) <= 2 and 2 * _filled(row) <= max(usual, 2) and (len(row) != width or 2 * _filled(row) < usual + 1)
    )


def _shape(cell: str) -> str:
    """What kind of value a cell is that names of columns are not; empty for words, years and small counts."""
    cell = cell.strip()
    if INSTANT.fullmatch(cell):
        return "date"
    if MAIL.fullmatch(cell):
        return "mail address"
    if NUMBER.fullmatch(cell) and not YEAR.fullmatch(cell) and not COUNTED.fullmatch(cell):
        return "number"
    return ""


def _require_names(rows: Sequence[Sequence[str]]) -> None:
    shapes = [_shape(cell) for cell in rows[0]]
    below = rows[1] if len(rows) > 1 else rows[0]
    same = [place for place, cell in enumerate(below) if place < len(shapes) and shapes[place] == _shape(cell) != ""]
    if same:
        shown = f"a {shapes[same[0]]} in column {same[0] + 1}"
        raise Unreadable(
            f"the first line holds values, not names ({shown}): the file seems to have no header; "
            f"give the source `columns: [...]` with the names of its {len(rows[0])} columns, or `header: 1` if they are names"  # noqa: E501
        )


def _joined(rows: Sequence[Sequence[str]]) -> list[str]:
    """One name a column from several header rows; above the last one, a cell counts for the empty ones to its right."""
    parts: list[list[str]] = [[] for _ in range(max(len(row) for row in rows))]
    for number, row in enumerate(rows):
        held = ""
        for place in range(len(parts)):
            cell = row[place].strip() if place < len(row) else ""
            held = cell or (held if number < len(rows) - 1 else "")
            if held and held not in parts[place]:
                parts[place].append(held)
    return [" ".join(part) for part in parts]


def _cut(cells: list[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The header without the empty names at its end that no row has a value for, as trailing delimiters make them."""
    used = max((place for row in rows for place, cell in enumerate(row, 1) if cell.strip()), default=0)
    while len(cells) > max(used, 1) and not cells[-1].strip():
        cells = cells[:-1]
    return cells


def _named(cells: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names without blanks around them; repeated ones numbered, empty ones called by their place."""
    taken, names, changed = {cell.strip("\ufeff \t\r\n\xa0") for cell in cells}, [], []
    for place, cell in enumerate(cells, 1):
        plain = name = cell.strip("\ufeff \t\r\n\xa0") or f"column_{place}"
        number = 2
        while name in names or (name != plain and name in taken):
            name, number = f"{plain}_{number}", number + 1
        if name != plain:
            changed.append(f"{plain} (column {place}) is called {name}")
        names.append(name)
    return tuple(names), (("the header repeats names: " + ", ".join(changed),) if changed else ())
