"""A topic as a source: every message once, whatever dies in between."""

from __future__ import annotations

import io
import itertools
import json
import pickle
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any

import fastavro
import polars as pl
import pytest
from pydantic import ValidationError

import customer360.platform.run as runs
from customer360.platform import ledger
from customer360.platform.connections.kafka import Kafka
from customer360.platform.errors import SourceError, TransientError
from customer360.platform.graph import builds
from customer360.platform.lake import Lake
from customer360.platform.ledger import Batch, Input
from customer360.platform.run import RunRequest
from customer360.platform.run.executor import LocalExecutor
from customer360.platform.run.ingest import SourceRun, ingest, last_committed
from customer360.platform.run.rereading import drop
from customer360.platform.settings import ExecutionSettings, RetrySettings, Settings
from customer360.platform.sources import streams
from customer360.platform.sources.base import Lag, configured
from customer360.platform.sources.bronze import IngestUnit
from customer360.platform.sources.landing import landing_of
from customer360.platform.sources.protocols.kafka import client
from customer360.platform.sources.protocols.kafka.producer import Message, Producer
from customer360.platform.sources.protocols.kafka.values import Registry, records_of
from customer360.platform.tables import Integer, String, Table

TABLE = "bronze.t_clicks"
Broker = Any  # kafka_broker.Broker


@pytest.fixture(autouse=True)
def clicks(registries: None) -> None:
    class Clicks(Table, table=TABLE, key=("ID",)):
        """One row per click."""

        ID = String(nullable=True)
        N = Integer(nullable=True)


def settings_of(
    tmp_path: Path, kafka: Broker, topic: str, *, connection: dict[str, Any] | None = None, **keys: Any
) -> Settings:
    (tmp_path / "landing").mkdir(exist_ok=True)
    about = connection or {}
    source = {"kind": "streams", "connection": "events", "table": TABLE, "system": "WEB", "topic": topic}
    return Settings.model_validate(
        {
            "landing": str(tmp_path / "landing"),
            "lake": {"root": str(tmp_path / "lake"), "buckets": 4},
            "execution": {"executor": "local", "retry": {"attempts": 1}},
            "connections": {"events": {"kind": "kafka", "servers": kafka.servers, "timeout_seconds": 5, **about}},
            "sources": {"clicks": {**source, **keys}},
        }
    )  # fmt: skip


def land(settings: Settings) -> SourceRun:
    lake = Lake(settings.lake.root, {}, 4)
    executor = LocalExecutor(ExecutionSettings(executor="local", retry=RetrySettings(attempts=1)))
    (done,) = ingest(lake, settings, ["clicks"], executor, {})
    return done


def landed(settings: Settings) -> pl.DataFrame:
    return Lake(settings.lake.root, {}, 4).scan(TABLE).collect()


def letters(settings: Settings) -> pl.DataFrame:
    return Lake(settings.lake.root, {}, 4).scan("quality.dead_letters").collect()


def click(number: int) -> bytes:
    return json.dumps({"ID": f"C{number}", "N": number}).encode()


def test_messages_land_once_batch_after_batch(tmp_path: Path, kafka: Broker) -> None:
    kafka.send("once", [click(n) for n in range(25)])
    settings = settings_of(tmp_path, kafka, "once", batch_size=4)
    assert land(settings).failure is None
    assert land(settings).nodes[0].state == "current"
    kafka.send("once", [click(n) for n in range(25, 31)])
    assert land(settings).failure is None
    found = landed(settings)
    assert sorted(found["N"]) == list(range(31))
    assert found.select("_file", "_position").n_unique() == 31
    assert found.filter(pl.col("_seq") == 2).height == 6


def test_how_far_a_topic_is_ahead_is_told(tmp_path: Path, kafka: Broker) -> None:
    kafka.send("ahead", [click(n) for n in range(25)])
    settings = settings_of(tmp_path, kafka, "ahead", batch_size=4)
    source = configured(settings, "clicks")
    assert source.behind([]) == Lag(25, "messages")
    assert land(settings).failure is None
    kafka.send("ahead", [click(n) for n in range(25, 28)])
    assert source.behind(ledger.batches(Lake(settings.lake.root, {}, 4), "clicks")) == Lag(3, "messages")


