"""The application in one uvicorn process: sockets that say nothing, half a request, or read no answer, are closed after
a while."""

from __future__ import annotations

import asyncio
import gc
import resource
import socket
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from customer360.platform import telemetry
from customer360.platform.telemetry import spare_the_log

if TYPE_CHECKING:  # Ray's proxy takes the protocol from here, and may not start slowly
    from customer360.platform.settings import ServeSettings

KEEP_ALIVE_SECONDS = 5
MOST_HEAD_BYTES = 64 << 10  # of a request: its line and its headers
BACKLOG = 2048


def patient_protocol(seconds: float) -> type[HttpToolsProtocol]:
    """Uvicorn's HTTP/1.1, with a limit to how long a head of a request may take and how large it may be, and to how
    long an answer may lie unread.
    """

    class PatientProtocol(HttpToolsProtocol):
        head_timer: asyncio.TimerHandle | None = None
        head_bytes = 0
        unread_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.wait_for_head()

        def data_received(self, data: bytes) -> None:
            if self.head_timer is None and (self.cycle is None or self.cycle.response_complete):
                self.wait_for_head()  # of the next request on this connection
            if self.head_timer is not None:
                self.head_bytes += len(data)
            super().data_received(data)
            if self.head_timer is not None and self.head_bytes > MOST_HEAD_BYTES:
                self.give_up()

        def on_headers_complete(self) -> None:
            self.head_came()
            super().on_headers_complete()

        def pause_writing(self) -> None:
            """The caller reads slower than it asks, or not at all."""
            super().pause_writing()
            self.unread_timer = self.loop.call_later(seconds, self.give_up)

        def resume_writing(self) -> None:
            self.read_on()
            super().resume_writing()

        def read_on(self) -> None:
            if self.unread_timer is not None:
                self.unread_timer.cancel()
                self.unread_timer = None

        def connection_lost(self, exc: Exception | None) -> None:
            self.head_came()
            self.read_on()
            super().connection_lost(exc)

        def wait_for_head(self) -> None:
            self.head_bytes = 0
            self.head_timer = self.loop.call_later(seconds, self.give_up)

        def head_came(self) -> None:
            if self.head_timer is not None:
                self.head_timer.cancel()
                self.head_timer = None

        def give_up(self) -> None:
            if not self.transport.is_closing():
                self.transport.abort()

    return PatientProtocol


def run(app: ASGIApp, limits: ServeSettings, listening: socket.socket) -> None:
    """Serve on a bound socket until SIGINT or SIGTERM."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a socket is a file
    config = uvicorn.Config(
        app,
        http=patient_protocol(limits.header_timeout_seconds),
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        backlog=BACKLOG,
    )
    spare_the_log()
    server = _Announcing(config, f"http://{limits.host}:{limits.port}/docs")
    gc.freeze()  # what was imported stays: it is not looked through with what each request makes
    server.run(sockets=[listening])


class _Announcing(uvicorn.Server):
    """Says where it answers once it does."""

    def __init__(self, config: uvicorn.Config, address: str) -> None:
        super().__init__(config)
        self._address = address

    async def startup(self, sockets: list[socket.socket] | None = None, **more: Any) -> None:
        await super().startup(sockets, **more)
        if self.started:
            telemetry.event("serving", at=self._address)
