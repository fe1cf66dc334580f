"""The README's recipes, followed to the letter."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import yaml

from customer360.platform import graph, tables
from customer360.platform import settings as configuration
from customer360.platform.run import lake_of
from customer360.platform.settings import Settings
from customer360.serve import jobs
from customer360.serve.compose import compose

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


def block(heading: str, language: str) -> str:
    found = re.search(rf"## {heading}\n.*?```{language}\n(.*?)```", README, re.S)
    assert found, f"the README has no {language} block under {heading!r}"
    return found[1]


@pytest.fixture
def kiosk(tmp_path: Path) -> Settings:
    compose()
    folder = tmp_path / "landing" / "kiosk"
    folder.mkdir(parents=True)
    (folder / "monday.csv").write_text(
        "ticket,card,sold_at,amount,till\nT1,P9,2026-01-05 10:00:00,12.50,7\nT2,,2026-01-05 11:00:00,-3.00,7\n"
    )
    base = configuration.load(
        None,
        {
            "CUSTOMER360__LANDING": str(tmp_path / "landing"),
            "CUSTOMER360__LAKE__ROOT": str(tmp_path / "lake"),
            "CUSTOMER360__STATE": str(tmp_path / "state"),
            "CUSTOMER360__EXECUTION__EXECUTOR": "local",
        },
    )
    added = yaml.safe_load(block("Add a source", "yaml"))
    return base.model_validate(base.model_dump() | {"sources": added})


def test_add_a_source(kiosk: Settings) -> None:
    jobs.run_pipeline(kiosk, end="silver.transactions")
    rows = lake_of(kiosk).scan("silver.transactions").sort("transaction_id").collect()
    assert rows.select("transaction_id", "customer_id", "is_sale", "is_return").rows() == [
        ("T1", "P9", True, False),
        ("T2", None, False, True),
    ]
    kept = lake_of(kiosk).scan("bronze.transactions").collect()["_rescued"].to_list()
    assert all('"till":"7"' in text for text in kept), "a column that no contract column takes is kept"


@pytest.fixture
def channel_mix(tmp_path: Path) -> Iterator[graph.Node]:
    file = tmp_path / "readme_channel_mix.py"
    file.write_text(block("Add a table", "python"))
    found = importlib.util.spec_from_file_location("readme_channel_mix", file)
    assert found and found.loader
    module = importlib.util.module_from_spec(found)
    sys.modules["readme_channel_mix"] = module
    found.loader.exec_module(module)
    yield graph.NODES["gold.channel_mix"]
    del graph.NODES["gold.channel_mix"], tables.TABLES["gold.channel_mix"], sys.modules["readme_channel_mix"]


def test_add_a_table(kiosk: Settings, channel_mix: graph.Node) -> None:
    with_customer = Path(kiosk.landing) / "pos.csv"
    with_customer.write_text("CUSTOMER_ID,FIRST_NAME\nP9,Ada\n")
    customers = {"table": "bronze.customers", "system": "POS", "path": "pos.csv", "format": "csv"}
    settings = kiosk.model_validate(
        kiosk.model_dump() | {"sources": kiosk.model_dump()["sources"] | {"pos": customers}}
    )
    jobs.run_pipeline(settings, end="gold.channel_mix")
    rows = lake_of(settings).scan("gold.channel_mix").select(pl.exclude("person_id")).collect().rows()
    assert rows == [(1, 0)]
    again = jobs.run_pipeline(settings, end="gold.channel_mix")
    assert {n.state for n in again.nodes} == {"current"}
