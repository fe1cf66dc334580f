"""Telemetry and errors: short lines with facts, measured blocks, one tree of exceptions."""

from __future__ import annotations

import json
import logging
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
