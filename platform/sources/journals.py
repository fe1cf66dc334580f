"""Sources that read a journal of this machine: what was acknowledged, in its order, from where the last batch ended."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

import polars as pl
from pydantic import Field

from customer360.platform.errors import SourceError
from customer360.platform.ledger import Batch, Input, last_cursor
from customer360.platform.sources.base import Discovery, Source
from customer360.platform.sources.formats.records import POSITION, Records, no_records, together
from customer360.platform.sources.landing import Landing
from customer360.platform.sources.protocols.hooks import journal

MOST_INPUTS = 1_000
PIECE_BYTES = 64 << 20  # of messages that are read in one pass


class Journaled(Source):
    """Messages of a journal. It lies in the state folder of the server that received: runs are of that machine."""

    rereads: ClassVar[Literal["each", "newest", "never"]] = "never"

    batch_size: int = Field(default=10_000, ge=1)  # messages that one worker reads

    @property
    @abstractmethod
    def folder(self) -> Path:
        """Where the journal lies."""

    @abstractmethod
    def records_in(self, frames: list[journal.Frame], base: int) -> Records:
        """The records of some messages in one pass, numbered on."""

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
                    yield (found := self.records_in(held, base))
                    held, size, base = [], 0, base + found.count
        except FileNotFoundError:
            raise SourceError(f"the journal {segment} is gone: its messages are lost unless it is restored") from None
        if held or not base:
            yield self.records_in(held, base) if held else replace(no_records(), keyed=True)


def placed(found: pl.DataFrame, places: list[int]) -> pl.DataFrame:
    """Rows of lines by the positions of their records."""
    at = pl.Series(POSITION, places, dtype=pl.Int64)
    return found.with_columns(at.gather(found[POSITION]))


def _input(segment: str, start: int, upto: int) -> Input:
    return Input(f"{segment}:{start}-{upto}", {"segment": segment, "from": start, "upto": upto})
