"""What the HTTP API answers, as types of the dictionaries that a client gets: the fields of its OpenAPI document.

Dates and moments are ISO texts, amounts exact decimals as text, as they are sent.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

Status = Literal["PRESENT", "NULL_VALUE", "NOT_FOUND", "WITHHELD", "MASKED"]
Placement = Literal["home", "product", "cart", "search", "email"]
Mode = Literal["new", "all"]


class Answer(TypedDict):
    """The publication that an answer comes from, and whether it is behind."""

    generation: str
    as_of: str
    is_stale: bool
    stale_because: str | None


class Person(Answer):
    """A profile; `withheld` names its groups that are empty because the person refused."""

    person_id: str
    is_masked: bool
    accounts: list[str] | None
    withheld: list[str]
    profile: dict[str, Any]


class ListedProduct(TypedDict):
    rank: int
    product_id: str
    name: str | None
    category: str | None
    price: str | None
    currency: str | None
    score: float


class RecommendedList(Answer):
    """The stored list of a model for a person, or what is popular and why."""

    person_id: str
    mode: Mode
    personalized: bool
    reason: str | None
    model: str | None
    version: str | None
    scored_as_of: str | None
    items: list[ListedProduct]


class ChosenProduct(TypedDict):
    position: int
    product_id: str
    name: str | None
    category: str | None
    price: str | None
    currency: str | None
    score: float
    base_score: float
    source: str
    why: str


class Choice(Answer):
    """Products for a placement, best first."""

    decision_id: str
    placement: Placement
    person_id: str | None
    personalized: bool
    reason: str | None
    degraded: str | None
    arm: str | None
    total: int
    items: list[ChosenProduct]


class Page(Answer):
    """A further page of a choice; `next_offset` is None on the last one."""

    decision_id: str
    offset: int
    next_offset: int | None
    reason: str | None
    items: list[ChosenProduct]


class Candidate(TypedDict):
    product_id: str
    position: int | None
    dropped_by: str | None
    score: float
    base_score: float
    sources: dict[str, int]
    features: dict[str, Any]
    rules: list[str]


class Decision(TypedDict):
    """Why a choice is as it is: what was asked and known, and what became of each candidate."""

    decision_id: str
    at: str
    is_masked: bool
    asked: dict[str, Any]
    origin: dict[str, Any]
    ranking: dict[str, Any]
    arm: str | None
    reason: str | None
    degraded: str | None
    replays: bool
    dropped: dict[str, int]
    candidates: list[Candidate]


class Reason(TypedDict):
    feature: str
    value: float | None
    contribution: float


class Score(TypedDict):
    model: str
    target: str
    version: str
    score: float | None
    reasons: list[Reason] | None
    scored_at: str
    as_of: str


class CategoryScore(TypedDict):
    category: str
    rank: int
    score: float
    lift: float
    model: str
    version: str
    target: str
    as_of: str


class Scores(Answer):
    """The newest score of each model; empty, with `reason` `consent`, of who refused profiling."""

    person_id: str
    reason: str | None
    scores: list[Score]
    categories: list[CategoryScore]


class FeatureNames(TypedDict):
    feature_names: list[str]


class Vector(TypedDict):
    values: list[Any]
    statuses: list[Status]
    event_timestamps: list[str]


class Features(TypedDict):
    """A column a feature, in the order of `metadata.feature_names`, whose first is the key of the entities."""

    metadata: FeatureNames
    results: list[Vector]
    generation: str
    is_stale: bool


class Refused(TypedDict):
    index: int
    reason: str


class Acknowledged(TypedDict):
    """Events that are durable; of a batch the first hundred calls that are none, and how many there are beyond."""

    success: Literal[True]
    refused: NotRequired[list[Refused] | None]
    refused_in_all: NotRequired[int | None]


class Decided(TypedDict):
    """Events of a steward's decision, for `undo`."""

    events: list[int]
