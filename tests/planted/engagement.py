"""Truths about messages and campaigns."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np
import planted
import polars as pl

from customer360.pipelines.gold.attribution import campaign_attribution
from customer360.pipelines.gold.campaign_lifts import campaign_lifts
from customer360.pipelines.gold.campaigns import campaign_performance
from customer360.pipelines.gold.contact_frequency import message_fatigue
from customer360.pipelines.gold.messages import message_outcomes
from customer360.pipelines.gold.responses import channel_preferences, response_rates, send_hour_preferences
from customer360.pipelines.rules import EnrichmentRules
from customer360.pipelines.silver.campaign_names import CampaignNames
from customer360.pipelines.silver.engagement import CampaignAudiences, Campaigns, Touches
from customer360.pipelines.silver.journey import SubjectDays
from customer360.pipelines.silver.message_clicks import message_clicks
from customer360.pipelines.silver.sales import Transactions
from customer360.platform import tables

RULES, AS_OF = EnrichmentRules(), date(2026, 7, 1)
START = datetime(2026, 3, 1, 9, tzinfo=UTC)
NO_RATES = pl.LazyFrame(schema={"currency": pl.String, "on": pl.Date, "valid_until_on": pl.Date, "rate": pl.Float64})
EUR = pl.LazyFrame({"currency": ["EUR"]})
OPENED, LIFT, FATIGUE, EVENING = 0.35, 0.1, -0.03, 0.12


def empty(table: type[tables.Table]) -> pl.LazyFrame:
    return pl.LazyFrame(schema=tables.schema(table))


def frame(table: type[tables.Table], **columns: Any) -> pl.LazyFrame:
    """Rows of a table; columns left out are null."""
    given = pl.DataFrame(columns)
    schema = tables.schema(table)
    return given.select(
        (pl.col(c) if c in columns else pl.lit(None)).cast(kind).alias(c) for c, kind in schema.items()
    ).lazy()


def events(
    person: np.ndarray, at: list[datetime], responds: np.ndarray, channel: Any = "EMAIL", campaign: Any = None,
    machine: np.ndarray | None = None, action: str = "OPENED",
) -> pl.LazyFrame:  # fmt: skip
    """Touches: each message sent, and answered an hour later where it is; fetched by a program where one does."""
    number = np.arange(len(person))
    base = pl.DataFrame({"number": number, "person": person, "at": at, "responds": responds}).with_columns(
        pl.col("at").cast(pl.Datetime("us", "UTC")),
        channel=pl.lit(channel) if isinstance(channel, str) else pl.Series(channel),
        campaign_id=pl.lit("C1") if campaign is None else pl.Series(campaign),
        machine=pl.lit(False) if machine is None else pl.Series(machine),
    )
    answered = base.filter("responds").with_columns(
        action=pl.lit(action), at=pl.col("at") + timedelta(hours=1), is_machine=pl.lit(False)
    )
    fetched = base.filter("machine").with_columns(action=pl.lit("OPENED"), is_machine=pl.lit(True))
    sent = base.with_columns(action=pl.lit("SENT"), is_machine=pl.lit(False))
    rows = pl.concat([sent, answered, fetched])
    name = "P" + rows["person"].cast(pl.String)
    return frame(
        Touches, engagement_id=pl.Series(np.arange(len(rows))).cast(pl.String), source_system=["CRM"] * len(rows),
        subject_id=name, person_id=name, customer_id=name, occurred_at=rows["at"], channel=rows["channel"],
        action=rows["action"], is_machine=rows["is_machine"], campaign_id=rows["campaign_id"],
        message_id="M" + rows["number"].cast(pl.String),
    )  # fmt: skip


def outcomes(touches: pl.LazyFrame) -> pl.LazyFrame:
    names = empty(CampaignNames)
    return message_outcomes(touches, message_clicks(touches, names), empty(Transactions), names, AS_OF, RULES)


def _opened(seed: int) -> planted.Found:
    """Of 400 messages a share is opened; programs fetch half of them, too."""
    rng = np.random.default_rng(seed)
    opens = rng.random(400) < OPENED
    touches = events(np.arange(400) % 250, [START] * 400, opens, machine=rng.random(400) < 0.5)
    table = campaign_performance(outcomes(touches), empty(Campaigns), NO_RATES, EUR, AS_OF, RULES)
    rate = table.select("open_rate").collect().item()
    return planted.Found(rate, rate, rate, planted=float(opens.mean()))


def _lift(rng: np.random.Generator, lift: float) -> pl.DataFrame:
    people = np.arange(1200)
    treated = rng.random(1200) < 0.6
    buys = rng.random(1200) < np.where(treated, 0.15 + lift, 0.15)
    name = pl.Series(people).cast(pl.String)
    chosen = frame(
        CampaignAudiences, customer_id=name, subject_id=name, campaign_id=["C1"] * 1200, is_treated=treated,
        assigned_on=[date(2026, 3, 1)] * 1200,
    )  # fmt: skip
    bought = name.filter(pl.Series(buys))
    days = frame(
        SubjectDays, subject_id=bought, on=[date(2026, 3, 5)] * len(bought), order_count=[1] * len(bought),
        net_amount=[Decimal("20.00")] * len(bought),
    )  # fmt: skip
    listed = frame(Campaigns, campaign_id=["C1"], control_share=[0.4])
    return campaign_lifts(
        chosen, listed, empty(CampaignNames), days, NO_RATES, EUR, AS_OF, RULES
    ).collect()  # fmt: skip


def _lifted(seed: int) -> planted.Found:
    row = _lift(np.random.default_rng(seed), LIFT).row(0, named=True)
    return planted.Found(row["difference"], row["difference_low"], row["difference_high"])


def _not_lifted(seed: int) -> tuple[int, int]:
    rows = _lift(np.random.default_rng(seed), 0.0)
    return int(rows["status"].is_in(["HIGHER", "LOWER"]).sum()), len(rows)


def _fatigue(rng: np.random.Generator, slope: float) -> pl.DataFrame:
    """300 people get 8 messages at irregular gaps, the keen more often."""
    keen = rng.beta(4, 4, 300)
    gaps = rng.exponential(np.where(keen > 0.5, 6, 15)[:, None], (300, 8)) + 0.1
    day = np.cumsum(gaps, axis=1)
    earlier = ((day[:, None, :] < day[:, :, None]) & (day[:, None, :] >= day[:, :, None] - 28)).sum(axis=2)
    chance = np.clip(0.2 + 0.5 * keen[:, None] + slope * earlier, 0, 1)
    responds = (rng.random((300, 8)) < chance).ravel()
    at = [datetime(2025, 8, 1, tzinfo=UTC) + timedelta(days=float(d)) for d in day.ravel()]
    touches = events(np.repeat(np.arange(300), 8), at, responds)
    return message_fatigue(outcomes(touches), AS_OF, RULES).collect()


def _tired(seed: int) -> planted.Found:
    row = _fatigue(np.random.default_rng(seed), FATIGUE).row(0, named=True)
    return planted.Found(row["change_per_message"], row["change_per_message_low"], row["change_per_message_high"])


def _not_tired(seed: int) -> tuple[int, int]:
    rows = _fatigue(np.random.default_rng(seed), 0.0)
    return int(rows["status"].is_in(["FATIGUE", "RISES"]).sum()), len(rows)


PEOPLE = pl.LazyFrame({"person_id": [f"P{n}" for n in range(400)], "customer_segment": ["BASIC"] * 400})


def _two_choices(rng: np.random.Generator, scatter: float, kind: str) -> tuple[pl.LazyFrame, np.ndarray]:
    """400 people get some messages by each of two choices; shares scatter by person, and by choice by `scatter`."""
    keen = rng.beta(3, 5, 400)[:, None] * np.ones((1, 2))
    shares = rng.beta(keen / scatter, (1 - keen) / scatter) if scatter else keen
    count = rng.integers(2, 9, (400, 2))
    person, choice = np.repeat(np.arange(800) // 2, count.ravel()), np.repeat(np.arange(800) % 2, count.ravel())
    responds = rng.random(len(person)) < shares[person, choice]
    if kind == "CHANNEL":
        return events(person, [START] * len(person), responds, channel=np.array(["EMAIL", "SMS"])[choice]), shares
    return events(person, [START.replace(hour=9 + 9 * int(c)) for c in choice], responds), shares


CHOSEN = {  # build, column and the second choice of each kind
    "CHANNEL": (channel_preferences, "channel", "SMS"),
    "HOUR": (send_hour_preferences, "send_hour", 18),
}


def _preferences(touches: pl.LazyFrame, kind: str) -> pl.DataFrame:
    messages = outcomes(touches)
    rates = response_rates(messages, PEOPLE, AS_OF, RULES)
    return CHOSEN[kind][0](messages, PEOPLE, rates, AS_OF, RULES).collect()


def _preferred(seed: int, kind: str) -> planted.Found:
    rng = np.random.default_rng(seed)
    touches, shares = _two_choices(rng, 0.15, kind)
    person, (_, column, second) = int(rng.integers(400)), CHOSEN[kind]
    row = _preferences(touches, kind).filter(pl.col("person_id") == f"P{person}", pl.col(column) == second)
    told = row.row(0, named=True)
    ends = (told["response_rate_low"], told["response_rate_high"])
    return planted.Found(told["response_rate"], *ends, planted=float(shares[person, 1]))


def _prefers_nothing(seed: int, kind: str) -> tuple[int, int]:
    rows = _preferences(_two_choices(np.random.default_rng(seed), 0.0, kind)[0], kind).filter(pl.col("rank") == 1)
    judged = rows.filter(pl.col("status").is_in(["CLEAR", "NOT_CLEAR"]))
    return int((judged["status"] == "CLEAR").sum()), len(judged)


def _hours(rng: np.random.Generator, evening: float) -> pl.LazyFrame:
    keen = rng.beta(3, 5, 400)
    person, hour = np.repeat(np.arange(400), 8), rng.choice([9, 13, 18], 3200)
    responds = rng.random(3200) < np.clip(keen[person] + np.where(hour == 18, evening, 0), 0, 1)
    at = [START.replace(hour=int(h)) for h in hour]
    return events(person, at, responds)


def _best_hour(seed: int) -> planted.Found:
    """The rate of the best hour; the segment's other hours have 3 / 8."""
    touches = _hours(np.random.default_rng(seed), EVENING)
    rows = response_rates(outcomes(touches), PEOPLE, AS_OF, RULES).collect()
    row = rows.filter(kind="HOUR", segment="BASIC", choice="18").row(0, named=True)
    if not row["is_best"]:
        return planted.Found(float("nan"), float("nan"), float("nan"))
    return planted.Found(row["response_rate"], row["response_rate_low"], row["response_rate_high"])


