"""Changes that Debezium wrote, from files and from topics, applied in their order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from customer360.platform import tables
from customer360.platform.errors import SourceError
from customer360.platform.lake import Lake
from customer360.platform.run import replay, rereading
from customer360.platform.run.executor import LocalExecutor
from customer360.platform.run.ingest import SourceRun, ingest
from customer360.platform.run.records import current_records
from customer360.platform.settings import ExecutionSettings, RetrySettings, Settings
from customer360.platform.sources.files import Files
from customer360.platform.tables import Integer, String, Table

TABLE = "bronze.t_members"


@pytest.fixture(autouse=True)
def members(registries: None) -> None:
    class Members(Table, table=TABLE, key=("ID",), version="LEVEL"):
        """One row per version of a member."""

        ID = String(nullable=False)
        NAME = String(nullable=False)
        LEVEL = Integer(nullable=True)


class Site:
    """A landing folder, a topic and the lake that they are landed in."""

    def __init__(self, root: Path):
        self.root, self.connections = root, dict[str, Any]()
        self.source: dict[str, Any] = {"table": TABLE, "system": "CRM", "envelope": "debezium"}
        (root / "landing").mkdir()

    def settings(self) -> Settings:
        given = {"landing": str(self.root / "landing"), "lake": {"root": str(self.root / "lake"), "buckets": 4}}
        return Settings.model_validate({**given, "connections": self.connections, "sources": {"members": self.source}})

    def land(self) -> SourceRun:
        executor = LocalExecutor(ExecutionSettings(executor="local", retry=RetrySettings(attempts=1)))
        (done,) = ingest(self.lake, self.settings(), ["members"], executor, {})
        return done

    @property
    def lake(self) -> Lake:
        return Lake(str(self.root / "lake"), {}, 4)

    def standing(self) -> list[tuple[Any, ...]]:
        rows = current_records(tables.by_name(TABLE), self.lake.scan(TABLE).collect(), set()).rows
        return rows.select("ID", "NAME", "LEVEL").sort("ID").rows()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def row(number: int, name: str, level: int) -> dict[str, Any]:
    return {"id": number, "name": name, "level": level}


def message(op: str, before: Any, after: Any, pos: int) -> str:
    source = {"connector": "mysql", "db": "crm", "table": "members", "file": "bin.000003", "pos": pos, "row": 0}
    return json.dumps({"before": before, "after": after, "source": source, "op": op, "ts_ms": 1_700_000_000_000 + pos})


ADA, BO, CY = row(1, "Ada", 5), row(2, "Bo", 1), row(3, "Cy", 1)
MAPPING = {"ID": "id", "NAME": "name", "LEVEL": "level"}
CHANGES = [
    message("r", None, ADA, 1),
    message("c", None, BO, 2),
    message("c", None, CY, 3),
    message("u", ADA, row(1, "Ann", 2), 4),  # of an older version, and committed later
    message("d", BO, None, 5),
    message("d", CY, None, 6),
    message("c", None, row(30, "Cy", 1), 7),  # the key of Cy changed
]
STANDS = [("1", "Ann", 2), ("30", "Cy", 1)]


@pytest.mark.parametrize("parts", [1, 3])
def test_files_are_applied_in_their_order(site: Site, parts: int) -> None:
    site.source |= {"path": "crm/*.jsonl", "format": "json", "mapping": MAPPING}
    (site.root / "landing" / "crm").mkdir()
    size = -(-len(CHANGES) // parts)
    for part in range(parts):
        text = "\n".join(CHANGES[part * size : (part + 1) * size])
        (site.root / "landing" / "crm" / f"{part + 8}.jsonl").write_text(text + "\n")
    done = site.land()
    assert done.failure is None
    assert site.standing() == STANDS
    assert done.nodes[0].facts["landed"] == len(CHANGES)
    assert site.land().nodes[0].state == "current"


def test_a_file_of_one_message_with_its_schema_is_that_message(site: Site) -> None:
    site.source |= {"path": "*.json", "format": "auto", "mapping": MAPPING}
    fields = [{"field": "id", "type": "int32"}, {"field": "name", "type": "string"}]
    schema = {"type": "struct", "fields": [{"type": "struct", "field": "after", "fields": fields}]}
    whole = {"schema": schema, "payload": json.loads(CHANGES[0])}
    (site.root / "landing" / "one.json").write_text(json.dumps(whole))
    assert site.land().failure is None
    assert site.standing() == [("1", "Ada", 5)]


def test_a_topic_is_applied_with_its_tombstones(site: Site, kafka: Any) -> None:
    topic = "crm.members"
    for text in [*CHANGES[:4], CHANGES[4]]:
        said = json.loads(text)
        key = json.dumps({"id": (said["after"] or said["before"])["id"]})
        kafka.send(topic, [text.encode()], key=key)
        if said["op"] == "d":
            kafka.send(topic, [None], key=key)
    kafka.send(topic, [None], key=json.dumps({"id": 3}))  # a compaction took its deletion
    kafka.send(topic, [b"not json"], key="x")
    site.connections = {"events": {"kind": "kafka", "servers": kafka.servers, "timeout_seconds": 5}}
    site.source |= {"kind": "streams", "connection": "events", "topic": topic, "mapping": MAPPING}
    done = site.land()
    assert done.failure is None
    assert done.nodes[0].facts["dead"] == 1
    assert site.standing() == [("1", "Ann", 2)]


def test_the_changes_themselves_may_be_rows(site: Site) -> None:
    class Changes(Table, table="bronze.t_changes", key=("CHANGE_ID",)):
        """One row per change of a member."""

        CHANGE_ID = String(nullable=False)
        ID = String(nullable=True)
        KIND = String()
        CHANGED = String(nullable=True)

    site.source |= {
        "path": "*.jsonl", "format": "json", "table": "bronze.t_changes", "where": "\"change.kind\" <> 'snapshot'",
        "deleted": "1 = 0",
        "mapping": {"CHANGE_ID": '"change.id"', "ID": "id", "KIND": '"change.kind"', "CHANGED": '"change.changed"'},
    }  # fmt: skip
    text = "\n".join([*CHANGES, message("m", None, None, 8)])
    (site.root / "landing" / "1.jsonl").write_text(text)
    (site.root / "landing" / "2.jsonl").write_text(CHANGES[-1])  # the connector began again
    assert site.land().failure is None
    rows = site.lake.scan("bronze.t_changes").collect()
    found = current_records(Changes, rows, set()).rows.join(rows.select("CHANGE_ID").unique(), on="CHANGE_ID")
    assert sorted(found["KIND"]) == ["delete", "delete", "insert", "insert", "insert", "update"]
    assert found.filter(KIND="update")["CHANGED"].to_list() == ['["name", "level"]']
    assert not found["_deleted"].any()


def test_a_file_that_says_that_the_table_was_emptied_is_kept_aside(site: Site) -> None:
    site.source |= {"path": "*.jsonl", "format": "json", "mapping": MAPPING}
    (site.root / "landing" / "1.jsonl").write_text("\n".join([CHANGES[0], message("t", None, None, 9)]))
    assert "members was emptied (TRUNCATE)" in (site.land().failure or "")


FLAT = json.dumps({"id": 1, "name": "Ada", "__deleted": "false"})
ALONE: list[tuple[str, str | None, str | None, int]] = [  # name, value, key, dead letters
    ("an unknown op", message("x", None, ADA, 9), None, 1),
    ("a message without its envelope", FLAT, None, 1),
    ("no JSON", "not json", None, 1),
    ("a truncation", message("t", None, None, 9), None, 0),
    ("an entry of an application", message("m", None, None, 9), None, 0),
    ("a tombstone without a key", None, "plain", 0),
    ("a tombstone", None, '{"id": 1}', 0),
]


@pytest.mark.parametrize(("what", "value", "key", "dead"), ALONE)
def test_what_is_of_no_row_stops_no_topic_when_it_is_alone(
    site: Site, kafka: Any, what: str, value: str | None, key: str | None, dead: int
) -> None:
    topic = f"alone.{what.replace(' ', '-')}"
    site.connections = {"events": {"kind": "kafka", "servers": kafka.servers, "timeout_seconds": 5}}
    site.source |= {"kind": "streams", "connection": "events", "topic": topic, "mapping": MAPPING,
                    "on_truncate": "ignore"}  # fmt: skip
    kafka.send(topic, [value.encode() if value else None], key=key or "x")
    done = site.land()
    assert done.failure is None and done.nodes[0].facts["dead"] == dead
    kafka.send(topic, [CHANGES[1].encode()], key="x")
    assert site.land().failure is None
    assert site.standing() == [("2", "Bo", 1)]


@pytest.mark.parametrize(
    "value", [message("x", None, ADA, 9), message("t", None, None, 9), message("m", None, None, 9)]
)
def test_a_file_of_nothing_but_that_is_no_dead_letter_as_a_whole(site: Site, value: str) -> None:
    site.source |= {"path": "*.jsonl", "format": "json", "mapping": MAPPING, "on_truncate": "ignore"}
    (site.root / "landing" / "1.jsonl").write_text(value + "\n")
    done = site.land()
    assert done.failure is None
    letters = site.lake.scan("quality.dead_letters").collect() if done.nodes[0].facts["dead"] else None
    assert letters is None or (letters["position"].to_list() == [1] and "its op is x" in letters["reason"][0])


def test_a_truncation_alone_may_be_a_row(site: Site) -> None:
    class Kinds(Table, table="bronze.t_kinds", key=("CHANGE_ID",)):
        """One row per change."""

        CHANGE_ID = String(nullable=False)
        ID = String(nullable=True)
        KIND = String()

    site.source |= {"path": "*.jsonl", "format": "json", "table": "bronze.t_kinds", "on_truncate": "record",
                    "mapping": {"CHANGE_ID": '"change.id"', "ID": "id", "KIND": '"change.kind"'}}  # fmt: skip
    (site.root / "landing" / "1.jsonl").write_text(message("t", None, None, 9))
    assert site.land().failure is None
    assert site.lake.scan("bronze.t_kinds").collect().select("ID", "KIND").rows() == [(None, "truncate")]


def test_a_mapping_that_is_wrong_still_stops_the_first_row(site: Site) -> None:
    site.source |= {"path": "*.jsonl", "format": "json", "mapping": {**MAPPING, "ID": "nr"}}
    (site.root / "landing" / "1.jsonl").write_text("\n".join([message("m", None, None, 1), CHANGES[0]]))
    assert "ID needs file column(s) ['nr']" in (site.land().failure or "")


@pytest.mark.parametrize(
    ("broken", "repaired", "stands"),
    [
        (message("x", None, row(1, "Ada", 2), 1), message("u", None, row(1, "Ada", 2), 1), [("1", "Ann", 5)]),
        (message("x", BO, None, 2), message("d", BO, None, 2), [("1", "Ann", 5)]),
    ],
)
def test_what_is_repaired_overrules_no_newer_change(site: Site, broken: str, repaired: str, stands: Any) -> None:
    site.source |= {"path": "*.jsonl", "format": "json", "mapping": MAPPING}
    ann = message("c", None, row(1, "Ann", 5), 3)
    (site.root / "landing" / "1.jsonl").write_text("\n".join([message("c", None, BO, 0), broken, ann]))
    if '"before": null' in broken:
        (site.root / "landing" / "1.jsonl").write_text("\n".join([broken, ann]))
    assert site.land().failure is None
    out = site.root / "refused.jsonl"
    assert replay.export(site.lake, out) == (0, 1)
    line = json.loads(out.read_text())
    out.write_text(json.dumps(line | {"_raw": repaired}))
    replay.replay(site.lake, site.settings(), out)
    assert site.land().failure is None
    assert site.standing() == stands
    assert replay.export(site.lake, out) == (0, 0)


def test_a_correction_in_columns_may_say_that_it_is_a_deletion(site: Site) -> None:
    site.source |= {"path": "*.jsonl", "format": "json", "mapping": MAPPING}
    changes = [message("c", None, BO, 1), CHANGES[0], message("x", BO, None, 2)]
    (site.root / "landing" / "1.jsonl").write_text("\n".join(changes))
    assert site.land().failure is None
    out = site.root / "refused.jsonl"
    replay.export(site.lake, out)
    line = {k: v for k, v in json.loads(out.read_text()).items() if k != "_raw"} | {"ID": "2"}
    out.write_text(json.dumps(line | {"_deleted": "maybe"}))
    with pytest.raises(SourceError, match="`_deleted` is true for a deletion"):
        replay.replay(site.lake, site.settings(), out)
    out.write_text(json.dumps(line | {"_deleted": True}))
    replay.replay(site.lake, site.settings(), out)
    assert site.land().failure is None
    assert site.standing() == [("1", "Ada", 5)]
    corrections = site.lake.scan(TABLE).collect().drop_nulls("_replay_of")
    assert corrections.select("_deleted", "_restates", "_rescued").rows() == [(True, None, None)]


def test_a_file_that_is_read_late_takes_the_place_of_its_batch(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.source |= {"path": "crm/*.jsonl", "format": "json", "mapping": MAPPING}

    def deliver(name: str, *changes: str) -> SourceRun:
        (site.root / "landing" / "crm").mkdir(exist_ok=True)
        (site.root / "landing" / "crm" / name).write_text("\n".join(changes) + "\n")
        return site.land()

    def unreadable(*_: Any) -> None:
        raise OSError("cut")

    deliver("1.jsonl", message("c", None, ADA, 1))
    with monkeypatch.context() as then:
        then.setattr(Files, "pieces", unreadable)
        assert deliver("2.jsonl", message("u", ADA, row(1, "Ann", 6), 2), message("c", None, BO, 3)).failure
    deliver("3.jsonl", message("u", row(1, "Ann", 6), row(1, "Anna", 3), 4), message("d", BO, None, 5))
    executor = LocalExecutor(ExecutionSettings(executor="local", retry=RetrySettings(attempts=1)))
    assert rereading.retry(site.lake, site.settings(), "members", executor, {}).rows == 2
    assert site.standing() == [("1", "Anna", 3)]
