"""Where client libraries send events: before the application, as each call of a page would else pass its whole gate.

A write key is the user of Basic authentication with no password, an API key as anywhere, ``key`` of the query, or
``writeKey`` in the body. Only a key of role `writer` may send, as it stands in pages that everybody reads.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import orjson
from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from customer360.platform import access, telemetry
from customer360.platform.access import Principal
from customer360.platform.backup import marks
from customer360.platform.telemetry import Repeats
from customer360.serve.gate import (
    BODY_SECONDS,
    CROWDED,
    HEADERS,
    LONGEST_LENGTH,
    ONE_YEAR,
    Begun,
    begun,
    heads,
    own_path,
    place_of,
    presented,
)
from customer360.serve.problems import answer_to
from customer360.serve.rates import network
from customer360.serve.realtime.calls import Refused
from customer360.serve.realtime.collector import LARGEST, EventCollector, Overdrawn, Taken, key_in, unpacked
from customer360.serve.realtime.logs import Busy
from customer360.serve.realtime.paths import PATHS, PREFIX

MOST_AT_ONCE = 512  # requests
MOST_UNKNOWN = 64  # of them, whose key is in the body
MOST_OF_PLACE = {True: 64, False: 16}  # of both, whose body is waited for, of one address
MOST_SENT = 100  # kinds of headers that are kept
MOST_LISTED = 100  # refused calls of a batch that an answer names
LATER = {"Retry-After": "10"}
SNIPPET = f"{PREFIX}snippet.js"


class _Route(NamedTuple):
    path_format: str  # what metrics call it


class Door:
    """Around the application."""

    def __init__(self, app: ASGIApp, *, collector: EventCollector | None, state: Path, public_url: str = "") -> None:
        self.app, self._collector, self._state = app, collector, state
        self._at_once = self._unknown = 0
        self._waiting: Counter[tuple[str, bool]] = Counter()  # bodies, by address and whether their key is known
        self._origins = frozenset(collector.said.origins if collector else ())
        self._failures = telemetry.log.getChild("events")
        if not self._failures.filters:
            self._failures.addFilter(Repeats())
        self._sent: dict[frozenset[tuple[str, str]], list[tuple[bytes, bytes]]] = {}
        self._headers = HEADERS | ({"Strict-Transport-Security": ONE_YEAR} if public_url.startswith("https://") else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = own_path(scope) if scope["type"] == "http" else ""
        if self._collector is None or (path not in PATHS and path != SNIPPET):
            await self.app(scope, receive, send)
            return
        scope["route"] = _Route(path)
        headers = heads(scope)
        self._at_once += 1
        shown: dict[str, str] = {}
        try:
            shown = self._crossing(headers, path)
            status, body, more = await self._answer(scope, path, headers, receive)
            await self._send(send, status, body, shown | more)
        except Exception as fault:  # noqa: BLE001 - an answer, and a line in the log where it is ours
            await self._fail(fault, scope, receive, send, shown)
        finally:
            self._at_once -= 1

    async def _answer(
        self, scope: Scope, path: str, headers: Mapping[str, str], receive: Receive
    ) -> tuple[int, bytes, dict[str, str]]:
        method = scope["method"]
        if path == SNIPPET:
            if method not in ("GET", "HEAD"):
                raise HTTPException(405, "GET", {"Allow": "GET, HEAD"})
            return 200, _snippet(), {"Content-Type": "text/javascript; charset=utf-8", "Cache-Control": "max-age=3600"}
        if method == "OPTIONS":
            return 204, b"", {"Access-Control-Allow-Methods": "POST", "Access-Control-Max-Age": "86400",
                              "Access-Control-Allow-Headers": "authorization, content-type"}  # fmt: skip
        if method != "POST":
            raise HTTPException(405, "POST", {"Allow": "OPTIONS, POST"})
        if self._at_once > MOST_AT_ONCE:
            raise HTTPException(503, CROWDED, {"Retry-After": "1"})
        if marks.stands(self._state):
            raise HTTPException(503, marks.UNDER_WAY, {"Retry-After": "60"})
        taken = await self._taken(scope, PATHS[path], headers, receive)
        if PATHS[path] is not None and taken.refused:
            raise HTTPException(400, taken.refused[0])
        said: dict[str, Any] = {"success": True}
        if taken.refused:
            said["refused"] = [{"index": at, "reason": reason} for at, reason in taken.refused.items()][:MOST_LISTED]
        if len(taken.refused) > MOST_LISTED:
            said["refused_in_all"] = len(taken.refused)
        return 200, orjson.dumps(said), {"Content-Type": "application/json"}

    async def _taken(self, scope: Scope, kind: str | None, headers: Mapping[str, str], receive: Receive) -> Taken:
        assert self._collector is not None
        if not self._collector.activities.is_ready:
            await asyncio.to_thread(self._collector.activities.ready)
        key = _key_of(headers) or _key_asked(scope)
        principal = self._writer(key) if key else None
        address = (scope.get("client") or ("",))[0]
        body = await self._body(headers, receive, address, is_known=principal is not None)
        if headers.get("content-encoding", "identity").lower() == "gzip":
            body = unpacked(body)
        if principal is None:
            principal = self._writer(key_in(body))
        try:
            return await self._collector.take(body, kind, principal, address)
        except Overdrawn as fault:
            raise HTTPException(429, str(fault), {"Retry-After": str(fault.seconds)}) from None
        except (Busy, OSError) as fault:
            self._failures.error(f"events cannot be taken: {fault if isinstance(fault, Busy) else fault.strerror}")
            raise HTTPException(503, "events cannot be taken now", LATER) from None

    def _writer(self, key: str | None) -> Principal:
        principal = access.verify(self._state, key)
        access.require(principal, "writer")
        return principal

    async def _body(self, headers: Mapping[str, str], receive: Receive, address: str, *, is_known: bool) -> bytes:
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit() and len(length) < LONGEST_LENGTH):
            raise HTTPException(400, "Content-Length is no number")
        if int(length) > LARGEST:
            raise _too_large()
        first = begun(receive())  # type: ignore[arg-type]
        if not isinstance(first, Begun) and not first.get("more_body", False):
            return await _all_of(receive, first)  # it is there already, and no clock need run
        with self._waited_for(address, is_known=is_known):
            try:
                async with asyncio.timeout(BODY_SECONDS):
                    return await _all_of(receive, await first if isinstance(first, Begun) else first)
            except TimeoutError:
                raise HTTPException(408, "the rest of the body did not come") from None

    @contextmanager
    def _waited_for(self, address: str, *, is_known: bool) -> Iterator[None]:
        """A body that is not there yet; few of one address, so that nobody takes all the room there is by waiting: the
        key of a page lets everybody begin."""
        who = network(address), is_known
        if self._waiting[who] >= MOST_OF_PLACE[is_known]:
            raise HTTPException(429, "too many bodies that do not come", {"Retry-After": "1"})
        if not is_known and self._unknown >= MOST_UNKNOWN:
            raise HTTPException(503, CROWDED, {"Retry-After": "1"})
        self._unknown += not is_known
        self._waiting[who] += 1
        try:
            yield
        finally:
            self._unknown -= not is_known
            self._waiting[who] -= 1
            if not self._waiting[who]:
                del self._waiting[who]

    def _crossing(self, headers: Mapping[str, str], path: str) -> dict[str, str]:
        """What a browser must hear so that a page of another origin may send, and read the answer."""
        if path == SNIPPET:
            return {"Cross-Origin-Resource-Policy": "cross-origin"}
        origin = headers.get("origin")
        if origin is None:
            return {}
        if origin.lower() not in self._origins and "*" not in self._origins:
            raise HTTPException(403, "pages of this origin may not send events: `origins` of the collector names them")
        return {"Access-Control-Allow-Origin": origin, "Vary": "Origin",
                "Cross-Origin-Resource-Policy": "cross-origin"}  # fmt: skip

    async def _send(self, send: Send, status: int, body: bytes, more: dict[str, str]) -> None:
        headers = [*self._laid_under(frozenset(more.items())), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _laid_under(self, own: frozenset[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
        """Headers of an answer, with those that every answer has; made once for each few that there are."""
        if (kept := self._sent.get(own)) is None:
            by_name = {name.lower(): value for name, value in (*self._headers.items(), *sorted(own))}
            kept = [(name.encode(), value.encode()) for name, value in by_name.items()]
            if len(self._sent) < MOST_SENT:
                self._sent[own] = kept
        return kept

    async def _fail(self, fault: Exception, scope: Scope, receive: Receive, send: Send, shown: dict[str, str]) -> None:
        answer = answer_to(HTTPException(400, str(fault)) if isinstance(fault, Refused) else fault)
        if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(fault, HTTPException):
            self._failures.error(f"an answer failed: {place_of(fault)}")
        for name, value in shown.items():
            answer.headers[name] = value
        for name, value in self._headers.items():
            answer.headers.setdefault(name, value)
        answer.headers["Connection"] = "close"  # the rest of a body may not have been read
        await answer(scope, receive, send)


def _key_of(headers: Mapping[str, str]) -> str | None:
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return presented(headers)
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return "-"  # a key that is none


def _key_asked(scope: Scope) -> str | None:
    """The key in the address, as a page can name it without a question of the browser before: it is known before the
    body is read.
    """
    found = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("key")
    return found[0] if found else None


async def _all_of(receive: Receive, message: Message) -> bytes:
    """The body, of whose messages the first came."""
    parts: list[bytes] = []
    size = 0
    while True:
        if message["type"] == "http.disconnect":
            raise HTTPException(400, "the caller went away")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > LARGEST:
            raise _too_large()
        if not message.get("more_body", False):
            return b"".join(parts)
        message = await receive()


def _too_large() -> HTTPException:
    return HTTPException(413, f"a request has at most {LARGEST // 1024} kilobytes")


def _snippet() -> bytes:
    return resources.files("customer360.serve.realtime").joinpath("snippet.js").read_bytes()
