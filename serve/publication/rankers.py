"""The champion of the model `ranking` beside the online store, with what it weighs of each product.

    <state>/rankers/NUMBER/   products.parquet (product_id, category, numbers), ranker.json (weights, and the sizes and
                              checksums of the other files)
    <state>/rankers/CURRENT   the number that the next publication names

A number is the checksum of `ranker.json`, so what is damaged is told. A publication names its number
(`Generation.sources`), so that an answer never mixes two. What is here is learnt of products and moments: it holds
nobody.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import polars as pl

from customer360.models import ranking
from customer360.models.lifecycle.job import ModelJob, registered
from customer360.models.ranking import RankingFitted
from customer360.models.ranking.features import NUMBERS, products_at
from customer360.platform import online, telemetry
from customer360.platform.lake import Lake
from customer360.platform.lake.editions import current_edition
from customer360.platform.online import Generation
from customer360.platform.online.files import fingerprint, sync_folder, write_durably
from customer360.platform.settings import Settings

SOURCE = "ranker"  # in Generation.sources
HOME, MANIFEST, CURRENT = "rankers", "ranker.json", "CURRENT"
PRODUCTS = "products.parquet"
PROFILES = "gold.customer_360"
HALF_SECONDS = 3600.0  # after which nobody writes a folder any more


@dataclass(frozen=True)
class Published:
    """A ranker and what it weighs of the products of a publication: product_id, category and numbers."""

    version: str
    fitted: RankingFitted
    products: pl.DataFrame


def publish_ranker(lake: Lake, settings: Settings) -> int | None:
    """Write the champion for the catalogue as it is, unless it stands already. Its number, the current one from then
    on; None where there is no champion, and answers are in the order of their sources."""
    home = Path(settings.state) / HOME
    version = registered(settings).champion_version(ranking.MODEL.name)
    edition = current_edition(lake, PROFILES, lake.files(PROFILES)) if lake.exists(PROFILES) else None
    if version is None or edition is None or not all(map(lake.exists, ranking.MODEL.tables)):
        (home / CURRENT).unlink(missing_ok=True)
        return None
    _sweep(home)
    made_of = f"{version}:{edition.as_of}:" + ":".join(str(lake.version(t)) for t in ranking.MODEL.tables[1:])
    number = current(Path(settings.state))
    if number is not None and _made_of(home, number) == made_of and read_ranker(home, number) is not None:
        return number
    fitted = registered(settings).load_champion(ranking.MODEL.name)[0]
    products = products_at(ModelJob(settings, lake, ranking.MODEL, edition.as_of).snapshot(edition.as_of))
    number = write_ranker(home, Published(str(version), fitted, products), made_of)
    write_durably(home / CURRENT, str(number))
    sync_folder(home)
    telemetry.event("ranker written", version=version, products=products.height)
    stored = sorted((f for f in home.iterdir() if f.name.isdigit()), key=lambda f: f.stat().st_mtime)
    for old in stored[: -online.KEEP]:
        if old.name != str(number):
            shutil.rmtree(old)
    return number


def _sweep(home: Path) -> None:
    """Let go of what nothing reads: files of the layout before folders, and halves that a killed process left."""
    found = list(home.iterdir()) if home.is_dir() else []
    for left in found:
        if left.is_file() and left.suffix == ".parquet" and left.stem.isdigit():
            left.unlink(missing_ok=True)
        elif left.is_dir() and left.name.startswith(".") and time.time() - left.stat().st_mtime > HALF_SECONDS:
            shutil.rmtree(left, ignore_errors=True)


def renew_ranker(lake: Lake, settings: Settings) -> None:
    """As `publish_ranker`; where the model store cannot be read, the ranker of before stays and that is said, so that
    what is published besides does not depend on it."""
    try:
        publish_ranker(lake, settings)
    except Exception as fault:  # noqa: BLE001 - whatever a model store and its client raise
        telemetry.log.error(f"the ranker is not renewed, that of before stays ({type(fault).__name__}: {fault})")


def write_ranker(home: Path, published: Published, made_of: str = "") -> int:
    """Write a folder whole, and name it by what it holds. Its number."""
    half = home / f".{os.getpid()}-{threading.get_ident()}"
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True, mode=0o700)
    with open(half / PRODUCTS, "wb") as out:
        published.products.select("product_id", "category", *NUMBERS).write_parquet(out)
        out.flush()
        os.fsync(out.fileno())
    told = {
        "version": published.version,
        "made_of": made_of,
        "ranking": published.fitted.record(),
        "files": {PRODUCTS: fingerprint(half / PRODUCTS)},
    }
    text = json.dumps(told)
    write_durably(half / MANIFEST, text)
    sync_folder(half)
    number = crc32(text.encode())
    shutil.rmtree(home / str(number), ignore_errors=True)  # damaged, or the same
    half.rename(home / str(number))
    sync_folder(home)
    return number


def read_ranker(home: Path, number: int) -> Published | None:
    """What a folder holds; None where it is not as it was written, which is logged: answers do without."""
    folder = home / str(number)
    try:
        body = (folder / MANIFEST).read_bytes()
        if crc32(body) != number:
            telemetry.log.error(f"the ranker is damaged: the checksum of {MANIFEST} differs; answers do without")
            return None
        told: dict[str, Any] = json.loads(body)
        for name, noted in told["files"].items():
            if fingerprint(folder / name) != tuple(noted):
                telemetry.log.error(f"the ranker is damaged: the checksum of {name} differs; answers do without")
                return None
        fitted = RankingFitted.of_record(told["ranking"])
        return Published(told["version"], fitted, pl.read_parquet(folder / PRODUCTS))
    except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError) as fault:
        telemetry.log.error(f"the ranker cannot be read ({type(fault).__name__}); answers do without")
        return None


def _made_of(home: Path, number: int) -> str | None:
    try:
        told: dict[str, Any] = json.loads((home / str(number) / MANIFEST).read_text(encoding="utf-8"))
        return str(told["made_of"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def current(state: Path) -> int | None:
    """The number that the next publication names."""
    try:
        return int((state / HOME / CURRENT).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


class RankerStore:
    """The ranker of the publication in service, read once a process."""

    def __init__(self, state: Path) -> None:
        self._home = state / HOME
        self._lock = threading.Lock()
        self._open: tuple[int, Published | None] | None = None

    def of(self, generation: Generation) -> Published | None:
        """That which belongs to a publication; None where it has none."""
        number = generation.sources.get(SOURCE)
        if number is None:
            return None
        with self._lock:
            if self._open is None or self._open[0] != number or self._open[1] is None:  # it may be written again
                self._open = number, read_ranker(self._home, number)
            return self._open[1]
