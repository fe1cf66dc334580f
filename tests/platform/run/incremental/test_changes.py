"""Rows that come and rows that go, of a table that stands: the others keep their files."""

from __future__ import annotations

import random
from pathlib import Path

import polars as pl
import pytest

from customer360.platform import tables
from customer360.platform.lake import Add, Lake
from customer360.platform.run.incremental.changes import Changes, written
from customer360.platform.run.units import MANY, SMALL
from customer360.platform.tables import Integer, String, Table


@pytest.fixture(params=[True, False], ids=["by subject", "one file"])
def table(request: pytest.FixtureRequest, registries: None) -> type[Table]:
    class Marks(Table, table="silver.t_marks", per="person_id", sort_by=("person_id",), bucketed=request.param):
        """One row per person and what is said of it."""

        person_id = String(primary_key=True)
        said = Integer(nullable=True)

    return Marks


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path), {}, 4)


def rows(said: dict[int, int]) -> pl.DataFrame:
    return pl.DataFrame({"person_id": [f"p{n:06}" for n in said], "said": list(said.values())})


def put(lake: Lake, table: type[Table], made: pl.DataFrame | Changes) -> list[Add]:
    lake.ensure(table)
    name = tables.spec(table).name
    made = made if isinstance(made, Changes) else Changes(made, parted=True)
    adds = written(lake, table, made, {})
    lake.replace(name, adds, scope={}, app="t", app_version=(lake.transaction(name, "t") or 0) + 1)
    return adds


def change(lake: Lake, table: type[Table], gone: set[int], came: dict[int, int]) -> list[Add]:
    name = tables.spec(table).name
    files = lake.files(name)
    held = lake.scan(name, files).collect()["person_id"]
    places = held.is_in([f"p{n:06}" for n in gone]).arg_true()
    return put(lake, table, Changes(rows(came), files, places, parted=True))


def test_a_sequence_of_changes_leaves_the_rows_that_it_should(lake: Lake, table: type[Table]) -> None:
    chance, said = random.Random(7), {n: n for n in range(200)}
    put(lake, table, rows(said))
    for turn in range(12):
        gone = set(chance.sample(sorted(said), chance.choice([0, 3, len(said)])))
        came = {n: turn for n in chance.sample(range(300), chance.choice([0, 9])) if n not in said or n in gone}
        change(lake, table, gone, came)
        said = {n: value for n, value in said.items() if n not in gone} | came
        held = lake.scan(tables.spec(table).name).collect().sort("person_id")
        assert held.equals(rows(dict(sorted(said.items()))))


def test_large_files_without_a_row_that_goes_stay(lake: Lake, table: type[Table]) -> None:
    many = 5 * SMALL
    put(lake, table, rows({n: n for n in range(many)}))
    before = {file.path for file in lake.files(tables.spec(table).name)}
    after = {add.path for add in change(lake, table, set(), {many + 1: 1})}
    assert before < after and len(after) == len(before) + 1
    rest = {add.path for add in change(lake, table, {many - 1}, {})}
    assert len(before - rest) == 1, "only the file of the row that went is another"
    put(lake, table, rows({n: n for n in range(many)}))
    change(lake, table, set(), {many + 1: 1})
    kept = {add.path for add in change(lake, table, {many + 1}, {})}
    assert kept == before


def test_small_files_are_folded(lake: Lake, table: type[Table]) -> None:
    many = 5 * SMALL
    first = len(put(lake, table, rows({n: n for n in range(many)})))
    for n in range(2 * MANY):
        change(lake, table, set(), {many + 4 * n + k: n for k in range(4)})
    by_bucket: dict[str | None, int] = {}
    for file in lake.files(tables.spec(table).name):
        by_bucket[file.partition.get("bucket")] = by_bucket.get(file.partition.get("bucket"), 0) + 1
    assert max(by_bucket.values()) <= MANY + (1 if None not in by_bucket else first)
    assert lake.scan(tables.spec(table).name).collect().height == many + 8 * MANY
