"""All of Ray dies while events come: `python tests/bench/ray_deaths.py [--deaths 10] [--replicas 2] [--seed 1]`.

Visitors send batches of events to `customer360 serve` on Ray, under the environment as it is
(`RAY_SERVE_ENABLE_HA_PROXY=1`, …), and each again until it is acknowledged. At random moments every process of it is
killed with SIGKILL at once: command, raylet, GCS, proxy, replicas; another takes its place. At the end a run lands
what the log holds: each event that was acknowledged is there, each visitor's in their order, and in `silver.events`
once.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from collector_crashes import Visitor, check, check_silver, settings_file
from conditions import conditions
from serving import descendants

VISITORS = 4
SETTLED = 1.5  # seconds after which new visitors' batches have come through


def started(file: Path, port: int, log: Path) -> subprocess.Popen[bytes]:
    """A server that answers."""
    command = [sys.executable, "-m", "customer360.serve.cli", "serve", "--config", str(file)]
    with log.open("ab") as told:
        server = subprocess.Popen(command, stdout=told, stderr=told)
    while server.poll() is None:  # nothing is published, so that it is healthy to nobody
        with suppress(OSError, http.client.HTTPException):
            link = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            link.request("GET", "/healthz")
            link.getresponse()
            return server
        time.sleep(0.5)
    raise AssertionError("the server ended")


def killed(server: subprocess.Popen[bytes]) -> int:
    """Kill all processes of a server at once; returns how many there were."""
    found = {server.pid, *descendants(server.pid)}
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    server.wait(30)
    return len(found)


def measure(root: Path, given: argparse.Namespace) -> None:
    from customer360.platform import access
    from customer360.platform.run import RunRequest, run
    from customer360.platform.settings import load
    from customer360.serve.compose import compose, rules_of

    compose()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port, dice = int(free.getsockname()[1]), random.Random(given.seed)
    file = settings_file(root, port)
    said: dict[str, Any] = yaml.safe_load(file.read_text())
    said["serve"] = {"port": port, "replicas": given.replicas, "request_timeout_seconds": 30.0}
    file.write_text(yaml.safe_dump(said))
    auth = base64.b64encode(f"{access.issue(root / 'state', 'shop', 'writer')}:".encode()).decode()
    sent, processes, again, began = dict.fromkeys((f"v{n}" for n in range(VISITORS)), 0), 0, 0, time.perf_counter()
    for death in range(given.deaths):
        server = started(file, port, root / "log")
        visitors = []
        for name, first in sent.items():
            events = dice.randint(100, 1000)
            visitors.append(Visitor(name, first, events, port, auth, f"{given.seed}/{death}/{name}"))
            sent[name] = first + events
        for visitor in visitors:
            visitor.start()
        time.sleep(dice.uniform(0.0, SETTLED))
        processes += killed(server)
        server = started(file, port, root / "log")
        for visitor in visitors:
            visitor.join()
        assert not (faults := [v.fault for v in visitors if v.fault]), faults
        again += sum(v.again for v in visitors)
        processes += killed(server)
        print(f"{2 * death + 2} deaths, {processes} processes, {sum(sent.values()):,} events, {again:,} batches sent "
              f"again; {time.perf_counter() - began:,.0f} s", flush=True)  # fmt: skip
    settings = load(str(file))
    run(settings, RunRequest(end="silver.events"), rules=rules_of(settings))
    twice = check(root, sent)
    check_silver(root, sent)
    print(f"lost 0, in silver twice 0, kept twice in bronze {twice}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--deaths", type=int, default=10, help="moments at which all die, each with one more after it")
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    print(conditions("ray"))
    with tempfile.TemporaryDirectory() as folder:
        try:
            measure(Path(folder), given)
        except AssertionError:
            print((Path(folder) / "log").read_text()[-3000:])
            raise
    print(conditions("ray"))


if __name__ == "__main__":
    main()
