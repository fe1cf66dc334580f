"""A refusal holds from the run that lands it, for every answer, and whatever became of the rest of that run."""

from __future__ import annotations

import os
from datetime import date
from typing import Any

import polars as pl
import pytest

from customer360.pipelines.silver import engagement  # noqa: F401 - declares silver.consent_intervals
from customer360.platform.errors import LakeLocked, RunError
from customer360.platform.lake import Lake
from customer360.platform.ledger import Run
from customer360.platform.run import RunRequest
from customer360.platform.settings import LakeSettings, Settings
from customer360.serve import jobs
from customer360.serve.publication.refusals import publish_refusals

FUTURE, PAST = date(2099, 1, 1), date(2020, 1, 1)


def answers(shop: Any, *rows: tuple[str, str, bool, date, date | None]) -> None:
    """Rows of silver.consent_intervals: person, purpose, answer, from, to."""
    names = ("person_id", "purpose", "is_allowed", "valid_from", "valid_to")
    shop.write("silver.consent_intervals", [dict(zip(names, row, strict=True)) for row in rows])


def shown(shop: Any, person_id: str) -> dict[str, Any]:
    client = shop.clients()("service")
    profile = client.get(f"/v1/people/{person_id}").json()
    recommended = client.get(f"/v1/people/{person_id}/recommendations").json()
    scores = client.get(f"/v1/people/{person_id}/scores").json()
    return {
        "personalized": recommended["personalized"],
        "reason": recommended["reason"],
        "withheld": bool(profile["withheld"]),
        "may_email": profile["profile"]["may_email"],
        "scores": len(scores["scores"]) + len(scores["categories"]),
    }


def test_a_refusal_after_the_date_of_the_profile_holds(own_shop: Any) -> None:
    own_shop.publish()
    open_to = shown(own_shop, "p_ann")
    assert open_to == {"personalized": True, "reason": None, "withheld": False, "may_email": True, "scores": 3}
    answers(own_shop, ("p_ann", "PERSONALIZATION", False, FUTURE, None), ("p_ann", "EMAIL", True, FUTURE, None))
    publish_refusals(own_shop.lake, own_shop.state)
    refused = {"personalized": False, "reason": "consent", "withheld": True, "may_email": False, "scores": 0}
    assert shown(own_shop, "p_ann") == refused
    answers(own_shop, ("p_ann", "EMAIL", False, FUTURE, None), ("p_ann", "PERSONALIZATION", False, PAST, FUTURE))
    publish_refusals(own_shop.lake, own_shop.state)
    assert shown(own_shop, "p_ann") == open_to | {"may_email": False}


@pytest.mark.parametrize("purpose", ["PROFILING", "PERSONALIZATION"])
def test_each_of_the_two_takes_scores_and_lists_away_at_once(own_shop: Any, purpose: str) -> None:
    own_shop.publish()
    answers(own_shop, ("p_ann", purpose, False, FUTURE, None))
    publish_refusals(own_shop.lake, own_shop.state)
    refused = {"personalized": False, "reason": "consent", "withheld": True, "may_email": False, "scores": 0}
    assert shown(own_shop, "p_ann") == refused


def test_a_run_that_fails_takes_it_out_of_gold_all_the_same(own_shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any, **__: Any) -> None:
        answers(own_shop, ("p_ann", "PERSONALIZATION", False, FUTURE, None))
        raise RunError({"gold.customer_360": "failed"})

    monkeypatch.setattr(jobs, "run_locked", failing)
    lists = own_shop.lake.scan("gold.recommendations").filter(person_id="p_ann")
    assert lists.collect().height == 9
    lake = LakeSettings(root=own_shop.lake.root, buckets=own_shop.lake.buckets)
    with pytest.raises(RunError):
        jobs.run_pipeline(Settings(lake=lake, state=str(own_shop.state)), RunRequest(start="gold"))
    tables = ("gold.recommendations", "gold.predictions")
    gone = [own_shop.lake.scan(t).filter(person_id="p_ann").collect() for t in tables]
    assert [rows.height for rows in gone] == [0, 0], "earlier editions, too"
    assert own_shop.lake.scan("gold.recommendations").filter(person_id="p_dan").collect().height == 1


