"""What a broker holds of a topic, and the messages between two offsets of a partition."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from customer360.platform.connections.kafka import Kafka
from customer360.platform.errors import ConfigError, SourceError, TransientError

AT_FIRST, AT_ONCE = 100, 5_000  # messages that one call asks for, by their size
AT_ONCE_BYTES = 16 << 20


@contextmanager
def consumer(kafka: Kafka, group: str) -> Iterator[Any]:
    """A consumer that is told what it reads: it joins no group, so a rebalance takes nothing from it.

    Raises:
        ConfigError: the client library is not installed, or does not take the settings.
    """
    try:
        from confluent_kafka import Consumer, KafkaException
    except ImportError:
        raise ConfigError("kind: kafka needs confluent-kafka: pip install 'customer360[stream]'") from None
    said = options_of(kafka) | {
        "group.id": group,
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "fetch.wait.max.ms": 50,  # what is asked for is there
        **kafka.options,
    }
    try:
        made = Consumer(said, logger=_Silent())
    except KafkaException as fault:
        raise ConfigError(f"{kafka.servers}: {kafka.without_secrets(str(fault.args[0]))}") from None
    try:
        yield made
    finally:
        made.close()


def options_of(kafka: Kafka) -> dict[str, Any]:
    """What a client of the library must know to reach the brokers.

    Raises:
        ConfigError: a secret is not there.
    """
    said: dict[str, Any] = {
        "bootstrap.servers": kafka.servers,
        "security.protocol": kafka.security,
        "log_level": 0,
    }
    if kafka.security.startswith("SASL"):
        said |= {"sasl.mechanism": kafka.mechanism, "sasl.username": kafka.user}
        said |= {"sasl.password": kafka.secret("password")}
    if kafka.ca_file:
        said["ssl.ca.location"] = kafka.ca_file
    return said


class _Silent:
    """What the library would print: what goes wrong is raised."""

    def log(self, *_: Any, **__: Any) -> None: ...


def partitions(client: Any, kafka: Kafka, topic: str) -> list[int]:
    """The partitions of a topic.

    Raises:
        SourceError: there is no such topic, or it may not be read.
        TransientError: the broker does not answer.
    """
    with _said(kafka, topic):
        found = client.list_topics(topic, timeout=kafka.timeout_seconds).topics[topic]
    if found.error is not None:
        raise SourceError(f"topic {topic} of {kafka.servers}: {found.error.str()}")
    return sorted(found.partitions)


def bounds(client: Any, kafka: Kafka, topic: str, partition: int) -> tuple[int, int]:
    """The offset of the first message that a partition still holds, and the one that its next message gets."""
    from confluent_kafka import TopicPartition

    with _said(kafka, topic):
        low, high = client.get_watermark_offsets(TopicPartition(topic, partition), timeout=kafka.timeout_seconds)
    return int(low), int(high)


def first_at(client: Any, kafka: Kafka, topic: str, partition: int, milliseconds: int) -> int | None:
    """The offset of the first message that is not older than a moment; None where all are."""
    from confluent_kafka import TopicPartition

    asked = [TopicPartition(topic, partition, milliseconds)]
    with _said(kafka, topic):
        found = client.offsets_for_times(asked, timeout=kafka.timeout_seconds)[0]
    return int(found.offset) if found.offset >= 0 else None


def messages(client: Any, kafka: Kafka, topic: str, partition: int, start: int, stop: int) -> Iterator[list[Any]]:
    """Messages of a partition from an offset up to another, without it, in their order, in lists as they come. Offsets
    may be missing: those of aborted transactions, and what a compaction took.

    Raises:
        TransientError: the broker falls silent, or a transaction is open before ``stop``.
        SourceError: the broker does not hold ``start`` any more.
    """
    from confluent_kafka import TopicPartition

    with _said(kafka, topic):
        client.assign([TopicPartition(topic, partition, start)])
    heard, many = time.monotonic(), AT_FIRST
    while True:
        with _said(kafka, topic):  # what is there already is taken at once: to wait for a number is to wait in vain
            first = client.poll(1.0)
            found = [] if first is None else [first, *client.consume(min(many, stop - start), timeout=0)]
        if size := sum(map(len, found)):
            many = max(1, min(AT_ONCE, AT_ONCE_BYTES * len(found) // size))
        if found:
            heard = time.monotonic()
            ours, is_last = _until(kafka, topic, partition, stop, found)
            if ours:
                yield ours
                start = ours[-1].offset() + 1
            if is_last or start == stop:
                return
        elif time.monotonic() - heard > kafka.timeout_seconds:
            raise TransientError(
                f"{kafka.servers} is silent: partition {partition} of {topic}, for {kafka.timeout_seconds:g} s"
            )


def _until(kafka: Kafka, topic: str, partition: int, stop: int, found: list[Any]) -> tuple[list[Any], bool]:
    """The messages before ``stop`` of those that came, and whether none comes after them."""
    from confluent_kafka import KafkaError

    if found[-1].error() is None and found[-1].offset() < stop and not any(m.error() for m in found):
        return found, False
    for place, message in enumerate(found):
        fault = message.error()
        is_end = fault is not None and fault.code() == KafkaError._PARTITION_EOF
        if (fault is None or is_end) and message.offset() >= stop:
            return found[:place], True
        if is_end:
            raise TransientError(
                f"partition {partition} of {topic} ends at {message.offset()} before {stop}: a transaction is open"
            )
        if fault is not None:
            raise _fault(kafka, topic, fault)
    return found, False


def commit(client: Any, kafka: Kafka, topic: str, offsets: dict[int, int]) -> None:
    """Tell the group how far it is, for tools that show lag: what counts is the cursor of the batch."""
    from confluent_kafka import TopicPartition

    with _said(kafka, topic):
        client.commit(
            offsets=[TopicPartition(topic, partition, offset) for partition, offset in offsets.items()],
            asynchronous=False,
        )


@contextmanager
def _said(kafka: Kafka, topic: str) -> Iterator[None]:
    from confluent_kafka import KafkaException

    try:
        yield
    except KafkaException as fault:
        raise _fault(kafka, topic, fault.args[0]) from None


def _fault(kafka: Kafka, topic: str, fault: Any) -> Exception:
    """A fault of the broker: what another try may cure, or not."""
    from confluent_kafka import KafkaError

    text = kafka.without_secrets(f"topic {topic} of {kafka.servers}: {fault.str()}")
    lasting = (
        KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION,
        KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED, KafkaError._AUTHENTICATION, KafkaError.OFFSET_OUT_OF_RANGE,
        KafkaError._AUTO_OFFSET_RESET,
    )  # fmt: skip
    return SourceError(text) if fault.code() in lasting else TransientError(text)
