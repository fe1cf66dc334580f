"""What a visitor does now, as a choice of products sees it. Who collects events gives it, by `Activities`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


class Activity(Protocol):
    """What one subject did of late; products and words newest first."""

    @property
    def viewed(self) -> tuple[str, ...]: ...
    @property
    def cart(self) -> tuple[str, ...]: ...
    @property
    def bought(self) -> tuple[str, ...]: ...
    @property
    def searched(self) -> tuple[str, ...]: ...
    @property
    def last_at(self) -> datetime | None: ...


class Activities(Protocol):
    """Activity by subject: a person's id, or a visitor's."""

    def of(self, subject: str) -> Activity | None: ...


@dataclass(frozen=True)
class Session:
    """Activity at the moment of a decision, kept with it; nothing where nothing is known."""

    viewed: tuple[str, ...] = ()
    cart: tuple[str, ...] = ()
    bought: tuple[str, ...] = ()

    @staticmethod
    def together(found: list[Activity]) -> Session:
        """Of a person and of the device in the hand; each product once, the first activity first."""

        def merged(lists: list[tuple[str, ...]]) -> tuple[str, ...]:
            return tuple(dict.fromkeys(product for each in lists for product in each))

        return Session(
            merged([a.viewed for a in found]), merged([a.cart for a in found]), merged([a.bought for a in found])
        )
