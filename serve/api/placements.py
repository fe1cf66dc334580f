"""What to show at a place of the shop: products chosen for a person or visitor, for this moment, by checked rules."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

import numpy as np
from fastapi import APIRouter, HTTPException, Request, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from customer360.platform.conditions import ExpressionError
from customer360.serve.api import policy
from customer360.serve.api.people import current_id, owner_of, person_of
from customer360.serve.api.policy import Answer, Caller, CurrentView, ServedView
from customer360.serve.realtime.activity import Activity, visitor
from customer360.serve.realtime.ranking.asking import Asked, Context, Mode, Placement
from customer360.serve.realtime.ranking.choosing import Chooser
from customer360.serve.realtime.ranking.decision import SENTENCES, Decision, Why
from customer360.serve.realtime.ranking.journal import Journal
from customer360.serve.realtime.ranking.merchandise import check_asked
from customer360.serve.realtime.session import Activities, Session

router = APIRouter(tags=["recommendations"])

MAX_ITEMS, MAX_GIVEN = 100, 500
ProductId = Annotated[str, Field(min_length=1, max_length=200)]
Id = Annotated[str, Field(min_length=1, max_length=300)]
Condition = Annotated[str, Field(min_length=1, max_length=1000)]
EMAIL_REFUSED = "e-mail"


class Account(BaseModel):
    """A customer number in a source system."""

    model_config = ConfigDict(extra="forbid")

    source: Id = Field(examples=["POS"])
    customer_id: Id = Field(examples=["100234"])


class Boost(BaseModel):
    """Products of a condition count so many times as much."""

    model_config = ConfigDict(extra="forbid")

    where: Condition = Field(examples=['brand == "Acme" and price < 20'])
    factor: float = Field(gt=0, le=100, examples=[1.5])


class Moment(BaseModel):
    """Where and when; what is left out is unknown."""

    model_config = ConfigDict(extra="forbid")

    store_id: Id | None = Field(default=None, description="Only what this store has, where its stock is known")
    region: Id | None = Field(default=None, examples=["DE"])
    device: Id | None = Field(default=None, examples=["mobile"])
    hour: int | None = Field(default=None, ge=0, le=23, description="Of the day in UTC; left out: of now")
    age: int | None = Field(
        default=None, ge=0, le=150, description="Years, as the shop has checked; unknown: not of age"
    )


class Attributes(BaseModel):
    """What a new customer has said, where nothing else is known."""

    model_config = ConfigDict(extra="forbid")

    interests: dict[Id, Annotated[float, Field(gt=0, le=1000)]] = Field(
        default_factory=dict,
        json_schema_extra={"default": {}},
        max_length=50,
        description="Weight by category",
        examples=[{"Toys": 2.0, "Wine": 1.0}],
    )
    segment: Id | None = Field(default=None, description="Value segment whose favourites are shown", examples=["GOLD"])


UNSAID, UNASKED = Moment(), Attributes()


class Wanted(BaseModel):
    """What is to be shown where, to whom. At most one of `person_id` and `account`; with neither, to a visitor."""

    model_config = ConfigDict(extra="forbid")

    placement: Placement
    person_id: Id | None = None
    account: Account | None = None
    visitor_id: Id | None = Field(None, description="As events name the device; what it does now counts")
    may_personalize: bool | None = Field(
        None, description="What a visitor answered; left out: as the shop's rules say of who was not asked"
    )
    k: int = Field(10, ge=1, le=MAX_ITEMS)
    mode: Mode | None = Field(
        None, description="new: never bought before; all: repurchases included; left out: all of a search, else new"
    )
    product_id: ProductId | None = Field(None, description="Of the product page")
    cart: list[ProductId] = Field(default_factory=list, json_schema_extra={"default": []}, max_length=200)
    items: list[ProductId] | None = Field(
        None, max_length=MAX_GIVEN, description="A list to put in another order, such as hits of a search"
    )
    exclude: list[ProductId] = Field(default_factory=list, json_schema_extra={"default": []}, max_length=1000)
    filter: Condition | None = Field(None, description="A condition on products", examples=['category == "Toys"'])
    boost: list[Boost] = Field(default_factory=list, json_schema_extra={"default": []}, max_length=10)
    diversity: float | None = Field(None, ge=0, lt=1, description="What each further product of a category loses")
    context: Moment = Field(default_factory=lambda: UNSAID)  # made once: nothing changes them
    attributes: Attributes = Field(default_factory=lambda: UNASKED)
    arm: Annotated[str, Field(max_length=100)] | None = Field(
        None, description="Of the caller's experiment; noted with the decision"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.person_id is not None and self.account is not None:
            raise ValueError("person_id and account: name one of them")
        if self.placement == "email" and self.person_id is None and self.account is None:
            raise ValueError("an e-mail is for a person: name person_id or account")
        if self.placement == "product" and self.product_id is None:
            raise ValueError("product_id: name the product of the page")
        if self.placement == "search" and self.items is None:
            raise ValueError("items: name the hits of the search")
        return self


class ChosenProduct(BaseModel):
    """One product of an answer."""

    position: int
    product_id: str
    name: str | None
    category: str | None
    price: str | None = Field(description="Exact decimal as text")
    currency: str | None
    score: float = Field(description="Before rules and mixing; comparable within one answer")
    base_score: float = Field(description="As it is without a trained ranker: what logs of impressions keep as SCORE")
    source: str = Field(description="What counted most", examples=["together"])
    why: str = Field(description="The same in a sentence", examples=["Often bought with RED MUG"])


class ChoiceAnswer(Answer):
    """Products to show, best first."""

    decision_id: str = Field(description="For `/v1/decisions/{decision_id}`: why, and further pages")
    placement: Placement
    person_id: str | None
    personalized: bool
    reason: Why | Literal["e-mail"] | None = Field(
        description="Why it is not personalized; e-mail: the person may not be written to, and nothing is shown"
    )
    degraded: str | None = Field(description="Why less was looked at than usual")
    arm: str | None
    total: int = Field(description="Products that can be paged to")
    items: list[ChosenProduct]


@router.post("/recommendations", response_model=ChoiceAnswer)
async def choose(request: Request, wanted: Wanted, principal: Caller, view: CurrentView) -> Response:
    """Products for a placement, chosen in stages: candidates of several sources, what may not be shown left out,
    scored, mixed. What a person refused, what is out of stock, bought (mode new), in the cart, excluded or hidden is
    never shown."""
    for said in (wanted.filter, *(b.where for b in wanted.boost)):
        _check(said)
    person_id = _person_id(view, wanted)
    stored = person_of(view, person_id, wanted.visitor_id) if person_id else None
    asked = _asked(request, view, wanted, person_id, stored)
    chooser: Chooser = request.app.state.chooser
    if wanted.placement == "email" and not (stored and may_email(stored)):
        decision = chooser.nothing(view, asked)
        return _noted(request, view, decision, wanted.k, EMAIL_REFUSED)
    return _noted(request, view, chooser.choose(view, asked, stored), wanted.k)


def may_email(person: dict[str, Any]) -> bool:
    """Whether a person may be written to; an unknown answer is a no."""
    return person["profile"].get("may_email") is True


def _check(said: str | None) -> None:
    try:
        if said:
            check_asked(said)
    except ExpressionError as fault:
        raise HTTPException(422, f"a condition on products: {fault}") from None


def _person_id(view: ServedView, wanted: Wanted) -> str | None:
    if wanted.account is not None:
        return owner_of(view, wanted.account.source, wanted.account.customer_id)
    return None if wanted.person_id is None else current_id(view, wanted.person_id)


def _asked(
    request: Request, view: ServedView, wanted: Wanted, person_id: str | None, stored: dict[str, Any] | None
) -> Asked:
    now = datetime.now(UTC)
    said, moment = wanted.may_personalize, wanted.context
    if stored is not None:
        is_personal, is_profiled = policy.may_personalize(stored) and said is not False, policy.may_profile(stored)
    else:
        refused = view.refused_just_now(visitor_id=wanted.visitor_id)
        may = request.app.state.personalizes_unasked if said is None else said
        is_personal, is_profiled = may and "PERSONALIZATION" not in refused, may and "PROFILING" not in refused
    activity = _activity(view.activities, stored, wanted.visitor_id)
    context = Context(
        moment.store_id,
        moment.region,
        moment.device,
        now.hour if moment.hour is None else moment.hour,
        moment.age,
        wanted.attributes.segment,
    )
    return Asked(
        placement=wanted.placement,
        on=now.date(),
        k=wanted.k,
        mode=wanted.mode or ("all" if wanted.placement == "search" else "new"),
        person_id=person_id,
        visitor_id=wanted.visitor_id,
        is_personal=is_personal,
        is_profiled=is_profiled and is_personal,
        product_id=wanted.product_id,
        cart=tuple(dict.fromkeys(wanted.cart)),
        given=None if wanted.items is None else tuple(dict.fromkeys(wanted.items)),
        exclude=tuple(wanted.exclude),
        filter=wanted.filter or "",
        boosts=tuple((b.where, b.factor) for b in wanted.boost),
        diversity=wanted.diversity,
        interests=tuple(wanted.attributes.interests.items()) if is_personal else (),
        context=context,
        session=Session.of(activity) if is_personal else Session(),
        arm=wanted.arm,
    )


def _activity(activities: Activities, stored: dict[str, Any] | None, visitor_id: str | None) -> Activity:
    """What the person's accounts and the device in the hand did just now."""
    subjects = [] if stored is None else list(stored.get("accounts", []))
    return activities.of(*subjects, *([] if visitor_id is None else [visitor(visitor_id)]))


