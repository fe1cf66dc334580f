"""A broker of the Kafka protocol: Apache Kafka, Redpanda, Azure Event Hubs (port 9093, user ``$ConnectionString``)."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from customer360.platform.connections import Connection

# Options of librdkafka on which it rests that each message lands once; `group` is a key of the source.
OWNED = {
    "auto.offset.reset", "enable.auto.commit", "enable.auto.offset.store", "enable.partition.eof", "group.id",
    "bootstrap.servers", "metadata.broker.list", "security.protocol",
}  # fmt: skip


class Kafka(Connection):
    """A broker, and the registry of the schemas of its messages where there is one.

    ``options`` are further settings of librdkafka, none of them secret.
    """

    secrets: ClassVar[tuple[str, ...]] = ("password", "registry_password")

    kind: Literal["kafka"] = "kafka"
    servers: str = Field(min_length=1)  # host:port, several with commas
    security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    user: str = ""
    password_env: str = ""
    password_file: str = ""
    ca_file: str = ""
    options: dict[str, str] = {}
    registry: str = Field(default="", pattern=r"^(https?://[^/\s@]+(/\S*)?)?$")
    registry_user: str = ""
    registry_password_env: str = ""
    registry_password_file: str = ""
    timeout_seconds: float = Field(default=30.0, gt=0)  # without a word of the broker

    @field_validator("options")
    @classmethod
    def _are_not_the_clients(cls, options: dict[str, str]) -> dict[str, str]:
        if owned := sorted(options.keys() & OWNED):
            raise ValueError(f"{', '.join(owned)}: not an option, the other keys say it")
        return options

    @model_validator(mode="after")
    def _says_who_it_is(self) -> Self:
        if self.security.startswith("SASL") and not (self.user and (self.password_env or self.password_file)):
            raise ValueError(f"security: {self.security} needs user and password_env or password_file")
        return self
