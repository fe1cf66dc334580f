"""Changes of a database, in the order of their commits, each once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from customer360.platform.lake import Lake
from customer360.platform.run.executor import LocalExecutor
from customer360.platform.run.ingest import SourceRun, ingest
from customer360.platform.settings import ExecutionSettings, RetrySettings, Settings
from customer360.platform.sources import cdc
from customer360.platform.sources.base import configured
from customer360.platform.tables import Float, String, Table

TABLE = "bronze.t_people"


@pytest.fixture(autouse=True)
def people(registries: None) -> None:
    class People(Table, table=TABLE, key=("ID",)):
        """One row per version of a person."""

        ID = String(nullable=True)
        NAME = String(nullable=True)
        SPENT = Float(nullable=True)
        KIND = String(nullable=True)
        CHANGED = String(nullable=True)


class Shop:
    """A database whose people are followed into a lake."""

    def __init__(self, root: Path, server: Any):
        self.root, self.server, self.database = root, server, server.fresh()
        (root / "landing").mkdir()
        self.execute(
            "CREATE TABLE people (id int PRIMARY KEY, name text, spent numeric)",
            "CREATE TABLE other (id int PRIMARY KEY)",
            "CREATE PUBLICATION customer360 FOR TABLE people",
            "INSERT INTO people VALUES (1, 'Ada', 1.5), (2, 'Bo', 2)",
        )  # fmt: skip

    def execute(self, *statements: str) -> None:
        self.server.execute(self.database, *statements)

    def settings(self, **keys: Any) -> Settings:
        source = {"kind": "cdc", "connection": "db", "table": TABLE, "system": "SHOP", "relation": "public.people",
                  "slot": f"s_{self.database}",
                  "mapping": {"ID": "id", "NAME": "name", "SPENT": "spent", "KIND": '"change.kind"',
                              "CHANGED": '"change.changed"'}}  # fmt: skip
        return Settings.model_validate(
            {
                "landing": str(self.root / "landing"),
                "lake": {"root": str(self.root / "lake"), "buckets": 4},
                "execution": {"executor": "local", "retry": {"attempts": 1}},
                "connections": {"db": self.server.connection(self.database)},
                "sources": {"people": {**source, **keys}},
            }
        )

    def land(self, **keys: Any) -> SourceRun:
        executor = LocalExecutor(ExecutionSettings(executor="local", retry=RetrySettings(attempts=1)))
        lake = Lake(str(self.root / "lake"), {}, 4)
        (done,) = ingest(lake, self.settings(**keys), ["people"], executor, {})
        return done

    def rows(self) -> pl.DataFrame:
        found = Lake(str(self.root / "lake"), {}, 4).scan(TABLE).collect()
        return found.sort("_seq", "_position")

    def told(self, after: int = 0) -> list[tuple[Any, ...]]:
        return self.rows().filter(pl.col("_seq") > after).select("KIND", "ID", "NAME", "_deleted").rows()


@pytest.fixture
def shop(tmp_path: Path, postgres: Any) -> Any:
    made = Shop(tmp_path, postgres)
    yield made
    made.execute(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = "
        f"'s_{made.database}'"
    )  # fmt: skip


def test_rows_then_changes_in_their_order(shop: Shop) -> None:
    assert shop.land().failure is None
    assert [row[:3] for row in shop.told()] == [("snapshot", "1", "Ada"), ("snapshot", "2", "Bo")]
    assert shop.land().nodes[0].state == "current"
    shop.execute(
        "INSERT INTO people VALUES (3, 'Cy', NULL)", "UPDATE people SET name = 'Bob' WHERE id = 2",
        "DELETE FROM people WHERE id = 1", "INSERT INTO people VALUES (1, 'Ann', 7)",
        "UPDATE people SET id = 30 WHERE id = 3", "INSERT INTO other VALUES (1)",
    )  # fmt: skip
    assert shop.land().failure is None
    assert shop.told(1) == [
        ("insert", "3", "Cy", False), ("update", "2", "Bob", False), ("delete", "1", None, True),
        ("insert", "1", "Ann", False), ("delete", "3", None, True), ("update", "30", "Cy", False),
    ]  # fmt: skip
    assert shop.land().nodes[0].state == "current"


def test_a_transaction_that_was_rolled_back_changed_nothing(shop: Shop) -> None:
    shop.land()
    shop.execute("BEGIN", "INSERT INTO people VALUES (9, 'No', 0)", "ROLLBACK", "INSERT INTO other VALUES (5)")
    assert shop.land().nodes[0].state == "current"


def test_old_values_and_changed_columns_where_the_identity_is_full(shop: Shop) -> None:
    shop.execute("ALTER TABLE people REPLICA IDENTITY FULL")
    shop.land()
    shop.execute("UPDATE people SET spent = 9 WHERE id = 1", "UPDATE people SET id = 20 WHERE id = 2")
    shop.land()
    found = shop.rows().filter(pl.col("_seq") == 2)
    assert found["CHANGED"].to_list()[0] == '["spent"]'
    assert found["KIND"].to_list() == ["update", "delete", "update"]  # another key is another row
    assert found["ID"].to_list() == ["1", "2", "20"]


def test_what_a_crash_left_between_commit_and_release_comes_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.land()
    shop.execute("INSERT INTO people VALUES (3, 'Cy', 1)")
    with monkeypatch.context() as dies:
        dies.setattr(cdc.Cdc, "release", lambda *_: None)
        assert shop.land().failure is None
    shop.execute("INSERT INTO people VALUES (4, 'Di', 1)")
    assert shop.land().failure is None
    assert [row[1] for row in shop.told(1)] == ["3", "4"]


def test_a_batch_whose_read_failed_lands_later_and_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.land()
    shop.execute("INSERT INTO people VALUES (3, 'Cy', 1)")
    with monkeypatch.context() as fails:
        fails.setattr(cdc, "_frame_of", lambda *_: (_ for _ in ()).throw(ConnectionError("gone")))
        assert "gone" in (shop.land().failure or "")
    shop.execute("INSERT INTO people VALUES (4, 'Di', 1)")
    while shop.land().nodes[0].state != "current":
        pass
    assert [row[1] for row in shop.told(1)] == ["3", "4"]


def test_a_backlog_comes_in_whole_transactions(shop: Shop) -> None:
    shop.land()
    for number in range(100, 130):
        shop.execute(f"INSERT INTO people SELECT n, 'x', 1 FROM generate_series({number}0, {number}4) n")
    batches = 0
    while shop.land(batch_size=20).nodes[0].state != "current":
        batches += 1
    assert batches > 3
    assert len({row[1] for row in shop.told(1)}) == len(shop.told(1)) == 150


def test_the_database_may_forget_what_landed(shop: Shop) -> None:
    shop.land()
    shop.execute("INSERT INTO other SELECT generate_series(1, 1000)")
    shop.land()
    followed = configured(shop.settings(), "people")
    assert isinstance(followed, cdc.Cdc)
    with followed.connected.session() as session:
        before = followed._stands(session)
    shop.execute("INSERT INTO other SELECT generate_series(1001, 2000)")
    shop.land()
    with followed.connected.session() as session:
        assert cdc._number(followed._stands(session) or "") > cdc._number(before or "")


def test_large_values_that_did_not_change(shop: Shop) -> None:
    shop.execute(
        "ALTER TABLE people ALTER name SET STORAGE EXTERNAL", "UPDATE people SET name = repeat('ab', 5000) WHERE id = 1"
    )
    shop.land()
    shop.execute("UPDATE people SET spent = 5 WHERE id = 1")
    assert "ALTER TABLE public.people REPLICA IDENTITY FULL" in (shop.land().failure or "")


def test_an_emptied_relation_is_said(shop: Shop) -> None:
    shop.land()
    shop.execute("TRUNCATE people", "INSERT INTO people VALUES (7, 'Gil', 1)")
    assert "was emptied (TRUNCATE)" in (shop.land().failure or "")
    assert shop.land(on_truncate="ignore").failure is None
    assert [row[1] for row in shop.told(1)] == ["7"]


def test_a_slot_that_is_gone_and_a_publication_that_never_was_are_said(shop: Shop) -> None:
    shop.land()
    shop.execute("INSERT INTO people VALUES (3, 'Cy', 1)")
    shop.land()
    failure = shop.land(publication="nothing").failure
    assert failure and "CREATE PUBLICATION nothing FOR TABLE public.people" in failure
    shop.execute(f"SELECT pg_drop_replication_slot('s_{shop.database}')")
    shop.execute("INSERT INTO people VALUES (5, 'Ed', 1)")
    assert "is gone" in (shop.land().failure or "")
