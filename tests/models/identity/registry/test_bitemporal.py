"""A person as it was known at an instant holds what was its own then, and nothing of who joined it since."""

from datetime import UTC, datetime

import polars as pl
import pytest

from customer360.models.identity import IdentityRules, producer, registry
from customer360.models.identity.registry import bitemporal, stewardship, succession
from customer360.pipelines.silver.customers import CustomerRecords
from customer360.platform import tables
from customer360.platform.lake import Lake

RULES = IdentityRules()
SEED = RULES.ids.seed
SAID = {"actor": "ann", "reason": ""}


@pytest.fixture
def shop(lake: Lake) -> Lake:
    """Persons ab, c and de, with records of silver."""
    rows = pl.DataFrame(
        {"record_id": [f"S/{n}" for n in "abcde"], "customer_id": list("abcde"), "first_name": list("ABCDE")}
    ).with_columns(source_system=pl.lit("S"))
    schema = tables.schema(CustomerRecords)
    rows = pl.concat([pl.DataFrame(schema=schema), rows], how="diagonal_relaxed").select(list(schema))
    lake.ensure(CustomerRecords)
    name = tables.spec(CustomerRecords).name
    lake.commit(name, [lake.write_file(name, rows, {})], app="t", app_version=1)
    lake.ensure(producer.IdentityEdges)
    stored = registry.number_records(registry.load(lake, SEED), rows["record_id"])
    clusters = stored.names.with_columns(cluster=pl.Series([0, 0, 1, 2, 2])).select("record", "cluster")
    registry.commit(stored, succession.advance(stored.registry, clusters, cause="run"))
    return lake


def who(lake: Lake, record: str) -> str:
    return str(registry.load(lake, SEED).assignments.filter(record_id=f"S/{record}")["person_id"][0])


def test_what_was_set_of_another_is_not_the_persons_who_it_became(shop: Lake) -> None:
    one, other = who(shop, "a"), who(shop, "c")
    stewardship.override(shop, SEED, one, "email_address", "ann@example.org", **SAID)
    then = datetime.now(UTC)
    stewardship.merge(shop, SEED, one, other, **SAID)
    assert bitemporal.golden_as_of(shop, RULES, one, then)["email_address"] == "ann@example.org"
    of_other = bitemporal.golden_as_of(shop, RULES, other, then)
    assert of_other["records"] == ["S/c"] and of_other["email_address"] is None
    assert bitemporal.golden_as_of(shop, RULES, other, datetime.now(UTC))["email_address"] == "ann@example.org"


def test_a_value_holds_until_it_was_taken_back(shop: Lake) -> None:
    person = who(shop, "a")
    (event,) = stewardship.override(shop, SEED, person, "city", "Rome", **SAID).to_dicts()
    then = datetime.now(UTC)
    stewardship.undo(shop, SEED, event["event"], **SAID)
    assert bitemporal.golden_as_of(shop, RULES, person, then)["city"] == "Rome"
    assert bitemporal.golden_as_of(shop, RULES, person, datetime.now(UTC))["city"] is None


def test_a_former_id_of_several_persons_shows_none_of_them(shop: Lake) -> None:
    former, survivor = sorted((who(shop, "a"), who(shop, "d")), key=lambda p: registry.load(shop, SEED).person(p))[::-1]
    before = datetime.now(UTC)
    stewardship.merge(shop, SEED, former, survivor, **SAID)
    held = bitemporal.golden_as_of(shop, RULES, former, before)["records"]
    stewardship.split(shop, SEED, survivor, held[:1], **SAID)
    with pytest.raises(registry.AmbiguousId, match="parted since"):
        bitemporal.golden_as_of(shop, RULES, former, datetime.now(UTC))
    assert bitemporal.golden_as_of(shop, RULES, former, before)["records"] == held, "then it was one person's"
