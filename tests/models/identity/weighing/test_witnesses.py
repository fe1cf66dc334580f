"""Sessions that take another structure of a file for persons are not believed."""

from dataclasses import replace
from random import Random

import numpy as np
import polars as pl
import pytest

from customer360.models.identity import IdentityRules, resolve
from customer360.models.identity.evidence.features import build_features
from customer360.models.identity.evidence.mapping import PeopleMapping, people_records
from customer360.models.identity.evidence.standardize import standardize
from customer360.models.identity.weighing import model
from customer360.models.identity.weighing.estimate import Patterns
from customer360.models.identity.weighing.frequencies import comparisons_of, term_frequencies
from customer360.models.identity.weighing.model import default_settings
from customer360.models.identity.weighing.witnesses import Seen, recaptured, witnesses

RULES = IdentityRules()
RECORDS = pl.DataFrame(
    {
        "record_id": ["a", "b", "c", "d"],
        "first_name": ["Ann", "Ann", "Bo", "Cy"],
        "last_name": ["Lee", "Lee", "May", "Nil"],
        "date_of_birth": ["1970-02-03", "1971-02-03", "1972-02-03", "1973-02-03"],
        "email_address": ["a@lee.org", "b@lee.org", "bo@may.org", "cy@nil.org"],
    }
)
COLUMNS = {
    "first_name": "first_name", "last_name": "last_name", "date_of_birth": "dob", "gender": "gender",
    "address_line_1": "street", "city": "city", "state_code": "state", "zip_code": "zip",
}  # fmt: skip
STATES = ("CO", "MA", "IL", "TX", "AZ", "WA", "OH", "FL", "NC", "TN", "GA", "OR")


@pytest.fixture(scope="module")
def evidence():
    features = build_features(RECORDS, RULES)
    settings = default_settings(features, term_frequencies(features), RULES)
    return features.frame, comparisons_of(features), settings


def session(*columns: str, matches: float, at_bound: float = 0.0, kept: float = 1.0) -> Seen:
    nothing = Patterns(np.empty((0, 4), dtype=np.int8), np.empty(0))
    return Seen(columns, nothing, {}, matches, kept, at_bound)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ((("day", 0.0), ("family", 0.1), ("given", 500.0)), ["day", "family"]),
        ((("day", 400.0), ("family", 420.0), ("given", 500.0)), ["day", "family", "given"]),
        ((("email", 200.0), ("day", 0.0), ("given", 300.0)), ["email", "day", "given"]),
        ((("day", 0.0), ("given", 20.0)), ["day", "given"]),
        ((("given", 500.0),), ["given"]),
        ((("family", 1.0), ("given", 500.0)), ["family", "given"]),
    ],
    ids=["one against all", "all agree", "one that misses them", "too few to move anything", "no other", "one each"],
)
def test_a_session_is_believed_unless_it_claims_far_more_than_the_others(evidence, seen, expected):
    believed = witnesses(*evidence, [session(name, matches=matches) for name, matches in seen])
    assert [one.session[0] for one in believed] == expected


def test_claims_count_the_records_that_a_session_was_drawn_from(evidence):
    """A hundredth of the pairs shows a hundredth of the matches."""
    seen = [session("day", matches=50.0), session("email", matches=50.0), session("given", matches=50.0, kept=0.01)]
    assert [one.session[0] for one in witnesses(*evidence, seen)] == ["day", "email"]


def test_a_session_whose_matches_differ_in_most_things_shows_no_persons(evidence):
    seen = [session("day", matches=400.0), session("given", matches=500.0, at_bound=0.75)]
    assert [one.session[0] for one in witnesses(*evidence, seen)] == ["day"]


def test_the_number_of_matches_is_that_of_the_sessions_of_persons(evidence):
    frame, comparisons, settings = evidence
    stated = {entry["output_column_name"]: entry["comparison_levels"][1] for entry in settings["comparisons"]}
    agree = stated["date_of_birth"]["m_probability"]
    seen = [session("day", matches=1000 * agree), session("family", matches=9000.0)]
    assert recaptured(frame, comparisons, settings, seen) == pytest.approx(1000)
    assert recaptured(frame, comparisons, settings, []) is None


def master(people: int, seed: int) -> pl.DataFrame:
    """One record a person: singles and couples of one surname and home, names by gender, in twelve towns."""
    random = Random(seed)

    def word(syllables: int) -> str:
        return "".join(random.choice("bdfgklmnprstvw") + random.choice("aeiou") for _ in range(syllables)).title()

    def common(names: list[str]) -> str:
        return random.choices(names, [1 / (place + 25) for place in range(len(names))])[0]

    given = {gender: [word(2) + ending for _ in range(100)] for gender, ending in (("F", "a"), ("M", "n"))}
    surnames = [word(2) for _ in range(people // 2)]
    rows: list[dict[str, str]] = []
    while len(rows) < people:
        town, eldest = random.randrange(len(STATES)), random.randint(1940, 1995)
        home = {
            "last_name": common(surnames),
            "street": f"{random.randint(1, 9999)} {random.choice(surnames)} Rd", "city": f"Town {STATES[town]}",
            "state": STATES[town], "zip": f"{10 + town}{random.randint(100, 160)}",
        }  # fmt: skip
        for gender in random.choice(("F", "M", "FF", "FM", "MF", "MM")):
            name = common(given[gender])
            born = f"{eldest + random.randint(0, 8)}-{random.randint(1, 12):02}-{random.randint(2, 28):02}"
            rows.append(home | {"id": f"p{len(rows)}", "first_name": name, "dob": born, "gender": gender})
    return pl.DataFrame(rows[:people])


@pytest.fixture(scope="module")
def clean():
    mapping = PeopleMapping.model_validate({"unique_id": "id", "columns": COLUMNS})
    return standardize(people_records({"people": master(2000, 1)}, mapping), RULES)


def test_a_master_without_duplicates_stays_whole(clean):
    made = resolve(clean, RULES)
    assert made.assignments["cluster_key"].n_unique() == clean.height


def test_a_session_that_is_not_believed_sets_neither_m_nor_the_prior(clean, monkeypatch):
    """Equal given names stand with an equal gender, which looks like a class of its own: here it is taken for one."""
    features, honest = build_features(clean, RULES), model._trained

    def astray(features, shown, start, others, most):
        one = honest(features, shown, start, others, most)
        if one.session != ("given",):
            return one
        apart = {name: np.append(np.full(len(m) - 1, 0.2 / (len(m) - 1)), 0.8) for name, m in one.trained.items()}
        return replace(one, trained=apart, matches=500.0, at_bound=0.75)

    expected = model.train(features, RULES)
    monkeypatch.setattr(model, "_trained", astray)
    found = model.train(features, RULES)
    assert found.diagnostics["not believed"] == ["given"]
    assert found.diagnostics["sessions"]["given"] == 500
    share = "probability_two_random_records_match"
    assert found.settings[share] == pytest.approx(expected.settings[share], abs=1e-5)
    family = {entry["output_column_name"]: entry["comparison_levels"] for entry in found.settings["comparisons"]}
    assert family["family_name"][1]["m_probability"] > 0.8
