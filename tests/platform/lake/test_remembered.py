"""What a run leaves of the tables that it opened: trusted while nobody has changed them, and never missed."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable

from customer360.platform import tables
from customer360.platform.lake import Lake, remembered
from customer360.platform.tables import Integer, String, Table

NAME = "silver.marks"
opened = importlib.import_module("customer360.platform.lake.opened")


@pytest.fixture
def lake(tmp_path: Path, registries: None) -> Lake:
    class Marks(Table, table=NAME, partition_by=("kind",)):
        """One row per mark."""

        mark = String(primary_key=True)
        kind = String()
        number = Integer(nullable=True)

    made = Lake(str(tmp_path), {}, 4)
    made.ensure(Marks)
    write(made, 1)
    made.files(NAME)
    remembered.leave(made)
    return made


def write(lake: Lake, version: int) -> None:
    rows = pl.DataFrame({"mark": [f"m{version}"], "kind": ["a"], "number": [version]})
    add = lake.write_file(NAME, rows, {"kind": "a"})
    lake.commit(NAME, [add], app="node:x", app_version=version, facts={"rows": version})


def seen(lake: Lake) -> tuple[Any, ...]:
    lake.ensure(tables.by_name(NAME))
    told = lake.version(NAME), lake.transaction(NAME, "node:x"), lake.last_facts(NAME, "node:x")
    return *told, lake.files(NAME), lake.transaction(NAME, "node:y")


def forget() -> None:
    """As a process that begins."""
    opened._of_thread.__dict__.clear()


def test_what_nobody_changed_is_known_without_opening_it(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = seen(lake)
    remembered.leave(lake)
    forget()
    remembered.recall(lake)
    with monkeypatch.context() as patch:
        patch.setattr(opened, "DeltaTable", lambda *_: pytest.fail("it was opened"))
        assert lake.exists(NAME) and seen(lake)[:4] == expected[:4]
    assert seen(lake) == expected
    assert lake.scan(NAME).collect().height == 1 and lake.delta(NAME).version() == lake.version(NAME)


def test_commits_of_others_are_seen(lake: Lake) -> None:
    forget()
    write(lake, 2)
    expected = seen(lake)
    forget()
    remembered.recall(lake)
    assert seen(lake) == expected and expected[1] == 2
    write(lake, 3)
    assert (lake.transaction(NAME, "node:x"), len(lake.files(NAME))) == (3, 3)


def test_a_table_that_was_made_anew_is_opened(lake: Lake) -> None:
    shutil.rmtree(lake.uri(NAME))
    forget()
    lake.ensure(tables.by_name(NAME))
    write(lake, 7)
    forget()
    remembered.recall(lake)
    assert (lake.transaction(NAME, "node:x"), len(lake.files(NAME))) == (7, 1)
    shutil.rmtree(lake.uri(NAME))
    assert not lake.exists(NAME)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"[]", b"\xff", b'{"form": 0, "tables": {"silver/marks": {}}}', b'{"form": 1}',
        b'{"form": 1, "tables": []}', b'{"form": 1, "tables": {"silver/marks": {}}}',
        b'{"form": 1, "tables": {"silver/marks": {"version": 1, "stamp": null}}}',
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_left(lake: Lake, data: bytes) -> None:
    expected = seen(lake)
    lake.put(remembered.OBJECT, data)
    forget()
    remembered.recall(lake)
    assert seen(lake) == expected


def test_a_contract_that_gained_a_column_changes_the_table(lake: Lake) -> None:
    seen(lake)
    remembered.leave(lake)
    forget()
    remembered.recall(lake)
    del tables.TABLES[NAME]

    class Wider(Table, table=NAME, partition_by=("kind",)):
        """As before, with a column more."""

        mark = String(primary_key=True)
        kind = String()
        number = Integer(nullable=True)
        note = String(nullable=True)

    lake.ensure(Wider)
    assert "note" in DeltaTable(lake.uri(NAME)).to_pyarrow_table().schema.names
