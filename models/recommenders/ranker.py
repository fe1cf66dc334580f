"""A ranker over candidates: gradient-boosted trees on what the methods say and on facts of user, item and pair."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from customer360.models.recommenders import popular
from customer360.models.recommenders.candidates import Candidates
from customer360.models.recommenders.log import Dense, Flags, Ints, Log

if TYPE_CHECKING:
    import xgboost as xgb

ROUNDS = 120
LEARNED = 9.6  # rounds times the learning rate: fewer rounds take larger steps
IRRELEVANT_SHARE, SAMPLED_ROWS = 0.3, 50_000  # of what is not relevant, where there are more rows than these
SETTINGS: dict[str, Any] = {
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
    """What is known of users, items and pairs at the date of a log, beside the methods' scores. What does not depend on
    who is asked is found once.
    """

    log: Log

    def of(self, found: Candidates) -> Dense:
        """One row per candidate."""
        user, item = found.users[found.user], found.item
        columns = [
            *(column[item] for column in self._items),
            *(column[user] for column in self._users),
            np.asarray(self._history[user, item]).ravel(),
            self.log.today - self._last_purchase(user, item),
        ]
        return np.stack([np.asarray(column, dtype=np.float32) for column in columns], axis=1)

    @cached_property
    def alone(self) -> Flags:
        """Users all of whose items nobody else has: no method that goes by who has what tells them from anybody, and
        trees would put first what they take for new or rare."""
        users, items = self._history.nonzero()
        shared = np.bincount(items, minlength=self.log.shape[1]) > 1
        held, known = (np.bincount(users, of, self.log.shape[0]) for of in (None, shared[items]))
        return (held > 0) & (known == 0)

    @cached_property
    def _history(self) -> sparse.csr_array:
        return self.log.matrix()

    @cached_property
    def _items(self) -> tuple[NDArray[Any], ...]:
        log = self.log
        lately, longer = popular.fading(log, 28.0), popular.fading(log, 180.0)
        first = np.full(log.shape[1], log.today)
        np.minimum.at(first, log.item, log.day)
        buyers = np.bincount(self._history.indices, minlength=log.shape[1])
        growth = np.log1p(lately * 6.4) - np.log1p(longer)
        return np.log1p(log.sales()), np.log1p(lately), np.log1p(longer), growth, log.today - first, np.log1p(buyers)

    @cached_property
    def _users(self) -> tuple[NDArray[Any], ...]:
        log = self.log
        events = np.bincount(log.user[log.kept], minlength=log.shape[0])
        last = np.full(log.shape[0], log.today - 1e4)
        np.maximum.at(last, log.user, log.day)
        return np.log1p(events), np.log1p(np.diff(self._history.indptr)), log.today - last

    @cached_property
    def _purchases(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Pairs of user and item of the kept events in order, and their days."""
        log = self.log
        key, day = log.user[log.kept] * log.shape[1] + log.item[log.kept], log.day[log.kept]
        order = np.lexsort((day, key))
        return key[order], day[order]

    def _last_purchase(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Day of the user's last kept event of the item; NaN where there is none."""
        keys, days = self._purchases
        if not len(keys):
            return np.full(len(user), np.nan)
        asked = user * self.log.shape[1] + item
        at = np.maximum(np.searchsorted(keys, asked, side="right") - 1, 0)
        return np.where(keys[at] == asked, days[at], np.nan)


@dataclass(frozen=True)
class Ranker:
    """Trees over the parts of a candidate and the facts at the date of its log."""

    booster: xgb.Booster

    def score(self, found: Candidates, facts: Facts) -> Dense:
        return self.order(inputs(found, facts))

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


def inputs(found: Candidates, facts: Facts) -> Dense:
    return np.hstack([found.parts, facts.of(found)])


def fit(
    rows: Dense, relevant: Flags, user: Ints, rounds: int = ROUNDS, irrelevant_share: float = IRRELEVANT_SHARE
) -> Ranker:
    """Learn to put relevant candidates of a user before others, from `inputs` in order of user. Users without a
    relevant candidate teach nothing. Of many that are not relevant `irrelevant_share` are taken: enough to judge by,
    while the one ranker that lists are made with is steadier with all. Any of them are, for to take those that come
    first by a sum of methods would teach that a good sum is a bad sign.
    """
    import xgboost as xgb

    useful = (np.bincount(user, weights=relevant) > 0)[user]
    if len(rows) > SAMPLED_ROWS:
        useful &= relevant | (np.random.default_rng(SETTINGS["seed"]).random(len(rows)) < irrelevant_share)
    table = xgb.DMatrix(rows[useful], label=relevant[useful].astype(np.float32), qid=user[useful])
    return Ranker(xgb.train({**SETTINGS, "eta": LEARNED / rounds}, table, num_boost_round=rounds))
