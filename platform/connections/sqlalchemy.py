"""Any database that SQLAlchemy has a dialect for: SQL Server, Oracle, Snowflake, SQLite. Drivers are extra."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import sqlalchemy as sa
from pydantic import field_validator

from customer360.platform.connections.databases import Database, Session
from customer360.platform.connections.rowwise import RowSession, opened


class SQLAlchemy(Database):
    """A database by its URL, such as ``mssql+pyodbc://host/shop?driver=ODBC+Driver+18+for+SQL+Server``."""

    kind: Literal["sqlalchemy"] = "sqlalchemy"
    url: str  # without a password
    options: dict[str, Any] = {}  # what the driver's connect takes, such as its time-out

    @field_validator("url")
    @classmethod
    def _holds_no_secret(cls, url: str) -> str:
        try:
            found = sa.make_url(url)
        except sa.exc.ArgumentError:
            raise ValueError("is no URL of SQLAlchemy: dialect+driver://host/database") from None
        if found.password:
            raise ValueError("holds a password, and a secret does not stand in settings: use password_env")
        return url

    @property
    def where(self) -> str:
        return sa.make_url(self.url).set(query={}).render_as_string()

    @contextmanager
    def session(self) -> Iterator[Session]:
        url = sa.make_url(self.url)
        secret = self.secret("password")
        url = url.set(username=self.user) if self.user else url
        url = url.set(password=secret) if secret else url
        with opened(self, url, self.options, RowSession, _is_passing) as session:
            yield session


def _is_passing(fault: BaseException) -> bool:
    """Drivers that say no more than OperationalError mean a server that does not answer, or is busy."""
    return type(fault).__name__ in ("OperationalError", "InterfaceError")
