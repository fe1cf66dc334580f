"""A source that is dead, silent or slow costs itself: the others land, are built, and are not kept waiting."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from customer360.platform import lake as lakes
from customer360.platform import ledger, telemetry
from customer360.platform.connections.api import Api
from customer360.platform.errors import ConfigError, DiskFull
from customer360.platform.evolution import SchemaContract
from customer360.platform.ledger import Input
from customer360.platform.run import health, rests
from customer360.platform.run.accepting import accept
from customer360.platform.run.executor import FUTILE, Failure, LocalExecutor, RayExecutor
from customer360.platform.run.health import Board, SourceHealth, state_of
from customer360.platform.run.preview import preview
from customer360.platform.run.request import RunRequest
from customer360.platform.settings import CircuitSettings, ExecutionSettings, RetrySettings, Settings
from customer360.platform.sources.apis import Apis

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@contextmanager
def silent_server() -> Iterator[str]:
    """Takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@contextmanager
def answering(body: bytes, port: int = 0) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def with_api(shop: Any, url: str, **execution: Any) -> Any:
    """The shop with an API beside its files, which fills the table of the clicks."""
    api = Api(url=url, attempts=1, timeout_seconds=2, patience_seconds=0)
    source = Apis(table="bronze.t_clicks", system="APP", connection="app", path="clicks", records="clicks", every_minutes=0)  # fmt: skip  # noqa: E501
    limits = shop.settings.execution.model_copy(update=execution)
    settings = shop.settings.model_copy(
        update={"connections": {"app": api}, "sources": {"app": source, **shop.settings.sources}, "execution": limits}
    )
    return replace(shop, settings=settings)


@pytest.mark.slow
def test_files_land_while_a_silent_server_is_waited_for(filled: Any) -> None:
    committed: list[float] = []
    lakes.observers.append(
        lambda point: committed.append(time.monotonic()) if point == "after commit bronze.t_orders" else None
    )
    with silent_server() as url:
        shop = with_api(filled, url, grace_seconds=0.2, look_seconds=4.0)
        start = time.monotonic()
        nodes = shop.fails()
        whole = time.monotonic() - start
    assert "no answer within 4 s" in nodes["source app"].reason
    assert nodes["source orders"].state == nodes["silver.t_orders"].state == "built"
    assert committed[0] - start < 2.0 and 3.9 < whole < 8.0, "the landing of files waited for the server"


@pytest.mark.slow
def test_many_silent_servers_take_as_long_as_one(filled: Any) -> None:
    with silent_server() as url:
        shop = with_api(filled, url, grace_seconds=0.1, look_seconds=2.0)
        one = shop.settings.sources["app"]
        connections = {f"app{n}": shop.settings.connections["app"] for n in range(12)}
        many = {f"app{n}": one.model_copy(update={"connection": f"app{n}"}) for n in range(12)}
        settings = shop.settings.model_copy(
            update={"sources": {**many, **filled.settings.sources}, "connections": connections}
        )
        start = time.monotonic()
        nodes = replace(shop, settings=settings).fails()
        assert time.monotonic() - start < 5.0
        assert sum("no answer within" in nodes[f"source app{n}"].reason for n in range(12)) == 12
        start = time.monotonic()
        found = preview(settings, RunRequest(), rules={})
        assert time.monotonic() - start < 5.0 and len(found.faults) == 12


@pytest.mark.slow
def test_a_circuit_opens_rests_is_tried_and_closes(filled: Any) -> None:
    with answering(b"{}") as url:
        port = int(url.rpartition(":")[2])
    shop = with_api(filled, url, circuit=CircuitSettings(failures=2, rest_minutes=60))
    assert shop.fails()["silver.t_clicks"].state == "blocked", "rows that should be there are waited for at first"
    nodes = shop.fails()
    assert Board.of(shop.lake)["app"].open_since and nodes["silver.t_clicks"].state == "built"
    noted = Board.of(shop.lake)["app"]
    reason = shop.fails()["source app"].reason
    assert "2 runs in a row failed (TransientError)" in reason and "run --source app" in reason
    assert Board.of(shop.lake)["app"] == noted, "who is left alone has not failed once more"
    with answering(b'{"clicks": [{"CLICK_ID": "c9", "SUBJECT_ID": "ann"}]}', port):
        assert shop.fails()["source app"].reason.startswith("CircuitOpen")
        assert shop.run(sources=("app",))["source app"].state == "built", "who is named is asked"
        closed = Board.of(shop.lake)["app"]
        assert not closed.open_since and not closed.failures and closed.landed_at
        assert shop.run()["source app"].state == "current"
    tired = with_api(filled, url, circuit=CircuitSettings(failures=1, rest_minutes=0.0001))
    for _ in range(2):  # half open: each run tries it, and fails
        assert "does not answer" in tired.fails()["source app"].reason
    assert Board.of(shop.lake)["app"].failures == 2


