import polars as pl
import pytest
from pydantic import ValidationError

from customer360.models.identity.evidence.mapping import PeopleMapping, people_records
from customer360.models.identity.rules import IdentityRules
from customer360.platform.errors import ConfigError

COLUMNS = {"first_name": "name", "address_line_1": ["number", "street"], "date_of_birth": "born"}
MAPPING = PeopleMapping.model_validate({"unique_id": "id", "columns": COLUMNS})
BERLIN = pl.DataFrame({"id": ["1", "2"], "name": [" Ann ", ""], "number": ["7", None], "street": ["Rue X", "Weg"], "born": ["13/02/1980", "03/04/1981"]})  # fmt: skip  # noqa: E501
AUSTIN = BERLIN.with_columns(born=pl.Series(["02/13/1980", "03/04/1981"]))


def test_values_are_trimmed_joined_and_dated():
    records = people_records({"a.csv": BERLIN}, MAPPING)
    assert records["record_id"].to_list() == ["1", "2"]
    assert records["first_name"].to_list() == ["Ann", None]
    assert records["address_line_1"].to_list() == ["7 Rue X", "Weg"]


def test_each_file_has_its_own_order_of_day_and_month():
    mapping = MAPPING.model_copy(update={"source": "@file"})
    records = people_records({"in/berlin.csv": BERLIN, "in/austin.csv": AUSTIN}, mapping)
    assert records["date_of_birth"].to_list() == ["1980-02-13", "1981-04-03", "1980-02-13", "1981-03-04"]
    assert records["record_id"].to_list() == ["berlin/1", "berlin/2", "austin/1", "austin/2"]


@pytest.mark.parametrize(
    ("files", "change", "message"),
    [
        ({"a.csv": BERLIN, "b.csv": AUSTIN}, {}, "add `source"),
        ({"a.csv": BERLIN.with_columns(id=pl.lit("1"))}, {"source": "name"}, "share their id|unique within a source"),
        ({"a.csv": BERLIN.with_columns(id=pl.lit(" "))}, {}, "empty in 2 of 2"),
        ({"a.csv": BERLIN.drop("born")}, {}, r"no file has: \['born'\]"),
        ({"a.csv": BERLIN.drop("id"), "b.csv": BERLIN}, {}, "a.csv has no column 'id'"),
    ],
)
def test_what_does_not_fit_is_named(files, change, message):
    if change:
        files = {name: frame.with_columns(name=pl.lit("x")) for name, frame in files.items()}
    with pytest.raises(ConfigError, match=message):
        people_records(files, MAPPING.model_copy(update=change))


@pytest.mark.parametrize("wrong", [{"columns": {"nick": "x"}}, {"columns": {}}, {"country": "Germany"}, {"more": 1}])
def test_a_wrong_mapping_is_refused(wrong):
    with pytest.raises(ValidationError):
        PeopleMapping.model_validate({"unique_id": "id", "columns": COLUMNS} | wrong)


def test_columns_of_identifiers_may_have_any_name():
    mapping = PeopleMapping.model_validate(
        {"unique_id": "id", "columns": {"first_name": "name"}, "identifiers": ["USt-IdNr", "USt IdNr"]}
    )
    rows = BERLIN.with_columns(pl.lit("DE 1").alias("USt-IdNr"), pl.lit("DE 2").alias("USt IdNr"))
    single = PeopleMapping.model_validate({"unique_id": "id", "columns": {"first_name": "name"}, "identifiers": "card"})
    assert single.identifiers == ("card",)
    records = people_records({"a.csv": rows}, mapping)
    assert records.select("USt_IdNr", "USt_IdNr_1").row(0) == ("DE 1", "DE 2")
    assert mapping.applied_to(IdentityRules()).blocking.identifiers == ("USt_IdNr", "USt_IdNr_1")


@pytest.mark.parametrize(
    ("written", "country", "meant"),
    [
        ("H M", None, "m f"), ("e k", None, "m f"), ("H F", None, "H F"), ("1 2", None, "m f"), ("0 1", None, "0 1"),
        # What says no gender takes nothing from the others.
        ("h m X m", None, "m f x f"), ("0 1 2 9", None, "0 m f 9"),
        # An n is a woman in two countries, and mostly nothing elsewhere.
        ("f n", "HU", "m f"), ("F N f", None, "F N f"), ("F N", "FI", "F N"), ("m n", "FI", "m f"),
        ("m n", "US", "m n"),
    ],
)  # fmt: skip
def test_letters_of_genders_mean_what_they_do_beside_each_other(written: str, country: str | None, meant: str):
    mapping = PeopleMapping.model_validate({"unique_id": "id", "columns": {"gender": "sex"}, "country": country})
    letters = [*written.split(), ""]
    rows = pl.DataFrame({"id": [str(at) for at in range(len(letters))], "sex": letters})
    assert people_records({"a.csv": rows}, mapping)["gender"].to_list() == [*meant.split(), None]


def test_a_column_of_countries_says_what_letters_of_genders_mean():
    columns = {"gender": "sex", "country_code": "land"}
    mapping = PeopleMapping.model_validate({"unique_id": "id", "columns": columns})
    rows = pl.DataFrame({"id": ["1", "2"], "sex": ["F", "N"], "land": ["HUN", "hu"]})
    assert people_records({"a.csv": rows}, mapping)["gender"].to_list() == ["m", "f"]
