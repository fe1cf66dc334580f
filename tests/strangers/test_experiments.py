"""Exposures as other tools log them: a Segment track call, an export of a flag service, from the file to a report."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from customer360.serve.activation.experiments import analysis, register

SEGMENT = {
    "kind": "files", "path": "segment/*.jsonl", "format": "json", "table": "bronze.exposures", "system": "SHOP",
    "where": "event = 'Experiment Viewed'",
    "mapping": {
        "EXPOSURE_ID": "messageId", "EXPERIMENT": "properties.experiment_id", "ARM": "properties.variation_name",
        "CUSTOMER_ID": "userId", "VISITOR_ID": "anonymousId", "EXPOSED_AT": "timestamp",
    },
}  # fmt: skip
EXPORT = {
    "kind": "files", "path": "export/*.csv", "format": "csv", "table": "bronze.exposures", "system": "SHOP",
    "mapping": {
        "EXPOSURE_ID": "concat(experiment, '/', unit_id)", "EXPERIMENT": "experiment", "ARM": "lower(group_name)",
        "VISITOR_ID": "unit_id", "EXPOSED_AT": "first_exposure_utc",
    },
}  # fmt: skip
RULES = {
    "metrics": {"bought": {"measure": "any"}},
    "experiments": {"checkout": {"description": "One page", "unit": "visitor", "arms": {"control": 0.5, "variant": 0.5},
                                 "metrics": ["bought"], "minimum": 20}},
}  # fmt: skip


def call(number: int, **other: Any) -> str:
    said = {
        "type": "track", "event": "Experiment Viewed", "messageId": f"m{number}", "anonymousId": f"anon-{number}",
        "userId": None, "timestamp": "2026-01-05T10:00:00.000Z",
        "properties": {"experiment_id": "checkout", "variation_id": str(number % 2),
                       "variation_name": ("control", "variant")[number % 2]},
    }  # fmt: skip
    return json.dumps(said | other)


def test_logs_of_other_tools_land_by_a_mapping_and_are_reported(site: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "experiments.yaml").write_text(yaml.safe_dump(RULES, sort_keys=False))
    made = site(
        tmp_path / "site", SOURCES=json.dumps({"segment": SEGMENT, "export": EXPORT}),
        RULES__EXPERIMENTS=tmp_path / "experiments.yaml",
    )  # fmt: skip
    only = {name: made.settings.sources[name] for name in ("segment", "export")}
    made = type(made)(made.root, made.settings.model_copy(update={"sources": only}))
    lines = [call(n) for n in range(40)]
    lines += [lines[3], call(40, event="Product Viewed"), call(41, anonymousId=None), call(42, timestamp="soon")]
    made.deliver("segment/2026-01-05.jsonl", lines)
    made.deliver("export/exposures.csv", [
        "experiment,unit_id,group_name,first_exposure_utc",
        *(f"checkout,anon-{n},{('Control', 'Variant')[n % 2]},2026-01-06 09:00:00" for n in range(20, 60)),
        "checkout,anon-1,Control,2026-01-07 09:00:00",
    ])  # fmt: skip
    made.run(end="silver.exposures")
    stored = made.lake.scan("silver.exposures").collect()
    assert stored.height == 40 + 41, "repeats, other events and what names nobody or no time is not among them"
    register.start(made.settings, "checkout", actor="me", since=datetime(2026, 1, 1, tzinfo=UTC))
    found = analysis.report(made.settings, "checkout", date(2026, 2, 1))
    assert found.exposed is not None and found.exposed.mixed == 1, "anon-1 met both"
    assert found.counts == {"control": 30, "variant": 29}
    first = stored.filter(pl.col("visitor_id") == "anon-20")["exposed_at"].min()
    assert first == datetime(2026, 1, 5, 10, tzinfo=UTC)
