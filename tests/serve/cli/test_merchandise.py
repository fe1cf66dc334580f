"""Merchandising rules tried at a shell: what is shown, and what others would change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from customer360.serve.cli import app

RULES = """
version: 1
rules:
  first: {do: pin, position: 1, where: 'product_id == "P2"', placements: [home]}
  gone: {do: hide, where: 'product_id == "P3"'}
  nothing: {do: bury, where: 'category == "Wine"'}
"""


@pytest.fixture
def run(published: Any, tmp_path: Path) -> Any:
    """A command on the published shop, with a file of rules; its exit code and what it printed."""
    rules, settings = tmp_path / "tried.yaml", tmp_path / "settings.yaml"
    rules.write_text(RULES)
    settings.write_text(f"state: {published.state}\nlake:\n  root: {published.lake.root}\n")

    def command(*words: str) -> tuple[int, str]:
        found = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["merchandise", *words, "--config", str(settings)])
        return found.exit_code, found.output + (str(found.exception) if found.exception else "")

    command.rules = rules  # type: ignore[attr-defined]
    return command


def test_preview_shows_what_rules_do(run: Any) -> None:
    code, plain = run("preview", "--person", "p_ann")
    assert code == 0, plain
    assert plain.index("P4") < plain.index("P3") < plain.index("P2")
    code, tried = run("preview", "--person", "p_ann", "--file", str(run.rules))
    assert code == 0, tried
    assert tried.index("P2") < tried.index("P4")
    assert "first" in tried and "rule gone" in tried and "P3" not in tried


def test_diff_counts_answers_and_names_products(run: Any) -> None:
    code, said = run("diff", str(run.rules), "-k", "2")
    assert code == 0, said
    rows = {line.split()[0]: line for line in said.replace("│", " ").splitlines() if line.split()[1:2] == ["5"]}
    assert set(rows) == {"home", "product", "cart", "search", "email"}, said
    assert "P3 -" in rows["home"] and "P2 +" in rows["home"]
    assert "nothing: means no product of the catalogue" in said and "first: 1 products" in said


def test_what_is_wrong_is_said(run: Any, tmp_path: Path) -> None:
    assert "no placement is called 'attic'" in run("preview", "--placement", "attic")[1]
    assert "no such published person" in run("preview", "--person", "nobody")[1]
    run.rules.write_text(RULES.replace("product_id ==", "product ==", 1))
    code, said = run("preview", "--file", str(run.rules))
    assert code != 0
    assert "line 4" in said and "product_id" in said
