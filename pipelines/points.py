"""Accounts of points rebuilt entry by entry: which points each redemption and expiry took, and where the books break.

Points are spent first in, first out, as most programmes spend them; an expiry takes points that are due. What an entry
takes beyond what the account holds stands as a lot below zero, which later points pay back. So what the movements add
up to is the balance, at every moment.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from heapq import heappop, heappush
from itertools import groupby
from operator import itemgetter
from typing import Any

import polars as pl

ACCOUNT = ["source_system", "customer_id"]
MOVEMENTS = ("OPENED", "REDEEMED", "EXPIRED", "ADJUSTED", "TAKEN_BACK", "RESTORED", "REINSTATED", "GIVEN_BACK",
             "OVERDRAWN", "REPAID")  # fmt: skip
BREAKS = (
    "OPENING_BALANCE", "BALANCE_DIFFERS", "NEGATIVE_BALANCE", "REDEEMED_BEFORE_EARNED", "EXPIRED_UNEARNED",
    "REVERSES_UNKNOWN", "REVERSES_TOO_MUCH",
)  # fmt: skip
BACK = {"REDEEMED": "RESTORED", "EXPIRED": "REINSTATED", "ADJUSTED": "REINSTATED", "TAKEN_BACK": "GIVEN_BACK"}
TAKES = {"REDEEM": "REDEEMED", "EXPIRE": "EXPIRED", "ADJUST": "ADJUSTED", "REVERSE": "TAKEN_BACK", "EARN": "TAKEN_BACK"}


def effects(ledger: pl.LazyFrame) -> pl.LazyFrame:
    """The entries of silver.loyalty_ledger with their ``effect`` on the balance and whether the entry that they reverse
    ``is_known``; rows of one account must be together.
    """
    points, kind = pl.col("points"), pl.col("entry_type")
    plain = ledger.with_columns(effect=pl.when(kind.is_in(["REDEEM", "EXPIRE"])).then(-points.abs()).otherwise(points))
    others = plain.filter(kind != "REVERSE").select(
        *ACCOUNT, reverses_entry_id="entry_id", reversed_effect="effect", reversed_at="occurred_at"
    )
    joined = plain.join(others, on=[*ACCOUNT, "reverses_entry_id"], how="left")
    is_known = (pl.col("reversed_at") <= pl.col("occurred_at")).fill_null(False)
    against = -pl.col("reversed_effect").sign() * points.abs()
    return joined.with_columns(
        is_known=is_known, effect=pl.when((kind == "REVERSE") & is_known).then(against).otherwise("effect")
    ).drop("reversed_effect", "reversed_at")


@dataclass(eq=False)
class _Lot:
    """Points that came together; below zero what was taken without being there."""

    entry: str
    at: int  # microseconds
    expires: int | None  # days
    left: int
    order: tuple[int, int] = (0, 0)  # of lots of an account, the oldest first
    kind: str = ""  # of a lot below zero: what took it
    is_overdue: bool = False


@dataclass(eq=False)
class _Taking:
    """What an entry took from a lot."""

    lot: _Lot
    points: int
    at: int  # microseconds
    kind: str


@dataclass
class _Account:
    """One account while its entries pass by in order."""

    most: dict[str, int]  # by entry: points that it moved
    moves: list[tuple[Any, ...]] = field(default_factory=list)
    breaks: list[tuple[Any, ...]] = field(default_factory=list)
    lots: list[_Lot] = field(default_factory=list)  # with points left, the oldest first, but those that are overdue
    overdue: list[_Lot] = field(default_factory=list)  # likewise
    dues: list[tuple[int, int, _Lot]] = field(default_factory=list)  # a heap by last day and number
    debts: list[_Lot] = field(default_factory=list)
    taken: dict[str, list[_Taking]] = field(default_factory=dict)  # by entry
    own: dict[str, _Lot] = field(default_factory=dict)  # by entry: the lot that it opened
    undone: dict[str, int] = field(default_factory=dict)  # by entry: points that were reversed of it
    balance: int = 0
    has_earned: bool = False
    offset: int | None = None  # what the source states beyond what is rebuilt

    def book(self, entry: dict[str, Any]) -> None:
        effect, before = entry["effect"], self.balance
        self.balance += effect
        self._judge(entry, before)
        if effect > 0:
            self._add(entry, effect)
        elif effect < 0:
            self._take(entry, -effect)
        self.has_earned |= effect > 0

    def _judge(self, entry: dict[str, Any], before: int) -> None:
        kind, effect = entry["entry_type"], entry["effect"]
        if kind == "REDEEM" and not self.has_earned and effect < 0:
            self._breaks(entry, "REDEEMED_BEFORE_EARNED", 0, None)
        if kind == "EXPIRE" and -effect > max(before, 0):
            self._breaks(entry, "EXPIRED_UNEARNED", max(before, 0), -effect)
        if self.balance < 0 <= before:
            self._breaks(entry, "NEGATIVE_BALANCE", self.balance, None)
        if kind == "REVERSE":
            of = entry["reverses_entry_id"]
            if not entry["is_known"]:
                if of is not None:  # a source that names none (Square, of a reward that was given up) is no fault
                    self._breaks(entry, "REVERSES_UNKNOWN", None, None)
            else:
                self.undone[of] = self.undone.get(of, 0) + abs(effect)
                if self.undone[of] > (most := self.most[of]):
                    self._breaks(entry, "REVERSES_TOO_MUCH", most, self.undone[of])

    def state(self, entries: list[dict[str, Any]]) -> None:
        """Compare what the source states at one moment with what is rebuilt: a difference is told once, where it
        arises. Of entries at one moment the source's own order is unknown, so one that closes it is enough."""
        said = [entry for entry in entries if entry["stated_balance"] is not None]
        if not said:
            return
        known = self.offset or 0
        if any(entry["stated_balance"] - self.balance == known for entry in said):
            self.offset = known
            return
        last = said[-1]
        name = "OPENING_BALANCE" if self.offset is None else "BALANCE_DIFFERS"
        self._breaks(last, name, self.balance + known, last["stated_balance"])
        self.offset = last["stated_balance"] - self.balance

    def _add(self, entry: dict[str, Any], points: int) -> None:
        if entry["entry_type"] == "REVERSE" and entry["is_known"]:
            points = self._restore(entry, points)
        if points:
            order = entry["occurred_at"], len(self.moves)
            lot = _Lot(entry["entry_id"], entry["occurred_at"], entry["expires_on"], points, order)
            self.own[lot.entry] = lot
            self._put(lot)
            self._move(entry, lot, "OPENED", points)
        self._settle(entry)

    def _restore(self, entry: dict[str, Any], points: int) -> int:
        """Give points back to the lots that they were taken from, the last first; what is left of them."""
        held = self.taken.get(entry["reverses_entry_id"], [])
        while held and points:
            last = held[-1]
            back, lot = min(last.points, points), last.lot
            last.points -= back
            if not last.points:
                held.pop()
            if lot.left == 0 and not lot.kind:
                self._put(lot)
            lot.left += back
            points -= back
            self._move(entry, lot, BACK[last.kind], back, last.at)
        self.debts = [lot for lot in self.debts if lot.left]
        return points

    def _settle(self, entry: dict[str, Any]) -> None:
        while self.debts and (self.lots or self.overdue):
            debt, lot = self.debts[0], min((*self.lots[:1], *self.overdue[:1]), key=lambda each: each.order)
            paid = min(-debt.left, lot.left)
            debt.left += paid
            self._move(entry, debt, "REPAID", paid)
            self._draw(entry, lot, debt.kind, paid)
            of = self.taken[debt.entry]
            for taking in of:
                taking.points -= paid if taking.lot is debt else 0
            of[:] = [*(taking for taking in of if taking.points), _Taking(lot, paid, entry["occurred_at"], debt.kind)]
            if not debt.left:
                self.debts.pop(0)

    def _take(self, entry: dict[str, Any], points: int) -> None:
        took, kind = self.taken.setdefault(entry["entry_id"], []), TAKES[entry["entry_type"]]
        for lot in self._order(entry):
            count = min(lot.left, points)
            points -= count
            took.append(_Taking(lot, count, entry["occurred_at"], kind))
            self._draw(entry, lot, kind, count)
            if not points:
                break
        if points:
            debt = _Lot(entry["entry_id"], entry["occurred_at"], None, -points, kind=kind)
            self.debts.append(debt)
            took.append(_Taking(debt, points, entry["occurred_at"], kind))
            self._move(entry, debt, "OVERDRAWN", -points)

    def _order(self, entry: dict[str, Any]) -> Iterator[_Lot]:
        """The lots in the order in which the entry takes from them; what comes later is looked for when it is asked
        for, as accounts of a card at a till hold thousands."""
        on = entry["occurred_on"]
        self._age(on)
        if entry["entry_type"] == "EXPIRE":
            due = [*self.overdue, *(lot for lot in self.lots if lot.expires == on)]
            yield from sorted(due, key=lambda lot: lot.expires or on)
            yield from sorted(self.lots, key=lambda lot: lot.expires or on)
            return
        own = self.own.get(entry["reverses_entry_id"]) if entry["is_known"] else None
        if own and own.left:
            yield own
        yield from list(self.lots)
        yield from list(self.overdue)

    def _put(self, lot: _Lot) -> None:
        insort(self.lots, lot, key=lambda each: each.order)
        if lot.expires is not None:
            heappush(self.dues, (lot.expires, len(self.moves), lot))  # a move follows, so no number comes twice

    def _age(self, on: int) -> None:
        """Lots whose last day is over before ``on`` are overdue from now on: days only pass."""
        while self.dues and self.dues[0][0] < on:
            lot = heappop(self.dues)[2]
            if lot.left and not lot.is_overdue:
                self.lots.remove(lot)
                lot.is_overdue = True
                insort(self.overdue, lot, key=lambda each: each.order)

    def _draw(self, entry: dict[str, Any], lot: _Lot, movement: str, points: int) -> None:
        lot.left -= points
        if not lot.left:
            (self.overdue if lot.is_overdue else self.lots).remove(lot)
            lot.is_overdue = False
        self._move(entry, lot, movement, -points)

    def _move(self, entry: dict[str, Any], lot: _Lot, movement: str, points: int, taken: int | None = None) -> None:
        self.moves.append((*_of(entry), lot.entry, lot.at, lot.expires, entry["entry_id"], entry["occurred_at"],
                           movement, points, taken))  # fmt: skip

    def _breaks(self, entry: dict[str, Any], name: str, expected: int | None, stated: int | None) -> None:
        self.breaks.append((*_of(entry), entry["entry_id"], entry["occurred_at"], name, entry["effect"], expected,
                            stated))  # fmt: skip


