"""What people of one home share without being one person, as a class of pairs of its own.

A pair is one person, two strangers, or two people of one home. Surname, street, landline and mail agree in a home
because of one fact, and a model of persons and strangers alone would count it once for each. Here the pair's odds are
those of one person against either of the others: agreement that a home explains as well stops counting, while what a
home does not explain (a given name, a birth date) counts in full.

The class is measured on the same sessions as the model: pairs that share a place or a contact and whose given names
have nothing in common.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from customer360.models.identity.weighing.comparisons import ADDRESS, BIRTH, FAMILY, GENDER, GIVEN, STANDARD, Comparison
from customer360.models.identity.weighing.estimate import Patterns, Session

COMPARISON = "household"
LABEL = "what agrees is shared by a home"
# Sessions whose pairs share what a home shares, the most telling first.
HOMES: tuple[Session, ...] = (("street",), ("phone",), ("email",), ("family", "zip"))
# Pairs of two people that a session must show: fewer say nothing of what homes share.
ENOUGH = 20.0
# How many pairs the shares among strangers count for.
_PSEUDO_PAIRS = 20.0
# The share of pairs of one home who bear one given name on purpose, such as a child named after a parent, and how many
# pairs with birth dates it counts for where the records show it themselves.
_NAMESAKES = 0.004
_STATED_PAIRS = 500.0
# The most that is believed: one person whose birth date is wrong in one record looks like two namesakes.
_MOST_NAMESAKES = 2 * _NAMESAKES
# How often two people of one home bear one given name by chance, of how often strangers do: who names a child knows the
# names of its home. Where few names are common, chance would explain what only one person does.
_BY_CHANCE = 0.3
# The largest share of people of one home who were born on one day, or nearly so.
_TWINS = 0.03
_ITERATIONS = 100


class Relatives(BaseModel):
    """`odds`: log2 of the pairs of one home over those of strangers, per pair of records. `bits`: comparison -> per
    level log2 of its share in a home over its share in one person. `namesakes`: share of pairs of one home whose given
    names are those of one person; those of the others are the names of strangers."""

    model_config = ConfigDict(frozen=True)

    odds: float
    bits: dict[str, tuple[float, ...]]
    namesakes: float = 0.0

    def of_given(self, weight: float, is_exact: bool) -> float:
        """log2 of how much likelier a home makes two given names than strangers do; `weight`: bits of theirs;
        `is_exact`: they are equal."""
        if not self.namesakes:
            return 0.0  # of pins that know of none
        by_chance = (1.0 - self.namesakes) * (_BY_CHANCE if is_exact else 1.0)
        return math.log2(by_chance + self.namesakes * 2.0**weight)


def relatives(
    comparisons: Sequence[Comparison],
    sessions: Sequence[tuple[Session, Patterns, float]],
    m: Sequence[np.ndarray],
    u: Sequence[np.ndarray],
    filled: dict[str, int],
) -> Relatives | None:
    """Homes among the records; None where nothing shows any.

    `sessions`: with their patterns, and the share of the records that they were drawn from. `m`, `u`: per comparison.
    `filled`: records that have every column of a session, by its name.
    """
    names = [comparison.name for comparison in comparisons]
    if GIVEN.name not in names:
        return None
    given = names.index(GIVEN.name)
    by_session = {session: (found, kept) for session, found, kept in sessions}
    for session in HOMES:
        if session in by_session:
            found, kept = by_session[session]
            share = _within_reach(found, comparisons, session, m)
            own = [at for at, comparison in enumerate(comparisons) if not _is_about(comparison, session)]
            one = [_as_mistyped(share.found, comparisons, m) if at == given else m[at] for at in range(len(m))]
            pairs, levels, namesakes = _at_home(share.found, comparisons, own, one, u)
            if pairs >= ENOUGH and kept > 0:
                records = filled[" + ".join(session)]
                odds = pairs / share.part / kept / max(records * (records - 1) / 2, 1.0)
                bits = {
                    c.name: tuple(np.log2(levels[at] / m[at]).round(9).tolist()) if at in own else (0.0,) * len(m[at])
                    for at, c in enumerate(comparisons)
                    if c.name != GIVEN.name
                }
                return Relatives(odds=math.log2(odds), bits=bits, namesakes=namesakes)
    return None


@dataclass(frozen=True)
class _Reach:
    """Pairs of a session that may be of one home, and which part of all such pairs they are."""

    found: Patterns
    part: float


def _within_reach(
    found: Patterns, comparisons: Sequence[Comparison], session: Session, m: Sequence[np.ndarray]
) -> _Reach:
    """One street is a home only where the place is one, too; errors in addresses hide homes as they hide persons."""
    names = [comparison.name for comparison in comparisons]
    if session != ("street",) or ADDRESS.name not in names:
        return _Reach(found, 1.0)
    at = names.index(ADDRESS.name)
    same = found.levels[:, at] == 0
    if found.counts[same].sum() < ENOUGH:
        return _Reach(found, 1.0)
    return _Reach(Patterns(found.levels[same], found.counts[same]), float(m[at][0]))


def _as_mistyped(found: Patterns, comparisons: Sequence[Comparison], m: Sequence[np.ndarray]) -> np.ndarray:
    """m of given names, in which they differ at least as often as surnames do where the given name is one.

    One person whose given name is mistyped looks like two people of a home; a mistyped surname does not.
    """
    given = [comparison.name for comparison in comparisons].index(GIVEN.name)
    share = _surnames_apart(found, comparisons)
    if share is None:
        return m[given]
    most = min(max(share, float(m[given][-1])), GIVEN.most_apart)
    return np.append(m[given][:-1] * (1 - most) / m[given][:-1].sum(), most)


def most_apart(
    sessions: Sequence[tuple[Session, Patterns, float]], comparisons: Sequence[Comparison], stated: float
) -> float:
    """The largest share of one person's pairs whose given names may differ outright: twice that of the surnames where
    the given name is one, and no less than twice the `stated` share. Beyond it, relatives were taken for persons."""
    if GIVEN.name not in [comparison.name for comparison in comparisons]:
        return GIVEN.most_apart
    by_session = {session: found for session, found, _ in sessions}
    found = (_surnames_apart(by_session[session], comparisons) for session in HOMES if session in by_session)
    share = next((share for share in found if share is not None), None)
    return GIVEN.most_apart if share is None else min(GIVEN.most_apart, 2 * max(share, stated))


def _surnames_apart(found: Patterns, comparisons: Sequence[Comparison]) -> float | None:
    """Among pairs of one given name the share whose surnames differ outright; None without surnames."""
    names = [comparison.name for comparison in comparisons]
    if FAMILY.name not in names:
        return None
    given, family = (found.levels[:, names.index(c.name)] for c in (GIVEN, FAMILY))
    same = (given == 0) & (family >= 0)
    apart = same & (family == len(FAMILY.levels) - 1)
    return float(found.counts[apart].sum() / max(found.counts[same].sum(), ENOUGH))


def _at_home(
    found: Patterns,
    comparisons: Sequence[Comparison],
    own: Sequence[int],
    m: Sequence[np.ndarray],
    u: Sequence[np.ndarray],
) -> tuple[float, dict[int, np.ndarray], float]:
    """How many of the pairs are two people of one home, by comparison (its place) the shares of levels among them, and
    the share of namesakes.

    Expectation maximisation with one person (`m`) and strangers (`u`) fixed. Given names are those of strangers, but
    for the namesakes, whom birth dates tell from one person.
    """
    known, places = found.levels >= 0, np.maximum(found.levels, 0)
    levels = {at: given_at_home(m[at], u[at]) if comparisons[at] == GIVEN else u[at] / u[at].sum() for at in own}
    free = [at for at in own if comparisons[at].name not in (GIVEN.name, GENDER.name)]
    given = [c.name for c in comparisons].index(GIVEN.name)
    start, namesakes = found.levels[:, given] == len(GIVEN.levels) - 1, _NAMESAKES
    dated = _dated(found, comparisons) & known[:, given]
    at_home = np.where(start, found.counts, 0.0)
    parts = np.array([0.3, 0.4, 0.3])
    one, apart = (_likelihood(by, own, places, known) for by in (m, u))
    for _ in range(_ITERATIONS):
        for at in free:
            seen = np.bincount(places[known[:, at], at], at_home[known[:, at]], len(u[at]))
            share = (seen + _PSEUDO_PAIRS * u[at] / u[at].sum()) / (seen.sum() + _PSEUDO_PAIRS)
            levels[at] = _bounded(share, u[at], comparisons[at])
        if dated.any():
            namesakes = _share_of_namesakes(at_home[dated], places[dated, given], levels[given], m[given], namesakes)
            levels[given] = given_at_home(m[given], u[given], namesakes)
        home = _likelihood(levels, own, places, known)
        classes = np.log(parts)[:, None] + np.stack([one, home, apart])
        shares = np.exp(classes - np.logaddexp.reduce(classes, axis=0))
        before, at_home = at_home, shares[1] * found.counts
        parts = np.maximum(shares @ found.counts / found.counts.sum(), 1e-9)
        if np.abs(at_home - before).sum() < 1e-3:
            break
    return float(at_home.sum()), levels, round(namesakes, 9)


def _dated(found: Patterns, comparisons: Sequence[Comparison]) -> np.ndarray:
    """Patterns in which both birth dates are known."""
    names = [comparison.name for comparison in comparisons]
    if BIRTH.name not in names:
        return np.zeros(len(found.counts), dtype=bool)
    dated: np.ndarray = found.levels[:, names.index(BIRTH.name)] >= 0
    return dated


def _share_of_namesakes(
    at_home: np.ndarray, given: np.ndarray, levels: np.ndarray, m: np.ndarray, before: float
) -> float:
    """Of pairs of one home with birth dates (how many of each pattern, and its level of given names) the share whose
    given name is one on purpose; the stated share counts as `_STATED_PAIRS`."""
    on_purpose = (at_home * before * (m / m.sum())[given] / levels[given]).sum()
    return min(float((on_purpose + _STATED_PAIRS * _NAMESAKES) / (at_home.sum() + _STATED_PAIRS)), _MOST_NAMESAKES)


def given_at_home(m: np.ndarray, u: np.ndarray, namesakes: float = _NAMESAKES) -> np.ndarray:
    """Shares of the levels of given names among pairs of one home."""
    by_chance = np.append(_BY_CHANCE * u[0], u[1:])
    shares: np.ndarray = (1.0 - namesakes) * by_chance / by_chance.sum() + namesakes * m / m.sum()
    return shares


def _bounded(share: np.ndarray, u: np.ndarray, comparison: Comparison) -> np.ndarray:
    """Shares at home, of birth dates no more than twins explain, of a person's own number no more than strangers."""
    if comparison.name == BIRTH.name:
        most = np.maximum(_TWINS, u)
    elif comparison not in STANDARD:
        most = u
    else:
        return share
    share = np.append(np.minimum(share[:-1], most[:-1]), share[-1])
    total: np.ndarray = share / share.sum()
    return total


