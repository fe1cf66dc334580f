"""The registry in a lake: what a commit leaves, a death between its tables, tampering, erasure, and time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from customer360.models.identity.registry import (
    RegistryError,
    Stored,
    commit,
    forget,
    history,
    load,
    memberships,
    number_records,
    operations,
    store,
    succession,
    verify,
)
from customer360.platform import lake as lakes
from customer360.platform.lake import Lake

SEED = "pinned"
START = datetime(2026, 1, 1, tzinfo=UTC)


def resolved(stored: Stored, *clusters: str, day: int = 0) -> Stored:
    """The registry after clusters such as "ab c": records a and b are one person, c another."""
    groups = [list(cluster) for cluster in clusters]
    stored = number_records(stored, pl.Series("record_id", [r for g in groups for r in g], dtype=pl.String))
    rows = [(record_id, number) for number, group in enumerate(groups) for record_id in group]
    frame = pl.DataFrame(rows, schema={"record_id": pl.String, "cluster": pl.Int64}, orient="row")
    frame = frame.join(stored.names, on="record_id").select("record", "cluster")
    gone = stored.registry.members.join(frame, on="record", how="anti")["record"].to_list()
    events = succession.advance(stored.registry, frame, gone, cause=f"run {day}")
    return commit(stored, events, START + timedelta(days=day))


def acted(stored: Stored, operation: Callable[..., pl.DataFrame], *arguments: object, day: int = 0) -> Stored:
    events = operation(stored.registry, *arguments, cause="decision 0", actor="ann")
    return commit(stored, events, START + timedelta(days=day))


def people(stored: Stored) -> set[str]:
    groups = stored.assignments.group_by("person_id").agg("record_id")["record_id"]
    return {"".join(sorted(group)) for group in groups}


@contextmanager
def dying_at(point: str) -> Iterator[None]:
    class Death(BaseException):
        pass

    def observer(reached: str) -> None:
        if reached == point:
            raise Death

    lakes.observers.append(observer)
    try:
        with pytest.raises(Death):
            yield
    finally:
        lakes.observers.remove(observer)


def test_a_new_lake_has_an_empty_registry(lake: Lake) -> None:
    assert load(lake, SEED).assignments.is_empty() and verify(lake, SEED).commits == 0
    assert memberships(lake).is_empty()


def test_what_was_committed_is_loaded(lake: Lake) -> None:
    first = resolved(load(lake, SEED), "ab", "c", "d")
    second = resolved(first, "abc", "d", "e", day=1)
    again = load(lake, SEED)
    assert again.registry.members.equals(second.registry.members)
    assert again.registry.aliases.equals(second.registry.aliases) and again.root == second.root
    assert (again.registry.next_record, again.registry.next_person, again.registry.next_event) == (5, 4, 5)
    assert people(again) == {"abc", "d", "e"}
    checked = verify(lake, SEED)
    assert (checked.commits, checked.events, checked.records, checked.aliases) == (2, 5, 5, 1)
    assert checked.sealed_from == 1 and checked.unsealed == 0


def test_the_same_seed_gives_the_same_ids_and_another_gives_others(lake: Lake, tmp_path) -> None:
    one = resolved(load(lake, SEED), "ab", "c").assignments
    assert resolved(load(Lake(str(tmp_path / "b"), {}, 4), SEED), "ab", "c").assignments.equals(one)
    other = resolved(load(Lake(str(tmp_path / "c"), {}, 4), "other"), "ab", "c").assignments
    assert set(other["person_id"]).isdisjoint(one["person_id"])


def test_nothing_new_commits_nothing(lake: Lake) -> None:
    resolved(load(lake, SEED), "ab", "c")
    before = {name: lake.version(name) for name in ("silver.identity_events", "silver.identity_commits")}
    resolved(load(lake, SEED), "ba", "c", day=1)
    assert {name: lake.version(name) for name in before} == before


@pytest.mark.parametrize("table", ["events", "members", "aliases", "commits"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_death_between_the_tables_leaves_no_trace(lake: Lake, tmp_path, table: str, moment: str) -> None:
    calm = Lake(str(tmp_path / "calm"), {}, 4)
    for each in (lake, calm):
        resolved(load(each, SEED), "ab", "c", "d")
    with dying_at(f"{moment} commit silver.identity_{table}"):
        resolved(load(lake, SEED), "abc", "d", "e", day=1)
    seen = load(lake, SEED)
    assert people(seen) == ({"abc", "d", "e"} if (moment, table) == ("after", "commits") else {"ab", "c", "d"})
    verify(lake, SEED)
    # What comes after need not be what was cut off.
    for each in (lake, calm):
        resolved(load(each, SEED), "abc", "de", day=2)
        verify(each, SEED)
    if (moment, table) != ("after", "commits"):
        for log in (*store.LOGS, store.IdentityCommits):
            name = store._name(log)
            order = list(log.columns())[:2]
            one, other = (
                each.scan(name).drop("root", "previous_root", strict=False).collect() for each in (lake, calm)
            )
            assert one.sort(order).equals(other.sort(order)), name  # digests are keyed by a secret of each lake


def test_a_change_made_for_an_older_state_is_refused(lake: Lake) -> None:
    early = resolved(load(lake, SEED), "ab", "c")
    resolved(early, "abc", day=1)
    with pytest.raises(RegistryError, match="at commit 2, this change was made for 1"):
        resolved(early, "a", "b", "c", day=2)


def test_old_ids_lead_to_the_person_for_ever(lake: Lake) -> None:
    stored = resolved(load(lake, SEED), "ab", "c", "def")
    ids = dict(stored.assignments.iter_rows())
    stored = resolved(stored, "abc", "def", day=1)
    stored = resolved(stored, "abcdef", day=2)
    current = ids["d"]
    assert {stored.person_id(stored.person(old)) for old in ids.values()} in ({ids["a"]}, {current})
    with pytest.raises(RegistryError, match="no person id"):
        stored.person("p0123456789abcdef")


def test_who_held_a_record_when(lake: Lake) -> None:
    stored = resolved(load(lake, SEED), "ab", "c")
    ids = dict(stored.assignments.iter_rows())
    stored = acted(stored, operations.merge, stored.person(ids["a"]), stored.person(ids["c"]), day=5)
    acted(stored, operations.split, stored.person(ids["a"]), [stored.record("a")], day=9)
    held = memberships(lake).filter(record_id="c").select("person_id", "valid_from", "valid_to").rows()
    assert held == [(ids["c"], START, START + timedelta(days=5)), (ids["a"], START + timedelta(days=5), None)]
    then = dict(memberships(lake, START + timedelta(days=6)).select("record_id", "person_id").iter_rows())
    assert then == {"a": ids["a"], "b": ids["a"], "c": ids["a"]}
    assert memberships(lake, START - timedelta(days=1)).is_empty()


def test_the_history_of_a_person_tells_of_its_former_ids(lake: Lake) -> None:
    stored = resolved(load(lake, SEED), "ab", "c", "d")
    ids = dict(stored.assignments.iter_rows())
    stored = acted(stored, operations.merge, stored.person(ids["a"]), stored.person(ids["c"]), day=5)
    told = history(stored, ids["c"])
    assert told["kind"].to_list() == ["mint", "mint", "merge"] and told["record_ids"].to_list()[-1] == ["c"]
    assert told.row(2, named=True)["from_person_id"] == ids["c"] and told.row(2, named=True)["actor"] == "ann"
    assert history(stored, "c")["event"].to_list() == [1, 3]
    with pytest.raises(RegistryError):
        history(stored, "nobody")


def test_an_erased_person_leaves_numbers_and_a_chain_that_verifies(lake: Lake) -> None:
    stored = resolved(load(lake, SEED), "ab", "c", "def")
    ids = dict(stored.assignments.iter_rows())
    stored = resolved(stored, "abc", "def", day=1)
    events = lake.scan("silver.identity_events").collect()
    forget(stored, frozenset("abc"), cause="erasure")
    verify(lake, SEED)
    assert lake.scan("silver.identity_events").collect().sort("event").head(events.height).equals(events.sort("event"))
    for name in ("events", "members", "aliases", "commits", "seals"):
        text = lake.scan(f"silver.identity_{name}").select(pl.struct(pl.all()).struct.json_encode()).collect()
        words = "".join(text.to_series())
        assert ids["a"] not in words and ids["c"] not in words and '"a"' not in words
    again = load(lake, SEED)
    assert people(again) == {"def"} and again.registry.next_record == 6
    # An account of that name that comes later is somebody new.
    later = resolved(again, "def", "a", day=3)
    verify(lake, SEED)
    assert later.record("a") == 6 and dict(later.assignments.iter_rows())["a"] not in ids.values()
