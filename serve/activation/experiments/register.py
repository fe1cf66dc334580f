"""Experiments that started: one object each in the lake, ``_experiments/<name>.json``, with its definition as it was.

Nothing of it changes afterwards but that it stops, and what a bandit learns. The file of settings says what may start.
"""

from __future__ import annotations

import fcntl
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from customer360.pipelines.experiments import FROZEN, Experiment, ExperimentRules, Holdout, Metric
from customer360.platform import audit, telemetry
from customer360.platform.errors import ConfigError, Customer360Error, LakeError
from customer360.platform.lake import Lake
from customer360.platform.lake.damage import parsed, unlike
from customer360.platform.run import lake_of
from customer360.platform.settings import Settings
from customer360.serve.activation import bandits
from customer360.serve.activation.bandits import LinUcb, Thompson
from customer360.serve.activation.experiments.assignment import Started
from customer360.serve.compose import rules_of, state_folder

FOLDER = "_experiments"
LOCK = "experiments.lock"  # in the state folder
FRESH_SECONDS = 5.0  # that a server takes what it read for what is


class NotPossible(Customer360Error):
    """An experiment cannot be started, stopped or told of as it is; the message says why."""


def rules(settings: Settings) -> ExperimentRules:
    found = rules_of(settings)["experiments"]
    assert isinstance(found, ExperimentRules)
    return found


def defined(settings: Settings, name: str) -> Experiment:
    """Raises ConfigError where the file defines no such experiment."""
    known = rules(settings).experiments
    if name not in known:
        raise ConfigError(f"no experiment is called {name!r}; the file defines {', '.join(sorted(known)) or 'none'}")
    return known[name]


def all_started(lake: Lake) -> dict[str, Started]:
    """Every experiment that ever started, by name. Raises LakeError where one cannot be read."""
    return _by_name([_stored(lake, path) for path in lake.objects(FOLDER)])


def readable(lake: Lake) -> tuple[dict[str, Started], list[str]]:
    """Those that can be read, and what is wrong with each of the others."""
    found: list[Started | None] = []
    faults = []
    for path in lake.objects(FOLDER):
        try:
            found.append(_stored(lake, path))
        except LakeError as fault:
            faults.append(str(fault))
    return _by_name(found), faults


def _by_name(found: list[Started | None]) -> dict[str, Started]:
    return {each.name: each for each in sorted((f for f in found if f), key=lambda f: (f.started_at, f.name))}


def started(lake: Lake, name: str) -> Started:
    """Raises NotPossible where it has not started."""
    found = _stored(lake, _path(name))
    if found is None:
        raise NotPossible(f"experiment {name} has not started; `customer360 experiment start {name}` starts it")
    return found


def start(settings: Settings, name: str, *, actor: str, since: datetime | None = None) -> Started:
    """Freeze a definition and begin to assign. ``since``: the exposures of another tool count from then.

    Raises:
        ConfigError: the file does not define it.
        NotPossible: it has started before, or its layer's slots are taken.
    """
    definition, known, lake = defined(settings, name), rules(settings), lake_of(settings)
    now = datetime.now(UTC)
    if since is not None and since > now:
        raise NotPossible(f"experiment {name} cannot have started at {since:%Y-%m-%d}, which has not come")
    wanted = {*definition.metrics, *(guard.metric for guard in definition.guardrails)}
    wanted |= {per for m in wanted if (per := known.metrics[m].per) is not None}
    metrics = {m: known.metrics[m] for m in sorted(wanted)}
    made = Started(name, definition, metrics, known.holdout, since or now)
    with _held(settings):
        _check_slots(lake, made)
        if not lake.put(_path(name), _text(made), create=True):
            raise NotPossible(
                f"experiment {name} has started before: what it says is fixed; take another name for a new one"
            )
    audit.append(state_folder(settings), name=actor, asked=f"experiment start {name}")
    return made


def stop(settings: Settings, name: str, *, actor: str, because: str) -> Started:
    """Assign nobody any more; exposures up to now stay in the figures.

    Raises:
        NotPossible: it has not started, or has stopped.
    """
    lake = lake_of(settings)
    with _held(settings):
        found = started(lake, name)
        if not found.is_running:
            raise NotPossible(f"experiment {name} has stopped on {found.stopped_at:%Y-%m-%d} already")
        made = replace(found, stopped_at=datetime.now(UTC), because=because)
        lake.put(_path(name), _text(made))
    audit.append(state_folder(settings), name=actor, asked=f"experiment stop {name}")
    return made


