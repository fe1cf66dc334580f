"""Names a letter apart: two names, or one in two ways of writing."""

import pytest

from customer360.models.identity.evidence.names import listed_names, masculine_forms

LISTED = dict(listed_names((("hanna", ("hanni",)),), frozenset({"francis", "marcel"})).iter_rows())


@pytest.mark.parametrize("pair", ["mary mark", "tim tom", "dan don", "anna hanna"])
def test_two_names(pair: str) -> None:
    one, other = pair.split()
    assert LISTED[one] != LISTED[other]


@pytest.mark.parametrize("pair", ["matthew mathew", "nicholas nicolas", "stephen stephan", "katherine catherine"])
def test_one_name_in_two_ways_of_writing(pair: str) -> None:
    one, other = pair.split()
    assert LISTED[one] == LISTED[other]


def test_men_s_names_of_which_no_short_form_is_known_make_couples_alone() -> None:
    forms = dict(
        masculine_forms(frozenset({"carl"}), frozenset({"georgios", "rohit"}), frozenset({"krym"})).iter_rows()
    )
    assert forms["carla"] == ["carl"] and forms["georgia"] == ["georgios"] and forms["krymh"] == ["krym"]
    assert not {"carlh", "rohith", "georgio"} & forms.keys()


def test_men_s_names_and_women_s_made_of_them_are_listed() -> None:
    assert {"marcel", "marcelle", "francis", "frances"} <= LISTED.keys()
