"""Backups of lake, state folder and configuration: of one moment although runs go on, incremental, checked, restored
anywhere.

``take`` adds a snapshot to a repository; ``restore`` makes lake and state folder of one again, elsewhere or in their
places. What runs commit is copied as of one moment without a lock (``lakes``); the state folder, file by file, just
before (``states``), so that it is never ahead of the lake.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from customer360.platform.backup import lakes, marks, states
from customer360.platform.backup.lakes import Files
from customer360.platform.backup.marks import Mark as Mark
from customer360.platform.backup.marks import Target
from customer360.platform.backup.repository import BackupError as BackupError
from customer360.platform.backup.repository import Changed, Kept, Snapshot
from customer360.platform.backup.repository import Repository as Repository
from customer360.platform.backup.trees import FolderTree, StoreTree, digested, make_folder
from customer360.platform.backup.trees import tree_at as tree_at
from customer360.platform.lake import Lake

LAKE, STATE, CONFIGS = "lake", "state", "configs"
ROUND = "a link to a folder above it"
TRIES = 5  # of a whole backup that something changed under


def take(lake: Lake, state: Path, configs: Mapping[str, Path], repository: Repository) -> Snapshot:
    """Add a snapshot of a lake, a state folder and files of configuration by the path that they are restored to.

    Raises:
        Changed: the lake changed all the time.
        LakeLocked: another backup to this repository is under way.
    """
    with repository.lock("backup"):
        before = repository.snapshots()
        known: dict[str, Files] = {LAKE: {}, STATE: {}}
        for area, found in known.items():
            found |= before[-1].files.get(area, {}) if before else {}
        trees = tree_at(lake.root, lake.storage_options), FolderTree(state)
        for attempt in range(TRIES):
            try:
                return _taken(lake, trees, configs, repository, known, is_last=attempt == TRIES - 1)
            except Changed:
                if attempt == TRIES - 1:
                    raise
    raise AssertionError("unreachable")


def _taken(
    lake: Lake,
    trees: tuple[FolderTree | StoreTree, FolderTree],
    configs: Mapping[str, Path],
    repository: Repository,
    known: dict[str, Files],
    *,
    is_last: bool,
) -> Snapshot:
    of_lake, of_state = trees
    heads = states.heads(of_state)
    state, left_out = states.state_of(of_state, repository, known[STATE])
    left_out |= dict.fromkeys(of_state.rounds(), ROUND)
    if isinstance(of_lake, FolderTree):
        left_out |= {f"{LAKE}: {path}": ROUND for path in of_lake.rounds()}
    moment = lakes.moment_of(of_lake, repository, known[LAKE])
    if states.heads(of_state) != heads and not is_last:
        raise Changed(f"{of_state.root} changed while it was copied")
    at = datetime.now(UTC)
    tables = lakes.versions(moment)
    data = lakes.data_of(lake, of_lake, tables, repository, known[LAKE])
    files = {
        LAKE: moment | data,
        STATE: state,
        CONFIGS: {path: _config(repository, file) for path, file in configs.items()},
    }
    os.sync()  # what a snapshot names is on the disk before the snapshot is
    roots = {LAKE: of_lake.root, STATE: of_state.root}
    snapshot = Snapshot(repository.next_id(at), at, files, tables, roots, left_out)
    repository.write(snapshot)
    return snapshot


def _config(repository: Repository, file: Path) -> Kept:
    tree = FolderTree(file.parent)
    return repository.keep(file.stat().st_size, partial(tree.read, file.name))


def chosen(repository: Repository, at: str | None) -> Snapshot:
    """The newest snapshot, the one of an id, or the newest of a moment (ISO; UTC, unless it says otherwise) or before.

    Raises:
        BackupError: there is none; says which there are.
    """
    identifiers = repository.ids()
    if not identifiers:
        raise BackupError(f"{repository.root} holds no backup")
    if at in identifiers:
        return repository.snapshot(at)
    if at is None:
        return _newest(repository, identifiers)
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        raise BackupError(
            f"--at {at}: neither a moment (2026-03-01T12:00) nor one of {', '.join(identifiers)}"
        ) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    earlier = [each for each in repository.snapshots() if each.at <= moment]
    if not earlier:
        raise BackupError(f"no backup is as old as {moment:%Y-%m-%d %H:%M} UTC; there are {', '.join(identifiers)}")
    return earlier[-1]


def _newest(repository: Repository, identifiers: list[str]) -> Snapshot:
    try:
        return repository.snapshot(identifiers[-1])
    except BackupError as fault:  # not an older one without a word
        older = repository.snapshots()
        also = f"; --at {older[-1].id} restores the one before" if older else ", and no other can"
        raise BackupError(f"{fault}{also}") from None


def chosen_anew(repository: Repository, at: str | None, lake: Target, state: Target) -> Snapshot:
    """As `chosen`; where a restore was cut short and ``at`` says nothing else, its snapshot."""
    mark = marks.begun((lake, state)) if at is None else None
    return chosen(repository, at if mark is None else mark.snapshot)


def restore(
    repository: Repository,
    snapshot: Snapshot,
    area: str,
    root: str,
    options: Mapping[str, str],
    mark: Mark | None = None,
) -> int:
    """Make the files of an area again, below a root that holds none, or that `marks.begin` marked. Returns bytes. Every
    file is checked as it is written. A folder is put in its place whole, at the end; a restore that was cut short is
    taken up by the same again, and what is in its place already stays as it is.

    Raises:
        BackupError: there are files already, or one of the backup is damaged.
    """
    target = tree_at(root, options)
    files = snapshot.files.get(area, {})
    size = sum(kept.size for kept in files.values())
    if marks.is_placed(target):
        return size
    if not target.is_empty(marks.MARK) and (mark is None or isinstance(target, FolderTree)):
        raise BackupError(f"{target.root} holds files; restore elsewhere (--into), or move it away first")
    place = target.beside(f"restoring-{snapshot.id}") if isinstance(target, FolderTree) else target
    there = place.listing()
    # Logs and manifests say what is there: they come last, so that nothing is read half.
    for path in sorted(files, key=lambda each: (lakes.LOG in each or each.startswith("_"), each)):
        kept = files[path]
        if path not in there or digested(place.read(path)) != (kept.size, kept.digest):
            place.write(path, repository.read(kept))
    if mark is not None:
        place.write(marks.MARK, [marks.placed(mark)])
    if isinstance(target, FolderTree) and isinstance(place, FolderTree):
        make_folder(Path(place.root))
        os.sync()
        target.replace_by(place)
    return size
