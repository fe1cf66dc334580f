"""Messages on the disk before they are acknowledged, in the order in which they came: segments, each of one process.

A segment is ``<moment>-<process>-<chance>.frames`` in the folder of its source: frames of length, CRC-32 and content.
Who writes holds a lock on it. A frame that breaks off at the end of a segment was acknowledged to nobody, and is not
read; bytes that are damaged anywhere else are given as what they are.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import struct
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from customer360.platform import telemetry
from customer360.platform.sources.protocols.hooks.recent import Recent

ENDINGS = (".frames", ".log")  # of segments; the second, of those before
KNOWN = "known"  # digests of the keys of segments that are gone
SEGMENT_BYTES = 64 << 20
SEGMENT_SECONDS = 600.0  # after which a segment ends, so that what was read of it can go
REMEMBERED = 200_000  # messages, by the digest of whose key one that comes again is known
DIGEST = 16  # bytes
MOST_MINE = 1000  # own segments that are known as such
LONGEST = 1 << 30
_HEAD = struct.Struct(">II")
_BEGIN = re.compile(rb"[\x00-\x3f]")  # the first byte of a length up to LONGEST


class Frame(NamedTuple):
    """Where it ends in its segment, and what it holds; not ``is_whole``: bytes that are no frame any more."""

    end: int
    content: bytes
    is_whole: bool = True


@dataclass
class Journal:
    """The journal of one source, for the threads of one process.

    Threads that write at once share one ``fdatasync``: the first of them does it for all that wrote before it began.
    """

    folder: Path
    _file: int | None = None
    _name: str = ""
    _begun: float = 0.0
    _size: int = 0
    _safe: int = 0  # bytes of the segment that are durable
    _written: int = 0  # frames of all segments
    _durable: int = 0
    _faults: int = 0  # times that what was written was given up
    _mine: list[str] = field(default_factory=list)  # segments that this one began, the last of many
    _is_recalled: bool = False
    _last: threading.Timer | None = None
    _known: Recent = field(default_factory=lambda: Recent(REMEMBERED))
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _sync: threading.Lock = field(default_factory=threading.Lock)

    def append(self, key: str, content: bytes) -> bool:
        """Write a message; durable when this returns. False where a message of this key is there already, and durable.

        Raises:
            OSError: the disk is full or gone; nothing is acknowledged.
        """
        return self.append_all([(key, content)])[0]

    def append_all(self, messages: Sequence[tuple[str, bytes]], *, as_one: bool = False) -> list[bool]:
        """Write messages, each with its key, in their order and with one ``fdatasync``; all are durable when this
        returns. For each, whether it is new; one whose key an earlier message has, also of these, is not. ``as_one``:
        where one is not new, none is written.

        Raises:
            OSError: the disk is full or gone; none of them is acknowledged.
        """
        with self._lock:
            self._recall()
            fresh: dict[bytes, bytes] = {}
            answers = []
            for key, content in messages:
                digest = digest_of(key)
                is_new = digest not in self._known and digest not in fresh
                if is_new:
                    fresh[digest] = content
                answers.append(is_new)
            if as_one and not all(answers):
                fresh, answers = {}, [False] * len(answers)
            if fresh:
                self._write(list(fresh.values()))
                self._known.update(fresh)
            mine, faults = self._written, self._faults
        try:
            self._settle(mine, faults)
        except OSError:
            with self._lock:
                for digest in fresh:
                    self._known.discard(digest)  # sent again, it is written again
            raise
        return answers

    def wrote(self, segment: str) -> bool:
        """Whether a segment is of this one, not of another process."""
        return segment in self._mine

    def _write(self, contents: list[bytes]) -> None:
        if self._file is None or self._size >= SEGMENT_BYTES or self._is_over():
            self._begin()
        assert self._file is not None
        data = b"".join([_HEAD.pack(len(c), zlib.crc32(c)) + c for c in contents])
        done = 0
        try:
            while done < len(data):
                done += os.write(self._file, data[done:] if done else data)
        except OSError:
            os.ftruncate(self._file, self._size)  # half a frame would hide those after it
            raise
        self._size += len(data)
        self._written += len(contents)

    def _is_over(self) -> bool:
        """Whether the segment is old, or a run that read all of it asks for its end."""
        return time.monotonic() - self._begun > SEGMENT_SECONDS or _asked(self.folder / self._name).exists()

    def _begin(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._end(self._name)
        name = f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(3)}{ENDINGS[0]}"
        made = os.open(self.folder / f".{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        fcntl.flock(made, fcntl.LOCK_EX | fcntl.LOCK_NB)  # before anybody finds it
        self._mine = [*self._mine[-MOST_MINE:], name]
        (self.folder / f".{name}").rename(self.folder / name)
        self._file, self._name, self._size, self._safe, self._begun = made, name, 0, 0, time.monotonic()
        _sync_folder(self.folder)
        if self._last is not None:
            self._last.cancel()  # of the segment before, which has ended
        self._last = threading.Timer(SEGMENT_SECONDS, self._expire, (name,))  # of a sender that falls silent
        self._last.daemon = True
        self._last.start()

    def _end(self, name: str) -> None:
        """Let go of a segment, if it is the one that is written to."""
        with self._lock:
            if self._file is None or name != self._name:
                return
            try:
                os.fdatasync(self._file)
            except OSError:
                self._give_up()
                raise
            os.close(self._file)
            self._file = None
            _asked(self.folder / name).unlink(missing_ok=True)

    def _expire(self, name: str) -> None:
        try:
            self._end(name)
        except OSError as fault:
            telemetry.log.error(f"the journal {self.folder / name} cannot be ended: {fault.strerror}")

    def _settle(self, upto: int, faults: int) -> None:
        with self._sync:
            if self._durable >= upto and self._faults == faults:
                return
            with self._lock:
                if self._faults != faults:
                    raise OSError(5, "what was written before is not durable")
                written, size, name = self._written, self._size, self._name
                file = None if self._file is None else os.dup(self._file)  # a new segment may begin meanwhile
            if file is not None:
                try:
                    os.fdatasync(file)
                except OSError:
                    self._give_up()
                    raise
                finally:
                    os.close(file)
            with self._lock:
                self._durable = written
                if name == self._name:
                    self._safe = size

    def _give_up(self) -> None:
        """After a write that may not be on the disk: what was acknowledged to nobody goes, with its segment."""
        with self._lock:
            self._faults += 1
            file, self._file = self._file, None
            if file is not None:
                try:
                    os.ftruncate(file, self._safe)
                finally:
                    os.close(file)

    def _recall(self) -> None:
        """What came before, once, when the process begins."""
        if self._is_recalled:
            return
        newest: list[list[bytes]] = []
        for segment in reversed(segments(self.folder)):
            with suppress(FileNotFoundError):  # it went just now, and its keys are kept
                newest.append([digest_of(key_of(frame.content)) for frame in frames(self.folder / segment, 0)])
            if sum(map(len, newest)) >= REMEMBERED:
                break
        present = (digest for digests in reversed(newest) for digest in digests)
        self._known.update(dict.fromkeys([*_kept(self.folder), *present]))
        self._is_recalled = True


def digest_of(key: str) -> bytes:
    """What is remembered of a key."""
    return hashlib.sha256(key.encode()).digest()[:DIGEST]


def key_of(content: bytes) -> str:
    """The key of a message: its first line."""
    return content.partition(b"\n")[0].decode("utf-8", "replace")


def begun(segment: str) -> float:
    """When a segment began, in seconds since 1970; 0 for one of before, whose name does not say."""
    moment = segment.partition("-")[0]
    return int(moment) / 1e9 if moment.isdigit() else 0.0


def segments(folder: Path) -> list[str]:
    """Segments, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(f.name for f in folder.iterdir() if f.name.endswith(ENDINGS) and not f.name.startswith("."))


