"""What every test may use: an empty lake, and registries that forget what a test declares."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from customer360.platform import graph, tables
from customer360.platform import lake as lakes
from customer360.platform.lake import Lake


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake of four buckets."""
    return Lake(str(tmp_path / "lake"), {}, 4)


@pytest.fixture
def registries() -> Iterator[None]:
    """Tables, nodes and observers that a test declares are gone after it; those that were there are back."""
    before = dict(tables.TABLES), dict(graph.NODES), list(lakes.observers)
    yield
    for registry, held in zip((tables.TABLES, graph.NODES), before, strict=False):
        registry.clear()
        registry.update(held)
    lakes.observers[:] = before[2]


@pytest.fixture
def empty_graph(registries: None) -> None:
    """No nodes but those that the test declares; the platform's own tables stay."""
    graph.NODES.clear()
