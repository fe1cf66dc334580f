"""What people asked for: opened, due by a day, fulfilled by a steward. One object a request, in the lake.

``_rights/requests/<number>.json``. A request says of which person it is and what was done, never what is known of the
person; once it was erased, of nobody. Each step is a line of the audit.
"""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import IO, Any, Literal, get_args

from customer360.models.identity.registry.stewardship import golden_text
from customer360.pipelines.rules import Right, RightsRules
from customer360.platform import audit, privacy, purposes
from customer360.platform.errors import Customer360Error, LakeLocked
from customer360.platform.lake import Lake
from customer360.platform.lake.damage import parsed, unlike
from customer360.platform.run import lake_of
from customer360.platform.settings import Settings
from customer360.serve.compose import rules_of, state_folder
from customer360.serve.once import is_same

FOLDER = "_rights/requests"
LOCK = "rights.lock"  # in the state folder
PATIENCE_SECONDS = 10.0  # that a caller waits for an erasure of many rows, or another request
EARLIEST = date(1990, 1, 1)  # before it nobody had such rights
KINDS: tuple[Right, ...] = get_args(Right)
# Stored, and nothing else: each of these is refused by a restriction.
PURPOSES: dict[Right, tuple[str, ...]] = {"restrict": purposes.PURPOSES, "opt_out": ("SALE",)}

STEPS = {"fulfilled": "fulfil", "released": "release", "closed": "close"}  # word of the audit by what a request became


class NoSuchRequest(Customer360Error):
    """No request has this number, or it cannot be fulfilled."""


class NotProven(Customer360Error):
    """Nobody said how it was made sure who asks."""


@dataclass(frozen=True)
class Request:
    """One request. ``identity`` says how it was made sure who asks; ``values`` are those to rectify, by golden
    attribute; ``result`` what was done; ``sent_as`` see ``serve.once``."""

    number: int
    kind: Right
    person: str
    law: str
    received_on: date
    due_on: date
    state: Literal["open", "fulfilled", "released", "closed"] = "open"
    identity: str = ""
    values: dict[str, str] = field(default_factory=dict)
    result: str = ""
    fulfilled_at: str = ""
    sent_as: str = ""

    def of_nobody(self) -> Request:
        """The request without what says anything of the person, but for the id."""
        return replace(self, values={}, identity=privacy.MASK if self.identity else "", sent_as="")

    def is_late(self, today: date) -> bool:
        """Whether its day has passed without an answer."""
        return self.state == "open" and today > self.due_on


@contextmanager
def held(settings: Settings, patience: float = PATIENCE_SECONDS) -> Iterator[None]:
    """Hold what is kept of requests, and of what they restrict and export: who writes what was read of a person before
    an erasure would bring it back after.

    Raises:
        LakeLocked: somebody has it for longer than ``patience``, in seconds.
    """
    home = state_folder(settings)
    home.mkdir(parents=True, exist_ok=True)
    with open(home / LOCK, "a") as lock:
        _wait_for(lock, patience)
        yield


def _wait_for(lock: IO[str], patience: float) -> None:
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > end:
                raise LakeLocked("requests of people are held by an erasure or another request; try again") from None
            time.sleep(0.05)


def rights_rules(settings: Settings) -> RightsRules:
    rules = rules_of(settings)["rights"]
    assert isinstance(rules, RightsRules)
    return rules


def open_request(
    settings: Settings, kind: str, person: str, *, actor: str, law: str = "", identity: str = "",
    received_on: date | None = None, values: dict[str, str] | None = None, sent_as: str = "",
) -> Request:  # fmt: skip
    """Note a request of a current person; one that was noted as it was sent before, and is sent again, is that. Call it
    with what is kept of requests held.

    Raises:
        UsedOtherwise: it is sent as another one was.
        NoSuchRequest: there is no such right or law, it came on no day that is credible, or values to rectify are
            missing.
        RegistryError: a value to rectify is of no golden attribute, or not of its type.
    """
    rules, lake = rights_rules(settings), lake_of(settings)
    law = law or rules.law
    if kind not in KINDS or law not in rules.days:
        raise NoSuchRequest(
            f"no right {kind!r} under {law!r}; rights are {', '.join(KINDS)}, laws {', '.join(rules.days)}"
        )
    if (kind == "rectify") != bool(values):
        raise NoSuchRequest("say what is to be rectified, as attribute=value, with the right rectify and with no other")
    for attribute, value in (values or {}).items():
        golden_text(attribute, value)
    came = _credible(received_on)
    due = came + timedelta(days=rules.days[law])
    noted = requests(lake)
    for each in noted:
        if is_same(each.sent_as, sent_as):
            return each
    number = max((r.number for r in noted), default=0) + 1
    made = Request(number, kind, person, law, came, due, identity=identity, values=values or {}, sent_as=sent_as)
    while not lake.put(_path(made.number), _text(made), create=True):  # somebody else took the number
        made = replace(made, number=made.number + 1)
    _note(settings, made, "open", actor)
    return made


