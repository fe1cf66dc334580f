import polars as pl
import pytest

from customer360.models.identity.organisations.telling import with_entities


@pytest.mark.parametrize(
    ("record", "entity", "name"),
    [
        ({"last_name": "Kestrel LLC"}, "organisation", "Kestrel LLC"),
        ({"full_name": "Havgast A/S"}, "organisation", "Havgast A/S"),
        ({"full_name": "Zilverreiger B.V."}, "organisation", "Zilverreiger B.V."),
        ({"first_name": "Jim", "last_name": "Sá"}, "person", None),
        ({"full_name": "Jim Sa"}, "person", None),
        ({"last_name": "Ngo"}, "person", None),
        ({"organisation_name": "Blue Harbor"}, "organisation", "Blue Harbor"),
        ({"organisation_name": "Blue Harbor", "first_name": "Ann", "last_name": "Lee"}, "person", "Blue Harbor"),
        ({"full_name": "Blue Harbor", "entity_type": "B2B"}, "organisation", "Blue Harbor"),
        ({"full_name": "Kestrel LLC", "entity_type": "individual"}, "person", None),
        ({"full_name": "Blue Harbor", "entity_type": "true"}, "organisation", "Blue Harbor"),
        ({"full_name": "Blue Harbor", "entity_type": "reseller"}, "person", None),
        ({"entity_type": "company", "email_address": "a@b.org"}, "person", None),
        ({"first_name": "Blue", "last_name": "Harbor", "entity_type": "Company"}, "organisation", "Blue Harbor"),
        ({"organisation_name": "Self-Employed", "first_name": "Ann", "last_name": "Lee"}, "person", None),
        ({"organisation_name": "Freelance", "full_name": "Ann Lee", "entity_type": "b2b"}, "organisation", "Ann Lee"),
        ({"organisation_name": "Private", "entity_type": "prospect"}, "person", None),
    ],
)
def test_who_is_an_organisation(record, entity, name):
    found = with_entities(pl.DataFrame([{"record_id": "1"} | record])).row(0, named=True)
    assert (found["entity_type"], found["organisation_name"]) == (entity, name)


def test_records_keep_their_order_and_columns():
    records = pl.DataFrame({"record_id": ["2", "1"], "last_name": ["Kestrel LLC", "Lee"], "x": [1, 2]})
    found = with_entities(records)
    assert found.drop("entity_type", "organisation_name").equals(records)
    assert with_entities(records.clear()).height == 0
