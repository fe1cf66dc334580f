"""Requests to one API: paced, signed, and made again where that helps."""

from __future__ import annotations

import email.utils
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx2
import stamina

from customer360.platform.errors import SourceError, TransientError
from customer360.platform.sources.protocols.web.auth import Caller
from customer360.platform.sources.protocols.web.pace import Bucket

AGAIN = (408, 425, 429, 500, 502, 503, 504)
TOLD = 200  # characters of an answer that a message quotes


@dataclass(frozen=True)
class Request:
    """What is asked: a URL, the query beside it, and a body of JSON where there is one."""

    method: str
    url: str
    parameters: dict[str, str] = field(default_factory=dict)
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Method and URL as a message shows them, without the query, which may hold a secret."""
        parts = urlsplit(self.url)
        return f"{self.method} {parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


@dataclass(frozen=True)
class Answer:
    """What came back: bytes, headers by lower-case name, and when the other side says that it was, in UTC."""

    content: bytes
    headers: dict[str, str]
    at: datetime | None


class _Asked(TransientError):
    """The other side asked to wait, and for how many seconds; None: it did not say."""

    def __init__(self, text: str, seconds: float | None = None):
        super().__init__(text)
        self.seconds = seconds


@dataclass
class Session:
    """Requests of one connection. One that fails for the moment is made again, at most ``attempts`` times in all, and
    waits as long as the other side asks for, up to ``patience``.
    """

    caller: Caller
    bucket: Bucket
    timeout: float
    attempts: int
    patience: float = math.inf  # seconds that the other side may ask to wait
    largest: int = 256 << 20  # bytes of one answer
    client: httpx2.Client = field(init=False)

    def __enter__(self) -> Self:
        self.client = httpx2.Client(timeout=self.timeout, follow_redirects=False)
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self.client.close()

    def ask(self, request: Request) -> Answer:
        """The answer to a request.

        Raises:
            TransientError: it fails for the moment, however often it is made; or asks to wait for longer.
            SourceError: it is refused, or answers with something that is no answer.
        """
        tried = 0

        def backoff(fault: Exception) -> bool | float:
            if not isinstance(fault, _Asked):
                return False
            if fault.seconds is None:
                return True
            self.bucket.hold(fault.seconds)
            if fault.seconds > self.patience:
                return False
            return tried >= self.attempts or 0.001  # the bucket waits

        try:
            for attempt in stamina.retry_context(backoff, attempts=self.attempts, timeout=None, wait_max=30.0):
                with attempt:
                    tried = attempt.num
                    return self._once(request)
        except _Asked as fault:
            longer = f"; it asks to wait for {fault.seconds:,.0f} s" if fault.seconds else ""
            raise TransientError(self.caller.without_secrets(f"{fault}{longer}")) from None
        except SourceError as fault:
            raise SourceError(self.caller.without_secrets(str(fault))) from None
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _once(self, request: Request) -> Answer:
        answer, authorization = self._sent(request)
        if answer.status_code == 401 and self.caller.renews:
            self.caller.forget(authorization)  # revoked, or it ended before it should have
            answer, _ = self._sent(request)
        code = answer.status_code
        if code in AGAIN:
            raise _Asked(f"{request.place} answers {code}{_told(answer)}", _wait_of(answer))
        if code in (401, 403):
            raise SourceError(f"{request.place} answers {code}: the credentials are refused{_told(answer)}")
        if 300 <= code < 400:
            to = urlsplit(answer.headers.get("location", ""))
            raise SourceError(f"{request.place} leads on to {to.scheme}://{to.netloc}{to.path}: name that URL")
        if code >= 400:
            raise SourceError(f"{request.place} answers {code}{_told(answer)}")
        return Answer(answer.content, {k.lower(): v for k, v in answer.headers.items()}, _moment(answer))

    def _sent(self, request: Request) -> tuple[httpx2.Response, str]:
        """An answer, and what the request said of who asks."""
        try:
            self.bucket.take(self.patience)
        except TransientError as fault:
            raise TransientError(f"{request.place} is not asked: {fault}") from None
        try:
            headers = {"Accept": "application/json", **request.headers, **self.caller.headers()}
        except TransientError as fault:
            raise _Asked(str(fault)) from None
        query = {**request.parameters, **self.caller.parameters()}
        url = httpx2.URL(request.url)
        url = url.copy_merge_params(query) if query else url
        try:
            with self.client.stream(request.method, url, json=request.body, headers=headers) as answer:
                content = bytearray()
                for piece in answer.iter_bytes():
                    content += piece
                    if len(content) > self.largest:
                        raise SourceError(
                            f"{request.place} answers with more than {self.largest:,} bytes: ask for less"
                        )
                whole = httpx2.Response(answer.status_code, headers=_plain(answer.headers), content=bytes(content))
                return whole, headers.get("Authorization", "")
        except (httpx2.TimeoutException, httpx2.TransportError) as fault:
            raise _Asked(f"{request.place} does not answer: {type(fault).__name__} {_cause(fault)}".strip()) from None
        except httpx2.HTTPError as fault:  # an answer that cannot be decoded
            raise SourceError(f"{request.place}: {type(fault).__name__}: {fault}") from None


def _plain(headers: httpx2.Headers) -> dict[str, str]:
    """Headers of a body that is decoded already."""
    return {k: v for k, v in headers.items() if k.lower() not in ("content-encoding", "content-length")}


def _cause(fault: Exception) -> str:
    return str(fault).split("\n", maxsplit=1)[0][:TOLD]


def _told(answer: httpx2.Response) -> str:
    """What an answer says of a refusal, in one short line."""
    text = " ".join(answer.text[: 10 * TOLD].split())
    return f": {text[:TOLD]}" if text and "html" not in answer.headers.get("content-type", "") else ""


def _wait_of(answer: httpx2.Response) -> float | None:
    """Seconds that an answer asks to wait (``Retry-After``: seconds, or a date); None where it does not say."""
    said = answer.headers.get("retry-after", "").strip()
    if not said:
        return None
    try:
        return max(0.0, float(said))
    except ValueError:
        pass
    until, now = _parsed(said), _moment(answer) or datetime.now(UTC)
    return max(0.0, (until - now).total_seconds()) if until else None


def _moment(answer: httpx2.Response) -> datetime | None:
    return _parsed(answer.headers.get("date", ""))


def _parsed(text: str) -> datetime | None:
    try:
        found = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
