"""What comes after what, of visits that stand in each other and rows in any order, as brute force counts it."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from customer360.pipelines.gold.sequences import EXIT, START, event_paths, event_transitions
from customer360.pipelines.rules import StandardizationRules
from customer360.pipelines.sessions import PAGE_EVENTS, automated, with_sessions
from customer360.pipelines.silver.behavior import Events
from customer360.platform import tables

AS_OF, START_AT = date(2026, 5, 1), datetime(2026, 4, 20, 23, 50, tzinfo=UTC)
RULES = StandardizationRules.model_validate({"traffic": {"most_pages_per_minute": 2, "most_events_per_minute": 4}})
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.sampled_from(
            ["v1", "v2", "a#1", "b#1", None, None]
        ),  # a tracker may say what reads as the number of a visit
        st.integers(0, 40).map(lambda n: START_AT + timedelta(seconds=20 * n)),
        st.sampled_from(["PAGE_VIEW", "PRODUCT_VIEW", "SEARCH", "PURCHASE"]),
        st.sampled_from([None, None, None, "DECLARED_BOT"]),
    ),
    max_size=25,
)
Row = tuple[str, str | None, datetime, str, str | None]


def events(rows: list[Row]) -> pl.LazyFrame:
    schema = tables.schema(Events)
    named: list[dict[str, Any]] = [
        {"event_id": f"e{number * 7 % 11:02}-{number}", "subject_id": who, "tracker_session_id": visit,
         "occurred_at": at, "event_type": kind, "set_apart": why}
        for number, (who, visit, at, kind, why) in enumerate(rows)
    ]  # fmt: skip
    return pl.DataFrame([{**dict.fromkeys(schema), **row} for row in named], schema=schema, orient="row").lazy()


def visits(rows: pl.LazyFrame) -> list[list[str]]:
    """Types of the events of each visit of a human, in order."""
    found: dict[Any, list[tuple[datetime, str]]] = {}
    told = with_sessions(rows, RULES.traffic).sort("occurred_at", "event_id").collect()
    for row in told.to_dicts():
        key = row["subject_id"], row["session_id"], row["tracker_session_id"] is not None
        found.setdefault(key, []).append((row["occurred_at"], row["event_type"]))
    most_pages, most_events, human = RULES.traffic.most_pages_per_minute, RULES.traffic.most_events_per_minute, []
    for steps in found.values():
        pages = [at for at, kind in steps if kind in PAGE_EVENTS]
        odd = [
            times[n] - times[n - most] < timedelta(minutes=1)
            for times, most in ((pages, most_pages), ([at for at, _ in steps], most_events))
            for n in range(most, len(times))
        ]  # fmt: skip
        if not any(odd):
            human.append([kind for _, kind in steps])
    return human


@settings(max_examples=120, deadline=None)
@given(ROWS, st.randoms())
def test_transitions_are_those_of_each_visit_alone(rows: list[Row], chance: Any) -> None:
    frame, counts, within = events(rows), Counter[Any](), Counter[Any]()
    for steps in visits(frame):
        pairs = list(zip([START, *steps], [*steps, EXIT], strict=True))
        counts.update(pairs)
        within.update(set(pairs))
    mixed = frame.collect()[chance.sample(range(len(rows)), len(rows))].lazy()
    for given_rows in (frame, frame.sort("subject_id", "occurred_at", "event_id"), mixed):
        made = event_transitions(given_rows, AS_OF, RULES).collect()
        told = {
            (a, b): (n, m)
            for a, b, n, m in made.select("from_type", "to_type", "transition_count", "session_count").rows()
        }
        assert told == {pair: (n, within[pair]) for pair, n in counts.items()}


def test_paths_are_of_visits_that_stand_in_each_other() -> None:
    """Twenty people look and search over one device, and look and buy over another at the same time."""
    rows: list[Row] = []
    for person in range(20):
        for visit, last in (("p", "SEARCH"), ("q", "PURCHASE")):
            for step, kind in enumerate(("PAGE_VIEW", last)):
                at = START_AT + timedelta(minutes=3 * step, seconds=visit == "q")
                rows.append((f"s{person}", f"{visit}{person}", at, kind, None))
    told = event_paths(events(rows), AS_OF, RULES).collect()
    assert dict(told.select("path", "converted_session_count").rows()) == {
        f"PAGE_VIEW > SEARCH > {EXIT}": 0, f"PAGE_VIEW > PURCHASE > {EXIT}": 20,
    }  # fmt: skip
    assert told["session_count"].to_list() == [20, 20]


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_visits_of_machines_are_found_in_any_order(rows: list[Row]) -> None:
    keyed = with_sessions(events(rows), RULES.traffic)
    told = automated(keyed, RULES.traffic).collect().sort("subject_id", "session_id")
    assert told.equals(automated(keyed.reverse(), RULES.traffic).collect().sort("subject_id", "session_id"))


def test_no_events_give_no_rows() -> None:
    assert event_transitions(events([]), AS_OF, RULES).collect().is_empty()
    assert event_paths(events([]), AS_OF, RULES).collect().is_empty()
