"""A topic of a Kafka broker as a source. A batch is a range of offsets of each partition, fixed in its manifest; where
the source stands is committed with the rows, so that no message is lost or lands twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Literal

import polars as pl
from pydantic import Field

from customer360.platform.connections.kafka import Kafka
from customer360.platform.errors import SourceError
from customer360.platform.ledger import Batch, Input, last_cursor
from customer360.platform.sources.base import Discovery, Lag, Source
from customer360.platform.sources.formats.records import POSITION, Records, aside, no_records, together
from customer360.platform.sources.landing import Landing
from customer360.platform.sources.protocols.changes.debezium import Enveloped
from customer360.platform.sources.protocols.kafka import client as broker
from customer360.platform.sources.protocols.kafka.values import Registry, records_of

PIECE = 50_000  # messages of one piece, at most
PIECE_BYTES = 64 << 20  # of their values and keys, after which a piece ends
MOST_INPUTS = 1_000  # of one batch; what is beyond them waits for the next run
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MESSAGE = "message"  # names of the columns that say where a message comes from begin so

Range = tuple[int, int, int]  # partition, offset, offset after it


class Streams(Enveloped, Source):
    """Messages of a topic. With ``metadata`` each record also has ``message.key``, ``message.timestamp``,
    ``message.partition``, ``message.offset``, ``message.headers`` and ``message.tombstone``.
    """

    connects: ClassVar[type[Kafka]] = Kafka
    rereads: ClassVar[Literal["each", "newest", "never"]] = "newest"

    kind: Literal["streams"] = "streams"
    topic: str = Field(min_length=1)
    group: str = "customer360"
    start: Literal["earliest"] | datetime = "earliest"
    batch_size: int = Field(default=10_000, ge=1)  # messages that one worker reads; a run takes all that there are
    metadata: bool = False
    skip_lost: bool = False  # go on where the broker deleted messages before they were read

    @property
    def connected(self) -> Kafka:
        found = super().connected
        assert isinstance(found, Kafka)
        return found

    @property
    def is_in_order(self) -> bool:
        return bool(self.envelope)

    def discover(self, landing: Landing, known: Sequence[Batch]) -> Discovery:
        """Messages of all partitions since the last batch.

        Raises:
            SourceError: the broker deleted messages before they were read.
        """
        before = {int(p): int(offset) for p, offset in (last_cursor(known) or {}).items()}
        cursor, ranges = dict(before), list[Range]()
        with broker.consumer(self.connected, self.group) as client:
            for partition in broker.partitions(client, self.connected, self.topic):
                low, high = broker.bounds(client, self.connected, self.topic, partition)
                start = before.get(partition)
                start = (
                    self._first(client, partition, low, high) if start is None else self._held(partition, start, low)
                )
                if start > high:
                    raise SourceError(
                        f"partition {partition} of {self.topic} ends at {high} and was read up to {start}: it was made "
                        f"anew; give the source another name to read it from its start"
                    )
                ranges += _cut((partition, start, high), self.batch_size)
                cursor[partition] = high
        inputs = _together(ranges, self.batch_size)[:MOST_INPUTS]
        for partition, start, _ in (r for group in _together(ranges, self.batch_size)[MOST_INPUTS:] for r in group):
            cursor[partition] = min(cursor[partition], start)
        made = (Input(_name(self.topic, group), {"ranges": [list(r) for r in group]}) for group in inputs)
        return Discovery(tuple(made), {str(p): offset for p, offset in sorted(cursor.items())})

    def behind(self, known: Sequence[Batch]) -> Lag | None:
        """Messages that the topic holds beyond what is in bronze."""
        before = {int(p): int(offset) for p, offset in (last_cursor(known) or {}).items()}
        waiting = 0
        with broker.consumer(self.connected, self.group) as client:
            for partition in broker.partitions(client, self.connected, self.topic):
                low, high = broker.bounds(client, self.connected, self.topic, partition)
                start = before.get(partition)
                start = self._first(client, partition, low, high) if start is None else max(start, low)
                waiting += max(0, high - start)
        return Lag(waiting, "messages")

    def _first(self, client: Any, partition: int, low: int, high: int) -> int:
        if self.start == "earliest":
            return low
        moment = self.start if self.start.tzinfo else self.start.replace(tzinfo=UTC)
        found = broker.first_at(client, self.connected, self.topic, partition, int(moment.timestamp() * 1000))
        return high if found is None else max(low, found)

    def _held(self, partition: int, start: int, low: int) -> int:
        if start < low and not self.skip_lost:
            raise SourceError(
                f"partition {partition} of {self.topic} begins at {low} and was read up to {start}: the broker deleted "
                f"{low - start:,} messages before they were read; `skip_lost: true` goes on from {low}"
            )
        return max(start, low)

    def read(self, landing: Landing, piece: Input) -> Records:
        return together(self.pieces(landing, piece))

    def pieces(self, landing: Landing, piece: Input) -> Iterator[Records]:
        registry = Registry(self.connected)
        base, is_empty = 0, True
        with broker.consumer(self.connected, self.group) as client:
            for partition, start, stop in piece.detail["ranges"]:
                came = broker.messages(client, self.connected, self.topic, partition, start, stop)
                for held in _pieces(came):
                    yield self._records(held, base + 1 - start, registry)
                    is_empty = False
                base += stop - start
        if is_empty:
            yield replace(no_records(), keyed=True)

    def _records(self, messages: list[Any], shift: int, registry: Registry) -> Records:
        places = [message.offset() + shift for message in messages]
        tombstones = self.metadata or bool(self.envelope)
        found = records_of([m.value() for m in messages], places, registry, tombstones=tombstones)
        gone = {at: _text(m.key()) for at, m in zip(places, messages, strict=True) if m.value() is None}
        found = self.opened(found, gone)
        if not self.metadata:
            return found
        about = pl.DataFrame(
            {
                POSITION: places,
                f"{MESSAGE}.key": [_text(m.key()) for m in messages],
                f"{MESSAGE}.timestamp": [_moment(m.timestamp()) for m in messages],
                f"{MESSAGE}.partition": [m.partition() for m in messages],
                f"{MESSAGE}.offset": [m.offset() for m in messages],
                f"{MESSAGE}.headers": [_headers(m.headers()) for m in messages],
                f"{MESSAGE}.tombstone": [m.value() is None for m in messages],
            },
            schema_overrides={
                f"{MESSAGE}.key": pl.String,
                f"{MESSAGE}.headers": pl.String,
                f"{MESSAGE}.timestamp": pl.Datetime("ms", "UTC"),
            },
        )
        frame = aside(found.frame, set(about.columns) - {POSITION}).join(
            about, on=POSITION, how="left", maintain_order="left"
        )
        return Records(frame, found.dead, keyed=True)

    def release(self, landing: Landing, batch: Batch) -> None:
        """Tell the group how far it is: what counts is the cursor."""
        if batch.cursor:
            with broker.consumer(self.connected, self.group) as client:
                broker.commit(client, self.connected, self.topic, {int(p): o for p, o in batch.cursor.items()})

    def reread(self, raw: bytes, columns: list[str]) -> Records:
        return self.opened(super().reread(raw, columns))

    def reader_options(self) -> dict[str, Any]:
        return {"metadata": self.metadata, "envelope": self.envelope, "types": self.types}


def _pieces(came: Iterable[list[Any]]) -> Iterator[list[Any]]:
    """Messages in pieces, which end at the same messages in whatever lists these came: pieces are files, and who reads
    again writes the same ones.
    """
    held: list[Any] = []
    size = 0
    for found in came:
        sizes = [len(message) + len(message.key() or b"") for message in found]
        if len(held) + len(found) < PIECE and size + sum(sizes) < PIECE_BYTES:
            held += found
            size += sum(sizes)
            continue
        for message, bytes_of in zip(found, sizes, strict=True):
            held.append(message)
            size += bytes_of
            if len(held) == PIECE or size >= PIECE_BYTES:
                yield held
                held, size = [], 0
    if held:
        yield held


def _cut(whole: Range, size: int) -> list[Range]:
    partition, start, stop = whole
    return [(partition, at, min(at + size, stop)) for at in range(start, stop, size)]


def _together(ranges: list[Range], size: int) -> list[list[Range]]:
    """Ranges in groups that are no larger than ``size``, so that many partitions of few messages are one file."""
    groups: list[list[Range]] = []
    filled = size
    for each in ranges:
        count = each[2] - each[1]
        if filled + count > size:
            groups.append([])
            filled = 0
        groups[-1].append(each)
        filled += count
    return groups


def _name(topic: str, ranges: list[Range]) -> str:
    return f"{topic}/{','.join(f'{partition}:{start}-{stop}' for partition, start, stop in ranges)}"


def _text(value: bytes | str | None) -> str | None:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def _moment(said: tuple[int, int]) -> datetime | None:
    """When a message was written; None where it does not say, or names no moment of the years 1 to 9999."""
    kind, milliseconds = said
    if not kind:
        return None
    try:
        return EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None


def _headers(said: list[tuple[str, bytes]] | None) -> str | None:
    return json.dumps({name: _text(value) for name, value in said}) if said else None