def test_a_unit_carries_its_own_input_to_a_worker(tmp_path: Path, kafka: Broker) -> None:
    settings = settings_of(tmp_path, kafka, "none")
    inputs = tuple(Input(f"t/0:{n}-{n + 1}", {"ranges": [[0, n, n + 1]]}) for n in range(500))
    batch, lake = Batch("clicks", 1, "2026-06-01T10:00:00+00:00", inputs), Lake(settings.lake.root, {}, 4)
    unit = IngestUnit(lake, landing_of(settings), "clicks", configured(settings, "clicks"), batch, 320)
    packed = pickle.dumps(unit)
    assert len(packed) < 8_000  # 500 inputs are three times as much
    sent = pickle.loads(packed)
    assert (sent.address, sent.piece, sent.index) == (unit.address, inputs[320], 320)


def test_few_messages_of_many_partitions_are_one_file(tmp_path: Path, kafka: Broker) -> None:
    kafka.send("few", [click(n) for n in range(8)])
    settings = settings_of(tmp_path, kafka, "few")
    land(settings)
    assert landed(settings)["_file"].unique().to_list() == ["few/0:0-2,1:0-2,2:0-2,3:0-2"]


def test_what_is_read_again_is_the_same(tmp_path: Path, kafka: Broker) -> None:
    kafka.send("again", [click(n) for n in range(12)])
    settings = settings_of(tmp_path, kafka, "again")
    source, landing = configured(settings, "clicks"), landing_of(settings)
    piece = source.discover(landing, []).inputs[0]
    first = source.read(landing, piece).frame
    kafka.send("again", [click(n) for n in range(12, 20)])
    assert source.read(landing, piece).frame.equals(first)


