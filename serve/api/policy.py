"""What a caller may see, and what may be shown to a person: access, masking, consent, availability."""

import asyncio
import json
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, TypeVar

import orjson
import polars as pl
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, Field

from customer360.pipelines.gold.customers import GROUPS, REFUSABLE, Customer360
from customer360.pipelines.gold.customers.consent import DERIVED
from customer360.pipelines.gold.customers.risk import PROFILED
from customer360.platform import access, tables
from customer360.platform.access import KeysUnreadable, Principal
from customer360.platform.online import Generation, OnlineStore, View
from customer360.platform.privacy import MASK
from customer360.platform.tokens import Callers
from customer360.serve.problems import Problem as Problem
from customer360.serve.publication.freshness import Watch, staleness
from customer360.serve.publication.offers import is_offered
from customer360.serve.publication.refusals import Refusals, without_refused
from customer360.serve.realtime.activity import visitor
from customer360.serve.realtime.collector import EventCollector
from customer360.serve.realtime.session import Activities

ALLOWING = frozenset({"person_id", "may_personalize", "may_profile", "risk_reasons"})  # columns that policy looks at
PRODUCTS_AT_ONCE = 16  # looked up together; a few ranks beyond k cover what is out of stock
CATALOGUE = ("name", "category", "price", "currency")
BY_BEARER = HTTPBearer(auto_error=False, description="An API key of `customer360 key issue`, or a signed token (JWT)")
BY_HEADER = APIKeyHeader(name="X-API-Key", auto_error=False, description="The same in a header of its own")


class Answer(BaseModel):
    """What every answer carries: the publication that it comes from. Made by ``ServedView.answer``."""

    generation: str = Field(description="Publication of the online store", examples=["20260301T020000000000Z"])
    as_of: date = Field(description="The answer knows what happened before this day", examples=["2026-03-01"])
    is_stale: bool = Field(description="The last run failed or was not published, or the publication is old")
    stale_because: str | None = Field(description="Why it is stale")


async def known_caller(
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(BY_BEARER)],
    header: Annotated[str | None, Depends(BY_HEADER)],
) -> Principal:
    """Who calls, as ``serve.gate`` found. Raises AccessDenied when no good key is presented."""
    found: Principal | None = getattr(request.state, "principal", None)
    if found is not None:
        return found
    callers: Callers = request.app.state.callers
    principal = callers.verify(bearer.credentials if bearer else header)
    request.state.principal = principal  # whose reading the audit notes
    return principal


async def caller(request: Request, principal: Annotated[Principal, Depends(known_caller)]) -> Principal:
    """Who calls, with a key for people's data and for this group of endpoints. Raises WrongRole without."""
    access.require(principal, "reader")
    for scope in getattr(request.scope.get("route"), "tags", [])[:1]:
        access.require_scope(principal, str(scope))
    return principal


def readings(request: Request) -> list[str]:
    """Where an endpoint notes whose personal data its answer shows; each person becomes a line of the audit."""
    noted: list[str] = request.state.readings
    return noted


AnyAnswer = TypeVar("AnyAnswer", bound=Answer)


