"""A small part of `tests/bench/fuzz_files.py`, the same every time."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).parents[3] / "bench/fuzz_files.py"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_files", BENCH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("format", ["csv", "json", "xml", "excel", "avro"])
def test_damaged_files_crash_nothing_and_invent_nothing(bench: ModuleType, format: str) -> None:
    counts, wrong = bench.fuzz(600, 7, (format,))
    assert wrong == []
    assert counts["records"] >= 600 and counts["landed"] > 0 < counts["dead"]
