"""Published features of many entities at once, for models and pages of the caller's own. The request and the answer are
shaped as those of Feast's feature server, so that its clients can ask here."""

import difflib
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field

from customer360.pipelines.gold.customers import Customer360
from customer360.platform import access, tables
from customer360.serve.api import policy
from customer360.serve.api.policy import Caller, CurrentView, ServedView

router = APIRouter(prefix="/features", tags=["profile"])

PEOPLE, SCORES, CATEGORIES, PRODUCTS = "customer_360", "scores", "categories", "products"
PRODUCT_FEATURES = (
    "name", "category", "subcategory", "brand", "price", "currency", "launched_on", "is_sellable", "is_in_stock",
)  # fmt: skip
MOST_ENTITIES, MOST_FEATURES = 1000, 200
Status = Literal["PRESENT", "NULL_VALUE", "NOT_FOUND", "WITHHELD", "MASKED"]
PRESENT: Status = "PRESENT"
NULL_VALUE: Status = "NULL_VALUE"
NOT_FOUND: Status = "NOT_FOUND"
Column = tuple[Sequence[Any], Sequence[Status]]  # values and statuses of a feature, by entity
NOBODY = ""
KEYS = ("person_id", "account", "product_id")


class FeaturesWanted(BaseModel):
    """Features by `view:feature` and entities by key, one list of equal meaning a row."""

    model_config = ConfigDict(extra="forbid")

    features: list[Annotated[str, Field(max_length=200)]] = Field(
        min_length=1,
        max_length=MOST_FEATURES,
        description="`customer_360:COLUMN`, `scores:MODEL`, `categories:CATEGORY` of persons; `products:COLUMN`",
        examples=[["customer_360:value_segment", "scores:churn"]],
    )
    entities: dict[Literal["person_id", "account", "product_id"], list[Annotated[str, Field(max_length=300)]]] = Field(
        description="One key with its values; `account` is SYSTEM/number", examples=[{"person_id": ["p1", "p2"]}]
    )


class Metadata(BaseModel):
    feature_names: list[str] = Field(description="The key of the entities, then the features; one result each")


class Vector(BaseModel):
    """One feature of all entities, in their order."""

    values: list[Any]
    statuses: list[Status] = Field(
        description="NULL_VALUE: nothing is known; NOT_FOUND: there is no such entity; WITHHELD: the person refused "
        "what the feature serves; MASKED: personal data, which needs role service"
    )
    event_timestamps: list[datetime] = Field(description="The data knows what happened before this moment")


class FeaturesAnswer(BaseModel):
    """A column a feature."""

    metadata: Metadata
    results: list[Vector]
    generation: str
    is_stale: bool


@router.post("", response_model=FeaturesAnswer)
async def features(request: Request, wanted: FeaturesWanted, principal: Caller, view: CurrentView) -> Any:
    """Features of up to 1,000 entities. What a person refused to be used for is withheld, personal data needs role
    service, scores and categories need a key that may read scores; a feature of neither is as published."""
    if len(wanted.entities) != 1:
        raise HTTPException(422, f"entities: name one key of {', '.join(KEYS)}")
    key, asked = next(iter(wanted.entities.items()))
    if not 1 <= len(asked) <= MOST_ENTITIES:
        raise HTTPException(422, f"entities.{key}: name 1 to {MOST_ENTITIES:,}, not {len(asked):,}")
    names = [_parted(name, key) for name in wanted.features]
    if {SCORES, CATEGORIES} & {view_ for view_, _ in names}:
        access.require_scope(principal, "scores")
    if key == "product_id":
        columns = _products(view, asked, [feature for _, feature in names])
    else:
        columns = _people(request, view, _ids(view, key, asked), names, policy.sees_personal_data(principal))
    stamp = datetime.combine(view.generation.as_of, datetime.min.time()).isoformat() + "Z"
    stamps = [stamp] * len(asked)
    # Made by hand and not checked again by the model: of a hundred entities that costs more than to find the values.
    return policy.plain_json(
        {
            "metadata": {"feature_names": [key, *wanted.features]},
            "results": [
                {"values": values, "statuses": statuses, "event_timestamps": stamps}
                for values, statuses in [(asked, [PRESENT] * len(asked)), *columns]
            ],
            "generation": view.generation.id,
            "is_stale": view.stale_because is not None,
        }
    )


