"""What a steward is shown: the queue page by page, and the words of a pair."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from customer360.models.identity.weighing.households import HOUSEHOLD, TWINS
from customer360.platform import access
from customer360.platform.settings import Settings
from customer360.serve.app import build_app
from customer360.serve.console.steward import QUEUE_LENGTH, told


@pytest.mark.parametrize(("reason", "level", "words"), [
    (HOUSEHOLD, None, "given names differ and there is no birth date to compare"),
    (HOUSEHOLD, "different", HOUSEHOLD),
    (TWINS, None, TWINS),
    (None, None, None),
])  # fmt: skip
def test_a_missing_birth_date_is_not_called_another(reason: str | None, level: str | None, words: str | None) -> None:
    evidence: list[dict[str, Any]] = [{"comparison": "date_of_birth", "level": level, "weight": 0.0}]
    assert told({"reason": reason, "evidence": evidence}) == words


def test_a_pair_without_a_score_has_no_evidence() -> None:
    assert told({"reason": None, "evidence": None}) is None


class Waiting:
    """A desk where so many pairs wait."""

    def __init__(self, count: int) -> None:
        self.count = count

    def queue(self, limit: int, after: int = 0) -> list[dict[str, Any]]:
        told_of = {"match_weight": 3.0, "reason": None, "evidence": None, "against": None}
        return [{"record_id_l": f"POS/{n}", "record_id_r": f"CRM/{n}", **told_of}
                for n in range(after, min(after + limit, self.count))]  # fmt: skip

    def queue_length(self) -> int:
        return self.count


def test_every_pair_that_waits_is_counted_and_on_some_page(published: Any) -> None:
    app = build_app(Settings(state=str(published.state)))
    app.state.desk = Waiting(2 * QUEUE_LENGTH + 1)
    client = TestClient(app, follow_redirects=False)
    client.cookies.set("c360_key", access.issue(published.state, "who reads all pages", "steward"), path="/console")
    pages = [client.get(f"/console/review?page={number}").text for number in (1, 2, 3, 4)]
    assert [page.count("Compare</a>") for page in pages] == [QUEUE_LENGTH, QUEUE_LENGTH, 1, 0]
    assert all("201 pairs wait" in page for page in pages) and "no such page" in pages[3]
    assert ["?page=2" in pages[0], "?page=3" in pages[1], "?page=4" in pages[2]] == [True, True, False]