def _noted(request: Request, view: ServedView, decision: Decision, k: int, because: str | None = None) -> Response:
    journal: Journal = request.app.state.journal
    journal.note(decision)
    asked = decision.asked
    # Made by hand, as `ChoiceAnswer` says: to make the model of each product costs as much as to choose them.
    return policy.plain_json(
        view.origin()
        | {
            "decision_id": decision.id,
            "placement": asked.placement,
            "person_id": asked.person_id,
            "personalized": decision.reason is None and because is None,
            "reason": because or decision.reason,
            "degraded": decision.degraded,
            "arm": asked.arm,
            "total": len(decision.order),
            "items": shown(request, view, decision, decision.order[:k], 1),
        }
    )


def shown(
    request: Request, view: ServedView, decision: Decision, candidates: list[int], first: int
) -> list[dict[str, Any]]:
    """Some candidates of a decision as an answer shows them, each the fields of `ChosenProduct`, numbered from
    ``first``."""
    products = [decision.slate.products[c] for c in candidates]
    reasons = decision.whys(candidates)
    seeds = [seed for _, seed in reasons if seed is not None]
    chooser: Chooser = request.app.state.chooser
    facts = chooser.facts(view, [*products, *seeds])
    names = {seed: known.get("name") or seed for seed, known in zip(seeds, facts[len(products) :], strict=True)}
    places = np.array(candidates, dtype=np.int64)
    scores, base_scores = (of[places].tolist() for of in (decision.score, decision.base_score))
    return [
        {
            "position": position,
            "product_id": product,
            "name": known.get("name"),
            "category": known.get("category"),
            "price": known.get("price"),
            "currency": known.get("currency"),
            "score": score,
            "base_score": base_score,
            "source": source,
            "why": SENTENCES[source] if source != "together" else SENTENCES[source].format(seed=names.get(seed or "")),
        }
        for position, (product, known, (source, seed), score, base_score) in enumerate(
            zip(products, facts, reasons, scores, base_scores, strict=False), start=first
        )
    ]
