"""How sources, runs and alerts stand, for whoever operates: as JSON values, and as metrics of Prometheus.

The figures are those of the lake and the state folder, so every process says the same: take the greatest, not the sum.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prometheus_client.core import GaugeMetricFamily

from customer360.platform import alerts, ledger, telemetry
from customer360.platform.lake.lock import LOCK, can_see, holder_of
from customer360.platform.ledger import Run
from customer360.platform.run import LOST, STOPPED, lake_of
from customer360.platform.run.health import STATES, Board, SourceState, states
from customer360.platform.settings import Settings

VERSION = 1  # of what `standing` gives; fields may be added to a version, and none changes or goes
KEPT_SECONDS = 15.0  # for which figures of one process are not looked up again
OUTCOMES = {0: "done", LOST: "lost", STOPPED: "stopped"}
COUNTS = ("read", "landed", "dead", "collapsed", "left_out", "erased")  # of the records of a batch


def standing(settings: Settings, now: datetime | None = None) -> dict[str, Any]:
    """Sources, the newest run and the open alerts as JSON values; docs/orchestrators.md describes the fields."""
    now = now or datetime.now(UTC)
    lake = lake_of(settings)
    newest = next(iter(ledger.runs(lake, 1)), None)
    return {
        "version": VERSION,
        "at": now.isoformat(timespec="seconds"),
        "sources": [asdict(state) for state in states(settings, Board.of(lake), now)],
        "last_run": about(newest, holder_of(lake.root, lake.get(LOCK)), lake.root) if newest else None,
        "alerts": list(alerts.read(Path(settings.state)).open.values()),
    }


def about(record: Run, holder: dict[str, Any] | None = None, root: str = "") -> dict[str, Any]:
    """A run as JSON values; ``holder`` is who holds the run lock of the lake at ``root`` now."""
    tables = [node for node in record.nodes if not node.node.startswith("source ")]
    return {
        "run": record.id,
        "command": record.command,
        "started_by": record.started_by,
        "host": record.host,
        "pid": record.pid,
        "started_at": record.started_at,
        "ended_at": record.ended_at,
        "seconds": None if record.seconds is None else round(record.seconds, 3),
        "state": state_of(record, holder, root),
        "exit_code": record.exit_code,
        "error": record.error,
        "as_of": record.as_of,
        "sources": _sources(record),
        "nodes": dict(sorted(Counter(node.state for node in tables).items())),
        "rows_built": sum(node.rows for node in tables if node.state == "built"),
        "losses": record.losses,
    }


def _sources(record: Run) -> dict[str, dict[str, Any]]:
    """What became of each source, with the batches that landed and the counts of their records."""
    found: dict[str, dict[str, Any]] = {}
    for node in record.nodes:
        if not node.node.startswith("source "):
            continue
        empty = {"state": "", "batches": [], **dict.fromkeys(COUNTS, 0), "reason": ""}
        each = found.setdefault(node.node.removeprefix("source "), empty)
        each["state"] = "failed" if "failed" in (each["state"], node.state) else node.state
        each["batches"] += [node.facts["seq"]] if "seq" in node.facts else []
        each["reason"] = "; ".join(filter(None, [each["reason"], node.reason]))
        for count in COUNTS:
            each[count] += node.facts.get(count, 0)
    return found


def state_of(record: Run, holder: dict[str, Any] | None, root: str = "") -> str:
    """``running``, ``done``, ``lost`` (more rows than allowed), ``failed``, ``stopped`` (by a person or a supervisor)
    or ``broke off``; ``ended`` of one from before exit codes were kept. ``not seen`` of one that has not ended, where
    it cannot be told from here whether it holds the lock of the lake at ``root``.
    """
    if record.exit_code is not None:
        return OUTCOMES.get(record.exit_code, "failed")
    if record.ended_at:
        return "ended"
    is_running = holder and (holder.get("host"), holder.get("pid")) == (record.host, record.pid)
    if is_running:
        return "running"
    return "broke off" if not root or holder or can_see(root, record.host) else "not seen"


# ---- metrics ----------------------------------------------------------------------------------------------------

OF_SOURCES = {
    "success_timestamp_seconds": "When a run last landed all that the source had, or found nothing new",
    "landed_timestamp_seconds": "When rows of the source last landed",
    "newest_data_timestamp_seconds": "The latest moment that rows of the source name",
    "success_age_p95_seconds": "Age of the last success that was not passed for 95 percent of the last 24 hours",
    "failures": "Runs in a row in which the source failed",
    "circuit_open": "1 where the source is left alone since it failed in many runs in a row",
    "dead_letters": "Records of the last 24 hours that could not be read",
}


class Operations:
    """A collector of Prometheus; where it cannot look, one gauge says so and the others are absent."""

    def __init__(self, settings: Settings):
        self._settings, self._lock = settings, threading.Lock()
        self._looked_at, self._found = float("-inf"), list[GaugeMetricFamily]()

    def collect(self) -> list[GaugeMetricFamily]:
        with self._lock:
            if time.monotonic() - self._looked_at >= KEPT_SECONDS:
                self._found = self._looked()
                self._looked_at = time.monotonic()
            return self._found

    def _looked(self) -> list[GaugeMetricFamily]:
        seen = GaugeMetricFamily("customer360_operations_readable", "1 where lake and alerts could be looked at")
        found = list[GaugeMetricFamily]()
        try:
            found = list(_gauges(self._settings, datetime.now(UTC)))
        except Exception as fault:  # noqa: BLE001 - a lake that is away hides no metric of this process
            telemetry.log.warning(f"metrics of sources and runs cannot be looked up: {type(fault).__name__}")
        seen.add_metric([], 1.0 if found else 0.0)
        return [seen, *found]


def _gauges(settings: Settings, now: datetime) -> Iterator[GaugeMetricFamily]:
    lake = lake_of(settings)
    sources = states(settings, Board.of(lake), now)
    yield from _of_sources(sources, now)
    newest = next((run for run in ledger.runs(lake, 5) if run.exit_code is not None), None)
    yield _gauge("run_exit_code", "Exit code of the newest run that ended", newest.exit_code if newest else None)
    ended = datetime.fromisoformat(newest.ended_at).timestamp() if newest and newest.ended_at else None
    yield _gauge("run_ended_timestamp_seconds", "When the newest run that ended did", ended)
    yield _gauge("run_seconds", "How long the newest run that ended took", newest.seconds if newest else None)
    holder = holder_of(lake.root, lake.get(LOCK))
    begun = datetime.fromisoformat(holder["at"]).timestamp() if holder else None
    yield _gauge("run_started_timestamp_seconds", "When the run that holds the lake now began", begun)
    kinds = Counter(str(alert["kind"]) for alert in alerts.read(Path(settings.state)).open.values())
    counted = GaugeMetricFamily("customer360_alerts_open", "Alerts that stand, by kind", labels=["kind"])
    for kind in alerts.KINDS:
        counted.add_metric([kind], kinds.get(kind, 0))
    yield counted


def _of_sources(sources: Iterable[SourceState], now: datetime) -> Iterator[GaugeMetricFamily]:
    gauges = {
        name: GaugeMetricFamily(f"customer360_source_{name}", text, labels=["source"])
        for name, text in OF_SOURCES.items()
    }
    standing = GaugeMetricFamily(
        "customer360_source_state", "1 for the state of the source", labels=["source", "state"]
    )
    lag = GaugeMetricFamily("customer360_source_lag", "What waited after the last run", labels=["source", "unit"])
    for each in sources:
        ages = (each.success_age_seconds, each.landed_age_seconds, each.newest_age_seconds)
        moments = [None if age is None else now.timestamp() - age for age in ages]
        values = [*moments, each.age_p95_seconds, each.failures, float(bool(each.open_since)), each.dead_letters]
        for gauge, value in zip(gauges.values(), values, strict=True):
            if value is not None:
                gauge.add_metric([each.source], value)
        for state in STATES:
            standing.add_metric([each.source, state], float(state == each.state))
        for unit, count in (each.lag if each.lag is not None else {"inputs": math.nan}).items() or [("inputs", 0)]:
            lag.add_metric([each.source, unit], count)
    yield from (*gauges.values(), standing, lag)


def _gauge(name: str, text: str, value: float | None) -> GaugeMetricFamily:
    """A gauge without labels; without a sample where there is no value."""
    gauge = GaugeMetricFamily(f"customer360_{name}", text)
    if value is not None:
        gauge.add_metric([], value)
    return gauge
