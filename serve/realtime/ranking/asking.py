"""What is asked of a choice of products, as it is kept with the decision."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

from customer360.serve.realtime.session import Session

Placement = Literal["home", "product", "cart", "search", "email"]
Mode = Literal["new", "all"]


@dataclass(frozen=True)
class Context:
    """Where and when; None is unknown. ``hour`` is of the day in UTC, as sales are counted; ``age`` in years."""

    store_id: str | None = None
    region: str | None = None
    device: str | None = None
    hour: int | None = None
    age: int | None = None
    segment: str | None = None


@dataclass(frozen=True)
class Asked:
    """One request, checked. ``is_personal``: what the person or visitor did may shape the answer; ``is_profiled``: so
    may what is expected of them, and the segment. ``given``: the list that is to be put in another order; None:
    products are looked for."""

    placement: Placement
    on: date
    k: int
    mode: Mode = "new"
    person_id: str | None = None
    visitor_id: str | None = None
    is_personal: bool = True
    is_profiled: bool = True
    product_id: str | None = None
    cart: tuple[str, ...] = ()
    given: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    filter: str = ""
    boosts: tuple[tuple[str, float], ...] = ()
    diversity: float | None = None
    interests: tuple[tuple[str, float], ...] = ()  # of somebody new: category and weight
    context: Context = field(default_factory=Context)
    session: Session = field(default_factory=Session)
    arm: str | None = None

    def record(self) -> dict[str, Any]:
        session, context = vars(self.session), vars(self.context)
        return vars(self) | {"on": self.on.isoformat(), "context": context, "session": session}

    @staticmethod
    def of_record(kept: dict[str, Any]) -> Asked:
        session = Session(**{name: tuple(found) for name, found in kept["session"].items()})
        texts = {name: tuple(kept[name]) for name in ("cart", "exclude")}
        pairs = {name: tuple((str(a), float(b)) for a, b in kept[name]) for name in ("boosts", "interests")}
        given = None if kept["given"] is None else tuple(kept["given"])
        rest: dict[str, Any] = {"on": date.fromisoformat(kept["on"]), "context": Context(**kept["context"])}
        return Asked(**(kept | texts | pairs | rest | {"given": given, "session": session}))
