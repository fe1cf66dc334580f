"""The search for traces in the bytes of a file: as they stand, and in what is packed or encoded in them.

A file is looked at as bytes, whatever it is: free pages, footers and statistics are found so. What is compressed is
opened as well: gzip, bzip2, xz, zstd, zip (and so xlsx, npz, wheels), and the columns of Parquet; what a reader of its
own must open (a file of DuckDB or SQLite) is given as texts and bytes.
"""

from __future__ import annotations

import bz2
import hashlib
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa

from customer360.platform.traces import AROUND, Traces, columns

PIECE = 1 << 20  # bytes that are looked at together
_PIECES = 64  # whose bytes are copied at once
DEEPEST = 4  # packed within packed
_WORTH_KNOWING = 1 << 16  # bytes from which on a content is known again by its digest
_WINDOW = 4096  # bytes
_PARQUET, _GZIP, _ZIP, _BZIP2, _XZ, _ZSTD = (
    b"PAR1",
    b"\x1f\x8b",
    b"PK\x03\x04",
    b"BZh",
    b"\xfd7zXZ\0",
    b"\x28\xb5\x2f\xfd",
)
_ZLIB = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_PACKED = (_PARQUET, _GZIP, _ZIP, _BZIP2, _XZ, _ZSTD)
_PARTING = b"<" * 8
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
_UNKNOWN = (
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,
    pa.ArrowException,
    NotImplementedError,
    TypeError,
    ValueError,
    OverflowError,
)
_MANY = 100  # pieces that are not worth keeping apart
_WORTH_JOINING = 1 << 20  # bytes of texts: who looks at them at once takes milliseconds to begin
_WIDE = re.compile(rb"\0[^\0]\0")  # two characters, each beside a zero
Reader = Callable[[Path], Iterable[pl.Series]]


@dataclass(frozen=True)
class Hit:
    """Kinds of values that a place holds; ``unread``: why what is packed in it could not be looked at."""

    place: str
    kinds: tuple[str, ...]
    unread: str = ""


