"""Avro container files as records: numbers and instants keep their types, nested values become JSON text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

import fastavro

from customer360.platform.sources.formats import typed
from customer360.platform.sources.formats.options import Options
from customer360.platform.sources.formats.records import Records, Unreadable

MAGIC = b"Obj\x01"


def pieces(stream: IO[bytes], options: Options) -> Iterator[Records]:
    """All records of a file. Raises Unreadable: no Avro, or damaged; what stands before the damage was given."""
    try:
        reader = fastavro.reader(stream)
        names = [field["name"] for field in (reader.writer_schema or {}).get("fields", [])]  # type: ignore[union-attr]
    except Exception as fault:  # noqa: BLE001  a damaged header raises whatever its parts do
        raise Unreadable(f"avro: {type(fault).__name__}: {fault}") from None
    fault_of: list[str] = []
    yield from typed.pieces_of(_rows(reader, fault_of), names)
    if fault_of:
        raise Unreadable(fault_of[0])


def _rows(reader: Any, fault_of: list[str]) -> Iterator[dict[str, Any]]:
    """Rows until the damage, which is noted: rows of a piece that were read are given."""
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except Exception as fault:  # noqa: BLE001  damaged bytes raise whatever they are taken for
            fault_of.append(f"avro: the file is damaged here: {type(fault).__name__}: {fault}")
            return
        yield row if isinstance(row, dict) else {"value": row}
