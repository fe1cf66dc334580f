"""Evidence of a lake's records, kept from one run to the next: only records that changed are standardized again.

Under the same pins a record's evidence depends on the record alone, so it is known by a mark of the record's columns.
The kept rows lie beside the pins, in pieces that a list names; the list, written last, is what counts. They say what
the records say: rows of records that are gone are taken out at once, and an erasure discards all of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import polars as pl

from customer360.models.identity.batch import pins as pinned
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


def evidence(lake: Lake, records: pl.DataFrame, pins: Pins, rules: IdentityRules) -> pl.DataFrame:
    """As `pins.evidence`, and `standing.versioned`, with a `record_mark` that is another whenever the record is: of the
    records that are not kept as they are now it is made, of those that are it comes from the lake. In the order in
    which they came: to sort all columns of everybody would cost more than the batch."""
    version = _version(records, pins)
    try:
        paths = _paths(lake, version)
        rows = pl.concat([map_piece(lake, path) for path in paths]) if paths else None
    except (*UNREADABLE, ValueError, LookupError) as fault:  # no list, or a file without a byte, which none can map
        telemetry.event("evidence that was kept cannot be read and is made anew", fault=str(fault))
        discard(lake)
        rows = None
    if rows is None:
        return keep(lake, records, pins, pinned.evidence(records, pins, rules))
    marks = _marks(records)
    same, is_changed, gone = _places(rows.select("record_id", MARK), marks)
    made = rows.clear()
    if is_changed.any():
        made = versioned(pinned.evidence(records.filter(is_changed), pins, rules), pins)
        made = made.join(marks, on="record_id", maintain_order="left").select(rows.columns)
    if gone or rows.height - same.len() > _LOOSE * rows.height or len(paths) >= _MOST_PIECES:
        _write(lake, version, [], pl.concat([rows[same], made]))
    elif made.height:
        _write(lake, version, paths, made)
    held = rows if same.len() == rows.height else rows[same]
    return pl.concat([held, made])


def _places(rows: pl.DataFrame, marks: pl.DataFrame) -> tuple[pl.Series, pl.Series, bool]:
    """Where in the kept `rows` the records lie that are as they were kept; which records are not; and whether a kept
    record is gone."""
    kept = rows.select(MARK).with_row_index("place")
    if kept[MARK].n_unique() < kept.height:  # a record that came back to what it once said is kept twice, and alike
        kept = kept.unique(MARK, keep="last", maintain_order=True)
    found = marks.select(MARK).join(kept, on=MARK, how="left", maintain_order="left")["place"]
    is_same = marks["record_id"].eq_missing(rows["record_id"].gather(found))
    same = found.filter(is_same).sort()
    others = pl.int_range(rows.height, eager=True, dtype=pl.UInt32)
    superseded = rows["record_id"].gather(others.filter(~others.is_in(same.implode())))
    gone = superseded.len() > 0 and not superseded.is_in(marks["record_id"].implode()).all()
    return same, ~is_same, gone


def keep(lake: Lake, records: pl.DataFrame, pins: Pins, made: pl.DataFrame) -> pl.DataFrame:
    """Keep `made`, the evidence of all `records` under these pins; returns it with versions and marks."""
    marked = versioned(made, pins).join(_marks(records), on="record_id", maintain_order="left")
    _write(lake, _version(records, pins), [], marked)
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


def _version(records: pl.DataFrame, pins: Pins) -> str:
    """Of pins and columns: with others nothing kept holds."""
    text = json.dumps([_FORM, pins.version, [(name, str(kind)) for name, kind in records.schema.items()]])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _marks(records: pl.DataFrame) -> pl.DataFrame:
    """(record_id, record_mark): equal numbers for equal records."""
    return records.select("record_id").with_columns(records.hash_rows(seed=0).alias(MARK))
