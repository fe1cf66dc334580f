"""A server with a collector, a write key, and what landed of its log."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from starlette.testclient import TestClient

from customer360.platform import access, systems
from customer360.platform.lake import Lake
from customer360.platform.run.executor import LocalExecutor
from customer360.platform.run.ingest import ingest
from customer360.platform.settings import ExecutionSettings, RetrySettings, Settings
from customer360.serve.app import build_app
from customer360.serve.compose import compose, state_folder

SHOP = "https://shop.example"


@pytest.fixture
def configure(tmp_path: Path) -> Callable[..., Settings]:
    """Settings with a collector ``web``, whose further keys are given, and the sources of its recipe."""

    def make(sources: dict[str, Any] | None = None, connections: dict[str, Any] | None = None, **said: Any) -> Settings:
        compose()
        web = {"kind": "collector", "system": "SHOP", "origins": [SHOP], "trusted": ["web shop"], **said}
        given = {"web": {"recipe": "collector/calls", "kind": "collector", "connection": "web", "system": "SHOP"}}
        (tmp_path / "landing").mkdir(exist_ok=True)
        return Settings.model_validate(
            {
                "landing": str(tmp_path / "landing"),
                "state": str(tmp_path / "state"),
                "lake": {"root": str(tmp_path / "lake"), "buckets": 4},
                "execution": {"executor": "local"},
                "connections": {"web": web, **(connections or {})},
                "sources": systems.with_recipes(given if sources is None else sources),
            }
        )

    return make


@pytest.fixture
def settings(configure: Callable[..., Settings]) -> Settings:
    return configure()


@pytest.fixture
def write_key(settings: Settings) -> str:
    return access.issue(state_folder(settings), "web shop", "writer")


@pytest.fixture
def client(settings: Settings) -> TestClient:
    return TestClient(build_app(settings))


@pytest.fixture
def land() -> Callable[..., dict[str, pl.DataFrame]]:
    """Lands what is new, and gives the bronze tables and dead letters."""

    def run(settings: Settings) -> dict[str, pl.DataFrame]:
        lake = Lake(settings.lake.root, {}, 4)
        executor = LocalExecutor(ExecutionSettings(executor="local", retry=RetrySettings(attempts=1)))
        done = list(ingest(lake, settings, list(settings.sources), executor, {}))
        assert [run.failure for run in done] == [None] * len(done)
        tables = [*{source.table for source in settings.sources.values()}, "quality.dead_letters"]
        return {name: lake.scan(name).collect() for name in tables if lake.exists(name)}

    return run


@dataclass
class Server:
    """A server of its own process, over the settings of a test."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        """Let it do nothing more, not even end."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[Settings], Server]]:
    """Starts `customer360 serve --plain` with settings, and waits until it answers."""
    started: list[Server] = []

    def start(settings: Settings) -> Server:
        port = settings.serve.port
        if port == Settings().serve.port:
            with socket.socket() as held:
                held.bind(("127.0.0.1", 0))
                port = int(held.getsockname()[1])
        file = tmp_path / "settings.yaml"
        said = settings.model_dump(mode="json", include={"landing", "state", "lake", "connections", "sources"})
        file.write_text(yaml.safe_dump(said | {"serve": {"port": port}}), encoding="utf-8")
        log = (tmp_path / "server.log").open("ab")
        command = [sys.executable, "-m", "customer360.serve.cli", "serve", "--plain", "--config", str(file)]
        server = Server(port, subprocess.Popen(command, stdout=log, stderr=log))
        started.append(server)
        end = time.monotonic() + 90
        while time.monotonic() < end:
            assert server.process.poll() is None, (tmp_path / "server.log").read_text()
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return server
            except OSError:
                time.sleep(0.2)
        raise AssertionError("the server did not start")

    yield start
    for server in started:
        if server.process.poll() is None:
            server.process.terminate()
            server.process.wait(30)
