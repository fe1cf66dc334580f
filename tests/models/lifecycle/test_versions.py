"""The registry's versions as a table."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from customer360.models.lifecycle import versions as registered
from customer360.models.lifecycle.tracking import Version, local_registry
from customer360.models.lifecycle.versions import RecommendationModels, recommendation_models
from customer360.platform import tables
from customer360.platform.lake import Lake
from customer360.platform.run.planning import Context
from customer360.platform.run.units import conform_to_storage
from customer360.platform.settings import Settings
from customer360.serve.compose import compose

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # MLflow's own warnings are not ours

NOW = datetime(2026, 6, 1, 2, tzinfo=UTC)
TRAINED = {
    "as_of": "2026-06-01",
    "fingerprint": "ab12",
    "data.silver.subject_days": "7",
    "verdict.auc_over_recency": "better",
}


def rows(monkeypatch: pytest.MonkeyPatch, *versions: Version) -> list[dict]:
    compose()
    monkeypatch.setattr(registered, "registered", lambda settings: SimpleNamespace(versions=lambda: list(versions)))
    context = Context(Lake("unused"), Settings(), None)
    return conform_to_storage(RecommendationModels, recommendation_models(context), {}).to_dicts()


def test_a_version_is_told_with_what_made_it_and_how_it_was_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    champion = Version("churn", "2", NOW, "run2", ("champion",), TRAINED, {"auc": 0.8})
    challenger = Version("churn", "3", NOW, "run3", ("challenger",), TRAINED, {})
    gone = Version("retired", "1", NOW, None, (), {}, {})
    first, second, third = rows(monkeypatch, champion, challenger, gone)
    assert (first["stage"], first["is_champion"], first["trained_as_of"]) == ("champion", True, date(2026, 6, 1))
    assert first["output"] == "gold.predictions" and first["algorithm"]
    assert first["data_versions"] == [{"name": "silver.subject_days", "version": "7"}]
    assert first["metrics"] == [{"name": "auc", "value": 0.8}]
    assert first["verdicts"] == [{"name": "auc_over_recency", "verdict": "better"}]
    assert (second["stage"], second["is_champion"]) == ("challenger", False)
    assert (third["stage"], third["algorithm"], third["metrics"], third["trained_as_of"]) == (
        "registered",
        None,
        [],
        None,
    )


def test_nothing_trained_is_an_empty_table(tmp_path: Path) -> None:
    context = Context(Lake("unused"), Settings(state=str(tmp_path)), None)
    made = conform_to_storage(RecommendationModels, recommendation_models(context), {})
    assert made.height == 0 and dict(made.schema) == tables.schema(RecommendationModels)
    assert local_registry(tmp_path).versions() == []
