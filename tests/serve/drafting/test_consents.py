"""Consent columns of unknown files: for what, which answers are a yes, and that nothing else is taken for one."""

from __future__ import annotations

import polars as pl
import pytest

from customer360.platform.sources.profiling.survey import Delivery, Place
from customer360.serve.compose import compose
from customer360.serve.drafting.consents import consents, unread
from customer360.serve.drafting.entries import Entry
from customer360.serve.drafting.meaning import meaning_of
from customer360.serve.drafting.names import vocabulary

WORDS = vocabulary()


def found(name: str, answers: list[str | None]) -> tuple[list[Entry], list[str]]:
    compose()
    rows = {
        "customer_id": [f"K{i}" for i in range(len(answers))],
        "email": [f"p{i}@example.org" for i in range(len(answers))],
    }
    delivery = Delivery(
        "customers.csv",
        Place("customers.csv"),
        ("customers.csv",),
        pl.DataFrame({**rows, name: answers}),
        1,
        whole=True,
    )
    meaning = meaning_of(delivery, WORDS)
    return consents(meaning, "customers", WORDS), unread(meaning, WORDS)


@pytest.mark.parametrize(
    ("name", "answers", "purpose", "yes"),
    [
        ("Einwilligung Newsletter", ["ja", "nein", None], "EMAIL", "'ja'"),
        ("accepts_marketing", ["true", "false"], "EMAIL", "'true'"),
        ("optin_sms", ["1", "0", ""], "SMS", "'1'"),
        ("acceptsPhoneCalls", ["Y", "N"], "PHONE", "'y'"),
        ("email_opt_out", ["1", "0"], "EMAIL", "'0'"),
        ("do_not_call", ["yes", "no"], "PHONE", "'no'"),
        ("Statut", ["subscribed", "unsubscribed", "cleaned"], "EMAIL", "'subscribed'"),
        ("nieuwsbrief", ["ja", "nee"], "EMAIL", "'ja'"),
        ("newsletter", ["oui", "oui"], "EMAIL", "'oui'"),
    ],
)
def test_answers_are_read_for_a_purpose(name: str, answers: list[str | None], purpose: str, yes: str) -> None:
    made, _ = found(name, answers)
    assert [entry.name for entry in made] == [f"customers_{purpose.lower()}_consents"]
    value = made[0].mapping["PREFERENCE_VALUE"].expression
    assert f"IN ({yes}) THEN '{purpose}:YES'" in value
    assert [bool(entry.asks) for entry in made] == ["cleaned" in answers]


@pytest.mark.parametrize(
    ("name", "answers"),
    [
        ("checked_out", ["yes", "no"]),
        ("Subscription Status", ["Yes", "No"]),
        ("gender", ["m", "f"]),
        ("newsletter", ["weekly", "monthly"]),
        ("accepts_terms", ["1", "0"]),
        ("gdpr", ["yes", "no"]),
    ],
)
def test_other_columns_give_no_consent(name: str, answers: list[str | None]) -> None:
    assert found(name, answers)[0] == []


@pytest.mark.parametrize(
    ("name", "answers", "asked"),
    [
        ("newsletter", ["weekly", "monthly"], "what do 'monthly', 'weekly' mean"),
        ("gdpr", ["yes", "no"], "is that consent to be contacted"),
    ],
)
def test_what_cannot_be_read_is_asked(name: str, answers: list[str | None], asked: str) -> None:
    assert [asked in text for text in found(name, answers)[1]] == [True]


def test_an_unknown_answer_is_left_out_and_asked() -> None:
    made, _ = found("newsletter", ["ja", "nein", "vielleicht"])
    assert "vielleicht" not in made[0].where
    assert "'vielleicht'" in made[0].asks[0]
