"""Collections of MongoDB, against a server in this process (mongomock): a real one was not to be had."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from customer360.platform import ledger
from customer360.platform.connections.mongodb import MongoDB
from customer360.platform.errors import SourceError, TransientError
from customer360.platform.lake import Lake
from customer360.platform.run.executor import LocalExecutor
from customer360.platform.run.ingest import SourceRun, ingest
from customer360.platform.settings import ExecutionSettings, RetrySettings, Settings
from customer360.platform.sources import mongodb
from customer360.platform.sources.base import configured
from customer360.platform.tables import Float, String, Table

mongomock = pytest.importorskip("mongomock", reason="mongomock is not installed")
bson = pytest.importorskip("bson", reason="pymongo is not installed")

TABLE = "bronze.t_members"
MAPPING = {"ID": "_id", "NAME": "name.first", "SPENT": "spent", "SEEN": "seen", "TAGS": "tags"}
NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def members(registries: None) -> None:
    class Members(Table, table=TABLE, key=("ID",)):
        """One row per version of a member."""

        ID = String(nullable=False)
        NAME = String(nullable=True)
        SPENT = Float(nullable=True)
        SEEN = String(nullable=True)
        TAGS = String(nullable=True)


def _number(moment: datetime, digit: str = "0", seconds: int = 0) -> Any:
    begun = int(moment.timestamp()) + seconds
    return bson.ObjectId(f"{begun:08x}{digit * 16}")


class App:
    """A collection and the lake that it is landed in."""

    def __init__(self, root: Path, client: Any):
        self.root, self.members = root, client["app"]["members"]
        (root / "landing").mkdir()

    def settings(self, **keys: Any) -> Settings:
        source = {"kind": "mongodb", "connection": "app", "table": TABLE, "system": "APP", "collection": "members"}
        return Settings.model_validate(
            {
                "landing": str(self.root / "landing"),
                "lake": {"root": str(self.root / "lake"), "buckets": 4},
                "connections": {"app": {"kind": "mongodb", "database": "app"}},
                "sources": {"members": {**source, "mapping": MAPPING, "every_minutes": 0, **keys}},
            }
        )

    @property
    def lake(self) -> Lake:
        return Lake(str(self.root / "lake"), {}, 4)

    def land(self, **keys: Any) -> SourceRun:
        executor = LocalExecutor(ExecutionSettings(executor="local", retry=RetrySettings(attempts=1)))
        (done,) = ingest(self.lake, self.settings(**keys), ["members"], executor, {})
        return done

    def rows(self, after: int = 0) -> list[dict[str, Any]]:
        found = self.lake.scan(TABLE).collect().filter(_seq=after + 1) if after else self.lake.scan(TABLE).collect()
        return found.sort("ID").select("ID", "NAME", "SPENT", "SEEN", "TAGS").to_dicts()


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    client = mongomock.MongoClient(tz_aware=True)
    monkeypatch.setattr(MongoDB, "_client", lambda _: client)
    monkeypatch.setattr(client, "close", lambda: None)
    return App(tmp_path, client)


def test_documents_are_records_with_records_inside(app: App) -> None:
    number = bson.ObjectId("65e1c0ffee0123456789abcd")
    app.members.insert_one(
        {
            "_id": number,
            "name": {"first": "Ada"},
            "spent": bson.Decimal128("12.50"),
            "seen": NOON,
            "tags": ["a", {"b": 1}],
        }
    )
    app.members.insert_one({"_id": 7, "name": None, "spent": float("nan"), "seen": "never"})
    assert app.land().failure is None
    ada, seven = app.rows()
    assert (ada["ID"], ada["NAME"], ada["SPENT"]) == (str(number), "Ada", 12.5)
    assert ada["SEEN"] == "2024-03-01T12:00:00+00:00"
    assert json.loads(ada["TAGS"]) == ["a", {"b": 1}]
    assert seven["ID"] == "7" and seven["NAME"] is None and seven["SPENT"] is None and seven["SEEN"] == "never"


def test_only_what_grew_comes_with_the_next_batch(app: App) -> None:
    keys = {"strategy": "incremental", "column": "seen"}
    app.members.insert_many([{"_id": n, "seen": NOON + timedelta(hours=n)} for n in range(3)])
    assert app.land(**keys).nodes[0].rows == 3
    assert app.land(**keys).nodes[0].state == "current"
    app.members.insert_one({"_id": 8, "seen": NOON + timedelta(hours=2, minutes=-5)})  # written late
    app.members.insert_one({"_id": 9, "seen": NOON + timedelta(hours=3)})
    app.members.insert_one({"_id": 10})  # without the field: not found
    source = configured(app.settings(**keys), "members")
    assert source.behind(ledger.batches(app.lake, "members")).amount == 1  # type: ignore[union-attr]
    assert app.land(**keys).failure is None
    assert [row["ID"] for row in app.rows(1)] == ["2", "8", "9"]


def test_ids_are_a_column_that_grows(app: App) -> None:
    keys = {"strategy": "incremental"}
    app.members.insert_many([{"_id": _number(NOON + timedelta(hours=n))} for n in range(5)])
    assert app.land(**keys).nodes[0].rows == 5
    last = NOON + timedelta(hours=9)
    app.members.insert_one({"_id": _number(last, "b")})
    assert app.land(**keys).nodes[0].rows == 2  # the last of before, whose second may hold more
    app.members.insert_one({"_id": _number(last, "a")})  # of another process, within the same second
    app.members.insert_one({"_id": _number(last + timedelta(seconds=1))})
    source = configured(app.settings(**keys), "members")
    assert source.behind(ledger.batches(app.lake, "members")).amount == 1  # type: ignore[union-attr]
    assert app.land(**keys).nodes[0].rows == 3
    assert ledger.batches(app.lake, "members")[-1].cursor == {"upto": {"$oid": str(_number(last, "0", 1))}}


@pytest.mark.parametrize("column", ["_id", "seen"])
def test_a_date_in_the_future_does_not_end_a_source(app: App, column: str) -> None:
    keys = {"strategy": "incremental", "column": column}
    far, now = datetime(2090, 1, 1, tzinfo=UTC), datetime.now(UTC).replace(microsecond=0)
    for moment in (far, now - timedelta(hours=2)):
        app.members.insert_one({"_id": _number(moment), "seen": moment})
    assert app.land(**keys).nodes[0].rows == 1
    assert app.land(**keys).nodes[0].state == "current"
    app.members.insert_one({"_id": _number(now - timedelta(hours=1)), "seen": now - timedelta(hours=1)})
    source = configured(app.settings(**keys), "members")
    assert source.behind(ledger.batches(app.lake, "members")).amount == 1  # type: ignore[union-attr]
    assert app.land(**keys).nodes[0].rows == 2  # with the last of before


@pytest.mark.parametrize("column", ["_id", "seen"])
@pytest.mark.parametrize("ends", [timedelta(days=9000), timedelta(hours=-1)])
def test_what_a_cursor_in_the_future_hid_comes(
    app: App, monkeypatch: pytest.MonkeyPatch, column: str, ends: timedelta
) -> None:
    """Also where the moment has come meanwhile."""
    keys = {"strategy": "incremental", "column": column}
    now = datetime.now(UTC).replace(microsecond=0)
    ahead = now + ends
    for moment in (now - timedelta(hours=9), ahead):
        app.members.insert_one({"_id": _number(moment), "seen": moment})
    with monkeypatch.context() as before:  # a batch of when cursors could stand in the future, fixed five hours ago
        moment_of = {"_id": {"$oid": str(_number(ahead))}, "seen": {"$date": ahead.isoformat()}}
        before.setattr(mongodb.Collection, "_newest", lambda *_: moment_of[column])
        before.setattr(ledger, "datetime", type("At", (), {"now": lambda _: now - timedelta(hours=5)}))
        assert app.land(**keys).failure is None
    app.members.insert_one({"_id": _number(now - timedelta(hours=3), "a"), "seen": now - timedelta(hours=3)})
    source = configured(app.settings(**keys), "members")
    assert source.behind(ledger.batches(app.lake, "members")).amount == 2 + (ends < timedelta())  # type: ignore[union-attr]
    assert app.land(**keys).failure is None
    assert str(_number(now - timedelta(hours=3), "a")) in [row["ID"] for row in app.rows(1)]
    assert app.land(**keys).nodes[0].state == "current"


def test_a_date_beyond_the_calendar_is_in_the_future_or_said(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    from bson.datetime_ms import DatetimeMS

    source = configured(app.settings(strategy="incremental", column="seen"), "members")
    found = iter([DatetimeMS(10**15), NOON])
    monkeypatch.setattr(type(source), "_greatest", lambda *_: next(found))
    assert source._newest(None) == {"$date": NOON.isoformat()}  # type: ignore[attr-defined]
    with pytest.raises(SourceError, match="outside the years 1 to 9999"):
        mongodb._written(DatetimeMS(-(10**15)))


def test_a_snapshot_deletes_what_is_gone_and_an_empty_collection_nothing(app: App) -> None:
    app.members.insert_many([{"_id": n} for n in range(4)])
    app.land(mode="snapshot")
    app.members.delete_one({"_id": 3})
    assert app.land(mode="snapshot").nodes[0].rows == 3
    app.members.delete_many({})
    assert app.land(mode="snapshot").failure is None
    assert app.land(every_minutes=60).nodes[0].state == "current"


def test_a_column_that_does_not_grow_is_said(app: App) -> None:
    app.members.insert_one({"_id": 1, "tags": [1]})
    assert "no column that grows" in (app.land(strategy="incremental", column="tags").failure or "")


@pytest.mark.parametrize("url", ["mongodb://ada:secret@host", "http://host", "host:27017"])
def test_a_url_names_no_user(url: str) -> None:
    with pytest.raises(ValidationError) as fault:
        MongoDB.model_validate({"kind": "mongodb", "database": "app", "url": url})
    assert "names no user" in str(fault.value) and "secret" not in str(fault.value)


def test_a_server_that_does_not_answer_is_said_in_one_line() -> None:
    nobody = MongoDB(url="mongodb://127.0.0.1:9", database="app", connect_seconds=0.2)
    with pytest.raises(TransientError) as fault, nobody.opened() as database:
        database["members"].find_one()
    assert "\n" not in str(fault.value) and "mongodb://127.0.0.1:9, database app" in str(fault.value)


def test_a_server_that_refuses_is_no_passing_fault() -> None:
    from pymongo.errors import OperationFailure

    with pytest.raises(SourceError, match="Authentication failed"), MongoDB(database="app").opened():
        raise OperationFailure("Authentication failed.", 18)


def test_values_of_a_manifest_come_back() -> None:
    for value in (NOON, bson.ObjectId(), bson.Decimal128("1.50"), 7, "x"):
        assert mongodb._read(json.loads(json.dumps(mongodb._written(value)))) == value
