"""Who may be contacted: a brute force over persons says the same, and every person counts once a purpose and day."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from customer360.pipelines.gold.permissions import consent_exposure, contact_permissions
from customer360.pipelines.rules import EnrichmentRules
from customer360.pipelines.silver.consent import Preferences
from customer360.pipelines.silver.engagement import consent_intervals
from customer360.platform import tables

RULES, AS_OF = EnrichmentRules(), date(2026, 5, 1)
Answer = tuple[str, str, date, date | None, bool]


def people(*rows: tuple[str, str | None, str | None]) -> pl.LazyFrame:
    names = {"person_id": pl.String, "email_address": pl.String, "phone_number": pl.String}
    return pl.LazyFrame(list(rows), schema=names, orient="row")


def answers(*rows: Answer) -> pl.LazyFrame:
    names = {
        "person_id": pl.String,
        "purpose": pl.String,
        "valid_from": pl.Date,
        "valid_to": pl.Date,
        "is_allowed": pl.Boolean,
    }
    return pl.LazyFrame(list(rows), schema=names, orient="row")


def denials(*rows: tuple[str, str, str]) -> pl.LazyFrame:
    return pl.LazyFrame(
        list(rows), schema={"person_id": pl.String, "purpose": pl.String, "because": pl.String}, orient="row"
    )


def messages(*rows: tuple[str, datetime | None]) -> pl.LazyFrame:
    names = {"person_id": pl.String, "unsubscribed_at": pl.Datetime("us", "UTC")}
    return pl.LazyFrame(list(rows), schema=names, orient="row")


def preferences(*rows: dict[str, Any]) -> pl.LazyFrame:
    """Answers by e-mail or telephone of P, of a day in March, unless told otherwise."""
    common = {"person_id": "P", "subject_id": "P", "source_system": "CRM", "preference_type": "COMMUNICATION",
              "is_active": True, "is_allowed": True, "purpose": "EMAIL", "stated_on": DAY}  # fmt: skip
    schema = tables.schema(Preferences)
    given = [{**dict.fromkeys(schema), **common, "preference_id": str(n), **row} for n, row in enumerate(rows)]
    return pl.DataFrame(given, schema=dict(schema), orient="row").lazy()


DAY = date(2026, 3, 1)
A, B = ({"customer_id": str(n), "email_point": f"{n}@x.test"} for n in (1, 2))
NO_ADDRESS = {"customer_id": "3"}


def permitted(golden: str | None, *said: dict[str, Any], rules: EnrichmentRules = RULES) -> tuple[str, str | None]:
    """Reason and contact point of e-mail of P, whose golden record has this address."""
    asked = preferences(*said)
    held = consent_intervals(asked)
    rows = contact_permissions(people(("P", golden, None)), held, asked, messages(), denials(), AS_OF, rules).collect()
    row = rows.filter(channel="EMAIL").row(0, named=True)
    return row["reason"], row["contact_point"]


@pytest.mark.parametrize(
    ("golden", "said", "expected"),
    [
        ("2@x.test", [A], ("ALLOWED", "1@x.test")),  # never the address that was not asked
        ("2@x.test", [A, B], ("ALLOWED", "2@x.test")),
        ("2@x.test", [A, B | {"is_allowed": False}], ("REFUSED", None)),
        ("2@x.test", [A, B | {"is_active": False, "stated_on": DAY}], ("ALLOWED", "1@x.test")),
        ("9@x.test", [NO_ADDRESS], ("ALLOWED", "9@x.test")),  # an account that has no other
        ("9@x.test", [NO_ADDRESS, A], ("ALLOWED", "9@x.test")),
        ("9@x.test", [A | {"purpose": "SMS"}], ("NOT_ASKED", None)),
        ("9@x.test", [], ("NOT_ASKED", None)),
        (None, [A], ("NO_CONTACT_POINT", None)),
    ],
)
def test_a_yes_is_of_the_address_that_gave_it(
    golden: str | None, said: list[dict[str, Any]], expected: tuple[str, str | None]
) -> None:
    assert permitted(golden, *said) == expected


def test_where_no_yes_is_asked_for_the_golden_record_s_address_is_the_one() -> None:
    rules = EnrichmentRules.model_validate({"consent": {"when_not_asked": {"EMAIL": "allow"}}})
    assert permitted("2@x.test", A, rules=rules) == ("ALLOWED", "2@x.test")


def test_who_unsubscribed_or_is_not_to_be_chosen_is_not_contacted() -> None:
    who = people(*((p, f"{p}@x.test", "2025550147") for p in ("left", "later", "no", "unasked", "barred")))
    said = answers(*((p, c, DAY, None, True) for p in ("left", "later", "no", "unasked", "barred")
                     for c in ("EMAIL", "PHONE")))  # fmt: skip
    yes = preferences(*({"person_id": p, "customer_id": p, "purpose": c}
                        for p in ("left", "later", "no", "unasked", "barred") for c in ("EMAIL", "PHONE")))  # fmt: skip
    gone = messages(("left", datetime(2026, 4, 30, tzinfo=UTC)), ("later", datetime(2026, 5, 1, tzinfo=UTC)),
                    ("no", None))  # fmt: skip
    asked = denials(("no", "PERSONALIZATION", "refused"), ("unasked", "PERSONALIZATION", "not asked"),
                    ("barred", "PERSONALIZATION", "restricted by request"),
                    ("later", "PROFILING", "refused"))  # fmt: skip
    rows = contact_permissions(who, said, yes, gone, asked, AS_OF, RULES).collect()
    told = {c: dict(rows.filter(channel=c).select("person_id", "reason").iter_rows()) for c in ("EMAIL", "PHONE")}
    other = {"later": "ALLOWED", "no": "REFUSED", "unasked": "NOT_ASKED", "barred": "RESTRICTED"}
    assert told["EMAIL"] == {"left": "UNSUBSCRIBED", **other}
    assert told["PHONE"] == {"left": "ALLOWED", **other}


def test_the_reason_is_the_first_that_holds() -> None:
    who = people(("a", " A@Shop.test ", "+1 (202) 555-0147"), ("b", None, "12"), ("c", "c@shop.test", None))
    said = answers(
        ("a", "EMAIL", DAY, None, True), ("a", "SMS", date(1970, 1, 1), None, False), ("a", "PUSH", DAY, None, True),
        ("a", "PHONE", DAY, DAY + timedelta(days=1), True), ("b", "SMS", DAY, None, True),
        ("c", "EMAIL", DAY, None, True),
    )  # fmt: skip
    asked = denials(("c", "EMAIL", "restricted by request"), ("a", "SMS", "refused"))
    yes = preferences(*({"person_id": p, "customer_id": p, "purpose": c}
                        for p in "abc" for c in ("EMAIL", "SMS", "PHONE", "PUSH")))  # fmt: skip
    rows = contact_permissions(who, said, yes, messages(), asked, AS_OF, RULES).collect()
    told = {
        (r["person_id"], r["channel"]): (r["reason"], r["contact_point"], r["answered_on"]) for r in rows.to_dicts()
    }
    assert told[("a", "EMAIL")] == ("ALLOWED", "a@shop.test", DAY)
    assert told[("a", "SMS")] == ("REFUSED", None, None)
    assert told[("a", "PHONE")] == ("NOT_ASKED", None, None), "taken back"
    assert told[("a", "PUSH")] == ("ALLOWED", None, DAY)
    assert told[("b", "SMS")] == ("NO_CONTACT_POINT", None, DAY)
    assert told[("c", "EMAIL")] == ("RESTRICTED", None, DAY)
    assert rows.height == 12 and (rows["is_permitted"] == (rows["reason"] == "ALLOWED")).all()


def test_a_rule_file_may_allow_who_was_not_asked() -> None:
    rules = EnrichmentRules.model_validate({"consent": {"when_not_asked": {"EMAIL": "allow"}}})
    rows = contact_permissions(
        people(("a", "a@b.test", None)), answers(), preferences(), messages(), denials(), AS_OF, rules
    ).collect()
    told = dict(rows.select("channel", "reason").iter_rows())
    assert told == {"EMAIL": "ALLOWED", "SMS": "NOT_ASKED", "PHONE": "NOT_ASKED", "PUSH": "NOT_ASKED"}
    assert not rows["is_answered"].any()


def test_a_brute_force_and_audiences_say_the_same(retailer) -> None:  # type: ignore[no-untyped-def]
    """Reached are those whom an audience of everybody reaches (customer view: consent and unsubscription)."""
    names = ("silver.people", "silver.consent_intervals", "silver.preferences", "silver.messages", "gold.denials")
    frames = [retailer.frame(name) for name in names]
    made = contact_permissions(*frames, retailer.as_of, RULES).collect()
    who, _, asked, _, no = (frame.collect() for frame in frames)
    restricted = {(r["person_id"], r["purpose"]) for r in no.to_dicts() if r["because"] == "restricted by request"}
    impersonal = set(no.filter(purpose="PERSONALIZATION")["person_id"])
    held: dict[tuple[str, str], list[bool]] = {}
    for r in frames[1].filter(pl.col("valid_to").is_null()).collect().to_dicts():
        held.setdefault((r["person_id"], r["purpose"]), []).append(r["is_allowed"])
    view = {r["person_id"]: r for r in retailer.frame("gold.customer_360").collect().to_dicts()}
    columns = {"EMAIL": ("may_email", "email_point"), "SMS": ("may_sms", "phone_point"),
               "PHONE": ("may_call", "phone_point"), "PUSH": ("may_push", None)}  # fmt: skip
    answered = {
        (r["person_id"], column, r[column]) for r in asked.to_dicts() for column in ("email_point", "phone_point")
    }
    rows = {(r["person_id"], r["channel"]): r for r in made.to_dicts()}
    for person in who.to_dicts():
        digits = "".join(c for c in person["phone_number"] or "" if c.isdigit())
        has_number = len(digits) >= 7
        reach = {"EMAIL": "@" in (person["email_address"] or ""), "SMS": has_number, "PHONE": has_number, "PUSH": True}
        for channel, has_point in reach.items():
            key = (person["person_id"], channel)
            yes = key in held and all(held[key]) and key not in restricted and key[0] not in impersonal
            left = key[0] in view and view[key[0]]["has_unsubscribed"] and channel != "PHONE"
            assert rows[key]["is_permitted"] == (yes and has_point and not left), rows[key]
            if key[0] in view:
                seen, may = view[key[0]], columns[channel][0]
                reached = seen["may_personalize"] and seen[may] and not left and has_point
                assert rows[key]["is_permitted"] == reached, rows[key]
            point = rows[key]["contact_point"]
            if point and (key[0], columns[channel][1], point) not in answered:
                accounts = asked.filter(pl.col("person_id") == key[0], pl.col(str(columns[channel][1])).is_null())
                assert accounts.height, f"{point} gave no answer, nor any account without an address"
    assert 0 < made["is_permitted"].sum() < made.height


def test_what_was_answered_by_a_day_is_counted_as_a_brute_force_counts(retailer) -> None:  # type: ignore[no-untyped-def]
    who, said = retailer.frame("silver.people").collect(), retailer.frame("silver.consent_intervals").collect()
    made = consent_exposure(who.lazy(), said.lazy(), retailer.as_of).collect()
    days, known = sorted(set(made["counted_on"])), set(who["person_id"])
    assert days[-1] == retailer.as_of and len(days) > 3 and all(d.day == 1 for d in days[:-1])
    rows = [r for r in said.to_dicts() if r["person_id"] in known]
    for row in made.to_dicts():
        last = row["counted_on"] - timedelta(days=1)  # what held on the last day before
        states = [r["is_allowed"] for r in rows if r["purpose"] == row["purpose"]
                  and r["valid_from"] <= last and (r["valid_to"] is None or r["valid_to"] > last)]  # fmt: skip
        expected = {"YES": sum(states), "NO": len(states) - sum(states), "NONE": len(known) - len(states)}
        assert row["person_count"] == expected[row["answer"]], row
    assert made.group_by("purpose", "counted_on").agg(pl.col("share").sum())["share"].round(9).unique().to_list() == [
        1.0
    ]


def test_nobody_answered_is_not_nobody() -> None:
    made = consent_exposure(people(("a", None, None)), answers(), AS_OF).collect()
    assert made.filter(purpose="EMAIL", answer="NONE")["person_count"].to_list() == [1]
    nobody = consent_exposure(people(), answers(), AS_OF).collect()
    assert nobody["person_count"].sum() == 0
    assert (
        contact_permissions(people(), answers(), preferences(), messages(), denials(), AS_OF, RULES)
        .collect()
        .is_empty()
    )
