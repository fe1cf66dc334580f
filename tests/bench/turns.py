"""CPU of an answer before and after a change: `python tests/bench/turns.py CHECKOUT [--products 8000] [--people 2000]`.

The code of another checkout (`git worktree add`) and that of this one answer the same requests of an invented shop
(`serving.py`) by turns, each in a process of its own and without sockets, so that whatever else the machine does falls
on both. A lot is some answers, one after the other; what is kept of a decision is made and packed in it. Prints for
each kind of request the least milliseconds of a lot, before and now, and the median of the ratios of neighbours.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from conditions import conditions
from serving import kinds, look_around, publish

from customer360.platform import access
from customer360.platform.settings import Settings
from customer360.serve.app import build_app
from customer360.serve.realtime.activity import Activities

TURNS, LOT_SECONDS = 30, 0.02  # lots of a kind, and how long one of them takes about
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: bench\r\n\r\n"
HERE = Path(__file__).resolve().parents[2]


class Kept(Protocol):
    """As much of a decision as a journal asks for."""

    def packed(self) -> bytes: ...


class Packing:
    """A journal that writes nothing: threads and disks tell of the machine."""

    def note(self, decision: Kept) -> None:
        decision.packed()


def requests(state: Path, people: int, products: int) -> dict[str, Callable[[], bytes]]:
    made = kinds(access.issue(state, f"turns {os.getpid()}", "reader"), people, products)
    del made["nothing"]  # an endpoint of the bench
    return {"healthz": lambda: HEALTH, **made}


async def answered(app: Any, sent: bytes) -> None:
    head, _, body = sent.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    method, target, _ = first.decode().split(" ")
    path, _, query = target.partition("?")
    headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        statuses.extend([message["status"]] if "status" in message else [])

    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
             "path": path, "raw_path": path.encode(), "query_string": query.encode(), "root_path": "", "state": {},
             "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2)}  # fmt: skip
    await app(scope, receive, send)
    assert statuses == [200], sent[:200]


async def answer_lots(state: Path, people: int, products: int) -> None:
    """A lot for each line of input: its kind and how many answers; the milliseconds of one are the output."""
    app = build_app(Settings(state=str(state)))
    app.state.journal, app.state.activities = Packing(), Activities()
    look_around(app.state.activities)
    made = requests(state, people, products)
    for _ in range(2):  # the catalogue is read, caches are filled
        for make in made.values():
            for _ in range(20):
                await answered(app, make())
        await asyncio.sleep(0.6)
    print("ready", flush=True)
    for line in sys.stdin:
        kind, _, count = line.strip().rpartition(" ")
        lot = [made[kind]() for _ in range(int(count))]
        began = time.thread_time()
        for each in lot:
            await answered(app, each)
        print(1e3 * (time.thread_time() - began) / len(lot), flush=True)


class Answering:
    """A process that answers by the code of a checkout."""

    def __init__(self, checkout: Path, state: Path, given: argparse.Namespace) -> None:
        sizes = ["--products", str(given.products), "--people", str(given.people)]
        environment = os.environ | {"PYTHONPATH": str(checkout / ".links"), "POLARS_MAX_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(checkout), "--state", str(state), *sizes],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._said() == "ready"

    def _said(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def lot(self, kind: str, count: int) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{kind} {count}\n")
        self._process.stdin.flush()
        return float(self._said())

    def end(self) -> None:
        self._process.communicate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkout", type=Path, help="Of the code before")
    parser.add_argument("--products", type=int, default=8_000)
    parser.add_argument("--people", type=int, default=2_000)
    parser.add_argument("--state", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.state is not None:
        asyncio.run(answer_lots(given.state, given.people, given.products))
        return
    print(conditions("fastapi", "numpy"))
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder, "before"), Path(folder, "now")
        publish(first, given.products, given.people, 64)
        shutil.copytree(first, second)
        before, now = Answering(given.checkout.resolve(), first, given), Answering(HERE, second, given)
        for kind in requests(second, given.people, given.products):
            count = max(int(1e3 * LOT_SECONDS / now.lot(kind, 2)), 2)
            pairs = [(before.lot(kind, count), now.lot(kind, count)) for _ in range(TURNS)]
            least, ratio = map(min, zip(*pairs, strict=True)), statistics.median(b / a for a, b in pairs)
            print(f"{kind:26} before {next(least):.3f} ms, now {next(least):.3f}, ratio {ratio:.2f}", flush=True)
        before.end()
        now.end()
    print(conditions())


if __name__ == "__main__":
    main()
