"""Why something was shown: decisions as they were made, made again, and their further pages."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field

from customer360.platform.privacy import MASK
from customer360.serve.api import policy
from customer360.serve.api.people import current_id
from customer360.serve.api.placements import EMAIL_REFUSED, MAX_ITEMS, ChosenProduct, may_email, shown
from customer360.serve.api.policy import Answer, Caller, CurrentView, ServedView
from customer360.serve.realtime.ranking.asking import Asked
from customer360.serve.realtime.ranking.choosing import Chooser
from customer360.serve.realtime.ranking.decision import Decision, covered, explained, replayed, unpacked
from customer360.serve.realtime.ranking.journal import Journal

router = APIRouter(prefix="/decisions", tags=["recommendations"])

DecisionId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="Of an answer")]


class Candidate(BaseModel):
    """A product that was looked at."""

    product_id: str
    position: int | None = Field(description="Where it stands; null: dropped, or beyond the last page")
    dropped_by: str | None = Field(description="The first reason that fits", examples=["bought", "rule no_wine"])
    score: float
    base_score: float = Field(description="As it is without a trained ranker")
    sources: dict[str, int] = Field(description="Its rank in each list that names it")
    features: dict[str, float | str | None] = Field(description="What the score is made of beside the ranks")
    rules: list[str] = Field(description="Rules and boosts of the request that moved it")


class DecisionAnswer(BaseModel):
    """A decision: what was asked, what was known, what became of each candidate."""

    decision_id: str
    at: datetime
    is_masked: bool = Field(description="Whether who it was for is covered, because the key's role is reader")
    asked: dict[str, Any] = Field(description="The request as it was understood, with the activity of that moment")
    origin: dict[str, Any] = Field(description="Publication, versions of model, vectors, ranker and rules")
    ranking: dict[str, Any] = Field(description="The weights that held")
    arm: str | None
    reason: str | None
    degraded: str | None
    replays: bool = Field(description="Whether the stages come to the same answer again from what was kept")
    dropped: dict[str, int] = Field(description="Candidates by the reason that dropped them")
    candidates: list[Candidate] = Field(description="Shown ones first, in their order")


class PageAnswer(Answer):
    """A further page of a decision, in its order; what may not be shown any more is left out."""

    decision_id: str
    offset: int
    next_offset: int | None = Field(description="Null: this was the last page")
    reason: str | None = Field(description="consent, e-mail: that is refused now, and nothing is shown")
    items: list[ChosenProduct]


def _record(request: Request, decision_id: str) -> dict[str, Any]:
    journal: Journal = request.app.state.journal
    packed = journal.get(decision_id)
    if packed is None:
        raise policy.not_found("decision, or none any more")
    return unpacked(packed)


@router.get("/{decision_id}")
def decision(request: Request, decision_id: DecisionId, principal: Caller) -> DecisionAnswer:
    """A decision with all its candidates, kept for some days. Who it was for, and what they did, needs role service."""
    record = _record(request, decision_id)
    is_open = policy.sees_personal_data(principal)
    if is_open and record["asked"]["person_id"]:
        policy.readings(request).append(record["asked"]["person_id"])
    made = replayed(record)
    found = sorted(explained(made), key=lambda c: (c["position"] is None, c["position"] or 0))
    counts: dict[str, int] = {}
    for reason in made.dropped.values():
        counts[reason] = counts.get(reason, 0) + 1
    shown_ = record if is_open else covered(record, MASK)
    return DecisionAnswer(
        decision_id=made.id,
        at=made.at,
        is_masked=not is_open,
        asked=shown_["asked"],
        origin=record["origin"],
        ranking=record["ranking"],
        arm=made.asked.arm,
        reason=made.reason,
        degraded=made.degraded,
        replays=made.order == record["answer"],
        dropped=counts,
        candidates=[Candidate(**c) for c in (found if is_open else _without_activity(found))],
    )


def _without_activity(candidates: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Candidates without what only tells what the person did, or what the shop earns."""
    personal, hidden = {"session", "own"}, {"activity", "affinity", "interest", "margin"}
    return [
        c | {"sources": {name: rank for name, rank in c["sources"].items() if name not in personal},
             "features": {n: v for n, v in c["features"].items() if n not in hidden}}
        for c in candidates
        if c["dropped_by"] not in ("bought", "in the cart")
    ]  # fmt: skip


def _refused_since(view: ServedView, asked: Asked) -> str | None:
    """Why nothing of a decision is shown any more, by what its person and device refuse now. 404 where the person is
    gone."""
    if asked.person_id is None:
        may = "PERSONALIZATION" not in view.refused_just_now(visitor_id=asked.visitor_id)
        return "consent" if asked.is_personal and not may else None
    stored = view.person(current_id(view, asked.person_id), asked.visitor_id)
    if stored is None:
        raise policy.not_found("decision, or none any more")
    if asked.placement == "email" and not may_email(stored):
        return EMAIL_REFUSED
    return "consent" if asked.is_personal and not policy.may_personalize(stored) else None


@router.get("/{decision_id}/items")
def page(
    request: Request,
    decision_id: DecisionId,
    principal: Caller,
    view: CurrentView,
    offset: Annotated[int, Query(ge=0, le=10_000)] = 0,
    k: Annotated[int, Query(ge=1, le=MAX_ITEMS)] = 10,
) -> PageAnswer:
    """Products of a decision from a place of its order on: pages never repeat one, whatever was published or done in
    between. What may not be shown any more, by offer, stock and rules of now, is left out."""
    made: Decision = replayed(_record(request, decision_id))
    because = _refused_since(view, made.asked)
    candidates = [] if because else made.order[offset : offset + k]
    chooser: Chooser = request.app.state.chooser
    may = chooser.still_shown(view, made, candidates)
    pairs = zip(enumerate(candidates, start=offset + 1), may, strict=True)
    items = [
        ChosenProduct(**shown(request, view, made, [c], position)[0]) for (position, c), is_shown in pairs if is_shown
    ]
    last = offset + k >= len(made.order) or because is not None
    return view.answer(
        PageAnswer,
        decision_id=made.id,
        offset=offset,
        next_offset=None if last else offset + k,
        reason=because,
        items=items,
    )
