"""Who is who: look up a record, say why records are one person and what became of an id, take a steward's decisions."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi import Path as PathParameter
from pydantic import BaseModel, ConfigDict, Field

from customer360.models.identity import lookup
from customer360.models.identity.lookup import scorer as scorer  # now, and not with the first look-up
from customer360.models.identity.lookup.index import IdentityIndex
from customer360.models.identity.verdicts.explain import Cut, Explanation
from customer360.platform import access
from customer360.platform.access import Principal
from customer360.serve.api import policy
from customer360.serve.api.people import PersonId
from customer360.serve.api.policy import Caller, CurrentView
from customer360.serve.once import once
from customer360.serve.stewardship import Desk, Operation

router = APIRouter(prefix="/identity", tags=["identity"])
MOST_RECORDS = 1000  # of one person that are parted at once


def current_index(request: Request, view: CurrentView) -> IdentityIndex:
    """The index of the publication that this request reads. Raises IdentityIndexError."""
    index: IdentityIndex = request.app.state.indexes.of(view.generation)
    return index


async def the_desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


CurrentIndex = Annotated[IdentityIndex, Depends(current_index)]
TheDesk = Annotated[Desk, Depends(the_desk)]


# ---- looking up -----------------------------------------------------------------------------------------------


class Asked(BaseModel):
    """A record as its source writes it; whatever is known of a person."""

    model_config = ConfigDict(extra="forbid")

    first_name: str | None = Field(None, max_length=200, examples=["Bob"])
    last_name: str | None = Field(None, max_length=200, examples=["Kling"])
    full_name: str | None = Field(None, max_length=400, description="Where first and last name are one field")
    email_address: str | None = Field(None, max_length=320, examples=["bob.kling@mail.com"])
    phone_number: str | None = Field(None, max_length=40, examples=["(415) 555-2671"])
    date_of_birth: str | None = Field(
        None,
        max_length=40,
        description="In any usual form; ISO leaves no doubt of day and month",
        examples=["1980-05-17"],
    )
    gender: str | None = Field(None, max_length=40)
    address_line_1: str | None = Field(None, max_length=300, examples=["12 Elm Street"])
    city: str | None = Field(None, max_length=200)
    state_code: str | None = Field(None, max_length=40)
    zip_code: str | None = Field(None, max_length=20, examples=["94110"])
    country_code: str | None = Field(None, max_length=60, examples=["US"])
    loyalty_id: str | None = Field(None, max_length=40, description="Number of the loyalty card")


class Evidence(BaseModel):
    """What one comparison says of two records."""

    comparison: str = Field(examples=["email"])
    level: str | None = Field(examples=["exact"])
    weight: float | None = Field(description="Bits", examples=[19.4])


class Candidate(BaseModel):
    """A person that the record may belong to."""

    person_id: str
    record_id: str = Field(description="The person's record that speaks most clearly")
    weight: float = Field(description="log2 of the odds that both records are one person's")
    probability: float
    verdict: Literal["accepted", "vetoed", "possible"]
    reason: str | None = Field(description="Of a veto, or the verified number that both records carry")
    evidence: list[Evidence]


class LookupAnswer(BaseModel):
    """The person of a record."""

    answer: Literal["entity", "new", "ambiguous"] = Field(
        description="entity: one person; new: nobody known; ambiguous: several, or one without enough evidence"
    )
    person_id: str | None
    candidates: list[Candidate] = Field(description="Strongest first")


@router.post("/lookup")
def look_up(request: Request, asked: Asked, principal: Caller, view: CurrentView, index: CurrentIndex) -> LookupAnswer:
    """Find the person of a record. Nothing is stored: the record joins with the batch that brings it. Role service."""
    access.require(principal, "service")
    found = lookup.look_up(index, asked.model_dump(), knows=lambda person: view.get("person", person) is not None)
    policy.readings(request).extend(c.person_id for c in found.candidates)
    candidates = [vars(c) | {"evidence": [vars(e) for e in c.evidence]} for c in found.candidates]
    return LookupAnswer(answer=found.kind, person_id=found.person_id, candidates=[Candidate(**c) for c in candidates])


# ---- explaining -----------------------------------------------------------------------------------------------


class Edge(BaseModel):
    """Two records and what the comparison of them gave."""

    record_id_l: str
    record_id_r: str
    match_weight: float | None = Field(description="Bits; null: linked without a score, by login or by a steward")
    match_probability: float | None
    decision: str
    reason: str | None
    match_key: str | None = Field(description="Blocking rule that brought the pair together")
    evidence: list[Evidence] | None


class Split(BaseModel):
    """The least evidence that has to go for the records to fall into two groups."""

    edges: list[Edge]
    groups: tuple[list[str], list[str]]
    weight: float = Field(description="Bits")


class WhyAnswer(BaseModel):
    """Why records are one person."""

    person_id: str = Field(description="The current id")
    records: list[str]
    held_by: list[Edge] = Field(description="Accepted, strongest first")
    against: list[Edge] = Field(description="Vetoed or rejected")
    weakest_bridge: Edge | None = Field(
        description="Without this one edge the records fall apart; null: no single one does"
    )
    would_split: Split | None


@router.get("/{person_id}/why")
def why(request: Request, person_id: PersonId, principal: Caller, desk: TheDesk) -> WhyAnswer:
    """The evidence behind a person: a waterfall of bits for each pair of its records. Role service."""
    access.require(principal, "service")
    current = desk.current(person_id)
    policy.readings(request).append(current)
    explained: Explanation = desk.why(current)
    return WhyAnswer(
        person_id=current,
        records=desk.records_of(current),
        held_by=[_edge(e) for e in explained.held_by],
        against=[_edge(e) for e in explained.against],
        weakest_bridge=_edge(explained.weakest_bridge) if explained.weakest_bridge else None,
        would_split=_split(explained.cheapest_cut),
    )


def _edge(row: dict[str, Any]) -> Edge:
    return Edge.model_validate(row, extra="ignore")


def _split(cut: Cut | None) -> Split | None:
    if cut is None:
        return None
    one, other = (list(group) for group in cut.groups)
    return Split(edges=[_edge(e) for e in cut.edges], groups=(one, other), weight=cut.weight)


class Event(BaseModel):
    """One change of who holds which records."""

    event: int
    committed_at: datetime
    kind: str = Field(examples=["merge"])
    person_id: str | None = Field(description="Who holds the records from then on")
    from_person_id: str | None
    record_ids: list[str] | None = Field(description="Null: erased")
    cause: str
    actor: str


class HistoryAnswer(BaseModel):
    """What happened to a person's id, oldest first."""

    person_id: str = Field(description="The current id")
    events: list[Event]


