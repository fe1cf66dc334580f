"""A small part of `tests/bench/crashes.py`: systems of five kinds on which runs and servers die."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench/crashes.py"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["topic", "api", "webhooks", "cdc", "binlog"])
def test_killed_anywhere_what_was_sent_is_there_once_and_in_order(
    tmp_path: Path, registries: None, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")
    for name in ("T_SECRET", "T_HOOK", "POLARS_MAX_THREADS"):
        monkeypatch.setenv(name, "1")  # put back at the end
    spec = importlib.util.spec_from_file_location("crashes", BENCH)
    assert spec is not None and spec.loader is not None
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    bench.declare()
    counts = bench.crash(tmp_path / kind, kind, 3 if kind in bench.FOLLOWED else 6, 20260630)
    assert counts["killed"] > 0 and counts["rows"] > 6


@pytest.mark.slow
def test_left_for_a_while_by_the_broker_or_by_us_nothing_is_lost() -> None:
    pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")
    command = [sys.executable, str(BENCH), "--pause", "1", "--kinds", "topic"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert told.returncode == 0, told.stderr[-3000:]
    assert told.stdout.count("none lost, none twice, in order") == 2
