"""Journeys, paths and effort: what DuckDB or a plain loop says is the same, and later days change nothing."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import groupby, pairwise
from typing import Any

import duckdb
import polars as pl
import pytest

from customer360.pipelines.funnels import is_followed
from customer360.pipelines.gold.customers.journey import journey
from customer360.pipelines.gold.effort import customer_effort
from customer360.pipelines.gold.funnels import funnel_bottlenecks, funnel_steps
from customer360.pipelines.gold.journeys import journeys, stage_transitions
from customer360.pipelines.gold.paths import purchase_paths, purchase_touches
from customer360.pipelines.rules.journey import JourneyRules, StageRule
from customer360.pipelines.vocabulary import JOURNEY_STAGES

RULES = JourneyRules()
START = datetime(2026, 1, 1, tzinfo=UTC)
AS_OF = date(2026, 6, 1)


def stream(*touches: tuple[float, str, str], person: str = "p") -> pl.LazyFrame:
    """Touchpoints of a person: day, kind, channel; stages by the rule file's defaults."""
    rows = [
        {"subject_id": person, "person_id": person, "touchpoint_id": f"t{n}", "sequence_number": n + 1,
         "occurred_at": START + timedelta(days=day), "kind": kind, "action": kind, "channel": channel,
         "device_type": None, "is_active": kind != "SENT"}
        for n, (day, kind, channel) in enumerate(touches)
    ]  # fmt: skip
    typed = pl.LazyFrame(rows, schema_overrides={"occurred_at": pl.Datetime("us", "UTC"), "device_type": pl.String})
    return typed.with_columns(stage=RULES.stage())


def looped(touchpoints: pl.LazyFrame, as_of: date) -> list[tuple[Any, ...]]:
    """Journeys by a plain loop over each person's touchpoints: person, number, outcome, touches, path, loops, touches
    to the first purchase, switches of channel."""
    now, gap = datetime.combine(as_of, datetime.min.time(), UTC), timedelta(days=RULES.gap_days)
    rows = touchpoints.collect().sort("person_id", "occurred_at", "sequence_number").rows(named=True)
    done = [r for r in rows if r["person_id"] and r["is_active"] and r["occurred_at"] < now]
    told: list[tuple[Any, ...]] = []
    for person, own in groupby(done, key=lambda r: r["person_id"]):
        parts: list[list[dict[str, Any]]] = []
        for row in own:
            if not parts or row["occurred_at"] - parts[-1][-1]["occurred_at"] > gap:
                parts.append([])
            parts[-1].append(row)
        for number, part in enumerate(parts, 1):
            path = [stage for stage, _ in groupby(r["stage"] for r in part)]
            heights = [JOURNEY_STAGES.index(stage) for stage in path]
            kinds = [r["kind"] for r in part]
            silent = part[-1]["occurred_at"] + gap < now
            outcome = "PURCHASED" if "PURCHASE" in kinds else "ENDED" if silent else "OPEN"
            to_purchase = kinds.index("PURCHASE") if "PURCHASE" in kinds else None
            channels = [r["channel"] for r in part]
            told.append(
                (person, number, outcome, len(part), path, sum(b < a for a, b in pairwise(heights)), to_purchase,
                  len(list(groupby(channels))) - 1)
            )  # fmt: skip
    return told


def test_a_plain_loop_finds_the_same_journeys(retailer) -> None:  # type: ignore[no-untyped-def]
    touchpoints = retailer.frame("silver.touchpoints")
    ours = journeys(touchpoints, retailer.as_of, RULES).sort("person_id", "journey_number").collect()
    columns = ["person_id", "journey_number", "outcome", "touch_count", "stages", "loop_count", "touches_to_purchase",
               "channel_switch_count"]  # fmt: skip
    assert ours.select(columns).rows() == looped(touchpoints, retailer.as_of)
    assert ours.height > 300 and set(ours["outcome"]) == {"PURCHASED", "OPEN", "ENDED"}
    transitions = stage_transitions(touchpoints, retailer.as_of, RULES).collect()
    steps = sum(len(path) - 1 for path in ours["stages"]) + ours.height + ours["is_over"].sum()
    assert transitions["transition_count"].sum() == steps
    out = transitions.group_by("from_stage").agg(pl.col("rate").sum())
    assert out["rate"].to_list() == pytest.approx([1.0] * out.height)


