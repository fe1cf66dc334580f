"""Telemetry and errors: short lines with facts, measured blocks, one tree of exceptions."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import threading
import time
from collections.abc import Iterator

import pytest

from customer360.platform import errors, telemetry


@pytest.fixture
def fresh_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    log = telemetry.log
    before = log.handlers[:], log.level, log.propagate
    log.handlers, log.propagate = [], True  # pytest hangs its own handler on a logger that does not propagate
    yield
    log.handlers, log.propagate = before[0], before[2]
    log.setLevel(before[1])


def test_human_lines_hold_the_facts(fresh_log: None, capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure()
    telemetry.event("landed", rows=3, table="bronze.x")
    assert capsys.readouterr().err == "landed  rows=3 table=bronze.x\n"


def test_json_lines_hold_the_facts_as_keys(
    fresh_log: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUSTOMER360_LOG", "json")
    telemetry.configure()
    telemetry.event("landed", rows=3)
    try:
        raise ValueError("why")
    except ValueError:
        telemetry.log.exception("broke")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert {k: first[k] for k in ("level", "message", "rows")} == {"level": "INFO", "message": "landed", "rows": 3}
    assert "ValueError: why" in second["exception"]


def test_configure_twice_prints_once(fresh_log: None, capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure()
    telemetry.configure("WARNING")
    telemetry.event("quiet")
    telemetry.log.warning("loud")
    assert capsys.readouterr().err == "loud\n"
    assert telemetry.log.level == logging.WARNING


def test_every_error_is_drawn_in_the_tree() -> None:
    own = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, errors.Customer360Error)]
    assert len(own) > 10
    for error in own:
        assert error.__name__ in (errors.__doc__ or ""), error


def test_run_error_names_every_failed_node() -> None:
    fault = errors.RunError({"silver.b": "two", "silver.a": "one"})
    assert str(fault).splitlines()[1:] == ["  silver.a: one", "  silver.b: two"]
    assert fault.failures == {"silver.b": "two", "silver.a": "one"}


def test_silence_is_broken_by_what_runs_innermost(
    fresh_log: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry, "SILENCE_SECONDS", 0.08)
    telemetry.configure()
    with telemetry.only_heartbeats(), telemetry.heartbeat("everything"):
        telemetry.event("held back")
        for _ in telemetry.beating([1], telemetry.named(["a", "b", "c", "d"])):
            time.sleep(0.3)
    lines = capsys.readouterr().err.splitlines()
    assert 1 <= len(lines) <= 4, "a line a silence, not a line a look"
    assert {line.rpartition(",")[0] for line in lines} == {"  … a, b and 2 more"}
    time.sleep(0.2)
    telemetry.event("spoken")
    assert capsys.readouterr().err == "spoken\n", "nothing runs any more, and lines are let through again"


def test_who_speaks_is_not_interrupted(
    fresh_log: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry, "SILENCE_SECONDS", 0.4)
    telemetry.configure()
    with telemetry.heartbeat("a talkative one"):
        for step in range(10):
            telemetry.event(f"step {step}")
            time.sleep(0.06)
    assert "…" not in capsys.readouterr().err


def test_a_log_that_nobody_reads_has_no_heart(fresh_log: None) -> None:
    before = threading.active_count()
    with telemetry.heartbeat("unheard"):
        assert threading.active_count() == before


def test_a_line_in_columns_is_an_event_for_programs(
    fresh_log: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUSTOMER360_LOG", "json")
    telemetry.configure()
    telemetry.told("built  gold.x              1,234 rows", "built", node="gold.x", rows=1234)
    entry = json.loads(capsys.readouterr().err)
    assert (entry["event"], entry["node"], entry["rows"]) == ("built", "gold.x", 1234)
    assert entry["message"] == "built gold.x 1,234 rows"


def test_a_line_that_callers_cause_is_written_once_a_while_with_how_many_there_were(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(telemetry.time, "monotonic", lambda: now[0])
    log = logging.getLogger("tests.sparing")
    log.addFilter(telemetry.Repeats())
    for at in range(150):
        now[0] = at
        log.warning("invalid request from port %d", at)
        log.error("another kind")
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert said == [
        "invalid request from port 0",
        "invalid request from port 60 (59 more of these in between)",
        "invalid request from port 120 (59 more of these in between)",
    ]
    assert len(caplog.records) == 6


def test_a_fault_of_another_kind_or_place_is_no_repeat_of_one_of_the_same_wording(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = logging.getLogger("tests.faults")
    log.addFilter(telemetry.Repeats())

    def fail(*faults: Exception) -> None:
        for fault in faults:
            try:
                raise fault
            except Exception as raised:
                log.error("an application failed\n", exc_info=raised)

    fail(ValueError("one"), KeyError("two"), ValueError("three"))
    with pytest.raises(ZeroDivisionError) as elsewhere:
        _ = 1 // 0
    log.error("an application failed\n", exc_info=elsewhere.value)
    log.error("an application failed\nof task 1")
    log.error("an application failed\nof task 2")
    kinds = [record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else "" for record in caplog.records]
    assert kinds == ["ValueError", "KeyError", "ZeroDivisionError", ""]


def test_what_was_counted_is_told_before_it_is_forgotten(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry, "_MOST_KINDS", 3)
    log = logging.getLogger("tests.forgetting")
    log.addFilter(telemetry.Repeats())
    for wording in ("hot", "hot", "hot", "a", "b", "b", "c"):
        log.error(wording)
    assert [record.getMessage() for record in caplog.records] == ["hot", "a", "b", "c (3 more of other kinds before)"]


def test_the_log_follows_the_standard_error(fresh_log: None, capsys: pytest.CaptureFixture[str]) -> None:
    first = io.StringIO()
    with contextlib.redirect_stderr(first):
        telemetry.configure()
        telemetry.event("one")
    first.close()
    telemetry.event("two")
    assert capsys.readouterr().err.splitlines() == ["two"]


def test_names_of_others_steer_no_terminal_and_begin_no_line(
    fresh_log: None, capsys: pytest.CaptureFixture[str]
) -> None:
    telemetry.configure()
    telemetry.event("read sales\n2026-01-01 all is well\x1b[2J\x1b]0;title\x07 a\u202egpj.csv \x9b1m\tend")
    said = capsys.readouterr().err
    assert said == ("read sales\n  2026-01-01 all is well\\x1b[2J\\x1b]0;title\\x07 a\\u202egpj.csv \\x9b1m\tend\n")
