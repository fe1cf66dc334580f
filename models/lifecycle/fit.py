"""One fit as a value: what `train` carries out, the card describes and the registry keeps."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from customer360.models.base import Model, Params

MARK_BYTES = 8  # two of a million people are mistaken for one another once in 37 million times


@dataclass(frozen=True)
class Fit:
    """`as_of`: the fit knows nothing of this day or later. `versions`: of every table that it reads; `content`: the
    digest of their rows (`content.of_inputs`), empty where it was not taken; `withheld`: who refuses, so that
    nothing of them is in it, None where that was not asked.
    """

    model: Model[Any, Any]
    params: Params
    as_of: date
    versions: Mapping[str, str | int]
    content: str = ""
    withheld: tuple[str, ...] | None = None


def marks(persons: Iterable[str]) -> bytes:
    """A mark of each person, not the id, sorted, one behind the other."""
    return b"".join(sorted(map(mark, persons)))


def mark(person: str) -> bytes:
    """`MARK_BYTES` that tell a person from others."""
    return hashlib.sha256(f"withheld\0{person}".encode()).digest()[:MARK_BYTES]
