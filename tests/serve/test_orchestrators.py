"""The page for orchestrators tells the truth: its code runs, and the fields that it names are there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from customer360.platform import ledger
from customer360.platform.run.preview import NodePreview, Preview
from customer360.platform.settings import Settings
from customer360.serve import operations
from customer360.serve.cli import rehearsal

PAGE = (Path(__file__).parents[2] / "docs" / "orchestrators.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("has_work", [True, False])
def test_the_block_runs_as_it_stands(monkeypatch: pytest.MonkeyPatch, has_work: bool) -> None:
    asked: list[list[str]] = []
    node = NodePreview(1, "silver.x", "build" if has_work else "current", "")
    plan = rehearsal.as_json(Preview((), (node,)))

    def run(words: list[str], **options: Any) -> Any:
        asked.append(words[1:])
        return subprocess.CompletedProcess(words, 0, stdout=plan if words[1] == "plan" else "")

    monkeypatch.setattr(subprocess, "run", run)
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
    exec(compile(block, "orchestrators.md", "exec"), {})
    assert asked == [["plan", "--json"], *([["run"]] if has_work else [])]


def test_the_fields_of_plans_runs_and_sources_are_those_of_the_page(tmp_path: Path) -> None:
    plan = json.loads(rehearsal.as_json(Preview((), ())))
    assert set(plan) == {"version", "has_work", "faults", "sources", "findings", "plan"} and plan["version"] == 1
    told = operations.about(ledger.start_run("run", "ann"))
    sources = {"crm": {"table": "bronze.customers", "system": "CRM", "kind": "files", "path": "x"}}
    settings = Settings.model_validate({
        "state": str(tmp_path), "lake": {"root": str(tmp_path / "lake")}, "sources": sources
    })  # fmt: skip
    standing = operations.standing(settings, datetime.now(UTC))
    for field in (*plan, *told, *standing["sources"][0], "last_run"):
        assert f"`{field}" in PAGE, field
    assert not [state for state in operations.STATES if f"| `{state}` |" not in PAGE]


@pytest.mark.slow
def test_a_second_run_ends_with_its_own_code(tmp_path: Path) -> None:
    from customer360.platform.lake import Lake

    settings = tmp_path / "s.yaml"
    (tmp_path / "landing").mkdir()
    root = str(tmp_path / "lake")
    settings.write_text(json.dumps({
        "landing": str(tmp_path / "landing"), "state": str(tmp_path / "state"), "lake": {"root": root},
        "execution": {"executor": "local"},
    }))  # fmt: skip
    with Lake(root, {}, 16).run_lock("another"):
        words = [sys.executable, "-m", "customer360.serve.cli", "run", "--config", str(settings)]
        done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 6 and done.stderr.count("\n") == 1 and "locked by another run" in done.stderr
