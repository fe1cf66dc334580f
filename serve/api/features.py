"""Published features of many entities at once, for models and pages of the caller's own. The request and the answer are
shaped as those of Feast's feature server, so that its clients can ask here."""

import difflib
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field

from customer360.pipelines.gold.customers import Customer360
from customer360.platform import access, tables
from customer360.serve.api import policy
from customer360.serve.api.people import current_id
from customer360.serve.api.policy import Caller, CurrentView, ServedView

router = APIRouter(prefix="/features", tags=["profile"])

PEOPLE, SCORES, CATEGORIES, PRODUCTS = "customer_360", "scores", "categories", "products"
PRODUCT_FEATURES = (
    "name", "category", "subcategory", "brand", "price", "currency", "launched_on", "is_sellable", "is_in_stock",
)  # fmt: skip
MOST_ENTITIES, MOST_FEATURES = 1000, 200
Status = Literal["PRESENT", "NULL_VALUE", "NOT_FOUND", "WITHHELD", "MASKED"]
Cell = tuple[Any, Status]
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
        rows = _products(view, asked, [feature for _, feature in names])
    else:
        is_open = policy.sees_personal_data(principal)
        rows = _people(request, view, _ids(view, key, asked), names, is_open)
    stamp = datetime.combine(view.generation.as_of, datetime.min.time()).isoformat() + "Z"
    stamps = [stamp] * len(asked)
    columns = [[(entity, "PRESENT") for entity in asked], *map(list, zip(*rows, strict=True))]
    # Made by hand and not checked again by the model: of a hundred entities that costs more than to find the values.
    return policy.plain_json(
        {
            "metadata": {"feature_names": [key, *wanted.features]},
            "results": [
                {"values": [v for v, _ in column], "statuses": [s for _, s in column], "event_timestamps": stamps}
                for column in columns
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


def _ids(view: ServedView, key: str, asked: Sequence[str]) -> list[str | None]:
    """The current person of each entity; None: there is none, or its records were parted."""
    if key == "account":
        return [None if d is None else str(d["person_id"]) for d in view.mget("account", asked)]
    return [_current(view, entity) for entity in asked]


def _current(view: ServedView, person_id: str) -> str | None:
    try:
        return current_id(view, person_id)
    except HTTPException:
        return None


@cache
def _columns() -> tuple[str, ...]:
    return tuple(Customer360.columns())


@cache
def _personal() -> frozenset[str]:
    return frozenset(tables.pii_columns(Customer360))


def _people(
    request: Request, view: ServedView, ids: Sequence[str | None], names: Sequence[tuple[str, str]], is_open: bool
) -> list[list[Cell]]:
    wants = {name for name, _ in names}
    missing = [(None, "NOT_FOUND")] * len(names)
    rows: list[list[Cell]] = []
    hidden: dict[tuple[str, ...], frozenset[str]] = {}
    shows_personal = is_open and any(v == PEOPLE and f in _personal() for v, f in names)
    for person_id in ids:
        stored = view.person(person_id) if person_id else None
        if person_id is None or stored is None:
            rows.append(missing)  # type: ignore[arg-type]
            continue
        withheld = tuple(policy.withheld(stored))
        if withheld not in hidden:
            hidden[withheld] = policy.columns_of(withheld)
        if shows_personal:
            policy.readings(request).append(person_id)
        may = policy.may_profile(stored)
        scored = {s["model"]: s["score"] for s in _stored(view, SCORES, person_id)} if SCORES in wants and may else {}
        by_category = _by_category(view, person_id) if CATEGORIES in wants and may else {}
        profile = stored["profile"]
        row: list[Cell] = []
        for kind, feature in names:
            if kind != PEOPLE:
                found = scored if kind == SCORES else by_category
                row.append(_cell(found.get(feature)) if may else (None, "WITHHELD"))
            elif feature in hidden[withheld]:
                row.append((None, "WITHHELD"))
            elif not is_open and feature in _personal() and profile.get(feature) is not None:
                row.append((None, "MASKED"))
            else:
                row.append(_cell(profile.get(feature)))
        rows.append(row)
    return rows


def _cell(value: Any) -> Cell:
    return value, "NULL_VALUE" if value is None else "PRESENT"


def _stored(view: ServedView, kind: str, person_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (view.get(kind, person_id) or {"scores": []})["scores"]
    return found


def _by_category(view: ServedView, person_id: str) -> dict[str, float]:
    """The newest score of each category, whichever model gave it."""
    ordered = sorted(_stored(view, CATEGORIES, person_id), key=lambda s: str(s["as_of"]))
    return {s["category"]: s["score"] for s in ordered}


def _products(view: ServedView, asked: Sequence[str], features_: Sequence[str]) -> list[list[Cell]]:
    return [
        [(None, "NOT_FOUND")] * len(features_) if document is None else [_cell(document.get(f)) for f in features_]
        for document in view.mget("product", asked)
    ]
