"""Structured logs, progress lines and Prometheus metrics of a run.

Logs are one JSON object a line on stderr when ``CUSTOMER360_LOG=json``, else short human lines. Personal data never
reaches a log: callers pass counts, names of tables and identifiers of batches.
"""

from __future__ import annotations

import json
import logging
import os
import sys

from prometheus_client import Counter, Histogram

ROWS = Counter("customer360_rows_total", "Rows written, by table and outcome", ["table", "outcome"])
NODE_SECONDS = Histogram(
    "customer360_node_seconds",
    "Seconds a node of the graph took",
    ["node"],
    buckets=(0.1, 0.5, 1, 5, 15, 60, 300, 1800),
)

log = logging.getLogger("customer360")


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {"at": self.formatTime(record), "level": record.levelname, "message": record.getMessage()}
        entry.update(getattr(record, "facts", {}))
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def configure(level: str = "INFO") -> None:
    """Set up the project's logger once; a second call only changes the level."""
    log.setLevel(level)
    if log.handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    as_json = os.environ.get("CUSTOMER360_LOG") == "json"
    handler.setFormatter(_JsonLines() if as_json else logging.Formatter("%(message)s"))
    log.addHandler(handler)
    log.propagate = False


def event(message: str, **facts: object) -> None:
    """Log one fact-bearing line; ``facts`` are counts and names, never personal data."""
    shown = " ".join(f"{key}={value}" for key, value in facts.items())
    human = not (log.handlers and isinstance(log.handlers[0].formatter, _JsonLines))
    log.info(f"{message}  {shown}" if shown and human else message, extra={"facts": facts})
