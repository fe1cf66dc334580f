"""What a sample stands on, kept beside it, so that further days can follow: `sample.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path

from customer360.pipelines.sample.streams import Streams
from customer360.pipelines.sample.world import Town, settle
from customer360.platform.errors import ConfigError

MANIFEST = "sample.json"


@dataclass(frozen=True)
class Base:
    """What days stand on: so many people of a seed, settled in blocks of so many, and the last day of their story."""

    customers: int
    days: int
    seed: int
    end_on: date
    block: int

    @property
    def start_on(self) -> date:
        return self.end_on - timedelta(days=self.days - 1)

    @property
    def blocks(self) -> range:
        return range(-(-self.customers // self.block))

    def town(self, block: int) -> Town:
        """The people of a block. A sample that was written at once is one block, with the seed's own streams."""
        return _settled(self, block)


@lru_cache(maxsize=1)
def _settled(base: Base, block: int) -> Town:
    """The newest block stays in memory: its slices follow each other."""
    first = block * base.block
    own = Streams(base.seed, (block,) if len(base.blocks) > 1 else ())
    people = min(base.block, base.customers - first)
    return settle(Streams(base.seed), own, customers=people, days=base.days, end_on=base.end_on, first_person=first)


def read_base(out: Path) -> tuple[Base, dict[str, float]] | None:
    """What a folder's sample stands on and the rate of each day written after it, or None where there is none.

    Raises:
        ConfigError: a sample without its description.
    """
    file = out / MANIFEST
    if not file.exists():
        if (out / "landing").exists():
            raise ConfigError(f"{out} has a sample without {MANIFEST}, which days stand on; write the sample anew")
        return None
    kept = json.loads(file.read_text())
    return Base(**kept["base"] | {"end_on": date.fromisoformat(kept["base"]["end_on"])}), kept["rates"]


def write_base(out: Path, base: Base, rates: dict[str, float]) -> None:
    """Describe a sample; the file is whole or as it was."""
    whole = out / f"{MANIFEST}.new"
    whole.write_text(json.dumps({"base": asdict(base), "rates": rates}, default=str, indent=1) + "\n")
    whole.replace(out / MANIFEST)
