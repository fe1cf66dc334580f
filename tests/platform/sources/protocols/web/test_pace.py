"""An API is asked no oftener than it says, whatever stops and starts in between."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from customer360.platform.connections.api import Rate
from customer360.platform.errors import TransientError
from customer360.platform.lake import Lake
from customer360.platform.sources.protocols.web.pace import Bucket


@dataclass
class Clock:
    """Time that passes where somebody waits for it."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


HOLD = st.floats(1, 900).map(lambda seconds: ("hold", seconds))
WAITS = st.one_of(st.floats(0, 2), st.floats(0, 600))
STEPS = st.lists(st.one_of(st.sampled_from(["ask", "ask", "many", "die"]), HOLD, WAITS), max_size=60)


@given(rate=st.sampled_from([(40, 80), (60, 1), (600, 5), (1, 3)]), steps=STEPS)
def test_no_window_of_time_has_more_requests_than_burst_and_rate_allow(
    rate: tuple[int, int], steps: list[object]
) -> None:
    clock, kept, asked = Clock(), Objects(), []

    def bucket() -> Bucket:
        return Bucket(Rate(per_minute=rate[0], burst=rate[1]), kept, "rate", clock, clock.wait)  # type: ignore[arg-type]

    current = bucket()
    silent_until = 0.0
    for step in steps:
        if step in ("ask", "many"):
            for _ in range(1 if step == "ask" else rate[1] + 5):
                current.take()
                asked.append(clock.now)
                assert clock.now >= silent_until - 1e-6
        elif step == "die":
            current = bucket()
        elif isinstance(step, tuple):
            current.hold(step[1])
            silent_until = max(silent_until, clock.now + step[1])
        else:
            clock.wait(float(step))  # type: ignore[arg-type]
    for first in range(len(asked)):
        for last in range(first, len(asked)):
            allowed = rate[1] + (asked[last] - asked[first]) * rate[0] / 60
            assert last - first + 1 <= allowed + 1e-6


class Objects:
    """The objects of a lake, in memory."""

    root = "memory"

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}

    def get(self, path: str) -> bytes | None:
        return self.held.get(path)

    def put(self, path: str, data: bytes) -> bool:
        self.held[path] = data
        return True


class Slow(Objects):
    """Objects that take their time, in which another thread reads the same."""

    def get(self, path: str) -> bytes | None:
        found = super().get(path)
        time.sleep(0.0002)
        return found


def test_a_burst_then_the_rate() -> None:
    clock = Clock()
    bucket = Bucket(Rate(per_minute=40, burst=80), None, "", clock, clock.wait)
    for _ in range(80):
        bucket.take()
    assert clock.now == 1_000_000.0
    bucket.take()
    assert clock.now - 1_000_000.0 == 1.5
    for _ in range(40):
        bucket.take()
    assert round(clock.now - 1_000_000.0, 6) == 61.5


def test_threads_that_count_apart_take_no_more_than_there_is() -> None:
    """Eighty at once and forty a minute, whoever asks: twelve threads with buckets of their own over one count."""
    now, kept, asked, guard = [1_000_000.0], Slow(), list[float](), threading.Lock()

    def wait(seconds: float) -> None:
        with guard:
            now[0] += seconds  # others wait at the same time, so more of it passes than in truth

    def work() -> None:
        bucket = Bucket(Rate(per_minute=40, burst=80), kept, "rate", lambda: now[0], wait)  # type: ignore[arg-type]
        for _ in range(20):
            bucket.take()
            with guard:
                asked.append(now[0])

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(asked) == 240
    # What was taken in all is the burst and what came in since: none is taken twice from what two threads read.
    passed = now[0] - 1_000_000.0
    assert 80 + passed * 40 / 60 + 1e-6 >= 240
    assert sum(moment == 1_000_000.0 for moment in asked) <= 80


def test_who_waits_for_a_token_heeds_who_is_asked_to_wait_meanwhile() -> None:
    clock, kept = Clock(), Objects()
    rate = Rate(per_minute=60, burst=1)

    def wait(seconds: float) -> None:
        clock.wait(seconds)
        if clock.now < 1_000_002.0:
            Bucket(rate, kept, "rate", clock, clock.wait).hold(100)  # type: ignore[arg-type]

    bucket = Bucket(rate, kept, "rate", clock, wait)  # type: ignore[arg-type]
    bucket.take()
    bucket.take()
    assert clock.now == 1_000_102.0  # the second that it had waited, the rest, and a token


def test_who_is_asked_to_wait_waits_and_has_no_burst_after_it() -> None:
    clock = Clock()
    bucket = Bucket(Rate(per_minute=60, burst=30), None, "", clock, clock.wait)
    bucket.take()
    bucket.hold(20)
    bucket.take()
    assert clock.now == 1_000_021.0


def test_a_pause_gives_no_more_than_one_burst() -> None:
    clock = Clock()
    bucket = Bucket(Rate(per_minute=40, burst=80), None, "", clock, clock.wait)
    bucket.take()
    clock.wait(60)
    for _ in range(81):
        bucket.take()
    assert clock.now - 1_000_060.0 == 1.5


def test_a_rest_outlives_the_process_and_a_clock_that_is_set_back() -> None:
    clock, kept = Clock(), Objects()

    def bucket() -> Bucket:
        return Bucket(Rate(per_minute=60, burst=5), kept, "rate", clock, clock.wait)  # type: ignore[arg-type]

    bucket().hold(300)
    with pytest.raises(TransientError, match="it asked to wait until 1970-01-12 13:51:40 UTC"):
        bucket().take(patience=5)
    clock.now -= 50_000
    bucket().take()
    assert 950_300 <= clock.now <= 950_302


def test_a_damaged_note_and_a_clock_set_back_stop_nothing(lake: Lake, tmp_path: Path) -> None:
    lake.put("_spool/.rates/x.json", b"{nothing")
    clock = Clock()
    Bucket(Rate(per_minute=60, burst=2), lake, "_spool/.rates/x.json", clock, clock.wait).take()
    assert json.loads(lake.get("_spool/.rates/x.json") or b"")["at"] == 1_000_000.0
    clock.now -= 500_000
    Bucket(Rate(per_minute=60, burst=2), lake, "_spool/.rates/x.json", clock, clock.wait).take()
    assert clock.now < 510_000
