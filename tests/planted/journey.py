"""Truths about journeys: funnels, bottlenecks, paths and effort."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import planted
import polars as pl

from customer360.pipelines.gold.effort import customer_effort
from customer360.pipelines.gold.funnels import funnel_bottlenecks, funnel_steps
from customer360.pipelines.gold.journeys import stage_transitions
from customer360.pipelines.gold.paths import purchase_paths
from customer360.pipelines.rules.journey import Funnel, JourneyRules, Step

AS_OF = date(2026, 7, 1)
START = datetime(2026, 1, 1, tzinfo=UTC)
MONTHS = 6
STEPS = [Step(name=word.lower(), kinds=[word]) for word in ("VISIT", "BASKET", "PURCHASE")]
RULES = JourneyRules(funnels={"shop": Funnel(within_days=3, by=["channel"], steps=STEPS)})
RATE, DROP = 0.4, 0.15
MONTH_DAYS = [(date(2026, m, 1) - date(2026, 1, 1)).days for m in range(1, MONTHS + 1)]


def _touches(rows: dict[str, object]) -> pl.LazyFrame:
    """Touchpoints of subjects by day and kind, in order; two of a day follow each other."""
    frame = pl.DataFrame(rows).sort("subject_id", "day", "nth")
    return frame.with_columns(
        pl.col("subject_id").cast(pl.String),
        person_id=pl.col("subject_id").cast(pl.String),
        occurred_at=pl.lit(START) + pl.duration(days="day", minutes="nth"),
        sequence_number=pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over("subject_id"),
        action="kind", device_type=pl.lit("MOBILE"), is_active=pl.lit(True),
    ).lazy()  # fmt: skip


def _visits(seed: int, drop: float, people: int = 500) -> pl.LazyFrame:
    """Each month other people visit by two channels; a share goes on to the basket, a half of these buys. In June the
    share of one channel is less by ``drop``."""
    rng = np.random.default_rng(seed)
    subject, month = np.arange(people * MONTHS), np.repeat(np.arange(MONTHS), people)
    channel = np.where(rng.random(len(subject)) < 0.5, "SEARCH", "SOCIAL")
    share = RATE - drop * ((month == MONTHS - 1) & (channel == "SOCIAL"))
    basket = rng.random(len(subject)) < share
    bought = basket & (rng.random(len(subject)) < 0.5)
    day = np.array(MONTH_DAYS)[month] + rng.integers(0, 20, len(subject))
    parts = [(np.ones(len(subject), dtype=bool), "VISIT"), (basket, "BASKET"), (bought, "PURCHASE")]
    return _touches(
        {
            "subject_id": np.concatenate([subject[m] for m, _ in parts]),
            "day": np.concatenate([day[m] for m, _ in parts]),
            "nth": np.concatenate([np.full(m.sum(), n) for n, (m, _) in enumerate(parts)]),
            "kind": np.concatenate([np.full(m.sum(), kind) for m, kind in parts]),
            "channel": np.concatenate([channel[m] for m, _ in parts]),
        }
    )


def _bottlenecks(seed: int, drop: float) -> pl.DataFrame:
    steps = funnel_steps(_visits(seed, drop), AS_OF + timedelta(days=5), RULES).collect()
    return funnel_bottlenecks(steps.lazy(), AS_OF + timedelta(days=5), RULES).collect()


def _step(seed: int) -> planted.Found:
    """The share of visitors who go on to a basket."""
    steps = funnel_steps(_visits(seed, 0.0, 100), AS_OF + timedelta(days=5), RULES).collect()
    row = steps.filter(
        pl.col("period") == "WHOLE", pl.col("segment_by") == "ALL", pl.col("step_number") == 2
    ).row(0, named=True)  # fmt: skip
    return planted.Found(row["step_rate"], row["step_rate_low"], row["step_rate_high"])


def _drop(seed: int) -> planted.Found:
    """One channel loses more people before the basket in the last month; of the rows of its step it comes first."""
    found = _bottlenecks(seed, DROP)
    worst = found.filter(pl.col("segment") == "SOCIAL", pl.col("step_number") == 2, pl.col("compared_with") == "PAST")
    row = worst.row(0, named=True)
    return planted.Found(row["rate_change"], row["rate_change_low"], row["rate_change_high"])


def _no_drop(seed: int) -> tuple[int, int]:
    found = _bottlenecks(seed, 0.0)
    return int((found["status"] == "BOTTLENECK").any()), 1


def _power(seed: int) -> planted.Found:
    """Whether a drop of that size is named at all."""
    found = _bottlenecks(seed, DROP)
    named = found.filter(pl.col("status") == "BOTTLENECK", pl.col("step_number") == 2, pl.col("segment") == "SOCIAL")
    hit = float(named.height > 0)
    return planted.Found(hit, hit, hit)


PATH_SHARE = 0.35


def _path(seed: int) -> planted.Found:
    """Of 600 purchases so many follow a store visit alone, the others a catalogue and a visit."""
    rng = np.random.default_rng(seed)
    alone = rng.random(600) < PATH_SHARE
    subject, day = np.arange(600), rng.integers(1, 150, 600)
    rows = {
        "subject_id": np.concatenate([subject[~alone], subject, subject]),
        "day": np.concatenate([day[~alone] - 1, day, day]),
        "nth": np.concatenate([np.zeros((~alone).sum(), dtype=np.int64), np.zeros(600, dtype=np.int64), np.ones(600, dtype=np.int64)]),  # noqa: E501
        "kind": np.concatenate([np.full((~alone).sum(), "CATALOGUE"), np.full(600, "STORE_VISIT"), np.full(600, "PURCHASE")]),  # noqa: E501
        "channel": np.full(1200 + (~alone).sum(), "STORE"),
    }  # fmt: skip
    told = purchase_paths(_touches(rows), AS_OF, RULES).collect()
    row = told.filter(pl.col("path") == "STORE_VISIT").row(0, named=True)
    return planted.Found(row["share"], row["share_low"], row["share_high"])


LOOP = 0.3


def _loop(seed: int) -> planted.Found:
    """Of 500 journeys that reach a purchase a share turns to the service desk next, the others end."""
    rng = np.random.default_rng(seed)
    asks = np.flatnonzero(rng.random(500) < LOOP)
    day = rng.integers(0, 100, 500)
    rows = {
        "subject_id": np.concatenate([np.arange(500), asks]), "day": np.concatenate([day, day[asks] + 2]),
        "nth": np.zeros(500 + len(asks), dtype=np.int64),
        "kind": np.concatenate([np.full(500, "PURCHASE"), np.full(len(asks), "SERVICE")]),
        "channel": np.full(500 + len(asks), "STORE"),
    }  # fmt: skip
    stage = pl.col("kind").replace("PURCHASE", "CONVERSION")
    told = stage_transitions(_touches(rows).with_columns(stage=stage), AS_OF, RULES).collect()
    row = told.filter(pl.col("from_stage") == "CONVERSION", pl.col("to_stage") == "SERVICE").row(0, named=True)
    return planted.Found(row["rate"], row["rate_low"], row["rate_high"])


SINGLE = 0.6


def _effort(seed: int) -> planted.Found:
    """Of 300 resolved tickets so many took one contact, the others two."""
    rng = np.random.default_rng(seed)
    more = np.flatnonzero(rng.random(300) >= SINGLE)
    at = START + timedelta(days=40)
    tickets = pl.LazyFrame({"ticket_id": [str(n) for n in range(300)]}).with_columns(
        source_system=pl.lit("S"), created_at=pl.lit(at), resolved_at=pl.lit(at + timedelta(days=9)),
        category=pl.lit("BILLING"),
        contact_count=1 + pl.int_range(300).is_in(more.tolist()).cast(pl.Int64),
    )  # fmt: skip
    contacts = pl.LazyFrame({"ticket_id": [*(str(n) for n in range(300)), *(str(n) for n in more)]}).with_columns(
        source_system=pl.lit("S"), subject_id="ticket_id", occurred_at=pl.lit(at), contact_type=pl.lit("CHAT"),
        interaction_id=pl.int_range(pl.len()).cast(pl.String), category=pl.lit("BILLING"),
    )  # fmt: skip
    read = pl.LazyFrame(schema=dict.fromkeys(("interaction_id", "source_system", "category_read"), pl.String))
    clocks = tickets.select("ticket_id", "source_system", "contact_count")
    tickets = tickets.drop("contact_count")
    told = (
        customer_effort(contacts, read, tickets, clocks, AS_OF, RULES).collect().filter(pl.col("category") == "BILLING")
    )
    row = told.row(0, named=True)
    return planted.Found(
        row["single_contact_rate"], row["single_contact_rate_low"], row["single_contact_rate_high"]
    )  # fmt: skip


TRUTHS = [
    planted.Truth("gold.funnel_steps", "share that goes on to the next step", RATE, _step, None, 0.95),
    planted.Truth("gold.funnel_bottlenecks", "change of a step against its own past", -DROP, _drop, _no_drop, 0.95),
    planted.Truth("gold.funnel_bottlenecks", "a step that loses 15 points more is named", 1.0, _power, None, 0.95),
    planted.Truth("gold.purchase_paths", "share of purchases on a path", PATH_SHARE, _path, None, 0.95),
    planted.Truth("gold.stage_transitions", "share of purchases after which people ask", LOOP, _loop, None, 0.95),
    planted.Truth("gold.customer_effort", "share of matters that take one contact", SINGLE, _effort, None, 0.95),
]
