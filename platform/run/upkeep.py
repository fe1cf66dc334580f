"""Upkeep as the last step of a run: fold what batches leave in small files, delete what no promised version needs.

Only files are folded that every build which goes by its new rows alone has read: to those the folded file is what they
know, and nothing is built again. A crash anywhere leaves the table as it was, or folded.
"""

from __future__ import annotations

import difflib
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from customer360.platform import ledger, tables, telemetry
from customer360.platform.errors import ConfigError, Customer360Error
from customer360.platform.lake import File, Lake, folds
from customer360.platform.lake.damage import UNREADABLE
from customer360.platform.lake.upkeep import vacuum
from customer360.platform.run.origins import origins
from customer360.platform.settings import LakeSettings

VACUUMED = "_upkeep.json"  # when a run last deleted files, and records of runs
DAY = timedelta(days=1)
KEPT_RUNS = 1_000  # records of runs that stay however old they are
GROWING = ("quality.dead_letters", "quality.erased_records")  # beside bronze, tables that batches are appended to


@dataclass(frozen=True)
class Folded:
    """Files of a table before and after compaction."""

    table: str
    before: int
    after: int


def tend(lake: Lake, settings: LakeSettings) -> list[Folded]:
    """Do what the policy says is due; returns the tables that were folded. Call it under the lake's run lock.

    A table with a damaged file is left as it is, and that is said: what the run has built stands and is served.
    """
    done = []
    for name in growing(lake):
        with _told(f"small files of {name} were not folded"):
            own = settings.of(name)
            if due := _due(lake, name, own, datetime.now(UTC)):
                done.append(compact(lake, name, own, groups=due))
                telemetry.event(f"folded {name:<34} {done[-1].before:,} files into {done[-1].after:,}")
    kept = {name: days for name in sorted(tables.TABLES) if (days := settings.of(name).keep_days) is not None}
    if kept:
        with _told("old files were not deleted"):
            _vacuum_daily(lake, kept)
    if settings.keep_run_days is not None:
        with _told("old records of runs were not deleted"):
            _forget_runs_daily(lake, timedelta(days=settings.keep_run_days))
    return done


def check(settings: LakeSettings) -> None:
    """Raise ConfigError where the policy names a table that is none."""
    for name in settings.tables:
        if name not in tables.TABLES:
            near = difflib.get_close_matches(name, tables.TABLES, n=3)
            hint = f"; did you mean {', '.join(near)}?" if near else ""
            raise ConfigError(f"lake.tables: there is no table {name!r}{hint}")


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except (Customer360Error, *UNREADABLE) as fault:
        telemetry.log.error(f"{what}: {str(fault).splitlines()[0]}; `customer360 doctor` names damaged files")


def growing(lake: Lake) -> list[str]:
    """Stored tables that grow by small files; a build writes one file a bucket."""
    return [name for name in can_grow() if lake.exists(name)]


def can_grow() -> list[str]:
    """Tables that are stored or not, and grow by small files."""
    return [name for name in sorted(tables.TABLES) if name.startswith("bronze.") or name in GROWING]


def compact(
    lake: Lake, name: str, settings: LakeSettings, *, groups: Iterable[Sequence[File]] | None = None,
    dry_run: bool = False,
) -> Folded:  # fmt: skip
    """Fold the small files of each partition of a table, or the given groups of them."""
    files = lake.files(name)
    chosen = list(groups) if groups is not None else _groups(lake, name, files, settings, fewest=2)
    if not dry_run:
        for group in chosen:
            folds.fold(lake, name, group)
        if chosen:
            _forget(lake, name)
    return Folded(name, len(files), len(files) - sum(len(group) - 1 for group in chosen))


