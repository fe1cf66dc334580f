"""Corrections that wait for a run while something else happens."""

from __future__ import annotations

from typing import Any

import pytest

from customer360.platform import ledger


@pytest.mark.parametrize("others", [0, 1])
def test_who_is_erased_while_a_correction_waits_holds_up_nobody(shop: Any, others: int) -> None:
    """Of the file of corrections nothing may be left, or what is of others."""
    shop.deliver("links", "a0,p0,1", "a1,p1,1")
    shop.deliver("sales", "s0,a0,-1,1", *(["s1,a1,-1,1"] * others))
    shop.run()
    assert shop.correct(2, AMOUNT=3) == 1 + others
    shop.erase("a0")
    waiting = ledger.batches(shop.lake, "sales")[-1]
    assert len((shop.lake.get(waiting.inline) or b"").splitlines()) == others
    shop.deliver("sales", "s2,a1,5,1")
    assert {node.state for node in shop.run().values()} <= {"built", "current"}
    kept = shop.lake.scan("silver.t_sales").select("sale_id", "amount").sort("sale_id").collect().rows()
    assert kept == [("s1", 3)] * others + [("s2", 5)]
