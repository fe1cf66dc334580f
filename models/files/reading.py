"""Open a log file of any retailer: CSV in its dialects (also gzipped, also without a header), Parquet or JSON lines."""

import codecs
import csv
import gzip
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import IO, cast

import polars as pl

from customer360.platform.errors import SourceError

KINDS = ".csv, .tsv, .txt, .dat (each also .gz), .parquet, .jsonl or .ndjson"
SIGNS = ("\t", "::", ";", "|", ",")  # in this order where two stand as often; else blanks part the columns
QUOTED = re.compile(r'"[^"]*"')
HEAD_BYTES = 65_536
DATUM = re.compile(r"^[+-]?\d[\d.,:/ T+-]*$")  # a number or a date: no name of a column
WINDOWS = "cp1252"  # what spreadsheets write where they do not write UTF-8


def frame(path: Path, names: Mapping[str, str] | None = None) -> pl.DataFrame:
    """The rows of a file; columns of a text file are strings, null where empty. Where `names` gives places (1, 2, …)
    instead of names of columns, or none and the first line holds a number or a date, the file has no header and its columns
    are called by their place.

    Raises:
        SourceError: no such file, of another kind, empty or broken, or a line has more cells than the first.
    """
    if not path.is_file():
        raise SourceError(f"no file {path}")
    name = path.name.lower().removesuffix(".gz")
    try:
        if name.endswith((".parquet", ".pq")):
            return pl.read_parquet(path)
        if name.endswith((".jsonl", ".ndjson", ".json")):
            with _opened(path) as opened:
                return pl.read_ndjson(opened, infer_schema_length=None)
        if name.endswith((".csv", ".tsv", ".txt", ".dat", ".data")):
            return _text_frame(path, names or {})
    except (pl.exceptions.PolarsError, OSError, EOFError, UnicodeDecodeError) as fault:
        reason = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
        raise SourceError(f"{path} cannot be read: {reason}") from None
    raise SourceError(f"{path}: give {KINDS}")


def without_header(names: Mapping[str, str], first: list[str]) -> bool:
    """Whether columns are asked for by place, or by nothing where the first line's cells are data."""
    return all(name.isdigit() for name in names.values()) if names else any(DATUM.match(cell.strip()) for cell in first)


def by_place(columns: list[str]) -> bool:
    """Whether a frame's columns are called by their place."""
    return columns == [str(place) for place in range(1, len(columns) + 1)]


def separator(line: str) -> str:
    """What parts the columns of a line: the sign that stands most often outside quotes, or blanks."""
    bare = QUOTED.sub("", line)
    best = max(SIGNS, key=bare.count)
    return best if best in bare else " "


def plain(name: str) -> str:
    """A column's name in lower case, letters and digits alone: `Customer ID` and `customer_id` are the same."""
    return "".join(sign for sign in name.lower() if sign.isalnum())


def _text_frame(path: Path, names: Mapping[str, str]) -> pl.DataFrame:
    with _opened(path) as opened:
        head = opened.read(HEAD_BYTES)
    wide = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    lines = head.decode("utf-16" if wide else "utf-8-sig", "replace").splitlines()
    first = next((line for line in lines if line.strip()), None)
    if first is None:
        raise SourceError(f"{path} is empty")
    sign, said = separator(first), re.fullmatch(r"sep=(.)", first.strip())
    if said:  # a spreadsheet's own first line
        sign, first = said[1], next((line for line in lines[lines.index(first) + 1 :] if line.strip()), "")
    cells = first.split() if sign == " " else next(csv.reader([first.replace("::", "\t") if sign == "::" else first],
                                                              delimiter="\t" if sign == "::" else sign), [])  # fmt: skip
    headless = without_header(names, cells)
    found = _rows(path, "utf-16" if wide else None, sign, headless, 1 if said else 0)
    if headless:
        found = found.rename({name: str(place) for place, name in enumerate(found.columns, start=1)})
    else:
        found = found.rename({name: name.strip().removeprefix("\ufeff") for name in found.columns})
    return found.with_columns(pl.all().replace("", None))


def _rows(path: Path, encoding: str | None, sign: str, headless: bool, skipped: int) -> pl.DataFrame:
    """The lines parted by a sign; read anew in the encoding of spreadsheets where they are no UTF-8."""
    source: Path | io.BytesIO = path
    if encoding or sign in ("::", " "):
        with _opened(path) as opened:
            text = opened.read()
        source = io.BytesIO(_with_tabs(text.decode(encoding).encode() if encoding else text, sign))

    def read(loose: bool) -> pl.DataFrame:
        if isinstance(source, io.BytesIO):
            source.seek(0)
        parted = "\t" if sign in ("::", " ") else sign
        return pl.read_csv(source, infer_schema=False, separator=parted, has_header=not headless, skip_lines=skipped, truncate_ragged_lines=loose)  # fmt: skip

    try:
        return read(loose=False)
    except pl.exceptions.ComputeError as fault:
        if "utf-8" in str(fault) and encoding is None:
            return _rows(path, WINDOWS, sign, headless, skipped)
        if "more fields" not in str(fault):
            raise
    _require_blank_excess(path, encoding or "utf-8-sig", sign)
    return read(loose=True)


def _require_blank_excess(path: Path, encoding: str, sign: str) -> None:
    """Cells beyond those of the first line may be blank, as separators at the end of lines make them. Anything else has
    shifted the cells before it.
    """
    with _opened(path) as opened:
        text = io.TextIOWrapper(opened, encoding, errors="replace", newline="")
        lines = (
            " ".join(line.split()) if sign == " " else line.replace("::", "\t") if sign == "::" else line
            for line in text
        )
        rows = csv.reader(lines, delimiter="\t" if sign == "::" else sign)
        width = 0
        for cells in rows:
            width = width or (0 if len(cells) == 1 and cells[0].startswith("sep=") else len(cells))
            if any(cell.strip() for cell in cells[width:]) and width:
                raise SourceError(
                    f"{path}, line {rows.line_num}: {len(cells)} cells where the first line has {width}: {sign.join(cells)[:80]!r}; "
                    f"quote values that hold {sign!r} (a decimal comma, a text), or part the columns by another sign"
                )


def _with_tabs(data: bytes, sign: str) -> bytes:
    """The file with tabs between its columns, for a separator of more than one sign."""
    if sign not in ("::", " "):
        return data
    data = data.replace(b"\t", b" ")
    if sign == "::":
        return data.replace(b"::", b"\t")
    return re.sub(rb" +", b"\t", re.sub(rb"(?m)^ +| +(?=\r?$)", b"", data))


def _opened(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path, "rb")) if path.name.lower().endswith(".gz") else path.open("rb")
