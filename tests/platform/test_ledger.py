"""The ledger: a batch's inputs are fixed once, and runs are kept."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from customer360.platform import lake as lakes
from customer360.platform import ledger
from customer360.platform.errors import LakeError
from customer360.platform.lake import Lake
from customer360.platform.ledger import Input, NodeRun

A, B = Input("a.csv", {"size": 1, "modified": "2024-01-01"}), Input("b.csv", {"size": 2, "modified": "2024-01-02"})


def test_batches_are_numbered_per_source_and_keep_their_inputs(lake: Lake) -> None:
    first, second = ledger.open_batch(lake, "shop", [A]), ledger.open_batch(lake, "shop", [A, B])
    other = ledger.open_batch(lake, "shop_b", [], inline="_replays/x.jsonl")
    assert (first.id, second.id, other.id) == ("shop/1", "shop/2", "shop_b/1")
    assert ledger.batches(lake, "shop") == [first, second]
    assert (second.inputs, other.inline) == ((A, B), "_replays/x.jsonl")
    assert ledger.batches(lake, "none") == []


def test_more_than_ten_batches_stay_in_order(lake: Lake) -> None:
    for _ in range(11):
        ledger.open_batch(lake, "shop", [])
    assert [b.seq for b in ledger.batches(lake, "shop")] == list(range(1, 12))


def test_the_manifest_of_another_writer_wins(lake: Lake) -> None:
    def other_writer(point: str) -> None:
        if point == "before manifest shop/1":
            lakes.observers.clear()
            ledger.open_batch(lake, "shop", [B])

    lakes.observers.append(other_writer)
    try:
        mine = ledger.open_batch(lake, "shop", [A])
    finally:
        lakes.observers.clear()
    assert mine.inputs == (B,)
    assert len(ledger.batches(lake, "shop")) == 1


@pytest.mark.parametrize("point", ["before manifest shop/1", "after manifest shop/1"])
def test_a_crash_around_the_manifest_leaves_all_or_nothing(lake: Lake, point: str) -> None:
    def crash(at: str) -> None:
        if at == point:
            raise KeyboardInterrupt

    lakes.observers.append(crash)
    try:
        with pytest.raises(KeyboardInterrupt):
            ledger.open_batch(lake, "shop", [A])
    finally:
        lakes.observers.clear()
    assert [b.inputs for b in ledger.batches(lake, "shop")] == ([] if point.startswith("before") else [(A,)])


def test_runs_come_back_newest_first(lake: Lake) -> None:
    for number in range(3):
        run = ledger.start_run(f"run {number}")
        run.nodes.append(NodeRun("silver.x", "built", 0.5, 7, {"rows": 7}))
        run.save(lake)
    found = ledger.runs(lake, 2)
    assert [r.command for r in found] == ["run 2", "run 1"]
    assert found[0].nodes == [NodeRun("silver.x", "built", 0.5, 7, {"rows": 7})]
    assert ledger.runs(Lake(lake.root + "-none")) == []


def test_a_run_of_before_losses_were_kept_is_read(lake: Lake) -> None:
    run = ledger.start_run("run")
    run.losses.append("shop batch 1: 1 of 3 files could not be read or mapped at all")
    run.save(lake)
    old = {key: value for key, value in asdict(run).items() if key != "losses"}
    lake.put(f"_runs/{run.id}0.json", json.dumps(old).encode())
    before, now = ledger.runs(lake)
    assert (before.losses, now.losses) == ([], run.losses)


INPUT_OF_LATER = b'{"source": "shop", "seq": 1, "inputs": [{"other": 1}]}'
OTHERS = (b"", b"{", b"[]", b"7", b'{"format": 99}', INPUT_OF_LATER, b"\xff{}")


@pytest.mark.parametrize("data", OTHERS)
def test_a_damaged_object_is_named_wherever_it_is_read(lake: Lake, data: bytes) -> None:
    ledger.open_batch(lake, "shop", [A])
    manifest, outcome, run = "_batches/shop/00000001.json", "_landed/shop/00000001.json", "_runs/20240101.json"
    for path in (manifest, outcome, run):
        lake.put(path, data)
        with pytest.raises(LakeError, match=path):
            ledger.check(lake, path)
    reads = {
        manifest: [lambda: ledger.batch(lake, "shop", 1), lambda: ledger.batches_after(lake, "shop", 0),
                   lambda: ledger.batches(lake, "shop")],
        outcome: [lambda: ledger.outcome(lake, "shop", 1), lambda: ledger.outcomes(lake, "shop")],
        run: [lambda: ledger.runs(lake)],
    }  # fmt: skip
    for path, each in reads.items():
        for read in each:
            with pytest.raises(LakeError, match=f"{path} .*restore it from a backup"):
                read()


def test_a_damaged_repetition_of_batches_says_that_it_may_go(lake: Lake) -> None:
    lake.put("_bound/_batches/shop.json", b'{"a')
    with pytest.raises(LakeError, match="is damaged: delete it"):
        ledger.bound_of(lake, "_bound/_batches/shop.json")
    assert ledger.bound_of(lake, "_bound/_batches/other.json") == {}
