"""Survivors, steward operations, and the law that a replay of the events gives the state."""

import random
from datetime import UTC, datetime

import polars as pl
import pytest

from customer360.models.identity import golden
from customer360.models.identity.registry import core, operations, succession
from customer360.models.identity.registry.chain import GENESIS, root_of
from customer360.models.identity.registry.core import Registry, RegistryError, replay
from customer360.models.identity.registry.ids import person_ids, person_numbers

NO_EVENTS = pl.DataFrame(schema=core.EVENTS)
SEALED_AT = datetime(2026, 1, 1, tzinfo=UTC)


class History:
    """A registry with all its events, as a store would hold it."""

    def __init__(self, *clusters: list[int]) -> None:
        self.registry, self.events, self.roots = Registry.empty(), NO_EVENTS, [GENESIS]
        self.resolve(*clusters)

    def add(self, events: pl.DataFrame) -> pl.DataFrame:
        self.registry = self.registry.apply(events)
        self.events = pl.concat([self.events, events])
        if events.height:
            commit = events["commit"][0]
            self.roots.append(root_of(events, self.roots[-1], commit, SEALED_AT))
        return events

    @property
    def sealed(self) -> list[str]:
        """The roots that the whole log gives now."""
        roots = [GENESIS]
        for part in self.events.partition_by("commit", maintain_order=True):
            roots.append(root_of(part, roots[-1], part["commit"][0], SEALED_AT))
        return roots

    def resolve(self, *clusters: list[int], gone: tuple[int, ...] = ()) -> pl.DataFrame:
        rows = [(record, number) for number, cluster in enumerate(clusters) for record in cluster]
        frame = pl.DataFrame(rows, schema={"record": pl.Int64, "cluster": pl.Int64}, orient="row")
        return self.add(succession.advance(self.registry, frame, gone, cause="run"))

    def act(self, operation, *arguments) -> pl.DataFrame:
        return self.add(operation(self.registry, *arguments, cause="decision", actor="steward"))

    def undo(self, event: int) -> pl.DataFrame:
        return self.act(operations.undo, self.together(event))

    def together(self, event: int) -> list[dict]:
        """The event with those that came of the same act."""
        mine = self.events.filter(event=event)
        if mine["actor"][0] == "resolution":
            return mine.to_dicts()
        return self.events.filter(commit=mine["commit"][0]).to_dicts()

    @property
    def persons(self) -> dict[int, list[int]]:
        held: dict[int, list[int]] = {}
        for record, person in sorted(self.registry.members.select("record", "person").iter_rows()):
            held.setdefault(person, []).append(record)
        return dict(sorted(held.items()))

    @property
    def aliases(self) -> dict[int, int]:
        return dict(self.registry.aliases.iter_rows())


def test_ids_are_scrambled_one_to_one():
    numbers = pl.Series([0, 1, 2, None, 10**9, 2**61])
    ids = person_ids(numbers, "seed")
    assert ids.drop_nulls().str.contains(r"^p[0-9a-f]{16}$").all() and ids.null_count() == 1
    assert person_numbers(ids, "seed").to_list() == numbers.to_list()
    assert set(ids.drop_nulls()).isdisjoint(person_ids(numbers, "other"))
    assert person_numbers(pl.Series(["p", "x", "POS/17", None]), "seed").null_count() == 4


def test_the_same_partition_changes_nothing():
    h = History([0, 1], [2])
    assert h.persons == {0: [0, 1], 1: [2]}
    assert h.resolve([2], [1, 0]).is_empty() and h.registry.commit == 1


def test_an_older_record_that_joins_does_not_change_the_id():
    h = History([5, 6])
    events = h.resolve([3, 5, 6])
    assert events["kind"].to_list() == ["absorb"] and h.persons == {0: [3, 5, 6]}


def test_who_holds_most_survives_then_the_oldest():
    h = History([0], [1, 2, 3], [4], [5, 6, 7])
    h.resolve([0, 1, 2, 3])
    assert h.persons[1] == [0, 1, 2, 3] and h.aliases == {0: 1}, "three records outweigh the older id"
    h.resolve([0, 1, 2, 3, 4], [5, 6, 7])
    assert h.aliases == {0: 1, 2: 1}
    even = History([0, 1], [2, 3])
    even.resolve([0, 1, 2, 3])
    assert even.persons == {0: [0, 1, 2, 3]}, "at a tie the older id"


def test_a_split_mints_for_the_smaller_part():
    h = History([0, 1, 2], [3])
    events = h.resolve([0], [1, 2])
    assert events.select("kind", "person", "from_person").rows() == [("split", 2, 0)]
    assert h.persons == {0: [1, 2], 1: [3], 2: [0]}, "persons that were not named stay"


def test_a_regrouping_keeps_as_many_ids_as_it_can():
    h = History([0, 1, 2], [3, 4])
    h.resolve([0, 1], [2, 3], [4])
    # Person 0 stays where most of it is, so that its third record joins person 1, who loses one to a new person.
    assert h.persons == {0: [0, 1], 1: [2, 3], 2: [4]}
    assert set(h.events["kind"]) <= {"mint", "split", "move"} and h.aliases == {}


