"""Records to a bronze contract: what casts is typed, what does not stays as text beside a null (law 9)."""

from __future__ import annotations

import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import dataframely as dy
import polars as pl
import pytest

from customer360.platform import judging, tables
from customer360.platform.errors import ConfigError
from customer360.platform.sources.casting import Fitted, fit, nulled_text
from customer360.platform.sources.formats import read
from customer360.platform.sources.formats.records import POSITION
from customer360.platform.sources.mapping import Mapping
from customer360.platform.sources.values import Reading, Words
from customer360.platform.tables import (
    Boolean,
    Country,
    Currency,
    Date,
    Float,
    Identifier,
    Integer,
    Money,
    OneOf,
    State,
    String,
    Table,
    Timestamp,
    personal,
)

NOTHING = Mapping({})


@pytest.fixture
def visits(registries: None) -> type[Table]:
    class Visits(Table, table="bronze.t_visits"):
        """One row per visit."""

        WHO = String(nullable=True)
        COUNT = Integer(nullable=True)
        RATE = Float(nullable=True)
        OPEN = Boolean(nullable=True)
        PAID = Money(nullable=True)
        ON = Date(nullable=True)
        AT = Timestamp(nullable=True)

    return Visits


def fitted(
    table: type[Table], columns: dict[str, Any], mapping: Mapping = NOTHING, reading: Reading | None = None
) -> Fitted:
    frame = pl.DataFrame(columns)
    frame.insert_column(0, pl.int_range(1, frame.height + 1, eager=True).alias(POSITION))
    return fit(frame, table, mapping, reading)


def rescued(found: Fitted) -> list[dict[str, Any] | None]:
    return [None if text is None else json.loads(text) for text in found.frame["_rescued"]]


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]


CASTS: list[tuple[str, Any, Any]] = [
    ("COUNT", "7", 7), ("COUNT", " -7 ", -7), ("COUNT", "12.0", 12), ("COUNT", "12.7", None), ("COUNT", "1,000", 1000), ("COUNT", "9" * 19, None),  # noqa: E501
    ("RATE", "1.5", 1.5), ("RATE", " 2 ", 2.0), ("RATE", "1e-3", 0.001), ("RATE", "1,5", 1.5), ("RATE", "1,5x", None),
    ("OPEN", "TRUE", True), ("OPEN", "y", True), ("OPEN", " 1 ", True), ("OPEN", "No", False), ("OPEN", "f", False), ("OPEN", "2", None), ("OPEN", "on", None),  # noqa: E501
    ("PAID", "12.3", Decimal("12.30")), ("PAID", "-0.05", Decimal("-0.05")), ("PAID", "9999999999.99", Decimal("9999999999.99")),  # noqa: E501
    ("PAID", "$5", Decimal("5.00")), ("PAID", "(1.234,50)", Decimal("-1234.50")), ("PAID", "99999999999.99", None), ("PAID", "much", None),  # noqa: E501
    ("ON", "2024-02-29", date(2024, 2, 29)), ("ON", " 2024-01-02 ", date(2024, 1, 2)), ("ON", "2024-01-02T10:00:00", date(2024, 1, 2)),  # noqa: E501
    ("ON", "2024-01-02 23:30:00-05:00", date(2024, 1, 3)), ("ON", "2023-02-29", None), ("ON", "29/02/2024", date(2024, 2, 29)), ("ON", "1985", None), ("ON", "9999-12-31", None), ("ON", "0001-01-01", None), ("ON", "1900-01-01", None),  # noqa: E501
    ("AT", "2024-01-02T10:00:00", utc(2024, 1, 2, 10)), ("AT", "2024-01-02 10:00:00.25", utc(2024, 1, 2, 10, 0, 0, 250_000)),  # noqa: E501
    ("AT", "2024-01-02T10:00:00Z", utc(2024, 1, 2, 10)), ("AT", "2024-01-02 10:00:00+02:00", utc(2024, 1, 2, 8)),
    ("AT", "2024-01-02 10:00", utc(2024, 1, 2, 10)), ("AT", "2024-01-02", utc(2024, 1, 2)), ("AT", "2024-01-02T25:00:00", None), ("AT", "1704189600", utc(2024, 1, 2, 10)), ("AT", "1704189600000", utc(2024, 1, 2, 10)), ("AT", "0", None), ("AT", "3000-01-01 00:00", None),  # noqa: E501
]  # fmt: skip


