"""Rows of a query for other programs: CSV, or a JSON object a line."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from typing import Any, TextIO


def write(columns: Sequence[str], rows: Iterable[Sequence[Any]], out: TextIO, *, as_json: bool) -> None:
    """All rows, one by one. In CSV nothing is an empty field, lists and structs are JSON."""
    if as_json:
        for row in rows:
            named = dict(zip(columns, row, strict=True))
            out.write(json.dumps(named, ensure_ascii=False, default=str) + "\n")
        return
    table = csv.writer(out, lineterminator="\n")
    table.writerow(columns)
    table.writerows([_cell(value) for value in row] for row in rows)


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, (list, dict)) else value
