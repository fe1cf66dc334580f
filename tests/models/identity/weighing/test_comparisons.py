import numpy as np
import polars as pl
import pytest

from customer360.models.identity import IdentityRules
from customer360.models.identity.evidence.features import build_features
from customer360.models.identity.weighing.comparisons import ADDRESS, FAMILY, GIVEN, Comparison
from customer360.models.identity.weighing.engine import engine
from customer360.models.identity.weighing.estimate import patterns
from customer360.models.identity.weighing.frequencies import term_frequencies, with_shares

RULES = IdentityRules()
ELSEWHERE = {"city": "Delft", "zip_code": "55555"}


def level(one: dict[str, str], other: dict[str, str]) -> str:
    """Label of the level of two addresses in one place, if they name no other."""
    place = {"city": "Springfield", "zip_code": "02139"}
    rows = [{"record_id": name} | place | own for name, own in (("a", one), ("b", other))]
    features = build_features(pl.DataFrame(rows, infer_schema_length=None), RULES)
    pair = pl.DataFrame({"rid_l": np.array([0]), "rid_r": np.array([1])})
    with engine(RULES.engine.single) as con:
        found = patterns(con, features, (ADDRESS,), pair)
    return ADDRESS.levels[int(found.levels[0, 0])].label


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("217 Mumarlo Street", "Mumarlo Street", "part of the street, same place"),
        ("12 Mumarlo Street", "Flat 4 12 Mumarlo Street", "part of the street, same place"),
        ("217 Mumarlo Street", "217 Mumarlo Street", "same street and place"),
        ("217 Mumarlo Street", "17 Mumarlo Street", "close street, same place"),
        ("12 Mumarlo Street", "84 Wesriba Crescent", "same zip and city, another street"),
    ],
)
def test_a_street_may_be_written_without_its_number(one: str, other: str, expected: str) -> None:
    assert level({"address_line_1": one}, {"address_line_1": other}) == expected


def test_a_part_of_a_street_elsewhere_says_nothing() -> None:
    assert level({"address_line_1": "217 Mumarlo Street"}, {"address_line_1": "Mumarlo Street"} | ELSEWHERE) in (
        "close street",
        "different",
    )


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("217", "217 Mumarlo Street", "same house number and place"),
        ("217", "217", "same house number and place"),
        ("217 a", "217A", "same house number and place"),
        ("17", "217 Mumarlo Street", "same zip and city, another street"),
        ("", "217 Mumarlo Street", "same zip and city"),
    ],
)
def test_a_house_number_without_a_street_tells_one_door_from_another(one: str, other: str, expected: str) -> None:
    """As addresses of the Netherlands are given: a postal code and a house number."""
    assert level({"address_line_1": one}, {"address_line_1": other}) == expected


def test_a_house_number_elsewhere_is_another_house() -> None:
    assert level({"address_line_1": "217"}, {"address_line_1": "217 Mumarlo Street"} | ELSEWHERE) == "different"


# Borne by many here, so that what an error makes of one of them is told from a name.
COMMON = ("Rosa", "Vi", "Vu", "Nam", "Marisol", "直子", "聡太郎", "민준", "伟", "建国", "王")


def level_of_names(one: str, other: str, column: str = "first_name", compared: Comparison = GIVEN) -> str:
    """Label of the level of two names among records of which many bear common ones."""
    names = [one, other, *(name for name in COMMON for _ in range(20))]
    rows = [{"record_id": f"{at:03}", column: name} for at, name in enumerate(names)]
    features = build_features(pl.DataFrame(rows), RULES)
    features = with_shares(features, term_frequencies(features))
    pair = pl.DataFrame({"rid_l": np.array([0]), "rid_r": np.array([1])})
    with engine(RULES.engine.single) as con:
        found = patterns(con, features, (compared,), pair)
    return compared.levels[int(found.levels[0, 0])].label


@pytest.mark.parametrize(
    ("one", "other"),
    [("Rosa", "Rpsa"), ("Vi", "iV"), ("Vu", "Ju"), ("Nam", "Nm"), ("Marisol", "Marizol"),
     ("直子", "香子"), ("直子", "子直"), ("聡太郎", "聡郎"), ("聡太郎", "聡陽郎"), ("민준", "준민"),
     ("민준", "민중"), ("민준", "민솔"), ("建国", "建军")],
)  # fmt: skip
def test_what_an_error_makes_of_a_name_is_told_by_that_nobody_bears_it(one: str, other: str) -> None:
    """In names of any length, letters and signs alike."""
    assert level_of_names(one, other) == level_of_names(other, one) == "misspelled"


@pytest.mark.parametrize(
    ("one", "other"),
    [("Vi", "Vu"), ("Nam", "Namira"), ("Rosa", "R"), ("Vu", "V"), ("Marisol", "Mirasoul"), ("Tova", "Tiva"),
     ("直子", "香美"), ("聡太郎", "一也"), ("伟", "娟"), ("伟", "美"), ("伟", "国伟"), ("直子", "直")],
)  # fmt: skip
def test_two_names_that_are_borne_initials_and_names_of_one_home_are_no_misspellings(one: str, other: str) -> None:
    assert level_of_names(one, other) != "misspelled"


def test_surnames_are_misspelled_likewise() -> None:
    assert level_of_names("Vu", "uV", "last_name", FAMILY) == "misspelled"
    assert level_of_names("Vu", "Vi", "last_name", FAMILY) != "misspelled"
    assert level_of_names("王", "阎", "last_name", FAMILY) != "misspelled"
