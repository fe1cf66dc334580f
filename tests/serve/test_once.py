"""A change that is sent twice is made once."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from customer360.serve.once import UsedOtherwise, is_same, once, sent_as


def test_the_second_gets_the_events_of_the_first(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> list[int]:
        made.append(1)
        return [7, 8]

    confirm = ["confirm", "POS/1", "CRM/2", ""]
    for caller, token in [("a", "t"), ("a", "t"), ("b", "t"), ("a", "u")]:
        assert once(tmp_path, caller, token, confirm, make) == [7, 8]
    assert len(made) == 3
    with pytest.raises(UsedOtherwise):
        once(tmp_path, "a", "t", ["reject", *confirm[1:]], make)
    once(tmp_path, "a", None, confirm, make)
    assert len(made) == 4


def test_the_second_waits_while_the_first_is_made(tmp_path: Path) -> None:
    begun, go_on, answers = threading.Event(), threading.Event(), list[list[int]]()

    def slow() -> list[int]:
        begun.set()
        go_on.wait(10)
        return [1]

    first = threading.Thread(target=lambda: answers.append(once(tmp_path, "a", "t", ["x"], slow)))
    first.start()
    begun.wait(10)
    second = threading.Thread(target=lambda: answers.append(once(tmp_path, "a", "t", ["x"], lambda: [2])))
    second.start()
    go_on.set()
    first.join(10)
    second.join(10)
    assert answers == [[1], [1]]


def test_a_change_that_failed_or_died_is_made_again(tmp_path: Path) -> None:
    def failing() -> list[int]:
        raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        once(tmp_path, "a", "t", ["x"], failing)
    assert once(tmp_path, "a", "t", ["x"], lambda: [3]) == [3]
    (file,) = (tmp_path / "changes").iterdir()
    file.write_text('{"cha')
    assert once(tmp_path, "a", "t", ["x"], lambda: [4]) == [4]


def test_what_was_made_is_found_by_how_it_was_sent() -> None:
    made = sent_as("a", "t", ["x"])
    assert is_same(made, sent_as("a", "t", ["x"]))
    assert not any(is_same(made, other) for other in (sent_as("b", "t", ["x"]), sent_as("a", "u", ["x"]), ""))
    assert sent_as("a", None, ["x"]) == "" and not is_same("", "")
    with pytest.raises(UsedOtherwise):
        is_same(made, sent_as("a", "t", ["y"]))
