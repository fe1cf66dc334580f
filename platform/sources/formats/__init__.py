"""Formats: bytes to records. One module a format; what cannot be read is set aside with the reason, never lost.

A record's position is its 1-based number in the file, unreadable records counted.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from typing import IO, Any

from customer360.platform.sources.formats import csv, json, parquet
from customer360.platform.sources.formats.options import Format, Options
from customer360.platform.sources.formats.records import Records, together, whole_file_dead

GZIP, UTF8_MARK = b"\x1f\x8b", b"\xef\xbb\xbf"


def read(data: bytes, format: Format, delimiter: str = "auto", **options: Any) -> Records:
    """All records of a file's bytes; ``options`` as in `Options`."""
    return together(pieces(io.BytesIO(data), Options(format, delimiter, **options)))


def pieces(stream: IO[bytes], options: Options) -> Iterator[Records]:
    """The records of a file in pieces of bounded size; positions run on over them."""
    data = stream.read()
    if data.startswith(GZIP):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as fault:
            yield whole_file_dead(data, f"gzip: {fault}")
            return
    if options.format == "parquet":
        yield parquet.read(data)
    elif options.format == "json":
        yield from json.pieces(io.BytesIO(data), options)
    else:
        yield from csv.pieces(io.BytesIO(data), options)
