"""Answers a second: `python tests/bench/serving.py [--products 100000] [--people 200000] [--seconds 4]`.

Publishes an invented shop (`tests/choices.py`) and serves it from one plain process (uvicorn), which one other process
asks over kept connections. Each row is a kind of request; the first does nothing but check the key, so the others can
be read as ratios to it, whatever else the machine does; milliseconds of the server's CPU an answer (with those of
writing decisions down) tell more than answers a second on a machine that others use, too.

``--ray`` serves from Ray Serve in place of that, as `customer360 serve` does, under the environment as it is
(`RAY_SERVE_ENABLE_HA_PROXY=1`, …): CPU is that of replica and proxy together, and the first row is `/healthz`.
``--flat N`` asks N times for all of these in turn, and sends events to a collector, singly and in batches; before that,
so many events that what a server remembers of them is full, and a tenth of the requests. Prints the memory of the plain
server at each tenth.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import polars as pl
import yaml
from collector import BATCH, Requests
from conditions import conditions
from fastapi import APIRouter

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import choices

from customer360.pipelines.gold.customers import Customer360
from customer360.platform import access, online
from customer360.platform.settings import Settings, load
from customer360.platform.sources.protocols.hooks.journal import REMEMBERED
from customer360.serve import plain
from customer360.serve.api.policy import Caller
from customer360.serve.app import build_app
from customer360.serve.publication import vectors
from customer360.serve.realtime.activity import Activities, Step, visitor

BLOCK = 10_000  # people a frame
PERSONAL = ("person", "recommendations", "categories", "bought")
FEATURES = 50
# Of a mix; what a shop asks most of a server is to take events and to show lists.
SHARES = {
    "nothing": 1, "stored list": 2, "precomputed, re-ranked": 1, "search, 100 hits": 0.5, "scan, by session": 0.1,
    "features, 100 x 50": 0.03, "event": 5, "batch of events": 0.05,
}  # fmt: skip


def publish(state: Path, products: int, people: int, dimension: int, number: int = 7) -> None:
    """A shop whose people repeat some hundreds of drawn ones, so that it is written within a minute. ``number``: of the
    vectors, of which each publication has others."""
    draw, drawn = random.Random(1), min(people, 500)
    documents = choices._documents(draw, products, drawn, 60)
    pool = {kind: [d for _, d in documents[kind]] for kind in PERSONAL}
    full = {name: _plausible(column.dtype) for name, column in Customer360.columns().items()}

    def frames() -> Iterator[pl.DataFrame]:
        for kind, rows in documents.items():
            if kind not in PERSONAL:
                while block := list(islice(rows, BLOCK)):
                    yield _frame(kind, [key for key, _ in block], [json.dumps(d) for _, d in block])
        for start in range(0, people, BLOCK):
            numbers = range(start, min(start + BLOCK, people))
            for kind in PERSONAL:
                mine = pool[kind]
                found = [_of_person(kind, mine[i % len(mine)], i, full) for i in numbers]
                yield _frame(kind, [f"p{i}" for i in numbers], found)

    names = [f"P{i:06}" for i in range(products)]
    towers, home = choices._towers(names, dimension, number), state / vectors.HOME / str(number)
    vectors.write_vectors(home, towers, "two_tower", str(number))
    online.publish(state, frames(), as_of=choices.AS_OF, sources={vectors.SOURCE: number}, is_told=False)


def _frame(kind: str, keys: list[str], texts: list[str]) -> pl.DataFrame:
    return pl.DataFrame({"kind": kind, "key": keys, "document": texts})


def _of_person(kind: str, document: dict[str, Any], number: int, full: dict[str, Any]) -> str:
    if kind != "person":
        return json.dumps(document)
    profile = full | document["profile"] | {"person_id": f"p{number}", "may_personalize": True, "may_profile": True}
    return json.dumps({"profile": profile, "accounts": [f"POS/{number}"]})


def _plausible(dtype: pl.DataType) -> Any:
    if dtype == pl.Boolean:
        return True
    return 12.5 if dtype.is_numeric() else ["Toys"] if dtype == pl.List(pl.String) else "2026-02-11"


# ---- one server, one client ------------------------------------------------------------------------------------------


def serve(state: Path, listening: socket.socket, *, collects: bool = False) -> None:
    """Serve with one endpoint more, which does nothing; with a collector, if it ``collects``."""
    router = APIRouter(prefix="/v1")

    @router.get("/nothing")
    async def nothing(principal: Caller) -> dict[str, bool]:
        return {"nothing": True}

    settings = Settings(state=str(state))
    if collects:
        web = {"kind": "collector", "system": "SHOP", "events_per_minute": 0, "backlog_megabytes": 100_000}
        read = {"recipe": "collector/calls", "kind": "collector", "connection": "web", "system": "SHOP"}
        file = state.parent / "collecting.yaml"
        file.write_text(yaml.safe_dump({"state": str(state), "connections": {"web": web}, "sources": {"web": read}}))
        settings = load(str(file))
    app = build_app(settings)
    app.include_router(router)
    if not collects:
        app.state.activities = Activities()  # what a collector would know of visitors
    look_around(app.state.activities)
    plain.run(app, settings.serve, listening)


def look_around(activities: Activities) -> None:
    """Five hundred visitors look at five products each."""
    names, draw = [f"P{i:06}" for i in range(1000)], random.Random(4)
    activities.note_all(
        (Step("PRODUCT_VIEW", datetime.now(UTC), (product,)), visitor(f"v{i}"), None)
        for i in range(500)
        for product in draw.sample(names, 5)
    )


def rate(port: int, requests: Callable[[], bytes], connections: int, seconds: float) -> tuple[float, float, float, int]:
    """Answers a second, milliseconds of the middle one and of the slowest hundredth, and how many there were; each
    connection asks again when it has its answer."""
    poll, took = selectors.DefaultSelector(), list[float]()
    for _ in range(connections):
        link = socket.create_connection(("127.0.0.1", port))
        poll.register(link, selectors.EVENT_READ, [perf_counter(), b""])
        link.sendall(requests())
    began = perf_counter()
    while perf_counter() - began < seconds or not took:
        for key, _ in poll.select(1):
            link, held = key.fileobj, key.data
            held[1] += link.recv(1 << 18)  # type: ignore[union-attr]
            if not _is_whole(held[1]):
                continue
            assert held[1].startswith(b"HTTP/1.1 200"), held[1][:500]
            now = perf_counter()
            took.append(now - held[0])
            held[:] = [now, b""]
            link.sendall(requests())  # type: ignore[union-attr]
    elapsed = perf_counter() - began
    for key in list(poll.get_map().values()):
        key.fileobj.close()  # type: ignore[union-attr]
    ordered = sorted(took)
    return len(took) / elapsed, 1e3 * statistics.median(ordered), 1e3 * ordered[int(0.99 * len(ordered))], len(took)


def _is_whole(answer: bytes) -> bool:
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        return False
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return len(body) >= int(length.partition(b":")[2])


def kinds(key: str, people: int, products: int) -> dict[str, Callable[[], bytes]]:
    """A maker of requests by what they ask."""
    draw = random.Random(9)

    def sent(method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\nX-API-Key: {key}\r\n"
        return f"{head}Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data

    def who() -> str:
        return f"p{draw.randrange(people)}"

    def chosen(**wanted: Any) -> bytes:
        return sent("POST", "/v1/recommendations", {"placement": "home", "k": 20, **wanted})

    plain_columns = [n for n, c in Customer360.columns().items() if not c.metadata and c.dtype != pl.Decimal]
    wanted = [f"customer_360:{name}" for name in plain_columns[:FEATURES]]

    def features() -> bytes:
        entities = {"person_id": [who() for _ in range(100)]}
        return sent("POST", "/v1/features", {"features": wanted, "entities": entities})

    listed = [f"P{i:06}" for i in draw.sample(range(products), 100)]
    return {
        "nothing": lambda: sent("GET", "/v1/nothing"),
        "stored list": lambda: sent("GET", f"/v1/people/{who()}/recommendations?k=20"),
        "precomputed, re-ranked": lambda: chosen(person_id=who()),
        "scan, by session": lambda: chosen(visitor_id=f"v{draw.randrange(500)}"),
        "search, 100 hits": lambda: chosen(placement="search", items=listed, person_id=who()),
        "features, 100 x 50": features,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--products", type=int, default=100_000)
    parser.add_argument("--people", type=int, default=200_000)
    parser.add_argument("--dimension", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--flat", type=int, default=0, metavar="N")
    given = parser.parse_args()
    print(conditions("fastapi", "uvicorn", "numpy", "polars"))
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state"
        began = perf_counter()
        publish(state, given.products, given.people, given.dimension)
        size = sum(f.stat().st_size for f in state.rglob("*") if f.is_file()) / 1e6
        print(f"{given.products:,} products, {given.people:,} people, {size:,.0f} MB in {perf_counter() - began:.0f} s")
        key = access.issue(state, "bench", "reader")
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen(128)
            if given.ray:
                measure_ray(state, key, given)
                return
            server = multiprocessing.get_context("spawn").Process(
                target=serve, args=(state, listening), kwargs={"collects": given.flat > 0}, daemon=True
            )
            server.start()
            asked, port, pid = kinds(key, given.people, given.products), listening.getsockname()[1], server.pid or 0
            if given.flat:
                events = Requests(access.issue(state, "shop", "writer"))
                memory(pid, port, mixed(asked, events), events, given.flat)
            else:
                measure([pid], port, asked, given)
            server.terminate()
            server.join()
    print(conditions("fastapi"))


def cpu_seconds(pid: int) -> float:
    """CPU seconds of a process so far."""
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def measure_ray(state: Path, key: str, given: argparse.Namespace) -> None:
    """Start `customer360 serve`, and measure replica and proxy."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    file = state.parent / "settings.yaml"
    file.write_text(yaml.safe_dump({"state": str(state), "serve": {"port": port, "max_queued_requests": 1000}}))
    log = (state.parent / "server.log").open("wb")
    command = [sys.executable, "-m", "customer360.serve.cli", "serve", "--config", str(file)]
    server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        asked = kinds(key, given.people, given.products)
        del asked["nothing"], asked["scan, by session"]  # an endpoint of the bench, and visitors that it makes up
        health = b"GET /healthz HTTP/1.1\r\nHost: bench\r\n\r\n"
        wait_for(port, health, server)
        serving = [pid for pid in descendants(server.pid) if is_serving(pid)]
        measure(serving, port, {"healthz": lambda: health, **asked}, given)
    finally:
        server.terminate()
        server.wait(120)


