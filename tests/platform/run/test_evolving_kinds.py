"""Schema contracts of sources that are no files: what waits is kept by its system, and lands once it is accepted."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from customer360.platform import schemas
from customer360.platform.run import lake_of
from customer360.platform.run.accepting import accept, difference
from customer360.platform.run.executor import LocalExecutor
from customer360.platform.run.ingest import SourceRun, ingest
from customer360.platform.settings import Settings
from customer360.platform.sources.base import configured
from customer360.platform.sources.protocols.hooks.journal import Journal
from customer360.platform.sources.webhooks import Webhooks, message
from customer360.platform.tables import String, Table


@pytest.fixture
def settings(tmp_path: Path, registries: None) -> Settings:
    class Met(Table, table="bronze.t_met", key=("ID",)):
        """One row per record."""

        ID = String(nullable=False)

    (tmp_path / "landing").mkdir()
    common = {"table": "bronze.t_met", "system": "S", "mapping": {"ID": "id"}}
    hooked = {**common, "kind": "webhooks", "connection": "hook"}
    relation = {**common, "kind": "database", "connection": "shop", "relation": "met", "strategy": "full"}
    return Settings.model_validate(
        {
            "landing": str(tmp_path / "landing"), "state": str(tmp_path / "state"),
            "lake": {"root": str(tmp_path / "lake")}, "execution": {"executor": "local"},
            "connections": {
                "hook": {"kind": "webhook", "secret_env": "HOOK_SECRET"},
                "shop": {"kind": "sqlalchemy", "url": f"sqlite:///{tmp_path}/shop.db"},
            },
            "sources": {
                "frozen": {**hooked, "schema_contract": "freeze"},
                "strict": {**hooked, "schema_contract": "discard_row"},
                "shop": {**relation, "schema_contract": "freeze"},
            },
        }
    )  # fmt: skip


def land(settings: Settings, name: str) -> SourceRun:
    *_, run = ingest(lake_of(settings), settings, [name], LocalExecutor(settings.execution), {})
    return run


def accepted(settings: Settings, name: str) -> list[str]:
    return accept(lake_of(settings), settings, name, [], "ann", LocalExecutor(settings.execution), {})


def rows(settings: Settings, name: str) -> dict[str, Any]:
    frame = lake_of(settings).scan("bronze.t_met").filter(pl.col("_source") == name).sort("ID").collect()
    return dict(frame.select("ID", "_rescued").rows())


def send(settings: Settings, name: str, key: str, body: bytes) -> None:
    source = configured(settings, name)
    assert isinstance(source, Webhooks)
    Journal(source.folder).append(key, message(key, None, "now", body))


def test_messages_of_a_frozen_webhook_wait_in_their_journal(settings: Settings) -> None:
    send(settings, "frozen", "k1", b'{"id": "1", "note": "a"}')
    assert land(settings, "frozen").failure is None
    send(settings, "frozen", "k2", b'{"id": "2"}')
    send(settings, "frozen", "k3", b'{"id": "3", "coupon": 7}')
    assert "column 'coupon' (integer) is new" in str(land(settings, "frozen").failure)
    send(settings, "frozen", "k4", b'{"id": "4", "coupon": 8}')
    assert "batch 2 waits" in str(land(settings, "frozen").failure)
    changes = difference(lake_of(settings), settings, "frozen", {}).changes
    assert [(str(change), fate) for change, fate, _ in changes] == [("column 'coupon' (integer) is new", "waits")]
    accepted(settings, "frozen")
    assert land(settings, "frozen").failure is None  # the batch that waited, then the one that came since
    assert rows(settings, "frozen") == {
        "1": '{"note":"a"}', "2": None, "3": '{"coupon":"7"}', "4": '{"coupon":"8"}',
    }  # fmt: skip


def test_what_is_discarded_of_messages_can_be_replayed(settings: Settings) -> None:
    send(settings, "strict", "k1", b'{"id": "1", "note": "a"}')
    land(settings, "strict")
    send(settings, "strict", "k2", b'{"id": "2", "coupon": "x"}')
    assert land(settings, "strict").nodes[0].facts["dead"] == 1
    assert "quarantine replay" in accepted(settings, "strict")[-1]
    send(settings, "strict", "k3", b'{"id": "3", "coupon": "y"}')
    assert land(settings, "strict").nodes[0].facts["landed"] == 1
    assert rows(settings, "strict") == {"1": '{"note":"a"}', "3": '{"coupon":"y"}'}


def test_a_column_that_a_relation_gains(settings: Settings, tmp_path: Path) -> None:
    pytest.importorskip("sqlalchemy")
    with sqlite3.connect(tmp_path / "shop.db") as shop:
        shop.execute("CREATE TABLE met (id TEXT PRIMARY KEY, points INTEGER)")
        shop.execute("INSERT INTO met VALUES ('1', 5)")
    assert land(settings, "shop").failure is None
    with sqlite3.connect(tmp_path / "shop.db") as shop:
        shop.execute("ALTER TABLE met ADD COLUMN phone TEXT")
        shop.execute("UPDATE met SET phone = '+49 1'")
    assert "column 'phone' (text) is new" in str(land(settings, "shop").failure)
    accepted(settings, "shop")
    assert land(settings, "shop").failure is None
    version = schemas.newest(lake_of(settings), "shop")
    assert version is not None
    assert {c: column.type for c, column in version.columns.items()} == {
        "id": "text",
        "points": "integer",
        "phone": "text",
    }