def teach(settings: Settings, of: Started, learnt: Thompson | LinUcb, *, actor: str) -> Started:
    """Make what a bandit learnt its next edition; nothing where it says the same as the one before."""
    lake = lake_of(settings)
    with _held(settings):
        now = started(lake, of.name)
        if learnt == now.learnt:
            return now
        made = replace(now, learnt=learnt, edition=now.edition + 1)
        lake.put(_path(of.name), _text(made))
    audit.append(state_folder(settings), name=actor, asked=f"experiment learn {of.name} {made.edition}")
    return made


@contextmanager
def _held(settings: Settings) -> Iterator[None]:
    """What is read and written back here is changed by nobody between; a run of the lake is not waited for."""
    with open(state_folder(settings) / LOCK, "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def changed(of: Started, known: ExperimentRules) -> list[str]:
    """Keys of the file that say otherwise than what started; the file holds for none of them."""
    now = known.experiments.get(of.name)
    if now is None:
        return []
    was, said = of.definition.model_dump(), now.model_dump()
    keys = [key for key in said if said[key] != was.get(key) or (key == "arms" and [*said[key]] != [*was[key]])]
    return keys + [f"metrics.{m}" for m, metric in of.metrics.items() if known.metrics.get(m) != metric]


def _check_slots(lake: Lake, made: Started) -> None:
    """Raises NotPossible where a running experiment of the same layer would share subjects with this one."""
    mine = made.definition
    for other in all_started(lake).values():
        theirs = other.definition
        if not other.is_running or other.name == made.name or mine.layer is None or mine.layer != theirs.layer:
            continue
        if mine.unit != theirs.unit:
            raise NotPossible(
                f"experiment {made.name} is over {mine.unit}s, {other.name} of layer {mine.layer} over {theirs.unit}s, "
                "so that they cannot be kept apart; choose another layer"
            )
        if mine.slots[0] < theirs.slots[1] and theirs.slots[0] < mine.slots[1]:
            raise NotPossible(
                f"experiment {made.name} wants slots of layer {mine.layer} that {other.name} has; stop that one, or "
                f"choose slots outside of {theirs.slots[0]:g} to {theirs.slots[1]:g}"
            )


def _path(name: str) -> str:
    return f"{FOLDER}/{name}.json"


def _text(of: Started) -> bytes:
    said = {
        "name": of.name,
        "definition": of.definition.model_dump(mode="json"),
        "metrics": {name: metric.model_dump(mode="json") for name, metric in of.metrics.items()},
        "holdout": of.holdout.model_dump(mode="json"),
        "started_at": of.started_at.isoformat(),
        "stopped_at": of.stopped_at.isoformat() if of.stopped_at else None,
        "because": of.because,
        "learnt": bandits.as_json(of.learnt) if of.learnt else None,
        "edition": of.edition,
    }
    return json.dumps(said, ensure_ascii=False).encode()


def _stored(lake: Lake, path: str) -> Started | None:
    """Raises LakeError where an object cannot be read."""
    said = parsed(lake, path)
    if said is None:
        return None
    try:
        return _of_json(said)
    except (KeyError, TypeError, ValueError, ValidationError):
        raise unlike(lake, path) from None


def _of_json(said: Any) -> Started:
    stopped = said["stopped_at"]
    return Started(
        name=said["name"],
        definition=Experiment.model_validate(said["definition"], context=FROZEN),
        metrics={name: Metric.model_validate(metric, context=FROZEN) for name, metric in said["metrics"].items()},
        holdout=Holdout.model_validate(said["holdout"]),
        started_at=datetime.fromisoformat(said["started_at"]),
        stopped_at=datetime.fromisoformat(stopped) if stopped else None,
        because=said["because"],
        learnt=bandits.of_json(said["learnt"]) if said["learnt"] else None,
        edition=said["edition"],
    )


@dataclass
class Running:
    """What a server knows of the experiments that started, at most ``FRESH_SECONDS`` old; safe to use from threads."""

    settings: Settings
    _read_at: float = -FRESH_SECONDS
    _known: dict[str, Started] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def now(self) -> dict[str, Started]:
        """What can be read; what cannot is in the log, and assigns nobody. Raises LakeError where the lake is away."""
        with self._lock:
            if time.monotonic() - self._read_at >= FRESH_SECONDS:
                self._known, faults = readable(lake_of(self.settings))
                for fault in faults:
                    telemetry.log.error(f"an experiment is left out: {fault}")
                self._read_at = time.monotonic()
            return self._known
