"""Files below a root, in a folder or an object store, as a backup reads and writes them: by exact name, whole or not
at all.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import obstore

from customer360.platform.lake.objects import remote_store

PIECE = 1 << 20  # bytes that are read at once
_UNFINISHED = re.compile(r"#\d+$|(^|/)\.part-[0-9a-f]{32}$")  # as object stores in folders, and this module, name them


@dataclass(frozen=True)
class Seen:
    """What a listing says of a file: bytes, and a text that is another one when the file is."""

    size: int
    stamp: str


class Tree(Protocol):
    """Paths are relative to the root, with ``/``."""

    root: str

    def listing(self, prefix: str = "") -> dict[str, Seen]:
        """The files in and below a folder; empty where there is none."""
        ...

    def folders(self, prefix: str = "") -> list[str]:
        """Paths of the folders right below a folder."""
        ...

    def read(self, path: str) -> Iterator[bytes]:
        """The bytes of a file, piece by piece. Raises FileNotFoundError."""
        ...

    def write(self, path: str, pieces: Iterable[bytes]) -> None:
        """A file that is there whole, or not at all."""
        ...

    def delete(self, paths: Iterable[str]) -> None: ...


class FolderTree:
    """A local folder. What is written is readable by its owner alone."""

    def __init__(self, root: Path) -> None:
        self._home = root.resolve()  # what a link leads to is what is replaced, and it keeps its place
        self.root = str(root.absolute())

    def listing(self, prefix: str = "") -> dict[str, Seen]:
        found = {}
        for file in files_below(self._home / prefix):
            path = file.relative_to(self._home).as_posix()
            seen = None if _UNFINISHED.search(path) else self.seen(path)
            if seen is not None:
                found[path] = seen
        return dict(sorted(found.items()))

    def seen(self, path: str) -> Seen | None:
        """What is seen of one file, or of the one that a link leads to; None where there is no regular file."""
        try:
            stat = (self._home / path).stat()
        except OSError as fault:
            if fault.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return None
            raise
        # The time of change of the inode, which nobody can set, beside that of the content.
        stamp = f"{stat.st_ino} {stat.st_mtime_ns} {stat.st_ctime_ns}"
        return Seen(stat.st_size, stamp) if (self._home / path).is_file() else None

    def rounds(self) -> list[str]:
        """Links to a folder above them, which are not followed."""
        found: list[Path] = []
        for _ in files_below(self._home, found):
            pass
        return sorted(each.relative_to(self._home).as_posix() for each in found)

    def folders(self, prefix: str = "") -> list[str]:
        home = self._home / prefix
        above = {_inode(each) for each in (home.resolve(), *home.resolve().parents)} if home.is_dir() else set()
        found = [each for each in home.iterdir() if each.is_dir() and _inode(each) not in above] if above else []
        return sorted(each.relative_to(self._home).as_posix() for each in found)

    def read(self, path: str) -> Iterator[bytes]:
        with open(self._home / path, "rb") as handle:
            while piece := handle.read(PIECE):
                yield piece

    def write(self, path: str, pieces: Iterable[bytes]) -> None:
        target = self._home / path
        make_folder(target.parent)
        partial = target.parent / f".part-{uuid4().hex}"
        try:
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as handle:
                handle.writelines(pieces)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

    def delete(self, paths: Iterable[str]) -> None:
        for path in paths:
            (self._home / path).unlink(missing_ok=True)

    def is_empty(self, *but: str) -> bool:
        """Whether there is no file but locks and those that are named, or no folder."""
        return all(path.endswith("lock") or path in but for path in self.listing())

    def beside(self, name: str) -> FolderTree:
        """A folder of the same file system, which no reader of this one looks at."""
        return FolderTree(self._home.with_name(f"{self._home.name}.{name}"))

    def replace_by(self, other: FolderTree) -> None:
        """Be what another folder of the same file system is; this one holds no file."""
        shutil.rmtree(self._home, ignore_errors=True)
        self._home.parent.mkdir(parents=True, exist_ok=True)
        other._home.rename(self._home)


class StoreTree:
    """A prefix of an object store."""

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        self.root, self._store = url, remote_store(url, options)

    def listing(self, prefix: str = "") -> dict[str, Seen]:
        metas = (meta for page in obstore.list(self._store, prefix or None) for meta in page)
        found = {m["path"]: Seen(m["size"], f"{m['e_tag']} {m['last_modified'].isoformat()}") for m in metas}
        return dict(sorted(found.items()))

    def folders(self, prefix: str = "") -> list[str]:
        return sorted(obstore.list_with_delimiter(self._store, prefix or None)["common_prefixes"])

    def read(self, path: str) -> Iterator[bytes]:
        try:
            for piece in obstore.get(self._store, path).stream(min_chunk_size=PIECE):
                yield bytes(piece)
        except obstore.exceptions.NotFoundError:
            raise FileNotFoundError(f"{self.root}/{path}") from None

    def write(self, path: str, pieces: Iterable[bytes]) -> None:
        obstore.put(self._store, path, iter(pieces))

    def delete(self, paths: Iterable[str]) -> None:
        for path in paths:
            obstore.delete(self._store, path)

    def is_empty(self, *but: str) -> bool:
        """Whether there is no object but those that are named."""
        return all(meta["path"] in but for page in obstore.list(self._store) for meta in page)


def files_below(root: Path, rounds: list[Path] | None = None) -> Iterator[Path]:
    """Files below a folder, also where a link leads to a folder or file; a link to a folder above it, or above the
    root, ends there, so that no loop is without end and nothing beside the root is read. Such links go to ``rounds``.
    """
    try:
        home = root.resolve(strict=True)
    except (OSError, RuntimeError):  # there is none, or a link that leads to itself
        return
    above = frozenset(map(_inode, {*home.parents, *root.absolute().parents}))
    yield from _files(root, above, [] if rounds is None else rounds)


def _files(folder: Path, above: frozenset[tuple[int, int]], rounds: list[Path]) -> Iterator[Path]:
    try:
        here = _inode(folder)
        entries = sorted(folder.iterdir()) if here not in above else None
    except (FileNotFoundError, NotADirectoryError):
        return
    if entries is None:
        rounds.append(folder)
        return
    for entry in entries:
        if entry.is_dir():
            yield from _files(entry, above | {here}, rounds)
        else:
            yield entry


def _inode(folder: Path) -> tuple[int, int]:
    stat = folder.stat()
    return stat.st_dev, stat.st_ino


def make_folder(folder: Path) -> None:
    """A folder, with those above it, that its owner alone can read where it was not there."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True, mode=0o700)


def tree_at(root: str, options: Mapping[str, str] | None = None) -> FolderTree | StoreTree:
    """The files below a folder, or below the URL of an object store."""
    return StoreTree(root.rstrip("/"), options or {}) if "://" in root else FolderTree(Path(root))


def digested(pieces: Iterable[bytes]) -> tuple[int, str]:
    """Bytes and SHA-256 of what is read."""
    size, digest = 0, hashlib.sha256()
    for piece in pieces:
        size += len(piece)
        digest.update(piece)
    return size, digest.hexdigest()
