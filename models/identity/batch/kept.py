"""Evidence of a lake's records, kept from one run to the next: only records that changed are standardized again.

Under the same pins a record's evidence depends on the record alone, so it is known by a mark of the record's columns.
The kept rows lie beside the pins, in pieces that a list names; the list, written last, is what counts. They say what
the records say: rows of records that are gone are taken out at once, and an erasure discards all of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from customer360.models.identity.batch import pins as pinned
from customer360.models.identity.batch.finding import places_among
from customer360.models.identity.batch.pins import Pins
from customer360.models.identity.batch.standing import versioned
from customer360.models.identity.rules import IdentityRules
from customer360.platform import telemetry
from customer360.platform.lake import Lake
from customer360.platform.lake.damage import UNREADABLE
from customer360.platform.lake.pieces import map_piece, put_piece

_PATH = "_identity/evidence"
_LIST = f"{_PATH}.json"
MARK = "record_mark"
_FORM = "mapped, with versions"  # of the pieces: those of another are not read
_ROWS_A_PIECE = 500_000
# Every run with new records adds a piece; beyond so many, or with more rows superseded than a fourth, all are written.
_MOST_PIECES = 32
_LOOSE = 0.25


@dataclass(frozen=True)
class Known:
    """What a lake keeps of the records there are. `marks`: (record_id, record_mark) of each; `places`: where in the
    kept `rows` a record lies that is as it was kept, null for others. `version` and `paths` are those of the rows."""

    marks: pl.DataFrame
    places: pl.Series
    rows: pl.DataFrame | None
    version: str
    paths: tuple[str, ...]

    @property
    def is_kept(self) -> pl.Series:
        """Of each record whether it is as it was kept."""
        return self.places.is_not_null()

    def without(self, record_ids: pl.Series) -> Known:
        """Of the other records."""
        if record_ids.is_empty():
            return self
        stays = ~self.marks["record_id"].is_in(record_ids.implode())
        return replace(self, marks=self.marks.filter(stays), places=self.places.filter(stays))


def known(lake: Lake, records: pl.DataFrame, pins: Pins, made_by: str = "") -> Known:
    """What is kept of these records under these pins. `made_by`: what else than pins and columns decides what is
    kept."""
    version, marks = _version(records, pins, made_by), marks_of(records)
    try:
        paths = _paths(lake, version)
        rows = pl.concat([map_piece(lake, path) for path in paths]) if paths else None
    except (*UNREADABLE, ValueError, LookupError) as fault:  # no list, or a file without a byte, which none can map
        telemetry.event("evidence that was kept cannot be read and is made anew", fault=str(fault))
        discard(lake)
        paths, rows = [], None
    places = pl.Series([None], dtype=pl.Int64).new_from_index(0, marks.height)
    if rows is not None:
        places = _places(rows.select("record_id", MARK), marks)
    return Known(marks, places, rows, version, tuple(paths))


def evidence(
    lake: Lake, records: pl.DataFrame, pins: Pins, rules: IdentityRules, held: Known | None = None
) -> pl.DataFrame:
    """As `pins.evidence`, and `standing.versioned`, with a `record_mark` that is another whenever the record is: of the
    records that are not kept as they are now it is made, of those that are it comes from the lake. In the order in
    which they came: to sort all columns of everybody would cost more than the batch. `held`: what is `known` of them,
    where that was asked before."""
    held = held or known(lake, records, pins)
    rows, marks = held.rows, held.marks
    if rows is None:
        return keep(lake, records, pins, pinned.evidence(records, pins, rules), held)
    is_same = np.zeros(rows.height, dtype=bool)
    is_same[held.places.drop_nulls().to_numpy()] = True
    is_changed, made = ~held.is_kept, rows.clear()
    if is_changed.any():
        made = versioned(pinned.evidence(records.filter(is_changed), pins, rules), pins)
        made = made.join(marks.filter(is_changed), on="record_id", maintain_order="left").select(rows.columns)
        # Columns whose chunks end at different rows are copied, for everybody, by each step that takes several.
        made = made.rechunk()
    superseded = rows["record_id"].gather(np.flatnonzero(~is_same))
    is_gone = superseded.len() > 0 and not superseded.is_in(marks["record_id"].implode()).all()
    same = rows if superseded.is_empty() else rows[np.flatnonzero(is_same)]
    if is_gone or superseded.len() > _LOOSE * rows.height or len(held.paths) >= _MOST_PIECES:
        _write(lake, held.version, [], pl.concat([same, made]))
    elif made.height:
        _write(lake, held.version, held.paths, made)
    return pl.concat([same, made])


def _places(rows: pl.DataFrame, marks: pl.DataFrame) -> pl.Series:
    """Where in the kept `rows` each record lies that is as it was kept, null for others."""
    # A record that came back to what it once said is kept twice, and alike: either does.
    found = places_among(marks[MARK], rows[MARK])
    is_same = marks["record_id"].eq_missing(rows["record_id"].gather(found))
    return found if is_same.all() else found.set(~is_same, None)


def keep(lake: Lake, records: pl.DataFrame, pins: Pins, made: pl.DataFrame, held: Known | None = None) -> pl.DataFrame:
    """Keep `made`, the evidence of all `records` under these pins; returns it with versions and marks. `held`: as
    `known` gives it of them."""
    held = held or known(lake, records, pins)
    marked = versioned(made, pins).join(held.marks, on="record_id", maintain_order="left")
    _write(lake, held.version, [], marked)
    return marked


def discard(lake: Lake) -> None:
    """Let the next run make all evidence anew; nothing of it stays in the lake."""
    lake.delete(path for path in lake.objects("_identity") if path.startswith(_PATH))


def _write(lake: Lake, version: str, paths: Sequence[str], rows: pl.DataFrame) -> None:
    """`rows` beside what lies at `paths`; whatever else was kept goes."""
    parts = rows.rechunk().iter_slices(_ROWS_A_PIECE)
    held = [*paths, *(put_piece(lake, f"{_PATH}/{version}", part, mapped=True) for part in parts)]
    lake.put(_LIST, json.dumps({"version": version, "pieces": held}).encode())
    lake.delete(path for path in lake.objects(_PATH) if path not in held)


def _paths(lake: Lake, version: str) -> list[str]:
    listed = lake.get(_LIST)
    kept = json.loads(listed) if listed else {}
    return list(kept["pieces"]) if kept.get("version") == version else []


def _version(records: pl.DataFrame, pins: Pins, made_by: str) -> str:
    """Of pins, columns and what else decides: with others nothing kept holds."""
    columns = [(name, str(kind)) for name, kind in records.schema.items()]
    text = json.dumps([_FORM, pins.version, made_by, columns])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def marks_of(records: pl.DataFrame) -> pl.DataFrame:
    """(record_id, record_mark): equal numbers for equal records."""
    return records.select("record_id").with_columns(records.hash_rows(seed=0).alias(MARK))
