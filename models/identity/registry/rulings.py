"""What follows from all decisions of stewards: which records are one person, which are two, and what contradicts it.

Decisions are taken in their order. One that links makes one group of all groups that it touches; one that parts cuts
the groups that have records on both of its sides. So what is in force is always free of contradictions.

A *finding* (confirm, reject) says what is true of two records, and binds until it is taken back: whoever contradicts
it, directly or through others, is refused. It covers what else their persons held, as long as nothing else is said. A
*change* (merge, split, move, undo) says how persons stand, and gives way to a later change of the same persons, and to
a finding that meets nothing but it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

import polars as pl

MUST_LINK, CANNOT_LINK, OVERRIDE, WITHDRAWAL = "must link", "cannot link", "override", "withdrawal"
FINDINGS = ("confirm", "reject")
Records = frozenset[int]


@dataclass(frozen=True)
class Ruling:
    """A decision about two groups of records. `named`: the two that a finding is about."""

    number: int
    kind: str
    left: Records
    right: Records
    command: str | None
    actor: str
    decided_at: datetime
    reason: str | None
    named: tuple[int, ...] = ()

    @property
    def is_finding(self) -> bool:
        return self.command in FINDINGS

    def binds(self, left: Iterable[int], right: Iterable[int]) -> bool:
        """Whether it is a finding of which the two ends lie on these two sides. The end of a record that lies on
        neither is what else its person held."""
        left, right = set(left), set(right)
        if not self.is_finding:
            return False
        one, other = (
            {record} if record in left | right else set(side)
            for record, side in zip(self.named, (self.left, self.right), strict=True)
        )
        return bool((one & left and other & right) or (one & right and other & left))

    def __str__(self) -> str:
        why = f": {self.reason}" if self.reason else ""
        return f"decision {self.number} ({self.command or self.kind}, {self.actor}, {self.decided_at:%Y-%m-%d}{why})"


@dataclass
class Rulings:
    """What is in force. `links`: number of a decision to the groups of records that it links still, one unless others
    cut it. `group`: record to the group that it is one person with, `held`: the other way. `apart`: record to the
    records of other persons, each with the number of the decision."""

    rulings: dict[int, Ruling] = field(default_factory=dict)
    links: dict[int, list[set[int]]] = field(default_factory=dict)
    group: dict[int, int] = field(default_factory=dict)
    held: dict[int, set[int]] = field(default_factory=dict)
    apart: dict[int, dict[int, int]] = field(default_factory=dict)

    @staticmethod
    def of(decisions: pl.DataFrame, known: Iterable[int], without: Iterable[int] = ()) -> Rulings:
        """From rows of `silver.steward_decisions`, among the records that are `known` still, as if the decisions
        `without` had been taken back."""
        known = set(known)
        rows = decisions.sort("decision").to_dicts()
        gone = {*without, *(n for row in rows for n in row["withdraws"] or ())}
        found = Rulings()
        for row in rows:
            if row["kind"] in (MUST_LINK, CANNOT_LINK) and row["decision"] not in gone:
                left, right = (frozenset(row[side] or ()) & known for side in ("left", "right"))
                named = tuple(row[side][0] for side in ("left", "right") if row[side])
                said = {name: row[name] for name in ("command", "actor", "decided_at", "reason")}
                found.take(Ruling(row["decision"], row["kind"], left, right, named=named, **said))
        return found

    def take(self, ruling: Ruling) -> None:
        """Put one more decision in force."""
        self.rulings[ruling.number] = ruling
        if ruling.kind == MUST_LINK:
            self.links[ruling.number] = [set(ruling.left | ruling.right)]
            self._link(ruling.left | ruling.right)
        else:
            self._part(ruling)

    def _link(self, records: Records) -> None:
        whole = set(records).union(*(self.members(record) for record in records))
        self._hold(whole)
        for record in whole:
            told = self.apart.get(record, {})
            for other in whole & told.keys():
                del told[other]

    def _hold(self, records: set[int]) -> None:
        if not records:
            return
        label = min(records)
        for record in records:
            self.held.pop(self.group.get(record, record), None)
        for record in records:
            self.group[record] = label
        self.held[label] = records

    def _part(self, ruling: Ruling) -> None:
        left, right = ruling.left - ruling.right, ruling.right - ruling.left
        for label in {self.group[record] for record in left if record in self.group}:
            whole = self.held[label]
            one, other = whole & left, whole & right
            if one and other:
                rest = whole - one - other
                parts = (one | rest, other) if len(one) > len(other) else (one, other | rest)
                self._cut(whole, parts)
                del self.held[label]
                for part in parts:
                    for record in part:
                        self.group.pop(record)
                for part in parts:
                    self._hold(part)
        for record in left:
            self.apart.setdefault(record, {}).update(dict.fromkeys(right, ruling.number))
        for record in right:
            self.apart.setdefault(record, {}).update(dict.fromkeys(left, ruling.number))

    def _cut(self, whole: set[int], parts: Sequence[set[int]]) -> None:
        for number, linked in self.links.items():
            if any(group & whole for group in linked):
                cut = [group & part for group in linked for part in (*parts, group - whole)]
                self.links[number] = [group for group in cut if group]

    def members(self, record: int) -> set[int]:
        """The records that are one person with this one by decision, itself among them."""
        return self.held.get(self.group.get(record, record), {record})

    def whole(self, records: Iterable[int]) -> set[int]:
        """The records with all that is one person with them by decision."""
        return set().union(*map(self.members, records))

    def between(self, left: Iterable[int], right: Iterable[int]) -> dict[int, list[tuple[int, int]]]:
        """Decisions that keep records of the one side from some of the other: number to such pairs. Both sides with
        all that is one person with them by decision."""
        whole_left, whole_right = self.whole(left), self.whole(right)
        found: dict[int, list[tuple[int, int]]] = {}
        for record in sorted(whole_left):
            for other, number in sorted(self.apart.get(record, {}).items()):
                if other in whole_right:
                    found.setdefault(number, []).append((record, other))
        return found

    def path(self, one: int, other: int) -> list[Ruling]:
        """The fewest decisions by which two records are one person; empty where none says so."""
        if other not in self.members(one):
            return []
        through: dict[int, tuple[int, Ruling]] = {}
        waiting, seen = deque([one]), {one}
        while waiting and other not in seen:
            record = waiting.popleft()
            for number, linked in self.links.items():
                for near in sorted(set().union(*(group for group in linked if record in group)) - seen):
                    through[near] = record, self.rulings[number]
                    seen.add(near)
                    waiting.append(near)
        found, at = [], other
        while at != one and at in through:
            at, ruling = through[at]
            found.append(ruling)
        return list(reversed(found))

    def linking(self, record: int) -> list[Ruling]:
        """The decisions that hold a record's group together, those that others cut left out."""
        whole = self.members(record)
        return [self.rulings[n] for n, groups in self.links.items() if len(groups) == 1 and len(groups[0] & whole) > 1]

    def pairs(self) -> list[tuple[int, int, int]]:
        """(record, record, decision) that keep each other apart, once each, the lower number first."""
        return sorted((a, b, n) for a, told in self.apart.items() for b, n in told.items() if a < b)

    def spanning(self, order: dict[int, str]) -> list[tuple[int, int, int]]:
        """(record, record, decision): as few pairs as join each group, by its newest decisions; records in `order`."""
        root: dict[int, int] = {}

        def find(record: int) -> int:
            while root.setdefault(record, record) != record:
                record = root[record]
            return record

        kept = []
        for number, groups in sorted(self.links.items(), reverse=True):
            ordered = [sorted(records, key=lambda r: order[r]) for records in groups]
            for one, other in (pair for records in ordered for pair in pairwise(records)):
                if find(one) != find(other):
                    root[find(one)] = find(other)
                    kept.append((one, other, number))
        return kept


def told(rulings: Sequence[Ruling]) -> str:
    """Decisions by number, who, when and why, for a message."""
    return "; ".join(str(r) for r in sorted(rulings, key=lambda r: r.number))