@pytest.mark.parametrize(("column", "text", "value"), CASTS)
def test_text_casts_or_is_rescued(visits: type[Table], column: str, text: str, value: Any) -> None:
    found = fitted(visits, {column: [text]})
    assert found.frame[column].to_list() == [value]
    assert rescued(found) == [None if value is not None else {column: text}]


def test_each_row_of_a_column_finds_its_own_format(visits: type[Table]) -> None:
    for name in ("ON", "AT", "COUNT", "OPEN"):
        cases = [(text, value) for column, text, value in CASTS if column == name]
        found = fitted(visits, {name: [text for text, _ in cases]})
        assert found.frame[name].to_list() == [value for _, value in cases]
        assert [r is not None for r in rescued(found)] == [value is None for _, value in cases]


@pytest.mark.parametrize(
    ("column", "values", "expected", "left"),
    [
        ("COUNT", [12.0, 12.7, float("nan")], [12, None, None], [None, {"COUNT": "12.7"}, None]),
        ("COUNT", [Decimal("3.00"), Decimal("3.50")], [3, None], [None, {"COUNT": "3.50"}]),
        ("COUNT", [True], [None], [{"COUNT": "true"}]),
        ("OPEN", [1, 0, 2], [True, False, None], [None, None, {"OPEN": "2"}]),
        ("PAID", [12.5, 1e20], [Decimal("12.50"), None], [None, {"PAID": "1e+20"}]),
        ("AT", [1704189600], [utc(2024, 1, 2, 10)], [None]),
        ("ON", [20240102], [date(2024, 1, 2)], [None]),
        ("ON", [1985], [None], [{"ON": "1985"}]),
        ("AT", [date(2024, 1, 2)], [utc(2024, 1, 2)], [None]),
        ("AT", [datetime(2024, 1, 2, 3)], [utc(2024, 1, 2, 3)], [None]),
        ("ON", [datetime(2024, 1, 2, 3)], [date(2024, 1, 2)], [None]),
        ("WHO", [5, 6], ["5", "6"], [None, None]),
    ],
)
def test_typed_values_cast_as_their_text_would(
    visits: type[Table], column: str, values: list[Any], expected: list[Any], left: list[Any]
) -> None:
    found = fitted(visits, {column: values})
    assert (found.frame[column].to_list(), rescued(found)) == (expected, left)


def test_instants_of_another_zone_are_moved_to_utc(visits: type[Table]) -> None:
    local = pl.Series([datetime(2024, 1, 2, 0, 30)]).dt.replace_time_zone("Europe/Berlin")
    found = fitted(visits, {"AT": local, "ON": local})
    assert found.frame.select("AT", "ON").row(0) == (utc(2024, 1, 1, 23, 30), date(2024, 1, 1))


def test_result_has_the_contract_whatever_the_file_has(visits: type[Table]) -> None:
    want = {n: c.dtype for n, c in visits.columns().items()} | {"_rescued": pl.String, POSITION: pl.Int64}
    for columns in ({}, {"WHO": []}, {"WHO": ["x"]}, {"OTHER": ["x"]}):
        assert dict(fitted(visits, columns).frame.schema) == want


def test_rescue_holds_only_what_the_row_has_and_is_valid_json(visits: type[Table]) -> None:
    nasty = 'a"b\\\n\té'
    found = fitted(
        visits, {'odd"name': [nasty, "", None, None], "COUNT": ["zz", "1", "x", "2"], "EMPTY": [None, "", None, None]}
    )
    assert rescued(found) == [{"COUNT": "zz", 'odd"name': nasty}, None, {"COUNT": "x"}, None]


