"""A server with a collector, a write key, and what landed of its log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
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
        web = {"kind": "collector", "system": "SHOP", "origins": [SHOP], **said}
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
