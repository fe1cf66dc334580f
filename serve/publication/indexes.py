"""Identity indexes beside the online store: one for each version of the identities that a publication was made of."""

from __future__ import annotations

import fcntl
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from customer360.models.identity.batch import pins
from customer360.models.identity.batch.pins import Pins
from customer360.models.identity.batch.standing import VERSIONED
from customer360.models.identity.lookup.index import IdentityIndex, IdentityIndexError, write_index
from customer360.models.identity.lookup.renewal import renew_index
from customer360.models.identity.organisations.telling import ORGANISATION
from customer360.models.identity.rules import IdentityRules
from customer360.platform import online
from customer360.platform.lake import Lake
from customer360.platform.lake.damage import UNREADABLE
from customer360.platform.online import Generation
from customer360.platform.online.files import fingerprint, write_durably
from customer360.platform.privacy import leaving

IDENTITIES, RECORDS = "silver.identities", "silver.customer_records"
HOME, CHECKS = "identity", "checks.json"
LOCK, HALF = "_lock", ".half"  # beside the indexes; the second is one that is being written
AGAIN = "`customer360 run` writes it again"
KEEP = online.KEEP  # as many as there are publications to put back; a request may still read the one before


def publish_index(lake: Lake, state: Path, rules: IdentityRules) -> Path | None:
    """Write the index of the current identities unless it stands already; older ones go. None without identities."""
    with _alone(state) as home:
        held = pins.read(lake)
        if held is None or not lake.exists(IDENTITIES):
            return None
        version = lake.version(IDENTITIES)
        folder = home / str(version)
        if not _serves(folder):
            half = home / HALF
            _write(half, version, lake, _latest(state, version), held, rules)
            shutil.rmtree(folder, ignore_errors=True)  # damaged, or of another version of the library
            half.rename(folder)
        for old in stored(state)[:-KEEP]:
            shutil.rmtree(old)
        return folder


@contextmanager
def _alone(state: Path) -> Iterator[Path]:
    """Hold the right to change the indexes; it ends with the process. What one that died left unfinished goes.

    An index shares files with the one before. Into a folder where somebody else may have put their second names nothing
    is written: it would be written into the index that is in service.
    """
    home = _home(state)
    with open(home / LOCK, "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (home / HALF).exists():
            shutil.rmtree(home / HALF)
        yield home


def _write(
    folder: Path, version: int, lake: Lake, before: IdentityIndex | None, held: Pins, rules: IdentityRules
) -> None:
    """Write an index of a version of the identities, and last the sizes and checksums of its files."""
    known = lake.scan(IDENTITIES, version=version).filter(pl.col("entity_type").ne_missing(ORGANISATION))
    persons = known.select("record_id", "person_id", VERSIONED).collect()
    persons = persons.filter(~pl.col("person_id").is_in(leaving(lake, persons)))

    def read(ids: pl.Series) -> pl.DataFrame:
        return lake.scan(RECORDS).filter(pl.col("record_id").is_in(ids.implode())).collect()

    taken = None if before is None else renew_index(folder, before, persons, read, held, rules)
    if taken is None:
        write_index(folder, read(persons["record_id"]), persons, held, rules)
        taken = frozenset()
    told = {} if before is None else {name: sums for name, sums in _checks(before.folder).items() if name in taken}
    sizes = {file.name: told.get(file.name) or fingerprint(file) for file in sorted(folder.iterdir())}
    write_durably(folder / CHECKS, json.dumps(sizes))


def _latest(state: Path, version: int) -> IdentityIndex | None:
    """The newest sound index of identities of before a version."""
    earlier = (folder for folder in reversed(stored(state)) if int(folder.name) < version)
    return next((index for folder in earlier if (index := _opened(folder)) is not None), None)


def check(folder: Path) -> IdentityIndex:
    """An index that is as it was written, opened.

    Raises:
        IdentityIndexError: there is none, it must be written again, or a file of it is damaged.
    """
    _check_sizes(folder)
    try:
        for name, (_, digest) in _checks(folder).items():
            if fingerprint(folder / name)[1] != digest:
                raise IdentityIndexError(f"the identity index is damaged: the checksum of {name} differs; {AGAIN}")
        return IdentityIndex.open(folder)
    except (ValueError, KeyError, TypeError, AttributeError, *UNREADABLE) as fault:
        raise IdentityIndexError(f"the identity index is damaged ({type(fault).__name__}); {AGAIN}") from fault


def _check_sizes(folder: Path) -> None:
    """Reading a mapped file beyond its end would end this process."""
    for name, (size, _) in _checks(folder).items():
        if not (folder / name).is_file() or (folder / name).stat().st_size != size:
            raise IdentityIndexError(f"the identity index is damaged: {name} is not of its size; {AGAIN}")


def _checks(folder: Path) -> dict[str, tuple[int, str]]:
    """Size and SHA-256 by file; empty where none were noted."""
    try:
        found: dict[str, tuple[int, str]] = json.loads((folder / CHECKS).read_text(encoding="utf-8"))
        return {name: (int(size), str(digest)) for name, (size, digest) in found.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as fault:
        raise IdentityIndexError(f"the identity index is damaged: {CHECKS} cannot be read; {AGAIN}") from fault


def stored(state: Path) -> list[Path]:
    """Folders of the indexes, oldest first."""
    home = state / HOME
    return sorted((f for f in home.iterdir() if f.name.isdigit()), key=lambda f: int(f.name)) if home.is_dir() else []


def _serves(folder: Path) -> bool:
    """Whether it was written to its end, and is as it was written."""
    return _opened(folder) is not None


def _opened(folder: Path) -> IdentityIndex | None:
    try:
        return check(folder) if (folder / CHECKS).is_file() else None
    except IdentityIndexError:
        return None


def delete_indexes(state: Path) -> None:
    """Remove all: they hold what an erased person's records said. One that is being written is waited for."""
    with _alone(state) as home:
        for folder in home.iterdir():
            if folder.name != LOCK:
                shutil.rmtree(folder, ignore_errors=True)


class Indexes:
    """The opened index of the publication in service."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._lock = threading.Lock()
        self._open: tuple[int, IdentityIndex] | None = None

    def of(self, generation: Generation) -> IdentityIndex:
        """The index that belongs to a publication. Raises IdentityIndexError when there is none."""
        version = generation.sources.get(IDENTITIES)
        if version is None:
            raise IdentityIndexError("the publication knows no identities; `customer360 run` makes them")
        with self._lock:
            if self._open is None or self._open[0] != version:
                self._open = version, check(_home(self._state) / str(version))
            if self._open[1].folder.is_dir():  # one that was deleted is still mapped, whole
                _check_sizes(self._open[1].folder)
            return self._open[1]


def _home(state: Path) -> Path:
    home = state / HOME
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    return home
