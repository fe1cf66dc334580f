"""The loyalty programme's books: points earned and redeemed by receipts and from the catalogue of rewards, expiry after
a year, and tiers; a few entries are wrong, and the truth says which."""

from __future__ import annotations

from collections import deque

import numpy as np
import polars as pl

from customer360.pipelines.sample.sales import COMPLETED, EXCHANGE, PURCHASE, words
from customer360.pipelines.sample.streams import spread
from customer360.pipelines.sample.visits import DAY_US, midnight_us
from customer360.pipelines.sample.world import World

KINDS = ("EARN", "REDEEM", "EXPIRE", "ADJUST", "REVERSE")
EARN, REDEEM, EXPIRE, ADJUST, REVERSE = range(5)
WELCOME_POINTS = 200
VALID_DAYS = 365
REDEEM_SHARE, LEAST_REDEEMED = 0.3, 200  # of purchases with so many points: all full hundreds are spent
CATALOGUE_MONTHLY = 0.05  # of members, a reward that is no receipt
GOODWILL_SHARE = 0.05  # of members, points after a complaint
WRONG_SHARE = 0.01  # of entries: the stated balance is off from there on
TIERS, FLOORS = ("BRONZE", "SILVER", "GOLD", "PLATINUM"), (300, 900, 2000)  # points earned within a year
REVIEW_DAYS = 91


