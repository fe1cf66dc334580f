"""Which subjects a run has changed in the files of a table, so that whoever reads these next need not look for them.

A build by subject writes the file of a bucket whole where one of its subjects changed, and to compare all rows of two
such files costs as much as to make the next table of them. So units tell which subjects they changed, and the driver
hands that on within its run. Nothing of it is stored: what nobody tells is found by comparing, after a run that died
too, and an erasure has nothing to look for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from customer360.platform.lake import Add, File
from customer360.platform.tables import SUBJECT_KEYS

MOST = 5000  # subjects of a bucket that are told: more of them are few beside what a comparison reads


@dataclass(frozen=True)
class Touch:
    """One change of a table's bucket, from the files of some paths to those of others: ``keys`` are by column the
    subjects and persons of whom a row came, went or changed, ``share`` what part of the rows that is, about."""

    table: str
    bucket: int
    before: frozenset[str]
    after: frozenset[str]
    keys: Mapping[str, pl.Series]
    share: float


@dataclass(frozen=True)
class Told:
    """What is known of an input's bucket without a look at its rows: of these ``paths`` the rows of ``subjects`` alone
    are other ones."""

    paths: frozenset[str]
    subjects: pl.Series
    share: float


def keys_of(changed: Iterable[pl.DataFrame]) -> dict[str, pl.Series]:
    """The subjects and persons of some rows, each once, by column; None is none of them."""
    parts = list(changed)
    columns = [c for c in SUBJECT_KEYS if all(c in part.columns for part in parts)]
    return {c: pl.concat([part[c] for part in parts]).drop_nulls().unique() for c in columns}


def touch(
    table: str,
    bucket: int,
    before: Iterable[File | Add],
    after: Iterable[File | Add],
    changed: Iterable[pl.DataFrame],
    rows: int,
) -> Touch | None:
    """A change of a bucket that has ``rows`` now; None where it is of too many to be told."""
    parts = list(changed)
    keys = keys_of(parts)
    if any(len(found) > MOST for found in keys.values()):
        return None
    share = min(1.0, sum(part.height for part in parts) / rows) if rows else 1.0
    paths = [frozenset(f.path for f in files) for files in (before, after)]
    return Touch(table, bucket, paths[0], paths[1], keys, share)


@dataclass
class Touches:
    """What the units of a run have told so far; ``changes`` are pieces of the rows by which two states of an input
    differ, by its table and the paths of both, where somebody asked for them."""

    changes: dict[tuple[Any, ...], str] = field(default_factory=dict)
    _of: dict[tuple[str, int], list[Touch]] = field(default_factory=dict)

    def note(self, found: Iterable[Touch]) -> None:
        for each in found:
            self._of.setdefault((each.table, each.bucket), []).append(each)

    def between(self, table: str, bucket: int, key: str, then: Iterable[File], now: Iterable[File]) -> Told | None:
        """What brought a bucket of a table from the files of ``then`` to those of ``now``, its subjects by the column
        ``key``; None where a step is not known."""
        start, end = (frozenset(f.path for f in files) for files in (then, now))
        at, share, subjects = start, 0.0, list[pl.Series]()
        for step in self._of.get((table, bucket), ()):
            if at != end and step.before == at and key in step.keys:
                at, share = step.after, share + step.share
                subjects.append(step.keys[key])
        if at != end or not subjects:
            return None
        return Told(start | end, pl.concat(subjects).unique(), min(1.0, share))
