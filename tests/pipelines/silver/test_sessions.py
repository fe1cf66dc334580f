"""Visits: what ends one, which are no human's, and that nothing is lost on the way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from customer360.pipelines import agents
from customer360.pipelines.rules import StandardizationRules
from customer360.pipelines.sessions import odd_event, of_humans, with_sessions
from customer360.pipelines.silver.behavior import Events, TrackerSessions, sessions
from customer360.pipelines.silver.journey import SubjectDays
from customer360.pipelines.silver.traffic import SetApartSessions, set_apart_sessions
from customer360.platform import graph, tables
from customer360.serve.compose import compose

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
SHOP = "https://shop.example/"


def events(rows: list[dict[str, Any]]) -> pl.LazyFrame:
    """silver.events, with a subject V and a page view where a row says nothing else."""
    base = {"event_id": None, "source_system": "SHOP", "subject_id": "v:V", "event_type": "PAGE_VIEW"}
    full = [{**base, "event_id": f"E{n:04d}", "visitor_id": "V", **row} for n, row in enumerate(rows)]
    schema = tables.schema(Events)
    filled = [{c: row.get(c) for c in schema} | {"occurred_on": row["occurred_at"].date()} for row in full]
    return pl.LazyFrame(filled, schema=schema)


def at(minutes: float, **more: Any) -> dict[str, Any]:
    return {"occurred_at": START + timedelta(minutes=minutes), **more}


def rules(**traffic: Any) -> StandardizationRules:
    return StandardizationRules.model_validate({"traffic": traffic})


def visits(rows: list[dict[str, Any]], **traffic: Any) -> pl.DataFrame:
    tracked = pl.LazyFrame(schema=tables.schema(TrackerSessions))
    return sessions(events(rows), tracked, rules(**traffic)).sort("started_at").collect()


def test_thirty_minutes_of_silence_end_a_visit_and_not_less() -> None:
    assert visits([at(0), at(30), at(60.1)])["event_count"].to_list() == [2, 1]


def test_midnight_ends_a_visit_where_the_rules_say_which() -> None:
    late = [at(12 * 60 - 5), at(12 * 60 + 5)]
    assert visits(late).height == 2
    assert visits(late, midnight_zone=None).height == 1
    assert visits(late, midnight_zone="America/New_York").height == 1
    assert visits([at(17 * 60 - 5), at(17 * 60 + 5)], midnight_zone="America/New_York").height == 2


def test_another_campaign_ends_a_visit_and_the_same_does_not() -> None:
    first, other = SHOP + "?utm_source=mail&utm_campaign=may+sale", SHOP + "p/1?x=1&utm_source=mail&utm_campaign=june"
    rows = [at(0), at(1, page_url=first), at(2), at(3, page_url=first), at(4, page_url=other)]
    made = visits(rows)
    assert made["event_count"].to_list() == [1, 3, 1]
    assert made["campaign_id"].to_list() == [None, "may sale", "june"]
    assert made["traffic_source"].to_list() == [None, "MAIL", "MAIL"]
    assert visits(rows, campaign_breaks=False).height == 1
    clicks = [at(0, page_url=SHOP + "?gclid=a"), at(1, page_url=SHOP + "?gclid=a"), at(2, page_url=SHOP + "?gclid=b")]
    assert visits(clicks)["event_count"].to_list() == [2, 1]
    assert visits([at(0, page_url=SHOP), at(1, page_url=SHOP + "?ref=utm_campaign")]).height == 1


def test_a_trackers_session_is_one_visit_whatever_happens_in_it() -> None:
    rows = [at(0, tracker_session_id="S"), at(90, tracker_session_id="S", page_url=SHOP + "?utm_campaign=x")]
    assert visits(rows)["session_id"].to_list() == ["S"]


def test_what_a_visitor_did_before_the_login_is_of_the_same_visit() -> None:
    """Links make the anonymous part the person's, so that the subject, and with it the visit, is one."""
    compose()
    frame = tables.schema(tables.by_name("bronze.events"))
    named = {"_source_system": "SHOP", "EVENT_TYPE": "PAGE_VIEW", "VISITOR_ID": "V"}
    rows = [
        {**named, "EVENT_ID": "a", "EVENT_DATE": START},
        {**named, "EVENT_ID": "b", "EVENT_DATE": START + timedelta(minutes=1), "CUSTOMER_ID": "1"},
    ]
    bronze = pl.LazyFrame([{c: row.get(c) for c in frame} for row in rows], schema=frame)
    schema = tables.schema(tables.by_name("silver.identity_links"))
    held = [
        {"kind": "account", "identifier": "SHOP/1", "person_id": "P"},
        {"kind": "visitor", "identifier": "V", "person_id": "P", "valid_from": START - timedelta(days=1)},
    ]
    links = pl.LazyFrame([{c: row.get(c) for c in schema} for row in held], schema=schema)
    made = graph.NODES["silver.events"].function(bronze, links, StandardizationRules())
    tracked = pl.LazyFrame(schema=tables.schema(TrackerSessions))
    (visit,) = sessions(made, tracked, StandardizationRules()).collect().to_dicts()
    assert (visit["person_id"], visit["event_count"]) == ("P", 2)


