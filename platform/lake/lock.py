"""One run a lake: a file lock, which dies with its process, or a marker object, which somebody may have to delete."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import obstore

from customer360.platform.errors import LakeLocked
from customer360.platform.lake.objects import make_root

LOCK, WATCH = "_lock", "_watch"
LISTED = Path("/proc/locks")  # of this machine, as far as this container sees them


def note_of(owner: str) -> bytes:
    """What a lock says of its holder, as JSON: owner, host, process and time."""
    held = {"owner": owner, "host": socket.gethostname(), "pid": os.getpid(), "at": datetime.now(UTC).isoformat()}
    return json.dumps(held).encode()


def holder_of(root: str, note: bytes | None) -> dict[str, Any] | None:
    """Who holds the run lock now, as `note_of` wrote it; None where nobody does. ``note`` is what the lock object says.

    The lock file of a folder stays when it is let go. Whether it is held is read from the system, not tried, so that a
    run which starts at this moment gets it; one on another machine or in another container is not seen (`can_see`).
    """
    try:
        found = json.loads(note or b"")
    except ValueError:
        return None
    is_held = "://" in root or _is_held(Path(root) / LOCK)
    return dict(found) if is_held and isinstance(found, dict) else None


def can_see(root: str, host: str) -> bool:
    """Whether it can be told from here that nobody holds the run lock, where the last to begin was a process of a
    host: not for a folder that another host or container writes to, nor where the system lists no locks."""
    return "://" in root or (host == socket.gethostname() and LISTED.exists())


def _is_held(file: Path) -> bool:
    try:
        inode = f":{file.stat().st_ino}"
        locks = LISTED.read_text(encoding="ascii").splitlines()
    except OSError:
        return False
    return any("FLOCK" in line and "->" not in line and line.split()[5].endswith(inode) for line in locks)


@contextmanager
def file_lock(root: Path, note: bytes, name: str = LOCK) -> Iterator[None]:
    """Hold the lock file below a local root. Raises LakeLocked with the holder's note."""
    make_root(root)
    with open(root / name, "a+b") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            raise LakeLocked(f"{root} is locked by another run: {handle.read().decode()}") from None
        handle.truncate(0)
        handle.write(note)
        handle.flush()
        yield


@contextmanager
def marker_lock(store: obstore.store.ObjectStore, root: str, note: bytes, name: str = LOCK) -> Iterator[None]:
    """Hold the marker object of a lake in an object store. Raises LakeLocked with the holder's note."""
    try:
        obstore.put(store, name, note, mode="create")
    except obstore.exceptions.AlreadyExistsError:
        holder = bytes(obstore.get(store, name).bytes()).decode()
        raise LakeLocked(f"{root} is locked by {holder}; if that run is gone, delete the object `{name}`") from None
    try:
        yield
    finally:
        obstore.delete(store, [name])
