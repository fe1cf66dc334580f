"""A steward's operations on a lake: what they change at once, what they leave for later runs, and their undoing."""

import shutil
from datetime import UTC, datetime

import polars as pl
import pytest
from deltalake import write_deltalake

from customer360.models.identity import producer, registry
from customer360.models.identity.registry import RegistryError, decisions, stewardship, succession
from customer360.models.identity.registry.stewardship import Contradiction
from customer360.platform import tables
from customer360.platform.lake import Lake

SEED = "pinned"
SAID = {"actor": "ann", "reason": "called them"}


@pytest.fixture
def shop(lake: Lake) -> Lake:
    """Persons ab, c and defg; d-e, e-f, f-g are their edges."""
    stored = registry.number_records(registry.load(lake, SEED), pl.Series("record_id", list("abcdefg")))
    clusters = stored.names.with_columns(cluster=pl.Series([0, 0, 1, 2, 2, 2, 2])).select("record", "cluster")
    registry.commit(
        stored, succession.advance(stored.registry, clusters, cause="run"), datetime(2026, 1, 1, tzinfo=UTC)
    )
    lake.ensure(producer.IdentityEdges)
    edges = pl.DataFrame(
        {"record_id_l": list("adef"), "record_id_r": list("befg"), "match_weight": [9.0, 8.0, 7.0, 9.0]}
    ).with_columns(decision=pl.lit("accepted"))
    rows = pl.DataFrame(schema=tables.schema(producer.IdentityEdges))
    rows = pl.concat([rows, edges], how="diagonal")
    lake.commit("silver.identity_edges", [lake.write_file("silver.identity_edges", rows, {})], app="t", app_version=1)
    return lake


def people(lake: Lake) -> set[str]:
    groups = registry.load(lake, SEED).assignments.group_by("person_id").agg("record_id")["record_id"]
    return {"".join(sorted(group)) for group in groups}


def who(lake: Lake, record_id: str) -> str:
    return str(registry.load(lake, SEED).assignments.filter(record_id=record_id)["person_id"][0])


def links(lake: Lake) -> dict[str, set[str]]:
    """Pairs in force, by verdict."""
    names = registry.load(lake, SEED).names
    found = decisions.links_of(decisions.decisions(lake), names)
    ids = dict(names.iter_rows())
    told: dict[str, set[str]] = {"accepted": set(), "vetoed": set()}
    for left, right, verdict, _ in found.pairs.iter_rows():
        told[verdict].add(ids[left] + ids[right])
    return told


def test_a_merge_holds_now_and_later_until_it_is_undone(shop: Lake) -> None:
    before = registry.load(shop, SEED)
    (event,) = stewardship.merge(shop, SEED, who(shop, "a"), who(shop, "c"), **SAID).to_dicts()
    assert people(shop) == {"abc", "defg"} and event["actor"] == "ann" and event["cause"] == "decision 0"
    assert links(shop)["accepted"] in ({"ab", "ac"}, {"ab", "bc"}, {"ac", "bc"})
    stewardship.undo(shop, SEED, event["event"], **SAID)
    after = registry.load(shop, SEED)
    assert after.registry.members.equals(before.registry.members)
    assert after.registry.aliases.equals(before.registry.aliases)
    assert links(shop) == {"accepted": set(), "vetoed": {"ac", "bc"}}, "the merge is taken back"
    registry.verify(shop, SEED)


def test_a_split_holds_until_it_is_undone(shop: Lake) -> None:
    before = people(shop)
    (event,) = stewardship.split(shop, SEED, who(shop, "d"), ["f", "g"], **SAID).to_dicts()
    assert people(shop) == {"ab", "c", "de", "fg"}
    assert links(shop)["vetoed"] == {"df", "dg", "ef", "eg"}
    stewardship.undo(shop, SEED, event["event"], **SAID)
    assert people(shop) == before and links(shop)["vetoed"] == set()


def test_a_moved_record_leaves_and_arrives(shop: Lake) -> None:
    stewardship.move(shop, SEED, ["d"], who(shop, "c"), **SAID)
    assert people(shop) == {"ab", "cd", "efg"}
    assert links(shop) == {"accepted": {"cd"}, "vetoed": {"de", "df", "dg"}}


def test_a_pair_is_confirmed_or_rejected(shop: Lake) -> None:
    stewardship.confirm(shop, SEED, "b", "c", **SAID)
    assert people(shop) == {"abc", "defg"} and links(shop)["accepted"] == {"ab", "bc"}
    assert stewardship.confirm(shop, SEED, "b", "a", **SAID).is_empty()
    stewardship.reject(shop, SEED, "g", "d", 12, **SAID)
    assert people(shop) == {"abc", "de", "fg"}, "the weakest of the edges between them gives way"
    assert stewardship.reject(shop, SEED, "a", "g", 12, **SAID).is_empty()
    assert links(shop)["vetoed"] == {"df", "dg", "ef", "eg", "af", "ag", "bf", "bg", "cf", "cg"}, "of all their records"


