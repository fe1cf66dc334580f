"""A database as a source: every strategy lands every row, once in effect, whatever happens between look and read."""

from __future__ import annotations

import datetime
import json
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import dataframely as dy
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import customer360.platform.run as runs
from customer360.platform import lake as lakes
from customer360.platform import ledger
from customer360.platform.connections.rowwise import RowSession
from customer360.platform.errors import RunError, SourceError
from customer360.platform.graph import builds
from customer360.platform.ledger import Batch, NodeRun
from customer360.platform.run import RunRequest
from customer360.platform.run.rereading import drop
from customer360.platform.settings import Settings
from customer360.platform.sources.base import configured
from customer360.platform.sources.database import DatabaseSource
from customer360.platform.sources.windows import Span, before, read, span_of_time, written
from customer360.platform.tables import Integer, String, Table, Timestamp

COMMON = {"table": "bronze.t_ticks", "system": "LAB", "kind": "database", "connection": "db"}
MAPPING = {"N": "n", "NAME": "name", "AT": "at", "PRICE": "price"}
BY_NUMBER = {"strategy": "incremental", "column": "n", "lag": 3}
WEEK = datetime.timedelta(weeks=1)
NOON = datetime.datetime(2026, 3, 29, 12, tzinfo=datetime.UTC)


class Lab:
    """A lake with one source that reads the table ``ticks`` of a database."""

    def __init__(self, root: Path, connection: dict[str, Any], execute: Callable[..., None]):
        self.root, self.connection, self.execute = root, connection, execute
        self.more: dict[str, Any] = {}
        (root / "landing").mkdir()

    def settings(self, **source: Any) -> Settings:
        ticks = {**COMMON, "mapping": MAPPING, "relation": "ticks"} | source
        execution = {"executor": "local", "retry": {"attempts": 1, "wait_seconds": 0}}
        return Settings.model_validate({
            "landing": str(self.root / "landing"), "lake": {"root": str(self.root / "lake"), "buckets": 4},
            "execution": execution, "connections": {"db": self.connection},
            "sources": {"ticks": {k: v for k, v in ticks.items() if v is not None}, **self.more},
        })  # fmt: skip

    def land(self, **source: Any) -> NodeRun:
        record = runs.run(self.settings(**source), RunRequest(), rules={})
        return next(node for node in reversed(record.nodes) if node.node == "source ticks")

    @property
    def lake(self) -> Any:
        return runs.lake_of(self.settings(**BY_NUMBER))

    def rows(self) -> pl.DataFrame:
        return self.lake.scan("bronze.t_ticks").select("N", "NAME", "AT", "PRICE", "_seq", "_file").collect()

    def standing(self) -> dict[int, str]:
        """The newest name of each number, as rows were delivered."""
        return dict(self.rows().sort("_seq", "_file", maintain_order=True).select("N", "NAME").rows())

    def batches(self) -> list[Batch]:
        return ledger.batches(self.lake, "ticks")


def declare() -> None:
    class Ticks(Table, table="bronze.t_ticks", key=("N",)):
        """One row per number."""

        N = Integer()
        NAME = String(nullable=True)
        AT = Timestamp(nullable=True)
        PRICE = dy.Decimal(12, 3, nullable=True)

    class Sums(Table, table="gold.t_sums"):
        """One row per lake."""

        total = Integer()

    @builds(Sums)
    def t_sums(bronze_t_ticks: pl.LazyFrame) -> pl.LazyFrame:
        return bronze_t_ticks.select(total=pl.col("N").sum())


@pytest.fixture
def lab(tmp_path: Path, empty_graph: None) -> Lab:
    """On SQLite, which needs no server."""
    declare()
    file = tmp_path / "ticks.db"

    def execute(*statements: str) -> None:
        with closing(sqlite3.connect(file)) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    execute("CREATE TABLE ticks (n integer, name text, at text, price numeric)")
    return Lab(tmp_path, {"kind": "sqlalchemy", "url": f"sqlite:///{file}"}, execute)


