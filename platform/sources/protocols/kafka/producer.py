"""Messages to a topic, acknowledged by all replicas that are in sync, each once and in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from customer360.platform.connections.kafka import Kafka
from customer360.platform.errors import ConfigError, TransientError
from customer360.platform.sources.protocols.kafka.client import options_of


class Message(NamedTuple):
    """What goes to a topic; messages of one ``key`` keep their order."""

    topic: str
    key: str
    value: bytes
    headers: tuple[tuple[str, str], ...] = ()


class Producer:
    """A producer of one process; opened with the first message."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._client: Any = None

    def send(self, messages: Sequence[Message]) -> None:
        """Send messages; all are acknowledged when this returns.

        Raises:
            TransientError: one of them was not, in the time that the connection allows, its queue is full, or the
                client refuses one (larger than ``message.max.bytes`` of the connection's ``options``); those before it
                may stand in the topic.
        """
        client = self._opened()
        from confluent_kafka import KafkaException

        faults: list[str] = []

        def told(fault: Any, _: Any) -> None:
            if fault is not None:
                faults.append(fault.str())

        try:
            for each in messages:
                client.produce(each.topic, each.value, each.key, headers=list(each.headers), on_delivery=told)
                client.poll(0)
        except BufferError:
            faults.append("the queue of the producer is full")
        except KafkaException as fault:  # what was taken before it is still flushed
            faults.append(fault.args[0].str())
        left = client.flush(self._kafka.timeout_seconds)
        if left:
            client.purge()
            client.poll(0)
        if faults or left:
            said = faults[0] if faults else f"{left:,} messages were not acknowledged"
            raise TransientError(self._kafka.without_secrets(f"{self._kafka.servers}: {said}"))

    def _opened(self) -> Any:
        if self._client is None:
            said = (
                options_of(self._kafka)
                | self._kafka.options
                | {
                    "acks": "all",
                    "enable.idempotence": True,
                    "linger.ms": 0,
                    "delivery.timeout.ms": int(self._kafka.timeout_seconds * 1000),
                }
            )
            try:
                from confluent_kafka import KafkaException
                from confluent_kafka import Producer as Client

                self._client = Client(said)
            except ImportError:
                raise ConfigError("kind: kafka needs confluent-kafka: pip install 'customer360[stream]'") from None
            except KafkaException as fault:
                text = self._kafka.without_secrets(str(fault.args[0]))
                raise ConfigError(f"{self._kafka.servers}: {text}") from None
        return self._client
