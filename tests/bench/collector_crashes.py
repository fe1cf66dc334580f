"""Collectors that die: `python tests/bench/collector_crashes.py [--runs 200] [--seed 1] [--replicas 2]`.

Visitors send events, one batch after the other, to servers that share a port and a state folder, and send a batch
again until it is acknowledged. In each run one of the servers is killed with SIGKILL before or after one of the calls
that `POINTS` names (or at a random moment), and another takes its place; at the end all are killed, and runs land what
the log holds, of which the first may die as well, at one of `LANDING`. Then each event that was acknowledged is there,
each visitor's in their order, and after the last run of a lake each is in `silver.events` once.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from conditions import conditions
from dying import dies_at

REALTIME, JOURNAL = "customer360.serve.realtime", "customer360.platform.sources.protocols.hooks.journal"
POINTS = (
    "os.write", "os.fdatasync", f"{JOURNAL}._sync_folder", f"{JOURNAL}.Journal.append_all", f"{JOURNAL}.Journal._write",
    f"{JOURNAL}.Journal._begin", f"{JOURNAL}.Journal._settle", f"{JOURNAL}.Journal._recall",
    f"{REALTIME}.logs.JournalLog.append", f"{REALTIME}.logs.GroupCommit.append", f"{REALTIME}.logs._tell",
    f"{REALTIME}.collector.EventCollector.take", f"{REALTIME}.collector.EventCollector.hear",
    f"{REALTIME}.calls.Reader.call", f"{REALTIME}.activity.Activities.note_all", "customer360.serve.door.Door._send",
)  # fmt: skip
LANDING = (
    f"{JOURNAL}.retire", f"{JOURNAL}._keep", "customer360.platform.sources.collector._note",
    "customer360.platform.ledger.open_batch", "customer360.platform.lake.Lake.append_batch",
    "customer360.platform.run.ingest.noted",
)  # fmt: skip
ONCE = ("_sync_folder", "_begin", "_recall")  # what a server does once in the time of a run
VISITORS, MOST_EVENTS = 4, 40  # of a run, each
A_LAKE = 20  # runs whose log one lake lands
TIRED = 180.0  # seconds that a visitor tries


def settings_file(root: Path, port: int) -> Path:
    web = {"kind": "collector", "system": "SHOP", "events_per_minute": 0, "keep_minutes": 0}
    read = {"recipe": "collector/calls", "kind": "collector", "connection": "web", "system": "SHOP"}
    said = {
        "landing": str(root / "landing"), "state": str(root / "state"),
        "lake": {"root": str(root / "lake"), "buckets": 2},
        "execution": {"executor": "local", "retry": {"attempts": 1}}, "serve": {"port": port},
        "connections": {"web": web}, "sources": {"web": read},
    }  # fmt: skip
    (root / "landing").mkdir(exist_ok=True)
    file = root / "settings.yaml"
    file.write_text(yaml.safe_dump(said))
    return file


# ---- in the processes that die -------------------------------------------------------------------------------------


def drive() -> None:
    """For each line that asks for a server or a run, fork a process that is it, and say how that ended."""
    from customer360.platform import run as runs
    from customer360.platform.settings import load
    from customer360.serve import plain
    from customer360.serve.app import build_app
    from customer360.serve.compose import compose, rules_of

    compose()
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if not child:
            if asked.get("point"):
                dies_at(asked["point"], asked["side"], asked["nth"])
            settings = load(asked["settings"])
            if asked["is"] == "server":
                held = listening(settings.serve.port)
                Path(asked["pid"]).write_text(str(os.getpid()))
                plain.run(build_app(settings), settings.serve, held)
            else:
                runs.run(settings, runs.RunRequest(end=asked["end"]), rules=rules_of(settings))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print("killed" if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status), flush=True)


def listening(port: int) -> socket.socket:
    """A socket of a port that several servers have."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind(("127.0.0.1", port))
    made.listen(64)
    return made


# ---- who sends -----------------------------------------------------------------------------------------------------


