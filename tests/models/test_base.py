"""The registry of models and the shape of what they write."""

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
import yaml

from customer360.models import base
from customer360.models.declared import Plan
from customer360.platform.errors import ModelError

PARAMETERS = Path(__file__).parents[2] / "configs" / "models"
AS_OF, NOW = date(2024, 7, 1), datetime(2024, 7, 1, 3, tzinfo=UTC)


@pytest.mark.parametrize("name", ["churn", "item_to_item"])
def test_parameters_on_file_are_the_defaults(name: str) -> None:
    model = base.find(name)
    content = yaml.safe_load((PARAMETERS / f"{name}.yaml").read_text())
    assert model.params(**{k: v for k, v in content.items() if k not in Plan.model_fields}) == model.params()
    with pytest.raises(ValueError, match="speed"):
        model.params(speed=3)


def test_unknown_and_double_names() -> None:
    with pytest.raises(ModelError, match="no model called nothing"):
        base.find("nothing")
    with pytest.raises(ModelError, match="no model called frames"):
        base.find("frames")  # a module that is no model
    with pytest.raises(ModelError, match="two models are called churn"):
        base.register(replace(base.find("churn"), target="other"))


def test_rows_carry_model_version_and_times() -> None:
    payload = pl.DataFrame(
        [("p1", 0.25, [{"feature": "recency_days", "value": 3.0, "contribution": 0.1}])],
        schema=base.PAYLOADS["gold.predictions"],
        orient="row",
    )
    model = replace(base.find("churn"), predict=lambda fitted, snapshot: payload)
    found = base.predictions(model, None, base.Snapshot({}, AS_OF), "7", NOW)
    assert tuple(found.columns) == base.COLUMNS["gold.predictions"]
    assert found.schema["scored_at"] == pl.Datetime("us", "UTC") and found.schema["as_of"] == pl.Date
    row = found.row(0, named=True)
    assert (row["model"], row["version"], row["target"], row["scored_at"], row["as_of"]) == (
        "churn",
        "7",
        "churned_90d",
        NOW,
        AS_OF,
    )
    wrong = replace(model, predict=lambda fitted, snapshot: payload.drop("reasons"))
    with pytest.raises(ModelError, match=r"gold\.predictions needs"):
        base.predictions(wrong, None, base.Snapshot({}, AS_OF), "7", NOW)


def test_fingerprint_sees_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    first = base.fingerprint(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    renamed = base.fingerprint(tmp_path)
    (tmp_path / "b").write_bytes(b"2")
    assert len({first, renamed, base.fingerprint(tmp_path)}) == 3
