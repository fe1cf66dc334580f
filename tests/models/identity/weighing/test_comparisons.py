import numpy as np
import polars as pl
import pytest

from customer360.models.identity import IdentityRules
from customer360.models.identity.evidence.features import build_features
from customer360.models.identity.weighing.comparisons import ADDRESS
from customer360.models.identity.weighing.engine import engine
from customer360.models.identity.weighing.estimate import patterns

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
