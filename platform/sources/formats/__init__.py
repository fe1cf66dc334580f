"""Formats: bytes to records. One module a format; what cannot be read is set aside with the reason, never lost.

A record's position is its 1-based number in the file, unreadable records counted.
"""

from __future__ import annotations

import gzip
import zlib

from customer360.platform.sources.formats import csv, json, parquet
from customer360.platform.sources.formats.records import Records, whole_file_dead

GZIP, UTF8_MARK = b"\x1f\x8b", b"\xef\xbb\xbf"


def read(data: bytes, format: str, delimiter: str = ",") -> Records:
    """Split a file's bytes into records; gzip is recognised by its magic number."""
    if data.startswith(GZIP):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as fault:
            return whole_file_dead(data, f"gzip: {fault}")
    if format == "parquet":
        return parquet.read(data)
    text = data.removeprefix(UTF8_MARK)
    return json.read(text) if format == "json" else csv.read(text, delimiter)
