"""A second file beside a source: its columns by key, and what happens where there is none or there are several."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from customer360.platform.lake import Lake
from customer360.platform.ledger import Batch, Input
from customer360.platform.quality import DeadLetters, batch_balance
from customer360.platform.sources.bronze import IngestUnit, Landed
from customer360.platform.sources.files import Files
from customer360.platform.sources.formats.records import POSITION
from customer360.platform.sources.landing import Landing
from customer360.platform.sources.mapping import joins
from customer360.platform.sources.stated import made_by, unmapped
from customer360.platform.tables import Identifier, String, Table

ORDERS = b"id,customer,zip\n1,7,10\n2,8.0,20\n3,,10\n4,99,30\n"
PEOPLE = b"id,city,name\n7,Ulm,Ada\n8,Bonn,\n9,Kiel,Eve\n"


@pytest.fixture
def orders(registries: None) -> type[Table]:
    class Orders(Table, table="bronze.t_orders", key=("ID",)):
        """One row per order."""

        ID = Identifier(nullable=False)
        CITY = String(nullable=True)
        WHO = String(nullable=True)

    return Orders


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    (tmp_path / "landing").mkdir()
    for name, content in {"orders.csv": ORDERS, "people.csv": PEOPLE}.items():
        (tmp_path / "landing" / name).write_bytes(content)
    return Landing(str(tmp_path / "landing"), ())


def source(landing: Landing, **more: Any) -> Files:
    join = {"people": {"path": "people.csv", "on": {"customer": "id"}, **more.pop("people", {})}}
    mapping = {"ID": "id", "CITY": "UPPER(people.city)", "WHO": "COALESCE(people.name, 'unknown')"}
    made = Files(table="bronze.t_orders", system="SHOP", path="orders.csv", mapping=mapping, join=join, **more)
    return made.model_copy(update={"join": joins.pinned(landing, made.join)})


def land(tmp_path: Path, landing: Landing, made: Files) -> tuple[Landed, pl.DataFrame]:
    lake = Lake(str(tmp_path / "lake"), {}, 4)
    lake.ensure(DeadLetters)
    batch = Batch("orders", 1, "2026-01-01T00:00:00+00:00", (Input("orders.csv"),))
    landed = IngestUnit(lake, landing, "orders", made, batch, 0).run()
    rows = [pl.read_parquet(Path(lake.root) / "bronze" / "t_orders" / add.path) for add in landed.bronze] or [
        pl.DataFrame()
    ]
    return landed, pl.concat(rows)


def test_columns_come_by_key_and_what_has_none_is_null_and_counted(
    orders: type[Table], tmp_path: Path, landing: Landing
) -> None:
    landed, rows = land(tmp_path, landing, source(landing))
    assert rows.select("ID", "CITY", "WHO").rows() == [
        ("1", "ULM", "Ada"),
        ("2", "BONN", "unknown"),
        ("3", None, "unknown"),
        ("4", None, "unknown"),
    ]
    assert landed.facts["unmatched|people"] == 2 and batch_balance("b", landed.facts).holds
    assert sorted(json.loads(rows["_rescued"][0])) == ["customer", "zip"], "what the joined file holds is not the row's"


def test_conditions_see_the_joined_columns(orders: type[Table], tmp_path: Path, landing: Landing) -> None:
    landed, rows = land(tmp_path, landing, source(landing, where="people.city = 'Ulm'"))
    assert rows["ID"].to_list() == ["1"] and landed.facts["left_out"] == 3


def test_several_rows_of_a_key_are_a_fault_unless_the_first_is_meant(
    orders: type[Table], tmp_path: Path, landing: Landing
) -> None:
    (Path(landing.root) / "people.csv").write_bytes(PEOPLE + b"7,Rom,Bob\n9,Oslo,\n")
    landed, _ = land(tmp_path, landing, source(landing))
    assert landed.outcome.failure == (
        "join people: 1 keys stand several times in people.csv, such as '7'; say `first: true` to take the first row "
        "of each, or join on more columns"
    )
    landed, rows = land(tmp_path, landing, source(landing, people={"first": True}))
    assert not landed.outcome.failure and rows["CITY"][0] == "ULM"


def test_a_file_that_is_not_there_is_one_fault(orders: type[Table], landing: Landing) -> None:
    made = source(landing, people={"path": "gone.csv"})
    said = [f"join people: there is no file gone.csv below {landing.root}"]
    assert joins.faults(landing, made.join) == said
    assert unmapped(made, ["customer"], None, landing, keyed=False) == said
    made = source(landing, people={"on": {"customer": "nr"}})
    assert joins.faults(landing, made.join) == [
        "join people: people.csv has no column 'nr', it has ['id', 'city', 'name']"
    ]


def test_names_of_both_files_are_checked(orders: type[Table], landing: Landing) -> None:
    made = source(landing, people={"on": {"costumer": "id"}}).model_copy(
        update={"mapping": {"ID": "id", "CITY": "people.town"}}
    )
    orders_file = next(iter(made.pieces(landing, Input("orders.csv"))))
    columns = [c for c in orders_file.frame.columns if c != POSITION]
    found = unmapped(made, columns, orders_file.frame, landing, keyed=False)
    assert len(found) == 2 and "there is no column costumer; did you mean customer?" in found[0]
    assert "people.town" in found[1]


def test_another_content_of_the_joined_file_makes_other_rows(orders: type[Table], landing: Landing) -> None:
    before = made_by(source(landing))
    assert made_by(source(landing)) == before
    (Path(landing.root) / "people.csv").write_bytes(PEOPLE.replace(b"Ulm", b"Jena"))
    after = made_by(source(landing))
    assert {part for part in after if after[part] != before[part]} == {"join"}
    assert {part for part in after if after[part] != made_by(source(landing, people={"first": True}))[part]} == {
        "mapping"
    }