def test_what_waits_for_a_person_opens_no_circuit_and_closes_one(filled: Any) -> None:
    one = b'{"clicks": [{"CLICK_ID": "c8", "SUBJECT_ID": "ann"}]}'
    with answering(one) as url:
        shop = frozen(with_api(filled, url, circuit=CircuitSettings(failures=2, rest_minutes=60)))
        shop.run()
    with answering(one.replace(b'"ann"', b'"bob", "NEW": 1'), int(url.rpartition(":")[2])):
        shop.lake.put(health.OBJECT, b'{"app": {"failures": 1, "outages": 1}}')
        for _ in range(3):
            assert shop.fails()["silver.t_clicks"].state == "blocked", "nothing is built without the rows that wait"
        waits = Board.of(shop.lake)["app"]
        assert (waits.failures, waits.outages, waits.open_since) == (4, 0, "") and waits.waits_since
        waits.open_since = waits.failed_at  # as an outage before would leave it
        Board({"app": waits}).save(shop.lake, shop.settings.sources)
        assert accept(shop.lake, shop.settings, "app", [], "ann", LocalExecutor(shop.settings.execution), {})[-1] == (
            "`customer360 run` lands what waits"
        )
        assert shop.run()["source app"].state == "built"


def frozen(shop: Any) -> Any:
    """The shop with an API that may not change its columns."""
    contract = SchemaContract.model_validate("freeze")
    app = shop.settings.sources["app"].model_copy(update={"schema_contract": contract})
    sources = {**shop.settings.sources, "app": app}
    return replace(shop, settings=shop.settings.model_copy(update={"sources": sources}))


def test_files_have_no_circuit(filled: Any) -> None:
    wrong = filled.settings.sources["orders"].model_copy(update={"mapping": {"NO": "ORDER_ID"}})
    execution = filled.settings.execution.model_copy(update={"circuit": CircuitSettings(failures=1)})
    update = {"sources": {**filled.settings.sources, "orders": wrong}, "execution": execution}
    shop = replace(filled, settings=filled.settings.model_copy(update=update))
    for _ in range(3):
        assert "no column of" in shop.fails()["source orders"].reason
    assert Board.of(shop.lake)["orders"].failures == 3 and not Board.of(shop.lake)["orders"].open_since


def test_who_is_named_lands_alone(filled: Any) -> None:
    nodes = filled.run(sources=("orders",))
    assert "source clicks" not in nodes and nodes["source orders"].state == "built"
    assert filled.run()["source clicks"].state == "built"
    with pytest.raises(ConfigError, match="--source nobody: this run lands orders, clicks"):
        filled.run(sources=("nobody",))


@dataclass
class Part:
    falls_with: str
    fault: str = ""

    def run(self) -> str:
        if self.fault:
            raise ValueError(self.fault)
        return "read"


def test_what_falls_together_is_not_read_for_nothing() -> None:
    parts = [Part("a"), Part("b", "gone"), Part("b"), Part("a"), Part("")]
    settings = ExecutionSettings(retry=RetrySettings(attempts=1, wait_seconds=0))
    found = dict(LocalExecutor(settings).map(parts))
    assert [found[n] for n in (0, 3, 4)] == ["read"] * 3 and found[2] is FUTILE
    assert isinstance(found[1], Failure) and found[1].reason == "ValueError: gone"


@pytest.mark.slow
def test_what_falls_together_is_cancelled_on_ray(tmp_path: Any) -> None:
    settings = ExecutionSettings(cpus=1, object_store_megabytes=80, retry=RetrySettings(attempts=1, wait_seconds=0))
    executor = RayExecutor(settings, tmp_path)
    try:
        parts = [Part("b", "gone"), *(Part("b") for _ in range(20)), Part("a")]
        found = dict(executor.map(parts))
    finally:
        executor.close()
    assert len(found) == len(parts) and found[21] == "read"
    assert sum(isinstance(each, Failure) for each in found.values()) >= 2


# ---- ages, states and intervals ---------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 900), min_size=1, max_size=30), st.integers(0, 900))
def test_the_age_that_was_exceeded_is_that_of_every_second(gaps: list[int], last: int) -> None:
    moments = [0]
    for gap in gaps:
        moments.append(moments[-1] + gap)
    now = moments[-1] + last
    ages = sorted(age for a, b in pairwise([*moments, now]) for age in range(b - a))
    found = health.exceeded_for(moments, datetime.fromtimestamp(now, UTC), 0.05)
    assert found is not None
    beyond = sum(max(0.0, (b - a) - found) for a, b in pairwise([*moments, now]))
    assert beyond == pytest.approx(0.05 * now, abs=1e-6)
    assert abs(found - ages[int(len(ages) * 0.95)]) <= 2 + 0.05 * max(ages)