def test_a_backlog_beyond_one_batch_waits_for_the_next(
    tmp_path: Path, kafka: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka.send("backlog", [click(n) for n in range(40)])
    monkeypatch.setattr(streams, "MOST_INPUTS", 3)
    settings = settings_of(tmp_path, kafka, "backlog", batch_size=4)
    counts = []
    while land(settings).nodes[0].state != "current":
        counts.append(landed(settings).height)
    assert len(counts) == 4 and counts == sorted(set(counts))
    assert sorted(landed(settings)["N"]) == list(range(40))


def test_the_newest_batch_comes_again_when_it_was_dropped(tmp_path: Path, kafka: Broker) -> None:
    kafka.send("dropped", [click(n) for n in range(8)])
    settings = settings_of(tmp_path, kafka, "dropped", batch_size=3)
    lake = Lake(settings.lake.root, {}, 4)
    land(settings)
    kafka.send("dropped", [*(click(n) for n in range(8, 12)), b"no json"])
    land(settings)
    with pytest.raises(SourceError, match="would not be read again: the source goes on where batch 2 ended"):
        drop(lake, settings, "clicks", 1)
    assert drop(lake, settings, "clicks", 2) == 4
    assert sorted(landed(settings)["N"]) == list(range(8)) and letters(settings).is_empty()
    kafka.send("dropped", [click(12)])
    assert land(settings).failure is None
    found = landed(settings)
    assert sorted(found["N"]) == list(range(13)) and found.filter(pl.col("_seq") == 3).height == 5
    assert letters(settings)["raw"].to_list() == [b"no json"]
    for seq in (3, 1):  # all of them: it begins anew
        drop(lake, settings, "clicks", seq)
    land(settings)
    assert sorted(landed(settings)["N"]) == list(range(13))
    assert land(settings).nodes[0].state == "current"


def test_odd_values_are_dead_letters_at_their_places(tmp_path: Path, kafka: Broker) -> None:
    odd = [click(1), b"{broken", b"", b"7", b'{\n "ID": "C2",\n "N": 2\n}', None, b"\xff\xfe{}"]
    kafka.send("odd", odd, key=b"one")
    settings = settings_of(tmp_path, kafka, "odd")
    assert land(settings).failure is None
    assert sorted(landed(settings)["N"].to_list()) == [1, 2]
    dead = letters(settings).sort("position")
    assert dead["position"].to_list() == [2, 3, 4, 6, 7]
    assert "its key is gone" in dead["reason"][3]


def test_keys_times_and_tombstones_where_they_are_asked_for(tmp_path: Path, kafka: Broker) -> None:
    kafka.send("about", [click(5), None], key=b"K1", timestamp=1_780_000_000_123)
    settings = settings_of(
        tmp_path, kafka, "about", metadata=True, deleted='"message.tombstone"',
        mapping={"ID": '"message.key"', "N": "N"},
    )  # fmt: skip
    assert land(settings).failure is None
    found = landed(settings).sort("_position")
    assert found["ID"].to_list() == ["K1", "K1"] and found["N"].to_list() == [5, None]
    assert found["_deleted"].to_list() == [None, True] or found["_deleted"].to_list() == [False, True]


def test_where_it_stands_is_told_to_the_group(tmp_path: Path, kafka: Broker) -> None:
    from confluent_kafka import Consumer, TopicPartition

    kafka.send("group", [click(n) for n in range(8)])
    land(settings_of(tmp_path, kafka, "group", group="tools"))
    reader = Consumer({"bootstrap.servers": kafka.servers, "group.id": "tools"})
    stands = reader.committed([TopicPartition("group", p) for p in range(4)], timeout=10)
    reader.close()
    assert [s.offset for s in stands] == [2, 2, 2, 2]


def test_where_it_stands_is_a_table(tmp_path: Path, kafka: Broker, empty_graph: None) -> None:
    class Sums(Table, table="gold.t_sums"):
        """One row per lake."""

        total = Integer()

    @builds(Sums)
    def t_sums(bronze_t_clicks: pl.LazyFrame) -> pl.LazyFrame:
        return bronze_t_clicks.select(total=pl.col("N").sum())

    kafka.send("table", [click(n) for n in range(8)])
    settings = settings_of(tmp_path, kafka, "table", group="tools")
    runs.run(settings, RunRequest(), rules={})
    kafka.send("table", [click(8)])
    runs.run(settings, RunRequest(), rules={})
    held = Lake(settings.lake.root, {}, 4).scan("control.streaming_watermarks").collect()
    assert held.select("partition_number", "last_processed_offset").rows() == [(0, 3), (1, 2), (2, 2), (3, 2)]
    assert held["stream_name"].unique().to_list() == ["table"] and held["consumer_group"].unique().to_list() == [
        "tools"
    ]


def test_a_batch_whose_read_failed_lands_later(tmp_path: Path, kafka: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    kafka.send("later", [click(n) for n in range(8)])
    settings = settings_of(tmp_path, kafka, "later")
    with monkeypatch.context() as fails:
        fails.setattr(streams, "records_of", lambda *_, **__: (_ for _ in ()).throw(ConnectionError("gone")))
        assert "gone" in (land(settings).failure or "")
    kafka.send("later", [click(n) for n in range(8, 12)])
    assert land(settings).failure is None
    assert sorted(landed(settings)["N"]) == list(range(12))
    lake = Lake(settings.lake.root, {}, 4)
    assert last_committed(lake, configured(settings, "clicks"), "clicks") == 2


def test_messages_that_the_broker_deleted_are_told(tmp_path: Path, kafka: Broker) -> None:
    source = configured(settings_of(tmp_path, kafka, "x"), "clicks")
    assert isinstance(source, streams.Streams)
    with pytest.raises(SourceError, match="deleted 5 messages before they were read; `skip_lost: true`"):
        source._held(3, 5, 10)
    assert source.model_copy(update={"skip_lost": True})._held(3, 5, 10) == 10
    assert source._held(3, 12, 10) == 12


def test_a_topic_that_was_made_anew_is_told(tmp_path: Path, kafka: Broker) -> None:
    kafka.send("anew", [click(n) for n in range(4)])
    settings = settings_of(tmp_path, kafka, "anew")
    source = configured(settings, "clicks")
    from customer360.platform.ledger import Batch

    with pytest.raises(SourceError, match="ends at 1 and was read up to 9: it was made anew"):
        source.discover(landing_of(settings), [Batch("clicks", 1, "now", (), cursor={"0": 9})])


@pytest.mark.parametrize(
    ("connection", "said"),
    [({"servers": "127.0.0.1:9", "timeout_seconds": 1}, "127.0.0.1:9"), ({"options": {"no.such": "1"}}, "no.such")],
)
def test_a_broker_that_cannot_be_reached_is_one_line(
    tmp_path: Path, kafka: Broker, connection: dict[str, Any], said: str
) -> None:
    failure = land(settings_of(tmp_path, kafka, "t", connection=connection)).failure
    assert failure and said in failure and "\n" not in failure


def test_passwords_are_named_and_never_written() -> None:
    with pytest.raises(ValidationError, match="needs user and password_env"):
        Kafka.model_validate({"servers": "a:9093", "security": "SASL_SSL", "user": "$ConnectionString"})


@contextmanager
def registry(schemas: dict[int, dict[str, Any]]) -> Iterator[str]:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            said = schemas.get(int(self.path.rsplit("/", 1)[1]))
            self.send_response(200 if said else 404)
            self.end_headers()
            self.wfile.write(json.dumps(said or {}).encode())

        def log_message(self, *_: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Answers)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_avro_of_a_registry(tmp_path: Path, kafka: Broker) -> None:
    schemas: list[dict[str, Any]] = [
        {"type": "record", "name": "Click", "fields": [{"name": "ID", "type": "string"}, {"name": "N", "type": "int"}]},
        {"type": "record", "name": "Click", "fields": [
            {"name": "ID", "type": "string"}, {"name": "N", "type": "long"},
            {"name": "X", "type": ["null", "string"]}]},
    ]  # fmt: skip

    def framed(number: int, row: dict[str, Any]) -> bytes:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, fastavro.parse_schema(schemas[number - 1]), row)
        return b"\x00" + struct.pack(">I", number) + out.getvalue()

    values = [
        framed(1, {"ID": "a", "N": 1}),
        framed(2, {"ID": "b", "N": 1 << 40, "X": None}),
        b"\x00\x00\x00\x00\x01\x02",
    ]
    kafka.send("avro", values, key=b"k")
    told = {1: {"schema": json.dumps(schemas[0])}, 2: {"schema": json.dumps(schemas[1]), "schemaType": "AVRO"}}
    with registry(told) as url:
        settings = settings_of(tmp_path, kafka, "avro", connection={"registry": url})
        assert land(settings).failure is None
    found = landed(settings).sort("ID")
    assert found["ID"].to_list() == ["a", "b"] and found["N"].to_list() == [1, 1 << 40]
    assert letters(settings)["reason"].to_list() == ["avro: EOFError"]


def test_json_of_a_registry(tmp_path: Path, kafka: Broker) -> None:
    kafka.send("framed", [b"\x00\x00\x00\x00\x07" + click(1)], key=b"k")
    with registry({7: {"schema": "{}", "schemaType": "JSON"}}) as url:
        settings = settings_of(tmp_path, kafka, "framed", connection={"registry": url})
        assert land(settings).failure is None
        assert landed(settings)["ID"].to_list() == ["C1"]


def test_schemas_that_cannot_be_had_cost_their_messages(tmp_path: Path, kafka: Broker) -> None:
    """Whoever may write one message stops no topic."""
    good = {"type": "record", "name": "Click", "fields": [{"name": "ID", "type": "string"}]}
    told = {1: {"schema": json.dumps(good)}, 2: {"schema": "{", "schemaType": "AVRO"}, 3: {"schemaType": "PROTOBUF"}}
    framed = [b"\x00" + struct.pack(">I", number) + b"\x02a" for number in (1, 2, 3, 4)]
    kafka.send("odd-schemas", [click(1), *framed], key=b"k")
    with registry(told) as url:
        settings = settings_of(tmp_path, kafka, "odd-schemas", connection={"registry": url})
        assert land(settings).failure is None
    assert sorted(landed(settings)["ID"]) == ["C1", "a"]
    said = letters(settings).sort("position")["reason"].to_list()
    assert "schema 2 cannot be read" in said[0] and "PROTOBUF" in said[1] and "/schemas/ids/4 answers 404" in said[2]


def test_a_value_that_begins_with_a_zero_byte_stops_no_topic(tmp_path: Path, kafka: Broker) -> None:
    kafka.send("zero", [click(1), b"\x00\x00\x00\x00\x07odd", click(2)], key=b"k")
    settings = settings_of(tmp_path, kafka, "zero")
    assert land(settings).failure is None
    assert sorted(landed(settings)["N"]) == [1, 2]
    assert letters(settings)["raw"].to_list() == [b"\x00\x00\x00\x00\x07odd"]


@pytest.mark.parametrize(("code", "fault"), [(401, SourceError), (403, SourceError), (503, TransientError)])
def test_a_registry_that_refuses_fails_the_input(code: int, fault: type[Exception]) -> None:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Answers)
    Thread(target=server.serve_forever, daemon=True).start()
    asked = Registry(Kafka(servers="a:1", registry=f"http://127.0.0.1:{server.server_port}"))
    with pytest.raises(fault):
        asked.schema(1)
    server.shutdown()


