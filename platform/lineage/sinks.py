"""Events of runs on their way out: into a file of one JSON object a line, or to a server by HTTP.

They leave by a thread of their own: a run waits for none of them but at its end, a few seconds at most, and no fault of
a sink is one of the run. What could not be delivered is made again from the ledger: `customer360 openlineage --send`.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from customer360.platform import graph, ledger, tables, telemetry
from customer360.platform.errors import ConfigError, Customer360Error
from customer360.platform.lake import Lake
from customer360.platform.ledger import NodeRun, Run
from customer360.platform.lineage.events import RAN, Event, Words, failures
from customer360.platform.settings import OpenLineageSettings, Settings

LAST_SECONDS = 5.0  # that the end of a run waits for events still under way
MOST = 10_000  # events that wait; further ones are dropped, and that is said
ATTEMPTS = 2

Sink = Callable[[Event], None]


def _opener() -> urllib.request.OpenerDirector:
    """Follows no redirection: an event is posted where the settings say, or not delivered, and the key goes nowhere
    else."""
    made = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler, urllib.request.UnknownHandler, urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler, urllib.request.HTTPDefaultErrorHandler, urllib.request.HTTPErrorProcessor,
    ):  # fmt: skip
        made.add_handler(handler())
    return made


_OPENER = _opener()


class SinkFault(Customer360Error):
    """A sink did not take an event."""


def sinks_of(configured: OpenLineageSettings) -> list[Sink]:
    """The configured sinks.

    Raises:
        ConfigError: the variable that holds the key is not set.
    """
    found: list[Sink] = []
    if configured.file:
        found.append(to_file(Path(configured.file)))
    if configured.url:
        key = os.environ.get(configured.api_key_env) if configured.api_key_env else ""
        if key is None:
            raise ConfigError(f"openlineage.api_key_env: the environment variable {configured.api_key_env} is not set")
        found.append(to_server(configured.url, key, configured.timeout_seconds))
    return found


def to_file(path: Path) -> Sink:
    """Append events to a file, a line each; whole lines, also where several processes write."""

    def write(event: Event) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        try:
            os.write(target, json.dumps(event, ensure_ascii=False).encode() + b"\n")
        finally:
            os.close(target)

    return write


def to_server(url: str, key: str, timeout: float) -> Sink:
    """Post events to the address of a server that takes OpenLineage (Marquez: ``…/api/v1/lineage``), one a request.
    Redirections are not followed."""

    def post(event: Event) -> None:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        body = json.dumps(event).encode()
        for attempt in range(1, ATTEMPTS + 1):
            request = urllib.request.Request(url, body, headers, method="POST")
            try:
                with _OPENER.open(request, timeout=timeout) as answer:
                    answer.read()
                return
            except urllib.error.HTTPError as fault:
                if fault.code < 500 or attempt == ATTEMPTS:
                    raise SinkFault(f"{url} answered {fault.code} {fault.reason}") from None
            except (OSError, ValueError) as fault:
                if attempt == ATTEMPTS:
                    raise SinkFault(f"{url}: {getattr(fault, 'reason', None) or fault}") from None
            time.sleep(0.2 * attempt)

    return post


def send(events: Iterable[Event], sinks: Iterable[Sink]) -> int:
    """Deliver events now, in order; returns how many.

    Raises:
        SinkFault: a server did not take one; those before it were delivered.
    """
    sinks, sent = list(sinks), 0
    for event in events:
        for sink in sinks:
            sink(event)
        sent += 1
    return sent


@contextmanager
def telling(settings: Settings, lake: Lake, rules: Mapping[str, Any]) -> Iterator[None]:
    """Within the block, runs of this process are told of as they go on, where the settings name a sink."""
    if not (settings.openlineage.file or settings.openlineage.url):
        yield
        return
    try:
        sinks = sinks_of(settings.openlineage)
    except ConfigError as fault:  # what is told of a run is no reason to have none
        telemetry.log.warning(f"{fault}; this run is not told of, `customer360 openlineage --send` does it later")
        yield
        return
    teller = _Teller(Words(settings, rules), lake, sinks)
    ledger.listeners.append(teller.heard)
    ended_by = ""
    try:
        yield
    except BaseException as raised:
        ended_by = type(raised).__name__
        raise
    finally:
        ledger.listeners.remove(teller.heard)
        teller.close(ended_by)


class _Teller:
    """Hears of a run, notes what is new, and lets a thread make events of it and deliver them."""

    def __init__(self, words: Words, lake: Lake, sinks: list[Sink]) -> None:
        self._words, self._lake, self._sinks = words, lake, sinks
        self._queue: queue.Queue[Callable[[], Iterable[Event]] | None] = queue.Queue(MOST)
        self._run: Run | None = None
        self._told, self._lost, self._has_ended = 0, 0, False
        self._broken: dict[int, str] = {}  # why a sink took no more, by its place
        self._thread = threading.Thread(target=self._deliver, name="openlineage", daemon=True)
        self._thread.start()

    def heard(self, run: Run) -> None:
        """What is new in a run, as of now; never raises."""
        try:
            if self._run is not run:
                self._run, self._told, self._has_ended = run, 0, False
                held = replace(run, nodes=[])
                self._put(lambda: [self._words.started(held)])
            new, now = run.nodes[self._told :], datetime.now(UTC)
            self._told += len(new)
            held = replace(run, nodes=list(run.nodes))
            for node in new:
                if node.state in RAN:
                    versions = self._versions(node)
                    self._put(lambda node=node, versions=versions: self._words.of_node(held, node, now, versions))  # type: ignore[misc]
            if run.ended_at and not self._has_ended:
                self._has_ended = True
                self._put(lambda: [self._words.ended(held, failures(held), held.ended_at or "")])
        except Exception as fault:  # noqa: BLE001 - a run is worth more than what is told of it
            telemetry.log.warning(f"openlineage: a run could not be told of: {type(fault).__name__}: {fault}")

    def close(self, fault: str) -> None:
        """Tell of the end of a run that did not come to it, and wait a little for what is under way."""
        if self._run is not None and not self._has_ended:
            held, at = replace(self._run, nodes=list(self._run.nodes)), datetime.now(UTC).isoformat()
            self._put(lambda: [self._words.ended(held, failures(held), at, fault)])
        self._put(None)
        self._thread.join(LAST_SECONDS)
        left = self._queue.qsize() if self._thread.is_alive() else 0
        for reason in self._broken.values():
            telemetry.log.warning(f"openlineage: {reason}; `customer360 openlineage --send` delivers them later")
        if self._lost or left:
            telemetry.log.warning(
                f"openlineage: {self._lost + left} parts of the run were not told of in time; "
                f"`customer360 openlineage --send` delivers them later"
            )

    def _put(self, make: Callable[[], Iterable[Event]] | None) -> None:
        try:
            self._queue.put_nowait(make)
        except queue.Full:
            self._lost += 1

    def _versions(self, node: NodeRun) -> dict[str, int]:
        declared = graph.NODES.get(node.node)
        names = [tables.spec(output).name for output in declared.outputs] if declared and node.state == "built" else []
        return {name: self._lake.version(name) for name in names if self._lake.exists(name)}

    def _deliver(self) -> None:
        while (make := self._queue.get()) is not None:
            try:
                for event in make():
                    self._hand_out(event)
            except Exception as fault:  # noqa: BLE001 - as above
                telemetry.log.warning(f"openlineage: an event could not be made: {type(fault).__name__}: {fault}")

    def _hand_out(self, event: Event) -> None:
        for place, sink in enumerate(self._sinks):
            if place in self._broken:
                continue
            try:
                sink(event)
            except Exception as fault:  # noqa: BLE001 - a sink that fails once is left alone for the rest of the run
                self._broken[place] = str(fault) or type(fault).__name__