def _likelihood(by: Any, own: Sequence[int], places: np.ndarray, known: np.ndarray) -> np.ndarray:
    total: np.ndarray = np.sum([np.where(known[:, at], np.log(by[at])[places[:, at]], 0.0) for at in own], axis=0)
    return total


def explained(weights: np.ndarray, levels: np.ndarray, names: Sequence[str], home: Relatives | None) -> np.ndarray:
    """Bits (zero or less, float64 (pairs,)) that agreement loses where a home explains it: `weights` and `levels`
    (pairs, comparisons), level -1 for null."""
    total = np.zeros(len(weights))
    if home is None:
        return total
    total += home.odds
    for at, name in enumerate(names):
        if name == GIVEN.name and home.namesakes:
            by_chance = (1.0 - home.namesakes) * np.where(levels[:, at] == 0, _BY_CHANCE, 1.0)
            total += np.log2(by_chance + home.namesakes * np.exp2(weights[:, at]))
        if name in home.bits:
            known = levels[:, at] >= 0
            total[known] += weights[known, at] + np.array(home.bits[name])[levels[known, at]]
    return -np.logaddexp2(0.0, total)


def _is_about(comparison: Comparison, session: Session) -> bool:
    columns = set(comparison.columns) | {level.exact_on for level in comparison.levels if level.exact_on}
    return bool(columns & set(session))
