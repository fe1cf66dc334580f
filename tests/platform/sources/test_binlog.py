"""Changes of MariaDB, in the order of their commits, each once."""

from __future__ import annotations

import logging
import socket
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from customer360.platform import ledger, tables
from customer360.platform.lake import Lake
from customer360.platform.ledger import Batch
from customer360.platform.run import snapshots
from customer360.platform.run.executor import LocalExecutor
from customer360.platform.run.ingest import SourceRun, ingest
from customer360.platform.run.records import current_records
from customer360.platform.settings import ExecutionSettings, RetrySettings, Settings
from customer360.platform.sources import binlog
from customer360.platform.sources.base import configured
from customer360.platform.sources.landing import landing_of
from customer360.platform.sources.protocols.changes import packets
from customer360.platform.sources.protocols.changes.binlog import Place
from customer360.platform.tables import String, Table

pytest.importorskip("pymysqlreplication", reason="mysql-replication is not installed")

TABLE = "bronze.t_people"
COLUMNS = {"ID": "id", "NAME": "name", "SPENT": "spent", "KIND": '"change.kind"', "CHANGED": '"change.changed"'}


@pytest.fixture(autouse=True)
def people(registries: None) -> None:
    class People(Table, table=TABLE, key=("ID",)):
        """One row per version of a person."""

        ID = String(nullable=True)
        NAME = String(nullable=True)
        SPENT = String(nullable=True)
        KIND = String(nullable=True)
        CHANGED = String(nullable=True)


class Shop:
    """A database whose people are followed into a lake."""

    def __init__(self, root: Path, server: Any):
        self.root, self.server, self.database = root, server, server.fresh()
        (root / "landing").mkdir()
        self.execute(
            "CREATE TABLE people (id int PRIMARY KEY, name text, spent decimal(8,2))",
            "CREATE TABLE other (id int PRIMARY KEY)",
            "INSERT INTO people VALUES (1, 'Ada', 1.5), (2, 'Bo', 2)",
        )

    def execute(self, *statements: str) -> None:
        self.server.execute(self.database, *statements)

    @property
    def lake(self) -> Lake:
        return Lake(str(self.root / "lake"), {}, 4)

    def settings(self, **keys: Any) -> Settings:
        source = {"kind": "binlog", "connection": "db", "table": TABLE, "system": "SHOP", "relation": "people",
                  "mapping": COLUMNS}  # fmt: skip
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
        (done,) = ingest(self.lake, self.settings(**keys), ["people"], executor, {})
        return done

    def drained(self, **keys: Any) -> int:
        """Lands all that waits; the number of batches."""
        for count in range(20):
            done = self.land(**keys)
            assert done.failure is None
            if done.nodes[0].state == "current":
                return count
        raise AssertionError("it never ends")

    def rows(self) -> pl.DataFrame:
        return self.lake.scan(TABLE).collect().sort("_seq", "_position")

    def told(self, after: int = 0) -> list[tuple[Any, ...]]:
        return self.rows().filter(pl.col("_seq") > after).select("KIND", "ID", "NAME", "_deleted").rows()

    def standing(self, **keys: Any) -> list[tuple[Any, ...]]:
        found = snapshots.of_table(self.lake, self.settings(**keys), TABLE)
        rows = current_records(tables.by_name(TABLE), self.rows(), set(), snapshots=found).rows
        return rows.select("ID", "NAME").sort("ID").rows()


@pytest.fixture
def shop(tmp_path: Path, maria: Any) -> Shop:
    return Shop(tmp_path, maria)


