"""What is hidden is answered no more, in any generation, and by nobody again before there is one without it."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from customer360.platform import online
from customer360.platform.online import HIDDEN, NotPublished, OnlineStore

WORDS = {"ann": "ann@x.example", "bob": "bob@x.example"}


def publish(state: Path, words: dict[str, str], keep: int = 3) -> online.Generation:
    frame = pl.DataFrame({"kind": "person", "key": list(words), "document": [f'"{word}"' for word in words.values()]})
    return online.publish(state, [frame], as_of=date(2026, 1, 1), sources={}, keep=keep)


def said(store: OnlineStore) -> list[object]:
    return list(store.mget("person", ["ann", "bob"]))


def test_a_reader_that_runs_and_one_that_starts_answer_no_more(tmp_path: Path) -> None:
    publish(tmp_path, WORDS)
    running = OnlineStore(tmp_path, poll_seconds=0)
    assert said(running) == ["ann@x.example", "bob@x.example"]
    online.hide(tmp_path, [("person", "ann"), ("person", "nobody")])
    for store in (running, OnlineStore(tmp_path)):
        assert said(store) == [None, "bob@x.example"] and [key for key, _ in store.view().scan("person")] == ["bob"]
    text = (tmp_path / "online" / HIDDEN).read_text()
    assert "ann" not in text and (tmp_path / "online" / HIDDEN).stat().st_mode & 0o077 == 0


def test_generations_of_before_stay_without_and_later_ones_look_nothing_up(tmp_path: Path) -> None:
    before = publish(tmp_path, WORDS)
    online.hide(tmp_path, [("person", "ann")])
    after = publish(tmp_path, {"bob": "b"})
    online.end_hiding(tmp_path, online.hidden(tmp_path), after)
    store = OnlineStore(tmp_path, poll_seconds=0)
    assert said(store) == [None, "b"] and not store.view().hidden.digests
    online.activate(tmp_path, before.id)
    assert said(store) == [None, "bob@x.example"], "a rollback brings nobody back"


def test_who_was_hidden_meanwhile_stays_hidden(tmp_path: Path) -> None:
    publish(tmp_path, WORDS)
    online.hide(tmp_path, [("person", "ann")])
    then = online.hidden(tmp_path)
    online.hide(tmp_path, [("person", "bob")])
    online.end_hiding(tmp_path, then, publish(tmp_path, {"bob": "b"}))
    assert said(OnlineStore(tmp_path)) == [None, None]


DAMAGED = (b"", b"{", b"[]", b'{"salt": 1}', b'{"salt": "", "until": {}, "checksum": "0"}', b"\xff")


def hidden_in_service(tmp_path: Path) -> OnlineStore:
    publish(tmp_path, WORDS)
    online.hide(tmp_path, [("person", "ann")])
    running = OnlineStore(tmp_path, poll_seconds=0)
    assert said(running) == [None, "bob@x.example"]
    return running


@pytest.mark.parametrize("name", [HIDDEN, online.COPY])
def test_where_one_of_the_two_files_is_damaged_or_gone_the_other_tells(tmp_path: Path, name: str) -> None:
    running = hidden_in_service(tmp_path)
    for content in (*DAMAGED, None):
        file = tmp_path / "online" / name
        file.unlink() if content is None else file.write_bytes(content)
        fresh = OnlineStore(tmp_path, poll_seconds=0)
        assert said(running) == said(fresh) == [None, "bob@x.example"]
        assert all((HIDDEN in str(store.fault)) == (name == HIDDEN) for store in (running, fresh))
    online.hide(tmp_path, [("person", "bob")])
    assert said(OnlineStore(tmp_path)) == said(running) == [None, None] and running.fault is None


def test_a_byte_that_changed_brings_nobody_back(tmp_path: Path) -> None:
    hidden_in_service(tmp_path)
    file = tmp_path / "online" / HIDDEN
    sound = file.read_bytes()
    for at in range(len(sound)):
        file.write_bytes(sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :])
        assert said(OnlineStore(tmp_path)) == [None, "bob@x.example"], at


def test_where_neither_can_be_read_nobody_is_answered_by_who_starts(tmp_path: Path) -> None:
    running = hidden_in_service(tmp_path)
    for content in DAMAGED:
        for name in (HIDDEN, online.COPY):
            (tmp_path / "online" / name).write_bytes(content)
        assert said(running) == [None, "bob@x.example"] and HIDDEN in str(running.fault)
        with pytest.raises(NotPublished, match="being erased, cannot be read"):
            OnlineStore(tmp_path).view()
    for name in (HIDDEN, online.COPY):
        (tmp_path / "online" / name).unlink()
    assert said(running) == [None, "bob@x.example"] and "is gone" in str(running.fault)
    online.hide(tmp_path, [("person", "ann")])
    assert said(OnlineStore(tmp_path)) == said(running) == [None, "bob@x.example"] and running.fault is None
