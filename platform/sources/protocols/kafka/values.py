"""Values of messages as records: JSON, or Avro whose schema a registry has; what is neither is a dead letter."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import fastavro
import httpx2
import polars as pl

from customer360.platform.connections.kafka import Kafka
from customer360.platform.errors import SourceError, TransientError
from customer360.platform.sources.formats.elements import one_line
from customer360.platform.sources.formats.ndjson import objects
from customer360.platform.sources.formats.records import POSITION, Records, dead_letters, of_frame, together

FRAMED = 5  # bytes before a value of a registry's schema: zero, and the number of the schema
TOMBSTONE = 'no value: its key is gone (`metadata: true` and `deleted: "message.tombstone"` take it as a deletion)'


class Unknown(Exception):
    """A schema that is not there or cannot be read, and why."""


@dataclass
class Registry:
    """Schemas of a Confluent registry, by number; each is asked for once."""

    kafka: Kafka
    known: dict[int, Any] = field(default_factory=dict)

    def schema(self, number: int) -> Any:
        """A schema; None where its values are JSON.

        Raises:
            Unknown: there is none of this number, or none that is read: its messages are dead letters.
            SourceError: the registry refuses us.
            TransientError: the registry does not answer.
        """
        if number not in self.known:
            try:
                self.known[number] = self._asked(number)
            except Unknown as fault:
                self.known[number] = fault
        found = self.known[number]
        if isinstance(found, Unknown):
            raise Unknown(*found.args)
        return found

    def _asked(self, number: int) -> Any:
        kafka = self.kafka
        if not kafka.registry:
            raise Unknown(f"no text, or framed with schema {number}: where is the registry (`registry:`)?")
        who = (kafka.registry_user, kafka.secret("registry_password") or "") if kafka.registry_user else None
        place = f"{kafka.registry.rstrip('/')}/schemas/ids/{number}"
        try:
            answer = httpx2.get(place, auth=who, timeout=kafka.timeout_seconds)
            answer.raise_for_status()
            said = answer.json()
        except httpx2.HTTPStatusError as fault:
            code = fault.response.status_code
            if code in (408, 429) or code >= 500:
                raise TransientError(f"{place} answers {code}") from None
            raise (SourceError if code in (401, 403) or code < 400 else Unknown)(f"{place} answers {code}") from None
        except httpx2.HTTPError as fault:
            raise TransientError(f"{place} does not answer: {type(fault).__name__}") from None
        except ValueError:
            raise SourceError(f"{place} answers with no JSON") from None
        try:
            kind = said.get("schemaType", "AVRO")
            if kind == "JSON":
                return None
            if kind != "AVRO" or said.get("references"):
                raise Unknown(f"schema {number} is {kind} or refers to others: JSON and Avro of one piece are read")
            return fastavro.parse_schema(json.loads(said["schema"]))
        except Unknown:
            raise
        except Exception as fault:  # noqa: BLE001 - whatever somebody registered costs the messages of its number
            raise Unknown(f"schema {number} cannot be read: {type(fault).__name__}") from None


def records_of(
    values: Sequence[bytes | None], places: Sequence[int], registry: Registry, *, tombstones: bool
) -> Records:
    """The records of some values; ``places`` are their positions. Without a value a message is a record of nothing
    where ``tombstones`` are wanted, else a dead letter.
    """
    if (text := _plain(values)) is not None:
        return Records(*_numbered(*objects.records_of(text, 1)[:2], places), keyed=True)
    lines: list[bytes] = []
    of_lines: list[int] = []
    rows: dict[int, list[tuple[int, dict[str, Any]]]] = {}  # by schema
    dead: list[tuple[int, str, bytes]] = []
    for value, place in zip(values, places, strict=True):
        if value is None:
            if tombstones:
                lines.append(b"{}")
                of_lines.append(place)
            else:
                dead.append((place, TOMBSTONE, b""))
            continue
        number, body = (int.from_bytes(value[1:FRAMED]), value[FRAMED:]) if _is_framed(value) else (None, value)
        try:
            schema = None if number is None else registry.schema(number)
        except Unknown as fault:
            dead.append((place, str(fault), value))
            continue
        if number is not None and schema is not None:
            try:
                row = fastavro.schemaless_reader(io.BytesIO(body), schema, None)
            except Exception as fault:  # noqa: BLE001 - damaged bytes raise whatever they are taken for
                dead.append((place, f"avro: {type(fault).__name__}", value))
                continue
            rows.setdefault(number, []).append((place, row if isinstance(row, dict) else {"value": row}))
        elif body.strip():
            lines.append(one_line(body))
            of_lines.append(place)
        else:
            dead.append((place, "an empty value", value))
    found = []
    if lines:
        found.append(Records(*_numbered(*objects.records_of(b"\n".join(lines) + b"\n", 1)[:2], of_lines)))
    found += [part for number in sorted(rows) for part in _rows(rows[number])]
    whole = together([*found, Records(pl.DataFrame(schema={POSITION: pl.Int64}), dead_letters(dead))])
    return Records(whole.frame.sort(POSITION), whole.dead.sort(POSITION), keyed=True)


def _plain(values: Sequence[bytes | None]) -> bytes | None:
    """Values that each are one line and begin as an object of JSON does, as lines; None where any is something else.
    What stands inside is read as it is in a file.
    """
    if not values or None in values:
        return None
    text = b"\n".join(cast("Sequence[bytes]", values)) + b"\n"
    if text.count(b"\n") != len(values) or b"\r" in text or text[:1] != b"{" or text.count(b"\n{") != len(values) - 1:
        return None
    return text


def _is_framed(value: bytes) -> bool:
    return len(value) > FRAMED and value[0] == 0


def _numbered(frame: pl.DataFrame, dead: pl.DataFrame, places: Sequence[int]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Records of lines and dead letters by the positions of their messages."""
    at = pl.Series(POSITION, places, dtype=pl.Int64)
    return frame.with_columns(at.gather(frame[POSITION] - 1)), dead.with_columns(at.gather(dead[POSITION] - 1))


def _rows(rows: list[tuple[int, dict[str, Any]]]) -> list[Records]:
    """Values of one schema; apart where a union of it gives what is in no column together."""
    places = [place for place, _ in rows]
    try:
        found = of_frame(pl.from_dicts([row for _, row in rows], infer_schema_length=None))
        if found.frame.height != len(rows):
            raise ValueError("rows without a column")
        return [Records(*_numbered(found.frame, found.dead, places))]
    except (Exception, pl.exceptions.PanicException) as fault:  # noqa: BLE001 - the values decide what a frame raises
        if len(rows) > 1:
            middle = len(rows) // 2
            return [*_rows(rows[:middle]), *_rows(rows[middle:])]
        if not rows[0][1]:  # a schema without a field
            return [Records(pl.DataFrame({POSITION: places}), dead_letters([]))]
        raw = repr(rows[0][1]).encode()
        return [Records(pl.DataFrame(schema={POSITION: pl.Int64}), dead_letters([(places[0], _said(fault), raw)]))]


def _said(fault: BaseException) -> str:
    return f"avro: no row of a table ({type(fault).__name__})"
