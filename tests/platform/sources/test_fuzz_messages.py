"""A small part of `tests/bench/fuzz_messages.py`, the same every time."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).parents[2] / "bench/fuzz_messages.py"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_messages", BENCH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.compose()
    return module


@pytest.mark.parametrize("way", ["topic", "changes", "webhooks", "api"])
def test_damaged_messages_are_rows_or_dead_letters(bench: ModuleType, tmp_path: Path, way: str) -> None:
    found = bench.fuzz(tmp_path, [way], 600, 7, at_once=150)[way]
    assert found["read"] > 100 and found["dead"] > 0
