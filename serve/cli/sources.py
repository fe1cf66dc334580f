"""How sources fare, as `status` prints it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from customer360.serve.cli import report

if TYPE_CHECKING:
    from customer360.platform.run.health import Lag
    from customer360.platform.settings import Settings

STYLES = {"ok": "", "disabled": "dim", "unknown": "dim", "late": "yellow"}
UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def show(settings: Settings) -> None:
    """Print each source with its state, ages and what waits, and the alerts that stand."""
    from customer360.serve import operations

    now = datetime.now(UTC)
    found = operations.standing(settings, now)
    grid = report.grid(
        f"Sources of {settings.name}", "source", "state", "looked at", "landed", "newest data", "p95 of 24 h", "waits",
        "dead 24 h", "because",
    )  # fmt: skip
    for each in found["sources"]:
        ages = (each[f"{what}_age_seconds"] for what in ("success", "landed", "newest"))
        grid.add_row(
            each["source"], each["state"], *map(span, ages), span(each["age_p95_seconds"]), _waits(each["lag"]),
            f"{each['dead_letters']:,}", _because(each), style=STYLES.get(each["state"], "red"),
        )  # fmt: skip
    report.console.print(grid)
    for alert in found["alerts"]:
        text = f"alert: {alert['kind']} {alert['subject']} since {alert['since'][:16]}: {alert['text']}"
        report.console.print(text, style="red", highlight=False, soft_wrap=True)


def ask(settings: Settings) -> None:
    """Ask the servers of sources, side by side, how far bronze is behind them now, and print it."""
    from customer360.serve import behind

    grid = report.grid("Behind now", "source", "waits at its server", "because")
    for name, said in behind.asked(settings).items():
        grid.add_row(name, said.text, said.reason, style="red" if said.reason else "")
    report.console.print(grid)


def as_json(settings: Settings) -> str:
    from customer360.serve import operations

    return json.dumps(operations.standing(settings), ensure_ascii=False, indent=2)


def as_metrics(settings: Settings) -> str:
    """Metrics in the text format of Prometheus."""
    from prometheus_client import CollectorRegistry, generate_latest

    from customer360.serve.operations import Operations

    registry = CollectorRegistry()
    registry.register(Operations(settings))
    return generate_latest(registry).decode()


def span(seconds: float | None) -> str:
    """A span of time in its largest unit; ``-`` of what never was, or nobody knows."""
    if seconds is None:
        return "-"
    size, unit = next(((size, unit) for size, unit in UNITS if seconds >= 2 * size), (1, "s"))
    return f"{seconds / size:.0f} {unit}"


def _waits(lag: Lag | None) -> str:
    if lag is None:
        return "?"
    return ", ".join(f"{count:,} {unit}" for unit, count in lag.items()) or "nothing"


def _because(each: dict[str, object]) -> str:
    if each["failures"]:
        said = f"{each['failures']} runs failed" + (f" ({each['fault']})" if each["fault"] else "")
        return said + (f", left alone since {str(each['open_since'])[:16]}" if each["open_since"] else "")
    return ""
