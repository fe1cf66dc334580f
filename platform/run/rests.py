"""Sources that a run does not ask: those whose interval is not over, and those whose circuit is open."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from customer360.platform.run.health import Board, CircuitOpen, SourceHealth, moment
from customer360.platform.run.looking import Looked
from customer360.platform.run.request import RunRequest
from customer360.platform.settings import Settings, SourceSettings
from customer360.platform.sources.base import Discovery, configured


def resting(
    settings: Settings, board: Board, names: Iterable[str], request: RunRequest, now: datetime | None = None
) -> dict[str, Looked[Discovery]]:
    """Of some sources those that are not asked, with what is taken for their answer. Who is named by the request is
    always asked.
    """
    now, found = now or datetime.now(UTC), dict[str, Looked[Discovery]]()
    for name in names:
        health = board[name]
        if name in request.sources:
            continue
        if why := left_alone(name, health, settings, now):
            found[name] = Looked(fault=why)
        elif request.due and not is_due(configured(settings, name), health, now):
            found[name] = Looked(Discovery())
    return found


def left_alone(name: str, health: SourceHealth, settings: Settings, now: datetime) -> CircuitOpen | None:
    """Why a source is left alone; None where it may be tried."""
    rest = timedelta(minutes=settings.execution.circuit.rest_minutes)
    if not health.rests(now, rest):
        return None
    again = moment(health.failed_at) + rest
    return CircuitOpen(
        f"{health.failures} runs in a row failed{f' ({health.fault})' if health.fault else ''}, the last at "
        f"{health.failed_at[:16]}: it is left alone until {again:%Y-%m-%dT%H:%M} UTC; "
        f"`customer360 run --source {name}` tries it now"
    )


def is_due(source: SourceSettings, health: SourceHealth, now: datetime) -> bool:
    """Whether the interval of a source is over, if it has one."""
    minutes = getattr(source, "interval_minutes", None)
    if not minutes or not health.succeeded_at or health.failures:
        return True
    return is_over(timedelta(minutes=minutes), moment(health.succeeded_at), now)


def is_over(step: timedelta, last: datetime, now: datetime) -> bool:
    """Whether an interval is over that began at ``last``. Intervals begin with the hours of UTC as those of schedules
    do; who comes a little early in the next one counts.
    """
    if now < last:  # by a clock that was wrong
        return True
    begun = datetime.fromtimestamp(now.timestamp() // step.total_seconds() * step.total_seconds(), UTC)
    return now - last >= step or (last < begun and now - last >= step / 2)