@pytest.mark.slow
def test_moments_are_kept_for_a_day_and_are_not_many() -> None:
    known, now = SourceHealth(), NOW
    for _ in range(3 * 24 * 60):
        now += timedelta(minutes=1)
        known.succeeded(now, landed=False, newest="")
    assert len(known.successes) <= health.MOST_MOMENTS
    assert now.timestamp() - known.successes[0] <= health.PERIOD.total_seconds()
    assert 50 <= (known.age_p95(now) or 0) <= 130


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        ({}, "unknown"),
        ({"looked_at": NOW, "succeeded_at": NOW, "landed_at": NOW}, "ok"),
        ({"looked_at": NOW, "landed_at": NOW - timedelta(minutes=61)}, "late"),
        ({"looked_at": NOW, "since": NOW - timedelta(minutes=61)}, "late"),  # nothing ever came
        ({"looked_at": NOW, "failures": 1, "failed_at": NOW}, "failing"),
        ({"failures": 3, "waits_since": NOW - timedelta(hours=2)}, "stuck"),
        ({"failures": 9, "waits_since": NOW - timedelta(hours=2), "open_since": NOW}, "open"),
    ],
)
def test_states(filled: Any, facts: dict[str, Any], state: str) -> None:
    source = filled.settings.sources["orders"].model_copy(update={"late_after_minutes": 60.0})
    held = SourceHealth(**{k: v.isoformat() if isinstance(v, datetime) else v for k, v in facts.items()})
    assert state_of(source, held, NOW) == state


@pytest.mark.parametrize(
    ("last", "now", "due"),
    [
        ("12:00:05", "12:05:00", False),
        ("12:00:05", "12:15:03", True),  # a little early, in the next quarter
        ("12:14:00", "12:15:00", False),
        ("12:07:00", "12:22:00", True),
        ("12:00:00", "11:50:00", True),  # a clock that went back
    ],
)
def test_an_interval_is_waited_for(last: str, now: str, due: bool) -> None:
    source: Any = type("Sized", (), {"interval_minutes": 15})()
    held = SourceHealth(succeeded_at=f"2026-03-01T{last}+00:00")
    assert rests.is_due(source, held, datetime.fromisoformat(f"2026-03-01T{now}+00:00")) is due
    held.failures = 1
    assert rests.is_due(source, held, datetime.fromisoformat(f"2026-03-01T{now}+00:00"))


def test_what_waits_is_counted_as_its_kind_says_it() -> None:
    pieces = [
        Input("a.csv", {"size": 100}), Input("b.csv", {"size": 50}),
        Input("t", {"ranges": [[0, 5, 25], [1, 0, 3]]}), Input("c", {"slot": "s", "after": "0/10", "upto": "1/0"}),
    ]  # fmt: skip
    assert health.lag_of(pieces) == {"inputs": 4, "bytes": 150, "messages": 23, "log_bytes": (1 << 32) - 16}


def test_a_run_notes_what_it_found(filled: Any) -> None:
    filled.orders("2.csv", "o9")  # too short to be a record
    filled.run()
    board = Board.of(filled.lake)
    assert board["orders"].landed_at and board["orders"].lag == {} and board["clicks"].failures == 0
    assert board["orders"].dead_letters(datetime.now(UTC)) == sum(
        outcome.facts["dead"] for outcome in ledger.outcomes(filled.lake, "orders").values()
    )
    filled.lake.put(health.OBJECT, b"{half")
    filled.run()
    assert Board.of(filled.lake)["orders"].succeeded_at


def test_the_fault_of_a_run_is_not_hidden_by_one_of_the_board(
    filled: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuses(*_: Any, **__: Any) -> None:
        raise OSError("no place for the board")

    monkeypatch.setattr(type(filled.lake), "put", refuses)
    monkeypatch.setattr(telemetry.log, "propagate", True)  # a command of a test before may have set up the log
    with pytest.raises(DiskFull), Board.kept(filled.lake, ["orders"]):
        raise DiskFull("the disk is full")
    assert "no place for the board" in caplog.text
    with pytest.raises(OSError, match="no place"), Board.kept(filled.lake, ["orders"]):
        pass


def test_settings_without_a_source_forget_it(filled: Any) -> None:
    filled.run()
    left = filled.settings.model_copy(update={"sources": {"orders": filled.settings.sources["orders"]}})
    assert isinstance(left, Settings)
    replace(filled, settings=left).run()
    assert set(Board.of(filled.lake).sources) == {"orders"}
