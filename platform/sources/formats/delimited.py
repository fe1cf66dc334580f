"""Delimited text of unknown make: its dialect is found in its first lines, then its rows are read as text.

For files that a person hands over. What a configured source delivers is read by `csv`, which takes the dialect as
declared and sets single lines aside; here a line that does not fit refuses the file.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, cast

import polars as pl

from customer360.platform.errors import SourceError

SIGNS = ("\t", "::", ";", "|", ",")  # in this order where two stand as often
BLANKS = " "  # any run of blanks parts two columns
LONGER = ("::", BLANKS)  # more signs than one, which parsers do not take
QUOTED = re.compile(r'"[^"]*"')
NAMED = re.compile(r"sep=(.)")  # a spreadsheet's own first line
HEAD_BYTES = 65_536
WINDOWS = "cp1252"  # what spreadsheets write where they do not write UTF-8


@dataclass(frozen=True)
class Dialect:
    """How a file is written: what parts its columns, its encoding (None: UTF-8 as far as seen), how many lines stand
    before the first of the table, and the cells of that one: the header, or a row where there is none.
    """

    separator: str
    encoding: str | None
    skipped: int
    cells: list[str]

    @property
    def sign(self) -> str:
        """The one sign that a parser is given: a tab in the place of separators of more signs than one."""
        return "\t" if self.separator in LONGER else self.separator


def dialect_of(path: Path, *, blanks: bool = True, encoding: str | None = None) -> Dialect:
    """The dialect of a file, which is in UTF-8, UTF-16 or the stated `encoding`. Where none of `SIGNS` stands in its
    first line, blanks part the columns, or with ``blanks=False`` nothing does: there is one column.

    Raises:
        SourceError: the file holds nothing but blank lines.
    """
    with opened(path) as file:
        head = file.read(HEAD_BYTES)
    wide = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    known = encoding or ("utf-16" if wide else None)
    lines = [line for line in head.decode(known or "utf-8-sig", "replace").splitlines() if line.strip()]
    if not lines:
        raise SourceError(f"{path} is empty")
    named = NAMED.fullmatch(lines[0].strip())
    first = (lines[1] if len(lines) > 1 else "") if named else lines[0]
    separator = named[1] if named else separator_of(first, blanks=blanks)
    found = Dialect(separator, known, 1 if named else 0, [])
    return replace(found, cells=next(csv.reader(_tabbed([first], separator), delimiter=found.sign), []))


def separator_of(line: str, *, blanks: bool = True) -> str:
    """What parts the columns of a line: the sign that stands most often outside quotes, else blanks or a comma."""
    bare = QUOTED.sub("", line)
    best = max(SIGNS, key=bare.count)
    return best if best in bare else BLANKS if blanks else ","


def read(path: Path, dialect: Dialect, *, header: bool = True, lossy: bool = False) -> pl.DataFrame:
    """The rows of a file as text, null where empty; without a header columns are called as the parser likes.

    A file that is no UTF-8 is read as Windows-1252, or with ``lossy`` in its encoding with signs of replacement.

    Raises:
        SourceError: a line has more cells than the first, and they are not blank.
        UnicodeDecodeError: the text is in neither encoding.
        PolarsError: it cannot be parsed.
    """
    frame = _rows(path, dialect, header, lossy)
    if header:
        frame = frame.rename({name: name.strip().removeprefix("\ufeff") for name in frame.columns})
    return frame.with_columns(pl.all().replace("", None))


def _rows(path: Path, dialect: Dialect, header: bool, lossy: bool) -> pl.DataFrame:
    source: Path | io.BytesIO = path
    if dialect.encoding or dialect.separator in LONGER:
        with opened(path) as file:
            data = file.read()
        errors = "replace" if lossy else "strict"
        utf8 = data.decode(dialect.encoding, errors).encode() if dialect.encoding else data
        source = io.BytesIO(_with_tabs(utf8, dialect.separator))

    def parsed(ragged: bool) -> pl.DataFrame:
        if isinstance(source, io.BytesIO):
            source.seek(0)
        return pl.read_csv(
            source,
            infer_schema=False,
            separator=dialect.sign,
            has_header=header,
            skip_lines=dialect.skipped,
            truncate_ragged_lines=ragged,
            encoding="utf8-lossy" if lossy else "utf8",
        )

    try:
        return parsed(ragged=False)
    except pl.exceptions.ComputeError as fault:
        if "utf-8" in str(fault) and dialect.encoding is None:
            return _rows(path, replace(dialect, encoding=WINDOWS), header, lossy)
        if "more fields" not in str(fault):
            raise
    _require_blank_excess(path, dialect)
    return parsed(ragged=True)


def _require_blank_excess(path: Path, dialect: Dialect) -> None:
    """Cells beyond those of the first line may be blank, as separators at the end of lines make them. Anything else has
    shifted the cells before it.
    """
    with opened(path) as file:
        text = io.TextIOWrapper(file, dialect.encoding or "utf-8-sig", errors="replace", newline="")
        rows = csv.reader(_tabbed(text, dialect.separator), delimiter=dialect.sign)
        width, sign = 0, dialect.separator
        for cells in rows:
            width = width or (0 if len(cells) == 1 and cells[0].startswith("sep=") else len(cells))
            if any(cell.strip() for cell in cells[width:]) and width:
                raise SourceError(
                    f"{path}, line {rows.line_num}: {len(cells)} cells where the first line has {width}: "
                    f"{sign.join(cells)[:80]!r}; quote values that hold {sign!r} (a decimal comma, a text), or part the "  # noqa: E501
                    "columns by another sign"
                )


def _tabbed(lines: Iterable[str], separator: str) -> Iterable[str]:
    """Lines with tabs between their columns, where the separator has more than one sign."""
    if separator == BLANKS:
        return ("\t".join(line.split()) for line in lines)
    return (line.replace("::", "\t") for line in lines) if separator == "::" else lines


def _with_tabs(data: bytes, separator: str) -> bytes:
    """The file with tabs between its columns, where the separator has more than one sign."""
    if separator not in LONGER:
        return data
    data = data.replace(b"\t", b" ")
    if separator == "::":
        return data.replace(b"::", b"\t")
    return re.sub(rb" +", b"\t", re.sub(rb"(?m)^ +| +(?=\r?$)", b"", data))


def opened(path: Path) -> IO[bytes]:
    """A file's bytes, unpacked where its name ends in .gz."""
    return cast("IO[bytes]", gzip.open(path, "rb")) if path.name.lower().endswith(".gz") else path.open("rb")
