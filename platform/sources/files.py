"""Files as a source, below the landing root. A file is known by its content: touched or copied back it is no news."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

from customer360.platform.errors import SourceError
from customer360.platform.ledger import Batch, Input
from customer360.platform.sources import formats
from customer360.platform.sources.base import Discovery, Source
from customer360.platform.sources.formats.records import Records, together
from customer360.platform.sources.landing import Landing
from customer360.platform.sources.reader import Reader

REPLACED = "replaced before it was read"
DELIMITERS = ",;\t|"


class Files(Reader, Source):
    """Files of one format; every new file is an input of its own, its path the name. Files keep no cursor.

    The keys of `Reader` say what the content of the files does not.
    """

    stand_alone: ClassVar[bool] = True
    kind: Literal["files"] = "files"
    path: str  # glob below the landing root; * also crosses folders, **/ is any number of them

    def discover(self, landing: Landing, known: Sequence[Batch]) -> Discovery:
        """Files of a new name, and those whose content is not that of their last delivery.

        A file whose size and time of change are the last ones is taken as the same; where only the time differs, its
        content decides. A file that waits in a batch is looked at when that batch is read.
        """
        last = {piece.name: (batch.seq, piece) for batch in known for piece in batch.inputs}
        inputs, touched = [], []
        for file in landing.find(self.path):
            if file.name not in last:
                inputs.append(file)
                continue
            seq, piece = last[file.name]
            if _look(file) == _look(piece):
                continue
            if file.detail["size"] == piece.detail.get("size"):
                if piece.detail.get("waits"):
                    continue
                if piece.detail.get("sha256") == landing.digest_of(file.name):
                    touched.append(file)
                    continue
            inputs.append(Input(file.name, {**file.detail, "changed_since": seq}))
        return Discovery(tuple(inputs), touched=tuple(touched))

    def read(self, landing: Landing, piece: Input) -> Records:
        return together(self.pieces(landing, piece))

    def pieces(self, landing: Landing, piece: Input) -> Iterator[Records]:
        return formats.pieces(landing.stream(piece.name), self.options, piece.name)

    def state(self, landing: Landing, piece: Input) -> dict[str, Any]:
        """Size in bytes, time of change and SHA-256 of the file.

        Raises:
            SourceError: it is gone, or another content stands in its place since its batch was made.
        """
        now = landing.state_of(piece.name)
        if now is None:
            raise SourceError("the file is gone")
        if piece.detail.get("size", now.detail["size"]) != now.detail["size"]:
            raise SourceError(
                f"{REPLACED}: it had {piece.detail['size']:,} bytes when its batch was made and has "
                f"{now.detail['size']:,}; what it holds now is a delivery of its own, what it held is lost unless sent "
                "again"
            )
        return {**now.detail, "sha256": landing.digest_of(piece.name)}

    def reread(self, raw: bytes, columns: list[str]) -> Records:
        """A line of a delimited file is read below the columns of the file that it came from."""
        if self.format not in ("csv", "tsv", "auto") or raw.lstrip()[:1] == b"{":
            return formats.read(raw, "json")
        delimiter = {"tsv": "\t"}.get(self.format, self.delimiter)
        if delimiter == "auto":
            delimiter = max(DELIMITERS, key=lambda sign: raw.decode("utf-8", "replace").count(sign) == len(columns) - 1)
        header = io.StringIO()
        csv.writer(header, delimiter=delimiter, lineterminator="\n").writerow(columns)
        return formats.read(header.getvalue().encode() + raw, "csv", delimiter)

    def reader_options(self) -> dict[str, Any]:
        return self.model_dump(include=set(type(self).model_fields) - set(Source.model_fields) - {"path"})


def _look(file: Input) -> tuple[int | None, str | None]:
    """What a listing tells of a file's content."""
    return file.detail.get("size"), file.detail.get("modified")
