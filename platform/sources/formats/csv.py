"""CSV files as records of text. Every line that does not give as many fields as the header is set aside, with the
reason.

The common case is one vectorised parse a block; only lines whose quotes or width are odd are looked at one by one.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import IO

import polars as pl

from customer360.platform.sources.formats import layout
from customer360.platform.sources.formats.blocks import Block
from customer360.platform.sources.formats.options import Options
from customer360.platform.sources.formats.quotes import Readings, read_first, readings, scan
from customer360.platform.sources.formats.records import (
    POSITION,
    REORDERED,
    Damaged,
    LineCount,
    Records,
    Unreadable,
    whole_file_dead,
)
from customer360.platform.sources.formats.text import Text

BYTE_ORDER_MARK = codecs.BOM_UTF8  # of what `Text` gives, which is UTF-8 whatever the file is
HEAD = 1 << 16  # bytes that the header and the delimiter are found in
SIGNS = (",", ";", "\t", "|", "\x01")  # the last as Hive writes


def pieces(stream: IO[bytes], options: Options) -> Iterator[Records]:
    """Records of a text with a header, block by block; a file without a readable header is one dead letter."""
    text = Text(stream, options.encoding)
    lines = 0
    try:
        table: _Table | None = None
        rest, given = b"", set[str]()
        for block, last in text.blocks():
            data = _without_marks(rest + block if rest else block)
            if table is None:
                if not data.strip() and not last:
                    rest = data
                    continue
                table, begin = _opened(data, last, options)
                data = data[begin:]
            rest = b""
            found, used = table.read(data, last)
            rest = data[used:]
            counted, lines = text.lines - lines, text.lines
            piece = replace(found, lines=replace(found.lines or LineCount(), total=counted))
            notes = tuple(note for note in (*text.notes, *table.notes) if note not in given)
            given |= set(notes)
            yield replace(piece, notes=notes)
    except Damaged:
        raise  # the bytes to keep are those of the file, not what came out of them
    except Unreadable as fault:
        total = LineCount(text.lines - lines, inside=max(text.lines - lines - 1, 0))
        yield replace(whole_file_dead(text.head, str(fault)), lines=total)


def _without_marks(data: bytes) -> bytes:
    """A text without byte order marks before its lines, where files that begin with one were joined end to end. Such
    a mark hides a repeated header, and the quote that opens a value. A line within a value loses one, too: it is not
    seen there either.
    """
    if BYTE_ORDER_MARK not in data:
        return data
    return data.removeprefix(BYTE_ORDER_MARK).replace(b"\n" + BYTE_ORDER_MARK, b"\n")


def _unguarded(frame: pl.DataFrame, data: bytes) -> pl.DataFrame:
    """Values without the formula (``="007"``) that keeps a spreadsheet from changing them."""
    if b'="' not in data:
        return frame
    return frame.with_columns(pl.col(pl.String).str.replace(r'^\s*="([^"]*)"\s*$', "${1}"))


@dataclass
class _Table:
    """A text below its header, read block by block."""

    names: tuple[str, ...]
    delimiter: str
    readings: Readings
    options: Options
    aside: int  # lines above the rows, which the first block answers for
    blank: int
    notes: tuple[str, ...] = ()
    trailing: bool = False  # whether lines end in delimiters that no column follows
    position: int = field(default=0)
    order: tuple[str, ...] = ()  # of the names in the lines to come, where they have a header of their own
    is_told: bool = False  # whether a note tells of such a header

    def __post_init__(self) -> None:
        self.order = self.order or self.names

    def read(self, data: bytes, last: bool) -> tuple[Records, int]:
        """Records of a block and how many of its bytes they take; what is not taken comes again with what follows."""
        block = Block(data, self.names, self.delimiter, self.readings, last, self.options.footer, self.trailing)
        frame, dead = block.records(self.position + 1)
        frame = _unguarded(frame, data)
        headers = self._headers(frame)
        dead, frame = self._told(dead, frame, headers), self._without(headers, frame)
        counts = LineCount(0, block.inside, block.blank + self.blank, self.aside + len(headers) + block.footer)
        self.position += block.count
        self.aside = self.blank = 0
        return Records(frame, dead, counts), block.used

    def _headers(self, frame: pl.DataFrame) -> list[int]:
        """Rows that are the header again, as files joined end to end have it. In another order it has at least three
        columns: a row of two may be a record, as of a way there and back.
        """
        columns = frame.columns[1:]
        if len(columns) < 2 or not frame.height or self.options.header == 0:
            return []
        named = frame[columns[0]].is_in(self.names).fill_null(False).arg_true().to_list()
        rows, wanted = ((i, frame.row(i)[1:]) for i in named), sorted(self.names)
        return [i for i, row in rows if row == self.names or (len(row) > 2 and sorted(map(str, row)) == wanted)]

    def _without(self, headers: list[int], frame: pl.DataFrame) -> pl.DataFrame:
        """The frame without those rows; below one that has the columns in another order, values go to their own."""
        if not headers and self.order == self.names:
            return frame
        columns, parts = frame.columns[1:], []
        for begin, end in pairwise([-1, *headers, frame.height]):
            self.order = tuple(frame.row(begin)[1:]) if begin >= 0 else self.order
            below = frame.slice(begin + 1, end - begin - 1)
            places = (columns[self.order.index(name)] for name in self.names)
            own = (pl.col(place).alias(column) for place, column in zip(places, columns, strict=True))
            parts.append(below if self.order == self.names else below.select(frame.columns[0], *own))
            if self.order != self.names and not self.is_told:
                self.is_told, names = True, ", ".join(self.order)
                place = frame[POSITION][begin]
                self.notes += (f"row {place} is a header that has the columns in another order: {names}",)
        return pl.concat(parts)

    def _told(self, dead: pl.DataFrame, frame: pl.DataFrame, headers: list[int]) -> pl.DataFrame:
        """Dead letters that tell where they stand below a header in another order: their text alone does not say which
        value is which.
        """
        orders = [self.order, *(frame.row(i)[1:] for i in headers)]
        if dead.is_empty() or all(order == self.names for order in orders):
            return dead
        above = frame[POSITION].gather(headers).search_sorted(dead[POSITION])
        other = pl.Series([order != self.names for order in orders]).gather(above)
        reason = pl.when(other).then(pl.format("{}; {}", "reason", pl.lit(REORDERED))).otherwise("reason")
        return dead.with_columns(reason=reason)


def _opened(data: bytes, last: bool, options: Options) -> tuple[_Table, int]:
    """The table that a text's first block begins, and where its rows begin. Raises Unreadable without a header."""
    begin = aside = 0
    delimiter = options.delimiter
    stated = re.match(rb"[\r\n]*\"?sep=(.)\"?\r?\n", data[:32], re.IGNORECASE)
    if stated:  # a spreadsheet's own first line
        begin, delimiter, aside = stated.end(), stated[1].decode("latin-1"), data.count(b"\n", 0, stated.end())
    head = data[begin : begin + HEAD]
    if (cut := head.rfind(b"\n")) > 0 and not (last and len(data) <= begin + HEAD):
        head = head[: cut + 1]
    if delimiter == "auto":
        delimiter = sniffed(head, options.format)
    found = readings(delimiter, options.escape)
    rows, spans, stray = _rows(head, found)
    if not rows:
        empty = data[begin:]
        blank = empty.count(b"\n") + (bool(empty) and not empty.endswith(b"\n"))
        return _Table((), delimiter, found, options, aside, blank), len(data)
    place = layout.find(rows, options)
    header = place.above - 1
    named = options.header != 0 and 0 <= header < len(rows)
    if (
        named
        and stray[header]
        and (stray[header] == "open" or len(rows[header]) != layout.usual_width(rows[header + 1 :]))
    ):
        raise Unreadable("the header line: unbalanced quote; correct the line, or give `header: 0` and `columns`")
    if named and any("\udc80" <= sign <= "\udcff" for cell in rows[header] for sign in cell):
        raise Unreadable("the header line is not UTF-8; state its `encoding`, such as `cp932` or `cp1251`")
    taken = spans[header] if header >= 0 else 0
    above = head[:taken]
    gaps = sum(not line.strip() for line in above.split(b"\n")[:-1]) if above.endswith(b"\n") else 0
    total = above.count(b"\n") + (bool(above) and not above.endswith(b"\n"))
    trailing = _is_trailing(rows[max(header, 0) :], len(place.names))
    return _Table(place.names, delimiter, found, options, aside + total - gaps, gaps, place.notes, trailing), begin + taken  # fmt: skip  # noqa: E501


