"""Truths about visits, what people do in them, and whose a device is."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import planted
import polars as pl

from customer360.pipelines.gold.activity_series import (
    activity_anomalies,
    activity_forecasts,
    activity_seasons,
    activity_trends,
)
from customer360.pipelines.gold.devices import cross_device_links, device_evidence, device_link_levels
from customer360.pipelines.gold.sequences import event_transitions
from customer360.pipelines.rules import DeviceRules, EnrichmentRules, StandardizationRules
from customer360.pipelines.silver.behavior import Events, TrackerSessions, sessions
from customer360.pipelines.silver.devices import DeviceObservations
from customer360.pipelines.silver.traffic import set_apart_sessions
from customer360.platform import tables

AS_OF, DAYS = date(2026, 6, 1), 420
RULES, STANDARD = EnrichmentRules(), StandardizationRules()
LOOSE = EnrichmentRules(devices=DeviceRules(least_precision=0.5))  # links at levels that are wrong at times
GROWTH_30D, SATURDAY, SPIKE, NEXT = 0.04, 1.4, 3.0, 0.3
SERIES = 4
NONE_DENIED = pl.LazyFrame(schema={"person_id": pl.String, "purpose": pl.String})


def _counts(seed: int, growth_30d: float = 0.0, saturday: float = 1.0, level: float = 60.0) -> np.ndarray:
    """Visits a day that vary more than a Poisson count would (negative binomial, dispersion 0.02)."""
    rng = np.random.default_rng(seed)
    days = np.arange(DAYS)
    mean = level * (1 + growth_30d) ** (days / 30)
    mean = mean * np.where(_weekday(days) == 5, saturday, 1.0)
    return rng.poisson(mean * rng.gamma(50, 1 / 50, DAYS)).astype(float)


def _weekday(days: np.ndarray) -> np.ndarray:
    return (days + (AS_OF - timedelta(days=DAYS)).weekday()) % 7


def _periods(series: list[np.ndarray]) -> pl.LazyFrame:
    """gold.activity_periods with a series as a segment each; the first is everybody's."""
    first = AS_OF - timedelta(days=DAYS)
    frames = [
        pl.DataFrame({"period_on": [first + timedelta(days=d) for d in range(DAYS)], "session_count": counts}).select(
            "period_on", pl.col("session_count").cast(pl.Int64), grain=pl.lit("DAY"),
            segment=pl.lit("ALL" if number == 0 else f"S{number}"), channel_type=pl.lit("ALL"),
        )
        for number, counts in enumerate(series)
    ]  # fmt: skip
    return pl.concat(frames).lazy()


def _many(seed: int) -> pl.LazyFrame:
    return _periods([_counts(seed * SERIES + n) for n in range(SERIES)])


def _trend(seed: int) -> planted.Found:
    (row,) = activity_trends(_periods([_counts(seed, GROWTH_30D)]), AS_OF, RULES).collect().to_dicts()
    return planted.Found(row["change_30d"], row["change_30d_low"], row["change_30d_high"])


def _no_trend(seed: int) -> tuple[int, int]:
    said = activity_trends(_many(seed), AS_OF, RULES).collect()["is_trending"]
    return int(said.sum()), len(said)


def _season(seed: int) -> planted.Found:
    table = activity_seasons(_periods([_counts(seed, saturday=SATURDAY)]), AS_OF, RULES).collect()
    (row,) = table.filter(cycle="WEEKDAY", position=7).to_dicts()
    return planted.Found(row["factor"], row["factor_low"], row["factor_high"])


def _no_season(seed: int) -> tuple[int, int]:
    said = activity_seasons(_many(seed), AS_OF, RULES).collect()["is_different"]
    return int(said.sum()), len(said)


def _spike(seed: int) -> planted.Found:
    """One day of three times the visits: counted is how many days are unusual and busier, of that one."""
    counts = _counts(seed)
    day = DAYS - 1 - seed % 60
    counts[day] *= SPIKE
    on = AS_OF - timedelta(days=DAYS - day)
    said = activity_anomalies(_periods([counts]), AS_OF, RULES).collect().filter(day_on=on, direction="MORE").height
    return planted.Found(said, said, said)


def _no_spike(seed: int) -> tuple[int, int]:
    said = activity_anomalies(_many(seed), AS_OF, RULES).collect()["is_unusual"]
    return int(said.sum()), len(said)


def _forecast(seed: int) -> planted.Found:
    """The visits of the third day after the data end, which the table does not see."""
    rng = np.random.default_rng(seed)
    mean = 60.0 * np.where(_weekday(np.arange(DAYS + 7)) == 5, SATURDAY, 1.0)
    counts = rng.poisson(mean * rng.gamma(50, 1 / 50, DAYS + 7)).astype(float)
    table = activity_forecasts(_periods([counts[:DAYS]]), AS_OF, RULES).collect()
    (row,) = table.filter(day_on=AS_OF + timedelta(days=3)).to_dicts()
    return planted.Found(row["expected_count"], row["low"], row["high"], planted=float(counts[DAYS + 3]))


