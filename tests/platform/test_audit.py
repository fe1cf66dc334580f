"""The audit: every reading once, in order, and every change of it seen."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from customer360.platform import audit
from customer360.platform.audit import AuditBroken


def note(state: Path, *persons: str) -> Path:
    for person in persons:
        audit.append(state, name="shop", person=person)
    (file,) = (state / audit.FOLDER).glob("*.jsonl")
    return file


def test_lines_follow_from_each_other(tmp_path: Path) -> None:
    file = note(tmp_path, "p1", "p2", "p" * 999)
    assert [(e["n"], e["person"][:3]) for e in audit.entries(tmp_path)] == [(1, "p1"), (2, "p2"), (3, "ppp")]
    chain = audit.verify(tmp_path)
    assert (chain.lines, file.stat().st_mode & 0o777, len(list(audit.entries(tmp_path))[2]["person"])) == (
        3,
        0o600,
        200,
    )


@pytest.mark.parametrize(("change", "said"), [
    (lambda lines: [lines[0].replace(b"p1", b"p9"), *lines[1:]], "line 1 was changed"),
    (lambda lines: [lines[0], lines[2]], "line 2 is missing"),
    (lambda lines: lines[1:], "line 1 is missing"),
    (lambda lines: [lines[0], lines[0], *lines[1:]], "line 2 is missing"),
    (lambda lines: [lines[0], b"garbage", lines[2]], "line 2 is missing"),
])  # fmt: skip
def test_a_changed_missing_or_added_line_shows(tmp_path: Path, change, said: str) -> None:  # type: ignore[no-untyped-def]
    file = note(tmp_path, "p1", "p2", "p3")
    file.write_bytes(b"\n".join(change(file.read_bytes().splitlines())) + b"\n")
    with pytest.raises(AuditBroken, match=said):
        audit.verify(tmp_path)


def test_a_cut_end_shows_against_the_digest_that_was_noted(tmp_path: Path) -> None:
    file = note(tmp_path, "p1", "p2")
    noted = audit.verify(tmp_path)
    file.write_bytes(file.read_bytes().splitlines(keepends=True)[0])
    assert audit.verify(tmp_path) != noted


def test_what_a_dead_writer_left_is_passed_over(tmp_path: Path) -> None:
    file = note(tmp_path, "p1", "p2")
    file.write_bytes(file.read_bytes() + b'{"n": 3, "at": "20')
    note(tmp_path, "p3")
    assert [e["person"] for e in audit.entries(tmp_path)] == ["p1", "p2", "p3"] and audit.verify(tmp_path).lines == 3


@pytest.mark.parametrize("content", [b"\x00" * 40_000, b"[1]\n", b"{}"])
def test_an_unreadable_file_is_set_aside_and_reading_goes_on(tmp_path: Path, content: bytes) -> None:
    file = note(tmp_path, "p1")
    file.write_bytes(content)
    note(tmp_path, "p2")
    assert [e["person"] for e in audit.entries(tmp_path)] == ["p2"]
    with pytest.raises(AuditBroken, match="cannot be read"):
        audit.verify(tmp_path)


def test_readers_at_once_are_all_noted(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: audit.append(tmp_path, person=f"p{i}"), range(40)))
    assert audit.verify(tmp_path).lines == 40


def test_a_clock_that_is_put_back_breaks_no_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        moments = iter(datetime(2026, month, 1, tzinfo=UTC) for month in (2, 3, 2, 3))

        @classmethod
        def now(cls, zone: object) -> datetime:
            return next(cls.moments)

    monkeypatch.setattr(audit, "datetime", Clock)
    for person in ("p1", "p2", "p3", "p4"):
        audit.append(tmp_path, person=person)
    assert audit.verify(tmp_path).lines == 4
    assert [entry["person"] for entry in audit.entries(tmp_path)] == ["p1", "p2", "p3", "p4"]


def test_a_line_that_is_not_whole_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.write
    monkeypatch.setattr(audit.os, "write", lambda file, data: whole(file, data[:9]))  # a full disk
    with pytest.raises(OSError, match="whole"):
        audit.append(tmp_path, person="p1")
    monkeypatch.undo()
    audit.append(tmp_path, person="p2")
    assert [entry["person"] for entry in audit.entries(tmp_path)] == ["p2"] and audit.verify(tmp_path).lines == 1


@pytest.mark.parametrize("line", [1, 2, 3])
def test_a_whole_line_that_cannot_be_read_is_no_torn_one(tmp_path: Path, line: int) -> None:
    """The last one too: the next reading goes on from the line before it, and the numbers show no gap."""
    for _ in range(3):
        audit.append(tmp_path, person="p1")
    (file,) = (tmp_path / audit.FOLDER).glob("*.jsonl")
    lines = file.read_bytes().splitlines(keepends=True)
    lines[line - 1] = lines[line - 1].replace(b"p1", b"\xff1")
    file.write_bytes(b"".join(lines))
    audit.append(tmp_path, person="p2")
    with pytest.raises(audit.AuditBroken, match=f"a line after line {line - 1} cannot be read"):
        audit.verify(tmp_path)


def test_two_lines_without_the_break_between_them_are_named(tmp_path: Path) -> None:
    for _ in range(2):
        audit.append(tmp_path, person="p1")
    (file,) = (tmp_path / audit.FOLDER).glob("*.jsonl")
    file.write_bytes(file.read_bytes().replace(b"}\n{", b"}\xf5{"))
    with pytest.raises(audit.AuditBroken, match="cannot be read"):
        audit.verify(tmp_path)


def test_a_user_without_a_name_is_noted_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 1000680000")

    monkeypatch.setattr(audit.getpass, "getuser", nameless)
    assert audit.user() == f"user {os.getuid()}"


def months(state: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two lines in each of three months."""

    class Clock(datetime):
        at = datetime(2026, 1, 5, tzinfo=UTC)

        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return cls.at

    monkeypatch.setattr(audit, "datetime", Clock)
    for month in (1, 2, 3):
        Clock.at = datetime(2026, month, 5, tzinfo=UTC)
        for person in (f"p{month}", f"q{month}"):
            audit.append(state, name="shop", person=person)
    return state / audit.FOLDER


