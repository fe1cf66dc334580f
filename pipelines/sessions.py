"""What is a visit, and what is no human's: the rules that silver and gold count sessions by.

A tracker's session id decides where there is one. Else a visit of a subject ends, as in Google's Universal Analytics,
after `SESSION_GAP_MINUTES` of silence, at midnight, and where an event brings another campaign than the last one that
the subject came by; with ``midnight_zone: null`` and ``campaign_breaks: false`` after silence alone, as in Google
Analytics 4.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from customer360.pipelines import agents
from customer360.pipelines.rules import TrafficRules
from customer360.pipelines.vocabulary import SESSION_GAP_MINUTES

PAGE_EVENTS = ("PAGE_VIEW", "CATEGORY_VIEW", "PRODUCT_VIEW")
VISIT = ("subject_id", "session_id")
CLICK_IDS = ("gclid", "gbraid", "wbraid", "msclkid", "fbclid", "ttclid")  # of advertisements, one a click
ODD_EVENTS = ("DECLARED_BOT", "IMPOSSIBLE_DURATION")
ODD_SESSIONS = ("TOO_MANY_PAGES", "TOO_MANY_EVENTS")
# What machines say by convention: an address of who runs them, or the word, as a part of a name; phones are called Bot,
# too, and makers Cubot.
MACHINE_WORDS = (
    r"(?i)https?://|\bwww\.|\w@(?:[\w-]+\.)+[a-z]{2,}\b"
    r"|[\w-](?:bot|spider)\b|\b(?:bot|spider)[/_;-]|(?:crawler|crawl|slurp|scraper|monitoring|validator)\b"
)
NO_MACHINE_WORDS = r"(?i)\b(?:cubot|xbot)\b"
MINUTE = pl.duration(minutes=1)


def odd_event(agent: pl.Expr, rules: TrafficRules) -> pl.Expr:
    """Why a row of bronze.events is no deed of a human, one of `ODD_EVENTS`; null: nothing speaks against it. ``agent``
    is its `agents.parsed` user agent."""
    return (
        pl.when(declares_machine(agent, rules)).then(pl.lit("DECLARED_BOT"))
        .when(pl.col("TIME_ON_PAGE") > rules.longest_seconds_on_page).then(pl.lit("IMPOSSIBLE_DURATION"))
    )  # fmt: skip


def declares_machine(agent: pl.Expr, rules: TrafficRules) -> pl.Expr:
    """Whether the USER_AGENT of a row says that it is a machine; false where it is null. ``agent`` is that, parsed."""
    declared = (
        agent.struct.field("is_spider")
        | agent.struct.field("browser").is_in(rules.automated_agents)
        | agents.whether(pl.col("USER_AGENT"), _says_machine)
    )
    return declared.fill_null(False)


def _says_machine(said: pl.Series) -> pl.Series:
    return said.str.contains(MACHINE_WORDS) & ~said.str.contains(NO_MACHINE_WORDS)


def with_sessions(events: pl.LazyFrame, rules: TrafficRules) -> pl.LazyFrame:
    """The events that count with their ``session_id``: the tracker's, or subject and number of the visit for events
    without one; in order of subject and time."""
    counting, order = events.filter(pl.col("set_apart").is_null()), ("subject_id", "occurred_at", "event_id")
    by_tracker = pl.col("tracker_session_id")
    tracked = counting.filter(by_tracker.is_not_null()).with_columns(session_id=by_tracker)
    untracked = (
        counting.filter(by_tracker.is_null())
        .sort(order)
        .with_columns(session_id=pl.format("{}#{}", "subject_id", _is_break(rules).cum_sum().over("subject_id")))
    )
    return pl.concat([tracked, untracked]).sort(order)


def _is_break(rules: TrafficRules) -> pl.Expr:
    at = pl.col("occurred_at")
    before = at.shift().over("subject_id")
    breaks = [(at - before) > pl.duration(minutes=SESSION_GAP_MINUTES)]
    if rules.midnight_zone is not None:
        here, there = (moment.dt.convert_time_zone(rules.midnight_zone).dt.date() for moment in (at, before))
        breaks.append(here != there)
    if rules.campaign_breaks:
        came_by = campaign_mark()
        known = came_by.forward_fill().shift().over("subject_id")
        breaks.append(came_by.is_not_null() & came_by.ne_missing(known))
    return before.is_null() | pl.any_horizontal(breaks)


def campaign_mark() -> pl.Expr:
    """What tells one arrival by a campaign from another: the words of its URL, or the id of a click."""
    named = [_said(name) for name in ("utm_id", "utm_campaign", "utm_source", *CLICK_IDS)]
    return pl.when(pl.col("page_url").str.contains(r"[?&](?:utm_|[a-z]+cl(?:k|)id=|[gw]braid=)")).then(
        pl.coalesce(named)
    )


def campaign_id() -> pl.Expr:
    """The campaign that a URL names: its id, else its name."""
    return pl.coalesce(_said("utm_id"), _said("utm_campaign"))


def traffic_source() -> pl.Expr:
    """The source that a URL names, in upper case as the trackers'."""
    return _said("utm_source").str.to_uppercase()


