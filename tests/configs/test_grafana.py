"""The dashboard asks Prometheus only for what `/metrics` exposes, by labels that it has."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from customer360.platform import access
from customer360.platform.settings import Settings
from customer360.serve import operations
from customer360.serve.app import build_app

FILE = Path(__file__).resolve().parents[2] / "configs" / "grafana" / "customer360.json"
BOARD: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]
NAME = re.compile(r"customer360_\w+")


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Labels of every series by its name, of a server that answered somebody, has a source and took events."""
    state = tmp_path_factory.mktemp("state")
    settings = Settings(state=str(state), lake={"root": str(state / "lake")})
    patched = pytest.MonkeyPatch()
    source = operations.SourceState(**{name: _plausible(name) for name in operations.SourceState.__dataclass_fields__})
    patched.setattr(operations, "states", lambda *_: [source])
    labels: dict[str, set[str]] = defaultdict(set)
    with TestClient(build_app(settings), headers={"X-API-Key": access.issue(state, "m", "metrics")}) as client:
        client.get("/healthz")
        text = client.get("/metrics").text
    patched.undo()
    for family in text_string_to_metric_families(text):
        labels[family.name] |= set()
        for sample in family.samples:
            labels[sample.name] |= sample.labels.keys()
    return labels


def _plausible(name: str) -> Any:
    words = {"source": "web", "state": "ok", "lag": {"inputs": 2.0}, "open_since": None}
    return words.get(name, 1)


def test_it_is_a_board_that_can_be_imported() -> None:
    assert BOARD["schemaVersion"] >= 39 and "id" not in BOARD, "an id is of one installation"
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    variables = {variable["name"] for variable in BOARD["templating"]["list"]}
    assert {target["datasource"]["uid"] for panel in PANELS for target in panel["targets"]} == {"${datasource}"}
    assert "datasource" in variables
    boxes = [panel["gridPos"] for panel in BOARD["panels"]]
    assert all(box["x"] + box["w"] <= 24 for box in boxes)
    cells = [(x, y) for b in boxes for x in range(b["x"], b["x"] + b["w"]) for y in range(b["y"], b["y"] + b["h"])]
    assert len(set(cells)) == len(cells), "panels lie over each other"


@pytest.mark.parametrize(("title", "expression"), EXPRESSIONS)
def test_every_series_is_exposed(exposed: dict[str, set[str]], title: str, expression: str) -> None:
    names = set(NAME.findall(expression))
    counters = {name for name in exposed if f"{name}_total" in names}  # a counter without a sample names no series
    assert names <= exposed.keys() | {f"{name}_total" for name in counters}, title
    asked = {word for group in re.findall(r"by \(([^)]*)\)", expression) for word in re.split(r"\W+", group) if word}
    asked |= set(re.findall(r"[{,]\s*(\w+)\s*=~?\"", expression))
    known = set().union(*(exposed.get(name, set()) | _declared(name) for name in names))
    assert asked <= known, title


def _declared(name: str) -> set[str]:
    """Labels of a metric of this process, also of one that was never counted."""
    found = REGISTRY._names_to_collectors.get(name)
    return set(getattr(found, "_labelnames", ()))


def test_what_tells_that_answers_or_data_are_behind_is_shown(exposed: dict[str, set[str]]) -> None:
    shown = {name for _, expression in EXPRESSIONS for name in NAME.findall(expression)}
    needed = {f"customer360_{name}" for name in ("alerts_open", "generation_age_seconds", "operations_readable")}
    assert needed <= shown & exposed.keys()
