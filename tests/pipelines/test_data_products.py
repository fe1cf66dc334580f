"""Tables as products: what the contracts, the rule file and the lake say of each, told anew where a run changed it."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from customer360.pipelines.data_products import DataProducts, data_products
from customer360.pipelines.rules import PolicyRules
from customer360.platform import graph, tables
from customer360.platform.ledger import NodeRun, start_run

NAME = "gold.data_products"


@pytest.fixture(scope="module")
def told(retailer):  # type: ignore[no-untyped-def]
    def tell(*nodes: NodeRun, policy: PolicyRules | None = None) -> pl.DataFrame:
        run = replace(start_run("run test", "a test"), nodes=list(nodes))
        data_products(retailer.lake, retailer.settings, {"policy": policy or PolicyRules()}, run)
        return retailer.lake.scan(NAME).collect()

    return tell


def row(told: pl.DataFrame, name: str) -> dict[str, object]:
    return told.row(by_predicate=pl.col("table_name") == name, named=True)


def test_every_table_that_stands_is_a_product(told, retailer) -> None:  # type: ignore[no-untyped-def]
    found = told(NodeRun("silver.sessions", "built"))
    lake = retailer.lake
    standing = {t for t in tables.TABLES if t.split(".")[0] in ("bronze", "silver", "gold") and lake.exists(t)}
    assert set(found["table_name"]) == standing - {NAME}
    assert DataProducts.is_valid(found.sort("table_name"))
    for said in found.to_dicts():
        stored = lake.scan(str(said["table_name"])).select(pl.len()).collect().item()
        assert said["row_count"] == stored and said["version"] == lake.version(said["table_name"])
    assert found["description"].str.contains("One row per").mean() > 0.9
    assert set(found["owner"]).isdisjoint({"unassigned"})


def test_it_tells_what_a_table_is_made_of_and_who_answers_for_it(told) -> None:  # type: ignore[no-untyped-def]
    found = told(NodeRun("silver.sessions", "built"))
    cohorts = row(found, "gold.cohorts")
    assert cohorts["grain"] == ["cohort_month", "age_months"] and cohorts["owner"] == "analytics"
    assert set(cohorts["made_of"]) == set(graph.NODES["gold.cohorts"].inputs)  # type: ignore[call-overload]
    assert "shop_transactions" in cohorts["sources"] and "support_tickets" not in cohorts["sources"]  # type: ignore[operator]
    assert not cohorts["has_personal_data"]
    sessions = row(found, "silver.sessions")
    assert "silver.session_facts" in sessions["read_by"] and sessions["owner"] == "e-commerce"  # type: ignore[operator]
    assert row(found, "bronze.customers")["has_personal_data"]
    assert row(found, "gold.customer_features")["has_personal_data"], "no tagged column, and yet a row a person"
    assert sessions["state"] == "BUILT"
    assert cohorts["state"] == "BUILT" and cohorts["state_at"] < sessions["state_at"], "of the run before"  # type: ignore[operator]


def test_owners_are_named_by_table_before_domain_before_layer(told) -> None:  # type: ignore[no-untyped-def]
    policy = PolicyRules(owners={"gold.cohorts": "growth", "affinity": "merchandising", "silver": "platform team"})
    found = told(NodeRun("gold.cohorts", "failed"), policy=policy)
    assert row(found, "gold.cohorts")["owner"] == "growth" and row(found, "gold.cohorts")["state"] == "FAILED"
    assert row(found, "gold.product_affinity")["owner"] == "merchandising"
    assert row(found, "silver.reporting_rates")["owner"] == "platform team"
    assert row(found, "bronze.transactions")["owner"] == "finance", "a domain with a policy has its owner"


def test_a_run_that_changed_nothing_writes_nothing(told, retailer) -> None:  # type: ignore[no-untyped-def]
    told(NodeRun("gold.cohorts", "built"))
    version = retailer.lake.version(NAME)
    kept = told(NodeRun("gold.cohorts", "current"), NodeRun("silver.sessions", "current"))
    assert retailer.lake.version(NAME) == version and row(kept, "gold.cohorts")["state"] == "BUILT"
    after = told(NodeRun("silver.sessions", "built"), NodeRun("gold.cohorts", "blocked"))
    assert row(after, "gold.cohorts")["state"] == "BLOCKED"
    later = told(NodeRun("silver.sessions", "built"), NodeRun("gold.cohorts", "resting"))
    assert row(later, "gold.cohorts")["state"] == "RESTING"


def test_a_product_is_as_good_as_the_worst_of_its_sources(told, retailer) -> None:  # type: ignore[no-untyped-def]
    found = told(NodeRun("silver.sessions", "built"))
    judged = retailer.lake.scan("quality.data_quality_metrics").filter(pl.col("source_system") == "ALL").collect()
    if judged.is_empty():
        pytest.fail("the retailer has no quality metrics")
    newest = judged.sort("table_version").group_by("table_name").agg(pl.col("quality_score").last())
    scores = {name: float(score) for name, score in newest.iter_rows() if score is not None}
    sales = row(found, "silver.transaction_facts")
    below = {name: scores[name] for name in ("bronze.transactions", "bronze.transaction_items") if name in scores}
    assert sales["quality_score"] <= min(below.values())  # type: ignore[operator]
    assert sales["quality_score"] == scores[str(sales["worst_source"])]


def test_what_a_run_built_that_died_is_told_by_the_next(told, retailer) -> None:  # type: ignore[no-untyped-def]
    told(NodeRun("gold.cohorts", "built"))
    died = start_run("run that dies", "a test")
    died.save(retailer.lake)
    version = retailer.lake.version(NAME)
    told(NodeRun("gold.cohorts", "current"))
    assert retailer.lake.version(NAME) == version + 1
    died.end()
    died.save(retailer.lake)
    told(NodeRun("gold.cohorts", "current"))
    assert retailer.lake.version(NAME) == version + 1
