"""The requirements file tells the truth: every id is there, and what it names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = yaml.safe_load((ROOT / "configs" / "requirements.yaml").read_text(encoding="utf-8"))
SPECIFICATION = ROOT.parent / "shared" / "spec" / "requirements.md"


@pytest.fixture(scope="module")
def commands() -> set[str]:
    import typer.main

    from customer360.serve.cli import app

    group = typer.main.get_command(app)
    found = set()
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        found |= {name} | {f"{name} {inner}" for inner in getattr(command, "commands", {})}
    return found


@pytest.fixture(scope="module")
def endpoints() -> set[str]:
    from customer360.platform.settings import Settings
    from customer360.serve.app import build_app

    return set(build_app(Settings()).openapi()["paths"])


def test_states_are_planned_or_name_something() -> None:
    for number, row in REQUIREMENTS.items():
        named = {k for k in row if k in ("tables", "commands", "endpoints", "tests")}
        assert set(row) <= {"what", "state", "tables", "commands", "endpoints", "tests"}, number
        assert (row["state"] == "planned") == (not named), f"{number} is {row['state']!r} and names {sorted(named)}"


def test_named_tables_exist() -> None:
    from customer360.platform import tables
    from customer360.serve.compose import compose

    compose()
    missing = {f"{n}: {t}" for n, row in REQUIREMENTS.items() for t in row.get("tables", ()) if t not in tables.TABLES}
    assert not missing


def test_named_commands_exist(commands: set[str]) -> None:
    assert not {f"{n}: {c}" for n, row in REQUIREMENTS.items() for c in row.get("commands", ()) if c not in commands}


def test_named_endpoints_exist(endpoints: set[str]) -> None:
    assert not {f"{n}: {e}" for n, row in REQUIREMENTS.items() for e in row.get("endpoints", ()) if e not in endpoints}


def test_named_tests_exist() -> None:
    assert not {f"{n}: {t}" for n, row in REQUIREMENTS.items() for t in row.get("tests", ()) if not (ROOT / t).exists()}


@pytest.mark.skipif(not SPECIFICATION.exists(), reason="the specification does not lie beside this checkout")
def test_every_id_of_the_specification_is_listed() -> None:
    text = SPECIFICATION.read_text(encoding="utf-8")
    ids = set(re.findall(r"^\| ([A-Z][A-Za-z0-9-]*) \|", text, re.M)) | set(re.findall(r"\b(B\d+|K1[a-e]|K2)\b", text))
    assert ids == set(REQUIREMENTS)
