"""In front of Ray Serve's proxy: what a caller may not decide, whom there is room for, and errors of Serve itself as
problems.

Serve lets any caller change its time-out by a header, and says `Request timed out` as plain text; it hands a request to
a replica before the body is there, so that who sends half a body takes the place of others. Here the body comes first
(but for one that is answered unread, as there is no good key), and who would wait too long for an answer is told so at
once.
Named to Ray by the environment (``app._run_on_ray``), this runs in the proxy's process, which Ray gives up when it
starts slowly: nothing is imported here that takes time.
"""

import asyncio
import os
import time
from collections import Counter
from http import HTTPStatus
from pathlib import Path

from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from customer360.platform import access
from customer360.platform.errors import Customer360Error
from customer360.platform.telemetry import spare_the_log
from customer360.serve.rates import network
from customer360.serve.realtime.paths import PATHS, PREFIX
from customer360.serve.room import Room

CALLBACK = f"{__name__}:middlewares"
# Environment of the proxy: `serve.header_timeout_seconds`, `serve.request_timeout_seconds`, `state`
HEAD_SECONDS, ANSWER_SECONDS, STATE = (
    "CUSTOMER360_HEAD_SECONDS",
    "CUSTOMER360_ANSWER_SECONDS",
    "CUSTOMER360_FRONT_STATE",
)
HEALTH, KEPT = "/healthz", 8  # of which so many find room where nobody else does
BODY_SECONDS, BODY_BYTES, BODIES = 10.0, 512 << 10, 128  # that is waited for here, and at once
BODIES_OF_PLACE = 64  # of them, of one address
# Headers by which Serve's proxy lets callers decide: its time-out; that nobody looks whether they went away; a model
# that is to be near (each new name is kept for ever, and waited for when it comes again); the replica; and the number
# of the request, which stands in its log. What it cannot decode fails it.
OURS_ALONE = frozenset(
    (b"x_request_timeout_seconds", b"x_request_disconnect_disabled", b"serve_multiplexed_model_id", b"x_session_id",
     b"x_request_id")
)  # fmt: skip
DETAILS = {
    HTTPStatus.REQUEST_TIMEOUT: "no answer in time; a change may have been made all the same: send it again with the "
    "same Idempotency-Key, and it is made once",
    HTTPStatus.TOO_MANY_REQUESTS: "too many requests at once",
    HTTPStatus.INTERNAL_SERVER_ERROR: "this should not have happened; the log says where",
    HTTPStatus.SERVICE_UNAVAILABLE: "the server starts or is busy",
}


class Crowded(Exception):
    """Bodies of one address are waited for already, as many as may be."""


class Front:
    """Around the proxy."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._room = Room(float(os.environ.get(ANSWER_SECONDS, "2")))
        self._state = os.environ.get(STATE, "")
        self._bodies = self._health = 0
        self._of_place: Counter[str] = Counter()  # bodies that are waited for, by address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._is_read(scope):
            try:
                come = await self._come(receive, network((scope.get("client") or ("",))[0]))
            except Crowded:
                answer = _problem(HTTPStatus.TOO_MANY_REQUESTS, "too many bodies that do not come")
                answer.headers["Connection"] = "close"
                await answer(scope, receive, send)
                return
            except TimeoutError:
                answer = _problem(HTTPStatus.REQUEST_TIMEOUT, "the rest of the body did not come")
                answer.headers["Connection"] = "close"  # what still comes is not read
                await answer(scope, receive, send)
                return
            receive = _again(come, receive)
        if self._room.enter():
            began = time.monotonic()
            try:
                await self._pass(scope, receive, send)
            finally:
                self._room.leave(time.monotonic() - began)
        elif scope["path"] == HEALTH and self._health < KEPT:
            self._health += 1
            try:
                await self._pass(scope, receive, send)
            finally:
                self._health -= 1
        else:
            await _problem(HTTPStatus.TOO_MANY_REQUESTS)(scope, receive, send)

    def _is_read(self, scope: Scope) -> bool:
        """Whether there is a body that somebody will read: of a good key, or to where a key or signature is within."""
        headers, path = dict(scope["headers"]), scope["path"]
        length = headers.get(b"content-length", b"0")
        if length == b"0" and b"transfer-encoding" not in headers:
            return False
        if len(length) > len(str(BODY_BYTES)) or (length.isdigit() and int(length) > BODY_BYTES):
            return False  # more than is held here; what is too much for the gate is refused unread
        scheme, _, credentials = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        key = credentials.strip() if scheme.lower() == "bearer" else headers.get(b"x-api-key", b"").decode("latin-1")
        if path in PATHS or not path.startswith(PREFIX):
            return True
        try:
            access.verify(Path(self._state), key)
        except (Customer360Error, OSError):
            return False
        return True

    async def _come(self, receive: Receive, place: str) -> list[Message]:
        """The messages of a body, whole or as much as is held here. Raises TimeoutError: the rest does not come;
        Crowded: one address has begun so many that there would be no room for those of others."""
        come, size = list[Message](), 0
        if self._of_place[place] >= BODIES_OF_PLACE:
            raise Crowded
        if self._bodies >= BODIES:
            return come
        self._bodies += 1
        self._of_place[place] += 1
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while True:
                    come.append(await receive())
                    size += len(come[-1].get("body", b""))
                    if size > BODY_BYTES or not come[-1].get("more_body", False):
                        return come
        finally:
            self._bodies -= 1
            self._of_place[place] -= 1
            if not self._of_place[place]:
                del self._of_place[place]

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        kept = [(name, value) for name, value in scope["headers"] if _spelt(name) not in OURS_ALONE]
        replaced: HTTPStatus | None = None

        async def answering(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start":
                kind = dict(message.get("headers", [])).get(b"content-type", b"")
                if message["status"] in DETAILS and kind.startswith(b"text/plain"):
                    replaced = HTTPStatus(message["status"])
            if replaced is None:
                await send(message)
            elif not message.get("more_body") and message["type"] == "http.response.body":
                await _problem(replaced)(scope, receive, send)

        await self._app({**scope, "headers": kept}, receive, answering)


def _spelt(name: bytes) -> bytes:
    """As Serve's proxy compares names."""
    return name.lower().replace(b"-", b"_")


def _again(come: list[Message], receive: Receive) -> Receive:
    """What came already, then what comes."""
    left = iter(come)

    async def received() -> Message:
        return next(left, None) or await receive()

    return received


def _problem(status: HTTPStatus, detail: str = "") -> JSONResponse:
    body = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail or DETAILS[status]}
    return JSONResponse(body, status, {"Retry-After": "1"}, media_type="application/problem+json")


def middlewares() -> list[Middleware]:
    """What Ray asks for, in the proxy's process before it listens. Its sockets wait no longer for a head of a request
    than those of the plain server: Serve by itself waits for ever.
    """
    from uvicorn.protocols.http import auto

    from customer360.serve.plain import patient_protocol

    spare_the_log()
    auto.AutoHTTPProtocol = patient_protocol(float(os.environ.get(HEAD_SECONDS, "10")))
    return [Middleware(Front)]
