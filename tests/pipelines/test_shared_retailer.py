"""The retailer that tests share: a fault in one feed or build is a fault of its own tables, not of every test."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from customer360.pipelines.sample import write
from customer360.platform import graph
from customer360.serve.compose import compose

compose()


def broken(*_: Any) -> Any:
    raise ValueError("planted")


@pytest.fixture
def with_faults(small_retailer: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A retailer whose feed of preferences cannot be written, and one of whose builds raises."""
    feeds = [dataclasses.replace(f, batches=broken) if f.folder == "crm/preferences" else f for f in write.FEEDS]
    monkeypatch.setattr(write, "FEEDS", tuple(feeds))
    monkeypatch.setitem(
        graph.NODES, "silver.touches", dataclasses.replace(graph.NODES["silver.touches"], function=broken)
    )
    return small_retailer()


def test_a_fault_is_handed_to_who_asks_for_its_table(with_faults: Any) -> None:
    assert with_faults.failures["bronze.preferences"] == "feed crm/preferences: ValueError: planted"
    assert with_faults.failures["silver.touches"] == "ValueError: planted"
    for name in ("bronze.preferences", "silver.preferences", "silver.touches", "gold.customer_360"):
        with pytest.raises(pytest.fail.Exception, match="ValueError: planted"):
            with_faults.frame(name)
    for name in (
        "bronze.transactions",
        "silver.transactions",
        "silver.sessions",
        "gold.money_by_currency",
        "gold.visit_profiles",
    ):
        assert with_faults.frame(name).collect().height, name


def test_without_a_fault_all_is_there(small_retailer: Callable[[], Any]) -> None:
    built = small_retailer()
    assert built.failures == {}
    assert built.frame("gold.customer_360").collect().height
