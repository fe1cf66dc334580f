"""The search for traces in the bytes of a file: as they stand, and in what is packed or encoded in them.

A file is looked at as bytes, whatever it is: free pages, footers and statistics are found so. What is compressed is
opened as well: gzip, bzip2, xz, zstd, zip (and so xlsx, npz, wheels), and the columns of Parquet; what a reader of its
own must open (a DuckDB file) is given as texts.
"""

from __future__ import annotations

import bz2
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
from pyarrow import parquet

from customer360.platform.traces import AROUND, Traces

PIECE = 1 << 20  # bytes that are looked at together
DEEPEST = 4  # packed within packed
_ROWS = 100_000
_WINDOW = 4096  # bytes
_SMALLEST = 1_000_000  # of numbers that may tell somebody: seven digits
_PARQUET, _GZIP, _ZIP, _BZIP2, _XZ, _ZSTD = (
    b"PAR1",
    b"\x1f\x8b",
    b"PK\x03\x04",
    b"BZh",
    b"\xfd7zXZ\0",
    b"\x28\xb5\x2f\xfd",
)
_BROKEN = (
    OSError,
    EOFError,
    ValueError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    RuntimeError,
    pa.ArrowException,
)
Reader = Callable[[Path], Iterable[pl.Series]]


@dataclass(frozen=True)
class Hit:
    """Kinds of values that a place holds; ``unread``: why what is packed in it could not be looked at."""

    place: str
    kinds: tuple[str, ...]
    unread: str = ""


def in_file(traces: Traces, path: Path, place: str, readers: dict[bytes, Reader] | None = None) -> Hit | None:
    """What a file holds, its name included; None where that is nothing. ``readers`` are those of further formats, by
    bytes that stand among the first 16."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:  # gone since it was listed
        return None
    except OSError as fault:
        return Hit(place, (), f"cannot be read ({type(fault).__name__})")
    extra = next((reader for mark, reader in (readers or {}).items() if mark in data[:16]), None)
    if extra is None:
        return in_bytes(traces, data, place)
    hit = in_bytes(traces, data, place) or Hit(place, ())
    kinds, unread = set(hit.kinds), ""
    try:
        for texts in extra(path):
            kinds |= traces.among(texts)
    except Exception as fault:  # noqa: BLE001 - any library may read it; what it cannot read is not proven
        unread = f"cannot be opened ({type(fault).__name__})"
    return Hit(place, tuple(sorted(kinds)), unread) if kinds or unread else None


def in_bytes(traces: Traces, data: bytes, place: str) -> Hit | None:
    """What some bytes, and the name of their place, hold."""
    kinds, unread = traces.kinds_in(f"{place}\n{place.rpartition('.')[0]}"), ""  # ann@x.org.csv is of ann@x.org
    for part, fault in _parts(data, DEEPEST):
        unread = unread or fault
        if isinstance(part, pl.DataFrame):
            kinds |= _in_frame(traces, part)
        else:
            kinds |= _in_raw(traces, part)
    return Hit(place, tuple(sorted(kinds)), unread) if kinds or unread else None


def _in_raw(traces: Traces, data: bytes) -> set[str]:
    """Bytes as Latin-1, in which each is a character; once more without zeros, as UTF-16 is."""
    found: set[str] = set()
    for at in range(0, max(len(data), 1), PIECE):
        piece = data[max(at - AROUND, 0) : at + PIECE]
        for view in (piece, piece.replace(b"\0", b"")) if b"\0" in piece else (piece,):
            found |= _in_view(traces, view)
    return found


def _in_view(traces: Traces, view: bytes) -> set[str]:
    """Windows that overlap, so that only those in which a value may stand are looked at closely."""
    starts = range(0, max(len(view), 1), _WINDOW)
    windows = [view[max(at - AROUND, 0) : at + _WINDOW].decode("latin-1") for at in starts]
    found: set[str] = set()
    for text in traces.suspects(pl.Series(windows, dtype=pl.String)):
        found |= traces.kinds_in(text) | traces.kinds_in(text.encode("latin-1").decode("utf-8", "ignore"))
    return found


def _in_frame(traces: Traces, frame: pl.DataFrame) -> set[str]:
    found = traces.in_columns(frame)
    for name, dtype in frame.schema.items():
        column = frame[name]
        if dtype == pl.Binary:
            for value in column.drop_nulls().unique():
                hit = in_bytes(traces, value, "")
                found |= set(hit.kinds) if hit else set()
        elif dtype.is_nested():
            found |= traces.among(frame.select(pl.struct(name).struct.json_encode()).to_series())
        elif dtype.is_integer():
            found |= traces.among(column.filter(column.abs() >= _SMALLEST).unique().cast(pl.String))
        elif dtype == pl.String or dtype in (pl.Categorical, pl.Enum):
            found |= traces.among(column.cast(pl.String).unique())
    return found


def _parts(data: bytes, deep: int) -> Iterator[tuple[bytes | pl.DataFrame, str]]:
    """The bytes, then what is packed in them; with each why something could not be opened, or nothing."""
    yield data, ""
    try:
        if data.startswith(_PARQUET):
            for batch in parquet.ParquetFile(io.BytesIO(data)).iter_batches(_ROWS):
                yield pl.DataFrame(pl.from_arrow(batch)), ""
        elif deep and data.startswith(_ZIP):
            with zipfile.ZipFile(io.BytesIO(data)) as packed:
                for name in packed.namelist():
                    yield from _parts(packed.read(name), deep - 1)
        elif deep and (inner := _unpacked(data)) is not None:
            yield from _parts(inner, deep - 1)
    except _BROKEN as fault:
        yield b"", f"what is packed in it cannot be read ({type(fault).__name__})"


def _unpacked(data: bytes) -> bytes | None:
    """All that is packed, as far as it goes: of a file that was cut, what comes before the cut."""
    if data.startswith(_GZIP):
        return b"".join(_members(data))
    if data.startswith(_BZIP2):
        return bz2.decompress(data)
    if data.startswith(_XZ):
        return lzma.decompress(data)
    if data.startswith(_ZSTD):
        return bytes(pa.CompressedInputStream(pa.BufferReader(data), "zstd").read())
    return None


def _members(data: bytes) -> Iterator[bytes]:
    """The members of a gzip file; one that was cut gives what can be read of it."""
    while data.startswith(_GZIP):
        member = zlib.decompressobj(wbits=31)
        yield member.decompress(data)
        data = member.unused_data.lstrip(b"\0")