def test_a_journey_turns_back_ends_by_silence_and_begins_anew() -> None:
    touches = stream(
        (0, "VISIT", "SEARCH"), (1, "CONSULTATION", "STORE"), (2, "VISIT", "EMAIL"), (3, "PURCHASE", "ONLINE"),
        (60, "SENT", "EMAIL"), (80, "VISIT", "DIRECT"), (140, "SERVICE", "PHONE"),
    )  # fmt: skip
    told = journeys(touches, AS_OF, RULES).sort("journey_number").collect()
    assert told["outcome"].to_list() == ["PURCHASED", "ENDED", "OPEN"]
    first = told.row(0, named=True)
    assert first["stages"] == ["AWARENESS", "CONSIDERATION", "AWARENESS", "CONVERSION"] and first["loop_count"] == 1
    assert (first["touches_to_purchase"], first["hours_to_purchase"]) == (3, 72.0)
    assert (first["channel_count"], first["channel_switch_count"]) == (4, 3)
    now = journey(pl.LazyFrame({"person_id": ["p", "q"]}), touches, AS_OF).sort("person_id").collect()
    assert now["journey_stage"].to_list() == ["SERVICE", None]
    assert now["touches_since_purchase"].to_list() == [2, None] and now["days_in_stage"].to_list() == [11, None]


PATHS = """
WITH own AS (
  SELECT *, CASE kind WHEN 'VISIT' THEN 'VISIT_' || channel ELSE kind END AS touch,
         coalesce(sum((kind = 'PURCHASE')::INT) OVER (PARTITION BY subject_id ORDER BY sequence_number
                  ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS purchase
  FROM touchpoints WHERE is_active AND kind <> 'BROWSING' AND occurred_at < $now
    AND (person_id IS NOT NULL OR subject_id LIKE 'v:%' OR subject_id LIKE 'a:%')),
bought AS (SELECT subject_id, purchase, occurred_at AS at FROM own WHERE kind = 'PURCHASE'
           AND occurred_at >= $now - INTERVAL 12 MONTH),
before AS (
  SELECT b.subject_id, b.purchase, o.touch, o.sequence_number,
         lag(o.touch) OVER (PARTITION BY b.subject_id, b.purchase ORDER BY o.sequence_number) AS last
  FROM bought b JOIN own o USING (subject_id, purchase)
  WHERE o.kind <> 'PURCHASE' AND o.occurred_at >= b.at - INTERVAL 30 DAY),
told AS (
  SELECT subject_id, purchase, list(touch ORDER BY sequence_number) AS touches
  FROM before WHERE last IS DISTINCT FROM touch GROUP BY ALL)
SELECT coalesce(array_to_string(touches[greatest(len(touches) - 5, 1):], ' > '), '(direct)') AS path,
       coalesce(touches[1], '(direct)') AS first, coalesce(touches[-1], '(direct)') AS last
FROM bought LEFT JOIN told USING (subject_id, purchase)
"""


def test_duckdb_finds_the_same_paths(retailer) -> None:  # type: ignore[no-untyped-def]
    touchpoints = retailer.frame("silver.touchpoints")
    now = datetime.combine(retailer.as_of, datetime.min.time(), UTC)
    with duckdb.connect() as base:
        base.execute("SET TimeZone = 'UTC'")
        base.register("touchpoints", touchpoints.collect().to_arrow())
        theirs = base.sql(PATHS, params={"now": now}).pl()
    ours = purchase_paths(touchpoints, retailer.as_of, RULES).collect()
    assert ours["purchase_count"].sum() == theirs.height == ours["all_purchase_count"][0] > 100
    counted = dict(theirs.group_by("path").len().rows())
    told = ours.filter(~pl.col("is_other"))
    assert {p: counted[p] for p in told["path"]} == dict(told.select("path", "purchase_count").rows())
    assert told["purchase_count"].min() >= max((n for p, n in counted.items() if p not in set(told["path"])), default=0)
    ends = purchase_touches(touchpoints, retailer.as_of, RULES).collect()
    for position, column in (("FIRST", "first"), ("LAST", "last")):
        own = ends.filter(pl.col("position") == position)
        assert dict(own.select("touch", "purchase_count").rows()) == dict(theirs.group_by(column).len().rows())


