"""The messages of PostgreSQL's ``pgoutput`` plugin, version 1, as changes.

https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html: an octet says what a message is, a
relation is described before its first change, and values are text.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from customer360.platform.errors import SourceError
from customer360.platform.sources.protocols.changes.records import Values
from customer360.platform.sources.protocols.changes.slots import lsn_of

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Change:
    """One change of one row, or of a whole relation (``truncate``, without values).

    ``old`` are the values before: all of them where the relation's replica identity is full, else those of its key, and
    of an update only where the key changed; None where none was sent. ``lsn`` is that of the commit.
    """

    kind: Literal["insert", "update", "delete", "truncate"]
    relation: str
    lsn: int
    committed_at: datetime
    transaction: int
    new: Values | None = None
    old: Values | None = None
    is_old_whole: bool = False  # a null in ``old`` is a null, not a column that was not sent
    unsent: tuple[str, ...] = ()
    number: int = 0  # within its transaction, changes of all relations counted


@dataclass
class _Relation:
    name: str
    columns: list[str]


@dataclass
class Decoder:
    """Messages to changes; what they tell of relations and the transaction under way is kept between them."""

    relations: dict[int, _Relation] = field(default_factory=dict)
    lsn: int = 0
    committed_at: datetime = EPOCH
    transaction: int = 0
    number: int = 0

    def changes(self, message: bytes) -> Iterator[Change]:
        """What one message says.

        Raises:
            SourceError: the message is of no known form.
        """
        try:
            yield from self._changes(message)
        except (ValueError, OverflowError) as fault:
            what = f"{message[:1]!r} at {lsn_of(self.lsn)}"
            raise SourceError(f"pgoutput: a message of kind {what} is damaged ({type(fault).__name__})") from None

    def _changes(self, message: bytes) -> Iterator[Change]:
        kind, at = message[:1], _Reader(message, 1)
        match kind:
            case b"B":
                self.lsn, self.committed_at, self.transaction = at.uint64(), at.moment(), at.uint32()
                self.number = 0
            case b"R":
                number, schema, name = at.uint32(), at.text(), at.text()
                at.byte()
                columns = [at.column() for _ in range(at.uint16())]
                self.relations[number] = _Relation(f"{schema}.{name}", columns)
            case b"I":
                relation = self._relation(at.uint32())
                at.mark(b"N")
                new = at.row(relation, None)
                at.end()
                yield self._change("insert", relation, new=new)
            case b"U":
                relation = self._relation(at.uint32())
                old = at.row(relation, None) if (mark := at.mark(b"KON")) != b"N" else None
                if mark != b"N":
                    at.mark(b"N")
                new = at.row(relation, old)
                at.end()
                yield self._change("update", relation, new, old, mark == b"O")
            case b"D":
                relation = self._relation(at.uint32())
                mark = at.mark(b"KO")
                old = at.row(relation, None)
                at.end()
                yield self._change("delete", relation, old=old, is_old_whole=mark == b"O")
            case b"T":
                count = at.uint32()
                at.byte()
                relations = [self._relation(at.uint32()) for _ in range(count)]
                at.end()
                for relation in relations:
                    yield self._change("truncate", relation)
            case b"C" | b"Y" | b"O" | b"M":  # commit, type, origin, message of an application
                return
            case _:
                raise SourceError(f"pgoutput: a message of kind {kind!r} is not known")

    def _relation(self, number: int) -> _Relation:
        if number not in self.relations:
            raise SourceError(f"pgoutput: relation {number} was not described")
        return self.relations[number]

    def _change(
        self,
        kind: Literal["insert", "update", "delete", "truncate"],
        relation: _Relation,
        new: Values | None = None,
        old: Values | None = None,
        is_old_whole: bool = False,
    ) -> Change:
        unsent = () if new is None else tuple(name for name in relation.columns if name not in new)
        self.number += 1
        about = (relation.name, self.lsn, self.committed_at, self.transaction)
        return Change(kind, *about, new, old, is_old_whole, unsent, self.number)


@dataclass
class _Reader:
    """A message from a place on."""

    data: bytes
    place: int

    def _take(self, size: int) -> bytes:
        found = self.data[self.place : self.place + size]
        if len(found) < size:
            raise SourceError("pgoutput: a message breaks off")
        self.place += size
        return found

    def byte(self) -> bytes:
        return self._take(1)

    def mark(self, known: bytes) -> bytes:
        """A byte that says what comes: one of those that are known."""
        found = self._take(1)
        if found not in known:
            raise SourceError(f"pgoutput: a row of kind {found!r} is not known")
        return found

    def end(self) -> None:
        if self.place != len(self.data):
            raise SourceError("pgoutput: a message goes on after its end")

    def uint16(self) -> int:
        return int(struct.unpack(">H", self._take(2))[0])

    def uint32(self) -> int:
        return int(struct.unpack(">I", self._take(4))[0])

    def uint64(self) -> int:
        return int(struct.unpack(">Q", self._take(8))[0])

    def moment(self) -> datetime:
        return EPOCH + timedelta(microseconds=struct.unpack(">q", self._take(8))[0])

    def text(self) -> str:
        end = self.data.find(b"\0", self.place)
        if end < 0:
            raise SourceError("pgoutput: a message breaks off")
        found = self.data[self.place : end].decode()
        self.place = end + 1
        return found

    def column(self) -> str:
        self._take(1)  # whether it is of the key
        name = self.text()
        self._take(8)  # its type, and the modifier of that
        return name

    def row(self, relation: _Relation, old: Values | None) -> Values:
        """The values of a row; one that was not sent is that of ``old``, or is left out."""
        count, found = self.uint16(), dict[str, str | None]()
        if count != len(relation.columns):
            raise SourceError(f"pgoutput: a row of {count} columns is none of {relation.name}")
        for name in relation.columns:
            match self.byte():
                case b"n":
                    found[name] = None
                case b"t":
                    found[name] = self._take(self.uint32()).decode()
                case b"u" if old is not None and old.get(name) is not None:
                    found[name] = old[name]
                case b"u":
                    continue
                case other:
                    raise SourceError(f"pgoutput: a value of kind {other!r} is not known")
        return found
