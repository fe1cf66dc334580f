"""The requirements file tells the truth: every id is there, and what it names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = yaml.safe_load((ROOT / "configs" / "requirements.yaml").read_text(encoding="utf-8"))
# The requirements of the specification: last number by letter, and those that have parts.
LAST = {"C": 9, "S": 10, "L": 5, "X": 6, "Q": 11, "P": 7, "V": 20, "B": 20, "G": 21, "W": 7, "R": 8, "K": 2}
PARTS = {"V19": "abcd", "G20": "abcd", "R5": "abc", "K1": "abcde"}


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


def test_no_requirement_is_lost() -> None:
    """By letter, numbers run from one to the last; some have parts (V19a, V19b), and V-T and V-B stand beside them."""
    found = {
        letter: {int(n) for name in REQUIREMENTS for n in re.findall(rf"^{letter}(\d+)[a-e]?$", name)}
        for letter in LAST
    }
    assert found == {letter: set(range(1, last + 1)) for letter, last in LAST.items()}
    parts = {name for name in REQUIREMENTS if name[-1].isalpha()}
    assert parts == {f"{n}{p}" for n, letters in PARTS.items() for p in letters} | {"V-T", "V-B"}
