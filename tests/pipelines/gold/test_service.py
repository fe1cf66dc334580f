"""Support at a date: DuckDB counts the same, nothing of later is known, and small groups do not win."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest

from customer360.pipelines.gold.cost_to_serve import cost_to_serve, cost_to_serve_segments
from customer360.pipelines.gold.satisfaction import satisfaction_drivers
from customer360.pipelines.gold.service import (
    TicketOutcomes,
    service_months,
    service_quality,
    ticket_outcomes,
)
from customer360.pipelines.inference.comparisons import holm, shrunk
from customer360.pipelines.inference.proportions import wilson
from customer360.pipelines.rules.service import ServiceRules
from customer360.pipelines.silver.matters import ContactCategories
from customer360.pipelines.silver.service import ServiceContacts, ServiceTickets
from customer360.pipelines.silver.tickets import ticket_chains, ticket_clocks
from customer360.platform import tables

AS_OF, RULES = date(2026, 6, 1), ServiceRules()
CUT = datetime(2026, 6, 1, tzinfo=UTC)


def rows(table: type[tables.Table], *given: dict[str, Any]) -> pl.LazyFrame:
    schema = tables.schema(table)
    full = [{**dict.fromkeys(schema), "source_system": "S", "subject_id": "s", **row} for row in given]
    return pl.DataFrame([{c: row.get(c) for c in schema} for row in full], schema=schema, orient="row").lazy()


def outcomes(tickets: list[dict[str, Any]], contacts: list[dict[str, Any]] = (), as_of: date = AS_OF) -> pl.DataFrame:  # type: ignore[assignment]
    """gold.ticket_outcomes by way of clocks and chains, by ticket."""
    held = rows(ServiceTickets, *tickets)
    said = rows(ServiceContacts, *({"escalation_level": 0, **c} for c in contacts))
    parts = (held, ticket_clocks(held, said, RULES), ticket_chains(held, RULES), said, rows(ContactCategories))
    return ticket_outcomes(*parts, as_of, RULES).collect().sort("ticket_id")


def ticket(name: str, days_ago: float, solved_after: float | None, **more: Any) -> dict[str, Any]:
    at = CUT - timedelta(days=days_ago)
    solved = None if solved_after is None else at + timedelta(days=solved_after)
    known = {"ticket_id": name, "created_at": at, "resolved_at": solved, "is_open": solved is None}
    return {**known, "priority": "URGENT", **more}


def contact(of: str, days_ago: float, **more: Any) -> dict[str, Any]:
    return {"interaction_id": f"{of}{days_ago}", "ticket_id": of, "occurred_at": CUT - timedelta(days=days_ago), **more}


def test_a_ticket_is_told_as_it_stood_at_the_date() -> None:
    tickets = [
        ticket("back", 30, 0.1, satisfaction=5, category="A"), ticket("again", 27, 0.1, category="A"),
        ticket("fresh", 2, 0.1), ticket("later", 2, 5, satisfaction=1), ticket("open", 3, None),
        ticket("future", -1, None),
        ticket("old", 400, 1), ticket("returned", 60, 1, category="B"),
    ]  # fmt: skip
    contacts = [
        contact("open", 2.9, escalation_level=1), contact("open", -1), contact("returned", 58), contact("back", 30),
        contact("again", 27), contact("fresh", 2),
    ]  # fmt: skip
    made = {row["ticket_id"]: row for row in outcomes(tickets, contacts).to_dicts()}
    assert set(made) == {"back", "again", "fresh", "later", "open", "returned"}
    assert made["back"]["is_reopened"] and made["back"]["is_first_contact_resolution"] is False
    assert made["again"]["is_reopened"] is False and made["again"]["is_first_contact_resolution"]
    assert made["fresh"]["is_reopened"] is None and made["fresh"]["is_first_contact_resolution"] is None
    later = made["later"]
    assert not later["is_solved"] and later["satisfaction"] is None and later["resolution_minutes"] is None
    assert later["is_resolution_late"], "due after eight hours, solved after the date"
    assert made["open"]["contact_count"] == 1 and made["open"]["was_escalated"]
    assert made["returned"]["is_reopened"], "somebody wrote about it within the days"


def told(column: str, tickets: list[dict[str, Any]], contacts: list[dict[str, Any]] = ()) -> dict[str, Any]:  # type: ignore[assignment]
    return dict(outcomes(tickets, contacts).select("ticket_id", column).iter_rows())


def test_an_answer_is_late_where_somebody_says_when_was_answered() -> None:
    solved, waiting, closed = ticket("solved", 30, 0.1), ticket("open", 30, None), ticket("x", 30, None, is_open=False)
    assert set(told("is_response_late", [solved, waiting, closed]).values()) == {None}
    answered = ticket("answered", 30, 0.1, first_response_minutes=5)
    elsewhere = ticket("far", 30, None, source_system="OTHER")
    got = told("is_response_late", [solved, waiting, closed, answered, elsewhere])
    assert got == {"solved": None, "open": True, "x": None, "answered": False, "far": None}


def test_a_ticket_that_is_closed_without_a_date_is_not_overdue() -> None:
    given = [ticket("closed", 30, None, is_open=False), ticket("open", 30, None), ticket("later", 30, 40)]
    assert told("is_resolution_late", given) == {"closed": None, "open": True, "later": True}


def test_without_contacts_nobody_tells_how_many_there_were() -> None:
    given = [ticket("none", 30, 0.1), ticket("one", 60, 0.1), ticket("two", 90, 0.1), ticket("after", 120, 0.1)]
    said = [contact("one", 60), contact("two", 90), contact("two", 89.95), contact("after", 100)]
    got = told("is_first_contact_resolution", given, said)
    assert got == {"none": None, "one": True, "two": False, "after": None}
    assert told("was_escalated", given, said) == {"none": None, "one": False, "two": False, "after": False}


def test_later_rows_change_nothing() -> None:
    tickets = [ticket("a", 30, 0.1), ticket("b", 3, None)]
    contacts = [contact("a", 29.95), contact("b", 2.5)]
    more = [*tickets, ticket("c", -2, 0.1)], [*contacts, contact("b", -1, escalation_level=2), contact("a", -1)]
    assert outcomes(tickets, contacts).equals(outcomes(*more))


COUNTS = """
    SELECT date_trunc('month', created_on)::DATE AS month, count(*) AS tickets, count(*) FILTER (is_solved) AS solved,
           count(*) FILTER (is_response_late) AS late, count(is_response_late) AS late_of,
           count(*) FILTER (is_first_contact_resolution) AS first, count(is_first_contact_resolution) AS first_of,
           count(*) FILTER (is_reopened) AS again, avg(satisfaction) AS stars
    FROM outcomes GROUP BY 1 ORDER BY 1
