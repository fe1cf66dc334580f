"""Golden cases: small inputs and the rows that a build must make of them, one folder a case.

`input.yaml` holds rows by input table (columns left out are null), and optionally `as_of` and `rules` (differences to
the defaults of the rule file). With `delivered: true` the rows of the bronze table are deliveries, in order, which are
judged and folded first; without, they are what stands of them. `expect.yaml` holds the rows that come out, with the
columns that the case is about.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from customer360.pipelines.rules import RULE_FILES
from customer360.platform import graph, tables
from customer360.platform.run.records import current_records
from customer360.platform.run.units import conform_to_storage
from customer360.serve.compose import compose

HERE = Path(__file__).parent
CASES = sorted(HERE.glob("*/cases/*/*/input.yaml"))


def frame(name: str, rows: list[dict[str, Any]], defaults: dict[str, Any]) -> pl.LazyFrame:
    schema = tables.schema(tables.by_name(name))
    unknown = {c for row in rows for c in row} - set(schema)
    assert not unknown, f"{name} has no columns {sorted(unknown)}"
    columns = {}
    for column, dtype in schema.items():
        values = [row.get(column, defaults.get(column)) for row in rows]
        if isinstance(dtype, pl.Decimal):
            values = [None if v is None else Decimal(str(v)) for v in values]
        columns[column] = pl.Series(column, values, dtype=dtype)
    return pl.LazyFrame(columns)


def standing(delivered: pl.LazyFrame, table: str) -> pl.LazyFrame:
    """Deliveries as the build sees them; a row without an address has that of its place."""
    place = pl.int_range(1, pl.len() + 1, dtype=pl.Int64)
    addressed = delivered.with_columns(
        pl.col("_source", "_file").fill_null("feed"), pl.col("_seq").fill_null(1), _position=place
    )
    return current_records(tables.by_name(table), addressed.collect(), set()).rows.lazy()


def plain(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value


@pytest.mark.parametrize("path", CASES, ids=lambda p: f"{p.parts[-3]}-{p.parts[-2]}")
def test_case(path: Path) -> None:
    compose()
    node = graph.NODES[f"{path.parts[-5]}.{path.parts[-3]}"]
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    expected = yaml.safe_load(path.with_name("expect.yaml").read_text(encoding="utf-8"))
    defaults, rows = given.get("defaults", {}), given["rows"]
    assert set(rows) <= set(node.inputs), f"{node.name} reads {node.inputs}"
    inputs = [frame(t, rows.get(t, []), defaults.get(t, {})) for t in node.inputs]
    if given.get("delivered"):
        inputs = [standing(f, t) if t == node.records else f for t, f in zip(node.inputs, inputs, strict=True)]
    reserved: dict[str, Any] = {}
    if "params" in node.wants:
        reserved["params"] = RULE_FILES[node.rules or ""].model_validate(given.get("rules", {}))
    if "as_of" in node.wants:
        reserved["as_of"] = given["as_of"]
    made = conform_to_storage(node.table, node.function(*inputs, **reserved), {})
    columns = list(expected[0])
    key = [c for c in node.table.primary_key() if c in columns] or columns[:1]
    got, want = by_key(made.select(columns).to_dicts(), key), by_key(expected, key)
    assert list(got) == list(want)
    for row in want:
        for column, value in want[row].items():
            same = pytest.approx(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value
            assert plain(got[row][column]) == same, f"{dict(zip(key, row, strict=True))}: {column}"


def by_key(rows: list[dict[str, Any]], key: list[str]) -> dict[tuple[str, ...], dict[str, Any]]:
    found = {tuple(str(row[c]) for c in key): row for row in rows}
    assert len(found) == len(rows), f"rows with equal {key}"
    return dict(sorted(found.items()))


def test_every_case_has_its_expectation() -> None:
    assert CASES
    assert all(p.with_name("expect.yaml").exists() for p in CASES)
