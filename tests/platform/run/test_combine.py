"""Sources of one system that share keys: each column is the newest that any of them brings, and no row is lost."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from customer360.platform import quality, tables
from customer360.platform.run.records import current_records
from customer360.platform.tables import Integer, String, Table, personal


@pytest.fixture
def people(registries: None) -> type[Table]:
    class People(Table, table="bronze.t_people", key=("ID",), version="VERSION"):
        """One row per person."""

        ID = String(nullable=False)
        NAME = String(nullable=True)
        AGE = Integer(nullable=True, min=0)
        STREET = String(nullable=True, metadata=personal("address"))
        CITY = String(nullable=True, metadata=personal("address"))
        VERSION = Integer(nullable=True)

    return People


def bronze(table: type[Table], rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows in order of delivery: of source ``s``, system A, batch 1 and person 1 where they do not say otherwise."""
    fixed = {
        "_source": "s",
        "_source_system": "A",
        "_seq": 1,
        "_file": "f",
        "_ingested_at": datetime(2024, 1, 1, tzinfo=UTC),
        "ID": "1",
    }
    return pl.DataFrame([{**fixed, "_position": i, **row} for i, row in enumerate(rows, 1)], schema=tables.schema(table))  # fmt: skip  # noqa: E501


def found(table: type[Table], *rows: dict[str, Any]) -> tuple[dict[str, Any], dict[str, int]]:
    current = current_records(table, bronze(table, list(rows)), set())
    (row,) = current.rows.to_dicts()
    return row, current.facts


def test_columns_that_complement_each_other_stand_together(people: type[Table]) -> None:
    row, facts = found(people, {"_source": "shop", "NAME": "Ida"}, {"_source": "post", "STREET": "Elm", "CITY": "Reno"})
    assert (row["NAME"], row["STREET"], row["CITY"]) == ("Ida", "Elm", "Reno")
    assert (facts["combined"], facts["superseded"]) == (1, 0)
    assert row["_source"] == "shop", "the address is that of the newest row; without versions the last name is newest"


def test_where_two_bring_a_value_the_newest_version_counts_then_the_last_name(people: type[Table]) -> None:
    a, z = {"_source": "a", "NAME": "from a", "AGE": 7}, {"_source": "z", "NAME": "from z"}
    assert found(people, a, z)[0]["NAME"] == found(people, z, a)[0]["NAME"] == "from z"
    row, facts = found(people, {**a, "VERSION": 2}, {**z, "VERSION": 1})
    assert (row["NAME"], row["_source"], facts["superseded"]) == ("from a", "a", 1), "a row that gives nothing is older"


def test_within_a_source_a_newer_row_supersedes_even_by_nothing(people: type[Table]) -> None:
    row, facts = found(people, {"NAME": "Ida"}, {"NAME": None, "AGE": 4})
    assert (row["NAME"], row["AGE"], facts["superseded"]) == (None, 4, 1) and facts["combined"] == 0


@pytest.mark.parametrize(
    ("older", "expected"),
    [({"STREET": "Oak", "CITY": "Lima"}, (None, "Reno")), ({"STREET": "Oak", "CITY": "Reno"}, ("Oak", "Reno"))],
)
def test_addresses_are_not_mixed(people: type[Table], older: dict[str, str], expected: tuple[str | None, str]) -> None:
    row, _ = found(people, {"_source": "a", **older}, {"_source": "b", "CITY": "Reno"})
    assert (row["STREET"], row["CITY"]) == expected


def test_a_contributor_in_quarantine_or_gone_leaves_the_others(people: type[Table]) -> None:
    shop, post = {"_source": "shop", "NAME": "Ida"}, {"_source": "post", "STREET": "Elm"}
    refused = {"_source": "crm", "ID": None, "AGE": 3}
    current = current_records(people, bronze(people, [shop, post, refused]), set())
    counted = {"bronze": 3, "quarantined": 1, "duplicates": 0, "superseded": 0, "combined": 1, "deleted": 0}
    assert current.facts == counted
    corrected = current_records(people, bronze(people, [shop, post]), {"post/1/f/2"})
    assert corrected.rows["STREET"].to_list() == [None] and corrected.facts["superseded"] == 1
    assert found(people, shop)[0]["STREET"] is None


ROW = st.fixed_dictionaries(
    {
        "_source": st.sampled_from(["a", "b", "c"]),
        "ID": st.sampled_from(["1", "2"]),
        "NAME": st.sampled_from(["n", "m", None]),
        "AGE": st.sampled_from([1, 2, -1, None]),
        "VERSION": st.sampled_from([1, 2, None]),
    }
)


def expected(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What the law says, row by row."""
    newest: dict[tuple[str, str], tuple[Any, ...]] = {}
    for place, row in enumerate(rows):
        order = (-1 if row["VERSION"] is None else row["VERSION"], row["_source"], place)
        key = (row["ID"], row["_source"])
        newest[key] = max(newest.get(key, ((-2,), {})), (order, row), key=lambda pair: pair[0])
    told: dict[str, dict[str, Any]] = {}
    for (number, _), (_, row) in sorted(newest.items(), key=lambda item: item[1][0]):
        values = {c: row[c] for c in ("NAME", "AGE", "VERSION") if row[c] is not None and row[c] != -1}
        told[number] = {"NAME": None, "AGE": None, "VERSION": None, **told.get(number, {}), **values}
    return told


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ROW, max_size=9), st.lists(st.booleans(), min_size=9, max_size=9), st.randoms())
def test_law_of_combination(people: type[Table], rows: list[dict[str, Any]], cuts: list[bool], random: Any) -> None:
    whole = bronze(people, rows)
    current = current_records(people, whole, set())
    facts = current.facts | {"silver": current.rows.height, "set_apart": 0}
    assert quality.record_balance("people", facts).holds and all(count >= 0 for count in facts.values())
    values = {row["ID"]: {c: row[c] for c in ("NAME", "AGE", "VERSION")} for row in current.rows.to_dicts()}
    assert values == expected(rows)
    batches = [1 + sum(cuts[: i + 1]) for i in range(len(rows))]  # the same order in several batches
    split = current_records(
        people, bronze(people, [r | {"_seq": n} for r, n in zip(rows, batches, strict=True)]), set()
    )
    again = current_records(people, whole.sample(fraction=1, shuffle=True, seed=random.randint(0, 99)), set())
    for other in (split, again):
        assert other.facts == current.facts
        assert other.rows.drop("_seq").sort("ID").equals(current.rows.drop("_seq").sort("ID"))
