"""One record against the index: as Splink and the rules judge it, without either."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from customer360.models.identity import IdentityRules, resolve
from customer360.models.identity.batch import pins
from customer360.models.identity.lookup import look_up, vetoes
from customer360.models.identity.lookup.index import MANIFEST, IdentityIndex, IdentityIndexError, write_index
from customer360.models.identity.rules import Identifier, Stitching

pytestmark = pytest.mark.slow
RULES = IdentityRules()
FIRST = ["Robert", "Ann", "Zoé", "Jürgen", "Maria", "Wei", "Olu", "Sam", "Nora", "Tim"]
LAST = ["King", "Lee", "Ray", "Müller", "Silva", "Zhang", "Ade", "Fox", "Berg", "Hall"]


def records() -> pl.DataFrame:
    """A hundred people, each with a clean account and one with a typing error; Bob King lives with his son Jorge."""
    rows = []
    for number in range(100):
        first, last = FIRST[number % 10], LAST[number // 10]
        known = {
            "first_name": first, "last_name": last, "email_address": f"{first}.{last}{number}@mail.com".lower(),
            "phone_number": f"415555{2000 + number}", "date_of_birth": date(1960 + number % 40, 1 + number % 12, 2 + number % 27),  # noqa: E501
            "address_line_1": f"{10 + number} Elm Street", "city": "Springfield", "zip_code": f"941{number:02}",
        }  # fmt: skip
        rows += [
            {"record_id": f"CRM/{number}"} | known,
            {"record_id": f"POS/{number}"} | known | {"last_name": last + "h"},
        ]
    rows.append(rows[0] | {"record_id": "CRM/son", "first_name": "Jorge", "date_of_birth": date(2004, 3, 9)})
    return pl.DataFrame(rows)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory):
    people = records()
    held = pins.pinned(people, RULES)[0]
    resolution = resolve(people, RULES, model=held.model)
    folder = tmp_path_factory.mktemp("index") / "1"
    write_index(folder, people, resolution.assignments, held, RULES)
    return people, resolution, folder, IdentityIndex.open(folder), held


def test_a_known_record_finds_its_person(world) -> None:
    people, resolution, _, index, _ = world
    person = dict(resolution.assignments.select("record_id", "person_id").iter_rows())
    for row in people.filter(pl.col("record_id").str.starts_with("POS")).head(20).to_dicts():
        answer = look_up(index, row)
        assert (answer.kind, answer.person_id) == ("entity", person[row["record_id"]])


def test_weights_and_vetoes_are_those_of_the_batch(world) -> None:
    people, resolution, _, index, _ = world
    edges = {(e["record_id_l"], e["record_id_r"]): e for e in resolution.edges.to_dicts()}
    compared = 0
    for row in people.to_dicts():
        mine = index.evidence(row)
        for other in index.candidates(mine):
            pair = tuple(sorted((row["record_id"], other["record_id"])))
            if pair in edges:
                assert index.scorer(mine, other).weight == pytest.approx(edges[pair]["match_weight"], abs=1e-9), pair
                assert vetoes(index)(mine, other) == edges[pair]["reason"], pair
                compared += 1
    assert compared > 100


def test_evidence_is_that_of_the_batch(world) -> None:
    people, index, held = world[0], world[3], world[4]
    for row in pins.evidence(people, held, RULES).to_dicts():
        asked = people.filter(pl.col("record_id") == row["record_id"]).row(0, named=True)
        found = index.evidence(asked)
        assert row == {"record_id": row["record_id"]} | {name: found[name] for name in row if name != "record_id"}


def test_evidence_of_a_name_that_nobody_had_is_that_of_the_batch(world) -> None:
    people, index, held = world[0], world[3], world[4]
    stranger = people.row(0, named=True) | {"record_id": "CRM/new", "first_name": "Juno", "last_name": None}
    (row,) = pins.evidence(pl.DataFrame([stranger], schema=people.schema), held, RULES).to_dicts()
    found = index.evidence(stranger)
    assert row == {"record_id": "CRM/new"} | {name: found[name] for name in row if name != "record_id"}
    assert row["tf_given"] is None and row["tf_borne_given"] == pytest.approx(1 / (people.height + 1))
    assert row["tf_borne_family"] is None


def test_a_crowded_key_costs_and_says_nothing(tmp_path: Path) -> None:
    crowd = [{"record_id": f"X/{n}", "first_name": f"Name{chr(97 + n % 26)}", "zip_code": "94110"} for n in range(500)]
    people = pl.concat([records(), pl.DataFrame(crowd)], how="diagonal")
    held = pins.pinned(people, RULES)[0]
    persons = people.select("record_id", person_id="record_id")
    write_index(tmp_path, people, persons, held, RULES)
    index = IdentityIndex.open(tmp_path)
    asked = {"first_name": "Nora", "last_name": "Berg", "email_address": "nora.berg88@mail.com", "zip_code": "94110"}
    row = index.evidence(asked)
    zips = index.manifest["ranges"]["key_zip"]
    assert (index.base.keys[slice(*zips)] == row["key_zip"]).sum() >= 500, "the crowd is in the index"
    assert len(index.candidates(row)) < 50
    assert {c.record_id for c in look_up(index, asked).candidates} >= {"CRM/88"}


def test_the_son_is_not_his_father(world) -> None:
    index = world[3]
    father = {"first_name": "Robert", "last_name": "King", "email_address": "robert.king0@mail.com"}
    answer = look_up(index, father | {"date_of_birth": date(1960, 1, 2)})
    assert answer.kind == "entity"
    vetoed = [c for c in answer.candidates if c.verdict == "vetoed"]
    assert [c.record_id for c in vetoed] == ["CRM/son"] and vetoed[0].reason


def test_a_stranger_is_new_and_weak_evidence_is_not_settled(world) -> None:
    index = world[3]
    stranger = {
        "first_name": "Ximena",
        "last_name": "Quispe",
        "email_address": "xq@correo.pe",
        "phone_number": "5550001111",
    }
    assert look_up(index, stranger).kind == "new"
    assert look_up(index, {"first_name": "Ann"}).candidates == ()


def test_a_verified_number_answers_whatever_the_score(world, tmp_path: Path) -> None:
    people, resolution, *_ = world
    rules = RULES.model_copy(
        update={"stitching": Stitching(identifiers=(Identifier(column="loyalty_id", max_records=6, blocked={"0"}),))}
    )
    shop = pl.col("record_id").is_in([f"POS/{n}" for n in range(50, 56)])
    card = pl.when(pl.col("record_id").str.starts_with("CRM")).then(pl.format("C-{}", "record_id"))
    carded = people.with_columns(loyalty_id=pl.when(shop).then(pl.lit("shop")).otherwise(card))
    held = pins.pinned(carded, rules)[0]
    write_index(tmp_path / "1", carded, resolution.assignments, held, rules)
    index = IdentityIndex.open(tmp_path / "1")
    person = dict(resolution.assignments.select("record_id", "person_id").iter_rows())
    # Only the number is known; then other names, as after a marriage.
    for asked in ({}, {"first_name": "Ann", "last_name": "Nobody"}, {"email_address": "ann.lee11@mail.com"}):
        answer = look_up(index, asked | {"loyalty_id": "c crm/11"})
        assert (answer.kind, answer.person_id) == ("entity", person["CRM/11"]), asked
        assert (answer.candidates[0].verdict, answer.candidates[0].reason) == ("accepted", "same loyalty_id")
    assert look_up(index, {"loyalty_id": "shop"}).kind == "new", "a number of too many records says nothing"
    assert look_up(index, {"loyalty_id": "0"}).kind == "new"
    son = {"first_name": "Jorge", "last_name": "King", "date_of_birth": date(2004, 3, 9), "loyalty_id": "C-CRM/0"}
    father, other = look_up(index, son), look_up(index, son | {"loyalty_id": "C-9"})
    verdicts = {c.record_id: (c.verdict, c.reason) for c in (*father.candidates, *other.candidates)}
    assert verdicts["CRM/0"][0] == "vetoed", "another birth date is proof against a shared card"
    assert verdicts["CRM/son"] == ("vetoed", "different loyalty_id") and father.person_id is other.person_id is None


def test_an_index_of_another_library_version_is_refused(world, tmp_path: Path) -> None:
    with pytest.raises(IdentityIndexError, match="no identity index"):
        IdentityIndex.open(tmp_path)
    manifest = (world[2] / MANIFEST).read_text().replace(f'"polars": "{pl.__version__}"', '"polars": "0.1"')
    (tmp_path / MANIFEST).write_text(manifest)
    with pytest.raises(IdentityIndexError, match=r"Polars 0\.1"):
        IdentityIndex.open(tmp_path)
