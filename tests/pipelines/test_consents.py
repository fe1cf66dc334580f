"""The law of consent: what holds on a day follows from the answers, never from the order in which they arrived."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customer360.pipelines.bronze.consent import Preferences as Delivered
from customer360.pipelines.consents import POINTS, RESTING, WHOLES, answers_of_who_refuses, denied_by
from customer360.pipelines.silver.consent import Preferences
from customer360.pipelines.silver.engagement import ALWAYS, consent_intervals
from customer360.platform import quality, tables
from customer360.platform.run.records import current_records

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


def versions(rows: list[tuple[str, str, date | None]], batches: list[int]) -> pl.DataFrame:
    fixed = {"_source_system": "CRM", "_file": "f", "_ingested_at": datetime(2026, 2, 1, tzinfo=UTC),
             "PREFERENCE_ID": "1", "CUSTOMER_ID": "c", "PREFERENCE_TYPE": "COMMUNICATION"}  # fmt: skip
    full = [
        {**fixed, "_source": source, "_seq": seq, "_position": n, "PREFERENCE_VALUE": f"EMAIL:{said}",
         "PREFERENCE_DATE": day}
        for n, ((source, said, day), seq) in enumerate(zip(rows, batches, strict=True), 1)
    ]  # fmt: skip
    return pl.DataFrame(full, schema=tables.schema(Delivered))


@pytest.mark.parametrize(
    ("rows", "allowed"),
    [
        ([("a", "YES", DAYS[0]), ("a", "NO", None)], False),
        ([("a", "NO", None), ("a", "YES", DAYS[0])], True),
        ([("a", "NO", DAYS[0]), ("a", "YES", None)], False),
        ([("a", "NO", None), ("a", "YES", None)], True),
        ([("a", "NO", DAYS[1]), ("a", "YES", DAYS[0])], False),
        ([("a", "YES", DAYS[0]), ("b", "NO", None)], False),
        ([("b", "NO", None), ("a", "YES", DAYS[0])], False),
        ([("b", "YES", None), ("a", "NO", None)], False),
    ],
)
def test_of_versions_of_one_answer_an_undated_refusal_is_not_lost(
    rows: list[tuple[str, str, date | None]], allowed: bool
) -> None:
    (row,) = current_records(Delivered, versions(rows, [1] * len(rows)), set()).rows.to_dicts()
    assert row["PREFERENCE_VALUE"] == ("EMAIL:YES" if allowed else "EMAIL:NO")


@pytest.mark.parametrize("files", [("day8.csv", "day9.csv"), ("day9.csv", "day10.csv")])
def test_which_answer_came_later_is_told_by_the_numbers_of_the_files(files: tuple[str, str]) -> None:
    rows = versions([("a", "YES", DAYS[0]), ("a", "NO", None)], [1, 1]).with_columns(_file=pl.Series(files))
    assert current_records(Delivered, rows, set()).rows["PREFERENCE_VALUE"].to_list() == ["EMAIL:NO"]


VERSION = st.tuples(st.sampled_from("ab"), st.sampled_from(["YES", "NO"]), st.sampled_from([None, *DAYS]))


@settings(max_examples=80, deadline=None)
@given(st.lists(VERSION, max_size=7), st.lists(st.booleans(), min_size=7, max_size=7), st.randoms())
def test_law_of_versions(rows: list[tuple[str, str, date | None]], cuts: list[bool], random: Any) -> None:
    whole = versions(rows, [1] * len(rows))
    current = current_records(Delivered, whole, set())
    assert quality.record_balance("answers", current.facts | {"silver": current.rows.height, "set_apart": 0}).holds
    split = versions(rows, [1 + sum(cuts[:i]) for i in range(len(rows))])
    for other in (split, whole.sample(fraction=1, shuffle=True, seed=random.randint(0, 99))):
        made = current_records(Delivered, other, set())
        assert made.facts == current.facts and made.rows.drop("_seq").equals(current.rows.drop("_seq"))


@pytest.mark.parametrize(
    ("said", "denied"),
    [
        ({}, {}),
        ({"PERSONALIZATION": False}, {"PERSONALIZATION": "refused", "PROFILING": "follows", "TRAINING": "follows"}),
        ({"PROFILING": False}, {"PERSONALIZATION": "follows", "PROFILING": "refused", "TRAINING": "follows"}),
        ({"TRAINING": False}, {"TRAINING": "refused"}),
        ({"PERSONALIZATION": False, "PROFILING": True}, {"PERSONALIZATION": "refused"}),
        ({"PROFILING": False, "PERSONALIZATION": True}, {"PERSONALIZATION": "follows", "PROFILING": "refused",
                                                         "TRAINING": "follows"}),
        ({"PROFILING": False, "TRAINING": True}, {"PERSONALIZATION": "follows", "PROFILING": "refused"}),
        ({"EMAIL": False, "SMS": True, "SALE": False}, {"EMAIL": "refused", "SALE": "refused"}),
    ],
)  # fmt: skip
def test_what_a_refusal_denies_beside_itself(said: dict[str, bool], denied: dict[str, str]) -> None:
    rows = [("P", purpose, yes) for purpose, yes in said.items()]
    now = pl.LazyFrame(rows, schema={"person_id": pl.String, "purpose": pl.String, "is_allowed": pl.Boolean},
                       orient="row")  # fmt: skip
    people = pl.LazyFrame({"person_id": ["P"]})
    found = denied_by(people, now, dict.fromkeys(RESTING, True)).collect()
    assert dict(found.select("purpose", "because").iter_rows()) == denied
    strict = denied_by(people, now, {**dict.fromkeys(RESTING, True), "TRAINING": False}).collect()
    told = dict(strict.select("purpose", "because").iter_rows())
    unasked = {} if "TRAINING" in said else {"TRAINING": denied.get("TRAINING", "not asked")}
    assert told == denied | unasked, "a rule file that asks for a yes"


@pytest.mark.parametrize(
    ("value", "lasts"),
    [("EMAIL:NO", True), ("email: no ", True), ("MARKETING:NO", True), ("EMAIL", True), ("HARD_BOUNCE", True),
     ("EMAIL:unsubscribed", True), ("", True), ("EMAIL:YES", False), ("sms: allow ", False)],
)  # fmt: skip
def test_no_age_takes_a_refusal_away_nor_what_the_account_answered_else(value: str, lasts: bool) -> None:
    stored = pl.LazyFrame({
        "_source_system": ["CRM"] * 4,
        "CUSTOMER_ID": ["1", "1", "1", "2"],
        "PREFERENCE_TYPE": ["COMMUNICATION", "COMMUNICATION", "BRAND", "COMMUNICATION"],
        "PREFERENCE_VALUE": [value, "PUSH:YES", "tea", "EMAIL:YES"],
    })  # fmt: skip
    assert stored.select(answers_of_who_refuses(stored)).collect().to_series().to_list() == [lasts, lasts, False, False]
