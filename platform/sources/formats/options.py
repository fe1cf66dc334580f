"""How a file is to be read, where its content does not say it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Format = Literal["auto", "csv", "tsv", "json", "parquet", "excel", "xml", "avro"]


@dataclass(frozen=True)
class Options:
    """What a source may say about its files; what it does not say is found in the file.

    ``delimiter``: one ASCII character, or ``auto``. ``encoding``: a codec's name, or ``auto``. ``header``: how many
    lines name the columns, 0 for none, or ``auto``. ``columns``: names in place of a header's. ``skip`` and
    ``footer``: lines above the header and below the rows. ``escape``: a character that takes the next one literally.
    ``sheet``: name or number (from 1) of an Excel sheet, the first that holds something where empty. ``records``: the
    JSON key or the XML element that holds the records. ``members``: a glob of the files of a zip archive.
    """

    format: Format = "auto"
    delimiter: str = "auto"
    encoding: str = "auto"
    header: int | Literal["auto"] = "auto"
    columns: tuple[str, ...] = ()
    skip: int = 0
    footer: int = 0
    escape: str = ""
    sheet: str | int = ""
    records: str = ""
    members: str = "*"
