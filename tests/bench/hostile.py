"""Do hostile requests keep honest clients out of the plain server, or with `--ray` of Ray Serve? `--hostile` requests
of every kind (silent, half, trickling, huge, deep, garbled, never read; without a key and with a good one) beside
`--honest` clients that each ask for profiles. Prints a row a kind, then what the honest clients got: nothing but 200
and 429 is in order; and how many lines the log of the server has.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from damage import ERASED, prepared  # beside this file

PEOPLE = 200
AT_ONCE = 300  # hostile connections
SECONDS = 40.0  # after which a hostile connection is given up
HEAD_SECONDS = "3"
JSON = "Content-Type: application/json\r\n"
Sent = Callable[[asyncio.StreamWriter, str], Awaitable[None]]


def sends(*pieces: bytes, pause: float = 0.0) -> Sent:
    async def send(writer: asyncio.StreamWriter, key: str) -> None:
        for piece in pieces:
            writer.write(piece.replace(b"KEY", key.encode()))
            await writer.drain()
            await asyncio.sleep(pause)

    return send


def post(body: bytes, length: int | None = None, path: str = "/v1/identity/lookup") -> bytes:
    size = len(body) if length is None else length
    return f"POST {path} HTTP/1.1\r\nHost: a\r\nX-API-Key: KEY\r\n{JSON}Content-Length: {size}\r\n\r\n".encode() + body


GET = b"GET %s HTTP/1.1\r\nHost: a\r\nX-API-Key: KEY\r\n\r\n"
CHUNKED = f"POST /v1/identity/lookup HTTP/1.1\r\nHost: a\r\nX-API-Key: KEY\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n"
KINDS: dict[str, Sent] = {
    "silent": sends(b""),
    "half a head": sends(b"GET /v1/people/p1 HTTP/1.1\r\nHost: a\r\nX-"),
    "trickling head": sends(b"GET / HTTP/1.1\r\n", *[b"X-A: a\r\n"] * 30, pause=0.3),
    "huge head": sends(b"GET / HTTP/1.1\r\n" + b"X-A: " + b"a" * 300_000),
    "many headers": sends(b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 40_000 + b"\r\n"),
    "huge path": sends(GET % (b"/v1/people/" + b"p" * 60_000)),
    "half a body": sends(post(b'{"first_name"', 100_000)),
    "trickling body": sends(post(b"{", 200), *[b" "] * 60, pause=0.5),
    "huge body, said": sends(post(b"a" * 100_000, 10**12)),
    "huge body, unsaid": sends(CHUNKED.encode(), *[b"ffff\r\n" + b"a" * 65_535 + b"\r\n"] * 8),
    "garbled chunks": sends(CHUNKED.encode(), b"zz\r\n\x00\r\n"),
    "deep JSON": sends(post(b"[" * 100_000)),
    "huge number": sends(post(b'{"first_name": ' + b"9" * 100_000 + b"}")),
    "no JSON": sends(post(os.urandom(2_000))),
    "two lengths": sends(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 50\r\n\r\nhello"),
    "smuggled": sends(CHUNKED.replace("Transfer", "Content-Length: 4\r\nTransfer").encode() + b"0\r\n\r\nGET /x"),
    "not HTTP": sends(os.urandom(500)),
    "TLS": sends(bytes.fromhex("16030100f8010000f40303") + os.urandom(240)),
    "never read": sends(*[GET % b"/openapi.json"] * 40),
    "pipelined": sends(GET % b"/v1/people/p1" * 30),
    "other paths": sends(GET % b"/../../etc/passwd", GET % b"//%2e%2e/%00", GET % b"/v1/people/%ff%fe"),
    "odd method": sends(b"BREW /v1/people/p1 HTTP/1.1\r\nHost: a\r\nX-API-Key: KEY\r\n\r\n"),
    "upgrade": sends(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"),
    "guessed key": sends((GET % b"/v1/people/p1").replace(b"KEY", b"c360_000000000000_guess")),
    "reset at once": sends(b"GET"),
}


async def hostile(port: int, kind: str, key: str, said: Counter[str]) -> None:
    with contextlib.suppress(OSError, TimeoutError):
        reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 20)
        try:
            async with asyncio.timeout(SECONDS):
                await KINDS[kind](writer, key)
                if kind == "reset at once":
                    writer.transport.abort()
                elif kind == "never read":
                    writer.transport.pause_reading()
                    await asyncio.sleep(5)
                else:
                    first = await reader.read(15)
                    said[first[9:12].decode("ascii", "replace") if first else "closed"] += 1
        except (OSError, TimeoutError) as fault:
            said[type(fault).__name__] += 1
        finally:
            writer.close()


async def honest(port: int, key: str, number: int, ended: asyncio.Event, said: Counter[str], slow: list[float]) -> None:
    """Asks about twice a second, one connection a request, until the hostile have ended."""
    while not ended.is_set():
        began = time.perf_counter()
        try:
            async with asyncio.timeout(30):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                path = f"/v1/people/p{number}" if random.random() < 0.9 else "/healthz"
                head = f"GET {path} HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\nConnection: close\r\n\r\n"
                writer.write(head.encode())
                answer = await reader.read()
                writer.close()
            said[answer[9:12].decode("ascii", "replace") or "closed"] += 1
        except (OSError, TimeoutError) as fault:
            said[type(fault).__name__] += 1
        slow.append(time.perf_counter() - began)
        await asyncio.sleep(0.5)


async def play(port: int, keys: tuple[str, str], hostile_count: int, honest_count: int) -> bool:
    said: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    ended, got, slow = asyncio.Event(), Counter[str](), list[float]()
    there = [n for n in range(PEOPLE) if f"p{n}" != ERASED]
    asked = (there[n % len(there)] for n in range(honest_count))
    clients = [asyncio.create_task(honest(port, keys[0], n, ended, got, slow)) for n in asked]
    room = asyncio.Semaphore(AT_ONCE)

    async def one(kind: str, key: str) -> None:
        async with room:
            await hostile(port, kind, key, said[kind])

    kinds = list(KINDS)
    of_whom = (keys[1], "none")  # by turns a good key and none
    turns = ((kinds[n % len(kinds)], of_whom[n // len(kinds) % 2]) for n in range(hostile_count))
    await asyncio.gather(*(one(kind, key) for kind, key in turns))
    ended.set()
    await asyncio.gather(*clients)
    for kind, counts in said.items():
        print(f"{kind:20} {dict(counts)}")
    slow.sort()
    print(f"honest: {sum(got.values()):,} requests: {dict(got)}; median {slow[len(slow) // 2] * 1000:.0f} ms, "
          f"99 % {slow[len(slow) * 99 // 100] * 1000:.0f} ms, longest {slow[-1]:.1f} s")  # fmt: skip
    return not set(got) - {"200", "429"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hostile", type=int, default=10_000)
    parser.add_argument("--honest", type=int, default=50)
    parser.add_argument("--ray", action="store_true", help="Ray Serve instead of the plain server")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder, "state")
        from customer360.platform import access

        keys = prepared(state, PEOPLE), access.issue(state, "a caller gone bad", "reader")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        told = {"STATE": str(state), "LAKE__ROOT": f"{folder}/lake", "SERVE__PORT": str(port),
                "SERVE__HEADER_TIMEOUT_SECONDS": HEAD_SECONDS}  # fmt: skip
        environment = os.environ | {f"CUSTOMER360__{name}": value for name, value in told.items()}
        command = [sys.executable, "-m", "customer360.serve.cli", "serve", *([] if arguments.ray else ["--plain"])]
        log = Path(folder, "log")
        with (
            log.open("wb") as lines,
            subprocess.Popen(
                command, env=environment, stdout=subprocess.DEVNULL, stderr=lines, start_new_session=True
            ) as server,
        ):
            try:
                wait_for(port)
                began, before = time.perf_counter(), cpu_of(server.pid)
                is_sound = asyncio.run(play(port, keys, arguments.hostile, arguments.honest))
                told = {"hostile": arguments.hostile, "seconds": round(time.perf_counter() - began, 1),
                        "server_cpu_seconds": round(cpu_of(server.pid) - before, 1), "load": os.getloadavg()[0],
                        "log_lines": len(log.read_bytes().splitlines()), "honest_saw_no_error": is_sound}  # fmt: skip
                print(json.dumps(told))
            finally:
                server.terminate()
                server.wait(60)
    raise SystemExit(0 if is_sound else 1)


def cpu_of(leader: int) -> float:
    """Seconds of all processes that a server consists of."""
    seconds = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if leader in (int(fields[3]), int(stat.parent.name)):  # its session, or itself
                seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return seconds


def wait_for(port: int) -> None:
    for _ in range(1000):
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5):
            return
        time.sleep(0.3)
    raise SystemExit("the server did not start")


if __name__ == "__main__":
    main()
