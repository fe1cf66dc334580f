"""What is known of a source is the same, stored or made from its batches, and found without reading them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from customer360.platform import known, ledger
from customer360.platform.known import INPUTS, Known, known_of, noted
from customer360.platform.lake import Lake
from customer360.platform.ledger import Input, InputOutcome, Outcome

MOMENT = "2026-01-02T03:04:05.678901+00:00"


def landed(lake: Lake, seq: int, *names: str, cursor: int | None = None, failure: str = "") -> None:
    batch = ledger.open_batch(lake, "shop", [Input(n, {"size": seq, "modified": MOMENT}) for n in names], cursor=cursor)
    assert batch.seq == seq
    state = {"size": seq, "modified": MOMENT, "sha256": f"s{seq}"}
    Outcome("shop", seq, tuple(InputOutcome(n, {"read": 1}, failure, state) for n in names), {"read": 1}).save(lake)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """Five batches, of which all but the last are in bronze; one name came twice, one file failed."""
    monkeypatch.setattr(ledger, "LOOSE", 0)
    monkeypatch.setattr(known, "NEW_INPUTS", 0.0)
    lake = Lake(str(tmp_path))
    landed(lake, 1, "a.csv", "b.csv", cursor=7)
    landed(lake, 2, "a.csv")
    landed(lake, 3, "c.csv", failure="no")
    landed(lake, 4, "d.csv")
    ledger.open_batch(lake, "shop", [Input("e.csv", {"size": 5, "modified": MOMENT})])
    return lake


def rows(found: Known) -> pl.DataFrame:
    return found.inputs.sort("name")


def test_stored_or_not_the_same_is_known(shop: Lake) -> None:
    before = known_of(shop, "shop", 4)
    expected = rows(before)
    assert expected.schema == pl.Schema(INPUTS)
    assert expected.select("name", "seq", "sha256", "waits", "failed").rows() == [
        ("a.csv", 2, "s2", False, False), ("b.csv", 1, "s1", False, False), ("c.csv", 3, "s3", False, True),
        ("d.csv", 4, "s4", False, False), ("e.csv", 5, None, True, False),
    ]  # fmt: skip
    assert expected["modified"].unique().to_list() == [1767323045678901]
    noted(before, 4)
    after = known_of(shop, "shop", 4)
    assert (after.upto, [b.seq for b, _ in after.later]) == (4, [5])
    assert rows(after).equals(expected)
    assert list(after) == list(before) and [b.seq for b in after.waiting] == [5] and after.last == 5


def test_the_last_cursor_is_found_without_the_past(shop: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    noted(known_of(shop, "shop", 4), 4)
    monkeypatch.setattr(ledger, "batches", None)
    monkeypatch.setattr(ledger, "outcomes", None)
    found = known_of(shop, "shop", 4)
    assert found and ledger.last_cursor(found) == 7 and found.inputs.height == 5
    assert ledger.open_batch(shop, "shop", []).seq == 6


def test_who_changes_an_outcome_makes_it_known(shop: Lake) -> None:
    noted(known_of(shop, "shop", 4), 4)
    outcome = ledger.outcome(shop, "shop", 4)
    assert outcome is not None
    replace(outcome, dropped=ledger.AGAIN).save(shop)
    assert rows(known_of(shop, "shop", 4))["name"].to_list() == ["a.csv", "b.csv", "c.csv", "e.csv"]
    replace(outcome, dropped=ledger.IGNORED).save(shop)
    assert rows(known_of(shop, "shop", 4))["name"].to_list() == ["a.csv", "b.csv", "c.csv", "d.csv", "e.csv"]


def test_a_new_batch_leaves_what_is_stored(shop: Lake) -> None:
    noted(known_of(shop, "shop", 4), 4)
    held = shop.objects("_known")
    state = {"size": 5, "modified": MOMENT, "sha256": "s5"}
    Outcome("shop", 5, (InputOutcome("e.csv", {"read": 1}, "", state),), {}).save(shop)
    assert shop.objects("_known") == held
    found = known_of(shop, "shop", 5)
    assert found.waiting == [] and rows(found)["sha256"].to_list()[-1] == "s5"


def test_touched_and_copied_inputs_are_known_by_their_new_look(shop: Lake) -> None:
    later = "2026-02-01T00:00:00+00:00"
    touched = [
        Input("a.csv", {"size": 2, "modified": later}),
        Input("old/b.csv", {"size": 1, "modified": later, "copy_of": "b.csv"}),
    ]
    noted(known_of(shop, "shop", 4), 4, touched)
    found = rows(known_of(shop, "shop", 4))
    named = {row["name"]: row for row in found.to_dicts()}
    assert named["a.csv"]["modified"] > named["b.csv"]["modified"] and named["a.csv"]["sha256"] == "s2"
    assert named["old/b.csv"]["sha256"] == "s1" and named["old/b.csv"]["seq"] == 1


def test_a_lake_that_lost_the_table_makes_it_again(shop: Lake) -> None:
    expected = rows(known_of(shop, "shop", 4))
    noted(known_of(shop, "shop", 4), 4)
    shop.delete(shop.objects("_known"))
    assert rows(known_of(shop, "shop", 4)).equals(expected)


def moved(lake: Lake, seq: int, name: str, place: str) -> None:
    noted(known_of(lake, "shop", 4), 4, [Input(place, {"size": seq, "modified": MOMENT, "copy_of": name})])


def test_a_lake_that_lost_the_table_still_knows_what_was_moved(shop: Lake) -> None:
    moved(shop, 1, "b.csv", "old/b.csv")
    moved(shop, 1, "old/b.csv", "older/b.csv")
    expected = rows(known_of(shop, "shop", 4))
    shop.delete(shop.objects("_known"))
    found = known_of(shop, "shop", 4)
    assert found.upto == 0 and rows(found).equals(expected)
    assert expected.filter(pl.col("seq") == 1)["name"].to_list() == ["b.csv", "old/b.csv", "older/b.csv"]
    assert rows(known_of(shop, "shop", 0)).filter(~pl.col("waits")).is_empty(), "a batch that waits was not moved"


@pytest.mark.parametrize("is_old_lake", [False, True])
def test_who_changes_an_outcome_forgets_no_move(shop: Lake, is_old_lake: bool) -> None:
    moved(shop, 1, "b.csv", "old/b.csv")
    moved(shop, 4, "d.csv", "old/d.csv")
    if is_old_lake:
        shop.delete(shop.objects("_moved"))
    first, fourth = (ledger.outcome(shop, "shop", seq) for seq in (1, 4))
    assert first is not None and fourth is not None
    before = rows(known_of(shop, "shop", 4))
    replace(first, trail=("read again",)).save(shop)
    assert rows(known_of(shop, "shop", 4)).equals(before)
    replace(fourth, dropped=ledger.IGNORED).save(shop)
    assert "old/d.csv" in rows(known_of(shop, "shop", 4))["name"]
    replace(fourth, dropped=ledger.AGAIN).save(shop)
    found = rows(known_of(shop, "shop", 4))["name"].to_list()
    assert "old/b.csv" in found and "old/d.csv" not in found and "d.csv" not in found, "they are to land again"


def test_a_delivery_under_the_name_of_a_moved_file_is_the_newer(shop: Lake) -> None:
    moved(shop, 1, "b.csv", "old/b.csv")
    landed(shop, 6, "old/b.csv")
    shop.delete(shop.objects("_known"))
    assert rows(known_of(shop, "shop", 6)).filter(pl.col("name") == "old/b.csv")["seq"].to_list() == [6]