def test_empty_text_is_null_and_not_rescued(visits: type[Table]) -> None:
    found = fitted(visits, {"WHO": [""], "COUNT": [""], "OTHER": [""]})
    assert found.frame.row(0)[:-1] == (None,) * (len(visits.columns()) + 1)


def test_mapping_computes_columns_and_keeps_what_it_did_not_carry_over(visits: type[Table]) -> None:
    found = fitted(
        visits, {"name": ["ann"], "n": ["3"], "COUNT": ["file's own"]}, Mapping({"WHO": "UPPER(name)", "COUNT": "n"})
    )
    assert found.frame.select("WHO", "COUNT").row(0) == ("ANN", 3)
    # `name` was transformed, so its original stays; `n` was carried over; the file's COUNT is no failed cast of the
    # contract's.
    assert rescued(found) == [{"name": "ann", "file:COUNT": "file's own"}]


def test_group_by_makes_one_row_a_group_and_counts_the_rest(visits: type[Table]) -> None:
    mapping = Mapping(
        {"WHO": "k", "PAID": "SUM(CAST(v AS DOUBLE))", "COUNT": "COUNT(*)", "RATE": "0.5"}, group_by=("k",)
    )
    found = fitted(visits, {"k": ["a", "b", "a"], "v": ["1.5", "2", "3"]}, mapping)
    assert found.frame.select("WHO", "PAID", "COUNT", "RATE", POSITION).rows() == [
        ("a", Decimal("4.50"), 2, 0.5, 1),
        ("b", Decimal("2.00"), 1, 0.5, 2),
    ]
    assert (found.collapsed, found.left_out, rescued(found)) == (1, 0, [None, None])


def test_group_by_refuses_an_expression_that_does_not_aggregate(visits: type[Table]) -> None:
    with pytest.raises(ConfigError, match=r"do not aggregate.*'COUNT': 'v'"):
        fitted(visits, {"k": ["a"], "v": ["1"]}, Mapping({"WHO": "k", "COUNT": "v"}, group_by=("k",)))


def test_where_leaves_other_records_out_and_counts_them(visits: type[Table]) -> None:
    found = fitted(visits, {"WHO": ["a", "b", "", "c"]}, Mapping({}, where="WHO <> 'a'"))
    assert found.frame.select("WHO", POSITION).rows() == [("b", 2), ("c", 4)]
    assert (found.left_out, found.collapsed) == (2, 0)


def test_faulty_expressions_are_reported_together() -> None:
    with pytest.raises(ConfigError) as fault:
        Mapping({"WHO": "((", "COUNT": "1 +", "RATE": "x"}).expressions()
    assert "WHO: '(('" in str(fault.value) and "COUNT: '1 +'" in str(fault.value) and "RATE" not in str(fault.value)


def test_faults_of_a_mapping_against_a_file(registries: None) -> None:
    class Needs(Table, table="bronze.t_needs"):
        """One row per need."""

        ID = String(nullable=False)
        WHO = String(nullable=True)

    found = Mapping({"NOPE": "k", "WHO": "gone || k"}, group_by=("zz",)).faults(Needs, ["k", "ID"])
    assert found == [
        "mapping names 'NOPE', which is no column of bronze.t_needs",
        "WHO needs file column(s) ['gone'], the file has ['k', 'ID']",
        "group_by names 'zz', which the file lacks",
        "required column ID is not reached",
    ]
    assert Mapping({"WHO": "k"}).faults(Needs, ["k", "ID"]) == []


