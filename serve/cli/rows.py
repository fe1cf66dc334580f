"""Rows of a query for other programs: CSV, or a JSON object a line."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TextIO

from customer360.platform.formulas import as_text

Shape = Literal["csv", "sheet", "json"]


def write(columns: Sequence[str], rows: Iterable[Sequence[Any]], out: TextIO, shape: Shape) -> None:
    """All rows, one by one. In CSV nothing is an empty field, lists and structs are JSON; ``sheet`` is CSV of which a
    spreadsheet runs nothing."""
    if shape == "json":
        for row in rows:
            named = dict(zip(columns, row, strict=True))
            out.write(json.dumps(named, ensure_ascii=False, default=str) + "\n")
        return
    table = csv.writer(out, lineterminator="\n")
    table.writerow(columns)
    cell = _of_a_sheet if shape == "sheet" else _cell
    table.writerows([cell(value) for value in row] for row in rows)


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, (list, dict)) else value


def _of_a_sheet(value: Any) -> Any:
    plain = _cell(value)
    return as_text(plain) if isinstance(plain, str) else plain
