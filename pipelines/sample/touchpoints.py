"""What no shop system records: visits to a store, talks with its staff, catalogues by post, reviews and referrals.

Who is about to buy in a store comes by first, more often than chance would have it; reviews and referrals follow a
purchase. Staff know members by their card; a share of the visitors shows none.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from customer360.pipelines.sample.sales import COMPLETED, PURCHASE, words
from customer360.pipelines.sample.visits import DAY_US, midnight_us
from customer360.pipelines.sample.world import World

TYPES = ("STORE_VISIT", "CONSULTATION", "CATALOGUE", "REVIEW", "REFERRAL")
VISIT, CONSULTATION, CATALOGUE, REVIEW, REFERRAL = range(5)
CHANNELS = ("STORE", "STORE", "POST", "ONLINE", "ONLINE")  # by type
BEFORE_SHARES = {VISIT: 0.3, CONSULTATION: 0.12}  # of a member's purchases in a store
AFTER_SHARES = {REVIEW: 0.05, REFERRAL: 0.02}  # of all purchases of members
CATALOGUE_DAYS, CATALOGUE_SHARE = 91, 0.25  # every quarter, to so many members
UNKNOWN_SHARE, LOCATED_SHARE = 0.05, 0.9  # show no card; agreed to be located, of the visits to a store


def touchpoint_rows(world: World) -> pl.DataFrame:
    """TOUCHPOINTS, one row each, in order of time."""
    rng, members = world.streams.stream("touchpoints"), world.accounts.filter(source_system="CRM")
    row_of = members.select("person", "registered").with_row_index("member").cast({"member": pl.Int64})
    bought = (
        world.sales.receipts.filter((pl.col("status") == COMPLETED) & (pl.col("kind") == PURCHASE))
        .drop("member")
        .join(row_of, on="person", maintain_order="left")
        .filter(pl.col("day") >= pl.col("registered"))
    )
    in_store, count = ~bought["online"].to_numpy(), bought.height
    at, member, store = (bought[c].to_numpy() for c in ("at", "member", "store"))
    parts = []
    for kind, share in (BEFORE_SHARES | AFTER_SHARES).items():
        chosen = rng.random(count) < share
        chosen &= in_store if kind in BEFORE_SHARES else True
        days = rng.exponential(3.0 if kind in BEFORE_SHARES else 6.0, count) + 0.02
        moved = at + (np.where(kind in BEFORE_SHARES, -1, 1) * days * DAY_US).astype(np.int64)
        parts.append(_part(member[chosen], moved[chosen], kind, store[chosen]))
    joined, start = row_of["registered"].to_numpy(), midnight_us(world.start_on)
    for day in range(CATALOGUE_DAYS // 2, world.days, CATALOGUE_DAYS):
        sent = np.flatnonzero((joined < day) & (rng.random(len(joined)) < CATALOGUE_SHARE))
        parts.append(_part(sent, np.full(len(sent), start + day * DAY_US + 9 * DAY_US // 24), CATALOGUE, -1))
    rows = pl.concat(parts).filter(pl.col("at").is_between(start, start + world.days * DAY_US, closed="left"))
    rows = rows.sort("at", "member", "kind")
    known = pl.Series(rng.random(rows.height) >= UNKNOWN_SHARE) | (rows["kind"] >= CATALOGUE)
    agreed = pl.Series(rng.random(rows.height) < LOCATED_SHARE)
    number = pl.format("TP{}{}", pl.lit(world.label), (pl.int_range(pl.len()) + 1).cast(pl.String).str.zfill(8))
    in_a_store = (rows["kind"] <= CONSULTATION) & (rows["store"] >= 0)
    return rows.select(
        TOUCHPOINT_ID=number,
        CUSTOMER_ID=pl.when(known).then(members["customer_id"].gather(rows["member"])),
        TOUCHPOINT_TYPE=words(rows["kind"], TYPES),
        TOUCHPOINT_DATE=pl.col("at").cast(pl.Datetime("us", "UTC")),
        CHANNEL=words(rows["kind"], CHANNELS),
        ACTION=pl.when(pl.col("kind") == CATALOGUE).then(pl.lit("SENT")).otherwise(words(rows["kind"], TYPES)),
        LOCATION_ID=pl.when(in_a_store).then(world.store_ids.gather(rows["store"].clip(0))),
        LOCATION_CONSENT=pl.when((pl.col("kind") == VISIT) & agreed).then(pl.lit(True)),
    )


def _part(member: np.ndarray, at: np.ndarray, kind: int, store: np.ndarray | int) -> pl.DataFrame:
    return pl.DataFrame({"member": member, "at": at}).with_columns(
        kind=pl.lit(kind, pl.Int64), store=pl.Series(np.broadcast_to(store, len(member)).astype(np.int64))
    )
