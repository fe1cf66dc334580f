import polars as pl
import pytest

from customer360.models.identity.evidence.standardize import standardize


@pytest.mark.parametrize(
    ("text", "street", "city", "code"),
    [
        ("12 Cinder Ave, Springfield, IL 62704", "12 cinder ave", "springfield", "62704"),
        ("12 Cinder Ave, Springfield IL 62704-1234", "12 cinder ave", "springfield", "62704"),
        ("80 Larch Ave SE Springfield IL 62704", "80 larch ave se", "springfield", "62704"),
        ("12 Cinder Ave, Springfield, IL", "12 cinder ave", "springfield", None),
        ("Osprey House, 7 Tern Road, Leeds, LS1 4AP", "7 tern rd", "leeds", "ls14ap"),
        ("12 St Louis Ave", "12 st louis ave", None, None),
        ("12 Cinder Ave", "12 cinder ave", None, None),
        ("Rua da Foz, 17", "rua da foz 17", None, None),
    ],
)
def test_a_whole_address_in_one_field_is_taken_apart(text, street, city, code):
    made = standardize(pl.DataFrame({"record_id": ["1"], "address_line_1": [text]})).row(0, named=True)
    assert (made["street_std"].split(" "), made["city_std"], made["zip_std"]) == (_short(street), city, code)


def _short(street: str) -> list[str]:
    """Without rules of street words the long forms stay."""
    return street.replace(" rd", " road").split(" ")


def test_a_city_of_its_own_leaves_the_street_as_it_is():
    row = {"record_id": ["1"], "address_line_1": ["12 Cinder Ave, Springfield, IL 62704"], "city": ["Chatham"]}
    made = standardize(pl.DataFrame(row)).row(0, named=True)
    assert made["city_std"] == "chatham" and made["zip_std"] is None and "springfield" in made["street_std"]
