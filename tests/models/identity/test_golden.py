import json
from datetime import UTC, date, datetime

import polars as pl

from customer360.models.identity import IdentityRules, golden
from customer360.models.identity.golden import golden_and_losing
from customer360.models.identity.rules import Survivorship

RULES = IdentityRules(
    survivorship=Survivorship(trusted_sources=("CRM", "POS"), trust_first=frozenset({"date_of_birth"}))
)
RECORDS = pl.DataFrame(
    {
        "record_id": ["CRM/1", "POS/1", "POS/2", "WEB/9"],
        "source_system": ["CRM", "POS", "POS", "WEB"],
        "first_name": ["Ann", "Anne", None, "Bob"],
        "email_address": ["old@x.com", "new@x.com", "junk", None],
        "email_std": ["old@x.com", "new@x.com", None, None],
        "date_of_birth": [date(1980, 1, 2), date(1980, 2, 1), None, None],
        "address_line_1": ["1 Oak St", None, "9 Elm St", None],
        "city": ["Rome", None, None, None],
        "zip_code": ["02139", "99999", "10001", None],
        "registered_on": [date(2020, 5, 1), date(2019, 5, 1), date(2021, 5, 1), date(2022, 1, 1)],
        "last_login_on": [date(2023, 1, 1), date(2024, 1, 1), None, None],
        "is_contactable": [True, False, None, True],
    }
)
PERSONS = pl.DataFrame({"record_id": ["CRM/1", "POS/1", "POS/2", "WEB/9"], "person_id": ["p1", "p1", "p1", "p2"]})


def test_survivors_and_their_provenance():
    row = golden(RECORDS, PERSONS, RULES).row(0, named=True)
    assert row["person_id"] == "p1" and row["record_count"] == 3 and row["source_systems"] == ["CRM", "POS"]
    assert row["first_name"] == "Anne"
    assert row["email_address"] == "new@x.com"
    assert row["date_of_birth"] == date(1980, 1, 2), "the trusted source wins over the recent one"
    assert row["registered_on"] == date(2019, 5, 1)
    assert row["is_contactable"] is False
    provenance = json.loads(row["provenance"])
    assert provenance["first_name"] == {"record_id": "POS/1", "rule": "most recent"}
    assert provenance["date_of_birth"] == {"record_id": "CRM/1", "rule": "most trusted source"}
    assert "gender" not in provenance


def test_an_address_is_taken_whole():
    row = golden(RECORDS, PERSONS, RULES).row(0, named=True)
    # Touched 2023, against 2021 for the other: its city and zip come along, and no zip of a third record.
    assert (row["address_line_1"], row["city"], row["zip_code"]) == ("1 Oak St", "Rome", "02139")


def test_an_address_without_a_street_keeps_what_it_says():
    nowhere = RECORDS.with_columns(address_line_1=pl.lit(None, pl.String), country_code=pl.lit("USA"))
    row = golden(nowhere, PERSONS, RULES).row(0, named=True)
    assert (row["address_line_1"], row["city"], row["zip_code"], row["country_code"]) == (None, None, "99999", "USA")
    junk = RECORDS.with_columns(street_std=pl.Series([None, None, None, None], dtype=pl.String))
    row = golden(junk, PERSONS, RULES).row(0, named=True)
    assert (row["address_line_1"], row["zip_code"]) == (None, "99999"), "a street that is none does not survive"
    _, lost = golden_and_losing(nowhere, PERSONS, RULES, None)
    assert lost.filter(attribute="address_line_1").is_empty()


def test_a_later_update_wins_over_a_login():
    updated = RECORDS.with_columns(
        last_updated_at=pl.Series([datetime(2025, 1, 1, tzinfo=UTC), None, None, None], dtype=pl.Datetime("us", "UTC"))
    )
    assert golden(updated, PERSONS, RULES)["first_name"][0] == "Ann"


def test_ties_go_to_the_value_most_records_agree_on():
    same = pl.DataFrame({"record_id": ["a", "b", "c"], "source_system": ["POS"] * 3, "first_name": ["Al", "Bo", "Bo"]})
    persons = pl.DataFrame({"record_id": ["a", "b", "c"], "person_id": ["p"] * 3})
    row = golden(same, persons, RULES).row(0, named=True)
    assert row["first_name"] == "Bo" and json.loads(row["provenance"])["first_name"]["record_id"] == "b"


