"""One fit as a value: what `train` carries out, the card describes and the registry keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from customer360.models.base import Model, Params


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
