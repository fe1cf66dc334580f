"""A collection of MongoDB as a source: all documents, or those whose field grew since the last batch.

Of values that JSON lacks, an ObjectId is its 24 digits, a Decimal128 its digits, a date ISO 8601 in UTC, bytes are
hexadecimal text; documents inside of documents are records inside of records.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from customer360.platform import telemetry
from customer360.platform.connections.mongodb import MongoDB
from customer360.platform.errors import SourceError
from customer360.platform.ledger import Batch, Input, last_cursor
from customer360.platform.sources.base import Discovery, Lag, Source
from customer360.platform.sources.formats.ndjson import objects
from customer360.platform.sources.formats.records import Records, no_records, together
from customer360.platform.sources.landing import Landing
from customer360.platform.sources.windows import span_of_time

PIECE = 20_000  # documents of one piece
SPECIAL = ("$oid", "$date", "$decimal")  # how a manifest names types that JSON lacks


class Collection(Source):
    """Documents of ``collection``. ``full`` reads all of them, once in ``every_minutes``; ``incremental`` those whose
    ``column`` is above the cursor, and a ``lag`` of time before it, since documents may be written late. Times are
    those of dates and ObjectIds; the cursor never stands after now, so that one in the future hides none of today.
    """

    connects: ClassVar[type[MongoDB]] = MongoDB
    rereads: ClassVar[Literal["each", "newest", "never"]] = "newest"

    kind: Literal["mongodb"] = "mongodb"
    collection: str = Field(min_length=1)
    strategy: Literal["full", "incremental"] = "full"
    column: str = "_id"  # of incremental: a field that grows; one inside of documents is a.b
    lag: str = "10 minutes"  # of a column of dates or ObjectIds
    every_minutes: int = Field(default=60, ge=0)  # of full

    @model_validator(mode="after")
    def _fits(self) -> Self:
        span_of_time(self.lag)
        if self.strategy == "incremental" and self.mode == "snapshot":
            raise ValueError("mode: snapshot belongs to strategy: full")
        return self

    @property
    def connected(self) -> MongoDB:
        found = super().connected
        assert isinstance(found, MongoDB)
        return found

    def discover(self, landing: Landing, known: Sequence[Batch]) -> Discovery:
        cursor = last_cursor(known) or {}
        if self.strategy == "full":
            now = datetime.datetime.now(datetime.UTC)
            last = cursor.get("at")
            if last and now - datetime.datetime.fromisoformat(last) < datetime.timedelta(minutes=self.every_minutes):
                return Discovery()
            return Discovery((Input(f"{self.collection}/all", {}),), {"at": now.isoformat()})
        with self.connected.opened() as database:
            newest = self._newest(database)
        stood = cursor.get("upto")
        if newest is None:
            return Discovery()
        if _stood_ahead(known):  # it hid what came meanwhile: once more from the start, repeats are one record
            telemetry.log.warning(
                f"{self.name}: the last batch ended in the future of its day, at {_name(stood)}: {self.collection} is "
                "read again from the start"
            )
            stood = None
        if newest == stood:
            return Discovery()
        piece = Input(f"{self.collection}/{_name(newest)}", {"after": stood, "upto": newest})
        return Discovery((piece,), {"upto": newest})

    def _newest(self, database: Any) -> Any:
        """The greatest value of the column, as a manifest has it; None where no document has one."""
        value = self._greatest(database, {})
        if type(value).__name__ == "DatetimeMS":  # beyond the year 9999
            value = datetime.datetime.max.replace(tzinfo=datetime.UTC)
        if (moment := _moment(value)) and moment > (now := datetime.datetime.now(datetime.UTC)):
            telemetry.log.warning(
                f"{self.name}: the greatest {self.column} of {self.collection} is {moment.isoformat()}, in the future: "
                "documents that are of after now wait for their time"
            )
            value = self._greatest(database, {"$lte": _at(now, value)})
        return None if value is None else _written(value)

    def _greatest(self, database: Any, bounds: dict[str, Any]) -> Any:
        """The greatest value of the column within bounds; None where no document has one."""
        there = {self.column: {"$exists": True, "$ne": None, **bounds}}
        found = list(database[self.collection].find(there, {self.column: 1}).sort(self.column, -1).limit(1))
        if not found:
            return None
        value: Any = found[0]
        for part in self.column.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is None or isinstance(value, dict | list):
            raise SourceError(f"{self.column} of {self.collection} holds lists or documents: no column that grows")
        return value

    def read(self, landing: Landing, piece: Input) -> Records:
        return together(self.pieces(landing, piece))

    def pieces(self, landing: Landing, piece: Input) -> Iterator[Records]:
        asked = self._asked(piece.detail)
        held, first = list[bytes](), 1
        with self.connected.opened() as database:
            found = database[self.collection].find(asked)
            for document in found.sort(self.column, 1) if asked else found:
                held.append(json.dumps(_plain(document), ensure_ascii=False).encode())
                if len(held) == PIECE:
                    yield _records(held, first)
                    first, held = first + PIECE, []
        if held or first == 1:
            yield _records(held, first)

    def _asked(self, detail: dict[str, Any]) -> dict[str, Any]:
        if "upto" not in detail:
            return {}
        upto = _read(detail["upto"])
        bounds = {"$lte": upto}
        if detail["after"] is not None:
            after = _read(detail["after"])
            moment, end = _moment(after), _moment(upto)
            if moment and end:  # batches of before may have ended in the future
                moment = min(moment, end)
            bounds |= {"$gte": _at(moment - span_of_time(self.lag), after)} if moment else {"$gt": after}
        return {self.column: bounds}

    def behind(self, known: Sequence[Batch]) -> Lag | None:
        """Documents above the cursor; all up to now where it stood in the future."""
        upto = (last_cursor(known) or {}).get("upto")
        if upto is None:
            return None
        with self.connected.opened() as database:
            after = _read(upto)
            bounds = {} if _stood_ahead(known) else {"$gt": after}
            if _moment(after):
                bounds["$lte"] = _at(datetime.datetime.now(datetime.UTC), after)
            return Lag(database[self.collection].count_documents({self.column: bounds}), "rows")

    def reader_options(self) -> dict[str, Any]:
        return {"collection": self.collection}


def _stood_ahead(known: Sequence[Batch]) -> bool:
    """Whether the last cursor named a moment after its batch was fixed."""
    last = next((b for b in reversed(known) if b.cursor is not None), None)
    moment = _moment(_read(last.cursor.get("upto"))) if last and last.created_at else None
    return last is not None and moment is not None and moment > datetime.datetime.fromisoformat(last.created_at)


def _records(lines: list[bytes], first: int) -> Records:
    if not lines:
        return replace(no_records(), keyed=True)
    frame, dead, _ = objects.records_of(b"\n".join(lines) + b"\n", first)
    return Records(frame, dead, keyed=True)


def _plain(value: Any) -> Any:
    """A value of BSON as one of JSON."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else str(value)  # neither infinite nor no number
    if isinstance(value, int):
        return int(value)
    if isinstance(value, datetime.datetime):
        return _utc(value).isoformat()
    return value.hex() if isinstance(value, bytes) else str(value)