def test_receipts_of_guests_are_neither_people_nor_direct() -> None:
    """100 known buyers of whom half ask, a visitor who asks, and 900 receipts without an account."""
    known = [stream((0, "PURCHASE", "STORE"), *([(1, "SERVICE", "PHONE")] if n % 2 else []), person=f"p{n}")
             for n in range(100)]  # fmt: skip
    visitor = stream((0, "VISIT", "SEARCH"), (1, "PURCHASE", "ONLINE"), person="v:1")
    guests = [stream((0, "PURCHASE", "STORE"), person=f"t:POS/{n}") for n in range(900)]
    unknown = pl.concat([visitor, *guests]).with_columns(person_id=pl.lit(None, pl.String))
    touches = pl.concat([*known, unknown])
    told = funnel_steps(touches, AS_OF, RULES).collect().filter(
        pl.col("funnel") == "service", pl.col("period") == "WHOLE", pl.col("segment_by") == "ALL"
    ).sort("step_number")  # fmt: skip
    assert told["reached_count"][:2].to_list() == [101, 50]
    paths = purchase_paths(touches, AS_OF, RULES).collect()
    assert dict(paths.select("path", "purchase_count").rows()) == {"(direct)": 100, "VISIT_SEARCH": 1}
    assert set(paths["guest_purchase_count"]) == {900} and set(paths["all_purchase_count"]) == {101}


EFFORT = """
WITH c AS (SELECT * FROM contacts WHERE occurred_at < $now),
t AS (SELECT date_trunc('month', created_at)::DATE AS month, count(*) AS n, count(DISTINCT contact_type) AS k
      FROM tickets t JOIN c USING (ticket_id, source_system)
      WHERE resolved_at < $now AND c.occurred_at <= resolved_at
      GROUP BY ticket_id, source_system, month)
SELECT month, count(*) AS resolved_count, sum(n)::BIGINT AS contact_count,
       count(*) FILTER (n = 1) AS single_contact_count, count(*) FILTER (k > 1) AS switched_count
FROM t GROUP BY 1 ORDER BY 1
"""
REPEATS = """
SELECT date_trunc('month', c.occurred_at)::DATE AS month, count(*) AS followed_count,
       count(*) FILTER (EXISTS (
         SELECT 1 FROM contacts o WHERE o.subject_id = c.subject_id
           AND coalesce(o.category, '-') = coalesce(c.category, '-')
           AND (o.source_system, o.interaction_id) <> (c.source_system, c.interaction_id)
           AND o.occurred_at > c.occurred_at AND o.occurred_at <= c.occurred_at + INTERVAL 7 DAY
           AND o.occurred_at < $now)) AS repeat_count
FROM contacts c WHERE c.subject_id NOT LIKE 'i:%' AND c.occurred_at + INTERVAL 7 DAY < $now GROUP BY 1 ORDER BY 1
"""


def test_duckdb_counts_the_same_effort(retailer) -> None:  # type: ignore[no-untyped-def]
    contacts, tickets = (retailer.frame(f"silver.service_{name}") for name in ("contacts", "tickets"))
    read = retailer.frame("silver.contact_categories")
    clocks = retailer.frame("silver.ticket_clocks")
    now = datetime.combine(retailer.as_of, datetime.min.time(), UTC)
    ours = customer_effort(contacts, read, tickets, clocks, retailer.as_of, RULES).collect()
    ours = ours.filter(pl.col("category") == "ALL").sort("month")
    with duckdb.connect() as base:
        base.execute("SET TimeZone = 'UTC'")
        named = contacts.join(read.drop("category"), on=["interaction_id", "source_system"], how="left")
        named = named.with_columns(category=pl.coalesce("category", "category_read"))
        base.register("contacts", named.collect().to_arrow())
        base.register("tickets", tickets.collect().to_arrow())
        theirs = [base.sql(text, params={"now": now}).pl() for text in (EFFORT, REPEATS)]
    for frame in theirs:
        both = frame.join(ours, on="month", suffix="_ours")
        assert both.height == frame.height > 3
        for column in frame.columns[1:]:
            assert both[column].to_list() == both[f"{column}_ours"].to_list(), column


