"""What a visitor does now, as a choice of products sees it. Who collects events gives it, by `Activities`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from customer360.serve.realtime.activity import Activity


class Activities(Protocol):
    """Activity by the names of one person's devices and accounts (`activity.visitor`, `activity.account`)."""

    def of(self, *subjects: str) -> Activity: ...


@dataclass(frozen=True)
class Session:
    """Activity at the moment of a decision, kept with it; nothing where nothing is known."""

    viewed: tuple[str, ...] = ()
    cart: tuple[str, ...] = ()
    bought: tuple[str, ...] = ()

    @staticmethod
    def of(activity: Activity) -> Session:
        return Session(activity.viewed, activity.cart, activity.bought)