@pytest.fixture
def served(tmp_path: Path, empty_graph: None, postgres: Any) -> Lab:
    """On PostgreSQL."""
    declare()
    database = postgres.fresh()
    postgres.execute(
        database, "CREATE TABLE ticks (n bigint PRIMARY KEY, name text, at timestamptz, price numeric(12, 3))"
    )
    return Lab(tmp_path, postgres.connection(database), lambda *some: postgres.execute(database, *some))


def insert(first: int, last: int) -> str:
    rows = (f"({n}, 'tick {n}', '2026-01-01 {n // 60:02}:{n % 60:02}:00', {n}.125)" for n in range(first, last + 1))
    return f"INSERT INTO ticks VALUES {', '.join(rows)}"


# ---- settings


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"relation": ""}, "a relation or a query"),
        ({"query": "SELECT 1"}, "a relation or a query"),
        ({"strategy": "incremental"}, "needs the column"),
        ({"column": "n"}, "has no column"),
        ({"lag": "soon", "strategy": "incremental", "column": "n"}, "'soon' is no span of time; write 90s, 10 minutes"),
        ({"start": 5}, "belong to strategy: incremental"),
        ({**BY_NUMBER, "mode": "snapshot"}, "belong to strategy: full"),
        ({**BY_NUMBER, "partition": {"by": "n"}}, "belong to strategy: full"),
        ({"batch_size": 5}, "belong to strategy: micro_batch"),
        ({"mode": "snapshot", "partition": {"by": "n"}}, "needs parts: true"),
        ({"password": "x"}, "Extra inputs"),
    ],
)
def test_keys_that_do_not_fit_are_refused(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        DatabaseSource(**{**COMMON, "relation": "t"} | keys)


def test_a_micro_batch_takes_what_it_does_not_say_from_the_settings(lab: Lab) -> None:
    settings = lab.settings(strategy="micro_batch", column="n", batch_size=7)
    sizes = {"system": "LAB", "table": "bronze.t_ticks", "batch_size": 99, "parallel_partitions": 3, "enabled": False}
    found = configured(Settings.model_validate(settings.model_dump() | {"micro_batches": [sizes]}), "ticks")
    assert isinstance(found, DatabaseSource)
    assert (found.batch_size, found.parallel_partitions, found.interval_minutes, found.enabled) == (7, 3, 15, False)


@settings(max_examples=30)
@given(st.one_of(st.integers(), st.text(), st.datetimes(), st.datetimes(timezones=st.just(datetime.UTC)), st.dates(),
                 st.decimals(allow_nan=False)))  # fmt: skip
def test_bounds_come_back_from_a_manifest_as_they_were(value: Any) -> None:
    assert read(json.loads(json.dumps(written(value)))) == value
    assert Span.of(json.loads(json.dumps(Span(value, None).written()))) == Span(value, None)


def test_a_lag_is_of_the_kind_of_its_column() -> None:
    assert before(NOON, None, "c") == NOON - datetime.timedelta(minutes=10)
    assert before(NOON, "90 s", "c") == NOON - datetime.timedelta(seconds=90)
    assert before(NOON.date(), "90 minutes", "c") == datetime.date(2026, 3, 28), "a day is the least of dates"
    assert (before(5000, None, "c"), before(5000, 7, "c"), before("text", None, "c")) == (4000, 4993, "text")
    assert [span_of_time(text).total_seconds() for text in ("2h", "1 day", "10minutes")] == [7200, 86400, 600]
    for value, lag in ((NOON, 5), (5, "1 day"), ("text", "1 day")):
        with pytest.raises(SourceError, match="lag"):
            before(value, lag, "c")


# ---- full


def test_a_full_load_lands_all_rows_when_they_changed(lab: Lab) -> None:
    lab.execute(insert(1, 9))
    assert lab.land().rows == 9
    assert lab.land().state == "current"
    lab.execute("UPDATE ticks SET name = 'other' WHERE n = 3", "DELETE FROM ticks WHERE n = 9")
    assert lab.land().rows == 8
    assert lab.standing() == {n: "other" if n == 3 else f"tick {n}" for n in range(1, 10)}, "what is gone is kept"
    lab.execute("DELETE FROM ticks")
    assert lab.land().rows == 0
    assert lab.land().state == "current"


def test_a_first_load_asks_for_one_digest_and_waits_to_be_read(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.execute(insert(1, 9))
    asked, real = list[str](), RowSession.digest

    def digest(self: Any, *about: Any) -> str:
        asked.append(real(self, *about))
        return asked[-1]

    monkeypatch.setattr(RowSession, "digest", digest)
    with monkeypatch.context() as fails:
        fails.setattr(DatabaseSource, "pieces", lambda *_: (_ for _ in ()).throw(ConnectionError("gone")))
        for _ in range(2):
            with pytest.raises(RunError, match="gone"):
                lab.land()
    assert asked == [] and len(lab.batches()) == 1
    assert lab.land().rows == 9 and len(asked) == 1
    assert lab.land().state == "current" and len(asked) == 2 and len(lab.batches()) == 1


def test_ranges_hold_each_row_once_also_those_without_a_key(lab: Lab) -> None:
    lab.execute(insert(1, 50), "INSERT INTO ticks (name) VALUES ('keyless')", insert(51, 51), insert(51, 51))
    source = {"partition": {"by": "n", "parts": 4}, "mapping": MAPPING | {"N": "coalesce(n, -1)"}}
    assert lab.land(**source).facts["inputs"] == 4
    assert lab.rows()["N"].sort().to_list() == [-1, *range(1, 52), 51]
    (batch,) = lab.batches()
    assert [list(piece.detail) for piece in batch.inputs] == [
        ["upto", "nulls", "types"], ["after", "upto"], ["after", "upto"], ["after"]
    ]  # fmt: skip
    lab.execute(insert(60, 61))  # after the look, in the last range
    pieces = [configured(lab.settings(**source), "ticks").read(None, piece).count for piece in batch.inputs]  # type: ignore[arg-type]
    assert sum(pieces) == 55


def test_what_is_gone_from_a_snapshot_is_told_to_the_tables(lab: Lab) -> None:
    lab.execute(insert(1, 20))
    source = {"mode": "snapshot", "parts": True, "partition": {"by": "n", "parts": 3}}
    lab.land(**source)
    lab.execute("DELETE FROM ticks WHERE n = 4")
    lab.land(**source)
    assert {i.snapshot for i in ledger.outcomes(lab.lake, "ticks")[2].inputs} == {"stands"}
    lab.execute("DELETE FROM ticks WHERE n > 2")
    lab.land(**source)
    assert "would delete 17 of 19, more than" in ledger.outcomes(lab.lake, "ticks")[3].inputs[0].snapshot


def test_a_full_load_is_due_once_a_day(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.execute(insert(1, 2))
    assert lab.land(load_frequency="daily").rows == 2
    lab.execute(insert(3, 3))
    assert lab.land(load_frequency="daily").state == "current"
    assert lab.land(enabled=False).state == "current"
    assert lab.land().rows == 3


# ---- incremental


def test_the_cursor_goes_on_and_nothing_new_lands_nothing(lab: Lab) -> None:
    lab.execute(insert(1, 10))
    assert lab.land(**BY_NUMBER).rows == 10
    assert lab.land(**BY_NUMBER).state == "current"
    lab.execute(insert(11, 12))
    assert lab.land(**BY_NUMBER).rows == 5, "what is new, and the lag before it"
    assert [b.cursor["upto"] for b in lab.batches()] == [10, 12]
    assert list(lab.batches()[1].inputs[0].detail) == ["after", "upto", "low", "types"]


def test_a_row_that_appears_late_is_picked_up_within_the_lag(lab: Lab) -> None:
    lab.execute(insert(1, 7), insert(9, 10))
    lab.land(**BY_NUMBER)
    lab.execute(insert(8, 8))
    assert lab.land(**BY_NUMBER).rows == 3
    assert lab.land(**BY_NUMBER).state == "current"
    assert set(lab.standing()) == set(range(1, 11))


def test_rows_without_a_value_land_and_again_when_they_change(lab: Lab) -> None:
    keyless = {**BY_NUMBER, "mapping": MAPPING | {"N": "coalesce(n, -1)"}}
    lab.execute(insert(1, 3), "INSERT INTO ticks (name) VALUES ('a')")
    assert lab.land(**keyless).rows == 4
    assert lab.land(**keyless).state == "current"
    lab.execute("UPDATE ticks SET name = 'b' WHERE n IS NULL")
    assert lab.land(**keyless).rows == 1
    assert lab.standing()[-1] == "b"


def test_rows_that_are_gone_move_the_cursor_once(lab: Lab) -> None:
    lab.execute(insert(1, 10))
    lab.land(**BY_NUMBER)
    lab.execute("DELETE FROM ticks WHERE n > 5")
    lab.land(**BY_NUMBER)
    assert lab.land(**BY_NUMBER).state == "current"
    lab.execute("DELETE FROM ticks")
    lab.land(**BY_NUMBER)
    assert lab.land(**BY_NUMBER).state == "current"
    lab.execute(insert(6, 6), insert(20, 20))
    lab.land(**BY_NUMBER)
    assert {6, 20} <= set(lab.standing())


@pytest.mark.parametrize("seq", [1, 2, 3])
def test_a_batch_that_was_taken_back_is_read_again(lab: Lab, seq: int) -> None:
    for first in (1, 11, 21):
        lab.execute(insert(first, first + 9))
        lab.land(**BY_NUMBER)
    drop(lab.lake, lab.settings(**BY_NUMBER), "ticks", seq)
    assert lab.rows().height < 36
    for _ in range(2):
        lab.land(**BY_NUMBER)
    assert sorted(lab.standing()) == list(range(1, 31))
    assert lab.land(**BY_NUMBER).state == "current"


def test_a_window_leaves_the_rest_alone(lab: Lab) -> None:
    lab.execute(insert(1, 20))
    assert lab.land(**BY_NUMBER, start=5, end=8).rows == 3
    assert sorted(lab.standing()) == [5, 6, 7]
    assert lab.land(**BY_NUMBER, start=5, end=8).state == "current"
    lab.land(**BY_NUMBER, start=5)
    assert sorted(lab.standing()) == list(range(5, 21))


def test_a_micro_batch_is_cut_by_size_and_a_run_drains_the_backlog(lab: Lab) -> None:
    micro = {"strategy": "micro_batch", "column": "n", "lag": 0, "batch_size": 10}
    lab.execute(insert(1, 34), *[insert(20, 20)] * 30)
    node = lab.land(**micro)
    assert (node.rows, node.facts["inputs"]) == (64, 4)
    assert lab.rows()["_file"].unique().sort().to_list() == [f"ticks/{n:05}" for n in range(1, 5)]
    heights = lab.rows().group_by("_file").len().sort("_file")["len"].to_list()
    assert heights == [10, 40, 10, 4], "equal values are never parted"
    lab.execute(insert(35, 64))
    assert lab.land(**micro, parallel_partitions=5).facts["inputs"] == 5


def test_a_time_with_its_zone_is_a_cursor_and_late_rows_are_found(served: Lab) -> None:
    by_time = {"strategy": "incremental", "column": "at", "lag": "10 minutes"}
    served.execute(insert(1, 30))
    assert served.land(**by_time).rows == 30
    assert served.land(**by_time).state == "current"
    late = "'2026-01-01 02:25+02'"  # in the lag
    served.execute(f"INSERT INTO ticks VALUES (99, 'late', {late}, 1.5), (98, 'never', 'infinity', null)")
    assert served.land(**by_time).state == "built"
    assert served.land(**by_time).state == "current"
    assert set(served.standing()) == {*range(1, 31), 98, 99}
    assert served.batches()[0].cursor["upto"] == {"timestamp": "2026-01-01 00:30:00+00:00"}
    assert served.rows().filter(pl.col("N") == 3)["PRICE"].to_list()[0].as_tuple().exponent == -3


def test_a_query_is_read_as_a_relation(served: Lab) -> None:
    served.execute(insert(1, 5))
    query = "SELECT n * 2 AS n, name, at, price FROM ticks WHERE name LIKE '%ick%' AND at > '2025-01-01 00:00:00';"
    served.land(relation=None, query=query, strategy="micro_batch", column="at", batch_size=2)
    assert sorted(served.standing()) == [2, 4, 6, 8, 10]


BY_TIME = {"strategy": "incremental", "column": "at", "lag": "10 minutes"}


@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "date"])
def test_a_time_to_come_lands_and_is_no_end(served: Lab, kind: str) -> None:
    served.execute(f"ALTER TABLE ticks ALTER COLUMN at TYPE {kind}", insert(1, 3))
    served.execute("INSERT INTO ticks VALUES (90, 'typo', '2999-01-01', 1), (91, 'far', '20000-01-01', 1)")
    assert served.land(**BY_TIME).rows == 5
    assert served.land(**BY_TIME).state == "current"
    served.execute("INSERT INTO ticks VALUES (4, 'tick 4', '2026-01-05', 1)")
    assert served.land(**BY_TIME).rows == 4, "with those of the lag"
    served.execute("UPDATE ticks SET name = 'mended' WHERE n = 90")
    assert served.land(**BY_TIME).rows == 2
    assert served.standing() == {1: "tick 1", 2: "tick 2", 3: "tick 3", 4: "tick 4", 90: "mended", 91: "far"}
    served.execute("DELETE FROM ticks WHERE n > 89")
    assert served.land(**BY_TIME).state == "current"


@pytest.mark.parametrize("kind", ["datetime(3)", "timestamp(3) NULL"])
def test_a_time_to_come_is_no_end_on_mariadb(tmp_path: Path, empty_graph: None, maria: Any, kind: str) -> None:
    declare()
    database = maria.fresh()
    maria.execute(database, f"CREATE TABLE ticks (n bigint, name text, at {kind}, price numeric(12, 3))")
    shop = Lab(tmp_path, maria.connection(database), lambda *some: maria.execute(database, *some))
    shop.execute(insert(1, 3), "INSERT INTO ticks VALUES (90, 'typo', '2037-12-31 00:00:00', 1)")
    assert shop.land(**BY_TIME).rows == 4
    shop.execute("INSERT INTO ticks VALUES (4, 'tick 4', '2026-01-05 00:00:00', 1)")
    shop.land(**BY_TIME)
    assert set(shop.standing()) == {1, 2, 3, 4, 90}
    assert shop.land(**BY_TIME).state == "current"


def test_a_lake_whose_cursor_lies_in_the_future_goes_on_from_the_one_before(served: Lab) -> None:
    served.execute(insert(1, 3))
    served.land(**BY_TIME)
    served.execute("INSERT INTO ticks VALUES (90, 'typo', '2999-01-01', 1)")
    with pytest.MonkeyPatch.context() as before:  # as the code of before took it
        before.setattr("customer360.platform.sources.database.latest", lambda *_: None)
        served.land(**BY_TIME)
        served.execute("INSERT INTO ticks VALUES (4, 'lost', '2026-01-05', 1)")
        assert served.land(**BY_TIME).state == "current"
    served.land(**BY_TIME)
    assert set(served.standing()) == {1, 2, 3, 4, 90}
    assert served.land(**BY_TIME).state == "current"


@pytest.mark.parametrize("kind", ["numeric", "real", "double precision"])
def test_what_is_no_number_is_no_end(served: Lab, kind: str) -> None:
    by_price = {"strategy": "incremental", "column": "price", "lag": 0}
    served.execute(f"ALTER TABLE ticks ALTER COLUMN price TYPE {kind}", insert(1, 3))
    served.execute("INSERT INTO ticks VALUES (90, 'none', null, 'NaN'), (91, 'all', null, 'Infinity')")
    assert served.land(**by_price).rows == 5
    served.execute(insert(4, 4))
    assert served.land(**by_price).rows == 1
    assert served.land(**by_price).state == "current"
    assert set(served.standing()) == {1, 2, 3, 4, 90, 91}


NO_BYTES = "the column 'at' holds bytes: take one of times, numbers or text"


def test_bytes_are_no_cursor(lab: Lab) -> None:
    lab.execute("INSERT INTO ticks VALUES (1, 'a', x'01', 1)")
    with pytest.raises(RunError, match=NO_BYTES):
        lab.land(strategy="incremental", column="at")
    with pytest.raises(RunError, match="holds bytes: take one of"):
        lab.execute(insert(2, 2), "UPDATE ticks SET at = x'02'")
        lab.land(partition={"by": "at", "parts": 2})


def test_bytes_of_postgresql_are_no_cursor(served: Lab) -> None:
    served.execute("ALTER TABLE ticks DROP COLUMN at, ADD COLUMN at bytea")
    with pytest.raises(RunError, match=NO_BYTES):
        served.land(strategy="incremental", column="at")


@pytest.mark.parametrize("source", [{}, {"partition": {"by": "n", "parts": 3}}, BY_NUMBER])
def test_a_value_that_changed_there_and_back_around_its_read_is_read_again(lab: Lab, source: dict[str, Any]) -> None:
    def change(point: str) -> None:
        if point == "after manifest ticks/1":
            lab.execute("UPDATE ticks SET name = 'between' WHERE n = 9")

    lab.execute(insert(1, 9))
    lakes.observers.append(change)
    lab.land(**source)
    lakes.observers.pop()
    assert lab.standing()[9] == "between"
    lab.execute("UPDATE ticks SET name = 'tick 9' WHERE n = 9")
    assert lab.land(**source).state == "built"
    assert lab.standing()[9] == "tick 9"
    assert lab.land(**source).state == "current"


def test_what_changed_between_look_and_read_is_not_read_twice(served: Lab) -> None:
    served.execute(insert(1, 9))
    lakes.observers.append(
        lambda point: served.execute("UPDATE ticks SET name = 'other'") if point == "after manifest ticks/1" else None
    )
    served.land()
    lakes.observers.pop()
    assert set(served.standing().values()) == {"other"}
    assert served.land().state == "current"


def test_the_last_batch_is_read_once_again_however_often_it_is_taken_back(lab: Lab) -> None:
    for seq in (1, 2, 3):
        lab.execute(insert(seq * 10, seq * 10 + 9))
        lab.land(**BY_NUMBER)
    for seq in (3, 4):
        drop(lab.lake, lab.settings(**BY_NUMBER), "ticks", seq)
        assert lab.land(**BY_NUMBER).state == "built"
        assert lab.land(**BY_NUMBER).state == "current"
        assert sorted(lab.standing()) == list(range(10, 40))


def test_a_weekly_look_that_finds_nothing_is_noted(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    digest, day = RowSession.digest, datetime.datetime.now(datetime.UTC)
    monkeypatch.setattr(RowSession, "digest", lambda *some: looks.append(1) or digest(*some))
    lab.execute(insert(1, 3))
    lab.land(load_frequency="weekly")
    looks.clear()
    for weeks in (1, 2):
        monkeypatch.setattr("customer360.platform.sources.database._now", lambda w=weeks: day + w * WEEK)
        for _ in range(3):
            assert lab.land(load_frequency="weekly").state == "current"
        assert len(looks) == weeks
    lab.execute(insert(4, 4))
    monkeypatch.setattr("customer360.platform.sources.database._now", lambda: day + 3 * WEEK)
    assert lab.land(load_frequency="weekly").rows == 4


def test_a_query_may_end_in_a_comment(lab: Lab) -> None:
    lab.execute(insert(1, 3))
    assert lab.land(relation=None, query="SELECT * FROM ticks -- of the till").rows == 3


# ---- what goes wrong


def test_columns_that_come_go_and_change_are_said(served: Lab, caplog: pytest.LogCaptureFixture) -> None:
    served.execute(insert(1, 2))
    served.land()
    served.execute("ALTER TABLE ticks DROP COLUMN price, ADD COLUMN colour text DEFAULT 'red'",
                   "ALTER TABLE ticks ALTER COLUMN n TYPE text")  # fmt: skip
    with caplog.at_level("INFO", logger="customer360"):
        served.land()
    assert "came without the column 'price', which the mapping names" in caplog.text
    assert "the type of n is text, it was int8" in caplog.text
    rescued = served.lake.scan("bronze.t_ticks").filter(pl.col("_seq") == 2).collect()["_rescued"].to_list()
    assert all(json.loads(text)["colour"] == "red" for text in rescued)
    assert served.batches()[1].inputs[0].detail["types"]["n"] == "text"


def test_a_column_that_is_not_there_is_said_with_those_that_are(lab: Lab) -> None:
    with pytest.raises(RunError, match=r"ticks lacks the column 'when'; it has 'n', 'name', 'at', 'price'"):
        lab.land(strategy="incremental", column="when")
    assert lab.batches() == []


def test_a_server_that_does_not_answer_costs_itself(lab: Lab) -> None:
    pytest.importorskip("adbc_driver_postgresql")
    (lab.root / "landing" / "1.csv").write_text("N,NAME\n7,seven\n")
    lab.more = {"files": {"table": "bronze.t_ticks", "system": "LAB", "path": "*.csv"}}
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        port = frozen.getsockname()[1]
        lab.connection = {
            "kind": "postgresql",
            "host": "127.0.0.1",
            "port": port,
            "database": "d",
            "connect_seconds": 1,
        }
        with pytest.raises(RunError, match=f"source ticks: TransientError: postgresql at 127.0.0.1:{port}"):
            lab.land()
    assert lab.rows()["N"].to_list() == [7]


def test_no_secret_is_written_anywhere(served: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T_PASSWORD", "s3cr3t-of-ticks")
    served.connection |= {"password_env": "T_PASSWORD"}
    served.execute(insert(1, 2))
    served.land()
    with pytest.raises(RunError) as fault:
        served.land(relation="s3cr3t-of-ticks")
    assert "s3cr3t" not in str(fault.value)
    found = [file for file in (served.root / "lake").rglob("*") if file.is_file() and b"s3cr3t" in file.read_bytes()]
    assert not found


STRATEGIES = {
    "incremental": BY_NUMBER,
    "full": {"partition": {"by": "n", "parts": 3}},
    "micro_batch": {"strategy": "micro_batch", "column": "n", "batch_size": 4},
}


class Killed(BaseException):
    """Stands for the death of the process."""


def dying_at(point: str) -> Callable[[str], None]:
    def observer(now: str) -> None:
        if now == point:
            raise Killed(point)

    return observer


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_stopped_at_any_point_nothing_is_lost_or_doubled(lab: Lab, strategy: str) -> None:
    """A run stops at each named point in turn; what changes before the next one lands as it is then."""
    source = STRATEGIES[strategy]
    lab.execute(insert(1, 10))
    passed: list[str] = []
    lakes.observers.append(passed.append)
    lab.land(**source)
    lakes.observers.pop()
    points = [point for point in dict.fromkeys(passed) if "ticks" in point and " schema " not in point]  # known by then
    assert len(points) >= 4
    for place, point in enumerate(points):
        point = point.replace("ticks/1", f"ticks/{len(lab.batches()) + 1}")
        lab.execute(insert(100 + 2 * place, 101 + 2 * place))
        lakes.observers.append(dying_at(point))
        with pytest.raises(Killed):
            lab.land(**source)
        lakes.observers.pop()
        lab.execute(f"UPDATE ticks SET name = 'changed' WHERE n = {101 + 2 * place}")
        for _ in range(2):
            lab.land(**source)
        assert lab.standing()[100 + 2 * place] == f"tick {100 + 2 * place}", point
        assert set(lab.standing()) == {*range(1, 11), *range(100, 102 + 2 * place)}, point
        assert lab.rows().select("N", "_seq", "_file").is_duplicated().sum() == 0, point
        assert lab.land(**source).state == "current", point
