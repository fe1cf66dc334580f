"""Records by block key, for looking up one record at request time.

An index is a folder: a part with all records (`parts`), memory-mapped; the shares of values and the hubs (`pins.*`)
and the rules. Every process that opens it shares its pages, and a look-up touches a few of them. It never changes: what
a batch brings makes another one, of the same large files and a small part beside them (`renewal`), with the records
that came or changed since the large one was written; their rows in that are hidden.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa

from customer360.models.identity.batch import pins as pinning
from customer360.models.identity.batch.pins import Pins
from customer360.models.identity.batch.standing import versioned
from customer360.models.identity.evidence.features import IDENTIFIER_PREFIX
from customer360.models.identity.lookup.evidence import Shares, SingleEvidence
from customer360.models.identity.lookup.parts import Numbers, Part, mapped
from customer360.models.identity.rules import IdentityRules
from customer360.models.identity.stitching import NUMBER_PREFIX
from customer360.models.identity.weighing.model import IdentityModel
from customer360.platform import graph
from customer360.platform.errors import ModelError

if TYPE_CHECKING:
    from customer360.models.identity.lookup.scorer import Scorer

FORMAT = 7  # of the files; another one is written again
FREQUENCIES, HUBS, MANIFEST = "frequencies.arrow", "hubs.arrow", "index.json"
CHANGED = "changed-"  # names of the small part's files begin so
HIDDEN = "hidden.npy"  # rows of the large part, in order


class IdentityIndexError(ModelError):
    """There is no index, or one whose keys this version of the library hashes in another way."""


def write_index(folder: Path, records: pl.DataFrame, persons: pl.DataFrame, pins: Pins, rules: IdentityRules) -> None:
    """Write an index of customer records (as `standardize` takes them), each with its person of ``persons``
    (record_id, person_id)."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder, part_of(records, persons, pins, rules), pins, rules)


def write_whole(folder: Path, part: Part, pins: Pins, rules: IdentityRules) -> None:
    """Write an index of one part. The manifest is written last: a folder without one is no index."""
    part.write(folder, "")
    pins.frequencies.write_ipc(folder / FREQUENCIES)
    pins.hubs.write_ipc(folder / HUBS)
    write_manifest(folder, made_of(pins, rules) | {"ranges": part.ranges, "changed": None})


def part_of(records: pl.DataFrame, persons: pl.DataFrame, pins: Pins, rules: IdentityRules) -> Part:
    """What an index holds of customer records that have a person."""
    rows = versioned(pinning.evidence(records, pins, rules), pins)
    rows = rows.join(persons.select("record_id", "person_id"), on="record_id", how="inner", maintain_order="left")
    return Part.of(rows, _numbers(rules))


def made_of(pins: Pins, rules: IdentityRules) -> dict[str, Any]:
    """Of a manifest all but what the records decide. Records and person apart, nothing else decides what an index
    says."""
    return {
        "format": FORMAT,
        "polars": pl.__version__,
        "code": graph.code_fingerprint(part_of, []),
        "pins": pins.version,
        "caps": pins.caps | _numbers(rules),
        "model": pins.model.model_dump(mode="json"),
        "rules": rules.model_dump(mode="json"),
        "records": pins.records,
        "basis": pins.basis,
    }


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write what makes a folder an index."""
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


def _numbers(rules: IdentityRules) -> dict[str, int]:
    """Columns with a verified number, and the most records that may share one."""
    return {NUMBER_PREFIX + i.column: i.max_records for i in rules.stitching.identifiers}


@dataclass(frozen=True)
class IdentityIndex:
    """An opened index; safe to use from several threads."""

    folder: Path
    manifest: Mapping[str, Any]
    base: Part
    changed: Part | None = None
    hidden: Numbers = field(default_factory=lambda: np.empty(0, dtype=np.int64))

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
        base = Part.open(folder, "", manifest["ranges"])
        if manifest["changed"] is None:
            return cls(folder, manifest, base)
        return cls(folder, manifest, base, Part.open(folder, CHANGED, manifest["changed"]), mapped(folder / HIDDEN))

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
        names = (name for name in self.base.records.schema.names if name.startswith(IDENTIFIER_PREFIX))
        return tuple(name.removeprefix(IDENTIFIER_PREFIX) for name in names)

    @cached_property
    def numbers(self) -> tuple[str, ...]:
        """Columns with a verified number that the records have."""
        names = (name for name in self.base.records.schema.names if name.startswith(NUMBER_PREFIX))
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
        others: set[int] = set()
        for name in self.manifest["ranges"]:
            key, cap = row.get(name), self.manifest["caps"][name]
            if key is None:
                continue
            base = self.base.sharing(name, key)
            more = base[:0] if self.changed is None else self.changed.sharing(name, key)
            if len(base) + len(more) - len(self.hidden) < cap:
                base = _without(base, self.hidden)
                if len(base) + len(more) < cap:  # with the asked record it would be one more
                    found.update(base.tolist())
                    others.update(more.tolist())
        parts = ((self.base, found), (self.changed, others))
        taken = [part.take(rows) for part, rows in parts if part is not None and rows]
        if not taken:
            return []
        # Both at once: what many columns cost to hand over is more than what some rows do.
        known = pl.DataFrame(pl.from_arrow(pa.Table.from_batches(taken))).rows(named=True)
        return sorted(known, key=lambda row: str(row["record_id"]))


def _without(rows: Numbers, hidden: Numbers) -> Numbers:
    """The rows that are not hidden; those lie in order."""
    if not len(hidden):
        return rows
    places = np.searchsorted(hidden, rows)
    return rows[hidden[np.minimum(places, len(hidden) - 1)] != rows]


def _shares_of(part: pl.DataFrame) -> Shares:
    known = part.drop_nulls("value")
    unseen: list[float] = part.filter(pl.col("value").is_null())["share"].to_list()
    return Shares(known["value"].to_numpy(), known["share"].to_numpy(), next(iter(unseen), None))
