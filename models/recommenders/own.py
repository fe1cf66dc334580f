"""Replenishment: what a user bought, how often, how lately, and whether it is due again."""

import numpy as np
from scipy import sparse

from customer360.models.recommenders.log import Log
from customer360.models.recommenders.scoring import Family, OwnHistory, Scorer

HALF_LIVES = (30.0, 90.0, 365.0)
GAP_PRIOR = 2.0  # gaps of the item's other buyers that a user's own gap is averaged with


def fit(log: Log) -> dict[str, Scorer]:
    """Purchase days, fading with three half-lives or not at all, and how due each item is."""
    found: dict[str, Scorer] = {f"own_{half:.0f}d": OwnHistory(log.matrix(half)) for half in HALF_LIVES}
    return found | {"own": OwnHistory(log.matrix()), "own_due": OwnHistory(due(log))}


def due(log: Log) -> sparse.csr_array:
    """Purchase count times how well the time since the last purchase fits the usual gap between purchases, users x
    items.

    The usual gap is the user's own of this item, averaged with the mean of all gaps of the item (of all items where it
    has none). The fit falls off with the ratio of both on a logarithmic scale: early as late is worse than on time.
    """
    rows = np.flatnonzero(log.kept)
    order = rows[np.lexsort((log.day[rows], log.item[rows], log.user[rows]))]
    user, item, day = log.user[order], log.item[order], log.day[order]
    same = (np.diff(user, prepend=-1) == 0) & (np.diff(item, prepend=-1) == 0)
    gap = np.where(same, np.diff(day, prepend=0.0), 0.0)
    overall = gap[same].mean() if same.any() else log.span()
    sums = np.bincount(item[same], weights=gap[same], minlength=len(log.items))
    counts = np.bincount(item[same], minlength=len(log.items))
    usual = (sums + GAP_PRIOR * overall) / (counts + GAP_PRIOR)
    starts = np.flatnonzero(~same)
    if len(starts) == 0:
        return sparse.csr_array(log.shape, dtype=np.float32)
    bought = np.diff(np.append(starts, len(order)))
    own_gaps = np.add.reduceat(gap, starts)
    ends = starts + bought - 1
    expected = (own_gaps + GAP_PRIOR * usual[item[starts]]) / (bought - 1 + GAP_PRIOR)
    ratio = np.log(np.maximum(log.today - day[ends], 0.5) / np.maximum(expected, 0.5))
    value = (bought * np.exp(-0.5 * ratio**2)).astype(np.float32)
    return sparse.coo_array((value, (user[starts], item[starts])), shape=log.shape).tocsr()


FAMILY = Family("own", fit)
