"""Touchpoints over all channels: whose they are, and what counts as one."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from customer360.pipelines.rules.journey import JourneyRules
from customer360.pipelines.silver import touchpoints as module
from customer360.pipelines.vocabulary import JOURNEY_STAGES, SESSION_GAP_MINUTES
from customer360.platform import graph, tables
from customer360.platform.tables import OneOf
from customer360.serve.compose import compose

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
NODE = "silver.touchpoints"


def told(**rows: list[dict[str, Any]]) -> pl.DataFrame:
    """silver.touchpoints of rows by table of silver; the other tables are empty."""
    compose()
    frames = []
    for table in graph.NODES[NODE].inputs:
        schema = tables.schema(tables.by_name(table))
        filled = [{c: row.get(c) for c in schema} for row in rows.get(table.removeprefix("silver."), [])]
        frames.append(pl.LazyFrame(filled, schema=schema))
    return module.touchpoints(*frames, JourneyRules()).collect()


def view(minutes: float, **more: Any) -> dict[str, Any]:
    return {"event_id": f"E{minutes}", "source_system": "S", "subject_id": "p", "person_id": "p",
            "event_type": "PRODUCT_VIEW", "occurred_at": START + timedelta(minutes=minutes)} | more  # fmt: skip


def test_a_stage_of_a_journey_has_one_vocabulary() -> None:
    compose()
    held = {
        f"{name}.{column}": tuple(found.values)
        for name, table in tables.TABLES.items()
        for column, found in table.columns().items()
        if column.endswith("stage") and isinstance(found, OneOf) and "AWARENESS" in found.values
    }
    assert {"silver.session_facts.journey_stage", "gold.customer_360.journey_stage"} < set(held)
    assert set(held.values()) <= {
        JOURNEY_STAGES, ("START", *JOURNEY_STAGES), (*JOURNEY_STAGES, "END")
    }  # fmt: skip


def test_what_machines_do_is_no_touchpoint() -> None:
    apart = {"subject_id": "p", "session_id": "fast", "started_at": START, "ended_at": START + timedelta(minutes=200)}
    events = [view(0), view(60, set_apart="DECLARED_BOT"), view(120, tracker_session_id="fast"),
              view(180, tracker_session_id="slow")]  # fmt: skip
    made = told(events=events, set_apart_sessions=[apart])
    assert made["touchpoint_id"].to_list() == ["BROWSING:S/E0", "BROWSING:S/E180"]


def test_steps_of_two_sources_with_one_number_and_moment_are_in_one_order() -> None:
    events = [view(0, source_system=source) for source in ("S", "A")]
    for rows in (events, events[::-1]):
        assert told(events=rows)["touchpoint_id"].to_list() == ["BROWSING:A/E0"]


def visit(hours: float, **more: Any) -> dict[str, Any]:
    at = START + timedelta(hours=hours)
    return {"visit_id": f"S{hours}", "source_system": "DOOR", "subject_id": "p", "person_id": "p", "store_id": "L1",
            "entered_at": at, "left_at": at + timedelta(minutes=20), "visit_source": "WIFI",
            "is_consented": True} | more  # fmt: skip


def fed(hours: float, kind: str, **more: Any) -> dict[str, Any]:
    return {"touchpoint_id": f"F{hours}", "source_system": "CRM", "subject_id": "p", "person_id": "p", "action": kind,
            "occurred_at": START + timedelta(hours=hours), "touchpoint_type": kind} | more  # fmt: skip


def test_a_measured_visit_of_a_store_is_a_touchpoint_with_a_yes_and_once() -> None:
    visits = [visit(0), visit(5, is_consented=False, subject_id="sv:DOOR/S5"), visit(6, visit_source="COUNTER")]
    again = [fed(0.5, "STORE_VISIT", location_id="L1"), fed(0.6, "STORE_VISIT")]
    others = [fed(0.1, "STORE_VISIT", location_id="L2"), fed(1.0, "STORE_VISIT"), fed(0.2, "CONSULTATION"),
              fed(0.3, "STORE_VISIT", subject_id="q", person_id="q")]  # fmt: skip
    made = told(store_visits=visits, touchpoint_records=[*again, *others])
    assert sorted(made["touchpoint_id"]) == [
        "FEED:CRM/F0.1", "FEED:CRM/F0.2", "FEED:CRM/F0.3", "FEED:CRM/F1.0", "STORE_VISIT:DOOR/S0"
    ]  # fmt: skip
    (row,) = made.filter(pl.col("touchpoint_id").str.starts_with("STORE")).to_dicts()
    assert (row["kind"], row["channel"], row["stage"], row["is_active"]) == ("STORE_VISIT", "STORE", "AWARENESS", True)


def test_what_the_feed_tells_again_is_what_each_pair_tells() -> None:
    """Long visits, visits that begin at once, and places that a side does not say, against all pairs of a subject."""
    of, at = random.Random(1), ("L1", "L2", None)
    visits = [
        visit(n, entered_at=START + timedelta(minutes=of.randrange(3000)), store_id=of.choice(at)) for n in range(60)
    ]
    for each in visits:
        each["left_at"] = of.choice([None, each["entered_at"] + timedelta(minutes=of.choice([0, 20, 400]))])
    records = [fed(of.randrange(3000) / 60, "STORE_VISIT", touchpoint_id=f"F{n}", location_id=of.choice(at))
               for n in range(120)]  # fmt: skip
    gap, new = timedelta(minutes=SESSION_GAP_MINUTES), set()
    for one in records:
        near = [
            v for v in visits if v["entered_at"] - gap <= one["occurred_at"] <= (v["left_at"] or v["entered_at"]) + gap
        ]
        if not any(None in (p := (v["store_id"], one["location_id"])) or p[0] == p[1] for v in near):
            new.add(f"FEED:CRM/{one['touchpoint_id']}")
    made = told(store_visits=visits, touchpoint_records=records)["touchpoint_id"]
    assert 10 < len(new) < 110 and set(made.filter(made.str.starts_with("FEED"))) == new


def test_feedback_is_a_touchpoint_where_it_counts_and_once() -> None:
    said = {"subject_id": "p", "person_id": "p", "source_system": "WEB", "is_own": True, "occurred_at": START}
    feedback = [
        said | {"statement_id": "R1", "kind": "REVIEW", "channel": "Trusted"},
        said | {"statement_id": "A1", "kind": "ANSWER"}, said | {"statement_id": "A2", "kind": "ANSWER"},
        said | {"statement_id": "R2", "kind": "REVIEW", "set_apart": "SPAM"},
        said | {"statement_id": "P1", "kind": "POST", "is_own": False},
    ]  # fmt: skip
    records = [fed(0.4, "REVIEW"), fed(90, "REVIEW", reference_id="R1"), fed(91, "REVIEW", reference_id="R2"),
               fed(0.2, "NPS"), fed(5, "REVIEW"), fed(0.1, "REFERRAL"), fed(2, "POST"), fed(0.3, "POST")]  # fmt: skip
    made = told(feedback=feedback, touchpoint_records=records).sort("touchpoint_id")
    assert made["touchpoint_id"].to_list() == [
        "FEED:CRM/F0.1", "FEED:CRM/F2", "FEED:CRM/F5", "FEEDBACK:ANSWER:WEB/A1", "FEEDBACK:REVIEW:WEB/R1"
    ]  # fmt: skip
    assert set(made.filter(kind="FEEDBACK")["stage"]) == {"LOYALTY"}
    assert made.filter(kind="FEEDBACK")["channel"].to_list() == ["UNKNOWN", "TRUSTED"]


def test_a_complaint_is_a_matter_of_service_and_no_loyalty() -> None:
    said = {"subject_id": "p", "person_id": "p", "source_system": "WEB", "is_own": True, "kind": "REVIEW"}
    feedback = [said | {"statement_id": f"R{n}", "occurred_at": START + timedelta(days=n), "category": category}
                for n, category in enumerate(["PRAISE", "COMPLAINT", "QUESTION"])]  # fmt: skip
    made = told(feedback=feedback).sort("occurred_at")
    assert made["action"].to_list() == ["REVIEW", "COMPLAINT", "REVIEW"]
    assert made["stage"].to_list() == ["LOYALTY", "SERVICE", "LOYALTY"]


def test_who_was_where_is_kept_with_a_yes_alone() -> None:
    links = pl.LazyFrame(schema=tables.schema(tables.by_name("silver.identity_links")))
    schema = tables.schema(tables.by_name("bronze.touchpoints"))
    rows = [
        {"TOUCHPOINT_ID": f"{kind}{said}", "CUSTOMER_ID": "c", "VISITOR_ID": "v", "TOUCHPOINT_TYPE": kind,
         "TOUCHPOINT_DATE": START, "LOCATION_ID": "L", "REFERENCE_ID": "R", "LOCATION_CONSENT": said}
        for kind in ("store visit", "EVENT") for said in (True, None, False)
    ]  # fmt: skip
    given = pl.LazyFrame([{c: row.get(c) for c in schema} for row in rows], schema=schema)
    made = module.touchpoint_records(given.with_columns(_source_system=pl.lit("CRM")), links).collect()
    columns = ("location_id", "customer_id", "visitor_id", "reference_id", "subject_id")
    kept = {row["touchpoint_id"]: tuple(row[c] for c in columns) for row in made.iter_rows(named=True)}
    assert kept["store visitTrue"] == ("L", "c", "v", "R", "a:CRM/c")
    for said in (None, False):
        assert kept[f"store visit{said}"] == (None, None, None, None, f"tp:CRM/store visit{said}")
    for said in (True, None, False):
        assert kept[f"EVENT{said}"][:4] == ("L", "c", "v", "R"), "an event or a call does not say where somebody is"
