"""A bound source reads as its objects do, whatever became of them since."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from customer360.platform import ledger
from customer360.platform.lake import Lake
from customer360.platform.ledger import Batch, Input, InputOutcome, Outcome


def put(lake: Lake, batch: Batch) -> None:
    lake.put(f"_batches/{batch.source}/{batch.seq:08d}.json", json.dumps(asdict(batch)).encode())


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setattr(ledger, "LOOSE", 3)
    lake = Lake(str(tmp_path))
    for seq in range(1, 10):
        put(lake, Batch("shop", seq, "2026-01-01", (Input(f"{seq}.csv", {"size": seq}),)))
        Outcome("shop", seq, (InputOutcome(f"{seq}.csv", {"read": seq}),), {"read": seq}).save(lake)
    return lake


def test_a_bound_source_reads_the_same(lake: Lake) -> None:
    before = ledger.batches(lake, "shop"), ledger.outcomes(lake, "shop")
    ledger.bind(lake, "shop")
    assert len(lake.objects("_bound")) == 2
    ledger._known.clear()
    assert (ledger.batches(lake, "shop"), ledger.outcomes(lake, "shop")) == before
    assert [b.seq for b in before[0]] == list(range(1, 10))


def test_what_changed_after_binding_is_read_anew(lake: Lake) -> None:
    ledger.bind(lake, "shop")
    put(lake, Batch("shop", 10, "2026-01-02", (Input("10.csv"),)))
    replace(ledger.outcomes(lake, "shop")[4], dropped="again").save(lake)
    lake.delete(["_batches/shop/00000002.json"])
    for _ in range(2):
        assert [b.seq for b in ledger.batches(lake, "shop")] == [1, 3, 4, 5, 6, 7, 8, 9, 10]
        assert ledger.outcomes(lake, "shop")[4].dropped == "again"
        ledger._known.clear()


def test_a_source_of_few_batches_is_not_bound(lake: Lake) -> None:
    put(lake, Batch("few", 1, "2026-01-01"))
    ledger.bind(lake, "few")
    assert not lake.objects("_bound")
