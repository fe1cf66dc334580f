"""Decisions on disk: found at once and later, bounded, and gone after an erasure."""

from __future__ import annotations

import stat
from datetime import date
from pathlib import Path

import pytest

from customer360.serve.realtime.ranking import journal as journals
from customer360.serve.realtime.ranking.asking import Asked
from customer360.serve.realtime.ranking.decision import Decision, as_listed, replayed, unpacked
from customer360.serve.realtime.ranking.journal import FILE, Journal, forget_decisions


def decision(person: str | None = None, visitor: str | None = None) -> Decision:
    asked = Asked("home", date(2026, 3, 1), 2, person_id=person, visitor_id=visitor)
    return as_listed(asked, "model", ["A", "B", "C"], {"A", "C"}, {"generation": "g"}, None)


def test_a_decision_is_found_before_and_after_it_is_written(tmp_path: Path) -> None:
    journal, made = Journal(tmp_path), decision("p1")
    journal.note(made)
    for _ in range(2):
        packed = journal.get(made.id)
        assert packed is not None
        assert replayed(unpacked(packed)).products() == ["A", "C"]
        journal.flush()
    assert Journal(tmp_path).get(made.id) is not None, "another process reads it"
    assert Journal(tmp_path).get("0" * 32) is None
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


def test_nothing_is_made_by_looking(tmp_path: Path) -> None:
    assert Journal(tmp_path).get("0" * 32) is None
    assert forget_decisions(tmp_path, ["p1"]) == 0
    assert not list(tmp_path.iterdir())


def test_an_erasure_reaches_what_is_there_and_what_comes_late(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    ann, device, bob = decision("p_ann_77"), decision(None, "device_ann_77"), decision("p_bob_77")
    for made in (ann, device, bob):
        journal.note(made)
    journal.flush()
    late = decision("p_ann_77")
    journal.note(late)
    assert forget_decisions(tmp_path, ["p_ann_77", "device_ann_77"]) == 2
    journal.flush()
    assert [journal.get(d.id) is not None for d in (ann, device, late, bob)] == [False, False, False, True]
    for file in tmp_path.iterdir():
        assert b"ann_77" not in file.read_bytes(), file.name


def test_old_ones_go_and_then_the_oldest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000_000.0
    monkeypatch.setattr(journals.time, "time", lambda: now)
    size = len(decision().packed())
    journal = Journal(tmp_path, keep_days=1, most_bytes=10 * size)
    old = decision()
    journal.note(old)
    journal.flush()
    now += 86_401
    assert journal.get(old.id) is None, "too old, though it is there still"
    made = [decision() for _ in range(20)]
    for each in made:
        now += 1
        journal.note(each)
        journal._tidied_at = float("-inf")
        journal.flush()
    kept = [journal.get(d.id) is not None for d in made]
    assert 5 <= sum(kept) <= 10 and kept == sorted(kept), "the newest stay"
