"""`customer360 init`: what it refuses, what it asks, and that what it writes lands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from customer360.platform import settings as configuration
from customer360.platform.errors import ConfigError
from customer360.serve.cli import app
from customer360.serve.cli import init as command

SALES = "Receipt,Sold On,Client,Amount\n1,01/02/2026 10:00,a,10.00\n2,03/04/2026 11:00,b,20.50\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "sales.csv").write_text(SALES)
    return tmp_path / "in"


def refusal(*words: str) -> str:
    done = CliRunner().invoke(app, ["init", *words])
    assert isinstance(done.exception, ConfigError)
    return str(done.exception)


def test_a_file_that_is_there_is_not_overwritten(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\n")
    assert "not overwritten" in refusal(str(folder), "--yes", "--out", str(tmp_path / "mine.yaml"))
    assert (tmp_path / "mine.yaml").read_text() == "name: mine\n"


def test_no_folder_and_a_folder_without_data_are_said(tmp_path: Path) -> None:
    out = str(tmp_path / "out.yaml")
    assert "is no folder" in refusal(str(tmp_path / "nowhere"), "--out", out)
    (tmp_path / "notes.md").write_text("# nothing")
    assert "nothing in" in refusal(str(tmp_path), "--out", out)
    assert not Path(out).exists()


def test_what_files_leave_open_is_asked_at_a_terminal(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_is_terminal", lambda: True)
    out = tmp_path / "c.yaml"
    done = CliRunner().invoke(
        app, ["init", str(folder), "--out", str(out)], input="Mars/Base\nEurope/Rome\neur\ny\ntills\n"
    )
    assert done.exit_code == 0, (done.output, done.exception)
    sales = configuration.load(out).sources["sales"]
    assert (sales.timezone, sales.dates, sales.system) == ("Europe/Rome", "day_first", "TILLS")
    assert sales.mapping["CURRENCY_CODE"] == "'EUR'"


def test_the_draft_lands_as_it_is(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUSTOMER360__EXECUTION__EXECUTOR", "local")
    out = str(tmp_path / "c.yaml")
    for words in (["init", str(folder), "--yes", "--out", out], ["run", "bronze", "--config", out]):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, (done.output, done.exception)
    counted = CliRunner().invoke(app, ["sql", "SELECT count(*) AS n FROM bronze.transactions", "--config", out])
    assert "2" in counted.output


def test_an_answer_that_names_nothing_is_asked_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_is_terminal", lambda: True)
    rows = "".join(f"{c},p{c}@example.com,0{i}0 123456{i}\n" for i, c in enumerate("ab", start=4))
    (folder / "clients.csv").write_text("Client,Email,Phone\n" + rows)
    out = tmp_path / "c.yaml"
    words = ["UTC", "y", "eur", "yes", "Germany", "y", "Y", "yes", "tills"]
    done = CliRunner().invoke(app, ["init", str(folder), "--out", str(out)], input="\n".join(words) + "\n")
    assert done.exit_code == 0, (done.output, done.exception)
    for refused in ("y is no currency", "yes is no country", "Y names no system", "YES names no system"):
        assert refused in done.output
    sources = configuration.load(out).sources
    assert {source.system for source in sources.values()} == {"TILLS"}
    assert sources["clients"].country == "DEU"


def test_a_rehearsal_is_given_to_machines(folder: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "c.yaml")
    rows = "".join(f"{n},{n}/03/2026 09:00,c{n},9.00\n" for n in range(13, 30))
    (folder / "sales.csv").write_text(SALES + rows + "99,never,c,9.00\n")
    assert CliRunner().invoke(app, ["init", str(folder), "--yes", "--out", out]).exit_code == 0
    done = CliRunner().invoke(app, ["run", "bronze", "--config", out, "--dry-run", "--json"])
    said = json.loads(done.stdout)
    assert ("sales", "bronze.transactions", 20) in [(s["source"], s["table"], s["rows"]) for s in said["sources"]]
    refused = next(f for f in said["findings"] if f["column"] == "TRANSACTION_DATE" and "quarantined" in f["what"])
    assert (refused["source"], refused["table"], refused["share"]) == ("sales", "bronze.transactions", 0.05)
    assert "--json is for --dry-run" in str(CliRunner().invoke(app, ["run", "--json", "--config", out]).exception)
