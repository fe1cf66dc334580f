"""The mark of a restore that has not ended: until it is taken away, lake and state folder are not whole, or hold who
was erased since the backup. It stands in both roots, so that one tells while the other is put in its place.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from customer360.platform.backup.repository import BackupError
from customer360.platform.backup.trees import FolderTree, StoreTree

MARK = "_restoring.json"  # in the root of lake and state folder
CLOCK_NS = 50_000_000  # what a file system may note a change too early
AGAIN_NS = 1_000_000_000  # after which it is looked for again, whatever the folder says
UNDER_WAY = "a restore has not ended; whoever was erased since the backup may be in it"

Target = FolderTree | StoreTree
# Which folder it was and when it changed, when that was seen, and whether the mark stood.
_LOOKED: dict[str, tuple[tuple[int, int], int, bool]] = {}


@dataclass(frozen=True)
class Mark:
    """Which snapshot is restored, the command that goes on with it, and whether all files of this root are there."""

    snapshot: str
    command: str
    is_placed: bool = False

    def written(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @property
    def fault(self) -> str:
        """What is wrong where it stands."""
        return f"the restore of backup {self.snapshot} was cut short; whoever was erased since may be in it"


def mark_of(target: Target) -> Mark | None:
    """The mark in a root; None where no restore is under way.

    Raises:
        BackupError: it cannot be read.
    """
    try:
        data = b"".join(target.read(MARK))
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        said = json.loads(data)
        return Mark(str(said["snapshot"]), str(said["command"]), bool(said["is_placed"]))
    except (ValueError, KeyError, TypeError):
        raise BackupError(
            f"{target.root}/{MARK} cannot be read: a restore was cut short here; delete {target.root}, restore again"
        ) from None


def stands(root: Path) -> bool:
    """Whether a restore of a folder has not ended, its mark readable or not: cheap enough for every request. A file
    that is not there is dear to look for, so that it is looked for when the folder has changed, or may have changed
    again at the moment that it has noted.
    """
    name = os.fspath(root)
    try:
        folder = os.stat(name)  # noqa: PTH116 - each request asks, and a Path is dear
    except OSError:
        return False
    changed, now, kept = (folder.st_ino, folder.st_mtime_ns), time.time_ns(), _LOOKED.get(name)
    if kept is not None and kept[0] == changed and changed[1] + CLOCK_NS < kept[1] and now < kept[1] + AGAIN_NS:
        return kept[2]
    found = os.path.lexists(f"{name}/{MARK}")
    _LOOKED[name] = changed, now, found
    return found


def refuse(targets: Iterable[Target]) -> None:
    """Raises BackupError where a restore has not ended; it says how to go on."""
    for target in targets:
        if (mark := mark_of(target)) is not None:
            raise BackupError(f"{target.root}: {mark.fault}; go on with `{mark.command}`")


def begun(targets: Iterable[Target]) -> Mark | None:
    """The mark of the restore that was cut short in some roots."""
    return next((mark for target in targets if (mark := mark_of(target)) is not None), None)


def begin(lake: Target, state: Target, mark: Mark) -> None:
    """Mark both roots, where neither holds files but those of the same restore.

    Raises:
        BackupError: one holds others; nothing was written then.
    """
    stood = {target.root: mark_of(target) for target in (lake, state)}
    for target in (lake, state):
        before = stood[target.root]
        if before is not None and before.snapshot != mark.snapshot:
            raise BackupError(
                f"{target.root}: {before.fault}; go on with `{before.command}`, or delete it and {state.root}"
            )
        if before is None and not is_free(target) and not (target is state and is_placed(lake)):
            raise BackupError(f"{target.root} holds files; restore elsewhere (--into), or move it away first")
    for target in (lake, state):
        if stood[target.root] is None and is_free(target):
            target.write(MARK, [mark.written()])


def is_free(target: Target) -> bool:
    """Whether there is no file but locks, a mark, and what a restore keeps aside."""
    return target.is_empty(MARK)


def is_placed(target: Target) -> bool:
    """Whether a restore under way has put all files of a root in their place."""
    mark = mark_of(target)
    return mark is not None and mark.is_placed


def placed(mark: Mark) -> bytes:
    """The mark, once all files are in their place."""
    return replace(mark, is_placed=True).written()


def end(lake: Target, state: Target) -> None:
    """Take the marks away, that of the lake last: it tells that the state folder is whole."""
    for target in (state, lake):
        target.delete([MARK])
