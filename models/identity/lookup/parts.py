"""A part of an index: records with their persons, and the row of each under each of its block keys.

Three files: what the model compares of every record (`records.arrow`, memory-mapped), the hashed block keys, key by key
in order (`keys.npy`), and the row that each belongs to (`rows.npy`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from customer360.models.identity.evidence.features import KEY_PREFIX

FILES = RECORDS, KEYS, ROWS = "records.arrow", "keys.npy", "rows.npy"
_HEADER = 128  # bytes of a file of numbers that holds none
Ranges = Mapping[str, tuple[int, int]]
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """`ranges`: by key where in `keys`, and in `rows`, its values lie."""

    records: pa.RecordBatch
    keys: Numbers
    rows: Numbers
    ranges: Ranges

    @classmethod
    def of(cls, rows: pl.DataFrame, numbers: Iterable[str]) -> Part:
        """Of rows of evidence with their persons. `numbers`: columns with a verified number, which are keys too."""
        keys = [name for name in rows.columns if name.startswith(KEY_PREFIX)]
        found: dict[str, tuple[Numbers, Numbers]] = {}
        for name in (*keys, *(name for name in numbers if name in rows.columns)):
            known = rows.select(key=name).with_row_index("row").drop_nulls("key").sort("key", "row")
            found[name] = known["key"].to_numpy(), known["row"].cast(pl.Int64).to_numpy()
        return cls._joined(_one_batch(rows.drop(keys)), found)

    @classmethod
    def open(cls, folder: Path, prefix: str, ranges: Ranges) -> Part:
        """Map the files whose names begin with `prefix`."""
        records = pa.ipc.open_file(pa.memory_map(str(folder / (prefix + RECORDS)))).get_batch(0)
        return cls(records, mapped(folder / (prefix + KEYS)), mapped(folder / (prefix + ROWS)), ranges)

    @classmethod
    def _joined(cls, records: pa.RecordBatch, found: Mapping[str, tuple[Numbers, Numbers]]) -> Part:
        ranges, place = {}, 0
        for name, (keys, _) in found.items():
            ranges[name] = (place, place + len(keys))
            place += len(keys)
        nothing = np.empty(0, dtype=np.int64)
        keys, rows = (np.concatenate([nothing, *(pair[side] for pair in found.values())]) for side in (0, 1))
        return cls(records, keys, rows, ranges)

    @property
    def height(self) -> int:
        return int(self.records.num_rows)

    def columns(self, *names: str) -> pl.DataFrame:
        """These columns of all records."""
        return pl.DataFrame(pl.from_arrow(self.records.select(list(names))))

    def sharing(self, name: str, key: int) -> Numbers:
        """Rows of the records with this value of a key."""
        start, end = self.ranges.get(name, (0, 0))
        part = self.keys[start:end]
        first, last = int(np.searchsorted(part, key, "left")), int(np.searchsorted(part, key, "right"))
        return self.rows[start + first : start + last]

    def take(self, rows: Iterable[int]) -> pa.RecordBatch:
        """These records."""
        return self.records.take(pa.array(sorted(rows), pa.int64()))

    def is_like(self, other: Part) -> bool:
        """Whether both hold the same of a record, under the same keys."""
        return bool(self.records.schema.equals(other.records.schema)) and list(self.ranges) == list(other.ranges)

    def with_part(self, other: Part, stays: NDArray[np.bool_]) -> Part:
        """The records of this part that stay and, after them, those of another: nothing is sorted again."""
        place, found = np.cumsum(stays) - 1, {}
        left = int(stays.sum())
        for name in self.ranges:
            own, more = slice(*self.ranges[name]), slice(*other.ranges[name])
            rows = self.rows[own]
            is_mine = stays[rows]
            keys, rows = self.keys[own][is_mine], place[rows[is_mine]]
            at = np.searchsorted(keys, other.keys[more], "right")
            found[name] = np.insert(keys, at, other.keys[more]), np.insert(rows, at, other.rows[more] + left)
        mine = pl.DataFrame(pl.from_arrow(self.records)).filter(pl.Series(stays))
        return Part._joined(_one_batch(pl.concat([mine, pl.DataFrame(pl.from_arrow(other.records))])), found)

    def none(self) -> Part:
        """A part like this one, of no record."""
        nothing = np.empty(0, dtype=np.int64)
        return Part(self.records.slice(0, 0), nothing, nothing, dict.fromkeys(self.ranges, (0, 0)))

    def write(self, folder: Path, prefix: str) -> None:
        """Write the files of this part."""
        schema = self.records.schema
        np.save(folder / (prefix + KEYS), self.keys)
        np.save(folder / (prefix + ROWS), self.rows)
        with pa.OSFile(str(folder / (prefix + RECORDS)), "wb") as file, pa.ipc.new_file(file, schema) as writer:
            writer.write_batch(self.records)


def mapped(file: Path) -> Numbers:
    """Numbers that are read where they are asked for. A file that holds none cannot be mapped."""
    found: Numbers = np.load(file, mmap_mode="r" if file.stat().st_size > _HEADER else None)
    return np.asarray(found)  # a plain view: each slice of the other kind costs a microsecond, and a look-up takes many


def _one_batch(rows: pl.DataFrame) -> pa.RecordBatch:
    """One batch: taking rows out of several would copy them all."""
    table = rows.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks()
    return next(iter(table.to_batches()), None) or pa.RecordBatch.from_pylist([], schema=table.schema)