def test_same_data_in_every_format_gives_the_same_rows(visits: type[Table]) -> None:
    rows = [
        {
            "WHO": "Zoë",
            "COUNT": 3,
            "RATE": 0.25,
            "OPEN": True,
            "PAID": 12.5,
            "ON": "2024-01-02",
            "AT": "2024-01-02T10:00:00Z",
            "extra": "e",
        },
        {
            "WHO": None,
            "COUNT": None,
            "RATE": -1.0,
            "OPEN": False,
            "PAID": 0.1,
            "ON": "2024-12-31",
            "AT": "2024-01-02 10:00:00.5+01:00",
            "extra": None,
        },
        {"WHO": 'q"', "COUNT": -7, "RATE": None, "OPEN": None, "PAID": None, "ON": None, "AT": None, "extra": "f"},
    ]
    plain = pl.DataFrame(rows)
    typed = plain.with_columns(
        pl.col("PAID").cast(pl.Decimal(12, 2)), pl.col("ON").str.to_date(), pl.coalesce(
            pl.col("AT").str.to_datetime("%Y-%m-%dT%H:%M:%S%#z", strict=False), pl.col("AT").str.to_datetime("%Y-%m-%d %H:%M:%S%.f%#z", strict=False)  # noqa: E501
        ),
    )  # fmt: skip
    buffers = [io.BytesIO(), io.BytesIO()]
    plain.write_parquet(buffers[0])
    typed.write_parquet(buffers[1])
    files = {
        "csv": [plain.write_csv().encode()],
        "json": ["\n".join(json.dumps(r) for r in rows).encode(), json.dumps(rows).encode()],
        "parquet": [b.getvalue() for b in buffers],
    }
    results = [
        fit(read(data, form).frame, visits, NOTHING).frame for form, several in files.items() for data in several
    ]
    assert results[0].drop("_rescued", POSITION).rows()[0] == (
        "Zoë",
        3,
        0.25,
        True,
        Decimal("12.50"),
        date(2024, 1, 2),
        utc(2024, 1, 2, 10),
    )
    assert rescued(Fitted(results[0], 0)) == [{"extra": "e"}, None, {"extra": "f"}]
    for result in results[1:]:
        assert result.equals(results[0])


def test_rescued_casts_meet_the_contract_as_type_failures(visits: type[Table]) -> None:
    found = fitted(visits, {"COUNT": ["x"], "WHO": ["w"], "other": ["o"]})
    verdict = judging.judge(visits, found.frame)
    assert verdict.nulled.drop(tables.ROW).rows() == [("type", "COUNT", "x")]
    assert (found.facts, verdict.valid.height) == ({"nulled": 1, "nulled|COUNT|type": 1}, 1)
    assert nulled_text({**found.facts, "read": 3, "nulled|ON|type": 1200}) == "1 COUNT (type), 1,200 ON (type)"


@pytest.fixture
def guests(registries: None) -> type[Table]:
    class Guests(Table, table="bronze.t_guests", key=("GUEST_ID",)):
        """One row per guest."""

        GUEST_ID = Identifier(nullable=False)
        HOST_ID = Identifier(nullable=True)
        NAME = String(nullable=True, metadata=personal("name"))
        STATE = String(nullable=True, max_length=2)
        SIZE = OneOf("S", "M", nullable=True)
        ARRIVED = Timestamp(nullable=True)
        LEFT = Timestamp(nullable=True)

        @dy.rule()
        def leaves_after_arriving(cls) -> pl.Expr:
            return pl.col("LEFT") >= pl.col("ARRIVED")

    return Guests


