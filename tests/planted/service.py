"""Truths about support: who does better, what satisfaction goes with, minutes of a desk's hours."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import planted
import polars as pl

from customer360.pipelines.business_hours import DAYS, Calendar
from customer360.pipelines.gold.cost_to_serve import cost_to_serve, cost_to_serve_segments
from customer360.pipelines.gold.satisfaction import satisfaction_drivers
from customer360.pipelines.gold.service import TicketOutcomes, service_quality
from customer360.pipelines.rules.service import ContactCost, ServiceRules
from customer360.pipelines.silver.matters import category_terms, contact_categories
from customer360.pipelines.silver.tickets import ticket_clocks
from customer360.platform import tables

AS_OF, RULES = date(2026, 6, 1), ServiceRules()
SPREAD, SLOPE, COST = 0.3, -0.25, 4.0


def _outcomes(**columns: object) -> pl.LazyFrame:
    frame = pl.DataFrame(columns)
    missing = {c: t for c, t in tables.schema(TicketOutcomes).items() if c not in frame.columns}
    return frame.lazy().with_columns(pl.lit(None, t).alias(c) for c, t in missing.items())


def _agents(seed: int, spread: float) -> tuple[np.ndarray, pl.DataFrame]:
    """(true mean of each agent, gold.service_quality of their satisfaction); busy and idle agents, two categories of
    which one is the harder, and some agents get more of it."""
    rng = np.random.default_rng(seed)
    true = rng.normal(3.5, spread, 20)
    counts = rng.integers(25, 120, 20)
    agent = np.repeat(np.arange(20), counts)
    hard = rng.random(len(agent)) < np.repeat(rng.uniform(0.2, 0.8, 20), counts)
    score = np.clip(np.round(true[agent] - 0.6 * (hard - 0.5) + rng.normal(0, 0.5, len(agent))), 1, 5)
    outcomes = _outcomes(
        agent_id=[f"A{n:02}" for n in agent], category=np.where(hard, "HARD", "EASY"), satisfaction=score.astype(int)
    )
    found = service_quality(outcomes, AS_OF, RULES).collect().filter(dimension="AGENT", measure="SATISFACTION")
    return true, found.sort("value")


def _agent(seed: int) -> planted.Found:
    """One agent of twenty, drawn by chance: its shrunk mean within its categories."""
    true, found = _agents(seed, SPREAD)
    row = found.row(seed % 20, named=True)
    return planted.Found(row["estimate"], row["estimate_low"], row["estimate_high"], planted=float(true[seed % 20]))


def _equal_agents(seed: int) -> tuple[int, int]:
    """Whether one of twenty equal agents is called better or worse."""
    _, found = _agents(seed, 0.0)
    return int(found["verdict"].is_in(["BETTER", "WORSE"]).any()), 1


def _order(seed: int) -> planted.Found:
    """Of all pairs of agents the share that the estimates put in the planted order: above chance in every seed."""
    true, found = _agents(seed, SPREAD)
    estimate = found["estimate"].to_numpy()
    upper = np.triu_indices(20, 1)
    agree = np.sign(true[:, None] - true)[upper] == np.sign(estimate[:, None] - estimate)[upper]
    return planted.Found(float(agree.mean()), float(agree.mean()), 1.0, planted=max(float(agree.mean()), 0.75))


def _rated(seed: int, slope: float) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    n = 500
    doublings = rng.normal(8, 1.5, n)
    minutes = np.maximum(2**doublings - 1, 0).astype(int)
    score = 3.5 + slope * (np.log2(minutes + 1) - 8) + rng.normal(0, 0.5, n)
    outcomes = _outcomes(
        ticket_id=[f"t{k:04}" for k in range(n)],
        satisfaction=np.clip(np.floor(score + rng.random(n)), 1, 5).astype(int),  # rounded by chance: means stay
        resolution_minutes=minutes, response_minutes=rng.integers(1, 500, n), contact_count=rng.integers(1, 4, n),
        is_reopened=rng.random(n) < 0.1, was_escalated=rng.random(n) < 0.1,
        category=rng.choice(["A", "B", "C"], n), channel=rng.choice(["PHONE", "CHAT"], n),
    )  # fmt: skip
    return satisfaction_drivers(outcomes, AS_OF, RULES).collect()


def _slope(seed: int) -> planted.Found:
    row = _rated(seed, SLOPE).row(by_predicate=pl.col("driver") == "resolution_time", named=True)
    return planted.Found(row["effect"], row["effect_low"], row["effect_high"])


def _no_driver(seed: int) -> tuple[int, int]:
    return int(_rated(seed, 0.0)["verdict"].is_in(["RAISES", "LOWERS"]).any()), 1


def _clock(seed: int) -> planted.Found:
    """Open minutes of one ticket around a change of the clocks, against a count of minutes one by one."""
    rng = np.random.default_rng(seed)
    zone, change = (("Europe/Berlin", datetime(2026, 3, 28, tzinfo=UTC)), ("America/New_York", datetime(2026, 10, 31,
                    tzinfo=UTC)), ("Australia/Lord_Howe", datetime(2026, 4, 4, tzinfo=UTC)))[seed % 3]  # fmt: skip
    spans = ["00:30-02:30", "09:00-12:15", "13:00-18:00"]
    calendar = Calendar(timezone=zone, hours={d: spans for d in DAYS if d != "SAT"}, holidays=[date(2026, 3, 30)])
    rules = RULES.model_copy(update={"calendars": {"default": calendar}})
    opened = change - timedelta(minutes=int(rng.integers(0, 1500)))
    times = [opened + timedelta(minutes=int(m)) for m in np.sort(rng.integers(0, 3000, 3))]
    ticket = pl.LazyFrame(
        {"ticket_id": ["t"], "source_system": ["S"], "created_at": [opened], "resolved_at": [times[2]],
         "priority": [None], "category": [None], "origin": [None], "first_response_minutes": [5]},
        schema_overrides={"priority": pl.String, "category": pl.String, "origin": pl.String},
    )  # fmt: skip
    contacts = pl.LazyFrame(
        {"ticket_id": ["t", "t"], "source_system": ["S", "S"], "occurred_at": times[:2],
         "outcome": ["WAITING FOR CUSTOMER", "ANSWERED"]}
    )  # fmt: skip
    typed = [f.cast({pl.Datetime: pl.Datetime("us", "UTC")}) for f in (ticket, contacts)]
    got = ticket_clocks(*typed, rules).collect()["resolution_minutes"].item()
    local, open_minutes = ZoneInfo(zone), 0
    for minute in range(int((times[2] - opened).total_seconds() // 60)):
        now = opened + timedelta(minutes=minute)
        clock = now.astimezone(local)
        at = clock.hour * 60 + clock.minute
        works = 30 <= at < 150 or 540 <= at < 735 or 780 <= at < 1080
        if works and clock.weekday() != 5 and clock.date() != date(2026, 3, 30) and not times[0] <= now < times[1]:
            open_minutes += 1
    return planted.Found(got, got, got, planted=open_minutes)


def _cost(seed: int) -> planted.Found:
    """Mean cost of support of a segment whose people ask four times on average, at one a contact."""
    rng = np.random.default_rng(seed)
    people = [f"p{n}" for n in range(300)]
    asked = np.repeat(people, rng.poisson(COST, 300))
    rules = RULES.model_copy(update={"costs": {"CHAT": ContactCost(each=1)}})
    contacts = pl.LazyFrame({"person_id": asked}).with_columns(
        occurred_on=date(2026, 5, 1), contact_type=pl.lit("CHAT"), resolution_minutes=pl.lit(3, pl.Int64)
    )
    days = pl.LazyFrame({"person_id": people}).with_columns(
        on=date(2026, 5, 2), order_count=pl.lit(1, pl.Int64), net_amount=pl.lit("20.00").cast(pl.Decimal(12, 2))
    )
    held = pl.LazyFrame({"person_id": people}).with_columns(customer_segment=pl.lit("GOLD"), loyalty_tier=pl.lit("A"))
    by_person = cost_to_serve(contacts, days, AS_OF, rules)
    no_tiers = pl.LazyFrame(schema={"person_id": pl.String, "tier": pl.String, "valid_from": pl.Datetime("us", "UTC"),
                                    "valid_to": pl.Datetime("us", "UTC")})  # fmt: skip
    row = cost_to_serve_segments(by_person, held, no_tiers, AS_OF, rules).filter(dimension="LOYALTY_TIER").collect()
    return planted.Found(*row.select("cost_per_person", "cost_per_person_low", "cost_per_person_high").row(0))


def _read(seed: int) -> planted.Found:
    """Of labelled texts whose term tells the category in nine of ten cases, the share that is read right."""
    rng = np.random.default_rng(seed)
    n, names = 600, np.array(["BILLING", "GENERAL", "PRODUCT", "TECHNICAL"])
    words = {"BILLING": "invoice*", "GENERAL": "late", "PRODUCT": "broken", "TECHNICAL": "login"}
    true = rng.integers(0, 4, n)
    said = np.where(rng.random(n) < 0.9, true, rng.integers(0, 4, n))
    contacts = pl.LazyFrame(
        {"interaction_id": [f"i{k}" for k in range(n)], "source_system": ["S"] * n, "category": names[true],
         "text_terms": [words[c] for c in names[said]]}
    )  # fmt: skip
    read = contact_categories(contacts, category_terms(contacts), RULES).collect()
    right = float((read["category_read"] == read["category"]).mean())
    best = float((said == true).mean())
    return planted.Found(right, right, right, planted=best)


TRUTHS = [
    planted.Truth("silver.ticket_clocks", "open minutes over a change of the clocks", 0.0, _clock),
    planted.Truth("silver.contact_categories", "share of labelled texts that is read right", 0.925, _read),
    planted.Truth("gold.service_quality", "mean satisfaction of an agent within categories", 3.5, _agent,
                  null=_equal_agents, confidence=0.95),
    planted.Truth("gold.service_quality", "pairs of agents in the planted order, 0.75 at least", 0.75, _order),
    planted.Truth("gold.satisfaction_drivers", "effect of a doubled resolution time", SLOPE, _slope, null=_no_driver,
                  confidence=0.95),
    planted.Truth("gold.cost_to_serve_segments", "mean cost of support of a person", COST, _cost, confidence=0.95),
]  # fmt: skip
