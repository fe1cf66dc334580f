"""What callers notice when a champion changes or a replica dies: `python tests/bench/rolling.py [--replicas 2]`.

Starts `customer360 serve` on Ray with some replicas, under the environment as it is (`RAY_SERVE_ENABLE_HA_PROXY=1`, …),
and asks for re-ranked lists and stored ones over kept connections all the time. Meanwhile it publishes new vectors and
a new publication some times, then kills one replica after the other with SIGKILL. Prints, for each, how many answers
came, how many requests failed and how (a caller whose connection broke asks again), and from when on answers were of
the new publication or all replicas were back.

Behind HAProxy a request that a dead replica never answered is a 500 where it was the first of the caller's connection,
and else a connection that HAProxy closes, so that the caller asks again. Of the former its log names the replica: those
that it then found down are told apart from 500 of any other.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import yaml
from conditions import conditions
from serving import descendants, publish, wait_for

from customer360.platform import access
from customer360.serve.haproxy import IS_USED

PEOPLE, PRODUCTS, DIMENSION = 500, 2_000, 16
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: bench\r\n\r\n"


class Caller(threading.Thread):
    """Asks again and again over one connection, and counts what came."""

    def __init__(self, number: int, port: int, key: str) -> None:
        super().__init__(daemon=True)
        self._dice, self._port, self._key = random.Random(number), port, key
        self.is_over = False
        self.found = Counter[str]()
        self.generation = ""

    def run(self) -> None:
        link = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        while not self.is_over:
            try:
                self._ask(link)
            except (OSError, http.client.HTTPException) as fault:
                self.found[f"connection: {type(fault).__name__}"] += 1
                link.close()

    def _ask(self, link: http.client.HTTPConnection) -> None:
        head, who = {"X-API-Key": self._key}, f"p{self._dice.randrange(PEOPLE)}"
        if self._dice.random() < 0.5:
            link.request("GET", f"/v1/people/{who}/recommendations", headers=head)
        else:
            body = json.dumps({"placement": "home", "person_id": who})
            link.request("POST", "/v1/recommendations", body, head | {"Content-Type": "application/json"})
        answer = link.getresponse()
        said = answer.read()
        self.found[str(answer.status)] += 1
        if answer.status == 200:
            self.generation = json.loads(said)["generation"]


def replicas(server: int) -> list[int]:
    """Processes of replicas."""
    found = []
    for pid in descendants(server):
        try:
            if b"ServeReplica" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
        except OSError:
            continue
    return found


class Log(threading.Thread):
    """What HAProxy says: of each request that it answered for a replica which replica, and which it found down."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.target = "{}:{}".format(*self._socket.getsockname())
        self.unanswered, self.down, self.up = list[str](), set[str](), set[str]()

    def run(self) -> None:
        while True:
            said = self._socket.recv(65536).decode("utf-8", "replace")
            server = re.search(r"http-\S+?/(SERVE_REPLICA\S+)", said)
            if server and " is DOWN" in said:
                self.down.add(server[1])
                self.up.discard(server[1])
            elif server and re.search(r"succeeded.* status: (\d+)/\1 UP", said):
                self.up.add(server[1])
            elif server and re.search(r" 50[234] \d+ - - S", said):
                self.unanswered.append(server[1])

    def wait_for(self, replicas: int) -> None:
        """Until so many are asked, for a minute; no time where there is no HAProxy."""
        end = time.monotonic() + 60
        while os.environ.get(IS_USED) == "1" and len(self.up) < replicas and time.monotonic() < end:
            time.sleep(0.1)

    def since(self) -> str:
        """Of 500 that were made for replicas how many were of those that had died."""
        found, self.unanswered = self.unanswered, []
        dead = sum(server in self.down for server in found)
        return f"; 500 of HAProxy: {len(found)}, of the dead replica {dead}" if found else ""


class Watched:
    """Callers, and what they met since it was asked last."""

    def __init__(self, callers: list[Caller], log: Log) -> None:
        self._callers, self._before, self.log = callers, Counter[str](), log

    def since(self) -> Counter[str]:
        now = sum((caller.found for caller in self._callers), Counter[str]())
        found, self._before = now - self._before, now
        return found

    def generations(self) -> set[str]:
        return {caller.generation for caller in self._callers}


def swap(state: Path, number: int, watched: Watched) -> None:
    before, began = watched.generations(), time.perf_counter()
    publish(state, PRODUCTS, PEOPLE, DIMENSION, number)
    while watched.generations() & before:
        time.sleep(0.05)
    seconds = time.perf_counter() - began
    time.sleep(1)
    tell("champion", watched.since(), f"{seconds:.1f} s until all answers were of it, making it included")


def kill(server: int, wanted: int, dice: random.Random, watched: Watched) -> None:
    before, began = replicas(server), time.perf_counter()
    os.kill(dice.choice(before), signal.SIGKILL)
    time.sleep(1)
    while len(set(replicas(server)) - set(before)) < 1 or len(replicas(server)) < wanted:
        time.sleep(0.2)
    watched.log.wait_for(wanted)
    seconds = time.perf_counter() - began
    time.sleep(2)
    more = f"{seconds:.1f} s until another replica was there{watched.log.since()}"
    tell("replica killed", watched.since(), more)


def tell(what: str, found: Counter[str], more: str) -> None:
    failed = {name: count for name, count in found.items() if name != "200"}
    print(f"{what}: {found['200']:,} answers, failed {sum(failed.values())} {failed or ''}; {more}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--swaps", type=int, default=5)
    parser.add_argument("--kills", type=int, default=3)
    given = parser.parse_args()
    print(conditions("fastapi", "ray"))
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        state = Path(folder) / "state"
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
        free.close()
        publish(state, PRODUCTS, PEOPLE, DIMENSION)
        measure(state, port, given)
    print(conditions())


def measure(state: Path, port: int, given: argparse.Namespace) -> None:
    said: dict[str, Any] = {"port": port, "replicas": given.replicas, "request_timeout_seconds": 30.0}
    file, key = state.parent / "settings.yaml", access.issue(state, "bench", "reader")
    file.write_text(yaml.safe_dump({"state": str(state), "serve": said}))
    log, proxy = (state.parent / "server.log").open("wb"), Log()
    proxy.start()
    environment = os.environ | {"RAY_SERVE_HAPROXY_LOG_TARGET": proxy.target}
    command = [sys.executable, "-m", "customer360.serve.cli", "serve", "--config", str(file)]
    server = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        wait_for(port, HEALTH, server)
        while len(replicas(server.pid)) < given.replicas:
            time.sleep(0.5)
        proxy.wait_for(given.replicas)
        callers = [Caller(number, port, key) for number in range(given.callers)]
        for caller in callers:
            caller.start()
        watched, dice = Watched(callers, proxy), random.Random(1)
        time.sleep(3)
        tell("before", watched.since(), "nothing happens")
        for number in range(given.swaps):
            swap(state, 8 + number, watched)
        for _ in range(given.kills):
            kill(server.pid, given.replicas, dice, watched)
        for caller in callers:
            caller.is_over = True
        for caller in callers:
            caller.join(30)
        tell("after", watched.since(), "nothing happens")
    finally:
        server.terminate()
        server.wait(120)


if __name__ == "__main__":
    main()