def _credible(received_on: date | None) -> date:
    """The day on which a request came in; today, where nobody says. Today is asked of the clock, for who writes it
    down: no result depends on it."""
    today = datetime.now(UTC).date()
    if received_on is None:
        return today
    if not EARLIEST <= received_on <= today + timedelta(days=1):
        raise NoSuchRequest(
            f"received on {received_on}: such a request cannot have come yet, or is of before {EARLIEST}"
        )
    return received_on


def requests(lake: Lake) -> list[Request]:
    """All requests, those that are due first at the top, done ones last."""
    found = [read for path in lake.objects(FOLDER) if (read := stored(lake, path)) is not None]
    return sorted(found, key=lambda r: (r.state != "open", r.due_on, r.number))


def request_of(lake: Lake, number: int) -> Request:
    """Raises NoSuchRequest."""
    found = stored(lake, _path(number))
    if found is None:
        raise NoSuchRequest(f"there is no request {number}; `customer360 rights list` shows them")
    return found


def ready(settings: Settings, number: int, identity: str) -> Request:
    """An open request whose person was made sure of.

    Raises:
        NoSuchRequest: there is none, or it is not open.
        NotProven: it needs a proof of who asks, and has none.
    """
    asked = request_of(lake_of(settings), number)
    if asked.state != "open":
        raise NoSuchRequest(f"request {number} is {asked.state} already")
    asked = replace(asked, identity=identity or asked.identity)
    if not asked.identity and asked.kind not in rights_rules(settings).without_identity:
        raise NotProven(f"request {number} ({asked.kind}): say with --identity how it was made sure who asks")
    return asked


def done(
    settings: Settings,
    asked: Request,
    result: str,
    *,
    actor: str,
    state: Literal["fulfilled", "released", "closed"] = "fulfilled",
) -> Request:
    """Note that a request was answered, or that nobody is left to be answered."""
    made = replace(asked, state=state, result=result, fulfilled_at=datetime.now(UTC).isoformat(timespec="seconds"))
    lake_of(settings).put(_path(made.number), _text(made))
    _note(settings, made, STEPS[state], actor)
    return made


def forget_person(settings: Settings, persons: Collection[str], digest: str) -> None:
    """Of the requests of an erased person, under any of its ids, keep that there were: by a digest, without what was
    said. Open ones are closed, but for those of an erasure, which stay to be proven. Call it under the run lock, and
    with what is kept of requests held."""
    lake = lake_of(settings)
    for each in requests(lake):
        if each.person not in persons:
            continue
        left = replace(each.of_nobody(), person=digest)
        if each.state == "open" and each.kind != "erase":
            done(settings, left, "person erased", actor="command", state="closed")
        else:
            lake.put(_path(left.number), _text(left))


def _note(settings: Settings, asked: Request, step: str, actor: str) -> None:
    said = f"rights {step} {asked.number} {asked.kind}"
    audit.append(state_folder(settings), name=actor, asked=said, person=asked.person)


def _path(number: int) -> str:
    return f"{FOLDER}/{number:08d}.json"


def _text(asked: Request) -> bytes:
    return json.dumps(asdict(asked), default=str, ensure_ascii=False).encode()


def stored(lake: Lake, path: str) -> Request | None:
    """A request as it is stored; None where it is not. Raises LakeError where it cannot be read."""
    said = parsed(lake, path)
    if said is None:
        return None
    try:
        return of_json(said)
    except ValueError:
        raise unlike(lake, path) from None


def of_json(said: Any) -> Request:
    """The request that an object says; raises ValueError where it says none."""
    try:
        dates = {name: date.fromisoformat(said[name]) for name in ("received_on", "due_on")}
        return Request(**said | dates)
    except (KeyError, TypeError):
        raise ValueError("no request") from None
