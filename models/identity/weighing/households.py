"""Whether the rules against households and generations fit the records at hand.

A rule such as "given names differ" is right where families share an address, and wrong where the address is a person's
own and names are mistyped. Both show in the same pairs: those that agree on a place or a contact. There, for every
hundred pairs with one given name, errors alone make so many with another as they make where the birth date proves the
person; what exceeds that is households. Where hardly any pair of one surname and one place has two given names, nobody
else is at home for whom a record without one could stand. Only pairs that the model would accept in spite of another
given name are asked: the others part without a rule, and most of them are strangers on one street.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import betaincinv

from customer360.models.identity.weighing.comparisons import BIRTH, FAMILY, GENDER, GIVEN, Comparison
from customer360.models.identity.weighing.estimate import Patterns, Session

SUFFIX = "generational suffixes differ"
HOUSEHOLD = "given names differ and the birth dates do not agree"
GENDERS = "genders differ, and so do the given names"
TWINS = "same surname and birth date, but another given name and another email or phone"
TWINS_AT_HOME = "same surname and birth date, but another given name"
COLLEAGUES = "surnames differ behind the mailbox of a desk"
UNNAMED = "a given name is missing and nothing agrees that one person holds alone"
GENERATION = "birth years far apart"

# Sessions whose pairs share a place or a contact, which is what a household shares.
_SHARED = frozenset({("street",), ("phone",), ("email",)})
# Of these the first with pairs enough tells whether people live alone: strangers, too, have one postal code.
HOMES: tuple[Session, ...] = (("family", "street"), ("family", "zip"))
# Records that share a surname and a place, up to which they are asked: one person with many would outvote all homes.
LARGEST_HOME = 4
# Asked where none of those are: strangers, too, have one surname and one postal code.
_SECOND = frozenset({("family", "zip")})
# Pairs that a session must hold to be asked, and to measure errors where birth dates agree.
ENOUGH = 20
# A rule is idle when at least this share of the pairs that it parts are expected to be one person.
_ONE_PERSON = 0.2
# Pairs of families that few records may have left out: without errors to be seen, the rules hold.
_UNSEEN = 2.0
# Where no more than this share of the pairs with one surname and one place have two given names, as far as four in five
# files with such pairs would have it, a missing one hides nobody. Files are of families or of people alone, seldom
# between: before any pair is seen a share near none or all is the likeliest (Jeffreys' prior, half a pair of each).
# Eight pairs with one name tell; four would be seen in two of five files where a fifth of the pairs are two people.
_ALONE, _HALF, _SURE = 0.1, 0.5, 0.8
TELLING = 8
# Birth dates that disagree in more than this share of pairs with one name and one contact prove nothing.
_UNRELIABLE_DATES = 0.2
# The session whose pairs agree on a whole birth date.
_BORN = ("day",)
# So are genders that disagree in more than this share of pairs with one name and one contact.
_UNRELIABLE_GENDERS = 0.02
# Where so large a share of the pairs with one surname and one birth date write one given name in two ways, and these
# are not fewer than `_FEW`, another given name is as likely a further way as a twin.
_ILLEGIBLE = 0.5
_FEW = 10


def idle_vetoes(
    comparisons: Sequence[Comparison],
    sessions: Sequence[tuple[Session, Patterns]],
    settings: dict[str, Any],
    accept_weight: float,
    at_home: tuple[float, float] = (0.0, 0.0),
) -> tuple[tuple[str, ...], dict[str, float]]:
    """Rules to leave out, and what was measured: the expected share of one person among pairs of one surname and place
    with different given names, and the shares of disagreeing birth dates and genders among pairs of one name and
    contact.

    `settings`: the trained Splink settings, whose weights say which pairs would be accepted from `accept_weight` bits.
    `at_home`: pairs of one surname and one place with one given name, and with two.
    """
    names = [comparison.name for comparison in comparisons]
    shared, second = (
        [
            _Kinds.of(found, names, _weight_as_others(found, names, settings) >= accept_weight)
            for session, found in sessions
            if session in tier
        ]
        for tier in (_SHARED, _SECOND)
    )
    asked, of_second = (
        [kinds for kinds in tier if kinds.one_name + kinds.other_name >= ENOUGH] for tier in (shared, second)
    )
    asked = asked or of_second
    measured: dict[str, float] = {}
    idle: list[str] = []
    if asked:
        measured["one person in spite of another given name"] = min(kinds.expected_share for kinds in asked)
        if measured["one person in spite of another given name"] >= _ONE_PERSON:
            idle += [HOUSEHOLD, TWINS_AT_HOME, UNNAMED, GENERATION]
    if sum(at_home) >= TELLING:
        one, two = (pairs + _HALF for pairs in at_home)
        measured["two people at one home"] = two / (one + two)
        if betaincinv(two, one, _SURE) <= _ALONE and UNNAMED not in idle:
            idle.append(UNNAMED)
    dated = [kinds for kinds in shared or second if kinds.same_date >= ENOUGH]
    if dated:
        measured["birth dates disagree"] = min(kinds.date_errors for kinds in dated)
        if measured["birth dates disagree"] >= _UNRELIABLE_DATES and GENERATION not in idle:
            idle.append(GENERATION)
    born = [_Kinds.of(found, names, np.ones(len(found.counts), dtype=bool)) for at, found in sessions if at == _BORN]
    if born and born[0].written_alike + born[0].mistyped >= _FEW:
        measured["given names mistyped"] = born[0].mistyped / (born[0].written_alike + born[0].mistyped)
        if measured["given names mistyped"] >= _ILLEGIBLE and TWINS_AT_HOME not in idle:
            idle.append(TWINS_AT_HOME)
    sexed = [kinds for kinds in shared or second if kinds.same_gender + kinds.other_gender >= ENOUGH]
    if sexed:
        measured["genders disagree"] = min(kinds.gender_errors for kinds in sexed)
        if measured["genders disagree"] >= _UNRELIABLE_GENDERS:
            idle.append(GENDERS)
    return tuple(idle), {name: round(value, 4) for name, value in measured.items()}


class _Kinds:
    """Counts of pairs of one session by what their names and birth dates say."""

    def __init__(
        self,
        found: Patterns,
        given: np.ndarray,
        family: np.ndarray,
        birth: np.ndarray,
        gender: np.ndarray,
        holds: np.ndarray,
    ) -> None:
        same_given = _between(given, GIVEN, "exact", "initial")
        same_family = _between(family, FAMILY, "exact", "shared part")
        agrees = _between(birth, BIRTH, "exact", "close")
        differs = given == len(GIVEN.levels) - 1

        def count(mask: np.ndarray) -> float:
            return float(found.counts[mask].sum())

        self.one_name = count(same_given & same_family & ~agrees & holds)
        self.other_name = count(differs & same_family & ~agrees & holds)
        self.dated_one, self.dated_other = (count(kind & same_family & agrees) for kind in (same_given, differs))
        self.other_family = count(same_given & (family >= len(FAMILY.levels) - 2))
        self.same_family = count(same_given & same_family)
        self.same_date = count(same_given & same_family & agrees)
        self.written_alike = count((given == 0) & (family == 0) & agrees)
        mistyped = _between(given, GIVEN, "misspelled", "close") | _between(given, GIVEN, "alike", "alike")
        self.mistyped = count(mistyped & (family == 0) & agrees)
        self.same_gender = count((given == 0) & (family == 0) & (gender == 0))
        self.other_gender = count((given == 0) & (family == 0) & (gender > 0))
        self.other_date = count(same_given & same_family & (birth >= 0) & ~agrees)

    @classmethod
    def of(cls, found: Patterns, names: list[str], holds: np.ndarray) -> _Kinds:
        """`holds`: patterns that the model accepts even when the given names differ."""
        absent = np.full(len(found.counts), -1, dtype=np.int8)
        columns = (
            found.levels[:, names.index(c.name)] if c.name in names else absent for c in (GIVEN, FAMILY, BIRTH, GENDER)
        )
        given, family, birth, gender = columns
        return cls(found, given, family, birth, gender, holds)

    @property
    def expected_share(self) -> float:
        """Of the pairs with another given name, how many errors alone would make."""
        if self.dated_one >= ENOUGH:  # dates that one source alone has agree between twins, and hardly else
            errors = self.dated_other / self.dated_one
        else:  # no birth dates: surnames are mistyped as often as given names
            errors = self.other_family / max(self.same_family, 1.0)
        return min(1.0, self.one_name * errors / (self.other_name + _UNSEEN))

    @property
    def gender_errors(self) -> float:
        return self.other_gender / max(self.same_gender + self.other_gender, 1.0)

    @property
    def date_errors(self) -> float:
        return self.other_date / max(self.same_date + self.other_date, 1.0)


def named(found: Patterns) -> tuple[float, float]:
    """Pairs with one given name, and with two; `found`: of given names alone."""
    one = _between(found.levels[:, 0], GIVEN, "exact", "among the other's names")
    other = (found.levels[:, 0] >= 0) & ~one
    return float(found.counts[one].sum()), float(found.counts[other].sum())


def _weight_as_others(found: Patterns, names: list[str], settings: dict[str, Any]) -> np.ndarray:
    """Bits of each pattern, float64 (patterns,), were its given names different; average value frequencies."""
    odds = settings["probability_two_random_records_match"]
    total = np.full(len(found.counts), math.log2(odds / (1.0 - odds)))
    for at, comparison in enumerate(settings["comparisons"]):
        stated = [level for level in comparison["comparison_levels"] if not level.get("is_null_level")]
        bits = np.array([math.log2(level["m_probability"] / level["u_probability"]) for level in stated])
        if names[at] == GIVEN.name:
            total += bits[-1]
        else:
            total += np.where(found.levels[:, at] >= 0, bits[np.maximum(found.levels[:, at], 0)], 0.0)
    return total


def _between(levels: np.ndarray, comparison: Comparison, first: str, last: str) -> np.ndarray:
    labels = [level.label for level in comparison.levels]
    found: np.ndarray = (levels >= labels.index(first)) & (levels <= labels.index(last))
    return found
