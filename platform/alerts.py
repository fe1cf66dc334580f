"""Alerts: each is told once when it opens and once when it is resolved, whatever dies in between.

What is open, and what has still to be sent, is one file of the state folder, written before anything is sent. A message
that a sink does not take is tried again at later looks, ever less often, and given up after a day. Who looks while
another process does leaves it to that one, so nothing waits for a lock.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from customer360.platform import telemetry
from customer360.platform.errors import Customer360Error
from customer360.platform.settings import Settings
from customer360.platform.sinks import AlertSettings, Notice, Sink, State

FOLDER = "alerts"
KEPT = 500  # notices of the past
FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=1), timedelta(hours=1)
KINDS = ("failed", "late", "stuck", "lost", "dead letters")


@dataclass(frozen=True)
class Alert:
    """Something that stands: a kind and what it is about tell it from others, ``text`` may change."""

    kind: str  # one of `KINDS`
    subject: str
    text: str

    @property
    def key(self) -> str:
        return f"{self.kind} {self.subject}"


@dataclass
class Sending:
    """A message that a sink has not taken yet."""

    sink: str
    notice: dict[str, Any]
    tries: int = 0
    next_at: str = ""
    fault: str = ""


@dataclass
class Alerts:
    """What is open by key, what waits to be sent, and notices of the past, oldest first."""

    open: dict[str, dict[str, Any]] = field(default_factory=dict)
    sending: list[Sending] = field(default_factory=list)
    past: list[dict[str, Any]] = field(default_factory=list)


def read(state: Path) -> Alerts:
    """What is known of alerts; nothing where nobody has looked yet.

    Raises:
        Customer360Error: the file is damaged; says what to do.
    """
    file = _file(state)
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
        return Alerts(held["open"], [Sending(**each) for each in held["sending"]], held["past"])
    except FileNotFoundError:
        return Alerts()
    except (OSError, ValueError, KeyError, TypeError):
        raise Customer360Error(f"{file} is damaged: delete it, and what stands is told once more") from None


def look(settings: Settings, standing: Iterable[Alert], now: datetime | None = None) -> Alerts | None:
    """Note what stands now, and send what is to be told; None where another process is at it."""
    now, state = now or datetime.now(UTC), Path(settings.state)
    with _alone(state) as is_alone:
        if not is_alone:
            return None
        known = read(state)
        for notice in _changes(known, {alert.key: alert for alert in standing}, settings.name, now):
            known.past = [*known.past, asdict(notice)][-KEPT:]
            takers = [name for name, sink in settings.alerts.sinks.items() if sink.takes(notice)]
            known.sending += [Sending(name, asdict(notice)) for name in takers]
        _write(state, known)
        _send(settings.alerts, state, known, now)
        return known


def try_out(settings: Settings, sink: str, now: datetime | None = None) -> None:
    """Send a test to a sink. Raises what the sink does."""
    at = _text(now or datetime.now(UTC))
    settings.alerts.sinks[sink].send(
        _notice("test", Alert("test", f"sink {sink}", "this is a test"), at, at, settings.name)
    )


def _changes(known: Alerts, standing: dict[str, Alert], name: str, now: datetime) -> Iterator[Notice]:
    """What opens and what is resolved; ``known`` holds it when this is done."""
    at = _text(now)
    for key, alert in standing.items():
        if key not in known.open:
            known.open[key] = {**asdict(alert), "since": at}
            yield _notice("open", alert, at, at, name)
        else:
            known.open[key]["text"] = alert.text
    for key in [key for key in known.open if key not in standing]:
        held = known.open.pop(key)
        since = held.pop("since")
        yield _notice("resolved", Alert(**held | {"text": f"it was: {held['text']}"}), since, at, name)


def _notice(state: State, alert: Alert, since: str, at: str, name: str) -> Notice:
    made = hashlib.sha256(f"{name}\n{alert.key}\n{since}\n{state}".encode()).hexdigest()[:24]
    return Notice(f"alert-{made}", state, alert.kind, alert.subject, alert.text, since, at, name)


def _send(settings: AlertSettings, state: Path, known: Alerts, now: datetime) -> None:
    """Send what is due, each sink in order; the first that it does not take keeps the others of it waiting."""
    tired = set[str]()
    for each in list(known.sending):
        sink = settings.sinks.get(each.sink)
        if sink is None or each.sink in tired:
            if sink is None:  # the settings name it no longer
                known.sending.remove(each)
            continue
        if each.next_at > _text(now):
            tired.add(each.sink)
            continue
        if _is_sent(each, sink):
            known.sending.remove(each)
        else:
            tired.add(each.sink)
            pause = min(FIRST_PAUSE * 2 ** min(each.tries - 1, 10), LONGEST_PAUSE)
            each.next_at = _text(now + pause)
            if now - datetime.fromisoformat(each.notice["at"]) > timedelta(hours=settings.give_up_hours):
                telemetry.log.error(f"alert not sent to {each.sink} for {settings.give_up_hours:g} hours: given up")
                known.sending.remove(each)
        _write(state, known)


def _is_sent(each: Sending, sink: Sink) -> bool:
    each.tries += 1
    try:
        sink.send(Notice(**each.notice))
    except Exception as fault:  # noqa: BLE001 - whatever a sink does, the other sinks are told
        known = isinstance(fault, Customer360Error)
        each.fault = str(fault) if known else type(fault).__name__
        telemetry.log.warning(f"alert not sent to {each.sink} ({each.fault}); it is tried again")
        return False
    return True


@contextmanager
def _alone(state: Path) -> Iterator[bool]:
    """Whether this process is the one that looks."""
    (state / FOLDER).mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(state / FOLDER / "lock", "a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _file(state: Path) -> Path:
    return state / FOLDER / "alerts.json"


def _write(state: Path, known: Alerts) -> None:
    file = _file(state)
    fresh = file.with_suffix(".new")
    with open(fresh, "w", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600)) as handle:
        json.dump(asdict(known), handle, ensure_ascii=False)
        handle.flush()
        os.fsync(handle.fileno())
    fresh.replace(file)


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds")
