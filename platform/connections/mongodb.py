"""MongoDB and what speaks its protocol (Azure Cosmos DB for MongoDB, DocumentDB, FerretDB)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from customer360.platform.connections import Connection
from customer360.platform.errors import ConfigError, SourceError, TransientError

_URL = re.compile(r"mongodb(\+srv)?://[^@/]+(/.*)?")
DENIED = (13, 18, 8000)  # unauthorized, authentication failed, the same of Atlas


class MongoDB(Connection):
    """A deployment of MongoDB and one of its databases."""

    secrets: ClassVar[tuple[str, ...]] = ("password",)

    kind: Literal["mongodb"] = "mongodb"
    url: str = "mongodb://localhost:27017"  # without a user: mongodb://host,host/?replicaSet=rs0, mongodb+srv://host
    database: str = Field(min_length=1)
    user: str = ""
    password_env: str = ""
    password_file: str = ""
    auth_source: str = "admin"
    tls_ca: str = ""  # file of certificates
    connect_seconds: float = Field(default=10.0, gt=0)
    answer_seconds: float = Field(default=1800.0, gt=0)

    @field_validator("url")
    @classmethod
    def _without_a_user(cls, url: str) -> str:
        if not _URL.fullmatch(url):
            raise ValueError(
                "begins with mongodb:// or mongodb+srv:// and names no user: those are `user`, `password_env`"
            )
        return url

    @property
    def where(self) -> str:
        return f"{self.url.partition('?')[0].rstrip('/')}, database {self.database}"

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """The database, closed after the block.

        Raises:
            ConfigError: the driver is not installed.
            TransientError: no server answers.
            SourceError: the server refuses.
        """
        try:
            from pymongo.errors import PyMongoError
        except ImportError:
            raise ConfigError("kind: mongodb needs pymongo: pip install 'customer360[mongo]'") from None
        try:
            client = self._client()
            try:
                yield client[self.database]
            finally:
                client.close()
        except PyMongoError as fault:
            said = self.without_secrets(f"{self.where}: {fault}")[:500]
            refused = getattr(fault, "code", None) in DENIED or type(fault).__name__ == "ConfigurationError"
            raise (SourceError if refused else TransientError)(said) from None

    def _client(self) -> Any:
        from pymongo import MongoClient

        said: dict[str, Any] = {
            "serverSelectionTimeoutMS": round(self.connect_seconds * 1000),
            "connectTimeoutMS": round(self.connect_seconds * 1000),
            "socketTimeoutMS": round(self.answer_seconds * 1000),
            "appname": "customer360", "tz_aware": True, "datetime_conversion": "DATETIME_AUTO",
            "uuidRepresentation": "standard",
        }  # fmt: skip
        said |= {"tls": True, "tlsCAFile": self.tls_ca} if self.tls_ca else {}
        if self.user:
            said |= {"username": self.user, "password": self.secret("password"), "authSource": self.auth_source}
        return MongoClient(self.url, **said)
