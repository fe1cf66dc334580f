"""What every test may use: an empty lake, and registries that forget what a test declares."""

from __future__ import annotations

import gzip
import importlib.util
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest
from hypothesis import settings as of_laws

from customer360.platform import graph, stars, tables
from customer360.platform import lake as lakes
from customer360.platform.lake import Lake
from customer360.platform.ledger import Run
from customer360.platform.settings import Settings

of_laws.register_profile("untimed", deadline=None)  # a busy machine breaks no law
of_laws.load_profile("untimed")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake of four buckets."""
    return Lake(str(tmp_path / "lake"), {}, 4)


@pytest.fixture
def registries() -> Iterator[None]:
    """Tables, nodes, loads and observers that a test declares are gone after it; those that were there are back."""
    found: tuple[dict[str, Any], ...] = (tables.TABLES, graph.NODES, graph.DATE_TABLES, stars.LOADS)
    before, observers = [dict(registry) for registry in found], list(lakes.observers)
    yield
    for registry, held in zip(found, before, strict=True):
        registry.clear()
        registry.update(held)
    lakes.observers[:] = observers


@pytest.fixture
def empty_graph(registries: None) -> None:
    """No nodes and no default date but those that the test declares; the platform's own tables stay."""
    graph.NODES.clear()
    graph.DATE_TABLES.clear()


# ---- real servers, each started where the first test asks for it ------------------------------------------------


def _beside(name: str) -> ModuleType:
    """A module of this folder, which is no package."""
    if name not in sys.modules:
        found = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        assert found and found.loader
        sys.modules[name] = importlib.util.module_from_spec(found)
        found.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Any]:
    """A server of PostgreSQL; skips with the reason where none can be started."""
    with _beside("servers").postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def maria() -> Iterator[Any]:
    """A server of MariaDB; skips with the reason where none can be started."""
    with _beside("servers").maria_server() as server:
        yield server


@pytest.fixture(scope="session")
def choices() -> ModuleType:
    """An invented shop for choices of products, and a judge of them (`choices`)."""
    return _beside("choices")


@pytest.fixture(scope="session")
def shown_lists() -> ModuleType:
    """Invented lists that a shop has shown, with planted effects (`shown_lists`)."""
    return _beside("shown_lists")


@pytest.fixture
def shop_api() -> Iterator[Any]:
    """An HTTP API that answers (`api_server.Shop`)."""
    server = _beside("api_server")
    made = server.Shop()
    with server.serving(made):
        yield made


@pytest.fixture(scope="session")
def kafka() -> Iterator[Any]:
    """A broker of the Kafka protocol (`kafka_broker.Broker`); skips where the client is not installed."""
    pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")
    with _beside("kafka_broker").broker() as made:
        yield made


# ---- a whole retailer, for the tests that cross all layers -----------------------------------------------------

# Moments of processing, not of business; the registry's roots seal its moments.
VOLATILE = (
    "_ingested_at", "received_at", "scored_at", "committed_at", "decided_at", "root", "previous_root",
    "measured_at", "metric_date", "processing_time_seconds", "opened_at", "cleared_at",
    "digest",  # keyed by a secret of each lake
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
        """Run the part of the graph that the options, fields of a ``RunRequest``, name."""
        from customer360.platform.run import RunRequest
        from customer360.serve import jobs

        return jobs.run_pipeline(self.settings, RunRequest(**options))

    def deliver(self, path: str, lines: list[str | bytes], *, end: str = "\n") -> None:
        """Write a landing file of text lines; gzip where the name says so."""
        data = b"".join((line.encode() if isinstance(line, str) else line) + end.encode() for line in lines)
        target = self.landing / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(gzip.compress(data) if path.endswith(".gz") else data)

    def business(self) -> dict[str, pl.Series]:
        """The rows of every table as sorted JSON text, without what names a moment of processing; of tables that tell
        of runs none.
        """
        from customer360.platform.run.closing import CLOSINGS

        return {
            name: business_rows(self.lake.scan(name).collect())
            for name in sorted(tables.TABLES)
            if self.lake.exists(name) and name not in CLOSINGS
        }

    def versions(self) -> dict[str, int]:
        """The Delta version of every table."""
        return {name: self.lake.version(name) for name in sorted(tables.TABLES) if self.lake.exists(name)}


def business_rows(frame: pl.DataFrame) -> pl.Series:
    """Rows as sorted JSON text; bytes as hexadecimal digits, floats to ten figures: sums may add up in another
    order.
    """
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


def written(out: Path, customers: int, days: int, seed: int = 11) -> dict[str, str]:
    """Write a synthetic retailer. A feed that cannot be written is left out: why, by its folder."""
    from customer360.pipelines.sample import write

    faults: dict[str, str] = {}
    write_feed = write._write_feed

    def write_or_note(feed: write.Feed, world: Any, landing: Path, *rest: Any) -> int:
        try:
            return write_feed(feed, world, landing, *rest)
        except Exception as fault:  # noqa: BLE001 - one feed is the affair of the tests of its tables
            shutil.rmtree(landing / feed.folder, ignore_errors=True)
            faults[feed.folder] = f"{type(fault).__name__}: {fault}"
            return 0

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(write, "_write_feed", write_or_note)
        write.write_sample(out, customers=customers, days=days, seed=seed)
    return faults


@pytest.fixture(scope="session")
def write_raw() -> Callable[..., dict[str, str]]:
    """Writes a synthetic retailer, without the feeds that cannot be written; returns why, by folder."""
    return written


@pytest.fixture(scope="session")
def raw_retailer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Path]]:
    """Makes a synthetic retailer, once for equal arguments; returns the folder with ``landing`` and ``truth``.

    A feed that cannot be written is not there, and the session ends with an error that names it.
    """
    made: dict[tuple[int, int, int], Path] = {}
    faults: dict[str, str] = {}

    def make(customers: int, days: int, seed: int = 11) -> Path:
        if (customers, days, seed) not in made:
            out = tmp_path_factory.mktemp("raw")
            faults.update(written(out, customers, days, seed))
            for stock in (out / "landing/erp/inventory").glob("*.csv"):
                stock.write_text("\n".join(stock.read_text().split("\n")[: STOCK_ROWS + 1]) + "\n")
            made[customers, days, seed] = out
        return made[customers, days, seed]

    yield make
    assert not faults, "feeds that could not be written"


# ---- recipes: pages of docs/recipes, followed to the letter ------------------------------------------------------


def block_of(page: str, language: str) -> str:
    """The first block of a language on a page of docs/recipes."""
    file = Path(__file__).resolve().parents[1] / "docs" / "recipes" / f"{page}.md"
    found = re.search(rf"```{language}\n(.*?)```", file.read_text(encoding="utf-8"), re.S)
    assert found, f"{file} has no {language} block"
    return found[1]


@pytest.fixture
def recipe_block() -> Callable[[str, str], str]:
    """The first block of a language on a page of docs/recipes."""
    return block_of


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[[str, str], AbstractContextManager[ModuleType]]:
    """The Python code of a page as a module of the given name, for as long as the block runs."""

    @contextmanager
    def module_of(page: str, name: str) -> Iterator[ModuleType]:
        file = tmp_path / f"{name.rpartition('.')[2]}.py"
        file.write_text(block_of(page, "python"))
        found = importlib.util.spec_from_file_location(name, file)
        assert found and found.loader
        module = importlib.util.module_from_spec(found)
        sys.modules[name] = module
        try:
            found.loader.exec_module(module)
            yield module
        finally:
            del sys.modules[name]

    return module_of
