"""Pipelines and stages by name: what each is for, what a wrong name says, what follows a run that failed."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from customer360.platform import graph, tables
from customer360.platform import settings as configuration
from customer360.platform.errors import ConfigError, Customer360Error, RunError
from customer360.platform.ledger import Run
from customer360.platform.run import RunRequest
from customer360.platform.settings import Settings
from customer360.serve import compose as compose_module
from customer360.serve import jobs, modelling, pipelines
from customer360.serve.compose import compose

CONFIGS = Path(__file__).parents[2] / "configs"

compose()


STAGES = {
    "identity": {"addresses", "customer_records", "device_links", "identities", "loyalty_systems", "person_accounts"},
    "enrichment": {"external_profiles", "external_sentiment", "online_orders", "products", "profile_reliability", "stock",  # noqa: E501
                   "stores", "transaction_facts", "transaction_items", "transactions"},
    "standardization": {"events", "session_facts", "sessions", "subject_days", "tracker_sessions", "visitor_logins"},
    "validation": {"agents", "campaign_aliases", "campaign_audiences", "campaign_names", "campaigns",
                   "consent_intervals", "messages", "preferences", "service_contacts", "service_tickets", "touches"},
}  # fmt: skip


def test_every_silver_table_belongs_to_one_stage() -> None:
    staged = [name for nodes in pipelines.stages("silver").values() for name in nodes]
    silver = {n for n in graph.NODES if n.startswith("silver.")}
    assert len(staged) == len(set(staged))
    assert silver == set(staged), "state the ACTIVITY of the modules that make these tables"


def test_no_table_changed_its_stage() -> None:
    now = {stage: {n.removeprefix("silver.") for n in nodes} for stage, nodes in pipelines.stages("silver").items()}
    for stage, tables_of in STAGES.items():
        assert tables_of <= now[stage], f"these are of {stage} by the specification"


def made_by(name: str, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of that name, which makes silver.t_new."""
    module = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    exec(
        "from customer360.platform.graph import builds\nfrom customer360.platform.tables import String, Table\n"
        f"{body}\nclass New(Table, table='silver.t_new'):\n    'One row per thing.'\n    id = String()\n"
        "@builds(New)\ndef t_new(silver_events): ...\n",
        module.__dict__,
    )


def test_a_new_domain_gets_its_stage_by_stating_it(registries: None, monkeypatch: pytest.MonkeyPatch) -> None:
    made_by("customer360.pipelines.silver.t_garden", "ACTIVITY = 'validation'", monkeypatch)
    assert "silver.t_new" in pipelines.stages("silver")["validation"]


@pytest.mark.parametrize("body", ["", "ACTIVITY = 'validating'"])
def test_a_domain_without_a_stage_is_named(body: str, registries: None, monkeypatch: pytest.MonkeyPatch) -> None:
    made_by("customer360.pipelines.silver.t_garden", body, monkeypatch)
    with pytest.raises(ConfigError, match=r"silver\.t_garden makes silver\.t_new and belongs to no stage.*enrichment"):
        pipelines.stages("silver")


def test_the_stages_are_the_specifications_activities() -> None:
    assert list(pipelines.stages("silver")) == ["identity", "enrichment", "standardization", "validation"]
    assert list(pipelines.stages("gold")) == ["customer_360", "personalization_features", "recommendation_models"]
    assert {"silver.identities", "silver.people"} & set(pipelines.stages("silver")["identity"])
    assert "silver.transaction_facts" in pipelines.stages("silver")["enrichment"]
    assert "silver.session_facts" in pipelines.stages("silver")["standardization"]
    assert "silver.messages" in pipelines.stages("silver")["validation"]
    for names in pipelines.GOLD_STAGES.values():
        assert all(name in tables.TABLES for name in names)
    assert all(pipelines.stages("gold").values()) and not pipelines.stages("bronze")


