"""Excel workbooks (xlsx, xlsb, xls, ods) as records: one sheet, its values with their types, dates as dates."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import IO, Any

from python_calamine import CalamineError, CalamineSheet, CalamineWorkbook, SheetVisibleEnum

from customer360.platform.sources.formats import layout, typed
from customer360.platform.sources.formats.options import Options
from customer360.platform.sources.formats.records import Records, Unreadable, dead_letters, no_records

LAST_ROWS = 3  # among which totals are looked for
ENCRYPTED = "EncryptedPackage".encode("utf-16-le")


def pieces(stream: IO[bytes], options: Options) -> Iterator[Records]:
    """Records of a sheet below its header. Raises Unreadable: no workbook, no such sheet, or no header."""
    data = stream.read()
    if ENCRYPTED in data:
        raise Unreadable("excel: the workbook is protected by a password; save it without one")
    try:
        book = CalamineWorkbook.from_filelike(io.BytesIO(data))
        sheet, note = _sheet(book, options.sheet)
        rows = sheet.iter_rows()
        yield from _records(rows, options, note)
    except (CalamineError, OSError, ValueError, EOFError) as fault:
        raise Unreadable(f"excel: {str(fault) or type(fault).__name__}") from None
    except BaseException as fault:
        if type(fault).__name__ != "PanicException":  # the parser's own assertion on a damaged file
            raise
        raise Unreadable("excel: the workbook is damaged") from None


def sheets(data: bytes) -> list[str]:
    """Names of the sheets that hold something; empty where the bytes are no workbook that can be read."""
    try:
        book = CalamineWorkbook.from_filelike(io.BytesIO(data))
        return [name for name in book.sheet_names if book.get_sheet_by_name(name).height]
    except (CalamineError, OSError, ValueError, EOFError):
        return []
    except BaseException as fault:
        if type(fault).__name__ != "PanicException":  # the parser's own assertion on a damaged file
            raise
        return []


def _sheet(book: CalamineWorkbook, wanted: str | int) -> tuple[CalamineSheet, str]:
    names = book.sheet_names
    if isinstance(wanted, str) and wanted:
        if wanted not in names:
            raise Unreadable(f"excel: there is no sheet {wanted!r}; there are {', '.join(names)}")
        return book.get_sheet_by_name(wanted), ""
    if isinstance(wanted, int) and wanted:
        if not 1 <= wanted <= len(names):
            raise Unreadable(f"excel: there is no sheet {wanted}; there are {len(names)}: {', '.join(names)}")
        return book.get_sheet_by_index(wanted - 1), ""
    sheets = [book.get_sheet_by_index(place) for place in range(len(names))]
    hidden = {about.name for about in book.sheets_metadata if about.visible != SheetVisibleEnum.Visible}
    sheets.sort(key=lambda sheet: sheet.name in hidden)  # what a person does not see comes after what one does
    filled = [sheet for sheet in sheets if sheet.height]
    if not filled:
        return sheets[0], ""
    others = [sheet.name for sheet in filled[1:]]
    note = f"read sheet {filled[0].name!r} alone; there are also {', '.join(others)} (`sheet`)" if others else ""
    return filled[0], note


def _records(rows: Iterator[list[Any]], options: Options, note: str) -> Iterator[Records]:
    filled = ([_value(cell) for cell in row] for row in rows if any(cell != "" for cell in row))
    head = list(islice(filled, 4 * layout.LOOKED_AT))
    if not head:
        yield no_records()
        return
    texts = [[typed.text(cell) or "" for cell in row] for row in head]
    place = layout.find([_cut(row) for row in texts], options)
    notes = tuple(n for n in (note, *place.notes) if n)
    totals: list[list[Any]] = []
    below = _without_end(chain(head[place.above :], filled), options.footer, totals)
    found = ({name: cell for name, cell in zip(place.names, row, strict=False) if cell is not None} for row in below)
    given = 0
    for piece in typed.pieces_of(found, place.names):
        yield replace(piece, notes=() if given else notes)
        given += piece.count
    if totals:
        letters = [(given + n, layout.A_TOTAL, _as_line(row)) for n, row in enumerate(totals, 1)]
        yield replace(no_records(notes=() if given else notes), dead=dead_letters(letters))
    elif not given:
        yield no_records(notes=notes)


def _without_end(rows: Iterator[list[Any]], footer: int, totals: list[list[Any]]) -> Iterator[list[Any]]:
    """Rows without the last ones that the source says are none; totals of the rows above go to ``totals``."""
    held: list[list[Any]] = []
    for row in rows:
        held.append(row)
        if len(held) > footer + LAST_ROWS:
            yield held.pop(0)
    for row in held[: len(held) - footer] if footer else held:
        if layout.is_total([typed.text(cell) for cell in row]):
            totals.append(row)
        else:
            yield row


def _as_line(row: Sequence[Any]) -> bytes:
    return "\t".join(typed.text(cell) or "" for cell in row).encode()


def _cut(row: Sequence[str]) -> list[str]:
    """A row without the empty cells at its end, as sheets fill every row to the widest one."""
    end = max((place for place, cell in enumerate(row, 1) if cell.strip()), default=0)
    return list(row[:end])


def _value(cell: Any) -> Any:
    """A cell: empty ones None, whole numbers without a fraction, as sheets know no other numbers."""
    if isinstance(cell, str):
        return cell if cell.strip() else None
    return int(cell) if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53 else cell
