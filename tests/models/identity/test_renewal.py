"""Golden records taken up from the lake are those that would be made anew."""

from __future__ import annotations

import random
from datetime import date

import polars as pl
from polars.testing import assert_frame_equal

from customer360.models.identity import IdentityRules
from customer360.models.identity.golden import golden_and_losing
from customer360.models.identity.producer import GoldenValues, Identities, People
from customer360.models.identity.renewal import VERSION, Renewed, renewed
from customer360.models.identity.rules import Survivorship
from customer360.platform import tables
from customer360.platform.lake import BUCKET, Lake
from customer360.platform.tables import Table

RULES = IdentityRules()
OVERRIDE = {"person_id": pl.String, "attribute": pl.String, "value": pl.String, "decision": pl.Int64}
SCHEMA = {
    "record_id": pl.String, "source_system": pl.String, "first_name": pl.String, "city": pl.String,
    "email_address": pl.String, "email_std": pl.String, "registered_on": pl.Date,
}  # fmt: skip


def record(chance: random.Random, name: str) -> dict[str, object]:
    email = chance.choice(["a@x.com", "b@x.com", "junk", None])
    return {
        "record_id": name, "source_system": chance.choice(["CRM", "POS"]), "first_name": chance.choice(["Ann", "Anne"]),
        "city": chance.choice(["Rome", None]), "email_address": email, "email_std": None if email == "junk" else email,
        "registered_on": date(2020, 1, chance.randint(1, 28)),
    }  # fmt: skip


def keep(lake: Lake, table: type[Table], rows: pl.DataFrame, turn: int) -> None:
    lake.ensure(table)
    spec = tables.spec(table)
    frame = tables.conform(table, rows.lazy().select(list(table.columns()))).collect()
    adds = [lake.write_file(spec.name, frame, {BUCKET: "0"} if spec.bucketed else {})] if frame.height else []
    lake.replace(spec.name, adds, scope={}, app="test", app_version=turn)


class Shop:
    """Records and persons in a lake, as one run after another leaves them."""

    def __init__(self, folder: str, rules: IdentityRules = RULES):
        self.lake, self.rules, self.turn = Lake(folder, {}, 2), rules, 0
        self.records: dict[str, dict[str, object]] = {}
        self.persons: dict[str, str] = {}
        self.overrides = pl.DataFrame(schema=OVERRIDE)

    def run(self, *, dies: bool = False) -> Renewed:
        frame = pl.DataFrame(list(self.records.values()), schema=SCHEMA)
        assigned = frame.select("record_id").with_columns(person_id=pl.col("record_id").replace_strict(self.persons))
        made = renewed(self.lake, frame, assigned, self.rules, self.overrides)
        people, lost = golden_and_losing(frame, assigned, self.rules, self.overrides)
        assert_frame_equal(made.people, people)
        assert_frame_equal(made.losers, lost)
        self.turn += 1
        keep(self.lake, GoldenValues, made.losers, self.turn)
        keep(self.lake, People, made.people.with_columns(entity_type=pl.lit("person")), self.turn)
        if not dies:
            rows = assigned.join(made.versions, on="record_id").join(frame, on="record_id")
            rows = rows.with_columns(customer_id="record_id", resolved_by=pl.lit("score"), evidence_version=0)
            rows = rows.with_columns(entity_type=pl.lit("person"))
            keep(self.lake, Identities, rows, self.turn)
        return made


def shop(folder: str, chance: random.Random, records: int = 12) -> Shop:
    made = Shop(folder)
    for n in range(records):
        made.records[f"r{n}"] = record(chance, f"r{n}")
        made.persons[f"r{n}"] = f"p{n // 2}"
    return made


def test_any_sequence_of_changes_ends_in_what_would_be_made_anew(tmp_path):
    chance = random.Random(3)
    made = shop(str(tmp_path), chance)
    made.run()
    for _ in range(25):
        name = f"r{chance.randrange(16)}"
        match chance.choice(["change", "gone", "moved", "override", "undone"]):
            case "change":
                made.records[name] = record(chance, name)
                made.persons.setdefault(name, "p9")
            case "gone":
                made.records.pop(name, None)
            case "moved":
                made.persons[name] = f"p{chance.randrange(8)}"
            case "override":
                person = chance.choice(sorted(made.persons.values()))
                row = {"person_id": person, "attribute": "city", "value": '"Bern"', "decision": 1}
                made.overrides = pl.DataFrame([row], schema=OVERRIDE)
            case "undone":
                made.overrides = made.overrides.clear()
        made.run(dies=chance.random() < 0.3)


def test_only_who_changed_is_made_anew(tmp_path):
    made = shop(str(tmp_path), random.Random(5))
    assert made.run().renewed == 6
    assert made.run().renewed == 0
    made.records["r3"] |= {"city": "Oslo"}
    assert made.run().renewed == 1
    made.persons["r4"] = "p1"
    assert made.run().renewed == 2


def test_other_rules_make_everybody_anew(tmp_path):
    made = shop(str(tmp_path), random.Random(5))
    made.run()
    made.rules = IdentityRules(survivorship=Survivorship(trusted_sources=("POS", "CRM"), default="most trusted source"))
    assert made.run().renewed == 6


def test_records_without_a_version_are_made_anew(tmp_path):
    made = shop(str(tmp_path), random.Random(5))
    made.run()
    held = made.lake.scan("silver.identities").collect()
    keep(made.lake, Identities, held.with_columns(pl.lit(None, pl.Int64).alias(VERSION)), 99)
    assert made.run().renewed == 6
