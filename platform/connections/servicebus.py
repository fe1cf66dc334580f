"""A namespace of Azure Service Bus."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from customer360.platform.connections import Connection
from customer360.platform.errors import ConfigError, SourceError, TransientError

_HOST = re.compile(r"[\w-]+(\.[\w-]+)+")
LASTING = ("ServiceBusAuthenticationError", "ServiceBusAuthorizationError", "MessagingEntityNotFoundError",
           "MessagingEntityDisabledError")  # fmt: skip


class ServiceBus(Connection):
    """A namespace, reached by a connection string (a shared access key), or else as who this process is in Azure."""

    secrets: ClassVar[tuple[str, ...]] = ("connection_string",)

    kind: Literal["servicebus"] = "servicebus"
    namespace: str = ""  # example.servicebus.windows.net, without a connection string
    connection_string_env: str = ""
    connection_string_file: str = ""
    answer_seconds: float = Field(default=30.0, gt=0)

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        has_string = bool(self.connection_string_env or self.connection_string_file)
        if has_string == bool(self.namespace):
            raise ValueError("give namespace, or connection_string_env or connection_string_file")
        if self.namespace and not _HOST.fullmatch(self.namespace):
            raise ValueError("namespace: the name of a host, as example.servicebus.windows.net")
        return self

    @property
    def where(self) -> str:
        return f"service bus {self.namespace or 'of the connection string'}"

    @contextmanager
    def receiver(self, **entity: str) -> Iterator[Any]:
        """A receiver of a queue, or of a topic and subscription, that locks what it receives; closed after the block.

        Raises:
            ConfigError: the library is not installed.
            SourceError: the namespace refuses, or has no such entity.
            TransientError: it does not answer.
        """
        try:
            from azure.servicebus.exceptions import ServiceBusError
        except ImportError:
            raise ConfigError("kind: servicebus needs azure-servicebus: pip install 'customer360[azure]'") from None
        try:
            with self._client() as client:
                opened = client.get_queue_receiver if "queue_name" in entity else client.get_subscription_receiver
                with opened(**entity) as receiver:
                    yield receiver
        except ServiceBusError as fault:
            said = self.without_secrets(f"{self.where}, {'/'.join(entity.values())}: {fault}")[:500]
            raise (SourceError if type(fault).__name__ in LASTING else TransientError)(said) from None

    def _client(self) -> Any:
        from azure.servicebus import ServiceBusClient

        if text := self.secret("connection_string"):
            return ServiceBusClient.from_connection_string(text)
        try:
            from azure.identity import DefaultAzureCredential
        except ImportError:
            raise ConfigError("namespace: needs azure-identity: pip install 'customer360[azure]'") from None
        return ServiceBusClient(self.namespace, DefaultAzureCredential())