def _moment(value: Any) -> datetime.datetime | None:
    """When a value of the column says that it is; None of one that says no time."""
    if isinstance(value, datetime.datetime):
        return _utc(value)
    # Several processes make ObjectIds, which grow from second to second and not within one
    return _utc(value.generation_time) if type(value).__name__ == "ObjectId" else None


def _at(moment: datetime.datetime, like: Any) -> Any:
    """A moment as a bound for values of one type: of ObjectIds, the least of its second."""
    if isinstance(like, datetime.datetime):
        return moment
    from bson import ObjectId

    return ObjectId.from_datetime(max(moment, datetime.datetime.fromtimestamp(0, datetime.UTC)))


def _utc(moment: datetime.datetime) -> datetime.datetime:
    return moment.astimezone(datetime.UTC) if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


def _written(value: Any) -> Any:
    """A value of the column as a manifest has it. Raises SourceError where it would not come back from there."""
    if type(value).__name__ == "DatetimeMS":
        raise SourceError(f"the column holds a date outside the years 1 to 9999 ({int(value)} ms since 1970): mend it")
    if isinstance(value, datetime.datetime):
        return {"$date": _utc(value).isoformat()}
    name = {"ObjectId": "$oid", "Decimal128": "$decimal"}.get(type(value).__name__)
    return {name: str(value)} if name else _plain(value)


def _read(written: Any) -> Any:
    if not isinstance(written, dict):
        return written
    from bson import Decimal128, ObjectId

    ((name, text),) = written.items()
    if name == "$date":
        return datetime.datetime.fromisoformat(text)
    return ObjectId(text) if name == "$oid" else Decimal128(text)


def _name(written: Any) -> str:
    return str(next(iter(written.values())) if isinstance(written, dict) else written)
