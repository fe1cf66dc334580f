"""Files as a source, below the landing root. A file is known by its content: touched or copied back it is no news."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import polars as pl

from customer360.platform.delivery import natural
from customer360.platform.errors import SourceError
from customer360.platform.known import inputs_of
from customer360.platform.ledger import Batch, Input
from customer360.platform.sources import formats
from customer360.platform.sources.base import Discovery, Source
from customer360.platform.sources.copies import copies
from customer360.platform.sources.formats.reader import Reader
from customer360.platform.sources.formats.records import Records, together
from customer360.platform.sources.landing import LISTING, Landing, entry_input
from customer360.platform.sources.protocols.changes.debezium import Enveloped

REPLACED = "replaced before it was read"
DELIMITERS = ",;\t|"


class Files(Reader, Enveloped, Source):
    """Files of one format; every new file is an input of its own, its path the name. Files keep no cursor.

    The keys of `Reader` say what the content of the files does not.
    """

    stand_alone: ClassVar[bool] = True
    kind: Literal["files"] = "files"
    path: str  # glob below the landing root; * also crosses folders, **/ is any number of them

    @property
    def is_in_order(self) -> bool:
        return bool(self.envelope)

    def discover(self, landing: Landing, known: Sequence[Batch]) -> Discovery:
        """Files of a new name, and those whose content is not that of their last delivery.

        A file whose size and time of change are the last ones is taken as the same; where only the time differs, its
        etag or content decides. A file that waits in a batch is looked at when that batch is read. A file that was
        moved, or copied with all that landed since, is known by its content (`copies`).
        """
        listing = pl.DataFrame(list(landing.listed(self.path)), schema=LISTING, orient="row")
        last = inputs_of(known)
        other = (
            listing.join(last, on="name", how="left", suffix="_then")
            .filter(pl.col("seq").is_null() | ~(_same("size") & _same("modified")))
            .to_dicts()
        )
        fresh = [file for file in other if file["seq"] is None]
        is_grouped = bool(self.group_by)
        copy_of = copies(landing, fresh, listing, last, moved_only=is_grouped) if fresh and last.height else {}
        inputs, touched = [], []
        for file in sorted(other, key=lambda file: natural(file["name"])):
            piece = entry_input(file["name"], file["size"], file["modified"], file["etag"])
            if file["name"] in copy_of:
                touched.append(Input(piece.name, {**piece.detail, "copy_of": copy_of[piece.name]}))
            elif file["seq"] is None:
                inputs.append(piece)
            elif file["size"] == file["size_then"] and file["waits"]:
                continue
            elif file["size"] == file["size_then"] and _is_content_of(landing, file):
                touched.append(piece)
            else:
                inputs.append(Input(piece.name, {**piece.detail, "changed_since": file["seq"]}))
        return Discovery(tuple(inputs), touched=tuple(touched))

    def read(self, landing: Landing, piece: Input) -> Records:
        return together(self.pieces(landing, piece))

    def pieces(self, landing: Landing, piece: Input) -> Iterator[Records]:
        for records in formats.pieces(landing.stream(piece.name), self.options, piece.name):
            yield self.opened(records)

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
            return self.opened(formats.of_one_record(raw))
        delimiter = {"tsv": "\t"}.get(self.format, self.delimiter)
        if delimiter == "auto":
            delimiter = max(DELIMITERS, key=lambda sign: raw.decode("utf-8", "replace").count(sign) == len(columns) - 1)
        header = io.StringIO()
        csv.writer(header, delimiter=delimiter, lineterminator="\n").writerow(columns)
        return formats.read(header.getvalue().encode() + raw, "csv", delimiter)

    def reader_options(self) -> dict[str, Any]:
        return self.model_dump(include=set(type(self).model_fields) - set(Source.model_fields) - {"path"})


def _same(column: str) -> pl.Expr:
    return pl.col(column).eq_missing(pl.col(f"{column}_then"))


def _is_content_of(landing: Landing, file: dict[str, Any]) -> bool:
    if file["etag"] is not None and file["etag"] == file["etag_then"]:
        return True
    return file["sha256"] is not None and file["sha256"] == landing.digest_of(file["name"])
