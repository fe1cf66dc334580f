"""A queue or a subscription of Azure Service Bus as a source. Messages are looked at until their batch is in bronze;
only then are they received, under a lock, and completed, so that nothing is lost whatever dies.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, ClassVar, Literal, Self

import polars as pl
from pydantic import Field, model_validator

from customer360.platform import telemetry
from customer360.platform.connections.kafka import Kafka
from customer360.platform.connections.servicebus import ServiceBus
from customer360.platform.errors import SourceError
from customer360.platform.ledger import Batch, Input, last_cursor
from customer360.platform.sources.base import Discovery, Source
from customer360.platform.sources.formats.records import (
    POSITION,
    Records,
    aside,
    dead_letters,
    no_records,
    together,
)
from customer360.platform.sources.landing import Landing
from customer360.platform.sources.protocols.kafka.values import Registry, records_of

AT_ONCE = 250  # messages that one look asks for
PIECE = 50_000  # messages of one piece
LONGEST = datetime.timedelta(milliseconds=0xFFFFFFFF)  # that a header of AMQP holds, and what longer lives are in it
ABOUT = ("id", "subject", "enqueued_at", "sequence", "properties")  # columns message.…
TEXT = Registry(Kafka.model_construct(registry="", registry_user=""))  # values are JSON: there is no registry


class Queue(Source):
    """Messages of ``queue``, or of ``topic`` and ``subscription``, which no one else receives from. Their values are
    JSON; with ``metadata`` each record also has ``message.id``, ``message.subject``, ``message.enqueued_at``,
    ``message.sequence`` and ``message.properties``.
    """

    connects: ClassVar[type[ServiceBus]] = ServiceBus
    rereads: ClassVar[Literal["each", "newest", "never"]] = "never"
    momentary: ClassVar[tuple[str, ...]] = ("at",)

    kind: Literal["servicebus"] = "servicebus"
    queue: str = ""
    topic: str = ""
    subscription: str = ""
    batch_size: int = Field(default=10_000, ge=1)  # messages of one batch
    metadata: bool = False

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if bool(self.queue) == bool(self.topic) or bool(self.topic) != bool(self.subscription):
            raise ValueError("give queue, or topic and subscription")
        return self

    @property
    def connected(self) -> ServiceBus:
        found = super().connected
        assert isinstance(found, ServiceBus)
        return found

    @property
    def lane(self) -> str:
        return f"service bus {self.connection} {'/'.join(self._entity.values())}"

    @property
    def _entity(self) -> dict[str, str]:
        if self.queue:
            return {"queue_name": self.queue}
        return {"topic_name": self.topic, "subscription_name": self.subscription}

    def discover(self, landing: Landing, known: Sequence[Batch]) -> Discovery:
        """Messages after the last batch, by their sequence numbers. Nothing is locked."""
        cursor = last_cursor(known) or {"sequence": 0}
        after, last, count = cursor["sequence"], cursor["sequence"], 0
        now = datetime.datetime.now(datetime.UTC)
        with self.connected.receiver(**self._entity) as receiver:
            for message in _looked_at(receiver, after, None, now):
                last, count = message.sequence_number, count + 1
                if count == self.batch_size:
                    break
        if not count:
            return Discovery()
        name = f"{'/'.join(self._entity.values())}/{after + 1}-{last}"
        piece = Input(name, {"after": after, "upto": last, "count": count, "at": now.isoformat()})
        return Discovery((piece,), {"sequence": last})

    def read(self, landing: Landing, piece: Input) -> Records:
        return together(self.pieces(landing, piece))

    def pieces(self, landing: Landing, piece: Input) -> Iterator[Records]:
        held, first, seen = list[Any](), 1, 0
        said = piece.detail
        at = datetime.datetime.fromisoformat(said["at"]) if "at" in said else datetime.datetime.now(datetime.UTC)
        with self.connected.receiver(**self._entity) as receiver:
            for message in _looked_at(receiver, said["after"], said["upto"], at):
                held.append(message)
                seen += 1
                if len(held) == PIECE:
                    yield self._records(held, first)
                    first, held = first + PIECE, []
        if seen != piece.detail["count"]:
            raise SourceError(
                f"{piece.name} held {piece.detail['count']:,} messages and holds {seen:,}: they expired, were "
                "deferred, or somebody else receives from it; give the source a queue or subscription of its own, and "
                f"`customer360 batch drop {self.name}` lets the batch go, so that what is left lands with the next"
            )
        yield self._records(held, first) if held else replace(no_records(), keyed=True)

    def _records(self, messages: list[Any], first: int) -> Records:
        places = list(range(first, first + len(messages)))
        values, odd = list[bytes](), list[tuple[int, str, bytes]]()
        of_values = list[int]()
        for message, place in zip(messages, places, strict=True):
            value = _value(message.body)
            if isinstance(value, bytes):
                values.append(value)
                of_values.append(place)
            else:
                odd.append((place, f"its body is {type(value).__name__} of AMQP: no JSON", str(value).encode()))
        found = records_of(values, of_values, TEXT, tombstones=False) if values else no_records()
        if odd:
            dead = pl.concat([found.dead, dead_letters(odd)]).sort(POSITION)
            found = Records(found.frame, dead, keyed=True)
        if not self.metadata:
            return found
        told = [
            (m.message_id, m.subject, m.enqueued_time_utc, m.sequence_number, _properties(m.application_properties))
            for m in messages
        ]
        columns = dict(zip(ABOUT, zip(*told, strict=True), strict=True))
        about = pl.DataFrame({POSITION: places, **{f"message.{name}": list(of) for name, of in columns.items()}})
        frame = aside(found.frame, set(about.columns) - {POSITION})
        return Records(frame.join(about, on=POSITION, how="left", maintain_order="left"), found.dead, keyed=True)

    def release(self, landing: Landing, batch: Batch) -> None:
        """Receive what is in bronze, and complete it. What came since stays."""
        if not batch.cursor or self._looks:
            return
        upto, done = batch.cursor["sequence"], 0
        now = datetime.datetime.now(datetime.UTC)
        with self.connected.receiver(**self._entity) as receiver:
            # No more than are left: one that is given back has been delivered once more, and has only so many
            while left := sum(1 for _ in islice(_looked_at(receiver, 0, upto, now), AT_ONCE)):
                found = receiver.receive_messages(max_message_count=left, max_wait_time=self.connected.answer_seconds)
                landed = [message for message in found if message.sequence_number <= upto]
                for message in found:
                    settle = receiver.complete_message if message in landed else receiver.abandon_message
                    settle(message)
                done += len(landed)
                if not landed:
                    telemetry.log.warning(
                        f"{self.name}: messages up to {upto} are in bronze and cannot be received, as somebody holds "
                        "them; the next run completes them"
                    )
                    return
        telemetry.log.debug(f"{self.name}: completed {done:,} messages")


def _looked_at(receiver: Any, after: int, upto: int | None, at: datetime.datetime) -> Iterator[Any]:
    """Messages of greater numbers, up to one, in their order; none is locked. Looks also show those that wait for their
    time, that were deferred, and that expired before ``at``: they cannot be received, and are passed by.
    """
    while found := receiver.peek_messages(max_message_count=AT_ONCE, sequence_number=after + 1):
        for message in found:
            if upto is not None and message.sequence_number > upto:
                return
            expires = _expires(message)
            if not message.state and (expires is None or expires > at):  # 0: ServiceBusMessageState.ACTIVE
                yield message
        after = found[-1].sequence_number


def _expires(message: Any) -> datetime.datetime | None:
    """When a message expires; None of one that never does. A life that its header cannot hold is told by when it was
    made and until when it lives: the clock is the sender's, so only how long it is counts.
    """
    if message.time_to_live is None or message.time_to_live < LONGEST:
        found: datetime.datetime | None = message.expires_at_utc
        return found
    said = message.raw_amqp_message.properties
    if not said or not said.creation_time or not said.absolute_expiry_time or not message.enqueued_time_utc:
        return None
    try:
        lives = datetime.timedelta(milliseconds=said.absolute_expiry_time - said.creation_time)
        return message.enqueued_time_utc + max(lives, LONGEST)
    except OverflowError:
        return None


def _value(body: Any) -> Any:
    """The bytes of a body, or it as it is where it has none. AMQP has parts of bytes, values and sequences."""
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, dict):
        try:
            return json.dumps(_json(body), ensure_ascii=False).encode()
        except (TypeError, ValueError):
            return body
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    if body is None or not isinstance(body, Iterable):
        return body
    parts = list(body)
    return b"".join(parts) if all(isinstance(part, bytes) for part in parts) else parts


def _json(value: Any) -> Any:
    """A value of AMQP as one of JSON: texts may be bytes there."""
    if isinstance(value, dict):
        return {str(_text(name)): _json(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_json(each) for each in value]
    return value.isoformat() if isinstance(value, datetime.datetime) else _text(value)


def _properties(said: Any) -> str | None:
    plain = {_text(name): _text(value) for name, value in (said or {}).items()}
    return json.dumps(plain, ensure_ascii=False, default=str) if plain else None


def _text(value: Any) -> Any:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
