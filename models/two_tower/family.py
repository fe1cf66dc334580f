"""The two towers as one family among others: trained on a log alone, judged by an inner split like the rest."""

from datetime import date, timedelta

import numpy as np
import polars as pl

from customer360.models import base, two_tower
from customer360.models.recommenders.judging import INTERACTIONS
from customer360.models.recommenders.log import Log
from customer360.models.recommenders.scoring import Family, Scorer, Vectors
from customer360.models.two_tower import PRODUCTS, TwoTowerFitted
from customer360.models.two_tower.examples import TwoTowerParams

EPOCH = date(1970, 1, 1)
NAME = "two_tower"


class Towers:
    """Trains once a log: several modes and windows ask for the same. `given` are towers to use instead of training."""

    def __init__(self, params: TwoTowerParams, given: TwoTowerFitted | None = None) -> None:
        self.params, self.given = params, given
        self.trained: dict[int, TwoTowerFitted] = {}

    @property
    def family(self) -> Family:
        return Family(NAME, self._fit, self._skip)

    def of(self, log: Log) -> TwoTowerFitted:
        """The towers of a log."""
        if self.given is not None:
            return self.given
        key = hash((log.today, log.user.tobytes(), log.item.tobytes(), log.kept.tobytes()))
        if key not in self.trained:
            tables = {INTERACTIONS: interactions(log).lazy(), PRODUCTS: catalogue(log).lazy()}
            snapshot = base.Snapshot(tables, last_date(log))
            self.trained[key] = two_tower.fit(snapshot, self.params, base.NoProgress())
        return self.trained[key]

    def _fit(self, log: Log) -> dict[str, Scorer]:
        return {NAME: scorer(self.of(log), log)}

    def _skip(self, log: Log) -> str | None:
        if self.given is not None:
            return None
        user, day = log.user[log.kept], np.floor(log.day[log.kept])
        same_day = np.append(False, (user[1:] == user[:-1]) & (day[1:] == day[:-1]))
        begins = np.maximum.accumulate(np.where(same_day, 0, np.arange(len(user))))
        earlier = begins - np.searchsorted(user, user)
        least = self.params.min_history
        return None if (earlier >= least).any() else f"no purchase has {least} earlier ones of its user"


def interactions(log: Log) -> pl.DataFrame:
    """Kept events with the columns of `gold.interactions`."""
    day = pl.Series(np.floor(log.day[log.kept]).astype(np.int32)).cast(pl.Date)
    return pl.DataFrame(
        {
            "person_id": log.users.gather(log.user[log.kept]),
            "product_id": log.items.gather(log.item[log.kept]),
            "on": day,
        }
    ).with_columns(kind=pl.lit("purchase"))


def catalogue(log: Log) -> pl.DataFrame:
    """The items with their texts, with the columns of `silver.products`."""
    texts = log.texts if log.texts is not None else pl.Series([None] * len(log.items), dtype=pl.String)
    blank = dict.fromkeys(("category", "subcategory", "brand"), pl.lit(None, pl.String))
    return pl.DataFrame({"product_id": log.items, "product_name": texts}).with_columns(
        launched_on=pl.lit(date.min), is_product=pl.lit(True), **blank
    )


def last_date(log: Log) -> date:
    """The first day of which the log knows nothing."""
    return EPOCH + timedelta(days=int(np.ceil(log.today)))


def scorer(fitted: TwoTowerFitted, log: Log) -> Scorer:
    """Users and items of a log in the space of the towers, the bias of an item as one more dimension."""
    whole = two_tower.with_new_products(fitted, catalogue(log).lazy(), last_date(log))
    history, _ = two_tower.histories(whole, interactions(log).lazy(), log.users, last_date(log))
    users = np.hstack([two_tower.normalized(history @ whole.hidden), np.ones((len(log.users), 1), dtype=np.float32)])
    near = two_tower.normalized(whole.items) / np.float32(whole.params.temperature)
    place = whole.products.search_sorted(log.items).to_numpy().astype(np.int64)
    return Vectors(users, np.hstack([near, whole.bias[:, None]])[place])
