"""A queue of Azure Service Bus, against receivers of this file: no server of it was to be had."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from customer360.platform.connections.servicebus import ServiceBus
from customer360.platform.errors import SourceError, TransientError
from customer360.platform.lake import Lake
from customer360.platform.run.executor import LocalExecutor
from customer360.platform.run.ingest import SourceRun, ingest
from customer360.platform.run.news import look_at
from customer360.platform.settings import ExecutionSettings, RetrySettings, Settings
from customer360.platform.sources import servicebus
from customer360.platform.sources.servicebus import Queue
from customer360.platform.tables import String, Table

pytest.importorskip("azure.servicebus", reason="azure-servicebus is not installed")

TABLE = "bronze.t_clicks"


@pytest.fixture(autouse=True)
def clicks(registries: None) -> None:
    class Clicks(Table, table=TABLE, key=("ID",)):
        """One row per click."""

        ID = String(nullable=True)
        WHEN = String(nullable=True)


@dataclass
class Message:
    sequence_number: int
    body: Any
    message_id: str = "m"
    subject: str | None = None
    state: int = 0
    expires_at_utc: datetime | None = None
    time_to_live: timedelta | None = None
    enqueued_time_utc: datetime = datetime(2024, 3, 1, tzinfo=UTC)
    application_properties: dict[bytes, Any] = field(default_factory=lambda: {b"shop": b"web"})


def _waits(message: Message) -> bool:
    expires = message.expires_at_utc
    return bool(message.state) or (expires is not None and expires < datetime.now(UTC))


class Bus:
    """A queue as the library's receivers show it: looks leave messages, locks hide them, completed ones are gone."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.locked: set[int] = set()
        self.abandoned: list[int] = []

    def send(self, *bodies: bytes) -> None:
        start = self.messages[-1].sequence_number if self.messages else 0
        self.messages += [Message(start + n, [body[:3], body[3:]]) for n, body in enumerate(bodies, 1)]

    @contextmanager
    def receiver(self, _: ServiceBus, **entity: str) -> Any:
        assert entity == {"queue_name": "clicks"}
        yield self
        self.locked.clear()

    def peek_messages(self, max_message_count: int, sequence_number: int) -> list[Message]:
        return [m for m in self.messages if m.sequence_number >= sequence_number][:max_message_count]

    def receive_messages(self, max_message_count: int, max_wait_time: float) -> list[Message]:
        found = [m for m in self.messages if m.sequence_number not in self.locked and not _waits(m)]
        found = found[:max_message_count]
        self.locked |= {m.sequence_number for m in found}
        return found

    def complete_message(self, message: Message) -> None:
        assert message.sequence_number in self.locked
        self.messages.remove(message)

    def abandon_message(self, message: Message) -> None:
        self.abandoned.append(message.sequence_number)


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> Bus:
    made = Bus()
    monkeypatch.setattr(servicebus, "AT_ONCE", 4)
    monkeypatch.setattr(ServiceBus, "receiver", lambda self, **entity: made.receiver(self, **entity))
    return made


def settings_of(root: Path, **keys: Any) -> Settings:
    (root / "landing").mkdir(exist_ok=True)
    source = {"kind": "servicebus", "connection": "bus", "table": TABLE, "system": "WEB", "queue": "clicks"}
    return Settings.model_validate(
        {
            "landing": str(root / "landing"),
            "lake": {"root": str(root / "lake"), "buckets": 4},
            "connections": {"bus": {"kind": "servicebus", "namespace": "example.servicebus.windows.net"}},
            "sources": {"clicks": {**source, **keys}},
        }
    )


def land(root: Path, **keys: Any) -> SourceRun:
    settings = settings_of(root, **keys)
    executor = LocalExecutor(ExecutionSettings(executor="local", retry=RetrySettings(attempts=1)))
    (done,) = ingest(Lake(settings.lake.root, {}, 4), settings, ["clicks"], executor, {})
    return done


def landed(root: Path) -> pl.DataFrame:
    return Lake(str(root / "lake"), {}, 4).scan(TABLE).collect().sort("_seq", "_position")


