"""The keys of the settings that say how bytes become records, where the content does not."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from customer360.platform.settings import Frozen
from customer360.platform.sources.formats.options import Format, Options


class Reader(Frozen):
    """How files are read; see `formats.options.Options`."""

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
