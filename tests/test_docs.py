"""Generated pages are current, and the README's commands and paths exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from customer360.platform import catalogue
from customer360.serve.compose import compose

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_catalogue_is_current(tmp_path: Path) -> None:
    compose()
    for page in catalogue.write(tmp_path):
        committed = ROOT / "docs" / "tables" / page.name
        assert committed.read_text() == page.read_text(), f"{committed} is stale: run `customer360 catalog`"


def test_the_matrix_is_current() -> None:
    written = catalogue.with_matrix(README, ROOT / "configs" / "requirements.yaml")
    assert written == README, "the README's matrix is stale: run `customer360 catalog`"


def test_every_package_page_exists() -> None:
    for folder in ("platform", "pipelines", "models", "serve"):
        assert (ROOT / folder / "README.md").exists(), folder


@pytest.mark.parametrize("command", sorted(set(re.findall(r"customer360 ([a-z]+(?: [a-z]+)?)", README))))
def test_the_commands_of_the_readme_exist(command: str) -> None:
    import typer.main

    from customer360.serve.cli import app

    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    first, _, second = command.partition(" ")
    assert first in known, f"`customer360 {command}`"
    if second and getattr(known[first], "commands", None):
        assert second in known[first].commands, f"`customer360 {command}`"


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(((?!http)[^)#]+)", README))))
def test_the_links_of_the_readme_lead_somewhere(target: str) -> None:
    assert (ROOT / target).exists()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`make ([a-z]+)`", README))))
def test_the_make_targets_of_the_readme_exist(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M)