def frames(segment: Path, start: int, stop: int | None = None) -> Iterator[Frame]:
    """Frames from an offset on, up to another that is the end of one; damaged bytes between two as one that is not
    whole.
    """
    with segment.open("rb") as file:
        file.seek(start)
        data = file.read() if stop is None else file.read(stop - start)
        is_open = stop is None and _is_written(file.fileno())
    yield from (frame._replace(end=frame.end + start) for frame in frames_of(data, is_open, is_all=stop is not None))


def frames_of(data: bytes, is_open: bool, *, is_all: bool = False) -> Iterator[Frame]:
    """Frames of the bytes of a segment. What its end holds but half is none, unless ``is_all`` says that all was given
    before.
    """
    at = 0
    while at < len(data):
        if (content := _at(data, at)) is not None:
            at += _HEAD.size + len(content)
            yield Frame(at, content)
            continue
        after = next((m.start() for m in _BEGIN.finditer(data, at + 1) if _at(data, m.start()) is not None), None)
        if after is None and not is_all and (is_open or _breaks_off(data, at)):
            return
        at, damaged = after or len(data), data[at : after or len(data)]
        yield Frame(at, damaged, is_whole=False)


def _at(data: bytes, at: int) -> bytes | None:
    """The content of the frame at a place; None where there is none."""
    if len(data) - at < _HEAD.size:
        return None
    length, check = _HEAD.unpack_from(data, at)
    if not 0 < length <= len(data) - at - _HEAD.size:
        return None
    content = memoryview(data)[at + _HEAD.size : at + _HEAD.size + length]
    return bytes(content) if zlib.crc32(content) == check else None


def _breaks_off(data: bytes, at: int) -> bool:
    """Whether the end of a segment is half a frame, or blocks that the file system had got ready."""
    left = len(data) - at - _HEAD.size
    return left < 0 or left < _HEAD.unpack_from(data, at)[0] <= LONGEST or not data[at:].strip(b"\0")


def _is_written(file: int) -> bool:
    """Whether somebody holds the lock of a segment."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(file, fcntl.LOCK_UN)
    return False


def retire(segment: Path, read: int) -> bool:
    """Delete a segment of which everything was read; who still writes to it is asked to end it. The digests of its
    keys stay.
    """
    try:
        file = os.open(segment, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        data = segment.read_bytes()
        if next(frames_of(data[read:], is_open=False), None) is not None:
            return False
        keys = [digest_of(key_of(frame.content)) for frame in frames_of(data, is_open=False) if frame.is_whole]
        _keep(segment.parent, keys)
        segment.unlink()
        _asked(segment).unlink(missing_ok=True)
        return True
    except BlockingIOError:
        if 0 < read == segment.stat().st_size:
            _asked(segment).touch()
        return False
    finally:
        os.close(file)


def _asked(segment: Path) -> Path:
    """The file that asks who writes a segment to end it."""
    return segment.with_name(f".{segment.name}.end")


def _kept(folder: Path) -> list[bytes]:
    file = folder / KNOWN
    data = file.read_bytes() if file.exists() else b""
    return [data[at : at + DIGEST] for at in range(0, len(data), DIGEST)]


def _keep(folder: Path, digests: list[bytes]) -> None:
    """Remember digests, the newest of all."""
    whole = list(OrderedDict.fromkeys([*_kept(folder), *digests]))[-REMEMBERED:]
    made = folder / f".{KNOWN}.{os.getpid()}"
    with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(b"".join(whole))
        file.flush()
        os.fsync(file.fileno())
    made.rename(folder / KNOWN)
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    place = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)
