"""`customer360 sample` ends with a sentence, whatever was asked for, and leaves a landing zone that is there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from customer360.platform import telemetry
from customer360.serve import cli


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    """Exit code and last words on standard error."""
    handlers = list(telemetry.log.handlers)
    monkeypatch.setattr(sys, "argv", ["customer360", "sample", *map(str, words)])
    try:
        with pytest.raises(SystemExit) as left:
            cli.main()
    finally:
        telemetry.log.handlers[:] = handlers  # the command logs to a stream that is closed after the test
    return int(left.value.code or 0), capsys.readouterr().err


@pytest.mark.parametrize(("customers", "days"), [(1, 60), (5, 60), (19, 60), (200, 28), (200, 1), (200, 10)])
def test_too_small_a_sample_is_refused_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, customers: int, days: int
) -> None:
    code, words = said(monkeypatch, capsys, "--customers", customers, "--days", days, "--out", tmp_path)
    assert code == 2 and "Traceback" not in words
    assert "at least 20 customers" in words or "--days" in words
    assert not list(tmp_path.iterdir())


def test_the_second_sample_leaves_the_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    small = ("--customers", 20, "--days", 30, "--out", tmp_path)
    assert said(monkeypatch, capsys, *small)[0] == 0
    before = {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}
    code, words = said(monkeypatch, capsys, *small)
    assert code == 2 and words.startswith("error: already there: ") and len(words.splitlines()) == 1
    assert {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()} == before
