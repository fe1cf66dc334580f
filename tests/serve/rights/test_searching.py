"""Many files are searched in any number of processes with the same answer, and equal ones once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest

from customer360.platform.settings import ExecutionSettings
from customer360.platform.traces import Traces, Value
from customer360.platform.traces.search import in_content
from customer360.serve.rights import searching
from customer360.serve.rights.stores import Store

ANN = Traces.of([Value("e-mail", ("ann@x.test",))])
LARGE = 70_000


@pytest.fixture
def files(tmp_path: Path) -> list[searching.Found]:
    """Small and large ones, equal ones, some that hold a value, in no order of size."""
    (tmp_path / "audit").mkdir()
    for number in range(12):
        text = "to ann@x.test" if number % 5 == 0 else f"to bob{number}@x.test"
        (tmp_path / f"{number:02}.txt").write_text(text + "." * (LARGE * (number % 3)))
        (tmp_path / f"{number:02}.copy").write_text(text + "." * (LARGE * (number % 3)))
    (tmp_path / "of ann@x.test.txt").write_bytes((tmp_path / "02.txt").read_bytes())
    store = Store("lake", str(tmp_path))
    return [(store, path, store.size(path)) for path in store.paths()]


def told(files: list[searching.Found], cpus: int) -> list[str]:
    hits = searching.search(files, ANN, ExecutionSettings(cpus=cpus))
    assert all(hit is None or hit.place == path for (_, path, _), hit in zip(files, hits, strict=True))
    return [hit.place for hit in hits if hit]


HOLDING = ["00.copy", "00.txt", "05.copy", "05.txt", "10.copy", "10.txt", "of ann@x.test.txt"]


@pytest.mark.slow
def test_the_answer_does_not_depend_on_processes(files: list[searching.Found], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "WORTH_IT", 0)
    monkeypatch.setattr(searching, "_TOGETHER", LARGE)
    assert told(files, 2) == HOLDING


def test_what_a_process_that_died_left_is_searched_here(
    files: list[searching.Found], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told(files, 1) == HOLDING

    def dying(tasks: Any, *_: Any) -> Iterator[Any]:
        yield searching.Searcher(ANN).search(tasks[0])
        raise BrokenProcessPool

    monkeypatch.setattr(searching, "WORTH_IT", 0)
    monkeypatch.setattr(searching, "_TOGETHER", LARGE)
    monkeypatch.setattr(searching, "_in_processes", dying)
    assert told(files, 2) == HOLDING


def test_equal_contents_are_read_once_but_their_names_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[bytes] = []
    real = searching.Traces.suspects
    monkeypatch.setattr(searching.Traces, "suspects", lambda self, texts: looked.extend(texts) or real(self, texts))
    clean, known = b"." * LARGE, set[bytes]()
    assert in_content(ANN, clean, "a", known) is None
    seen = len(looked)
    assert in_content(ANN, clean, "b", known) is None and not any(looked[seen:])
    named = in_content(ANN, clean, "ann@x.test", known)
    assert named is not None and named.kinds == ("e-mail",)
    dirty = b"ann@x.test" + clean
    assert in_content(ANN, dirty, "c", known) is not None and in_content(ANN, dirty, "d", known) is not None
