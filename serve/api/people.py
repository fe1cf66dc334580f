"""Who a person is: the profile, by person or by account."""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any

import polars as pl
from fastapi import APIRouter, HTTPException, Path, Request
from pydantic import BaseModel, Field, create_model

from customer360.pipelines.gold.customers import Customer360
from customer360.platform import tables
from customer360.platform.online import View
from customer360.serve.api import policy
from customer360.serve.api.policy import Answer, Caller, CurrentView, ServedView

router = APIRouter(tags=["profile"])

PersonId = Annotated[str, Path(description="Resolved person", examples=["pc9ff6818049dda6c"])]
Source = Annotated[str, Path(description="Source system of the account", examples=["POS"])]
CustomerId = Annotated[
    str, Path(description="Customer number in that system, as it is or with %2F for a slash", examples=["100234"])
]


class Reason(BaseModel):
    """A feature and what it adds to a score."""

    feature: str = Field(examples=["recency_days"])
    value: float | None = Field(examples=[146.0])
    contribution: float = Field(description="Towards the score, in the model's own unit", examples=[0.42])


class Share(BaseModel):
    """A category or brand and its share of what a person is drawn to."""

    name: str = Field(examples=["Toys"])
    share: float = Field(description="0 to 1", examples=[0.4])


_TYPES: dict[type[pl.DataType], Any] = {
    pl.String: str, pl.Int64: int, pl.Float64: float, pl.Boolean: bool, pl.Date: date, pl.Datetime: datetime,
    pl.Decimal: Decimal,
}  # fmt: skip
_STRUCTS = {tuple(model.model_fields): model for model in (Reason, Share)}  # by the names of their fields


def _profile_model() -> type[BaseModel]:
    """The response model of a profile, from the contract of gold.customer_360: its columns are declared only there."""
    personal, fields = tables.pii_columns(Customer360), {}
    for name, column in Customer360.columns().items():
        covered = f"Personal data ({personal[name]}): masked for readers." if name in personal else ""
        described = Field(default=None, description=f"{column.description or ''} {covered}".strip() or None)
        fields[name] = (_type(column.dtype) | None, described)
    words = tables.summary(Customer360)
    return create_model("Profile", __doc__=words, **fields)  # type: ignore[call-overload]


def _type(dtype: pl.DataType) -> Any:
    if isinstance(dtype, pl.Struct):
        return _STRUCTS[tuple(f.name for f in dtype.fields)]
    return list[_type(dtype.inner)] if isinstance(dtype, pl.List) else _TYPES[dtype.base_type()]  # type: ignore[arg-type,misc]


Profile = _profile_model()


class PersonAnswer(Answer):
    """One person."""

    person_id: str
    is_masked: bool = Field(description="Whether personal data is covered, because the key's role is reader")
    accounts: list[str] | None = Field(
        description="Accounts of the person, SYSTEM/number; null where masked", examples=[["POS/100234"]]
    )
    withheld: list[str] = Field(
        description="Groups that are empty here because the person refused to be treated individually",
        examples=[["affinity", "external"]],
    )
    profile: Profile = Field(description="Columns of gold.customer_360; amounts are exact decimals as text")  # type: ignore[valid-type]


def current_id(view: View, person_id: str) -> str:
    """The id of the person that an id leads to, itself where it is no former one; 409 where its records were parted."""
    if view.get("person", person_id) is not None or (led := view.get("former", person_id)) is None:
        return person_id
    if len(led["person_ids"]) > 1:
        choices = " or ".join(led["person_ids"])
        raise HTTPException(409, detail=f"this id led to one person whose records were parted: ask for {choices}")
    return str(led["person_ids"][0])


def person_of(view: ServedView, person_id: str, visitor_id: str | None = None) -> dict[str, Any]:
    """The stored document of a person as `ServedView.person` gives it, or 404."""
    stored = view.person(person_id, visitor_id)
    if stored is None:
        raise policy.not_found("person")
    return stored


def owner_of(view: View, source: str, customer_id: str) -> str:
    """The person of an account, or 404."""
    stored = view.get("account", f"{source}/{customer_id}")
    if stored is None:
        raise policy.not_found("account")
    return str(stored["person_id"])


@router.get("/people/{person_id}")
async def person(request: Request, person_id: PersonId, principal: Caller, view: CurrentView) -> PersonAnswer:
    """The profile of a person, group by group, each with its freshness `<group>_until_at`.

    Personal data needs role service. Groups that the person did not allow are empty and named in `withheld`. A former
    id is answered with the person that it leads to.
    """
    person_id = current_id(view, person_id)
    stored, is_open = person_of(view, person_id), policy.sees_personal_data(principal)
    if is_open:
        policy.readings(request).append(person_id)
    withheld = policy.withheld(stored)
    shown = policy.without(policy.unjudged(stored), withheld)
    profile = shown if is_open else policy.masked(shown)
    return view.answer(
        PersonAnswer,
        person_id=person_id,
        is_masked=not is_open,
        accounts=stored["accounts"] if is_open else None,
        withheld=withheld,
        profile=profile,
    )


@router.get("/customers/{source}/{customer_id:path}")
async def customer(
    request: Request, source: Source, customer_id: CustomerId, principal: Caller, view: CurrentView
) -> PersonAnswer:
    """The profile of the person that an account was resolved to."""
    return await person(request, owner_of(view, source, customer_id), principal, view)
