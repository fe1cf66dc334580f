"""Any order and batching of the same records ends as one run of all of them does: same edges, same partition."""

import random
from datetime import date

import numpy as np
import polars as pl
import pytest

from customer360.models.identity import IdentityRules, resolve
from customer360.models.identity.batch import incremental
from customer360.models.identity.batch.incremental import resolve_batch
from customer360.models.identity.batch.pins import Pins, evidence, pinned, read, write
from customer360.models.identity.batch.state import State
from customer360.models.identity.registry import core, succession
from customer360.models.identity.registry.decisions import CANNOT_LINK, MUST_LINK, links_of
from customer360.models.identity.rules import Blocking, Engine, Identifier, Stitching
from customer360.models.identity.spill import spilling
from customer360.platform.lake import Lake

# Caps so low that keys pass them in the middle of a test.
RULES = IdentityRules(blocking=Blocking(max_records_per_key=4))


def population(people: int, seed: int) -> pl.DataFrame:
    """Records of `people` in households that share surname, street and landline, one to three each, with gaps."""
    rng = np.random.default_rng(seed)
    given = ["ann", "bob", "cora", "dan", "eve", "finn", "gina", "hugo"]
    family = ["miller", "ortega", "kim", "novak", "larsen", "rossi"]
    rows = []
    for person in range(people):
        home = person // 3
        full = {
            "first_name": given[int(rng.integers(8))], "last_name": family[home % 6],
            "email_address": f"u{person}x{person * 7}@mail.com", "phone_number": f"415{2000000 + home * 37}",
            "address_line_1": f"{home + 1} Oak St", "city": "Springfield", "zip_code": f"{10000 + home % 5}",
            "date_of_birth": date(1950 + person % 50, person % 12 + 1, person % 27 + 1),
        }  # fmt: skip
        for copy in range(int(rng.integers(1, 4))):
            kept = {name: value if rng.random() > 0.3 else None for name, value in full.items()}
            rows.append({"record_id": f"S{copy}/{person}"} | kept)
    return pl.DataFrame(rows)


class Resolver:
    """Batches into a state, and a registry that follows."""

    def __init__(self, pins: Pins, every: pl.DataFrame, rules: IdentityRules = RULES):
        self.pins, self.rules = pins, rules
        self.evidence = evidence(every, pins, rules).with_row_index("record").cast({"record": pl.Int64})
        self.names = self.evidence.select("record", "record_id")
        self.start()

    def start(self) -> None:
        self.state, self.registry = State.empty(self.evidence.drop("record")), core.Registry.empty()

    def take(self, rows: list[int] | pl.DataFrame, gone: tuple[int, ...] = (), **options) -> pl.DataFrame:
        batch = rows if isinstance(rows, pl.DataFrame) else self.evidence[rows]
        resolved = resolve_batch(self.state, batch, gone, self.pins, self.rules, **options)
        events = succession.advance(self.registry, resolved.clusters, gone, cause="test")
        self.state, self.registry = resolved.state, self.registry.apply(events)
        return events

    @property
    def edges(self) -> pl.DataFrame:
        return self.state.edges.sort("record_l", "record_r").drop("evidence")

    @property
    def partition(self) -> set[frozenset[int]]:
        groups = self.registry.members.group_by("person").agg("record")["record"].to_list()
        return {frozenset(group) for group in groups}

    def same(self, other: "Resolver") -> None:
        assert self.partition == other.partition
        assert self.edges.equals(other.edges)
        order = ["key", "value"]
        assert self.state.crowded.sort(order).equals(other.state.crowded.sort(order))


@pytest.fixture(scope="module")
def people() -> pl.DataFrame:
    return population(60, 7)


@pytest.fixture(scope="module")
def pins(people: pl.DataFrame) -> Pins:
    return pinned(people, RULES)[0]


@pytest.fixture(scope="module")
def whole(people: pl.DataFrame, pins: Pins) -> Resolver:
    made = Resolver(pins, people)
    made.take(list(range(people.height)))
    return made


