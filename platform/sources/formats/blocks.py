"""One block of a CSV text: its records as byte ranges, found vectorised, and the odd ones one by one."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import polars as pl

from customer360.platform.sources.formats import layout
from customer360.platform.sources.formats.lines import NEWLINE, Lines, halve, undecodable
from customer360.platform.sources.formats.quotes import More, Readings, Splitter, read_first
from customer360.platform.sources.formats.records import DEAD, POSITION, numbered

QUOTE, CARRIAGE_RETURN, BACKSLASH, BLANK = 34, 13, 92, 32
LAST_ROWS = 3  # rows at the end among which totals are looked for


class Block:
    """Records of lines that stand below a header of ``names``; ``last``: whether the text ends with them;
    ``trailing``: whether lines may end in delimiters that no column follows.

    ``used``: bytes that they take, the rest belongs to a record that goes on. ``count``: records, readable or not;
    ``inside``, ``blank``, ``footer``: lines that begin no record.
    """

    def __init__(
        self,
        data: bytes,
        names: Sequence[str],
        delimiter: str,
        found: Readings,
        last: bool,
        footer: int = 0,
        trailing: bool = False,
    ) -> None:
        self.names, self.delimiter, self.last, self.width = names, delimiter, last, len(names)
        self.used, self.footer, self._readings, self._trailing = len(data), 0, found, trailing
        self._cells: dict[int, list[bytes]] = {}
        self._bad: dict[int, str] = {}
        self._split(data, delimiter)
        if last and footer:
            self._leave_out(footer)
        self._begins = np.ones(len(self._starts), bool)
        if self.width and len(self._starts):
            self._settle()
        self._first = np.flatnonzero(self._begins[: self._height])
        self.count = len(self._first)
        places = np.flatnonzero(self._buffer == NEWLINE)
        per_record = np.searchsorted(places, self._ends[self._first]) - np.searchsorted(
            places, self._starts[self._first]
        )
        self.inside = int(per_record.sum())
        within = np.searchsorted(self._starts[self._first], self._blanks, side="right") - 1
        outside = (within < 0) | (self._blanks >= np.append(self._ends[self._first], 0)[within])
        self.blank = int((outside & (self._blanks < self.used)).sum())

    def records(self, first_position: int) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The readable records, ``_position`` first, and the others: position, reason, raw bytes."""
        whole = Lines(self._buffer, self._starts[self._first], self._ends[self._first])
        if self.width and not self._is_utf8():
            self._bad |= {int(self._first[i]): reason for i, reason in undecodable(whole).items()}
        if self.last:
            self._set_totals_apart()
        odd = np.fromiter((line for line in self._cells if line not in self._bad), np.int64)
        raw = np.setdiff1d(self._first, np.concatenate([odd, np.fromiter(self._bad, np.int64, len(self._bad))]))
        frame = self._parsed(raw)
        if frame is None:
            halve(
                raw, lambda part: self._parsed(part) is not None, lambda i: self._bad.update({i: "not readable as CSV"})
            )
            raw = np.setdiff1d(raw, np.fromiter(self._bad, np.int64, len(self._bad)))
            frame = self._parsed(raw)
            assert frame is not None, "lines that can be parsed each cannot be parsed together"
        lines = raw
        if len(odd):
            frame, lines = pl.concat([frame, self._written(odd)]), np.concatenate([raw, odd])
        numbers = np.searchsorted(self._first, lines) + first_position
        frame = numbered(frame, pl.Series(POSITION, numbers, pl.Int64))
        dead = sorted(self._bad)
        letters = pl.DataFrame(
            {
                POSITION: np.searchsorted(self._first, dead) + first_position,
                "reason": [self._bad[line] for line in dead],
                "raw": [self._raw(line) for line in dead],
            },
            schema=DEAD,
        )
        return (frame.sort(POSITION) if len(odd) else frame), letters

    def _split(self, data: bytes, delimiter: str) -> None:
        """Lines and, each line by itself, its fields and whether its quotes are as RFC 4180 has them."""
        self._data = data
        buffer = self._buffer = np.frombuffer(data, np.uint8)
        ends = np.flatnonzero(buffer == NEWLINE)
        if len(buffer) and (not len(ends) or ends[-1] != len(buffer) - 1):
            ends = np.append(ends, len(buffer))
        starts = np.concatenate([[0], ends[:-1] + 1]).astype(np.int64) if len(ends) else np.empty(0, np.int64)
        signs = np.flatnonzero(buffer == ord(delimiter))
        stops = ends - ((ends > starts) & (buffer[np.maximum(ends - 1, 0)] == CARRIAGE_RETURN)) if len(ends) else ends
        count = np.searchsorted(signs, ends) - np.searchsorted(signs, starts)
        blank = stops - starts <= (count if self.width > 1 else 0)  # nothing, or delimiters alone
        self._blanks = starts[blank]
        self._starts, self._ends, self._stops = starts[~blank], ends[~blank], stops[~blank]
        self._height = len(self._starts)
        self._fields, self._sound, self._plain = _fields(buffer, self._starts, self._stops, signs, count[~blank] + 1)
        stated = self._readings.first.sign
        if (stated or "\\").encode() in data:
            escapes = np.flatnonzero(buffer == ord(stated or "\\"))
            has = np.searchsorted(escapes, self._ends) > np.searchsorted(escapes, self._starts)
            self._plain &= ~has
            self._sound &= ~has | (not stated)
        if self._trailing:
            self._cut_excess(ord(delimiter))

    def _cut_excess(self, sign: int) -> None:
        """Lines end before the delimiters that stand beyond the header's width with nothing but blanks after
        them."""
        more = np.flatnonzero((self._fields > self.width) & self._sound)
        for excess in np.unique(self._fields[more] - self.width) if self.width else []:
            which = more[self._fields[more] == self.width + excess]
            ends, are_bare = self._stops[which], np.ones(len(which), dtype=bool)
            for _ in range(excess):
                ends = (ends if sign == BLANK else self._before_blanks(ends)) - 1
                are_bare &= self._buffer[np.maximum(ends, 0)] == sign
            self._stops[which[are_bare]] = ends[are_bare]
            self._fields[which[are_bare]] = self.width

    def _before_blanks(self, ends: np.ndarray) -> np.ndarray:
        """The ends of texts without the blanks that they end in."""
        while (blank := (ends > 0) & (self._buffer[np.maximum(ends - 1, 0)] == BLANK)).any():
            ends = ends - blank
        return ends

    def _leave_out(self, footer: int) -> None:
        self.footer = min(footer, self._height)
        self._height -= self.footer
        self._data = self._data[: self._starts[self._height]] if self.footer else self._data

    def _settle(self) -> None:
        """Find the records that begin at lines which are none by themselves, in order."""
        alone = self._sound & (self._fields == self.width)
        odd = np.flatnonzero(~alone[: self._height])
        if not len(odd):
            return
        starts, ends = self._starts[: self._height].tolist(), self._ends[: self._height].tolist()
        splitter = Splitter(
            self._data,
            self.width,
            self.delimiter.encode(),
            self._readings,
            self.last,
            starts,
            ends,
            alone.tolist(),
            self._trailing,
        )
        free = 0
        for line in odd.tolist():
            if line < free:
                continue
            if self._plain[line]:
                self._bad[line] = f"expected {self.width} fields, found {self._fields[line]}"
                continue
            try:
                found = splitter.at(line)
            except More:
                self._height, self.used = line, starts[line]
                return
            if found.cells is None:
                self._bad[line] = found.reason
            elif not found.raw:
                self._cells[line] = found.cells
            if found.end > ends[line]:
                free = int(np.searchsorted(self._starts, found.end))
                self._begins[line + 1 : free] = False
                self._ends[line] = self._stops[line] = found.end

    def _is_utf8(self) -> bool:
        try:
            self._data.decode("utf-8")
        except UnicodeDecodeError:
            return False
        return True

    def _set_totals_apart(self) -> None:
        for line in self._first[-LAST_ROWS:].tolist():
            if line in self._bad or not self.width:
                continue
            read = read_first(self._readings, self._data, int(self._starts[line]), int(self._ends[line]))
            cells = self._cells.get(line) or (read[0] if read else [])
            if layout.is_total([cell.decode("utf-8", "replace") for cell in cells]):
                self._bad[line] = layout.A_TOTAL

    def _parsed(self, lines: np.ndarray) -> pl.DataFrame | None:
        """Lines as a frame, or None when they do not give one row each."""
        if not self.width:
            return pl.DataFrame()
        sign = self.delimiter.encode()
        header = sign.join(str(place).encode() for place in range(self.width)) + b"\n"
        try:
            frame = pl.read_csv(io.BytesIO(header + self._bytes(lines)), separator=self.delimiter, infer_schema=False)
        except pl.exceptions.PolarsError:
            return None
        if frame.height != len(lines) or frame.width != self.width:
            return None
        return frame.rename(dict(zip(frame.columns, self.names, strict=True)))

    def _bytes(self, lines: np.ndarray) -> bytes:
        """The bytes of the lines, each with its end."""
        starts, stops, ends = self._starts[lines], self._stops[lines], self._ends[lines]
        cut = ends - stops != (self._buffer[np.maximum(ends - 1, 0)] == CARRIAGE_RETURN)
        if not cut.any():
            return Lines(self._buffer, starts, ends).keep(np.arange(len(lines)))
        keep = np.zeros(len(self._buffer) + 1, np.int8)
        keep[starts] += 1
        keep[stops] -= 1
        keep = np.cumsum(keep, dtype=np.int8)[:-1].astype(bool)
        keep[ends[ends < len(keep)]] = True
        return self._buffer[keep].tobytes()

    def _written(self, lines: np.ndarray) -> pl.DataFrame:
        """Records that were read one by one, as a frame; an empty field is null, as in the others."""
        columns = zip(*(self._cells[line] for line in lines.tolist()), strict=True)
        return pl.DataFrame(
            [
                pl.Series(name, [cell.decode("utf-8") or None for cell in column], pl.String)
                for name, column in zip(self.names, columns, strict=True)
            ]
        )

    def _raw(self, line: int) -> bytes:
        return self._data[self._starts[line] : self._ends[line]]