def test_golden_values_follow_the_records(shop: Lake) -> None:
    person = who(shop, "a")
    (event,) = stewardship.override(shop, SEED, person, "first_name", "Ann", **SAID).to_dicts()
    stewardship.override(shop, SEED, person, "loyalty_points", 7, **SAID)
    stewardship.override(shop, SEED, who(shop, "d"), "date_of_birth", "1980-02-01", **SAID)
    stored = registry.load(shop, SEED)
    told = decisions.overrides(shop, stored)
    assert told.filter(person_id=person).select("attribute", "value").rows() == [
        ("first_name", '"Ann"'), ("loyalty_points", "7"),
    ]  # fmt: skip
    stewardship.merge(shop, SEED, person, who(shop, "d"), **SAID)
    assert set(decisions.overrides(shop, registry.load(shop, SEED))["person_id"]) == {who(shop, "a")}
    stewardship.undo(shop, SEED, event["event"], **SAID)
    assert "first_name" not in decisions.overrides(shop, registry.load(shop, SEED))["attribute"]
    registry.verify(shop, SEED)


def test_a_golden_value_is_taken_back_from_whoever_holds_the_records_by_then(shop: Lake) -> None:
    person, other = who(shop, "d"), who(shop, "a")
    stewardship.override(shop, SEED, other, "first_name", "Bob", **SAID)
    stewardship.override(shop, SEED, person, "first_name", "Ann", **SAID)
    (event,) = stewardship.override(shop, SEED, person, "first_name", "Anne", **SAID).to_dicts()
    for record in "def":
        stewardship.move(shop, SEED, [record], other, **SAID)
    value = (
        decisions.overrides(shop, registry.load(shop, SEED)).filter(attribute="first_name").select("person_id", "value")
    )
    assert value.rows() == [(other, '"Anne"')], "it follows most of the records, and g stays"
    stewardship.undo(shop, SEED, event["event"], **SAID)
    assert decisions.overrides(shop, registry.load(shop, SEED))["value"].to_list() == ['"Ann"'], "what was set before"
    with pytest.raises(RegistryError, match="taken back before"):
        stewardship.undo(shop, SEED, event["event"], **SAID)
    registry.verify(shop, SEED)


def test_a_former_id_of_several_persons_names_nobody(shop: Lake) -> None:
    former, survivor = who(shop, "a"), who(shop, "d")
    stewardship.merge(shop, SEED, former, survivor, **SAID)
    stewardship.split(shop, SEED, survivor, ["a"], **SAID)
    heirs = {who(shop, "a"), who(shop, "b")}
    assert former not in heirs and len(heirs) == 2
    acts = (
        lambda: stewardship.override(shop, SEED, former, "first_name", "Ann", **SAID),
        lambda: stewardship.merge(shop, SEED, former, who(shop, "c"), **SAID),
        lambda: stewardship.move(shop, SEED, ["c"], former, **SAID),
        lambda: stewardship.split(shop, SEED, former, ["b"], **SAID),
    )
    for act in acts:
        with pytest.raises(registry.AmbiguousId, match="parted since"):
            act()


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda lake: stewardship.merge(lake, SEED, "px", who(lake, "a"), **SAID), "no person id"),
        (lambda lake: stewardship.split(lake, SEED, who(lake, "a"), ["zz"], **SAID), "no record zz"),
        (lambda lake: stewardship.override(lake, SEED, who(lake, "a"), "shoe_size", 44, **SAID), "no golden attribute"),
        (lambda lake: stewardship.override(lake, SEED, who(lake, "a"), "date_of_birth", "May", **SAID), "is a Date"),
        (lambda lake: stewardship.undo(lake, SEED, 99, **SAID), "no event 99"),
    ],
)
def test_what_is_refused_leaves_nothing(shop: Lake, act, words: str) -> None:
    before = registry.verify(shop, SEED)
    with pytest.raises(RegistryError, match=words):
        act(shop)
    assert registry.verify(shop, SEED) == before and decisions.decisions(shop).is_empty()


def refused(act, *words: str) -> None:
    with pytest.raises(Contradiction) as fault:
        act()
    for word in words:
        assert word in str(fault.value), fault.value


def test_findings_that_contradict_are_refused_with_both_named(shop: Lake) -> None:
    ann, bob = {"actor": "ann", "reason": "called her"}, {"actor": "bob", "reason": "two cards"}
    stewardship.confirm(shop, SEED, "a", "c", **ann)
    refused(lambda: stewardship.reject(shop, SEED, "c", "a", 12, **bob), "decision 0 (confirm, ann", "called her")
    refused(lambda: stewardship.split(shop, SEED, who(shop, "a"), ["c"], **bob), "decision 0", "undo --decision 0")
    stewardship.withdraw(shop, SEED, 0, **bob)
    assert people(shop) == {"ab", "c", "defg"}
    stewardship.reject(shop, SEED, "a", "c", 12, **bob)
    refused(lambda: stewardship.confirm(shop, SEED, "b", "c", **ann), "(reject, bob", "two cards")
    refused(lambda: stewardship.merge(shop, SEED, who(shop, "a"), who(shop, "c"), **ann), "(reject, bob")
    assert people(shop) == {"ab", "c", "defg"}
    registry.verify(shop, SEED)


