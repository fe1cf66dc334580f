"""A small part of `tests/bench/crashes.py`: systems of five kinds on which runs and servers die."""

from __future__ import annotations

import importlib.util
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
