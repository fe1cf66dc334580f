"""Events that the collector acknowledges: `python tests/bench/collector.py [--seconds N] [--state FOLDER]`.

Starts `customer360 serve --plain` with a collector, and sends from this process over keep-alive connections: single
events, batches of 100, and single events at a fixed rate. Before and after each it measures what the disk itself takes
for a commit (append and fdatasync of as many bytes). Every event is another; at the end the log is counted: it holds
each acknowledged event once. Prints events a second, milliseconds to the answer, the
disk's own, and the server's microseconds of CPU an event, which tell more on a machine that others use, too.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import yaml
from conditions import conditions

from customer360.platform import access
from customer360.platform.sources.collector import folder_of
from customer360.platform.sources.protocols.hooks import journal

COMMITS = 200
BATCH = 100
USER_AGENT = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537"


def event(number: int) -> str:
    """One event as a page sends it, of about 500 bytes."""
    return (
        f'{{"type":"track","event":"Product Viewed","messageId":"m-{number:032d}",'
        f'"anonymousId":"v-{number % 5000:032d}",'
        f'"timestamp":"2026-05-01T10:00:00.000Z","properties":{{"product_id":"P{number % 2000}","category":"Mugs",'
        f'"price":12.5,"currency":"EUR"}},"context":{{"page":{{"url":"https://shop.example/p/{number % 2000}",'
        f'"title":"A mug of many"}},"userAgent":"{USER_AGENT}","locale":"en-GB"}}}}'
    )


class Requests:
    """Requests that were made before the clock runs, as their bytes and how many events each holds."""

    def __init__(self, key: str) -> None:
        self._head = base64.b64encode(f"{key}:".encode()).decode()
        self._number = 0

    def _request(self, path: str, body: str) -> bytes:
        head = f"POST {path} HTTP/1.1\r\nHost: b\r\nAuthorization: Basic {self._head}\r\n"
        return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()

    def _events(self, count: int) -> list[str]:
        self._number += count
        return [event(n) for n in range(self._number - count, self._number)]

    def single(self) -> bytes:
        return self._request("/v1/track", self._events(1)[0])

    def batch(self) -> bytes:
        return self._request("/v1/batch", f'{{"batch":[{",".join(self._events(BATCH))}]}}')


class Connection(asyncio.Protocol):
    """Sends the next request when the answer to the last has come, and notes how long it took."""

    def __init__(self, requests: Iterator[tuple[float, bytes]], took: list[float]) -> None:
        self._requests, self._took = requests, took
        self._answer = b""
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._next()

    def _next(self) -> None:
        due, request = next(self._requests, (0.0, b""))
        if not request:
            self._transport.close()
            return
        wait = due - time.perf_counter()
        if due and wait > 0:
            asyncio.get_running_loop().call_later(wait, self._write, due, request)
        else:
            self._write(due, request)

    def _write(self, due: float, request: bytes) -> None:
        self._since = due or time.perf_counter()  # at a fixed rate from when it was due
        self._transport.write(request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if not self._answer.endswith(b"}"):
            return  # its head; the body follows
        if not self._answer.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"not acknowledged: {self._answer[:400]!r}")
        self._answer = b""
        self._took.append(time.perf_counter() - self._since)
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


async def load(
    port: int, connections: int, made: list[bytes], seconds: float, rate: float = 0
) -> tuple[float, list[float]]:
    """Send requests for a while, at a rate or as fast as answers come; seconds, and the times of the answers."""
    took: list[float] = []
    began = time.perf_counter()

    def due() -> Iterator[tuple[float, bytes]]:
        for number, request in enumerate(made):
            at = began + number / rate if rate else 0.0
            if max(at, time.perf_counter()) - began > seconds:
                return
            yield at, request

    shared = due()
    loop = asyncio.get_running_loop()
    opened = [
        await loop.create_connection(lambda: Connection(shared, took), "127.0.0.1", port) for _ in range(connections)
    ]
    await asyncio.gather(*(protocol.ended for _, protocol in opened))
    return time.perf_counter() - began, took


def disk(folder: Path, size: int) -> tuple[float, float]:
    """Milliseconds of a commit of so many bytes: median and 99th percentile."""
    file = folder / "commits"
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    took = []
    for _ in range(COMMITS):
        since = time.perf_counter()
        os.write(handle, b"x" * size)
        os.fdatasync(handle)
        took.append(1000 * (time.perf_counter() - since))
    os.close(handle)
    file.unlink()
    return float(np.percentile(took, 50)), float(np.percentile(took, 99))


def served(root: Path, config: Path) -> tuple[subprocess.Popen[bytes], int]:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = int(held.getsockname()[1])
    web = {"kind": "collector", "system": "SHOP", "events_per_minute": 0, "backlog_megabytes": 100_000}
    read = {"recipe": "collector/calls", "kind": "collector", "connection": "web", "system": "SHOP"}
    said = {"state": str(root), "connections": {"web": web}, "sources": {"web": read}, "serve": {"port": port}}
    config.write_text(yaml.safe_dump(said))
    log = (root / "server.log").open("wb")
    command = [sys.executable, "-m", "customer360.serve.cli", "serve", "--plain", "--config", str(config)]
    process = subprocess.Popen(command, stdout=log, stderr=log)
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return process, port
        except OSError:
            time.sleep(0.2)
    raise SystemExit((root / "server.log").read_text())


def cpu_seconds(process: int) -> float:
    """Of a process and its threads, so far."""
    said = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(said[11]) + int(said[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--state", type=Path, help="folder on the disk that is measured; default: a temporary one")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.state) as place:
        root = Path(place)
        requests = Requests(access.issue(root, "bench", "writer"))
        process, port = served(root, root / "settings.yaml")
        acknowledged = 0
        rows: list[tuple[str, int, Callable[[], bytes], int, int, float]] = [
            ("single, 1 connection", 1, requests.single, 1, 12_000, 0),
            ("single, 64 connections", 64, requests.single, 1, 90_000, 0),
            ("single, 1,700 a second, 64 connections", 64, requests.single, 1, 20_000, 1700),
            ("batches of 100, 1 connection", 1, requests.batch, BATCH, 4_000, 0),
            ("batches of 100, 16 connections", 16, requests.batch, BATCH, 8_000, 0),
        ]
        try:
            for name, connections, make, events, most, rate in rows:
                made = [make() for _ in range(most)]
                size = len(made[0])
                before, busy = disk(root, size), cpu_seconds(process.pid)
                seconds, took = asyncio.run(load(port, connections, made, asked.seconds, rate))
                busy = cpu_seconds(process.pid) - busy
                after = disk(root, size)
                acknowledged += events * len(took)
                at = np.percentile(np.array(took) * 1000, [50, 99])
                print(
                    json.dumps(
                        {
                            "what": name, "events_per_second": round(events * len(took) / seconds),
                            "ms_p50": round(float(at[0]), 2), "ms_p99": round(float(at[1]), 2),
                            "disk_ms_p50": [round(before[0], 2), round(after[0], 2)],
                            "disk_ms_p99": [round(before[1], 2), round(after[1], 2)],
                            "server_us_of_cpu_an_event": round(1e6 * busy / (events * len(took)), 1),
                            "load": round(os.getloadavg()[0], 1),
                        }
                    ),
                    flush=True,
                )  # fmt: skip
        finally:
            process.terminate()
            process.wait(30)
        folder = folder_of(root, "web")
        kept = sum(
            1 for name in journal.segments(folder) for frame in journal.frames(folder / name, 0) if frame.is_whole
        )
        print(json.dumps({"acknowledged": acknowledged, "in_the_log": kept}))
        print(conditions())


if __name__ == "__main__":
    main()
