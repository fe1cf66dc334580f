"""A replica of MariaDB takes its primary's place: files and offsets are others there, its GTIDs are the same."""

from __future__ import annotations

import importlib.util
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("pymysqlreplication", reason="mysql-replication is not installed")
pytestmark = pytest.mark.slow


def beside(name: str, folder: Path) -> ModuleType:
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


followed = beside("test_binlog", Path(__file__).parent)
people = followed.people  # the table that the tests of one server land in


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Any, Any]]:
    """A primary, and a replica that follows it."""
    servers = beside("servers", Path(__file__).parents[2])
    with servers.maria_server(1, free_port()) as primary, servers.maria_server(2, free_port()) as replica:
        primary.execute("mysql", "CREATE USER replica@'%'", "GRANT REPLICATION SLAVE ON *.* TO replica@'%'")
        replica.execute("mysql", "CREATE DATABASE its_own")
        replica.execute("mysql", "RESET MASTER", "SET GLOBAL gtid_slave_pos = ''", (
            f"CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {primary.port}, MASTER_USER = 'replica', "
            "MASTER_USE_GTID = slave_pos"), "START SLAVE")  # fmt: skip
        yield primary, replica


def caught_up(primary: Any, replica: Any) -> None:
    ((wanted,),) = primary.asked("SELECT @@GLOBAL.gtid_binlog_pos")
    until = time.monotonic() + 60
    while replica.asked("SELECT @@GLOBAL.gtid_slave_pos") != ((wanted,),) and time.monotonic() < until:
        if replica.asked("SELECT @@GLOBAL.gtid_slave_pos")[0][0] == wanted:
            return
        time.sleep(0.1)
    assert replica.asked("SELECT @@GLOBAL.gtid_slave_pos")[0][0] == wanted, replica.asked("SHOW SLAVE STATUS")


def test_a_source_goes_on_at_the_replica_and_back(
    tmp_path: Path, pair: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    primary, replica = pair
    shop = followed.Shop(tmp_path, primary)
    assert shop.drained() == 1
    shop.execute("INSERT INTO people VALUES (3, 'Cy', 1)", "INSERT INTO other VALUES (1)")
    source = followed.configured(shop.settings(), "people")
    with monkeypatch.context() as fails:  # a batch is fixed at the primary, and lands at the replica
        fails.setattr(type(source), "pieces", lambda *_: (_ for _ in ()).throw(ConnectionError("gone")))
        assert "gone" in (shop.land().failure or "")
    caught_up(primary, replica)
    replica.execute(shop.database, "FLUSH BINARY LOGS", "STOP SLAVE")
    shop.server = replica
    assert shop.drained() >= 1  # the batch that was fixed, and what the replica wrote of its own meanwhile
    shop.execute("UPDATE people SET name = 'Bob' WHERE id = 2", "INSERT INTO people VALUES (4, 'Di', 2)")
    assert shop.drained() == 1
    shop.execute("DELETE FROM people WHERE id = 1")
    assert shop.drained() == 1
    assert shop.told(1) == [
        ("insert", "3", "Cy", False), ("update", "2", "Bob", False), ("insert", "4", "Di", False),
        ("delete", "1", "Ada", True),
    ]  # fmt: skip
    shop.server = primary  # it lacks what the replica wrote since
    failure = shop.land().failure or ""
    assert "on_lost: snapshot" in failure and "\n" not in failure
    shop.execute("INSERT INTO people VALUES (5, 'Ed', 2)")
    failure = shop.land().failure or ""
    assert "on_lost: snapshot" in failure and "\n" not in failure
    shop.drained(on_lost="snapshot")
    assert shop.standing() == [("1", "Ada"), ("2", "Bo"), ("3", "Cy"), ("5", "Ed")]
