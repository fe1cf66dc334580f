"""Serving goes on with the last good generation and says that it is behind."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from customer360.platform.errors import LakeLocked, RunError
from customer360.platform.ledger import NodeRun, Run
from customer360.serve.publication import freshness


def attempt(state: Path, command: str = "run", node: str | None = "built", fault: Exception | None = None) -> None:
    """A run whose only node ended in a state, or that raised."""
    with freshness.watched(state, command) as ended:
        if fault:
            raise fault
        ended.append(Run("r", "2026-06-01", command, nodes=[NodeRun("gold.x", node)] if node else []))


def failed(state: Path, **failures: str) -> None:
    with pytest.raises(RunError):
        attempt(state, "run master", fault=RunError(failures or {"silver.events": "value 'secret' is wrong"}))


def test_a_run_that_was_published_leaves_nothing_behind(tmp_path: Path) -> None:
    assert freshness.behind(tmp_path) is None
    attempt(tmp_path)
    freshness.published(tmp_path)
    assert freshness.behind(tmp_path) is None


def test_a_failed_run_is_named_by_its_nodes_without_what_they_said(tmp_path: Path) -> None:
    failed(tmp_path)
    reason = freshness.behind(tmp_path)
    assert (
        reason is not None
        and reason.startswith("the run `run master` of 2")
        and reason.endswith("failed in silver.events")
    )
    failed(tmp_path, a="", b="", c="", d="", e="")
    assert str(freshness.behind(tmp_path)).endswith("failed in a, b, c and 2 more")
    freshness.published(tmp_path)
    assert freshness.behind(tmp_path) is None


def test_newer_tables_that_are_not_published_are_reason(tmp_path: Path) -> None:
    attempt(tmp_path, "run gold")
    assert str(freshness.behind(tmp_path)).endswith("built newer tables that are not published")


def test_a_run_without_news_or_without_the_lock_changes_nothing(tmp_path: Path) -> None:
    attempt(tmp_path, node="current")
    assert freshness.behind(tmp_path) is None
    failed(tmp_path)
    before = freshness.behind(tmp_path)
    attempt(tmp_path, node="current")
    with pytest.raises(LakeLocked):
        attempt(tmp_path, "run bronze", fault=LakeLocked("another run"))
    assert before is not None and freshness.behind(tmp_path) == before


def test_a_run_under_way_is_no_failure_and_a_dead_one_is(tmp_path: Path) -> None:
    with freshness.watched(tmp_path, "run"):
        assert freshness.behind(tmp_path) is None
        note = (tmp_path / "online" / freshness.NOTE).read_text()
    (tmp_path / "online" / freshness.NOTE).write_text(note)  # as a killed process leaves it
    assert str(freshness.behind(tmp_path)).endswith("broke off")


def test_what_failed_before_stays_reason_during_the_next_run(tmp_path: Path) -> None:
    failed(tmp_path)
    before = freshness.behind(tmp_path)
    with freshness.watched(tmp_path, "run"):
        assert freshness.behind(tmp_path) == before


def test_a_publication_put_back_is_stale_until_the_newest_is(tmp_path: Path) -> None:
    failed(tmp_path)
    before = freshness.behind(tmp_path)
    for _ in range(2):
        freshness.restored(tmp_path, is_newest=False)
        assert str(freshness.behind(tmp_path)).startswith("an earlier publication was put back at 2")
    freshness.restored(tmp_path, is_newest=True)
    assert before is not None and freshness.behind(tmp_path) == before
    freshness.restored(tmp_path, is_newest=False)
    freshness.published(tmp_path)
    assert freshness.behind(tmp_path) is None


def test_any_other_error_counts_as_a_failure(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no disk"):
        attempt(tmp_path, fault=OSError("no disk"))
    assert str(freshness.behind(tmp_path)).endswith("failed")


def test_answers_and_health_say_that_they_are_stale_and_why(own_shop: Any) -> None:
    own_shop.publish()
    ask = own_shop.clients()
    paths = ("/v1/people/p_ann", "/v1/people/p_ann/scores", "/v1/people/p_ann/recommendations")
    for path in paths:
        answer = ask("reader").get(path).json()
        assert (answer["is_stale"], answer["stale_because"]) == (False, None)
    assert ask(None).get("/healthz").json()["is_stale"] is False
    failed(own_shop.state)
    for path in paths:
        response = ask("reader").get(path)
        assert response.status_code == 200 and response.json()["is_stale"]
        assert response.json()["stale_because"].endswith("failed in silver.events")
    health = ask(None).get("/healthz")
    assert (health.status_code, health.json()["status"], health.json()["is_stale"]) == (200, "stale", True)
    assert health.json()["stale_because"].endswith("failed in silver.events")


def test_an_old_publication_is_stale_without_any_run(own_shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    generation = own_shop.publish()
    later = generation.published_at + freshness.STALE_AFTER + timedelta(hours=1)
    assert freshness.staleness(generation, None, later) == "published 37 hours ago, which is over 36"
    assert freshness.staleness(generation, None, generation.published_at) is None
    assert freshness.staleness(generation, "why", generation.published_at) == "why"


@pytest.mark.parametrize(("command", "shown"), [
    ("run --no-publish --full-refresh gold.customer_360 --config /srv/x/acme-secret.yaml", "run"),
    ("run gold --config /srv/x/acme-secret.yaml", "run gold"),
    ("run gold.customer_360", "run gold.customer_360"),
    ("erase", "erase"),
    ("/srv/secret/customer360", "run"),
])  # fmt: skip
def test_a_reason_tells_no_command_line(tmp_path: Path, command: str, shown: str) -> None:
    attempt(tmp_path, command)
    assert str(freshness.behind(tmp_path)).startswith(f"the run `{shown}` of 2")
    note = tmp_path / "online" / freshness.NOTE
    old = json.loads(note.read_text()) | {"command": command}  # as it was written before
    note.write_text(json.dumps(old))
    assert str(freshness.behind(tmp_path)).startswith(f"the run `{shown}` of 2")


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"state": "failed"}', '{"state": ["x"]}', "\x00\xff", '{"a',
                                  '{"state": "restored", "at": "2026", "before": {"state": 1}}'])  # fmt: skip
def test_a_note_that_cannot_be_read_is_said_and_mended_by_the_next_run(own_shop: Any, text: str) -> None:
    own_shop.publish()
    (own_shop.state / "online" / freshness.NOTE).write_text(text)
    health = own_shop.clients()(None).get("/healthz")
    assert (health.status_code, health.json()["status"]) == (200, "stale")
    assert health.json()["stale_because"] == "what became of the last run cannot be read"
    assert own_shop.clients()("reader").get("/v1/people/p_ann").json()["is_stale"]
    freshness.restored(own_shop.state, is_newest=False)
    failed(own_shop.state)
    freshness.published(own_shop.state)
    assert freshness.behind(own_shop.state) is None
