import numpy as np
import pytest

from customer360.models.identity.weighing import households
from customer360.models.identity.weighing.comparisons import BIRTH, FAMILY, GIVEN
from customer360.models.identity.weighing.estimate import Patterns
from customer360.models.identity.weighing.households import GENERATION, HOUSEHOLD, TWINS_AT_HOME, UNNAMED

COMPARISONS = (GIVEN, FAMILY, BIRTH)
SETTINGS = {
    "probability_two_random_records_match": 0.01,
    "comparisons": [
        {
            "comparison_levels": [
                {"is_null_level": True},
                *({"m_probability": level.m, "u_probability": level.u} for level in comparison.levels),
            ]
        }
        for comparison in COMPARISONS
    ],
}
EXACT, OTHER_GIVEN, OTHER_DATE = 0, len(GIVEN.levels) - 1, len(BIRTH.levels) - 1


ACCEPT = -4.0  # a surname alone is accepted here, a surname against another birth date is not


def idle_vetoes(comparisons, sessions):
    return households.idle_vetoes(comparisons, sessions, SETTINGS, ACCEPT)


def street(*rows: tuple[int, int, int, float]):
    """Patterns (given, family, birth date, pairs) of the session of one street."""
    levels = np.array([row[:3] for row in rows], dtype=np.int8)
    return [(("street",), Patterns(levels, np.array([row[3] for row in rows], dtype=float)))]


def test_families_keep_the_rules():
    families = street((EXACT, 0, 0, 900), (OTHER_GIVEN, 0, 0, 30), (EXACT, 0, -1, 1000), (OTHER_GIVEN, 0, -1, 2000))
    idle, measured = idle_vetoes(COMPARISONS, families)
    assert idle == () and measured["one person in spite of another given name"] < 0.05


def test_mistyped_names_of_one_person_make_them_idle():
    alone = street((EXACT, 0, 0, 900), (OTHER_GIVEN, 0, 0, 150), (EXACT, 0, -1, 1000), (OTHER_GIVEN, 0, -1, 180))
    idle, _ = idle_vetoes(COMPARISONS, alone)
    assert set(idle) == {HOUSEHOLD, TWINS_AT_HOME, UNNAMED, GENERATION}


def test_strangers_that_the_model_parts_are_not_asked():
    """One surname on one street, but other birth dates: no rule is needed, so no rule is judged by them."""
    crowd = (OTHER_GIVEN, 0, OTHER_DATE, 5000)
    alone = street((EXACT, 0, 0, 900), (OTHER_GIVEN, 0, 0, 150), (EXACT, 0, -1, 1000), (OTHER_GIVEN, 0, -1, 180), crowd)
    idle, measured = idle_vetoes(COMPARISONS, alone)
    assert HOUSEHOLD in idle and measured["one person in spite of another given name"] > 0.8


def test_dates_that_often_disagree_prove_nothing():
    wild = street((EXACT, 0, 0, 600), (EXACT, 0, OTHER_DATE, 400), (OTHER_GIVEN, 0, -1, 3000))
    assert idle_vetoes(COMPARISONS, wild)[0] == (GENERATION,)


def test_without_pairs_the_rules_hold():
    assert idle_vetoes(COMPARISONS, []) == ((), {})


def test_where_nobody_shares_a_home_a_missing_given_name_hides_nobody():
    idle, measured = households.idle_vetoes(COMPARISONS, [], SETTINGS, ACCEPT, (60.0, 1.0))
    assert (idle, measured) == ((UNNAMED,), {"two people at one home": 0.0242})


@pytest.mark.parametrize(
    ("one_name", "two_names", "hides_nobody"),
    [(8.0, 0.0, True), (30.0, 1.0, True), (7.0, 0.0, False), (4.0, 0.0, False), (13.0, 1.0, False), (9.0, 1.0, False)],
)
def test_few_pairs_tell_that_nobody_shares_a_home_and_hardly_any_do_not(one_name, two_names, hides_nobody):
    """Four pairs of one name are seen in two of five files where every fifth pair is two people."""
    idle, _ = households.idle_vetoes(COMPARISONS, [], SETTINGS, ACCEPT, (one_name, two_names))
    assert idle == ((UNNAMED,) if hides_nobody else ())


def test_homes_keep_the_rule_of_missing_names():
    assert households.idle_vetoes(COMPARISONS, [], SETTINGS, ACCEPT, (60.0, 12.0))[0] == ()