def test_it_splits_by_person_and_ignores_row_order():
    whole = golden(RECORDS, PERSONS, RULES)
    parts = [golden(RECORDS, part, RULES) for part in PERSONS.partition_by("person_id")]
    assert whole.equals(pl.concat(parts).sort("person_id"))
    assert whole.equals(golden(RECORDS.reverse(), PERSONS.reverse(), RULES))
    assert whole.schema == golden(RECORDS.clear(), PERSONS.clear(), RULES).schema


def ruled(**policy: object) -> IdentityRules:
    return IdentityRules(survivorship=Survivorship(trusted_sources=("CRM", "POS"), **policy))


OFFERS = pl.DataFrame(
    {
        "record_id": ["CRM/1", "POS/1", "POS/2", "WEB/1"],
        "source_system": ["CRM", "POS", "POS", "WEB"],
        "first_name": ["Al", "Alexander", "Alex", "Alex"],
        "last_updated_at": [datetime(2020 + n, 1, 1, tzinfo=UTC) for n in (3, 2, 1, 0)],
    },
    schema_overrides={"last_updated_at": pl.Datetime("us", "UTC")},
)
ONE = pl.DataFrame({"record_id": OFFERS["record_id"], "person_id": ["p1"] * 4})


def test_each_policy_picks_its_value():
    picks = {
        "most recent": "Al", "most trusted source": "Al", "most complete": "Alexander", "most frequent": "Alex",
        "verified": "Alex",
    }  # fmt: skip
    for name, value in picks.items():
        rules = ruled(policies={"first_name": name}, verified_sources={"first_name": ("WEB",)})
        row = golden(OFFERS, ONE, rules).row(0, named=True)
        assert row["first_name"] == value, name
        assert json.loads(row["provenance"])["first_name"]["rule"] == name
    assert golden(OFFERS, ONE, ruled(default="most complete"))["first_name"][0] == "Alexander"


def test_what_did_not_survive_is_kept():
    rules = ruled()
    people, lost = golden_and_losing(OFFERS, ONE, rules, None)
    assert people.equals(golden(OFFERS, ONE, rules))
    lost = lost.filter(attribute="first_name")
    assert lost.select("value", "record_id", "rank").rows() == [
        ("Alexander", "POS/1", 2), ("Alex", "POS/2", 3), ("Alex", "WEB/1", 4),
    ]  # fmt: skip
    alone = ONE.with_columns(person_id="record_id")
    assert golden_and_losing(OFFERS, alone, rules, None)[1].is_empty()


def test_a_steward_outranks_every_record():
    set_ = pl.DataFrame(
        {
            "person_id": ["p1"] * 3,
            "attribute": ["first_name", "city", "date_of_birth"],
            "value": ['"Lex"', '"Rome"', '"1980-02-01"'],
            "decision": [4, 5, 6],
        }
    )
    row = golden(OFFERS, ONE, ruled(), set_).row(0, named=True)
    assert (row["first_name"], row["city"], row["date_of_birth"]) == ("Lex", "Rome", date(1980, 2, 1))
    assert json.loads(row["provenance"])["city"] == {"record_id": "decision 5", "rule": "steward"}
    other = golden(OFFERS, ONE.with_columns(person_id=pl.lit("p2")), ruled(), set_).row(0, named=True)
    assert other["first_name"] == "Al" and other["city"] is None


def test_a_country_alone_gives_way_to_any_place():
    places = RECORDS.with_columns(
        pl.lit(None, pl.String).alias("address_line_1"),
        pl.lit(None, pl.String).alias("zip_code"),
        city=pl.Series([None, None, "Bari", None]),
        country_code=pl.Series(["DEU", "DEU", "ITA", None]),
    )
    row = golden(places, PERSONS, RULES).row(0, named=True)
    assert (row["city"], row["country_code"]) == ("Bari", "ITA"), "though the others were touched later"