NOT_READ = pl.LazyFrame(schema=dict.fromkeys(("interaction_id", "source_system", "category_read"), pl.String))


def resolved_tickets(count: int, at: datetime) -> pl.LazyFrame:
    return pl.LazyFrame({"ticket_id": [str(n) for n in range(count)]}).with_columns(
        source_system=pl.lit("S"), created_at=pl.lit(at), resolved_at=pl.lit(at + timedelta(days=1)),
        category=pl.lit("BILLING"),
    )  # fmt: skip


def clocks(tickets: pl.LazyFrame) -> pl.LazyFrame:
    """Of tickets that took one contact each."""
    return tickets.select("ticket_id", "source_system", contact_count=pl.lit(1, pl.Int64))


@pytest.mark.parametrize("days", [40, 370, 800])
def test_both_halves_of_a_month_are_of_all_its_days(days: int) -> None:
    """However long ago: what analyses of tickets look back on cuts no month in two."""
    at = datetime.combine(AS_OF, datetime.min.time(), UTC) - timedelta(days=days)
    tickets = resolved_tickets(30, at)
    contacts = tickets.select("ticket_id", "source_system").with_columns(
        interaction_id="ticket_id", subject_id="ticket_id", occurred_at=pl.lit(at), contact_type=pl.lit("CHAT"),
        category=pl.lit(None, pl.String),
    )  # fmt: skip
    read = contacts.select("interaction_id", "source_system", category_read=pl.lit("REFUND"))
    unsaid = tickets.with_columns(category=pl.lit(None, pl.String))
    told = customer_effort(contacts, read, unsaid, clocks(tickets), AS_OF, RULES).collect()
    cells = told.select("category", "resolved_count", "followed_count", "switched_count", "month").sort("category")
    first = at.date().replace(day=1)
    assert cells.rows() == [("ALL", 30, 30, 0, first), ("REFUND", 30, 30, 0, first)]


def test_a_thank_you_after_the_resolution_is_no_contact_that_it_took() -> None:
    at = START + timedelta(days=40)
    tickets = resolved_tickets(40, at)
    first = tickets.select("ticket_id", "source_system", "category").with_columns(
        interaction_id=pl.lit("a") + pl.col("ticket_id"), subject_id="ticket_id",
        occurred_at=pl.lit(at), contact_type=pl.lit("CHAT"),
    )  # fmt: skip
    thanks = first.with_columns(
        interaction_id=pl.lit("b") + pl.col("ticket_id"), occurred_at=pl.lit(at + timedelta(days=11)),
        contact_type=pl.lit("EMAIL"),
        category=pl.lit(None, pl.String),
    )  # fmt: skip
    told = customer_effort(pl.concat([first, thanks]), NOT_READ, tickets, clocks(tickets), AS_OF, RULES).collect()
    row = told.filter(pl.col("category") == "BILLING").row(0, named=True)
    assert (row["single_contact_rate"], row["contacts_per_resolution"], row["switched_rate"]) == (1, 1, 0)


def test_what_comes_later_changes_no_row(retailer) -> None:  # type: ignore[no-untyped-def]
    touchpoints, day = retailer.frame("silver.touchpoints"), retailer.as_of - timedelta(days=40)
    past = touchpoints.filter(pl.col("occurred_on") < day)
    for build in (journeys, stage_transitions, funnel_steps, purchase_paths, purchase_touches):
        made = [build(frame, day, RULES).collect() for frame in (touchpoints, past)]
        assert made[0].height > 5
        key = [c for c in made[0].columns if made[0][c].dtype != pl.List(pl.String)]
        assert made[0].sort(key).equals(made[1].sort(key)), build.__name__


