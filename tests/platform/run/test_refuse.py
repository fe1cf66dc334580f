"""A broken value of an optional column costs the value or, where the rule file says so, the row; back and forth."""

from __future__ import annotations

from typing import Any

import pytest

import customer360.platform.run as runs
from customer360.platform import ledger
from customer360.platform.lineage import history
from customer360.platform.quality import refused
from customer360.platform.quality.checks import Checks, TableChecks

EMPTIED: dict[str, Any] = {}


@pytest.fixture
def strict(shop: Any) -> dict[str, Any]:
    return {"validation": Checks(tables={"bronze.t_orders": TableChecks(refuse=["PAID"])})}


def run(shop: Any, rules: dict[str, Any]) -> tuple[list[tuple[str, Any]], list[tuple[str, ...]]]:
    """Orders with what was paid, and what is in quarantine, after a run."""
    runs.run(shop.settings, runs.RunRequest(), rules=rules)
    paid = [(order, amount and float(amount)) for order, _, _, amount in shop.rows("silver.t_orders")]
    kept = refused(shop.lake).sort("row_id").select("column_name", "rule", "value").rows()
    return sorted(paid), kept


def test_a_column_is_strict_and_lenient_again(shop: Any, strict: dict[str, Any]) -> None:
    shop.orders("1.csv", "o1,ann,2,10.00,1", "o2,bob,1,lots,1")
    lenient = [("o1", 10.0), ("o2", None)]
    assert run(shop, EMPTIED) == (lenient, [])
    assert run(shop, strict) == ([("o1", 10.0)], [("PAID", "type", "lots")])
    shop.orders("2.csv", "o3,eve,1,free,1", "o4,eve,1,3.00,1")
    sound = [("o1", 10.0), ("o4", 3.0)]
    assert run(shop, strict) == (sound, [("PAID", "type", "lots"), ("PAID", "type", "free")]), "by what is new, too"
    facts = ledger.last_facts(shop.lake, "bronze.t_orders", "batch:orders")
    assert facts["refused"] == 1 and not facts.get("nulled"), "as `loss:` counts it"
    told = history.delivered(shop.lake, "bronze.t_orders", {"ORDER_ID": "o3"}, refuse=["PAID"])
    assert [version.state for version in told] == ["refused: PAID type"]
    shop.orders("3.csv", "o2,bob,1,5.00,2")
    mended = [("o1", 10.0), ("o2", 5.0), ("o4", 3.0)]
    assert run(shop, strict) == (mended, [("PAID", "type", "free")])
    assert run(shop, EMPTIED) == (sorted([*mended, ("o3", None)]), [])


def test_a_run_with_nothing_refused_is_current_under_the_same_rules(shop: Any, strict: dict[str, Any]) -> None:
    shop.orders("1.csv", "o1,ann,2,10.00,1")
    run(shop, strict)
    record = runs.run(shop.settings, runs.RunRequest(), rules=strict)
    assert {node.state for node in record.nodes} == {"current"}
