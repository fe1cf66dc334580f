"""Upkeep of stored tables: fold small files into large ones, and delete files that no promised version needs.

Both change no row of the current version. Call them under the lake's run lock: a run reads files by their paths.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from customer360.platform.errors import LakeError
from customer360.platform.lake import File, Lake

# Versions stay readable for this long, whatever is asked for: readers that opened one (a publication, a training run,
# a notebook) finish, and a mistake can be looked into. It is Delta's own limit, too.
PROMISED = timedelta(days=7)
# As far back as Delta keeps the log by itself: without its log a version cannot be opened, whatever files there are.
KEPT = timedelta(days=30)
TARGET_BYTES = 100 * 1024 * 1024  # a data file of this size is not folded


@dataclass(frozen=True)
class Folded:
    """Files of a table before and after compaction."""

    table: str
    before: int
    after: int


@dataclass(frozen=True)
class Freed:
    """Files that went, or would go, and their bytes."""

    table: str
    files: int
    size: int


def compact(lake: Lake, name: str, *, dry_run: bool = False) -> Folded:
    """Fold the small files of each partition into larger ones.

    For tables that grow by small files, which are those of bronze: a build writes one file a bucket, and names it after
    what it was made of. Whoever reads the table by its files builds again with the next run.
    """
    files = lake.files(name)
    if dry_run:
        small = [f for f in files if f.size < TARGET_BYTES]
        left = {_place(f): 0 for f in small}
        for f in small:
            left[_place(f)] += f.size
        after = len(files) - len(small) + sum(-(-size // TARGET_BYTES) or 1 for size in left.values())
        return Folded(name, len(files), after)
    lake.delta(name).optimize.compact(target_size=TARGET_BYTES)
    return Folded(name, len(files), len(lake.files(name)))


def vacuum(lake: Lake, name: str, retention: timedelta = KEPT, *, dry_run: bool = False) -> Freed:
    """Delete the files of a table that no version of the last ``retention`` needs, and those that no version ever had.

    Earlier versions cannot be read any more. What was erased from the current version is gone from the disk afterwards,
    as far as its erasure is older than ``retention``.

    Raises:
        LakeError: ``retention`` is shorter than what is promised.
    """
    if retention < PROMISED:
        raise LakeError(
            f"{name}: versions of the last {PROMISED.days} days stay readable; "
            f"a retention of {retention / timedelta(days=1):g} days would break that"
        )
    sizes = lake.sizes(name)
    deleted = lake.delta(name).vacuum(
        int(retention / timedelta(hours=1)),
        dry_run=dry_run,
        enforce_retention_duration=False,  # ours is the stricter one
        full=True,
        keep_versions=_versions_since(lake, name, datetime.now(UTC) - retention),
    )
    return Freed(name, len(deleted), sum(sizes.get(path, 0) for path in deleted))


def _versions_since(lake: Lake, name: str, moment: datetime) -> list[int]:
    """Versions that were current at some time since ``moment``: Delta alone goes by when a file was removed, and
    forgets that after a week."""
    kept = []
    for commit in lake.history(name):  # newest first
        kept.append(int(commit["version"]))
        if commit["timestamp"] <= moment.timestamp() * 1000:
            break
    return kept


def _place(file: File) -> tuple[tuple[str, str | None], ...]:
    return tuple(sorted(file.partition.items()))
