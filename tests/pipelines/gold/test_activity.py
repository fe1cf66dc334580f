"""Activity: periods and hours against DuckDB, paths against brute force, series at their edges."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest

from customer360.pipelines.gold import activity, activity_series, sequences
from customer360.pipelines.gold.behavior import interactions
from customer360.pipelines.rules import ActivityRules, EnrichmentRules, StandardizationRules
from customer360.pipelines.silver.behavior import Events
from customer360.platform import tables
from customer360.serve.compose import compose

RULES = EnrichmentRules()
AS_OF = date(2026, 6, 1)
VISITORS = """
WITH marked AS (
  SELECT v.*, CASE WHEN v.person_id IS NULL THEN 'ANONYMOUS'
    WHEN date_trunc('month', started_on) < (SELECT min(month) FROM months) THEN 'BEFORE_HISTORY'
    ELSE coalesce(m.rfm_segment, 'NO_SEGMENT') END AS segment
  FROM visits v LEFT JOIN months m ON m.person_id = v.person_id AND m.month = date_trunc('month', started_on)
  WHERE started_on < $end)
SELECT date_trunc($grain, started_on)::DATE AS period_on, coalesce(segment, 'ALL') AS segment,
  coalesce(channel_type, 'ALL') AS channel_type, count(DISTINCT subject_id) AS visitor_count,
  count(*) AS session_count, sum(page_view_count)::BIGINT AS page_view_count,
  count(*) FILTER (is_converter) AS converted_session_count