def _due(lake: Lake, name: str, settings: LakeSettings, now: datetime) -> list[list[File]]:
    """Groups of files that are many, or that wait since long."""
    files = lake.files(name)
    if not settings.fold_files or len(files) < 2:
        return []
    most = max(Counter(_place(f) for f in files if f.size < settings.fold_bytes).values(), default=0)
    if most >= settings.fold_files:
        return _groups(lake, name, files, settings, fewest=settings.fold_files)
    if most < max(2, settings.fold_files // 4):
        return []
    written_at = folds.written_at(lake, name)
    old = now - timedelta(hours=settings.fold_hours)
    waits = [f for f in files if written_at.get(f.path, now) < old]
    return _groups(lake, name, waits, settings, fewest=max(2, settings.fold_files // 4))


def _groups(lake: Lake, name: str, files: Sequence[File], settings: LakeSettings, fewest: int) -> list[list[File]]:
    """Files to fold into one each: small ones of one partition that all who go by new rows know."""
    limit = settings.fold_bytes
    known = _known_to_all(lake, name)
    apart: dict[object, list[File]] = {}
    for file in files:
        parts = folds.written(lake, name, [file])
        if file.size < limit and all(set(parts) <= each for each in known):
            apart.setdefault(_place(file), []).append(file)
    found = []
    for small in apart.values():
        for group in _filled(_without_large(small), limit):
            if len(group) >= fewest:
                found.append(group)
    return found


def _without_large(files: list[File]) -> list[File]:
    """Files without those that are larger than all smaller ones together: few bytes are not worth writing many."""
    kept = sorted(files, key=lambda f: f.size)
    total = sum(f.size for f in kept)
    while len(kept) > 2 and 2 * kept[-1].size > total:
        total -= kept.pop().size
    return sorted(kept, key=lambda f: f.path)


def _filled(files: list[File], limit: int) -> list[list[File]]:
    found: list[list[File]] = []
    size = limit
    for file in files:
        if size + file.size > limit:
            found.append([])
            size = 0
        found[-1].append(file)
        size += file.size
    return found


def _known_to_all(lake: Lake, name: str) -> list[set[str]]:
    """What each build that goes by new rows has read of a table, as first written."""
    read = (origin.inputs[name] for origin in origins(lake) if name in origin.inputs)
    return [set(folds.written(lake, name, files)) for files in read]


def _forget(lake: Lake, name: str) -> None:
    """Keep the notes of what stands, and of what builds still know by an earlier name."""
    needed = {f.path for f in lake.files(name)}
    needed |= {f.path for origin in origins(lake) for f in origin.inputs.get(name, ())}
    folds.forget(lake, name, needed)


def _vacuum_daily(lake: Lake, kept: Mapping[str, int]) -> None:
    """Delete old files of tables once a day; ``kept`` are the days that versions of each stay readable."""
    held = _upkeep(lake)
    if time.time() - held.get("at", 0.0) < DAY.total_seconds():
        return
    freed = [vacuum(lake, name, timedelta(days=days)) for name, days in kept.items() if lake.exists(name)]
    lake.put(VACUUMED, json.dumps(held | {"at": time.time()}).encode())
    if files := sum(f.files for f in freed):
        size = sum(f.size for f in freed)
        telemetry.event(f"vacuum deleted {files:,} files, {size:,} bytes, of versions over {_days(kept)} days old")


def _days(kept: Mapping[str, int]) -> str:
    least, most = min(kept.values()), max(kept.values())
    return f"{least}" if least == most else f"{least} to {most}"


def _upkeep(lake: Lake) -> dict[str, float]:
    found: dict[str, float] = json.loads(lake.get(VACUUMED) or b"{}")
    return found


def _forget_runs_daily(lake: Lake, kept: timedelta) -> None:
    held = _upkeep(lake)
    if time.time() - held.get("runs_at", 0.0) < DAY.total_seconds():
        return
    if gone := ledger.forget_runs(lake, datetime.now(UTC) - kept, KEPT_RUNS):
        telemetry.event(f"forgot {gone:,} records of runs over {kept.days:,} days old")
    lake.put(VACUUMED, json.dumps(held | {"runs_at": time.time()}).encode())


def _place(file: File) -> tuple[tuple[str, str | None], ...]:
    return tuple(sorted(file.partition.items()))