def _no_best_hour(seed: int) -> tuple[int, int]:
    touches = _hours(np.random.default_rng(seed), 0.0)
    rows = response_rates(outcomes(touches), PEOPLE, AS_OF, RULES).collect()
    of = rows.filter(pl.col("kind") == "HOUR", pl.col("segment") == "BASIC")
    return int(of["is_best"].any()), 1


def _removed(seed: int) -> planted.Found:
    """300 buyers take a path every 20 days, begin it with A or B as they are wont to, and go on from A to B by 0.3; 300
    take one and buy nothing. Without A the 0.4 that begin with B are left, without B what A sells itself."""
    rng = np.random.default_rng(seed)
    rounds = 5
    person = np.concatenate([np.repeat(np.arange(300), rounds), np.arange(300, 600)])
    number = np.concatenate([np.tile(np.arange(rounds), 300), np.zeros(300, dtype=int)])
    starts_a = rng.random(len(person)) < rng.beta(1.2, 0.8, 600)[person]
    on_b = ~starts_a | (rng.random(len(person)) < 0.3)
    begin = [START + timedelta(days=20 * int(n)) for n in number]
    a, b, sold = np.flatnonzero(starts_a), np.flatnonzero(on_b), np.flatnonzero(person < 300)
    touches = events(
        np.concatenate([person[a], person[b]]), [begin[n] for n in a] + [begin[n] + timedelta(days=1) for n in b],
        np.ones(len(a) + len(b), dtype=bool), campaign=["A"] * len(a) + ["B"] * len(b), action="CLICKED",
    )  # fmt: skip
    buyers = "P" + pl.Series(person[sold]).cast(pl.String)
    sales = frame(
        Transactions, transaction_id=pl.Series(sold).cast(pl.String), source_system=["SHOP"] * len(buyers),
        subject_id=buyers, occurred_at=[begin[n] + timedelta(days=3) for n in sold], is_sale=[True] * len(buyers),
        gross_amount=[Decimal("10.00")] * len(buyers), return_amount=[Decimal(0)] * len(buyers),
    )  # fmt: skip
    names = ("session_id", "subject_id", "campaign_id", "traffic_source")
    visits = pl.LazyFrame(schema=dict.fromkeys(names, pl.String) | {"started_at": pl.Datetime("us", "UTC")})
    facts = pl.LazyFrame(schema=dict.fromkeys(("session_id", "subject_id", "channel_type"), pl.String))
    meant = empty(CampaignNames)
    table = campaign_attribution(
        message_clicks(touches, meant), visits, facts, meant, sales, EUR, AS_OF, RULES
    ).collect()
    row = table.filter(model="MARKOV", campaign_id="A").row(0, named=True)
    lost = [1 - 0.4, 1 - 0.6 * 0.7]
    total = len(buyers)
    low, high = row["conversion_credit_low"] / total, row["conversion_credit_high"] / total
    return planted.Found(row["conversion_credit"] / total, low, high, planted=lost[0] / sum(lost))


