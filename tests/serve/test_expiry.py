"""What the policy does not keep leaves lake and state folder, and nothing brings it back."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from customer360.platform import graph, tables, telemetry
from customer360.platform.lake import editions
from customer360.serve.cli import app

_spec = importlib.util.spec_from_file_location(
    "shop_of_refusals", Path(__file__).parents[1] / "strangers/test_refusals.py"
)
assert _spec is not None and _spec.loader is not None
shops: Any = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = shops  # where dataclasses look
_spec.loader.exec_module(shops)

PROFILES = "gold.customer_360"
PRODUCTS = "gold.data_products"  # tells of versions
POLICY = """
keep_days: {bronze.engagement_events: 40, bronze.transactions: 300, quality.dead_letters: 30}
state_days: {exports: 10, changes: 10}
"""


def exported(state: Path) -> tuple[Path, Path]:
    """What was handed out long ago, and now."""
    old, new = state / "exports/00000001/everything.json", state / "exports/00000002/everything.json"
    for file in (old, new):
        file.parent.mkdir(parents=True)
        file.write_text("{}")
    os.utime(old, (time.time() - 20 * 86_400,) * 2)
    return old, new


def test_files_of_the_state_folder_go_by_their_age(tmp_path: Path) -> None:
    policy, state = tmp_path / "policy.yaml", tmp_path / "state"
    policy.write_text(POLICY)
    old, new = exported(state)
    environment = {"CUSTOMER360__LAKE__ROOT": str(tmp_path / "lake"), "CUSTOMER360__STATE": str(state),
                   "CUSTOMER360__RULES__POLICY": str(policy)}  # fmt: skip
    told = CliRunner().invoke(app, ["lake", "retire", "--dry-run"], env=environment)
    assert told.exit_code == 0 and "exports" in told.output and old.exists(), told.output
    told = CliRunner().invoke(app, ["lake", "retire"], env=environment)
    assert told.exit_code == 0 and not old.parent.exists() and new.exists(), told.output
    policy.write_text("keep_days: {silver.touches: 30}\n")
    told = CliRunner().invoke(app, ["lake", "retire"], env=environment)
    assert told.exit_code != 0 and "silver.touches follows what it is built on" in str(told.exception or told.output)


def stands(shop: Any) -> dict[str, pl.DataFrame]:
    """Rows of silver and gold."""
    lake, found = shop.lake, {}
    for name in sorted(tables.TABLES):
        if name.startswith(("silver.", "gold.")) and name != PRODUCTS and lake.exists(name):
            rows = lake.scan(name).collect()
            found[name] = rows.select(sorted(rows.columns)).sort(pl.all())
    return found


@pytest.mark.slow
def test_what_is_built_again_after_it_is_what_stood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "configure", lambda: None)  # it would set up the log for good
    shop = shops.Shop(tmp_path, people=4)
    shop.open()
    shop.said("run", "--as-of", "2025-12-01")
    shop.said("run")
    before = list(editions.editions(shop.lake.files(PROFILES)))
    assert len(before) == 2
    old, new = exported(tmp_path / "state")
    (tmp_path / "policy.yaml").write_text(POLICY)
    shop.config.write_text(shop.config.read_text() + f"rules: {{policy: {tmp_path / 'policy.yaml'}}}\n")
    told = shop.said("lake", "retire", "--dry-run")
    assert PROFILES in told and len(editions.editions(shop.lake.files(PROFILES))) == 2
    shop.said("run")
    assert list(editions.editions(shop.lake.files(PROFILES))) == before[1:], "as old as the letters it was made of"
    assert not old.exists() and new.exists()
    assert shop.lake.scan("silver.touches").collect().is_empty()
    made = stands(shop)
    assert made[PROFILES].height == 4

    shop.said("run", "--reland", "letters", "--reland", "receipts")
    after = stands(shop)
    assert after.keys() == made.keys()
    assert [name for name in made if not after[name].equals(made[name])] == [], "what is read again goes again"
    builds = [name for name, node in sorted(graph.NODES.items()) if name in made and not node.is_producer]
    shop.said("run", *(word for name in builds for word in ("--full-refresh", name)))
    after = stands(shop)
    assert [name for name in made if not after[name].equals(made[name])] == []