def test_rows_then_changes_in_their_order(shop: Shop) -> None:
    assert shop.drained() == 1
    assert [row[:3] for row in shop.told()] == [("snapshot", "1", "Ada"), ("snapshot", "2", "Bo")]
    shop.execute(
        "INSERT INTO people VALUES (3, 'Cy', NULL)", "UPDATE people SET name = 'Bob' WHERE id = 2",
        "DELETE FROM people WHERE id = 1", "INSERT INTO people VALUES (1, 'Ann', 7)",
        "UPDATE people SET id = 30 WHERE id = 3", "INSERT INTO other VALUES (1)",
        "BEGIN", "INSERT INTO people VALUES (9, 'No', 0)", "ROLLBACK",
    )  # fmt: skip
    assert shop.drained() == 1
    assert shop.told(1) == [
        ("insert", "3", "Cy", False), ("update", "2", "Bob", False), ("delete", "1", "Ada", True),
        ("insert", "1", "Ann", False), ("delete", "3", "Cy", True), ("update", "30", "Cy", False),
    ]  # fmt: skip
    assert shop.rows()["CHANGED"].drop_nulls().to_list() == ['["name"]', '["id"]']
    assert shop.rows()["SPENT"].to_list()[:2] == ["1.50", "2.00"]
    assert shop.standing() == [("1", "Ann"), ("2", "Bob"), ("30", "Cy")]


def test_values_are_those_that_a_read_of_the_relation_gives(shop: Shop) -> None:
    shop.execute(
        "CREATE TABLE kinds (id bigint unsigned PRIMARY KEY, e enum('a','b'), s set('x','y','z'), b bit(9), j json, "
        "t timestamp(3) NULL, d datetime, o date, h time, c varchar(20) CHARACTER SET latin1, v varbinary(4), "
        "f double, y year, m mediumint unsigned)"
    )
    names = ["e", "s", "b", "j", "t", "d", "o", "h", "c", "v", "f", "y", "m"]
    values = ("18446744073709551615, 'b', 'z,x', 5, '{\"a\": [1, \"ü\"]}', '2024-02-03 04:05:06.789', "
              "'2024-02-03 04:05:06', '2024-02-03', '01:02:03', 'Zoë', x'ff00', 0.1, 2024, 16777215")  # fmt: skip
    mapping = {
        "ID": "id",
        "NAME": " || '|' || ".join(f"CAST({name} AS VARCHAR)" for name in names),
        "KIND": '"change.kind"',
    }
    shop.execute(f"INSERT INTO kinds VALUES ({values})")
    keys = {"relation": f"{shop.database}.kinds", "mapping": mapping}
    shop.drained(**keys)
    shop.execute("DELETE FROM kinds", f"INSERT INTO kinds VALUES ({values})")
    shop.drained(**keys)
    read, _, inserted = shop.rows().select("ID", "NAME").rows()
    assert inserted[0] == read[0] == "18446744073709551615"
    told = zip(read[1].split("|"), inserted[1].split("|"), names, strict=True)
    assert [(one, other) for one, other, name in told if one != other and name != "t"] == []
    assert "2024-02-03 04:05:06.789000+00:00" in inserted[1] and "2024-02-03 04:05:06.789+00" in read[1]


OF_ITS_OWN = {  # types whose bytes in the log are not those of the value, and values that show it
    "u": ("uuid", "'01234567-89ab-1def-8123-456789abcd00'"), "i6": ("inet6", "'2001:db8::'"),
    "i4": ("inet4", "'10.0.0.0'"), "b": ("binary(16)", "x'0102'"), "e": ("enum('a','Kö')", "'Kö'"),
    "s": ("set('ü','b')", "'ü,b'"), "n": ("set('a')", "''"), "z": ("datetime NULL", "'0000-00-00'"),
    "d": ("date NULL", "'2026-00-00'"), "l": ("varchar(9) CHARACTER SET latin1", "x'81e9'"),
    "w": ("varchar(300) CHARACTER SET utf16", "'ü😀'"), "t": ("time(2)", "'-00:00:00.10'"), "f": ("float", "0.1"),
    "x": ("decimal(30,0)", "-999999999999999999999999999999"), "y": ("decimal(5,5)", "-0.5"), "k": ("year", "0"),
}  # fmt: skip


