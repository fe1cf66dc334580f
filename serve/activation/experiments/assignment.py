"""Who is in which arm: a hash, so that nothing is stored, every server says the same, and so does any other language.

    u(salt, subject) = the first 13 hexadecimal digits of SHA-256 over the UTF-8 text ``salt:subject``, over 16^13

lies in [0, 1), exactly as a double. A subject is

- held out of all experiments where u(holdout salt) is below the holdout's share;
- in an experiment of a layer where u("layer/" layer) lies in its slots, so that two of one layer share nobody;
- in it at all where u(salt "/share") is below its share;
- in the arm in whose part of [0, 1), shares added up in their order, u(salt) falls.

docs/marketer-and-steward.md has values to test another implementation with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import Any

from customer360.pipelines.experiments import Experiment, Holdout, Metric, Unit
from customer360.serve.activation.bandits import LinUcb, Thompson

DIGITS = 13  # of hexadecimal: 52 bits, which a double holds


@dataclass(frozen=True)
class Started:
    """An experiment as it was when it started, which the file can no longer change."""

    name: str
    definition: Experiment
    metrics: dict[str, Metric]  # that it names, and those that they are ratios to
    holdout: Holdout
    started_at: datetime
    stopped_at: datetime | None = None
    because: str = ""  # why it was stopped
    learnt: Thompson | LinUcb | None = None  # of a bandit
    edition: int = 0  # of what it learnt

    @property
    def salt(self) -> str:
        return self.definition.salt or self.name

    @property
    def is_running(self) -> bool:
        return self.stopped_at is None


def place(salt: str, subject: str) -> float:
    """Where a subject lies in [0, 1): uniform, and independent between salts."""
    digits = hashlib.sha256(f"{salt}:{subject}".encode()).hexdigest()[:DIGITS]
    return int(digits, 16) / float(16**DIGITS)


def arm_at(shares: Mapping[str, float], at: float) -> str:
    """The arm in whose part of [0, 1) a place falls; rounding of the sum leaves nobody without one."""
    ends = accumulate(shares.values())
    return next((arm for arm, end in zip(shares, ends, strict=True) if at < end), list(shares)[-1])


def is_held_out(holdout: Holdout, subject: str) -> bool:
    return place(holdout.salt, subject) < holdout.share


def takes_part(of: Started, subject: str, attributes: Mapping[str, Any] | None = None) -> bool:
    """Whether a subject is in one of the arms. An attribute that is unknown does not qualify."""
    asked, known = of.definition, attributes or {}
    if not of.is_running or is_held_out(of.holdout, subject):
        return False
    if any(not _is_one(known.get(name), values) for name, values in asked.where.items()):
        return False
    if asked.layer is not None and not asked.slots[0] <= place(f"layer/{asked.layer}", subject) < asked.slots[1]:
        return False
    return asked.share >= 1 or place(f"{of.salt}/share", subject) < asked.share


def _is_one(value: Any, values: Iterable[Any]) -> bool:
    """Whether a value is among others, heeding what kind it is: true is not 1."""
    return any(value == other and isinstance(value, bool) == isinstance(other, bool) for other in values)


def chosen(of: Started, subject: str, attributes: Mapping[str, Any] | None = None) -> tuple[str, float]:
    """The arm of a subject that takes part, and how likely it was. A bandit's arm follows its shares, and is drawn anew
    with each edition of them."""
    if of.learnt is None:
        shares, salt = of.definition.arms, of.salt
    else:
        shares, salt = of.learnt.shares(attributes), f"{of.salt}/{of.edition}"
    arm = arm_at(shares, place(salt, subject))
    return arm, shares[arm]


def assign(
    experiments: Iterable[Started],
    subject: str,
    *,
    attributes: Mapping[str, Any] | None = None,
    unit: Unit = "person",
    refused: Iterable[str] = (),
) -> dict[str, str]:
    """The arm of a subject by experiment that it is in. Pure: no clock, no I/O; equal arguments, equal answer.

    ``subject`` is a person id, or a visitor's with ``unit`` visitor; experiments over the other unit are left out.
    ``attributes`` are what conditions and bandits ask for. ``refused`` are the purposes that the subject does not
    allow: experiments for these are left out.
    """
    no = frozenset(refused)
    return {
        each.name: chosen(each, subject, attributes)[0]
        for each in experiments
        if each.definition.unit == unit and each.definition.purpose not in no and takes_part(each, subject, attributes)
    }
