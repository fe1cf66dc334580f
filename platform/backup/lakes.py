"""A lake at one moment, although runs go on: what is small and changes is copied between two looks at it, until both
show the same. Versions only grow, so in between everything stood as it was copied. What the lake was then is what a run
that was killed there would have left, and the next run goes on from that.

Data files are copied afterwards: what a version names is never written again, and stays for a week at least.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from functools import partial

from customer360.platform import telemetry
from customer360.platform.backup.repository import Changed, Kept, Repository
from customer360.platform.backup.trees import FolderTree, Seen, StoreTree
from customer360.platform.errors import VersionGone
from customer360.platform.lake import Lake

STAGING = "_staging"  # pieces of the run under way, which the next run deletes unread
LOG = "_delta_log"
LOOKS = 40  # after which a lake that changes all the time is given up
PAUSE = 0.25  # seconds between looks, more each time
_COMMIT = re.compile(rf"{LOG}/(\d{{20}})\.json$")

Files = dict[str, Kept]


def heads(tree: FolderTree | StoreTree) -> dict[str, Seen]:
    """What says which state a lake is in: logs of tables, manifests, ledger; all but data, locks and staging."""
    found: dict[str, Seen] = {}
    for folder in tree.folders():
        if folder.startswith("_"):
            found |= {} if folder == STAGING else tree.listing(folder)
        else:
            for table in tree.folders(folder):
                found |= tree.listing(f"{table}/{LOG}")
    return found


def moment_of(tree: FolderTree | StoreTree, repository: Repository, known: Files) -> Files:
    """The heads of a lake as they all stood at one moment, kept.

    Raises:
        Changed: it changed at every look.
    """
    before = heads(tree)
    for attempt in range(LOOKS):
        copied = {path: kept_of(tree, path, seen, repository, known) for path, seen in before.items()}
        after = heads(tree)
        if after == before:
            return {path: kept for path, kept in copied.items() if kept is not None}
        known |= {path: kept for path, kept in copied.items() if kept is not None}
        before = after
        time.sleep(PAUSE * min(attempt, 8))
    raise Changed(f"{tree.root} changed at each of {LOOKS} looks; try again when the run under way has ended")


def kept_of(tree: FolderTree | StoreTree, path: str, seen: Seen, repository: Repository, known: Files) -> Kept | None:
    """A file as it was seen, copied unless it is known to be here; None where it is gone or another one by now."""
    before = known.get(path)
    if before is not None and (before.size, before.stamp) == (seen.size, seen.stamp) and repository.holds(before):
        return before
    try:
        kept = repository.keep(seen.size, partial(tree.read, path))
    except (FileNotFoundError, Changed):
        return None
    return Kept(kept.size, kept.digest, seen.stamp) if kept.size == seen.size else None


def versions(files: Files) -> dict[str, int]:
    """Delta version by table (``layer.name``) of the logs of a moment."""
    found: dict[str, int] = {}
    for path in files:
        if match := _COMMIT.search(path):
            table = path[: match.start()].rstrip("/").replace("/", ".", 1)
            found[table] = max(int(match[1]), found.get(table, 0))
    return found


def data_of(
    lake: Lake, tree: FolderTree | StoreTree, at: dict[str, int], repository: Repository, known: Files
) -> Files:
    """The data files of the tables as of their versions; also those of earlier versions, as far as they are stored.

    Raises:
        Changed: a file that a version needs is gone.
    """
    found: Files = {}
    for table, version in telemetry.beating(sorted(at.items()), "copying tables"):
        folder = table.replace(".", "/", 1)
        try:
            needed = {f"{folder}/{file.path}" for file in lake.files(table, version)}
        except VersionGone as fault:
            raise Changed(str(fault)) from None
        stored = {path: seen for path, seen in tree.listing(folder).items() if f"/{LOG}/" not in path}
        copied = dict(_copies(tree, stored, repository, known))
        if missing := sorted(needed - copied.keys()):
            raise Changed(
                f"{len(missing)} data files of {table} version {version} are gone, {missing[0]} among them; "
                f"`customer360 doctor` looks for damage"
            )
        found |= copied
    return found


def _copies(
    tree: FolderTree | StoreTree, stored: dict[str, Seen], repository: Repository, known: Files
) -> Iterator[tuple[str, Kept]]:
    for path, seen in stored.items():
        if (kept := kept_of(tree, path, seen, repository, known)) is not None:
            yield path, kept