def test_types_that_the_log_writes_in_its_own_way_are_what_a_read_gives(shop: Shop) -> None:
    shop.execute(
        "SET sql_mode = ''",
        f"CREATE TABLE kinds (id int PRIMARY KEY, {', '.join(f'{n} {kind}' for n, (kind, _) in OF_ITS_OWN.items())}) "
        "CHARACTER SET latin1",
        f"INSERT INTO kinds VALUES (1, {', '.join(value for _, value in OF_ITS_OWN.values())})",
    )
    source = configured(shop.settings(relation="kinds"), "people")
    landing = landing_of(shop.settings())
    first = source.discover(landing, [])
    read = source.read(landing, first.inputs[0]).frame
    shop.execute("UPDATE kinds SET id = 2")
    second = source.discover(landing, [Batch("people", 1, "", first.inputs, cursor=first.cursor)])
    told = source.read(landing, second.inputs[0]).frame
    assert [(n, read[n][0], told[n][1]) for n in OF_ITS_OWN if str(read[n][0]) != told[n][1]] == []


def test_columns_that_the_log_does_not_tell_are_said(shop: Shop) -> None:
    shop.execute("CREATE TABLE packed (id int PRIMARY KEY, name varchar(50) COMPRESSED)")
    assert "COMPRESSED, which its log does not tell: name" in (shop.land(relation="packed").failure or "")


