"""What is bought together with a product: the same answer for everybody, from the baskets of all customers."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from customer360.serve.api import policy
from customer360.serve.api.policy import Answer, Caller, CurrentView
from customer360.serve.api.recommendations import MAX_ITEMS

router = APIRouter(tags=["recommendations"])


class Companion(BaseModel):
    """A product that shares more baskets with the one asked for than chance explains."""

    rank: int
    product_id: str = Field(examples=["85123A"])
    name: str | None
    category: str | None
    price: str | None = Field(description="Exact decimal as text", examples=["2.95"])
    currency: str | None
    both_count: int = Field(description="Baskets with both")
    expected_count: float = Field(description="Baskets with both if popularity and basket sizes alone decided")
    confidence: float = Field(description="Of the baskets with the product asked for, share with this one too")
    lift: float = Field(description="Confidence over this product's share of all baskets")
    q_value: float = Field(description="Chance of so many common baskets, adjusted for all pairs")


class CompanionsAnswer(Answer):
    """Products that are bought together with one, those with most common baskets above chance first."""

    product_id: str
    items: list[Companion] = Field(description="Significant pairs only; empty where none is")


@router.get("/products/{product_id:path}/bought-together")
async def bought_together(
    product_id: Annotated[str, Path(description="Product of the catalogue", examples=["85123A"])],
    principal: Caller,
    view: CurrentView,
    k: Annotated[int, Query(ge=1, le=MAX_ITEMS, description="How many products")] = 5,
) -> CompanionsAnswer:
    """What is bought in the same basket, available products only. Nothing personal goes in."""
    stored = view.get("together", product_id)
    if stored is None and view.get("product", product_id) is None:
        raise policy.not_found("product")
    items = view.offered((stored or {"items": []})["items"], k)
    companions = [Companion(rank=rank, **item) for rank, item in enumerate(items, start=1)]
    return view.answer(CompanionsAnswer, product_id=product_id, items=companions)
