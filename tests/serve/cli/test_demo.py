"""A second demo goes on with the files of the first, and says so where others were asked for."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner

from customer360.pipelines.sample.base import Base, write_base
from customer360.serve.cli import app, demo


@pytest.mark.parametrize(("customers", "days", "is_told"), [(60, 40, False), (61, 40, True), (60, 41, True)])
def test_files_of_another_size_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], customers: int, days: int, is_told: bool
) -> None:
    (tmp_path / "landing").mkdir()
    write_base(tmp_path, Base(customers=60, days=40, seed=7, end_on=date(2024, 3, 1), block=60), {})
    demo._sample(tmp_path / "landing", customers, days)
    said = capsys.readouterr().out
    assert "using the files" in said and ("of 60 people and 40 days, not of" in said) is is_told


def test_files_of_somebody_are_used_without_a_word_on_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "landing").mkdir()
    demo._sample(tmp_path / "landing", 60, 40)
    assert "people" not in capsys.readouterr().out


def test_a_demo_of_too_few_days_to_train_on_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = CliRunner().invoke(app, ["demo", "--customers", "2000", "--days", "250"])
    assert refused.exit_code == 2 and "--days" in refused.output
    assert list(tmp_path.iterdir()) == []
