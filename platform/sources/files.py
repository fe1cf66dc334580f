"""Files as a source, below the landing root. A file is new when no earlier batch holds its path, size and time of change."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from customer360.platform.ledger import Batch, Input
from customer360.platform.sources import formats
from customer360.platform.sources.base import Discovery, Source
from customer360.platform.sources.formats.records import Records
from customer360.platform.sources.landing import Landing


class Files(Source):
    """Files of one format; every new file is an input of its own, its path the name. Files keep no cursor."""

    kind: Literal["files"] = "files"
    path: str  # glob below the landing root
    format: Literal["csv", "json", "parquet"]
    delimiter: str = Field(",", pattern=r"^[\x01-\x7f]$")

    def discover(self, landing: Landing, known: Sequence[Batch]) -> Discovery:
        seen = {_version(piece) for batch in known for piece in batch.inputs}
        return Discovery(tuple(file for file in landing.find(self.path) if _version(file) not in seen))

    def read(self, landing: Landing, piece: Input) -> Records:
        return formats.read(landing.bytes_of(piece.name), self.format, self.delimiter)

    def reread(self, landing: Landing, name: str, raw: bytes) -> Records:
        """A line is read below the header of the CSV file that it came from."""
        header = _first_line(landing.bytes_of(name)) + b"\n" if self.format == "csv" else b""
        return formats.read(header + raw, self.format, self.delimiter)


def _version(file: Input) -> tuple[str, int | None, str | None]:
    """What tells a file, as it stood, from others and from itself after a change."""
    return file.name, file.detail.get("size"), file.detail.get("modified")


def _first_line(data: bytes) -> bytes:
    text = gzip.decompress(data) if data.startswith(formats.GZIP) else data
    return text.removeprefix(formats.UTF8_MARK).split(b"\n", 1)[0].strip(b"\r")