def test_a_log_that_is_damaged_is_refused_and_not_read_as_something_else(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.drained()
    shop.execute("INSERT INTO people VALUES (3, 'Cy', 1)")
    real = packets.Checked._check

    def harmed(self: Any, data: bytes) -> None:
        real(self, data.replace(b"Cy", b"Cx"))

    with monkeypatch.context() as patched:
        patched.setattr(packets.Checked, "_check", harmed)
        failure = shop.land().failure or ""
    assert "is damaged: it is another than its checksum tells; `on_lost: snapshot`" in failure
    shop.drained()
    assert shop.told(1) == [("insert", "3", "Cy", False)]


def test_a_table_that_is_altered_in_between_keeps_its_columns(shop: Shop) -> None:
    shop.drained()
    shop.execute(
        "INSERT INTO people VALUES (3, 'Cy', 1)", "ALTER TABLE people ADD COLUMN nick text FIRST",
        "INSERT INTO people (id, name, nick) VALUES (4, 'Di', 'D')", "FLUSH BINARY LOGS",
        "ALTER TABLE people DROP COLUMN spent", "INSERT INTO people (id, name) VALUES (5, 'Ed')",
    )  # fmt: skip
    assert shop.drained(needs=["id", "name"]) == 1
    assert [row[1:3] for row in shop.told(1)] == [("3", "Cy"), ("4", "Di"), ("5", "Ed")]
    assert shop.rows()["SPENT"].to_list()[2:] == ["1.00", None, None]


def test_a_backlog_comes_in_whole_transactions_and_a_crash_repeats_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.drained()
    for number in range(10, 20):
        shop.execute("BEGIN", *(f"INSERT INTO people VALUES ({number}{n}, 'x', 1)" for n in range(3)), "COMMIT")
    source = configured(shop.settings(batch_size=6), "people")
    with monkeypatch.context() as fails:
        fails.setattr(type(source), "pieces", lambda *_: (_ for _ in ()).throw(ConnectionError("gone")))
        assert "gone" in (shop.land(batch_size=6).failure or "")
    assert shop.drained(batch_size=6) >= 4
    assert len({row[1] for row in shop.told(1)}) == len(shop.told(1)) == 30


def test_other_tables_move_the_source_on_with_the_files_of_the_log(shop: Shop) -> None:
    shop.drained()
    shop.execute("INSERT INTO other VALUES (1)")
    assert shop.drained() == 0
    shop.execute("INSERT INTO other VALUES (2)", "FLUSH BINARY LOGS", "INSERT INTO other VALUES (3)")
    assert shop.drained() == 1
    last = Place.read(ledger.batches(shop.lake, "people")[-1].cursor["place"])
    shop.execute(f"PURGE BINARY LOGS TO '{last.file}'", "INSERT INTO people VALUES (5, 'Ed', 1)")
    shop.drained()
    assert [row[1] for row in shop.told(1)] == ["5"]


def test_a_log_that_was_purged_is_said_and_the_relation_read_anew(shop: Shop) -> None:
    shop.drained()
    shop.execute("DELETE FROM people WHERE id = 1", "INSERT INTO people VALUES (3, 'Cy', 1)", "FLUSH BINARY LOGS")
    ((last, *_),) = shop.server.asked("SHOW MASTER STATUS")
    while len(shop.server.asked("SHOW BINARY LOGS")) > 1:  # who read it may still hold it for a moment
        shop.execute(f"PURGE BINARY LOGS TO '{last}'")
    failure = shop.land().failure or ""
    assert "is gone (binlog_expire_logs_seconds, PURGE): changes since" in failure and "on_lost: snapshot" in failure
    shop.drained(on_lost="snapshot")
    assert shop.standing() == [("2", "Bo"), ("3", "Cy")]


def test_an_emptied_relation_is_said_or_empty(shop: Shop) -> None:
    shop.drained()
    shop.execute("INSERT INTO people VALUES (3, 'Cy', 1)", f"TRUNCATE TABLE `{shop.database}`.`people`",
                 "INSERT INTO people VALUES (4, 'Di', 1)", "TRUNCATE other")  # fmt: skip
    source = configured(shop.settings(), "people")
    assert source.behind(ledger.batches(shop.lake, "people")).amount > 100  # type: ignore[union-attr]
    assert shop.drained(on_truncate="delete") == 2
    assert shop.standing() == [("4", "Di")]
    shop.execute("TRUNCATE people")
    assert "was emptied (TRUNCATE)" in (shop.land().failure or "")
    assert shop.drained(on_truncate="record", mapping={**COLUMNS, "CHANGED": '"change.at"'}) == 1
    assert shop.told()[-1] == ("truncate", None, None, False)
    at = datetime.fromisoformat(shop.rows()["CHANGED"][-1])
    assert abs(datetime.now(UTC) - at) < timedelta(minutes=1)


def test_a_server_that_does_not_write_what_is_needed_is_told_how(shop: Shop) -> None:
    shop.execute("SET GLOBAL binlog_row_metadata = 'MINIMAL'")
    try:
        assert "SET GLOBAL binlog_row_metadata = FULL" in (shop.land().failure or "")
    finally:
        shop.execute("SET GLOBAL binlog_row_metadata = 'FULL'")
    shop.execute("ALTER TABLE people DROP PRIMARY KEY")
    assert "ALTER TABLE people ADD PRIMARY KEY" in (shop.land().failure or "")


def test_a_connection_that_drops_within_a_statement_loses_no_row(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    from pymysqlreplication import BinLogStreamReader

    shop.drained()
    shop.execute(f"INSERT INTO people SELECT seq, REPEAT('x', 200), 1 FROM seq_10_to_{10 + 3999}")
    fetch, calls = BinLogStreamReader.fetchone, 0

    def drops(self: Any) -> Any:
        nonlocal calls
        calls += 1
        connection = getattr(self, "_stream_connection", None)
        if calls % 15 == 10 and connection and connection._sock:  # within the rows of the statement, more than once
            connection._sock.shutdown(socket.SHUT_RDWR)
        return fetch(self)

    monkeypatch.setattr(BinLogStreamReader, "fetchone", drops)
    shop.drained()
    assert calls > 20
    assert sorted(int(row[1]) for row in shop.told(1)) == list(range(10, 4010))


def test_a_compressed_log_is_refused_and_not_read_as_nothing(shop: Shop) -> None:
    shop.drained()
    shop.execute("SET GLOBAL log_bin_compress = ON")
    try:
        assert "SET GLOBAL log_bin_compress = OFF" in (shop.land().failure or "")
        shop.execute("INSERT INTO people VALUES (3, REPEAT('x', 1000), 1)")
    finally:
        shop.execute("SET GLOBAL log_bin_compress = OFF")
    failure = shop.land().failure or ""
    assert "is compressed" in failure and "on_lost: snapshot" in failure
    shop.drained(on_lost="snapshot")
    assert [row[0] for row in shop.standing()] == ["1", "2", "3"]


def test_distributed_transactions_that_may_be_rolled_back_do_not_land(shop: Shop) -> None:
    shop.drained()
    shop.execute("XA START 'a'", "INSERT INTO other VALUES (7)", "XA END 'a'", "XA PREPARE 'a'", "XA COMMIT 'a'",
                 "XA START 'o'", "INSERT INTO people VALUES (3, 'Cy', 1)", "XA END 'o'", "XA COMMIT 'o' ONE PHASE",
                 )  # fmt: skip
    shop.drained()
    assert [row[1] for row in shop.told(1)] == ["3"]
    shop.execute("XA START 'b'", "INSERT INTO people VALUES (9, 'No', 1)", "XA END 'b'", "XA PREPARE 'b'",
                 "XA ROLLBACK 'b'")  # fmt: skip
    assert "distributed transaction (XA PREPARE)" in (shop.land().failure or "")
    shop.drained(on_lost="snapshot")
    assert [row[0] for row in shop.standing()] == ["1", "2", "3"]


def test_a_log_begun_anew_is_seen_though_it_is_longer_than_before(shop: Shop) -> None:
    shop.execute("RESET MASTER")
    shop.drained()
    time.sleep(1.1)  # a file says the second in which it began
    shop.execute("DELETE FROM people WHERE id = 1", "RESET MASTER",
                 *(f"INSERT INTO people VALUES ({n}, REPEAT('x', 200), 1)" for n in range(10, 30)))  # fmt: skip
    assert "is another file than the one that was read" in (shop.land().failure or "")
    shop.drained(on_lost="snapshot")
    assert [row[0] for row in shop.standing()][:2] == ["10", "11"]


def test_a_transaction_is_read_in_pieces(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.drained()
    shop.execute("BEGIN", *(f"INSERT INTO people VALUES ({n}, 'x', 1)" for n in range(10, 16)), "COMMIT")
    monkeypatch.setattr(binlog, "PIECE", 2)
    source, known = configured(shop.settings(), "people"), ledger.batches(shop.lake, "people")
    landing = None  # of files
    (piece,) = source.discover(landing, known).inputs  # type: ignore[arg-type]
    found = list(source.pieces(landing, piece))  # type: ignore[arg-type]
    assert [each.frame.height for each in found] == [2, 2, 2]
    assert pl.concat(each.frame for each in found)["_position"].to_list() == [1, 2, 3, 4, 5, 6]


def test_rows_that_foreign_keys_delete_are_warned_of(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    shop.execute("CREATE TABLE cards (id int PRIMARY KEY, person int, CONSTRAINT of_person FOREIGN KEY (person) "
                 "REFERENCES people (id) ON DELETE CASCADE)")  # fmt: skip
    with caplog.at_level(logging.WARNING):
        shop.drained(relation="cards", mapping={"ID": "id", "NAME": "person"})
        shop.land()
    (said,) = [each.message for each in caplog.records if "foreign keys" in each.message]
    assert "cards" in said and "of_person" in said


def test_places_follow_each_other() -> None:
    places = [Place.read(text) for text in ("bin.000009:900", "bin.000010:4", "bin.000010:100", "bin.1000000:4")]
    assert sorted(places, reverse=True)[::-1] == places
    assert str(places[0]) == "bin.000009:900"
