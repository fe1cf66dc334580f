"""Messages on the disk before they are acknowledged, in the order in which they came: segments, each of one process.

A segment is ``<moment>-<process>.log`` in the folder of its source: frames of length, CRC-32 and content. Who writes
holds a lock on it; a frame that a loss of power cut is the last of its segment, was acknowledged to nobody, and is not
read.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import struct
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SEGMENT_BYTES = 64 << 20
REMEMBERED = 200_000  # ids of messages, by which one that comes again is known
_HEAD = struct.Struct(">II")


@dataclass
class Journal:
    """The journal of one source, for the threads of one process.

    Threads that write at once share one ``fdatasync``: the first of them does it for all that wrote before it began.
    """

    folder: Path
    _file: int | None = None
    _size: int = 0
    _written: int = 0  # frames of all segments
    _durable: int = 0
    _known: OrderedDict[str, None] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _sync: threading.Lock = field(default_factory=threading.Lock)

    def append(self, key: str, content: bytes) -> bool:
        """Write a message; durable when this returns. False where a message of this key is there already, and durable.

        Raises:
            OSError: the disk is full or gone; nothing is acknowledged.
        """
        with self._lock:
            self._recall()
            is_new = key not in self._known
            if is_new:
                self._write(content)
                self._known[key] = None
                if len(self._known) > REMEMBERED:
                    self._known.popitem(last=False)
            mine = self._written
        try:
            self._settle(mine)
        except OSError:
            with self._lock:
                self._known.pop(key, None)  # sent again, it is written again
            raise
        return is_new

    def _write(self, content: bytes) -> None:
        if self._file is None or self._size >= SEGMENT_BYTES:
            self._begin()
        assert self._file is not None
        frame = _HEAD.pack(len(content), zlib.crc32(content)) + content
        done = 0
        try:
            while done < len(frame):
                done += os.write(self._file, frame[done:])
        except OSError:
            os.ftruncate(self._file, self._size)  # half a frame would hide those after it
            raise
        self._size += len(frame)
        self._written += 1

    def _begin(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._file is not None:
            os.fdatasync(self._file)
            os.close(self._file)
        name = f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(3)}.log"
        self._file = os.open(self.folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._size = 0
        place = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(place)
        finally:
            os.close(place)

    def _settle(self, upto: int) -> None:
        with self._sync:
            if self._durable >= upto:
                return
            with self._lock:
                written, file = self._written, self._file
            if file is not None:
                os.fdatasync(file)
            self._durable = written

    def _recall(self) -> None:
        """The ids of what is still there, once, when the process begins."""
        if self._known or self._file is not None:
            return
        for segment in segments(self.folder):
            for _, content in frames(self.folder / segment, 0):
                self._known[key_of(content)] = None


def key_of(content: bytes) -> str:
    """The key of a message: its first line."""
    return content.partition(b"\n")[0].decode("utf-8", "replace")


def segments(folder: Path) -> list[str]:
    """Segments, oldest first."""
    return sorted(file.name for file in folder.glob("*.log")) if folder.is_dir() else []


def frames(segment: Path, start: int) -> Iterator[tuple[int, bytes]]:
    """Whole frames from an offset on: where each ends, and its content."""
    with segment.open("rb") as file:
        file.seek(start)
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            length, check = _HEAD.unpack(head)
            content = file.read(length)
            if len(content) < length or zlib.crc32(content) != check:
                return
            start += _HEAD.size + length
            yield start, content


def retire(segment: Path, read: int) -> bool:
    """Delete a segment of which everything was read, unless somebody still writes to it."""
    try:
        file = os.open(segment, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if next(frames(segment, read), None) is not None:
            return False
        segment.unlink()
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(file)