def test_a_person_counts_once_a_period_and_segments_follow_the_first_step(retailer) -> None:  # type: ignore[no-untyped-def]
    told = funnel_steps(retailer.frame("silver.touchpoints"), retailer.as_of, RULES).collect()
    online = told.filter(pl.col("funnel") == "online", pl.col("segment_by") == "ALL")
    months = online.filter(pl.col("period") == "MONTH", "is_complete").group_by("step_number").agg(
        pl.col("reached_count").sum(), most=pl.col("reached_count").max()
    ).sort("step_number")  # fmt: skip
    whole = online.filter(pl.col("period") == "WHOLE").sort("step_number")
    for one, all_of, most in zip(whole["reached_count"], months["reached_count"], months["most"], strict=True):
        assert most <= one <= all_of
    visits = retailer.frame("silver.touchpoints").filter(
        pl.col("kind") == "VISIT", pl.col("occurred_on") >= whole["period_start"][0], is_followed()
    )  # fmt: skip
    last = online.filter(pl.col("period") == "MONTH", "is_complete")["period_start"].max()
    inside = visits.filter(pl.col("occurred_on").dt.truncate("1mo") <= last).select(pl.col("subject_id").n_unique())
    assert whole["entered_count"][0] == inside.collect().item()
    assert (told["reached_count"] <= told["previous_count"]).all()
    judged = funnel_bottlenecks(told.lazy(), retailer.as_of, RULES).collect()
    assert judged.height and set(judged["status"]) <= {"BOTTLENECK", "NO_DIFFERENCE_SHOWN", "NOT_ENOUGH_EVIDENCE"}


def test_what_one_does_again_and_again_is_one() -> None:
    """Ten people, five of whom buy from search ten times each and five from mail: shares of ten draws, not of 100."""
    people = [(f"p{n}", "SEARCH" if n < 5 else "EMAIL") for n in range(10)]
    told = pl.concat(
        stream(*((d + k, kind, channel) for d in range(0, 100, 10) for k, kind, channel in
                 ((0, "VISIT", came), (0.5, "PURCHASE", "WEB"))), person=person)
        for person, came in people
    )  # fmt: skip
    rows = purchase_paths(told, AS_OF, RULES).collect()
    assert rows["purchase_count"].to_list() == [50, 50]
    assert rows.row(0, named=True)["share_low"] == pytest.approx(0.237, abs=0.001)
    ends = purchase_touches(told, AS_OF, RULES).collect().filter(position="LAST")
    assert ends["share_high"].to_list() == pytest.approx([0.763, 0.763], abs=0.001)
    ways = stage_transitions(told, AS_OF, RULES).collect()
    assert ways.filter(pl.col("from_stage") != "START").select(pl.col("rate_low") <= pl.col("rate")).to_series().all()


def test_nothing_gives_nothing() -> None:
    none = stream((0, "VISIT", "SEARCH")).filter(pl.lit(False))
    for build in (journeys, stage_transitions, funnel_steps, purchase_paths, purchase_touches):
        assert build(none, AS_OF, RULES).collect().is_empty(), build.__name__
    steps = funnel_steps(none, AS_OF, RULES)
    assert funnel_bottlenecks(steps, AS_OF, RULES).collect().is_empty()


def test_a_stage_is_that_of_the_first_rule_that_fits() -> None:
    rules = JourneyRules(
        stages=[StageRule(stage="SERVICE", channels=["PHONE"]), StageRule(stage="LOYALTY", kinds=["CALL"])]
    )
    touches = stream((0, "CALL", "PHONE"), (1, "CALL", "DESK"), (2, "AD", "DESK")).with_columns(stage=rules.stage())
    assert touches.collect()["stage"].to_list() == ["SERVICE", "LOYALTY", "AWARENESS"]
