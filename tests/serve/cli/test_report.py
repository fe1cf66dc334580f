"""What a run says at its end of the tables that it built whole."""

from __future__ import annotations

import pytest

from customer360.platform.ledger import NodeRun, Run
from customer360.serve.cli import report


def test_tables_built_whole_are_named_dearest_first(capsys: pytest.CaptureFixture[str]) -> None:
    nodes = [
        NodeRun(f"gold.t{n}", "built", 1.0, 5, {"whole": "it depends on the date", "cpu_seconds": n}) for n in range(8)
    ]
    record = Run("r1", "2026-01-01", "run", nodes=[*nodes, NodeRun("gold.added", "built", 1.0, 5, {"rows_new": 1})])
    report.made_whole(record)
    first, *named = capsys.readouterr().out.splitlines()
    assert first == "built whole: 8 tables that stood, 28.0 s of processor time"
    assert [line.split()[0] for line in named] == [f"gold.t{n}" for n in (7, 6, 5, 4, 3)]
    assert named[0].endswith("7.0 s  it depends on the date")


def test_nothing_is_said_where_none_was(capsys: pytest.CaptureFixture[str]) -> None:
    report.made_whole(Run("r1", "2026-01-01", "run", nodes=[NodeRun("gold.t", "built", 1.0, 5, {"rows": 5})]))
    assert capsys.readouterr().out == ""