@pytest.mark.slow
def test_all_at_once_is_what_resolve_gives(people: pl.DataFrame, pins: Pins, whole: Resolver) -> None:
    made = resolve(people, RULES, model=pins.model)
    named = made.assignments.join(whole.names, on="record_id").group_by("cluster_key").agg("record")
    assert whole.partition == {frozenset(group) for group in named["record"].to_list()}
    mine = whole.state.edges.join(whole.names.rename({"record": "record_l"}), on="record_l")
    assert mine.height == made.edges.height
    assert np.allclose(whole.edges["match_weight"], made.edges["match_weight"], atol=1e-9)
    assert whole.edges["match_key"].equals(made.edges["match_key"])
    assert whole.state.crowded.height > 5, "the caps must matter here"


@pytest.mark.slow
def test_any_order_and_batching_ends_the_same(people: pl.DataFrame, pins: Pins, whole: Resolver) -> None:
    moved = 0
    for seed in range(4):
        rng = random.Random(seed)
        rows = list(range(people.height))
        rng.shuffle(rows)
        cuts = sorted(rng.sample(range(1, len(rows)), 4))
        made = Resolver(pins, people)
        for begin, end in zip([0, *cuts], [*cuts, len(rows)], strict=True):
            made.take(rows[begin:end])
        made.same(whole)
        moved += made.registry.next_person - len(made.partition)
    assert moved > 0, "persons were merged or parted on the way"