STATEMENT = """
with e as (
  select *, nullif(coalesce(regexp_extract(page_url, '[?&]utm_campaign=([^&#]+)', 1), ''), '') as campaign from events
), k as (
  select *,
    last_value(campaign ignore nulls) over (partition by subject_id order by occurred_at, event_id
      rows between unbounded preceding and 1 preceding) as known,
    lag(occurred_at) over (partition by subject_id order by occurred_at, event_id) as before
  from e
), b as (
  select *, case when before is null or occurred_at - before > interval 30 minute
    or cast(occurred_at as date) <> cast(before as date)
    or (campaign is not null and campaign is distinct from known) then 1 else 0 end as starts from k
), n as (
  select *, sum(starts) over (partition by subject_id order by occurred_at, event_id) as number from b
)
select subject_id || '#' || number as session_id, count(*) as event_count, min(occurred_at) as started_at,
  max(occurred_at) as ended_at from n group by 1 order by 1
"""


@pytest.mark.parametrize("seed", range(3))
def test_visits_are_those_of_an_independent_statement(seed: int) -> None:
    rng = np.random.default_rng(seed)
    urls = [None, SHOP, SHOP + "?utm_campaign=a", SHOP + "?utm_campaign=b"]
    rows = [
        {"subject_id": f"v:{rng.integers(20)}", "occurred_at": START + timedelta(seconds=int(rng.exponential(86_400))),
         "page_url": urls[rng.choice(4, p=[0.5, 0.3, 0.1, 0.1])]}
        for _ in range(1500)
    ]  # fmt: skip
    given = events(rows).collect()
    plain = given.select("event_id", "subject_id", "page_url", pl.col("occurred_at").dt.replace_time_zone(None))
    with duckdb.connect() as connection:
        connection.register("events", plain.to_arrow())
        want = pl.from_arrow(connection.sql(STATEMENT).to_arrow_table())
    assert isinstance(want, pl.DataFrame)
    tracked = pl.LazyFrame(schema=tables.schema(TrackerSessions))
    made = sessions(given.lazy(), tracked, StandardizationRules()).collect().sort("session_id")
    assert made.height > 300
    columns = ["session_id", "event_count", "started_at", "ended_at"]
    zoned = made.select(columns).with_columns(pl.col("started_at", "ended_at").dt.replace_time_zone(None))
    assert zoned.rows() == want.select(columns).rows()


def test_visits_faster_than_a_human_stand_apart_with_their_reason() -> None:
    fast = [at(n / 70, subject_id="v:fast") for n in range(80)]
    busy = [at(n / 400, subject_id="v:busy", event_type="SCROLL") for n in range(500)]
    human = [at(n / 50, subject_id="v:human") for n in range(80)]
    given = events([*fast, *busy, *human])
    apart = set_apart_sessions(given, rules()).sort("subject_id").collect()
    assert apart.select("subject_id", "event_count", "reason").rows() == [
        ("v:busy", 500, "TOO_MANY_EVENTS"), ("v:fast", 80, "TOO_MANY_PAGES")
    ]  # fmt: skip
    tracked = pl.LazyFrame(schema=tables.schema(TrackerSessions))
    assert sessions(given, tracked, rules()).collect()["subject_id"].to_list() == ["v:human"]
    assert sessions(given, tracked, rules(most_pages_per_minute=90, most_events_per_minute=999)).collect().height == 3


