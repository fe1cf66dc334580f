"""What every test may use: an empty lake, and registries that forget what a test declares."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from customer360.platform import graph, stars, tables
from customer360.platform import lake as lakes
from customer360.platform.lake import Lake
from customer360.platform.ledger import Run
from customer360.platform.settings import Settings


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake of four buckets."""
    return Lake(str(tmp_path / "lake"), {}, 4)


@pytest.fixture
def registries() -> Iterator[None]:
    """Tables, nodes, loads and observers that a test declares are gone after it; those that were there are back."""
    before = dict(tables.TABLES), dict(graph.NODES), dict(stars.LOADS), list(lakes.observers)
    yield
    for registry, held in zip((tables.TABLES, graph.NODES, stars.LOADS), before, strict=False):
        registry.clear()
        registry.update(held)
    lakes.observers[:] = before[3]


@pytest.fixture
def empty_graph(registries: None) -> None:
    """No nodes but those that the test declares; the platform's own tables stay."""
    graph.NODES.clear()


# ---- a whole retailer, for the tests that cross all layers -----------------------------------------------------

# Moments of processing, not of business; the registry's roots seal its moments.
VOLATILE = (
    "_ingested_at", "received_at", "scored_at", "committed_at", "decided_at", "root", "previous_root",
    "measured_at", "metric_date", "processing_time_seconds", "opened_at", "cleared_at",
)  # fmt: skip
STOCK_ROWS = 300  # of the synthetic stock list, which is by far the largest file of a small retailer


@dataclass(frozen=True)
class Site:
    """A landing folder, a lake and a state folder below one root, and how to run on them."""

    root: Path
    settings: Settings

    @property
    def lake(self) -> Lake:
        from customer360.platform.run import lake_of

        return lake_of(self.settings)

    @property
    def landing(self) -> Path:
        return Path(self.settings.landing)

    def copy(self, root: Path) -> Site:
        """A site of its own with the same files."""
        shutil.copytree(self.root, root)
        moved = {
            "landing": str(root / "landing"),
            "state": str(root / "state"),
            "lake": self.settings.lake.model_copy(update={"root": str(root / "lake")}),
        }
        return Site(root, self.settings.model_copy(update=moved))

    def run(self, **options: Any) -> Run:
        from customer360.serve import jobs

        return jobs.run_pipeline(self.settings, **options)

    def deliver(self, path: str, lines: list[str | bytes], *, end: str = "\n") -> None:
        """Write a landing file of text lines; gzip where the name says so."""
        data = b"".join((line.encode() if isinstance(line, str) else line) + end.encode() for line in lines)
        target = self.landing / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(gzip.compress(data) if path.endswith(".gz") else data)

    def business(self) -> dict[str, pl.Series]:
        """The rows of every table as sorted JSON text, without what names a moment of processing."""
        return {
            name: business_rows(self.lake.scan(name).collect())
            for name in sorted(tables.TABLES)
            if self.lake.exists(name)
        }

    def versions(self) -> dict[str, int]:
        """The Delta version of every table."""
        return {name: self.lake.version(name) for name in sorted(tables.TABLES) if self.lake.exists(name)}


def business_rows(frame: pl.DataFrame) -> pl.Series:
    """Rows as sorted JSON text; bytes as hexadecimal digits, floats to ten figures: sums may add up in another order."""
    numbers = pl.element().round_sig_figs(10)
    kept = frame.drop(VOLATILE, strict=False).with_columns(
        pl.col(pl.Binary).bin.encode("hex"),
        pl.col(pl.Float64).round_sig_figs(10),
        pl.col(pl.List(pl.Float64)).list.eval(numbers),
    )
    if kept.is_empty():
        return pl.Series("row", [], dtype=pl.String)
    return kept.select(row=pl.struct(pl.all()).struct.json_encode()).to_series().sort()


def open_site(root: Path, config: Path | None = None, **overrides: Any) -> Site:
    """The site below ``root``: a configuration, else the synthetic retailer's, on four buckets, in this process.

    ``overrides`` are settings by their name in the environment, e.g. ``EXECUTION__EXECUTOR="ray"``.
    """
    from customer360.platform import settings as configuration
    from customer360.serve.compose import compose

    compose()
    (root / "landing").mkdir(parents=True, exist_ok=True)
    own = {"LANDING": root / "landing", "LAKE__ROOT": root / "lake", "LAKE__BUCKETS": 4, "STATE": root / "state",
           "EXECUTION__EXECUTOR": "local", **overrides}  # fmt: skip
    return Site(root, configuration.load(config, {f"CUSTOMER360__{key}": str(value) for key, value in own.items()}))


@pytest.fixture(scope="session")
def site() -> Callable[..., Site]:
    """Opens the site below a folder."""
    return open_site


@pytest.fixture(scope="session")
def raw_retailer(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a synthetic retailer, once for equal arguments; returns the folder with ``landing`` and ``truth``."""
    made: dict[tuple[int, int, int], Path] = {}

    def make(customers: int, days: int, seed: int = 11) -> Path:
        from customer360.pipelines.sample import write_sample

        if (customers, days, seed) not in made:
            out = tmp_path_factory.mktemp("raw")
            write_sample(out, customers=customers, days=days, seed=seed)
            (stock,) = (out / "landing/erp/inventory").glob("*.csv")
            stock.write_text("\n".join(stock.read_text().split("\n")[: STOCK_ROWS + 1]) + "\n")
            made[customers, days, seed] = out
        return made[customers, days, seed]

    return make
