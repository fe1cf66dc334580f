"""The files of a publication: its manifest, what it is checked by before it is used, and which one is in service.

    <state>/online/CURRENT                  id of the generation in service
    <state>/online/generations/ID/          data.mdb, and generation.json with size and SHA-256 of data.mdb

A generation is whole, or holds what changed since a whole one, its *base*, which stays as long as it is needed. It is
used only as it was written, with its base: of another size or content, cut, gone or by a newer version it is
*unsound*, with the reason in words that name no path.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

from customer360.platform.errors import LakeError

MANIFEST, CURRENT, DATA = "generation.json", "CURRENT", "data.mdb"
FORMAT = 1  # of the manifest of a whole generation
LAYERED = 2  # of one with a base; a higher one is of a newer version of this library
_ID = re.compile(r"\d{8}T\d{12}Z")
SETTLED_NS = 2_000_000_000  # age of a file's last change from which a further one cannot bear the same time
KNOWN = 32  # files of which the process remembers what they hold
_known: dict[str, tuple[tuple[int, ...], str]] = {}  # state of a file when it was read, and its SHA-256

Signature = tuple[int, ...]  # inode, bytes and time of change, file by file: equal means that nobody touched one


class NotPublished(LakeError):
    """There is no generation to read, or none with the wanted id."""


class Unsound(LakeError):
    """A generation, or the file that names the one in service, is not as it was written."""


@dataclass(frozen=True)
class Generation:
    """One publication: ``counts`` are documents by kind, ``sources`` Delta versions by table, ``files`` size and
    SHA-256 by name (empty in those of before sizes were noted), ``base`` the whole generation that it changes."""

    id: str
    published_at: datetime
    as_of: date
    counts: dict[str, int]
    sources: dict[str, int]
    files: dict[str, tuple[int, str]] = field(default_factory=dict)
    format: int = FORMAT
    base: str | None = None


def home_of(state: Path) -> Path:
    return Path(state).absolute() / "online"


def folder_of(home: Path, identifier: str) -> Path:
    return home / "generations" / identifier


def stored_ids(home: Path) -> list[str]:
    """Ids of the generations that were written to their end, sound or not, oldest first."""
    folders = home / "generations"
    return sorted(f.name for f in folders.iterdir() if _ID.fullmatch(f.name)) if folders.is_dir() else []


def pointer(home: Path) -> str | None:
    """The id that ``CURRENT`` names, or None where there is no such file.

    Raises:
        Unsound: it cannot be read, or holds no id.
    """
    try:
        found = (home / CURRENT).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as fault:
        raise Unsound(f"{CURRENT} cannot be read ({type(fault).__name__})") from fault
    identifier = found.decode("ascii", "replace").strip()
    if not _ID.fullmatch(identifier):
        raise Unsound(f"{CURRENT} names no publication")
    return identifier


def point(home: Path, identifier: str) -> None:
    """Put a generation into service."""
    fresh = home / f".{CURRENT}"
    write_durably(fresh, identifier)
    fresh.replace(home / CURRENT)
    sync_folder(home)


def write_manifest(folder: Path, generation: Generation) -> None:
    write_durably(folder / MANIFEST, json.dumps(asdict(generation), default=str))


def read_manifest(folder: Path) -> Generation:
    """Raises Unsound: there is none, or none that this version of the library understands."""
    try:
        stored: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if (form := int(stored.get("format", FORMAT))) > LAYERED:
            raise Unsound(f"{MANIFEST} was written by a newer version of this library")
        return Generation(
            id=str(stored["id"]),
            published_at=datetime.fromisoformat(stored["published_at"]),
            as_of=date.fromisoformat(stored["as_of"]),
            counts={str(k): int(n) for k, n in stored["counts"].items()},
            sources={str(k): int(n) for k, n in stored["sources"].items()},
            files={str(k): (int(size), str(digest)) for k, (size, digest) in stored.get("files", {}).items()},
            format=form,
            base=_base_of(stored),
        )
    except FileNotFoundError:
        raise Unsound(f"{MANIFEST} is gone") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as fault:
        raise Unsound(f"{MANIFEST} cannot be read ({type(fault).__name__})") from fault


def _base_of(stored: dict[str, Any]) -> str | None:
    base = stored.get("base")
    if base is not None and not _ID.fullmatch(base):
        raise ValueError("the base is no publication")
    return base


def fingerprint(file: Path) -> tuple[int, str]:
    """Size in bytes and SHA-256 of a file. A process reads it once while nobody touches it: a publication of many
    people takes a second to read, and a run asks several times."""
    with open(file, "rb") as handle:
        found = os.fstat(handle.fileno())
        state = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        known = _known.pop(str(file), None)
        if known is None or known[0] != state:
            known = state, hashlib.file_digest(handle, "sha256").hexdigest()
        if time.time_ns() - found.st_ctime_ns > SETTLED_NS:
            _known[str(file)] = known
            for oldest in list(_known)[:-KNOWN]:
                _known.pop(oldest, None)
        return found.st_size, known[1]


def check(folder: Path, *, content: bool = True) -> Generation:
    """The manifest of a sound generation: its files have the size and, with ``content``, the SHA-256 that were noted.

    Raises:
        Unsound: it is not as it was written; says what is wrong.
    """
    generation = read_manifest(folder)
    for name, (size, digest) in generation.files.items():
        try:
            found = (folder / name).stat().st_size
            if found != size:
                raise Unsound(f"{name} has {found:,} bytes instead of {size:,}")
            if content and fingerprint(folder / name)[1] != digest:
                raise Unsound(f"{name} is not what was written: its checksum differs")
        except FileNotFoundError:
            raise Unsound(f"{name} is gone") from None
        except OSError as fault:
            raise Unsound(f"{name} cannot be read ({type(fault).__name__})") from fault
    if generation.base is not None:
        _check_base(folder.parent / generation.base, content=content)
    return generation


def _check_base(folder: Path, *, content: bool) -> None:
    try:
        if read_manifest(folder).base is not None:
            raise Unsound("it is not whole itself")
        check(folder, content=content)
    except Unsound as fault:
        raise Unsound(f"publication {folder.name}, which it changes: {fault}") from fault


def signature(folder: Path, base: Path | None = None) -> Signature | None:
    """What tells that the data of a generation, or of its base, was touched; None where one is gone."""
    try:
        found = os.stat(f"{folder}{os.sep}{DATA}")  # noqa: PTH116 - each request asks, and a Path is dear
        own = found.st_ino, found.st_size, found.st_mtime_ns
        if base is None:
            return own
        found = os.stat(f"{base}{os.sep}{DATA}")  # noqa: PTH116
    except OSError:
        return None
    return *own, found.st_ino, found.st_size, found.st_mtime_ns


def write_durably(path: Path, text: str) -> None:
    with open(path, "w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