def test_an_id_that_loses_everything_leads_on():
    h = History([0, 1], [2, 3, 4])
    h.resolve([0, 2, 3], [1, 4])
    assert sorted(map(len, h.persons.values())) == [2, 3]
    chain = History([0], [1, 2], [3, 4, 5])
    chain.resolve([0, 1, 2], [3, 4, 5])
    chain.resolve([0, 1, 2, 3, 4, 5])
    assert chain.aliases == {0: 1, 2: 1}, "three against three: the older id, and its own alias still leads to it"
    assert chain.persons == {1: [0, 1, 2, 3, 4, 5]}


def test_deleted_records_retire_and_numbers_never_return():
    h = History([0, 1], [2])
    events = h.resolve([0], gone=(1, 2))
    assert events.select("kind", "person", "from_person").rows() == [("retire", None, 0), ("retire", None, 1)]
    assert h.persons == {0: [0]} and h.aliases == {}
    h.resolve([0], [3])
    assert h.persons == {0: [0], 2: [3]}, "the number of a retired person is not given again"


def test_a_merge_is_undone_to_the_letter():
    h = History([0, 1], [2], [3])
    before = h.persons
    merged = h.act(operations.merge, 1, 0)
    assert h.persons == {0: [0, 1, 2], 2: [3]} and h.registry.current(1) == 0
    undone = h.undo(merged["event"][0])
    assert undone["kind"].to_list() == ["unmerge"] and h.persons == before and h.aliases == {}
    h.undo(undone["event"][0])
    assert h.registry.current(1) == 0, "an undo can be undone"


def test_records_that_moved_on_stay_when_an_older_event_is_undone():
    h = History([0, 1, 5], [2, 3], [4])
    merged = h.act(operations.merge, 0, 1)["event"][0]
    h.act(operations.move, [2], 2)
    h.undo(merged)
    assert h.persons == {0: [0, 1, 5], 1: [3], 2: [2, 4]}


def test_a_split_is_undone_and_its_id_leads_back():
    h = History([0, 1, 2, 3])
    made = h.act(operations.split, 0, [2, 3])
    assert h.persons == {0: [0, 1], 1: [2, 3]}, "at a tie the named part leaves"
    h.undo(made["event"][0])
    assert h.persons == {0: [0, 1, 2, 3]} and h.aliases == {1: 0}


def test_what_cannot_be_done_says_why():
    h = History([0, 1], [2])
    for operation, arguments, words in (
        (operations.merge, (0, 0), "one person already"),
        (operations.split, (0, [0, 1]), "both sides"),
        (operations.split, (0, [2]), r"\[2\] are not held"),
        (operations.move, ([0, 2], 1), "2 persons"),
        (operations.move, ([9], 1), "held by nobody"),
        (operations.move, ([0], 0), "there already"),
    ):
        with pytest.raises(RegistryError, match=words):
            operation(h.registry, *arguments, cause="", actor="")
    with pytest.raises(RegistryError, match="a mint cannot be undone"):
        h.undo(0)


def test_a_split_gives_former_ids_back_to_their_records():
    h = History([0, 1], [2], [3])
    h.act(operations.merge, 0, 1)
    h.act(operations.merge, 0, 2)
    told = h.act(operations.split, 0, [0, 1])
    assert set(told["kind"]) == {"unmerge", "merge"} and h.persons == {0: [0, 1], 1: [2, 3]}, "0 stays with its own"
    assert h.aliases == {2: 1}, "which lead to where their records went"
    h.act(operations.split, 1, [3])
    assert h.persons == {0: [0, 1], 1: [2], 2: [3]} and h.aliases == {}


def test_a_resolution_gives_former_ids_back_too():
    h = History([0], [1, 2, 3])
    h.resolve([0, 1, 2, 3])
    assert h.aliases == {0: 1}
    h.resolve([0], [1, 2, 3])
    assert h.persons == {0: [0], 1: [1, 2, 3]} and h.aliases == {}
    h.resolve([0, 1, 2, 3])
    assert h.resolve([0, 1], [2, 3])["kind"].to_list() == ["unmerge"]
    assert h.persons == {0: [0, 1], 1: [2, 3]}


def test_a_record_that_comes_back_to_others_takes_its_former_id_along():
    h = History([0, 3], [1], [2])
    h.resolve([0, 1], gone=(3,))
    assert h.aliases == {1: 0}
    h.resolve([0], gone=(1,))
    h.resolve([1, 2], gone=(0,))  # delivered again, and the same as another now
    assert h.persons == {2: [1, 2]} and h.aliases == {1: 2}
    assert replay(h.events).aliases.equals(h.registry.aliases)


def test_who_moves_away_takes_its_id_along():
    h = History([0], [1], [2, 3])
    h.act(operations.merge, 0, 1)
    moved = h.act(operations.move, [0], 2)
    assert h.persons == {1: [1], 2: [0, 2, 3]} and h.aliases == {0: 2}
    h.undo(moved["event"][0])
    assert h.persons == {0: [0, 1], 2: [2, 3]} and h.aliases == {1: 0}


