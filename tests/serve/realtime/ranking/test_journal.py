"""Decisions on disk: found at once and later, bounded, and gone after an erasure."""

from __future__ import annotations

import os
import sqlite3
import stat
import zlib
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from customer360.platform.errors import LakeError
from customer360.platform.privacy import Identifiers
from customer360.platform.settings import Settings
from customer360.platform.traces import Traces, Value
from customer360.serve import jobs
from customer360.serve.realtime.ranking import journal as journals
from customer360.serve.realtime.ranking.asking import Asked
from customer360.serve.realtime.ranking.decision import Decision, as_listed, replayed, unpacked
from customer360.serve.realtime.ranking.journal import FILE, LOST, Journal, forget_decisions
from customer360.serve.rights.stores import Store


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


def test_many_are_written_at_once_and_none_of_who_was_erased(tmp_path: Path) -> None:
    gone = decision("p_gone_5")
    early = Journal(tmp_path)
    early.note(gone)
    early.flush()
    forget_decisions(tmp_path, ["p_gone_5"])
    journal, made = Journal(tmp_path), [decision(f"p{number}", f"v{number % 7}") for number in range(2 * 64 + 8 + 3)]
    late = [decision("p_gone_5") for _ in range(5)]
    for each in [*made[:70], *late, *made[70:]]:
        journal.note(each)
    journal.flush()
    kept = [unpacked(found)["id"] for each in made if (found := Journal(tmp_path).get(each.id)) is not None]
    assert kept == [each.id for each in made]
    assert not any(journal.get(each.id) for each in [gone, *late])


def test_a_file_in_the_order_of_ids_goes_on(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / FILE)) as store:
        store.executescript(
            "CREATE TABLE decisions (id TEXT PRIMARY KEY, at REAL NOT NULL, person BLOB, visitor BLOB, "
            "packed BLOB NOT NULL) WITHOUT ROWID;"
        )
    journal, made = Journal(tmp_path), [decision(f"p{number}") for number in range(70)]
    for each in made:
        journal.note(each)
    journal.flush()
    assert all(Journal(tmp_path).get(each.id) for each in made)
    assert forget_decisions(tmp_path, ["p3"]) == 1
    assert Journal(tmp_path).get(made[3].id) is None


def test_decisions_lie_in_the_file_as_they_come(tmp_path: Path) -> None:
    journal, made = Journal(tmp_path), [decision() for _ in range(20)]
    for each in made:
        journal.note(each)
    journal.flush()
    with closing(sqlite3.connect(tmp_path / FILE)) as store:
        assert [i for (i,) in store.execute("SELECT id FROM decisions ORDER BY rowid")] == [each.id for each in made]


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


def damage(journal: Journal, state: Path, how: str) -> None:
    if how == "no folder":
        journal._state = state / "file" / "state"
        (state / "file").write_text("a file where a folder should be")
        return
    journal.note(decision())
    journal.flush()
    journal._close()
    (state / FILE).write_bytes(os.urandom(8192))


@pytest.mark.parametrize("how", ["damaged", "no folder"])
def test_an_answer_does_not_depend_on_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setattr(journals, "MOST_WAITING", 3)
    monkeypatch.setattr(journals, "FLUSH_SECONDS", 60.0)
    journal = Journal(tmp_path)
    damage(journal, tmp_path, how)
    before, made = LOST._value.get(), [decision() for _ in range(5)]
    for each in made:
        journal.note(each)
    assert [d.id in journal._waiting for d in made] == [False, False, True, True, True], "the newest wait"
    assert LOST._value.get() - before == 2
    if how == "damaged":
        with pytest.raises(LakeError, match=r"decisions\.db"):
            journal.get("0" * 32)
        for file in tmp_path.glob(f"{FILE}*"):
            file.unlink()
        journal.flush()
        assert Journal(tmp_path).get(made[-1].id) is not None, "what waited is in the new file"
    journal._waiting.clear()  # or its thread would tell other tests of the file in a minute


def test_the_thread_outlives_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "FLUSH_SECONDS", 0.01)
    monkeypatch.setattr(journals, "RETRY_SECONDS", 0.01)
    (tmp_path / "state").write_text("a file where the folder should be")
    journal, made = Journal(tmp_path / "state"), decision()
    journal.note(made)
    thread = journal._thread
    assert thread is not None
    end = journals.time.monotonic() + 10
    while not journal._has_fault and journals.time.monotonic() < end:
        journals.time.sleep(0.01)
    (tmp_path / "state").unlink()
    thread.join(10)
    assert Journal(tmp_path / "state").get(made.id) is not None


@pytest.mark.parametrize("is_of_before", [False, True])
def test_the_search_for_traces_sees_who_decisions_were_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_of_before: bool
) -> None:
    if is_of_before:
        packed = Decision.packed
        monkeypatch.setattr(Decision, "packed", lambda self: zlib.compress(zlib.decompress(packed(self), wbits=31)))
    journal, made = Journal(tmp_path), decision("p_ann_77", "device_ann_77")
    journal.note(made)
    journal.flush()
    assert replayed(unpacked(journal.get(made.id) or b"")).asked.person_id == "p_ann_77"
    who = Traces.of([Value("person", ("p_ann_77",)), Value("device", ("device_ann_77",))])
    found = Store("state", str(tmp_path)).search(who, FILE)
    assert found is not None and (found.kinds, found.unread) == (("device", "person"), "")
    forget_decisions(tmp_path, ["p_ann_77"])
    assert Store("state", str(tmp_path)).search(who, FILE) is None


def test_a_damaged_file_is_named_to_who_erases(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database at all" * 100)
    with pytest.raises(LakeError, match=rf"{FILE}: decisions cannot be taken out .*delete it .* and erase again"):
        forget_decisions(tmp_path, ["p_ann"])


def test_the_command_that_erases_takes_decisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Enough(Exception):
        """What comes after is not this test's."""

    def enough(*_: Any) -> None:
        raise Enough

    settings = Settings.model_validate({"state": str(tmp_path / "state"), "lake": {"root": str(tmp_path / "lake")}})
    who = Identifiers(persons=frozenset({"p_ann_77", "p_old_77"}), devices=frozenset({"d_ann_77"}))
    monkeypatch.setattr(jobs, "identity_rules", lambda settings: None)
    monkeypatch.setattr(jobs, "current_person", lambda settings, person: person)
    monkeypatch.setattr(jobs, "is_followed", lambda lake, person, rules: True)
    monkeypatch.setattr(jobs.privacy, "unfinished_erasures", lambda lake: {"p_ann_77": who})
    monkeypatch.setattr(jobs, "renewed", lambda lake, person, noted, rules: noted)
    monkeypatch.setattr(jobs, "hide_person", lambda *_: None)
    monkeypatch.setattr(jobs, "delete_indexes", enough)
    journal = Journal(tmp_path / "state")
    made = [decision("p_ann_77"), decision("p_old_77"), decision(None, "d_ann_77"), decision("p_bob_77")]
    for each in made:
        journal.note(each)
    journal.flush()
    with pytest.raises(Enough):
        jobs.erase(settings, "p_ann_77")
    assert [journal.get(d.id) is not None for d in made] == [False, False, False, True]
