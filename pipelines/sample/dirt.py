"""Dirt at stated rates: what real feeds do wrong, done on purpose and written down.

Row kinds, each on rows of its own (a row is soiled once): duplicate (the same row again, in this file or the next),
late (the row of one file delivered in the next), superseded (a PENDING version followed by the COMPLETED one with a
later LAST_UPDATED_DATE), broken (too few or too many fields, cut JSON), bad_type, bad_enum, missing_key,
invalid_bytes. File kinds: new_column, missing_column.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import polars as pl

ROW_KINDS = ("duplicate", "late", "superseded", "broken", "bad_type", "bad_enum", "missing_key", "invalid_bytes")
DAMAGES = ("broken", "bad_type", "bad_enum", "missing_key", "invalid_bytes")  # what is done to the text of a row
BAD_ENUM, BAD_NUMBER, BAD_DATE = "TELEPATHY", "12,x", "not-a-date"
SMALLEST_FILE = 12  # rows; smaller files stay clean unless the rate asks for more
_MARK = "@@invalid@@"


@dataclass(frozen=True)
class Dirt:
    """Shares of a feed's rows that get each kind of dirt; a kind without its own share has `rate`. Zero switches a
    kind off.

    Every kind that a feed knows occurs in it at least once where its share is above zero and its files are not tiny.
    """

    rate: float = 0.002
    duplicate: float | None = None
    late: float | None = None
    superseded: float | None = None
    broken: float | None = None
    bad_type: float | None = None
    bad_enum: float | None = None
    missing_key: float | None = None
    invalid_bytes: float | None = None
    new_column: bool = True
    missing_column: bool = True

    def share(self, kind: str) -> float:
        """The share of rows for a row kind."""
        own = getattr(self, kind)
        return self.rate if own is None else float(own)


STANDARD = Dirt()
CLEAN = Dirt(rate=0.0, new_column=False, missing_column=False)


@dataclass(frozen=True)
class Spoils:
    """What can go wrong in one feed: its kinds, its key, and the columns that bad values stand in."""

    key: str
    kinds: tuple[str, ...]
    typed: str = ""
    bad_value: str = BAD_NUMBER
    listed: str = ""
    text: str = ""


@dataclass
class Soiler:
    """Soils the files of one feed in their order. `log` has (file, kind, field, key) of everything done so far.

    The key of a row whose key was taken away, or that no longer can be read, is the one it had.
    """

    dirt: Dirt
    spoils: Spoils
    rng: np.random.Generator
    settled_at: datetime  # receipts after this moment are too young to have a second version
    log: list[tuple[str, str, str | None, str | None]] = field(default_factory=list)
    _owed: dict[str, float] = field(default_factory=dict)
    _carried: list[pl.DataFrame] = field(default_factory=list)

    def soil(self, frame: pl.DataFrame, file: str, *, last: bool) -> tuple[pl.DataFrame, list[tuple[int, str]]]:
        """The rows of a file and the damages to do to its text, as (row number, kind); `last`: no later file
        follows."""
        picks = self._picks(frame, last=last)
        code = np.zeros(len(frame), dtype=np.int8)
        for kind, rows in picks.items():
            if kind in DAMAGES:
                code[rows] = DAMAGES.index(kind) + 1
        base = frame.with_columns(_damage=pl.Series(code), _place=pl.int_range(pl.len()).cast(pl.Float64))
        arrived = self._arrive(file)
        again, base = self._again(base, picks, file, last=last), self._pending(base, picks.get("superseded"))
        leaving = picks.get("late", np.array([], dtype=np.int64))
        self._carry(base[leaving], "late")
        if len(leaving):
            base = base.with_columns(_row=pl.int_range(pl.len())).filter(~pl.col("_row").is_in(leaving)).drop("_row")
        extra = [
            part.with_columns(_damage=pl.lit(0, dtype=pl.Int8), _place=self.rng.random(len(part)) * len(frame))
            for part in (*arrived, *again)
        ]
        mixed = pl.concat([base, *(part.select(base.columns) for part in extra)]).sort("_place", maintain_order=True)
        codes = mixed["_damage"].to_numpy()
        rows = np.flatnonzero(codes)
        damages = [(at, DAMAGES[code - 1]) for at, code in zip(rows.tolist(), codes[rows].tolist(), strict=True)]
        keys = mixed[self.spoils.key].gather(rows).to_list()
        self.log += [(file, kind, self._field(kind), key) for (_, kind), key in zip(damages, keys, strict=True)]
        return mixed.drop("_damage", "_place"), damages

    def _field(self, kind: str) -> str | None:
        spoils = self.spoils
        return {
            "bad_type": spoils.typed,
            "bad_enum": spoils.listed,
            "missing_key": spoils.key,
            "invalid_bytes": spoils.text,
        }.get(kind)

    def _picks(self, frame: pl.DataFrame, *, last: bool) -> dict[str, np.ndarray]:
        """Disjoint row numbers for each kind."""
        free = self.rng.permutation(len(frame))
        picks: dict[str, np.ndarray] = {}
        for kind in self.spoils.kinds:
            share = self.dirt.share(kind)
            if share == 0 or (kind == "late" and last):
                continue
            fresh = kind not in self._owed
            owed = self._owed.get(kind, 0.0) + share * len(frame)
            count = max(int(owed), 1 if fresh and len(frame) >= SMALLEST_FILE else 0)
            candidates = free[self._settled(frame)[free]] if kind == "superseded" else free
            rows = candidates[:count]
            if len(rows) or not fresh:
                self._owed[kind] = max(owed - len(rows), 0.0)
            if len(rows):
                picks[kind] = np.sort(rows)
                taken = np.zeros(len(frame), dtype=bool)
                taken[rows] = True
                free = free[~taken[free]]
        return picks

    def _settled(self, frame: pl.DataFrame) -> np.ndarray:
        done = (pl.col("TRANSACTION_STATUS") == "COMPLETED") & (pl.col("TRANSACTION_TYPE") == "PURCHASE")
        return frame.select(done & (pl.col("TRANSACTION_DATE") < self.settled_at)).to_series().to_numpy()

    def _carry(self, rows: pl.DataFrame, kind: str) -> None:
        if len(rows):
            self._carried.append(rows.drop("_damage", "_place").with_columns(_kind=pl.lit(kind)))

    def _arrive(self, file: str) -> list[pl.DataFrame]:
        """Rows that earlier files left for this one."""
        arrived, self._carried = self._carried, []
        for part in arrived:
            self.log += [(file, kind, None, key) for kind, key in part.select("_kind", self.spoils.key).iter_rows()]
        return arrived

    def _again(self, base: pl.DataFrame, picks: dict[str, np.ndarray], file: str, *, last: bool) -> list[pl.DataFrame]:
        """Second copies and second versions for this file; those for the next one are carried."""
        out = []
        copies = picks.get("duplicate", np.array([], dtype=np.int64))
        half = len(copies) if last else (len(copies) + 1) // 2
        versions = base[picks["superseded"]] if "superseded" in picks else base.clear()
        if len(versions):
            days = pl.Series(self.rng.uniform(0.2, 4.0, len(versions)) * 86_400)
            versions = versions.with_columns(
                pl.col("LAST_UPDATED_DATE") + pl.duration(seconds=pl.lit(days.cast(pl.Int64)))
            )
            same = versions["LAST_UPDATED_DATE"].dt.strftime("%Y-%m") == versions["TRANSACTION_DATE"].dt.strftime(
                "%Y-%m"
            )
            here, there = versions.filter(same | last), versions.filter(~same & (not last))
            self._carry(there, "superseded")
            out.append((here, "superseded"))
        self._carry(base[copies[half:]], "duplicate")
        out.append((base[copies[:half]], "duplicate"))
        for rows, kind in out:
            self.log += [(file, kind, None, key) for key in rows[self.spoils.key]]
        return [rows for rows, _ in out]

    @staticmethod
    def _pending(base: pl.DataFrame, rows: np.ndarray | None) -> pl.DataFrame:
        """The first versions of the superseded rows are still pending."""
        if rows is None:
            return base
        mask = np.zeros(len(base), dtype=bool)
        mask[rows] = True
        status = pl.when(pl.Series(mask)).then(pl.lit("PENDING")).otherwise("TRANSACTION_STATUS")
        return base.with_columns(TRANSACTION_STATUS=status)


def damage_frame(frame: pl.DataFrame, damages: list[tuple[int, str]], spoils: Spoils) -> pl.DataFrame:
    """Damages of a typed file (Parquet): only missing keys and unknown words are possible there."""
    for kind, column, value in (("missing_key", spoils.key, None), ("bad_enum", spoils.listed, BAD_ENUM)):
        rows = [at for at, what in damages if what == kind]
        if rows:
            mask = pl.int_range(pl.len()).is_in(rows)
            frame = frame.with_columns(
                pl.when(mask).then(pl.lit(value, dtype=pl.String)).otherwise(column).alias(column)
            )
    return frame


def damage_lines(
    lines: list[bytes], columns: list[str], damages: list[tuple[int, str]], spoils: Spoils, form: str
) -> None:
    """Damage the lines of a text file in place; `form` is "csv" (lines without the header) or "jsonl"."""
    for at, kind in damages:
        lines[at] = (
            _damaged_csv(lines[at], columns, kind, spoils, at)
            if form == "csv"
            else _damaged_json(lines[at], kind, spoils)
        )


def _changed(row: dict[str, object], kind: str, spoils: Spoils) -> dict[str, object]:
    if kind == "bad_type":
        return row | {spoils.typed: spoils.bad_value}
    if kind == "bad_enum":
        return row | {spoils.listed: BAD_ENUM}
    if kind == "missing_key":
        return row | {spoils.key: None}
    return row | {spoils.text: f"{row[spoils.text] or ''}{_MARK}"}


def _damaged_csv(line: bytes, columns: list[str], kind: str, spoils: Spoils, at: int) -> bytes:
    values: list[object] = list(next(csv.reader([line.decode()])))
    if kind == "broken":
        values = values[: len(values) * 3 // 5] if at % 2 else [*values, "SPLIT", "LINE"]
    else:
        values = list(_changed(dict(zip(columns, values, strict=True)), kind, spoils).values())
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(values)
    return out.getvalue().encode().replace(_MARK.encode(), b"\xff")


def _damaged_json(line: bytes, kind: str, spoils: Spoils) -> bytes:
    if kind == "broken":
        return line[: len(line) * 3 // 5]
    text = json.dumps(_changed(json.loads(line), kind, spoils), separators=(",", ":"))
    return text.encode().replace(_MARK.encode(), b"\xff")
