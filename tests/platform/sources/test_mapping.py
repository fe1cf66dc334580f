"""Mappings: what stands inside of values, records taken apart, texts read as what they meet, values that fail alone."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from customer360.platform.sources.casting import Fitted, fit
from customer360.platform.sources.formats import read
from customer360.platform.sources.formats.records import POSITION
from customer360.platform.sources.mapping import Mapping
from customer360.platform.sources.values import Reading
from customer360.platform.tables import Identifier, Integer, Money, String, Table, Timestamp


@pytest.fixture
def lines(registries: None) -> type[Table]:
    class Lines(Table, table="bronze.t_lines", key=("ORDER",)):
        """One row per line of an order."""

        ORDER = Identifier(nullable=False)
        LINE = Identifier(nullable=True)
        WHAT = String(nullable=True)
        COUNT = Integer(nullable=True)
        PRICE = Money(nullable=True)
        AT = Timestamp(nullable=True)

    return Lines


@pytest.fixture
def items(registries: None) -> type[Table]:
    class Items(Table, table="bronze.t_items", key=("LINE",)):
        """One row per line, by its own number."""

        LINE = Identifier(nullable=False)
        ORDER = Identifier(nullable=True)
        WHAT = String(nullable=True)
        PRICE = Money(nullable=True)

    return Items


def records(*rows: Any) -> pl.DataFrame:
    return read("\n".join(json.dumps(row) for row in rows).encode(), "json").frame


def fitted(table: type[Table], rows: list[Any], columns: dict[str, str], **more: Any) -> Fitted:
    reading = Reading(decimal=more.pop("decimal", None))
    more = {k: tuple(v) if isinstance(v, list) else v for k, v in more.items()}
    return fit(records(*rows), table, Mapping(columns, **more), reading)


def rescued(found: Fitted) -> list[dict[str, Any]]:
    return [json.loads(text or "{}") for text in found.frame["_rescued"]]


def values(found: Fitted, *columns: str) -> list[tuple[Any, ...]]:
    return found.frame.select(columns).rows()


ORDER = {
    "id": 7,
    "ship": {"city": "Ulm", "odd key": {"x.y": 5}, "none": None, "geo": [48.4, 9.98]},
    "params": [
        {"key": "page", "value": {"string_value": "/tea", "int_value": None}},
        {"key": "n", "value": {"int_value": "3"}},
    ],
    "notes": [{"name": "gift", "value": "yes"}],
    "flat": [{"key": "a", "string_value": None, "int_value": 4}],
    "contexts": {"data": [{"schema": "iglu:com.acme/web_page/jsonschema/1-0-0", "data": {"id": "p1"}}]},
    "tags": ["a", "b"],
    "ship.flat": "literal",
    "text": "plain",
}  # fmt: skip


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("ship.city", "Ulm"),
        ('ship."odd key"."x.y"', "5"),
        ("ship.none", None),
        ("ship.absent.deeper", None),
        ("ship.geo[1]", "48.4"),
        ("ship.geo[-1]", "9.98"),
        ("ship.geo[3]", None),
        ("tags[2]", "b"),
        ("params[1].value.string_value", "/tea"),
        ("params.page", "/tea"),
        ("params.n", "3"),
        ("params.unknown", None),
        ("param(params, 'page')", "/tea"),
        ("notes.gift", "yes"),
        ("flat.a", "4"),
        ("contexts.data.web_page.id", "p1"),
        ("ship.flat", "literal"),
        ("ship->>'$.city'", "Ulm"),
        ("json_extract_string(ship, '$.geo[0]')", "48.4"),
        ("UPPER(ship.city) || '-' || id", "ULM-7"),
        ("ship.geo[1] * 2", "96.8"),
        ("SHIP.city", "Ulm"),
        ("gone.city", None),
    ],
)
def test_values_inside_of_values_are_reached_by_path(lines: type[Table], expression: str, value: str | None) -> None:
    found = fitted(lines, [ORDER], {"ORDER": "id", "WHAT": expression})
    assert values(found, "ORDER", "WHAT") == [("7", value)]
    assert "WHAT" not in rescued(found)[0]


def test_a_path_through_a_text_is_null_and_the_text_kept(lines: type[Table]) -> None:
    found = fitted(lines, [ORDER, {"id": 8, "ship": "to be named"}], {"ORDER": "id", "WHAT": "ship.city"})
    assert values(found, "WHAT") == [("Ulm",), (None,)]
    assert rescued(found)[1]["WHAT"] == "to be named" and found.facts["nulled|WHAT|type"] == 1


BASKETS = [
    {"id": 1, "who": {"id": 70}, "lines": [{"id": 11, "sku": "TEA", "price": "1.50"}, {"id": 12, "sku": "CUP", "price": 2}]},  # noqa: E501
    {"id": 2, "who": None, "lines": []},
    {"id": 3, "lines": {"id": 31, "sku": "POT", "price": "9"}},
    {"id": 4},
]  # fmt: skip


def test_explode_makes_a_row_of_every_element(lines: type[Table]) -> None:
    columns = {"ORDER": "id", "LINE": "lines.id", "WHAT": "who.id", "COUNT": "lines_position", "PRICE": "lines.price"}
    found = fitted(lines, BASKETS, columns, explode=["lines"])
    assert values(found, "ORDER", "LINE", "WHAT", "COUNT", "PRICE") == [
        ("1", "11", "70", 1, Decimal("1.50")),
        ("1", "12", "70", 2, Decimal("2.00")),
        ("3", "31", None, 1, Decimal("9.00")),
    ]
    assert found.frame[POSITION].to_list() == [1_000_000_001, 1_000_000_002, 3_000_000_001]
    assert (found.exploded, found.without_elements, found.left_out) == (1, 2, 0)
    assert [sorted(r) for r in rescued(found)] == [["lines", "who"], ["lines"], ["lines"]]


def test_where_sees_elements_and_their_record(lines: type[Table]) -> None:
    columns = {"ORDER": "id", "LINE": "lines.id"}
    found = fitted(lines, BASKETS, columns, explode=["lines"], where="lines.price > 1.75 AND id < 3")
    assert values(found, "LINE") == [("12",)]
    assert (found.exploded, found.without_elements, found.left_out) == (1, 2, 2)
    assert "who" in rescued(found)[0], "what is not of an element stays with the first row that does"


def test_lists_in_lists_are_taken_apart_one_after_the_other(lines: type[Table]) -> None:
    rows = [
        {"id": 1, "parcels": [{"no": "a", "goods": {"list": ["x", "y"]}}, {"no": "b", "goods": {"list": ["z"]}}]},
        {"id": 2, "parcels": [{"no": "c", "goods": {}}]},
    ]
    columns = {
        "ORDER": "id",
        "LINE": "parcels.no",
        "WHAT": "parcels.goods.list",
        "COUNT": "parcels.goods.list_position",
    }
    found = fitted(lines, rows, columns, explode=["parcels", "parcels.goods.list"])
    assert values(found, "ORDER", "LINE", "WHAT", "COUNT") == [
        ("1", "a", "x", 1),
        ("1", "a", "y", 2),
        ("1", "b", "z", 1),
    ]
    assert found.frame[POSITION].to_list() == [1_000_000_001, 1_000_000_002, 1_000_000_003]
    assert (found.exploded, found.without_elements) == (2, 1)


def test_a_list_that_the_key_is_reached_through_is_taken_apart_by_itself(items: type[Table]) -> None:
    columns = {"LINE": "lines.id", "ORDER": "id", "WHAT": "lines.sku"}
    found = fitted(items, BASKETS, columns)
    assert values(found, "LINE", "ORDER", "WHAT") == [
        ("11", "1", "TEA"),
        ("12", "1", "CUP"),
        ("31", "3", "POT"),
        (None, "4", None),
    ]
    assert found.frame[POSITION].to_list() == [1_000_000_001, 1_000_000_002, 3, 4]
    assert (found.exploded, found.without_elements) == (1, 1)


def test_a_list_that_no_key_is_reached_through_is_a_fault(lines: type[Table]) -> None:
    mapping, frame = Mapping({"ORDER": "id", "LINE": "lines.id"}), records(*BASKETS)
    assert mapping.faults(lines, frame.columns[1:], frame) == [
        "LINE reads lines.id, but lines holds a list: say `explode: lines` for a row an element, or which element: "
        "lines[1]"
    ]
    found = fit(frame, lines, mapping)
    assert rescued(found)[0]["LINE"].startswith("[{"), "and where nobody looked, the list is kept"


def test_pieces_of_a_file_come_out_as_the_file_does(items: type[Table]) -> None:
    columns, frame = {"LINE": "lines.id", "ORDER": "id"}, records(*BASKETS)
    whole = fit(frame, items, Mapping(columns)).frame
    parts = [fit(frame[i : i + 1], items, Mapping(columns)).frame for i in range(frame.height)]
    assert pl.concat(parts).drop("_rescued").equals(whole.drop("_rescued"))


@pytest.mark.parametrize(
    "name", ["at", "order", "group", "end", "desc", "user", "left", "value", "date", "Größe", "a b"]
)
def test_columns_may_be_called_as_sql_is(lines: type[Table], name: str) -> None:
    plain = name if name.isalpha() else f'"{name}"'
    for expression in (
        plain,
        f"UPPER({plain})",
        f"COALESCE({plain}, 'y')",
        f"CASE WHEN {plain} = 'X' THEN {plain} END",
    ):
        assert values(fitted(lines, [{"id": 1, name: "X"}], {"ORDER": "id", "WHAT": expression}), "WHAT") == [("X",)]