def test_optional_values_that_break_the_contract_are_null_and_kept_with_the_rule(guests: type[Table]) -> None:
    day, before = "2026-01-02T00:00:00.000000Z", "2026-01-01T00:00:00.000000Z"
    found = fitted(guests, {
        "GUEST_ID": ["1", "2", "3", None], "STATE": ["Bavaria", "BY", None, "Hesse"], "SIZE": ["XL", "S", "M", None],
        "ARRIVED": [None, day, day, None], "LEFT": [None, before, day, None], "_rules": ["r", None, None, None],
    })  # fmt: skip
    assert found.frame.select("STATE", "SIZE").rows() == [(None, None), ("BY", "S"), (None, "M"), ("Hesse", None)]
    first, second, third, refused = rescued(found)
    assert first == {
        "STATE": "Bavaria", "SIZE": "XL", "file:_rules": "r", "_rules": {"STATE": "max_length", "SIZE": "one_of"},
    }  # fmt: skip
    assert second is not None and second["_rules"] == dict.fromkeys(("ARRIVED", "LEFT"), "leaves_after_arriving")
    assert (second["ARRIVED"], second["LEFT"], third, refused) == (day, before, None, None)
    assert found.facts == {
        "nulled": 4, "nulled|STATE|max_length": 1, "nulled|SIZE|one_of": 1,
        "nulled|ARRIVED|leaves_after_arriving": 1, "nulled|LEFT|leaves_after_arriving": 1, "refused": 1,
    }  # fmt: skip
    again = judging.judge(guests, found.frame)
    assert (again.nulled.height, again.valid.height) == (4, 3)
    assert again.failures.select("rule", "column").rows() == [("nullability", "GUEST_ID"), ("max_length", "STATE")]


@pytest.mark.parametrize(
    "name", ["k", "v", "i", "o", "member", "object", "row__", "rule", "value", "0", "literal", "é\"'"]
)
def test_a_file_column_of_any_name_is_kept(visits: type[Table], name: str) -> None:
    found = fitted(visits, {"WHO": ["a", "b"], name: ["x", None], "COUNT": ["1", "one"]})
    assert rescued(found) == [{name: "x"}, {"COUNT": "one"}]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([17850.0, None, float("nan"), 1e16, 12.5], ["17850", None, None, "10000000000000000", "12.5"]),
        (
            ["17850.0", " 17850 ", "\u00a00017\t", "aB-1", "1.50", "-7.0"],
            ["17850", "17850", "0017", "aB-1", "1.50", "-7"],
        ),
        (["'42", "'+31201234567", "'t Hart", "O'1"], ["42", "+31201234567", "'t Hart", "O'1"]),
        (["NULL", "null", "\\N", "N/A", "nan", "None", "-", "", " "], [None] * 9),
        ([17850, 9007199254740993], ["17850", "9007199254740993"]),
        (["17850.00", "100", "1.500", "1.050"], ["17850", "100", "1.500", "1.050"]),
        (["1.000", "1", "2.000", "1.234", "2.0000"], ["1.000", "1", "2.000", "1.234", "2"]),
        ([Decimal("17850.000"), None, Decimal("-7.000")], ["17850", None, "-7"]),
        ([Decimal("17850.0000000000"), None, Decimal("12.5")], ["17850", None, "12.5000000000"]),
        (["\u202a17850\u202c", "\u00ad17850", "\u200e17850\u2069\ufeff", "a\u200db"], ["17850"] * 3 + ["a\u200db"]),
        (
            ['{"$oid": "507f1f77bcf86cd799439011"}', '{"$numberLong":"17850"}', '{"$oid": 1, "b": 2}', '{"id": "7"}'],
            ["507f1f77bcf86cd799439011", "17850", '{"$oid": 1, "b": 2}', '{"id": "7"}'],
        ),
        (['{"$number_of_items": 3}', '{"$numberInt": "3"}'], ['{"$number_of_items": 3}', "3"]),
    ],
)
def test_identifiers_are_text_that_joins(guests: type[Table], values: list[Any], expected: list[Any]) -> None:
    found = fitted(guests, {"GUEST_ID": [str(n) for n in range(len(values))], "HOST_ID": values})
    assert found.frame["HOST_ID"].to_list() == expected
    assert (rescued(found), found.facts["nulled"]) == ([None] * len(values), 0)


@pytest.mark.parametrize(
    ("at", "paid"),
    [
        ('{"$date": "2026-01-05T10:00:00Z"}', '{"$numberDecimal": "12.50"}'),
        ('{"$date":{"$numberLong":"1767607200000"}}', '{"$numberDouble":"12.5"}'),
        ('{"$date": 1767607200000}', "12.5"),
    ],
    ids=["relaxed", "canonical", "of old"],
)
def test_types_of_exports_of_mongodb_are_taken_off_their_values(visits: type[Table], at: str, paid: str) -> None:
    found = fitted(visits, {"AT": [at, None], "PAID": [paid, '{"$date": null}']})
    assert found.frame.select("AT", "PAID").rows() == [(utc(2026, 1, 5, 10), Decimal("12.50")), (None, None)]
    assert rescued(found) == [None, None]


