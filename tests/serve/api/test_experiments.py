"""Arms over HTTP: consent first, exposures durable and landed, and nothing written for who is in no arm."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from starlette.testclient import TestClient

from customer360.platform import access, tables
from customer360.platform.run import lake_of
from customer360.platform.settings import Settings
from customer360.platform.sources.base import configured
from customer360.platform.sources.journal import Own
from customer360.platform.sources.landing import landing_of
from customer360.platform.sources.protocols.hooks.journal import Journal
from customer360.serve.activation.bandits import Thompson
from customer360.serve.activation.experiments import register
from customer360.serve.activation.experiments.assignment import place
from customer360.serve.api import experiments
from customer360.serve.app import build_app
from customer360.serve.compose import compose
from customer360.serve.realtime.activity import Activity, Step, visitor

compose()
RULES = {
    "metrics": {"bought": {"measure": "any"}, "added": {"table": "silver.events"}},
    "experiments": {
        "banner": {"description": "B", "arms": {"old": 0.5, "new": 0.5}, "metrics": ["bought"]},
        "guests": {"description": "G", "unit": "visitor", "arms": {"old": 0.5, "new": 0.5}, "metrics": ["bought"],
                   "where": {"country": ["DE"]}},
        "mails": {"description": "M", "arms": {"old": 0.5, "new": 0.5}, "metrics": ["bought"], "purpose": "EMAIL"},
        "mix": {"description": "X", "kind": "interleaving", "arms": {"item_to_item": 0.5, "two_tower": 0.5},
                "metrics": ["added"]},
        "waits": {"description": "W", "arms": {"old": 0.5, "new": 0.5}, "metrics": ["bought"]},
    },
}  # fmt: skip


@pytest.fixture
def running(own_shop: Any, tmp_path: Path) -> tuple[Settings, Callable[[str], TestClient]]:
    """A published shop with experiments that started, and clients by role."""
    own_shop.write("gold.recommendations", [
        *own_shop.ranked("p_ann", ["P2", "P3"]), *own_shop.ranked("p_ann", ["P4", "P2"], model="two_tower")
    ])  # fmt: skip
    own_shop.publish()
    (tmp_path / "experiments.yaml").write_text(yaml.safe_dump(RULES, sort_keys=False))
    settings = Settings.model_validate({
        "state": str(own_shop.state), "landing": str(tmp_path / "landing"),
        "lake": {"root": own_shop.lake.root, "buckets": own_shop.lake.buckets},
        "rules": {"experiments": str(tmp_path / "experiments.yaml")},
        "sources": {"own": {"table": "bronze.exposures", "system": "SHOP", "kind": "journal"}},
    })  # fmt: skip
    for name in ("banner", "guests", "mails", "mix"):
        register.start(settings, name, actor="me")
    app = build_app(settings)
    app.state.store._poll_seconds = 0

    def client(role: str) -> TestClient:
        return TestClient(app, headers={"X-API-Key": access.issue(own_shop.state, role, role)})

    return settings, client


def written(settings: Settings) -> list[dict[str, Any]]:
    """The records that the source of exposures would land."""
    source = configured(settings, "own")
    assert isinstance(source, Own)
    landing = landing_of(settings)
    pieces = source.discover(landing, []).inputs
    return [row for piece in pieces for row in source.read(landing, piece).frame.to_dicts()]


def test_the_arm_is_that_of_the_hash_and_asking_writes_nothing(running: Any) -> None:
    settings, client = running
    said = client("reader").get("/v1/experiments/banner/assignment?subject=p_ann").json()
    assert said["arm"] == ("old" if place("banner", "p_ann") < 0.5 else "new") and said["propensity"] == 0.5
    assert not written(settings)


def test_who_refused_is_in_no_arm_and_no_exposure_is_kept(running: Any) -> None:
    settings, client = running
    for answer in (
        client("service").post("/v1/experiments/banner/exposures", json={"person_id": "p_bob"}),
        client("reader").get("/v1/experiments/banner/assignment?subject=p_bob"),
    ):
        assert answer.status_code == 200 and answer.json()["arm"] is None
    visitor = {"visitor_id": "V1", "person_id": "p_bob", "attributes": {"country": "DE"}}
    assert client("steward").post("/v1/experiments/guests/exposures", json=visitor).json()["arm"] is None
    assert not written(settings)


def test_what_an_event_just_refused_leads_to_no_arm(running: Any) -> None:
    _, client = running
    refused = {"SHOP/9", "visitor/V1"}
    no = Activity(refused=frozenset({"PERSONALIZATION"}))
    service = client("service")
    of = SimpleNamespace(of=lambda *subjects: no if refused & set(subjects) else Activity())
    service.app.state.activities = of
    assert service.get("/v1/experiments/banner/assignment?subject=p_ann").json()["arm"] is None
    known = {"attributes": {"country": "DE"}}
    arms = [
        service.post("/v1/experiments/guests/exposures", json=known | {"visitor_id": v}).json()["arm"]
        for v in ("V1", "V2")
    ]
    assert (arms[0], arms[1] in ("old", "new")) == (None, True)


def test_a_visitor_whom_nobody_asked_is_what_the_rule_says_of_the_purpose(running: Any) -> None:
    _, client = running
    known = {"visitor_id": "V1", "attributes": {"country": "DE"}}
    said = client("service").post("/v1/experiments/guests/exposures", json=known)
    assert said.json()["arm"] in ("old", "new"), "silence allows personalization by the rule file"
    unknown = client("admin").post("/v1/experiments/guests/exposures", json={"visitor_id": "V1"})
    assert unknown.json()["arm"] is None, "an unknown country does not qualify"


def test_an_exposure_is_written_once_under_the_account(running: Any) -> None:
    settings, client = running
    service = client("service")
    for _ in range(2):
        said = service.post("/v1/experiments/banner/exposures", json={"person_id": "p_ann", "exposure_id": "e-1"})
        assert said.status_code == 200 and said.json()["exposure_id"] == "e-1", said.text
    (row,) = written(settings)
    assert (row["CUSTOMER_ID"], row["ARM"], row["EXPERIMENT"]) == ("9", said.json()["arm"], "banner")
    assert row["PROPENSITY"] is not None and "p_ann" not in str(row)


def test_a_person_without_an_account_of_the_source_needs_a_visitor(running: Any) -> None:
    settings, client = running
    service = client("service")
    refused = service.post("/v1/experiments/banner/exposures", json={"person_id": "p_cyd"})
    assert refused.status_code == 422 and "SHOP" in refused.text
    taken = service.post("/v1/experiments/banner/exposures", json={"person_id": "p_cyd", "visitor_id": "V7"})
    assert taken.status_code == 200 and written(settings)[0]["VISITOR_ID"] == "V7"


def test_a_mixed_list_says_who_gave_what_and_is_written_item_by_item(running: Any) -> None:
    settings, client = running
    said = client("service").post("/v1/experiments/mix/exposures", json={"person_id": "p_ann", "k": 3}).json()
    assert {item["product_id"] for item in said["items"]} == {"P2", "P3", "P4"}
    rows = written(settings)
    assert [(r["PRODUCT_ID"], r["ARM"]) for r in rows] == [(i["product_id"], i["arm"]) for i in said["items"]]


def test_one_id_in_two_experiments_is_two_exposures(running: Any) -> None:
    settings, client = running
    body = {"person_id": "p_ann", "exposure_id": "e-1", "visitor_id": "V1", "attributes": {"country": "DE"}}
    service = client("service")
    for name in ("banner", "guests"):
        assert service.post(f"/v1/experiments/{name}/exposures", json=body).json()["arm"] is not None
    assert {row["EXPERIMENT"] for row in written(settings)} == {"banner", "guests"}
    assert {"EXPOSURE_ID", "EXPERIMENT"} <= set(tables.spec(tables.by_name("bronze.exposures")).key)
    assert "experiment" in tables.by_name("silver.exposures").primary_key()


def test_an_exposure_sent_again_is_answered_as_it_was_written(running: Any) -> None:
    """Also where the arm would be another now. After a restart a hash says again what it said; of a bandit, whose arm
    may be another now, it is refused."""
    settings, client = running
    service = client("service")
    trials = service.app.state.trials  # type: ignore[attr-defined]
    body = {"person_id": "p_ann", "exposure_id": "e-1"}
    first = service.post("/v1/experiments/banner/exposures", json=body).json()
    of = trials.now()["banner"]
    other = {"old": "new", "new": "old"}[first["arm"]]
    bandit = replace(of, learnt=Thompson((other,), (1,), (1,), 0.05), edition=2)
    trials.running._known = trials.now() | {"banner": bandit}
    assert service.post("/v1/experiments/banner/exposures", json=body).json() == first
    taken = service.post("/v1/experiments/banner/exposures", json=body | {"person_id": "p_cyd", "visitor_id": "V7"})
    assert taken.status_code == 409 and "another subject" in taken.text
    restarted(trials)
    assert service.post("/v1/experiments/banner/exposures", json=body).status_code == 409
    trials.running._known = trials.now() | {"banner": of}
    assert service.post("/v1/experiments/banner/exposures", json=body).json() == first
    assert [row["ARM"] for row in written(settings)] == [first["arm"]]


def restarted(trials: Any) -> None:
    """As a process that begins: what was answered is forgotten, what was written is read again."""
    trials._answers.clear()
    trials._remembered = 0
    trials._journals.clear()


def test_one_exposure_posted_many_times_at_once_is_one(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of a mixed list, whose second answer could otherwise only be a refusal."""
    settings, client = running
    service = client("service")
    append_all = Journal.append_all

    def slowly(self: Journal, *args: Any, **named: Any) -> list[bool]:
        time.sleep(0.05)
        return append_all(self, *args, **named)

    monkeypatch.setattr(Journal, "append_all", slowly)
    body = {"person_id": "p_ann", "exposure_id": "e-1", "k": 3}
    with service, ThreadPoolExecutor(4) as pool:
        said = list(pool.map(lambda _: service.post("/v1/experiments/mix/exposures", json=body), range(4)))
    assert [each.status_code for each in said] == [200] * 4
    assert all(each.json() == said[0].json() for each in said) and len(written(settings)) == 3


