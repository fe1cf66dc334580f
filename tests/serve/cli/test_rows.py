"""Rows of a query as other programs read them."""

from __future__ import annotations

import io
import json
from datetime import date
from decimal import Decimal

import polars as pl
import pytest

from customer360.serve.cli import rows

COLUMNS = ["id", "on", "amount", "names", "flag"]
ROWS = [(1, date(2026, 1, 2), Decimal("1.50"), ["a", 'b,"c'], True), (2, None, None, None, None)]


@pytest.mark.parametrize("count", [0, 2, 30_000])
def test_every_row_is_written(count: int) -> None:
    out = io.StringIO()
    rows.write(["n"], ((i,) for i in range(count)), out, "csv")
    assert pl.read_csv(io.StringIO(out.getvalue()), schema={"n": pl.Int64})["n"].to_list() == list(range(count))


def test_csv_and_json_say_the_same() -> None:
    table, lines = io.StringIO(), io.StringIO()
    rows.write(COLUMNS, ROWS, table, "csv")
    rows.write(COLUMNS, ROWS, lines, "json")
    assert table.getvalue().splitlines()[1:] == ['1,2026-01-02,1.50,"[""a"", ""b,\\""c""]",True', "2,,,,"]
    first, second = map(json.loads, lines.getvalue().splitlines())
    assert first == {"id": 1, "on": "2026-01-02", "amount": "1.50", "names": ["a", 'b,"c'], "flag": True}
    assert second == dict(zip(COLUMNS, (2, *[None] * 4), strict=True))


def test_a_spreadsheet_runs_nothing_and_programs_get_what_there_is() -> None:
    stored = [("=1+1", -5, Decimal("-1.50"), "-2.5", ["@a"])]
    of = {shape: io.StringIO() for shape in ("csv", "sheet")}
    for shape, out in of.items():
        rows.write(["a", "b", "c", "d", "e"], stored, out, shape)
    assert of["csv"].getvalue().splitlines()[1] == '=1+1,-5,-1.50,-2.5,"[""@a""]"'
    assert of["sheet"].getvalue().splitlines()[1] == '\'=1+1,-5,-1.50,-2.5,"[""@a""]"'
