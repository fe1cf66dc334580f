"""Wide records as rows: every value in one place, whatever the columns are called and how many there are."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from customer360.platform.sources.casting import fit
from customer360.platform.sources.expressions.nested import records_of
from customer360.platform.sources.files import Files
from customer360.platform.sources.formats import read
from customer360.platform.sources.formats.records import POSITION
from customer360.platform.sources.mapping.unpivot import Unpivot
from customer360.platform.sources.stated import made_by, mapping_of, missing_columns, unmapped
from customer360.platform.sources.values import Reading
from customer360.platform.tables import Float, String, Table

WIDE = {"keep": "day", "name": "what", "value": "held"}


@pytest.fixture(autouse=True)
def measures(registries: None) -> type[Table]:
    class Measures(Table, table="bronze.t_measures", key=("DAY", "WHAT")):
        """One row per measure."""

        DAY = String(nullable=False)
        WHAT = String(nullable=False)
        HELD = Float(nullable=True)

    return Measures


def source(**own: Any) -> Files:
    mapping = {"DAY": "day", "WHAT": "what", "HELD": "held"}
    return Files(
        **{"table": "bronze.t_measures", "system": "S", "path": "*", "mapping": mapping, "unpivot": WIDE, **own}
    )


CELLS = st.sampled_from(["", "1.5", "N/A", "x", "-", "0"])


@given(st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=8), st.permutations(["day", "A", "B", "C"]))
def test_every_cell_that_holds_a_value_is_one_row(lines: list[list[str]], order: list[str]) -> None:
    cells = {name: [line[place] for line in lines] for place, name in enumerate("ABC")}
    columns = {POSITION: range(1, len(lines) + 1), "day": [f"d{i}" for i in range(len(lines))], **cells}
    schema = {POSITION: pl.Int64, **dict.fromkeys(["day", "A", "B", "C"], pl.String)}
    records = pl.DataFrame(columns, schema=schema).select(POSITION, *order)
    rows = Unpivot(**WIDE).rows(records, Reading())  # type: ignore[arg-type]
    there = {
        (f"d{i}", n, c)
        for i, line in enumerate(lines)
        for n, c in zip("ABC", line, strict=True)
        if c not in ("", "N/A", "-")
    }
    assert set(rows.select("day", "what", "held").rows()) == there and rows.height == len(there)
    assert rows[POSITION].is_unique().all() and set(records_of(rows[POSITION])) <= set(records[POSITION])


def test_records_are_counted_and_conditions_see_the_rows(measures: type[Table]) -> None:
    found = read(b"day,A,B,\n1,1,2,\n2,N/A,,\n3,,x,\n", "auto").frame
    fitted = fit(found, measures, mapping_of(source(where="what <> 'A'")), Reading())
    assert fitted.frame.select("DAY", "WHAT", "HELD").rows() == [("1", "B", 2.0), ("3", "B", None)]
    assert found.height + fitted.exploded == fitted.frame.height + fitted.left_out + fitted.without_elements
    assert '"HELD":"x"' in fitted.frame["_rescued"][1]


@pytest.mark.parametrize(
    ("own", "columns", "said"),
    [
        ({}, ["day", "A"], ""),
        ({}, ["date", "A"], "unpivot needs file column(s) ['day'], the file has ['date', 'A']"),
        ({"where": "held > 1"}, ["day", "A"], ""),
        ({"deleted": "held = 'gone'"}, ["day", "A"], ""),
        ({"mapping": {"DAY": "day", "WHAT": "A"}}, ["day", "A"], "WHAT needs file column(s) ['A']"),
    ],
)
def test_what_a_file_lacks_is_named(own: dict[str, Any], columns: list[str], said: str) -> None:
    faults = unmapped(source(**own), columns, keyed=False)
    assert any(said in fault for fault in faults) if said else not faults, faults
    if columns[0] == "date":
        assert missing_columns(source(**own), columns, keyed=False)[0] == ["day"]


def test_the_print_of_other_sources_stays() -> None:
    assert made_by(source(unpivot=None)) == made_by(Files(**source(unpivot=None).model_dump(exclude={"unpivot"})))
    assert made_by(source()) != made_by(source(unpivot=None))


@pytest.mark.parametrize("own", [{"explode": ["A"]}, {"unpivot": {"keep": []}}, {"unpivot": {"keep": ["name"]}}])
def test_settings_that_contradict_each_other_are_refused(own: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        source(**own)
