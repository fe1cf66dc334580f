"""Folding changes no row, no version that somebody opened, and not the names under which rows were written."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from customer360.platform import tables
from customer360.platform.errors import LakeError
from customer360.platform.lake import Add, File, Lake, folds
from customer360.platform.tables import Integer, String, Table, Timestamp, personal

NAME = "silver.t_notes"
T0 = datetime(2024, 1, 2, 3, 4, 5, 678_901, UTC)


@pytest.fixture
def notes(registries: None, lake: Lake) -> Lake:
    """A table of notes, partitioned by kind, of six batches; the first three are older than its column `mail`."""

    def declared(**columns: Any) -> type[Table]:
        body: dict[str, Any] = {
            "kind": String(),
            "id": Integer(),
            "at": Timestamp(nullable=True),
            **columns,
            "__doc__": "One row per note.",
        }
        return type(Table)("Notes", (Table,), body, table=NAME, partition_by=("kind",))  # type: ignore[no-any-return]

    lake.ensure(declared())
    for seq in (1, 2, 3):
        lake.append_batch(NAME, [put(lake, seq)], source="shop", seq=seq)
    tables.TABLES.pop(NAME)
    lake.ensure(declared(mail=String(nullable=True, metadata=personal("email"))))
    for seq in (4, 5, 6):
        lake.append_batch(NAME, [put(lake, seq, "a" if seq < 6 else "with space")], source="shop", seq=seq)
    return lake


def put(lake: Lake, number: int, kind: str = "a") -> Add:
    row = {"kind": kind, "id": number, "at": T0, "mail": f"m{number}@x.org"}
    wanted = tables.schema(tables.by_name(NAME))
    return lake.write_file(
        NAME, pl.DataFrame([row]).select(list(wanted)).cast(wanted), {"kind": kind}, f"shop-{number:03d}"
    )


def small(lake: Lake) -> list[File]:
    return [f for f in lake.files(NAME) if f.partition["kind"] == "a"]


def test_rows_batches_and_silence_stay(notes: Lake) -> None:
    before, version = notes.scan(NAME).sort("id").collect(), notes.version(NAME)
    made = folds.fold(notes, NAME, small(notes))
    assert made in notes.files(NAME) and len(notes.files(NAME)) == 2
    assert notes.scan(NAME).sort("id").collect().equals(before) and made.rows == 5
    assert notes.transaction(NAME, "batch:shop") == 6
    assert notes.scan(NAME, version=version).sort("id").collect().equals(before), "a version of before is whole"
    log = "".join(p.read_text() for p in (Path(notes.uri(NAME)) / "_delta_log").glob("*.json"))
    assert "m5@x.org" not in log
    last = (Path(notes.uri(NAME)) / "_delta_log" / f"{notes.version(NAME):020}.json").read_text()
    changed = [json.loads(line) for line in last.splitlines()]
    flags = {(a.get("add") or a["remove"])["dataChange"] for a in changed if "add" in a or "remove" in a}
    assert flags == {False}, "who follows changes is told of none"


def test_a_folded_file_sorts_where_its_first_part_did(notes: Lake) -> None:
    made = folds.fold(notes, NAME, small(notes)[1:4])
    assert [f.path for f in small(notes)].index(made.path) == 1
    assert notes.scan(NAME, small(notes)).collect()["id"].to_list() == [1, 2, 3, 4, 5]


def test_the_names_of_what_was_written_stay_through_several_folds(notes: Lake) -> None:
    before = folds.written(notes, NAME, notes.files(NAME))
    folds.fold(notes, NAME, small(notes)[:2])
    folds.fold(notes, NAME, small(notes)[1:3])
    folds.fold(notes, NAME, small(notes))
    assert len(small(notes)) == 1 and folds.written(notes, NAME, notes.files(NAME)) == before


def test_what_somebody_knew_is_found_where_it_is_now(notes: Lake) -> None:
    knew = small(notes)[:3]
    first = folds.fold(notes, NAME, small(notes)[:2])
    now = notes.files(NAME)
    assert folds.standing(notes, NAME, knew, now) == [f for f in now if f.path in (first.path, knew[2].path)]
    later = folds.standing(notes, NAME, knew, now)
    second = folds.fold(notes, NAME, small(notes)[:2])
    for known in (knew, later):
        assert folds.standing(notes, NAME, known, notes.files(NAME)) == [second], "by either name"
    folds.fold(notes, NAME, small(notes))
    assert folds.standing(notes, NAME, knew, notes.files(NAME)) == knew, "rows that it did not know are in there"


def test_notes_go_when_nobody_needs_them(notes: Lake) -> None:
    first = folds.fold(notes, NAME, small(notes)[:2])
    second = folds.fold(notes, NAME, small(notes)[:2])
    folds.forget(notes, NAME, {second.path})
    assert [p for p in notes.objects("_folds") if first.path in p] == [] and len(notes.objects("_folds")) == 1


def test_a_file_of_other_rows_than_the_log_says_is_not_folded(notes: Lake) -> None:
    wrong = [File(f.path, f.rows + 1, f.size, f.partition) for f in small(notes)]
    with pytest.raises(LakeError, match="not folded"):
        folds.fold(notes, NAME, wrong)
    assert len(small(notes)) == 5
