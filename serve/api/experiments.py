"""Experiments for applications: the arm of somebody, and that it was met."""

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import uuid4
from weakref import WeakValueDictionary

from fastapi import APIRouter, HTTPException, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from customer360.pipelines.rules import EnrichmentRules
from customer360.platform import access, telemetry
from customer360.platform.settings import Settings
from customer360.platform.sources.base import configured
from customer360.platform.sources.journal import Own
from customer360.platform.sources.protocols.hooks.journal import Journal
from customer360.platform.sources.webhooks import message
from customer360.serve.activation.experiments import interleaving
from customer360.serve.activation.experiments.assignment import Started, assign, chosen
from customer360.serve.activation.experiments.register import Running
from customer360.serve.api import policy
from customer360.serve.api.people import current_id, person_of
from customer360.serve.api.policy import Answer, Caller, CurrentView, ServedView
from customer360.serve.compose import compose, rules_of
from customer360.serve.publication.refusals import REFUSALS

router = APIRouter(tags=["experiments"])
EXPOSURES = "bronze.exposures"
LISTED = 50  # of each ranker's list, before what is not offered is left out
Name = Annotated[str, Path(description="An experiment that started", pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Value = str | bool | int | float | None
REMEMBERED = 100_000  # answers of a process and their items, so that an exposure that is sent again is answered alike


@dataclass(frozen=True)
class Told:
    """What the answer to an exposure said; ``items`` of a mixed list as (product, arm), in their order."""

    subject: str
    arm: str
    propensity: float | None
    items: tuple[tuple[str, str], ...] = ()


class Trials:
    """Experiments that started, and the journals of exposures of this process, by the system of accounts."""

    def __init__(self, settings: Settings) -> None:
        self.running = Running(settings)
        self._settings = settings
        self._lock = threading.Lock()
        self._journals: dict[str, Journal] = {}
        self._answers: OrderedDict[str, Told] = OrderedDict()
        self._remembered = 0  # answers and their items
        self._writing: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()
        sources = settings.sources.items()
        self.sources = {s.system: name for name, s in sources if isinstance(s, Own) and s.table == EXPOSURES}

    def now(self) -> dict[str, Started]:
        """Raises LakeError where what is stored cannot be read."""
        compose()
        return self.running.now()

    def refused_by_strangers(self, purpose: str) -> bool:
        """Whether a purpose is denied of whom nobody knows, who was never asked."""
        rules = rules_of(self._settings)["enrichment"]
        assert isinstance(rules, EnrichmentRules)
        return not rules.allows_unasked(purpose)

    def writing(self, key: str) -> threading.Lock:
        """What holds back a second request for an exposure until the first is answered."""
        with self._lock:
            return self._writing.setdefault(key, threading.Lock())

    def answered(self, key: str, subject: str) -> Told | None:
        """What this process answered to an exposure before. 409 where that was another subject's."""
        with self._lock:
            told = self._answers.get(key)
        if told is not None and told.subject != subject:
            raise HTTPException(409, "this exposure_id is of another subject; choose another")
        return told

    def keep(self, key: str, told: Told) -> None:
        with self._lock:
            self._answers[key] = told
            self._remembered += 1 + len(told.items)
            while self._remembered > REMEMBERED:
                self._remembered -= 1 + len(self._answers.popitem(last=False)[1].items)

    def journal(self, system: str) -> Journal:
        with self._lock:
            if system not in self._journals:
                source = configured(self._settings, self.sources[system])
                assert isinstance(source, Own)
                self._journals[system] = Journal(source.folder)
            return self._journals[system]


class Arm(Answer):
    """The arm of a subject; null: it is in none, because it does not qualify, is held out or did not allow it."""

    experiment: str
    arm: str | None = Field(examples=["personal"])
    propensity: float | None = Field(description="How likely this arm was", examples=[0.5])


class ListedItem(BaseModel):
    """An item of a mixed list."""

    rank: int
    product_id: str = Field(examples=["85123A"])
    arm: str = Field(description="The ranker that gave it")


class Exposure(Arm):
    """An exposure that is written down; ``items`` of a mixed list, in the order in which they are to be shown."""

    exposure_id: str | None = Field(description="Null where nothing was written down, since there is no arm")
    items: list[ListedItem] = []


class Met(BaseModel):
    """Who meets an experiment. Of a visitor who is logged in, say both: then the person's consent holds."""

    model_config = ConfigDict(extra="forbid")

    person_id: str | None = Field(default=None, max_length=100)
    visitor_id: str | None = Field(default=None, min_length=1, max_length=255)
    attributes: dict[str, Value] = Field(
        default={}, max_length=50, description="That a condition asks for; of a known person the profile is above"
    )
    exposure_id: str | None = Field(
        default=None,
        max_length=100,
        pattern=r"^[\w.:-]+$",
        description="Of the caller; sent again, it is the same exposure and is answered alike",
    )
    k: int = Field(default=10, ge=1, le=50, description="Items of a mixed list")


@router.get("/experiments/{name}/assignment")
async def assignment(
    request: Request, name: Name, principal: Caller, view: CurrentView,
    subject: Annotated[str, Query(min_length=1, max_length=255, description="A person id, or a visitor's")],
    person_id: Annotated[str | None, Query(max_length=100, description="Who the visitor is, if known")] = None,
) -> Arm:  # fmt: skip
    """The arm of a subject; nothing is written down. Whoever shows what an arm says, posts the exposure. 422 where the
    experiment asks for what is not known here of a visitor: the exposure takes attributes."""
    of = await _started(request, name)
    met = Met(person_id=subject) if of.definition.unit == "person" else Met(visitor_id=subject, person_id=person_id)
    arm, propensity, person, _ = _arm(request, view, of, met)
    if lacking := {*of.definition.where} - {*(person["profile"] if person else ())}:
        raise HTTPException(
            422, f"the experiment asks for {', '.join(sorted(lacking))}, which are sent as attributes with the exposure"
        )
    return view.answer(Arm, experiment=name, arm=arm, propensity=propensity)


@router.post("/experiments/{name}/exposures")
async def exposures(request: Request, name: Name, principal: Caller, view: CurrentView, met: Met) -> Exposure:
    """Assign somebody who is about to see the arm, and write that down: it is durable when this answers. Needs role
    service. 409 where the exposure_id is another subject's, or is one of a bandit or a mixed list that a process wrote
    down which is gone: what that said is not known here, and could be other now."""
    access.require(principal, "service")
    of = await _started(request, name)
    arm, propensity, person, subject = _arm(request, view, of, met)
    if arm is None:
        return view.answer(Exposure, experiment=name, arm=None, propensity=None, exposure_id=None)
    number = met.exposure_id or uuid4().hex
    items = _mixed(view, of, subject, met.k) if of.definition.kind == "interleaving" else ()
    now = Told(subject, arm, propensity, items)
    told = await run_in_threadpool(_told, request.app.state.trials, of, number, now, person, met)
    return view.answer(
        Exposure,
        experiment=name,
        arm=told.arm,
        propensity=told.propensity,
        exposure_id=number,
        items=[ListedItem(rank=rank, product_id=p, arm=by) for rank, (p, by) in enumerate(told.items, start=1)],
    )


def _told(trials: Trials, of: Started, number: str, now: Told, person: dict[str, Any] | None, met: Met) -> Told:
    """What is answered to an exposure: what was answered before, else what it is now, which is then durable."""
    key = f"{of.name}/{number}"
    with trials.writing(key):
        before = trials.answered(key, now.subject)
        if before is None:
            _write(trials, of, _rows(of, number, now), person, met)
            trials.keep(key, now)
        return before or now


async def _started(request: Request, name: str) -> Started:
    """404 where no such experiment started."""
    trials: Trials = request.app.state.trials
    found = (await run_in_threadpool(trials.now)).get(name)
    if found is None:
        raise policy.not_found("experiment")
    return found


def _arm(
    request: Request, view: ServedView, of: Started, met: Met
) -> tuple[str | None, float | None, dict[str, Any] | None, str]:
    """Arm, its probability, the document of the person where one is known, and the subject that the hash is over."""
    person_id = current_id(view, met.person_id) if met.person_id is not None else None
    person = person_of(view, person_id, met.visitor_id) if person_id is not None else None
    subject = person_id if of.definition.unit == "person" else met.visitor_id
    if subject is None:
        raise HTTPException(422, f"body.{of.definition.unit}_id: this experiment is over {of.definition.unit}s")
    profile = person["profile"] if person else {}
    attributes: Mapping[str, Any] = met.attributes | {key: told for key, told in profile.items() if told is not None}
    refused = _refused(request.app.state.trials, view, of, person, met.visitor_id)
    if not assign([of], subject, attributes=attributes, unit=of.definition.unit, refused=refused):
        return None, None, person, subject
    return *chosen(of, subject, attributes), person, subject


def _refused(
    trials: Trials, view: ServedView, of: Started, person: dict[str, Any] | None, visitor_id: str | None
) -> frozenset[str]:
    """Purposes that are denied, also just now by an event; of a person whatever is not known to be allowed."""
    purpose = of.definition.purpose
    if person is None:
        now = view.refused_just_now(visitor_id=visitor_id)
        return now | {purpose} if trials.refused_by_strangers(purpose) else now
    now = view.refused_just_now(person["accounts"], visitor_id)
    return now | {denied for column, denied in REFUSALS.items() if person["profile"].get(column) is not True}


def _mixed(view: ServedView, of: Started, subject: str, k: int) -> tuple[tuple[str, str], ...]:
    """The two models' lists of a person in one, of what is offered now: products with the model that gave each."""
    stored = (view.get("recommendations", subject) or {"lists": []})["lists"]
    lists: dict[str, list[str]] = {arm: [] for arm in of.definition.arms}
    for ranked in reversed([each for each in stored if each["mode"] == "new" and each["model"] in lists]):
        lists[ranked["model"]] = [item["product_id"] for item in view.offered(ranked["items"], LISTED)]
    return tuple(interleaving.team_draft(lists, k, of.salt, subject))


def _rows(of: Started, number: str, told: Told) -> list[dict[str, Any]]:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    about = {"EXPERIMENT": of.name, "EXPOSED_AT": now}
    if of.definition.kind == "interleaving":
        return [
            about | {"EXPOSURE_ID": f"{number}:{rank}", "ARM": arm, "PRODUCT_ID": product, "POSITION": rank}
            for rank, (product, arm) in enumerate(told.items, start=1)
        ]
    return [about | {"EXPOSURE_ID": number, "ARM": told.arm, "PROPENSITY": told.propensity, "EDITION": of.edition}]


def _write(trials: Trials, of: Started, rows: list[dict[str, Any]], person: dict[str, Any] | None, met: Met) -> None:
    """Durable, under an account that a source of exposures knows. 422 where there is none, 503 without a source; 409
    where it is written down already, and could be under another arm than now, with nothing written."""
    if not trials.sources:
        raise HTTPException(503, "no source of kind journal fills bronze.exposures: exposures cannot be kept")
    accounts = [account.partition("/") for account in (person["accounts"] if person else ())]
    mine = next(((system, number) for system, _, number in accounts if system in trials.sources), None)
    if mine is None and met.visitor_id is None:
        raise HTTPException(
            422, f"the person has no account in {', '.join(sorted(trials.sources))}; say the visitor_id"
        )
    system = mine[0] if mine else next(iter(trials.sources))
    who = {"CUSTOMER_ID": mine[1] if mine else None, "VISITOR_ID": met.visitor_id}
    messages = []
    for row in rows:
        key = f"{row['EXPERIMENT']}/{row['EXPOSURE_ID']}"
        messages.append((key, message(key, None, row["EXPOSED_AT"], json.dumps(row | who).encode())))
    try:
        fresh = trials.journal(system).append_all(messages, as_one=True)
    except OSError as fault:
        telemetry.log.error(f"exposures cannot be written down: {fault.strerror}")
        raise HTTPException(503, "exposures cannot be written down now", {"Retry-After": "30"}) from None
    is_fixed = of.definition.kind == "ab" and of.learnt is None  # the hash says what it said
    if not all(fresh) and not is_fixed:
        raise HTTPException(
            409,
            "this exposure_id is written down already, under an arm that is not known here any more; it counts, and "
            "whoever shows the arm again sends another",
        )
