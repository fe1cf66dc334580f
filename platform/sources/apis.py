"""An API as a source: REST by path and paging, GraphQL by a query. What was updated since the last batch is asked for
page by page; pages are kept until their batch is in bronze, so a crawl goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal, Self

import polars as pl
from pydantic import BeforeValidator, Field, model_validator

from customer360.platform.connections import secrets_written
from customer360.platform.connections.api import Api
from customer360.platform.errors import ConfigError, SourceError
from customer360.platform.ledger import Batch, Input, last_cursor
from customer360.platform.settings import Frozen
from customer360.platform.sources import formats
from customer360.platform.sources.base import Discovery, Source
from customer360.platform.sources.formats.options import Options
from customer360.platform.sources.formats.records import POSITION, Records, no_records, together
from customer360.platform.sources.landing import Landing
from customer360.platform.sources.protocols.web.auth import Caller
from customer360.platform.sources.protocols.web.crawl import Found, Question, first_page, pages
from customer360.platform.sources.protocols.web.pace import Bucket
from customer360.platform.sources.protocols.web.paging import Auto, Paging, at
from customer360.platform.sources.protocols.web.session import Request, Session

RATES = "_spool/.rates"
PIECE_ROWS, PIECE_BYTES = 50_000, 32 << 20  # of pages that make one piece
HASTE = 10.0  # seconds that a run waits to hear whether there is anything, before it looks at the next source
PATIENCE = 5.0  # seconds that it waits there where the API asks for it
REMEMBERED = 600.0  # seconds in which equal answers are the same news
_probed: dict[str, float] = {}  # when a source of this process was asked in vain, by its lake and name
_seen: dict[str, tuple[str, float, Discovery]] = {}  # what it found last: a digest, when, and the news


def _as_text(given: Any) -> Any:
    """Scalars of a query as text: ``true``, not ``True``."""
    if not isinstance(given, dict):
        return given
    return {
        k: str(v).lower() if isinstance(v, bool) else str(v) if isinstance(v, int | float) else v
        for k, v in given.items()
    }


def _by_name(given: Any) -> Any:
    """``paging: link`` is ``paging: {kind: link}``."""
    return {"kind": given} if isinstance(given, str) else given


def _moment(given: Any) -> Any:
    """A date or time without an offset is UTC."""
    if isinstance(given, datetime):
        return given if given.tzinfo else given.replace(tzinfo=UTC)
    if isinstance(given, date):
        return datetime(given.year, given.month, given.day, tzinfo=UTC)
    if isinstance(given, str):
        return _moment(datetime.fromisoformat(given))
    return given


class Since(Frozen):
    """What a batch asks for: all that changed from ``{since}`` to ``{until}``, which stand in the request.

    A batch begins ``overlap_seconds`` before the end of the one before: what an API shows late is seen then, and equal
    records count once. The first one begins at ``start``.
    """

    start: Annotated[datetime, BeforeValidator(_moment)] = datetime(1970, 1, 1, tzinfo=UTC)
    overlap_seconds: float = Field(default=300.0, ge=0)
    format: Literal["iso", "epoch", "epoch_ms", "date"] = "iso"

    def written(self, moment: str) -> str:
        """A moment as the API takes it."""
        at = datetime.fromisoformat(moment)
        match self.format:
            case "epoch":
                return str(int(at.timestamp()))
            case "epoch_ms":
                return str(int(at.timestamp()) * 1000)
            case "date":
                return f"{at:%Y-%m-%d}"
        return f"{at:%Y-%m-%dT%H:%M:%SZ}"


class Apis(Source):
    """Records of an API. ``path`` goes on from the connection's `url`; ``query`` makes it GraphQL.

    In ``path``, ``parameters``, ``body`` and ``variables`` stand ``{since}`` and ``{until}`` where `since` is given.
    Without `since` each batch asks for everything, at most every ``every_minutes``: with ``mode: snapshot`` what is
    missing then is deleted.
    """

    connects: ClassVar[type[Api]] = Api
    rereads: ClassVar[Literal["each", "newest", "never"]] = "newest"

    kind: Literal["apis"] = "apis"
    path: str = ""
    method: Literal["GET", "POST"] = "GET"
    parameters: Annotated[dict[str, str], BeforeValidator(_as_text)] = {}
    headers: dict[str, str] = {}
    body: Any = None
    query: str = ""  # GraphQL; it is sent by POST with `variables`
    variables: dict[str, Any] = {}
    records: str = ""  # path of the list of records in an answer; empty: the only one there is
    paging: Annotated[Paging, BeforeValidator(_by_name)] = Auto()
    since: Since | None = None
    every_minutes: float | None = Field(default=None, ge=0)  # None: each run with `since`, else once an hour

    @model_validator(mode="after")
    def _asks_for_what_changed(self) -> Self:
        said = json.dumps([self.path, self.parameters, self.body, self.query, self.variables], default=str)
        if self.since and "{since}" not in said:
            raise ValueError("since: nothing asks for it: put {since} into parameters, body, variables or path")
        if not self.since and ("{since}" in said or "{until}" in said):
            raise ValueError("{since} stands in the request: say `since:` with where it starts")
        asked = {"headers": self.headers, "parameters": self.parameters, "body": self.body}
        if found := next(secrets_written(asked), None):
            raise ValueError(f"{found}: a secret does not stand in settings; `auth:` of the connection sends it")
        if self.query and (self.body is not None or not self.records):
            raise ValueError("query: GraphQL has no body of its own, and `records:` names the path of its list")
        return self

    def discover(self, landing: Landing, known: Sequence[Batch]) -> Discovery:
        """The time since the last batch, where the API has anything of it that the last batch does not hold."""
        now = datetime.now(UTC).replace(microsecond=0)
        last = last_cursor(known) or {}
        if self._rests(last, now):
            return Discovery()
        piece = self._piece(last, now)
        with self._session(HASTE, 2, min(PATIENCE, self.connected.patience_seconds)) as session:
            found = first_page(session, self._question(piece))
        digest = _digest(found)
        is_last = found.then is None
        if is_last and (not found.count or last.get("whole") == digest):
            _probed[self._place] = time.monotonic()
            return Discovery()
        # By a clock of ours that is ahead, what comes in until then would never be asked for.
        until = min(now, found.answer.at or now) if found.answer else now
        cursor = {"until": _text(until)} | ({"whole": digest} if is_last else {})
        return self._as_before(f"{digest} {last} {is_last}", Discovery((piece,), cursor))

    def _piece(self, last: dict[str, Any], now: datetime) -> Input:
        """What is asked for now, after a batch with this cursor."""
        if self.since is None:
            return Input(f"all at {_text(now)}", {})
        start = self.since.start
        if last:  # a clock may have been ahead then
            reached = min(datetime.fromisoformat(last["until"]), now)
            start = max(start, reached - timedelta(seconds=self.since.overlap_seconds))
        return Input(f"{_text(start)}..{_text(now)}", {"since": _text(start), "until": _text(now)})

    def _as_before(self, digest: str, news: Discovery) -> Discovery:
        """Equal answers after the same batch are equal news, of the moment when they came first: who watches waits
        until nothing changes.
        """
        before, when, seen = _seen.get(self._place, ("", 0.0, news))
        if before == digest and time.monotonic() - when < REMEMBERED:
            return seen
        _seen[self._place] = (digest, time.monotonic(), news)
        return news

    def _rests(self, last: dict[str, Any], now: datetime) -> bool:
        every = self.every_minutes if self.every_minutes is not None else 0 if self.since else 60
        probed = _probed.get(self._place)
        if probed is not None and time.monotonic() - probed < every * 60:
            return True
        # A moment that lies ahead is of a clock that was wrong: nobody waits for it.
        gone = now - datetime.fromisoformat(last["until"]) if last else timedelta.max
        return timedelta(0) <= gone < timedelta(minutes=every)

    @property
    def _place(self) -> str:
        return f"{getattr(self._lake, 'root', '')} {self.name}"

    def window(self, start: str, until: str) -> tuple[Input, ...]:
        if self.since is None:
            raise ConfigError(f"{self.name}: without `since:` every batch asks for everything, and has no window")
        try:
            first, last = _moment(start), _moment(until)
        except ValueError as fault:
            raise ConfigError(f"{self.name}: a window of an API is of moments in ISO 8601: {fault}") from None
        if not first < last:
            raise ConfigError(f"{self.name}: the window from {start} to {until} is empty")
        name = f"{_text(first)}..{_text(last)} again"
        return (Input(name, {"since": _text(first), "until": _text(last)}),)

    def read(self, landing: Landing, piece: Input) -> Records:
        return together(self.pieces(landing, piece))

    def pieces(self, landing: Landing, piece: Input) -> Iterator[Records]:
        """The records of all pages; small pages come together."""
        base = rows = size = 0
        held: list[Records] = []
        api = self.connected
        with self._session(api.timeout_seconds, api.attempts, api.patience_seconds) as session:
            for found in pages(session, self._question(piece), self.spool(piece)):
                for part in _records_of(found, base):
                    held.append(part)
                base, rows, size = base + found.count, rows + found.count, size + len(found.content)
                if rows >= PIECE_ROWS or size >= PIECE_BYTES:
                    yield together(held)
                    held, rows, size = [], 0, 0
        if held:
            yield together(held)
        elif not base:
            yield no_records()

    def release(self, landing: Landing, batch: Batch) -> None:
        for piece in batch.inputs:
            self.spool(piece).drop()

    def reader_options(self) -> dict[str, Any]:
        return {"records": self.records}

    @property
    def lane(self) -> str:
        return f"connection {self.connection}"

    @property
    def connected(self) -> Api:
        found = super().connected
        assert isinstance(found, Api)
        return found

    def _session(self, timeout: float, attempts: int, patience: float) -> Session:
        api = self.connected
        bucket = Bucket(api.rate, self._lake, f"{RATES}/{self.connection}.json")
        return Session(Caller(api), bucket, timeout, attempts, patience)

    def _question(self, piece: Input) -> Question:
        words = {name: self.since.written(piece.detail[name]) for name in ("since", "until")} if self.since else {}
        base = self.connected.url.rstrip("/")
        path = _filled(self.path, words)
        url = f"{base}/{path.lstrip('/')}" if path else base
        method, body = self.method, _filled(self.body, words)
        if self.query:
            method, body = "POST", {"query": _filled(self.query, words), "variables": _filled(self.variables, words)}
        headers = {**self.connected.headers, **self.headers}
        request = Request(method, url, _filled(self.parameters, words), body, headers)
        return Question(request, self.records, self.paging, "errors" if self.query else "")


def _digest(found: Found) -> str:
    """Of the records of a page, whatever stands beside them."""
    body = json.loads(found.content)
    held = (at(body, found.records) if found.records else body) if found.count else []
    return hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()[:20]


def _text(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _filled(value: Any, words: dict[str, str]) -> Any:
    """A value with the words of the batch in their places; other braces stay."""
    if isinstance(value, str):
        for name, word in words.items():
            value = value.replace(f"{{{name}}}", word)
        return value
    if isinstance(value, dict):
        return {name: _filled(held, words) for name, held in value.items()}
    return [_filled(held, words) for held in value] if isinstance(value, list) else value


def _records_of(found: Found, base: int) -> Iterator[Records]:
    """The records of a page, numbered on."""
    if not found.count:
        return
    for part in formats.pieces(io.BytesIO(found.content), Options("json", records=found.records), "page.json"):
        if part.dead.height and part.dead[POSITION].min() == 0:  # JSON that this reader cannot take apart
            raise SourceError(f"a page cannot be read: {part.dead['reason'][0]}")
        places = pl.col(POSITION) + base
        yield replace(part, frame=part.frame.with_columns(places), dead=part.dead.with_columns(places), lines=None)
