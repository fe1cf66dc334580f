"""What is settled before the application sees a request: who asks, how much may be sent, how often; and what every
answer carries: headers that browsers heed, a problem instead of an unknown error, a line in the audit.

The framework reads and parses a body before it asks for the key. So the key is read here first; without a good one no
byte of the body is.
"""

from __future__ import annotations

import asyncio
import math
import time
import traceback
from collections import Counter
from collections.abc import Coroutine, Generator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from python_multipart.multipart import parse_options_header
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from customer360.platform import audit, telemetry
from customer360.platform.access import Principal
from customer360.platform.backup import marks
from customer360.platform.errors import ConfigError, LakeError
from customer360.platform.settings import ServeSettings
from customer360.platform.telemetry import Repeats
from customer360.platform.tokens import Callers
from customer360.serve.problems import answer_to
from customer360.serve.rates import Rates, network

FORMS = "/console/"  # where forms of browsers are read
GUARDED = ("/v1/", "/metrics")
HEALTH = "/healthz"
OPEN = (HEALTH, "/docs", "/openapi.json")  # say nothing of anybody
# tags of the endpoints that a key may be bound to
SCOPES = ("profile", "recommendations", "scores", "experiments", "identity", "rights")
CROWDED = "too many requests at once"
BODY_SECONDS = 10.0  # for the next piece of a body
LONGEST_LENGTH = 19  # digits of a Content-Length: more are no size of anything
PIECES = 3  # of as many seconds for all of it
PROMPT_SECONDS = 1.0  # after which a body that is not whole is late
MOST_LATE = 16  # late bodies of one key at once, and of all who have none, half of them of one address
AWAITED = 4  # of the requests at once a quarter may be of one key, or of an address without one, and have no body yet
UNKNOWN = 2  # and half of all who have no key; a body beyond that is late at once
NOBODY, PLACE = "", "from "  # what stands for the key of who has none, and before an address
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
}
ONE_YEAR = "max-age=31536000"


