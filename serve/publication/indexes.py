"""Identity indexes beside the online store: one for each version of the identities that a publication was made of."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import polars as pl

from customer360.models.identity.batch import pins
from customer360.models.identity.lookup.index import IdentityIndex, IdentityIndexError, write_index
from customer360.models.identity.organisations.telling import ORGANISATION
from customer360.models.identity.rules import IdentityRules
from customer360.platform import online
from customer360.platform.lake import Lake
from customer360.platform.online import Generation
from customer360.platform.privacy import unfinished_erasures

IDENTITIES, RECORDS = "silver.identities", "silver.customer_records"
KEEP = online.KEEP  # as many as there are publications to put back; a request may still read the one before


def publish_index(lake: Lake, state: Path, rules: IdentityRules) -> Path | None:
    """Write the index of the current identities unless it stands already; older ones go. None without identities."""
    held = pins.read(lake)
    if held is None or not lake.exists(IDENTITIES):
        return None
    home, version = _home(state), lake.version(IDENTITIES)
    folder = home / str(version)
    if not _serves(folder):
        shutil.rmtree(folder, ignore_errors=True)  # of a publication that died, or of another version of the library
        known = lake.scan(IDENTITIES, version=version).filter(pl.col("entity_type").ne_missing(ORGANISATION))
        persons = known.select("record_id", "person_id").collect()
        leaving = [person for who in unfinished_erasures(lake).values() for person in who.persons]
        persons = persons.filter(~pl.col("person_id").is_in(leaving))
        records = lake.scan(RECORDS).collect().join(persons, on="record_id", how="semi")
        write_index(folder, records, persons, held, rules)
    for old in sorted((f for f in home.iterdir() if f.name.isdigit()), key=lambda f: int(f.name))[:-KEEP]:
        shutil.rmtree(old)
    return folder


def _serves(folder: Path) -> bool:
    try:
        IdentityIndex.open(folder)
    except IdentityIndexError:
        return False
    return True


def delete_indexes(state: Path) -> None:
    """Remove all: they hold what an erased person's records said."""
    shutil.rmtree(_home(state), ignore_errors=True)


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
                self._open = version, IdentityIndex.open(_home(self._state) / str(version))
            return self._open[1]


def _home(state: Path) -> Path:
    home = state / "identity"
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    return home