def test_events_of_humans_are_those_of_the_visits_that_count() -> None:
    """Also while a machine is busy under the same subject: visits are told by their id, not by the clock."""
    fast = [at(n / 200, tracker_session_id="script") for n in range(70)] + [at(300, tracker_session_id="script")]
    brief = [at(120 + n / 200) for n in range(70)]
    rows = [*fast, *brief, at(5), at(60, tracker_session_id="phone"), at(121, tracker_session_id="phone"), at(200),
            at(6, set_apart="DECLARED_BOT"), at(120.1, subject_id="v:W")]  # fmt: skip
    given, none = events(rows), pl.LazyFrame(schema=tables.schema(TrackerSessions))
    counted = sessions(given, none, rules()).select("subject_id", "session_id", "event_count").collect()
    told = of_humans(given, set_apart_sessions(given, rules())).collect()
    assert told.height == counted["event_count"].sum() == 5
    assert told.columns == given.collect_schema().names()
    keyed = with_sessions(told.lazy(), rules().traffic).group_by("subject_id").len().collect()
    assert dict(keyed.rows()) == {"v:V": 4, "v:W": 1}


DONE = st.lists(
    st.tuples(
        st.sampled_from(["v:V", "v:W"]), st.sampled_from(["phone", "script", None]), st.integers(0, 9), st.booleans()
    ),
    max_size=20,
)
SPANS = [("script", 0, 9), ("phone", 2, 3), (1, 0, 2), (2, 5, 7)]
VISITS = st.sets(st.tuples(st.sampled_from(["v:V", "v:W"]), st.sampled_from(SPANS)))


@given(DONE, VISITS)
def test_of_events_that_name_no_visit_the_time_tells(done: list[tuple[Any, ...]], visits: set[tuple[Any, ...]]) -> None:
    rows = [
        at(minute, subject_id=subject, tracker_session_id=visit, set_apart="DECLARED_BOT" if is_bot else None)
        for subject, visit, minute, is_bot in done
    ]
    apart = [
        {"subject_id": subject, "session_id": visit if isinstance(visit, str) else f"{subject}#{visit}",
         "started_at": START + timedelta(minutes=first), "ended_at": START + timedelta(minutes=last)}
        for subject, (visit, first, last) in visits
    ]  # fmt: skip
    expected = [
        f"E{n:04d}"
        for n, (subject, visit, minute, is_bot) in enumerate(done)
        if not is_bot
        and not any(
            whose == subject and (visit == named if visit else isinstance(named, int) and first <= minute <= last)
            for whose, (named, first, last) in visits
        )
    ]
    schema = {c: t for c, t in tables.schema(SetApartSessions).items() if apart == [] or c in apart[0]}
    told = of_humans(events(rows), pl.LazyFrame(apart, schema=schema)).collect()
    assert sorted(told["event_id"]) == expected


def test_of_two_visits_that_begin_at_one_moment_the_longer_one_tells() -> None:
    """As two campaigns that were clicked at once begin."""
    apart = [
        {"subject_id": "v:V", "session_id": f"v:V#{n}", "started_at": START, "ended_at": START + timedelta(minutes=m)}
        for n, m in ((1, 0), (2, 9))
    ]
    schema = {c: t for c, t in tables.schema(SetApartSessions).items() if c in apart[0]}
    for rows in (apart, apart[::-1]):
        assert of_humans(events([at(5), at(12)]), pl.LazyFrame(rows, schema=schema)).collect().height == 1


def test_no_table_that_reads_events_takes_those_of_machines_for_people() -> None:
    """Whoever reads silver.events reads why an event is set apart; references are checked of every event."""
    compose()
    named = {name: (node.reads or {}).get("silver.events") for name, node in graph.NODES.items()}
    blind = {name for name, columns in named.items() if columns and "set_apart" not in columns}
    assert blind == {"gold.reference_counts"}


def test_no_event_is_lost_between_the_tables(retailer: Any) -> None:
    """Conservation: events = set apart by themselves + of visits of humans + of visits set apart."""
    given = retailer.frame("silver.events").collect()
    apart = given["set_apart"].drop_nulls().value_counts()
    assert set(apart["set_apart"]) == {"DECLARED_BOT", "IMPOSSIBLE_DURATION"}
    visits, fast = (retailer.frame(f"silver.{n}").collect() for n in ("sessions", "set_apart_sessions"))
    assert (
        fast.height and visits["event_count"].sum() + fast["event_count"].sum() + apart["count"].sum() == given.height
    )
    days = retailer.frame("silver.subject_days").collect()
    assert days["event_count"].sum() == visits["event_count"].sum(), "machines have no days"
    assert days["session_count"].sum() == visits.height


