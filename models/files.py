"""Open a log file of any retailer: CSV in its dialects (also gzipped, also without a header), Parquet or JSON lines."""

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


def frame(path: Path, names: Mapping[str, str] | None = None) -> pl.DataFrame:
    """The rows of a file; columns of a text file are strings, null where empty. Where `names` gives places (1, 2, …)
    instead of names of columns, the file has no header and its columns are called by their place.

    Raises:
        SourceError: no such file, of another kind, empty or broken.
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


def without_header(names: Mapping[str, str]) -> bool:
    """Whether columns are asked for by place."""
    return bool(names) and all(name.isdigit() for name in names.values())


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
    first = next((line for line in head.decode("utf-8-sig", "replace").splitlines() if line.strip()), None)
    if first is None:
        raise SourceError(f"{path} is empty")
    sign = separator(first)
    headless = without_header(names)
    source: Path | io.BytesIO = path
    if sign in ("::", " "):
        source, sign = io.BytesIO(_with_tabs(path, sign)), "\t"
    found = pl.read_csv(
        source, infer_schema=False, separator=sign, has_header=not headless, encoding="utf8-lossy",
        truncate_ragged_lines=True,
    )  # fmt: skip
    if headless:
        found = found.rename({name: str(place) for place, name in enumerate(found.columns, start=1)})
    else:
        found = found.rename({name: name.strip().removeprefix("\ufeff") for name in found.columns})
    return found.with_columns(pl.all().replace("", None))


def _with_tabs(path: Path, sign: str) -> bytes:
    """The file with tabs between its columns, for a separator of more than one sign."""
    with _opened(path) as opened:
        data = opened.read()
    data = data.replace(b"\t", b" ")
    if sign == "::":
        return data.replace(b"::", b"\t")
    return re.sub(rb" +", b"\t", re.sub(rb"(?m)^ +| +(?=\r?$)", b"", data))


def _opened(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path, "rb")) if path.name.lower().endswith(".gz") else path.open("rb")
