"""Every table that the specification asks for is built of the sample, has rows and keeps its contract."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import yaml

from customer360.platform import graph, stars, tables
from customer360.platform.graph import Node
from customer360.platform.run.closing import written_at_the_end
from customer360.platform.run.units import conform_to_storage
from customer360.serve.compose import compose

compose()
REQUIREMENTS = yaml.safe_load((Path(__file__).parents[2] / "configs" / "requirements.yaml").read_text(encoding="utf-8"))
NAMED = {name for row in REQUIREMENTS.values() for name in row.get("tables", ())}
LAYERS = ("silver", "gold")
WAREHOUSE = ("customer", "behavior", "personalization")

MODELS = "made by trained models: tests/test_life_cycle.py, tests/models"
FEW = "200 people are too few to tell: "
FILES = "the sample's sources are files, no databases or topics: "
# Tables that one run over the sample leaves empty, and why. One that has rows after all fails the test, too.
EMPTY = {
    "control.full_load_schedule": FILES + "tests/platform/run/test_control.py",
    "control.incremental_load_tracking": FILES + "tests/platform/run/test_control.py",
    "control.streaming_watermarks": FILES + "tests/platform/sources/test_streams.py",
    "gold.category_scores": MODELS,
    "gold.drift": MODELS,
    "gold.points_redemption": FEW + "tests/pipelines/gold/test_points.py",
    "gold.predictions": MODELS,
    "gold.product_relations": FEW + "tests/planted/catalog.py",
    "gold.recommendation_models": MODELS,
    "gold.reputation_alerts": "sentiment does not fall in the sample; tests/planted/voice.py",
    "gold.retention_worklist": MODELS,
    "gold.white_space": FEW + "tests/planted/location.py",
    "silver.campaign_synonyms": "the sample calls campaigns by their ids: tests/pipelines/gold/test_messages.py",
    "silver.identity_aliases": "nobody was merged with somebody; tests/models/identity/registry",
    "silver.identity_keys": "kept between runs alone; tests/models/identity/batch",
    "silver.steward_decisions": "no steward has decided; tests/models/identity/registry",
}
# No row tells of fewer than `least_people`: 200 people are spread over too many areas for the usual ten.
FROM_FEW = ("gold.store_catchments", "gold.trade_areas")
EVERY = sorted(
    {name for name in tables.TABLES if name.split(".")[0] in LAYERS and not name.split(".")[1].startswith("t_")}
    | {name for name in NAMED if name.split(".")[0] not in WAREHOUSE}
)


def rows_of(name: str, retailer) -> pl.DataFrame:  # type: ignore[no-untyped-def]
    """A table as it lies in the lake. One that would need scores, or tells of what happens after the date of the run,
    is built by hand."""
    makers = graph.producers_of().get(name, [])
    if reasons := [retailer.failures[made] for made in {name, *makers} if made in retailer.failures]:
        pytest.fail(reasons[0])
    if name in retailer.views:
        return retailer.views[name]
    rows = retailer.lake.scan(name).collect() if retailer.lake.exists(name) else tables.by_name(name).create_empty()
    node = graph.NODES.get(name)
    return by_hand(node, retailer) if rows.is_empty() and node and not node.is_producer else rows


def by_hand(node: Node, retailer) -> pl.DataFrame:  # type: ignore[no-untyped-def]
    params = retailer.rules.get(node.rules or "")
    if node.name in FROM_FEW:
        params = params.model_copy(update={"location": params.location.model_copy(update={"least_people": 2})})
    values = {"as_of": retailer.date_of(node.name), "params": params}
    made = node.function(*map(retailer.frame, node.inputs), **{k: v for k, v in values.items() if k in node.wants})
    partition = {"as_of": str(retailer.as_of)} if tables.spec(node.table).is_dated else {}
    return conform_to_storage(node.table, made, partition)


@pytest.mark.parametrize("name", EVERY)
def test_it_is_built_has_rows_and_keeps_its_contract(name: str, retailer) -> None:  # type: ignore[no-untyped-def]
    table = tables.by_name(name)
    rows = rows_of(name, retailer)
    if name in EMPTY:
        assert rows.is_empty(), f"{name} has {rows.height} rows: take it out of EMPTY"
        return
    assert rows.height, f"{name} is empty"
    if not name.startswith("bronze."):  # whose rows are judged on the way to silver
        contract = rows.select(list(table.columns()))
        kept = table.filter(contract)
        assert kept.failure.counts() == {}, f"{name} breaks its contract"
        key = table.primary_key() or ()
        assert not key or contract.select(key).is_unique().all(), f"{name}: {key} is not unique"


def test_what_is_empty_has_a_reason_and_exists() -> None:
    assert set(EMPTY) <= set(EVERY)
    assert all(len(reason) > 20 for reason in EMPTY.values())


@pytest.mark.parametrize("name", sorted(name for name in NAMED if name.split(".")[0] in WAREHOUSE))
def test_the_warehouse_loads_it(name: str) -> None:
    """Their rows and keys: tests/pipelines/warehouse/test_star.py, tests/test_warehouse.py."""
    assert name in stars.LOADS and name in tables.TABLES


def test_what_the_end_of_a_run_tells_is_told(retailer) -> None:  # type: ignore[no-untyped-def]
    assert {name for name in written_at_the_end() if retailer.lake.exists(name)} >= {"quality.repairs"}
