"""What a visitor did is known to the next answer, and no more than the window holds."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from customer360.serve.realtime import activity, erasures
from customer360.serve.realtime.activity import Activities, Activity, Step, account, visitor

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
V, A, B = visitor("v-1"), account("SHOP", "C1"), account("SHOP", "C2")


def step(kind: str, *products: str, minutes: int = 0, **more: object) -> Step:
    return Step(kind, NOW + timedelta(minutes=minutes), tuple(products), **more)  # type: ignore[arg-type]


def note(made: Activities, step: Step, visitor_id: str | None = None, account_id: str | None = None) -> None:
    made.note_all([(step, visitor_id, account_id)])


def test_views_carts_searches_and_purchases_newest_first() -> None:
    made = Activities(now=lambda: NOW)
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
    made = Activities(now=lambda: NOW)
    note(made, step("CART_ADD", "P1"), visitor_id=V)
    note(made, step("PAGE_VIEW", cart=("P7", "P8")), visitor_id=V)
    assert made.of(V).cart == ("P8", "P7")
    note(made, step("PAGE_VIEW", cart=()), visitor_id=V)
    assert made.of(V).cart == ()


def test_who_logs_in_takes_along_what_was_done_before() -> None:
    made = Activities(now=lambda: NOW)
    note(made, step("PRODUCT_VIEW", "P0"), account_id=A)
    note(made, step("CART_ADD", "P1"), visitor_id=V)
    note(made, step("LOGIN"), visitor_id=V, account_id=A)
    note(made, step("PRODUCT_VIEW", "P2"), visitor_id=V)
    assert made.of(A) == made.of(A, V)
    assert made.of(A).viewed == ("P2", "P0") and made.of(A).cart == ("P1",)


def test_who_names_an_account_learns_nothing_of_it() -> None:
    made = Activities(now=lambda: NOW)
    note(made, step("PRODUCT_VIEW", "P1"), account_id=A)
    note(made, step("CART_ADD", "P2"), visitor_id=visitor("owner"), account_id=A)
    note(made, step("LOGIN"), visitor_id=V, account_id=A)
    note(made, step("PRODUCT_VIEW", "P3"), visitor_id=V)
    assert (made.of(V).viewed, made.of(V).cart, made.of(V).events) == (("P3",), (), 2)
    assert made.of(A, V).cart == ("P2",)
    note(made, step("CART_REMOVE", "P2"), account_id=A)
    assert made.of(A, visitor("owner")).cart == ()


def test_what_is_old_is_not_told_but_for_what_was_refused() -> None:
    at = [NOW]
    made = Activities(now=lambda: at[0])
    note(made, step("CART_ADD", "P1", refused=frozenset({"EMAIL"})), visitor_id=V)
    at[0] = NOW + activity.LIVES + timedelta(minutes=1)
    assert made.of(V) == Activity(refused=frozenset({"EMAIL"}))


def test_an_answer_given_before_changes_none_given_after_it() -> None:
    made = Activities(now=lambda: NOW)
    note(made, step("", refused=frozenset({"EMAIL"})), visitor_id=V)
    note(made, step("", minutes=-5, allowed=frozenset({"EMAIL", "SMS"})), visitor_id=V)
    assert made.of(V).refused == {"EMAIL"}
    note(made, step("", minutes=1, allowed=frozenset({"EMAIL"})), visitor_id=V, account_id=A)
    assert made.of(V).refused == frozenset() and made.of(A).refused == {"EMAIL"}  # not vouched for
    note(made, step("", minutes=2, allowed=frozenset({"EMAIL"}), is_vouched=True), account_id=A)
    assert made.of(A).refused == frozenset()


def test_an_answer_of_an_account_goes_over_to_the_publication_when_it_is_there() -> None:
    at, landed = [NOW], [NOW - timedelta(hours=1)]
    made = Activities(now=lambda: at[0], landed=lambda: landed[0])
    note(made, step("", refused=frozenset({"EMAIL"})), visitor_id=V)
    at[0] = NOW + timedelta(hours=2)
    note(made, step("LOGIN"), visitor_id=V, account_id=A)  # the account's answer from now on
    landed[0] = NOW + timedelta(hours=1)
    assert made.of(A).refused == {"EMAIL"}
    landed[0] = NOW + timedelta(hours=3)  # where a later yes may stand, too
    assert made.of(A).refused == frozenset() and made.of(V).refused == {"EMAIL"}  # of devices nothing is published
    at[0] = NOW + timedelta(hours=4)
    note(made, step("", refused=frozenset({"SMS"})), account_id=A)  # given days ago, and come just now
    assert made.of(A).refused == {"SMS"}


def wait_and_note(made: Activities, kind: str, *products: str, **who: Any) -> None:
    time.sleep(0.01)
    refused = who.pop("refused", frozenset())
    note(made, Step(kind, datetime.now(UTC), products, refused=refused), **who)
    time.sleep(0.01)


def test_erasures_that_begin_at_once_are_all_told(tmp_path: Path) -> None:
    subjects = [f"SHOP/{number}" for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda subject: erasures.tell(tmp_path, [subject]), subjects))
    assert all(map(erasures.told(tmp_path), subjects))


def test_the_erased_are_forgotten_by_servers_that_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasures, "LOOK_SECONDS", 0.0)
    made = Activities(erased=erasures.Erasures(tmp_path).fresh)
    wait_and_note(made, "PRODUCT_VIEW", "P1", visitor_id=V, account_id=A)
    wait_and_note(made, "PRODUCT_VIEW", "P2", account_id=B)
    assert made.of(A).events == 1
    erasures.tell(tmp_path, {A})  # also where no journal lies, as the log is a topic
    assert (tmp_path / "collector").stat().st_mode & 0o777 == 0o700
    assert made.of(A, V) == Activity() and made.of(B).viewed == ("P2",)
    wait_and_note(made, "PRODUCT_VIEW", "P3", account_id=A)  # a new customer, of whom nothing was erased
    erasures.tell(tmp_path, {B})
    assert made.of(A).viewed == ("P3",) and made.of(B) == Activity()
    assert "SHOP" not in (tmp_path / "collector" / erasures.FILE).read_text()


def test_after_a_restart_an_erasure_takes_nothing_that_came_after_it(tmp_path: Path) -> None:
    def replay() -> None:
        for step, visitor_id, account_id in log:
            note(made, step, visitor_id, account_id)

    def happens(*products: str, **more: Any) -> None:
        log.append((Step("CART_ADD", datetime.now(UTC), products, **more), V, A))
        time.sleep(0.01)

    log: list[tuple[Step, str, str]] = []
    happens("P1", refused=frozenset({"SMS"}))
    erasures.tell(tmp_path, {A})
    time.sleep(0.01)
    happens("P2", refused=frozenset({"EMAIL"}))
    made = Activities(replay, erased=erasures.Erasures(tmp_path).fresh)
    assert made.of(A) == made.of(V) and (made.of(A).cart, made.of(A).refused) == (("P2",), {"EMAIL"})


@pytest.mark.parametrize("damaged", [b"", b"{", b"[[1, 2, 3]]", b'{"erased": {"d": "x"}}', b"\xff\xfe"])
def test_a_damaged_list_of_erasures_ends_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, damaged: bytes
) -> None:
    monkeypatch.setattr(erasures, "LOOK_SECONDS", 0.0)
    (tmp_path / "collector").mkdir()
    (tmp_path / "collector" / erasures.FILE).write_bytes(damaged)
    made = Activities(erased=erasures.Erasures(tmp_path).fresh)
    wait_and_note(made, "PRODUCT_VIEW", "P1", account_id=A)
    assert made.of(A).events == made.of(A).events == 1
    assert len(caplog.records) == 1
    erasures.tell(tmp_path, {A})
    assert made.of(A) == Activity()


def test_the_next_account_of_a_device_learns_nothing_of_the_one_before() -> None:
    made = Activities(now=lambda: NOW)
    note(made, step("PRODUCT_VIEW", "P1"), visitor_id=V, account_id=A)
    note(made, step("PRODUCT_VIEW", "P2"), visitor_id=V, account_id=B)
    assert made.of(B).viewed == ("P2",) == made.of(V).viewed
    assert made.of(A).viewed == ("P1",)


def test_accounts_of_one_person_are_told_together() -> None:
    made = Activities(now=lambda: NOW)
    note(made, step("PRODUCT_VIEW", "P1"), account_id=A)
    note(made, step("PRODUCT_VIEW", "P2", refused=frozenset({"PROFILING"})), account_id=B)
    note(made, step("PRODUCT_VIEW", "P3"), account_id=A)
    found = made.of(A, B)
    assert found.viewed == ("P3", "P2", "P1") and found.refused == {"PROFILING"} and found.events == 3


def test_the_newest_consent_holds_and_outlives_the_steps() -> None:
    made = Activities(now=lambda: NOW)
    note(made, step("", refused=frozenset({"PERSONALIZATION", "EMAIL"})), visitor_id=V)
    for _ in range(activity.LONGEST + 1):
        note(made, step("PAGE_VIEW"), visitor_id=V)
    assert made.of(V).refused == {"PERSONALIZATION", "EMAIL"}
    note(made, step("", allowed=frozenset({"PERSONALIZATION"})), visitor_id=V)
    assert made.of(V).refused == {"EMAIL"}


def test_windows_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "MOST_SUBJECTS", 10)
    made = Activities(now=lambda: NOW)
    for number in range(30):
        note(made, step("CART_ADD", *(f"P{n}" for n in range(5))), visitor_id=visitor(str(number)), account_id=A)
    assert len(made) <= 10 and made.of(A).events == 30
    note(made, step("PRODUCT_VIEW", *(f"P{n}" for n in range(100))), account_id=A)
    for start in (100, 200, 300):
        note(made, step("CART_ADD", *(f"P{n}" for n in range(start, start + 100))), account_id=A)
    assert made.of(A).events == 3
    for _ in range(80):
        note(made, step("PAGE_VIEW"), account_id=A)
    assert made.of(A).events == activity.LONGEST and len(made.of(A).cart) == activity.LARGEST_CART


@pytest.mark.parametrize("who", [V, A])
def test_nobody_makes_a_refusal_be_forgotten_by_sending_under_ever_new_names(
    monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    monkeypatch.setattr(activity, "MOST_SUBJECTS", 10)
    landed: list[datetime] = []
    made = Activities(now=lambda: NOW, landed=lambda: landed[0] if landed else None)
    of = {"visitor_id": who} if who == V else {"account_id": who}
    no = frozenset({"PERSONALIZATION"})
    made.note_all([(step("PAGE_VIEW", refused=no), of.get("visitor_id"), of.get("account_id"))])
    for number in range(50):
        note(made, step("PRODUCT_VIEW", "P1"), visitor_id=visitor(f"w-{number}"))
    assert made.of(who) == Activity(refused=no) and len(made) == 10
    note(made, step("PRODUCT_VIEW", "P1", minutes=1), **of)  # it is back, and did not change its mind
    assert made.of(who).refused == no and made.of(who).viewed == ("P1",)
    note(made, step("PAGE_VIEW", minutes=2, allowed=no, is_vouched=True), **of)
    assert made.of(who).refused == frozenset()
    note(made, step("PAGE_VIEW", minutes=3, refused=no), **of)
    for number in range(50):
        note(made, step("PRODUCT_VIEW", "P1"), visitor_id=visitor(f"x-{number}"))
    landed.append(NOW)
    assert made.of(who).refused == (no if who == V else frozenset())  # the publication knows accounts


def test_refusals_that_stay_are_bounded_and_who_is_erased_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "MOST_SUBJECTS", 10)
    monkeypatch.setattr(activity, "MOST_SILENT", 30)
    gone: list[str] = []
    erased = lambda: (lambda name: NOW if name in gone else None) if gone else None  # noqa: E731
    made = Activities(now=lambda: NOW, erased=erased)
    for number in range(100):
        note(made, step("PAGE_VIEW", refused=frozenset({"EMAIL"})), visitor_id=visitor(f"w-{number}"))
    known = [n for n in range(100) if made.of(visitor(f"w-{n}")).refused]
    assert known == [*range(60, 100)]
    gone.append(visitor("w-70"))
    assert not made.of(visitor("w-70")).refused and made.of(visitor("w-71")).refused