def test_old_months_go_and_what_is_kept_can_still_be_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = months(tmp_path, monkeypatch)
    assert audit.forget(tmp_path, date(2026, 3, 20), dry_run=True) == 4
    assert audit.verify(tmp_path).lines == 6
    assert audit.forget(tmp_path, date(2026, 3, 20)) == 4
    assert [e.get("person") for e in audit.entries(tmp_path)] == ["p3", "q3", None]
    assert audit.verify(tmp_path).lines == 7
    assert audit.forget(tmp_path, date(2026, 3, 20)) == 0
    assert audit.forget(tmp_path, date(2030, 1, 1)) == 0, "the newest month stays"
    audit.append(tmp_path, person="r3")
    assert audit.verify(tmp_path).lines == 8
    (home / "begins.json").unlink()
    with pytest.raises(AuditBroken, match="line 1 is missing"):
        audit.verify(tmp_path)


def test_a_cut_that_no_line_speaks_of_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = months(tmp_path, monkeypatch)
    last = list(audit.entries(tmp_path))[1]
    (home / "2026-01.jsonl").unlink()
    (home / "begins.json").write_text(f'{{"n": {last["n"]}, "digest": "{last["digest"]}"}}')
    with pytest.raises(AuditBroken, match="no line says that those up to 2 went"):
        audit.verify(tmp_path)
    (home / "begins.json").write_text("{")
    with pytest.raises(AuditBroken, match=r"begins\.json cannot be read"):
        audit.verify(tmp_path)


def test_a_changed_audit_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = months(tmp_path, monkeypatch)
    first = home / "2026-01.jsonl"
    first.write_bytes(first.read_bytes().replace(b"p1", b"p9"))
    with pytest.raises(AuditBroken, match="line 1 was changed"):
        audit.forget(tmp_path, date(2026, 3, 20))
    assert first.exists()


@pytest.mark.parametrize("dies", ["replace", "unlink"])
def test_a_deletion_that_died_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies: str) -> None:
    months(tmp_path, monkeypatch)

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, dies, die)
        audit.forget(tmp_path, date(2026, 3, 20))
    audit.verify(tmp_path)
    audit.forget(tmp_path, date(2026, 3, 20))
    audit.verify(tmp_path)
    assert [e["person"] for e in audit.entries(tmp_path) if "person" in e] == ["p3", "q3"]