def heads(scope: Scope) -> dict[str, str]:
    """Headers by name in small letters, the first of each, all at once: Starlette looks through all for each that is
    asked for."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}


class Begun:
    """A call that was begun and waits for something: how to wait for it on."""

    def __init__(self, call: Coroutine[Any, Any, Message], waits_for: Any) -> None:
        self._call, self._waits_for = call, waits_for

    def __await__(self) -> Generator[Any, Any, Message]:
        try:
            while True:
                try:
                    said = yield self._waits_for
                except BaseException as fault:  # noqa: BLE001 - it is the call's
                    self._waits_for = self._call.throw(fault)
                else:
                    self._waits_for = self._call.send(said)
        except StopIteration as done:
            message: Message = done.value
            return message


def begun(call: Coroutine[Any, Any, Message]) -> Message | Begun:
    """What a call gives where that is there already, as most bodies are, so that no clock need run; else what to wait
    for."""
    try:
        return Begun(call, call.send(None))
    except StopIteration as done:
        message: Message = done.value
        return message


def presented(headers: Mapping[str, str]) -> str | None:
    """The API key or token of a request: `Authorization: Bearer KEY`, else `X-API-Key: KEY`."""
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" and credentials.strip() else headers.get("x-api-key")


class Gate:
    """Around the application. ``bodies``: kilobytes that a body may have, of paths with a limit of their own."""

    def __init__(
        self, app: ASGIApp, *, callers: Callers, rates: Rates, state: Path, limits: ServeSettings,
        bodies: Mapping[str, int] | None = None,
    ) -> None:  # fmt: skip
        self._app, self._state, self._limits, self._bodies = app, state, limits, bodies or {}
        self._callers = callers
        self._most_at_once = limits.max_ongoing_requests + max(limits.max_queued_requests, 0)
        self._at_once = 0
        self._late: Counter[str] = Counter()  # bodies that are waited for, by key
        self._awaited: Counter[str] = Counter()  # these, and such as may still come promptly
        self._rates = rates
        self._failures = telemetry.log.getChild("answers")
        if not self._failures.filters:
            self._failures.addFilter(Repeats())
        is_secure = limits.public_url.startswith("https://")
        headers = HEADERS | ({"Strict-Transport-Security": ONE_YEAR} if is_secure else {})
        self._headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        shared: dict[str, Any] = scope.setdefault("state", {})
        shared["readings"], shared["late"], shared["awaited"] = [], (), ()
        has_begun = False

        async def answering(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                self._note(scope, message["status"])
                own = [*message.get("headers", ())]
                taken = {name for name, _ in own}
                message["headers"] = own + [each for each in self._headers if each[0] not in taken]
                has_begun = True
            await send(message)

        self._at_once += 1
        try:
            self._admit(scope)
            await self._app(scope, self._bounded(receive, scope, self._kilobytes(scope)), answering)
        except Exception as fault:
            if has_begun:
                raise
            shared["readings"].clear()
            await self._answer(fault, scope, receive, answering)
        finally:
            self._at_once -= 1
            self._came(shared)

    def _admit(self, scope: Scope) -> None:
        """Raises what keeps a request out."""
        headers, path = heads(scope), own_path(scope)
        if path != HEALTH and self._at_once > self._most_at_once:
            raise HTTPException(503, CROWDED, {"Retry-After": "1"})
        if path not in OPEN and marks.stands(self._state):
            raise HTTPException(503, marks.UNDER_WAY, {"Retry-After": "60"})
        if path.startswith(GUARDED):
            principal = scope["state"]["principal"] = self._callers.verify(presented(headers))
            slow_down(self._rates, principal, self._limits.requests_per_minute)
        if path.startswith(FORMS) and not _is_utf8(headers):
            raise HTTPException(415, "a form is UTF-8")
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit() and len(length) < LONGEST_LENGTH):
            raise HTTPException(400, "Content-Length is no number")
        if int(length) > self._kilobytes(scope) * 1024:
            raise _too_large(self._kilobytes(scope))

    def _kilobytes(self, scope: Scope) -> int:
        """What the body of a request may have."""
        return self._bodies.get(own_path(scope), self._limits.max_body_kilobytes)

    def _bounded(self, receive: Receive, scope: Scope, kilobytes: int) -> Receive:
        """The body, as long as it is short enough and goes on coming."""
        shared, began = scope["state"], time.monotonic()
        got, is_whole = 0, False

        async def next_piece() -> Message:
            piece = begun(receive())  # type: ignore[arg-type]
            if not isinstance(piece, Begun):
                return piece
            refused: HTTPException | None = None
            now, loop = time.monotonic(), asyncio.get_running_loop()
            has_time = not shared["late"] and self._has_room(scope)
            prompt = max(began + PROMPT_SECONDS - now, 0) if has_time else 0
            left = began + PIECES * BODY_SECONDS - now
            timer = asyncio.timeout(max(min(prompt + BODY_SECONDS, left), 0.001))

            def late() -> None:
                nonlocal refused
                try:
                    self._is_late(scope)
                except HTTPException as crowded:
                    refused = crowded
                    timer.reschedule(loop.time())

            try:
                async with timer:
                    waited = loop.call_later(prompt, late)
                    try:
                        return await piece
                    finally:
                        waited.cancel()
            except TimeoutError:
                raise refused or TimeoutError from None

        async def bounded() -> Message:
            nonlocal got, is_whole
            if is_whole:
                return await receive()
            try:
                message = await next_piece()
            except TimeoutError:
                raise HTTPException(408, "the rest of the body did not come") from None
            got += len(message.get("body", b""))
            is_whole = not message.get("more_body", False)
            if is_whole:
                self._came(shared)
            if got > kilobytes * 1024:
                raise _too_large(kilobytes)
            return message

        return bounded

    def _has_room(self, scope: Scope) -> bool:
        """Whether a body that is not there may come promptly: who begins many at once would else have all the room
        there is for as long as one may take to be late."""
        shared = scope["state"]
        if not shared["awaited"]:
            shared["awaited"] = _whose(scope)
            self._awaited.update(shared["awaited"])
        return all(
            self._awaited[who] * (UNKNOWN if who == NOBODY else AWAITED) <= self._most_at_once
            for who in shared["awaited"]
        )

    def _is_late(self, scope: Scope) -> None:
        """Wait on for a body that is late; few of one key, so that they never take all the room there is."""
        shared = scope["state"]
        if shared["late"]:
            return
        whose = _whose(scope)
        if any(self._late[who] >= MOST_LATE // (2 if who.startswith(PLACE) else 1) for who in whose):
            raise HTTPException(429, "too many bodies that do not come", {"Retry-After": str(math.ceil(BODY_SECONDS))})
        self._late.update(whose)
        shared["late"] = whose

    def _came(self, shared: dict[str, Any]) -> None:
        """A body is waited for no longer."""
        if not shared["late"] and not shared["awaited"]:
            return
        for counts, name in ((self._late, "late"), (self._awaited, "awaited")):
            for who in shared[name]:
                counts[who] -= 1
                if not counts[who]:
                    del counts[who]
            shared[name] = ()

    def _note(self, scope: Scope, status: int) -> None:
        """A line in the audit for each person whose data this answer shows; without the line there is no answer."""
        shared = scope["state"]
        principal: Principal | None = shared.get("principal")
        if principal is None or status >= HTTPStatus.BAD_REQUEST:
            return
        route = getattr(scope.get("route"), "path_format", None) or "page"
        for person in shared["readings"]:
            audit.append(self._state, key=principal.key_id, name=principal.name, role=principal.role,
                         asked=f"{scope['method']} {route}", person=person)  # fmt: skip

    async def _answer(self, fault: Exception, scope: Scope, receive: Receive, send: Send) -> None:
        response = answer_to(fault)
        if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self._failures.error(f"an answer failed: {place_of(fault)}")
        if "content-length" in (sent := heads(scope)) or "transfer-encoding" in sent:
            response.headers["Connection"] = "close"  # the rest of the body is not read
        await response(scope, receive, send)


def slow_down(rates: Rates, principal: Principal, usual: int) -> None:
    """Count a request against the rate of its key, or the ``usual`` one. Raises HTTPException where that is used up."""
    per_minute = principal.per_minute or usual
    if per_minute and (seconds := rates.wait(principal.key_id, per_minute)):
        after = {"Retry-After": str(math.ceil(seconds))}
        raise HTTPException(429, f"this key may send {per_minute} requests a minute", after)


def _whose(scope: Scope) -> tuple[str, ...]:
    """By what the bodies of a caller are counted: its key, or that it has none and its address."""
    principal: Principal | None = scope["state"].get("principal")
    return (principal.key_id,) if principal else (NOBODY, PLACE + network((scope.get("client") or ("",))[0]))


def _is_utf8(headers: Mapping[str, str]) -> bool:
    """Whether a form says nothing else of its letters. Python knows codecs that take seconds for a few kilobytes, and
    such as make half surrogate pairs; the framework reads with the one that is named."""
    charset = parse_options_header(headers.get("content-type"))[1].get(b"charset", b"utf-8")
    return charset.lower() in (b"utf-8", b"utf8")


def _too_large(kilobytes: int) -> HTTPException:
    return HTTPException(413, f"a body may have {kilobytes} kilobytes")


def own_path(scope: Scope) -> str:
    """The path below the prefix under which a proxy serves the application."""
    path, prefix = str(scope["path"]), str(scope.get("root_path", "")).rstrip("/")
    return path[len(prefix) :] if prefix and path.startswith(f"{prefix}/") else path


def place_of(fault: Exception) -> str:
    """Kind and place of a fault, without its words, which may hold data; those of a lake or of settings name tables,
    files and keys, and those of the gate nothing.
    """
    frames = traceback.extract_tb(fault.__traceback__)
    at = f" in {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    said = f": {fault}" if isinstance(fault, LakeError | ConfigError) else ""
    if isinstance(fault, HTTPException) and fault.detail in (CROWDED, marks.UNDER_WAY):
        said = f": {fault.detail}"
    return f"{type(fault).__name__}{at}{said}"