def test_whatever_values_are_each_is_a_record_or_a_dead_letter() -> None:
    dice, dead = Random(7), dict[int, list[int]]()
    parts = [
        b"\x00",
        b"\n",
        b"\r",
        b"\xef\xbb\xbf",
        b"{}",
        b"[",
        b'{"a":1}',
        b'{"a":{"b":[1]}}',
        b'"',
        b"\xff",
        b"\x85",
    ]
    parts += [b"\xe2\x80\xa8", b",", b"1e999", b"NaN", b'{"a":"x"}', b" ", b"\x1c", b'{"":0}', b"\x0c", b"\xfe\xff"]
    values: list[bytes | None] = [b"".join(dice.choices(parts, k=dice.randint(0, 4))) for _ in range(900)]
    values += [dice.randbytes(dice.randint(0, 12)) for _ in range(100)]
    for size in (1, 7, 1000):
        for at in range(0, 1000, size):
            places = range(at + 1, min(at + size, 1000) + 1)
            found = records_of(values[at : at + size], places, Registry(Kafka(servers="a:1")), tombstones=False)
            assert sorted([*found.frame["_position"], *found.dead["_position"]]) == list(places)
            dead.setdefault(size, []).extend(found.dead["_position"])
    assert dead[1] == dead[7] == dead[1000]