def _parted(name: str, key: str) -> tuple[str, str]:
    """View and feature of a name. Raises HTTPException (422): there is no such feature of these entities."""
    view, _, feature = name.partition(":")
    allowed = {PRODUCTS} if key == "product_id" else {PEOPLE, SCORES, CATEGORIES}
    if not feature or view not in allowed:
        said = " or ".join(f"{v}:FEATURE" for v in sorted(allowed))
        raise HTTPException(422, f"features: {name!r} is none of {key}; write {said}")
    known = {PEOPLE: _columns(), PRODUCTS: PRODUCT_FEATURES}.get(view)
    if known is not None and feature not in known:
        near = difflib.get_close_matches(feature, known, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise HTTPException(422, f"features: {view} has no {feature!r}{hint}")
    return view, feature


def _ids(view: ServedView, key: str, asked: Sequence[str]) -> list[str]:
    """The person of each entity; of an unknown account an id that nobody has."""
    if key == "account":
        return [NOBODY if d is None else str(d["person_id"]) for d in view.mget("account", asked)]
    return list(asked)


@cache
def _columns() -> Mapping[str, None]:
    return dict.fromkeys(Customer360.columns())


@cache
def _personal() -> frozenset[str]:
    return frozenset(tables.pii_columns(Customer360))


@dataclass(frozen=True, slots=True)
class Known:
    """What a person's features are read from, by view; None where it is withheld, as are the columns `withheld`."""

    of: Mapping[str, Mapping[str, Any] | None]
    withheld: frozenset[str]


def _people(
    request: Request, view: ServedView, ids: Sequence[str], names: Sequence[tuple[str, str]], is_open: bool
) -> list[Column]:
    wants = {name for name, _ in names}
    shows_personal = is_open and any(v == PEOPLE and f in _personal() for v, f in names)
    known = list[Known | None]()
    for stored in view.people(ids, {feature for kind, feature in names if kind == PEOPLE}):
        if stored is not None and shows_personal:
            policy.readings(request).append(stored["profile"]["person_id"])
        known.append(None if stored is None else _known(view, stored, wants))
    return _columns_of(known, names, frozenset() if is_open else _personal())


def _known(view: ServedView, stored: dict[str, Any], wants: Set[str]) -> Known:
    profile: Mapping[str, Any] = policy.unjudged(stored)
    found: dict[str, Mapping[str, Any] | None] = {PEOPLE: profile, SCORES: None, CATEGORIES: None}
    if policy.may_profile(stored):
        who = profile["person_id"]
        found[SCORES] = {s["model"]: s["score"] for s in _stored(view, SCORES, who)} if SCORES in wants else {}
        found[CATEGORIES] = _by_category(view, who) if CATEGORIES in wants else {}
    return Known(found, _hidden(tuple(policy.withheld(stored))))


@cache
def _hidden(groups: tuple[str, ...]) -> frozenset[str]:
    return policy.columns_of(groups)


def _columns_of(
    known: Sequence[Known | None], names: Sequence[tuple[str, str]], masked: Set[str] = frozenset()
) -> list[Column]:
    """A column for each name; ``masked``: columns of the profile."""
    withheld = frozenset[str]().union(*(each.withheld for each in known if each is not None))
    held = {kind: _held(known, kind) for kind, _ in names}

    def column(kind: str, feature: str) -> Column:
        of_all, is_masked = held[kind], kind == PEOPLE and feature in masked
        if of_all is None or is_masked or (kind == PEOPLE and feature in withheld):
            return _column(known, kind, feature, is_masked)
        return _open_column(of_all, feature)

    return [column(kind, feature) for kind, feature in names]


def _held(known: Sequence[Known | None], kind: str) -> Sequence[Mapping[str, Any]] | None:
    """What the features of a view are read from, of every entity; None where one has nothing, or may not be shown."""
    found = [None if each is None else each.of[kind] for each in known]
    return None if None in found else [each for each in found if each is not None]


def _open_column(held: Sequence[Mapping[str, Any]], feature: str) -> Column:
    """Of entities that all are there, a feature that all of them show, as most columns are."""
    values = [each.get(feature) for each in held]
    if None in values:
        return values, [NULL_VALUE if value is None else PRESENT for value in values]
    return values, [PRESENT] * len(values)


def _column(known: Sequence[Known | None], kind: str, feature: str, is_masked: bool) -> Column:
    values, statuses = list[Any](), list[Status]()
    for person in known:
        value: Any = None
        status: Status = NOT_FOUND
        if person is not None:
            held = person.of[kind]
            if held is None or (kind == PEOPLE and feature in person.withheld):
                status = "WITHHELD"
            elif (value := held.get(feature)) is None:
                status = NULL_VALUE
            elif is_masked:
                value, status = None, "MASKED"
            else:
                status = PRESENT
        values.append(value)
        statuses.append(status)
    return values, statuses


def _stored(view: ServedView, kind: str, person_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (view.get(kind, person_id) or {"scores": []})["scores"]
    return found


def _by_category(view: ServedView, person_id: str) -> dict[str, float]:
    """The newest score of each category, whichever model gave it."""
    ordered = sorted(_stored(view, CATEGORIES, person_id), key=lambda s: str(s["as_of"]))
    return {s["category"]: s["score"] for s in ordered}


def _products(view: ServedView, asked: Sequence[str], wanted: Sequence[str]) -> list[Column]:
    known = [None if d is None else Known({PRODUCTS: d}, frozenset()) for d in view.mget("product", asked)]
    return _columns_of(known, [(PRODUCTS, feature) for feature in wanted])