OWN = {"subject_id": pl.String, "person_id": pl.String, "source_system": pl.String, "customer_id": pl.String}
AT = pl.Datetime("us", "UTC")
MOVED = OWN | {
    "lot_id": pl.String, "lot_at": pl.Int64, "expires_on": pl.Int32, "entry_id": pl.String, "occurred_at": pl.Int64,
    "movement": pl.String, "points": pl.Int64, "taken_at": pl.Int64,
}  # fmt: skip
BROKEN = OWN | {
    "entry_id": pl.String, "occurred_at": pl.Int64, "break_type": pl.String, "points": pl.Int64,
    "expected_points": pl.Int64, "stated_points": pl.Int64,
}  # fmt: skip


def _of(entry: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(entry[column] for column in OWN)


def _accounts(ledger: pl.LazyFrame) -> Iterator[_Account]:
    """Each account with all of its entries booked: in order of time, at one moment what comes before what goes."""
    rows = effects(ledger).select(
        *OWN, "entry_id", "entry_type", "effect", "is_known", "reverses_entry_id", "stated_balance",
        pl.col("occurred_at").to_physical(), pl.col("expires_on").to_physical(),
        occurred_on=pl.col("occurred_at").dt.date().to_physical(),
    )  # fmt: skip
    ordered = rows.collect().sort(*ACCOUNT, "occurred_at", pl.col("effect") < 0, "entry_id")
    for _, group in groupby(ordered.iter_rows(named=True), key=itemgetter(*ACCOUNT)):
        entries = list(group)
        account = _Account({entry["entry_id"]: abs(entry["effect"]) for entry in entries})
        for _, moment in groupby(entries, key=itemgetter("occurred_at")):
            booked = list(moment)
            for entry in booked:
                account.book(entry)
            account.state(booked)
        yield account


def movements(ledger: pl.LazyFrame) -> pl.LazyFrame:
    """What each entry of silver.loyalty_ledger did to which points: one row per lot, entry and movement, with the
    columns of `MOVED`, times as such. Several of a kind are added up.
    """
    rows = [move for account in _accounts(ledger) for move in account.moves]
    moved = pl.LazyFrame(rows, schema=MOVED, orient="row").cast(
        {"lot_at": AT, "occurred_at": AT, "taken_at": AT, "expires_on": pl.Date}
    )
    key = [c for c in MOVED if c not in ("points", "taken_at")]
    return moved.group_by(key).agg(pl.col("points").sum(), pl.col("taken_at").max())


def breaks(ledger: pl.LazyFrame) -> pl.LazyFrame:
    """Where the books contradict themselves (`BROKEN`): one row per entry and kind."""
    rows = [found for account in _accounts(ledger) for found in account.breaks]
    return pl.LazyFrame(rows, schema=BROKEN, orient="row").cast({"occurred_at": AT})


def tiers_in_force(tiers: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """One row per person whom silver.loyalty_tiers knows before ``as_of``: the ``tier`` that holds then and since when
    (``tier_since``), null where none does; ``has_tier_changes`` is true. Of several accounts the latest tier counts,
    of tiers of one instant the last by name.
    """
    cut = pl.lit(as_of).cast(pl.Datetime("us", "UTC"))
    holds = pl.col("valid_to").is_null() | (pl.col("valid_to") >= cut)
    known = tiers.filter(pl.col("person_id").is_not_null(), pl.col("valid_from") < cut)
    return (
        known.sort("valid_from", "tier")
        .group_by("person_id", maintain_order=True)
        .agg(
            tier=pl.col("tier").filter(holds).last(),
            tier_since=pl.col("valid_from").filter(holds).last().dt.date(),
            has_tier_changes=pl.lit(True),
        )
    )


def with_tier(people: pl.LazyFrame, tiers: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """People whose ``loyalty_tier``, as the master data state it, is that of `tiers_in_force` where this knows them."""
    joined = people.join(tiers_in_force(tiers, as_of), on="person_id", how="left")
    tier = pl.when("has_tier_changes").then("tier").otherwise("loyalty_tier")
    return joined.with_columns(loyalty_tier=tier).drop("tier", "tier_since", "has_tier_changes")
