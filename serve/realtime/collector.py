"""Requests of client libraries: read, judged call by call, made durable, seen by the next answer, then acknowledged."""

from __future__ import annotations

import json
import math
import re
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from prometheus_client import Counter

from customer360.pipelines.vocabulary import SESSION_GAP_MINUTES
from customer360.platform import telemetry
from customer360.platform.access import Principal
from customer360.platform.connections.collector import Collector as Said
from customer360.platform.connections.kafka import Kafka
from customer360.platform.errors import ConfigError, Customer360Error
from customer360.platform.online import files
from customer360.platform.settings import Settings
from customer360.platform.sources import collector as source
from customer360.serve.rates import Rates, Shares, UsedUp
from customer360.serve.realtime import names
from customer360.serve.realtime.activity import LIVES, Activities
from customer360.serve.realtime.calls import Call, Entry, Reader, Refused, Sent, TooDeep, refusal, written
from customer360.serve.realtime.erasures import Erasures
from customer360.serve.realtime.logs import GroupCommit, JournalLog, Log, TopicLog

LARGEST = 500 * 1024  # bytes of a request
MOST_CALLS = 5_000  # of a batch
PIECE = 4 << 20  # bytes that one request has waiting for the disk: each call is kept with the context of its batch
COUNTED_BYTES = 4 << 10  # of the log, that count as an event of a key's rate
TOLD = 10  # places of calls that a letter names
LANDED_SECONDS = 60.0  # how often it is looked what landed
HEAR_SECONDS = 0.25  # how often it is looked, beside the answers, what other processes of this machine took
EVENTS = Counter("customer360_collected_events_total", "Events sent, by what became of them", ["outcome"])
TAKEN, KNOWN, REFUSED = (EVENTS.labels(outcome=outcome) for outcome in ("taken", "known", "refused"))
_WRITE_KEY = re.compile(rb'"writeKey"\s*:\s*"[^"]*"')
_LONG_NUMBER = re.compile(rb"[:,\[]\s*-?[0-9]{20}")  # of more digits than the fast reader keeps
# The same, coarse: what may stand before a number is a colon, digits are noughts, and what is neither is nothing.
_COARSE = bytes(
    ord(":") if chr(i) in ":,[ \t\n\r\f\v" else ord("0") if chr(i) in "0123456789" else ord("-") if chr(i) == "-" else 0
    for i in range(256)
)
_MAY_BE_LONG = (b":" + b"0" * 20, b":-" + b"0" * 20)


class Overdrawn(Exception):
    """A key, or who sends with it, has used up its rate; ``seconds`` until it may send again."""

    def __init__(self, per_minute: int, seconds: float, *, is_own: bool = False) -> None:
        whose = ", and this visitor or address has sent more than its part of them" if is_own else ""
        super().__init__(f"this key may send {per_minute:,} events a minute{whose}")
        self.seconds = math.ceil(seconds)


@dataclass(frozen=True)
class Taken:
    """What became of the calls of one request: how many are kept, and why others are not, by their place."""

    kept: int
    refused: dict[int, str]