class Visitor(threading.Thread):
    """Sends events one batch after the other, each until it is acknowledged."""

    def __init__(self, name: str, first: int, events: int, port: int, auth: str, seed: str) -> None:
        super().__init__(daemon=True)
        self.name, self._at, self._end, self._port, self._auth = name, first, first + events, port, auth
        self._dice = random.Random(seed)
        self.again, self.fault = 0, ""

    def run(self) -> None:
        until = time.monotonic() + TIRED
        while self._at < self._end:
            upto = min(self._end, self._at + self._dice.randint(1, 5))
            calls = [
                {"type": "track", "event": "Product Viewed", "messageId": f"{self.name}-{n}", "anonymousId": self.name,
                 "properties": {"product_id": f"{n:08}"}}
                for n in range(self._at, upto)
            ]  # fmt: skip
            if self._sent(json.dumps({"batch": calls})):
                self._at = upto
                continue
            self.again += 1
            if time.monotonic() > until:
                self.fault = f"{self.name}: {self._at} is not acknowledged"
                return
            time.sleep(0.02)

    def _sent(self, body: str) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            connection.request("POST", "/v1/batch", body, {"Authorization": f"Basic {self._auth}"})
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


class Driver:
    """A process that forks what dies."""

    def __init__(self, log: Path) -> None:
        command = [sys.executable, __file__, "--drive"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log.open("a"), text=True
        )

    def ask(self, **asked: Any) -> str:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def end(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(60)


class Replica(threading.Thread):
    """Keeps a server there until it is over; the first of it dies as it is asked to."""

    def __init__(self, driver: Driver, file: Path, number: int, dying: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self._driver, self._file, self._dying = driver, file, dying
        self._pid = file.with_name(f"server-{number}")
        self._is_over = False
        self.deaths = 0

    def run(self) -> None:
        while not self._is_over:
            self._driver.ask(**{"is": "server", "settings": str(self._file), "pid": str(self._pid), **self._dying})
            self.deaths += 1
            self._dying = {}
            self._pid.unlink(missing_ok=True)

    def is_there(self) -> bool:
        """Whether it takes connections."""
        return self._pid.exists()

    def kill(self) -> None:
        with suppress(OSError, ValueError):
            os.kill(int(self._pid.read_text()), signal.SIGKILL)

    def end(self) -> None:
        self._is_over = True
        while self.is_alive():
            self.kill()
            self.join(0.1)


@contextmanager
def served(drivers: list[Driver], file: Path, dying: dict[str, Any], dice: random.Random) -> Iterator[list[Replica]]:
    replicas = [Replica(driver, file, n, dying if n == 0 else {}) for n, driver in enumerate(drivers)]
    for replica in replicas:
        replica.start()
    while not all(replica.is_there() for replica in replicas):
        time.sleep(0.02)
    timer = threading.Timer(dice.uniform(0.0, 0.5), replicas[0].kill)
    if not dying:
        timer.start()
    try:
        yield replicas
    finally:
        timer.cancel()
        for replica in replicas:
            replica.end()


# ---- what must hold ------------------------------------------------------------------------------------------------


def check(root: Path, sent: dict[str, int]) -> int:
    """Each event is in bronze, and each visitor's in their order; how many are there more than once, as a replica
    knows what another took by its log alone.
    """

    from customer360.platform.lake import Lake

    rows = Lake(str(root / "lake"), {}, 2).scan("bronze.events").collect()
    expected = {f"{name}-{n}" for name, count in sent.items() for n in range(count)}
    assert set(rows["EVENT_ID"]) == expected, f"lost: {sorted(expected - set(rows['EVENT_ID']))[:9]}"
    first = rows.sort("EVENT_DATE", "_file", "_position").unique("EVENT_ID", keep="first", maintain_order=True)
    for (name,), of in first.partition_by("VISITOR_ID", as_dict=True, maintain_order=True).items():
        assert of["PRODUCT_ID"].is_sorted(), f"{name} is out of order: {of['PRODUCT_ID'].to_list()}"
    return rows.height - len(expected)


def check_silver(root: Path, sent: dict[str, int]) -> None:
    from customer360.platform.lake import Lake

    found = Lake(str(root / "lake"), {}, 2).scan("silver.events").collect()["event_id"]
    assert sorted(found) == sorted(f"{name}-{n}" for name, count in sent.items() for n in range(count))


class Lab:
    """One lake, whose log many servers write."""

    def __init__(self, root: Path, drivers: list[Driver], options: argparse.Namespace, counts: Counter[str]) -> None:
        from customer360.platform import access

        self._root, self._drivers, self._seed, self._counts = root, drivers, options.seed, counts
        self._sent: dict[str, int] = {}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = int(free.getsockname()[1])
        self._file = settings_file(root, self._port)
        self._auth = base64.b64encode(f"{access.issue(root / 'state', 'shop', 'writer')}:".encode()).decode()

    def run(self, number: int) -> None:
        dice = random.Random(f"{self._seed}/{number}")
        sides = [{"point": point, "side": side} for point in POINTS for side in ("before", "after")]
        side = sides[number % len(sides)]
        nth = 1 if side["point"].endswith(ONCE) else dice.choice((1, 1, 2, 3, 8))
        dying = {**side, "nth": nth} if dice.random() < 0.9 else {}
        visitors = []
        for at in range(VISITORS):
            name, events = f"v{at}", dice.randint(5, MOST_EVENTS)
            first = self._sent.get(name, 0)
            visitors.append(Visitor(name, first, events, self._port, self._auth, f"{self._seed}/{number}/{at}"))
            self._sent[name] = first + events
        with served(self._drivers, self._file, dying, dice) as replicas:
            for visitor in visitors:
                visitor.start()
            for visitor in visitors:
                visitor.join()
        assert not (faults := [v.fault for v in visitors if v.fault]), faults
        self._counts["deaths of servers"] += sum(r.deaths for r in replicas)
        self._counts["died at a named point"] += bool(dying) and replicas[0].deaths > 1
        self._counts["batches sent again"] += sum(v.again for v in visitors)
        self._counts["events"] = self._counts["events before"] + sum(self._sent.values())
        self._land(dice)
        self._counts["kept twice in bronze"] = self._counts["twice before"] + check(self._root, self._sent)

    def _land(self, dice: random.Random) -> None:
        asked = {"is": "run", "settings": str(self._file), "end": "bronze.events"}
        dying = {"point": dice.choice(LANDING), "side": dice.choice(("before", "after")), "nth": dice.choice((1, 2))}
        if dice.random() < 0.5:
            self._counts["deaths of runs"] += self._drivers[0].ask(**asked, **dying) == "killed"
        assert self._drivers[0].ask(**asked) == "0", "the run does not end"

    def end(self) -> None:
        asked = {"is": "run", "settings": str(self._file), "end": "silver.events"}
        assert self._drivers[0].ask(**asked) == "0", "the run does not end"
        check_silver(self._root, self._sent)
        self._counts["events before"] = self._counts["events"]
        self._counts["twice before"] = self._counts["kept twice in bronze"]


def crash(options: argparse.Namespace) -> Counter[str]:
    """So many runs, each lake's after the other.

    Raises:
        AssertionError: names the seed and number of the run after which an event is lost, twice or out of order.
    """
    from customer360.serve.compose import compose

    compose()  # declares the tables
    counts, began = Counter[str](), time.perf_counter()
    for start in range(options.first, options.first + options.runs, A_LAKE):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            drivers = [Driver(root / "log") for _ in range(options.replicas)]
            lab = Lab(root, drivers, options, counts)
            number = start
            try:
                for number in range(start, min(start + A_LAKE, options.first + options.runs)):
                    lab.run(number)
                    counts["runs"] += 1
                lab.end()
            except AssertionError as fault:
                raise AssertionError(
                    f"seed {options.seed}/{number}: {fault}\n{(root / 'log').read_text()[-2000:]}"
                ) from None
            finally:
                for driver in drivers:
                    driver.end()
        told = ", ".join(f"{what} {count:,}" for what, count in counts.items() if "before" not in what)
        print(f"{options.replicas} replicas: {told}; {time.perf_counter() - began:,.0f} s", flush=True)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="number of the first run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--drive", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.drive:
        drive()
        return
    print(conditions())
    crash(options)
    print(conditions())


if __name__ == "__main__":
    main()
