"""The law of consent: what holds on a day follows from the answers, never from the order in which they arrived."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customer360.pipelines.consents import POINTS, WHOLES
from customer360.pipelines.silver.consent import Preferences
from customer360.pipelines.silver.engagement import ALWAYS, consent_intervals
from customer360.platform import tables

DAYS = [date(2026, 1, day) for day in (1, 2, 3)]
ANSWER = st.fixed_dictionaries(
    {
        "customer_id": st.sampled_from(["c1", "c2"]),
        "source_system": st.sampled_from(["CRM", "SHOP"]),
        "email_point": st.sampled_from([None, "a@x.org", "b@x.org"]),
        "phone_point": st.sampled_from([None, "4179000001"]),
        "purpose": st.sampled_from(["EMAIL", "EMAIL", "SMS", "PERSONALIZATION", "ALL", "MARKETING"]),
        "is_allowed": st.booleans(),
        "stated_on": st.sampled_from([None, *DAYS, *DAYS]),
    }
)


def intervals(answers: list[dict[str, Any]]) -> pl.DataFrame:
    common = {"person_id": "P", "subject_id": "P", "preference_type": "COMMUNICATION", "is_active": True}
    rows = [{**common, "preference_id": str(n), **answer} for n, answer in enumerate(answers)]
    return (
        consent_intervals(pl.DataFrame(rows, schema=dict(tables.schema(Preferences))).lazy())
        .collect()
        .sort("purpose", "valid_from")
    )


def at(found: pl.DataFrame, purpose: str, day: date) -> bool | None:
    holds = (pl.col("valid_from") <= day) & (pl.col("valid_to").is_null() | (pl.col("valid_to") > day))
    rows = found.filter(pl.col("purpose") == purpose, holds)["is_allowed"].to_list()
    assert len(rows) <= 1
    return rows[0] if rows else None


def held(answers: list[dict[str, Any]], purpose: str, day: date) -> bool | None:
    """The rules of pipelines.consents, said once more: one contact point after the other."""

    def point(answer: dict[str, Any]) -> str:
        known = answer[POINTS[purpose]] if purpose in POINTS else None
        return known or f"{answer['source_system']}/{answer['customer_id']}"

    def last(said: list[dict[str, Any]]) -> tuple[date, bool] | None:
        days = [a["stated_on"] or ALWAYS for a in said if (a["stated_on"] or ALWAYS) <= day]
        return (
            (max(days), all(a["is_allowed"] for a in said if (a["stated_on"] or ALWAYS) == max(days))) if days else None
        )

    ours = [a for a in answers if a["purpose"] == purpose or purpose in WHOLES.get(a["purpose"], ())]
    states = []
    for name in {point(a) for a in ours}:
        said = [a for a in ours if point(a) == name]
        own, whole = (last([a for a in said if (a["purpose"] == purpose) is is_own]) for is_own in (True, False))
        is_undated = any(a["stated_on"] is None and not a["is_allowed"] for a in said)
        if is_undated or (whole and not whole[1] and (own is None or own[0] <= whole[0])):
            states.append(False)
        elif own:
            states.append(own[1])
    return all(states) if states else None


@settings(max_examples=120, deadline=None)
@given(st.lists(ANSWER, max_size=7), st.randoms())
def test_law_of_consent(answers: list[dict[str, Any]], random: Any) -> None:
    found = intervals(answers)
    shuffled = random.sample(answers, len(answers))
    assert intervals(shuffled).equals(found), "in whatever order they arrive"
    for purpose in ("EMAIL", "SMS", "PERSONALIZATION", "PUSH"):
        for day in DAYS:
            assert at(found, purpose, day) == held(answers, purpose, day), (purpose, day)
    assert set(found["purpose"]).isdisjoint(WHOLES)


@pytest.mark.parametrize("more", [lambda a: [*a, a[0]], lambda a: [*a, {**a[0], "customer_id": "c2"}]])
def test_saying_it_twice_changes_nothing(more: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    no = {"customer_id": "c1", "source_system": "CRM", "email_point": "a@x.org", "phone_point": None,
          "purpose": "EMAIL", "is_allowed": False, "stated_on": DAYS[0]}  # fmt: skip
    assert intervals(more([no])).equals(intervals([no]))
