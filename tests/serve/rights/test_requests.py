"""What is kept of the requests of who was erased: that there were, and nothing of the person."""

from __future__ import annotations

import math
import threading
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from customer360.models.identity.erasure import UnknownPerson
from customer360.platform import audit, erasure_list, privacy, restrictions
from customer360.platform.errors import ConfigError, Customer360Error, LakeLocked
from customer360.platform.lake import Lake
from customer360.platform.ledger import Run
from customer360.platform.privacy import Identifiers
from customer360.platform.run import RunRequest, lake_of
from customer360.platform.settings import LakeSettings, Settings
from customer360.serve import fulfilment, jobs
from customer360.serve.compose import compose
from customer360.serve.rights import proof, requests
from customer360.serve.rights.proof import Proof, Remains

SAID = "called from +49 221 555, passport of Ann Adler"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for folder in ("lake", "state", "landing"):
        (tmp_path / folder).mkdir()
    lake = LakeSettings(root=str(tmp_path / "lake"))
    return Settings(lake=lake, state=str(tmp_path / "state"), landing=str(tmp_path / "landing"))


@pytest.fixture
def lake(settings: Settings) -> Lake:
    return lake_of(settings)


def asked(settings: Settings, kind: str, person: str = "p_ann", **other: Any) -> int:
    return requests.open_request(settings, kind, person, actor="al", received_on=date(2026, 3, 1), **other).number


def erased(settings: Settings, lake: Lake, remains: tuple[Remains, ...] = ()) -> Proof:
    """What `jobs.erase_proven` leaves, of p_ann, formerly p_old."""
    digest = erasure_list.person_digest(lake, "p_ann")
    requests.forget_person(settings, {"p_ann", "p_old"}, digest)
    privacy.begin_erasure(lake, "p_ann", Identifiers())
    privacy.end_erasure(lake, "p_ann")
    return Proof(digest, "2026-03-02T00:00:00+00:00", {"e-mail": 1}, {}, {}, remains)


