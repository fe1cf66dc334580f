"""Preferences by channel and hour, frequency and fatigue: counts as brute force, and no claim without evidence."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from customer360.pipelines.gold.contact_frequency import message_fatigue, message_frequency
from customer360.pipelines.gold.messages import message_outcomes
from customer360.pipelines.gold.responses import channel_preferences, response_rates, send_hour_preferences
from customer360.pipelines.rules import EnrichmentRules
from customer360.pipelines.silver.campaign_names import CampaignNames
from customer360.pipelines.silver.engagement import Touches
from customer360.pipelines.silver.message_clicks import message_clicks
from customer360.pipelines.silver.sales import Transactions
from customer360.platform import tables

RULES, AS_OF = EnrichmentRules(), date(2026, 7, 1)
NAMES = pl.LazyFrame(schema=tables.schema(CampaignNames))
START = datetime(2026, 3, 1, 9, tzinfo=UTC)
Sent = tuple[str, str, datetime, bool]  # who, channel, when, answered


def touches(*sent: Sent, hours: float = 1) -> pl.LazyFrame:
    schema = tables.schema(Touches)
    rows: list[dict[str, Any]] = []
    for number, (who, channel, at, answered) in enumerate(sent):
        same = {
            "source_system": "CRM", "customer_id": who, "subject_id": who, "person_id": who, "channel": channel,
            "message_id": str(number), "is_machine": False,
        }  # fmt: skip
        rows.append({"engagement_id": f"s{number}", "occurred_at": at, "action": "SENT", **same})
        if answered:
            rows.append(
                {"engagement_id": f"o{number}", "occurred_at": at + timedelta(hours=hours), "action": "OPENED", **same}
            )
    return pl.DataFrame([{**dict.fromkeys(schema), **row} for row in rows], schema=schema, orient="row").lazy()


def messages(*sent: Sent, hours: float = 1) -> pl.LazyFrame:
    told, sold = touches(*sent, hours=hours), pl.LazyFrame(schema=tables.schema(Transactions))
    return message_outcomes(told, message_clicks(told, NAMES), sold, NAMES, AS_OF, RULES)


def people(count: int, segment: str = "BASIC") -> pl.LazyFrame:
    names = {"person_id": pl.String, "customer_segment": pl.String}
    return pl.LazyFrame([(f"P{n}", segment) for n in range(count)], schema=names, orient="row")


def test_frequency_counts_the_messages_of_the_days_before_as_brute_force_does(retailer) -> None:  # type: ignore[no-untyped-def]
    events, names = retailer.frame("silver.touches"), retailer.frame("silver.campaign_names")
    made = message_frequency(retailer.frame("gold.message_outcomes"), retailer.as_of, RULES).collect()
    meant = dict(names.select("said", pl.coalesce("campaign_id", "said")).collect().iter_rows())
    sent: dict[tuple[Any, ...], list[Any]] = {}
    for row in events.filter(pl.col("campaign_id").is_not_null()).sort("occurred_at").collect().to_dicts():
        key = (row["customer_id"], meant.get(row["campaign_id"], row["campaign_id"]), row["channel"])
        entry = sent.setdefault(key, [None, row["subject_id"], None, False])
        if row["action"] == "SENT":
            entry[0] = entry[0] or row["occurred_at"]
            entry[3] = entry[3] or row["status"] == "BOUNCED"
        elif row["action"] in ("OPENED", "CLICKED") and row["is_response"]:
            entry[2] = entry[2] or row["occurred_at"]
    known = [(k[2], *v) for k, v in sent.items() if v[0] and not (v[3] and not v[2])]
    counts: dict[tuple[str, bool], list[int]] = {}
    end = datetime(*retailer.as_of.timetuple()[:3], tzinfo=UTC)
    for channel, at, who, answer, _ in known:
        if end - timedelta(days=365) <= at < end - timedelta(days=7):
            before = sum(w == who and at - timedelta(days=28) <= a < at for _, a, w, _, _ in known)
            told = counts.setdefault((channel, before > 0), [0, 0])
            told[0] += 1
            told[1] += answer is not None and answer - at <= timedelta(days=7)
    ours = made.group_by("channel", again=pl.col("earlier_from") > 0).agg(
        pl.col("message_count").sum(), pl.col("response_count").sum()
    )
    assert {(c, a): [m, r] for c, a, m, r in ours.iter_rows()} == counts and len(counts) >= 4


def test_fatigue_compares_each_with_himself() -> None:
    """Keen people get more and answer all; each of the others answers his first message and no later one."""
    keen = [(f"K{n}", "EMAIL", START + timedelta(days=d), True) for n in range(150) for d in range(10)]
    others = [(f"P{n}", "EMAIL", START + timedelta(days=d), not d) for n in range(150) for d in (0, 5)]
    row = message_fatigue(messages(*keen, *others), AS_OF, RULES).collect().row(0, named=True)
    assert row["status"] == "FATIGUE" and row["person_count"] == 300 and row["q_value"] < 1e-6
    raw = message_frequency(messages(*keen, *others), AS_OF, RULES).collect().sort("earlier_from")
    assert raw["response_rate"].to_list()[-1] == 1.0, "the raw rate rises with the frequency"
    few = message_fatigue(messages(*others[:40]), AS_OF, RULES).collect().row(0, named=True)
    assert (few["status"], few["change_per_message"]) == ("NOT_ENOUGH_EVIDENCE", None)


def test_a_weak_sign_in_one_of_several_channels_is_no_fatigue() -> None:
    """The slope of one channel is 2.2 errors below 0; beside two channels without any it may be by chance."""

    def told(channel: str, falls: int, rises: int) -> list[tuple[str, str, datetime, bool]]:
        first = [True] * falls + [False] * rises + [True, False] * ((200 - falls - rises) // 2)
        second = [False] * falls + [True] * rises + [True, False] * ((200 - falls - rises) // 2)
        return [(f"{channel}{n}", channel, START + timedelta(days=5 * k), answers[n])
                for k, answers in enumerate((first, second)) for n in range(200)]  # fmt: skip

    weak, level = told("EMAIL", 41, 23), [*told("SMS", 30, 30), *told("PUSH", 32, 32)]
    alone = message_fatigue(messages(*weak), AS_OF, RULES).collect().row(0, named=True)
    made = message_fatigue(messages(*weak, *level), AS_OF, RULES).collect()
    among = made.filter(channel="EMAIL").row(0, named=True)
    assert alone["status"] == "FATIGUE" and among["change_per_message_high"] < 0
    assert among["status"] == "NO_EFFECT_SHOWN"


def test_an_answer_counts_in_its_days_and_a_message_once_these_are_over() -> None:
    late = messages(("P0", "EMAIL", START, True), hours=7 * 24 + 1)
    fresh = messages(("P0", "EMAIL", datetime(2026, 6, 25, tzinfo=UTC), True))
    assert message_frequency(late, AS_OF, RULES).collect()["response_count"].to_list() == [0]
    assert message_frequency(fresh, AS_OF, RULES).collect().is_empty()


def preferences(events: pl.LazyFrame, who: pl.LazyFrame) -> dict[str, pl.DataFrame]:
    rates = response_rates(events, who, AS_OF, RULES)
    return {
        "rates": rates.collect(),
        "channels": channel_preferences(events, who, rates, AS_OF, RULES).collect(),
        "hours": send_hour_preferences(events, who, rates, AS_OF, RULES).collect(),
    }


def test_a_person_with_one_message_is_drawn_to_its_segment() -> None:
    """199 people answer half of their messages, in pairs; one has got one message and answered it."""
    pairs = [(f"P{n}", c, START, (n + k) % 2 == 0) for n in range(1, 200) for k, c in enumerate(("EMAIL", "SMS"))]
    told = preferences(messages(("P0", "EMAIL", START, True), *pairs), people(200))["channels"]
    row = told.filter(person_id="P0").row(0, named=True)
    assert row["status"] == "NOT_ENOUGH_EVIDENCE" and row["segment"] == "BASIC"
    assert 0.5 < row["response_rate"] < 0.75 and row["response_rate_low"] < 0.5 < row["response_rate_high"]


def test_a_clear_preference_is_one_and_a_single_channel_is_none() -> None:
    sent = [
        (f"P{n}", channel, START + timedelta(days=d), channel == ("EMAIL" if n % 2 else "SMS"))
        for n in range(200) for channel in ("EMAIL", "SMS") for d in range(6)
    ]  # fmt: skip
    told = preferences(
        messages(*sent, *(("Q", "PUSH", START + timedelta(days=d), True) for d in range(6))), people(200)
    )
    first = told["channels"].filter(pl.col("rank") == 1)
    assert set(first.filter(pl.col("person_id") != "Q")["status"]) == {"CLEAR"}
    assert first.filter(person_id="P1")["channel"].item() == "EMAIL"
    assert first.filter(person_id="Q").select("status", "segment").row(0) == ("ONE_CHOICE", "ALL")
    channels = told["rates"].filter(kind="CHANNEL", segment="BASIC")
    assert not channels["is_best"].any(), "half prefer the one, half the other"
    assert channels["choice_correlation"].min() > 0.5


def test_few_people_show_no_best_hour_and_many_do() -> None:
    def sent(count: int) -> list[Sent]:
        return [(f"P{n}", "EMAIL", START.replace(hour=h), h == 18 and n % 3 > 0) for n in range(count) for h in (9, 18)]

    many = preferences(messages(*sent(150)), people(150))["rates"].filter(kind="HOUR", segment="ALL")
    assert many.filter("is_best")["choice"].to_list() == ["18"] and set(many["status"]) == {"DIFFERENT"}
    few = preferences(messages(*sent(50)), people(50))["rates"].filter(kind="HOUR", segment="ALL")
    assert set(few["status"]) == {"NOT_ENOUGH_EVIDENCE"} and not few["is_best"].any()


@pytest.mark.parametrize("answered", [True, False])
def test_everybody_or_nobody_answers(answered: bool) -> None:
    sent = [(f"P{n}", c, START, answered) for n in range(120) for c in ("EMAIL", "SMS")]
    told = preferences(messages(*sent), people(120))
    assert told["channels"]["response_rate"].is_between(0, 1).all()
    assert told["rates"].select(pl.col(pl.Float64).is_nan().any()).row(0).count(True) == 0
    assert not told["rates"]["is_best"].any()


def test_nothing_gives_nothing() -> None:
    told = preferences(messages(), people(0))
    assert all(frame.is_empty() for frame in told.values())
    assert message_fatigue(messages(), AS_OF, RULES).collect().is_empty()
