"""Contracts: judged with reasons, conformed to, sampled, masked."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from unittest import mock

import dataframely as dy
import polars as pl
import pytest

from customer360.platform import judging, privacy, tables
from customer360.platform.errors import ContractError
from customer360.platform.tables import (
    BRONZE_METADATA,
    Date,
    Integer,
    List,
    Money,
    OneOf,
    String,
    Table,
    Timestamp,
    personal,
)


@pytest.fixture
def people(registries: None) -> type[Table]:
    class People(Table, table="silver.t_people", per="person_id", key=("ID",), sort_by=("since_on",)):
        """One row per person.

        More words.
        """

        person_id = String(nullable=False, max_length=3)
        size = OneOf("S", "M", nullable=True)
        age = Integer(nullable=True, min=0)
        paid = Money(nullable=True)
        since_on = Date(nullable=True)
        mail = String(nullable=True, metadata=personal("email"))
        born_on = Date(nullable=True, metadata=personal("birth"))

        @dy.rule()
        def paid_needs_age(cls) -> pl.Expr:
            return pl.col("paid").is_null() | pl.col("age").is_not_null()

    return People


GOOD: dict[str, Any] = {
    "person_id": "p1", "size": "S", "age": 3, "paid": Decimal("1.50"), "since_on": date(2024, 1, 2), "mail": "ann@x.org", "born_on": None,  # noqa: E501
}  # fmt: skip


def frame_of(table: type[Table], *rows: dict[str, Any], **more: Any) -> pl.DataFrame:
    extra = {name: type(value) for name, value in rows[0].items() if name not in table.columns()}
    schema = tables.schema(table) | dict.fromkeys(extra, pl.String)
    return pl.DataFrame([GOOD | row for row in rows], schema=schema, **more)


def failures(table: type[Table], *rows: dict[str, Any]) -> list[tuple[Any, ...]]:
    return judging.judge(table, frame_of(table, *rows)).failures.rows()


def test_spec_and_registry(people: type[Table]) -> None:
    declared = tables.spec(people)
    assert (declared.name, declared.layer, declared.per, declared.key, declared.sort_by) == (
        "silver.t_people",
        "silver",
        "person_id",
        ("ID",),
        ("since_on",),
    )
    assert declared.bucketed and not declared.is_dated
    assert tables.by_name("silver.t_people") is people
    assert tables.summary(people) == "One row per person."
    with pytest.raises(ContractError, match=r"no table 'silver\.t_peopel'; did you mean silver\.t_people.*\?$"):
        tables.by_name("silver.t_peopel")
    with pytest.raises(ContractError, match="declares no table name"):
        tables.spec(Table)


def test_a_table_is_declared_once(people: type[Table]) -> None:
    with pytest.raises(ContractError, match="declared twice"):

        class Others(Table, table="silver.t_people"):
            """One row per other."""


def test_a_table_is_declared_once_also_by_a_class_of_the_same_name(people: type[Table]) -> None:
    body = {"__module__": "elsewhere", "__qualname__": people.__qualname__}
    with pytest.raises(ContractError, match=r"declared twice: .* and elsewhere"):
        type(people)("People", (Table,), body, table="silver.t_people")


def test_bucketed_follows_the_subject(registries: None) -> None:
    class ByOrder(Table, table="silver.t_by_order", per="order_id"):
        """One row per order."""

        order_id = String()

    class Facts(Table, table="silver.t_facts", per="order_id"):
        """One row per fact."""

        order_id = String()
        subject_id = String()

    assert not tables.spec(ByOrder).bucketed
    assert tables.spec(Facts).bucketed


def test_bronze_schema_has_the_metadata_of_ingest(registries: None) -> None:
    class Raw(Table, table="bronze.t_raw"):
        """One row per record."""

        ID = String()

    assert tables.schema(Raw) == {"ID": pl.String()} | BRONZE_METADATA
    assert tables.spec(Raw).partition_by == ("_source",)


def test_valid_rows_pass_whole(people: type[Table]) -> None:
    frame = frame_of(people, {"more": "kept"}, {"more": "too", "person_id": "p2"})
    verdict = judging.judge(people, frame)
    assert verdict.valid.equals(frame)
    assert verdict.failures.is_empty()


@pytest.mark.parametrize(
    ("fault", "rule", "column", "value"),
    [
        ({"person_id": None}, "nullability", "person_id", None),
        ({"person_id": "long one"}, "max_length", "person_id", "long one"),
    ],
)
def test_each_broken_rule_names_row_column_and_value(
    people: type[Table], fault: dict[str, Any], rule: str, column: str | None, value: str | None
) -> None:
    verdict = judging.judge(people, frame_of(people, {}, fault, {"person_id": "p3"}))
    assert verdict.failures.rows() == [(1, rule, column, value)]
    assert verdict.valid["person_id"].to_list() == ["p1", "p3"]


def test_several_rules_of_a_refused_row_are_all_named(people: type[Table]) -> None:
    assert failures(people, {"person_id": "long one", "size": "XL", "age": -1}) == [
        (0, "min", "age", "-1"),
        (0, "max_length", "person_id", "long one"),
        (0, "one_of", "size", "XL"),
    ]


@pytest.mark.parametrize(
    ("fault", "nulled", "left"),
    [
        ({"size": "XL"}, [("one_of", "size", "XL")], {"size": None, "age": 3}),
        # Without its age the row breaks another rule, of which the other column may be null as well.
        ({"age": -4}, [("min", "age", "-4"), ("paid_needs_age", "paid", "1.50")], {"age": None, "paid": None}),
        ({"age": None}, [("paid_needs_age", "paid", "1.50")], {"paid": None, "size": "S"}),
        (
            {"size": "XL", "age": -4, "paid": None},
            [("min", "age", "-4"), ("one_of", "size", "XL")],
            {"person_id": "p1"},
        ),
    ],
)
def test_an_optional_value_that_breaks_a_rule_is_nulled_and_never_costs_the_row(
    people: type[Table], fault: dict[str, Any], nulled: list[tuple[str, str, str]], left: dict[str, Any]
) -> None:
    verdict = judging.judge(people, frame_of(people, {"person_id": "p0"}, fault))
    assert verdict.failures.is_empty()
    assert verdict.nulled.rows() == [(1, *cell) for cell in nulled]
    assert verdict.valid["person_id"].to_list() == ["p0", "p1"]
    assert {c: verdict.valid[c][1] for c in left} == left
    assert verdict.valid["size"][0] == "S"


def test_a_key_that_may_be_null_is_never_nulled_for_its_fault(registries: None) -> None:
    class Loose(Table, table="bronze.t_keyed", key=("CODE",)):
        """One row per code."""

        CODE = String(nullable=True, max_length=2)

    verdict = judging.judge(Loose, pl.DataFrame([{"CODE": "long"}], schema=tables.schema(Loose)))
    assert verdict.failures.select("rule", "column").rows() == [("max_length", "CODE")] and verdict.nulled.is_empty()


def test_a_value_that_ingest_nulled_is_judged_anew(people: type[Table]) -> None:
    """A contract that was widened since has the value back; one that was not says the same again."""
    kept = {
        "size": "M",
        "age": "-4",
        "born_on": "1870-01-02",
        "_rules": {"size": "one_of", "age": "min", "born_on": "old"},
    }
    verdict = judging.judge(
        people, frame_of(people, {"size": None, "age": None, "paid": None, "_rescued": json.dumps(kept)})
    )
    assert verdict.valid.select("size", "age", "born_on").rows() == [("M", None, date(1870, 1, 2))]
    assert verdict.nulled.rows() == [(0, "min", "age", "-4")]


def test_null_keeps_one_of(people: type[Table]) -> None:
    assert failures(people, {"size": None}) == []


def test_a_failed_cast_is_a_type_failure_and_hides_what_follows_from_it(people: type[Table]) -> None:
    rows = [
        {"person_id": None, "_rescued": json.dumps({"person_id": 'x"1'})},
        {"age": None, "paid": None, "_rescued": json.dumps({"age": "old"})},
        {"age": 5, "_rescued": json.dumps({"age": "a file's other column"})},
        {"mail": None, "_rescued": json.dumps({"mail2": "m"})},
    ]
    verdict = judging.judge(people, frame_of(people, *rows))
    assert verdict.failures.rows() == [(0, "type", "person_id", 'x"1')]
    assert verdict.nulled.rows() == [(1, "type", "age", "old")]
    assert verdict.valid.height == 3


def test_judge_of_an_empty_frame(people: type[Table]) -> None:
    verdict = judging.judge(people, pl.DataFrame(schema=tables.schema(people)))
    assert (verdict.valid.height, verdict.failures.height) == (0, 0)


@pytest.mark.parametrize("ages", [[1, 2], [None, 2], [1, -2], [None, -1]])
def test_rows_that_keep_all_rules_are_judged_like_others(people: type[Table], ages: list[int | None]) -> None:
    frame = frame_of(people, *({"ID": str(place), "age": age} for place, age in enumerate(ages)))
    found = judging.judge(people, frame)
    with mock.patch.object(judging, "_kept_by_all", lambda _: [pl.lit(value=False)]):
        one_by_one = judging.judge(people, frame)
    assert found.valid.equals(one_by_one.valid) and found.nulled.equals(one_by_one.nulled)
    assert found.failures.equals(one_by_one.failures)


def test_conform_orders_and_casts(people: type[Table]) -> None:
    shuffled = pl.LazyFrame(
        {"age": [3], **{c: [None] for c in people.columns() if c not in ("age", "paid")}, "paid": [1.5]}
    )
    found = tables.conform(people, shuffled).collect()
    assert dict(found.schema) == tables.schema(people)
    assert found["paid"].to_list() == [Decimal("1.50")]


def test_conform_names_all_missing_and_unknown_columns(people: type[Table]) -> None:
    short = pl.LazyFrame({c: [None] for c in people.columns() if c not in ("age", "size")} | {"odd": [1]})
    with pytest.raises(
        ContractError, match=r"silver\.t_people: missing columns \['size', 'age'\], unknown columns \['odd'\]"
    ):
        tables.conform(people, short)


def test_sample_keeps_its_contract_and_its_seed(people: type[Table]) -> None:
    rows = tables.sample(people, 50, seed=1)
    assert rows.height == 50
    assert judging.judge(people, rows).failures.is_empty()
    assert set(rows["size"].drop_nulls()) == {"S", "M"}
    assert rows.equals(tables.sample(people, 50, seed=1))


def test_personal_columns(people: type[Table]) -> None:
    assert tables.pii_columns(people) == {"mail": "email", "born_on": "birth"}


def test_masked_covers_personal_columns_of_every_type(registries: None) -> None:
    class Secrets(Table, table="silver.t_secrets"):
        """One row per secret."""

        id = String()
        name = String(nullable=True, metadata=personal("name"))
        born_on = Date(nullable=True, metadata=personal("birth"))
        phones = List(String(), nullable=True, metadata=personal("phone"))
        seen_at = Timestamp(nullable=True)

    seen = datetime(2024, 1, 2, tzinfo=UTC)
    frame = pl.DataFrame(
        {
            "id": ["a", "b"],
            "name": ["Ann", None],
            "born_on": [date(2000, 1, 1), None],
            "phones": [["1"], None],
            "seen_at": [seen, seen],
        },
        schema=tables.schema(Secrets),
    )
    assert privacy.masked(Secrets, frame).rows() == [("a", "•••", "•••", "•••", seen), ("b", None, None, None, seen)]
    assert privacy.masked(Secrets, frame.select("id")).equals(frame.select("id"))


def test_a_contract_can_be_shown(people: type[Table]) -> None:
    assert "OneOf(values=['S', 'M'], nullable=True" in repr(people)