TRUTHS = [
    planted.Truth(
        "gold.campaign_performance", "share of messages opened by people while programs open half", OPENED, _opened
    ),
    planted.Truth(
        "gold.campaign_lifts", "difference of the shares of buyers, treated less held back", LIFT, _lifted, _not_lifted,
        confidence=0.95,
    ),
    planted.Truth(
        "gold.message_fatigue", "change of the chance of an answer for one message more", FATIGUE, _tired, _not_tired,
        confidence=0.95,
    ),
    planted.Truth(
        "gold.channel_preferences", "share of a person's messages over one channel that it answers", 0.375,
        partial(_preferred, kind="CHANNEL"), partial(_prefers_nothing, kind="CHANNEL"), confidence=0.95,
    ),
    planted.Truth(
        "gold.send_hour_preferences", "share of a person's messages at one hour that it answers", 0.375,
        partial(_preferred, kind="HOUR"), partial(_prefers_nothing, kind="HOUR"), confidence=0.95,
    ),
    planted.Truth(
        "gold.response_rates", "share of messages answered at the hour that is called best", 0.375 + EVENING,
        _best_hour, _no_best_hour, confidence=0.95,
    ),
    planted.Truth(
        "gold.campaign_attribution", "share of the removal effects of a chain that is one campaign's", 0.5, _removed,
        confidence=0.95,
    ),
]  # fmt: skip
