"""Columns under a new name: told by their names, or by the values that they share."""

from __future__ import annotations

import pytest

from customer360.platform.sources.mapping.renames import likely_name, names_in


@pytest.mark.parametrize(
    ("missing", "columns", "near"),
    [
        ("order_id", ["Order ID", "id"], "Order ID"),
        ("card", ["card_no", "net"], "card_no"),
        ("rebate", ["rebate_amt", "card"], "rebate_amt"),
        ("total", ["total_amount", "status"], "total_amount"),
        ("customerId", ["customer_id"], "customer_id"),
        ("zip", ["city", "street"], None),
        ("at", ["status", "total"], None),
        ("email", [], None),
    ],
)
def test_names_tell(missing: str, columns: list[str], near: str | None) -> None:
    assert likely_name(missing, columns) == near


def test_values_tell_where_names_do_not() -> None:
    values = {"kunde": ["C1", "C2", "C9"], "ort": ["Ulm"]}
    assert likely_name("customer", ["ort", "kunde"], ["C1", "C2", "C3"], values) == "kunde"
    assert likely_name("customer", ["ort"], ["C1", "C2", "C3"], values) is None


def test_names_of_expressions_are_those_outside_of_texts() -> None:
    assert names_in(["UPPER(\"Last Name\") || ' of Ulm'", "shop.city", "a + a"]) == [
        "UPPER",
        "Last Name",
        "shop.city",
        "a",
    ]
