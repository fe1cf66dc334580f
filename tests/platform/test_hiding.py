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


def test_of_a_damaged_file_what_was_read_holds_and_nobody_is_answered_anew(tmp_path: Path) -> None:
    publish(tmp_path, WORDS)
    online.hide(tmp_path, [("person", "ann")])
    running = OnlineStore(tmp_path, poll_seconds=0)
    assert said(running) == [None, "bob@x.example"]
    for content in (b"", b"{", b"[]", b'{"salt": 1}'):
        (tmp_path / "online" / HIDDEN).write_bytes(content)
        assert said(running) == [None, "bob@x.example"] and HIDDEN in str(running.fault)
        with pytest.raises(NotPublished, match="being erased, cannot be read"):
            OnlineStore(tmp_path).view()
    (tmp_path / "online" / HIDDEN).unlink()
    assert said(running) == [None, "bob@x.example"] and "is gone" in str(running.fault)
    online.hide(tmp_path, [("person", "ann")])
    assert said(OnlineStore(tmp_path)) == said(running) == [None, "bob@x.example"] and running.fault is None
