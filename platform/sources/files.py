"""Files as a source, below the landing root. A file is new when no earlier batch holds its path, size and time of change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import Field

from customer360.platform.ledger import Batch, Input
from customer360.platform.sources import formats
from customer360.platform.sources.base import Discovery, Source
from customer360.platform.sources.formats.options import Format, Options
from customer360.platform.sources.formats.records import Records, together
from customer360.platform.sources.landing import Landing


class Files(Source):
    """Files of one format; every new file is an input of its own, its path the name. Files keep no cursor.

    The keys from ``delimiter`` on say what the content of the files does not; see `formats.options.Options`.
    """

    kind: Literal["files"] = "files"
    path: str  # glob below the landing root
    format: Format = "auto"
    delimiter: str = Field("auto", pattern=r"^([\x01-\x7f]|auto)$")
    encoding: str = "auto"
    header: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    columns: list[str] = []
    skip: int = Field(0, ge=0)
    footer: int = Field(0, ge=0)
    escape: str = Field("", pattern=r"^[\x01-\x7f]?$")
    sheet: str | int = ""
    records: str = ""
    members: str = "*"

    @property
    def options(self) -> Options:
        """How the files are read."""
        return Options(
            self.format, self.delimiter, self.encoding, self.header, tuple(self.columns), self.skip, self.footer,
            self.escape, self.sheet, self.records, self.members,
        )  # fmt: skip

    def discover(self, landing: Landing, known: Sequence[Batch]) -> Discovery:
        seen = {_version(piece) for batch in known for piece in batch.inputs}
        return Discovery(tuple(file for file in landing.find(self.path) if _version(file) not in seen))

    def read(self, landing: Landing, piece: Input) -> Records:
        return together(self.pieces(landing, piece))

    def pieces(self, landing: Landing, piece: Input) -> Iterator[Records]:
        return formats.pieces(landing.stream(piece.name), self.options, piece.name)

    def reread(self, landing: Landing, name: str, raw: bytes) -> Records:
        """A line is read below the header of the text file that it came from; a record of another format is a JSON object."""
        return formats.reread(landing.stream(name), self.options, raw, name)


def _version(file: Input) -> tuple[str, int | None, str | None]:
    """What tells a file, as it stood, from others and from itself after a change."""
    return file.name, file.detail.get("size"), file.detail.get("modified")