def _fields(
    buffer: np.ndarray, starts: np.ndarray, stops: np.ndarray, signs: np.ndarray, plain: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each line by itself: its number of fields, whether its quotes are sound, and whether it has none.

    A sound quote begins a field or follows a quote that it doubles, and the next of them ends the field or is doubled.
    """
    quotes = np.flatnonzero(buffer == QUOTE)
    if not len(quotes) or not len(starts):
        return plain, np.ones(len(starts), bool), np.ones(len(starts), bool)
    before, after = np.searchsorted(quotes, starts), np.searchsorted(quotes, stops)
    line_of = np.searchsorted(starts, quotes, side="right") - 1
    opens = (np.arange(len(quotes)) - before[line_of]) % 2 == 0
    padded = np.concatenate([[NEWLINE], buffer, [NEWLINE]]).astype(np.uint8)
    previous, following = padded[quotes], padded[quotes + 2]
    sign = buffer[signs[0]] if len(signs) else NEWLINE
    fine = np.where(
        opens,
        (quotes == starts[line_of]) | (previous == sign) | ((previous == QUOTE) & (quotes > starts[line_of])),
        (quotes + 1 == stops[line_of]) | (following == sign) | (following == QUOTE),
    )
    faults = np.bincount(line_of[~fine], minlength=len(starts))
    sound = ((after - before) % 2 == 0) & (faults == 0)
    line_of_sign = np.searchsorted(starts, signs, side="right") - 1
    inside = (np.searchsorted(quotes, signs) - before[line_of_sign]) % 2 == 1
    fields = np.bincount(line_of_sign[~inside & (line_of_sign >= 0)], minlength=len(starts)) + 1
    return fields, sound, after == before
