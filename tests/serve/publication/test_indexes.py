"""Identity indexes of one version after another: what is taken over, and from what it is not."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import polars as pl
import pytest

from customer360.models.identity import IdentityRules
from customer360.models.identity.batch import pins
from customer360.models.identity.batch.standing import VERSIONED, versioned
from customer360.models.identity.lookup import look_up
from customer360.models.identity.lookup.index import MANIFEST
from customer360.models.identity.lookup.parts import RECORDS
from customer360.serve.publication import indexes

pytestmark = pytest.mark.slow
RULES = IdentityRules()


class Lake:
    """Identities by version, and the records of now."""

    def __init__(self) -> None:
        self.records = pl.DataFrame(
            {
                "record_id": [f"CRM/{n}" for n in range(60)],
                "first_name": [f"{'ABCDEFGHIJ'[n % 10]}nna" for n in range(60)],
                "last_name": [f"{'KLMNOP'[n // 10]}ing" for n in range(60)],
                "email_address": [f"anna{n}@mail.com" for n in range(60)],
                "date_of_birth": [f"19{30 + n}-02-03" for n in range(60)],
            }
        )
        self.held = pins.pinned(self.records, RULES)[0]
        self.number = 0
        self.leaving: list[str] = []

    def exists(self, _: str) -> bool:
        return True

    def version(self, _: str) -> int:
        return self.number

    def scan(self, name: str, version: int | None = None) -> pl.LazyFrame:
        if name == indexes.RECORDS:
            return self.records.lazy()
        assert version == self.number
        evidence = versioned(pins.evidence(self.records, self.held, RULES), self.held)
        person = pl.col("record_id").str.replace("CRM/", "p")
        return evidence.select("record_id", VERSIONED, person_id=person, entity_type=pl.lit("person")).lazy()


@pytest.fixture(scope="module")
def trained() -> Lake:
    return Lake()


@pytest.fixture
def lake(trained: Lake, monkeypatch: pytest.MonkeyPatch) -> Lake:
    fresh = Lake.__new__(Lake)
    fresh.__dict__ |= trained.__dict__ | {"leaving": []}
    monkeypatch.setattr(indexes.pins, "read", lambda _: fresh.held)
    monkeypatch.setattr(indexes, "leaving", lambda *_: fresh.leaving)
    return fresh


def publish(lake: Lake, state: Path) -> Path:
    folder = indexes.publish_index(lake, state, RULES)  # type: ignore[arg-type]
    assert folder is not None
    return folder


def renamed(lake: Lake, number: int, name: str) -> None:
    """A batch by which one account says another family name."""
    mine = pl.col("record_id") == f"CRM/{number}"
    lake.records = lake.records.with_columns(last_name=pl.when(mine).then(pl.lit(name)).otherwise("last_name"))
    lake.number += 1


def test_the_next_version_takes_the_large_files_over(lake: Lake, tmp_path: Path) -> None:
    first = publish(lake, tmp_path)
    renamed(lake, 3, "Quispe")
    second = publish(lake, tmp_path)
    assert (second / RECORDS).samefile(first / RECORDS)
    index = indexes.check(second)
    assert look_up(index, {"email_address": "anna3@mail.com", "last_name": "Quispe"}).candidates[0].person_id == "p3"
    assert index.candidates(index.evidence({"email_address": "anna3@mail.com"}))[0]["family"] == "quispe"
    noted = json.loads((second / indexes.CHECKS).read_text())
    assert set(noted) == {file.name for file in second.iterdir()} - {indexes.CHECKS}
    for n in range(4, 4 + indexes.KEEP):  # the first goes; what it shares stays
        renamed(lake, n, "Other")
        last = publish(lake, tmp_path)
    assert not first.exists() and len(indexes.stored(tmp_path)) == indexes.KEEP
    assert indexes.check(last).base.height == 60


def test_of_a_damaged_index_nothing_is_taken_over(lake: Lake, tmp_path: Path) -> None:
    first = publish(lake, tmp_path)
    content = bytearray((first / RECORDS).read_bytes())
    content[len(content) // 2] ^= 1
    (first / RECORDS).write_bytes(content)
    renamed(lake, 3, "Quispe")
    second = publish(lake, tmp_path)
    assert not (second / RECORDS).samefile(first / RECORDS)
    assert indexes.check(second).changed is None


def test_of_one_that_was_not_written_to_its_end_nothing_is_taken_over(lake: Lake, tmp_path: Path) -> None:
    first = publish(lake, tmp_path)
    (first / indexes.CHECKS).unlink()
    renamed(lake, 3, "Quispe")
    second = publish(lake, tmp_path)
    assert not (second / RECORDS).samefile(first / RECORDS)
    (second / MANIFEST).unlink()  # as where a publication died: it is written again, at the next
    assert indexes.check(publish(lake, tmp_path)).base.height == 60


def test_two_publications_at_once_leave_the_index_in_service_as_it_is(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = publish(lake, tmp_path)
    renamed(lake, 3, "Quispe")
    meanwhile, read = threading.Thread(target=publish, args=(lake, tmp_path)), lake.scan

    def scan(name: str, version: int | None = None) -> pl.LazyFrame:
        if meanwhile.ident is None:
            meanwhile.start()
            meanwhile.join(0.5)  # it takes the files of the first over, or waits
            lake.leaving = ["p7"]  # so that this one writes them anew
        return read(name, version)

    monkeypatch.setattr(lake, "scan", scan, raising=False)
    second = publish(lake, tmp_path)
    meanwhile.join()
    assert indexes.check(first).base.height == 60
    assert indexes.check(second).base.height == 59
    assert indexes.stored(tmp_path) == [first, second]


def test_an_erasure_waits_for_an_index_that_is_being_written(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(lake, tmp_path)
    renamed(lake, 3, "Quispe")
    erasing, write = threading.Thread(target=indexes.delete_indexes, args=(tmp_path,)), indexes.write_durably

    def written(path: Path, text: str) -> None:
        erasing.start()
        erasing.join(0.2)
        write(path, text)

    monkeypatch.setattr(indexes, "write_durably", written)
    publish(lake, tmp_path)
    erasing.join()
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and file.stat().st_size]


def test_what_a_publication_that_died_left_goes(lake: Lake, tmp_path: Path) -> None:
    first = publish(lake, tmp_path)
    half = first.with_name(indexes.HALF)
    half.mkdir()
    (half / RECORDS).hardlink_to(first / RECORDS)
    assert publish(lake, tmp_path) == first
    assert not half.exists() and indexes.check(first).base.height == 60
    half.mkdir()
    (half / RECORDS).write_bytes(b"quispe")
    indexes.delete_indexes(tmp_path)
    assert not half.exists()


def test_who_is_being_erased_is_in_no_file_of_the_next(lake: Lake, tmp_path: Path) -> None:
    renamed(lake, 7, "Quispe")
    assert b"quispe" in (publish(lake, tmp_path) / RECORDS).read_bytes()
    lake.leaving, lake.number = ["p7"], lake.number + 1
    second = publish(lake, tmp_path)
    assert not any(b"quispe" in file.read_bytes() for file in second.iterdir())
    assert look_up(indexes.check(second), {"email_address": "anna7@mail.com"}).kind == "new"
    indexes.delete_indexes(tmp_path)
    assert indexes.stored(tmp_path) == []
