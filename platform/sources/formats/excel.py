"""Excel workbooks (xlsx, xlsb, xls, ods) as records: one sheet, its values with their types, dates as dates."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import IO, Any

from python_calamine import CalamineError, CalamineSheet, CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum

from customer360.platform.sources.formats import layout, trial, typed
from customer360.platform.sources.formats.options import Options
from customer360.platform.sources.formats.records import Records, Unreadable, dead_letters, no_records

LAST_ROWS = 3  # among which totals are looked for
MOST_CELLS = 100_000_000  # of a sheet from its first to its last that hold something: the parser keeps 24 bytes of each
MOST_ROWS = 1_050_000  # no sheet has as many
MOST_BYTES = 4 << 30  # of a workbook's parts, unpacked
# Where cells and rows say that they stand, in any part: links between parts may call any of them a sheet.
PLACE = re.compile(rb"\br\s*=\s*[\"'](?=[A-Za-z0-9])([A-Za-z]{0,9})0*+([0-9]{0,12})")
FAR = rb"0*+(?:[0-9]{8}|[2-9][0-9]{6}|1[1-9][0-9]{5}|10[5-9][0-9]{4})"  # rows from `MOST_ROWS` on
WIDE = re.compile(rb"\br\s*=\s*[\"'](?:[A-Za-z]{0,9}" + FAR + rb"|([A-Za-z]{2,9})[0-9])")  # beyond column Z, or far
EMPTY = rb"(?:\s++[\w:.-]++\s*+=\s*+(?:\"[^\"<>]*+\"|'[^'<>]*+'))*+\s*+(?:/>|>\s*+</(?:\w{1,20}:)?%s\s*+>)"
EMPTY_CELL, EMPTY_ROW = (re.compile(rb"<(?:\w{1,20}:)?%s" % tag + EMPTY % tag) for tag in (b"c", b"row"))
PIECE, LONGEST_PLACE = 1 << 22, 4096
XLSX = "xl/workbook.xml"  # of the other kinds, cells are not looked for: they are tried
TEXT_ENDS, VALUES = (
    re.compile(rb"si\s*+>"),
    (b"<v", b":v"),
)  # of texts that cells refer to by number, and of what refers to one
TOO_MUCH = f"opening it takes more than {MOST_BYTES >> 30} GiB of memory; export the list as CSV"
ENCRYPTED = "EncryptedPackage".encode("utf-16-le")


def pieces(stream: IO[bytes], options: Options) -> Iterator[Records]:
    """Records of a sheet below its header. Raises Unreadable: no workbook, no such sheet, or no header."""
    data = stream.read()
    if ENCRYPTED in data:
        raise Unreadable("excel: the workbook is protected by a password; save it without one")
    if fault := _too_large(data):
        raise Unreadable(f"excel: {fault}")
    try:
        book = CalamineWorkbook.from_filelike(io.BytesIO(data))
        sheet, note = _sheet(book, options.sheet)
        rows = sheet.iter_rows()
        yield from _records(rows, options, note)
    except (CalamineError, OSError, ValueError, EOFError) as fault:
        said = str(fault) or type(fault).__name__
        if said == "Cannot detect file format":  # so the parser says of old kinds with a password as well
            said = "the workbook is damaged, of an unknown kind or protected by a password"
        raise Unreadable(f"excel: {said}") from None
    except BaseException as fault:
        if type(fault).__name__ != "PanicException":  # the parser's own assertion on a damaged file
            raise
        raise Unreadable("excel: the workbook is damaged") from None


def sheets(data: bytes) -> list[str]:
    """Names of the sheets that hold something; empty where the bytes are no workbook that can be read."""
    if _too_large(data):
        return []
    try:
        book = CalamineWorkbook.from_filelike(io.BytesIO(data))
        return [name for name in _lists(book) if book.get_sheet_by_name(name).height]
    except (CalamineError, OSError, ValueError, EOFError):
        return []
    except BaseException as fault:
        if type(fault).__name__ != "PanicException":  # the parser's own assertion on a damaged file
            raise
        return []


def _too_large(data: bytes) -> str:
    """Why a workbook must not be given to the parser, which takes the memory of all cells up to the last one and ends
    the process where there is none; empty where it may."""
    must_try = True  # of another kind
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as parts:
            if sum(part.file_size for part in parts.infolist()) > MOST_BYTES:
                return f"unpacked it has more than {MOST_BYTES >> 30} GiB; export it as CSV"
            for name in parts.namelist():
                columns = _columns(parts, name)
                if columns * MOST_ROWS <= MOST_CELLS or not _has_row(parts, name, len(str(MOST_CELLS // columns))):
                    continue
                rows, columns = _extent(parts, name)
                if rows * columns > MOST_CELLS:
                    return (
                        f"{name} has cells up to row {rows:,} and column {columns:,}, far more than a list: delete what"
                        f" stands alone far out, or export the list as CSV"
                    )
            must_try = XLSX not in parts.namelist() or _repeats_texts(parts)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError, RuntimeError):
        pass  # of another kind, or damaged: the parser says what is wrong
    return TOO_MUCH if must_try and not trial.fits(data, MOST_BYTES) else ""


def _repeats_texts(parts: zipfile.ZipFile) -> bool:
    """Whether the parser could take more memory for texts than a workbook may have, if every value of a sheet were the
    longest text that is kept beside the sheets; also where a part is written so that it is not looked into here."""
    longest, values = 0, 0
    for name in parts.namelist():
        since = -1  # bytes since the last end; before a first piece none
        with parts.open(name) as stream:
            while piece := stream.read(PIECE):
                if since < 0 and piece.startswith((b"\xff\xfe", b"\xfe\xff")):
                    return True
                first, *further = TEXT_ENDS.split(piece)
                since = max(since, 0) + len(first)
                if further:
                    longest = max(longest, since, *map(len, further[:-1]))
                    since = len(further[-1])
                values += sum(map(piece.count, VALUES))
    return longest * values > MOST_BYTES


def _columns(parts: zipfile.ZipFile, name: str) -> int:
    """The last column that a part names, be its cell empty or not; up to Z a column counts as Z. All that there can be
    where a row lies beyond those of any sheet."""
    found, rest = set[bytes](), b""
    with parts.open(name) as stream:
        while piece := stream.read(PIECE):
            text = rest + piece
            found.update(WIDE.findall(text))
            rest = text[-LONGEST_PLACE:]
    return MOST_CELLS if b"" in found else max([26, *map(_column, found)])


def _has_row(parts: zipfile.ZipFile, name: str, digits: int) -> bool:
    """Whether a part names a row of so many digits; asked first, as it takes a tenth of what `_extent` takes."""
    row, rest = re.compile(rb"\br\s*=\s*[\"'][A-Za-z]{0,9}0*+[0-9]{%d}" % digits), b""
    with parts.open(name) as stream:
        while piece := stream.read(PIECE):
            if row.search(text := rest + piece):
                return True
            rest = text[-LONGEST_PLACE:]
    return False


def _extent(parts: zipfile.ZipFile, name: str) -> tuple[int, int]:
    """The last row and the last column of the cells of a part, without those that are surely empty, as the parser
    leaves them out: a column that was formatted to its end makes no list longer."""
    last_row, letters, rest = 0, set[bytes](), b""
    with parts.open(name) as stream:
        while piece := stream.read(PIECE):
            text, end, rest = (rest + piece).rpartition(b"row>")
            if not end:
                text, rest = rest, rest[-LONGEST_PLACE:]
            places = set(_places(text + end))
            last_row = max([last_row, *(int(row) for _, row in places if row)])
            letters.update(each for each, _ in places)
    places = set(_places(rest))
    last_row = max([last_row, *(int(row) for _, row in places if row)])
    return last_row, max([26, *map(_column, letters.union(each for each, _ in places))])


def _places(text: bytes) -> list[tuple[bytes, bytes]]:
    """Letters and rows of what is not surely empty."""
    return PLACE.findall(EMPTY_ROW.sub(b"", EMPTY_CELL.sub(b"", text)))


def _column(letters: bytes) -> int:
    return sum((each - 64) * 26**place for place, each in enumerate(reversed(letters.upper())))


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
    sheets = [book.get_sheet_by_name(name) for name in _lists(book)]
    hidden = {about.name for about in book.sheets_metadata if about.visible != SheetVisibleEnum.Visible}
    sheets.sort(key=lambda sheet: sheet.name in hidden)  # what a person does not see comes after what one does
    filled = [sheet for sheet in sheets if sheet.height]
    if not filled:
        if not sheets:
            raise Unreadable(f"excel: no sheet holds cells; there are {', '.join(names)}")
        return sheets[0], ""
    others = [sheet.name for sheet in filled[1:]]
    note = f"read sheet {filled[0].name!r} alone; there are also {', '.join(others)} (`sheet`)" if others else ""
    return filled[0], note


def _lists(book: CalamineWorkbook) -> list[str]:
    """Names of the sheets of cells: not of charts, dialogs and macros, some of which the parser fails to read."""
    return [about.name for about in book.sheets_metadata if about.typ == SheetTypeEnum.WorkSheet]


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
