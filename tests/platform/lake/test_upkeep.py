"""Upkeep: deleting leaves every version whole that is promised."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from customer360.platform import tables
from customer360.platform.errors import LakeError, VersionGone
from customer360.platform.lake import Add, Lake, upkeep
from customer360.platform.lake.upkeep import Freed
from customer360.platform.tables import Integer, Money, String, Table, Timestamp, personal

NAME = "silver.t_notes"
T0 = datetime(2024, 1, 2, 3, 4, 5, 678_901, UTC)
DAY = timedelta(days=1)


@pytest.fixture
def notes(registries: None, lake: Lake) -> Lake:
    """A lake with an empty table of notes, partitioned by kind."""

    class Notes(Table, table=NAME, partition_by=("kind",)):
        """One row per note."""

        kind = String()
        id = Integer()
        paid = Money(nullable=True)
        at = Timestamp(nullable=True)
        mail = String(nullable=True, metadata=personal("email"))

    lake.ensure(Notes)
    return lake


def put(lake: Lake, number: int, kind: str = "a") -> Add:
    row = {"kind": kind, "id": number, "paid": Decimal("1.10"), "at": T0, "mail": f"m{number}@x.org"}
    return lake.write_file(NAME, pl.DataFrame([row], schema=tables.schema(tables.by_name(NAME))), {"kind": kind})


def hold(lake: Lake, *adds: Add) -> int:
    """Make files the only ones of the table; the version."""
    return lake.replace(NAME, adds, scope={}, app="node:x", app_version=lake.version(NAME))


def ids(lake: Lake, version: int | None = None) -> list[int]:
    return sorted(lake.scan(NAME, version=version).collect()["id"])


def age(lake: Lake, by: timedelta) -> None:
    """Make everything of the table that much older: what the log says, and the files."""
    milliseconds = int(by / timedelta(milliseconds=1))
    for path in (Path(lake.uri(NAME)) / "_delta_log").glob("*.json"):
        actions = [json.loads(line) for line in path.read_text().splitlines()]
        for content in (content for action in actions for content in action.values()):
            for key in {"timestamp", "deletionTimestamp", "modificationTime", "createdTime"} & content.keys():
                content[key] -= milliseconds
        path.write_text("\n".join(map(json.dumps, actions)) + "\n")
    for file in Path(lake.uri(NAME)).rglob("*"):
        moment = file.stat().st_mtime - by.total_seconds()
        os.utime(file, (moment, moment))


def stands(lake: Lake, add: Add) -> bool:
    return (Path(lake.uri(NAME)) / add.path).exists()


@pytest.mark.parametrize("kind", ["a", "with space", "per%20cent", "é"])
def test_what_no_kept_version_needs_is_deleted_and_counted(notes: Lake, kind: str) -> None:
    old = put(notes, 1, kind)
    first = hold(notes, old)
    new = put(notes, 2, kind)
    hold(notes, new)
    age(notes, 31 * DAY)
    assert upkeep.vacuum(notes, NAME, dry_run=True) == Freed(NAME, 1, old.size)
    assert stands(notes, old), "a dry run deletes nothing"
    assert upkeep.vacuum(notes, NAME) == Freed(NAME, 1, old.size)
    assert (stands(notes, old), stands(notes, new), ids(notes)) == (False, True, [2])
    with pytest.raises(VersionGone, match=rf"{NAME} version {first}: 1 of its 1 files"):
        ids(notes, first)


def test_every_version_of_the_retention_stays_whole(notes: Lake) -> None:
    first = hold(notes, put(notes, 1))
    age(notes, 40 * DAY)
    second = hold(notes, put(notes, 2))
    age(notes, 20 * DAY)
    notes.delta(NAME).create_checkpoint()  # Delta forgets here what was removed over a week ago
    assert upkeep.vacuum(notes, NAME).files == 0
    assert (ids(notes, first), ids(notes)) == ([1], [2]), "the first was current thirty days ago"
    assert upkeep.vacuum(notes, NAME, 10 * DAY).files == 1
    with pytest.raises(VersionGone):
        ids(notes, first)
    hold(notes, put(notes, 3))
    assert upkeep.vacuum(notes, NAME, 7 * DAY).files == 0
    assert ids(notes, second) == [2]


def test_less_than_is_promised_is_refused(notes: Lake) -> None:
    old = put(notes, 1)
    hold(notes, old)
    hold(notes, put(notes, 2))
    with pytest.raises(LakeError, match="last 7 days stay readable"):
        upkeep.vacuum(notes, NAME, 6 * DAY)
    assert upkeep.vacuum(notes, NAME, 7 * DAY).files == 0
    assert stands(notes, old)


def test_files_that_never_came_into_a_table_go_when_they_are_old(notes: Lake) -> None:
    hold(notes, put(notes, 1))
    lost = put(notes, 2)  # its run died before the commit
    assert upkeep.vacuum(notes, NAME).files == 0
    age(notes, 31 * DAY)
    assert upkeep.vacuum(notes, NAME).files == 1
    assert (stands(notes, lost), ids(notes)) == (False, [1])


def test_content_that_comes_back_stays(notes: Lake) -> None:
    one, two = put(notes, 1), put(notes, 2)
    for add in (one, two, one):
        hold(notes, add)
    age(notes, 31 * DAY)
    assert upkeep.vacuum(notes, NAME).files == 1
    assert (ids(notes), stands(notes, two)) == ([1], False)
