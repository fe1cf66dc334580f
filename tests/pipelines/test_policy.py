"""Every personal column has an owner, a purpose, a legal basis and a retention; every use of a person a purpose."""

from __future__ import annotations

import pickle
from dataclasses import astuple

import pytest

from customer360.models.base import MODELS
from customer360.models.lifecycle.job import needs
from customer360.pipelines import policy
from customer360.pipelines.gold.customers import GROUPS, REFUSABLE, Customer360
from customer360.pipelines.policy import keep_days, policies
from customer360.pipelines.rules import PolicyRules
from customer360.platform import graph, purposes, retention, tables
from customer360.platform import settings as configuration
from customer360.platform.errors import ConfigError
from customer360.serve.compose import compose, rules_of


@pytest.fixture(autouse=True)
def composed() -> None:
    compose()


def gold_of_persons() -> list[str]:
    return [n for n, table in sorted(tables.TABLES.items()) if n.startswith("gold.") and "person_id" in table.columns()]


def test_every_personal_column_has_a_whole_policy() -> None:
    found = policies(PolicyRules())
    columns = {(n, c) for n, table in tables.TABLES.items() for c in tables.pii_columns(table)}
    assert {(each.table, each.column) for each in found} == columns and len(found) == len(columns)
    assert all(all(astuple(each)) for each in found)
    by_table = {each.table: each for each in found}
    assert by_table["silver.service_contacts"].owner == by_table["bronze.service_interactions"].owner
    assert {each.purpose for each in found if each.column == "income_range" and each.table.startswith("gold.")} == {
        "PERSONALIZATION"
    }


def test_a_source_of_no_domain_is_named() -> None:
    with pytest.raises(ConfigError, match="no domain service, of which bronze"):
        policies(PolicyRules(domains={n: d for n, d in PolicyRules().domains.items() if n != "service"}))


def test_the_rule_file_says_what_the_defaults_say() -> None:
    rules = rules_of(configuration.load(None, {}))["policy"]
    assert rules == PolicyRules()


def test_a_table_keeps_its_rows_for_its_own_time_before_that_of_its_domain() -> None:
    domains = PolicyRules().domains
    short = {**domains, "behavior": domains["behavior"].model_copy(update={"keep_days": 400})}
    rules = PolicyRules(domains=short, keep_days={"bronze.sessions": None, "bronze.transactions": 3650})
    usual = dict.fromkeys(("bronze.devices", "bronze.events", "bronze.impressions"), 400)
    sources = {name: days for name, days in keep_days(rules).items() if name.startswith("bronze.")}
    assert sources == {**usual, "bronze.transactions": 3650}
    retention.checked(keep_days(rules))
    rules = rules.model_copy(update={"keep_days": {**rules.keep_days, "bronze.preferences": 90}})
    told = {each.table: each.retention for each in policies(rules)}
    assert told["bronze.events"] == "400 days", "answers of who ever refused stay, and the register says so"
    assert told["bronze.preferences"] == "90 days; of who ever refused until erased"
    for wrong in ("bronze.agents", "silver.events", "bronze.campaign_audiences"):
        with pytest.raises(ConfigError, match=wrong):
            retention.checked({wrong: 10})


def test_editions_of_persons_go_with_the_source_below_them_that_goes_first() -> None:
    rules = PolicyRules(keep_days={"bronze.events": 400, "bronze.reviews": 100, "gold.customer_value": None,
                                   "gold.predictions": 50, "gold.price_index": 30, "bronze.weather": 20})  # fmt: skip
    days = keep_days(rules)
    assert (days["gold.customer_360"], days["gold.device_evidence"]) == (100, 400)
    assert "gold.customer_value" not in days, "said to stay"
    assert (days["gold.predictions"], days["gold.price_index"]) == (50, 30)
    assert "gold.product_demand" not in days, "it names nobody"
    retention.checked(days)
    told = {each.table: each.retention for each in policies(rules)}
    assert told["gold.customer_360"] == "as its sources; its editions 100 days"
    assert not keep_days(PolicyRules())


def test_tables_of_a_domain_whose_rows_have_no_age_stay_and_are_named() -> None:
    short = {n: d.model_copy(update={"keep_days": 400}) for n, d in PolicyRules().domains.items()}
    rules = PolicyRules(domains=short)
    assert {"bronze.campaign_audiences", "bronze.grouped_records"} <= set(policy.ageless(rules))
    assert keep_days(rules) and set(keep_days(rules)).isdisjoint(policy.ageless(rules))
    retention.checked(keep_days(rules))


def test_what_a_source_is_used_for_follows_from_what_is_built_of_it() -> None:
    assert policy.uses("gold.predictions") == ("PROFILING",)
    assert policy.uses("silver.touches") == policy.uses("bronze.engagement_events")
    assert {"OPERATION", "PERSONALIZATION", "PROFILING"} <= set(policy.uses("bronze.transactions"))
    assert policy.uses("quality.dead_letters") == policy.uses("gold.restrictions") == ("OPERATION",)
    assert {each.serves for each in policies(PolicyRules()) if each.table == "bronze.transactions"} == {
        " + ".join(policy.uses("bronze.transactions"))
    }


def test_every_gold_table_of_persons_says_what_it_serves() -> None:
    """A new one that does not would be nobody's to refuse."""
    silent = [n for n in gold_of_persons() if tables.spec(tables.by_name(n)).serves is None]
    assert silent == ["gold.customer_360"], "its groups say it, column by column"
    assert all(vars(group)["__serves__"] for group in GROUPS.values())
    grouped = {c for name in REFUSABLE for c in GROUPS[name].columns()}
    assert set(purposes.of_columns(Customer360)) == grouped


@pytest.mark.parametrize("name", ["gold.predictions", "gold.recommendations", "gold.category_scores"])
def test_what_models_write_serves_a_purpose(name: str) -> None:
    assert purposes.of_rows(tables.by_name(name)) in purposes.PURPOSES


def test_every_maker_of_what_may_be_refused_is_told_who_denies() -> None:
    for node in graph.NODES.values():
        if node.name.startswith("gold.") and purposes.is_withheld(node.table):
            told = node.awaits if node.is_producer else node.inputs
            assert purposes.DENIALS in told, node.name


def test_builds_travel_to_workers() -> None:
    for node in graph.NODES.values():
        if isinstance(node.function, purposes.Withholding):
            again = pickle.loads(pickle.dumps(node.function))
            assert again.table is node.table and again.function is node.function.function


def test_whatever_is_emptied_may_be_empty() -> None:
    for name in gold_of_persons():
        table = tables.by_name(name)
        for column in purposes.of_columns(table):
            declared = table.columns()[column]
            assert declared.nullable or isinstance(declared, tables.List), f"{name}.{column}"


def test_every_model_needs_a_purpose_and_a_fit_of_it_training() -> None:
    assert MODELS
    for model in MODELS.values():
        assert needs(model, fitting=False) & {"PERSONALIZATION", "PROFILING"}, model.name
        assert needs(model, fitting=True) == needs(model, fitting=False) | {"TRAINING"}
