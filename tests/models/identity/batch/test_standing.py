"""What stands in a lake, taken up by run after run, ends where all records at once do."""

import random
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from customer360.models.identity import IdentityRules, registry
from customer360.models.identity.batch import kept
from customer360.models.identity.batch.incremental import resolve_batch
from customer360.models.identity.batch.pins import Pins, evidence, pinned
from customer360.models.identity.batch.standing import VERSIONED, Standing, edge_rows, key_rows, take_up
from customer360.models.identity.batch.state import State
from customer360.models.identity.producer import Identities, IdentityEdges, IdentityKeys, resolved
from customer360.models.identity.registry.succession import advance
from customer360.platform import tables
from customer360.platform.lake import BUCKET, Lake
from customer360.platform.tables import Table

RULES = IdentityRules()
GIVEN, FAMILY = ("ann", "bob", "cora", "dan", "eve", "finn"), ("miller", "kim", "novak", "ruiz")


def person(n: int, given: str | None = None) -> dict[str, str | None]:
    who = n - n % 3 // 2
    return {
        "record_id": f"S/{n:03}", "first_name": given or GIVEN[who % 6], "last_name": FAMILY[who % 4],
        "email_address": f"u{who}@mail.com" if n % 4 else None, "city": "Springfield", "zip_code": f"{10000 + who % 5}",
    }  # fmt: skip


def frame(people: dict[int, str | None]) -> pl.DataFrame:
    rows = pl.DataFrame([person(n, given) for n, given in sorted(people.items())])
    return rows.with_columns(source_system=pl.lit("S"), customer_id="record_id")


@pytest.fixture(scope="module")
def pins() -> Pins:
    made = pinned(frame(dict.fromkeys(range(120))), RULES)[0]
    return replace(made, caps=dict.fromkeys(made.caps, 5))


def run(lake: Lake, people: dict[int, str | None], pins: Pins) -> tuple[Standing, State, pl.DataFrame]:
    """One run of the producer of identities, without golden records: what it took up, the state, the persons."""
    records = frame(people)
    stored = registry.number_records(registry.load(lake, "s"), records["record_id"])
    known = kept.evidence(lake, records, pins, RULES)
    standing = take_up(lake, known, stored.names, stored.registry.members["record"])
    made = resolve_batch(standing.state, standing.batch, standing.gone, pins, RULES, recheck=standing.near)
    stored = registry.commit(stored, advance(stored.registry, made.clusters, standing.gone, cause="test"))
    versions = known.select("record_id", VERSIONED).with_columns(record_version=pl.lit(None, pl.Int64))
    rows = resolved(records, stored.assignments, made.state, versions, RULES.stitching)
    for table, made_rows in ((IdentityEdges, edge_rows(made.state)), (IdentityKeys, key_rows(made.state))):
        write(lake, table, made_rows)
    write(lake, Identities, rows)
    return standing, made.state, stored.assignments


def write(lake: Lake, table: type[Table], rows: pl.DataFrame) -> None:
    name = tables.spec(table).name
    new = not lake.exists(name)
    lake.ensure(table)
    conformed = tables.conform(table, rows.lazy()).collect()
    if not new:
        lake.rewrite(name, lambda before: before.clear(), reason="test")
    if conformed.height:
        add = lake.write_file(name, conformed, {BUCKET: "0"} if tables.spec(table).bucketed else {})
        lake.commit(name, [add], app="test", app_version=random.getrandbits(40))


def partition(assigned: pl.DataFrame) -> set[frozenset[str]]:
    return {frozenset(ids) for ids in assigned.group_by("person_id").agg("record_id")["record_id"].to_list()}


def of_all(people: dict[int, str | None], pins: Pins) -> tuple[set[frozenset[str]], pl.DataFrame]:
    known = evidence(frame(people), pins, RULES)
    numbered = known.with_row_index("record").cast({"record": pl.Int64})
    made = resolve_batch(State.empty(known), numbered, [], pins, RULES)
    named = made.clusters.join(numbered.select("record", "record_id"), on="record").rename({"cluster": "person_id"})
    return partition(named), edge_rows(made.state)


ORDER = ["record_id_l", "record_id_r"]


def check(state: State, assigned: pl.DataFrame, people: dict[int, str | None], pins: Pins) -> None:
    persons, edges = of_all(people, pins)
    assert partition(assigned) == persons
    assert edge_rows(state).sort(ORDER).drop("evidence").equals(edges.sort(ORDER).drop("evidence"))


def test_records_that_come_change_or_go_end_where_all_at_once_do(tmp_path: Path, pins: Pins) -> None:
    lake = Lake(str(tmp_path), {}, 2)
    people: dict[int, str | None] = dict.fromkeys(range(0, 120, 2))
    crowded = []
    steps: list[dict[int, str | None]] = [dict.fromkeys((1, 3, 5, 77)), {4: "dan", 9: None}, dict.fromkeys((11, 13))]
    for came in ({}, *steps):
        people |= came
        standing, state, assigned = run(lake, people, pins)
        check(state, assigned, people, pins)
        crowded.append(state.crowded.height)
        assert (standing.near is None) == (4 not in came and bool(came))
    for gone in (range(0, 30, 2), range(60, 100, 2)):
        people = {n: given for n, given in people.items() if n not in gone}
        standing, state, assigned = run(lake, people, pins)
        check(state, assigned, people, pins)
        assert standing.near is not None
        crowded.append(state.crowded.height)
    assert crowded[-1] < crowded[0], "keys that fell below their cap are usable again"


def test_new_records_lie_behind_those_that_stand_uncopied(tmp_path: Path, pins: Pins) -> None:
    lake = Lake(str(tmp_path), {}, 2)
    run(lake, dict.fromkeys(range(40)), pins)
    standing, *_ = run(lake, dict.fromkeys(range(45)), pins)
    assert standing.state.frame.height == 40 and standing.batch["record_id"].to_list() == [
        f"S/0{n}" for n in range(40, 45)
    ]
