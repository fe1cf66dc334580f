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


PRICES = [
    {"id": "a", "price": "9.50", "qty": "2", "at": "31/12/2025", "paid": "yes"},
    {"id": "a", "price": "10.00", "qty": "1", "at": "1/2/2026", "paid": "no"},
    {"id": "b", "price": "(1,234.50)", "qty": "1", "at": "2/2/2026", "paid": "y"},
]


@pytest.mark.parametrize(
    ("target", "expression", "expected"),
    [
        ("PRICE", "price * qty", ["19.00", "10.00", "-1234.50"]),
        ("PRICE", "ROUND(price / qty, 1)", ["4.80", "10.00", "-1234.50"]),
        ("PRICE", "-price", ["-9.50", "-10.00", "1234.50"]),
        ("PRICE", "GREATEST(price, 9.75)", ["9.75", "10.00", "9.75"]),
        ("PRICE", "COALESCE(NULLIF(price, 10), 0)", ["9.50", "0.00", "-1234.50"]),
        ("PRICE", "CASE WHEN paid THEN price ELSE 0 END", ["9.50", "0.00", "-1234.50"]),
        ("PRICE", "REPLACE(price, '.5', '.7') * 1", ["9.70", "10.00", "-1234.70"]),
        ("WHAT", "CASE WHEN price < 0 THEN 'back' WHEN price BETWEEN 9 AND 9.9 THEN 'low' END", ["low", None, "back"]),
        ("WHAT", "CASE WHEN qty IN (2, 3) THEN 'many' END", ["many", None, None]),
        ("WHAT", "CASE WHEN at >= DATE '2026-01-15' THEN 'new' ELSE 'old' END", ["old", "new", "new"]),
        ("WHAT", "CASE WHEN paid = true THEN 'paid' ELSE 'open' END", ["paid", "open", "paid"]),
        ("WHAT", "STRFTIME(at, '%Y-%m-%d')", ["2025-12-31", "2026-02-01", "2026-02-02"]),
        ("WHAT", "STRFTIME(at + INTERVAL 1 DAY, '%d')", ["01", "02", "03"]),
        ("COUNT", "qty + 1", [3, 2, 2]),
        ("AT", "make_timestamp(qty || '000000000000000')", ["2033-05-18", "2001-09-09", "2001-09-09"]),
        ("WHAT", "id || qty || 1", ["a21", "a11", "b11"]),
        ("WHAT", "qty * 1.5", ["3", "1.5", "1.5"]),
        ("WHAT", "price", ["9.50", "10.00", "(1,234.50)"]),
    ],
)  # fmt: skip
def test_text_is_read_as_what_it_meets(lines: type[Table], target: str, expression: str, expected: list[Any]) -> None:
    found = fitted(lines, PRICES, {"ORDER": "id", target: expression})
    want = [Decimal(v) if target == "PRICE" else v for v in expected]
    have = found.frame[target].dt.to_string("%Y-%m-%d") if target == "AT" else found.frame[target]
    assert have.to_list() == want


def test_numbers_of_an_expression_have_the_sign_that_the_source_says(lines: type[Table]) -> None:
    rows = [{"id": 1, "price": "1.234", "qty": "2,5"}]
    for decimal, value in (",", "3085.00"), (".", "3.08"):
        found = fitted(lines, rows, {"ORDER": "id", "PRICE": "price * qty"}, decimal=decimal)
        assert values(found, "PRICE") == [(Decimal(value),)]


@pytest.mark.parametrize(
    ("target", "expression", "expected"),
    [
        ("PRICE", "MAX(price)", [Decimal("10.00"), Decimal("-1234.50")]),
        ("PRICE", "MIN(price) + 1", [Decimal("10.50"), Decimal("-1233.50")]),
        ("PRICE", "SUM(price * qty)", [Decimal("29.00"), Decimal("-1234.50")]),
        ("PRICE", "SUM(price) FILTER (WHERE paid)", [Decimal("9.50"), Decimal("-1234.50")]),
        ("WHAT", "MAX(price)", ["9.50", "(1,234.50)"]),
        ("WHAT", "STRING_AGG(qty, '+' ORDER BY price * 1 DESC)", ["1+2", "1"]),
        ("COUNT", "COUNT(*)", [2, 1]),
        ("COUNT", "COUNT(DISTINCT paid)", [2, 1]),
        ("WHAT", "id || COUNT(*)", ["a2", "b1"]),
    ],
)
def test_aggregates_compare_what_the_column_holds(
    lines: type[Table], target: str, expression: str, expected: Any
) -> None:
    found = fitted(lines, PRICES, {"ORDER": "id", target: expression}, group_by=["id"])
    assert found.frame[target].to_list() == expected and found.collapsed == 1


def test_the_first_time_of_a_group_is_the_earliest(lines: type[Table]) -> None:
    found = fitted(lines, PRICES, {"ORDER": "id", "AT": "MIN(at)"}, group_by=["id"])
    assert [f"{at:%Y-%m-%d}" for at in found.frame["AT"]] == ["2025-12-31", "2026-02-02"]
    assert found.facts["dates|AT|day_first"] == 1


def test_groups_by_an_expression(lines: type[Table]) -> None:
    columns = {"ORDER": "UPPER(id)", "PRICE": "SUM(qty)"}
    rows = [*PRICES, {"id": "A", "qty": "5"}]
    found = fitted(lines, rows, columns, group_by=["UPPER(id)"])
    assert values(found, "ORDER", "PRICE") == [("A", Decimal(8)), ("B", Decimal(1))]


