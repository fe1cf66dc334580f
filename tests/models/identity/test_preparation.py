"""What customers are, and their evidence, is what it would be if all were told and made anew; only what changed is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from customer360.models.identity import IdentityRules
from customer360.models.identity.batch import kept
from customer360.models.identity.batch import pins as pinned
from customer360.models.identity.batch.pins import Pins
from customer360.models.identity.batch.standing import versioned
from customer360.models.identity.organisations import among_customers
from customer360.models.identity.preparation import prepared
from customer360.pipelines.silver.customers import CustomerRecords
from customer360.platform import tables
from customer360.platform.lake import Lake

RULES = IdentityRules()
GIVEN, FAMILY = ("ann", "bob", "cora", "dan", "eve", "finn"), ("miller", "kim", "novak", "ruiz")


def person(n: int, **said: Any) -> dict[str, Any]:
    names = {"first_name": GIVEN[n % 6], "last_name": FAMILY[n % 4], "email_address": f"u{n}@mail.com"}
    return {"record_id": f"S/{n:03}", "source_system": "S", "zip_code": f"{10000 + n % 5}"} | names | said


def rows_of(people: dict[int, dict[str, Any]]) -> pl.DataFrame:
    """As `silver.customer_records` has them."""
    rows, kinds = pl.DataFrame(list(people.values()), infer_schema_length=None), tables.schema(CustomerRecords)
    absent = [pl.lit(None, kind).alias(c) for c, kind in kinds.items() if c not in rows.columns]
    return rows.with_columns(absent).select(pl.col(c).cast(kind) for c, kind in kinds.items())


@pytest.fixture(scope="module")
def pins() -> Pins:
    return pinned.pinned(rows_of({n: person(n) for n in range(60)}), RULES)[0]


@pytest.fixture
def lake(tmp_path: Path, pins: Pins, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """One whose pins need no training."""

    def measured(records: pl.DataFrame, rules: IdentityRules, basis: str) -> tuple[Pins, pl.DataFrame]:
        held = replace(pins, basis=basis, records=records.height)
        return held, pinned.evidence(records, held, rules)

    monkeypatch.setattr(pinned, "pinned", measured)
    return Lake(str(tmp_path), {}, 2)


def check(lake: Lake, people: dict[int, dict[str, Any]], rules: IdentityRules = RULES) -> None:
    records = rows_of(people)
    found, pins, evidence = prepared(lake, records, rules)
    wanted = among_customers.customers(records, rules)
    assert_frame_equal(found.people, wanted.people)
    assert_frame_equal(found.firms, wanted.firms)
    anew = versioned(pinned.evidence(wanted.people, pins, rules), pins)
    assert_frame_equal(evidence.drop(kept.MARK).sort("record_id"), anew)


def test_what_changes_is_told_again(lake, monkeypatch):
    people = {n: person(n) for n in range(40)}
    people |= {3: person(3, organisation_name="Osprey Dental Inc."), 5: person(5, entity_type="organisation")}
    check(lake, people)
    told: list[int] = []
    plain = among_customers.with_entities
    monkeypatch.setattr(among_customers, "with_entities", lambda rows: told.append(rows.height) or plain(rows))
    prepared(lake, rows_of(people), RULES)
    assert told == [2]  # the firm, and who names one
    firm = {"first_name": None, "last_name": "Brandt Mfg. Co."}
    for change in (
        {7: person(7, entity_type="organisation", organisation_name="Lunar Bakery Ltd.")},  # a person becomes a firm
        {5: person(5)},  # and a firm a person
        {9: person(9, **firm), 60: person(60, **firm)},  # told by the name
        {9: person(9), 3: person(3)},  # who worked somewhere works nowhere
        {11: person(11, organisation_name="self-employed"), 61: person(61)},
    ):
        people |= change
        check(lake, people)
    for gone in (0, 7, 60):
        del people[gone]
    check(lake, people)


def test_what_was_told_by_other_rules_is_told_again(lake):
    people = {n: person(n) for n in range(12)} | {3: person(3, organisation_name="Osprey Dental Inc.")}
    check(lake, people)
    junk = RULES.standardization.model_copy(update={"junk_names": frozenset({"osprey dental inc"})})
    check(lake, people, RULES.model_copy(update={"standardization": junk}))


def test_evidence_that_other_code_kept_is_not_taken(lake):
    people = {n: person(n) for n in range(6)}
    _, pins, _ = prepared(lake, rows_of(people), RULES)
    assert kept.known(lake, rows_of(people), pins, "other code").rows is None
