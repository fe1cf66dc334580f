"""docs/recipes/source-kind.md, followed to the letter."""

from __future__ import annotations

import json
import re
import shlex
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from customer360.platform import lake as lakes
from customer360.platform import ledger, sources
from customer360.platform import settings as configuration
from customer360.platform.errors import RunError
from customer360.platform.lake import Lake
from customer360.platform.run import RunRequest
from customer360.platform.settings import Settings
from customer360.serve import jobs
from customer360.serve.cli import app
from customer360.serve.compose import compose

PAGE = (Path(__file__).resolve().parents[1] / "docs/recipes/source-kind.md").read_text(encoding="utf-8")
BRONZE = "bronze.transactions"
MODULE = "customer360.platform.sources.sqlite"


class Killed(BaseException):
    """The process dies: nothing in the platform may catch it."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)


def execute(script: str) -> None:
    with closing(sqlite3.connect("till.db")) as database:
        database.executescript(script)


def follow(commands: str) -> list[str]:
    """The commands of a block, and what each printed."""
    shown = []
    for line in commands.strip().splitlines():
        _, *arguments = shlex.split(line, comments=True)
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        shown.append(result.output)
    return shown


@pytest.fixture
def till(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """The recipe's module in the folder of kinds, its settings and its database in the working directory."""
    compose()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUSTOMER360__EXECUTION__EXECUTOR", "local")
    folder = tmp_path / "kinds"
    folder.mkdir()
    (code,) = blocks("python")
    (folder / "sqlite.py").write_text(code)
    monkeypatch.setattr(sources, "__path__", [str(folder), *sources.__path__])
    (text,) = blocks("yaml")
    Path("till.yaml").write_text(text)
    execute(blocks("sql")[0])
    yield configuration.load("till.yaml")
    sys.modules.pop(MODULE, None)
    sources.__dict__.pop("sqlite", None)


def lake_in(settings: Settings) -> Lake:
    return Lake(settings.lake.root, {}, settings.lake.buckets)


def landed(settings: Settings) -> list[tuple[Any, ...]]:
    rows = lake_in(settings).scan(BRONZE).sort("_seq", "TRANSACTION_ID").collect()
    return rows.select("_seq", "TRANSACTION_ID", "TRANSACTION_TYPE").rows()


def land(settings: Settings) -> dict[str, str]:
    return {node.node: node.state for node in jobs.run_pipeline(settings, RunRequest(end=BRONZE)).nodes}


FIRST = [(1, "1", "PURCHASE"), (1, "2", "RETURN"), (1, "3", "PURCHASE")]
SECOND = [(2, "4", "PURCHASE"), (2, "5", "PURCHASE")]


def test_the_page_from_top_to_bottom(till: Settings) -> None:
    before, after = blocks("sh")
    plan, first, again = follow(before)
    assert re.search(r"till_sales +bronze\.transactions +2 +3 +3 +0 +0 +0 +-", plan)
    assert "1 built" in first and "1 current; nothing was new" in again
    assert landed(till) == FIRST
    execute(blocks("sql")[1])
    second, table = follow(after)
    assert "1 built" in second and "sales upto 5" in table and '""till"":""7""' in table.replace(" ", "")
    assert landed(till) == FIRST + SECOND
    lake = lake_in(till)
    assert [float(a) for a in lake.scan(BRONZE).sort("TRANSACTION_ID").collect()["TOTAL_AMOUNT"]] == [12.5, -3, 8, 4.5, 9.9]  # fmt: skip  # noqa: E501
    manifests = [json.loads(lake.get(path) or b"") for path in lake.objects("_batches/till_sales")]
    assert [m["cursor"] for m in manifests] == [3, 5]
    assert [[i["detail"] for i in m["inputs"]] for m in manifests] == [
        [{"above": None, "upto": 2}, {"above": 2, "upto": 3}],
        [{"above": 3, "upto": 5}],
    ]


@pytest.mark.parametrize(
    ("point", "opened"),
    [
        ("before manifest till_sales/2", False),
        ("after manifest till_sales/2", True),
        ("after write bronze till_sales", True),
        (f"before commit {BRONZE}", True),
        (f"after commit {BRONZE}", True),
    ],
)
def test_killed_at_any_point_the_rows_land_once(till: Settings, registries: None, point: str, opened: bool) -> None:
    land(till)
    execute(blocks("sql")[1])

    def kill(at: str) -> None:
        if at == point:
            raise Killed

    lakes.observers.append(kill)
    with pytest.raises(Killed):
        land(till)
    lakes.observers.clear()
    fixed = [b.cursor for b in ledger.batches(lake_in(till), "till_sales")]
    assert fixed == ([3, 5] if opened else [3])
    execute("INSERT INTO sales (card, sold_at, cents, till) VALUES ('P4', '2026-01-07 10:00:00', 100, 7)")
    land(till)
    assert sorted(row[1] for row in landed(till)) == ["1", "2", "3", "4", "5", "6"]
    assert land(till) == {"source till_sales": "current"}
    if opened:
        assert landed(till) == [*FIRST, *SECOND, (3, "6", "PURCHASE")], "a manifest stands, whatever comes after it"


def test_an_update_time_as_cursor_brings_changed_rows(till: Settings) -> None:
    source = till.sources["till_sales"].model_copy(update={"incremental": "sold_at"})
    by_time = till.model_copy(update={"sources": {"till_sales": source}})
    execute("INSERT INTO sales (card, sold_at, cents, till) VALUES ('P1', '2026-01-05 11:00:00', 100, 7)")  # a tie
    land(by_time)
    assert [row[1] for row in landed(till)] == ["1", "2", "3", "4"]
    execute("UPDATE sales SET cents = 900, sold_at = '2026-01-08 09:00:00' WHERE id = 3")
    land(by_time)
    assert landed(till)[4:] == [(2, "3", "PURCHASE")]


def test_a_database_that_is_not_there_or_has_no_such_column_says_so(till: Settings) -> None:
    for change, words in (({"file": "none.db"}, "none.db: unable to open"), ({"incremental": "nr"}, "no such column")):
        source = till.sources["till_sales"].model_copy(update=change)
        with pytest.raises(RunError, match=words):
            land(till.model_copy(update={"sources": {"till_sales": source}}))
