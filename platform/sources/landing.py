"""The landing root: where systems drop their files, in a local folder or an object store; listed and read the same
way.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any, cast

import obstore
import polars as pl

from customer360.platform import telemetry
from customer360.platform.delivery import natural
from customer360.platform.errors import ConfigError, TransientError
from customer360.platform.lake import remote_store
from customer360.platform.lake.objects import listing, moment_text
from customer360.platform.ledger import Input
from customer360.platform.settings import Settings

STREAM_BUFFER = 1 << 22
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Entry = tuple[str, int, int, str | None]  # of a listing
LISTING = {"name": pl.String, "size": pl.Int64, "modified": pl.Int64, "etag": pl.String}
_MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Landing:
    """The root below which sources drop their files: a local folder or an object-store URL.

    ``moved`` are files that are read from another place than their path: path and place, each below the root.
    """

    root: str
    options: tuple[tuple[str, str], ...] = ()
    moved: tuple[tuple[str, str], ...] = ()

    @property
    def is_remote(self) -> bool:
        return "://" in self.root

    def _store(self) -> obstore.store.ObjectStore:
        return remote_store(self.root, dict(self.options))

    def _folder(self) -> Path:
        if not Path(self.root).is_dir():
            raise ConfigError(
                f"the landing folder {self.root} does not exist; set `landing` or run `customer360 sample`"
            )
        return Path(self.root).absolute()

    def _place(self, path: str) -> str:
        return dict(self.moved).get(path, path)

    def find(self, pattern: str) -> list[Input]:
        """Files that match a glob, in the natural order of their names (day9 before day10).

        ``*`` and ``?`` also cross folders, ``[..]`` is one of some characters, ``**/`` is any number of folders, none
        included. An entry that cannot be listed costs itself: it is passed over, and said where the glob is after it.
        The detail of a file is its size in bytes and its time of change, and the store's etag where it has one.
        """
        return sorted((entry_input(*file) for file in self.listed(pattern)), key=lambda file: natural(file.name))

    def listed(self, pattern: str) -> Iterator[Entry]:
        """As `find`, in the order of the listing: name, size, time of change in microseconds since 1970, etag."""
        matches = matcher(pattern)
        start = literal_prefix(pattern)
        return self._remote(start, matches) if self.is_remote else self._local(pattern, start, matches)

    def _remote(self, start: str, matches: Callable[[str], bool]) -> Iterator[Entry]:
        with _answers():
            found, passed_over = listing(self.root, dict(self.options), start)
        for key in passed_over:
            telemetry.log.warning(f"passed over the key {key!r} in {self.root}: no file can have that path; rename it")
        for file in found:
            if not matches(file.path):
                continue
            if not file.size and self.state_of(file.path) is None:  # listed without the `/` that ends its key
                telemetry.log.warning(f"passed over {file.path} in {self.root}: the marker of a folder, no file")
                continue
            yield file.path, file.size, microseconds(file.modified), file.etag

    def _local(self, pattern: str, start: str, matches: Callable[[str], bool]) -> Iterator[Entry]:
        root = self._folder()
        if not _MAGIC.search(pattern):
            names: Iterator[tuple[str, os.DirEntry[str] | Path]] = iter([(pattern, root / pattern)])
            if not (root / pattern).is_file():
                return
        else:
            names = _walk(root, start)
        for name, entry in names:
            if not matches(name):
                continue
            if not _is_text(name):
                telemetry.log.warning(f"passed over {_shown(name)} in {self.root}: its name is no UTF-8; rename it")
                continue
            try:
                state = entry.stat()
            except OSError as fault:  # gone since it was listed, or a link that leads nowhere
                telemetry.log.warning(f"passed over {name} in {self.root}: {fault.strerror}")
                continue
            if not stat.S_ISREG(state.st_mode):  # who opens a pipe waits for whoever writes to it
                telemetry.log.warning(f"passed over {name} in {self.root}: a pipe, a socket or a device, no file")
                continue
            yield name, state.st_size, state.st_mtime_ns // 1000, None

    def stream(self, path: str) -> IO[bytes]:
        """The content of a file as a stream, by its path below the root. Raises OSError; TransientError as
        `bytes_of`.
        """
        if not self.is_remote:
            return open(self._folder() / self._place(path), "rb", buffering=STREAM_BUFFER)
        with _answers():
            return cast("IO[bytes]", obstore.open_reader(self._store(), self._place(path), buffer_size=STREAM_BUFFER))

    def bytes_of(self, path: str) -> bytes:
        """The content of a file, by its path below the root. Raises OSError; TransientError where a store does not
        answer.
        """
        if self.is_remote:
            with _answers():
                return bytes(obstore.get(self._store(), self._place(path)).bytes())
        return (self._folder() / self._place(path)).read_bytes()

    def state_of(self, path: str) -> Input | None:
        """A file as it stands now, with size and time of change; None where it is gone."""
        try:
            if self.is_remote:
                with _answers():
                    meta = obstore.head(self._store(), self._place(path))
                return entry_input(path, meta["size"], microseconds(meta["last_modified"].isoformat()), meta["e_tag"])
            state = (self._folder() / self._place(path)).stat()
        except FileNotFoundError:
            return None
        return entry_input(path, state.st_size, state.st_mtime_ns // 1000, None)

    def digest_of(self, path: str) -> str:
        """SHA-256 of a file's content, by which it is known whatever its time of change says; read in pieces."""
        if not self.is_remote:
            with (self._folder() / self._place(path)).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        found = hashlib.sha256()
        with _answers():
            for piece in obstore.get(self._store(), self._place(path)).stream():
                found.update(bytes(piece))
        return found.hexdigest()

    def beginning_of(self, path: str, size: int) -> bytes:
        """The first ``size`` bytes of a file, or all that it has."""
        if not self.is_remote:
            with (self._folder() / self._place(path)).open("rb") as file:
                return file.read(size)
        with _answers():
            pieces = obstore.get(self._store(), self._place(path)).stream(min_chunk_size=size)
            return bytes(next(iter(pieces), b""))[:size]