def in_file(
    traces: Traces,
    path: Path,
    place: str,
    readers: dict[bytes, Reader] | None = None,
    known: set[bytes] | None = None,
) -> Hit | None:
    """What a file holds, its name included; None where that is nothing. ``readers`` are those of further formats, by
    bytes that stand among the first 16; ``known`` see ``in_content``."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:  # gone since it was listed
        return None
    except OSError as fault:
        return Hit(place, (), f"cannot be read ({type(fault).__name__})")
    extra = next((reader for mark, reader in (readers or {}).items() if mark in data[:16]), None)
    if extra is None:
        return in_content(traces, data, place, known)
    hit = in_bytes(traces, data, place) or Hit(place, ())
    kinds, unread = set(hit.kinds), ""
    try:
        for values in extra(path):
            kinds |= _in_blobs(traces, values) if values.dtype == pl.Binary else traces.among(values)
    except Exception as fault:  # noqa: BLE001 - any library may read it; what it cannot read is not proven
        unread = f"cannot be opened ({type(fault).__name__})"
    return Hit(place, tuple(sorted(kinds)), unread) if kinds or unread else None


def in_content(traces: Traces, data: bytes, place: str, known: set[bytes] | None) -> Hit | None:
    """As ``in_bytes``; of contents whose digest is ``known`` to hold nothing only the name is looked at. Digests of
    further ones are added."""
    if known is None or len(data) < _WORTH_KNOWING:
        return in_bytes(traces, data, place)
    digest = hashlib.sha256(data).digest()
    hit = in_bytes(traces, b"" if digest in known else data, place)
    if hit is None:
        known.add(digest)
    return hit


def in_bytes(traces: Traces, data: bytes, place: str) -> Hit | None:
    """What some bytes, and the name of their place, hold."""
    kinds, unread = traces.kinds_in(f"{place}\n{place.rpartition('.')[0]}"), ""  # ann@x.org.csv is of ann@x.org
    for part, fault in _parts(data, DEEPEST):
        unread = unread or fault
        try:
            kinds |= _in_raw(traces, part) if isinstance(part, bytes) else _in_batches(traces, [part])
        except _UNKNOWN as fault_of_type:
            unread = unread or f"has columns that cannot be read ({type(fault_of_type).__name__})"
    return Hit(place, tuple(sorted(kinds)), unread) if kinds or unread else None


def nothing_in(traces: Traces, contents: Iterable[tuple[str, bytes]]) -> bool:
    """Whether none of some small contents holds anything, nor the name of its place: looked at together, since each
    look costs as much as a small file does. False also where only a look at each can tell."""
    names, raw, batches = list[str](), list[bytes](), list[pa.RecordBatch]()
    for place, data in contents:
        names += [place, place.rpartition(".")[0]]
        for part, fault in _parts(data, DEEPEST):
            if fault:
                return False
            if isinstance(part, bytes):
                raw.append(part)
            else:
                batches.append(part)
    try:
        if traces.among(pl.Series(names, dtype=pl.String)) or _in_raw(traces, _PARTING.join(raw)):
            return False
        return not _in_batches(traces, batches)
    except _UNKNOWN:
        return False


def _in_raw(traces: Traces, data: bytes) -> set[str]:
    """Bytes as Latin-1, in which each is a character; once more without zeros where they part characters, as in
    UTF-16. Pieces and windows overlap, so that only those in which a value may stand are looked at closely."""
    found: set[str] = set()
    starts = range(0, max(len(data), 1), PIECE)
    for group in (starts[at : at + _PIECES] for at in range(0, len(starts), _PIECES)):
        pieces = [data[max(at - AROUND, 0) : at + PIECE] for at in group]
        wide = [piece.replace(b"\0", b"") if _WIDE.search(piece) else b"" for piece in pieces]
        if len(data) >= PIECE:
            suspected = traces.suspected(pa.array(pieces, pa.large_binary()))
            suspected_wide = traces.suspected(pa.array(wide, pa.large_binary()))
        else:
            suspected, suspected_wide = pl.Series([True]), pl.Series([bool(wide[0])])
        for piece, is_suspected, is_wide in zip(pieces, suspected, suspected_wide, strict=True):
            views = _windows(piece, _WINDOW, AROUND) if is_suspected else []
            if is_wide:
                parts = _windows(piece, 2 * _WINDOW, 2 * AROUND)
                views += [part.replace(b"\0", b"") for part in parts if _WIDE.search(part)]
            for text in traces.suspects(pl.Series([view.decode("latin-1") for view in views], dtype=pl.String)):
                found |= traces.kinds_in(text) | traces.kinds_in(text.encode("latin-1").decode("utf-8", "ignore"))
    return found


def _windows(piece: bytes, size: int, around: int) -> list[bytes]:
    return [piece[max(start - around, 0) : start + size] for start in range(0, max(len(piece), 1), size)]


def _in_batches(traces: Traces, batches: list[pa.RecordBatch]) -> set[str]:
    """Rows of tables: what is alike in all columns is looked at together, since each look costs."""
    parts = [[list(columns.leaves(column)) for column in batch.columns] for batch in batches]
    leaves = [leaf for held in parts for column in held for leaf in column]
    every = [columns.values(leaf) for leaf in leaves if not columns.is_text(leaf)]
    alike: dict[pl.DataType, list[pl.Series]] = {}
    for leaf in every:
        if leaf.dtype.is_numeric():
            alike.setdefault(leaf.dtype, []).append(leaf)
    found = traces.in_numbers(_joined(columns.numbers(_joined(same)) for same in alike.values()))
    for leaf in every:
        if leaf.dtype == pl.Binary:
            found |= _in_blobs(traces, leaf.drop_nulls().unique())
    return found | _in_texts(traces, batches, parts)


def _in_texts(traces: Traces, batches: list[pa.RecordBatch], parts: list[list[list[pa.Array]]]) -> set[str]:
    """Columns of texts: all values of one at once, as bytes, where they are ASCII; value by value what is suspected so,
    and what is not ASCII."""
    texts = [[[columns.values(leaf) for leaf in leaves if columns.is_text(leaf)] for leaves in held] for held in parts]
    every = _joined(leaf for held in texts for leaves in held for leaf in leaves)
    if every.is_empty():
        return set()
    suspected, has_half = every, None
    if every.estimated_size() >= _WORTH_JOINING:
        plain = [columns.joined(leaves) for held in parts for leaves in held]
        flat = [leaves for held in texts for leaves in held]
        stored = pa.array(plain, pa.large_binary())
        others = [[] if each.isascii() else _beyond_ascii(leaves) for each, leaves in zip(plain, flat, strict=True)]
        kept = (w if is_all else rest for is_all, w, rest in zip(traces.suspected(stored), flat, others, strict=True))
        suspected = _joined(leaf for leaves in kept for leaf in leaves)
        every = _joined(leaf for leaves in others for leaf in leaves)
        has_half = bool(traces.suspected_halves(stored).any())
    found = traces.among(suspected)
    if has_half or traces.has_half(every):  # of a name whose other half may stand beside it
        for batch, held in zip(batches, texts, strict=True):
            if len(batches) == 1 or traces.has_half(_joined(leaf for leaves in held for leaf in leaves)):
                found |= _beside(traces, batch, held)
    return found


def _beyond_ascii(leaves: list[pl.Series]) -> list[pl.Series]:
    return [leaf.filter(leaf.str.len_bytes() != leaf.str.len_chars()) for leaf in leaves]


def _beside(traces: Traces, batch: pa.RecordBatch, texts: list[list[pl.Series]]) -> set[str]:
    """Kinds of what is told by several columns of a row, or by several fields of a nested one, together."""
    found: set[str] = set()
    held = [columns.values(column) for column in batch.columns]
    for column, leaves in zip(held, texts, strict=True):
        if column.dtype.is_nested() and traces.has_both(leaves):
            found |= traces.among(column.to_frame("").select(pl.struct("").struct.json_encode()).to_series())
    names = [at for at, one in enumerate(held) if one.dtype == pl.String and traces.has_part(one)]
    if len(names) > 1:
        found |= traces.in_columns(pl.DataFrame({str(at): columns.whole(batch.column(at)) for at in names}))
    return found


def _joined(found: Iterable[pl.Series]) -> pl.Series:
    kept = [each.alias("") for each in found if each.len()]
    if not kept:
        return pl.Series("", [], pl.String)
    return pl.concat(kept, how="vertical", rechunk=len(kept) > _MANY)


def _in_blobs(traces: Traces, blobs: pl.Series) -> set[str]:
    """Of values that are bytes: those that are packed one by one, all others together, parted by what is in no value
    and no blank."""
    found: set[str] = set()
    plain = []
    for blob in map(_inflated, blobs):
        if blob.startswith(_PACKED):
            hit = in_bytes(traces, blob, "")
            found |= set(hit.kinds) if hit else set()
        else:
            plain.append(blob)
    return found | _in_raw(traces, _PARTING.join(plain))


def _inflated(blob: bytes) -> bytes:
    """What gzip or zlib holds, of which many a cell is; others as they are."""
    if blob.startswith((_GZIP, *_ZLIB)):
        with suppress(zlib.error):
            return zlib.decompress(blob, wbits=47)
    return blob


def _parts(data: bytes, deep: int) -> Iterator[tuple[bytes | pa.RecordBatch, str]]:
    """The bytes, then what is packed in them; with each why something could not be opened, or nothing."""
    yield columns.outside(data) if data.startswith(_PARQUET) else data, ""
    try:
        if data.startswith(_PARQUET):
            for batch in columns.batches(data):
                yield batch, ""
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
