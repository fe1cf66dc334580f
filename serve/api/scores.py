"""What is expected of a person: the newest score of each model, with its reasons."""

from datetime import date, datetime
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from customer360.serve.api import policy
from customer360.serve.api.people import CustomerId, PersonId, Reason, Source, current_id, owner_of, person_of
from customer360.serve.api.policy import Answer, Caller, CurrentView, ServedView

router = APIRouter(tags=["scores"])


class Score(BaseModel):
    """One model's score."""

    model: str = Field(examples=["churn"])
    target: str = Field(description="What the score is the probability or amount of", examples=["churn"])
    version: str = Field(description="Version of the model in the registry", examples=["3"])
    score: float | None = Field(examples=[0.71])
    reasons: list[Reason] | None = Field(description="What moved the score most; null where the model gives none")
    scored_at: datetime
    as_of: date = Field(description="The model knew what happened before this day")


class CategoryScore(BaseModel):
    """One model's score of a person for a category."""

    category: str = Field(examples=["Toys"])
    rank: int = Field(description="1: the person's likeliest category")
    score: float = Field(examples=[0.12])
    lift: float = Field(description="Score over the mean score of all persons for the category", examples=[2.1])
    model: str = Field(examples=["propensity"])
    version: str
    target: str = Field(examples=["bought_in_category_30d"])
    as_of: date = Field(description="The model knew what happened before this day")


class ScoresAnswer(Answer):
    """Scores of a person; empty where no champion model has scored it, and where the person refused profiling."""

    person_id: str
    reason: Literal["consent"] | None = Field(
        description="Why there are none: the person refused profiling, or to be treated individually; null: it did not"
    )
    scores: list[Score]
    categories: list[CategoryScore]


@router.get("/people/{person_id}/scores")
async def scores(person_id: PersonId, principal: Caller, view: CurrentView) -> ScoresAnswer:
    """Scores of a person, such as the probability of churn, with reasons. None of a person who refused profiling."""
    return _scores(view, current_id(view, person_id))


@router.get("/customers/{source}/{customer_id:path}/scores")
async def customer_scores(
    source: Source, customer_id: CustomerId, principal: Caller, view: CurrentView
) -> ScoresAnswer:
    """Scores of the person that an account was resolved to."""
    return _scores(view, owner_of(view, source, customer_id))


def _scores(view: ServedView, person_id: str) -> ScoresAnswer:
    if not policy.may_profile(person_of(view, person_id)):
        return view.answer(ScoresAnswer, person_id=person_id, reason="consent", scores=[], categories=[])
    scored, by_category = (view.get(kind, person_id) or {"scores": []} for kind in ("scores", "categories"))
    said = {"scores": scored["scores"], "categories": by_category["scores"]}
    return view.answer(ScoresAnswer, person_id=person_id, reason=None, **said)