class EventCollector:
    """The collector that the settings name. Opens nothing before the first request."""

    def __init__(self, settings: Settings, name: str, said: Said) -> None:
        self.said = said
        self._state = Path(settings.state)
        self._landed: datetime | None = None
        self._looked = float("-inf")
        self._hearing = threading.Lock()
        self.activities = Activities(
            self._replay, hear=self.hear, erased=Erasures(self._state).fresh, landed=self.landed
        )
        self._reader = Reader(said.system, names.event_types(said), names.purposes(said), said.page_logins)
        self._rates, self._shares = Rates(), Shares()
        self._log = _log_of(settings, name, said)
        self._commit = GroupCommit(self._log)

    def landed(self) -> datetime | None:
        """Until when what came is in the publication: ``LIVES`` before that was written, or before what no run took of
        a journal, which is earlier. None where nothing was published, or it cannot be told.
        """
        if time.monotonic() - self._looked > LANDED_SECONDS:
            self._looked = time.monotonic()
            try:
                self._landed = self._in_publication()
            except (OSError, ValueError, Customer360Error):
                self._landed = None  # refusals are told on; whoever serves the publication tells what is wrong with it
        return self._landed

    def _in_publication(self) -> datetime | None:
        home = files.home_of(self._state)
        if (published := files.pointer(home)) is None:
            return None
        since = files.read_manifest(files.folder_of(home, published)).published_at - LIVES
        return min(since, self._log.taken() or since)

    def _replay(self) -> None:
        """Note what the log holds of the last visit, and what was refused before that no run read yet. A tail that
        cannot be read is told to who runs the server; events are taken all the same.
        """
        try:
            for record in self._log.tail(timedelta(minutes=SESSION_GAP_MINUTES)):
                self._note_again(record)
        except Exception as fault:  # noqa: BLE001 - what is asked of the windows is less than the events
            telemetry.log.warning(f"the collector's log cannot be read back: {type(fault).__name__}: {fault}")

    def hear(self) -> None:
        """Note what other processes took. Each answer asks first, so that a visitor, and what it refuses, is known to
        each replica that shares the journal from the moment that one of them acknowledged it."""
        with self._hearing:
            try:
                for record in self._log.news():
                    self._note_again(record)
            except OSError as fault:
                telemetry.log.warning(f"what other replicas collect cannot be read: {type(fault).__name__}: {fault}")

    def hear_on(self, is_over: threading.Event) -> None:
        """Look again and again until it is over, so that who is answered waits for little of it."""
        self.activities.ready()
        while not is_over.wait(HEAR_SECONDS):
            self.hear()

    def _note_again(self, record: bytes) -> None:
        try:
            event = json.loads(record)
            sent = Sent(datetime.fromisoformat(event["receivedAt"]), event["writer"], event.get("trusted") is True)
            event |= {"sentAt": None, "originalTimestamp": event["timestamp"]}
            call = self._reader.call(event, sent)
            if call.step is not None:
                self.activities.note_all([(call.step, call.visitor_id, call.account_id)])
        except (Refused, ValueError, KeyError, TypeError, RecursionError):
            return  # of another format; a run judges it

    async def take(self, body: bytes, kind: str | None, principal: Principal, ip: str | None = None) -> Taken:
        """Take the calls of a body: one of ``kind``, or where that is None a batch. All that are good are durable, and
        in the windows, when this returns; the others are dead letters in the log.

        Raises:
            Refused: the body cannot be read; it is a dead letter.
            Overdrawn: the key has sent too much.
            Busy, OSError: nothing is acknowledged.
        """
        is_trusted = principal.name in self.said.trusted
        by = Sent(datetime.now(UTC), principal.name, is_trusted, ip=ip if self.said.keep_ip else None)
        try:
            good, refused, owe = self._judged(body, kind, principal, by, ip)
        except Refused as fault:
            self._charge(principal, [], ip)
            await self._commit.append([refusal(_without_key(body), str(fault), principal.name)])
            REFUSED.inc()
            raise
        entries = [call.entry for call in good] + _letters(body, kind, refused, by)
        if entries:
            # Heavy events count as several, or who has a key that stands in pages would fill the log within its rate:
            # each of a batch's calls is kept with the context of the batch.
            size = sum([len(entry.record) for entry in entries])
            owe(max(size // COUNTED_BYTES - len(good) - len(refused), 0))
            fresh = at = 0
            for piece in _pieces(entries) if size > PIECE else (entries,):
                answers = await self._commit.append(piece)
                new = [call for call, is_new in zip(good[at:], answers, strict=False) if is_new]
                self.activities.note_all((c.step, c.visitor_id, c.account_id) for c in new if c.step is not None)
                fresh, at = fresh + len(new), at + len(piece)
            for outcome, count in ((TAKEN, fresh), (KNOWN, len(good) - fresh), (REFUSED, len(refused))):
                if count:
                    outcome.inc(count)
        return Taken(len(good), refused)

    def _judged(
        self, body: bytes, kind: str | None, principal: Principal, by: Sent, ip: str | None
    ) -> tuple[list[Call], dict[int, str], Callable[[int], None]]:
        """The good calls of a body, why others are none, by their place, and how to count more for them. What the body
        was read into ends here: held until it is durable, it would be memory that the next request takes anew.

        Raises:
            Refused: the body cannot be read.
            Overdrawn: the key has sent too much.
        """
        calls, sent = _opened(body, kind, by)
        owe = self._charge(principal, calls, ip)
        good: list[Call] = []
        refused: dict[int, str] = {}
        for place, given in enumerate(calls):
            try:
                good.append(self._reader.call(given, sent, kind))
            except Refused as fault:
                refused[place] = str(fault)
        return good, refused, owe

    def _charge(self, principal: Principal, calls: list[Any], address: str | None) -> Callable[[int], None]:
        """Count calls against the rate of a key; gives how to count more for the same. A key of pages is shared by who
        asks with it, see `Shares`; a batch is whose its first call is."""
        per_minute, count = principal.per_minute or self.said.events_per_minute, max(len(calls), 1)
        if not per_minute:
            return lambda more: None
        if principal.name in self.said.trusted:
            if seconds := self._rates.wait(principal.key_id, per_minute, count):
                raise Overdrawn(per_minute, seconds)
            return lambda more: self._rates.owe(principal.key_id, more)
        try:
            return self._shares.take(principal.key_id, per_minute, count, address or "", _sender(calls)).owe
        except UsedUp as fault:
            raise Overdrawn(per_minute, fault.seconds, is_own=fault.is_own) from None


def _sender(calls: list[Any]) -> str:
    """Whom the first of the calls names, whatever else is wrong with it."""
    first = calls[0] if calls and isinstance(calls[0], dict) else {}
    named = (first.get(name) for name in ("anonymousId", "VISITOR_ID", "visitor_id", "userId", "previousId"))
    return next((str(who) for who in named if isinstance(who, str | int) and who), "")


def collector_of(settings: Settings) -> EventCollector | None:
    """The collector that the settings name; None where there is none.

    Raises:
        ConfigError: there are several, its broker is none, or no source reads its journal.
    """
    found = {name: said for name, said in settings.connections.items() if isinstance(said, Said)}
    if len(found) > 1:
        raise ConfigError(f"connections: {', '.join(found)} are collectors; a server has one, with several write keys")
    return next((EventCollector(settings, name, said) for name, said in found.items()), None)


def _log_of(settings: Settings, name: str, said: Said) -> Log:
    if not said.broker:
        if not (readers := source.readers(settings, name)):
            raise ConfigError(
                f"connections.{name} is a collector whose events no source reads: add `{name}: {{recipe: "
                f"collector/calls, kind: collector, connection: {name}, system: {said.system}}}` to sources"
            )
        return JournalLog(Path(settings.state), name, said, readers)
    kafka = settings.connections.get(said.broker)
    if not isinstance(kafka, Kafka):
        raise ConfigError(f"connections.{name}: broker {said.broker!r} is no connection of kind kafka")
    return TopicLog(kafka, said)


def _opened(body: bytes, kind: str | None, sent: Sent) -> tuple[list[Any], Sent]:
    """The calls of a body as they came, and what it says of all of them."""
    given = _parsed(body)
    if kind is not None:
        return [given], sent
    if isinstance(given, list):
        return _few(given), sent
    if not isinstance(given, dict):
        raise Refused("a batch is a JSON object with a list `batch`")
    if "batch" not in given and "EVENT_TYPE" in {str(name).upper() for name in given}:
        return [given], sent
    calls, context = given.get("batch"), given.get("context")
    if not isinstance(calls, list):
        raise Refused("a batch is a JSON object with a list `batch`")
    context = context if isinstance(context, dict) else None
    return _few(calls), replace(sent, sent=given.get("sentAt"), context=context)


def _few(calls: list[Any]) -> list[Any]:
    if len(calls) > MOST_CALLS:
        raise Refused(f"a batch has at most {MOST_CALLS:,} calls")
    return calls


def _without_key(body: bytes) -> bytes:
    return _WRITE_KEY.sub(b'"writeKey":""', body)


def _parsed(body: bytes) -> Any:
    try:
        if not _has_long_number(body):
            return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass  # some clients write NaN, or half a surrogate pair
    try:
        return json.loads(body, parse_constant=str)
    except (ValueError, RecursionError):
        raise Refused("the body is no JSON") from None


def _has_long_number(body: bytes) -> bool:
    """Whether a whole number has more digits than the fast reader keeps: bodies of which it cannot be are told by a
    search that takes a tenth of the other's time."""
    coarse = body.translate(_COARSE)
    return any(each in coarse for each in _MAY_BE_LONG) and _LONG_NUMBER.search(body) is not None


def _letters(body: bytes, kind: str | None, refused: dict[int, str], sent: Sent) -> list[Entry]:
    """What was refused, as it came, without the write key; for all that is too deep to be written alone the whole body,
    once: as one letter each, a small request would be a large one of the log."""
    if not refused:
        return []
    plain = _without_key(body)
    calls, _ = _opened(plain, kind, sent)
    letters, deep = [], []
    for place, reason in refused.items():
        try:
            letters.append(refusal(written(calls[place]), reason, sent.writer))
        except TooDeep:
            deep.append(place)
    if not deep:
        return letters
    reason = refused[deep[0]]
    if kind is None:
        places = ", ".join(map(str, deep[:TOLD])) + (", …" if len(deep) > TOLD else "")
        reason = f"{len(deep):,} of the batch's events (places {places}): {reason}"
    return [*letters, refusal(plain, reason, sent.writer)]


def _pieces(entries: list[Entry]) -> Iterator[list[Entry]]:
    """Entries in their order, in lists of about `PIECE` bytes at most."""
    piece: list[Entry] = []
    size = 0
    for entry in entries:
        if piece and size + len(entry.record) > PIECE:
            yield piece
            piece, size = [], 0
        piece.append(entry)
        size += len(entry.record)
    yield piece


def key_in(body: bytes) -> str | None:
    """The write key that a body names, as browsers send it that leave a page."""
    try:
        given = _parsed(body)
    except Refused:
        return None
    found = given.get("writeKey") if isinstance(given, dict) else None
    return found if isinstance(found, str) else None


def unpacked(body: bytes) -> bytes:
    """A body that was sent packed by gzip.

    Raises:
        Refused: it is not, or holds too much.
    """
    reader = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        found = reader.decompress(body, LARGEST + 1)
    except zlib.error:
        raise Refused("the body is no gzip") from None
    if len(found) > LARGEST:
        raise Refused(f"a request has at most {LARGEST // 1024} kilobytes")
    if not reader.eof:
        raise Refused("the body breaks off")
    return found