@dataclass(frozen=True)
class ServedView(View):
    """A generation, why it is stale, if it is, and what people refuse now."""

    stale_because: str | None
    refusals: Refusals
    activities: Activities
    _people: dict[str, dict[str, Any] | None] = field(default_factory=dict)  # of this request, as they are stored

    def get(self, kind: str, key: str) -> dict[str, Any] | None:
        """As `View.get`; who a request is for is read once."""
        if kind != "person":
            return super().get(kind, key)
        if key not in self._people:
            self._people[key] = super().get(kind, key)
        return self._people[key]

    def person(self, person_id: str, visitor_id: str | None = None) -> dict[str, Any] | None:
        """The stored document of a person, or None; what the person refuses now is not allowed in it, whether a run has
        landed that or an event said it since, of an account or of the device in the hand."""
        stored = self.get("person", person_id)
        return None if stored is None else self._allowed([stored], visitor_id)[0]

    def people(self, person_ids: Sequence[str], columns: Set[str]) -> list[dict[str, Any] | None]:
        """The documents of several persons as `person` gives them, by current or former id, read at once; None where
        there is no such person, or its records were parted. Of profiles these ``columns`` and those that tell what is
        allowed: whole ones of a hundred persons are memory that no cache has."""
        kept = partial(_narrowed, columns=frozenset(columns) | ALLOWING)
        stored = self.mget("person", person_ids, kept)
        if gone := [at for at, document in enumerate(stored) if document is None]:
            led = self.mget("former", [person_ids[at] for at in gone])
            heirs = {at: former["person_ids"] for at, former in zip(gone, led, strict=True) if former is not None}
            single = {at: ids[0] for at, ids in heirs.items() if len(ids) == 1}
            for at, document in zip(single, self.mget("person", list(single.values()), kept), strict=True):
                stored[at] = document
        found = iter(self._allowed([document for document in stored if document is not None]))
        return [None if document is None else next(found) for document in stored]

    def _allowed(self, stored: Sequence[dict[str, Any]], visitor_id: str | None = None) -> list[dict[str, Any]]:
        return [
            without_refused(document, refused | self.refused_just_now(document.get("accounts", ()), visitor_id))
            for document, refused in zip(stored, self.refusals.of_all(stored), strict=True)
        ]

    def refused_just_now(self, accounts: Iterable[str] = (), visitor_id: str | None = None) -> frozenset[str]:
        """Purposes that the newest events of accounts and of a device refuse, and what rests on them."""
        subjects = [*accounts, *([] if visitor_id is None else [visitor(visitor_id)])]
        refused = self.activities.of(*subjects).refused if subjects else frozenset()
        return refused | frozenset(DERIVED.values()) if "PERSONALIZATION" in refused else refused

    def answer(self, kind: type[AnyAnswer], **content: Any) -> AnyAnswer:
        """An answer of this publication, which says so; ``content`` is what ``kind`` adds to ``Answer``."""
        return kind(**self.origin(), **content)

    def origin(self) -> dict[str, Any]:
        """What `Answer` says of this publication."""
        generation, because = self.generation, self.stale_because
        return {"generation": generation.id, "as_of": generation.as_of, "is_stale": because is not None,
                "stale_because": because}  # fmt: skip

    def offered(self, items: Iterable[dict[str, Any]], k: int) -> list[dict[str, Any]]:
        """The first ``k`` items (dicts with a product_id) that may be shown, see ``is_offered``, in their order, with
        name, category, price and currency of the catalogue."""
        return list(islice(self._offered(iter(items)), k))

    def _offered(self, items: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        while some := list(islice(items, PRODUCTS_AT_ONCE)):
            for item, product in zip(some, self.mget("product", [i["product_id"] for i in some]), strict=True):
                if is_offered(product):
                    yield {**item, **{name: (product or {}).get(name) for name in CATALOGUE}}


def _narrowed(stored: dict[str, Any], columns: Set[str]) -> dict[str, Any]:
    profile = stored["profile"]
    return stored | {"profile": {name: profile[name] for name in columns if name in profile}}


async def current_view(request: Request) -> ServedView:
    """The generation that this request reads, the same for all of it. Raises NotPublished."""
    store: OnlineStore = request.app.state.store
    view = store.view()
    collector: EventCollector | None = request.app.state.collector
    if collector is not None and not collector.activities.is_ready:  # a server that began just now
        await asyncio.to_thread(collector.activities.ready)
    refusals: Refusals = request.app.state.refusals
    return ServedView(
        view.generation,
        view.texts,
        view.hidden,
        stale_because(request.app, view.generation, is_let_in=True),
        refusals,
        request.app.state.activities,
    )


def stale_because(app: FastAPI, generation: Generation, *, is_let_in: bool = False) -> str | None:
    """Why a generation, or what is shown beside it, is not of now; None when it is. ``is_let_in``: the keys were looked
    at for this request."""
    watch: Watch = app.state.watch
    store: OnlineStore = app.state.store
    refusals: Refusals = app.state.refusals
    beside = store.fault or refusals.fault or _keys_fault(app.state.folder, is_seen=is_let_in)
    if beside is None and app.state.follower is not None:
        beside = app.state.follower.behind()
    return staleness(generation, beside or watch.reason(), datetime.now(UTC))


def _keys_fault(state: Path, *, is_seen: bool) -> str | None:
    try:
        return access.fault(state, is_seen=is_seen)
    except KeysUnreadable:
        return "the API keys cannot be read, so that nobody is let in"


Caller = Annotated[Principal, Depends(caller)]
KnownCaller = Annotated[Principal, Depends(known_caller)]
CurrentView = Annotated[ServedView, Depends(current_view)]


def not_found(what: str) -> HTTPException:
    """404 whose text repeats no identifier of the request."""
    return HTTPException(404, detail=f"no such {what}")


def sees_personal_data(principal: Principal) -> bool:
    """Names, contact data and account ids are for services that act for the person."""
    return principal.may("service")


def masked(profile: dict[str, Any]) -> dict[str, Any]:
    """The profile with every column covered that the contract tags as personal."""
    return {name: _covered(name, value) if name in _personal() else value for name, value in profile.items()}


@cache
def _personal() -> frozenset[str]:
    return frozenset(tables.pii_columns(Customer360))


def _covered(column: str, value: Any) -> Any:
    """Nothing of the value: its first character tells which of few it is."""
    if value is None or tables.schema(Customer360)[column] != pl.String:
        return None  # dots are no date and no number
    return MASK


def may_personalize(person: dict[str, Any]) -> bool:
    """Whether what a person did may shape what the person is shown; an unknown answer is a no."""
    return person["profile"].get("may_personalize") is True


def may_profile(person: dict[str, Any]) -> bool:
    """Whether a person's habits may be judged; publications of before know no answer of its own to that."""
    said = person["profile"].get("may_profile")
    return may_personalize(person) if said is None else said is True


def withheld(person: dict[str, Any]) -> list[str]:
    """Groups of the profile that are not shown, because they only serve what the person refused."""
    return list(_withheld(may_personalize(person), may_profile(person)))


@cache
def _withheld(personalizes: bool, profiles: bool) -> tuple[str, ...]:
    allowed = {"PERSONALIZATION": personalizes, "PROFILING": profiles}
    return tuple(group for group, purpose in REFUSABLE.items() if not allowed[purpose])


def without(profile: dict[str, Any], groups: list[str]) -> dict[str, Any]:
    """The profile with the columns of some groups emptied."""
    hidden = columns_of(groups)
    return {name: None if name in hidden else value for name, value in profile.items()}


def unjudged(person: dict[str, Any]) -> dict[str, Any]:
    """The profile of a person without what its risk knows of feelings and of leaving, where the person refuses that.
    Which level is left is known with the next run: until then there is none."""
    profile: dict[str, Any] = person["profile"]
    reasons = profile.get("risk_reasons") or []
    if may_profile(person) or all(reason["feature"] not in PROFILED for reason in reasons):
        return profile
    left = [reason for reason in reasons if reason["feature"] not in PROFILED]
    score = round(min(max(sum(reason["contribution"] for reason in left), 0.0), 1.0), 6)
    return profile | {"risk_reasons": left, "risk_score": score, "risk_level": None}


def columns_of(groups: Iterable[str]) -> frozenset[str]:
    """The columns of some groups of the profile."""
    return frozenset(column for group in groups for column in GROUPS[group].columns())


def plain_json(content: dict[str, Any]) -> Response:
    """An answer of JSON values as they are. What the fast writer refuses (half a surrogate pair, an integer of more
    than 64 bits) Python writes."""
    try:
        body = orjson.dumps(content)
    except orjson.JSONEncodeError:
        body = json.dumps(content, separators=(",", ":")).encode()
    return Response(body, media_type="application/json")