def _earnings(world: World) -> pl.DataFrame:
    """What receipts, joining and goodwill bring, and chances to redeem, in order of member and time: member (row of the
    CRM's accounts), at, kind, points (null: a chance to redeem), reference (receipt, -1), undoes (receipt, -1)."""
    rng, members = world.streams.stream("loyalty.entries"), world.accounts.filter(source_system="CRM")
    row_of = members.select("person", "registered").with_row_index("member").cast({"member": pl.Int64})
    midnight = midnight_us(world.start_on)
    receipts = (
        world.sales.receipts.with_row_index("receipt").cast({"receipt": pl.Int64})
        .filter((pl.col("status") == COMPLETED) & pl.col("member") & (pl.col("kind") != EXCHANGE))
        .drop("member")
        .join(row_of, on="person")
        .filter(pl.col("day") >= pl.col("registered"))
        .select("member", "at", "kind", "receipt", "origin", points=(pl.col("total").abs() // 100).cast(pl.Int64))
        .sort("member", "at", "receipt")
    )  # fmt: skip
    bought = receipts.filter(kind=PURCHASE)
    back = receipts.filter(pl.col("kind") != PURCHASE)
    joined = np.maximum(row_of["registered"].to_numpy(), 0)
    months = np.maximum((world.days - joined) // 30, 0)
    owner, month = spread(months)
    asks = rng.random(len(owner)) < CATALOGUE_MONTHLY
    owner, month = owner[asks], month[asks]
    catalogue = midnight + (joined[owner] + month * 30 + rng.integers(0, 30, len(owner))) * DAY_US + 12 * DAY_US // 24
    given = np.flatnonzero(rng.random(len(joined)) < GOODWILL_SHARE)
    goodwill = midnight + (joined[given] + rng.integers(0, 200, len(given))) * DAY_US + 15 * DAY_US // 24
    chance = rng.random(bought.height) < REDEEM_SHARE
    none = pl.lit(-1, pl.Int64)
    parts = [
        bought.select("member", "at", "points", reference="receipt", kind=pl.lit(EARN), undoes=none),
        bought.filter(pl.Series(chance)).select(
            "member", pl.col("at") - 1_000_000, pl.lit(None, pl.Int64).alias("points"), reference="receipt",
            kind=pl.lit(REDEEM), undoes=none,
        ),
        back.select("member", "at", "points", reference="receipt", kind=pl.lit(REVERSE), undoes="origin"),
        _plain(np.arange(len(joined)), midnight + joined * DAY_US + 8 * DAY_US // 24, EARN, WELCOME_POINTS),
        _plain(owner, catalogue, REDEEM, None),
        _plain(given, goodwill, ADJUST, 150),
    ]  # fmt: skip
    columns = ["member", "at", "kind", "points", "reference", "undoes"]
    rows = pl.concat([part.select(columns) for part in parts], how="vertical_relaxed")
    end = midnight + world.days * DAY_US
    return rows.filter(pl.col("at") < end).sort("member", "at", "kind", "reference")


def _plain(member: np.ndarray, at: np.ndarray, kind: int, points: int | None) -> pl.DataFrame:
    count = len(member)
    return pl.DataFrame({"member": member, "at": at}).with_columns(
        kind=pl.lit(kind), points=pl.lit(points, pl.Int64), reference=pl.lit(-1, pl.Int64), undoes=pl.lit(-1, pl.Int64)
    ).head(count)  # fmt: skip


def _booked(world: World) -> pl.DataFrame:
    """The ledger: member, at, kind, points (signed), reference, undoes (number of the entry, -1), expires (day, -1),
    balance, number."""
    out: list[tuple[int, int, int, int, int, int, int, int]] = []
    last_day, start = world.days, midnight_us(world.start_on)
    member, lots, balance, earned = -1, deque[list[int]](), 0, dict[int, tuple[int, int]]()

    def book(at: int, kind: int, points: int, reference: int = -1, undoes: int = -1, expires: int = -1) -> None:
        nonlocal balance
        balance += points
        out.append((member, at, kind, points, reference, undoes, expires, balance))

    def take(points: int) -> None:
        while points and lots:
            used = min(points, lots[0][1])
            lots[0][1] -= used
            points -= used
            if not lots[0][1]:
                lots.popleft()

    def lapse(until: int) -> None:
        while lots and lots[0][0] < until:
            day, points = lots.popleft()
            book(start + (day + 1) * DAY_US, EXPIRE, -points)

    for who, at, kind, points, reference, undoes in _earnings(world).iter_rows():
        if who != member:
            if member >= 0:
                lapse(last_day - 1)
            member, balance, earned = who, 0, {}
            lots.clear()
        day = (at - start) // DAY_US
        lapse(day)
        if kind == REDEEM:
            spent = balance // 100 * 100
            if spent >= LEAST_REDEEMED:
                take(spent)
                book(at, REDEEM, -spent, reference)
        elif kind == REVERSE:
            number, own = earned.pop(undoes, (-1, 0))
            if number >= 0 and (undone := min(points, own, max(balance, 0))):
                take(undone)
                book(at, REVERSE, -undone, reference, number)
        elif points:
            if kind == EARN and reference >= 0:
                earned[reference] = (len(out), points)
            lots.append([day + VALID_DAYS, points])
            book(at, kind, points, reference, -1, day + VALID_DAYS)
    if member >= 0:
        lapse(last_day - 1)
    names = ("member", "at", "kind", "points", "reference", "undoes", "expires", "balance")
    schema = dict.fromkeys(names, pl.Int64)
    return pl.DataFrame(out, schema=schema, orient="row").with_row_index("number").cast({"number": pl.Int64})


def _stated(world: World) -> pl.DataFrame:
    """The ledger with ``slip``, by how many points more the stated balance is off from an entry on, and ``off``, by how
    many it is in all."""
    rng, rows = world.streams.stream("loyalty.wrong"), _booked(world)
    slip = np.where(rng.random(rows.height) < WRONG_SHARE, rng.integers(1, 50, rows.height) * 10, 0)
    return rows.with_columns(slip=pl.Series(slip, dtype=pl.Int64)).with_columns(
        off=pl.col("slip").cum_sum().over("member")
    )


def _entry_id(number: str, world: World) -> pl.Expr:
    return pl.format("LE{}{}", pl.lit(world.label), (pl.col(number) + 1).cast(pl.String).str.zfill(8))


def ledger_rows(world: World) -> pl.DataFrame:
    """LOYALTY_LEDGER, one row per entry."""
    members = world.accounts.filter(source_system="CRM")["customer_id"]
    rows = _stated(world)
    receipt = pl.format("T{}{}", pl.lit(world.label), (pl.col("reference")).cast(pl.String).str.zfill(10))
    return rows.select(
        ENTRY_ID=_entry_id("number", world),
        CUSTOMER_ID=members.gather(rows["member"]),
        ENTRY_TYPE=words(rows["kind"], KINDS),
        POINTS="points",
        ENTRY_DATE=pl.col("at").cast(pl.Datetime("us", "UTC")),
        REFERENCE_ID=pl.when(pl.col("reference") >= 0).then(receipt),
        REVERSES_ENTRY_ID=pl.when(pl.col("undoes") >= 0).then(_entry_id("undoes", world)),
        EXPIRY_DATE=pl.when(pl.col("expires") >= 0).then(pl.lit(world.start_on) + pl.duration(days="expires")),
        BALANCE_AFTER=pl.col("balance") + pl.col("off"),
        REASON=pl.when(pl.col("kind") == ADJUST).then(pl.lit("goodwill")),
    )


def tier_rows(world: World) -> pl.DataFrame:
    """LOYALTY_TIERS, one row per change: reviewed every quarter by the points earned within a year."""
    members = world.accounts.filter(source_system="CRM")
    joined = np.maximum(members["registered"].to_numpy(), 0)
    earned = _booked(world).filter(kind=EARN)
    start = midnight_us(world.start_on)
    day, owner = (earned["at"].to_numpy() - start) // DAY_US, earned["member"].to_numpy()
    before, parts = np.full(len(members), -1), []
    for review in range(0, world.days, REVIEW_DAYS):
        recent = (day < review) & (day >= review - VALID_DAYS)
        points = np.bincount(owner[recent], weights=earned["points"].to_numpy()[recent], minlength=len(members))
        level = np.searchsorted(np.array(FLOORS), points, side="right")
        new = (joined < review) | (review == 0) & (joined == 0)
        changed = np.flatnonzero(new & (level != before))
        parts.append(pl.DataFrame({"member": changed, "day": np.full(len(changed), review), "tier": level[changed],
                                   "before": before[changed]}))  # fmt: skip
        before[changed] = level[changed]
    rows = pl.concat(parts).sort("day", "member").with_row_index("number").cast({"number": pl.Int64})
    known = pl.col("before") >= 0
    at = pl.lit(start) + pl.col("day") * DAY_US + 2 * DAY_US // 24
    return rows.select(
        CHANGE_ID=pl.format("LT{}{}", pl.lit(world.label), (pl.col("number") + 1).cast(pl.String).str.zfill(8)),
        CUSTOMER_ID=members["customer_id"].gather(rows["member"]),
        TIER=words(rows["tier"], TIERS),
        CHANGE_DATE=at.cast(pl.Datetime("us", "UTC")),
        PREVIOUS_TIER=pl.when(known).then(words(pl.Series(np.maximum(rows["before"].to_numpy(), 0)), TIERS)),
        VALID_UNTIL=pl.lit(None, pl.Date),
        REASON=pl.when(~known).then(pl.lit("JOINED")).when(pl.col("tier") > pl.col("before")).then(pl.lit("QUALIFIED"))
        .otherwise(pl.lit("DOWNGRADED")),
    )  # fmt: skip


def loyalty_truth(world: World) -> pl.DataFrame:
    """One row per member with entries: customer_id, balance, and how many of its stated balances begin to be off."""
    members = world.accounts.filter(source_system="CRM")["customer_id"]
    told = (
        _stated(world)
        .group_by("member", maintain_order=True)
        .agg(balance_points=pl.col("points").sum(), wrong_count=(pl.col("slip") > 0).sum().cast(pl.Int64))
    )
    return told.select("balance_points", "wrong_count", customer_id=members.gather(told["member"]))
