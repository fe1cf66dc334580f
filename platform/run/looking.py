"""Looking for what is new at many sources at once, so that one which is silent delays no other.

Sources that are read from a server are looked at side by side, those of one lane one after the other; files of a local
folder by the caller itself. Who answers within `execution.grace_seconds` is in the first group, and lands while the
others are waited for; who does not answer within `execution.look_seconds` is a failure of this run, and is left to its
thread, which ends by the time-outs of its own connection. Until it has ended nobody asks that source again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from customer360.platform.errors import TransientError
from customer360.platform.lake import ahead
from customer360.platform.settings import Settings
from customer360.platform.sources.base import Source

Found = TypeVar("Found")
_looking: dict[tuple[str, str], threading.Thread] = {}  # by lake and source: whom this process waited for


@dataclass(frozen=True)
class Looked(Generic[Found]):
    """What a look at one source gave: what it found, or the fault that it raised."""

    found: Found | None = None
    fault: BaseException | None = None

    def get(self) -> Found:
        """What was found. Raises what the look raised."""
        if self.fault is not None:
            raise self.fault
        return self.found  # type: ignore[return-value]


def is_remote(settings: Settings, source: Source) -> bool:
    """Whether looking at a source waits for another machine."""
    return source.connects is not None or "://" in settings.landing


def looked(
    settings: Settings, sources: dict[str, Source], look: Callable[[str], Found]
) -> Iterator[dict[str, Looked[Found]]]:
    """What a look at each source gives, by name and in the order of ``sources``: first those that answer at once, then
    the others as one group. Empty groups are left out.
    """
    limits, answers = settings.execution, SimpleQueue[tuple[str, Looked[Found]]]()
    away = [name for name, source in sources.items() if is_remote(settings, source)]
    found: dict[str, Looked[Found]] = {}
    began = time.monotonic()
    asked = set[str]()
    slots = threading.Semaphore(limits.looks_at_once)
    for lane in _lanes(away, sources):
        free = []
        for name in lane:
            before = _looking.get((settings.lake.root, name))
            if before is not None and before.is_alive():
                found[name] = Looked(fault=TransientError("an earlier look at it has not been answered yet"))
            else:
                free.append(name)
        if free:
            asked.update(free)
            _start(settings.lake.root, free, look, answers, slots)
    for name in sources:
        if name not in asked and name not in found:
            found[name] = _one(look, name)
    for patience in (limits.grace_seconds, limits.look_seconds):
        _gather(answers, found, asked, began + patience)
        if patience == limits.look_seconds:
            late = TransientError(f"no answer within {limits.look_seconds:g} s (execution.look_seconds)")
            found |= {name: Looked(fault=late) for name in asked - found.keys()}
        if group := {name: found.pop(name) for name in sources if name in found}:
            asked -= group.keys()
            yield group
        if not asked:
            return


def all_looked(
    settings: Settings, sources: dict[str, Source], look: Callable[[str], Found]
) -> dict[str, Looked[Found]]:
    """As `looked`, once all have answered or were not waited for any longer."""
    found: dict[str, Looked[Found]] = {}
    for group in looked(settings, sources, look):
        found |= group
    return {name: found[name] for name in sources}


def _lanes(names: Iterable[str], sources: dict[str, Source]) -> list[list[str]]:
    """Sources that are looked at one after the other: those of one lane; of none, each by itself."""
    lanes: dict[str, list[str]] = {}
    for name in names:
        lanes.setdefault(sources[name].lane or f"source {name}", []).append(name)
    return list(lanes.values())


def _start(
    root: str, names: list[str], look: Callable[[str], Found], answers: SimpleQueue[Any], slots: threading.Semaphore
) -> None:
    """A thread that looks at some sources in order; a daemon, so that a silent server keeps no process alive."""

    keep = ahead.handed_on()

    def work() -> None:
        keep()
        for name in names:
            with slots:
                try:
                    answers.put((name, Looked(look(name))))
                except BaseException as fault:  # noqa: BLE001 - raised again where the answer is asked for
                    answers.put((name, Looked(fault=fault)))

    thread = threading.Thread(target=work, daemon=True, name=f"look at {names[0]}")
    _looking.update({(root, name): thread for name in names})
    thread.start()


def _one(look: Callable[[str], Found], name: str) -> Looked[Found]:
    try:
        return Looked(look(name))
    except Exception as fault:  # noqa: BLE001 - raised again where the answer is asked for
        return Looked(fault=fault)


def _gather(answers: SimpleQueue[Any], found: dict[str, Any], asked: set[str], until: float) -> None:
    """Take answers until all have come, or a moment has passed."""
    while asked - found.keys():
        try:
            name, answer = answers.get(timeout=max(0.0, until - time.monotonic()) or 0.001)
        except Empty:
            if time.monotonic() >= until:
                return
            continue
        found[name] = answer
