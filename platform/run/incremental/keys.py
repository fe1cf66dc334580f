"""Directory of keys: which files of a table hold a key, known without reading them.

Beside a table lie *runs*: sorted 64-bit hashes of the values of one column, with the file that holds each, for some of
the table's files. A look-up probes the runs and reads the files that it names; a hash that two values share costs a
file read for nothing, never a wrong answer. Files are immutable, so a run is true as long as its files are the
table's: one that names a file that is gone is deleted, and files that no run covers are hashed when they are first
asked for. So it may be deleted at any time, and no commit depends on it.

A key takes 12 bytes. A local run is mapped into memory and probed, a remote one is fetched whole; none has more than
`LARGEST` keys, so that neither building nor merging holds more.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl

from customer360.platform.lake import File, Lake

KEYS = "_keys"
LARGEST = 1 << 25  # keys of a run
MANY = 8  # runs below the largest, beyond which they are merged


@dataclass(frozen=True)
class KeyRun:
    """Hashes of the keys of some files; ``stem`` is the path of its two objects without their endings."""

    stem: str
    rows: int
    files: tuple[str, ...]

    def read(self, lake: Lake) -> tuple[np.ndarray, np.ndarray] | None:
        """Sorted hashes, and the place of the file of each in ``files``; None where the run was deleted meanwhile."""
        if lake.is_remote:
            data = lake.get(f"{self.stem}.keys")
            raw = None if data is None else np.frombuffer(data, np.uint8)
        else:
            path = Path(lake.root, f"{self.stem}.keys")
            raw = _mapped(path) if path.exists() else None
        if raw is None or raw.nbytes != 12 * self.rows:
            return None
        return raw[: 8 * self.rows].view(np.uint64), raw[8 * self.rows :].view(np.uint32)


def _mapped(path: Path) -> np.ndarray:
    """The bytes of a file; one without any cannot be mapped: a run of files without a single key has none."""
    return np.memmap(path, np.uint8, "r") if path.stat().st_size else np.empty(0, np.uint8)


T = TypeVar("T", File, KeyRun)


def hashed(values: pl.Series) -> np.ndarray:
    """64-bit hashes of the values as text, without nulls."""
    return values.drop_nulls().cast(pl.String).hash().to_numpy()


def files_with(lake: Lake, table: str, column: str, files: Sequence[File], values: pl.Series) -> list[File]:
    """Those of ``files`` that may hold one of ``values`` in ``column``: all that do, and few others."""
    named = {f.path: f for f in files}
    sought = np.unique(hashed(values))
    found: set[str] = set()
    for run in _covering(lake, table, column, named):
        read = run.read(lake)
        if read is None:
            found |= set(run.files)
            continue
        hashes, places = read
        first, last = np.searchsorted(hashes, sought, "left"), np.searchsorted(hashes, sought, "right")
        hits = [places[a:b] for a, b in zip(first, last, strict=True) if b > a]
        if hits:
            found |= {run.files[place] for place in np.unique(np.concatenate(hits))}
    return [named[path] for path in sorted(found & named.keys())]


def cover(lake: Lake, table: str, column: str, files: Sequence[File]) -> None:
    """Hash the keys of those of ``files``, all of the table's, that are not known yet."""
    _covering(lake, table, column, {f.path: f for f in files})


def _covering(lake: Lake, table: str, column: str, named: dict[str, File]) -> list[KeyRun]:
    """Runs that together cover the files, made and merged as needed."""
    folder = f"{KEYS}/{table}/{column}/{pl.__version__}"  # hashes are stable within one version of Polars
    known: list[KeyRun] = []
    stale: list[KeyRun] = []
    covered: set[str] = set()
    for run in sorted(_runs(lake, folder), key=lambda r: -len(r.files)):
        if not named.keys() >= set(run.files) or covered >= set(run.files):
            stale.append(run)
        else:
            known.append(run)
            covered |= set(run.files)
    for files in _groups([f for path, f in sorted(named.items()) if path not in covered and f.rows]):
        known.append(_made(lake, table, column, folder, files))
    small = [r for r in known if r.rows <= LARGEST // 2]
    if len(small) > MANY:
        for group in _groups(small):
            if len(group) > 1:
                known = [r for r in known if r not in group] + [_merged(lake, folder, group)]
                stale += group
    _delete(lake, table, folder, stale)
    return known


def _groups(pieces: Iterable[T]) -> list[list[T]]:
    """Pieces in groups of at most `LARGEST` rows, or of one."""
    groups: list[list[T]] = []
    filled = LARGEST
    for piece in pieces:
        if filled + piece.rows > LARGEST:
            groups.append([])
            filled = 0
        groups[-1].append(piece)
        filled += piece.rows
    return groups


def _runs(lake: Lake, folder: str) -> list[KeyRun]:
    found = []
    for path in lake.objects(folder):
        if path.endswith(".json") and (data := lake.get(path)):
            raw = json.loads(data)
            found.append(KeyRun(path.removesuffix(".json"), raw["rows"], tuple(raw["files"])))
    return found


def _made(lake: Lake, table: str, column: str, folder: str, files: list[File]) -> KeyRun:
    hashes, places = [], []
    for place, file in enumerate(files):
        part = hashed(lake.scan(table, [file]).select(column).collect()[column])
        hashes.append(part)
        places.append(np.full(len(part), place, np.uint32))
    return _written(lake, folder, tuple(f.path for f in files), np.concatenate(hashes), np.concatenate(places))


def _merged(lake: Lake, folder: str, runs: list[KeyRun]) -> KeyRun:
    hashes, places, files = [], [], list[str]()
    for run in runs:
        read = run.read(lake)
        if read is None:
            continue  # its files are covered again when they are asked for
        hashes.append(read[0])
        places.append(read[1] + np.uint32(len(files)))
        files += run.files
    return _written(lake, folder, tuple(files), np.concatenate(hashes), np.concatenate(places))


def _written(lake: Lake, folder: str, files: tuple[str, ...], hashes: np.ndarray, places: np.ndarray) -> KeyRun:
    order = np.argsort(hashes, kind="stable")
    stem = f"{folder}/{hashlib.sha256(json.dumps(files).encode()).hexdigest()[:24]}"
    lake.put(f"{stem}.keys", hashes[order].tobytes() + places[order].tobytes())
    lake.put(f"{stem}.json", json.dumps({"rows": len(hashes), "files": files}).encode())
    return KeyRun(stem, len(hashes), files)


def _delete(lake: Lake, table: str, folder: str, runs: list[KeyRun]) -> None:
    lake.delete(f"{run.stem}.{ending}" for run in runs for ending in ("json", "keys"))
    every = lake.objects(f"{KEYS}/{table}") if runs else []
    lake.delete(path for path in every if not path.startswith(f"{folder}/") and f"/{pl.__version__}/" not in path)


__all__ = ["KEYS", "cover", "files_with"]
