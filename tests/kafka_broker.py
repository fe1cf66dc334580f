"""A broker for tests: librdkafka's own, which speaks the protocol to any client of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Broker:
    """A broker; its topics have four partitions, made when they are first written to."""

    producer: Any
    servers: str
    sent: list[tuple[int, int]] = field(default_factory=list)  # partition and offset of each message

    def send(self, topic: str, values: list[Any], **about: Any) -> None:
        """Write messages, each with its partition by its place, or by its key."""
        from confluent_kafka import Message

        faults: list[Any] = []

        def done(fault: Any, message: Message) -> None:
            faults.append(fault)
            self.sent.append((message.partition() or 0, message.offset() or 0))

        for place, value in enumerate(values):
            where = {} if "key" in about else {"partition": place % 4}
            self.producer.produce(topic, value=value, on_delivery=done, **where, **about)
            self.producer.poll(0)
        assert self.producer.flush(20) == 0
        assert not any(faults), faults


@contextmanager
def broker() -> Iterator[Broker]:
    from confluent_kafka import Producer

    producer = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    servers = ",".join(f"{b.host}:{b.port}" for b in producer.list_topics(timeout=10).brokers.values())
    yield Broker(producer, servers)
    producer.flush(5)