def test_a_later_yes_waits_for_the_next_profile(own_shop: Any) -> None:
    own_shop.publish()
    answers(own_shop, ("p_bob", "PERSONALIZATION", True, FUTURE, None))
    publish_refusals(own_shop.lake, own_shop.state)
    assert shown(own_shop, "p_bob")["reason"] == "consent"


def test_a_person_is_found_by_its_accounts_when_its_id_changed_since(own_shop: Any) -> None:
    own_shop.publish()
    own_shop.write("silver.identities", [
        {"record_id": "SHOP/9", "source_system": "SHOP", "customer_id": "9", "person_id": "p_new",
         "resolved_by": "score"},
    ])  # fmt: skip
    answers(own_shop, ("p_new", "PERSONALIZATION", False, PAST, None))
    publish_refusals(own_shop.lake, own_shop.state)
    assert shown(own_shop, "p_ann")["reason"] == "consent"


@pytest.mark.parametrize("damaged", ["CURRENT", "data.mdb"])
def test_unreadable_refusals_are_refusals_of_all(own_shop: Any, damaged: str) -> None:
    own_shop.publish()
    answers(own_shop, ("p_bob", "EMAIL", False, PAST, None))
    publish_refusals(own_shop.lake, own_shop.state)
    (file,) = (own_shop.state / "refusals").rglob("data.mdb")
    os.truncate(file, 10)
    if damaged == "CURRENT":
        (own_shop.state / "refusals/online/CURRENT").write_text("")
    assert shown(own_shop, "p_ann")["reason"] == "consent"
    health = own_shop.clients()(None).get("/healthz").json()
    assert health["status"] == "stale" and health["stale_because"].startswith("refusals: ")
    publish_refusals(own_shop.lake, own_shop.state)
    assert shown(own_shop, "p_ann")["personalized"], "the next run writes them anew"


def test_what_was_bought_on_the_last_day_is_not_new(own_shop: Any) -> None:
    rows = [
        {"person_id": "p_ann", "product_id": "P4", "on": date(2026, 3, 1), "kind": "purchase", "count": 1,
         "quantity": 1},
        {"person_id": "p_ann", "product_id": "P3", "on": date(2026, 3, 1), "kind": "view", "count": 1, "quantity": 1},
    ]  # fmt: skip
    own_shop.write("gold.interactions", rows)
    own_shop.publish()
    client = own_shop.clients()("reader")
    new, every = (client.get(f"/v1/people/p_ann/recommendations?mode={m}").json()["items"] for m in ("new", "all"))
    assert [i["product_id"] for i in new] == ["P3", "P2"]
    assert [i["product_id"] for i in every] == ["P2", "P3"]


def test_a_former_id_in_an_earlier_edition_is_found(own_shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(own_shop, ("p_dan", "PROFILING", False, PAST, None))
    former = pl.DataFrame({"alias_id": ["p_bob"], "record_id": ["POS/4"]})  # what p_bob held is p_dan's now
    monkeypatch.setattr(jobs, "former_records", lambda lake: former)
    lake = LakeSettings(root=own_shop.lake.root, buckets=own_shop.lake.buckets)
    settings = Settings(lake=lake, state=str(own_shop.state))
    jobs.heed_refusals(settings)
    assert set(own_shop.lake.scan("gold.recommendations").collect()["person_id"]) == {"p_ann", "p_erased"}
    before = own_shop.lake.version("gold.recommendations")
    jobs.heed_refusals(settings)
    assert own_shop.lake.version("gold.recommendations") == before, "once"


def test_a_run_keeps_its_lock_until_refusals_are_heeded(own_shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def landing(*_: Any, **__: Any) -> Run:
        answers(own_shop, ("p_ann", "PERSONALIZATION", False, FUTURE, None))
        return Run("20260301T000000000000Z", "2026-03-01", "run")

    def intruding(lake: Lake, state: Any) -> None:
        with pytest.raises(LakeLocked), own_shop.lake.run_lock("another"):
            pass
        publish_refusals(lake, state)

    monkeypatch.setattr(jobs, "run_locked", landing)
    monkeypatch.setattr(jobs, "publish_refusals", intruding)
    lake = LakeSettings(root=own_shop.lake.root, buckets=own_shop.lake.buckets)
    jobs.run_pipeline(Settings(lake=lake, state=str(own_shop.state)), RunRequest(start="gold"))
    assert own_shop.lake.scan("gold.recommendations").filter(person_id="p_ann").collect().is_empty()