def _is_trailing(rows: list[list[str]], width: int) -> bool:
    """Whether delimiters without a column end the lines: in most of the first ones. In a few it is rather a value too
    many, which has shifted the others.
    """
    more = sum(len(row) > width and not any(cell.strip() for cell in row[width:]) for row in rows)
    return 2 * more >= len(rows)


def sniffed(head: bytes, format: str = "csv") -> str:
    """The delimiter of a text from its first lines: a comma, unless another sign parts them more evenly."""
    if format == "tsv":
        return "\t"
    lines = [re.sub(rb'"[^"\n]*"', b"", line) for line in head.split(b"\n")[:50] if line.strip()]
    if not lines:
        return ","
    best, most = ",", 0.0
    for sign in SIGNS:
        counts = [line.count(sign.encode()) for line in lines]
        usual = max(set(counts), key=lambda n: (counts.count(n), n))
        even = counts.count(usual) / len(counts) if usual else 0.0
        score = even + (0.5 if usual and counts[0] == usual else 0.0) + (0.2 if sign == "," and usual else 0.0)
        if score > most:
            best, most = sign, score
    return best


def _rows(head: bytes, found: Readings) -> tuple[list[list[str]], list[int], list[str]]:
    """Rows of a text's beginning, where each ends, and whether quotes stood as characters in it (or left it open)."""
    rows: list[list[str]] = []
    ends: list[int] = []
    stray: list[str] = []
    at = 0
    while at < len(head) and len(rows) < 4 * layout.LOOKED_AT:
        line_end = head.find(b"\n", at)
        line_end = len(head) if line_end < 0 else line_end
        if not head[at:line_end].strip():
            at = line_end + 1
            continue
        record = read_first(found, head, at, len(head))
        mark = "" if record is None or not record[2] else "stray"
        if record is None:
            record, mark = scan(found.literal, head, at, line_end), "open"
        assert record is not None
        rows.append([cell.decode("utf-8", "surrogateescape") for cell in record[0]])
        at = min(record[1] + 1, len(head))
        ends.append(at)
        stray.append(mark)
    return rows, ends, stray
