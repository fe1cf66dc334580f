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
from customer360.models.identity.rules import IdentityRules
from customer360.platform.lake import Lake
from customer360.platform.lake.pieces import get_piece, put_piece

_PATH = "_identity/evidence"
_LIST = f"{_PATH}.json"
_MARK = "record_mark"
_ROWS_A_PIECE = 500_000
# Every run with new records adds a piece; beyond so many, or with more rows superseded than a fourth, all are written.
_MOST_PIECES = 32
_LOOSE = 0.25


def evidence(lake: Lake, records: pl.DataFrame, pins: Pins, rules: IdentityRules) -> pl.DataFrame:
    """As `pins.evidence`, of the records that are not kept as they are now; those that are come from the lake. In the
    order in which they came: to sort all columns of everybody would cost more than the batch."""
    version = _version(records, pins)
    paths = _paths(lake, version)
    if not paths:
        return keep(lake, records, pins, pinned.evidence(records, pins, rules))
    rows = pl.concat([get_piece(lake, path) for path in paths])
    marks = _marks(records)
    same, gone = _places(rows, marks)
    changed = records.filter(~pl.col("record_id").is_in(rows["record_id"].gather(same).implode()))
    made = rows.clear()
    if changed.height:
        made = pinned.evidence(changed, pins, rules).join(marks, on="record_id", maintain_order="left")
        made = made.select(rows.columns)
    if gone or rows.height - same.len() > _LOOSE * rows.height or len(paths) >= _MOST_PIECES:
        _write(lake, version, [], pl.concat([rows[same], made]))
    elif made.height:
        _write(lake, version, paths, made)
    held = rows if same.len() == rows.height else rows[same]
    return pl.concat([held, made]).drop(_MARK)


def _places(rows: pl.DataFrame, marks: pl.DataFrame) -> tuple[pl.Series, bool]:
    """Where in the kept `rows` the records lie that are as they were kept; and whether a kept record is gone."""
    kept = rows.lazy().select("record_id", _MARK).with_row_index("place")
    now = kept.join(marks.lazy().rename({_MARK: "now"}), on="record_id", how="left", maintain_order="left")
    found = now.collect()
    gone = found["now"].null_count() > 0
    found = found.filter(pl.col(_MARK) == pl.col("now"))
    # A record that came back to what it once said is kept twice, and alike.
    if found["record_id"].n_unique() < found.height:
        found = found.unique("record_id", keep="last", maintain_order=True)
    return found["place"], gone


def keep(lake: Lake, records: pl.DataFrame, pins: Pins, made: pl.DataFrame) -> pl.DataFrame:
    """Keep `made`, the evidence of all `records` under these pins; returns it."""
    marked = made.join(_marks(records), on="record_id", maintain_order="left")
    _write(lake, _version(records, pins), [], marked)
    return made


def discard(lake: Lake) -> None:
    """Let the next run make all evidence anew; nothing of it stays in the lake."""
    lake.delete(path for path in lake.objects("_identity") if path.startswith(_PATH))


def _write(lake: Lake, version: str, paths: Sequence[str], rows: pl.DataFrame) -> None:
    """`rows` beside what lies at `paths`; whatever else was kept goes."""
    parts = rows.rechunk().iter_slices(_ROWS_A_PIECE)
    held = [*paths, *(put_piece(lake, f"{_PATH}/{version}", part) for part in parts)]
    lake.put(_LIST, json.dumps({"version": version, "pieces": held}).encode())
    lake.delete(path for path in lake.objects(_PATH) if path not in held)


def _paths(lake: Lake, version: str) -> list[str]:
    listed = lake.get(_LIST)
    kept = json.loads(listed) if listed else {}
    return list(kept["pieces"]) if kept.get("version") == version else []


def _version(records: pl.DataFrame, pins: Pins) -> str:
    """Of pins and columns: with others nothing kept holds."""
    text = json.dumps([pins.version, [(name, str(kind)) for name, kind in records.schema.items()]])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _marks(records: pl.DataFrame) -> pl.DataFrame:
    """(record_id, record_mark): equal numbers for equal records."""
    return records.select("record_id").with_columns(records.hash_rows(seed=0).alias(_MARK))
