"""Webhooks as a source: what senders sent to ``POST /hooks/<name of the source>`` and was acknowledged, from the
journal in which it is durable.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import polars as pl
from pydantic import model_validator

from customer360.platform.connections import Connection
from customer360.platform.connections.webhook import Webhook
from customer360.platform.ledger import Batch
from customer360.platform.sources.formats import elements
from customer360.platform.sources.formats.ndjson import objects
from customer360.platform.sources.formats.records import POSITION, Records, aside, dead_letters
from customer360.platform.sources.journals import Journaled, placed
from customer360.platform.sources.landing import Landing
from customer360.platform.sources.protocols.hooks import journal
from customer360.platform.sources.protocols.hooks.forms import as_json

FOLDER = "hooks"  # of the state folder
ABOUT = ("id", "topic", "received_at")


class Webhooks(Journaled):
    """Messages of one sender. A body is a record, or a list of them. With ``metadata`` each also has ``hook.id``,
    ``hook.topic`` and ``hook.received_at``, so that ``where`` can tell topics apart.
    """

    connects: ClassVar[type[Connection] | None] = Webhook

    kind: Literal["webhooks"] = "webhooks"
    records: str = ""  # path of the list of records in a body; empty: the body, or its elements
    body: Literal["json", "form"] = "json"  # as it is sent
    json_fields: tuple[str, ...] = ()  # fields of a form that hold JSON
    metadata: bool = False

    @model_validator(mode="after")
    def _has_fields_of_a_form(self) -> Self:
        if self.json_fields and self.body != "form":
            raise ValueError("json_fields are fields of a form: say `body: form`")
        return self

    @property
    def folder(self) -> Path:
        """Where the journal lies."""
        return self.state_folder / FOLDER / self.name

    def records_in(self, frames: list[journal.Frame], base: int) -> Records:
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
        letters = pl.concat([dead_letters(dead), placed(odd, places)]).sort(POSITION)
        if self.metadata and rows.height:
            of = rows[POSITION]
            rows = aside(rows, about).with_columns(
                pl.Series(name, values, pl.String).gather(of) for name, values in about.items()
            )
        return Records(placed(rows, places), letters, keyed=True)

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

    def kept(self, body: bytes) -> bytes:
        """A body as the journal keeps it: JSON where it is a form, as it came where it cannot be read as one."""
        if self.body == "json":
            return body
        try:
            return as_json(body, self.json_fields)
        except (ValueError, RecursionError):
            return body

    def release(self, landing: Landing, batch: Batch) -> None:
        """Delete the segments that are in bronze to their end and nobody writes to."""
        for name, read in (batch.cursor or {}).items():
            journal.retire(self.folder / name, read)

    def reader_options(self) -> dict[str, Any]:
        return {"records": self.records, "metadata": self.metadata}


def message(key: str, topic: str | None, received_at: str, body: bytes, number: str | None = None) -> bytes:
    """A message as the journal keeps it: its key, what is known of it, and the body as it came. ``number``: the id
    that its sender gave it, where that is not its key.
    """
    about = json.dumps({"topic": topic, "received_at": received_at} | ({} if number is None else {"id": number}))
    return f"{key}\n{about}\n".encode() + body
