"""What the kinds of databases share: how statements are made, and what a session with a server answers.

Statements are SQLAlchemy's, in the dialect of the server; a kind says how they are executed. Values stay what they are:
numbers, decimals, truth, text and moments keep their types, whatever a contract could not cast without loss is text.
"""

from __future__ import annotations

import datetime
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import polars as pl
import sqlalchemy as sa
from pydantic import Field

from customer360.platform.connections import Connection

ALIAS = "_rows"
_PARTS = re.compile(r'"([^"]+)"|([^."]+)')


@dataclass(frozen=True)
class Rows:
    """Rows of a server: those of a relation (``schema.table``; a part in double quotes may hold dots) or of a query,
    that keep all ``conditions``, in ``order``.
    """

    relation: str = ""
    query: str = ""
    conditions: tuple[sa.ColumnElement[bool], ...] = ()
    order: tuple[str, ...] = ()

    @property
    def origin(self) -> sa.FromClause:
        if self.query:
            # A query may end in a comment: what follows it stands on a line of its own
            text = sa.text(self.query.strip().rstrip(";").replace(":", r"\:") + "\n")
            return text.columns().subquery(ALIAS)
        parts = [quoted or plain for quoted, plain in _PARTS.findall(self.relation)]
        found = sa.table(parts[-1], schema=".".join(parts[:-1]) or None)
        return found.alias(ALIAS)

    def select(self, *columns: Any) -> sa.Select[Any]:
        """A statement for some expressions over the rows, all columns where none is given."""
        wanted = columns or (sa.literal_column("*"),)
        made = sa.select(*wanted).select_from(self.origin).where(*self.conditions)
        return made.order_by(*(sa.column(name) for name in self.order)) if self.order else made


class Session(ABC):
    """An open connection. Its calls raise SourceError, or TransientError where it is worth trying again, in one line
    that holds no secret.
    """

    instants: ClassVar[tuple[str, ...]] = ()  # types of moments whose values come without their zone, in UTC

    @abstractmethod
    def columns(self, rows: Rows) -> dict[str, str]:
        """The columns of rows with the server's own names of their types."""

    @abstractmethod
    def answer(self, statement: sa.Select[Any]) -> list[tuple[Any, ...]]:
        """The few rows that a statement gives, as values of Python."""

    @abstractmethod
    def frames(self, rows: Rows, columns: dict[str, str]) -> Iterator[pl.DataFrame]:
        """All rows, in frames that each fit in memory; at least one, which may be empty."""

    def timeless(self, column: str, kind: str) -> sa.ColumnElement[bool]:
        """Which rows have a value in a column that says nothing of when: null, the end of time, no date or number."""
        return sa.column(column).is_(None)

    def now(self) -> datetime.datetime:
        """The moment by the server's clock; by this machine's where the kind cannot ask. With its zone."""
        return datetime.datetime.now(datetime.UTC)

    def snapshot(self) -> None:  # noqa: B027 - of a kind that cannot, each answer is of its own moment
        """Let all answers from now on be of one moment, where the server can."""

    @abstractmethod
    def digest(self, rows: Rows, columns: dict[str, str]) -> str:
        """What tells these rows from others, whatever their order."""


class Database(Connection, ABC):
    """A server of relations. Waits ``connect_seconds`` for a connection and ``answer_seconds`` for each answer."""

    secrets: ClassVar[tuple[str, ...]] = ("password",)

    user: str = ""
    password_env: str = ""
    password_file: str = ""
    connect_seconds: float = Field(default=10.0, gt=0)
    answer_seconds: float = Field(default=1800.0, gt=0)

    @property
    @abstractmethod
    def where(self) -> str:
        """The server in words, for messages."""

    @abstractmethod
    def session(self) -> AbstractContextManager[Session]:
        """A session that reads, closed after the block.

        Raises:
            TransientError: the server does not answer.
            SourceError: it does not let this user in; its driver is not installed.
        """


@dataclass
class Pieces:
    """Frames gathered to about ``rows`` rows each."""

    rows: int
    held: list[pl.DataFrame] = field(default_factory=list)

    def of(self, frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        for frame in frames:
            self.held.append(frame)
            if sum(each.height for each in self.held) >= self.rows:
                yield self._taken()
        if self.held:
            yield self._taken()

    def _taken(self) -> pl.DataFrame:
        taken, self.held = self.held, []
        filled = [frame for frame in taken if frame.height] or taken[:1]
        return filled[0] if len(filled) == 1 else pl.concat(_alike(filled))


def _alike(frames: Sequence[pl.DataFrame]) -> list[pl.DataFrame]:
    """Frames of equal columns with equal types: of types that differ, decimals by the longer fraction, else text."""
    kinds: dict[str, pl.DataType] = {}
    for name in frames[0].columns:
        found = {frame.schema[name] for frame in frames} - {pl.Null()}
        if len(found) == 1:
            kinds[name] = found.pop()
        elif found and all(isinstance(kind, pl.Decimal) or kind.is_integer() for kind in found):
            kinds[name] = pl.Decimal(38, max(getattr(kind, "scale", 0) for kind in found))
        elif found:
            kinds[name] = pl.String()
    return [frame.cast(kinds) for frame in frames]  # type: ignore[arg-type]