@pytest.fixture
def erasing(settings: Settings, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> list[Remains]:
    """Files that an erasure finds; erasing is what `erased` does."""
    found: list[Remains] = []
    monkeypatch.setattr(jobs, "current_person", lambda _, person: person)
    monkeypatch.setattr(jobs, "erase_proven", lambda *_: ({}, erased(settings, lake, tuple(found))))
    return found


def test_a_fulfilled_erasure_keeps_nothing_that_was_said_of_the_person(
    settings: Settings, lake: Lake, erasing: list[Remains]
) -> None:
    number = asked(settings, "erase", sent_as="another digest-of-it")
    asked(settings, "rectify", "p_old", values={"email_address": "new@x.test"}, identity=SAID)
    asked(settings, "access", identity=SAID, sent_as="digest-of-what-was-said")
    bob = asked(settings, "access", "p_bob", identity="passport of Bob")
    done = fulfilment.fulfil(settings, number, actor="al", identity=SAID)
    assert done.state == "fulfilled" and done.result.startswith("erased; report ")
    stored = b"".join(lake.get(path) or b"" for path in lake.objects("_rights")).decode()
    assert not [word for word in ("p_ann", "p_old", "+49 221", "Adler", "new@x.test", "digest-of") if word in stored]
    by_number = {r.number: r for r in requests.requests(lake)}
    assert [by_number[n].state for n in (1, 2, 3, bob)] == ["fulfilled", "closed", "closed", "open"]
    assert {by_number[n].person for n in (1, 2, 3)} == {erasure_list.person_digest(lake, "p_ann")}
    assert by_number[3].result == "person erased" and by_number[bob].identity == "passport of Bob"
    assert "rights close 2 rectify" in [line["asked"] for line in audit.entries(Path(settings.state))]


def test_who_was_erased_before_has_the_request_closed_by_the_report(
    settings: Settings, lake: Lake, erasing: list[Remains]
) -> None:
    number = asked(settings, "erase", identity=SAID)
    left = Path(settings.state) / "left.txt"
    left.write_text("ann@x.test")
    erasing += [Remains("state", "left.txt", ("e-mail",)), Remains("landing", "c.csv", ("e-mail",))]
    for _ in range(2):  # erases, then finds that it did
        with pytest.raises(Customer360Error, match=r"files still tell the person, .*; take them away"):
            fulfilment.fulfil(settings, number, actor="al")
    left.unlink()
    done = fulfilment.fulfil(settings, number, actor="al")
    assert done.state == "fulfilled" and "erased on " in done.result and "report " in done.result
    (report,) = (Path(settings.state) / proof.FOLDER).glob("*.json")
    assert report.name in done.result and "Adler" not in done.identity


def test_an_erasure_without_a_request_leaves_those_of_an_erasure_to_be_closed(
    settings: Settings, lake: Lake, erasing: list[Remains]
) -> None:
    number = asked(settings, "erase", identity=SAID)
    erased(settings, lake)
    assert requests.request_of(lake, number).state == "open"
    assert fulfilment.fulfil(settings, number, actor="al").result.endswith("no proof was asked for")


def test_an_erasure_that_was_cut_short_is_taken_up_by_its_request(
    settings: Settings, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, taken = asked(settings, "erase", identity=SAID), list[str]()
    privacy.begin_erasure(lake, "p_ann", Identifiers(persons=frozenset({"p_ann", "p_old"})))
    requests.forget_person(settings, {"p_ann", "p_old"}, erasure_list.person_digest(lake, "p_ann"))

    def go_on(_: Settings, person: str) -> tuple[dict[str, int], Proof]:
        taken.append(person)
        return {}, erased(settings, lake)

    monkeypatch.setattr(jobs, "erase_proven", go_on)
    assert fulfilment.fulfil(settings, number, actor="al").state == "fulfilled"
    assert taken == ["p_ann"]


def test_restrictions_of_who_is_erased_go_and_others_stay(lake: Lake) -> None:
    restrictions.restrict(lake, 1, ["A/1", "A/2"], ["SALE"])
    restrictions.forget(lake, Identifiers(accounts=frozenset({"A/1"})).accounts)
    assert restrictions.restrictions(lake) == {"A/2": {"SALE"}}


def test_a_request_whose_person_a_lake_of_before_has_covered_is_closed(settings: Settings, lake: Lake) -> None:
    for kind in ("access", "erase"):
        number = asked(settings, kind, privacy.MASK)
        done = fulfilment.fulfil(settings, number, actor="al", identity=SAID)
        assert (done.state, done.result, done.identity) == ("closed", "person erased", privacy.MASK)


def test_who_is_erased_while_a_request_is_fulfilled_is_not_written_back(
    settings: Settings, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, ready = asked(settings, "restrict", identity=SAID), requests.ready

    def erased_after_the_first_look(*of: Any) -> requests.Request:
        found = ready(*of)
        requests.forget_person(settings, {"p_ann"}, erasure_list.person_digest(lake, "p_ann"))
        return found

    monkeypatch.setattr(requests, "ready", erased_after_the_first_look)
    with pytest.raises(requests.NoSuchRequest, match="closed already"):
        fulfilment.fulfil(settings, number, actor="al")
    assert b"p_ann" not in (lake.get(f"_rights/requests/{number:08d}.json") or b"")
    assert lake.objects("_rights/restricted") == []


def test_a_request_waits_for_an_erasure_that_is_under_way(settings: Settings, lake: Lake) -> None:
    number, faults = asked(settings, "access", identity=SAID), list[str]()

    def fulfil() -> None:
        try:
            fulfilment.fulfil(settings, number, actor="al")
        except Customer360Error as fault:
            faults.append(str(fault))

    other = threading.Thread(target=fulfil)
    with requests.held(settings):
        other.start()
        other.join(0.3)
        assert other.is_alive() and not faults
        requests.forget_person(settings, {"p_ann"}, erasure_list.person_digest(lake, "p_ann"))
    other.join(10)
    assert faults == [f"request {number} is closed already"]


def test_a_request_gives_up_in_a_sentence_and_an_erasure_waits_as_long_as_it_takes(settings: Settings) -> None:
    is_held, may_go = threading.Event(), threading.Event()

    def holding() -> None:
        with requests.held(settings):
            is_held.set()
            may_go.wait(30)

    other = threading.Thread(target=holding)
    other.start()
    is_held.wait(30)
    with pytest.raises(LakeLocked, match="by an erasure or another request; try again"), requests.held(settings, 0.1):
        pass
    threading.Timer(0.3, may_go.set).start()
    with requests.held(settings, patience=math.inf):
        assert may_go.is_set(), "only when the other was done"
    other.join()


def test_who_is_being_erased_can_ask_for_nothing_else(settings: Settings, lake: Lake) -> None:
    number = asked(settings, "restrict", identity=SAID)
    privacy.begin_erasure(lake, "p_ann", Identifiers(persons=frozenset({"p_old"})))
    with pytest.raises(UnknownPerson, match=f"being erased, which closes request {number}"):
        fulfilment.fulfil(settings, number, actor="al")
    with pytest.raises(UnknownPerson, match="nothing else can be asked for"):
        fulfilment.open_request(settings, "access", "p_old", actor="al")
    made = fulfilment.open_request(settings, "erase", "p_old", actor="al")
    assert made.person == erasure_list.person_digest(lake, "p_ann")


@pytest.mark.parametrize("kind", ["access", "restrict", "opt_out"])
def test_whose_records_are_in_doubt_until_the_next_run_is_asked_to_wait(
    settings: Settings, lake: Lake, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    number = asked(settings, kind, identity=SAID)
    monkeypatch.setattr(fulfilment, "is_followed", lambda *_: False)
    with pytest.raises(requests.NoSuchRequest, match=f"`customer360 run`, then fulfil {number}"):
        fulfilment.fulfil(settings, number, actor="al")
    assert requests.request_of(lake, number).state == "open" and not lake.objects("_rights/restricted")


def test_an_erasure_does_not_wait_until_the_policy_is_right(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compose()
    (tmp_path / "policy.yaml").write_text("keep_days: {bronze.products: 30}\n")
    wrong, asked_to_retire = settings.model_copy(update={"rules": {"policy": str(tmp_path / "policy.yaml")}}), []

    def noted(*_: Any, retire: Any, **__: Any) -> Run:
        asked_to_retire.append(retire)
        raise SystemExit

    monkeypatch.setattr(jobs, "run_locked", noted)
    with pytest.raises(ConfigError, match=r"bronze\.products"):
        jobs.run_pipeline(wrong, RunRequest(command="run"))
    assert asked_to_retire == []
    with pytest.raises(SystemExit):
        jobs.run_pipeline(wrong, RunRequest(start="silver", command="erase"))
    assert asked_to_retire == [None]
