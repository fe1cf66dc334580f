"""Changing a rule file changes the output; a bad file is refused with its place (P3)."""

from __future__ import annotations

from pathlib import Path

import pytest

from customer360.pipelines.gold.customers import customer_360
from customer360.pipelines.rules import EnrichmentRules
from customer360.platform import graph
from customer360.platform.errors import ConfigError
from customer360.platform.run.planning import Context, prepare
from customer360.platform.settings import Settings
from customer360.serve.compose import compose, rules_of


def segments(retailer, rules: EnrichmentRules) -> set[str]:
    made = customer_360(
        *(retailer.frame(t) for t in graph.NODES["gold.customer_360"].inputs), as_of=retailer.as_of, params=rules
    ).collect()
    return set(made["value_segment"])


def test_a_changed_threshold_changes_segments_and_fingerprint(retailer) -> None:
    compose()
    usual = retailer.rules["enrichment"]
    lower = usual.model_copy(
        update={"value_segments": [usual.value_segments[0].model_copy(update={"spent_above": 1, "orders_above": 0})]}
    )
    assert "VIP" not in segments(retailer, usual)
    assert "VIP" in segments(retailer, lower)
    node, context = graph.NODES["gold.customer_360"], Context(retailer.lake, retailer.settings, retailer.as_of)
    assert (
        prepare(node, context, {"enrichment": usual}).fingerprint
        != prepare(node, context, {"enrichment": lower}).fingerprint
    )


def test_a_bad_rule_file_is_refused_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "configs" / "enrichment.yaml"
    file.parent.mkdir()
    file.write_text("active_days: -3\nunknown_key: 1\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"(?s)active_days.*unknown_key"):
        rules_of(Settings(rules={"enrichment": "enrichment.yaml"}))