def test_a_chain_that_contradicts_is_refused_with_all_of_it_named(shop: Lake) -> None:
    stewardship.split(shop, SEED, who(shop, "d"), ["f", "g"], **SAID)
    stewardship.confirm(shop, SEED, "a", "c", actor="ann", reason="one")
    stewardship.confirm(shop, SEED, "c", "d", actor="bob", reason="two")
    refused(lambda: stewardship.reject(shop, SEED, "a", "d", 12, **SAID), "decision 1 (confirm, ann", "decision 2")
    refused(lambda: stewardship.confirm(shop, SEED, "a", "f", **SAID), "decision 0 (split", "decision 2 (confirm, bob")
    assert people(shop) == {"abcde", "fg"}


def test_a_change_gives_way_to_the_next_and_gives_the_id_back(shop: Lake) -> None:
    ids = {record: who(shop, record) for record in "acd"}
    stewardship.merge(shop, SEED, ids["a"], ids["c"], **SAID)
    stewardship.split(shop, SEED, ids["a"], ["a", "b"], **SAID)
    assert {record: who(shop, record) for record in "acd"} == ids
    stewardship.merge(shop, SEED, ids["a"], ids["c"], **SAID)
    stewardship.reject(shop, SEED, "b", "c", 12, **SAID)
    assert {record: who(shop, record) for record in "acd"} == ids and people(shop) == {"ab", "c", "defg"}
    assert links(shop) == {"accepted": {"ab"}, "vetoed": {"ac", "bc"}}, "what was not in question stays"
    registry.verify(shop, SEED)


def test_what_is_one_person_by_decision_stays_so_when_others_part(shop: Lake) -> None:
    stewardship.merge(shop, SEED, who(shop, "a"), who(shop, "d"), **SAID)
    stewardship.split(shop, SEED, who(shop, "d"), ["f", "g"], **SAID)
    assert people(shop) == {"abde", "c", "fg"}
    stewardship.confirm(shop, SEED, "c", "e", **SAID)
    assert people(shop) == {"abcde", "fg"}
    assert links(shop)["accepted"] == {"ab", "bc", "cd", "de", "fg"}, "what a merge joined stays with its own"


@pytest.mark.parametrize("act", [stewardship.confirm, lambda *a, **k: stewardship.reject(*a, 12, **k)])
def test_a_record_is_not_compared_with_itself(shop: Lake, act) -> None:
    with pytest.raises(RegistryError, match="a is named twice"):
        act(shop, SEED, "a", "a", **SAID)


def test_a_log_of_before_is_read_and_goes_on(shop: Lake) -> None:
    stewardship.merge(shop, SEED, who(shop, "a"), who(shop, "c"), **SAID)
    old = ["decision", "decided_at", "actor", "kind", "left", "right", "attribute", "value", "reason"]
    rows = decisions.decisions(shop).select(old)
    shutil.rmtree(shop.uri("silver.steward_decisions"))
    write_deltalake(shop.uri("silver.steward_decisions"), rows)
    shop.commit("silver.steward_decisions", [], app="steward decisions", app_version=1)
    assert decisions.decisions(shop)["command"].to_list() == [None] and links(shop)["accepted"] == {"ab", "bc"}
    stewardship.split(shop, SEED, who(shop, "a"), ["c"], **SAID)
    assert decisions.decisions(shop)["command"].to_list() == [None, "split"] and people(shop) == {"ab", "c", "defg"}


def test_a_decision_of_two_parts_is_taken_back_whole(shop: Lake) -> None:
    before = people(shop)
    stewardship.move(shop, SEED, ["d"], who(shop, "c"), **SAID)
    assert decisions.last(shop) == (0, []) and people(shop) == {"ab", "cd", "efg"}
    stewardship.withdraw(shop, SEED, 1, **SAID)
    assert people(shop) == before and decisions.last(shop)[1] == [0, 1]
    with pytest.raises(RegistryError, match="taken back before"):
        stewardship.withdraw(shop, SEED, 0, **SAID)
    registry.verify(shop, SEED)


def test_a_finding_binds_what_its_erased_record_stood_for(shop: Lake) -> None:
    stewardship.confirm(shop, SEED, "d", "a", **SAID)
    registry.forget(registry.load(shop, SEED), frozenset("d"), cause="erasure")
    refused(lambda: stewardship.split(shop, SEED, who(shop, "a"), ["e", "f", "g"], **SAID), "decision 0 (confirm")
    stewardship.split(shop, SEED, who(shop, "a"), ["b"], **SAID)
    assert people(shop) == {"aefg", "b", "c"}
    registry.verify(shop, SEED)
