"""Messages of Debezium as changes, whatever converter wrote them."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from customer360.platform.errors import SourceError
from customer360.platform.sources import formats
from customer360.platform.sources.formats.records import Records
from customer360.platform.sources.protocols.changes.debezium import Enveloped
from customer360.platform.sources.protocols.changes.logical import text_of, type_of

POSTGRES = {"connector": "postgresql", "name": "crm", "db": "crm", "schema": "public", "table": "people"}
SAID = Enveloped.model_construct(envelope="debezium", types={}, on_truncate="refuse")


def message(op: str, before: Any = None, after: Any = None, **source: Any) -> dict[str, Any]:
    where = {**POSTGRES, "ts_ms": 1_700_000_000_123, "txId": 7, "lsn": 900, **source}
    return {"before": before, "after": after, "source": where, "op": op, "ts_ms": 1_700_000_009_999}


def column(name: str, kind: str, semantic: str = "", **parameters: str) -> dict[str, Any]:
    found: dict[str, Any] = {"field": name, "type": kind, "optional": True}
    return found | ({"name": semantic} if semantic else {}) | ({"parameters": parameters} if parameters else {})


def with_schema(payload: dict[str, Any], *columns: dict[str, Any]) -> dict[str, Any]:
    row = {"type": "struct", "fields": list(columns), "optional": True, "name": "crm.public.people.Value"}
    fields = [{**row, "field": side} for side in ("before", "after")]
    return {"schema": {"type": "struct", "fields": fields, "name": "crm.public.people.Envelope"}, "payload": payload}


def opened(*messages: Any, said: Enveloped = SAID, keys: dict[int, str | None] | None = None) -> Records:
    text = b"\n".join(json.dumps(m).encode() for m in messages) + b"\n"
    return said.opened(formats.read(text, "json"), keys)


def test_each_operation_is_a_change_of_a_row() -> None:
    ada, ann = {"id": 1, "name": "Ada"}, {"id": 1, "name": "Ann"}
    frame = opened(
        message("r", None, ada, snapshot="true"), message("c", None, ada), message("u", ada, ann), message("d", ann)
    ).frame
    assert frame["change.kind"].to_list() == ["snapshot", "insert", "update", "delete"]
    assert frame["name"].to_list() == ["Ada", "Ada", "Ann", "Ann"]
    assert frame["change.changed"].to_list() == [None, None, '["name"]', None]
    assert frame["change.old"].to_list()[2:] == ['{"id": "1", "name": "Ada"}', '{"id": "1", "name": "Ann"}']
    assert set(frame["change.at"].to_list()) == {"2023-11-14T22:13:20.123000+00:00"}
    assert set(frame["change.lsn"].to_list()) == {"900"} and set(frame["change.transaction"].to_list()) == {"7"}
    assert frame["change.id"].n_unique() == 4


def test_what_a_schema_tells_is_decoded() -> None:
    columns = (
        column("id", "int32"),
        column("spent", "bytes", "org.apache.kafka.connect.data.Decimal", scale="2"),
        column("credit", "struct", "io.debezium.data.VariableScaleDecimal"),
        column("born", "int32", "io.debezium.time.Date"),
        column("seen", "int64", "io.debezium.time.MicroTimestamp"),
        column("read", "int64", "io.debezium.time.Timestamp"),
        column("at", "string", "io.debezium.time.ZonedTimestamp"),
        column("opens", "int64", "io.debezium.time.MicroTime"),
        column("photo", "bytes"),
        column("member", "boolean"),
        column("tags", "string", "io.debezium.data.Json"),
    )
    values = {
        "id": 4, "spent": base64.b64encode((-12345).to_bytes(3, signed=True)).decode(),
        "credit": {"scale": 3, "value": base64.b64encode(b"\x05").decode()}, "born": -1, "seen": 1_700_000_000_000_001,
        "read": 1_700_000_000_500, "at": "2024-02-03T04:05:06+01:00", "opens": 3_600_000_001,
        "photo": base64.b64encode(b"\xff\x00").decode(), "member": True, "tags": '{"a": 1.50}',
    }  # fmt: skip
    frame = opened(with_schema(message("c", None, values), *columns)).frame
    assert frame.select(list(values)).row(0) == (
        "4", "-123.45", "0.005", "1969-12-31", "2023-11-14T22:13:20.000001", "2023-11-14T22:13:20.500000",
        "2024-02-03T04:05:06+01:00", "01:00:00.000001", "ff00", "true", '{"a": 1.50}',
    )  # fmt: skip


def test_without_a_schema_the_source_says_what_values_are() -> None:
    values = {"id": 1, "spent": "MDk=", "born": 19_000, "price": "12.50", "rate": 1.25}
    said = SAID.model_copy(update={"types": {"spent": "Decimal(2)", "born": "Date"}})
    frame = opened(message("c", None, values), said=said).frame
    assert frame.select(list(values)).row(0) == ("1", "123.45", "2022-01-08", "12.50", "1.25")
    assert opened(message("c", None, values)).frame.select("spent", "born").row(0) == ("MDk=", "19000")


@pytest.mark.parametrize("wrong", ["Money", "Decimal(x)", ""])
def test_a_type_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="is none of Date"):
        Enveloped.model_validate({"envelope": "debezium", "types": {"a": wrong}})


@pytest.mark.parametrize(
    ("value", "kind", "found"),
    [
        (10**18, "MicroTimestamp", "1000000000000000000"),  # after the year 9999
        ("not base64!", "Decimal(2)", "not base64!"),
        (12.5, "Decimal(1)", "12.5"),  # a converter that writes numbers
        (None, "Date", None),
        ("2024-01-01", "Date", "2024-01-01"),
    ],
)
def test_a_value_that_is_not_of_its_type_stays(value: Any, kind: str, found: str | None) -> None:
    assert text_of(value, type_of(kind)) == found


def test_a_message_that_comes_again_has_the_same_id() -> None:
    once, again = message("c", None, {"id": 1}), message("c", None, {"id": 1}) | {"ts_ms": 1}
    first, second, other = opened(once, again, message("c", None, {"id": 1}, lsn=901)).frame["change.id"]
    assert first == second != other


def test_without_a_place_or_a_time_in_the_log_the_messages_time_tells() -> None:
    twice = [
        {"op": "c", "before": None, "after": {"id": 1}, "ts_ms": at} for at in (1_700_000_000_000, 1_700_000_000_001)
    ]
    assert opened(*twice).frame["change.id"].n_unique() == 2
    (at,) = opened(message("r", None, {"id": 1}, ts_ms=0)).frame["change.at"]
    assert at == "2023-11-14T22:13:29.999000+00:00"


def test_a_large_value_that_was_not_sent_is_said() -> None:
    unsent = "__debezium_unavailable_value"
    found = opened(
        message("u", None, {"id": 1, "bio": unsent}), message("u", {"id": 2, "bio": "long"}, {"id": 2, "bio": unsent})
    )
    assert found.frame.select("bio", "change.unsent").rows() == [(None, '["bio"]'), ("long", '["bio"]')]
    assert any("REPLICA IDENTITY FULL" in note for note in found.notes)


def test_what_is_no_message_is_a_dead_letter_at_its_place() -> None:
    found = opened(
        {"id": 1, "__deleted": "false"}, message("c", None, {"id": 2}), message("x", None, {"id": 3}), message("c"),
        {"schema": None, "payload": [1]}, message("m"),
    )  # fmt: skip
    assert found.dead["_position"].to_list() == [1, 3, 4, 5]
    assert "flattened messages are read without `envelope:`" in found.dead["reason"][0]
    assert found.frame["_position"].to_list() == [2, 6]
    assert found.frame["change.kind"].to_list() == ["insert", "none"]
    assert found.count == 6


def test_an_emptied_table_stops_unless_the_source_says_what_it_means() -> None:
    emptied = message("t")
    with pytest.raises(SourceError, match="people was emptied"):
        opened(emptied)
    for said, kind in (("ignore", "none"), ("record", "truncate")):
        found = opened(emptied, said=SAID.model_copy(update={"on_truncate": said}))
        assert found.frame["change.kind"].to_list() == [kind]


def test_a_tombstone_is_a_deletion_of_its_key() -> None:
    keys = {1: '{"schema": null, "payload": {"id": 7}}', 2: '{"id": 8}', 3: None, 4: "plain"}
    frame = opened(*({} for _ in keys), message("c", None, {"id": 9, "name": "x"}), keys=keys).frame
    assert frame["change.kind"].to_list() == ["tombstone", "tombstone", "none", "none", "insert"]
    assert frame["id"].to_list() == ["7", "8", None, None, "9"]
