"""The plain server among strangers' sockets, and one server a port."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from customer360.platform.errors import ConfigError
from customer360.platform.settings import ServeSettings
from customer360.serve import ports

SILENT = 230


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serving(state: Path, log: int = subprocess.DEVNULL, **settings: str) -> Iterator[int]:
    port = free_port()
    told = {f"CUSTOMER360__SERVE__{name.upper()}": value for name, value in settings.items()}
    environment = {**os.environ, **told, "CUSTOMER360__STATE": str(state), "CUSTOMER360__SERVE__PORT": str(port)}
    command = [sys.executable, "-m", "customer360.serve.cli", "serve", "--plain"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=log) as process:
        try:
            end = time.monotonic() + 60
            while time.monotonic() < end:
                assert process.poll() is None
                with contextlib.suppress(OSError):
                    status(port)
                    break
                time.sleep(0.3)
            yield port
        finally:
            process.terminate()
            process.wait(30)


def status(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
        return int(answer.status)


@pytest.mark.slow
def test_silent_sockets_keep_nobody_out_and_are_closed(own_shop: Any) -> None:
    own_shop.publish()
    with serving(own_shop.state, header_timeout_seconds="2") as port, contextlib.ExitStack() as held:
        begun = {
            "nothing": b"",
            "half": b"GET /v1/people/x HTTP/1.1\r\nHost: a\r\nX-A: ",
            "trickle": b"GET / HTTP/1.1\r\n",
        }
        sockets = {
            kind: [held.enter_context(socket.create_connection(("127.0.0.1", port), 10)) for _ in range(SILENT // 3)]
            for kind in begun
        }
        for kind, opened in sockets.items():
            for each in opened:
                each.sendall(begun[kind])
        assert status(port) == 200
        for _ in range(5):
            time.sleep(0.6)
            for each in sockets["trickle"]:
                with contextlib.suppress(OSError):
                    each.sendall(b"a")
        for kind, opened in sockets.items():
            assert all(is_closed(each) for each in opened), kind
        assert status(port) == 200
        with socket.create_connection(("127.0.0.1", port), 10) as large:
            with contextlib.suppress(OSError):
                large.sendall(b"GET / HTTP/1.1\r\n" + b"X-A: " + b"a" * 300_000)
            assert is_closed(large)


@pytest.mark.slow
def test_callers_cannot_fill_the_log(own_shop: Any, tmp_path: Path) -> None:
    own_shop.publish()
    with open(tmp_path / "log", "wb") as log, serving(own_shop.state, log.fileno()) as port:
        for n in range(120):
            with socket.create_connection(("127.0.0.1", port), 10) as each, contextlib.suppress(OSError):
                each.sendall((b"\x16\x03 no HTTP\r\n\r\n", b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n"
                              b"Connection: upgrade\r\nHost: a\r\n\r\n")[n % 2])  # fmt: skip
                each.recv(100)
        assert status(port) == 200
    said = (tmp_path / "log").read_text()
    assert "Invalid HTTP request" in said, "it is told of"
    assert len(said.splitlines()) < 20, said


def is_closed(each: socket.socket) -> bool:
    each.settimeout(5)
    try:
        return not each.recv(1) or is_closed(each)
    except TimeoutError:
        return False
    except OSError:
        return True


def test_a_taken_port_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        limits = ServeSettings(port=other.getsockname()[1])
        with pytest.raises(ConfigError, match="is taken by another program"), ports.held(limits):
            pass


def test_two_servers_that_start_at_once_do_not_share_a_port(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    limits = ServeSettings(port=free_port())
    with ports.held(limits), pytest.raises(ConfigError, match="another `customer360 serve`"), ports.held(limits):
        pass
    with ports.held(limits):
        ports.bound(limits).close()


@pytest.mark.slow
def test_a_server_ends_with_the_command_that_started_it(own_shop: Any, tmp_path: Path) -> None:
    """The command is killed without a chance to end what it started."""
    port = free_port()
    script = (
        "import os, subprocess, sys, time; os.environ['CUSTOMER360_ENDS_WITH'] = str(os.getpid());"
        "print(subprocess.Popen([sys.executable, '-m', 'customer360.serve.cli', 'serve', '--plain']).pid, flush=True);"
        "time.sleep(600)"
    )
    environment = {**os.environ, "CUSTOMER360__STATE": str(own_shop.state), "CUSTOMER360__SERVE__PORT": str(port)}
    with subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True
    ) as command:
        assert command.stdout is not None
        server = int(command.stdout.readline())
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with contextlib.suppress(urllib.error.HTTPError, OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            time.sleep(0.3)
        command.kill()
    end = time.monotonic() + 30
    while Path(f"/proc/{server}").exists() and "Z" not in Path(f"/proc/{server}/stat").read_text().split()[2]:
        assert time.monotonic() < end, "the server runs on"
        time.sleep(0.3)