def test_dates_of_exports_of_mongodb_are_milliseconds_whatever_stands_beside_them(visits: type[Table]) -> None:
    texts = ['{"$date":{"$numberLong":"-315619200000"}}', '{"$date": 31536000000}', '{"$date":"2026-01-05T10:00:00Z"}']
    expected = [utc(1960, 1, 1), utc(1971, 1, 1), utc(2026, 1, 5, 10)]
    for chosen in ([0, 1, 2], [0], [1]):
        found = fitted(visits, {"AT": [texts[i] for i in chosen]})
        assert found.frame["AT"].to_list() == [expected[i] for i in chosen]


def test_a_source_says_how_its_values_are_read(visits: type[Table]) -> None:
    columns = {"AT": ["1/2/2026 8:00"], "ON": ["1/2/2026"], "PAID": ["1.234"], "RATE": ["0,5"], "COUNT": ["2.000"]}
    reading = Reading(timezone="America/New_York", dates="day_first", decimal=",")
    found = fitted(visits, columns, reading=reading)
    assert found.frame.select(list(columns)).row(0) == (
        utc(2026, 2, 1, 13),
        date(2026, 2, 1),
        Decimal("1234.00"),
        0.5,
        2000,
    )
    assert (found.notes, rescued(found)) == ((), [None])
    found = fitted(visits, columns)
    assert found.frame.select("AT", "ON", "PAID").row(0) == (utc(2026, 1, 2, 8), date(2026, 1, 2), Decimal("1.23"))
    assert [note.partition(":")[0] for note in found.notes] == ["COUNT", "PAID", "ON", "AT", "PAID"]


def test_a_date_is_that_of_its_own_zone(visits: type[Table]) -> None:
    values = ["2026-01-02T00:30:00+01:00", "2026-01-02", "2026-01-02 23:59"]
    found = fitted(visits, {"ON": values}, reading=Reading(timezone="Europe/Berlin"))
    assert found.frame["ON"].to_list() == [date(2026, 1, 2)] * 3


def test_the_order_that_a_column_shows_is_a_fact_and_holds_for_the_next_file(visits: type[Table]) -> None:
    assert fitted(visits, {"AT": ["31/1/2026"]}).facts == {"nulled": 0, "dates|AT|day_first": 1}
    found = fitted(visits, {"AT": ["1/2/2026"]}, reading=Reading(usual={"AT": "day_first"}))
    assert (found.frame["AT"].to_list(), found.notes) == ([utc(2026, 2, 1)], ())


def test_null_is_a_name_and_a_dumped_null_is_none(guests: type[Table]) -> None:
    names = ["Null", "NULL", "\\N", "#N/A", "Na"]
    found = fitted(guests, {"GUEST_ID": list("abcde"), "NAME": names, "STATE": ["NA", "n/a", "--", "by", "?"]})
    assert found.frame["NAME"].to_list() == ["Null", "NULL", None, None, "Na"]
    assert found.frame["STATE"].to_list() == [None, None, None, "by", None]


def test_an_amount_with_more_digits_is_rounded_and_its_text_kept(visits: type[Table]) -> None:
    money = next(c for c, t in tables.schema(visits).items() if isinstance(t, pl.Decimal))
    found = fitted(visits, {money: ["1.239", "1.2300", "5"]})
    assert found.frame[money].to_list() == [Decimal("1.24"), Decimal("1.23"), Decimal("5.00")]
    assert rescued(found) == [{f"file:{money}": "1.239"}, None, None]
    assert found.facts[f"rounded|{money}"] == 1
    assert found.notes == (f"{money}: 1 amounts have more than 2 decimals, such as '1.239'; rounded, what was written is in _rescued",)  # fmt: skip  # noqa: E501