def test_a_mixed_list_asked_for_longer_after_a_restart_leaves_what_is_written(running: Any) -> None:
    settings, client = running
    service = client("service")
    body = {"person_id": "p_ann", "exposure_id": "e-1", "k": 1}
    assert len(service.post("/v1/experiments/mix/exposures", json=body).json()["items"]) == 1
    restarted(service.app.state.trials)  # type: ignore[attr-defined]
    assert service.post("/v1/experiments/mix/exposures", json=body | {"k": 3}).status_code == 409
    assert len(written(settings)) == 1


def test_what_is_remembered_of_answers_is_bounded_with_their_items(
    running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, client = running
    monkeypatch.setattr(experiments, "REMEMBERED", 8)
    service = client("service")
    for number in range(3):
        body = {"person_id": "p_ann", "exposure_id": f"e-{number}", "k": 3}
        assert service.post("/v1/experiments/mix/exposures", json=body).status_code == 200
    kept = service.app.state.trials._answers  # type: ignore[attr-defined]
    assert list(kept) == ["mix/e-1", "mix/e-2"] and len(kept["mix/e-2"].items) == 3


def test_who_refuses_just_now_is_in_no_arm(running: Any) -> None:
    _, client = running
    service = client("service")
    step = Step("", datetime.now(UTC), refused=frozenset({"PERSONALIZATION"}))
    activities = service.app.state.activities  # type: ignore[attr-defined]
    activities.note_all([(step, visitor("V1"), None)])
    for body in ({"visitor_id": "V1"}, {"visitor_id": "V1", "person_id": "p_ann"}):
        said = service.post("/v1/experiments/guests/exposures", json=body | {"attributes": {"country": "DE"}})
        assert said.status_code == 200 and said.json()["arm"] is None


def test_attributes_of_the_caller_hold_beside_those_of_the_profile(running: Any) -> None:
    _, client = running
    body = {"visitor_id": "V5", "person_id": "p_ann", "attributes": {"country": "DE"}}
    assert client("service").post("/v1/experiments/guests/exposures", json=body).json()["arm"] is not None
    asked = client("reader").get("/v1/experiments/guests/assignment?subject=V5")
    assert asked.status_code == 422 and "country" in asked.text, "it cannot be told here, which is no arm"


def test_one_that_cannot_be_read_is_named_and_takes_no_other_along(running: Any) -> None:
    settings, client = running
    lake_of(settings).put("_experiments/mails.json", b"{")
    assert client("reader").get("/v1/experiments/banner/assignment?subject=p_ann").json()["arm"]
    browser = client("service")
    browser.cookies.set("c360_key", access.issue(Path(settings.state), "browser", "service"))
    page = browser.get("/console/experiments")
    assert page.status_code == 200 and "Left out: " in page.text and "mails.json" in page.text
    assert browser.get("/console/experiments/mails").status_code == 503


@pytest.mark.parametrize(("role", "path", "body", "status"), [
    ("reader", "banner", {"person_id": "p_ann"}, 403),
    ("service", "waits", {"person_id": "p_ann"}, 404),
    ("service", "nothing", {"person_id": "p_ann"}, 404),
    ("service", "BANNER", {"person_id": "p_ann"}, 422),
    ("service", "banner", {"person_id": "p_nobody"}, 404),
    ("service", "banner", {"visitor_id": "V1"}, 422),
    ("service", "banner", {"person_id": "p_ann", "exposure_id": "a b\n"}, 422),
    ("service", "banner", {"person_id": "p_ann", "colour": 1}, 422),
])  # fmt: skip
def test_what_cannot_be_is_refused(running: Any, role: str, path: str, body: dict[str, Any], status: int) -> None:
    settings, client = running
    assert client(role).post(f"/v1/experiments/{path}/exposures", json=body).status_code == status
    assert not written(settings)


def test_nobody_sends_webhooks_to_what_the_application_writes(running: Any) -> None:
    _, client = running
    assert client("admin").post("/hooks/own", json={"EXPOSURE_ID": "forged"}).status_code == 401


def test_the_page_shows_reports_and_where_the_file_says_otherwise(running: Any, tmp_path: Path) -> None:
    settings, client = running
    browser = client("service")
    browser.cookies.set("c360_key", access.issue(Path(settings.state), "browser", "service"))
    overview = browser.get("/console/experiments")
    assert overview.status_code == 200 and "banner" in overview.text and "not started: waits" in overview.text
    assert "otherwise" not in overview.text
    later = deepcopy(RULES)
    later["experiments"]["banner"] |= {"window_days": 3}  # type: ignore[index]
    (tmp_path / "experiments.yaml").write_text(yaml.safe_dump(later, sort_keys=False))
    assert "window_days" in browser.get("/console/experiments").text
    page = browser.get("/console/experiments/banner")
    assert page.status_code in (200, 503) and "<script" not in page.text
    assert browser.get("/console/experiments/nothing").status_code == 404
