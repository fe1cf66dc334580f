"""Where backups lie: files named by the SHA-256 of what they hold, so that what is equal lies there once, and snapshots
that name them.

    objects/ab/abcdef…           a file
    snapshots/ID.json.gz         what was where at one moment
    damaged/abcdef…              objects that `verify` found to be something else
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from customer360.platform.backup.trees import FolderTree, StoreTree, digested, tree_at
from customer360.platform.errors import LakeError
from customer360.platform.lake.lock import file_lock, marker_lock, note_of
from customer360.platform.lake.objects import remote_store

OBJECTS, SNAPSHOTS, DAMAGED, LOCK = "objects", "snapshots", "damaged", "_lock"
FORMAT = 1  # of a snapshot; a higher one is of a newer version of this library
STAMP = "%Y%m%dT%H%M%S%fZ"
_DIGEST = re.compile(r"[0-9a-f]{64}")
SMALL = 1 << 20  # bytes of a file that is read once: into memory

Read = Callable[[], Iterable[bytes]]


class BackupError(LakeError):
    """A backup cannot be taken, read or restored."""


class Changed(BackupError):
    """A file was changed or removed while it was copied."""


@dataclass(frozen=True)
class Kept:
    """A file of a snapshot: bytes, SHA-256, and how its listing looked when it was copied."""

    size: int
    digest: str
    stamp: str = ""


@dataclass(frozen=True)
class Snapshot:
    """What was where at one moment: files by area (``lake``, ``state``, ``configs``) and path, Delta versions by table,
    the roots they had, and what was left out, with the reason."""

    id: str
    at: datetime
    files: dict[str, dict[str, Kept]]
    tables: dict[str, int]
    roots: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT

    def every_file(self) -> Iterator[tuple[str, Kept]]:
        """Path with its area, and what is kept there."""
        for area, files in self.files.items():
            for path, kept in files.items():
                yield f"{area}/{path}", kept


class Repository:
    """Backups below a folder or the URL of an object store."""

    def __init__(self, url: str, options: Mapping[str, str] | None = None) -> None:
        self._options = dict(options or {})
        self._tree: FolderTree | StoreTree = tree_at(url, self._options)
        self._sizes: dict[str, int] | None = None
        self.written_files = self.written_bytes = 0

    @property
    def root(self) -> str:
        return self._tree.root

    def lock(self, owner: str) -> AbstractContextManager[None]:
        """Hold the right to write and delete here. Raises LakeLocked."""
        if isinstance(self._tree, StoreTree):
            return marker_lock(remote_store(self.root, self._options), self.root, note_of(owner), LOCK)
        return file_lock(Path(self.root), note_of(owner), LOCK)

    # ---- objects ----------------------------------------------------------------------------------------------

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of the stored objects by digest."""
        if self._sizes is None:
            listed = self._tree.listing(OBJECTS)
            self._sizes = {path.rpartition("/")[2]: seen.size for path, seen in listed.items()}
        return self._sizes

    def holds(self, kept: Kept) -> bool:
        return self.sizes.get(kept.digest) == kept.size

    def keep(self, size: int, read: Read) -> Kept:
        """Keep what is read, unless it is here already.

        Raises:
            Changed: two readings of a large file differ.
        """
        if size <= SMALL:
            data = b"".join(read())
            kept = Kept(len(data), hashlib.sha256(data).hexdigest())
            return kept if self.holds(kept) else self._add(kept, [data])
        kept = Kept(*digested(read()))
        return kept if self.holds(kept) else self._add(kept, read())

    def _add(self, kept: Kept, pieces: Iterable[bytes]) -> Kept:
        self._tree.write(_place(kept.digest), _checked(kept, pieces))
        self.sizes[kept.digest] = kept.size
        self.written_files += 1
        self.written_bytes += kept.size
        return kept

    def read(self, kept: Kept) -> Iterator[bytes]:
        """What was kept.

        Raises:
            BackupError: at the end, where it is not what was kept; at once, where it is gone.
        """
        pieces = self._tree.read(_place(kept.digest))
        try:
            yield from _checked(kept, pieces)
        except FileNotFoundError:
            raise BackupError(f"{self.root}: {_place(kept.digest)} is gone") from None
        except Changed:
            raise BackupError(f"{self.root}: {_place(kept.digest)} is damaged") from None

    # ---- snapshots --------------------------------------------------------------------------------------------

    def ids(self) -> list[str]:
        """Of the stored snapshots, oldest first."""
        return [path.rpartition("/")[2].removesuffix(".json.gz") for path in self._tree.listing(SNAPSHOTS)]

    def snapshot(self, identifier: str) -> Snapshot:
        """Raises BackupError: there is none of this id that can be read."""
        path = f"{SNAPSHOTS}/{identifier}.json.gz"
        try:
            stored = json.loads(gzip.decompress(b"".join(self._tree.read(path))))
            if int(stored["format"]) > FORMAT:
                raise BackupError(f"{self.root}/{path} was written by a newer version of this library")
            files = {
                area: {file: Kept(int(s), str(d), str(stamp)) for file, (s, d, stamp) in each.items()}
                for area, each in stored["files"].items()
            }
            if odd := [file for each in files.values() for file, kept in each.items() if _leads_out(file, kept)]:
                raise BackupError(f"{self.root}/{path} names {odd[0]!r}, no file below a folder; nothing is read")
            moment = datetime.fromisoformat(stored["at"])
            return Snapshot(identifier, moment, files, stored["tables"], stored["roots"], stored["left_out"])
        except FileNotFoundError:
            raise BackupError(f"{self.root} holds no backup {identifier}; there are {self.ids()}") from None
        except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as fault:
            raise BackupError(f"{self.root}/{path} cannot be read ({type(fault).__name__})") from None

    def snapshots(self) -> list[Snapshot]:
        """Those that can be read, oldest first."""
        found = []
        for identifier in self.ids():
            try:
                found.append(self.snapshot(identifier))
            except BackupError:
                continue  # `verify` tells of it
        return found

    def next_id(self, now: datetime) -> str:
        """The moment as an id; after every stored one, also where the clock was put back."""
        newest = [datetime.strptime(i, STAMP).replace(tzinfo=UTC) for i in self.ids()[-1:]]
        return max([now, *(moment + timedelta(microseconds=1) for moment in newest)]).strftime(STAMP)

    def write(self, snapshot: Snapshot) -> None:
        """Make a snapshot stand, after all that it names."""
        files = {
            area: {path: [k.size, k.digest, k.stamp] for path, k in each.items()}
            for area, each in snapshot.files.items()
        }
        said = {name: value for name, value in asdict(snapshot).items() if name != "files"} | {"files": files}
        data = gzip.compress(json.dumps(said, default=str).encode(), mtime=0)
        self._tree.write(f"{SNAPSHOTS}/{snapshot.id}.json.gz", [data])

    def drop(self, identifiers: Iterable[str]) -> int:
        """Delete snapshots, and the objects that no other one names. Returns bytes that were freed.

        Raises:
            BackupError: a snapshot that stays cannot be read, so that nobody knows what it names.
        """
        gone = set(identifiers)
        stay = [self.snapshot(identifier) for identifier in self.ids() if identifier not in gone]
        self._tree.delete([f"{SNAPSHOTS}/{identifier}.json.gz" for identifier in sorted(gone)])
        named = {kept.digest for each in stay for _, kept in each.every_file()}
        doomed = {digest: size for digest, size in self.sizes.items() if digest not in named}
        self._tree.delete([_place(digest) for digest in doomed])
        self._sizes = None
        return sum(doomed.values())

    def verify(self) -> Iterator[str]:
        """What of the backups is damaged or gone, in words. A damaged object is set aside: the next backup keeps the
        file again, where it still stands.
        """
        named: dict[str, tuple[Kept, str]] = {}
        for identifier in self.ids():
            try:
                found = self.snapshot(identifier)
            except BackupError as fault:
                yield str(fault)
                continue
            named |= {kept.digest: (kept, f"{path} of {identifier}") for path, kept in found.every_file()}
        for digest, (kept, where) in sorted(named.items()):
            if digest not in self.sizes:
                yield f"{where}: {_place(digest)} is gone"
            elif digested(self._tree.read(_place(digest))) != (kept.size, digest):
                self._tree.write(f"{DAMAGED}/{digest}", self._tree.read(_place(digest)))
                self._tree.delete([_place(digest)])
                yield f"{where}: {_place(digest)} is damaged, and was moved to {DAMAGED}/"
        self._sizes = None


def _leads_out(path: str, kept: Kept) -> bool:
    """Whether what a snapshot names would be written, or read, anywhere but below the folders of backup and restore:
    who can write to the place of the backups could otherwise write wherever a restore can."""
    parts = path.split("/")
    return not {"", ".", ".."}.isdisjoint(parts) or "\0" in path or _DIGEST.fullmatch(kept.digest) is None


def _place(digest: str) -> str:
    return f"{OBJECTS}/{digest[:2]}/{digest}"


def _checked(kept: Kept, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces; a fault after the last one, if they are not what is expected."""
    size, digest = 0, hashlib.sha256()
    for piece in pieces:
        size += len(piece)
        digest.update(piece)
        yield piece
    if (size, digest.hexdigest()) != (kept.size, kept.digest):
        raise Changed(f"a file has {size:,} bytes instead of {kept.size:,}, or other ones")
