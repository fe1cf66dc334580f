"""Sessions as sequences, and the moments in them at which the next item is asked for."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from customer360.models.recommenders.log import Flags, Ints


@dataclass(frozen=True)
class SessionLog:
    """Events in order of session and time, an item directly repeated counted once. `session` and `item` index the
    sorted ids; events of session s are `starts[s]:starts[s + 1]`. `at` counts seconds since 1970.
    """

    sessions: pl.Series
    items: pl.Series
    session: Ints
    item: Ints
    at: NDArray[np.float64]
    starts: Ints

    @staticmethod
    def of(events: pl.DataFrame) -> "SessionLog":
        """From rows `session`, `item`, `at` (datetime); rows of equal time keep their order."""
        rows = events.with_row_index("place").sort("session", "at", "place")
        repeated = (pl.col("item") == pl.col("item").shift(1)) & (pl.col("session") == pl.col("session").shift(1))
        rows = rows.filter(~repeated.fill_null(False))
        sessions, items = rows["session"].unique().sort(), rows["item"].unique().sort()
        session = sessions.search_sorted(rows["session"]).to_numpy().astype(np.int64)
        return SessionLog(
            sessions=sessions,
            items=items,
            session=session,
            item=items.search_sorted(rows["item"]).to_numpy().astype(np.int64),
            at=rows["at"].dt.epoch("us").to_numpy() / 1e6,
            starts=np.searchsorted(session, np.arange(len(sessions) + 1)).astype(np.int64),
        )

    def of_sessions(self, chosen: Flags) -> "SessionLog":
        """The same sessions and items with the events of some sessions alone."""
        return self.of_events(chosen[self.session])

    def of_events(self, rows: Flags) -> "SessionLog":
        """The same sessions and items with some events alone."""
        session = self.session[rows]
        starts = np.searchsorted(session, np.arange(len(self.sessions) + 1)).astype(np.int64)
        return SessionLog(self.sessions, self.items, session, self.item[rows], self.at[rows], starts)

    def first_at(self) -> NDArray[np.float64]:
        """Time of the first event of each session; infinity for one without events."""
        found = np.full(len(self.sessions), np.inf)
        there = np.flatnonzero(np.diff(self.starts) > 0)
        found[there] = self.at[self.starts[there]]
        return found

    def last_at(self) -> NDArray[np.float64]:
        """Time of the last event of each session; minus infinity for one without events."""
        found = np.full(len(self.sessions), -np.inf)
        there = np.flatnonzero(np.diff(self.starts) > 0)
        found[there] = self.at[self.starts[there + 1] - 1]
        return found


@dataclass(frozen=True)
class Moments:
    """Places in a log after which the next item is asked for: `event` is the last known event of each moment."""

    log: SessionLog
    event: Ints

    @property
    def current(self) -> Ints:
        """The item at hand."""
        return self.log.item[self.event]

    @property
    def session(self) -> Ints:
        return self.log.session[self.event]

    def history(self, most: int) -> tuple[Ints, Ints, Ints]:
        """Up to `most` known events of each moment, newest first: moment, event, steps back (0 is the current one)."""
        length = np.minimum(self.event - self.log.starts[self.session] + 1, most)
        moment = np.repeat(np.arange(len(self.event)), length)
        back = np.arange(len(moment)) - np.repeat(np.cumsum(length) - length, length)
        return moment, self.event[moment] - back, back

    def following(self) -> Ints:
        """The item that came next; only for moments that are not the end of their session."""
        return self.log.item[self.event + 1]

    @staticmethod
    def last(log: SessionLog, sessions: Ints) -> "Moments":
        """The end of each of some sessions."""
        return Moments(log, log.starts[sessions + 1] - 1)

    @staticmethod
    def inside(log: SessionLog) -> "Moments":
        """Every event that another one of its session follows."""
        if len(log.session) == 0:
            return Moments(log, np.zeros(0, dtype=np.int64))
        return Moments(log, np.flatnonzero(np.append(log.session[1:] == log.session[:-1], False)))
