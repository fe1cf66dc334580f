"""Structured logs, progress lines and Prometheus metrics of a run.

Logs are one JSON object a line on stderr when ``CUSTOMER360_LOG=json``, else short human lines. Personal data never
reaches a log: callers pass counts, names of tables and identifiers of batches.

Work that may be silent for long stands in a ``heartbeat``: a line says every few seconds what runs, and for how long.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TextIO, TypeVar

from prometheus_client import Counter, Histogram

ROWS = Counter("customer360_rows_total", "Rows written, by table and outcome", ["table", "outcome"])
NODE_SECONDS = Histogram(
    "customer360_node_seconds",
    "Seconds a node of the graph took",
    ["node"],
    buckets=(0.1, 0.5, 1, 5, 15, 60, 300, 1800),
)

SPARING_SECONDS = 60.0  # between two lines of a kind that callers can cause as often as they like
OF_SOCKETS = ("uvicorn.error", "asyncio")  # loggers that write a line for each request that is none
_MOST_KINDS = 1000
_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
SILENCE_SECONDS = 8.0  # after which a heartbeat says that work goes on
NAMED = 2  # of the things that run at once, those that a line names

Item = TypeVar("Item")
log = logging.getLogger("customer360")
_running: list[tuple[str, float]] = []  # what stands in a heartbeat and since when, outermost first
_spoken_at = time.monotonic()  # when the last line was written


class _Lines(logging.StreamHandler[TextIO]):
    """Writes lines to what is the standard error now, and notes when the last one was written."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """A caller that puts another in its place for a while may have closed the one of before."""
        return sys.stderr

    def emit(self, record: logging.LogRecord) -> None:
        global _spoken_at
        super().emit(record)
        _spoken_at = time.monotonic()


def shown(text: str) -> str:
    """A text as a terminal may be given it: characters that would steer the terminal, or turn the order of others
    round, are spelt out. Names and values come from files of others."""
    return _STEERING.sub(lambda found: ascii(found[0])[1:-1], text)


class _PlainLines(logging.Formatter):
    """Messages, of which nothing that begins another line looks like a message of its own."""

    def format(self, record: logging.LogRecord) -> str:
        return shown(super().format(record)).replace("\n", "\n  ")


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        entry = {"at": at, "level": record.levelname, "message": " ".join(record.getMessage().split())}
        entry.update(getattr(record, "facts", {}))
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def is_json() -> bool:
    """Whether a program reads the log."""
    return os.environ.get("CUSTOMER360_LOG") == "json"


def configure(level: str = "INFO") -> None:
    """Set up the project's logger once; a second call only changes the level."""
    log.setLevel(level)
    if log.handlers:
        return
    handler = _Lines()
    handler.setFormatter(_JsonLines() if is_json() else _PlainLines())
    log.addHandler(handler)
    log.propagate = False


def event(message: str, **facts: object) -> None:
    """Log one fact-bearing line; ``facts`` are counts and names, never personal data."""
    shown = " ".join(f"{key}={value}" for key, value in facts.items())
    human = not (log.handlers and isinstance(log.handlers[0].formatter, _JsonLines))
    log.info(f"{message}  {shown}" if shown and human else message, extra={"facts": facts})


def told(line: str, what: str, **facts: object) -> None:
    """Log a line that a person reads in columns; in JSON it is the event ``what`` with ``facts``, of counts and
    names."""
    log.info(line, extra={"facts": {"event": what, **facts}})


@contextmanager
def heartbeat(what: str) -> Iterator[None]:
    """While the block runs and nothing is logged for ``SILENCE_SECONDS``, log ``what`` runs and for how long.

    Heartbeats may be nested: the innermost is named. Nothing happens where the log does not take such lines.
    """
    if not (log.handlers and log.isEnabledFor(logging.INFO)):
        yield
        return
    entry, ended = (what, time.monotonic()), threading.Event()
    _running.append(entry)
    if len(_running) == 1:
        threading.Thread(target=_beat, args=(ended,), name="heartbeat", daemon=True).start()
    try:
        yield
    finally:
        _running.remove(entry)
        ended.set()


def _beat(ended: threading.Event) -> None:
    """Until the outermost heartbeat ends: a line whenever there was none for long enough."""
    while not ended.wait(SILENCE_SECONDS / 8):
        now, running = time.monotonic(), list(_running)
        if running and now - max(_spoken_at, running[0][1]) >= SILENCE_SECONDS:
            what, since = running[-1]
            facts = {"running": what, "seconds": round(now - since)}
            log.info(f"  … {what}, {now - since:.0f} s", extra={"facts": facts, "is_beat": True})


def beating(items: Iterable[Item], what: str) -> Iterator[Item]:
    """The items, with a heartbeat while each is waited for."""
    with heartbeat(what):
        yield from items


def named(things: Iterable[str]) -> str:
    """Things that run at once, for a heartbeat: the first names and how many more."""
    listed = list(things)
    more = len(listed) - NAMED
    return ", ".join(listed[:NAMED]) + (f" and {more} more" if more > 0 else "")


@contextmanager
def only_heartbeats() -> Iterator[None]:
    """Hold back what is logged in the block, but for heartbeats and warnings: for who prints a summary instead."""

    def passes(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING or hasattr(record, "is_beat")

    handlers = list(log.handlers)
    for handler in handlers:
        handler.addFilter(passes)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(passes)


class Repeats(logging.Filter):
    """Lets a line pass that was not written for a while, and counts the others of its kind: those of one level and
    first line of wording, whatever values are filled in, with one kind of exception from one place."""

    def __init__(self, seconds: float = SPARING_SECONDS) -> None:
        super().__init__()
        self._seconds = seconds
        self._told: dict[tuple[object, ...], tuple[float, int]] = {}  # when the last was written, how many were not

    def filter(self, record: logging.LogRecord) -> bool:
        kind, now = _kind_of(record), time.monotonic()
        since, count = self._told.get(kind, (float("-inf"), 0))
        if now - since < self._seconds:
            self._told[kind] = since, count + 1
            return False
        more = f" ({count:,} more of these in between)" if count else ""
        self._told.pop(kind, None)
        if len(self._told) >= _MOST_KINDS:
            others = sum(untold for _, untold in self._told.values())
            more += f" ({others:,} more of other kinds before)" if others else ""
            self._told.clear()
        self._told[kind] = now, 0
        if more:
            record.msg, record.args = f"{record.getMessage().rstrip()}{more}", ()
        return True


def _kind_of(record: logging.LogRecord) -> tuple[object, ...]:
    fault = record.exc_info[1] if record.exc_info else None
    place = None
    if fault is not None and fault.__traceback__ is not None:
        *_, (frame, line) = traceback.walk_tb(fault.__traceback__)
        place = frame.f_code.co_filename, line
    return record.levelno, str(record.msg).partition("\n")[0], type(fault), place


def spare_the_log() -> None:
    """Have what is said of requests that are none pass through `Repeats`, in this process. Doing it again changes
    nothing."""
    for name in OF_SOCKETS:
        logger = logging.getLogger(name)
        if not any(isinstance(each, Repeats) for each in logger.filters):
            logger.addFilter(Repeats())
