"""Recommendations for an interaction file without a lake: the past of the file in, ranked lists out."""

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from customer360.models.files.interactions import Interactions, without_returns
from customer360.models.recommenders import choice, sessions
from customer360.models.recommenders.candidates import Mode
from customer360.models.recommenders.choice import Tell
from customer360.models.recommenders.log import Ints, Log
from customer360.models.recommenders.sessions.log import SessionLog
from customer360.models.two_tower.examples import TwoTowerParams
from customer360.models.two_tower.family import Towers
from customer360.platform.errors import ModelError

OPEN_HOURS = 48.0
OPEN_AT_LEAST = 20_000  # of the newest sessions: a list too many costs less than one that is missed
SESSION_GAP = timedelta(minutes=30)  # of silence, after which a user without session ids begins another visit
DAY = 86_400e6
FEWEST_REPEATS = 0.01  # of events: below, a repurchase in a list is a place lost


def recommend_users(
    interactions: Interactions,
    as_of: datetime,
    mode: Mode,
    k: int,
    tell: Tell,
    horizon: float | None = None,
    with_towers: bool = False,
    effort: str = "default",
) -> pl.DataFrame:
    """The k best items of every user with a kept or returned interaction before `as_of`: `user`, `item`, `rank` (from
    1), `score`, in order of user and rank. In mode `new` an item that the user ever touched never appears; fewer than k
    rows where the catalogue holds less. In mode `all` of a log whose users do not come back to an item (ratings, say)
    new items come alone, but for users who have touched all. `with_towers` trains the two towers as a further method;
    `effort` is one of `choice.EFFORTS`.
    """
    rows, returned = without_returns(interactions.rows)
    if returned:
        tell(f"{returned:,} purchases were given back in full: they teach nothing")
    epoch = pl.col("at").dt.epoch("us") / DAY
    log = Log.of(rows.with_columns(day=epoch), (as_of - datetime(1970, 1, 1)) / timedelta(days=1))
    tell(f"{log.shape[0]:,} users, {log.shape[1]:,} items, {len(log.day):,} user-item-days over {log.span():.0f} days")
    further = (Towers(TwoTowerParams.model_validate({})).family,) if with_towers else ()
    repeats, asked = log.repeat_share(), mode
    if mode == "all" and repeats < FEWEST_REPEATS:
        tell(f"{repeats:.1%} of the events are of an item that the user had before: lists hold new items")
        asked = "new"
    fitted = choice.fit(log, asked, tell, horizon, (*choice.FAMILIES, *further), choice.EFFORTS[effort])
    users = np.arange(log.shape[0])
    tell(f"listing {k} items for {len(users):,} users")
    user, item, rank, score = fitted.lists(users, k)
    unlisted = np.setdiff1d(users, user)
    found = _table("user", log.users, log.items, user, item, rank, score)
    if len(unlisted) and mode == "all":
        rest = _table("user", log.users, log.items, *replace(fitted, mode="all").lists(unlisted, k))
        return pl.concat([found, rest]).sort("user", "rank")
    if len(unlisted):
        tell(f"{len(unlisted):,} users without a list: there is no item that they have not touched")
    return found


def recommend_sessions(
    interactions: Interactions, as_of: datetime, k: int, tell: Tell, open_hours: float = OPEN_HOURS
) -> pl.DataFrame:
    """The k likeliest next items of every session open at `as_of`, never its current item: `session`, `item`, `rank`,
    `score`.

    Open are the sessions whose last event lies within `open_hours` of the newest event before `as_of`, at any rate the
    `OPEN_AT_LEAST` that were active last, and those that the file shows to go on at or after it; of these later events
    nothing but their being there is used. Where the rows have no `session`, the visits of a user are parted by half an
    hour of silence and the latest one stands for the user.
    """
    rows, name = interactions.rows, "session"
    if "session" not in rows.columns:
        rows, name = _visits(rows), "user"
    if "quantity" in rows.columns:
        rows = rows.filter(pl.col("quantity") > 0)
    log = SessionLog.of(rows.select("session", "item", "at"))
    tell(
        f"{len(log.sessions):,} sessions, {len(log.items):,} items, {len(log.item):,} events, "
        "direct repeats counted once"
    )
    if len(log.item) == 0:
        raise ModelError(f"no session has an event before {as_of}")
    last = log.last_at()
    spanning = log.sessions.is_in(interactions.spanning.implode()).to_numpy() if name == "session" else False
    newest = np.sort(last)[-min(len(last), OPEN_AT_LEAST)]
    opened = np.flatnonzero((last >= min(last.max() - open_hours * 3600, newest)) | spanning)
    fitted = sessions.fit(log, tell)
    tell(f"listing {k} items for {len(opened):,} open sessions")
    session, item, rank, score = fitted.lists(opened, k)
    found = _table("session", log.sessions, log.items, session, item, rank, score)
    return found if name == "session" else _of_users(found, rows)


def _visits(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with `session`, the number of a user's visit in the whole log."""
    ordered = rows.with_row_index("place").sort("user", "at", "place")
    begins = (pl.col("user") != pl.col("user").shift(1)) | (pl.col("at") - pl.col("at").shift(1) > SESSION_GAP)
    return ordered.with_columns(session=begins.fill_null(True).cum_sum().cast(pl.Int64)).drop("place")


def _of_users(found: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    latest = rows.group_by("user").agg(session=pl.col("session").max()).sort("user")
    return latest.join(found, on="session", maintain_order="left_right").drop("session")


def _table(
    name: str, owners: pl.Series, items: pl.Series, owner: Ints, item: Ints, rank: Ints, score: np.ndarray
) -> pl.DataFrame:
    return pl.DataFrame(
        {
            name: owners.gather(owner),
            "item": items.gather(item),
            "rank": rank.astype(np.int64),
            "score": score.astype(np.float64),
        }
    )
