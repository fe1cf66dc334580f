"""Clocks, waits, queues and chains of tickets, and categories read from words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from customer360.pipelines.bronze import service as bronze
from customer360.pipelines.rules.service import ServiceRules
from customer360.pipelines.silver.matters import LEAST_LABELLED, category_terms, contact_categories
from customer360.pipelines.silver.service import ServiceContacts, ServiceTickets
from customer360.pipelines.silver.tickets import ticket_chains, ticket_clocks
from customer360.platform import tables
from customer360.platform.run.records import current_records

MONDAY = datetime(2026, 1, 5, 9, tzinfo=UTC)
OFFICE = {"timezone": "UTC", "hours": {day: ["09:00-17:00"] for day in ("MON", "TUE", "WED", "THU", "FRI")}}
RULES = ServiceRules.model_validate({"calendars": {"default": OFFICE}})


def rows(table: type[tables.Table], *given: dict[str, Any]) -> pl.LazyFrame:
    schema = tables.schema(table)
    full = [{**dict.fromkeys(schema), "source_system": "S", "subject_id": "s", **row} for row in given]
    return pl.DataFrame(full, schema=schema, orient="row").lazy()


def ticket(name: str = "t", at: datetime = MONDAY, hours: float | None = None, **more: Any) -> dict[str, Any]:
    solved = None if hours is None else at + timedelta(hours=hours)
    return {"ticket_id": name, "created_at": at, "resolved_at": solved, **more}


def contact(hours: float, outcome: str = "ANSWERED", **more: Any) -> dict[str, Any]:
    known = {"interaction_id": f"i{hours}", "ticket_id": "t", "occurred_at": MONDAY + timedelta(hours=hours)}
    return {**known, "outcome": outcome, **more}


def clock(of: dict[str, Any], *contacts: dict[str, Any], rules: ServiceRules = RULES) -> dict[str, Any]:
    made = ticket_clocks(rows(ServiceTickets, of), rows(ServiceContacts, *contacts), rules)
    return made.collect().row(0, named=True)


def test_the_clock_stands_still_while_the_customer_is_waited_for() -> None:
    """Asked on Monday at ten, answered on Tuesday at eleven: nine open hours of which eight and one were waits."""
    got = clock(ticket(hours=28), contact(0), contact(1, "WAITING FOR CUSTOMER"), contact(26))
    assert (got["resolution_minutes"], got["waited_minutes"], got["contact_count"]) == (12 * 60 - 9 * 60, 9 * 60, 3)
    assert got["resolution_due_at"] == datetime(2026, 1, 13, 10, tzinfo=UTC), "40 open hours and the 9 of the wait"


def test_an_open_wait_has_no_deadline_unless_it_had_run_out() -> None:
    assert clock(ticket(), contact(1, "WAITING FOR CUSTOMER"))["resolution_due_at"] is None
    late = clock(ticket(priority="URGENT"), contact(31, "WAITING FOR CUSTOMER"))
    assert late["resolution_due_at"] == datetime(2026, 1, 5, 17, tzinfo=UTC)


def test_a_wait_ends_with_the_resolution_and_contacts_after_it_are_told() -> None:
    got = clock(ticket(hours=3), contact(1, "WAITING FOR CUSTOMER"), contact(30))
    assert (got["resolution_minutes"], got["waited_minutes"], got["contact_count"]) == (60, 120, 1)
    assert got["recontacted_at"] == MONDAY + timedelta(hours=30)


def test_a_wait_of_years_is_as_long_whatever_other_tickets_there_are() -> None:
    asked, answered = contact(1, "WAITING FOR CUSTOMER"), contact(24 * 7 * 200)
    alone = clock(ticket(), asked, answered)
    both = rows(ServiceTickets, ticket(), ticket("later", MONDAY + timedelta(days=1500)))
    made = ticket_clocks(both, rows(ServiceContacts, asked, answered), RULES).collect()
    assert made.row(by_predicate=pl.col("ticket_id") == "t", named=True) == alone
    assert alone["waited_minutes"] == (200 * 40 - 1) * 60


def test_an_answer_is_due_by_priority_and_unknown_ones_count_as_the_rule_file_says() -> None:
    got = clock(ticket(first_response_minutes=90, priority="URGENT"))
    assert (got["response_target_minutes"], got["response_minutes"]) == (60, 90)
    assert got["response_due_at"] == MONDAY + timedelta(hours=1)
    assert clock(ticket(priority="P0"))["response_target_minutes"] == 480


def test_the_first_queue_that_takes_a_ticket_has_its_calendar() -> None:
    queues = [{"name": "PHONE", "calendar": "always", "origins": ["PHONE"], "priorities": ["HIGH"]},
              {"name": "REST", "calendar": "default"}]  # fmt: skip
    rules = ServiceRules.model_validate({"calendars": {"default": OFFICE, "always": {}}, "queues": queues})
    sunday = MONDAY - timedelta(days=1)
    phone = clock(ticket(at=sunday, hours=2, origin="PHONE", priority="HIGH"), rules=rules)
    other = clock(ticket(at=sunday, hours=2, origin="PHONE"), rules=rules)
    assert (phone["queue"], phone["resolution_minutes"]) == ("PHONE", 120)
    assert (other["queue"], other["resolution_minutes"]) == ("REST", 0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"queues": [{"name": "A", "calendar": "moon"}]}, "moon"),
        ({"queues": [{"name": "A", "calendar": "default", "origins": ["PHONE"]}]}, "leave its lists out"),
        ({"queues": []}, "leave its lists out"),
        ({"priority_if_unknown": "P0"}, "has no target"),
    ],
)
def test_rules_that_would_leave_a_ticket_without_a_clock_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ServiceRules.model_validate(wrong)


def test_no_ticket_has_no_clock() -> None:
    none = ticket_clocks(rows(ServiceTickets), rows(ServiceContacts), RULES).collect()
    assert none.is_empty() and none.schema["response_minutes"] == pl.Int64


def test_minutes_beyond_ten_years_are_none() -> None:
    """Milliseconds, and the number that some systems send for none."""
    schema = dict(tables.schema(bronze.ServiceTickets))
    given = {**dict.fromkeys(schema), "_source_system": "S", "TICKET_STATUS": "OPEN", "CREATION_DATE": MONDAY}
    frame = [{**given, "TICKET_ID": str(n), "FIRST_RESPONSE_TIME": m} for n, m in enumerate((2**31 - 1, 5 * 10**9, 30))]
    judged = current_records(bronze.ServiceTickets, pl.DataFrame(frame, schema=schema, orient="row"), set())
    assert judged.rows.sort("TICKET_ID")["FIRST_RESPONSE_TIME"].to_list() == [None, None, 30]


def test_tickets_without_a_category_are_matters_of_their_own() -> None:
    given = [ticket("a", hours=1), ticket("b", MONDAY + timedelta(days=2), 1)]
    made = ticket_chains(rows(ServiceTickets, *given), RULES).collect()
    assert made["reopens_ticket_id"].to_list() == [None, None] and made["chain_id"].n_unique() == 2


def test_a_matter_that_comes_back_within_the_days_is_one_chain() -> None:
    day = timedelta(days=1)
    given = [
        ticket("a", MONDAY, 5, category="BILLING"), ticket("b", MONDAY + 3 * day, 5, category="BILLING"),
        ticket("other", MONDAY + 4 * day, 5, category="PRODUCT"),
        ticket("c", MONDAY + 9 * day, None, category="BILLING"),
        ticket("parallel", MONDAY + 10 * day, 1, category="BILLING"),
        ticket("late", MONDAY + 40 * day, 1, category="BILLING"),
        ticket("stranger", MONDAY + 3 * day, 1, category="BILLING", subject_id="x"),
    ]  # fmt: skip
    made = {row["ticket_id"]: row for row in ticket_chains(rows(ServiceTickets, *given), RULES).collect().to_dicts()}
    assert [made[t]["chain_position"] for t in "abc"] == [1, 2, 3]
    assert {made[t]["chain_id"] for t in "abc"} == {"a"}
    assert made["a"]["reopened_at"] == made["b"]["created_at"] and made["c"]["reopened_at"] is None
    for alone in ("other", "parallel", "late", "stranger"):
        assert made[alone]["reopens_ticket_id"] is None and made[alone]["chain_id"] == alone


def contacts(labels: list[str | None], terms: list[list[str]]) -> pl.LazyFrame:
    given = [
        {"interaction_id": f"i{n}", "category": label, "text_terms": "|".join(held)}
        for n, (label, held) in enumerate(zip(labels, terms, strict=True))
    ]
    return rows(ServiceContacts, *given)


def test_labels_weigh_terms_and_nothing_is_told_without_a_term() -> None:
    """What the lists call billing is called a product here by all who label it."""
    n = LEAST_LABELLED
    given = contacts(
        ["PRODUCT"] * n + ["GENERAL"] * n + [None] * 2, [["invoice*"]] * n + [["late"]] * n + [["invoice*"], []]
    )
    made = contact_categories(given, category_terms(given), ServiceRules()).collect()
    assert made.row(2 * n, named=True) | {"confidence": 0} == {
        "interaction_id": f"i{2 * n}", "source_system": "S", "category": None, "category_read": "PRODUCT",
        "confidence": 0, "method": "CLASSIFIER",
    }  # fmt: skip
    last = made.row(2 * n + 1, named=True)
    assert (last["category_read"], last["confidence"], last["method"]) == (None, 0, "NONE")


def test_a_label_says_nothing_of_its_own_text() -> None:
    """The only text with its term: without its own label the frequent category is left."""
    n, rules = 400, ServiceRules(least_confidence=0)
    single = contacts(["PRODUCT", *["GENERAL"] * n], [["app"], *[["late"]] * n])
    read = contact_categories(single, category_terms(single), rules).collect().row(0, named=True)
    assert read["category_read"] == "GENERAL"


def test_without_labels_the_lists_tell() -> None:
    given = contacts([None, None], [["invoice*", "card"], ["card", "late"]])
    made = contact_categories(given, category_terms(given), ServiceRules()).collect()
    assert made["category_read"].to_list() == ["BILLING", None], "half and half is not known"
    assert made["method"].to_list() == ["RULES", "RULES"]