def test_lines_at_once_are_what_they_are_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    dice = Random(11)
    texts = ["a", "", "x y", "\u00e9", 'a":1,"b', '{"', "1e999", "\u2028", "\\ud83d", "\\u0000"]
    some = ['{"a":1}', '{"a":null,"b":[1,{"c":"{"}]}', '{ "a" : "x" }', "{}", '{"a":1,"a":2}', '{"a":', "{",
            '{"a":NaN}', '{"a":1}{"a":2}', '{"a":1} ']  # fmt: skip
    some += [f'{{"b":"{text}","n":{number}}}' for text in texts for number in (1, "1.50", 10**30, "true")]
    for _ in range(60):
        values: list[bytes | None] = [text.encode() for text in dice.choices(some, k=dice.randint(1, 40))]
        with monkeypatch.context() as slow:
            slow.setattr("customer360.platform.sources.protocols.kafka.values._plain", lambda _: None)
            expected = records_of(values, range(1, len(values) + 1), Registry(Kafka(servers="a:1")), tombstones=False)
        found = records_of(values, range(1, len(values) + 1), Registry(Kafka(servers="a:1")), tombstones=False)
        assert found.frame.equals(expected.frame) and found.dead.equals(expected.dead), values


def test_who_reads_few_messages_waits_for_no_more(tmp_path: Path, kafka: Broker) -> None:
    """A small batch took a second of each partition, in which the client waited for a full list of messages."""
    kafka.send("quick", [click(n) for n in range(24)])
    settings = settings_of(tmp_path, kafka, "quick")
    source, landing = configured(settings, "clicks"), landing_of(settings)
    piece = source.discover(landing, []).inputs[0]
    began = time.monotonic()
    assert source.read(landing, piece).count == 24
    assert time.monotonic() - began < 2.0


def test_pieces_end_alike_in_whatever_lists_messages_come(monkeypatch: pytest.MonkeyPatch) -> None:
    class Message(bytes):
        def key(self) -> bytes:
            return b"k"

    monkeypatch.setattr(streams, "PIECE", 50)
    monkeypatch.setattr(streams, "PIECE_BYTES", 400)
    dice = Random(3)
    came = [Message(b"x" * dice.randint(0, 30)) for _ in range(300)]
    expected = list(streams._pieces([[message] for message in came]))
    assert sum(map(len, expected)) == 300
    for _ in range(20):
        cuts = sorted(dice.choices(range(300), k=dice.randint(0, 9)))
        lists = [came[a:b] for a, b in itertools.pairwise([0, *cuts, 300])]
        assert list(streams._pieces(lists)) == expected


def test_values_of_unions_stand_beside_each_other() -> None:
    union = ["null", "int", "string", {"type": "record", "name": "R", "fields": [{"name": "x", "type": "int"}]}]
    schema = fastavro.parse_schema({"type": "record", "name": "C", "fields": [{"name": "N", "type": union}]})
    asked = Registry(Kafka(servers="a:1"), {1: schema})
    values: list[bytes | None] = []
    for row in ({"N": 1}, {"N": "two"}, {"N": {"x": 3}}, {"N": None}):
        out = io.BytesIO()
        fastavro.schemaless_writer(out, schema, row)
        values.append(b"\x00\x00\x00\x00\x01" + out.getvalue())
    found = records_of([*values, b'{"N": [5]}'], range(1, 6), asked, tombstones=False)
    assert found.frame["_position"].to_list() == [1, 2, 3, 4, 5]
    assert found.frame["N"].to_list() == ["1", "two", '{"x":3}', None, "[5]"]


