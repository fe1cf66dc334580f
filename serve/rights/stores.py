"""Where an installation keeps anything: every file of the lake, the state folder, the models and the landing zone."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from customer360.platform.backup.trees import files_below
from customer360.platform.lake import Lake
from customer360.platform.run import lake_of
from customer360.platform.settings import Settings
from customer360.platform.traces import Traces, sqlite
from customer360.platform.traces.search import Hit, Reader, in_content, in_file
from customer360.platform.warehouse import texts

LANDING = "landing"
NOTES = "_erasures/unfinished/"  # what an erasure that is under way notes for itself, and takes away at its end
READERS: Mapping[bytes, Reader] = {texts.MARK: texts.rows_as_texts, sqlite.MARK: sqlite.cells}
# The audit says of whom somebody read, by the id of a person: a number that names nobody after an erasure.
_NUMBERS_ONLY = ("audit/",)


@dataclass(frozen=True)
class Store:
    """A place that holds files: ``name`` for people, ``root`` a folder or the URL of an object store."""

    name: str
    root: str
    options: tuple[tuple[str, str], ...] = ()

    def paths(self) -> Iterator[str]:
        """Files below the root, sorted, by their path from there; also those that links lead to."""
        if "://" in self.root:
            yield from Lake(self.root, dict(self.options)).objects("")
        elif (folder := Path(self.root)).is_dir():
            yield from sorted(f.relative_to(folder).as_posix() for f in files_below(folder) if f.is_file())
        elif folder.is_file():
            yield ""

    def place(self, path: str) -> str:
        """How a file is named to people."""
        return path or Path(self.root).name

    def search(
        self, traces: Traces, path: str, known: set[bytes] | None = None, *, is_named: bool = True
    ) -> Hit | None:
        """What a file holds of some traces, its name included unless it is not ``is_named``; ``known`` as in
        ``traces.search.in_content``."""
        place = self.place(path) if is_named else ""
        if "://" not in self.root:
            found = in_file(traces, Path(self.root) / path, place, dict(READERS), known)
        else:
            found = in_content(traces, Lake(self.root, dict(self.options)).get(path) or b"", place, known)
        if found and path.startswith(_NUMBERS_ONLY) and self.name == "state":
            kinds = tuple(kind for kind in found.kinds if kind != "person")
            return Hit(found.place, kinds, found.unread) if kinds or found.unread else None
        return found

    def plain(self, path: str) -> bytes | None:
        """The bytes of a file here; None where it takes a reader of its own, or none can read it."""
        try:
            data = (Path(self.root) / path).read_bytes()
        except OSError:
            return None
        return None if any(mark in data[:16] for mark in READERS) else data

    def size(self, path: str) -> int | None:
        """Bytes of a file; None where that takes a request of its own, or there is no file."""
        file = Path(self.root) / path
        return file.stat().st_size if "://" not in self.root and file.is_file() else None

    def digest(self, path: str) -> str:
        """SHA-256 of a file's bytes; empty where they cannot be read."""
        if "://" in self.root:
            data = Lake(self.root, dict(self.options)).get(path)
            return hashlib.sha256(data).hexdigest() if data is not None else ""
        try:
            with open(Path(self.root) / path, "rb") as handle:
                return hashlib.file_digest(handle, "sha256").hexdigest()
        except OSError:
            return ""


def stores(settings: Settings, also: tuple[Path, ...] = ()) -> list[Store]:
    """Every store of an installation, and further folders or files that somebody names; none within another."""
    lake = lake_of(settings)
    found = [Store("lake", lake.root, tuple(lake.storage_options.items())), Store("state", _absolute(settings.state))]
    if settings.serve.shared:
        place = _absolute(settings.serve.shared)
        found += [Store("shared publications", place, tuple(settings.serve.shared_options.items()))]
    found += [Store("models", folder) for folder in _tracking(settings)]
    found += [Store(LANDING, _absolute(settings.landing), tuple(settings.landing_options.items()))]
    found += [Store("half of a restore", str(half)) for half in halves(settings)]
    found += [Store("also", _absolute(str(path))) for path in also]
    return [store for store in found if not any(_within(store, other) for other in found if other != store)]


def halves(settings: Settings) -> list[Path]:
    """What restores that were cut short left beside lake and state folder, or beside what a link there leads to."""
    homes = [Path(root).resolve() for root in (settings.lake.root, settings.state) if "://" not in root]
    return sorted(half for home in homes for half in home.parent.glob(f"{glob.escape(home.name)}.restoring-*"))


def _absolute(place: str) -> str:
    return place if "://" in place else str(Path(place).absolute())


def _within(store: Store, other: Store) -> bool:
    return store.root.startswith(other.root.rstrip("/") + "/")


def _tracking(settings: Settings) -> list[str]:
    """Where the models lie, as far as it is a folder or a file here: a server's store is the server's."""
    uri = settings.models.tracking_uri
    parts = urlsplit(uri)
    if parts.scheme == "sqlite":
        return [_absolute(uri.removeprefix("sqlite:///"))]
    return [unquote(parts.path)] if parts.scheme == "file" else [] if "://" in uri or not uri else [_absolute(uri)]


__all__ = ["LANDING", "NOTES", "Store", "halves", "stores"]
