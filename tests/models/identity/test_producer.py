"""Tables of identity that a run changes are those that it would make whole, after any batches, deaths and decisions."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from customer360.models.identity import IdentityRules, erasure, producer, registry
from customer360.models.identity.batch import pins as pinned
from customer360.models.identity.batch.incremental import Resolved, resolve_batch
from customer360.models.identity.batch.pins import Pins
from customer360.models.identity.batch.standing import edge_rows
from customer360.models.identity.batch.state import State
from customer360.models.identity.organisations.among_customers import customers, resolve_firms
from customer360.models.identity.organisations.mentions import is_mention
from customer360.models.identity.registry import decisions, stewardship
from customer360.models.identity.registry.verification import verify
from customer360.pipelines.silver.behavior import VisitorLogins
from customer360.pipelines.silver.customers import CustomerRecords
from customer360.platform import tables
from customer360.platform.lake import Lake
from customer360.platform.privacy import Identifiers
from customer360.platform.run.incremental.changes import Changes, written
from customer360.platform.run.planning import Context
from customer360.platform.run.units import conform_to_storage

RULES = IdentityRules()
SEED = RULES.ids.seed
SAID: dict[str, Any] = {"actor": "ann", "reason": "asked"}
GIVEN, FAMILY = ("ann", "bob", "cora", "dan", "eve", "finn"), ("miller", "kim", "novak", "ruiz")
FIRMS = ("Osprey Dental Inc.", "Brandt Mfg. Co.")
NODE = "node:silver.identities"
STEP = int(os.environ.get("CUSTOMER360_CRASH_STEP", "6"))  # of the writes each so-manieth is a death; 1: all


def person(n: int, given: str | None = None) -> dict[str, Any]:
    who = n - n % 3 // 2
    return {
        "record_id": f"S/{n:03}", "source_system": "S", "customer_id": f"{n:03}", "first_name": given or GIVEN[who % 6],
        "last_name": FAMILY[who % 4], "email_address": f"u{who}@mail.com" if n % 4 else None, "city": "Springfield",
        "zip_code": f"{10000 + who % 5}", "organisation_name": FIRMS[n % 2] if n % 17 == 3 else None,
    }  # fmt: skip


def firm(n: int) -> dict[str, Any]:
    name = {"organisation_name": FIRMS[n % 2], "entity_type": "organisation", "zip_code": "10001"}
    return {"record_id": f"B/{n:03}", "source_system": "B", "customer_id": f"{n:03}", "city": "Ogden"} | name


def whole_records(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows as `silver.customer_records` has them."""
    kinds = tables.schema(CustomerRecords)
    absent = [pl.lit(None, kind).alias(c) for c, kind in kinds.items() if c not in rows.columns]
    return rows.with_columns(absent).select(pl.col(c).cast(kind) for c, kind in kinds.items())


class Shop:
    """Records and logins of a lake, and runs over them."""

    def __init__(self, folder: Path) -> None:
        self.lake, self.turn = Lake(str(folder / "lake"), {}, 2), 0
        self.records: dict[str, dict[str, Any]] = {}
        self.logins: list[dict[str, Any]] = []

    def rows(self) -> pl.DataFrame:
        listed = [self.records[name] for name in sorted(self.records)]
        return whole_records(pl.DataFrame(listed, infer_schema_length=None))

    def made(self) -> tuple[pl.LazyFrame | Changes, ...]:
        rows = self.rows()
        logins = pl.DataFrame(self.logins, schema=tables.schema(VisitorLogins))
        return producer.identities(Context(self.lake, None, None, RULES), rows.lazy(), logins.lazy())  # type: ignore[arg-type]

    def run(self, dies_after: int = 99) -> bool:
        """Make the tables, and write them as a run does, or as many as it gets to. Whether it made changes alone."""
        made = self.made()
        self.turn += 1
        for table, output in list(zip(producer.OUTPUTS, made, strict=True))[:dies_after]:
            name = tables.spec(table).name
            self.lake.ensure(table)
            adds = written(self.lake, table, output, {})
            self.lake.replace(name, adds, scope={}, app=NODE, app_version=self.turn)
        return isinstance(made[-1], Changes)

    def held(self) -> dict[str, pl.DataFrame]:
        names = [tables.spec(table).name for table in producer.OUTPUTS]
        return {name: self.lake.scan(name).collect() for name in names}

    def person(self, chance: random.Random) -> str:
        held = registry.load(self.lake, SEED).assignments
        is_person = pl.col("record_id").str.contains("^S/[0-9]+$").all().over("person_id")
        return str(chance.choice(sorted(set(held.filter(is_person)["person_id"]))))


