"""Drafts of invented folders: what each file is taken for, how it maps, and what the rows then say.

``customer360 init`` on each folder of ``cases`` has to give these sources. An expectation names what matters of each:
table, system, and some columns of the mapping.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from customer360.platform import settings as configuration
from customer360.serve.cli import app

CASES = sorted((Path(__file__).parent / "cases").glob("*.yaml"))


def folder_of(case: dict[str, Any], root: Path) -> Path:
    for name, text in case["files"].items():
        file = root / "in" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return root / "in"


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_folder_gives_sources(path: Path, tmp_path: Path) -> None:
    case = yaml.safe_load(path.read_text(encoding="utf-8"))
    out = tmp_path / "customer360.yaml"
    done = CliRunner().invoke(app, ["init", str(folder_of(case, tmp_path)), "--yes", "--out", str(out)])
    assert done.exit_code == 0, (done.output, done.exception)
    settings = configuration.load(out)
    found = {name: source.model_dump(exclude_defaults=True) for name, source in settings.sources.items()}
    assert set(found) == set(case["sources"])
    for name, expected in case["sources"].items():
        mapping = expected.pop("mapping", {})
        assert {key: found[name].get(key) for key in expected} == expected, name
        assert {column: found[name]["mapping"].get(column) for column in mapping} == mapping, name
    for line in case["says"]:
        assert line in done.output, done.output
