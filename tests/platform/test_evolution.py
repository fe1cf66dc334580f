"""The words of schema contracts, and how what came differs from what is known."""

from __future__ import annotations

import itertools

import pytest
from pydantic import ValidationError

from customer360.platform.evolution import (
    WIDER,
    Change,
    Column,
    SchemaContract,
    Seen,
    added,
    changes,
    fate,
    joined,
    learned,
    taken_in,
)

KNOWN = {"id": Column("integer"), "note": Column("text"), "at": Column("date"), "spare": Column("empty", optional=True)}


def test_one_word_stands_for_both_keys() -> None:
    assert SchemaContract.model_validate("freeze") == SchemaContract(columns="freeze", data_type="freeze")
    assert SchemaContract.model_validate({"columns": "discard_row"}).data_type == "evolve"


@pytest.mark.parametrize("written", ["frozen", {"columns": "stop"}, {"tables": "evolve"}, {"rows": "freeze"}, 3])
def test_other_words_are_refused(written: object) -> None:
    with pytest.raises(ValidationError):
        SchemaContract.model_validate(written)


def test_types_join_in_any_order() -> None:
    for one, two, three in itertools.product(WIDER, repeat=3):
        assert joined(one, two) == joined(two, one) and joined(joined(one, two), three) == joined(
            one, joined(two, three)
        )
    assert joined("integer", "decimal") == "decimal" and joined("date", "integer") == "text"


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"id": "integer", "note": "integer", "at": "date"}, []),  # narrower values fit
        ({"id": "decimal", "note": "text", "at": "date"}, ["column 'id' was widened: integer -> decimal"]),
        ({"id": "text", "note": "text", "at": "timestamp"},
         ["column 'id' changed its type: integer -> text", "column 'at' was widened: date -> timestamp"]),
        ({"id": "integer", "note": "text"}, ["column 'at' (date) is missing"]),
        ({"id": "integer", "note": "text", "at": "empty", "more": "json", "spare": "boolean"},
         ["column 'more' (json) is new", "column 'spare' has its first values (boolean)"]),
    ],
)  # fmt: skip
def test_what_differs(columns: dict[str, str], told: list[str]) -> None:
    assert [str(change) for change in changes(KNOWN, (), Seen(columns), "a.csv", {})] == told


def test_records_that_may_leave_columns_out_lack_none() -> None:
    assert changes(KNOWN, (), Seen({"id": "integer"}, partial=True), "a.json", {}) == []


def test_values_that_do_not_cast_are_a_change_until_they_are_accepted() -> None:
    seen = Seen({"id": "integer"}, partial=True, uncast={"ID": 2})
    assert [str(c) for c in changes(KNOWN, (), seen, "a", {"ID": "Int64"})] == ["2 values of ID are no Int64"]
    assert changes(KNOWN, ("ID",), seen, "a", {"ID": "Int64"}) == []


def test_what_a_contract_judges_is_not_frozen_by_the_look_of_its_texts() -> None:
    frozen, change = SchemaContract(columns="freeze", data_type="freeze"), Change("changed", "id", "integer", "text")
    assert (fate(change, frozen, ()), fate(change, frozen, ("id",))) == ("waits", "evolves")
    assert fate(Change("new", "id", "", "text"), frozen, ("id",)) == "evolves"  # the mapping names it
    assert fate(Change("filled", "spare", "empty", "text"), frozen, ()) == "evolves"
    assert fate(change, SchemaContract(columns="freeze"), ()) == "evolves"
    assert fate(Change("missing", "id"), SchemaContract(columns="discard_row"), ()) == "evolves"
    assert fate(Change("uncast", "ID"), SchemaContract(data_type="discard_row"), ("ID",)) == "discarded"


def test_only_what_is_let_in_is_known_from_then_on() -> None:
    found = [
        Change("new", "more", "", "text"),
        Change("missing", "at", "date"),
        Change("changed", "id", "integer", "text"),
    ]
    kept = SchemaContract(columns="discard_row", data_type="discard_value")
    assert taken_in(KNOWN, found, kept, ()) == {**KNOWN, "at": Column("date", optional=True)}
    everything = taken_in(KNOWN, found, SchemaContract(), ())
    assert everything["more"] == Column("text") and everything["id"] == Column("text")
    assert taken_in(KNOWN, found, SchemaContract(columns="freeze", data_type="freeze"), ()) == KNOWN


def test_inputs_of_a_batch_are_one_change() -> None:
    now, found = learned(
        {"id": Column("integer")}, (), [("a", Seen({"id": "integer", "x": "integer"})), ("b", Seen({"id": "integer"})),
        ("c", Seen({"id": "integer", "x": "text"}))], SchemaContract(), {},
    )  # fmt: skip
    assert found == [Change("new", "x", "", "text", "a", optional=True)]
    assert now == {"id": Column("integer"), "x": Column("text", optional=True)}


def test_counts_add_up() -> None:
    one = Change("uncast", "ID", "", "Int64", "a", 2)
    assert added([one, Change("uncast", "ID", "", "Int64", "b", 3)]) == [Change("uncast", "ID", "", "Int64", "a", 5)]
