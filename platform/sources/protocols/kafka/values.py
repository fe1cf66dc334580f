"""Values of messages as records: JSON, or Avro whose schema a registry has; what is neither is a dead letter."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import fastavro
import httpx2
import polars as pl

from customer360.platform.connections.kafka import Kafka
from customer360.platform.errors import SourceError, TransientError
from customer360.platform.sources.formats.elements import one_line
from customer360.platform.sources.formats.ndjson import objects
from customer360.platform.sources.formats.records import POSITION, Records, dead_letters, of_frame

FRAMED = 5  # bytes before a value of a registry's schema: zero, and the number of the schema
TOMBSTONE = 'no value: its key is gone (`metadata: true` and `deleted: "message.tombstone"` take it as a deletion)'


@dataclass
class Registry:
    """Schemas of a Confluent registry, by number; each is asked for once."""

    kafka: Kafka
    known: dict[int, Any] = field(default_factory=dict)

    def schema(self, number: int) -> Any:
        if number not in self.known:
            self.known[number] = self._asked(number)
        return self.known[number]

    def _asked(self, number: int) -> Any:
        kafka = self.kafka
        if not kafka.registry:
            raise SourceError(f"messages name schema {number}: say where the registry is (`registry:`)")
        who = (kafka.registry_user, kafka.secret("registry_password") or "") if kafka.registry_user else None
        place = f"{kafka.registry.rstrip('/')}/schemas/ids/{number}"
        try:
            answer = httpx2.get(place, auth=who, timeout=kafka.timeout_seconds)
            answer.raise_for_status()
            said = answer.json()
        except httpx2.HTTPStatusError as fault:
            code = fault.response.status_code
            raise (TransientError if code >= 500 else SourceError)(f"{place} answers {code}") from None
        except httpx2.HTTPError as fault:
            raise TransientError(f"{place} does not answer: {type(fault).__name__}") from None
        except ValueError:
            raise SourceError(f"{place} answers with no JSON") from None
        kind = said.get("schemaType", "AVRO")
        if kind == "JSON":
            return None
        if kind != "AVRO" or said.get("references"):
            raise SourceError(f"schema {number} is {kind} or refers to others: JSON and Avro of one piece are read")
        return fastavro.parse_schema(json.loads(said["schema"]))


def records_of(
    values: Sequence[bytes | None], places: Sequence[int], registry: Registry, *, tombstones: bool
) -> Records:
    """The records of some values; ``places`` are their positions. Without a value a message is a record of nothing
    where ``tombstones`` are wanted, else a dead letter.
    """
    lines: list[bytes] = []
    of_lines: list[int] = []
    rows: list[dict[str, Any]] = []
    of_rows: list[int] = []
    dead: list[tuple[int, str, bytes]] = []
    for value, place in zip(values, places, strict=True):
        if value is None:
            if tombstones:
                lines.append(b"{}")
                of_lines.append(place)
            else:
                dead.append((place, TOMBSTONE, b""))
            continue
        schema = registry.schema(struct.unpack(">I", value[1:FRAMED])[0]) if _is_framed(value) else None
        body = value[FRAMED:] if _is_framed(value) else value
        if schema is not None:
            try:
                row = fastavro.schemaless_reader(io.BytesIO(body), schema, None)
            except Exception as fault:  # noqa: BLE001 - damaged bytes raise whatever they are taken for
                dead.append((place, f"avro: {type(fault).__name__}", value))
                continue
            rows.append(row if isinstance(row, dict) else {"value": row})
            of_rows.append(place)
        elif body.strip():
            lines.append(one_line(body))
            of_lines.append(place)
        else:
            dead.append((place, "an empty value", value))
    found = [_numbered(*objects.records_of(b"\n".join(lines) + b"\n", 1)[:2], of_lines)] if lines else []
    found += [_rows(rows, of_rows)] if rows else []
    letters = pl.concat([dead_letters(dead), *(part.dead for part in found)])
    frames = [part.frame for part in found]
    frame = pl.concat(frames, how="diagonal_relaxed") if frames else pl.DataFrame(schema={POSITION: pl.Int64})
    return Records(frame.sort(POSITION), letters.sort(POSITION), keyed=True)


def _is_framed(value: bytes) -> bool:
    return len(value) > FRAMED and value[0] == 0


def _numbered(frame: pl.DataFrame, dead: pl.DataFrame, places: list[int]) -> Records:
    """Records of lines by the positions of their messages."""
    at = pl.Series(POSITION, places, dtype=pl.Int64)
    return Records(frame.with_columns(at.gather(frame[POSITION] - 1)), dead.with_columns(at.gather(dead[POSITION] - 1)))


def _rows(rows: list[dict[str, Any]], places: list[int]) -> Records:
    found = of_frame(pl.from_dicts(rows, infer_schema_length=None))
    return _numbered(found.frame, found.dead, places)
