"""The evidence of one record within a request: what `pins.evidence` makes of it, without a query."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from customer360.models.identity.evidence import features
from customer360.models.identity.evidence.features import IDENTIFIER_PREFIX
from customer360.models.identity.evidence.standardize import RAW_COLUMNS, STANDARD_COLUMNS, stages
from customer360.models.identity.evidence.steps import Listed, Parsed, Stage, Step
from customer360.models.identity.lookup.from_polars import Program
from customer360.models.identity.rules import IdentityRules
from customer360.models.identity.stitching import NUMBER_PREFIX, OWN_PREFIX, number_texts
from customer360.models.identity.weighing.comparisons import JOINT, NAMES, borne
from customer360.platform.errors import ModelError

Values = dict[str, Any]


@dataclass(frozen=True)
class Shares:
    """Of one column the hashes of its values in order, the share of each, and that of a value that is not there."""

    values: NDArray[np.int64]
    shares: NDArray[np.float64]
    unseen: float | None

    def of(self, value: int | None) -> float | None:
        """Null where nobody has the value."""
        if value is None:
            return None
        place = int(np.searchsorted(self.values, value))
        is_there = place < len(self.values) and self.values[place] == value
        return float(self.shares[place]) if is_there else None

    def borne(self, value: int | None) -> float | None:
        """As `comparisons.borne` says."""
        found = self.of(value)
        return self.unseen if found is None and value is not None else found


class RecordError(ModelError):
    """A record that is asked about holds what is neither text nor a date."""


class Derivation:
    """`Derivation(of)(values)` adds to the values of one record what the stages `of` make of them."""

    def __init__(self, of: Iterable[Stage]) -> None:
        self._steps = [_compiled(step) for stage in of for step in stage.steps]

    def __call__(self, values: Mapping[str, Any]) -> Values:
        row = dict(values)
        for step in self._steps:
            row.update(step(row))
        return row


def _compiled(step: Step) -> Callable[[Values], Values]:
    if isinstance(step, Listed):
        table = dict(step.table.select(step.of, step.name).iter_rows())
        name, of = step.name, step.of
        return lambda row: {name: table.get(row[of])}
    if isinstance(step, Parsed):
        return _parser(step)
    return Program(step)


def _parser(step: Parsed) -> Callable[[Values], Values]:
    where = Program({"where": step.where})

    def parse(row: Values) -> Values:
        wanted = where(row)["where"]
        return {step.name: step.function(*(row[name] for name in step.of)) if wanted else None}

    return parse


class SingleEvidence:
    """Evidence of one record, as `pins.evidence` gives it for many.

    `hubs`: hashes by column, mail domains as `domain`; `shares`: by column;
    `identifiers`: columns with a person's own number that the other records have; `numbers`: those with a verified one.
    """

    def __init__(
        self,
        rules: IdentityRules,
        identifiers: Iterable[str],
        numbers: Iterable[str],
        hubs: Mapping[str, frozenset[int]],
        shares: Mapping[str, Shares],
    ) -> None:
        self._names = tuple(dict.fromkeys((*RAW_COLUMNS, *identifiers, *numbers)))
        self._hubs, self._shares = hubs, shares
        blocking = rules.blocking.model_copy(update={"identifiers": tuple(identifiers)})
        compared = features.compared(rules.model_copy(update={"blocking": blocking}), self._names)
        own = [IDENTIFIER_PREFIX + name for name in identifiers]
        parts = features.key_parts(own)
        self._standard = Derivation(stages(rules.standardization))
        self._compared = Program(compared)
        self._derived = Derivation((*features.derived(rules.standardization, True), *features.sounds()))
        self._parts, self._part_names = Program(parts), tuple(parts)
        self._keys = features.block_keys(own)
        texts = number_texts(numbers, rules.stitching)
        self._numbers, self._number_names = Program(texts), tuple(texts)
        self._own = tuple(
            i.column for i in rules.stitching.identifiers if i.max_per_person == 1 and i.column in numbers
        )
        self._domain = Program(_DOMAIN)

    def __call__(self, record: Mapping[str, Any]) -> Values:
        """Raises RecordError."""
        raw = {name: _text(name, record.get(name)) for name in self._names}
        standard = self._standard(raw)
        self._close_hubs(standard)
        row = self._derived(self._compared(raw | {name: standard[name] for name in STANDARD_COLUMNS}))
        row |= self._domain(row) | self._numbers(raw)
        columns = ("domain", *self._shares, *self._number_names)
        texts = [row[name] for name in columns] + list(self._parts(row).values())
        hashed = hashes(texts)
        found = dict(zip(columns, hashed, strict=False))
        codes = dict(zip(self._part_names, hashed[len(columns) :], strict=True))
        row |= {key: _key([codes[part] for part in of]) for key, of in self._keys.items()}
        row["email_own"] = None if found["domain"] in self._hubs.get("domain", ()) else row["email"]
        for name in self._number_names:
            row[name] = found[name]
        for column in self._own:
            name = NUMBER_PREFIX + column
            row[OWN_PREFIX + column] = None if row[name] in self._hubs.get(name, ()) else row[name]
        row |= {column: None for name in NAMES for column in (f"tf_{name}", borne(name))}
        for name, shares in self._shares.items():
            row[f"tf_{name}"] = shares.of(found[name])
            if name in NAMES:
                row[borne(name)] = shares.borne(found[name])
        return row | {f"tf_{name}": _joint(row, *parts) for name, parts in JOINT.items()}

    def _close_hubs(self, standard: Values) -> None:
        """Null a contact value or birth date of too many names, and what goes with it."""
        columns = ("email_std", "phone_std", "dob_std")
        for name, wanted in zip(columns, hashes([standard[name] for name in columns]), strict=True):
            if wanted in self._hubs.get(name, ()):
                standard[name] = None
        if standard["email_std"] is None:
            standard["email_user"] = None


_DOMAIN = {"domain": pl.col("email").str.split("@").list.last()}


def hashes(values: list[str | None]) -> list[int | None]:
    """Of texts, as the records of an index have them (`pins.hashed`)."""
    texts = pl.DataFrame({"text": values}, schema={"text": pl.String})
    found = texts.select(pl.col("text").hash(seed=0).reinterpret(signed=True)).to_series().to_list()
    return [None if value is None else made for value, made in zip(values, found, strict=True)]


def _key(codes: list[int | None]) -> int | None:
    known = [code for code in codes if code is not None]
    return features.wrapped(features.joined(known)) if len(known) == len(codes) else None


def _joint(row: Values, columns: Iterable[str], part: float) -> float | None:
    shares = [row.get(f"tf_{column}") for column in columns]
    known = [share for share in shares if share is not None]
    return math.prod(known) * part if len(known) == len(shares) else None


def _text(name: str, value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, date):
        return value.isoformat()
    raise RecordError(f"{name} of the record is of type {type(value).__name__}; it must be text, or a date")