@cache
def _schema(table: type[tables.Table]) -> dict[str, Any]:
    return dict(tables.schema(table))


def _filled(frame: pl.DataFrame, table: type[tables.Table]) -> pl.LazyFrame:
    """A frame with every column of a contract, null where it has none."""
    return frame.select(
        (pl.col(c) if c in frame.columns else pl.lit(None)).cast(kind).alias(c) for c, kind in _schema(table).items()
    ).lazy()


def _events(subject: np.ndarray, at_s: np.ndarray, kind: np.ndarray | str, last: date = AS_OF) -> pl.LazyFrame:
    """silver.events of visitors, in seconds before ``last``; no tracker counted their sessions."""
    end = datetime(last.year, last.month, last.day, tzinfo=UTC)
    frame = pl.DataFrame({"subject": subject, "at": at_s, "kind": kind}).with_row_index("n")
    occurred = pl.lit(end) - pl.duration(milliseconds=(pl.col("at") * 1000).cast(pl.Int64))
    return _filled(
        frame.select(
            event_id=pl.format("E{}", "n"), source_system=pl.lit("SHOP"), subject_id=pl.format("v:{}", "subject"),
            visitor_id=pl.format("{}", "subject"), occurred_at=occurred.dt.cast_time_unit("us"),
            occurred_on=occurred.dt.date(), event_type="kind",
        ),
        Events,
    )  # fmt: skip


