"""The console page of journeys: the newest edition of each table, every figure with its interval."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

import pytest
from starlette.testclient import TestClient

from customer360.platform import access
from customer360.platform.settings import LakeSettings, Settings
from customer360.serve.app import build_app

NEW, OLD = date(2026, 3, 1), date(2026, 2, 1)


def move(origin: str, to: str, count: int, of: int, as_of: date = NEW, **more: Any) -> dict[str, Any]:
    rate = count / of
    return {"as_of": as_of, "from_stage": origin, "to_stage": to, "transition_count": count, "from_count": of,
            "rate": rate, "rate_low": rate - 0.02, "rate_high": rate + 0.02, "is_back": False, **more}  # fmt: skip


def step(funnel: str, number: int, name: str, counts: tuple[int, int, int], **more: Any) -> dict[str, Any]:
    entered, previous, reached = counts
    own, whole = reached / previous, reached / entered
    return {"as_of": NEW, "funnel": funnel, "period": "WHOLE", "period_start": OLD, "segment_by": "ALL",
            "segment": "ALL", "step_number": number, "step": name, "is_complete": True, "entered_count": entered,
            "previous_count": previous, "reached_count": reached, "step_rate": own, "step_rate_low": own,
            "step_rate_high": own, "total_rate": whole, "total_rate_low": whole, "total_rate_high": whole, **more}  # fmt: skip  # noqa: E501


def path(rank: int, told: str, count: int, **more: Any) -> dict[str, Any]:
    return {"as_of": NEW, "rank": rank, "path": told, "is_other": False, "purchase_count": count,
            "all_purchase_count": 1000, "guest_purchase_count": 77, "share": count / 1000, "share_low": 0.0,
            "share_high": 1.0, "mean_touch_count": 2.5, "median_hours": 60.0, **more}  # fmt: skip


@pytest.fixture
def browser(empty_shop: Any) -> TestClient:
    app = build_app(Settings(state=str(empty_shop.state), lake=LakeSettings(root=empty_shop.lake.root)))
    client = TestClient(app, follow_redirects=False)
    client.cookies.set("c360_key", access.issue(empty_shop.state, "Ida", "service"))
    return client


def cells(page: str, table: str) -> list[list[str]]:
    """Texts of the cells of a table, by row."""
    body = re.search(rf'<table id="{table}">.*?<tbody>(.*?)</tbody>', page, re.S)
    assert body, f"no table {table}"
    rows = [re.findall(r"<t[hd].*?>(.*?)</t[hd]>", r, re.S) for r in re.findall(r"<tr>(.*?)</tr>", body[1], re.S)]
    return [[re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", cell)).strip() for cell in row] for row in rows]


def test_before_anything_is_built_the_page_says_so(browser: TestClient) -> None:
    answer = browser.get("/console/journeys")
    assert answer.status_code == 200
    assert "gold.stage_transitions is empty or was not built" in answer.text
    assert 'href="/console/journeys"' in answer.text, "the menu leads here"


def test_the_newest_edition_is_told(browser: TestClient, empty_shop: Any) -> None:
    empty_shop.write("gold.stage_transitions", [
        move("START", "AWARENESS", 100, 100), move("AWARENESS", "CONVERSION", 30, 90, median_hours=7.0),
        move("CONVERSION", "AWARENESS", 5, 20, is_back=True, median_hours=72.0), move("AWARENESS", "END", 60, 90),
        move("START", "SERVICE", 9, 9, as_of=OLD),
    ])  # fmt: skip
    rows = cells(browser.get("/console/journeys").text, "stages")
    assert rows == [
        ["START", "100", "100 %", "", ""],
        ["AWARENESS", "90", "", "33 % 7.0 h", "67 %"],
        ["CONVERSION", "20", "25 % 3.0 days", "", ""],
    ]


def test_funnels_bottlenecks_and_paths(browser: TestClient, empty_shop: Any) -> None:
    by = {"segment_by": "channel"}
    empty_shop.write("gold.funnel_steps", [
        step("online", 1, "visit", (200, 200, 200)), step("online", 2, "basket", (200, 200, 50), median_hours=0.5),
        step("online", 1, "visit", (50, 50, 50), **by, segment="<mail>"),
        step("online", 1, "visit", (150, 150, 150), **by, segment="search"),
        step("service", 1, "question", (7, 7, 7)),
        step("online", 2, "basket", (9, 9, 1), period="MONTH"),
    ])  # fmt: skip
    empty_shop.write("gold.funnel_bottlenecks", [
        {"as_of": NEW, "funnel": "online", "segment_by": "channel", "segment": "search", "step_number": 2,
         "compared_with": against, "step": "basket", "month": OLD, "status": status, "rank": rank,
         "previous_count": 150, "reached_count": 30, "step_rate": 0.2, "other_previous_count": 900,
         "other_reached_count": 450, "other_rate": 0.5, "rate_change": -0.3, "rate_change_low": -0.36,
         "rate_change_high": -0.22, "adjusted_p": 1e-9, "lost_count": 45.0}
        for against, status, rank in [("PAST", "BOTTLENECK", 1), ("OTHERS", "NO_DIFFERENCE_SHOWN", None)]
    ])  # fmt: skip
    empty_shop.write("gold.purchase_paths", [
        *(path(n, f"visit {n}", 60 - n) for n in range(1, 31)), path(31, "(other)", 5, is_other=True),
    ])  # fmt: skip
    page = browser.get("/console/journeys").text
    funnel = re.search(r'<table class="funnel">.*?</table>', page, re.S)
    assert funnel and "basket" in funnel[0] and "25 %" in funnel[0] and "0.5 h" in funnel[0] and "11 %" not in page
    assert cells(page, "bottlenecks") == [
        ["online", "channel search", "basket", "2026-02", "20 %", "the months before, 50 %",
         "-30.0 points (-36.0 to -22.0)", "45"]
    ]  # fmt: skip
    told = cells(page, "paths")
    assert [row[0] for row in told] == [*map(str, range(1, 16)), ""] and told[-1][1] == "(other)"
    assert "77 purchases of guests" in page
    parts = browser.get("/console/journeys?funnel=online&by=channel").text
    assert parts.index("<h3>search</h3>") < parts.index("<h3>&lt;mail&gt;</h3>"), "the largest first, names escaped"
    assert browser.get("/console/journeys?funnel=service").text.count("question") == 1
    assert "<b>online</b>" in browser.get("/console/journeys?funnel=<script>&by=nothing").text


def test_a_reader_gets_no_page(browser: TestClient, empty_shop: Any) -> None:
    browser.cookies.clear()
    browser.cookies.set("c360_key", access.issue(empty_shop.state, "Bo", "reader"))
    assert browser.get("/console/journeys").status_code == 303
