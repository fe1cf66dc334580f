"""In front of Ray Serve's proxy: what a caller may not decide, and errors of Serve itself as problems.

Serve lets any caller change its time-out by a header, and says `Request timed out` as plain text. Named to Ray by the
environment (``app._run_on_ray``), this runs in the proxy's process, which Ray gives up when it starts slowly: nothing
is imported here that takes time.
"""

import os
from http import HTTPStatus

from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from customer360.platform.telemetry import spare_the_log

CALLBACK = f"{__name__}:middlewares"
HEAD_SECONDS = "CUSTOMER360_HEAD_SECONDS"  # environment of the proxy: `serve.header_timeout_seconds`
OURS_ALONE = (b"x-request-timeout-seconds", b"x-request-disconnect-disabled")
DETAILS = {
    HTTPStatus.REQUEST_TIMEOUT: "no answer in time; a change may have been made all the same: send it again with the "
    "same Idempotency-Key, and it is made once",
    HTTPStatus.TOO_MANY_REQUESTS: "too many requests at once",
    HTTPStatus.INTERNAL_SERVER_ERROR: "this should not have happened; the log says where",
    HTTPStatus.SERVICE_UNAVAILABLE: "the server starts or is busy",
}


class Front:
    """Around the proxy."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        kept = [(name, value) for name, value in scope["headers"] if name.lower() not in OURS_ALONE]
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


def _problem(status: HTTPStatus) -> JSONResponse:
    body = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": DETAILS[status]}
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