def _visits(seed: int) -> planted.Found:
    """Visits of 50 visitors: events seconds apart, hours between visits, none over midnight."""
    rng = np.random.default_rng(seed)
    visits, sizes = 150, rng.integers(1, 12, 150)
    subject = np.repeat(np.arange(visits) % 50, sizes)
    start = (
        3600.0 + np.repeat(np.arange(visits) // 50, sizes) * 86_400 + np.repeat(rng.uniform(0, 40_000, visits), sizes)
    )
    made = sessions(
        _events(subject, start + rng.uniform(0, 1500, len(subject)), "PAGE_VIEW"),
        _filled(pl.DataFrame({"session_id": pl.Series([], dtype=pl.String)}), TrackerSessions), STANDARD,
    ).select(pl.len()).collect().item()  # fmt: skip
    return planted.Found(made, made, made, planted=visits)


def _machines(seed: int) -> planted.Found:
    """Ten scrapers among 40 people; counted are visits that stand apart and are a scraper's."""
    rng = np.random.default_rng(seed)
    subject = np.concatenate([np.repeat(np.arange(40), 20), np.repeat(np.arange(100, 110), 80)])
    gap = np.where(subject >= 100, 0.5, 20.0) * rng.uniform(0.5, 1.5, len(subject))
    at = 7200 + np.concatenate([np.cumsum(g) for g in np.split(gap, np.flatnonzero(np.diff(subject)) + 1)])
    said = set_apart_sessions(_events(subject, at, "PRODUCT_VIEW"), STANDARD).collect()["subject_id"]
    right = sum(int(s.removeprefix("v:")) >= 100 for s in said) if len(said) == 10 else -1
    return planted.Found(right, right, right)


def _no_machines(seed: int) -> tuple[int, int]:
    rng = np.random.default_rng(seed)
    subject = np.repeat(np.arange(100), 30)
    at = 7200 + np.concatenate([np.cumsum(rng.lognormal(2.6, 0.9, 30)) for _ in range(100)])
    return set_apart_sessions(_events(subject, at, "PRODUCT_VIEW"), STANDARD).collect().height, 100


def _transition(seed: int) -> planted.Found:
    """Visits that walk by a chain: after a page view a product with the planted chance, else search or the end."""
    rng = np.random.default_rng(seed)
    kinds, chance = (
        np.array(["PAGE_VIEW", "PRODUCT_VIEW", "SEARCH"]),
        np.array([[0.2, NEXT, 0.2, 0.3], [0.3, 0.2, 0.2, 0.3], [0.1, 0.5, 0.1, 0.3]]),
    )
    subject, kind = [], []
    for visit in range(400):
        state = 0
        while state < 3:
            subject.append(visit)
            kind.append(state)
            state = int(rng.choice(4, p=chance[state]))
    order = np.arange(len(subject))
    events = _events(np.array(subject), 60_000.0 - order, kinds[np.array(kind)])
    table = event_transitions(events, AS_OF, STANDARD).collect()
    (row,) = table.filter(from_type="PAGE_VIEW", to_type="PRODUCT_VIEW").to_dicts()
    return planted.Found(row["probability"], row["probability_low"], row["probability_high"])


def _links(seed: int, at_home: bool) -> tuple[pl.DataFrame, np.ndarray]:
    """Links of 480 people, each with a phone whose cookie is lost half-way and a tablet; an eighth live with somebody
    else and never log in. And the owner of each device. Not at home: everybody is on a network drawn at random."""
    rng = np.random.default_rng(seed)
    people = 480
    owner = np.repeat(np.arange(people), 3)
    logs_in = np.where(np.arange(people) % 8 == 0, 0.0, 0.45)[owner]
    device = np.repeat(np.arange(len(owner)), rng.integers(1, 6, len(owner)))
    kind = device % 3  # the phone before, the phone after, the tablet
    day = np.where(kind == 2, rng.integers(0, 200, len(device)), rng.integers(0, 100, len(device)) + 100 * (kind == 1))
    home = np.where(np.arange(people) % 8 == 0, np.arange(people) + 1, np.arange(people))[owner]
    network = home[device] if at_home else rng.integers(0, people, len(device))
    logged = rng.random(len(device)) < logs_in[device]
    at = [datetime(2025, 10, 1, 12, tzinfo=UTC) + timedelta(days=int(d)) for d in day]
    rows = pl.DataFrame({"device": device, "network": network, "logged": logged, "observed_at": at})
    rows = rows.with_columns(owner=pl.Series(owner[device]), width=pl.Series(np.where(kind == 2, 820, 393)),
                             zone=pl.Series(owner[device] % 5))  # fmt: skip
    observed = rows.select(
        visitor_id=pl.format("V{}", "device"), network_id=pl.format("N{}", "network"), observed_at="observed_at",
        observed_on=pl.col("observed_at").dt.date(), observation_id=pl.format("O{}", pl.int_range(pl.len())),
        is_bot=pl.lit(False), screen_width="width", time_zone=pl.format("Z{}", "zone"),
        customer_id=pl.when("logged").then(pl.format("C{}", "owner")),
    )  # fmt: skip
    links = (
        rows.filter("logged")
        .group_by(person_id=pl.format("P{}", "owner"), identifier=pl.format("V{}", "device"))
        .agg(first_at=pl.col("observed_at").min())
        .with_columns(is_shared=pl.lit(False))
    ).lazy()
    evidence = device_evidence(_filled(observed, DeviceObservations), links, NONE_DENIED, AS_OF, RULES).collect().lazy()
    levels = device_link_levels(evidence, AS_OF, LOOSE).collect().lazy()
    return cross_device_links(links, evidence, levels, AS_OF).collect().filter(method="NETWORK"), owner


def _precision(seed: int) -> planted.Found:
    """The share of linked devices that are of the person they are linked to, against the confidence that is stated."""
    links, owner = _links(seed, at_home=True)
    device = links["visitor_id"].str.strip_prefix("V").cast(pl.Int64).to_numpy()
    if not len(device):  # nothing is claimed, so nothing is wrong
        return planted.Found(1.0, 0.0, 1.0, planted=1.0)
    right = float((owner[device] == links["person_id"].str.strip_prefix("P").cast(pl.Int64).to_numpy()).mean())
    said = [float(np.mean(links[c].to_numpy())) for c in ("confidence", "confidence_low")]
    return planted.Found(said[0], said[1], 1.0, planted=right)


def _no_links(seed: int) -> tuple[int, int]:
    links, owner = _links(seed, at_home=False)
    return links.height, len(owner)


TRUTHS = [
    planted.Truth("silver.sessions", "visits of visitors whom no tracker counted", 150, _visits),
    planted.Truth("silver.set_apart_sessions", "scrapers among people", 10, _machines, _no_machines, level=0.0),
    planted.Truth("gold.event_transitions", "chance of a product after a page", NEXT, _transition, confidence=0.95),
    planted.Truth("gold.activity_trends", "growth in 30 days", GROWTH_30D, _trend, _no_trend, confidence=0.95),
    planted.Truth(
        "gold.activity_seasons", "Saturday against the mean of the week",
        SATURDAY / SATURDAY ** (1 / 7), _season, _no_season, confidence=0.95,
    ),
    planted.Truth("gold.activity_anomalies", "a day of three times the visits", 1, _spike, _no_spike, level=0.01),
    planted.Truth("gold.activity_forecasts", "visits of a day that has not come", 0, _forecast, confidence=0.9),
    planted.Truth(
        "gold.cross_device_links", "devices by network that are the person's", 0, _precision, _no_links, confidence=0.95
    ),
]  # fmt: skip
