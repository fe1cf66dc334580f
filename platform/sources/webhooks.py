"""Webhooks as a source: what senders sent to ``POST /hooks/<name of the source>`` and was acknowledged, from the
journal in which it is durable.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import polars as pl
from pydantic import Field

from customer360.platform.connections import Connection
from customer360.platform.connections.webhook import Webhook
from customer360.platform.errors import SourceError
from customer360.platform.ledger import Batch, Input, last_cursor
from customer360.platform.sources.base import Discovery, Source
from customer360.platform.sources.formats import elements
from customer360.platform.sources.formats.ndjson import objects
from customer360.platform.sources.formats.records import POSITION, Records, dead_letters, no_records, together
from customer360.platform.sources.landing import Landing
from customer360.platform.sources.protocols.hooks import journal

FOLDER = "hooks"  # of the state folder
MOST_INPUTS = 1_000


class Webhooks(Source):
    """Messages of one sender. A body is a record, or a list of them. With ``metadata`` each also has ``hook.id``,
    ``hook.topic`` and ``hook.received_at``, so that ``where`` can tell topics apart.

    The journal lies in the state folder of the server that received: runs are of that machine.
    """

    connects: ClassVar[type[Connection] | None] = Webhook
    rereads: ClassVar[Literal["each", "newest", "never"]] = "never"

    kind: Literal["webhooks"] = "webhooks"
    records: str = ""  # path of the list of records in a body; empty: the body, or its elements
    batch_size: int = Field(default=10_000, ge=1)  # messages that one worker reads
    metadata: bool = False

    @property
    def folder(self) -> Path:
        """Where the journal lies."""
        return self.state_folder / FOLDER / self.name

    def discover(self, landing: Landing, known: Sequence[Batch]) -> Discovery:
        """Messages since the last batch."""
        stood = dict(last_cursor(known) or {})
        present = journal.segments(self.folder)
        cursor = {name: stood.get(name, 0) for name in present}
        inputs: list[Input] = []
        for name in present:
            start = upto = cursor[name]
            count = 0
            for upto, _ in journal.frames(self.folder / name, start):
                count += 1
                if count == self.batch_size:
                    inputs.append(_input(name, start, upto))
                    start, count = upto, 0
                    if len(inputs) == MOST_INPUTS:
                        break
            if count and len(inputs) < MOST_INPUTS:
                inputs.append(_input(name, start, upto))
                start = upto
            cursor[name] = start
            if len(inputs) == MOST_INPUTS:
                break
        return Discovery(tuple(inputs), cursor)

    def read(self, landing: Landing, piece: Input) -> Records:
        start, upto = piece.detail["from"], piece.detail["upto"]
        segment = self.folder / piece.detail["segment"]
        found: list[Records] = []
        base = 0
        try:
            for end, content in journal.frames(segment, start):
                if end > upto:
                    break
                part = self._message(content, base)
                base += part.count
                found.append(part)
        except FileNotFoundError:
            raise SourceError(f"the journal {segment} is gone: its messages are lost unless it is restored") from None
        return together(found) if found else no_records()

    def _message(self, content: bytes, base: int) -> Records:
        """The records of one message, numbered on."""
        key, _, rest = content.partition(b"\n")
        about, _, body = rest.partition(b"\n")
        try:
            lines = b"".join(elements.lines_of(iter([(body, True)]), self.records))
            frame, dead, count = objects.records_of(lines, base + 1)
        except Exception as fault:  # noqa: BLE001 - whatever a sender sends costs its own message
            reason = f"a body that cannot be read: {type(fault).__name__}"
            return Records(pl.DataFrame(schema={POSITION: pl.Int64}), dead_letters([(base + 1, reason, body)]))
        if not count:
            return Records(frame, dead_letters([(base + 1, "a body without a record", body)]))
        if self.metadata:
            said = {"id": key.decode(), **json.loads(about)}
            frame = frame.with_columns(
                pl.lit(said.get(name), pl.String).alias(f"hook.{name}") for name in ("id", "topic", "received_at")
            )
        return Records(frame, dead, keyed=True)

    def release(self, landing: Landing, batch: Batch) -> None:
        """Delete the segments that are in bronze to their end and nobody writes to."""
        for name, read in (batch.cursor or {}).items():
            journal.retire(self.folder / name, read)

    def reader_options(self) -> dict[str, Any]:
        return {"records": self.records, "metadata": self.metadata}

    def pieces(self, landing: Landing, piece: Input) -> Iterator[Records]:
        yield self.read(landing, piece)


def _input(segment: str, start: int, upto: int) -> Input:
    return Input(f"{segment}:{start}-{upto}", {"segment": segment, "from": start, "upto": upto})


def message(key: str, topic: str | None, received_at: str, body: bytes) -> bytes:
    """A message as the journal keeps it: its key, what is known of it, and the body as it came."""
    about = json.dumps({"topic": topic, "received_at": received_at})
    return f"{key}\n{about}\n".encode() + body