FROM marked GROUP BY CUBE (segment, channel_type), 1 ORDER BY ALL
"""


@pytest.mark.parametrize("grain", ["DAY", "WEEK", "MONTH"])
def test_duckdb_counts_the_same_periods(retailer: Any, grain: str) -> None:
    facts, months = retailer.frame("silver.session_facts"), retailer.frame("gold.segment_months")
    end = retailer.as_of - timedelta(days=40)
    ours = activity.activity_periods(facts, months, end).collect().filter(grain=grain)
    with duckdb.connect() as base:
        base.register("visits", facts.collect().to_arrow())
        base.register("months", months.collect().to_arrow())
        theirs = base.sql(VISITORS, params={"end": end, "grain": grain.lower()}).pl()
    key = ["period_on", "segment", "channel_type"]
    assert theirs.height > 50 and len(set(theirs["segment"])) > 4
    assert ours.select(theirs.columns).sort(key).rows() == theirs.sort(key).rows()


def test_a_period_is_complete_when_it_lies_in_the_data() -> None:
    facts = [
        {"subject_id": "v:1", "started_on": on, "channel_type": "DIRECT", "page_view_count": 1, "duration_seconds": 5,
         "is_converter": False, "day_of_week": 1, "hour": 1, "person_id": None}
        for on in (date(2026, 4, 20), date(2026, 4, 29), date(2026, 5, 4))
    ]  # fmt: skip
    frame = pl.LazyFrame(facts, schema_overrides={"person_id": pl.String})
    months = pl.LazyFrame(schema={"person_id": pl.String, "month": pl.Date, "rfm_segment": pl.String})
    made = (
        activity.activity_periods(frame, months, date(2026, 5, 5)).collect().filter(segment="ALL", channel_type="ALL")
    )
    said = {(r["grain"], r["period_on"]): r["is_complete"] for r in made.to_dicts()}
    assert said["WEEK", date(2026, 4, 20)] and said["WEEK", date(2026, 4, 27)] and not said["WEEK", date(2026, 5, 4)]
    assert not said["MONTH", date(2026, 4, 1)] and not said["MONTH", date(2026, 5, 1)]
    assert said["DAY", date(2026, 5, 4)]
    assert set(made["channel_type"]) == {"ALL"}
    assert activity.activity_periods(frame, months, date(2026, 4, 1)).collect().is_empty()


def test_hours_are_shares_that_add_up_to_one(retailer: Any) -> None:
    made = retailer.frame("gold.activity_hours").collect()
    assert made.group_by("segment").agg(pl.col("share").sum())["share"].to_list() == pytest.approx(
        [1] * made["segment"].n_unique()
    )
    everybody = made.filter(segment="ALL")
    assert everybody["share_index"].to_list() == [1] * everybody.height
    recent = retailer.frame("silver.session_facts").filter(
        (pl.lit(retailer.as_of) - pl.col("started_on")).dt.total_days().is_between(1, 365)
    )
    assert everybody["session_count"].sum() == recent.collect().height


def visits(rows: Sequence[tuple[str, int, str, str | None]]) -> pl.LazyFrame:
    """silver.events of (subject, minutes after noon a week before AS_OF, type, tracker's session)."""
    noon = datetime(2026, 5, 25, 12, tzinfo=UTC)
    schema = tables.schema(Events)
    full = [
        {"event_id": f"E{n:05d}", "subject_id": who, "event_type": kind, "tracker_session_id": session,
         "occurred_at": noon + timedelta(minutes=at)}
        for n, (who, at, kind, session) in enumerate(rows)
    ]  # fmt: skip
    return pl.LazyFrame([{c: row.get(c) for c in schema} for row in full], schema=schema)


def test_paths_and_transitions_are_those_of_brute_force() -> None:
    rng, rows = np.random.default_rng(3), []
    kinds = ["PAGE_VIEW", "SEARCH", "PRODUCT_VIEW", "CART_ADD", "PURCHASE"]
    for visit in range(800):
        steps = rng.choice(kinds, size=rng.integers(1, 7), p=[0.5, 0.2, 0.2, 0.05, 0.05])
        rows += [(f"v:{visit % 40}", n, str(kind), f"S{visit}") for n, kind in enumerate(steps)]
    by_visit: dict[str, list[str]] = defaultdict(list)
    for _, _, kind, session in rows:
        by_visit[session].append(kind)
    pairs = Counter(pair for path in by_visit.values() for pair in zip(["START", *path], [*path, "EXIT"], strict=True))
    begins = Counter(
        " > ".join([*(kind for kind, _ in groupby(path)), "EXIT"][: sequences.PATH_STEPS]) for path in by_visit.values()
    )
    made = sequences.event_transitions(visits(rows), AS_OF, StandardizationRules()).collect()
    assert {(a, b): n for a, b, n in made.select("from_type", "to_type", "transition_count").rows()} == dict(pairs)
    assert made.filter(from_type="START")["transition_count"].sum() == 800
    paths = sequences.event_paths(visits(rows), AS_OF, StandardizationRules()).collect()
    assert dict(paths.select("path", "session_count").rows()) == {p: n for p, n in begins.items() if n >= 20}
    assert paths["rank"].to_list() == list(range(1, paths.height + 1)) and paths.height > 1
    assert (paths["conversion_rate_low"] <= paths["conversion_rate"]).all()


def test_visits_of_one_visitor_are_alike() -> None:
    """Of ten visitors with ten visits each five buy in all of theirs, all of which begin alike: ten draws."""
    steps = ["SEARCH", "PAGE_VIEW", "PRODUCT_VIEW", "CART_ADD", "PURCHASE"]
    rows = [
        (f"v:{who}", -60 * 24 * 60 + 24 * 60 * day + step, kind, f"{who}-{day}")
        for who in range(10) for day in range(10)
        for step, kind in enumerate(steps if who < 5 else steps[:4])
    ]  # fmt: skip
    path = sequences.event_paths(visits(rows), AS_OF, StandardizationRules()).collect().row(0, named=True)
    assert (path["session_count"], path["conversion_rate"]) == (100, 0.5)
    assert path["conversion_rate_low"] == pytest.approx(0.237, abs=0.001)


def test_machines_and_other_days_are_in_no_sequence() -> None:
    fast = [("v:fast", 0, "PAGE_VIEW", "S") for _ in range(70)]
    late = [("v:late", 8 * 24 * 60, "SEARCH", "T"), ("v:old", -100 * 24 * 60, "SEARCH", "U")]
    made = sequences.event_transitions(visits([*fast, *late]), AS_OF, StandardizationRules()).collect()
    assert made.is_empty()


def test_a_tracker_may_name_visits_as_the_platform_numbers_them() -> None:
    """Subjects are numbered here: the first visit of subject 0 is not the one that a tracker calls 0#1."""
    rows = [("v:a", 0, "SEARCH", f"{number}#1") for number in range(3)] + [("v:a", 1, "PURCHASE", None)]
    made = sequences.event_transitions(visits(rows), AS_OF, StandardizationRules()).collect()
    assert set(made.select("from_type", "to_type", "transition_count").rows()) == {
        ("START", "SEARCH", 3), ("SEARCH", "EXIT", 3), ("START", "PURCHASE", 1), ("PURCHASE", "EXIT", 1)
    }  # fmt: skip


def periods(counts: list[int | None], segment: str = "ALL") -> pl.DataFrame:
    """Days up to the one before AS_OF; None: no row."""
    first = AS_OF - timedelta(days=len(counts))
    told = [(first + timedelta(days=n), c) for n, c in enumerate(counts) if c is not None]
    frame = pl.DataFrame(told, schema={"period_on": pl.Date, "session_count": pl.Int64}, orient="row")
    return frame.with_columns(grain=pl.lit("DAY"), segment=pl.lit(segment), channel_type=pl.lit("ALL"))


def test_what_cannot_be_said_is_said_to_be_so() -> None:
    given = pl.concat([
        periods([30] * 400), periods([30] * 40, "NEW"), periods([1] + [None] * 398 + [1], "RARE"),
    ]).lazy()  # fmt: skip
    said = {r["segment"]: r for r in activity_series.activity_trends(given, AS_OF, RULES).collect().to_dicts()}
    assert {s: r["status"] for s, r in said.items()} == {
        "ALL": "MEASURED", "NEW": "NOT_ENOUGH_HISTORY", "RARE": "NOT_ENOUGH_EVIDENCE"
    }  # fmt: skip
    assert said["NEW"]["change_30d"] is None and said["NEW"]["is_trending"] is None
    assert not said["ALL"]["is_season_removed"] and said["ALL"]["change_30d"] == pytest.approx(0, abs=1e-6)
    for build in (
        activity_series.activity_seasons,
        activity_series.activity_anomalies,
        activity_series.activity_forecasts,
    ):
        assert set(build(given, AS_OF, RULES).collect()["segment"]) <= {"ALL"}
        assert build(given.head(0), AS_OF, RULES).collect().is_empty()


def test_the_season_of_the_year_is_no_trend_once_the_history_tells_it() -> None:
    days = np.arange(700)
    number = days + (AS_OF - timedelta(days=700) - date(1970, 1, 1)).days
    busy = np.random.default_rng(1).poisson(80 * np.exp(0.4 * np.cos(2 * np.pi * (number - 350) / 365.25)))
    (long,) = activity_series.activity_trends(periods(busy.tolist()).lazy(), AS_OF, RULES).collect().to_dicts()
    (short,) = activity_series.activity_trends(periods(busy[-150:].tolist()).lazy(), AS_OF, RULES).collect().to_dicts()
    assert long["is_season_removed"] and abs(long["change_30d"]) < 0.01
    assert not short["is_season_removed"] and short["change_30d"] < -0.05
    seasons = activity_series.activity_seasons(periods(busy.tolist()).lazy(), AS_OF, RULES).collect()
    months = dict(seasons.filter(cycle="MONTH").select("position", "factor").rows())
    assert max(months, key=lambda m: months[m]) == 12 and months[12] / months[6] == pytest.approx(np.exp(0.8), rel=0.12)


def test_trends_are_claimed_of_a_list_as_a_list() -> None:
    def claimed(*p_values: float) -> list[object]:
        rows: list[dict[str, object]] = [{"p": p} for p in p_values]
        return [row["is_trending"] for row in activity_series._claimed([*rows, {}], "is_trending", RULES.activity)[:-1]]

    assert claimed(0.03) == [True] and claimed(0.03, *[0.6] * 19) == [False] * 20
    assert claimed(0.001, *[0.6] * 19) == [True] + [False] * 19


def test_months_without_segments_make_no_series() -> None:
    """Everybody has a segment since a year ago: what was before neither falls nor has a season."""
    before = periods([30] * 700, activity.BEFORE_HISTORY).filter(pl.col("period_on") < AS_OF - timedelta(days=350))
    given = pl.concat([periods([30] * 700), before, periods([30] * 350, "LOYAL")]).lazy()
    trends = activity_series.activity_trends(given, AS_OF, RULES).collect()
    assert set(trends["segment"]) == {"ALL", "LOYAL"} and not trends["is_trending"].any()
    assert set(activity_series.activity_seasons(given, AS_OF, RULES).collect()["segment"]) == {"ALL", "LOYAL"}


def test_a_weekday_on_which_nobody_comes_has_no_factor() -> None:
    first = AS_OF - timedelta(days=364)
    weekdays = [(first + timedelta(days=n)).isoweekday() for n in range(364)]
    given = periods([None if d == 7 else 60 if d == 6 else 30 for d in weekdays]).lazy()
    rows = activity_series.activity_seasons(given, AS_OF, RULES).collect().filter(cycle="WEEKDAY")
    factors = dict(rows.select("position", "factor").rows())
    assert set(factors) == set(range(2, 8)), "no Sunday"
    assert factors[7] == pytest.approx(2 ** (5 / 6)) and factors[2] == pytest.approx(2 ** (-1 / 6))


def test_a_silent_tracker_is_no_zero() -> None:
    counts: list[int | None] = [50 + n % 7 for n in range(300)]
    counts[200:230] = [None] * 30
    (row,) = activity_series.activity_trends(periods(counts).lazy(), AS_OF, RULES).collect().to_dicts()
    assert row["day_count"] == 270 and row["visits_per_day"] == pytest.approx(53, abs=0.2)
    quiet = periods([None if n == 295 else 5 for n in range(300)], "S")  # others came: a zero of the segment
    said = activity_series.activity_anomalies(pl.concat([periods(counts), quiet]).lazy(), AS_OF, RULES).collect()
    (zero,) = said.filter(segment="S", session_count=0).to_dicts()
    assert zero["is_unusual"] and zero["direction"] == "FEWER"


def test_an_unusual_day_needs_a_history_to_be_unusual_in() -> None:
    short = [40 + n % 3 for n in range(100)] + [400]
    assert activity_series.activity_anomalies(periods(short).lazy(), AS_OF, RULES).collect().is_empty()
    strict = EnrichmentRules(activity=ActivityRules(alarm_history_days=40, false_alarm_rate=0.05))
    said = activity_series.activity_anomalies(periods(short).lazy(), AS_OF, strict).collect()
    assert said.filter("is_unusual").select("day_on", "direction").rows() == [(AS_OF - timedelta(days=1), "MORE")]


def test_what_a_machine_looked_at_under_a_persons_login_is_no_interaction() -> None:
    compose()
    noon = datetime(2026, 5, 25, 12, tzinfo=UTC)
    rows = [
        {"event_id": str(minute), "subject_id": who, "person_id": who, "product_id": "P", "event_type": "PRODUCT_VIEW",
         "occurred_at": noon + timedelta(minutes=minute), "occurred_on": noon.date()}
        for who, minute in (("fast", 1), ("fast", 2), ("fast", 30), ("other", 1))
    ]  # fmt: skip
    rows.append(rows[-1] | {"event_id": "bot", "set_apart": "DECLARED_BOT"})
    names = ("transaction_items", "events", "products", "set_apart_sessions")
    given = {n: tables.by_name(f"silver.{n}") for n in names}
    schemas = {n: tables.schema(table) for n, table in given.items()}
    apart = {"subject_id": "fast", "session_id": "fast#1", "started_at": noon, "ended_at": noon + timedelta(minutes=2)}
    filled = {"events": rows, "set_apart_sessions": [apart]}
    frames = [
        pl.LazyFrame([{c: row.get(c) for c in schemas[n]} for row in filled.get(n, [])], schema=schemas[n])
        for n in names
    ]  # fmt: skip
    made = interactions(*frames).collect()
    assert dict(made.select("person_id", "count").rows()) == {"fast": 1, "other": 1}


def test_a_profile_lists_the_stages_and_channels_of_its_visits(retailer: Any) -> None:
    made = retailer.frame("gold.visit_profiles").collect()
    assert made.select(pl.col("journey_stages").list.contains(pl.col("furthest_stage")).all()).item()
    assert made.select(pl.col("channel_types").list.contains(pl.col("usual_channel_type")).all()).item()
    assert made["journey_stages"].list.len().max() > 1
