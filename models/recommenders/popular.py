"""What sells: lately, over longer windows, and in last year's season."""

import numpy as np

from customer360.models.recommenders.log import Dense, Ints, Log
from customer360.models.recommenders.scoring import Family, SameForAll, Scorer

HALF_LIVES = (7.0, 28.0, 90.0)
SEASON_DAYS = 90.0
LATELY = 28.0
YEAR_DAYS = 364.0  # whole weeks, so that weekdays meet


def fading(log: Log, half_life: float) -> Dense:
    """Events of each item, each halved every `half_life` days."""
    rows = log.kept
    weight = 0.5 ** ((log.today - log.day[rows]) / half_life)
    return np.bincount(log.item[rows], weights=weight, minlength=len(log.items)).astype(np.float32)


def precedence(log: Log) -> Ints:
    """Who goes first among items that a method says the same of: 0 for what sells best lately, then in all, then by id.
    Whoever no method can tell thus gets what is popular, and a short list ends with it.
    """
    order = np.lexsort((-log.sales(), -fading(log, LATELY)))
    places = np.empty(len(order), dtype=np.int64)
    places[order] = np.arange(len(order))
    return places


def season(log: Log) -> Dense | None:
    """Events of each item in the days that followed this date a year ago; None where the log is younger."""
    start = log.today - YEAR_DAYS
    if log.is_empty or log.day.min() > start:
        return None
    return log.sales(start, start + SEASON_DAYS)


def fit(log: Log) -> dict[str, Scorer]:
    """Logarithms of fading counts: what sells twice as well is one step better, at the top as at the bottom."""
    found: dict[str, Scorer] = {
        f"popularity_{half:.0f}d": SameForAll(np.log1p(fading(log, half))) for half in HALF_LIVES
    }
    found["popularity"] = SameForAll(np.log1p(log.sales()))
    lately_last_year = season(log)
    if lately_last_year is not None:
        found["season"] = SameForAll(np.log1p(lately_last_year))
    return found


FAMILY = Family("popularity", fit)
