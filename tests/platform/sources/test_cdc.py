"""Changes of a database, in the order of their commits, each once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from customer360.platform import ledger, tables, telemetry
from customer360.platform.connections.databases import Rows
from customer360.platform.errors import SourceError
from customer360.platform.lake import Lake
from customer360.platform.run import RunRequest, snapshots
from customer360.platform.run.executor import LocalExecutor
from customer360.platform.run.ingest import SourceRun, ingest
from customer360.platform.run.preview import preview
from customer360.platform.run.records import current_records
from customer360.platform.run.rereading import drop, reland
from customer360.platform.settings import ExecutionSettings, RetrySettings, Settings
from customer360.platform.sources import cdc
from customer360.platform.sources.base import configured
from customer360.platform.sources.landing import landing_of
from customer360.platform.sources.protocols.changes import slots
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

    @property
    def lake(self) -> Lake:
        return Lake(str(self.root / "lake"), {}, 4)

    def settings(self, **keys: Any) -> Settings:
        source = {"kind": "cdc", "connection": "db", "table": TABLE, "system": "SHOP", "relation": "public.people",
                  "slot": f"s_{self.database}",
                  "mapping": {"ID": "id", "NAME": "name", "SPENT": "spent", "KIND": '"change.kind"',
                              "CHANGED": '"change.changed"'}}  # fmt: skip
        return Settings.model_validate(
            {
                "landing": str(self.root / "landing"),
                "state": str(self.root / "state"),
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
        f"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = '{made.database}'"
    )


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
        fails.setattr(cdc, "frame_of", lambda *_: (_ for _ in ()).throw(ConnectionError("gone")))
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
        before = slots.Slot(session, followed.slot, followed).stands()
    shop.execute("INSERT INTO other SELECT generate_series(1001, 2000)")
    shop.land()
    with followed.connected.session() as session:
        now = slots.Slot(session, followed.slot, followed).stands()
    assert slots.number(now or "") > slots.number(before or "")


def test_large_values_that_were_not_sent_are_those_of_the_row(shop: Shop) -> None:
    shop.execute("ALTER TABLE people ALTER name SET STORAGE EXTERNAL",
                 "UPDATE people SET name = repeat('ab', 5000) || id")  # fmt: skip
    mapping = {"ID": "id", "NAME": "name", "SPENT": "spent", "KIND": '"change.kind"', "CHANGED": '"change.unsent"'}
    shop.land(mapping=mapping)
    shop.execute("UPDATE people SET spent = 5 WHERE id = 1", "INSERT INTO people VALUES (3, 'Cy', 1)",
                 "UPDATE people SET spent = 6 WHERE id = 2", "UPDATE people SET id = 20 WHERE id = 2")  # fmt: skip
    assert shop.land(mapping=mapping).failure is None
    found = shop.rows().filter(pl.col("_seq") == 2).select("ID", "NAME", "CHANGED", "_deleted").rows()
    large = "ab" * 5000
    assert found == [
        ("1", f"{large}1", '["name"]', False),
        ("3", "Cy", None, False),
        ("2", None, '["name"]', False),  # gone since: the next change tells
        ("2", None, None, True),
        ("20", f"{large}2", '["name"]', False),
    ]


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


@contextmanager
def unread() -> Iterator[None]:
    """The log of the database cannot be read."""
    with pytest.MonkeyPatch.context() as fails:
        fails.setattr(cdc, "frame_of", lambda *_: (_ for _ in ()).throw(ConnectionError("gone")))
        yield


def waits_with(shop: Shop, person: int) -> None:
    """A first batch that landed, and one that waits with an inserted person."""
    shop.land()
    shop.execute(f"INSERT INTO people VALUES ({person}, 'x', 1)")
    with unread():
        assert "gone" in (shop.land().failure or "")


def made_slots(shop: Shop) -> list[str]:
    followed = configured(shop.settings(), "people")
    assert isinstance(followed, cdc.Cdc)
    with followed.connected.session() as session:
        query = f"SELECT slot_name::text AS n FROM pg_replication_slots WHERE database = '{shop.database}'"
        return [name for (name,) in session.answer(Rows(query=query).select())]


def test_changes_of_other_relations_of_the_publication_are_no_batch(shop: Shop) -> None:
    shop.execute("DROP PUBLICATION customer360", "CREATE PUBLICATION customer360 FOR ALL TABLES")
    shop.land()
    for number in range(3):
        shop.execute(f"INSERT INTO other VALUES ({number})")
    shop.execute("TRUNCATE other", "INSERT INTO people VALUES (3, 'Cy', 1)")
    assert shop.land(batch_size=1).failure is None  # past all of them at once
    assert [row[1] for row in shop.told(1)] == ["3"]
    shop.execute("INSERT INTO other VALUES (9)")
    assert shop.land().nodes[0].state == "current"


@pytest.mark.parametrize("statement", ["", "TRUNCATE people"])
def test_a_batch_without_a_record_lands(shop: Shop, statement: str) -> None:
    keys: dict[str, Any] = {"snapshot": False, "on_truncate": "ignore"}
    assert shop.land(**keys).failure is None
    if statement:
        shop.execute(statement)
        assert shop.land(**keys).failure is None
    shop.execute("INSERT INTO people VALUES (7, 'Gil', 1)")
    assert shop.land(**keys).failure is None
    assert [row[1] for row in shop.told()] == ["7"]


def test_a_batch_that_waits_keeps_its_changes_while_corrections_come(shop: Shop) -> None:
    waits_with(shop, 3)
    shop.lake.put("_replays/people/x.json", b'{"ID": "2", "NAME": "Bob", "_replay_of": "people/1/0/2"}\n')
    ledger.open_batch(shop.lake, "people", [], inline="_replays/people/x.json")
    assert [shop.land().failure for _ in range(3)] == [None] * 3
    assert "3" in shop.rows()["ID"].to_list()


@pytest.mark.parametrize(("ignore", "expected"), [(True, ["4"]), (False, ["3", "4"])])
def test_a_batch_that_waited_and_was_dropped_keeps_nothing_waiting(
    shop: Shop, ignore: bool, expected: list[str]
) -> None:
    waits_with(shop, 3)
    drop(shop.lake, shop.settings(), "people", 2, ignore=ignore)
    shop.execute("INSERT INTO people VALUES (4, 'Di', 1)")
    assert [shop.land().failure for _ in range(3)] == [None] * 3
    assert [row[1] for row in shop.told(1)] == expected


def test_what_landed_is_given_once_and_is_not_dropped_to_be_read_again(shop: Shop) -> None:
    shop.land()
    shop.execute("INSERT INTO people VALUES (3, 'Cy', 1)")
    shop.land()
    settings, executor = shop.settings(), LocalExecutor(ExecutionSettings(executor="local"))
    with pytest.raises(SourceError, match="is given once; `customer360 batch drop people 2 --ignore`"):
        drop(shop.lake, settings, "people", 2)
    with pytest.raises(SourceError, match="people cannot be read again"):
        reland(shop.lake, settings, "people", executor, {})
    assert [row[1] for row in shop.told(1)] == ["3"]
    assert drop(shop.lake, settings, "people", 2, ignore=True) == 1


def test_a_slot_that_somebody_else_moved_on_is_said(shop: Shop) -> None:
    shop.land()
    shutil.copytree(shop.root / "lake", shop.root / "backup")
    shop.execute("INSERT INTO people VALUES (3, 'Cy', 1)", "INSERT INTO other VALUES (1)")
    shop.land()
    shop.execute("INSERT INTO other VALUES (2)")
    assert shop.land().nodes[0].state == "current"  # its own moves past other relations are known
    shutil.rmtree(shop.root / "lake")
    shutil.move(shop.root / "backup", shop.root / "lake")
    assert "before it was restored, took the changes" in (shop.land().failure or "")


def test_a_lake_of_before_slots_were_noted_goes_on(shop: Shop) -> None:
    shop.land()
    path = shop.lake.objects("_batches/people")[0]
    manifest = (shop.lake.get(path) or b"").replace(f', "slot": "s_{shop.database}"'.encode(), b"")
    shop.lake.put(path, manifest)
    shop.lake.delete(shop.lake.objects(slots.CONFIRMED))
    shop.execute("INSERT INTO people VALUES (3, 'Cy', 1)")
    assert shop.land().failure is None
    assert [row[1] for row in shop.told(1)] == ["3"]


def test_a_slot_is_of_one_source_of_one_lake(shop: Shop) -> None:
    made = configured(shop.settings(slot=""), "people")
    elsewhere = Lake(str(shop.root / "elsewhere"), {}, 4)
    names = [made.placed(*place, "").lane for place in (
        ("pe-ople", shop.lake), ("pe_ople", shop.lake), ("pe_ople", elsewhere), ("p" * 80, shop.lake)
    )]  # fmt: skip
    assert len(set(names)) == 4
    assert all(len(name.removeprefix("slot ")) <= 63 for name in names)
    shop.land(slot="")
    shop.execute("INSERT INTO people VALUES (3, 'Cy', 1)")
    shutil.move(shop.root / "lake", shop.root / "moved")
    (shop.root / "lake").symlink_to(shop.root / "moved")
    assert shop.land(slot="").failure is None
    assert [row[1] for row in shop.told(1)] == ["3"]


def test_a_rehearsal_makes_and_moves_no_slot(empty_graph: None, shop: Shop) -> None:
    request = RunRequest()
    found = preview(shop.settings(), request, rules={})
    assert (found.sources[0].rehearsed.landed, made_slots(shop)) == (2, [])
    shop.land()
    shop.execute("INSERT INTO other VALUES (1)")
    before = shop.lake.objects(slots.CONFIRMED)
    preview(shop.settings(), request, rules={})
    assert before and shop.lake.objects(slots.CONFIRMED) == before


def test_a_relation_in_capitals_is_found_by_its_name(shop: Shop) -> None:
    shop.execute(
        'CREATE TABLE "Guests" (id int PRIMARY KEY, name text, spent numeric)',
        "CREATE TABLE guests (x int)",
        'ALTER PUBLICATION customer360 ADD TABLE "Guests"',
        """INSERT INTO "Guests" VALUES (1, 'Ada')""",
    )
    assert shop.land(relation="public.Guests").failure is None
    shop.execute('UPDATE "Guests" SET id = 9')
    shop.land(relation="public.Guests")
    assert shop.told(1) == [("delete", "1", None, True), ("update", "9", "Ada", False)]


def test_a_replica_identity_that_does_not_tell_the_key_is_said(shop: Shop) -> None:
    shop.execute("ALTER TABLE people ALTER name SET NOT NULL", "CREATE UNIQUE INDEX u ON people (name)",
                 "ALTER TABLE people REPLICA IDENTITY USING INDEX u")  # fmt: skip
    assert "ALTER TABLE public.people REPLICA IDENTITY DEFAULT" in (shop.land().failure or "")
    shop.execute("ALTER TABLE people DROP CONSTRAINT people_pkey")
    assert shop.land().failure is None  # its key is that of the index
    shop.execute("UPDATE people SET name = 'Eve' WHERE id = 1")
    shop.land()
    assert [(row[0], row[2]) for row in shop.told(1)] == [("delete", "Ada"), ("update", "Eve")]


def test_a_relation_without_a_key_is_said_unless_all_is_told(shop: Shop) -> None:
    shop.execute("ALTER TABLE people DROP CONSTRAINT people_pkey")
    assert "has no primary key" in (shop.land().failure or "")
    shop.execute("ALTER TABLE people REPLICA IDENTITY FULL")
    shop.land()
    shop.execute("UPDATE people SET id = 9 WHERE id = 1")
    shop.land()
    assert [row[:2] for row in shop.told(1)] == [("delete", "1"), ("update", "9")]


def test_what_piles_up_is_said_while_a_batch_waits(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    waits_with(shop, 3)
    monkeypatch.setattr(slots, "PILED_UP", 0)
    monkeypatch.setattr(telemetry.log, "warning", lambda text, *_: said.append(text))
    with unread():
        shop.land()
    assert any("MiB of its log for slot" in text for text in said)


def test_a_null_before_is_no_value_that_was_not_sent(shop: Shop) -> None:
    shop.execute("ALTER TABLE people REPLICA IDENTITY FULL", "INSERT INTO people VALUES (3, NULL, NULL)")
    shop.land()
    shop.execute("UPDATE people SET name = 'Cy' WHERE id = 3")
    shop.land()
    assert shop.rows()["CHANGED"].to_list()[-1] == '["name"]'


def test_a_batch_is_dropped_to_be_read_again_only_where_the_source_goes_back(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cdc.Cdc, "rereads", "newest")  # as streams and APIs
    for number in range(2):
        shop.land()
        shop.execute(f"INSERT INTO people VALUES ({10 + number}, 'x', 1)")
    shop.land()
    with pytest.raises(SourceError, match="goes on where batch 3 ended; drop batch 3 and those before it first"):
        drop(shop.lake, shop.settings(), "people", 2)
    assert drop(shop.lake, shop.settings(), "people", 3) == 1
    assert drop(shop.lake, shop.settings(), "people", 2) == 1


def standing(shop: Shop, **keys: Any) -> list[tuple[Any, ...]]:
    """What stands of the people after all changes."""
    found = snapshots.of_table(shop.lake, shop.settings(**keys), TABLE)
    rows = current_records(tables.by_name(TABLE), shop.rows(), set(), snapshots=found).rows
    return rows.select("ID", "NAME").sort("ID").rows()


def drained(shop: Shop, **keys: Any) -> int:
    """Lands all that waits; the number of batches."""
    for count in range(20):
        done = shop.land(**keys)
        assert done.failure is None
        if done.nodes[0].state == "current":
            return count
    raise AssertionError("it never ends")


def test_a_relation_that_was_emptied_has_what_came_since(shop: Shop) -> None:
    keys = {"on_truncate": "delete"}
    drained(shop, **keys)
    shop.execute(
        "INSERT INTO people VALUES (3, 'Cy', 1)", "TRUNCATE people", "INSERT INTO people VALUES (4, 'Di', 1)",
        "BEGIN", "INSERT INTO people VALUES (5, 'Ed', 1)", "TRUNCATE people", "INSERT INTO people VALUES (6, 'Flo', 1)",
        "COMMIT",
        "INSERT INTO people VALUES (2, 'Bo', 7)",
    )  # fmt: skip
    assert drained(shop, **keys) == 3
    assert standing(shop, **keys) == [("2", "Bo"), ("6", "Flo")]
    shop.execute("DELETE FROM people WHERE id = 2", "TRUNCATE people")
    drained(shop, **keys)
    assert standing(shop, **keys) == []


def test_an_emptied_relation_may_be_a_record(shop: Shop) -> None:
    keys = {"on_truncate": "record"}
    drained(shop, **keys)
    shop.execute("TRUNCATE people")
    drained(shop, **keys)
    assert shop.told(1) == [("truncate", None, None, False)]


def test_rows_count_in_the_order_of_their_commits_whatever_their_version(shop: Shop) -> None:
    class Versioned(Table, table="bronze.t_versioned", key=("ID",), version="SPENT"):
        """One row per version of a person."""

        ID = String(nullable=True)
        NAME = String(nullable=True)
        SPENT = Float(nullable=True)

    keys = {"table": "bronze.t_versioned", "mapping": {"ID": "id", "NAME": "name", "SPENT": "spent"}}
    drained(shop, **keys)
    shop.execute("UPDATE people SET name = 'Zoe', spent = 0 WHERE id = 1")  # an older version, committed later
    drained(shop, **keys)
    rows = shop.lake.scan("bronze.t_versioned").collect()
    found = current_records(Versioned, rows, set()).rows
    assert found.sort("ID").select("ID", "NAME").rows() == [("1", "Zoe"), ("2", "Bo")]


def test_each_change_has_an_id_that_stays(shop: Shop) -> None:
    mapping = {"ID": "id", "NAME": "name", "SPENT": "spent", "KIND": '"change.kind"', "CHANGED": '"change.id"'}
    drained(shop, mapping=mapping)
    shop.execute("BEGIN", "INSERT INTO people VALUES (3, 'Cy', 1), (4, 'Di', 1)",
                 "UPDATE people SET id = 5 WHERE id = 4", "COMMIT")  # fmt: skip
    source = configured(shop.settings(mapping=mapping), "people")
    landing, known = landing_of(shop.settings()), ledger.batches(shop.lake, "people")
    (piece,) = source.discover(landing, known).inputs
    once, again = (source.read(landing, piece).frame["change.id"].to_list() for _ in range(2))
    assert once == again
    assert len(set(once)) == len(once) == 4
    assert all(len(each) <= 30 for each in once)


def test_a_slot_that_fell_too_far_behind_is_said_and_read_anew(shop: Shop) -> None:
    drained(shop)
    shop.execute("DELETE FROM people WHERE id = 1", "INSERT INTO people VALUES (3, 'Cy', 1)")
    slot = f"s_{shop.database}"
    shop.execute(f"SELECT pg_replication_slot_advance('{slot}', pg_current_wal_lsn())")  # its changes are nobody's
    assert "`on_lost: snapshot` reads the relation anew" in (shop.land().failure or "")
    shop.execute(f"SELECT pg_drop_replication_slot('{slot}')")
    assert "is gone: changes since" in (shop.land().failure or "")
    drained(shop, on_lost="snapshot")
    assert standing(shop) == [("2", "Bo"), ("3", "Cy")]  # who was deleted in between is gone
    shop.execute("UPDATE people SET name = 'Cyd' WHERE id = 3")
    drained(shop)
    assert standing(shop) == [("2", "Bo"), ("3", "Cyd")]


@pytest.mark.slow
def test_a_slot_that_the_database_gave_up_is_said_and_read_anew(shop: Shop) -> None:
    drained(shop)
    shop.server.execute("postgres", "ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'", "SELECT pg_reload_conf()")
    try:
        for number in range(8):
            shop.execute(f"INSERT INTO other SELECT generate_series({number}00000, {number}00000 + 20000)",
                         "SELECT pg_switch_wal()", "CHECKPOINT")  # fmt: skip
        failure = shop.land().failure or ""
        assert "is invalid: it fell further behind than max_slot_wal_keep_size (1MB) allows" in failure
        assert "`on_lost: snapshot`" in failure
    finally:
        shop.server.execute("postgres", "ALTER SYSTEM RESET max_slot_wal_keep_size", "SELECT pg_reload_conf()")
    shop.execute("DELETE FROM people WHERE id = 1")
    drained(shop, on_lost="snapshot")
    assert standing(shop) == [("2", "Bo")]
    shop.execute("INSERT INTO people VALUES (9, 'Ida', 1)")
    drained(shop)
    assert standing(shop) == [("2", "Bo"), ("9", "Ida")]


def test_how_far_a_source_is_behind_is_told(shop: Shop) -> None:
    drained(shop)
    source = configured(shop.settings(), "people")
    shop.execute("INSERT INTO people SELECT n, 'x', 1 FROM generate_series(100, 2000) n")
    lag = source.behind(ledger.batches(shop.lake, "people"))
    assert lag is not None and lag.unit == "bytes" and lag.amount > 10_000
    drained(shop)
    assert (source.behind(ledger.batches(shop.lake, "people")) or lag).amount < lag.amount
