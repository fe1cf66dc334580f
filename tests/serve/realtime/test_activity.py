"""What a visitor did is known to the next answer, and no more than the window holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from customer360.serve.realtime import activity
from customer360.serve.realtime.activity import Activities, Activity, Step, account, visitor

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
V, A, B = visitor("v-1"), account("SHOP", "C1"), account("SHOP", "C2")


def step(kind: str, *products: str, minutes: int = 0, **more: object) -> Step:
    return Step(kind, NOW + timedelta(minutes=minutes), tuple(products), **more)  # type: ignore[arg-type]


def note(made: Activities, step: Step, visitor_id: str | None = None, account_id: str | None = None) -> None:
    made.note_all([(step, visitor_id, account_id)])


def test_views_carts_searches_and_purchases_newest_first() -> None:
    made = Activities()
    for number, each in enumerate(
        [
            step("PRODUCT_VIEW", "P1"), step("PRODUCT_VIEW", "P2"), step("PRODUCT_VIEW", "P1"),
            step("SEARCH", query="blue mug"), step("CART_ADD", "P1"), step("CART_ADD", "P3"), step("CART_REMOVE", "P1"),
        ]
    ):  # fmt: skip
        note(made, each._replace(at=NOW + timedelta(seconds=number)), visitor_id=V)
    found = made.of(V)
    assert found == Activity(
        ("P1", "P2"), ("P3",), (), ("blue mug",), NOW + timedelta(seconds=6), events=7, refused=frozenset()
    )
    note(made, step("PURCHASE", "P3", "P4"), visitor_id=V)
    assert made.of(V).bought == ("P3", "P4") and made.of(V).cart == ()
    assert made.of("visitor/nobody") == Activity()


def test_a_cart_that_is_told_whole_replaces_what_was_known() -> None:
    made = Activities()
    note(made, step("CART_ADD", "P1"), visitor_id=V)
    note(made, step("PAGE_VIEW", cart=("P7", "P8")), visitor_id=V)
    assert made.of(V).cart == ("P8", "P7")
    note(made, step("PAGE_VIEW", cart=()), visitor_id=V)
    assert made.of(V).cart == ()


def test_who_logs_in_takes_along_what_was_done_before() -> None:
    made = Activities()
    note(made, step("PRODUCT_VIEW", "P0"), account_id=A)
    note(made, step("CART_ADD", "P1"), visitor_id=V)
    note(made, step("LOGIN"), visitor_id=V, account_id=A)
    note(made, step("PRODUCT_VIEW", "P2"), visitor_id=V)
    assert made.of(A) == made.of(V) == made.of(A, V)
    assert made.of(A).viewed == ("P2", "P0") and made.of(A).cart == ("P1",)


def test_the_next_account_of_a_device_learns_nothing_of_the_one_before() -> None:
    made = Activities()
    note(made, step("PRODUCT_VIEW", "P1"), visitor_id=V, account_id=A)
    note(made, step("PRODUCT_VIEW", "P2"), visitor_id=V, account_id=B)
    assert made.of(B).viewed == ("P2",) == made.of(V).viewed
    assert made.of(A).viewed == ("P1",)


def test_accounts_of_one_person_are_told_together() -> None:
    made = Activities()
    note(made, step("PRODUCT_VIEW", "P1"), account_id=A)
    note(made, step("PRODUCT_VIEW", "P2", refused=frozenset({"PROFILING"})), account_id=B)
    note(made, step("PRODUCT_VIEW", "P3"), account_id=A)
    found = made.of(A, B)
    assert found.viewed == ("P3", "P2", "P1") and found.refused == {"PROFILING"} and found.events == 3


def test_the_newest_consent_holds_and_outlives_the_steps() -> None:
    made = Activities()
    note(made, step("", refused=frozenset({"PERSONALIZATION", "EMAIL"})), visitor_id=V)
    for _ in range(activity.LONGEST + 1):
        note(made, step("PAGE_VIEW"), visitor_id=V)
    assert made.of(V).refused == {"PERSONALIZATION", "EMAIL"}
    note(made, step("", allowed=frozenset({"PERSONALIZATION"})), visitor_id=V)
    assert made.of(V).refused == {"EMAIL"}


def test_windows_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "MOST_SUBJECTS", 10)
    made = Activities()
    for number in range(30):
        note(made, step("CART_ADD", *(f"P{n}" for n in range(150))), visitor_id=visitor(str(number)), account_id=A)
    assert len(made) <= 10 and made.of(A).events == 30
    for _ in range(80):
        note(made, step("PAGE_VIEW"), account_id=A)
    assert made.of(A).events == activity.LONGEST and len(made.of(A).cart) == activity.LARGEST_CART
