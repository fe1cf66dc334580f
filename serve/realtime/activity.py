"""What visitors did just now: a bounded window of each, in every process that shares the log of their events.

A window is what the log says of a subject, in the order of the log, so that it can be made again from the log's tail.
Nothing here is stored, and nothing older than the window is known: the lake is where history is.

A visitor and an account each have a window of their own. What a visitor does under an account, and did before the
login, is the account's, too; never the reverse: who sends events may name any account.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from operator import itemgetter
from typing import NamedTuple

from customer360.platform import telemetry
from customer360.platform.telemetry import Repeats

LONGEST = 50  # steps of one window
LARGEST_CART = 100  # products, of a cart, a step and each list of an answer
MOST_PRODUCTS = 300  # of all steps of one window
MOST_SUBJECTS = 200_000  # windows of a process; those that are silent longest go
MOST_SILENT = 500_000  # subjects without one, of whom it is known what they refused
LIVES = timedelta(hours=24)  # what is older is history, but for what was refused
_LOG = telemetry.log.getChild("activity")
_LOG.addFilter(Repeats())


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


NOTHING = Activity()


class Answer(NamedTuple):
    """What a subject says of a purpose."""

    at: datetime  # when it was given
    is_yes: bool
    noted: datetime  # when it came, or came again


class Step(NamedTuple):
    """One event as a window keeps it."""

    kind: str  # of vocabulary.EVENT_TYPES; empty: another
    at: datetime
    products: tuple[str, ...] = ()
    query: str = ""
    cart: tuple[str, ...] | None = None  # all that lies in the cart, where the event says it
    refused: frozenset[str] = frozenset()
    allowed: frozenset[str] = frozenset()
    is_vouched: bool = False  # by a key that may speak for accounts


def visitor(anonymous_id: str) -> str:
    """The subject of a browser or device."""
    return f"visitor/{anonymous_id}"


def account(system: str, user_id: str) -> str:
    """The subject of a customer account, ``SYSTEM/id``."""
    return f"{system}/{user_id}"


class _Refusal(NamedTuple):
    """What is left of a window that went: what its subject refused."""

    purposes: frozenset[str]
    at: datetime  # the newest of them
    noted: datetime

    def answers(self) -> dict[str, Answer]:
        return dict.fromkeys(self.purposes, Answer(self.at, False, self.noted))


@dataclass
class _Window:
    steps: deque[tuple[int, Step]] = field(default_factory=lambda: deque(maxlen=LONGEST))
    cart: dict[str, None] = field(default_factory=dict)  # oldest first
    answers: dict[str, Answer] = field(default_factory=dict)  # newest, by purpose
    account: str = ""  # of a visitor: whose events are that account's, too
    has_long: bool = False  # whether a step ever had more products than all may have on the average

    @property
    def refused(self) -> frozenset[str]:
        return frozenset(purpose for purpose, answer in self.answers.items() if not answer.is_yes)

    def refusal(self) -> _Refusal | None:
        """What must stay of it when it goes."""
        said = [answer for answer in self.answers.values() if not answer.is_yes]
        if not said:
            return None
        return _Refusal(self.refused, max(answer.at for answer in said), max(answer.noted for answer in said))

    def add(self, number: int, step: Step, now: datetime, *, allows: bool = True) -> None:
        """Note a step. Without ``allows`` what it says yes to changes no answer."""
        if step.refused:
            self._answer(dict.fromkeys(step.refused, Answer(step.at, False, now)))
        if allows and step.allowed:
            self._answer(dict.fromkeys(step.allowed, Answer(step.at, True, now)))
        self._do(number, step)

    def _do(self, number: int, step: Step) -> None:
        self.steps.append((number, step))
        self.has_long = self.has_long or len(step.products) > MOST_PRODUCTS // LONGEST
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

    def _answer(self, given: dict[str, Answer]) -> None:
        """An answer that was given before the one that is known, and came after it, changes nothing."""
        for purpose, answer in given.items():
            if purpose not in self.answers or answer.at >= self.answers[purpose].at:
                self.answers[purpose] = answer

    def _shorten(self) -> None:
        while len(self.cart) > LARGEST_CART:
            del self.cart[next(iter(self.cart))]
        products = sum(len(step.products) for _, step in self.steps) if self.has_long else 0
        while products > MOST_PRODUCTS:
            products -= len(self.steps.popleft()[1].products)

    def expire(self, since: datetime) -> None:
        """Forget what was done before a moment, but for what was refused."""
        if any(step.at < since for _, step in self.steps):
            self.steps = deque((held for held in self.steps if held[1].at >= since), maxlen=LONGEST)
        if not self.steps:
            self.cart.clear()

    def forget(self, until: datetime) -> bool:
        """Forget all that was done and said until a moment; whether nothing is left."""
        steps = [held for held in self.steps if held[1].at > until]
        if len(steps) < len(self.steps):
            self.steps.clear()
            self.cart.clear()
            for number, step in steps:
                self._do(number, step)
        self.answers = {purpose: answer for purpose, answer in self.answers.items() if answer.at > until}
        return not self.steps and not self.answers

    def leave(self, until: datetime) -> None:
        """Leave answers that came until a moment to the publication."""
        if any(answer.noted <= until for answer in self.answers.values()):
            self.answers = {purpose: answer for purpose, answer in self.answers.items() if answer.noted > until}

    def join(self, other: _Window, now: datetime) -> None:
        """Take over what another window holds; of carts the one that was changed later is above."""
        self.steps = deque(sorted({*self.steps, *other.steps}, key=itemgetter(0)), maxlen=LONGEST)
        self.has_long = self.has_long or other.has_long
        self._answer({p: answer._replace(noted=now) for p, answer in other.answers.items() if not answer.is_yes})
        for product in other.cart:
            self.cart.pop(product, None)
        self.cart |= other.cart
        self._shorten()


def _told(windows: list[_Window], refused: frozenset[str]) -> Activity:
    numbered = {number: step for window in windows for number, step in window.steps}
    steps = [numbered[number] for number in sorted(numbered, reverse=True)]
    return Activity(
        viewed=_distinct(p for s in steps if s.kind == "PRODUCT_VIEW" for p in s.products),
        cart=_distinct(p for w in windows for p in reversed(w.cart)),
        bought=_distinct(p for s in steps if s.kind == "PURCHASE" for p in s.products),
        searched=_distinct(s.query for s in steps if s.query),
        last_at=max((s.at for s in steps), default=None),
        events=len(steps),
        refused=refused,
    )


def _distinct(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(islice(dict.fromkeys(values), LARGEST_CART))


class Activities:
    """The windows of this process. Safe for threads.

    There are so many at most, and whoever sends under ever new names has others' go: what these refused stays, for the
    lake does not know it before a run.

    ``replay`` notes what the log still holds; it is called once, before anything is told or noted anew. ``hear`` notes
    what others wrote to the log since, and is called before anything is told. ``erased``
    says who was erased since it was asked last, as a function from names to when, or None. ``landed`` says until when
    what came is in the publication, or None where that is not known: answers of accounts that came before are told no
    more, as the publication has them, and later ones that came another way.
    """

    def __init__(
        self,
        replay: Callable[[], None] | None = None,
        *,
        hear: Callable[[], None] = lambda: None,
        erased: Callable[[], Callable[[str], datetime | None] | None] = lambda: None,
        landed: Callable[[], datetime | None] = lambda: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._windows: OrderedDict[str, _Window] = OrderedDict()
        self._silent: OrderedDict[str, _Refusal] = OrderedDict()
        self._number = 0
        self._lock = threading.Lock()
        self._replay, self._opening = replay, threading.Lock()
        self._hear, self._erased, self._landed, self._now = hear, erased, landed, now

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

        Where both are named, what the visitor did before and does from now on is the account's, too. A visitor that was
        another account's begins its window anew, but for what it refused. Answers of an account are yes only where the
        step is vouched for.
        """
        now = self._now()
        with self._lock:
            for step, visitor_id, account_id in steps:
                of_visitor = None if visitor_id is None else self._kept(visitor_id)
                if of_visitor is not None:
                    self._login(of_visitor, account_id, now)
                self._number += 1
                if of_visitor is not None:
                    of_visitor.add(self._number, step, now)
                    account_id = of_visitor.account or None
                if account_id is not None:
                    self._kept(account_id).add(self._number, step, now, allows=step.is_vouched)
            while len(self._windows) > MOST_SUBJECTS:
                self._let_go(*self._windows.popitem(last=False))

    def of(self, *subjects: str) -> Activity:
        """What all of these subjects, who are one person, did lately: a visitor, accounts, or both."""
        self.ready()
        self._hear()
        self._forget_erased()
        with self._lock:  # a subject is in neither while it goes from one to the other
            if not any(s in self._windows or s in self._silent for s in subjects):
                return NOTHING
        now, landed = self._now(), self._landed()
        with self._lock:
            found = {s: w for s in subjects if (w := self._windows.get(s)) is not None}
            refused = self._refused_silently(subjects, landed)
            if not found:
                return Activity(refused=refused)
            for subject, window in found.items():
                window.expire(now - LIVES)
                if landed is not None and not subject.startswith(visitor("")):
                    window.leave(landed)
            refused = refused.union(*(w.refused for w in found.values()))
            # An account whose window is told has all that its visitor did, and its cart as it stands on every device.
            return _told([w for w in found.values() if w.account not in found], refused)

    def __len__(self) -> int:
        """Subjects that have a window."""
        return len(self._windows)

    def _forget_erased(self) -> None:
        """What came after an erasure is a new customer's, and stays."""
        if (erased_at := self._erased()) is None:
            return
        with self._lock:
            names = {*self._windows, *self._silent, *(window.account for window in self._windows.values())}
        erased = {name: at for name in names if (at := erased_at(name)) is not None}  # so many digests take a while
        with self._lock:
            for subject, window in list(self._windows.items()) if erased else []:
                moments = [erased[name] for name in (subject, window.account) if name in erased]
                if moments and window.forget(max(moments)):
                    del self._windows[subject]
            for subject, at in erased.items():
                if subject in self._silent and self._silent[subject].at <= at:
                    del self._silent[subject]

    def _let_go(self, subject: str, window: _Window) -> None:
        """Of a window that goes, keep what was refused: of half a million subjects, more than which is an attack, or a
        run that should have been long ago."""
        if (refusal := window.refusal()) is None:
            return
        self._silent[subject] = refusal
        if len(self._silent) > MOST_SILENT:
            self._silent.popitem(last=False)
            _LOG.error("refusals that no run has read yet are more than are kept; the oldest are forgotten: run now")

    def _refused_silently(self, subjects: Iterable[str], landed: datetime | None) -> frozenset[str]:
        """What those of some subjects refused who have no window; of accounts what is not in the publication."""
        refused = frozenset[str]()
        for subject in subjects:
            if (silent := self._silent.get(subject)) is None:
                continue
            if landed is not None and silent.noted <= landed and not subject.startswith(visitor("")):
                del self._silent[subject]
            else:
                refused |= silent.purposes
        return refused

    def _login(self, of_visitor: _Window, account_id: str | None, now: datetime) -> None:
        if account_id is None or of_visitor.account == account_id:
            return
        if of_visitor.account:
            of_visitor.steps.clear()
            of_visitor.cart.clear()
        else:
            self._kept(account_id).join(of_visitor, now)
        of_visitor.account = account_id

    def _kept(self, subject: str) -> _Window:
        window = self._windows.get(subject)
        if window is None:
            silent = self._silent.pop(subject, None)
            window = self._windows[subject] = _Window(answers=silent.answers() if silent else {})
        else:
            self._windows.move_to_end(subject)
        return window
