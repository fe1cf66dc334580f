"""An index made from the one before: only records that came or changed are standardized.

A record's evidence has a version (`standing.versioned`), which `silver.identities` says of now and an index of when it
was written: where both, and the person, are the same, so is the record's row. The large files of the index before are
taken as they are, under a second name; the rows that no longer hold are hidden. Where records are gone, whose rows must
not stay, and where much has changed, both parts become one; also then nothing that holds is made anew.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from customer360.models.identity.batch.pins import Pins
from customer360.models.identity.batch.standing import VERSIONED
from customer360.models.identity.lookup.index import (
    CHANGED,
    FREQUENCIES,
    HIDDEN,
    HUBS,
    IdentityIndex,
    made_of,
    part_of,
    write_manifest,
    write_whole,
)
from customer360.models.identity.lookup.parts import FILES, Numbers, Part
from customer360.models.identity.rules import IdentityRules

_LARGE = (*FILES, FREQUENCIES, HUBS)
# Beyond, the small part costs each batch more than to join both once in a while.
_MOST_CHANGED = 1 / 16
_MOST_MADE = 1 / 4  # of the records to be made anew: beyond, all are
Read = Callable[[pl.Series], pl.DataFrame]


def renew_index(
    folder: Path, before: IdentityIndex, persons: pl.DataFrame, read: Read, pins: Pins, rules: IdentityRules
) -> frozenset[str] | None:
    """Write what `write_index` would, from an index of before. Gives the names of the files that were taken over; None,
    and nothing is written, where it must be made from the records.

    Args:
        persons: record_id, person_id and evidence_version of all records.
        read: gives customer records by their ids.
    """
    if not is_made_of(before, pins, rules):
        return None
    stale, wanted, has_gone = _differences(before, persons)
    if wanted.len() > _MOST_MADE * persons.height:
        return None
    fresh = part_of(read(wanted), persons, pins, rules) if wanted.len() else None
    if fresh is not None and not fresh.is_like(before.base):
        return None
    folder.mkdir(parents=True, exist_ok=True)
    hidden, changed = _beside(before, stale, fresh)
    if has_gone or len(hidden) + changed.height > _MOST_CHANGED * before.base.height:
        stays = np.ones(before.base.height, dtype=bool)
        stays[hidden] = False
        write_whole(folder, before.base.with_part(changed, stays), pins, rules)
        return frozenset()
    for name in _LARGE:
        _take_over(before.folder / name, folder / name)
    manifest = made_of(pins, rules) | {"ranges": before.base.ranges, "changed": None}
    if changed.height:
        changed.write(folder, CHANGED)
        np.save(folder / HIDDEN, hidden)
        manifest["changed"] = changed.ranges
    write_manifest(folder, manifest)
    return frozenset(_LARGE)


def is_made_of(index: IdentityIndex, pins: Pins, rules: IdentityRules) -> bool:
    """Whether only the records can say another thing than they said to this index."""
    now: dict[str, Any] = made_of(pins, rules)
    if any(index.manifest.get(name) != value for name, value in now.items() if name != "rules"):
        return False
    # Not as they lie, since sets lie in any order; and after the code, which tells whether they can be read.
    if IdentityRules.model_validate(index.manifest["rules"]) != rules:
        return False
    held = (pl.read_ipc(index.folder / name) for name in (FREQUENCIES, HUBS))
    return all(one.equals(other) for one, other in zip(held, (pins.frequencies, pins.hubs), strict=True))


def _differences(before: IdentityIndex, persons: pl.DataFrame) -> tuple[tuple[Numbers, Numbers], pl.Series, bool]:
    """Rows of both parts that do not hold; ids of the records that have none that does; whether any is gone."""
    said = ("record_id", "person_id", VERSIONED)
    parts = [part for part in (before.base, before.changed) if part is not None]
    held = pl.concat([part.columns(*said) for part in parts])
    shown = np.ones(held.height, dtype=bool)
    shown[before.hidden] = False
    rows = held.with_row_index("row").filter(pl.Series(shown))
    now = persons.select("record_id", person="person_id", version=VERSIONED)
    both = rows.join(now, on="record_id", how="left", maintain_order="left")
    holds = ((pl.col("person") == pl.col("person_id")) & (pl.col("version") == pl.col(VERSIONED))).fill_null(False)
    stale = both.filter(~holds)
    wanted = now.join(both.filter(holds), on="record_id", how="anti")["record_id"]
    numbers = stale["row"].cast(pl.Int64).to_numpy()
    is_base = numbers < before.base.height
    has_gone = stale.join(now, on="record_id", how="anti").height > 0
    return (numbers[is_base], numbers[~is_base] - before.base.height), wanted, has_gone


def _beside(before: IdentityIndex, stale: tuple[Numbers, Numbers], fresh: Part | None) -> tuple[Numbers, Part]:
    """Rows of the large part that are hidden, and the small part."""
    hidden = np.union1d(before.hidden, stale[0])
    changed = before.changed or before.base.none()
    fresh = fresh or before.base.none()
    stays = np.ones(changed.height, dtype=bool)
    stays[stale[1]] = False
    return hidden, changed.with_part(fresh, stays)


def _take_over(file: Path, name: Path) -> None:
    """The file under a second name; a copy where the file system knows no second names."""
    try:
        os.link(file, name)
    except OSError:
        shutil.copy2(file, name)
