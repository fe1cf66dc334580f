"""In front of Ray Serve's proxy, or of each replica where HAProxy is the proxy: what a caller may not decide, whom
there is room for, and errors of Serve itself as problems.

Serve lets any caller change its time-out by a header, and says `Request timed out` as plain text; it hands a request to
a replica before the body is there, so that who sends half a body takes the place of others. Here the body comes first
(but for one that is answered unread, as there is no good key), and who would wait too long for an answer is told so at
once.
Named to Ray by the environment (``app._run_on_ray``), this runs in the process of the proxy or replica. A proxy that
starts slowly is given up by Ray: nothing is imported here that takes time.
"""

import asyncio
import os
import sys
import time
from collections import Counter
from http import HTTPStatus
from pathlib import Path
from typing import Any

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
ON_A_THREAD = "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD"
# Answered at once, and read by HAProxy: a replica that is busy must not be taken for a dead one.
RAYS_OWN = frozenset({"/-/healthz", "/-/routes"})
HEALTH, KEPT = "/healthz", 8  # of which so many find room where nobody else does
BODY_SECONDS, BODY_BYTES, BODIES = 10.0, 512 << 10, 128  # that is waited for here, and at once
BODIES_OF_PLACE = 64  # of them, of one address
PROMPT_SECONDS = 0.25  # for a body where so many are waited for already: one that was sent whole is there
LATE, CROWDED = "the rest of the body did not come", "too many bodies that do not come"
# Headers by which Serve's proxy lets callers decide: its time-out; that nobody looks whether they went away; a model
# that is to be near (each new name is kept for ever, and waited for when it comes again); the replica; and the number
# of the request, which stands in its log. What it cannot decode fails it.
OURS_ALONE = frozenset(
    (b"x_request_timeout_seconds", b"x_request_disconnect_disabled", b"serve_multiplexed_model_id", b"x_session_id",
     b"x_request_id")
)  # fmt: skip
# No time-out of Serve's, and it looks for nobody who left.
UNWATCHED = [(b"x-request-timeout-seconds", b"0"), (b"x-request-disconnect-disabled", b"?1")]
DETAILS = {
    HTTPStatus.REQUEST_TIMEOUT: "no answer in time; a change may have been made all the same: send it again with the "
    "same Idempotency-Key, and it is made once",
    HTTPStatus.TOO_MANY_REQUESTS: "too many requests at once",
    HTTPStatus.INTERNAL_SERVER_ERROR: "this should not have happened; the log says where",
    HTTPStatus.SERVICE_UNAVAILABLE: "the server starts or is busy",
}


class Front:
    """Around the proxy, or, ``is_direct``, around a replica that computes answers on the loop that took the request.
    There Serve would start two tasks for each, and wait for either: the time-out is kept here for less."""

    def __init__(self, app: ASGIApp, *, is_direct: bool = False) -> None:
        self._app, self._is_direct = app, is_direct
        self._seconds = float(os.environ.get(ANSWER_SECONDS, "2"))
        self._room = Room(self._seconds)
        self._state = os.environ.get(STATE, "")
        self._bodies = self._health = 0
        self._of_place: Counter[str] = Counter()  # bodies that are waited for, by address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in RAYS_OWN:
            await self._app(scope, receive, send)
            return
        if self._is_read(scope):
            place = network((scope.get("client") or ("",))[0])
            is_crowded = self._bodies >= BODIES or self._of_place[place] >= BODIES_OF_PLACE
            try:
                come = await self._come(receive, place, is_crowded=is_crowded)
            except TimeoutError:
                status = HTTPStatus.TOO_MANY_REQUESTS if is_crowded else HTTPStatus.REQUEST_TIMEOUT
                answer = _problem(status, CROWDED if is_crowded else LATE)
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
        length = headers.get(b"content-length", b"0").lstrip(b"0") or b"0"
        if length == b"0" and b"transfer-encoding" not in headers:
            return False
        if len(length) > len(str(BODY_BYTES)) or (length.isdigit() and int(length) > BODY_BYTES):
            return False  # more than is held here; what is too much for the gate is refused unread
        scheme, _, credentials = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        key = credentials.strip() if scheme.lower() == "bearer" else headers.get(b"x-api-key", b"").decode("latin-1")
        if path in PATHS or not path.startswith(PREFIX) or key.count(".") == 2:  # a signed token: the gate tells
            return True
        try:
            access.verify(Path(self._state), key)
        except (Customer360Error, OSError):
            return False
        return True

    async def _come(self, receive: Receive, place: str, *, is_crowded: bool) -> list[Message]:
        """The messages of a body, whole or as much as is held here. Raises TimeoutError: the rest does not come, or,
        where there is a crowd that waits, or one of its address, is not there as good as at once: to let it in unread
        would give it the place of somebody whose request is whole."""
        come, size = list[Message](), 0
        if not is_crowded:
            self._bodies += 1
            self._of_place[place] += 1
        try:
            async with asyncio.timeout(PROMPT_SECONDS if is_crowded else BODY_SECONDS):
                while True:
                    come.append(await receive())
                    size += len(come[-1].get("body", b""))
                    if size > BODY_BYTES or not come[-1].get("more_body", False):
                        return come
        finally:
            if not is_crowded:
                self._bodies -= 1
                self._of_place[place] -= 1
                if not self._of_place[place]:
                    del self._of_place[place]

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        kept = [(name, value) for name, value in scope["headers"] if _spelt(name) not in OURS_ALONE]
        replaced: HTTPStatus | None = None
        has_begun = False

        async def answering(message: Message) -> None:
            nonlocal replaced, has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                if message["status"] in DETAILS and _is_plain_text(message):
                    replaced = HTTPStatus(message["status"])
            if replaced is None:
                await send(message)
            elif not message.get("more_body") and message["type"] == "http.response.body":
                await _problem(replaced)(scope, receive, send)

        if not self._is_direct:
            await self._app({**scope, "headers": kept}, receive, answering)
            return
        timer = asyncio.timeout(self._seconds)
        try:
            async with timer:
                await self._app({**scope, "headers": kept + UNWATCHED}, receive, answering)
        except TimeoutError:
            if not timer.expired():
                raise
        if timer.expired() and not has_begun:  # Serve keeps to itself that it was cancelled
            await _problem(HTTPStatus.REQUEST_TIMEOUT)(scope, receive, send)


def _is_plain_text(message: Message) -> bool:
    return bool(dict(message.get("headers", [])).get(b"content-type", b"").startswith(b"text/plain"))


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
    return [Middleware(Front, is_direct=_is_in_a_replica() and os.environ.get(ON_A_THREAD) == "0")]


def _is_in_a_replica() -> bool:
    """Whether this is the process of a replica, in which Ray has loaded itself."""
    serve: Any = sys.modules.get("ray.serve")
    if serve is None:
        return False
    try:
        serve.get_replica_context()
    except serve.exceptions.RayServeException:
        return False
    return True
