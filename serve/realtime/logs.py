"""Where events are durable before they are acknowledged: a journal of this machine, or a topic of a Kafka broker.

Requests of one event loop share a commit: while one is under way, those that come wait for the next, in
their order.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple, Protocol

from customer360.platform.connections.collector import Collector
from customer360.platform.connections.kafka import Kafka
from customer360.platform.errors import Customer360Error
from customer360.platform.sources import collector as source
from customer360.platform.sources.protocols.hooks import journal
from customer360.platform.sources.protocols.hooks.journal import REMEMBERED, Journal, digest_of
from customer360.platform.sources.protocols.hooks.recent import Recent
from customer360.platform.sources.protocols.kafka import client
from customer360.platform.sources.protocols.kafka.producer import Message, Producer
from customer360.serve.realtime.calls import Entry

MOST_WAITING = 64 << 20  # bytes of requests that wait for a commit
MEASURED_SECONDS = 1.0  # how often it is looked how much no run took yet
CLOCK_NS = 50_000_000  # what a file system may note a change too early
RELIST_NS = 60_000_000_000  # after which segments that have ended are let go
IDLE_SECONDS = 2.0  # after which the thread that commits ends; the next event begins another
DEAD_LETTERS = "-dead-letters"  # ends the name of the topic of what was refused
CONSENT = b'"categoryPreferences"'  # in every record that answers on consent
TAIL_GROUP = "customer360-collector"


class Busy(Exception):
    """Events cannot be taken now; says why, and what to do, to who runs the server."""


class Log(Protocol):
    """What keeps events."""

    def append(self, entries: Sequence[Entry]) -> list[bool]:
        """Keep entries, durable when this returns; for each, whether it is new.

        Raises:
            Busy, OSError: none of them is acknowledged.
        """

    def tail(self, span: timedelta) -> Iterator[bytes]:
        """The records of the last time, in their order, as far as the log still holds them. A journal also gives what
        is older and tells of consent: perhaps no run read it yet.
        """

    def news(self) -> Iterator[bytes]:
        """The records that other processes wrote since this was asked, or `tail` was; none, where a log cannot tell."""

    def taken(self) -> datetime | None:
        """Until when every source took what came. None where the log does not know."""


class JournalLog:
    """Segments in the state folder."""

    def __init__(self, state: Path, name: str, collector: Collector, readers: tuple[str, ...]) -> None:
        self._readers = readers
        self._folder = source.folder_of(state, name)
        self._journal = Journal(self._folder)
        self._most_bytes = collector.backlog_megabytes << 20
        self._held, self._measured = 0, float("-inf")
        self._heard: dict[str, int] = {}  # how far segments were read, by name
        self._listed: tuple[int, int, list[str]] = (0, 0, [])  # when the folder changed, when that was seen, segments

    def append(self, entries: Sequence[Entry]) -> list[bool]:
        if time.monotonic() - self._measured > MEASURED_SECONDS:
            self._held, self._measured = source.backlog(self._folder, self._readers), time.monotonic()
        if self._held > self._most_bytes:
            raise Busy(
                f"{self._folder} holds {self._held >> 20:,} MiB of events that no run took, more than "
                f"backlog_megabytes: let `customer360 run bronze` take them"
            )
        return self._journal.append_all([(e.key, source.message(e.key, e.record, e.reason)) for e in entries])

    def tail(self, span: timedelta) -> Iterator[bytes]:
        since = (datetime.now(UTC) - span).timestamp() - journal.SEGMENT_SECONDS  # when a segment began is its name
        for name in journal.segments(self._folder):
            is_old = journal.begun(name) < since
            with suppress(FileNotFoundError):
                if is_old and not _tells_of_consent(self._folder / name):
                    continue
                for frame in journal.frames(self._folder / name, 0):
                    self._heard[name] = frame.end
                    if (not is_old or CONSENT in frame.content) and (record := _record(frame)) is not None:
                        yield record

    def news(self) -> Iterator[bytes]:
        for name in self._others():
            with suppress(FileNotFoundError):
                start = self._heard.get(name, 0)
                if (self._folder / name).stat().st_size <= start:
                    continue
                for frame in journal.frames(self._folder / name, start):
                    self._heard[name] = frame.end
                    if (record := _record(frame)) is not None:
                        yield record

    def _others(self) -> list[str]:
        """Segments that other processes may write to. Each answer asks, so the folder is listed only when it changed,
        or may have changed again at the moment that it has noted."""
        try:
            changed = self._folder.stat().st_mtime_ns
        except FileNotFoundError:
            return []
        now = time.time_ns()
        if changed != self._listed[0] or self._listed[1] < changed + CLOCK_NS or now > self._listed[1] + RELIST_NS:
            since = now / 1e9 - 2 * journal.SEGMENT_SECONDS  # what began before has ended, and was heard
            names = [name for name in journal.segments(self._folder) if journal.begun(name) >= since]
            self._heard = {name: end for name, end in self._heard.items() if name in names}
            self._listed = changed, now, [name for name in names if not self._journal.wrote(name)]
        return self._listed[2]

    def taken(self) -> datetime | None:
        return source.taken_until(self._folder, self._readers)


def _record(frame: journal.Frame) -> bytes | None:
    """The event in a frame; None where it holds what was refused, or is damaged."""
    record, reason = source.opened(frame.content)
    return record if frame.is_whole and not reason else None


def _tells_of_consent(segment: Path) -> bool:
    """Looked up in the bytes as they lie: a log that no run takes is large."""
    with segment.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held:
            return held.find(CONSENT) >= 0


class TopicLog:
    """A topic; events of one visitor lie in one partition. What was refused goes to a topic beside it."""

    def __init__(self, kafka: Kafka, collector: Collector) -> None:
        self._kafka, self._topic = kafka, collector.topic
        self._producer = Producer(kafka)
        self._known = Recent(REMEMBERED)

    def append(self, entries: Sequence[Entry]) -> list[bool]:
        fresh: dict[bytes, Entry] = {}
        answers = []
        for entry in entries:
            digest = digest_of(entry.key)
            answers.append(digest not in self._known and digest not in fresh)
            if answers[-1]:
                fresh[digest] = entry
        try:
            self._producer.send([self._message(entry) for entry in fresh.values()])
        except Customer360Error as fault:
            raise Busy(str(fault)) from None
        self._known.update(fresh)
        return answers

    def _message(self, entry: Entry) -> Message:
        if entry.reason:
            return Message(f"{self._topic}{DEAD_LETTERS}", entry.key, entry.record, (("reason", entry.reason),))
        return Message(self._topic, entry.owner, entry.record)

    def taken(self) -> datetime | None:
        return None

    def news(self) -> Iterator[bytes]:
        return iter(())

    def tail(self, span: timedelta) -> Iterator[bytes]:
        since = int((datetime.now(UTC) - span).timestamp() * 1000)
        with client.consumer(self._kafka, TAIL_GROUP) as reading:
            for partition in client.partitions(reading, self._kafka, self._topic):
                _, stop = client.bounds(reading, self._kafka, self._topic, partition)
                start = client.first_at(reading, self._kafka, self._topic, partition, since)
                if start is not None and start < stop:
                    for found in client.messages(reading, self._kafka, self._topic, partition, start, stop):
                        yield from (message.value() or b"" for message in found)


class _Waiting(NamedTuple):
    entries: Sequence[Entry]
    size: int
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[list[bool]]


class GroupCommit:
    """A log for coroutines: one thread commits all that waits, again and again."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._waiting: list[_Waiting] = []
        self._bytes = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    async def append(self, entries: Sequence[Entry]) -> list[bool]:
        """Keep entries, as `Log.append`. Raises Busy also where too much waits."""
        loop = asyncio.get_running_loop()
        size = sum([len(entry.record) for entry in entries])
        mine = _Waiting(entries, size, loop, loop.create_future())
        with self._changed:
            if self._bytes + size > MOST_WAITING:
                raise Busy("too many events wait for the disk")
            self._bytes += size
            self._waiting.append(mine)
            if self._thread is None:
                self._thread = threading.Thread(target=self._commit, name="events")
                self._thread.start()
            self._changed.notify()
        return await mine.answer

    def _commit(self) -> None:
        while True:
            with self._changed:
                if not self._waiting and not self._changed.wait(IDLE_SECONDS) and not self._waiting:
                    self._thread = None
                    return
                together, self._waiting = self._waiting, []
            answers: list[bool] = []
            fault: Exception | None = None
            try:
                answers = self._log.append([entry for each in together for entry in each.entries])
            except Exception as wrong:  # noqa: BLE001 - each who waits is told, and the next commit is tried
                fault = wrong
            with self._changed:
                self._bytes -= sum(each.size for each in together)
            for loop in {id(each.loop): each.loop for each in together}.values():
                mine = [each for each in together if each.loop is loop]
                told, at = [], 0
                for each in together:
                    if each.loop is loop:
                        told.append(answers[at : at + len(each.entries)])
                    at += len(each.entries)
                with suppress(RuntimeError):  # the loop has ended, and nobody waits any more
                    loop.call_soon_threadsafe(_tell, mine, told, fault)


def _tell(waiting: list[_Waiting], answers: list[list[bool]], fault: Exception | None) -> None:
    for each, answer in zip(waiting, answers, strict=True):
        if each.answer.done():  # the caller went away; its events are kept all the same
            continue
        if fault is None:
            each.answer.set_result(answer)
        else:
            each.answer.set_exception(fault)
