"""What people ask for, over HTTP: requests by stewards, their days, and what needs no erasure fulfilled."""

from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi import Path as PathParameter
from pydantic import BaseModel, ConfigDict, Field

from customer360.pipelines.rules import Right
from customer360.platform import access
from customer360.platform.run import lake_of
from customer360.serve import fulfilment
from customer360.serve.api import policy
from customer360.serve.api.identity import Token
from customer360.serve.api.policy import Caller
from customer360.serve.once import once, sent_as
from customer360.serve.rights import requests
from customer360.serve.stewardship import Desk

router = APIRouter(prefix="/rights", tags=["rights"])
Number = Annotated[int, PathParameter(ge=1, lt=2**31)]
Attribute = Annotated[str, Field(min_length=1, max_length=80)]
GoldenValue = Annotated[str, Field(max_length=500)]


class Wish(BaseModel):
    """What a person asks for."""

    model_config = ConfigDict(extra="forbid")

    kind: Right
    person_id: str = Field(max_length=80, examples=["pc9ff6818049dda6c"])
    law: str = Field("", max_length=40, description="Whose days hold; empty: that of the rule file")
    received_on: date | None = Field(None, description="Day on which it came in; today where absent")
    identity: str = Field("", max_length=500, description="How it was made sure who asks")
    values: dict[Attribute, GoldenValue] = Field(
        {}, max_length=40, description="Golden attributes to rectify", examples=[{"city": "Bonn"}]
    )


class Fulfilment(BaseModel):
    """How a steward answers a request."""

    model_config = ConfigDict(extra="forbid")

    identity: str = Field("", max_length=500, description="How it was made sure who asks")


class Asked(BaseModel):
    """A request and what became of it."""

    number: int
    kind: Right
    person_id: str = Field(description="Of an erased person a digest")
    law: str
    received_on: date
    due_on: date
    state: str = Field(examples=["open"])
    identity: str
    result: str


def _asked(found: requests.Request) -> Asked:
    return Asked(person_id=found.person, **{n: getattr(found, n) for n in Asked.model_fields if n != "person_id"})


def _settings(request: Request) -> Any:
    desk: Desk = request.app.state.desk
    _ = desk.lake  # declares the tables
    return desk.settings


@router.get("")
def listed(
    request: Request, principal: Caller, done: Annotated[bool, Query(description="Fulfilled ones, too")] = False
) -> list[Asked]:
    """Requests, those due first. Role steward."""
    access.require(principal, "steward")
    found = [r for r in requests.requests(lake_of(_settings(request))) if done or r.state == "open"]
    policy.readings(request).extend(r.person for r in found)
    return [_asked(r) for r in found]


@router.post("")
def opened(request: Request, wish: Wish, principal: Caller, token: Token = None) -> Asked:
    """Note a request; the day by which it is due follows from the law. Role steward."""
    access.require(principal, "steward")
    settings, said = _settings(request), wish.model_dump(exclude={"kind", "person_id"})
    change = ["rights", wish.model_dump(mode="json")]
    said["sent_as"] = sent_as(principal.key_id, token, change)

    def noted() -> list[int]:
        return [fulfilment.open_request(settings, wish.kind, wish.person_id, actor=principal.name, **said).number]

    (number,) = once(request.app.state.folder, principal.key_id, token, change, noted)
    made = requests.request_of(lake_of(settings), number)
    policy.readings(request).append(made.person)
    return _asked(made)


@router.post("/{number}/fulfil")
def fulfilled(request: Request, number: Number, how: Fulfilment, principal: Caller) -> Asked:
    """Do what was asked for: write the export, rectify, restrict. An erasure rebuilds tables and is a command. Role
    steward."""
    access.require(principal, "steward")
    settings = _settings(request)
    if requests.request_of(lake_of(settings), number).kind == "erase":
        raise HTTPException(409, detail=f"an erasure takes longer than an answer: customer360 rights fulfil {number}")
    made = fulfilment.fulfil(settings, number, identity=how.identity, actor=principal.name)
    policy.readings(request).append(made.person)
    return _asked(made)
