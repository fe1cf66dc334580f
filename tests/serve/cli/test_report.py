"""What a run says of the tables that it built whole; of many batches the newest, what does not hold, and a sum."""

from __future__ import annotations

import pytest

from customer360.platform.ledger import NodeRun, Run
from customer360.platform.quality import Balance
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


def of(source: str, seq: int, read: int = 2, dead: int = 1) -> tuple[str, Balance]:
    return f"bronze.{source}", Balance(f"{source} #{seq}", read, {"landed": 1, "dead": dead})


def test_older_batches_are_one_line_unless_they_do_not_hold() -> None:
    many = [of("till", seq, dead=5 if seq == 7 else 1) for seq in range(1, 101)]
    found = report._summed([*many, of("web", 1), ("silver.sales", Balance("silver.sales", 9, {"silver": 9}))])
    scopes = [balance.scope for _, balance in found]
    assert scopes[0] == "till #7" and scopes[1] == "till #1 to #80, 79 batches" and scopes[2] == "till #81"
    assert scopes[-3:] == ["till #100", "web #1", "silver.sales"] and len(scopes) == 24
    assert (found[1][1].received, found[1][1].outcomes, found[1][1].holds) == (158, {"landed": 79, "dead": 79}, True)


def test_few_batches_are_shown_each() -> None:
    few = [of("till", seq) for seq in range(1, 22)]
    assert report._summed(few) == few


@pytest.mark.parametrize("value", ["a [red] b", "[/b]", "[bold", "landing/[2026]/x.csv"])
def test_brackets_of_others_are_shown_as_they_are(capsys: pytest.CaptureFixture[str], value: str) -> None:
    shown = report.grid("Refused", "value")
    shown.add_row(value)
    report.console.print(shown)
    report.console.print(value)
    assert capsys.readouterr().out.count(value) == 2


def test_what_others_wrote_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    shown = report.grid("Refused", "value")
    shown.add_row("a\x1b]0;title\x07.csv")
    report.console.print(shown)
    report.console.print("b\x1b[2Jc")
    said = capsys.readouterr().out
    assert "\x1b" not in said and said.count("\\x1b") == 2