@pytest.mark.slow
def test_orders_with_updates_and_deletions_end_the_same() -> None:
    people = population(200, 11)
    pins = pinned(people, RULES)[0]
    strangers = population(20, 12).with_columns(pl.format("X/{}", "record_id").alias("record_id"))
    every = Resolver(pins, pl.concat([people, strangers]))
    mine = every.names.filter(~pl.col("record_id").str.starts_with("X/"))["record"].to_list()
    others = every.names.filter(pl.col("record_id").str.starts_with("X/"))["record"].to_list()
    # Earlier versions of the same records, some of which look like somebody else's.
    stale = people.with_columns(
        first_name=pl.col("first_name").shift(1), date_of_birth=pl.col("date_of_birth").shift(3)
    )
    earlier = evidence(stale, pins, RULES).join(every.names, on="record_id").select(every.evidence.columns)
    whole = Resolver(pins, pl.concat([people, strangers]))
    whole.take(mine)
    detours = 0
    for seed in range(8):
        rng = random.Random(seed)
        made = Resolver(pins, pl.concat([people, strangers]))
        first = set(rng.sample(mine, len(mine) // 4))
        made.take(pl.concat([earlier.filter(pl.col("record").is_in(list(first))), every.evidence[others]]))
        rng.shuffle(mine)
        rng.shuffle(others)
        cuts = sorted(rng.sample(range(1, len(mine)), rng.randint(1, 2)))
        for begin, end in zip([0, *cuts], [*cuts, len(mine)], strict=True):
            leaving = {0: others[::2], cuts[-1]: others[1::2]}
            made.take(mine[begin:end], tuple(leaving.get(begin, ())))
        made.same(whole)
        detours += made.registry.next_person > len(made.partition)
    assert detours > 4, "persons were merged or parted on the way"


def without(state: State, records: list[int]) -> tuple[State, pl.Series]:
    """The state as a lake gives it back, without what changed since, and who had edges with that."""
    named = pl.any_horizontal(pl.col("record_l", "record_r").is_in(records))
    cut = state.edges.filter(named)
    near = pl.concat([cut["record_l"], cut["record_r"].alias("record_l")]).unique()
    left = State.of(state.frame.filter(~pl.col("record").is_in(records)), state.edges.filter(~named), state.crowded)
    return left, near.filter(~near.is_in(records))


@pytest.mark.slow
def test_evidence_of_a_batch_is_that_of_the_whole() -> None:
    domain = (
        pl.when(pl.int_range(pl.len()) % 2 == 0)
        .then(pl.lit("@club.example"))
        .otherwise(pl.format("@home{}.example", pl.int_range(pl.len()) // 6))
    )
    people = population(60, 7).with_columns(email_address=pl.col("email_address").str.replace("@mail.com", "") + domain)
    pins = pinned(people, RULES)[0]
    whole = evidence(people, pins, RULES)
    assert 0 < whole["email_own"].drop_nulls().len() < whole["email"].drop_nulls().len(), "both kinds of domains"
    alone = [evidence(people[begin : begin + 7], pins, RULES) for begin in range(0, people.height, 7)]
    assert pl.concat(alone, how="diagonal_relaxed").select(whole.columns).sort("record_id").equals(whole)


LOGIN = Identifier(column="login_id", max_names=9)
CARD = Identifier(column="loyalty_id", max_records=4, blocked={"0000"})
NUMBERED = IdentityRules(blocking=Blocking(max_records_per_key=4), stitching=Stitching(identifiers=(LOGIN, CARD)))


def numbered(people: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Some records with a login or a card; a tenth of the cards is somebody else's, so that all limits are passed."""
    rng = np.random.default_rng(seed)
    person = people["record_id"].str.split("/").list.last().cast(pl.Int64).to_numpy()
    card = np.where(rng.random(people.height) < 0.15, rng.integers(0, 60, people.height), person)
    return people.with_columns(
        login_id=pl.when(pl.Series(rng.random(people.height)) < 0.4).then(pl.Series(person // 2).cast(pl.String)),
        loyalty_id=pl.when(pl.Series(rng.random(people.height)) < 0.6).then(pl.Series(card % 40).cast(pl.String)),
    )


@pytest.mark.slow
@pytest.mark.parametrize("has_numbers", [False, True])
def test_without_the_versions_that_a_batch_replaces_it_ends_the_same(has_numbers: bool) -> None:
    rules = NUMBERED if has_numbers else RULES
    people = numbered(population(200, 11), 4) if has_numbers else population(200, 11)
    pins = pinned(people, rules)[0]
    whole = Resolver(pins, people, rules)
    everybody = whole.names["record"].to_list()
    whole.take(everybody)
    stale = people.with_columns(first_name=pl.col("first_name").shift(1), zip_code=pl.col("zip_code").shift(5))
    if has_numbers:
        stale = stale.with_columns(loyalty_id=pl.col("loyalty_id").shift(7), login_id=pl.col("login_id").shift(2))
    earlier = evidence(stale, pins, rules).join(whole.names, on="record_id").select(whole.evidence.columns)
    reopened = 0
    for seed in range(4):
        made = Resolver(pins, people, rules)
        made.take(earlier)
        crowded = made.state.crowded.height
        rows = random.Random(seed).sample(everybody, len(everybody))
        for part in (rows[: len(rows) // 3], rows[len(rows) // 3 :]):
            made.state, near = without(made.state, part)
            made.take(part, recheck=near)
            reopened += made.state.crowded.height < crowded
        made.same(whole)
    assert reopened, "keys fall below their cap on the way"


@pytest.mark.slow
def test_links_by_number_end_the_same_in_any_order(people: pl.DataFrame) -> None:
    every = numbered(people, 1)
    stale = numbered(people.with_columns(first_name=pl.col("first_name").shift(1)), 2)
    pins = pinned(every, NUMBERED)[0]
    whole = Resolver(pins, every, NUMBERED)
    whole.take(list(range(every.height)))
    reasons = set(whole.state.edges["reason"].drop_nulls().str.replace(",.*", ""))
    assert {"same login_id", "same loyalty_id", "different loyalty_id"} <= reasons
    assert {"loyalty_id of more than 4 records", "loyalty_id of more than 1 login_id"} <= reasons
    earlier = evidence(stale, pins, NUMBERED).join(whole.names, on="record_id").select(whole.evidence.columns)
    for seed in range(2):
        rng = random.Random(seed)
        rows = list(range(every.height))
        made = Resolver(pins, every, NUMBERED)
        made.take(earlier.filter(pl.col("record").is_in(rng.sample(rows, 25))))
        rng.shuffle(rows)
        made.take(rows[:40])
        made.take(rows[40:], tuple(rows[:15]))
        made.take(rows[:15])
        made.same(whole)
    resolved = resolve(every, NUMBERED, model=pins.model)
    named = resolved.assignments.join(whole.names, on="record_id").group_by("cluster_key").agg("record")
    assert whole.partition == {frozenset(group) for group in named["record"].to_list()}
    ends = {"record_id_l": "record_l", "record_id_r": "record_r"}
    numbers = dict(whole.names.select("record_id", "record").iter_rows())
    told = resolved.edges.with_columns(pl.col(n).replace_strict(numbers).alias(a) for n, a in ends.items())
    columns = ["record_l", "record_r", "decision", "reason"]
    assert told.select(columns).sort(columns).equals(whole.edges.select(columns).sort(columns))


def decided(rows: dict[str, list[object]]) -> pl.DataFrame:
    """Rows of `silver.steward_decisions`, nothing taken back."""
    none = {"command": pl.String, "actor": pl.String, "reason": pl.String, "withdraws": pl.List(pl.Int64)}
    empty = [pl.lit(None, kind).alias(name) for name, kind in none.items()]
    return pl.DataFrame(rows).with_columns(*empty, decided_at=pl.lit(None, pl.Datetime("us", "UTC")))


@pytest.mark.slow
def test_a_steward_parts_what_one_number_joins(people: pl.DataFrame) -> None:
    shared = {"login_id": "L1", "loyalty_id": None}
    two = pl.DataFrame(
        [{"record_id": "A/1", "first_name": "ann"} | shared, {"record_id": "A/2", "first_name": "ann"} | shared]
    )
    every = pl.concat([numbered(people, 1), two], how="diagonal")
    made = Resolver(pinned(every, NUMBERED)[0], every, NUMBERED)
    made.take(list(range(every.height)))
    pair = made.names.filter(pl.col("record_id").is_in(two["record_id"].implode()))["record"].to_list()
    assert frozenset(pair) in made.partition
    parted = decided({"decision": [0], "kind": [CANNOT_LINK], "left": [pair[:1]], "right": [pair[1:]]})
    links = links_of(parted, made.names)
    made.take([], links=links)
    assert {frozenset(pair[:1]), frozenset(pair[1:])} <= made.partition
    made.take([pair[0]], links=links)
    assert {frozenset(pair[:1]), frozenset(pair[1:])} <= made.partition
    told = made.edges.filter(pl.col("record_l").is_in(pair) & pl.col("record_r").is_in(pair))
    assert told.select("decision", "reason").rows() == [("vetoed", "steward decision 0, against same login_id")]


@pytest.mark.slow
def test_updates_and_deletions_end_the_same(people: pl.DataFrame, pins: Pins, whole: Resolver) -> None:
    rng = random.Random(5)
    changed = people.with_columns(
        first_name=pl.when(pl.int_range(pl.len()) % 3 == 0).then(pl.lit("zed")).otherwise("first_name"),
        phone_number=pl.when(pl.int_range(pl.len()) % 4 == 0).then(None).otherwise("phone_number"),
        zip_code=pl.lit("10001"),
    )
    extra = population(90, 8).with_columns(record_id=pl.lit("X") + pl.col("record_id"))
    every = pl.concat([people, extra])
    made = Resolver(pins, every)
    earlier = Resolver(pins, pl.concat([changed, extra]))
    earlier_rows = earlier.evidence.join(made.names, on="record_id").drop("record").rename({"record_right": "record"})
    mine = made.names.join(people.select("record_id"), on="record_id", how="semi")["record"].to_list()
    strangers = [record for record in made.names["record"].to_list() if record not in set(mine)]
    made.take(earlier_rows.select(made.evidence.columns))  # other versions, and people who will go
    made.take(mine[: len(mine) // 2])
    made.take([], tuple(strangers[::2]))
    rng.shuffle(mine)
    made.take(mine, tuple(strangers[1::2]))
    names = dict(made.names.iter_rows())
    assert {frozenset(names[r] for r in group) for group in made.partition} == {
        frozenset(whole.names["record_id"][r] for r in group) for group in whole.partition
    }
    assert made.edges.height == whole.edges.height


@pytest.mark.slow
def test_a_key_that_passes_its_cap_gives_its_edges_back_and_takes_them_again(people: pl.DataFrame, pins: Pins) -> None:
    crowd = pl.DataFrame({"record_id": [f"C/{n}" for n in range(5)], "first_name": "ann", "phone_number": "4159990000"})
    made = Resolver(pins, pl.concat([people.head(3), crowd], how="diagonal"))
    (first, *_) = rows = made.names.filter(pl.col("record_id").str.starts_with("C"))["record"].to_list()
    made.take(rows[:4])
    assert made.edges.height == 6 and set(made.edges["match_key"]) == {"phone"}
    together = made.partition
    made.take(rows[4:])
    assert made.edges.is_empty() and made.partition == {frozenset([row]) for row in rows}
    made.take([], (rows[4],))
    assert made.edges.height == 6 and made.partition == together
    assert made.registry.members.filter(record=first)["person"][0] == 0, "the first id is there again"


@pytest.mark.slow
def test_untouched_persons_keep_id_and_edges(people: pl.DataFrame, pins: Pins) -> None:
    made = Resolver(pins, people)
    made.take(list(range(0, people.height - 5)))
    before = dict(made.registry.members.iter_rows())
    events = made.take(list(range(people.height - 5, people.height)))
    changed = {r for records in events["records"].to_list() for r in records}
    after = dict(made.registry.members.iter_rows())
    assert all(after[record] == person for record, person in before.items() if record not in changed)
    assert len(changed) < 20


@pytest.mark.slow
def test_steward_decisions_hold_against_score_and_rules(people: pl.DataFrame, pins: Pins, whole: Resolver) -> None:
    made = Resolver(pins, people)
    made.take(list(range(people.height)))
    groups = sorted(map(sorted, made.partition), key=len)
    pair, (one, other) = groups[-1], groups[:2]
    decisions = decided(
        {
            "decision": [0, 1],
            "kind": [CANNOT_LINK, MUST_LINK],
            "left": [pair[:1], one],
            "right": [pair[1:], other],
        }
    )
    links = links_of(decisions, made.names)
    made.take([], links=links)
    assert frozenset(one + other) in made.partition
    assert not any(pair[0] in group and set(pair[1:]) & group for group in made.partition)
    vetoed = made.state.edges.filter(pl.col("reason").str.starts_with("steward decision 0"))
    assert set(vetoed["decision"]) == {"vetoed"}
    # The same decisions from the start, in another order of records, end the same.
    again = Resolver(pins, people)
    rows = list(reversed(range(people.height)))
    again.take(rows[:70], links=links_of(decisions, made.names.filter(pl.col("record").is_in(rows[:70]))))
    again.take(rows[70:], links=links)
    assert again.partition == made.partition
    # And the newest decision about a pair wins.
    back = decided(
        {"decision": [2, 3], "kind": [MUST_LINK, CANNOT_LINK], "left": [pair[:1], one], "right": [pair[1:], other]}
    )
    made.take([], links=links_of(pl.concat([decisions, back]), made.names))
    assert frozenset(pair) in made.partition and frozenset(one + other) not in made.partition


@pytest.mark.slow
def test_pins_come_back_from_the_lake(lake: Lake, people: pl.DataFrame, pins: Pins) -> None:
    assert read(lake) is None
    write(lake, pins)
    again = read(lake)
    assert again is not None and again.version == pins.version
    assert evidence(people, again, RULES).equals(evidence(people, pins, RULES))
    assert again.fits(int(people.height * 1.1), "", RULES) and not again.fits(people.height * 2, "", RULES)
    assert not again.fits(people.height, "other code", RULES)


def test_a_large_batch_into_what_stands_is_scored_in_portions_from_files_alike(monkeypatch):
    every = population(90, 4)
    pins = pinned(every, RULES)[0]
    whole, parted = Resolver(pins, every), Resolver(pins, every)
    rows = list(range(whole.evidence.height))
    cut = len(rows) // 3
    scored: list[int] = []
    plain = incremental._judged_pairs
    monkeypatch.setattr(incremental, "_judged_pairs", lambda pairs, *given: scored.append(1) or plain(pairs, *given))
    with spilling(1, Engine(spill_from_records=0, spill_pairs=20)):
        parted.take(rows[:cut])
        scored.clear()
        parted.take(rows[cut:], gone=(0, 5))
        assert len(scored) > 3
        parted.take(rows[:1], gone=(7,))
    whole.take(rows[:cut])
    whole.take(rows[cut:], gone=(0, 5))
    whole.take(rows[:1], gone=(7,))
    order = ["record_l", "record_r"]
    assert parted.state.edges.sort(order).equals(whole.state.edges.sort(order))
    assert parted.partition == whole.partition
