"""Formats: bytes to records. One module a format; what cannot be read is set aside with the reason, never lost.

A record's position is its 1-based number in the file, unreadable records counted.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import IO, Any, cast

import polars as pl

from customer360.platform.errors import TransientError
from customer360.platform.sources.formats import avro, csv, excel, json, parquet, xml
from customer360.platform.sources.formats.compressed import Content, contents
from customer360.platform.sources.formats.detect import format_of
from customer360.platform.sources.formats.lines import NO_UTF8
from customer360.platform.sources.formats.options import Format, Options
from customer360.platform.sources.formats.records import (
    KEPT_OF_A_FILE,
    POSITION,
    Records,
    Unreadable,
    together,
    whole_file_dead,
)

Reader = Callable[[IO[bytes], Options], Iterator[Records]]
READERS: dict[Format, Reader] = {
    "csv": csv.pieces,
    "tsv": csv.pieces,
    "json": json.pieces,
    "parquet": parquet.pieces,
    "excel": excel.pieces,
    "xml": xml.pieces,
    "avro": avro.pieces,
}
KEYED: tuple[Format, ...] = ("json", "xml", "avro")  # a record names its values, and may leave some out
SAY_ENCODING = "holds bytes that are no UTF-8; where it has another encoding, say it: `encoding: cp932`, say"
GZIP, UTF8_MARK = b"\x1f\x8b", b"\xef\xbb\xbf"


def read(data: bytes, format: Format, delimiter: str = "auto", **options: Any) -> Records:
    """All records of a file's bytes; ``options`` as in `Options`."""
    return together(pieces(io.BytesIO(data), Options(format, delimiter, **options)))


def pieces(stream: IO[bytes], options: Options, name: str = "") -> Iterator[Records]:
    """The records of a file in pieces of bounded size; positions run on over them, and over the members of an archive.

    Nothing that a file holds raises: what cannot be read is a dead letter. ``name`` of the file helps to tell its
    format.
    """
    whole = Content(stream)
    kept = whole.peek(KEPT_OF_A_FILE + 1)
    position = last = 0
    try:
        for member, content in contents(cast("IO[bytes]", whole), options.members):
            for piece in _member(content, options, member or name, bool(member)):
                found = _moved(piece, position, member)
                yield found
                places = pl.concat([found.frame[POSITION], found.dead[POSITION]])
                last = max(last, int(places.max() or 0))  # type: ignore[arg-type]
            position = last if member else 0
    except TransientError:
        raise
    except Exception as fault:  # noqa: BLE001
        if whole.fault is not None:  # the place where the file lies is at fault: worth another try
            raise whole.fault from None
        # What a damaged file makes a parser raise cannot be listed; it must cost that file alone.
        known = isinstance(fault, Unreadable)
        yield whole_file_dead(kept, str(fault) if known else f"cannot be read: {type(fault).__name__}: {fault}")


def of_one_record(raw: bytes) -> Records:
    """A record that a person repaired, as a JSON object: it is one record whatever it holds."""
    return together(json.pieces(io.BytesIO(raw), Options("json"), is_record=True))


def _member(content: Content, options: Options, name: str, is_member: bool) -> Iterator[Records]:
    head = content.peek(512)
    try:
        format = format_of(head, name, options.format)
        stated = options if options.format == format else replace(options, format=format)
        is_told = options.encoding != "auto"
        for piece in READERS[format](cast("IO[bytes]", content), stated):
            notes = piece.notes
            if not is_told and piece.dead["reason"].str.starts_with(NO_UTF8).any():
                notes, is_told = (*notes, SAY_ENCODING), True
            yield replace(piece, keyed=format in KEYED, notes=notes)
    except Unreadable as fault:
        if not is_member:
            raise
        yield whole_file_dead(head, str(fault))


def _moved(piece: Records, position: int, member: str) -> Records:
    """A piece whose positions go on after another member's, and whose notes name the member."""
    notes = tuple(f"{member}: {note}" for note in piece.notes) if member else piece.notes
    if not member:
        return replace(piece, notes=notes)
    places = pl.col(POSITION) + position
    dead = piece.dead.with_columns(
        pl.col(POSITION).clip(1) + position
    )  # a member that is dead as a whole is one record
    return replace(piece, frame=piece.frame.with_columns(places), dead=dead, notes=notes)