"""


def test_duckdb_counts_the_same_months(retailer) -> None:
    held = retailer.frame("gold.ticket_outcomes").collect()
    days = retailer.frame("silver.subject_days").collect()
    made = retailer.frame("gold.service_months").collect()
    assert len(held) > 20
    con = duckdb.connect()
    con.register("outcomes", held.to_arrow())
    con.register("days", days.select("on", "order_count").to_arrow())
    whole = made.filter(dimension="ALL").sort("month")
    columns = ("month", "ticket_count", "solved_count", "response_late_count", "response_late_of",
               "first_contact_count", "first_contact_of", "reopened_count", "mean_satisfaction")  # fmt: skip
    for got, want in zip(whole.select(columns).rows(), con.sql(COUNTS).fetchall(), strict=True):
        assert got[:-1] == want[:-1] and (got[-1] is None or got[-1] == pytest.approx(want[-1]))
    before = f"WHERE \"on\" < DATE '{retailer.as_of}'"
    monthly = f"SELECT date_trunc('month', \"on\")::DATE, sum(order_count) FROM days {before} GROUP BY 1"
    orders = con.sql(monthly).fetchall()
    known = {month: int(count) for month, count in orders}
    assert [known[m] for m in whole["month"]] == whole["order_count"].to_list()
    for dimension in ("CATEGORY", "CHANNEL", "QUEUE"):
        assert made.filter(dimension=dimension)["ticket_count"].sum() == len(held), "each ticket once in each dimension"


def test_clocks_of_the_retailer_are_those_of_a_count(retailer) -> None:
    """Around the clock and without waits open minutes are all minutes."""
    clocks = retailer.frame("silver.ticket_clocks").collect()
    tickets = retailer.frame("silver.service_tickets").collect()
    joined = tickets.join(clocks, on=["ticket_id", "source_system"]).filter(pl.col("resolved_at").is_not_null())
    took = (pl.col("resolved_at") - pl.col("created_at")).dt.total_minutes()
    assert len(joined) > 20
    rest = took - pl.col("waited_minutes") - pl.col("resolution_minutes_right")
    assert joined.select(rest.is_between(0, 1).all()).item()


def judged(scores: dict[str, list[int]], **more: Any) -> dict[str, dict[str, Any]]:
    given = [
        {"ticket_id": f"{agent}{n}", "agent_id": agent, "satisfaction": score, **more}
        for agent, each in scores.items()
        for n, score in enumerate(each)
    ]
    made = service_quality(rows(TicketOutcomes, *given), AS_OF, RULES).collect()
    return {r["value"]: r for r in made.filter(dimension="AGENT", measure="SATISFACTION").to_dicts()}


def test_three_perfect_answers_do_not_win() -> None:
    rng = np.random.default_rng(1)
    usual = {f"A{n}": rng.integers(2, 6, 80).tolist() for n in range(8)}
    made = judged({**usual, "NEW": [5, 5, 5], "GOOD": [4, 5] * 40})
    assert (
        made["NEW"]["mean"] == 5 and made["NEW"]["verdict"] == "NOT_ENOUGH_EVIDENCE" and made["NEW"]["p_value"] is None
    )
    assert made["NEW"]["estimate"] < made["GOOD"]["estimate"] and made["GOOD"]["verdict"] == "BETTER"
    wide = {name: made[name]["estimate_high"] - made[name]["estimate_low"] for name in ("NEW", "GOOD")}
    assert wide["NEW"] > wide["GOOD"]


def test_of_a_handful_there_are_counts_and_no_rates() -> None:
    few = [{"ticket_id": f"f{n}", "channel": "IN_PERSON", "satisfaction": 2 if n == 0 else None} for n in range(4)]
    many = [{"ticket_id": f"m{n}", "channel": "PHONE", "satisfaction": 5 - n % 2} for n in range(RULES.least_tickets)]
    given = rows(
        TicketOutcomes,
        *({"created_on": date(2026, 3, 4), "is_first_contact_resolution": True, "is_solved": True, **row}
          for row in few + many),
    )  # fmt: skip
    days = pl.LazyFrame({"on": [date(2026, 3, 1)], "order_count": [100]})
    made = (
        service_months(given, days, AS_OF, RULES).collect().filter(dimension="CHANNEL").rows_by_key("value", named=True)
    )
    (person,), (phone,) = made["IN_PERSON"], made["PHONE"]
    told = ("first_contact_rate", "first_contact_low", "mean_satisfaction", "satisfaction_low")
    assert person["status"] == "NOT_ENOUGH_EVIDENCE" and [person[c] for c in told] == [None] * 4
    assert (person["first_contact_count"], person["satisfaction_count"]) == (4, 1)
    assert phone["status"] == "MEASURED" and phone["first_contact_rate"] == 1.0
    assert phone["satisfaction_low"] < phone["mean_satisfaction"] == 4.5 < phone["satisfaction_high"] <= 5


def test_no_interval_of_a_share_leaves_what_shares_can_be() -> None:
    given = [{"ticket_id": f"{a}{n}", "agent_id": f"A{a}", "is_reopened": n == 0 and a % 3 == 0, "category": "C"}
             for a in range(9) for n in range(25)]  # fmt: skip
    made = service_quality(rows(TicketOutcomes, *given), AS_OF, RULES).collect().filter(measure="REOPENED")
    assert made.height > 0 and made["estimate_low"].min() == 0 and made["estimate_high"].max() <= 1  # type: ignore[operator]


def test_who_gets_the_hard_questions_is_not_blamed_for_them() -> None:
    def asked(category: str, least: int, mostly: str, seldom: str) -> list[dict[str, Any]]:
        return [
            {"ticket_id": f"{category}{n}", "category": category, "satisfaction": least + n % 2,
             "agent_id": mostly if n % 4 else seldom} for n in range(200)
        ]  # fmt: skip

    hard, easy = asked("HARD", 2, "H", "E"), asked("EASY", 4, "E", "H")
    made = service_quality(rows(TicketOutcomes, *hard, *easy), AS_OF, RULES).collect()
    agents = made.filter(dimension="AGENT", measure="SATISFACTION")
    spread = agents["mean"].max() - agents["mean"].min()  # type: ignore[operator]
    assert spread > 0.5 and abs(agents["estimate"].max() - agents["estimate"].min()) < 0.3 * spread  # type: ignore[operator]


def test_nothing_is_said_of_nothing() -> None:
    none = rows(TicketOutcomes)
    days = pl.LazyFrame(schema={"on": pl.Date, "order_count": pl.Int64})
    assert service_quality(none, AS_OF, RULES).collect().is_empty()
    assert service_months(none, days, AS_OF, RULES).collect().is_empty()
    assert set(satisfaction_drivers(none, AS_OF, RULES).collect()["verdict"]) == {"NOT_ENOUGH_EVIDENCE"}
    alike = rows(TicketOutcomes, *({"ticket_id": str(n), "satisfaction": 4, "contact_count": 1} for n in range(100)))
    assert set(satisfaction_drivers(alike, AS_OF, RULES).collect()["verdict"]) == {"NO_VARIATION"}
    assert service_quality(alike, AS_OF, RULES).collect().is_empty(), "no agent, channel or category is named"


def test_costs_are_rates_by_type_and_an_unknown_type_is_counted() -> None:
    kinds = [("PHONE", 10), ("PHONE", None), ("FAX", 5)]
    contacts = pl.LazyFrame(
        {"person_id": ["p"] * 3 + [None], "occurred_on": [date(2026, 5, 1)] * 4,
         "contact_type": [k for k, _ in kinds] + ["CHAT"], "resolution_minutes": [m for _, m in kinds] + [1]}
    )  # fmt: skip
    days = pl.LazyFrame(
        {"person_id": ["p", "q", "q"], "on": [date(2026, 5, 1), date(2026, 5, 1), AS_OF], "order_count": [2, 1, 5],
         "net_amount": ["40.00", "10.00", "99.00"]}
    ).with_columns(pl.col("net_amount").cast(pl.Decimal(12, 2)))  # fmt: skip
    made = cost_to_serve(contacts, days, AS_OF, RULES)
    got = {row["person_id"]: row for row in made.collect().to_dicts()}
    assert float(got["p"]["cost_amount"]) == 1 + 0.8 * 10 + 1 + 0.8 * 8 and got["p"]["unpriced_contact_count"] == 1
    assert got["q"]["order_count"] == 1 and float(got["q"]["cost_amount"]) == 0
    people = pl.LazyFrame({"person_id": ["p"], "customer_segment": ["PREMIUM"]}).with_columns(
        loyalty_tier=pl.lit(None, pl.String)
    )
    tiers = pl.LazyFrame(
        {"person_id": ["p"], "tier": ["GOLD"], "valid_from": [datetime(2026, 5, 1, tzinfo=UTC)], "valid_to": [None]},
        schema_overrides={"valid_to": pl.Datetime("us", "UTC")},
    )
    by = cost_to_serve_segments(made, people, tiers, AS_OF, RULES).collect()
    assert sorted(by.filter(dimension="LOYALTY_TIER")["segment"]) == ["GOLD", "UNKNOWN"]
    assert sorted(by.filter(dimension="CUSTOMER_SEGMENT")["segment"]) == ["PREMIUM", "UNKNOWN"]
    assert by["cost_per_person_low"].null_count() == len(by), "an interval of two people is none"


def test_who_asks_and_only_gives_back_has_bought_less_than_nothing() -> None:
    contacts = pl.LazyFrame(
        {"person_id": ["asked"], "occurred_on": [date(2026, 5, 1)], "contact_type": ["PHONE"],
         "resolution_minutes": [1]}
    )  # fmt: skip
    days = pl.LazyFrame(
        {"person_id": ["asked", "silent"], "on": [date(2026, 5, 1)] * 2, "order_count": [0, 0],
         "net_amount": ["-40.00", "-10.00"]}
    ).with_columns(pl.col("net_amount").cast(pl.Decimal(12, 2)))  # fmt: skip
    made = cost_to_serve(contacts, days, AS_OF, RULES).collect()
    assert made.select("person_id", "order_count", pl.col("net_amount").cast(pl.Float64)).rows() == [("asked", 0, -40)]


def test_intervals_and_corrections_are_the_published_ones() -> None:
    low, high = pl.select(*(e.alias(n) for e, n in zip(wilson(pl.lit(8), pl.lit(10), 0.95), "lh", strict=True))).row(0)
    assert (round(low, 4), round(high, 4)) == (0.4902, 0.9433)
    assert holm(np.array([0.01, 0.04, np.nan, 0.03])) == pytest.approx([0.03, 0.06, np.nan, 0.06], nan_ok=True)
    estimate, _ = shrunk(np.array([1.0, 1.0, 1.0, 1.0]), np.array([0.1, 0.2, 0.3, 0.4]))
    assert estimate == pytest.approx([1, 1, 1, 1])
    apart, _ = shrunk(np.array([0.0, 0.0, 9.0, 9.0]), np.full(4, 0.01))
    assert apart == pytest.approx([0, 0, 9, 9], abs=0.01)
