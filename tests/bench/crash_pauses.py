"""A topic and logs of databases that are left for long, of `crashes.py --pause SECONDS`: once the other side is away
and comes back, once it goes on writing while nobody reads. A batch that was begun before waits all the time.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from crash_sides import SECRET, Process
from crashes import SIDES, held

WRITES = 20  # of the other side while nobody reads


class Left:
    """A system, a lake that follows it, and what was sent."""

    def __init__(self, root: Path, kind: str, seed: int):
        (root / "landing").mkdir(parents=True)
        self.root, self.kind, self.log = root, kind, root / "log"
        self.dice, self.sent = random.Random(f"{seed}/{kind}"), {"k0": 0}
        self.side, self.driver = SIDES[kind](root, self.log), Process("--as", "driver", log=self.log)

    def send(self) -> None:
        rows = []
        for _ in range(self.dice.randint(1, 25)):
            key = f"k{self.dice.randrange(5)}"
            self.sent[key] = self.sent.get(key, -1) + 1
            rows.append({"ID": f"{key}-{self.sent[key]}", "OF": key, "N": self.sent[key]})
        self.side.send(rows, self.dice)

    def run(self, **dying: Any) -> Any:
        return json.loads(
            self.driver.ask({"root": str(self.root), "kind": self.kind, "where": self.side.where, **dying})
        )

    def lands(self) -> None:
        """What was sent is there, after as many runs as a log takes for what waited and what came since."""
        for _ in range(3):
            assert self.run() == 0, self.log.read_text()[-1500:]
        held(self.root, self.kind, self.sent)

    def side_is_away(self, seconds: float) -> None:
        self.side.leave()
        for _ in range(2):
            assert self.run() == 3, "a run ends without the other side"
            time.sleep(seconds / 2)
        self.side.come_back()

    def reader_is_away(self, seconds: float) -> None:
        for _ in range(WRITES):
            self.send()
            time.sleep(seconds / WRITES)

    def left(self, how: Callable[[Left, float], None], seconds: float) -> str:
        try:
            self.lands()
            self.send()
            assert self.run(point="lake.Lake.append_batch", side="before", nth=1) == "killed"
            began = time.monotonic()
            how(self, seconds)
            waited = time.monotonic() - began
            self.send()
            self.lands()
            rows = sum(self.sent.values()) + len(self.sent)
            return (
                f"{self.kind:<7} {how.__name__:<15} {waited:,.0f} s, {rows} rows sent: none lost, none twice, in order"
            )
        finally:
            self.driver.end()
            self.side.end()


def pauses(kinds: list[str], seconds: float, seed: int) -> None:
    """Leave each of these for so long, all at once: to wait costs nothing.

    Raises:
        AssertionError: something is lost, twice or out of order.
    """
    os.environ.update({"T_SECRET": "open-sesame", "T_HOOK": SECRET, "POLARS_MAX_THREADS": "1"})
    ways = [(kind, how) for kind in kinds for how in (Left.side_is_away, Left.reader_is_away)]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(len(ways)) as pool:
        left = [
            (Left(Path(folder) / f"{kind}-{number}", kind, seed + number), how)
            for number, (kind, how) in enumerate(ways)
        ]
        for told in [pool.submit(one.left, how, seconds) for one, how in left]:
            print(told.result(), flush=True)
