"""What visitors did just now: a bounded window of each, in the process that acknowledged their events.

A window is what the log says of a subject, in the order of the log, so that it can be made again from the log's tail.
Nothing here is stored, and nothing older than the window is known: the lake is where history is.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import itemgetter
from typing import NamedTuple

LONGEST = 50  # steps of one window
LARGEST_CART = 100  # products
MOST_SUBJECTS = 200_000  # windows of a process; those that are silent longest go
LIVES = timedelta(hours=24)  # what is older when its event arrives is history, as of an import


@dataclass(frozen=True)
class Activity:
    """What one subject did lately, newest first; products by their ids, each once. Empty where nothing is known."""

    viewed: tuple[str, ...] = ()
    cart: tuple[str, ...] = ()  # as it stands
    bought: tuple[str, ...] = ()
    searched: tuple[str, ...] = ()
    last_at: datetime | None = None  # of the newest event, in UTC
    events: int = 0  # in the window
    refused: frozenset[str] = frozenset()  # purposes, by what the newest consent of an event says


class Step(NamedTuple):
    """One event as a window keeps it."""

    kind: str  # of vocabulary.EVENT_TYPES; empty: another
    at: datetime
    products: tuple[str, ...] = ()
    query: str = ""
    cart: tuple[str, ...] | None = None  # all that lies in the cart, where the event says it
    refused: frozenset[str] = frozenset()
    allowed: frozenset[str] = frozenset()


def visitor(anonymous_id: str) -> str:
    """The subject of a browser or device."""
    return f"visitor/{anonymous_id}"


def account(system: str, user_id: str) -> str:
    """The subject of a customer account, ``SYSTEM/id``."""
    return f"{system}/{user_id}"


@dataclass
class _Window:
    steps: deque[tuple[int, Step]] = field(default_factory=lambda: deque(maxlen=LONGEST))
    cart: dict[str, None] = field(default_factory=dict)  # oldest first
    refused: set[str] = field(default_factory=set)
    is_of_account: bool = False

    def add(self, number: int, step: Step) -> None:
        self.steps.append((number, step))
        if step.refused or step.allowed:
            self.refused = (self.refused | step.refused) - step.allowed
        if step.cart is not None:
            self.cart = dict.fromkeys(step.cart)
        elif step.kind == "CART_ADD":
            for product in step.products:
                self.cart.pop(product, None)  # added again, it is the newest
                self.cart[product] = None
        elif step.kind == "CART_REMOVE":
            for product in step.products:
                self.cart.pop(product, None)
        elif step.kind == "PURCHASE":
            self.cart.clear()
        self._shorten()

    def _shorten(self) -> None:
        while len(self.cart) > LARGEST_CART:
            del self.cart[next(iter(self.cart))]

    def join(self, other: _Window) -> None:
        """Take over what another window holds; of carts the one that was changed later is above."""
        self.steps = deque(sorted([*self.steps, *other.steps], key=itemgetter(0)), maxlen=LONGEST)
        self.refused |= other.refused
        for product in other.cart:
            self.cart.pop(product, None)
        self.cart |= other.cart
        self._shorten()


def _told(windows: list[_Window]) -> Activity:
    steps = [step for _, step in sorted((s for w in windows for s in w.steps), key=itemgetter(0), reverse=True)]
    if not windows:
        return Activity()
    return Activity(
        viewed=_distinct(p for s in steps if s.kind == "PRODUCT_VIEW" for p in s.products),
        cart=_distinct(p for w in windows for p in reversed(w.cart)),
        bought=_distinct(p for s in steps if s.kind == "PURCHASE" for p in s.products),
        searched=_distinct(s.query for s in steps if s.query),
        last_at=max((s.at for s in steps), default=None),
        events=len(steps),
        refused=frozenset().union(*(w.refused for w in windows)),
    )


def _distinct(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


class Activities:
    """The windows of this process. Safe for threads.

    ``replay`` notes what the log still holds; it is called once, before anything is told or noted anew.
    """

    def __init__(self, replay: Callable[[], None] | None = None) -> None:
        self._windows: OrderedDict[str, _Window] = OrderedDict()
        self._number = 0
        self._lock = threading.Lock()
        self._replay, self._opening = replay, threading.Lock()

    @property
    def is_ready(self) -> bool:
        """Whether the log was read back."""
        return self._replay is None

    def ready(self) -> None:
        """Make the windows again of what the log holds, where that was not done yet."""
        if self.is_ready:
            return
        with self._opening:
            if self._replay is not None:
                self._replay()
                self._replay = None

    def note_all(self, steps: Iterable[tuple[Step, str | None, str | None]]) -> None:
        """Add steps to the windows of whoever did them: the visitor, the account, or both, as `visitor` and `account`
        make them.

        Where both are named, they are one from now on: what the visitor did before the login is the account's, too. A
        visitor that was another account's begins the window of this one anew.
        """
        windows = self._windows
        with self._lock:
            for step, visitor_id, account_id in steps:
                window = windows.get(visitor_id) if account_id is None and visitor_id is not None else None
                if window is None:
                    if (window := self._window(visitor_id, account_id)) is None:
                        continue
                else:
                    windows.move_to_end(visitor_id)  # type: ignore[arg-type]
                self._number += 1
                window.add(self._number, step)
            while len(windows) > MOST_SUBJECTS:
                windows.popitem(last=False)

    def of(self, *subjects: str) -> Activity:
        """What all of these subjects, who are one person, did lately: a visitor, accounts, or both."""
        self.ready()
        with self._lock:
            windows = {id(w): w for s in subjects if (w := self._windows.get(s)) is not None}
            return _told(list(windows.values()))

    def __len__(self) -> int:
        """Subjects that have a window."""
        return len(self._windows)

    def _window(self, visitor_id: str | None, account_id: str | None) -> _Window | None:
        if account_id is None:
            return None if visitor_id is None else self._kept(visitor_id)
        of_account = self._kept(account_id)
        of_account.is_of_account = True
        if visitor_id is None:
            return of_account
        of_visitor = self._windows.get(visitor_id)
        if of_visitor is not None and not of_visitor.is_of_account:
            of_account.join(of_visitor)
        self._windows[visitor_id] = of_account
        self._windows.move_to_end(visitor_id)
        return of_account

    def _kept(self, subject: str) -> _Window:
        window = self._windows.get(subject)
        if window is None:
            window = self._windows[subject] = _Window()
        else:
            self._windows.move_to_end(subject)
        return window
