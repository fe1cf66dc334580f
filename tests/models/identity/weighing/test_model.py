import copy

import polars as pl
import pytest

from customer360.models.identity import IdentityRules
from customer360.models.identity.evidence.features import Features, build_features
from customer360.models.identity.rules import Training
from customer360.models.identity.weighing.frequencies import comparisons_of, term_frequencies, with_shares
from customer360.models.identity.weighing.gate import gate
from customer360.models.identity.weighing.model import _named, default_settings, train

RULES = IdentityRules()
RECORDS = pl.DataFrame(
    {
        "record_id": ["a", "b", "c", "d"],
        "first_name": ["Ann", "Ann", "Bo", "Cy"],
        "last_name": ["Lee", "Lee", "May", "Nil"],
        "zip_code": ["02139", "02139", "10001", "10001"],
    }
)


@pytest.fixture
def start():
    features = build_features(RECORDS, RULES)
    return features, default_settings(features, term_frequencies(features), RULES)


def shifted(settings: dict, factor: float = 0.9) -> dict:
    """`settings` as if every parameter had been trained to another value."""
    trained = copy.deepcopy(settings)
    for comparison in trained["comparisons"]:
        for level in comparison["comparison_levels"]:
            if not level.get("is_null_level"):
                level["m_probability"] *= factor
                level["u_probability"] *= factor
    return trained


def test_only_filled_columns_are_compared(start):
    features, settings = start
    assert [c.name for c in comparisons_of(features)] == ["given_name", "family_name", "address"]
    assert len(settings["comparisons"]) == 3


def test_the_default_model_is_flagged_and_hashed():
    model = train(build_features(RECORDS, RULES), RULES)
    other = train(build_features(RECORDS.with_columns(zip_code=pl.lit("02139")), RULES), RULES)
    assert model.diagnostics["mode"] == "default"
    assert model.term_frequency_hash != other.term_frequency_hash and model.version != other.version


def test_trained_values_pass_the_gate(start):
    features, settings = start
    result, replaced = gate(settings, shifted(settings), comparisons_of(features), RULES)
    assert replaced == {}
    exact = result["comparisons"][0]["comparison_levels"][1]
    assert exact["m_probability"] == pytest.approx(0.72)


def test_unobserved_levels_are_replaced_and_named(start):
    features, settings = start
    trained = shifted(settings)
    del trained["comparisons"][0]["comparison_levels"][3]["u_probability"]
    trained["comparisons"][1]["comparison_levels"][2]["m_probability"] = "level not observed in training dataset"
    _, replaced = gate(settings, trained, comparisons_of(features), RULES)
    assert set(replaced) == {"given_name / nickname / u", "family_name / misspelled / m"}


def test_a_stated_share_among_strangers_holds_no_matches_to_be_cleared_of(start):
    features, settings = start
    trained = shifted(settings) | {"probability_two_random_records_match": 0.1}
    at = next(place for place, c in enumerate(settings["comparisons"]) if c["output_column_name"] == "given_name")
    measured, stated = (trained["comparisons"][at]["comparison_levels"][place] for place in (3, 4))
    stated.pop("u_probability")
    before = settings["comparisons"][at]["comparison_levels"][4]["u_probability"]
    result, _ = gate(settings, trained, comparisons_of(features), RULES)
    levels = result["comparisons"][at]["comparison_levels"]
    assert levels[3]["u_probability"] < measured["u_probability"]
    assert levels[4]["u_probability"] == before


def test_untouched_values_count_as_not_observed(start):
    features, settings = start
    trained = shifted(settings)
    trained["comparisons"][0]["comparison_levels"][6]["m_probability"] = settings["comparisons"][0][
        "comparison_levels"
    ][6]["m_probability"]
    _, replaced = gate(settings, trained, comparisons_of(features), RULES)
    assert set(replaced) == {"given_name / initial / m"}


def test_a_comparison_the_wrong_way_round_gets_its_defaults(start):
    features, settings = start
    trained = shifted(settings)
    trained["comparisons"][1]["comparison_levels"][-1] |= {"m_probability": 0.9, "u_probability": 0.1}
    result, replaced = gate(settings, trained, comparisons_of(features), RULES)
    assert list(replaced) == ["family_name"]
    assert result["comparisons"][1]["comparison_levels"] == settings["comparisons"][1]["comparison_levels"]


