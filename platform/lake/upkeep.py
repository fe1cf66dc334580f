"""Delete the files of stored tables that no promised version needs: no row of a current version changes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from customer360.platform.errors import LakeError
from customer360.platform.lake import Lake
from customer360.platform.lake.opened import outdate

# Versions stay readable for this long, whatever is asked for: readers that opened one (a publication, a training run,
# a notebook) finish, and a mistake can be looked into. It is Delta's own limit, too.
PROMISED = timedelta(days=7)
# As far back as Delta keeps the log by itself: without its log a version cannot be opened, whatever files there are.
KEPT = timedelta(days=30)


@dataclass(frozen=True)
class Freed:
    """Files that went, or would go, and their bytes."""

    table: str
    files: int
    size: int


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
    deleted = lake.writable(name).vacuum(
        int(retention / timedelta(hours=1)),
        dry_run=dry_run,
        enforce_retention_duration=False,  # ours is the stricter one
        full=True,
        keep_versions=_versions_since(lake, name, datetime.now(UTC) - retention),
    )
    if not dry_run:
        outdate(lake.uri(name))
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
