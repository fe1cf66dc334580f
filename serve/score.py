"""What is expected of a person: the newest score of each model, with its reasons."""

from datetime import date, datetime

from fastapi import APIRouter
from pydantic import BaseModel, Field

from customer360.serve.customer import CustomerId, PersonId, Reason, Source, owner_of, person_of
from customer360.serve.policy import Answer, Caller, CurrentView, ServedView

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


class ScoresAnswer(Answer):
    """Scores of a person; empty where no champion model has scored it."""

    person_id: str
    scores: list[Score]


@router.get("/people/{person_id}/scores")
async def scores(person_id: PersonId, principal: Caller, view: CurrentView) -> ScoresAnswer:
    """Scores of a person, such as the probability of churn, with reasons."""
    return _scores(view, person_id)


@router.get("/customers/{source}/{customer_id}/scores")
async def customer_scores(
    source: Source, customer_id: CustomerId, principal: Caller, view: CurrentView
) -> ScoresAnswer:
    """Scores of the person that an account was resolved to."""
    return _scores(view, owner_of(view, source, customer_id))


def _scores(view: ServedView, person_id: str) -> ScoresAnswer:
    person_of(view, person_id)
    stored = view.get("scores", person_id) or {"scores": []}
    return ScoresAnswer(**view.stamp, person_id=person_id, scores=stored["scores"])
