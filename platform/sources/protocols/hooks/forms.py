"""Bodies that senders encode as a form (``application/x-www-form-urlencoded``), as the JSON object that they tell."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any
from urllib.parse import parse_qsl

MOST_FIELDS = 10_000


def as_json(body: bytes, json_fields: Collection[str] = ()) -> bytes:
    """A form as one JSON object of texts: a field that comes several times is a list, an empty one an empty text;
    fields named in ``json_fields`` hold JSON, and their value is what it says.

    Raises:
        ValueError: the body is no form, is not UTF-8, or a field that should hold JSON does not.
    """
    if not body.strip():
        raise ValueError("a form without a field")
    told: dict[str, Any] = {}
    fields = parse_qsl(
        body.decode("utf-8").strip(),
        keep_blank_values=True,
        strict_parsing=True,
        errors="strict",
        max_num_fields=MOST_FIELDS,
    )
    for name, text in fields:
        value = json.loads(text) if name in json_fields else text
        told[name] = value if name not in told else [*_listed(told[name]), value]
    return json.dumps(told, ensure_ascii=False, allow_nan=False).encode()


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