def act(h: History, rng: random.Random, done: list[int]) -> None:
    """One steward operation, drawn at random; what it made is noted in `done`."""
    persons = h.persons
    kind = rng.choice(("merge", "confirm", "split", "reject", "move", "undo"))
    events = None
    if kind in ("merge", "confirm"):
        events = h.act(operations.merge, *rng.choices(list(persons), k=2))
    elif kind in ("split", "reject"):
        person = rng.choice(list(persons))
        most = 1 if kind == "reject" else len(persons[person])
        events = h.act(operations.split, person, rng.sample(persons[person], rng.randint(1, most)))
    elif kind == "move":
        source, to = rng.choices(list(persons), k=2)
        events = h.act(operations.move, rng.sample(persons[source], rng.randint(1, len(persons[source]))), to)
    elif done:
        h.undo(done.pop())
    if events is not None:
        done.append(events["event"][0])


def profiles(persons: dict[int, list[int]]) -> pl.DataFrame:
    """Golden records of persons whose records' values follow from their numbers."""
    rows = [(f"{'CRM' if r % 2 else 'POS'}/{r}", f"p{person}") for person, held in persons.items() for r in held]
    assigned = pl.DataFrame(rows, schema=["record_id", "person_id"], orient="row")
    number = pl.col("record_id").str.split("/").list.last()
    told = {"given_name_std": "Ann", "family_name_std": "Lee", "street_std": "Elm", "phone_std": "415"}
    records = assigned.select(
        "record_id", source_system=pl.col("record_id").str.split("/").list.first(),
        email_address=number + "@mail.com", city=pl.lit("C") + number, loyalty_points=number.cast(pl.Int64),
        **{name: pl.lit(text) + number for name, text in told.items()},
    ).with_columns(email_std="email_address")  # fmt: skip
    return golden(records, assigned)


def scripts(seed: int, number: int) -> None:
    """Random scripts one after another: steward operations, all of them undone in the end, newest first. After each,
    members, aliases and profiles are those of before; in the end the log verifies."""
    rng = random.Random(seed)
    size = rng.randint(4, 12)
    h = History(*[[r for r in range(size) if r % k == i] for k in [rng.randint(1, 4)] for i in range(k)])
    profiled = profiles(h.persons)
    for _ in range(number):
        script(h, rng, size)
    assert profiles(h.persons).equals(profiled)
    assert h.sealed == h.roots, "every commit stands as it was sealed"
    told = replay(h.events)
    assert told.members.equals(h.registry.members) and told.aliases.equals(h.registry.aliases)
    assert (told.next_person, told.next_event, told.commit) == (
        h.registry.next_person, h.registry.next_event, h.registry.commit,
    )  # fmt: skip


def heirs(h: History, alias: int) -> set[int]:
    """Who holds now what an id held when it ended."""
    records = h.registry.former.filter(alias=alias)["record"]
    return set(core.holders(h.registry.members, records).drop_nulls())


def script(h: History, rng: random.Random, size: int) -> None:
    before, known = h.persons, h.registry.next_person
    done: list[int] = []
    for _ in range(rng.randint(1, 6)):
        height = h.events.height
        try:
            act(h, rng, done)
        except RegistryError:
            assert h.events.height == height, "what is refused leaves nothing behind"
        assert sorted(r for records in h.persons.values() for r in records) == list(range(size))
        for alias in h.aliases:
            assert h.registry.current(alias) in heirs(h, alias), "an id never leads to somebody else's data"
    while done:
        h.undo(done.pop())
    assert h.persons == before
    assert all(h.registry.current(alias) in heirs(h, alias) for alias in h.aliases)
    for later in range(known, h.registry.next_person):
        assert h.registry.current(later) in before, "an id that was given out leads to a person for ever"


def test_random_scripts_end_where_they_began():
    for seed in range(5):
        scripts(seed, 5)


@pytest.mark.slow
def test_hundreds_of_random_scripts_end_where_they_began():
    for seed in range(16):
        scripts(10_000 + seed, 25)


@pytest.mark.parametrize("seed", range(15))
def test_random_partitions_replay_and_keep_untouched_ids(seed):
    rng = random.Random(seed)
    h, records = History(), []
    for _ in range(6):
        records += range(len(records), len(records) + rng.randint(0, 5))
        gone = tuple(r for r in h.registry.members["record"].to_list() if rng.random() < 0.1)
        alive = [r for r in records if r not in gone and r not in getattr(h, "dead", ())]
        h.dead = {*getattr(h, "dead", ()), *gone}
        clusters: dict[int, list[int]] = {}
        for record in alive:
            clusters.setdefault(rng.randint(0, len(records) // 2), []).append(record)
        before = h.persons
        h.resolve(*clusters.values(), gone=gone)
        groups = sorted(map(sorted, clusters.values()))
        assert sorted(h.persons.values()) == groups
        for person, held in before.items():
            if held in groups:
                assert h.persons[person] == held, "a person whose records are the same keeps its id"
        assert all(h.registry.current(alias) not in h.aliases for alias in h.aliases)
    told = replay(h.events)
    assert told.members.equals(h.registry.members) and told.aliases.equals(h.registry.aliases)
