"""How each source fares over the runs: when it was looked at and landed, how old its data are, what waits, and whether
its circuit is open. One object of the lake, ``_sources.json``, which a run writes when it has landed.

It says what runs found and may be deleted: runs then find it out again, and open circuits are closed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from customer360.platform import tables, telemetry
from customer360.platform.errors import SourceError
from customer360.platform.lake import Add, Lake
from customer360.platform.ledger import Input, NodeRun
from customer360.platform.settings import Settings, SourceSettings

OBJECT = "_sources.json"
PERIOD = timedelta(hours=24)  # over which ages and dead letters are looked back
MOST_MOMENTS = 720  # of one source that are kept of a period
AHEAD = timedelta(days=1)  # a moment that lies further ahead is a wrong one
STUCK = timedelta(hours=1)  # after which a batch that is fixed and does not land is stuck
STATES = ("ok", "late", "failing", "stuck", "open", "disabled", "unknown")
_CLASS = re.compile(r"\b[A-Z]\w*(?:Error|Timeout|Exception|Fault)\b")  # of a reason: the rest may quote data

Lag = dict[str, int]  # by unit: inputs, bytes, messages, log_bytes


class CircuitOpen(SourceError):
    """A source is left alone, since it failed in many runs in a row."""


@dataclass
class SourceHealth:
    """One source. Moments are ISO 8601 in UTC, empty where there was none.

    ``succeeded_at``: a run landed all that it had, or found nothing new. ``landed_at``: rows of it landed.
    ``newest_at``: the latest moment that its rows name. ``failures``: runs in a row that failed, the last at
    ``failed_at`` with a ``fault`` of that class; ``outages``: those of them, the last in a row, that failed by the
    source itself. ``lag``: what was found and waited after the last run; None: nobody knows.
    ``successes`` and ``letters`` (moment, dead letters) are of the last `PERIOD`, in seconds since 1970.
    """

    since: str = ""
    looked_at: str = ""
    succeeded_at: str = ""
    landed_at: str = ""
    newest_at: str = ""
    failed_at: str = ""
    failures: int = 0
    outages: int = 0
    fault: str = ""
    open_since: str = ""
    waits_since: str = ""
    lag: Lag | None = None
    successes: list[int] = field(default_factory=list)
    letters: list[list[int]] = field(default_factory=list)

    def succeeded(self, now: datetime, *, landed: bool, newest: str) -> None:
        self.looked_at = self.succeeded_at = _text(now)
        self.landed_at = _text(now) if landed else self.landed_at
        self.newest_at = max(self.newest_at, newest)
        self.failures, self.fault, self.waits_since, self.lag = 0, "", "", {}
        self.close()
        self.successes = _thinned([*self.successes, int(now.timestamp())], now)

    def close(self) -> None:
        """Close its circuit, and count anew."""
        self.outages, self.open_since = 0, ""

    def failed(self, now: datetime, fault: str, lag: Lag | None, limit: int, *, waits: bool = False) -> None:
        """Note a run that failed; from the ``limit``-th in a row on, where there is one, its circuit is open. With
        ``waits`` the source was reached, and a person has to decide: its circuit is closed.
        """
        self.failures, self.failed_at, self.fault, self.lag = self.failures + 1, _text(now), fault, lag
        if lag is not None:
            self.looked_at = _text(now)
            self.waits_since = (self.waits_since or _text(now)) if lag else ""
        if waits:
            self.close()
            return
        self.outages += 1
        if limit and self.outages >= limit and not self.open_since:
            self.open_since = _text(now)

    def rests(self, now: datetime, rest: timedelta) -> bool:
        """Whether the circuit is open, and no run may try the source yet."""
        return bool(self.open_since) and now - moment(self.failed_at) < rest

    def dead_letters(self, now: datetime) -> int:
        """How many came in the last `PERIOD`."""
        return sum(count for at, count in self.letters if at > (now - PERIOD).timestamp())

    def age_p95(self, now: datetime) -> float | None:
        """The age in seconds of the last success that was not passed for 95 % of the last `PERIOD`, as far as the
        source is known; None without a success.
        """
        return exceeded_for(self.successes, now, 0.05)


def exceeded_for(moments: list[int], now: datetime, share: float) -> float | None:
    """The age since the last of some moments that was exceeded for a share of the time from the first of them to now,
    in seconds. Between two moments the age grows evenly from zero, so it is exact.
    """
    if not moments:
        return None
    ends = [*moments, int(now.timestamp())]
    gaps = sorted((max(0, b - a) for a, b in pairwise(ends)), reverse=True)
    left, taken = share * sum(gaps), 0
    for place, gap in enumerate(gaps, 1):  # with the age x: sum of (gap - x) over the gaps above x is what is left
        taken += gap
        age = (taken - left) / place
        if place == len(gaps) or age >= gaps[place]:
            return max(0.0, age)
    return 0.0


def _thinned(moments: list[int], now: datetime) -> list[int]:
    """Moments of the last period, and the one before it; of too many those go that follow closest on another."""
    first = int((now - PERIOD).timestamp())
    recent = [at for at in moments if at > first]
    older = [at for at in moments if at <= first][-1:]
    kept = [*([first] if older else []), *recent]
    while len(kept) > MOST_MOMENTS:
        shortest = min(range(1, len(kept) - 1), key=lambda place: kept[place] - kept[place - 1])
        del kept[shortest]
    return kept


@dataclass
class Board:
    """The health of all sources of a lake, as the last run left it."""

    sources: dict[str, SourceHealth]

    @classmethod
    def of(cls, lake: Lake) -> Board:
        """What the lake holds. What cannot be read is as if nothing was known: it is found out again."""
        known = {each.name for each in fields(SourceHealth)}
        try:
            held = json.loads(lake.get(OBJECT) or b"{}")
            return cls({n: SourceHealth(**{k: v for k, v in h.items() if k in known}) for n, h in held.items()})
        except (ValueError, TypeError, AttributeError):
            return cls({})

    @classmethod
    @contextmanager
    def kept(cls, lake: Lake, names: Iterable[str]) -> Iterator[Board]:
        """What the lake holds, and at the end of the block, whatever ends it, what was noted meanwhile (`save`). The
        fault that ends the block is the one that is raised.
        """
        board = cls.of(lake)
        try:
            yield board
        except BaseException:
            try:
                board.save(lake, names)
            except Exception as fault:  # noqa: BLE001 - what ended the block is the cause, and is raised
                telemetry.log.warning(
                    f"{OBJECT} was not written ({type(fault).__name__}: {fault}); later runs find it out"
                )
            raise
        board.save(lake, names)

    def __getitem__(self, name: str) -> SourceHealth:
        return self.sources.setdefault(name, SourceHealth())

    def landed(self, name: str, nodes: Iterable[NodeRun], newest: str, now: datetime) -> None:
        """Note a run in which all that a source had landed, by its records of the run."""
        nodes = tuple(nodes)
        self._letters(name, nodes, now)
        rows = any(node.facts.get("landed") for node in nodes if node.state == "built")
        self[name].succeeded(now, landed=rows, newest=newest)

    def failed(
        self, settings: Settings, name: str, nodes: Iterable[NodeRun], why: str, lag: Lag | None, now: datetime,
        *, waits: bool = False,
    ) -> None:  # fmt: skip
        """Note a run in which a source failed, or ``waits`` for a person; one that was left alone stays as it was."""
        self._letters(name, nodes, now)
        if not why.startswith(CircuitOpen.__name__):
            said = _CLASS.search(why)
            limit = settings.execution.circuit.failures if settings.sources[name].connects else 0
            self[name].failed(now, said[0] if said else "", lag, limit, waits=waits)

    def _letters(self, name: str, nodes: Iterable[NodeRun], now: datetime) -> None:
        health, first = self[name], (now - PERIOD).timestamp()
        health.since = health.since or _text(now)
        if dead := sum(node.facts.get("dead", 0) for node in nodes if node.state != "current"):
            health.letters = [each for each in health.letters if each[0] > first][-MOST_MOMENTS:]
            health.letters.append([int(now.timestamp()), dead])

    def save(self, lake: Lake, names: Iterable[str]) -> None:
        """Write it, without sources that the settings no longer name."""
        kept = {name: asdict(self.sources[name]) for name in names if name in self.sources}
        lake.put(OBJECT, json.dumps(kept).encode())


def state_of(source: SourceSettings, health: SourceHealth, now: datetime) -> str:
    """One of `STATES`, the worst that holds."""
    if not getattr(source, "enabled", True):
        return "disabled"
    if health.open_since:
        return "open"
    if health.waits_since and now - moment(health.waits_since) > STUCK:
        return "stuck"
    if health.failures:
        return "failing"
    if not health.looked_at:
        return "unknown"
    limit = source.late_after_minutes
    since = health.landed_at or health.since or health.looked_at
    return "late" if limit and now - moment(since) > timedelta(minutes=limit) else "ok"


@dataclass(frozen=True)
class SourceState:
    """How a source stands at a moment: one of `STATES`, ages in seconds (None: it never was, or nobody knows)."""

    source: str
    table: str
    kind: str
    state: str
    success_age_seconds: float | None
    landed_age_seconds: float | None
    newest_age_seconds: float | None
    age_p95_seconds: float | None
    late_after_seconds: float | None
    failures: int
    fault: str
    open_since: str | None
    waits_since: str | None
    dead_letters: int  # of the last `PERIOD`
    lag: Lag | None


def states(settings: Settings, board: Board, now: datetime) -> list[SourceState]:
    """All configured sources, in the order of the settings."""
    found = []
    for name, source in settings.sources.items():
        health = board[name]
        limit = source.late_after_minutes
        found.append(
            SourceState(
                source=name,
                table=source.table,
                kind=source.kind,
                state=state_of(source, health, now),
                success_age_seconds=_age(health.succeeded_at, now),
                landed_age_seconds=_age(health.landed_at, now),
                newest_age_seconds=_age(health.newest_at, now),
                age_p95_seconds=health.age_p95(now),
                late_after_seconds=None if limit is None else limit * 60,
                failures=health.failures,
                fault=health.fault,
                open_since=health.open_since or None,
                waits_since=health.waits_since or None,
                dead_letters=health.dead_letters(now),
                lag=health.lag,
            )
        )
    return found


def _age(text: str, now: datetime) -> float | None:
    return (now - moment(text)).total_seconds() if text else None


def lag_of(pieces: Iterable[Input]) -> Lag:
    """What some inputs hold, as far as they say it: their number, bytes of files, messages, bytes of a log."""
    found: Lag = {}
    for piece in pieces:
        for unit, count in _sizes(piece.detail).items():
            found[unit] = found.get(unit, 0) + count
    return found


def _sizes(detail: Mapping[str, Any]) -> Lag:
    sizes = {"inputs": 1}
    if isinstance(size := detail.get("size"), int):
        sizes["bytes"] = size
    if ranges := detail.get("ranges"):
        sizes["messages"] = sum(stop - start for _, start, stop in ranges)
    if "slot" in detail and "upto" in detail:
        sizes["log_bytes"] = _lsn(detail["upto"]) - _lsn(detail["after"])
    return sizes


def _lsn(place: str) -> int:
    high, _, low = place.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def newest_of(source: SourceSettings, added: Iterable[Add], now: datetime | None = None) -> str:
    """The latest moment that new bronze files name, by their statistics; empty where they name none that can be."""
    past = tables.spec(tables.by_name(source.table)).past
    limit, newest = (now or datetime.now(UTC)) + AHEAD, ""
    for add in added if past else ():
        said = json.loads(add.stats or "{}").get("maxValues", {}).get(past[0])
        if said and moment(said) <= limit:
            newest = max(newest, _text(moment(said)))
    return newest


def moment(text: str) -> datetime:
    """A moment as it is written; without an offset it is UTC."""
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds")
