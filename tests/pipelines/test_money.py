"""Of every amount of money in silver, gold and warehouse its contract tells the currency: sums are of one."""

from __future__ import annotations

import dataframely as dy
import polars as pl
import pytest

from customer360.platform import graph, stars, tables
from customer360.platform.tables import Table
from customer360.serve.compose import compose

compose()
STATED = "reporting currency"
WORDS = ("_amount", "_revenue", "_cost", "price", "spent_before", "lifetime_value_rule", "value_at_stake")  # of floats
NO_MONEY = {"gold.rfm_bounds", "gold.rfm_months"}  # lists of bounds for amounts that other tables state


def amounts(table: type[Table]) -> list[str]:
    """Columns that hold money: decimals of two digits, and numbers that are called so."""
    return [
        name
        for name, column in table.columns().items()
        if (isinstance(column, dy.Decimal) and column.scale == 2 and not name.endswith("_score"))
        or (column.dtype == pl.Float64 and name.endswith(WORDS))
    ]


BUILT = {tables.spec(o).name: o for node in graph.NODES.values() for o in node.outputs}
BUILT |= {name: load.table for name, load in stars.LOADS.items()}
HOLDING = sorted(name for name, table in BUILT.items() if amounts(table))


@pytest.mark.parametrize("name", HOLDING)
def test_amounts_have_a_currency_beside_them_or_are_in_the_reporting_one(name: str) -> None:
    table = BUILT[name]
    columns = table.columns()
    said = [table.__doc__ or "", *(column.description or "" for column in columns.values())]
    assert "currency" in columns or any(STATED in text for text in said), (
        f"{name}: {amounts(table)} are in which currency? Give them a column `currency`, or convert them and say so"
    )


def test_money_is_looked_for_where_it_is() -> None:
    assert {"silver.transactions", "gold.customer_360", "gold.customer_value", "gold.retention_worklist"} <= set(
        HOLDING
    )
