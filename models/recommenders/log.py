"""The interaction log that every recommender learns from: who touched what on which day, known before one date.

A log is columnar: one event per user, item and day, sorted by user, day and item; `user` and `item` index the sorted
ids `users` and `items`. An event that was returned in full stays with `kept` False: it teaches nothing, and yet the
item is not new to its user.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

Dense = NDArray[np.float32]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Log:
    """`day` counts days since 1970, with its fraction; `today` is the date that separates past from future, on the same
    scale. `texts` holds one text per item (empty where unknown), or None where the log has none.
    """

    users: pl.Series
    items: pl.Series
    user: Ints
    item: Ints
    day: NDArray[np.float64]
    kept: Flags
    today: float
    texts: pl.Series | None = None

    @staticmethod
    def of(events: pl.DataFrame, today: float) -> "Log":
        """From rows `user`, `item`, `day`, `kept` and, if there, `item_text`; rows from `today` on are left out."""
        past = events.filter(pl.col("day") < today)
        rows = past.group_by("user", "item", pl.col("day").floor().alias("date")).agg(
            day=pl.col("day").max(), kept=pl.col("kept").any()
        )
        rows = rows.sort("user", "day", "item")
        users, items = rows["user"].unique().sort(), rows["item"].unique().sort()
        texts = None
        if "item_text" in past.columns:
            latest = past.drop_nulls("item_text").sort("day", "item_text").group_by("item").agg(pl.last("item_text"))
            joined = items.to_frame("item").join(latest, on="item", how="left", maintain_order="left")
            texts = joined["item_text"].fill_null("")
        return Log(
            users=users,
            items=items,
            user=_places(users, rows["user"]),
            item=_places(items, rows["item"]),
            day=rows["day"].to_numpy(),
            kept=rows["kept"].to_numpy(),
            today=today,
            texts=texts,
        )

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.users), len(self.items)

    @property
    def is_empty(self) -> bool:
        return not bool(self.kept.any())

    def before(self, today: float) -> "Log":
        """The same users and items with the events before an earlier date alone."""
        return self.where(self.day < today, today)

    def where(self, rows: Flags, today: float) -> "Log":
        """The same users and items with some of the events alone."""
        return Log(
            self.users, self.items, self.user[rows], self.item[rows], self.day[rows], self.kept[rows], today, self.texts
        )

    def matrix(self, half_life: float | None = None, binary: bool = False) -> sparse.csr_array:
        """Kept events as users x items: how often, each event halved every `half_life` days; or 0 and 1."""
        rows = self.kept
        value = np.ones(int(rows.sum()), dtype=np.float32)
        if half_life is not None:
            value = (0.5 ** ((self.today - self.day[rows]) / half_life)).astype(np.float32)
        cells = sparse.coo_array((value, (self.user[rows], self.item[rows])), shape=self.shape).tocsr()
        if binary:
            cells.data[:] = 1.0
        return cells

    def touched(self) -> sparse.csr_array:
        """What each user ever touched, returned items included, as users x items of 1."""
        ones = np.ones(len(self.user), dtype=np.float32)
        cells = sparse.coo_array((ones, (self.user, self.item)), shape=self.shape).tocsr()
        cells.data[:] = 1.0
        return cells

    def sales(self, since: float = -np.inf, until: float = np.inf) -> Dense:
        """Kept events of each item in a span of days."""
        rows = self.kept & (self.day >= since) & (self.day < until)
        return np.bincount(self.item[rows], minlength=len(self.items)).astype(np.float32)

    def repeat_share(self) -> float:
        """Share of kept events whose user had the item on an earlier day."""
        kept = int(self.kept.sum())
        pairs = len(np.unique((self.user * len(self.items) + self.item)[self.kept]))
        return 1.0 - pairs / kept if kept else 0.0

    def span(self) -> float:
        """Days from the first event to `today`."""
        return float(self.today - self.day.min()) if len(self.day) else 0.0


def _places(values: pl.Series, found: pl.Series) -> Ints:
    return values.search_sorted(found).to_numpy().astype(np.int64)