@contextmanager
def _answers() -> Iterator[None]:
    """Faults of an object store as our own: what is absent or forbidden stays so, all else is worth trying again."""
    try:
        yield
    except obstore.exceptions.NotFoundError as fault:
        raise FileNotFoundError(str(fault)) from None
    except (obstore.exceptions.PermissionDeniedError, obstore.exceptions.UnauthenticatedError) as fault:
        raise PermissionError(str(fault).splitlines()[0]) from None
    except obstore.exceptions.BaseError as fault:
        raise TransientError(str(fault).splitlines()[0]) from None


def entry_input(name: str, size: int, modified: int, etag: str | None) -> Input:
    """A file of a listing as an input: times of change stand in a detail as text."""
    detail: dict[str, Any] = {"size": size, "modified": moment_text(modified * 1000)}
    return Input(name, detail | {"etag": etag} if etag else detail)


def microseconds(moment: str) -> int:
    """A time of change, as text with its offset, in microseconds since 1970."""
    return (datetime.fromisoformat(moment) - EPOCH) // timedelta(microseconds=1)


def literal_prefix(pattern: str) -> str:
    """The folder of a glob before its first special character: where listing begins."""
    return _MAGIC.split(pattern, maxsplit=1)[0].rpartition("/")[0]


def matcher(pattern: str) -> Callable[[str], bool]:
    """Whether a path matches a glob; see `Landing.find`. A path that is spelt like the glob itself matches, too."""
    parts = [fnmatch.translate(part).removeprefix("(?s:").removesuffix(r")\Z") for part in pattern.split("**/")]
    expression = re.compile("(?s:" + "(?:.*/)?".join(parts) + r")\Z")
    return lambda path: path == pattern or expression.match(path) is not None


def _walk(root: Path, start: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Paths and entries of all files below a folder, links followed; a link back into its own folder is passed over."""
    pending: list[tuple[str, tuple[tuple[int, int], ...]]] = [(start, ())]
    while pending:
        folder, above = pending.pop()
        try:
            state = (root / folder).stat()
            entries = list(os.scandir(root / folder))
        except FileNotFoundError:
            continue
        except OSError as fault:
            telemetry.log.warning(f"passed over the folder {_shown(folder)} in {root}: {fault.strerror}")
            continue
        own = (*above, (state.st_dev, state.st_ino))
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if not _is_folder(entry):
                yield name, entry
            elif entry.is_symlink() and _identity(root / name) in own:
                telemetry.log.warning(
                    f"passed over the link {_shown(name)} in {root}: it leads back into its own folder"
                )
            else:
                pending.append((name, own))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False


def _identity(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_dev, state.st_ino


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def landing_of(settings: Settings) -> Landing:
    """The configured landing root."""
    return Landing(settings.landing, tuple(settings.landing_options.items()))