DIRTY = [
    {"id": "a", "n": "1", "d": "1/5/2026"},
    {"id": "a", "n": "two", "d": "13/45/2026"},
    {"id": "b", "n": "0", "d": ""},
]


@pytest.mark.parametrize(
    ("target", "expression", "expected", "kept"),
    [
        ("AT", "STRPTIME(d, '%m/%d/%Y')", [True, False, False], [None, "13/45/2026", None]),
        ("COUNT", "CAST(n AS INTEGER)", [True, False, True], [None, "two", None]),
        ("PRICE", "10 / n", [True, False, False], [None, "two", "0"]),
        ("PRICE", "n * 2", [True, False, True], [None, "two", None]),
        ("PRICE", "CASE WHEN id = 'a' THEN 1 ELSE n * 2 END", [True, True, True], [None, None, None]),
        ("PRICE", "n * 2 + LENGTH(id)", [True, False, True], [None, {"n": "two", "id": "a"}, None]),
        ("COUNT", "TRY_CAST(n AS INTEGER)", [True, False, True], [None, None, None]),
    ],
)
def test_a_value_that_cannot_be_had_is_null_alone_and_its_text_kept(
    lines: type[Table], target: str, expression: str, expected: list[bool], kept: list[Any]
) -> None:
    found = fitted(lines, DIRTY, {"ORDER": "id", target: expression})
    assert found.frame[target].is_not_null().to_list() == expected
    texts = [r.get(target) for r in rescued(found)]
    assert [json.loads(t) if t and t.startswith("{") else t for t in texts] == kept
    assert found.facts.get(f"nulled|{target}|type", 0) == sum(k is not None for k in kept)


def test_a_sum_with_an_unknown_part_is_unknown(lines: type[Table]) -> None:
    found = fitted(lines, DIRTY, {"ORDER": "id", "PRICE": "SUM(n)"}, group_by=["id"])
    assert values(found, "ORDER", "PRICE") == [("a", None), ("b", Decimal(0))]
    assert rescued(found) == [{"PRICE": "two"}, {}]


def test_a_condition_that_cannot_be_told_leaves_out_and_says_so(lines: type[Table]) -> None:
    found = fitted(lines, DIRTY, {"ORDER": "id"}, where="n >= 0")
    assert (found.frame.height, found.left_out) == (2, 1)
    assert found.notes == ("1 records are left out because `where: n >= 0` could not be told of them",)


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("pirce * 2", "did you mean price?"),
        ("UPPRE(price)", "there is no function uppre; did you mean upper"),
        ("SUM(price)", "aggregates; say what a group is with group_by"),
        ("(SELECT 1)", "holds a query"),
        ("ROW_NUMBER() OVER ()", "looks at other records"),
        ("NOW()", "depends on the clock"),
        ("RANDOM()", "depends on the clock or on chance"),
        ("UNNEST([1, 2])", "say `explode: COLUMN`"),
        ("price FROM other", "no single expression"),
        ("1; DROP TABLE x", "no single expression"),
        ("CAST(price AS NOTHING)", "NOTHING"),
        ("param(price, id)", "param takes a column and a name"),
    ],
)
def test_faults_are_found_without_a_record(lines: type[Table], expression: str, said: str) -> None:
    from customer360.platform.errors import ConfigError

    try:
        found = "; ".join(Mapping({"ORDER": "id", "WHAT": expression}).faults(lines, ["id", "price"]))
    except ConfigError as fault:
        found = str(fault)
    assert said in found and "WHAT" in found


def test_every_fault_is_told_at_once(lines: type[Table]) -> None:
    mapping = Mapping({"ORDER": "idd", "WHAT": "pric", "COUNT": "LEN(id)"}, ("nix",), "qqq > 1")
    found = mapping.faults(lines, ["id", "price"])
    assert [f.split(" ")[0] for f in found] == ["where:", "ORDER", "WHAT", "group_by"]


def test_an_aggregate_that_gives_text_where_a_number_is_meant_is_refused_in_one_line(registries: None) -> None:
    class Prices(Table, table="bronze.t_prices"):
        """One row per product."""

        PRICE = Money(nullable=True)

    frame = pl.DataFrame({POSITION: [1, 2], "sku": ["a", "a"], "price": ["1.5", "2"], "at": ["2", "1"]})
    last = Mapping({"PRICE": "COALESCE(ARG_MAX(price, at), 0.5)"}, ("sku",))
    (fault,) = last.faults(Prices, ["sku", "price", "at"], frame)
    assert "ARG_MAX gives text where a number is meant; cast what it takes" in fault
    cast = Mapping({"PRICE": "COALESCE(ARG_MAX(CAST(price AS DOUBLE), at), 0.5)"}, ("sku",))
    assert cast.faults(Prices, ["sku", "price", "at"], frame) == []
    assert cast.applied(frame, Prices).frame["PRICE"].to_list() == [1.5]


@pytest.mark.parametrize("where", ["'x'", "DATE '2026-01-05'", "1 + 1"])
def test_a_where_that_is_no_condition_is_refused(lines: type[Table], where: str) -> None:
    frame = pl.DataFrame({POSITION: [1], "no": ["1"]})
    assert Mapping({"ORDER": "no"}, where=where).faults(lines, ["no"], frame) == [f"where: {where!r} is no condition"]