def test_a_day_counts_what_people_did() -> None:
    compose()
    node, inputs = graph.NODES["silver.subject_days"], {}
    for name in node.inputs:
        inputs[name] = pl.LazyFrame(schema=tables.schema(tables.by_name(name)))
    fast = [at(n / 200, tracker_session_id="script", subject_id="v:script", seconds_on_page=9) for n in range(70)]
    inputs["silver.events"] = events([at(0), at(1, set_apart="DECLARED_BOT"), *fast])
    inputs["silver.set_apart_sessions"] = set_apart_sessions(inputs["silver.events"], rules())
    made = node.function(*inputs.values()).collect()
    assert made.select("subject_id", "event_count", "seconds_on_site").rows() == [("v:V", 1, 0)]
    assert sorted(made.columns) == sorted(SubjectDays.columns())


@pytest.mark.parametrize("name", ["silver.subject_days", "gold.technology_profiles", "gold.interactions"])
def test_what_counts_the_events_of_people_knows_the_visits_of_machines(name: str) -> None:
    compose()
    assert {"silver.events", "silver.set_apart_sessions"} <= set(graph.NODES[name].inputs)


AGENTS = [
    ("Mozilla/5.0 (compatible; Examplebot/2.1; +http://example.org/bot.html)", "Examplebot", True, None),
    ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/120.0 Safari/537.36",
     "HeadlessChrome", False, "DESKTOP"),
    ("aiohttp/3.8", "aiohttp", False, None),
    ("ExampleShop/4.1 CFNetwork/1568 Darwin/24.0", "ExampleShop", False, None),
    ("Mozilla/5.0 (SMART-TV; Linux; Tizen 6.0) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/3.0 TV Safari/537.36",  # noqa: E501
     "Samsung Internet", False, None),
    ("", None, False, None),
]  # fmt: skip


@pytest.mark.parametrize(("agent", "browser", "is_spider", "kind"), AGENTS)
def test_agents_are_parsed(agent: str, browser: str | None, is_spider: bool, kind: str | None) -> None:
    frame = pl.DataFrame({"agent": [agent, None]}, schema={"agent": pl.String})
    told = frame.select(
        said=agents.parsed(pl.col("agent")), kind=agents.device_type(pl.col("agent"), pl.lit(None, pl.String))
    )
    assert told["said"].struct.field("browser").to_list() == [browser, None]
    assert told["said"].struct.field("is_spider").to_list() == [is_spider, None]
    assert told["kind"].to_list() == [kind, None]


def test_a_zone_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="Europe/Berlim"):
        rules(midnight_zone="Europe/Berlim")


def test_events_of_nobody_make_no_visits() -> None:
    empty = pl.LazyFrame(schema=tables.schema(Events))
    assert with_sessions(empty, rules().traffic).collect().is_empty()


@pytest.mark.parametrize(
    ("agent", "reason"),
    [
        ("Mozilla/5.0 (compatible; Example; https://bots.example.org/)", "DECLARED_BOT"),
        ("ExampleLens support@example.org", "DECLARED_BOT"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Mobile Safari/604.1; Examplespider", "DECLARED_BOT"),
        ("examplecrawler", "DECLARED_BOT"),
        ("python-httpx/0.27", "DECLARED_BOT"),
        ("Mozilla/5.0 (Linux; Android 7.0; M bot 54) AppleWebKit/537.36 Chrome/78.0 Mobile Safari/537.36", None),
        ("Mozilla/5.0 (Linux; Android 13; CUBOT P80) AppleWebKit/537.36 Chrome/120.0 Mobile Safari/537.36", None),
        ("Mozilla/5.0 (Linux; Android 13; Spider 8) Chrome/124.0 Safari/537.36 (Example android@88.0.4)", None),
        ("okhttp/4.12.0", None),
        (None, None),
    ],
)
def test_machines_say_so_in_many_ways_and_phones_do_not(agent: str | None, reason: str | None) -> None:
    frame = pl.DataFrame({"USER_AGENT": [agent], "TIME_ON_PAGE": [5]}, schema_overrides={"USER_AGENT": pl.String})
    assert frame.select(odd_event(agents.parsed(pl.col("USER_AGENT")), rules().traffic)).item() == reason


def test_a_page_that_is_open_for_longer_than_a_clock_can_mean_counts_nowhere() -> None:
    frame = pl.DataFrame({"USER_AGENT": ["", ""], "TIME_ON_PAGE": [86_400, 86_401]})
    made = frame.select(odd_event(agents.parsed(pl.col("USER_AGENT")), rules().traffic).alias("said"))
    assert made["said"].to_list() == [None, "IMPOSSIBLE_DURATION"]
