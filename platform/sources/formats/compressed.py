"""Compressed files and archives as streams of their content, found by their first bytes, whatever they are called."""

from __future__ import annotations

import bz2
import fnmatch
import gzip
import io
import lzma
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, cast

import pyarrow as pa

try:  # a third of the time that zlib takes; there is no wheel of it for some machines
    from isal import igzip, isal_zlib
except ImportError:
    igzip = isal_zlib = None  # type: ignore[assignment]

from customer360.platform.errors import TransientError
from customer360.platform.sources.formats.records import Damaged, Unreadable

GZIP, ZSTD, BZIP2, XZ, ZIP = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ\x00", b"PK\x03\x04"
EMPTY_ZIP = b"PK\x05\x06"
OFFICE = {
    "[Content_Types].xml",
    "mimetype",
}  # members of workbooks, which are zip archives, too: of Excel, OpenDocument
NO_MEMBERS = ("__MACOSX/*", "*/.*", ".*", "*/")  # what archivers add
DEEPEST = 3  # a gzip file in a zip archive, and one more
FAULTS = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, pa.ArrowException, NotImplementedError, RuntimeError, ValueError, LookupError, struct.error, *((isal_zlib.error,) if isal_zlib else ()))  # fmt: skip  # noqa: E501
KINDS = {GZIP: "gzip", ZSTD: "zstd", BZIP2: "bzip2", XZ: "xz", ZIP: "zip", EMPTY_ZIP: "zip"}


class Content:
    """A stream whose first bytes can be looked at, and whose faults say in which compression they lie."""

    def __init__(self, stream: IO[bytes], kind: str = "") -> None:
        self._stream, self._kind = stream, kind
        self._head = b""
        self.fault: Exception | None = None  # of the place where the file lies, not of the file

    def peek(self, size: int) -> bytes:
        """The first bytes that have not been read, fewer at the end."""
        while len(self._head) < size and (more := self._read(size - len(self._head))):
            self._head += more
        return self._head[:size]

    def read(self, size: int = -1) -> bytes:
        """Bytes up to ``size``, all without one. Raises Unreadable where the compression is damaged."""
        if size < 0:
            parts = [self._head]
            self._head = b""
            while part := self._read(1 << 24):
                parts.append(part)
            return b"".join(parts)
        found, self._head = self._head[:size], self._head[size:]
        while len(found) < size and (more := self._read(size - len(found))):
            found += more
        return found

    def _read(self, size: int) -> bytes:
        try:
            return bytes(self._stream.read(size))
        except Exception as fault:
            if not self._kind:
                self.fault = fault
                raise
            if not isinstance(fault, FAULTS):
                raise
            raise Damaged(
                f"{self._kind}: {str(fault) or type(fault).__name__}; it is cut off or damaged, deliver it again"
            ) from None


def on_disk(content: IO[bytes] | Content) -> IO[bytes]:
    """A content as a temporary file that can be read from any place: formats whose index stands at the end need it.

    Kept in memory, a large archive or table would be there whole beside what it holds. Raises TransientError where the
    folder of temporary files has no room.
    """
    file = tempfile.NamedTemporaryFile(prefix="customer360-")  # noqa: SIM115  closed with the last who reads it
    while part := content.read(1 << 22):
        try:
            file.write(part)
        except OSError as fault:  # of this machine, not of the file that is read
            raise TransientError(f"{tempfile.gettempdir()}: {fault.strerror}; make room, or set TMPDIR") from None
    file.seek(0)
    return cast("IO[bytes]", file)


def contents(stream: IO[bytes], members: str = "*", deep: int = 0) -> Iterator[tuple[str, Content]]:
    """What a file holds, decompressed: one stream, or one a member of a zip archive, with the member's name.

    Raises:
        Unreadable: the compression is damaged or encrypted, or no member of an archive is called as ``members`` says.
    """
    content = Content(stream)
    start = content.peek(8)
    kind = next((name for magic, name in KINDS.items() if start.startswith(magic)), "")
    if not kind or deep > DEEPEST:
        yield "", content
    elif kind == "zip":
        yield from _members(content, members, deep)
    else:
        yield from contents(cast("IO[bytes]", Content(_opened(content, kind), kind)), members, deep + 1)


def _opened(content: Content, kind: str) -> IO[bytes]:
    raw = cast("IO[bytes]", _Raw(content))
    if kind == "gzip":
        return cast("IO[bytes]", igzip.IGzipFile(fileobj=raw) if igzip else gzip.GzipFile(fileobj=raw))
    if kind == "bzip2":
        return cast("IO[bytes]", bz2.BZ2File(raw))
    if kind == "xz":
        return cast("IO[bytes]", lzma.LZMAFile(raw))
    return cast("IO[bytes]", pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd"))


class _Raw(io.RawIOBase):
    """A content as the file that decompressors read from."""

    def __init__(self, content: Content) -> None:
        self._content = content

    def readable(self) -> bool:
        return True

    def readinto(self, into: bytearray) -> int:  # type: ignore[override]
        found = self._content.read(len(into))
        into[: len(found)] = found
        return len(found)

    def read(self, size: int = -1) -> bytes:
        return self._content.read(size)


def _members(content: Content, members: str, deep: int) -> Iterator[tuple[str, Content]]:
    data = on_disk(content)  # the list of members stands at the end
    try:
        archive = zipfile.ZipFile(data)
        names = [entry.filename for entry in archive.infolist()]
    except FAULTS as fault:
        raise Damaged(f"zip: {fault}") from None
    if OFFICE & set(names):
        data.seek(0)
        yield "", Content(data)
        return
    wanted = sorted(n for n in names if fnmatch.fnmatchcase(n, members) and not any(fnmatch.fnmatchcase(n, no) for no in NO_MEMBERS))  # fmt: skip  # noqa: E501
    if not wanted:
        raise Unreadable(f"zip: no member is called {members!r}; there are {', '.join(names[:10]) or 'none'}")
    for name in wanted:
        try:
            opened = archive.open(name)
        except FAULTS as fault:
            yield name, Content(cast("IO[bytes]", _Broken(f"zip: {name}: {fault}")))
            continue
        for _, inner in contents(cast("IO[bytes]", Content(opened, "zip")), "*", deep + 1):
            yield name, inner


class _Broken:
    """A member that cannot be opened: read as such."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def read(self, size: int = -1) -> bytes:
        raise Damaged(self._reason)
