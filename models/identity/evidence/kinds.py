"""What a kind of entity is compared by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Kind:
    """`comparisons`: those of `weighing.comparisons.Comparison` that the model weighs. `sessions`: columns that pairs
    to learn from agree on. `prior_rules`: columns whose agreement is as good as proof."""

    comparisons: tuple[Any, ...]
    sessions: tuple[tuple[str, ...], ...]
    prior_rules: tuple[tuple[str, ...], ...]