def test_too_many_failures_leave_the_stated_parameters(start):
    features, settings = start
    trained = shifted(settings)
    for comparison in trained["comparisons"]:
        comparison["comparison_levels"][-1] |= {"m_probability": 0.9, "u_probability": 0.1}
    settings_made, replaced = gate(settings, trained, comparisons_of(features), RULES)
    assert settings_made is None
    assert len([place for place in replaced if "/" not in place]) == 3


@pytest.mark.parametrize("recall", [0.25, 0.5, 1.0])
def test_the_prior_follows_the_recall_that_the_rules_state(recall):
    rules = RULES.model_copy(update={"training": Training(prior_recall=recall)})
    features = build_features(RECORDS.with_columns(email_address=pl.lit("ann7@mail.com")), rules)
    made = default_settings(features, term_frequencies(features), rules)
    # One pair agrees on given name and email; few records count as ten pairs.
    assert made["probability_two_random_records_match"] == pytest.approx(min(0.2, 1 / recall / 10))


def test_chance_of_equality_is_among_records_of_which_the_comparison_says_anything():
    """Half of the addresses have no street: that two of all agree on one is four times as rare as among the others."""
    rows = pl.DataFrame({"record_id": [f"r{n}" for n in range(4000)], "zip_code": "02139"})
    streets = pl.format("{} Oak Street", pl.int_range(4000) % 50)
    some = rows.with_columns(address_line_1=pl.when(pl.int_range(4000) % 200 < 100).then(streets))

    def u(records: pl.DataFrame) -> float:
        features = build_features(records, RULES)
        settings = default_settings(features, term_frequencies(features), RULES)
        address = next(c for c in settings["comparisons"] if c["output_column_name"] == "address")
        levels = address["comparison_levels"]
        return next(one["u_probability"] for one in levels if one["label_for_charts"] == "same street")

    assert u(some) == pytest.approx(u(rows.with_columns(address_line_1=streets)) / 4, rel=0.05)


def features_of(rows: list[dict[str, str]]) -> Features:
    features = build_features(pl.DataFrame(rows), RULES)
    return with_shares(features, term_frequencies(features))


def test_one_person_with_many_records_does_not_outvote_the_homes():
    """A till's or a test account's hundred records are five thousand pairs of one name, and say nothing of homes."""
    couples = [
        {"first_name": name, "last_name": f"Fam{home}", "address_line_1": f"{home} Oak Street"}
        for home in range(60)
        for name in ("Ann", "Robert")
    ]
    till = [{"first_name": "Zoe", "last_name": "Till", "address_line_1": "1 Pine Road"}] * 100
    rows = [
        {"record_id": f"r{at}", "zip_code": "02139", "city": "Springfield"} | row
        for at, row in enumerate([*couples, *couples, *till])
    ]
    one_name, two_names = _named(features_of(rows), RULES)
    assert two_names > one_name > 0


def test_strangers_of_one_postal_code_say_nothing_of_homes_where_streets_do():
    cities = [
        {"first_name": name, "last_name": f"Fam{n}", "address_line_1": f"{n} {street} Street"}
        for n in range(40)
        for name, street in (("Ann", "Oak"), ("Robert", "Elm"))
    ]
    twice = [{"first_name": "Zoe", "last_name": f"Own{n}", "address_line_1": f"{n} Fir Road"} for n in range(9)] * 2
    rows = [{"record_id": f"r{at}", "zip_code": "02139"} | row for at, row in enumerate([*cities, *twice])]
    assert _named(features_of(rows), RULES) == (9.0, 0.0)


def test_a_handful_of_streets_does_not_outvote_the_postal_codes():
    """Where streets are mostly missing, what four pairs of them say is no more than chance."""
    families = [{"first_name": name, "last_name": f"Fam{n}"} for n in range(40) for name in ("Ann", "Robert")]
    twice = [{"first_name": "Zoe", "last_name": f"Own{n}", "address_line_1": f"{n} Fir Road"} for n in range(4)] * 2
    rows = [{"record_id": f"r{at}", "zip_code": "02139"} | row for at, row in enumerate([*families, *twice])]
    assert _named(features_of(rows), RULES) == (4.0, 40.0)
