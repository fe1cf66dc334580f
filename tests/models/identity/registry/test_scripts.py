"""Random scripts of stewards, few of those that `tests/bench/identity_decisions.py` plays."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).parents[3] / "bench" / "identity_decisions.py"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("identity_decisions", BENCH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("seed", range(30))
def test_no_decision_is_lost_and_no_id_leads_astray(bench: ModuleType, seed: int) -> None:
    counts = bench.played(100_000 + seed, steps=4)
    assert any(what.startswith("tampering found") for what in counts)
