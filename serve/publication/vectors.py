"""Vectors of products beside the online store, by which a session finds what is near: the two towers of the champion.

    <state>/vectors/NUMBER/   products.parquet (product_id, bias), items.npy, hidden.npy, vectors.json

A publication names the number that belongs to it (`Generation.sources`), so that an answer never mixes two. What is
here is learnt of products: a person's vector is made within a request of what the person touched, and never stored.
"""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import polars as pl
from numpy.typing import NDArray

from customer360.models import two_tower
from customer360.models.hybrid import HybridFitted
from customer360.models.lifecycle.job import registered
from customer360.models.two_tower import TwoTowerFitted
from customer360.platform import online, telemetry
from customer360.platform.lake import Lake
from customer360.platform.lake.editions import current_edition
from customer360.platform.online import Generation
from customer360.platform.online.files import fingerprint, write_durably
from customer360.platform.settings import Settings

SOURCE = "vectors"  # in Generation.sources
HOME, MANIFEST = "vectors", "vectors.json"
CURRENT = "CURRENT"
PRODUCTS, PROFILES = "silver.products", "gold.customer_360"
BY = ("two_tower", "hybrid")  # models that have towers; the first with a champion is taken

Dense = NDArray[np.float32]


@dataclass(frozen=True)
class Vectors:
    """`items` score a person's vector (`items @ person + bias`), `hidden` add up to it; rows in the order of
    `products`."""

    model: str
    version: str
    products: list[str]
    bias: Dense
    items: Dense
    hidden: Dense
    half_life_days: float


def publish_vectors(lake: Lake, settings: Settings) -> int | None:
    """Write the vectors of the champion for the catalogue as it is, unless they stand already. Their number, which is
    the current one from then on; None where no champion has towers."""
    state, models = Path(settings.state), registered(settings)
    home = state / HOME
    chosen = next(((name, v) for name in BY if (v := models.champion_version(name)) is not None), None)
    edition = current_edition(lake, PROFILES, lake.files(PROFILES)) if lake.exists(PROFILES) else None
    if chosen is None or edition is None or not lake.exists(PRODUCTS):
        (home / CURRENT).unlink(missing_ok=True)
        return None
    name, version = chosen
    number = crc32(f"{name}:{version}:{edition.as_of}:{lake.version(PRODUCTS)}".encode())
    if not (home / str(number) / MANIFEST).is_file():
        towers = _towers(models.load_champion(name)[0])
        if towers is None:
            (home / CURRENT).unlink(missing_ok=True)
            return None
        whole = two_tower.with_new_products(towers, lake.scan(PRODUCTS), edition.as_of)
        write_vectors(home / str(number), whole, name, version)
        telemetry.event("vectors written", model=name, version=version, products=len(whole.products))
    write_durably(home / CURRENT, str(number))
    stored = sorted((f for f in home.iterdir() if f.name.isdigit()), key=lambda f: f.stat().st_mtime)
    for old in stored[: -online.KEEP]:
        if old.name != str(number):
            shutil.rmtree(old)
    return number


def renew_vectors(lake: Lake, settings: Settings) -> None:
    """As `publish_vectors`; where the model store cannot be read, those of before stay and that is said, so that what
    is published besides does not depend on it."""
    try:
        publish_vectors(lake, settings)
    except Exception as fault:  # noqa: BLE001 - whatever a model store and its client raise
        telemetry.log.error(
            f"vectors of products are not renewed, those of before stay ({type(fault).__name__}: {fault})"
        )


def _towers(fitted: TwoTowerFitted | HybridFitted) -> TwoTowerFitted | None:
    return fitted.towers if isinstance(fitted, HybridFitted) else fitted


def write_vectors(folder: Path, fitted: TwoTowerFitted, model: str, version: str) -> None:
    """Write a folder whole, the manifest last: without it a folder is none."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    pl.DataFrame({"product_id": fitted.products, "bias": fitted.bias}).write_parquet(folder / "products.parquet")
    np.save(folder / "items.npy", two_tower.normalized(fitted.items) / np.float32(fitted.params.temperature))
    np.save(folder / "hidden.npy", fitted.hidden)
    rest = {
        "model": model,
        "version": version,
        "half_life_days": fitted.params.history_half_life_days,
        "files": {file.name: fingerprint(file) for file in sorted(folder.iterdir())},
    }
    write_durably(folder / MANIFEST, json.dumps(rest))


def read_vectors(folder: Path) -> Vectors | None:
    """What a folder holds; None where it is not as it was written, which is logged: answers do without."""
    try:
        rest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        for name, (size, digest) in rest["files"].items():
            if fingerprint(folder / name) != (size, digest):
                telemetry.log.error(f"vectors of products are damaged: the checksum of {name} differs")
                return None
        products = pl.read_parquet(folder / "products.parquet")
        items, hidden = (np.load(folder / f"{name}.npy") for name in ("items", "hidden"))
    except (OSError, ValueError, KeyError, pl.exceptions.PolarsError) as fault:
        telemetry.log.error(f"vectors of products cannot be read ({type(fault).__name__}); answers do without")
        return None
    return Vectors(
        rest["model"],
        str(rest["version"]),
        products["product_id"].to_list(),
        products["bias"].to_numpy().astype(np.float32),
        items,
        hidden,
        float(rest["half_life_days"]),
    )


def current(state: Path) -> int | None:
    """The number that the next publication names."""
    try:
        return int((state / HOME / CURRENT).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


class VectorStore:
    """The vectors of the publication in service, read once a process."""

    def __init__(self, state: Path) -> None:
        self._home = state / HOME
        self._lock = threading.Lock()
        self._open: tuple[int, Vectors | None] | None = None

    def of(self, generation: Generation) -> Vectors | None:
        """Those that belong to a publication; None where it has none."""
        number = generation.sources.get(SOURCE)
        if number is None:
            return None
        with self._lock:
            if self._open is None or self._open[0] != number:
                self._open = number, read_vectors(self._home / str(number))
            return self._open[1]