@pytest.mark.parametrize(
    ("written", "decimal", "kept"),
    [
        (["1,234.567", "1,234.56"], None, [True, False]),
        (["1.234,567", "12,5"], None, [True, False]),
        (["BHD 0.125", "KWD 3.250"], None, [True, False]),
        (["12,345", "1,25"], ",", [True, False]),
        (["1.234", "2.500"], ".", [True, False]),
        (["1,234", "99"], ".", [False, False]),  # a thousand
        (["29.990000000000002", "0.1"], None, [False, False]),  # what floats add
        (["1500", "980"], None, [False, False]),  # yen
        ([1.234, 2.5], None, [True, False]),
        ([0.1 + 0.2, 1e9 + 0.01], None, [False, False]),
        ([Decimal("1.2345"), Decimal("2.5000")], None, [True, False]),
    ],
)
def test_digits_beyond_the_scale_are_kept_however_they_are_written(
    visits: type[Table], written: list[Any], decimal: Any, kept: list[bool]
) -> None:
    found = fitted(visits, {"PAID": written}, reading=Reading(decimal=decimal))
    assert [text is not None and "file:PAID" in text for text in rescued(found)] == kept
    assert found.facts.get("rounded|PAID", 0) == sum(kept) and found.frame["PAID"].null_count() == 0


def test_digits_of_a_calculation_are_counted_and_not_kept(visits: type[Table]) -> None:
    columns = {"net": ["10", "9"], "qty": ["3", "3"]}
    found = fitted(visits, columns, Mapping({"PAID": "net / qty"}))
    assert found.frame["PAID"].to_list() == [Decimal("3.33"), Decimal("3.00")]
    assert found.facts["rounded|PAID"] == 1 and found.notes == () and "file:PAID" not in str(rescued(found))
    grouped = fitted(visits, {"k": ["a", "a"], "net": ["0.125", "0.1"]}, Mapping({"PAID": "SUM(net)"}, ("k",)))
    assert grouped.facts["rounded|PAID"] == 1


@pytest.fixture
def addresses(registries: None) -> type[Table]:
    class Addresses(Table, table="bronze.t_addresses"):
        """One row per address."""

        LAND = Country(nullable=True)
        STATE = State(nullable=True)
        PAID_IN = Currency(nullable=True)
        KIND = OneOf("AT_HOME", "WORK", "18-24", nullable=True)

    return Addresses


@pytest.mark.parametrize(
    ("column", "written", "expected"),
    [
        ("LAND", ["Germany", "de", "DEU", "276", "276.0", " deutschland "], "DEU"),
        ("LAND", ["USA", "us", "U.S.A.", "United States", "The United States of America", "840"], "USA"),
        ("LAND", ["Korea, Republic of", "South Korea", "kr"], "KOR"),
        ("LAND", ["Côte d'Ivoire", "IVORY COAST", "CI"], "CIV"),
        ("LAND", ["NA", "Namibia"], "NAM"),
        ("LAND", ["N/A", "null", "-"], None),
        ("PAID_IN", ["€", "Euro", "eur", "978", "EUR"], "EUR"),
        ("PAID_IN", ["US$", "US Dollar", "$", "840", "usd "], "USD"),
        ("PAID_IN", ["DEM", "dem"], "DEM"),
        ("STATE", ["New York", "ny", "NY", "new  york"], "NY"),
        ("STATE", ["Bavaria"], "Bavaria"),
        ("KIND", ["at home", "At-Home", "AT_HOME ", "home", "Private"], "AT_HOME"),
        ("KIND", ["18-24", "18 - 24"], "18-24"),
    ],
)
def test_codes_are_read_from_what_is_written_for_them(
    addresses: type[Table], column: str, written: list[str], expected: str | None
) -> None:
    reading = Reading(words=Words(synonyms={"KIND": {"HOME": "AT_HOME", "private": "AT_HOME"}}))
    found = fitted(addresses, {column: written}, reading=reading)
    assert found.frame[column].to_list() == [expected] * len(written)
    assert rescued(found) == [None] * len(written)


