"""The recipes of docs/recipes, followed to the letter."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest
import yaml

from customer360.models.base import MODELS, NoProgress, Snapshot, find, predictions
from customer360.platform import graph, tables
from customer360.platform import settings as configuration
from customer360.platform.run import RunRequest, lake_of
from customer360.platform.settings import Settings
from customer360.serve import jobs
from customer360.serve.compose import compose

RECIPES = Path(__file__).resolve().parents[1] / "docs" / "recipes"


def block(recipe: str, language: str, number: int = 0) -> str:
    """A block of a language in a recipe, the first where no number is given."""
    found = re.findall(rf"```{language}\n(.*?)```", (RECIPES / f"{recipe}.md").read_text(encoding="utf-8"), re.S)
    assert len(found) > number, f"docs/recipes/{recipe}.md has {len(found)} blocks of {language}"
    return found[number]


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
    added = yaml.safe_load(block("source", "yaml"))
    return base.model_validate(base.model_dump() | {"sources": added, "connections": {}})


def test_add_a_source(kiosk: Settings) -> None:
    jobs.run_pipeline(kiosk, RunRequest(end="silver.transactions"))
    rows = lake_of(kiosk).scan("silver.transactions").sort("transaction_id").collect()
    assert rows.select("transaction_id", "customer_id", "is_sale", "is_return").rows() == [
        ("T1", "P9", True, False),
        ("T2", None, False, True),
    ]
    kept = lake_of(kiosk).scan("bronze.transactions").collect()["_rescued"].to_list()
    assert all('"till":"7"' in text for text in kept), "a column that no contract column takes is kept"


@contextmanager
def module_of(recipe: str, name: str, folder: Path, number: int = 0) -> Iterator[ModuleType]:
    """A recipe's code as a module of that name, for as long as the test runs."""
    file = folder / f"{name.rpartition('.')[2]}.py"
    file.write_text(block(recipe, "python", number))
    found = importlib.util.spec_from_file_location(name, file)
    assert found and found.loader
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    found.loader.exec_module(module)
    yield module
    del sys.modules[name]


@pytest.fixture
def channel_mix(tmp_path: Path) -> Iterator[graph.Node]:
    with module_of("table", "recipe_channel_mix", tmp_path):
        yield graph.NODES["gold.channel_mix"]
    del graph.NODES["gold.channel_mix"], tables.TABLES["gold.channel_mix"]


def with_customer(kiosk: Settings) -> Settings:
    """The kiosk and a file of its one customer."""
    (Path(kiosk.landing) / "pos.csv").write_text("CUSTOMER_ID,FIRST_NAME\nP9,Ada\n")
    customers = {"table": "bronze.customers", "system": "POS", "path": "pos.csv", "format": "csv"}
    return kiosk.model_validate(kiosk.model_dump() | {"sources": kiosk.model_dump()["sources"] | {"pos": customers}})


def test_add_a_table(kiosk: Settings, channel_mix: graph.Node) -> None:
    settings = with_customer(kiosk)
    jobs.run_pipeline(settings, RunRequest(end="gold.channel_mix"))
    rows = lake_of(settings).scan("gold.channel_mix").select(pl.exclude("person_id")).collect().rows()
    assert rows == [(1, 0)]
    again = jobs.run_pipeline(settings, RunRequest(end="gold.channel_mix"))
    assert {n.state for n in again.nodes} == {"current"}


def test_add_a_dated_table(kiosk: Settings, registries: None, tmp_path: Path) -> None:
    settings, name = with_customer(kiosk), "gold.order_rhythm"
    with module_of("table", "recipe_order_rhythm", tmp_path, 1):
        for day in (5, 6):
            jobs.run_pipeline(settings, RunRequest(end=name, as_of=date(2026, 1, day)))
    rows = lake_of(settings).scan(name).select("as_of", "order_count", "is_frequent").collect().rows()
    assert rows == [(date(2026, 1, 6), 1, False)], "what happened on as_of is not before it"


AS_OF = date(2026, 1, 1)


def days_of_shopping() -> pl.LazyFrame:
    """Forty regulars who buy every third week until the last day, and forty who stopped three hundred days
    before it.
    """
    rows = []
    for number in range(80):
        last = 0 if number < 40 else 300
        rows += [(f"p{number:02}", AS_OF - timedelta(days=ago)) for ago in range(last + number % 20 + 1, 700, 21)]
    days = pl.DataFrame(rows, schema=["person_id", "on"], orient="row")
    contract = tables.schema(tables.by_name("silver.subject_days"))
    counts = {name: pl.lit(0, kind) for name, kind in contract.items() if kind.is_numeric()}
    missing = {name: pl.lit(None, kind) for name, kind in contract.items() if not kind.is_numeric()}
    bought = {"order_count": pl.lit(1, pl.Int64), "gross_amount": pl.lit(20).cast(contract["gross_amount"])}
    known = {"subject_id": pl.col("person_id"), "person_id": pl.col("person_id"), "on": pl.col("on")}
    return days.select(**(missing | counts | bought | known)).lazy()


def test_add_a_model(tmp_path: Path) -> None:
    compose()
    with module_of("model", "customer360.models.repeat", tmp_path) as module:
        model = find("repeat")
        try:
            then = Snapshot({model.tables[0]: days_of_shopping()}, AS_OF - timedelta(days=90))
            fitted = model.fit(then, model.params(), NoProgress())
            (tmp_path / "fitted").mkdir()
            fitted.save(tmp_path / "fitted")
            assert model.load(tmp_path / "fitted") == fitted
            assert model.evaluate(fitted, then).metrics["auc"] == 1.0
            now = Snapshot(then.tables, AS_OF)
            scored = predictions(model, fitted, now, "1", datetime(2026, 1, 1, tzinfo=UTC))
            regular = pl.col("person_id") < "p40"
            assert scored.filter(regular)["score"].min() > scored.filter(~regular)["score"].max()
        finally:
            del MODELS["repeat"]
    assert module.MODEL.output == "gold.predictions"