def whole(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> dict[str, pl.DataFrame]:
    """The tables that a run would make if nothing of those that stand could be kept."""
    with monkeypatch.context() as patched:
        patched.setattr(producer.touching, "before", lambda *_: None)
        made = shop.made()
    frames = [output.rows.lazy() if isinstance(output, Changes) else output for output in made]
    outputs = zip(producer.OUTPUTS, frames, strict=True)
    return {tables.spec(table).name: conform_to_storage(table, frame, {}) for table, frame in outputs}


def resolved_anew(shop: Shop) -> Resolved:
    """People, all resolved at once under the pins that stand."""
    held, stored = pinned.read(shop.lake), registry.load(shop.lake, SEED)
    assert held is not None
    found = customers(shop.rows(), RULES)
    evidence = pinned.evidence(found.people, held, RULES)
    others = stored.names.join(found.people.select("record_id"), on="record_id", how="semi")
    links = decisions.links_of(decisions.decisions(shop.lake), others)
    return resolve_batch(State.empty(evidence), evidence.join(stored.names, on="record_id"), [], held, RULES, links)


def parts(rows: pl.DataFrame, by: str) -> set[frozenset[str]]:
    return {frozenset(ids) for ids in rows.group_by(by).agg("record_id")["record_id"]}


def persons_anew(shop: Shop) -> set[frozenset[str]]:
    """Who is one with whom, people and organisations, told without what the registry holds; without mentions."""
    names, found = registry.load(shop.lake, SEED).names, customers(shop.rows(), RULES)
    firms = resolve_firms(shop.lake, found.firms, names, decisions.named(decisions.NO_LINKS, names), RULES, anew=True)
    clusters = pl.concat([resolved_anew(shop).clusters, firms.clusters]).join(names, on="record")
    return parts(clusters.filter(~is_mention()), "cluster")


def check(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    held, wanted = shop.held(), whole(shop, monkeypatch)
    for name, rows in wanted.items():
        order = [c for c, kind in rows.schema.items() if not kind.is_nested()]
        assert_frame_equal(held[name].sort(order), rows.sort(order), check_row_order=True, rel_tol=1e-12, abs_tol=0)
    ends = ["record_id_l", "record_id_r"]
    edges = held["silver.identity_edges"].filter(pl.col("record_id_l").str.starts_with("S/") & ~about_firms())
    anew = edge_rows(resolved_anew(shop).state)
    assert (
        edges.select(*ends, "decision", "evidence")
        .sort(ends)
        .equals(anew.select(*ends, "decision", "evidence").sort(ends))
    )


def about_firms() -> pl.Expr:
    return pl.any_horizontal(pl.col("record_id_l", "record_id_r").str.contains("[^0-9]$|^B/"))


def steps(shop: Shop, chance: random.Random) -> dict[str, Callable[[], object]]:
    def came() -> None:
        for n in chance.sample(range(110), 5):
            shop.records.setdefault(f"S/{n:03}", person(n))

    def changed() -> None:
        n = int(chance.choice([k for k in shop.records if k.startswith("S/")])[2:])
        shop.records[f"S/{n:03}"] = person(n, chance.choice(GIVEN))

    def gone() -> None:
        for name in chance.sample(sorted(shop.records), 3):
            del shop.records[name]

    def firms() -> None:
        n = chance.randrange(6)
        shop.records[f"B/{n:03}"] = firm(n) | {"city": chance.choice(["Ogden", "Provo"])}

    def login() -> None:
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=len(shop.logins))
        account = chance.choice(sorted(shop.records)).split("/")
        row = {"visitor_id": f"v{chance.randrange(4)}", "source_system": account[0], "customer_id": account[1]}
        shop.logins.append(row | {"first_at": at, "last_at": at, "next_at": None, "previous_at": None})

    def joined() -> None:
        one, other = shop.person(chance), shop.person(chance)
        if one != other:
            stewardship.merge(shop.lake, SEED, one, other, **SAID)

    def overridden() -> None:
        stewardship.override(shop.lake, SEED, shop.person(chance), "city", chance.choice(['"Bern"', None]), **SAID)

    return {
        "came": came, "changed": changed, "gone": gone, "firms": firms, "login": login, "joined": joined,
        "overridden": overridden,
    }  # fmt: skip


@pytest.fixture(scope="module")
def pins() -> Pins:
    """Of a few people, with caps so low that keys become crowded."""
    records = pl.DataFrame([person(n) for n in range(120)], infer_schema_length=None)
    made = pinned.pinned(whole_records(records), RULES)[0]
    return replace(made, caps=dict.fromkeys(made.caps, 5))


@pytest.fixture
def shop(tmp_path: Path, pins: Pins, monkeypatch: pytest.MonkeyPatch) -> Shop:
    made = Shop(tmp_path)
    made.records = {f"S/{n:03}": person(n) for n in range(90)}
    made.records |= {f"B/{n:03}": firm(n) for n in range(3)}

    def measured(records: pl.DataFrame, rules: IdentityRules, basis: str) -> tuple[Pins, pl.DataFrame]:
        held = replace(pins, basis=basis, records=records.height)
        return held, pinned.evidence(records, held, rules)

    monkeypatch.setattr(pinned, "pinned", measured)
    return made


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_changes_is_what_would_be_made_whole(shop: Shop, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    chance = random.Random(seed)
    assert not shop.run()
    acts = steps(shop, chance)
    alone = 0
    for _ in range(6):
        for name in chance.choices(sorted(acts), k=2):
            acts[name]()
        if chance.random() < 0.3:
            shop.run(dies_after=chance.randrange(1, 8))
        alone += shop.run()
        check(shop, monkeypatch)
    assert alone >= 3


def joined(shop: Shop) -> None:
    """A faulty delivery: one says what another says, of people and of organisations; some are gone, one comes."""
    rows = shop.records
    for one, other in (("S/201", "S/200"), ("B/201", "B/200")):
        rows[one] = rows[other] | {"record_id": one, "customer_id": one[2:]}
    rows["S/301"] = rows["S/300"] | {"record_id": "S/301", "customer_id": "301"}
    del rows["S/010"], rows["B/002"]


def parted(shop: Shop) -> None:
    """One that changes who was another's."""
    for n in range(0, 60, 3):
        shop.records[f"S/{n:03}"] = person(n, "zed") | {"email_address": None, "last_name": "qqq"}
    shop.records["B/202"] = shop.records["B/202"] | {"organisation_name": "Zyx Holding", "city": "Provo"}


@pytest.mark.parametrize("dies_after", [0, 1, 4, 7])
@pytest.mark.parametrize("faulty", [joined, parted])
def test_what_a_run_that_died_found_is_nobody_s_once_its_records_say_what_they_said(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, faulty: Callable[[Shop], None], dies_after: int
) -> None:
    for n, given, family, place in ((200, "Ann", "Kim", "99001"), (201, "Zoltan", "Ruiz", "88002")):
        own = {"email_address": f"own{n}@mail.com", "first_name": given, "last_name": family, "zip_code": place}
        shop.records[f"S/{n}"] = person(n) | own
    shop.records["S/300"] = person(300) | {"email_address": "own300@mail.com", "zip_code": "77003"}
    for n, name in ((200, "Lunar Bakery Ltd."), (201, "Stone Freight Inc."), (202, "Lunar Bakery Ltd.")):
        shop.records[f"B/{n}"] = firm(n) | {"organisation_name": name}
    shop.run()
    before, persons = dict(shop.records), persons_anew(shop)
    faulty(shop)
    shop.run(dies_after)
    assert persons_anew(shop) != persons
    shop.records = dict(before)
    shop.run()
    assert persons_anew(shop) == persons
    assert parts(shop.held()["silver.identities"], "person_id") == persons
    check(shop, monkeypatch)


def test_who_came_with_a_run_that_died_takes_nobody_along(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.records["S/300"] = person(300) | {"email_address": "own300@mail.com", "zip_code": "77003"}
    shop.run()
    shop.records["S/301"] = shop.records["S/300"] | {"record_id": "S/301", "customer_id": "301"}
    shop.run(dies_after=0)
    other = {"first_name": "Zoltan", "last_name": "Ruiz", "email_address": "own301@mail.com", "zip_code": "88002"}
    shop.records["S/301"] |= other
    shop.run()
    assert parts(shop.held()["silver.identities"], "person_id") == persons_anew(shop)
    check(shop, monkeypatch)


# ---- deaths at every write to the store, of runs, of what stewards do and of erasures --------------------------------


class Died(BaseException):
    """The process dies: nothing may catch it."""


@contextmanager
def dying_before(write: int) -> Iterator[list[str]]:
    """Nothing is written from the `write`-th write to the store on, of files, logs and deletions; what was written
    before stands. Gives the names of those before."""
    done: list[str] = []

    def counted(name: str) -> Callable[..., Any]:
        own = getattr(Lake, name)

        def call(lake: Lake, what: Any, *args: Any, **options: Any) -> Any:
            paths = list(what) if name == "delete" else [what]
            if name == "delete" and not paths:
                return None
            if len(done) == write:
                if len(paths) > 1:
                    own(lake, paths[:1])  # a death within it
                raise Died
            done.append(f"{name} {paths[0]}")
            return own(lake, paths if name == "delete" else what, *args, **options)

        return call

    with pytest.MonkeyPatch.context() as patched:
        for name in ("put", "commit", "delete"):
            patched.setattr(Lake, name, counted(name))
        with suppress(Died):
            yield done


def deaths(start: Shop, folder: Path, act: Callable[[Shop], object]) -> Iterator[tuple[str, Shop]]:
    """After which write `act` died, and the shop as it then is, of each so-manieth write that it makes."""
    for write in range(0, 1000, STEP):
        shop = copied(start, folder / str(write))
        with dying_before(write) as done:
            act(shop)
        if len(done) < write:
            return
        yield (done[-1] if done else "nothing"), shop
        shutil.rmtree(folder / str(write))


def copied(shop: Shop, folder: Path) -> Shop:
    shutil.copytree(shop.lake.root, folder / "lake")
    made = Shop(folder)
    made.turn, made.records, made.logins = shop.turn, dict(shop.records), list(shop.logins)
    return made


@pytest.fixture
def landed(shop: Shop) -> Shop:
    """A shop whose first run is over, and whose next one has records that come, change and go."""
    shop.run()
    shop.records["S/100"], shop.records["S/033"] = person(100), person(33, "zed")
    del shop.records["S/050"]
    return shop


@pytest.mark.slow
def test_a_run_that_dies_at_any_write_is_finished_by_the_next(landed: Shop, tmp_path: Path) -> None:
    calm = copied(landed, tmp_path / "calm")
    calm.run()
    wanted, seen = calm.held(), []
    for after, shop in deaths(landed, tmp_path, Shop.run):
        shop.run()
        seen.append(after)
        print("died after", after)  # shown where what follows fails
        verify(shop.lake, SEED)
        for name, rows in shop.held().items():
            order = [c for c, kind in rows.schema.items() if not kind.is_nested()]
            assert_frame_equal(rows.sort(order), wanted[name].sort(order), rel_tol=1e-12)
    assert len(seen) * STEP > 20


@pytest.mark.slow
@pytest.mark.parametrize("act", [stewardship.merge, stewardship.confirm])
def test_a_decision_is_made_or_not_wherever_its_steward_s_command_dies(
    landed: Shop, tmp_path: Path, act: Callable[..., object]
) -> None:
    landed.run()
    held = registry.load(landed.lake, SEED).assignments.filter(pl.col("record_id").is_in(["S/001", "S/004"]))
    records, people = held["record_id"].to_list(), held["person_id"].to_list()
    assert people[0] != people[1]
    named = people if act is stewardship.merge else records

    def command(shop: Shop) -> None:
        act(shop.lake, SEED, *named, **SAID)

    for after, shop in deaths(landed, tmp_path, command):
        made = decisions.decisions(shop.lake).height
        assert made == int("commit silver.steward_decisions" in after or "silver.identity" in after or
                           "silver/identity" in after), after  # fmt: skip
        shop.run()
        verify(shop.lake, SEED)
        assert one_person(shop, records) == bool(made), after
        if not made:
            command(shop)
            shop.run()
        assert one_person(shop, records) and decisions.decisions(shop.lake).height == 1, after
        verify(shop.lake, SEED)


def one_person(shop: Shop, records: list[str]) -> bool:
    held = shop.held()["silver.identities"].filter(pl.col("record_id").is_in(records))
    return held.height == 2 and held["person_id"].n_unique() == 1


@pytest.mark.slow
def test_an_erasure_that_dies_at_any_write_is_finished_by_its_repetition(landed: Shop, tmp_path: Path) -> None:
    landed.run()
    owner = registry.load(landed.lake, SEED).owner(landed.person(random.Random(5)))
    stewardship.override(landed.lake, SEED, owner, "city", '"Bern"', **SAID)
    held = registry.load(landed.lake, SEED).assignments.filter(person_id=owner)["record_id"].to_list()
    who = Identifiers(accounts=frozenset(held), persons=frozenset([owner]))

    def erase(shop: Shop) -> None:
        erasure.forget(shop.lake, who, RULES)

    for after, shop in deaths(landed, tmp_path, erase):
        erase(shop)
        verify(shop.lake, SEED)
        stored, log = registry.load(shop.lake, SEED), shop.lake.scan("silver.identity_members").collect()
        assert not set(held) & {*stored.names["record_id"], *log["record_id"]}, after
        assert decisions.decisions(shop.lake)["value"].to_list() == [None], after
        for record in held:
            shop.records.pop(record)
        shop.run()
        verify(shop.lake, SEED)
        assert not set(held) & set(shop.held()["silver.identities"]["record_id"]), after
