"""Records by block key, for looking up one record at request time.

An index is a folder: what the model compares of every record, with its person (`records.arrow`, memory-mapped); the
hashed block keys, key by key in order, with the row that each belongs to (`keys.npy`, `rows.npy`); the shares of values
and the hubs (`pins.*`) and the rules. It is written whole and never changed; every process that opens it shares its
pages, and a look-up touches a few of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from customer360.models.identity.batch import pins as pinning
from customer360.models.identity.batch.pins import Pins
from customer360.models.identity.evidence.features import IDENTIFIER_PREFIX, KEY_PREFIX
from customer360.models.identity.lookup.evidence import Shares, SingleEvidence
from customer360.models.identity.rules import IdentityRules
from customer360.models.identity.stitching import NUMBER_PREFIX
from customer360.models.identity.weighing.model import IdentityModel
from customer360.platform.errors import ModelError

if TYPE_CHECKING:
    from customer360.models.identity.lookup.scorer import Scorer

RECORDS, KEYS, ROWS = "records.arrow", "keys.npy", "rows.npy"
FORMAT = 6  # of the files; another one is written again
FREQUENCIES, HUBS, MANIFEST = "frequencies.arrow", "hubs.arrow", "index.json"


class IdentityIndexError(ModelError):
    """There is no index, or one whose keys this version of the library hashes in another way."""


def write_index(folder: Path, records: pl.DataFrame, persons: pl.DataFrame, pins: Pins, rules: IdentityRules) -> None:
    """Write an index of customer records (as `standardize` takes them), each with its person of ``persons``
    (record_id, person_id). The manifest is written last: a folder without one is no index.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = pinning.evidence(records, pins, rules).join(persons.select("record_id", "person_id"), on="record_id")
    keys = [name for name in rows.columns if name.startswith(KEY_PREFIX)]
    numbers = {NUMBER_PREFIX + i.column: i.max_records for i in rules.stitching.identifiers}
    names = [*keys, *(name for name in numbers if name in rows.columns)]
    ranges, listed, place = {}, [], 0
    for name in names:
        found = rows.select(key=name).with_row_index("row").drop_nulls("key").sort("key", "row")
        ranges[name] = (place, place + found.height)
        place += found.height
        listed.append(found.select("key", pl.col("row").cast(pl.Int64)))
    every = pl.concat(listed)
    np.save(folder / KEYS, every["key"].to_numpy())
    np.save(folder / ROWS, every["row"].to_numpy())
    # One batch: taking rows out of several would copy them all.
    batch = rows.drop(keys).rechunk()
    batch.write_ipc(folder / RECORDS, compat_level=pl.CompatLevel.oldest(), record_batch_size=max(batch.height, 1))
    pins.frequencies.write_ipc(folder / FREQUENCIES)
    pins.hubs.write_ipc(folder / HUBS)
    manifest = {
        "format": FORMAT,
        "polars": pl.__version__,
        "ranges": ranges,
        "caps": pins.caps | numbers,
        "model": pins.model.model_dump(mode="json"),
        "rules": rules.model_dump(mode="json"),
        "records": pins.records,
        "basis": pins.basis,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


@dataclass(frozen=True)
class IdentityIndex:
    """An opened index; safe to use from several threads."""

    folder: Path
    manifest: Mapping[str, Any]
    keys: NDArray[np.int64]
    rows: NDArray[np.int64]
    records: pa.RecordBatch

    @classmethod
    def open(cls, folder: Path) -> IdentityIndex:
        """Map the files of an index.

        Raises:
            IdentityIndexError: there is none in the folder, or it must be written again.
        """
        if not (folder / MANIFEST).exists():
            raise IdentityIndexError("there is no identity index yet; `customer360 run` publishes one")
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["polars"] != pl.__version__:
            raise IdentityIndexError(
                f"the identity index was written with Polars {manifest['polars']}, this is {pl.__version__}; "
                "publish again"
            )
        if manifest.get("format") != FORMAT:
            raise IdentityIndexError("the identity index was written by another version of this library; publish again")
        records = pa.ipc.open_file(pa.memory_map(str(folder / RECORDS))).get_batch(0)
        return cls(folder, manifest, _mapped(folder / KEYS), _mapped(folder / ROWS), records)

    @cached_property
    def rules(self) -> IdentityRules:
        return self.model.deciding(IdentityRules.model_validate(self.manifest["rules"]))

    @cached_property
    def model(self) -> IdentityModel:
        return IdentityModel.model_validate(self.manifest["model"])

    @cached_property
    def scorer(self) -> Scorer:
        from customer360.models.identity.lookup.scorer import Scorer  # with a parser of SQL, which runs do not need

        return Scorer(self.model.settings, self.model.household)

    @cached_property
    def identifiers(self) -> tuple[str, ...]:
        """Columns with a person's own number that the records have."""
        names = (name for name in self.records.schema.names if name.startswith(IDENTIFIER_PREFIX))
        return tuple(name.removeprefix(IDENTIFIER_PREFIX) for name in names)

    @cached_property
    def numbers(self) -> tuple[str, ...]:
        """Columns with a verified number that the records have."""
        names = (name for name in self.records.schema.names if name.startswith(NUMBER_PREFIX))
        return tuple(name.removeprefix(NUMBER_PREFIX) for name in names)

    @cached_property
    def evidence(self) -> SingleEvidence:
        """What the model compares of one record, block keys and shares included, as for every record of the index."""
        hubs = pl.read_ipc(self.folder / HUBS).group_by("column").agg("value")
        closed = {str(column): frozenset(values) for column, values in hubs.iter_rows()}
        return SingleEvidence(self.rules, self.identifiers, self.numbers, closed, self._shares)

    @cached_property
    def _shares(self) -> dict[str, Shares]:
        found = pl.read_ipc(self.folder / FREQUENCIES).sort("column", "value")
        parts = found.partition_by("column", as_dict=True, include_key=False)
        return {str(column): _shares_of(part) for (column,), part in parts.items()}

    def candidates(self, row: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Rows of the records that share a block key or a verified number with this one; a value that too many records
        share tells nothing."""
        found: set[int] = set()
        for name, (start, end) in self.manifest["ranges"].items():
            if row.get(name) is None:
                continue
            part = self.keys[start:end]
            first, last = int(np.searchsorted(part, row[name], "left")), int(np.searchsorted(part, row[name], "right"))
            if last - first < self.manifest["caps"][name]:  # with the asked record it would be one more
                found.update(self.rows[start + first : start + last].tolist())
        if not found:
            return []
        return pl.DataFrame(pl.from_arrow(self.records.take(pa.array(sorted(found))))).rows(named=True)


def _shares_of(part: pl.DataFrame) -> Shares:
    known = part.drop_nulls("value")
    unseen: list[float] = part.filter(pl.col("value").is_null())["share"].to_list()
    return Shares(known["value"].to_numpy(), known["share"].to_numpy(), next(iter(unseen), None))


def _mapped(file: Path) -> NDArray[Any]:
    return np.load(file, mmap_mode="r")