@router.get("/{person_id}/history")
def history(request: Request, person_id: PersonId, principal: Caller, desk: TheDesk) -> HistoryAnswer:
    """Every event of a person's id, current or former: minted, merged, split, undone. Role service."""
    access.require(principal, "service")
    events = [Event.model_validate(row, extra="ignore") for row in desk.history(person_id)]
    current = desk.current(person_id)
    policy.readings(request).append(current)
    return HistoryAnswer(person_id=current, events=events)


# ---- deciding -------------------------------------------------------------------------------------------------


RecordId = Annotated[str, Field(min_length=1, max_length=300)]
Reason = Annotated[str, Field(max_length=500)]


class Pair(BaseModel):
    """Two records, as SYSTEM/id."""

    model_config = ConfigDict(extra="forbid")

    one: RecordId = Field(examples=["POS/100234"])
    other: RecordId = Field(examples=["CRM/L0099"])
    reason: Reason = ""


class Parting(BaseModel):
    """Records of a person that are somebody else's."""

    model_config = ConfigDict(extra="forbid")

    records: list[RecordId] = Field(min_length=1, max_length=MOST_RECORDS)
    reason: Reason = ""


EventNumber = Annotated[int, PathParameter(ge=0, lt=2**63)]
UndoReason = Annotated[str, Query(max_length=500)]


class Decided(BaseModel):
    """What a decision changed. Ids answer by it at once; profiles and facts follow with the next run."""

    events: list[int] = Field(description="Numbers for `undo`; empty: noted, and nobody changes")


class Waiting(Edge):
    """A pair that waits for a decision, with the people who hold its records."""

    person_id_l: str
    person_id_r: str
    against: int | None = Field(
        description="Number of the decision that this evidence speaks against, which stands; null: nothing is decided"
    )


@router.get("/review")
def review(
    request: Request, principal: Caller, desk: TheDesk, limit: Annotated[int, Query(ge=1, le=500)] = 50
) -> list[Waiting]:
    """Conflicts of later evidence with decisions, then pairs that neither score nor rules settle, the strongest first.
    Role steward."""
    access.require(principal, "steward")
    pairs = [Waiting.model_validate(row, extra="ignore") for row in desk.queue(limit)]
    policy.readings(request).append(f"{len(pairs)} pairs of the queue")
    return pairs


Token = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="Of the caller's choice, one for each change: sent again with it, the change is made once",
    ),
]


@dataclass(frozen=True)
class Change:
    """A steward's change on its way: by whom, and under which idempotency key."""

    request: Request
    principal: Principal
    desk: Desk
    token: str | None

    def make(self, operation: Operation, *arguments: Any, reason: str) -> Decided:
        def decide() -> list[int]:
            rows = self.desk.decide(operation, *arguments, actor=self.principal.name, reason=reason)
            return [int(row["event"]) for row in rows]

        state: Path = self.request.app.state.folder
        change = [operation, *arguments, reason]
        return Decided(events=once(state, self.principal.key_id, self.token, change, decide))


async def change_of_steward(request: Request, principal: Caller, desk: TheDesk, token: Token = None) -> Change:
    """Raises WrongRole: the key is no steward's."""
    access.require(principal, "steward")
    return Change(request, principal, desk, token)


StewardsChange = Annotated[Change, Depends(change_of_steward)]


@router.post("/confirm")
def confirm(pair: Pair, change: StewardsChange) -> Decided:
    """Two records are one person, now and in every later run. Role steward."""
    return change.make("confirm", pair.one, pair.other, reason=pair.reason)


@router.post("/reject")
def reject(pair: Pair, change: StewardsChange) -> Decided:
    """Two records are two people; where one holds both, it is split. Role steward."""
    return change.make("reject", pair.one, pair.other, reason=pair.reason)


@router.post("/{person_id}/split")
def split(person_id: PersonId, parting: Parting, change: StewardsChange) -> Decided:
    """Part some records of a person from its others; the larger part keeps the id. Role steward."""
    return change.make("split", person_id, parting.records, reason=parting.reason)


@router.post("/events/{event}/undo")
def undo(event: EventNumber, change: StewardsChange, reason: UndoReason = "") -> Decided:
    """Take an event back: its records return to where they were, and stay there. Role steward."""
    return change.make("undo", event, reason=reason)


@router.post("/decisions/{decision}/undo")
def undo_decision(decision: EventNumber, change: StewardsChange, reason: UndoReason = "") -> Decided:
    """Take a decision back, also one that changed nobody. Role steward."""
    return change.make("withdraw", decision, reason=reason)