def test_what_a_rule_refuses_is_counted_as_refused_where_it_lands(addresses: type[Table], visits: type[Table]) -> None:
    """As the record table will refuse it: what did not cast, and what broke another rule. Bronze is the same."""
    columns = {"ON": ["31.02.1980", "2026-01-01", None], "COUNT": ["many", "1", "2"]}
    plain, strict = (fitted(visits, columns, reading=Reading(refuse=refuse)) for refuse in ((), ("ON",)))
    assert strict.frame.equals(plain.frame) and "refused" not in plain.facts
    assert (plain.facts["nulled|ON|type"], plain.facts["nulled"]) == (1, 2)
    assert (strict.facts["refused"], strict.facts["nulled"]) == (1, 1) and "nulled|ON|type" not in strict.facts
    assert fitted(addresses, {"KIND": ["PALACE"]}, reading=Reading(refuse=("KIND",))).facts == {
        "nulled": 0, "refused": 1,
    }  # fmt: skip


@pytest.fixture
def homes(registries: None) -> type[Table]:
    class Homes(Table, table="bronze.t_homes"):
        """One row per person."""

        MAIL = String(nullable=True, metadata=personal("email"))
        PHONE = Identifier(nullable=True, metadata=personal("phone"))
        CITY = String(nullable=True, metadata=personal("address"))
        STATE = State(nullable=True)
        LAND = Country(nullable=True)

    return Homes


def test_the_country_of_a_source_is_that_of_rows_that_name_none(homes: type[Table]) -> None:
    columns = {
        "MAIL": ["a@shop.example"] * 6,
        "PHONE": ["0171 5550100", None, None, None, "0171 5550101", ""],
        "CITY": [None, "Bremen", None, None, None, None],
        "STATE": ["California", None, "CALIFORNIA", None, None, " "],
        "LAND": ["", "Austria", None, None, "Atlantis", "n/a"],
    }
    found = fitted(homes, columns, reading=Reading(country="DEU"))
    assert found.frame["LAND"].to_list() == ["DEU", "AUT", "DEU", None, None, None], "the row's own country wins"
    assert found.frame["STATE"].to_list() == ["California", None, "CALIFORNIA", None, None, None], "none of America's"
    assert rescued(found)[4] == {"LAND": "Atlantis"}, "what is no country is not replaced by one"
    del columns["LAND"]
    assert fitted(homes, columns, reading=Reading(country="DEU")).frame["LAND"].null_count() == 2
    assert fitted(homes, columns).frame["LAND"].null_count() == 6


def test_every_place_of_a_list_of_places_is_in_the_country(addresses: type[Table], visits: type[Table]) -> None:
    reading = Reading(country="FRA")
    assert fitted(addresses, {"KIND": ["WORK", None]}, reading=reading).frame["LAND"].to_list() == ["FRA", "FRA"]
    assert fitted(visits, {"ID": ["1"]}, reading=reading).frame.columns == fitted(visits, {"ID": ["1"]}).frame.columns


def test_what_is_no_code_is_kept_beside_null(addresses: type[Table]) -> None:
    found = fitted(addresses, {"LAND": ["Atlantis"], "PAID_IN": ["kr"], "KIND": ["abroad"], "STATE": ["California"]})
    assert found.frame.row(0)[:4] == (None, "CA", None, None)
    assert rescued(found) == [{"LAND": "Atlantis", "PAID_IN": "kr", "KIND": "abroad", "_rules": {"KIND": "one_of"}}]


def test_a_state_has_a_code_in_america_alone(addresses: type[Table]) -> None:
    states = ["Georgia", "Georgia", "georgia", "Ontario"]
    found = fitted(addresses, {"LAND": ["Georgia", "USA", None, "Canada"], "STATE": states})
    assert found.frame["STATE"].to_list() == ["Georgia", "GA", "GA", "Ontario"]
