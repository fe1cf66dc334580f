"""The types of Kafka Connect and Debezium that a number, a text of Base64 or an object stands for.

A decimal is its digits, a date and a time are ISO 8601, bytes are hexadecimal text: as the other kinds give them. A
time without a zone is of none, so say ``timezone:`` where it is not UTC.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

DAY_ZERO, EPOCH = date(1970, 1, 1), datetime(1970, 1, 1)
PER_SECOND = {
    "Timestamp": 1_000, "MicroTimestamp": 1_000_000, "NanoTimestamp": 1_000_000_000,
    "Time": 1_000, "MicroTime": 1_000_000, "NanoTime": 1_000_000_000,
}  # fmt: skip
KNOWN = ("Date", *PER_SECOND, "Decimal", "VariableScaleDecimal", "bytes")
UNAVAILABLE = "__debezium_unavailable_value"  # of PostgreSQL: a large value that did not change is not in the log
_IN_BASE64 = base64.b64encode(UNAVAILABLE.encode()).decode()
_WRITTEN = re.compile(r"(\w+)(?:\((\d+)\))?")


@dataclass(frozen=True)
class Type:
    """The last part of a type's name, and the digits after the point of a decimal."""

    name: str
    scale: int = 0


def type_of(written: str) -> Type:
    """A type as settings write it: ``MicroTimestamp``, ``Decimal(2)``. Raises ValueError where there is none such."""
    found = _WRITTEN.fullmatch(written.strip())
    if not found or found[1] not in KNOWN:
        raise ValueError(f"{written!r} is none of {', '.join(KNOWN)}; Decimal(2) has two digits after the point")
    return Type(found[1], int(found[2] or 0))


def is_unavailable(value: Any) -> bool:
    """Whether a value stands for one that was not sent."""
    if isinstance(value, list):
        return len(value) == 1 and is_unavailable(value[0])
    return value in (UNAVAILABLE, _IN_BASE64) if isinstance(value, str) else False


def text_of(value: Any, kind: Type | None) -> str | None:
    """A value as text. One that is not of its type stays as it is written: the contract judges it."""
    if value is None:
        return None
    try:
        found = _decoded(value, kind) if kind is not None else None
    except (ValueError, OverflowError, binascii.Error, TypeError, KeyError):
        found = None
    return _plain(value) if found is None else found


def moment_of(number: int, per_second: int) -> str | None:
    """A moment since 1970 as ISO 8601 to the microsecond; None outside of the years 1 to 9999."""
    try:
        return (EPOCH + timedelta(microseconds=number * 1_000_000 // per_second)).isoformat(timespec="microseconds")
    except OverflowError:
        return None


def _decoded(value: Any, kind: Type) -> str | None:
    if kind.name == "Decimal":
        return _decimal(value, kind.scale) if isinstance(value, str) else None  # the converter may write a number
    if kind.name == "VariableScaleDecimal" and isinstance(value, dict):
        return _decimal(value["value"], int(value["scale"]))
    if kind.name == "bytes" and isinstance(value, str):
        return base64.b64decode(value, validate=True).hex()
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    if kind.name == "Date":
        return (DAY_ZERO + timedelta(days=value)).isoformat()
    if kind.name in ("Timestamp", "MicroTimestamp", "NanoTimestamp"):
        return moment_of(value, PER_SECOND[kind.name])
    if kind.name in PER_SECOND:
        whole = moment_of(value, PER_SECOND[kind.name])
        return None if whole is None else whole.partition("T")[2]
    return None


def _decimal(value: str, scale: int) -> str:
    unscaled = int.from_bytes(base64.b64decode(value, validate=True), signed=True)
    return format(Decimal(unscaled).scaleb(-scale), "f")


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