def wait_for(port: int, health: bytes, server: subprocess.Popen[bytes]) -> None:
    """Until the server answers, for some minutes."""
    for _ in range(600):
        if server.poll() is not None:
            raise SystemExit("the server ended")
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as link:
                link.sendall(health)
                if link.recv(1000).startswith(b"HTTP/1.1 200"):
                    return
        except OSError:
            pass
        sleep(0.5)
    raise SystemExit("the server did not start")


def descendants(root: int) -> list[int]:
    """Processes that came of another."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has ended
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def is_serving(pid: int) -> bool:
    """Whether a process is a replica or stands before one."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return any(name in command for name in (b"ServeReplica", b"ProxyActor", b"haproxy", b"HAProxy"))


def mixed(kinds: dict[str, Callable[[], bytes]], events: Requests) -> Callable[[], bytes]:
    """A maker of requests of all kinds, the dear ones seldom."""
    makers = kinds | {"event": events.single, "batch of events": events.batch}
    shares, draw = [SHARES[name] for name in makers], random.Random(5)
    return lambda: draw.choices([*makers.values()], shares)[0]()


def memory(pid: int, port: int, requests: Callable[[], bytes], events: Requests, count: int) -> None:
    """Ask so many times, and tell of the memory of the server at each tenth."""
    asked(port, events.batch, -(-int(1.05 * REMEMBERED) // BATCH))
    print(f"warming up {resident(pid):8.1f} MB", flush=True)
    asked(port, requests, count // 10)
    first = resident(pid)
    print(f"{0:>10,} {first:8.1f} MB", flush=True)
    for tenth in range(1, 11):
        asked(port, requests, count // 10)
        now, cpu = resident(pid), cpu_seconds(pid)
        print(f"{tenth * (count // 10):>10,} {now:8.1f} MB {now / first - 1:+.1%} cpu {cpu:,.0f} s", flush=True)


def asked(port: int, requests: Callable[[], bytes], count: int) -> None:
    """Ask so many times over eight connections."""
    with selectors.DefaultSelector() as poll:
        for _ in range(8):
            link = socket.create_connection(("127.0.0.1", port))
            poll.register(link, selectors.EVENT_READ, [b""])
            link.sendall(requests())
        while count > 0:
            for key, _ in poll.select(1):
                link, held = key.fileobj, key.data  # type: ignore[assignment]
                held[0] += link.recv(1 << 18)
                if _is_whole(held[0]):
                    assert held[0].startswith(b"HTTP/1.1 200"), held[0][:500]
                    held[0], count = b"", count - 1
                    link.sendall(requests())
        for key in list(poll.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]


def resident(pid: int) -> float:
    """Megabytes of memory of a process that is its own: without the pages of files that it maps."""
    said = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(said["RssAnon"].split()[0]) / 1024


def measure(pids: Sequence[int], port: int, asked: dict[str, Callable[[], bytes]], given: argparse.Namespace) -> None:
    for requests in asked.values():
        rate(port, requests, 1, 1.0)  # the catalogue is read, caches are filled
        sleep(0.2)
    print(f"{'asked':26}" + "".join(f"{f'{n} connections':>46}" for n in given.connections))
    floor: dict[int, float] = {}
    for name, requests in asked.items():
        cells = []
        for connections in given.connections:
            before = sum(map(cpu_seconds, pids))
            found, middle, slow, answers = rate(port, requests, connections, given.seconds)
            sleep(0.4)  # decisions are written
            cpu = 1e3 * (sum(map(cpu_seconds, pids)) - before) / answers
            floor.setdefault(connections, found)
            cells.append(
                f"{found:7,.0f}/s {middle:6.2f}/{slow:7.2f} ms {found / floor[connections]:5.2f} cpu {cpu:5.2f}"
            )
        print(f"{name:26}" + "".join(f"{cell:>46}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
