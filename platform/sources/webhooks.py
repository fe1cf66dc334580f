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
from customer360.platform.sources.formats.records import POSITION, Records, aside, dead_letters, no_records, together
from customer360.platform.sources.landing import Landing
from customer360.platform.sources.protocols.hooks import journal

FOLDER = "hooks"  # of the state folder
MOST_INPUTS = 1_000
PIECE_BYTES = 64 << 20  # of messages that are read in one pass
ABOUT = ("id", "topic", "received_at")


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
            for upto, *_ in journal.frames(self.folder / name, start):
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
        return together(self.pieces(landing, piece))

    def pieces(self, landing: Landing, piece: Input) -> Iterator[Records]:
        segment = self.folder / piece.detail["segment"]
        held: list[journal.Frame] = []
        size, base = 0, 0
        try:
            for frame in journal.frames(segment, piece.detail["from"], piece.detail["upto"]):
                held.append(frame)
                size += len(frame.content)
                if size >= PIECE_BYTES:
                    yield (found := self._records(held, base))
                    held, size, base = [], 0, base + found.count
        except FileNotFoundError:
            raise SourceError(f"the journal {segment} is gone: its messages are lost unless it is restored") from None
        if held or not base:
            yield self._records(held, base) if held else no_records()

    def _records(self, frames: list[journal.Frame], base: int) -> Records:
        """The records of some messages in one pass, numbered on."""
        lines: list[bytes] = []
        places: list[int] = []
        about: dict[str, list[str | None]] = {f"hook.{name}": [] for name in ABOUT}
        dead: list[tuple[int, str, bytes]] = []
        at = base
        for frame in frames:
            found, said, fault, body = self._message(frame)
            lines += found
            places += range(at + 1, at + 1 + len(found))
            for name in ABOUT:
                about[f"hook.{name}"] += [said.get(name)] * len(found)
            if fault:
                dead.append((at + 1, fault, body))
            at += len(found) or 1
        rows, odd, _ = objects.records_of(b"".join(lines), 0)
        letters = pl.concat([dead_letters(dead), _placed(odd, places)]).sort(POSITION)
        if self.metadata and rows.height:
            of = rows[POSITION]
            rows = aside(rows, about).with_columns(
                pl.Series(name, values, pl.String).gather(of) for name, values in about.items()
            )
        return Records(_placed(rows, places), letters, keyed=True)

    def _message(self, frame: journal.Frame) -> tuple[list[bytes], dict[str, str | None], str, bytes]:
        """The lines of the records of a message, each with its end, what is known of it, or why it has none."""
        if not frame.is_whole:
            return [], {}, "bytes of the journal that are damaged", frame.content
        key, _, rest = frame.content.partition(b"\n")
        told, _, body = rest.partition(b"\n")
        try:
            said = {"id": key.decode("utf-8", "replace"), **json.loads(told)}
            text = b"".join(elements.lines_of(iter([(body, True)]), self.records))
        except Exception as fault:  # noqa: BLE001 - whatever a sender sends costs its own message
            return [], {}, f"a body that cannot be read: {type(fault).__name__}", body
        lines = [line + b"\n" for line in text.split(b"\n") if line not in (b"", b"\r")]
        return lines, said, "" if lines else "a body without a record", body

    def release(self, landing: Landing, batch: Batch) -> None:
        """Delete the segments that are in bronze to their end and nobody writes to."""
        for name, read in (batch.cursor or {}).items():
            journal.retire(self.folder / name, read)

    def reader_options(self) -> dict[str, Any]:
        return {"records": self.records, "metadata": self.metadata}


def _placed(found: pl.DataFrame, places: list[int]) -> pl.DataFrame:
    """Rows of lines by the positions of their records."""
    at = pl.Series(POSITION, places, dtype=pl.Int64)
    return found.with_columns(at.gather(found[POSITION]))


def _input(segment: str, start: int, upto: int) -> Input:
    return Input(f"{segment}:{start}-{upto}", {"segment": segment, "from": start, "upto": upto})


def message(key: str, topic: str | None, received_at: str, body: bytes, number: str | None = None) -> bytes:
    """A message as the journal keeps it: its key, what is known of it, and the body as it came. ``number``: the id
    that its sender gave it, where that is not its key.
    """
    about = json.dumps({"topic": topic, "received_at": received_at} | ({} if number is None else {"id": number}))
    return f"{key}\n{about}\n".encode() + body
