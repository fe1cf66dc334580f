"""What alerts stand: of sources, runs and schedules, by names, counts and moments. Why something failed is never told:
the words of a driver or a build may quote data of people; `customer360 runs show last` has them.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from customer360.platform import alerts, ledger, telemetry
from customer360.platform.alerts import Alert, Alerts
from customer360.platform.errors import DiskFull
from customer360.platform.lake import Lake
from customer360.platform.lake.lock import LOCK, holder_of
from customer360.platform.ledger import Run
from customer360.platform.run import LOST, STOPPED, lake_of
from customer360.platform.run.health import Board, SourceState, states
from customer360.platform.settings import Settings
from customer360.serve.daemon import FOLDER, History, Turn
from customer360.serve.operations import state_of

FAILED = ("failed", "timed out")  # states of a turn
NAMED = 3  # tables that a text names
NEWEST = 20  # runs that are looked at
LOOKED_BACK = 200  # runs, where one that ended well, or that tells of a turn, is not among those


def check(settings: Settings, now: datetime | None = None) -> Alerts | None:
    """Find out what stands, note it and send what is new; None where another process is at it."""
    now = now or datetime.now(UTC)
    return alerts.look(settings, standing(settings, now), now)


def check_beside(settings: Settings) -> None:
    """`check` after something else, which it may not break."""
    try:
        check(settings)
    except Exception as fault:  # noqa: BLE001 - what was done stands, and is told of by its own exit code
        telemetry.log.debug(traceback.format_exc())
        telemetry.log.error(f"alerts could not be looked at: {type(fault).__name__}: {fault}")


def standing(settings: Settings, now: datetime) -> list[Alert]:
    """All that stands, in no order."""
    lake = lake_of(settings)
    turns = {name: History(Path(settings.state) / FOLDER / f"{name}.jsonl").turns() for name in settings.schedules}
    runs = _newest_runs(settings, lake, turns)
    return [
        *(a for state in states(settings, Board.of(lake), now) for a in _of_source(settings, state)),
        *_of_runs_here_or_not(settings, lake, runs, now),
        *_of_schedules(settings, turns, runs, now),
    ]


def _newest_runs(settings: Settings, lake: Lake, turns: dict[str, list[Turn]]) -> list[Run]:
    """The newest runs, newest first: some, or more where those do not tell what is asked."""
    runs = ledger.runs(lake, NEWEST)
    if len(runs) < NEWEST:
        return runs
    failed = [began[-1].started_at for of in turns.values() if (began := _begun(of)) and began[-1].state in FAILED]
    is_well = any(run.ended_at and run.exit_code in (0, LOST) for run in runs)
    if (settings.alerts.run_late_minutes and not is_well) or min(failed, default="9") < runs[-1].started_at:
        return ledger.runs(lake, LOOKED_BACK)
    return runs


def _of_runs_here_or_not(settings: Settings, lake: Lake, runs: list[Run], now: datetime) -> Iterator[Alert]:
    """Of runs; the newest may run where it cannot be seen, and then it neither broke off nor is late until it takes
    too long."""
    holder = holder_of(lake.root, lake.get(LOCK))
    if not runs or state_of(runs[0], holder, lake.root) != "not seen":
        yield from _of_runs(settings, lake, runs, now)
        return
    newest, limit = runs[0], timedelta(minutes=settings.alerts.run_stuck_minutes)
    yield from (alert for alert in _of_runs(settings, lake, runs[1:], now) if alert.kind != "late")
    if now - datetime.fromisoformat(newest.started_at) > limit:
        text = (
            f"that of {newest.started_at[:16]} on {newest.host} has not ended; from here it is not seen whether it runs"
        )
        yield Alert("stuck", "run", text)


def _of_source(settings: Settings, found: SourceState) -> Iterator[Alert]:
    subject, limits = f"source {found.source}", settings.alerts
    if found.failures >= limits.failed_runs:
        fault = f" ({found.fault})" if found.fault else ""
        rests = "; it is left alone for now" if found.open_since else ""
        yield Alert("failed", subject, f"it failed in {_counted(found.failures, 'run')} in a row{fault}{rests}")
    if found.state == "late":
        limit = (found.late_after_seconds or 0) / 60
        yield Alert(
            "late", subject, f"no new rows for {_span(found.landed_age_seconds)}; {limit:g} minutes are allowed"
        )
    if found.state == "stuck":
        yield Alert("stuck", subject, f"a batch waits to land since {found.waits_since}")
    if found.dead_letters >= limits.dead_letters:
        yield Alert("dead letters", subject, f"{found.dead_letters:,} records of 24 hours could not be read")


def _of_runs(settings: Settings, lake: Lake, runs: list[Run], now: datetime) -> Iterator[Alert]:
    limits, ended = settings.alerts, [run for run in runs if run.ended_at]
    newest, holder = (ended[0] if ended else None), holder_of(lake.root, lake.get(LOCK))
    if runs and not holder and state_of(runs[0], None) == "broke off":
        yield Alert("failed", "run", f"that of {runs[0].started_at[:16]} broke off")
    elif newest and newest.exit_code == LOST:
        yield Alert("lost", "run", f"{_counted(len(newest.losses), 'batch', 'es')} lost more rows than `loss` allows")
    elif newest and newest.exit_code not in (None, 0, STOPPED):
        failed = [n.node for n in newest.nodes if n.state == "failed" and not n.node.startswith("source ")]
        if newest.exit_code == DiskFull.exit_code:
            yield Alert("failed", "run", "the disk is full")
        elif failed:
            more = f" and {len(failed) - NAMED} more" if len(failed) > NAMED else ""
            yield Alert("failed", "run", f"failed: {', '.join(failed[:NAMED])}{more}")
        elif newest.error or not any(n.state == "failed" for n in newest.nodes):  # a source that fails tells itself
            yield Alert("failed", "run", f"it ended with code {newest.exit_code}")
    if holder:
        begun = datetime.fromisoformat(holder["at"])
        if now - begun > timedelta(minutes=limits.run_stuck_minutes):
            yield Alert("stuck", "run", f"process {holder['pid']} of {holder['host']} runs since {holder['at'][:16]}")
    if limits.run_late_minutes and not holder:  # one that is under way is stuck, when it takes too long
        well = next((run for run in ended if run.exit_code in (0, LOST)), None)
        since = well.ended_at if well else runs[-1].started_at if runs else None
        if since and now - datetime.fromisoformat(since) > timedelta(minutes=limits.run_late_minutes):
            yield Alert("late", "run", f"none ended well since {since[:16]}")


def _begun(turns: list[Turn]) -> list[Turn]:
    return [turn for turn in turns if turn.state != "skipped"]


def _of_schedules(settings: Settings, turns: dict[str, list[Turn]], runs: list[Run], now: datetime) -> Iterator[Alert]:
    newest = {name: began[-1] for name, of in turns.items() if (began := _begun(of))}
    busy = {settings.schedules[name].lane for name, turn in newest.items() if turn.state == "started"}
    for name, turn in newest.items():
        schedule, subject = settings.schedules[name], f"schedule {name}"
        if not schedule.enabled:
            continue
        if turn.state in FAILED and not _is_told(name, turn, runs):
            yield Alert("failed", subject, f"its turn of {turn.due_at[:16]} {turn.state} with code {turn.status}")
        settled = max(each.due_at for each in turns[name])  # a moment that was passed over is not waited for
        then = schedule.next_after(datetime.fromisoformat(settled))
        limit = timedelta(minutes=settings.alerts.schedule_late_minutes, seconds=schedule.jitter_seconds)
        if then and schedule.lane not in busy and now - then > limit:
            yield Alert(
                "late", subject, f"it was due at {then:%Y-%m-%dT%H:%M} UTC and has not begun: is the daemon up?"
            )


def _is_told(name: str, turn: Turn, runs: list[Run]) -> bool:
    """Whether a run of this turn tells of its failure itself; one that was stopped or ended well does not."""
    own = (run for run in runs if run.started_by == f"schedule {name}" and run.started_at >= turn.started_at)
    return any(run.exit_code not in (0, STOPPED) for run in own)


def _counted(count: int, word: str, plural: str = "s") -> str:
    return f"{count:,} {word}{'' if count == 1 else plural}"


def _span(seconds: float | None) -> str:
    if seconds is None:
        return "as long as it is known"
    return f"{seconds / 3600:.1f} hours" if seconds >= 7200 else f"{seconds / 60:.0f} minutes"
