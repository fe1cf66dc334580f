"""Open a log file of any retailer: CSV in its dialects (also gzipped, also without a header), Parquet or JSON lines."""

import re
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from customer360.platform.errors import SourceError
from customer360.platform.sources.formats import delimited

KINDS = ".csv, .tsv, .txt, .dat (each also .gz), .parquet, .jsonl or .ndjson"
SHEET, PARQUET, GZIP = b"PK\x03\x04", b"PAR1", b"\x1f\x8b"  # how a spreadsheet (an archive) and the others begin
HEAD_BYTES = 4096
DATUM = re.compile(r"^[+-]?\d[\d.,:/ T+-]*$")  # a number or a date: no name of a column


def frame(path: Path, names: Mapping[str, str] | None = None) -> pl.DataFrame:
    """The rows of a file; columns of a text file are strings, null where empty. Where `names` gives places (1, 2, …)
    instead of names of columns, or none and the first line holds a number or a date, the file has no header and its
    columns are called by their place.

    Raises:
        SourceError: no such file, of another kind, empty or broken, or a line has more cells than the first.
    """
    if not path.is_file():
        raise SourceError(f"no file {path}")
    name = path.name.lower().removesuffix(".gz")
    try:
        with delimited.opened(path) as opened:
            head = opened.read(HEAD_BYTES)
        if name.endswith((".parquet", ".pq")) or head.startswith(PARQUET):
            return pl.read_parquet(path)
        _require_text(head, path)
        if name.endswith((".jsonl", ".ndjson", ".json")):
            with delimited.opened(path) as opened:
                if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):  # one array instead of a line a row
                    return pl.read_json(opened.read(), infer_schema_length=None)
                return pl.read_ndjson(opened, infer_schema_length=None)
        if name.endswith((".csv", ".tsv", ".txt", ".dat", ".data")):
            return _text_frame(path, names or {})
    except (pl.exceptions.PolarsError, OSError, EOFError, UnicodeDecodeError) as fault:
        reason = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
        raise SourceError(f"{path} cannot be read: {reason}") from None
    raise SourceError(f"{path}: give {KINDS}")


def _require_text(head: bytes, path: Path) -> None:
    if head.startswith(SHEET):
        raise SourceError(f"{path} is a spreadsheet or another archive: export its sheet as CSV; give {KINDS}")
    if head.startswith(GZIP):
        raise SourceError(f"{path} is compressed: name it {path.name}.gz")
    if b"\x00" in head and not head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SourceError(
            f"{path} is no text that can be read (UTF-16 without its mark?): save it as UTF-8; give {KINDS}"
        )


def require_flat(values: pl.Series, path: Path) -> None:
    """Raise SourceError for a column of lists, of objects, or of yes and no, where a row needs one value."""
    if values.dtype.is_nested() or values.dtype == pl.Boolean:
        shown = values.drop_nulls().head(1).to_list()
        raise SourceError(f"{path}, column {values.name}: each row needs one text or number, not such as {shown}")


def without_header(names: Mapping[str, str], first: list[str]) -> bool:
    """Whether columns are asked for by place, or by nothing where the first line's cells are data."""
    return all(name.isdigit() for name in names.values()) if names else any(DATUM.match(cell.strip()) for cell in first)


def by_place(columns: list[str]) -> bool:
    """Whether a frame's columns are called by their place."""
    return columns == [str(place) for place in range(1, len(columns) + 1)]


def plain(name: str) -> str:
    """A column's name in lower case, letters and digits alone: `Customer ID` and `customer_id` are the same."""
    return "".join(sign for sign in name.lower() if sign.isalnum())


def _text_frame(path: Path, names: Mapping[str, str]) -> pl.DataFrame:
    dialect = delimited.dialect_of(path)
    headless = without_header(names, dialect.cells)
    found = delimited.read(path, dialect, header=not headless)
    if headless:
        found = found.rename({name: str(place) for place, name in enumerate(found.columns, start=1)})
    return found
