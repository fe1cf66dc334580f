"""Bytes to UTF-8 text in blocks of whole lines that end in LF, whatever encoding and line end the file has.

Encodings: a byte order mark decides; else zero bytes show UTF-16; else the text is UTF-8. A file whose first bytes
beyond ASCII are no UTF-8 and that holds no UTF-8 beside them is Windows-1252, which spreadsheets write; once some
UTF-8 was seen, a line that is none is at fault by itself.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import IO

import numpy as np

from customer360.platform.sources.formats.records import Unreadable

BLOCK = 1 << 24  # bytes read at once
LONGEST_LINE = 1 << 27
HEAD, SHOWN = 1 << 16, 1 << 20
LINE_FEED = 10
MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
WINDOWS = "cp1252"
NO_TEXT = "customer360.no_text"
CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\f\x1a\x01"))  # \x01 parts the columns of some exports
BEYOND_ASCII, ESCAPED = re.compile(r"[^\x00-\x7f]"), re.compile("[\udc80-\udcff]")
UNKNOWN_TO_WINDOWS = re.compile("[\udc81\udc8d\udc8f\udc90\udc9d]")


class Text:
    """A file as text, read once from front to back. ``lines`` counts the physical lines given so far, on the bytes."""

    def __init__(self, stream: IO[bytes], encoding: str = "auto", guess_windows: bool = True) -> None:
        """Look at the first bytes. Raises Unreadable where they are no text, or the stated encoding is not known."""
        self.lines = 0
        self.notes: tuple[str, ...] = ()
        self.head = stream.read(BLOCK)
        self._stream = stream
        self._mark, self._encoding = _encoding(self.head, encoding)
        self._guess = guess_windows and encoding == "auto" and self._encoding == "utf-8"
        self._carriage_returns: bool | None = None
        if self._encoding == "utf-8" and is_binary(self.head[:4096]):
            raise Unreadable("the file is binary and of no known format, or damaged at its beginning")
        if self._encoding not in ("utf-8", encoding):
            self.notes += (f"read as {self._encoding.upper()}",)

    def blocks(self, chunks: Iterator[tuple[bytes, bool]] | None = None) -> Iterator[tuple[bytes, bool]]:
        """Text that ends with a line, and whether it is the last; of ``chunks`` of this text where some were taken.
        Bytes that the encoding does not know stay as they are,
        so that their line is found to be no UTF-8.

        Raises:
            Unreadable: a line is longer than 128 MiB.
        """
        rest = b""
        for decoded, last in chunks or self.chunks():
            end = decoded.rfind(b"\n") + 1
            if not last and not end:
                rest += decoded
            if len(rest) > LONGEST_LINE:
                raise Unreadable("a line is longer than 128 MiB: no text with lines, or another format than stated")
            if last:
                text = rest + decoded if rest else decoded
                self.lines += _line_feeds(text) + (len(text) > 0 and not text.endswith(b"\n"))
                yield text, True
                return
            if end:
                text = b"".join((rest, memoryview(decoded)[:end]))
                rest = decoded[end:]
                self.lines += _line_feeds(text)
                yield text, False

    def chunks(self) -> Iterator[tuple[bytes, bool]]:
        """Text as it comes, and whether it is the last; lines may be cut."""
        data = self.head[len(self._mark) :]
        decoder = None if self._encoding == "utf-8" else _decoder(self._encoding)
        while True:
            following = self._stream.read(BLOCK)
            last = not following
            if decoder is None and not data.isascii() and self._guess and self._is_windows(data, last):
                decoder, self._guess = _decoder(WINDOWS), False
                self.notes += (
                    "read as Windows-1252, as it holds bytes that are no UTF-8; say `encoding` where it is another",
                )
            text = data if decoder is None else decoder.decode(data, last).encode("utf-8", "surrogateescape")
            yield self._with_line_feeds(text, last), last
            if last:
                return
            data = following

    def _is_windows(self, data: bytes, last: bool) -> bool:
        """Whether text beyond ASCII that starts here is Windows-1252; settles the question where there is any."""
        if any(_holds_utf8(data[at : at + SHOWN]) for at in range(0, len(data), SHOWN)):
            self._guess = False
            return False
        text = codecs.utf_8_decode(data, "surrogateescape", last)[0]  # a character that the block cuts is left out
        beyond = len(BEYOND_ASCII.findall(text))
        self._guess = not beyond
        return 0 < beyond == len(ESCAPED.findall(text)) and not UNKNOWN_TO_WINDOWS.search(text)

    def _with_line_feeds(self, text: bytes, last: bool) -> bytes:
        if self._carriage_returns is None and (text or last):
            returns = text.count(b"\r")
            feeds, both = (_line_feeds(text), text.count(b"\r\n")) if returns else (0, 0)
            alone = returns - both
            self._carriage_returns = alone > 0 and alone > 10 * feeds and returns > feeds
            if self._carriage_returns:
                self.notes += ("lines end in a carriage return alone",)
        return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if self._carriage_returns else text


def _line_feeds(text: bytes) -> int:
    held = np.frombuffer(text, np.uint8)
    return sum(int(np.count_nonzero(held[at : at + HEAD] == LINE_FEED)) for at in range(0, len(held), HEAD))


def _holds_utf8(data: bytes) -> bool:
    """Whether bytes hold a whole character beyond ASCII in UTF-8."""
    if data.isascii():
        return False
    try:  # most texts are all UTF-8, of which nothing has to be counted
        return not codecs.utf_8_decode(data, "strict", False)[0].isascii()
    except UnicodeDecodeError:
        pass
    text = codecs.utf_8_decode(data, "surrogateescape", False)[0]
    return len(BEYOND_ASCII.findall(text)) > len(ESCAPED.findall(text))


def is_binary(head: bytes) -> bool:
    """Whether bytes are no text: more than a few, and than a fiftieth, are control characters."""
    controls = len(head) - len(head.translate(None, CONTROLS))
    return controls > 4 and 50 * controls > len(head)


def _encoding(head: bytes, stated: str) -> tuple[bytes, str]:
    """The byte order mark that the file begins with and the encoding of what follows."""
    for mark, name in MARKS:
        if head.startswith(mark):
            return mark, name
    if stated != "auto":
        try:
            return b"", codecs.lookup(stated).name
        except LookupError:
            raise Unreadable(f"`encoding: {stated}` is none that is known; write `utf-8`, `cp1252`, `utf-16`") from None
    first = head[:HEAD]
    even, odd = first[::2].count(0), first[1::2].count(0)
    if len(first) >= 4 and max(even, odd) > 0.4 * len(first) / 2 and min(even, odd) < 0.05 * len(first) / 2 + 1:
        return b"", "utf-16-le" if odd > even else "utf-16-be"
    return b"", "utf-8"


def _decoder(encoding: str) -> codecs.IncrementalDecoder:
    wide = encoding.startswith(("utf-16", "utf-32"))  # their units cannot be escaped byte by byte
    return codecs.getincrementaldecoder(encoding)(NO_TEXT if wide else "surrogateescape")


def _no_text(fault: UnicodeError) -> tuple[str, int]:
    """Stand in for a unit that is no character by one that is no UTF-8 either."""
    assert isinstance(fault, UnicodeDecodeError)
    return "\udcff", fault.end


codecs.register_error(NO_TEXT, _no_text)