def _said(name: str) -> pl.Expr:
    value = pl.col("page_url").str.extract(rf"[?&]{name}=([^&#]+)")
    return value.str.replace_all("+", " ", literal=True).str.replace_all("%20", " ", literal=True)


def automated(keyed: pl.LazyFrame, rules: TrafficRules) -> pl.LazyFrame:
    """Of events with their sessions the visits that no human makes: subject_id, session_id, reason (one of
    `ODD_SESSIONS`)."""
    return automated_of(keyed.select(*VISIT, "occurred_at", "event_type").sort(*VISIT, "occurred_at"), VISIT, rules)


def automated_of(ordered: pl.LazyFrame, visit: Sequence[str], rules: TrafficRules) -> pl.LazyFrame:
    """As `automated`, of events that stand visit by visit, each in order of time; ``visit`` are the columns that tell
    one from another."""
    pages = ordered.filter(pl.col("event_type").is_in(PAGE_EVENTS))
    found = [
        _faster(rows, visit, most).with_columns(reason=pl.lit(reason))
        for rows, most, reason in (
            (pages, rules.most_pages_per_minute, ODD_SESSIONS[0]),
            (ordered, rules.most_events_per_minute, ODD_SESSIONS[1]),
        )
    ]
    return pl.concat(found).unique(visit, keep="first", maintain_order=True)


def of_humans(events: pl.LazyFrame, apart: pl.LazyFrame) -> pl.LazyFrame:
    """The events that count, without those of the visits of silver.set_apart_sessions. Visits without
    a tracker's id do not overlap within a subject, so their time tells them. ``apart``: subject_id,
    session_id, started_at, ended_at.
    """
    counting, has_visit = events.filter(pl.col("set_apart").is_null()), pl.col("tracker_session_id").is_not_null()
    tracked = counting.filter(has_visit).join(
        apart.select(*VISIT), left_on=["subject_id", "tracker_session_id"], right_on=list(VISIT), how="anti"
    )
    numbered = pl.col("session_id").str.starts_with(pl.concat_str("subject_id", pl.lit("#")))
    spans = apart.filter(numbered).select("subject_id", apart_from="started_at", apart_until="ended_at")
    spans = spans.sort("apart_from", "apart_until")  # of two that begin at one moment the first is over at once
    # Few events name no visit: to bring all of them in order of time would take longer than most builds.
    dated = counting.filter(~has_visit).sort("occurred_at").join_asof(
        spans, left_on="occurred_at", right_on="apart_from", by="subject_id", check_sortedness=False
    )  # fmt: skip
    is_apart = (pl.col("occurred_at") <= pl.col("apart_until")).fill_null(False)
    return pl.concat([tracked, dated.filter(~is_apart).drop("apart_from", "apart_until")])


def _faster(ordered: pl.LazyFrame, visit: Sequence[str], most: int) -> pl.LazyFrame:
    """Visits with more than ``most`` rows in some minute."""
    same = pl.all_horizontal(pl.col(c) == pl.col(c).shift(most) for c in visit)
    within = pl.col("occurred_at") - pl.col("occurred_at").shift(most) < MINUTE
    return ordered.filter(same & within).select(visit).unique()
