from datetime import date

import numpy as np
import polars as pl
import pytest

from customer360.models.identity import (
    IdentityInputError,
    IdentityModel,
    IdentityModelError,
    IdentityRules,
    pairwise,
    resolve,
)
from customer360.models.identity.registry.ids import ids_without_registry
from customer360.models.identity.rules import Blocking, Decision

RULES = IdentityRules()
SHOP = pl.DataFrame(
    {
        "record_id": ["POS/1", "CRM/1", "WEB/1", "CRM/2", "POS/3", "WEB/4"],
        "first_name": ["Robert", "Bob", "Jorge", "Ann", "Zoe", "Zoe"],
        "last_name": ["King", "King", "King", "Lee", "Ray", "Ray"],
        "email_address": ["king77@mail.com", "king77@mail.com", "king77@mail.com", None, None, "zz@mail.com"],
        "phone_number": ["4155552671", "(415) 555-2671", "4155552671", None, None, None],
        "date_of_birth": [date(1980, 5, 17), None, date(2004, 3, 9), None, None, None],
        "registered_on": [date(2019, 1, 1), date(2021, 1, 1), None, None, date(2022, 1, 1), date(2022, 1, 1)],
    }
)


def groups(resolution) -> set[frozenset[str]]:
    found = resolution.assignments.group_by("person_id").agg("record_id")["record_id"].to_list()
    return {frozenset(group) for group in found}


@pytest.fixture(scope="module")
def shop():
    return resolve(SHOP, RULES)


def test_a_small_shop_is_resolved_with_stated_parameters(shop):
    assert shop.model.diagnostics["mode"] == "default" and "6 records" in shop.model.diagnostics["reason"]
    assert frozenset({"POS/1", "CRM/1"}) in groups(shop)
    assert len(groups(shop)) == 5, "the son of the household stays apart in spite of the shared email"
    vetoed = shop.edges.filter(pl.col("decision") == "vetoed")
    assert vetoed.height >= 1 and vetoed["reason"].null_count() == 0


def test_assignments_name_cluster_and_person(shop):
    row = shop.assignments.filter(record_id="POS/1").row(0, named=True)
    assert row["cluster_key"] == "CRM/1", "the lowest record"
    assert row["person_id"] == ids_without_registry(pl.Series(["POS/1"]))[0], "the earliest registered record"
    assert len(row["person_id"]) == 17 and row["person_id"].startswith("p")
    assert shop.assignments["record_id"].to_list() == sorted(SHOP["record_id"].to_list())


def test_evidence_adds_up_to_the_weight(shop):
    prior = shop.model.settings["probability_two_random_records_match"]
    told = shop.edges["evidence"].list.eval(pl.element().struct.field("weight")).list.sum()
    assert np.allclose(told + np.log2(prior / (1 - prior)), shop.edges["match_weight"])


def test_row_order_changes_nothing(shop):
    again = resolve(SHOP.sample(fraction=1.0, shuffle=True, seed=3), RULES)
    assert again.assignments.equals(shop.assignments)
    assert again.edges.equals(shop.edges)
    assert again.model == shop.model and again.model.version == shop.model.version


def test_a_saved_model_gives_the_same_edges(shop):
    loaded = IdentityModel.model_validate_json(shop.model.model_dump_json())
    assert resolve(SHOP, RULES, model=loaded).edges.equals(shop.edges)


def test_must_links_hold_and_are_marked(shop):
    links = pl.DataFrame({"record_id_l": ["WEB/4", "WEB/1", "gone"], "record_id_r": ["CRM/2", "POS/1", "CRM/2"]})
    linked = resolve(SHOP, RULES, model=shop.model, links=links)
    assert frozenset({"CRM/2", "WEB/4"}) in groups(linked)
    assert frozenset({"POS/1", "CRM/1", "WEB/1"}) in groups(linked), "a login outweighs the household rule"
    marked = linked.edges.filter(pl.col("reason") == "must link")
    assert marked.select("record_id_l", "record_id_r").rows() == [("CRM/2", "WEB/4"), ("POS/1", "WEB/1")]
    assert set(marked["decision"]) == {"accepted"}
    with pytest.raises(IdentityInputError, match="record_id_r"):
        resolve(SHOP, RULES, model=shop.model, links=links.drop("record_id_r"))


def test_nothing_to_compare():
    lone = resolve(SHOP.filter(pl.col("record_id") == "CRM/2"), RULES)
    assert lone.edges.is_empty() and lone.assignments.height == 1
    none = resolve(SHOP.clear(), RULES)
    assert none.assignments.is_empty() and none.edges.schema == lone.edges.schema
    assert resolve(pl.DataFrame({"record_id": ["a", "b"]}), RULES).assignments["person_id"].n_unique() == 2


def test_values_that_too_many_records_share_are_counted_and_propose_nothing():
    records = pl.DataFrame({"record_id": ["1", "2", "3"], "email_address": ["a9@mail.com"] * 3})
    crowded = resolve(records, IdentityRules(blocking=Blocking(max_records_per_key=2)))
    assert crowded.dropped == {"key_email": 1} and crowded.edges.is_empty()
    assert resolve(records, RULES).edges.height == 3 and resolve(records, RULES).dropped == {}


def test_faults_are_raised(shop):
    with pytest.raises(IdentityModelError, match="max_pairs = 1"):
        resolve(SHOP, IdentityRules(blocking=Blocking(max_pairs=1)), model=shop.model)
    with pytest.raises(IdentityModelError, match="train it again"):
        other = IdentityRules(blocking=Blocking(identifiers=("registered_on",)))
        resolve(SHOP, other, model=shop.model)


def population(people: int, seed: int) -> pl.DataFrame:
    """Records of `people` persons, one to three each, with missing values and typing errors in a tenth."""
    rng = np.random.default_rng(seed)
    syllables = np.array(["ba", "ke", "lo", "mi", "ru", "sa", "ti", "vo", "zan", "der"])
    rows = []
    for person in range(people):
        given, family = ("".join(rng.choice(syllables, 3)) for _ in range(2))
        full = {
            "first_name": given, "last_name": family, "email_address": f"{family}{person}@mail.com",
            "phone_number": f"415{2000000 + person * 37}", "address_line_1": f"{person % 97 + 1} {family} St",
            "date_of_birth": date(1950 + person % 50, person % 12 + 1, person % 27 + 1), "zip_code": f"{10000 + person % 200}",  # noqa: E501
        }  # fmt: skip
        for copy in range(int(rng.integers(1, 4))):
            kept = {name: value if rng.random() > 0.25 else None for name, value in full.items()}
            if kept["first_name"] and rng.random() < 0.1:
                kept["first_name"] = given[:-1]
            rows.append({"record_id": f"S{copy}/{person}", "entity_id": person} | kept)
    return pl.DataFrame(rows)


@pytest.mark.slow
def test_a_trained_model_finds_the_persons_whatever_the_row_order():
    records = population(500, 5)
    first = resolve(records, RULES)
    again = resolve(records.sample(fraction=1.0, shuffle=True, seed=1), RULES)
    assert first.model.diagnostics["mode"] == "trained"
    assert first.model == again.model
    assert first.edges.equals(again.edges) and first.assignments.equals(again.assignments)
    found = pairwise(first.assignments.join(records, on="record_id"))
    assert found.precision > 0.99 and found.recall > 0.9
    largest = first.assignments["cluster_key"].value_counts()["count"].max()
    capped = resolve(records, IdentityRules(decision=Decision(max_cluster_size=2)), model=first.model)
    assert largest == 3 and capped.assignments["cluster_key"].value_counts()["count"].max() == 2