def click(number: int) -> bytes:
    return json.dumps({"ID": f"C{number}"}).encode()


def test_messages_are_completed_once_they_are_in_bronze(tmp_path: Path, bus: Bus) -> None:
    bus.send(*(click(n) for n in range(11)))
    assert land(tmp_path, batch_size=9).failure is None
    assert [m.sequence_number for m in bus.messages] == [10, 11]
    assert bus.abandoned == []  # which counts as a delivery
    assert land(tmp_path).failure is None
    assert bus.messages == [] and landed(tmp_path)["ID"].to_list() == [f"C{n}" for n in range(11)]
    assert land(tmp_path).nodes[0].state == "current"


def test_what_a_crash_left_is_completed_and_does_not_land_again(
    tmp_path: Path, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus.send(click(1), click(2))
    with monkeypatch.context() as dies:
        dies.setattr(Queue, "release", lambda *_: None)
        land(tmp_path)
    assert len(bus.messages) == 2
    bus.send(click(3))
    assert land(tmp_path).failure is None
    assert bus.messages == [] and landed(tmp_path)["ID"].to_list() == ["C1", "C2", "C3"]


def test_a_batch_that_waits_keeps_its_messages(tmp_path: Path, bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    bus.send(click(1))
    with monkeypatch.context() as fails:
        fails.setattr(Queue, "_records", lambda *_: (_ for _ in ()).throw(ConnectionError("gone")))
        assert "gone" in (land(tmp_path).failure or "")
    assert len(bus.messages) == 1
    bus.send(click(2))
    assert land(tmp_path).failure is None
    assert bus.messages == [] and landed(tmp_path)["ID"].to_list() == ["C1", "C2"]


def test_messages_that_somebody_else_took_are_said(tmp_path: Path, bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    bus.send(click(1), click(2))
    found = Queue.discover

    def and_then_gone(*given: Any) -> Any:
        told = found(*given)
        bus.messages.pop(0)
        return told

    monkeypatch.setattr(Queue, "discover", and_then_gone)
    failure = land(tmp_path).failure or ""
    assert "held 2 messages and holds 1" in failure and "customer360 batch drop clicks" in failure


def test_messages_that_somebody_holds_are_completed_later(tmp_path: Path, bus: Bus) -> None:
    bus.send(click(1))
    bus.locked.add(1)
    bus.receive_messages, held = (lambda **_: []), bus.receive_messages  # type: ignore[method-assign]
    assert land(tmp_path).failure is None
    assert len(bus.messages) == 1
    bus.receive_messages = held  # type: ignore[method-assign]
    land(tmp_path)
    assert bus.messages == [] and landed(tmp_path).height == 1


def test_metadata_and_dead_letters(tmp_path: Path, bus: Bus) -> None:
    bus.send(click(1), b"no json", b"\x00\x00\x00\x00\x07abc")
    mapping = {"ID": "ID", "WHEN": '"message.sequence" || \' \' || "message.properties"'}
    done = land(tmp_path, metadata=True, mapping=mapping)
    assert done.nodes[0].facts["dead"] == 2
    assert landed(tmp_path)["WHEN"].to_list() == ['1 {"shop": "web"}']


def test_scheduled_deferred_and_expired_messages_are_passed_by(tmp_path: Path, bus: Bus) -> None:
    bus.send(*(click(n) for n in range(6)))
    bus.messages[0].state, bus.messages[3].state = 1, 2
    bus.messages[1].expires_at_utc = datetime(2024, 3, 2, tzinfo=UTC)
    assert land(tmp_path).failure is None
    assert landed(tmp_path)["ID"].to_list() == ["C2", "C4", "C5"]
    assert [m.sequence_number for m in bus.messages] == [1, 2, 4]


def test_two_looks_at_messages_that_wait_are_equal(tmp_path: Path, bus: Bus) -> None:
    settings = settings_of(tmp_path)
    lake = Lake(settings.lake.root, {}, 4)
    bus.send(click(1))
    shown = [look_at(lake, settings), look_at(lake, settings)]
    bus.send(click(2))
    shown.append(look_at(lake, settings))
    assert shown[0] and shown[0] == shown[1] != shown[2]


MADE = 1_700_000_000_000  # ms since 1970


@pytest.mark.parametrize(
    ("life", "until", "lives"),
    [
        (None, None, True),
        (1000, None, False),
        (1000, MADE + 10**12, False),
        (0xFFFFFFFF, None, True),
        (0xFFFFFFFF, 253_402_243_199_000, True),
        (0xFFFFFFFF, MADE + 5_000_000_000, False),
        (922_337_203_685_477, None, True),
    ],
)
def test_a_life_longer_than_a_header_holds_has_not_ended(life: int | None, until: int | None, lives: bool) -> None:
    from azure.servicebus import ServiceBusReceivedMessage
    from azure.servicebus._pyamqp.message import Header, Properties
    from azure.servicebus._pyamqp.message import Message as Sent

    sent = Sent(
        header=Header(ttl=life),
        properties=Properties(creation_time=MADE, absolute_expiry_time=until),
        message_annotations={b"x-opt-enqueued-time": MADE, b"x-opt-sequence-number": 1},
        data=[b"{}"],
    )
    message = ServiceBusReceivedMessage(sent, "receive_and_delete", receiver=None)
    looks = iter([[message], []])
    receiver = type("Receiver", (), {"peek_messages": lambda *_, **__: next(looks)})()
    found = list(servicebus._looked_at(receiver, 0, None, datetime(2026, 6, 1, tzinfo=UTC)))
    assert bool(found) is lives


def test_bodies_of_amqp_values_land_or_are_dead_letters(tmp_path: Path, bus: Bus) -> None:
    bus.send(*(b"" for _ in range(6)))
    bodies = ['{"ID": "text"}', b'{"ID": "bytes"}', {b"ID": b"record"}, 7, [["ID", 1]], iter([b'{"ID"', b': "data"}'])]
    for message, body in zip(bus.messages, bodies, strict=True):
        message.body = body
    done = land(tmp_path, metadata=True)
    assert done.failure is None and done.nodes[0].facts["dead"] == 2
    assert landed(tmp_path)["ID"].to_list() == ["text", "bytes", "record", "data"] and bus.messages == []
    bus.messages = [Message(7, 8)]
    assert land(tmp_path, metadata=True).failure is None
    assert bus.messages == []


@pytest.mark.parametrize(
    "wrong",
    [{}, {"queue": "a", "topic": "b", "subscription": "c"}, {"topic": "b"}, {"queue": "a", "subscription": "c"}],
)
def test_one_entity_is_named(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="give queue, or topic and subscription"):
        Queue.model_validate({"table": TABLE, "system": "WEB", "kind": "servicebus", **wrong})


@pytest.mark.parametrize("entity", [{"queue_name": "q"}, {"topic_name": "t", "subscription_name": "s"}])
def test_a_namespace_that_is_not_there_is_said_without_its_secret(
    monkeypatch: pytest.MonkeyPatch, entity: dict[str, str]
) -> None:
    secret = "Endpoint=sb://nowhere.invalid/;SharedAccessKeyName=n;SharedAccessKey=c2VjcmV0"
    monkeypatch.setenv("BUS", secret)
    with pytest.raises(TransientError) as said, ServiceBus(connection_string_env="BUS").receiver(**entity):
        raise AssertionError
    assert "c2VjcmV0" not in str(said.value) and "\n" not in str(said.value)


def test_what_may_pass_is_told_from_what_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    from azure.servicebus.exceptions import MessagingEntityNotFoundError, ServiceBusConnectionError

    for fault, raised in ((MessagingEntityNotFoundError, SourceError), (ServiceBusConnectionError, TransientError)):
        raising = fault(message="no such thing")
        monkeypatch.setattr(ServiceBus, "_client", lambda _, raising=raising: (_ for _ in ()).throw(raising))
        with pytest.raises(raised, match="no such thing"), ServiceBus(namespace="a.b").receiver(queue_name="q"):
            raise AssertionError
