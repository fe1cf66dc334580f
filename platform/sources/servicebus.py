"""A queue or a subscription of Azure Service Bus as a source. Messages are looked at until their batch is in bronze;
only then are they received, under a lock, and completed, so that nothing is lost whatever dies.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal, Self

import polars as pl
from pydantic import Field, model_validator

from customer360.platform import telemetry
from customer360.platform.connections.kafka import Kafka
from customer360.platform.connections.servicebus import ServiceBus
from customer360.platform.errors import SourceError
from customer360.platform.ledger import Batch, Input, last_cursor
from customer360.platform.sources.base import Discovery, Source
from customer360.platform.sources.formats.records import POSITION, Records, aside, no_records, together
from customer360.platform.sources.landing import Landing
from customer360.platform.sources.protocols.kafka.values import Registry, records_of

AT_ONCE = 250  # messages that one look asks for
PIECE = 50_000  # messages of one piece
ABOUT = ("id", "subject", "enqueued_at", "sequence", "properties")  # columns message.…
TEXT = Registry(Kafka.model_construct(registry="", registry_user=""))  # values are JSON: there is no registry


class Queue(Source):
    """Messages of ``queue``, or of ``topic`` and ``subscription``, which no one else receives from. Their values are
    JSON; with ``metadata`` each record also has ``message.id``, ``message.subject``, ``message.enqueued_at``,
    ``message.sequence`` and ``message.properties``.
    """

    connects: ClassVar[type[ServiceBus]] = ServiceBus
    rereads: ClassVar[Literal["each", "newest", "never"]] = "never"

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
        with self.connected.receiver(**self._entity) as receiver:
            for message in _looked_at(receiver, after, None):
                last, count = message.sequence_number, count + 1
                if count == self.batch_size:
                    break
        if not count:
            return Discovery()
        name = f"{'/'.join(self._entity.values())}/{after + 1}-{last}"
        piece = Input(name, {"after": after, "upto": last, "count": count})
        return Discovery((piece,), {"sequence": last})

    def read(self, landing: Landing, piece: Input) -> Records:
        return together(self.pieces(landing, piece))

    def pieces(self, landing: Landing, piece: Input) -> Iterator[Records]:
        held, first, seen = list[Any](), 1, 0
        with self.connected.receiver(**self._entity) as receiver:
            for message in _looked_at(receiver, piece.detail["after"], piece.detail["upto"]):
                held.append(message)
                seen += 1
                if len(held) == PIECE:
                    yield self._records(held, first)
                    first, held = first + PIECE, []
        if seen != piece.detail["count"]:
            raise SourceError(
                f"{piece.name} held {piece.detail['count']:,} messages and holds {seen:,}: they expired, or somebody "
                "else receives from it; give the source a queue or subscription of its own"
            )
        yield self._records(held, first) if held else no_records()

    def _records(self, messages: list[Any], first: int) -> Records:
        places = list(range(first, first + len(messages)))
        found = records_of([b"".join(m.body) for m in messages], places, TEXT, tombstones=False)
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
        with self.connected.receiver(**self._entity) as receiver:
            while any(_looked_at(receiver, 0, upto)):
                found = receiver.receive_messages(
                    max_message_count=AT_ONCE, max_wait_time=self.connected.answer_seconds
                )
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


def _looked_at(receiver: Any, after: int, upto: int | None) -> Iterator[Any]:
    """Messages of greater numbers, up to one, in their order; none is locked."""
    while found := receiver.peek_messages(max_message_count=AT_ONCE, sequence_number=after + 1):
        for message in found:
            if upto is not None and message.sequence_number > upto:
                return
            yield message
        after = found[-1].sequence_number


def _properties(said: Any) -> str | None:
    plain = {_text(name): _text(value) for name, value in (said or {}).items()}
    return json.dumps(plain, ensure_ascii=False, default=str) if plain else None


def _text(value: Any) -> Any:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
