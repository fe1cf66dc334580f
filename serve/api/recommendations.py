"""What to show a person: the stored list of a model where consent allows it, else what is popular."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from operator import itemgetter
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request, Response
from pydantic import BaseModel, Field

from customer360.serve.api import policy
from customer360.serve.api.people import CustomerId, PersonId, Source, current_id, owner_of, person_of
from customer360.serve.api.policy import Answer, Caller, CurrentView, ServedView
from customer360.serve.publication.documents import MODELS_KEY, POPULAR_KEY
from customer360.serve.realtime.ranking.asking import Asked, Context, Mode, Placement
from customer360.serve.realtime.ranking.choosing import Chooser
from customer360.serve.realtime.ranking.decision import Why, as_listed
from customer360.serve.realtime.ranking.journal import Journal

router = APIRouter(tags=["recommendations"])

MAX_ITEMS = 50
PLACEMENT: Placement = "home"  # under whose rules lists are shown, and their further pages
DECISION = "X-Decision-Id"

SHOWN = ("product_id", *policy.CATALOGUE)  # of each product, between its rank and its score
_shown = itemgetter(*SHOWN)


class Listing(BaseModel):
    """What may be asked of a stored list."""

    k: int = Field(5, ge=1, le=MAX_ITEMS, description="How many products")
    mode: Mode = Field("new", description="new: never bought before; all: repurchases included")
    model: str | None = Field(
        None, description="Only of this model; default: the one that scored last", examples=["item_to_item"]
    )


class RecommendedProduct(BaseModel):
    """One product; ranks are 1, 2, … without gaps."""

    rank: int
    product_id: str = Field(examples=["85123A"])
    name: str | None = Field(examples=["WHITE HANGING HEART T-LIGHT HOLDER"])
    category: str | None
    price: str | None = Field(description="Exact decimal as text", examples=["2.95"])
    currency: str | None = Field(examples=["GBP"])
    score: float = Field(description="Of the model; for popular products the purchases counted")


class RecommendationsAnswer(Answer):
    """Products for a person, best first."""

    person_id: str
    mode: Mode
    personalized: bool = Field(description="False: the same list for everybody")
    reason: Why | None = Field(
        description="Why the list is not personalized: the person refused, or no model has a list of available products"
    )
    model: str | None = Field(description="Null where the list is not personalized", examples=["item_to_item"])
    version: str | None = Field(examples=["2"])
    scored_as_of: date | None = Field(description="The model knew what happened before this day")
    items: list[RecommendedProduct]


@dataclass(frozen=True)
class Choice:
    """The items to show and where they come from."""

    items: list[dict[str, Any]]
    looked_at: list[str]  # products of the list, as far as it was read
    reason: Why | None = None
    source: dict[str, Any] = field(default_factory=dict)  # the stored list's model, version, as_of
    hidden: Mapping[str, str] = field(default_factory=dict)  # products of the list, with the rule that hides each


@router.get("/people/{person_id}/recommendations", response_model=RecommendationsAnswer)
async def recommendations(
    request: Request, person_id: PersonId, wanted: Annotated[Listing, Query()], principal: Caller, view: CurrentView
) -> Response:
    """Products for a person. Who refused personalization gets what is popular with everybody. What a rule of
    merchandising hides at the placement `home` is left out; other rules hold for `POST /v1/recommendations`. The header
    `X-Decision-Id` names the decision, for `/v1/decisions/{decision_id}`."""
    return _answer(request, view, current_id(view, person_id), wanted)


of_person = router.routes[-1]


@router.get("/customers/{source}/{customer_id:path}/recommendations", response_model=RecommendationsAnswer)
async def customer_recommendations(
    request: Request,
    source: Source,
    customer_id: CustomerId,
    wanted: Annotated[Listing, Query()],
    principal: Caller,
    view: CurrentView,
) -> Response:
    """Products for the person that an account was resolved to."""
    return _answer(request, view, owner_of(view, source, customer_id), wanted)


def _answer(request: Request, view: ServedView, person_id: str, wanted: Listing) -> Response:
    lists = view.get("models", MODELS_KEY)  # publications of before name no models
    if wanted.model is not None and lists is not None and wanted.model not in lists["names"]:
        raise HTTPException(422, f"query.model: no lists of it are published; there are {', '.join(lists['names'])}")
    chooser: Chooser = request.app.state.chooser
    now = datetime.now(UTC)
    asked = Asked(PLACEMENT, now.date(), wanted.k, wanted.mode, person_id, context=Context(hour=now.hour))
    chosen = choose(view, asked, wanted.model, chooser)
    # Made by hand, as `RecommendationsAnswer` says: to make the model of each product costs as much as to find them.
    answer = policy.plain_json(
        view.origin()
        | {
            "person_id": person_id,
            "mode": wanted.mode,
            "personalized": chosen.reason is None,
            "reason": chosen.reason,
            "model": chosen.source.get("model"),
            "version": chosen.source.get("version"),
            "scored_as_of": chosen.source.get("as_of"),
            "items": [
                {"rank": rank, **dict(zip(SHOWN, _shown(item), strict=True)), "score": float(item["score"])}
                for rank, item in enumerate(chosen.items, start=1)
            ],
        }
    )
    answer.headers[DECISION] = _noted(request, view, asked, chosen)
    return answer


def choose(view: ServedView, asked: Asked, model: str | None, chooser: Chooser) -> Choice:
    """The k best offered products of the newest list of the mode, or the popular ones with the reason why."""
    assert asked.person_id is not None
    if not policy.may_personalize(person_of(view, asked.person_id)):
        return _popular(view, asked, "consent", chooser)
    stored = view.get("recommendations", asked.person_id) or {"lists": []}
    fitting = [
        ranked for ranked in stored["lists"] if ranked["mode"] == asked.mode and model in (None, ranked["model"])
    ]
    if not fitting:
        return _popular(view, asked, "no history", chooser)
    chosen = _offered(view, asked, fitting[0]["items"], chooser)
    return replace(chosen, source=fitting[0]) if chosen.items else _popular(view, asked, "nothing available", chooser)


def _popular(view: ServedView, asked: Asked, why: Why, chooser: Chooser) -> Choice:
    stored = view.get("popular", POPULAR_KEY) or {"items": []}
    return replace(_offered(view, asked, stored["items"], chooser), reason=why)


def _offered(view: ServedView, asked: Asked, listed: list[dict[str, Any]], chooser: Chooser) -> Choice:
    """The k best that may be shown, and the products down to the last of them; all, where there are fewer than k."""
    names = [item["product_id"] for item in listed]
    hidden = chooser.hidden(view, asked, names)
    kept = [item for item in listed if item["product_id"] not in hidden] if hidden else listed
    items = chooser.offered(view, kept, asked.k)
    if items is None:
        items = view.offered(kept, asked.k)
    looked_at = names[: names.index(items[-1]["product_id"]) + 1] if len(items) == asked.k else names
    return Choice(items, looked_at, hidden=hidden)


def _noted(request: Request, view: ServedView, asked: Asked, chosen: Choice) -> str:
    """Keep what was shown as a decision; its id."""
    asked = replace(asked, is_personal=chosen.reason != "consent")
    origin = {"generation": view.generation.id, "as_of": view.generation.as_of.isoformat()}
    origin |= {name: chosen.source[name] for name in ("model", "version") if name in chosen.source}
    source, shown = "popular" if chosen.reason else "model", {item["product_id"] for item in chosen.items}
    decision = as_listed(asked, source, chosen.looked_at, shown, origin, chosen.reason, chosen.hidden)
    journal: Journal = request.app.state.journal
    journal.note(decision)
    return decision.id
