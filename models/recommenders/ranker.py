"""A ranker over candidates: gradient-boosted trees on what the methods say and on facts of user, item and pair."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from customer360.models.recommenders import popular
from customer360.models.recommenders.candidates import Candidates
from customer360.models.recommenders.log import Dense, Flags, Ints, Log

if TYPE_CHECKING:
    import xgboost as xgb

ROUNDS = 120
LEARNED = 9.6  # rounds times the learning rate: fewer rounds take larger steps
SETTINGS = {
    "objective": "rank:ndcg",
    "lambdarank_pair_method": "topk",
    "lambdarank_num_pair_per_sample": 20,
    "max_depth": 5,
    "min_child_weight": 20,
    "subsample": 0.8,
    "colsample_bytree": 0.5,
    "lambda": 5.0,
    "tree_method": "hist",
    "nthread": 1,
    "seed": 0,
}


@dataclass(frozen=True)
class Facts:
    """What is known of users, items and pairs at the date of a log, beside the methods' scores."""

    log: Log

    def of(self, found: Candidates) -> Dense:
        """One row per candidate."""
        log, user, item = self.log, found.users[found.user], found.item
        sold = log.sales()
        lately, longer = popular.fading(log, 28.0), popular.fading(log, 180.0)
        events = np.bincount(log.user[log.kept], minlength=log.shape[0])
        first, last = self._first_sale(), self._last_event()
        history = log.matrix()
        baskets = log.matrix(binary=True)
        own = np.asarray(history[user, item]).ravel()
        age = log.today - self._last_purchase(user, item)
        columns = [
            np.log1p(sold)[item],
            np.log1p(lately)[item],
            np.log1p(longer)[item],
            (np.log1p(lately * 6.4) - np.log1p(longer))[item],
            (log.today - first)[item],
            np.log1p(np.asarray(baskets.sum(axis=0)).ravel())[item],
            np.log1p(events)[user],
            np.log1p(np.diff(baskets.indptr))[user],
            (log.today - last)[user],
            own,
            age,
        ]
        return np.stack([np.asarray(column, dtype=np.float32) for column in columns], axis=1)

    def _first_sale(self) -> np.ndarray:
        first = np.full(self.log.shape[1], self.log.today)
        np.minimum.at(first, self.log.item, self.log.day)
        return first

    def _last_event(self) -> np.ndarray:
        last = np.full(self.log.shape[0], self.log.today - 1e4)
        np.maximum.at(last, self.log.user, self.log.day)
        return last

    def _last_purchase(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Day of the user's last kept event of the item; NaN where there is none."""
        log, width = self.log, self.log.shape[1]
        key = log.user[log.kept] * width + log.item[log.kept]
        order = np.lexsort((log.day[log.kept], key))
        keys, days = key[order], log.day[log.kept][order]
        asked = user * width + item
        at = np.searchsorted(keys, asked, side="right") - 1
        found = (at >= 0) & (keys[np.maximum(at, 0)] == asked) if len(keys) else np.zeros(len(asked), dtype=bool)
        return np.where(found, days[np.maximum(at, 0)] if len(keys) else np.nan, np.nan)


@dataclass(frozen=True)
class Ranker:
    """Trees over the parts of a candidate and the facts at the date of its log."""

    booster: xgb.Booster

    def score(self, found: Candidates, log: Log) -> Dense:
        return self.order(inputs(found, log))

    def order(self, rows: Dense) -> Dense:
        """Scores of rows as those that the ranker was fitted on."""
        if len(rows) == 0:
            return np.zeros(0, dtype=np.float32)
        return np.asarray(self.booster.inplace_predict(rows), dtype=np.float32)

    def save(self, file: Path) -> None:
        """Write the trees as JSON; equal trees give equal bytes."""
        file.write_bytes(self.booster.save_raw(raw_format="json"))

    @staticmethod
    def load(file: Path) -> Ranker:
        """Read what `save` wrote."""
        import xgboost as xgb

        booster = xgb.Booster({"nthread": SETTINGS["nthread"]})
        booster.load_model(bytearray(file.read_bytes()))
        return Ranker(booster)


def inputs(found: Candidates, log: Log) -> Dense:
    return np.hstack([found.parts, Facts(log).of(found)])


def fit(rows: Dense, relevant: Flags, user: Ints, rounds: int = ROUNDS) -> Ranker:
    """Learn to put relevant candidates of a user before others, from `inputs` in order of user. Users without a
    relevant candidate teach nothing.
    """
    import xgboost as xgb

    useful = (np.bincount(user, weights=relevant) > 0)[user]
    table = xgb.DMatrix(rows[useful], label=relevant[useful].astype(np.float32), qid=user[useful])
    return Ranker(xgb.train({**SETTINGS, "eta": LEARNED / rounds}, table, num_boost_round=rounds))