def test_bytes_inside_avro_values_are_text() -> None:
    """JSON has none: a list or map of bytes stopped the source."""
    inner = {"type": "map", "values": "bytes"}
    schema = fastavro.parse_schema({"type": "record", "name": "C", "fields": [{"name": "N", "type": inner}]})
    rows = ({"N": {"k": "\u00e9".encode()}}, {"N": {"k": b"\xff\x00"}}, {"N": {}})
    values: list[bytes | None] = []
    for row in rows:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, schema, row)
        values.append(b"\x00\x00\x00\x00\x01" + out.getvalue())
    asked = Registry(Kafka(servers="a:1"), {1: schema})
    assert records_of(values[:1], [1], asked, tombstones=False).frame["N"].to_list() == ['{"k":"\u00e9"}']
    found = records_of(values, [1, 2, 3], asked, tombstones=False)
    assert found.frame["N"].to_list()[:2] == ['{"k":"w6k="}', '{"k":"/wA="}'] and found.count == 3


def test_times_of_no_year_are_null_and_values_name_no_message(tmp_path: Path, kafka: Broker) -> None:
    forged = b'{"ID": "C1", "message.tombstone": true, "message.offset": 99}'
    kafka.send("forged", [forged], timestamp=2**60)
    settings = settings_of(
        tmp_path, kafka, "forged", metadata=True, deleted='"message.tombstone"',
        mapping={"ID": "ID", "N": '"message.offset"'},
    )  # fmt: skip
    assert land(settings).failure is None
    assert landed(settings)["N"].to_list() == [0] and not any(landed(settings)["_deleted"])
    source = configured(settings, "clicks")
    found = source.read(landing_of(settings), source.discover(landing_of(settings), []).inputs[0]).frame
    assert found["message.timestamp"].to_list() == [None] and found["payload:message.offset"].to_list() == ["99"]


def test_large_messages_are_many_pieces(tmp_path: Path, kafka: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PIECE_BYTES", 60)
    kafka.send("large", [click(n) for n in range(9)], key=b"k")
    settings = settings_of(tmp_path, kafka, "large")
    source, landing = configured(settings, "clicks"), landing_of(settings)
    pieces = list(source.pieces(landing, source.discover(landing, []).inputs[0]))
    assert [piece.count for piece in pieces] == [3, 3, 3]


def test_a_group_that_cannot_be_told_stops_nothing(
    tmp_path: Path, kafka: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*_: Any) -> None:
        raise TransientError("coordinator not available")

    kafka.send("untold", [click(1)])
    settings = settings_of(tmp_path, kafka, "untold")
    monkeypatch.setattr(client, "commit", silent)
    assert land(settings).failure is None
    assert land(settings).nodes[0].state == "current"
    assert landed(settings)["N"].to_list() == [1]


@pytest.mark.parametrize("group", [[], ["ID"]])
@pytest.mark.parametrize("values", [[b"no json"], [None], [b"no json", None, b"[1]"]])
def test_messages_that_cannot_be_read_stop_no_topic_when_they_are_alone(
    tmp_path: Path, kafka: Broker, values: list[bytes | None], group: list[str]
) -> None:
    topic = f"quiet{len(values)}{values[0] is None}{len(group)}"
    mapping = {"ID": "nr", "N": "SUM(n)" if group else "n"}
    keys = {"mapping": mapping, **({"group_by": ["nr"]} if group else {})}
    settings = settings_of(tmp_path, kafka, topic, **keys)
    kafka.send(topic, values)
    assert land(settings).failure is None
    assert letters(settings).height == len(values)
    kafka.send(topic, [b'{"nr": "C1", "n": 1}'])
    assert land(settings).failure is None
    assert landed(settings).select("ID", "N").rows() == [("C1", 1)]


def test_a_message_that_the_client_refuses_is_told_of_and_those_before_it_are_sent(kafka: Broker) -> None:
    broker = Kafka(servers=kafka.servers, timeout_seconds=20)
    sender = Producer(broker)
    sent = [Message("refused", "k", value) for value in (b"{}", b"x" * 1_200_000)]
    with pytest.raises(TransientError, match="size too large"):
        sender.send(sent)
    sender.send(sent[:1])
    with client.consumer(broker, "g") as reading:
        ends = [client.bounds(reading, broker, "refused", p)[1] for p in client.partitions(reading, broker, "refused")]
    assert sum(ends) == 2
