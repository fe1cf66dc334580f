"""Objects beside the tables of a lake in an object store, asked for side by side, and once.

Every request waits for the store, so that what is read one after another takes as long as there are objects. Who holds
the run lock, beside which nobody else writes the folders that it names, keeps what it has read of them until it writes
there itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from typing import Any, TypeVar

AT_ONCE = 16  # requests that wait for an object store side by side
KEPT_BYTES = 1024 * 1024  # of the larger objects no copy is kept

T = TypeVar("T")
R = TypeVar("R")


@dataclass
class Kept:
    """What was read of some folders of a lake: what was asked, the place, and after which path; with the answer."""

    root: str
    folders: tuple[str, ...]
    answers: dict[tuple[str, str, str | None], Any] = field(default_factory=dict)


_of_thread = threading.local()


@contextmanager
def kept(root: str, folders: Iterable[str]) -> Iterator[None]:
    """Within the block this thread asks for nothing below ``folders`` twice. For who holds the run lock of the lake
    and changes them through `Lake.put` and `Lake.delete` alone, or only looks at them as they are now."""
    before = _kept()
    _of_thread.kept = Kept(root, tuple(folders))
    try:
        yield
    finally:
        _of_thread.kept = before


def _kept() -> Kept | None:
    found: Kept | None = getattr(_of_thread, "kept", None)
    return found


def answer(root: str, what: str, place: str, after: str | None, ask: Callable[[], Any]) -> Any:
    """What the store says of a place: as it said before, where that is kept."""
    here = _kept()
    if here is None or here.root != root or place.partition("/")[0] not in here.folders:
        return ask()
    key = (what, place, after)
    if key in here.answers:
        return copy(here.answers[key])
    found = ask()
    if not isinstance(found, bytes) or len(found) <= KEPT_BYTES:
        here.answers[key] = copy(found)
    return found


def forget(root: str, path: str) -> None:
    """Say that an object was written or deleted."""
    here = _kept()
    if here is not None and here.root == root:
        told = [key for key in list(here.answers) if key[1] == path or path.startswith(key[1].rstrip("/") + "/")]
        for key in told:
            del here.answers[key]


def handed_on() -> Callable[[], None]:
    """What a thread calls that reads objects for this one, so that it keeps and finds what this one does."""
    here = _kept()

    def take() -> None:
        _of_thread.kept = here

    return take


def together(do: Callable[[T], R], about: Iterable[T]) -> list[R]:
    """What ``do`` gives about each, in their order, side by side; it may read objects, and no tables, of which every
    thread would open its own. Raises what the first of them raised."""
    wanted, here = list(about), _kept()

    def done(one: T) -> R:
        _of_thread.kept = here
        return do(one)

    if len(wanted) < 2:
        return [do(one) for one in wanted]
    with ThreadPoolExecutor(min(AT_ONCE, len(wanted))) as pool:
        return list(pool.map(done, wanted))
