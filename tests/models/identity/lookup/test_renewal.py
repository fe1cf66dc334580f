"""An index made from the one before answers as one that is made of all records."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from customer360.models.identity import IdentityRules
from customer360.models.identity.batch import pins
from customer360.models.identity.batch.pins import Pins
from customer360.models.identity.batch.standing import VERSIONED, versioned
from customer360.models.identity.lookup import look_up, renewal
from customer360.models.identity.lookup.index import CHANGED, IdentityIndex, write_index
from customer360.models.identity.lookup.parts import RECORDS
from customer360.models.identity.rules import Identifier, Stitching

pytestmark = pytest.mark.slow
RULES = IdentityRules(stitching=Stitching(identifiers=(Identifier(column="loyalty_id", max_records=4),)))
FIRST = ["Robert", "Ann", "Zoé", "Jürgen", "Maria", "Wei", "Olu", "Sam", None]
LAST = ["King", "Lee", "Ray", "Müller", "Silva", "Zhang", "Ade", "Fox", None]
WORDS = ("first_name", "last_name", "email_address", "phone_number", "address_line_1", "zip_code", "loyalty_id")


def record(rng: random.Random, name: str) -> dict[str, str | None]:
    first, last, n = rng.choice(FIRST), rng.choice(LAST), rng.randrange(30)
    return {
        "record_id": name, "first_name": first, "last_name": last,
        "email_address": rng.choice([f"{first}.{last}{n}@mail.com".lower(), None]),
        "phone_number": rng.choice([f"415555{2000 + n}", None]), "date_of_birth": f"19{60 + n}-01-1{n % 9}",
        "address_line_1": f"{10 + n} Elm Street", "city": "Springfield", "zip_code": f"941{n % 4:02}",
        "loyalty_id": rng.choice([f"C{n % 7}", None]),
    }  # fmt: skip


def frame(rows: dict[str, dict[str, str | None]]) -> pl.DataFrame:
    schema = dict.fromkeys(record(random.Random(0), "x"), pl.String)
    return pl.DataFrame(list(rows.values()), schema=schema).with_columns(pl.col("date_of_birth").str.to_date())


def persons_of(rows: dict[str, dict[str, str | None]], owner: dict[str, str], held: Pins) -> pl.DataFrame:
    """As `silver.identities` has them, in an order of its own."""
    evidence = versioned(pins.evidence(frame(rows), held, RULES), held).select("record_id", VERSIONED)
    owners = pl.DataFrame({"record_id": list(rows), "person_id": [owner[name] for name in rows]})
    return owners.join(evidence, on="record_id").sample(fraction=1.0, shuffle=True, seed=1)


@pytest.fixture(scope="module")
def held() -> Pins:
    rng = random.Random(5)
    made = pins.pinned(frame({f"R/{n}": record(rng, f"R/{n}") for n in range(150)}), RULES)[0]
    return replace(made, caps={name: min(cap, 6) for name, cap in made.caps.items()})  # keys pass and leave it


def told(index: IdentityIndex, asked: list[dict[str, str | None]]) -> Iterator[object]:
    for row in asked:
        yield index.candidates(index.evidence(row)), look_up(index, row)


def batch(rng: random.Random, rows: dict[str, dict[str, str | None]], owner: dict[str, str], number: int) -> None:
    """A few records come, change, change hands and, sometimes, go."""
    for name in rng.sample(sorted(rows), rng.randrange(4)):
        rows[name] = rows[name] | {word: record(rng, name)[word] for word in rng.sample(WORDS, 2)}
    for n in range(rng.randrange(5)):
        name = f"N{number}/{n}"
        rows[name], owner[name] = record(rng, name), rng.choice([*owner.values(), f"p{name}"])
    for name in rng.sample(sorted(rows), rng.randrange(3)):
        owner[name] = rng.choice(list(owner.values()))
    for name in rng.sample(sorted(rows), rng.choice([0, 0, 0, 2])):
        del rows[name]


@pytest.mark.parametrize("seed", range(3))
def test_any_sequence_of_batches_answers_as_the_whole(held: Pins, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    rows = {f"R/{n}": record(rng, f"R/{n}") for n in range(120)}
    owner = {name: f"p{n // 3}" for n, name in enumerate(rows)}
    write_index(tmp_path / "0", frame(rows), persons_of(rows, owner, held), held, RULES)
    is_beside, is_joined = False, False
    for number in range(1, 7):
        batch(rng, rows, owner, number)
        persons, folder = persons_of(rows, owner, held), tmp_path / str(number)
        every = frame(rows)
        taken = renewal.renew_index(
            folder,
            IdentityIndex.open(tmp_path / str(number - 1)),
            persons,
            lambda ids, every=every: every.filter(pl.col("record_id").is_in(ids.implode())),
            held,
            RULES,
        )
        assert taken is not None
        made = IdentityIndex.open(folder)
        is_beside |= made.changed is not None
        is_joined |= not taken
        write_index(tmp_path / "whole", every, persons, held, RULES)
        whole = IdentityIndex.open(tmp_path / "whole")
        asked = [*rng.sample(list(rows.values()), 25), *(record(rng, "asked") for _ in range(15))]
        assert list(told(made, asked)) == list(told(whole, asked))
    assert is_beside and is_joined, "batches of both ways were tried"


@pytest.fixture
def standing(held: Pins, tmp_path: Path):
    rng = random.Random(3)
    rows = {f"R/{n}": record(rng, f"R/{n}") for n in range(100)}
    owner = {name: f"p{name}" for name in rows}
    write_index(tmp_path / "1", frame(rows), persons_of(rows, owner, held), held, RULES)
    return rows, owner, IdentityIndex.open(tmp_path / "1")


def renewed(folder: Path, before: IdentityIndex, rows, owner, held: Pins, rules: IdentityRules = RULES):
    """What was taken over, and the ids of the records that were read."""
    asked: list[str] = []

    def read(ids: pl.Series) -> pl.DataFrame:
        asked.extend(ids.sort())
        return frame(rows).filter(pl.col("record_id").is_in(ids.implode()))

    return renewal.renew_index(folder, before, persons_of(rows, owner, held), read, held, rules), asked


def test_only_what_changed_is_read_and_the_large_files_are_taken_over(standing, held: Pins, tmp_path: Path) -> None:
    rows, owner, before = standing
    rows["R/7"] = rows["R/7"] | {"last_name": "Nobody"}
    rows["R/new"], owner["R/new"] = rows["R/8"] | {"record_id": "R/new"}, "p"
    taken, asked = renewed(tmp_path / "2", before, rows, owner, held)
    assert asked == ["R/7", "R/new"]
    assert taken and all((tmp_path / "2" / name).samefile(tmp_path / "1" / name) for name in taken)
    assert IdentityIndex.open(tmp_path / "2").changed.height == 2
    # Nothing new: the small part comes along.
    taken, asked = renewed(tmp_path / "3", IdentityIndex.open(tmp_path / "2"), rows, owner, held)
    assert taken and asked == [] and IdentityIndex.open(tmp_path / "3").changed.height == 2


def test_of_a_record_that_is_gone_nothing_stays(standing, held: Pins, tmp_path: Path) -> None:
    rows, owner, before = standing
    rows["R/7"] = rows["R/7"] | {"last_name": "Quispe"}
    renewed(tmp_path / "2", before, rows, owner, held)
    assert b"quispe" in (tmp_path / "2" / (CHANGED + RECORDS)).read_bytes().lower()
    del rows["R/7"]
    taken, asked = renewed(tmp_path / "3", IdentityIndex.open(tmp_path / "2"), rows, owner, held)
    assert taken == frozenset() and asked == []
    held_now = b"".join(file.read_bytes() for file in sorted((tmp_path / "3").iterdir()))
    assert b"quispe" not in held_now.lower()
    index = IdentityIndex.open(tmp_path / "3")
    assert "R/7" not in index.base.columns("record_id")["record_id"] and index.base.height == 99


def test_many_changes_join_the_parts(standing, held: Pins, tmp_path: Path) -> None:
    rows, owner, before = standing
    for n in range(10):
        owner[f"R/{n}"] = "p"
    taken, asked = renewed(tmp_path / "2", before, rows, owner, held)
    assert taken == frozenset() and len(asked) == 10
    assert IdentityIndex.open(tmp_path / "2").changed is None
    for n in range(60):
        owner[f"R/{n}"] = "q"
    assert renewed(tmp_path / "3", before, rows, owner, held)[0] is None, "most of them: all are made anew"
    assert not (tmp_path / "3").exists()


def test_other_pins_rules_or_code_make_all_anew(standing, held: Pins, tmp_path: Path) -> None:
    rows, owner, before = standing
    tighter = RULES.model_copy(update={"stitching": Stitching()})
    assert renewed(tmp_path / "2", before, rows, owner, held, tighter)[0] is None
    hubs = replace(held, hubs=pl.concat([held.hubs, held.hubs.clear().vstack(held.frequencies.head(1).select(
        column=pl.lit("phone_std"), value="value"))]))  # fmt: skip
    assert renewed(tmp_path / "2", before, rows, owner, hubs)[0] is None
    upgraded = replace(before, manifest=before.manifest | {"code": "of before", "rules": {"unknown": 1}})
    assert renewed(tmp_path / "2", upgraded, rows, owner, held)[0] is None
    assert renewed(tmp_path / "2", before, rows, owner, held)[0], "and with the same it is taken over"


def test_where_files_have_one_name_alone_they_are_copied(standing, held: Pins, tmp_path: Path, monkeypatch) -> None:
    rows, owner, before = standing

    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(renewal.os, "link", refuse)
    rows["R/7"] = rows["R/7"] | {"last_name": "Nobody"}
    taken, _ = renewed(tmp_path / "2", before, rows, owner, held)
    assert taken and not (tmp_path / "2" / RECORDS).samefile(tmp_path / "1" / RECORDS)
    assert IdentityIndex.open(tmp_path / "2").hidden.tolist()
