"""A small part of `tests/bench/fuzz_logs.py`, the same every time."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench/fuzz_logs.py"


@pytest.mark.parametrize(("way", "server"), [("cdc", "postgres"), ("binlog", "maria")])
def test_damaged_logs_are_rows_or_refused_in_one_line(
    tmp_path: Path, request: pytest.FixtureRequest, way: str, server: str
) -> None:
    running = request.getfixturevalue(server)
    spec = importlib.util.spec_from_file_location("fuzz_logs", BENCH)
    assert spec is not None and spec.loader is not None
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    bench.compose()
    found = bench.fuzz(tmp_path, way, 1_500, 7, 40, running)
    assert found["refused"] > 3 and found["landed"] > 1 and found["rows"] > 20