@pytest.mark.parametrize(
    ("pipeline", "stage", "hint"),
    [("gpld", None, "gold"), ("chrun", None, "churn"), ("silver", "identiy", "identity"), ("gold.customer_36", None, "gold.customer_360"),  # noqa: E501
     ("bronze", "identity", "none"), (None, "identity", "run silver")],
)  # fmt: skip
def test_a_wrong_name_is_refused_with_the_nearest(pipeline: str | None, stage: str | None, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        pipelines.check(pipeline, stage)


@pytest.mark.parametrize(
    "pipeline", [None, "master", "bronze", "silver", "gold", "warehouse", "churn", "bronze.events", "silver.people"]
)
def test_known_names_pass(pipeline: str | None) -> None:
    pipelines.check(pipeline, None)


class Calls:
    """Jobs that only note that they were asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, failures: dict[str, str] | None = None):
        self.made: list[str] = []
        self.asked = RunRequest()

        def run_pipeline(settings: Settings, asked: RunRequest) -> Run:
            self.made.append("run")
            self.asked = asked
            if failures:
                raise RunError(failures)
            return Run("r", "2026-06-01", "run")

        monkeypatch.setattr(jobs, "run_pipeline", run_pipeline)
        monkeypatch.setattr(modelling, "train", lambda settings, name, as_of: self.made.append(f"train {name}"))
        for name in ("publish", "load_warehouse"):
            monkeypatch.setattr(jobs, name, lambda settings, name=name: self.made.append(name))


@pytest.mark.parametrize(
    ("pipeline", "stage", "made"),
    [(None, None, ["run", "publish"]), ("master", None, ["run", "load_warehouse", "publish"]), ("gold", None, ["run"]),
     ("silver", "identity", ["run"]), ("warehouse", None, ["load_warehouse"]), ("churn", None, ["train churn", "run", "publish"])],  # noqa: E501
)  # fmt: skip
def test_what_each_pipeline_does(
    pipeline: str | None, stage: str | None, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls(monkeypatch)
    pipelines.run(Settings(), pipeline, stage)
    assert calls.made == made


def test_a_stage_brings_what_it_needs_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    pipelines.run(Settings(), "silver", "identity")
    only = calls.asked.only or frozenset()
    assert {"silver.identities", "silver.visitor_logins", "silver.person_accounts"} <= only
    assert "silver.messages" not in only and not any(n.startswith("gold.") for n in only)


def test_a_model_is_scored_and_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    pipelines.run(Settings(), "churn")
    only = calls.asked.only or frozenset()
    assert {"gold.predictions/churn", "gold.customer_360", "gold.recommendation_models"} <= only
    assert "gold.predictions/clv" not in only and not any(n.startswith("silver.") for n in only)


def test_a_failure_stops_only_what_depends_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch, {"gold.reference_counts": "broke"})
    with pytest.raises(RunError) as failed:
        pipelines.run(Settings(), "master")
    assert calls.made == ["run", "publish"], "the warehouse reads all of gold, the publication does not"
    assert failed.value.failures == {
        "gold.reference_counts": "broke", "warehouse": "needs gold.reference_counts, which failed",
    }  # fmt: skip


def test_a_failure_below_the_profiles_keeps_the_last_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch, {"silver.events": "broke", "gold.customer_360": "needs silver.events, which failed"})
    with pytest.raises(RunError, match=r"publication: needs gold\.customer_360, silver\.events"):
        pipelines.run(Settings())
    assert calls.made == ["run"]


def test_a_step_that_fails_does_not_stop_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)

    def broken(settings: Settings) -> None:
        raise Customer360Error("no room")

    monkeypatch.setattr(jobs, "load_warehouse", broken)
    with pytest.raises(RunError, match="warehouse: no room"):
        pipelines.run(Settings(), "master")
    assert calls.made == ["run", "publish"]


def test_a_run_reads_its_rule_files_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str | None] = []
    reader = compose_module._read
    monkeypatch.setattr(compose_module, "_read", lambda model, name: read.append(name) or reader(model, name))
    Calls(monkeypatch)
    ask = compose_module.rules_of
    monkeypatch.setattr(jobs, "publish", lambda settings: (ask(settings), ask(settings)))  # as what follows a run does
    settings = configuration.load(CONFIGS / "local.yaml")
    pipelines.run(settings)
    asked = [name for name in read if name in settings.rules.values()]
    assert sorted(asked) == sorted(settings.rules.values())
