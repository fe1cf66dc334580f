"""Whose a device is, when nobody logged in on it: by the networks that it shares with devices of known people.

The evidence is weighed by what is known: a device with one owner by login is judged as if it were not, so the share of
right answers at each level of evidence is counted, not assumed. A level is used where even the lower bound of that
share reaches the rule file's ``devices.least_precision``.
"""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
from scipy.special import ndtri

from customer360.pipelines.inference import sums
from customer360.pipelines.inference.verdicts import NOT_ENOUGH_EVIDENCE
from customer360.pipelines.rules import DeviceRules, EnrichmentRules
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Float, Integer, OneOf, String, Table, Timestamp, personal

# What a cookie keeps when it is lost and another begins: no version, which grows.
MAKE = ("device_type", "browser", "operating_system", "brand", "model", "screen_width", "screen_height", "language",
        "time_zone")  # fmt: skip
SEEN = ("visitor_id", "network_id", "observed_on", "is_bot", *MAKE)
DAY_BANDS = (2, 4)  # shared days: 1, 2 to 3, 4 and more


class DeviceEvidence(
    Table, table="gold.device_evidence", partition_by=("as_of",), sort_by=("visitor_id",), serves="PROFILING"
):
    """One row per device with one likeliest person by its networks, and as_of date: the evidence, before it is
    weighed.

    The likeliest of several people on the same networks is one with what may be the same device, then that with most
    shared days; with a tie there is none, and no row.
    """

    visitor_id = String(primary_key=True, metadata=personal("device"))
    as_of = Date(primary_key=True)
    person_id = String(description="Likeliest by the device's networks, its own logins left out")
    owner_id = String(nullable=True, description="Who alone was logged in on it before as_of; null: nobody")
    shared_day_count = Integer(description="Days on which it was on a network on which the person was seen, too")
    is_same_device = Boolean(
        description="A device of the person there is of the same make (type, browser, system, screen, language, zone)"
        " and was not seen in the same days of its life: a cookie that was lost, and the next one"
    )
    rival_count = Integer(description="Other known people on these networks")
    level = String(description="Make, rivals and band of shared days: the unit in which evidence is weighed")
    day_count = Integer(description="Days on which the device was observed")
    later_day_count = Integer(description="Of these, after the day of its first login; 0 without")
    login_day_count = Integer(description="Of the later days, those on which somebody was logged in")
    first_on = Date(description="First of the shared days")
    last_on = Date(description="Last of the shared days")


@builds(
    DeviceEvidence,
    rules="enrichment",
    reads={
        "silver.device_observations": (*SEEN, "observed_at", "observation_id", "source_system", "customer_id"),
        "silver.device_links": ("person_id", "identifier", "first_at", "is_shared"),
    },
)
def device_evidence(
    silver_device_observations: pl.LazyFrame,
    silver_device_links: pl.LazyFrame,
    gold_denials: pl.LazyFrame,
    as_of: date,
    params: EnrichmentRules,
) -> pl.LazyFrame:
    """Networks of the rule file's last ``window_days``; one with more known people than ``most_people`` is a place, no
    home. A person who refuses profiling still is a rival (so that nothing of theirs is said to be another's), but
    has no row, neither as the likeliest nor as the owner by whom evidence is weighed.
    """
    rules = params.devices
    since = as_of - timedelta(days=rules.window_days)
    observed = silver_device_observations.filter(
        pl.col("network_id").is_not_null(),
        ~pl.col("is_bot"),
        pl.col("observed_on").is_between(since, as_of, closed="left"),
    ).with_columns(month=pl.col("observed_on").dt.truncate("1mo"))
    seen = observed.select("visitor_id", "network_id", "observed_on", "month").unique()
    known = silver_device_links.filter(pl.col("first_at").dt.date() < as_of)
    candidates = _candidates(seen, _makes(observed), known, rules)
    best = candidates.filter(pl.col("rank") == pl.col("rank").max().over("visitor_id")).filter(
        pl.len().over("visitor_id") == 1
    )
    refused = gold_denials.filter(pl.col("purpose") == "PROFILING").select(owner_id="person_id").unique()
    owners = known.group_by("identifier").agg(
        owner_id=pl.when(pl.len() == 1).then(pl.col("person_id").first()), owners=pl.len()
    )
    return (
        best.join(owners, left_on="visitor_id", right_on="identifier", how="left")
        .filter(pl.col("owners").fill_null(0) <= 1)  # a shared device is nobody's
        .join(refused, on="owner_id", how="anti")
        .join(_days(observed, known), on="visitor_id")
        .drop("owners", "rank")
        .with_columns(as_of=pl.lit(as_of), level=_level())
    )


def _days(observed: pl.LazyFrame, known: pl.LazyFrame) -> pl.LazyFrame:
    """By device its days: all, those after the first login, those of them with a login."""
    first = known.group_by("identifier").agg(login_on=pl.col("first_at").min().dt.date())
    days = observed.group_by("visitor_id", "observed_on").agg(logs_in=pl.col("customer_id").is_not_null().any())
    later = (pl.col("observed_on") > pl.col("login_on")).fill_null(False)
    return (
        days.join(first, left_on="visitor_id", right_on="identifier", how="left")
        .group_by("visitor_id")
        .agg(
            day_count=pl.len().cast(pl.Int64),
            later_day_count=later.sum().cast(pl.Int64),
            login_day_count=(later & pl.col("logs_in")).sum().cast(pl.Int64),
        )
    )


def _makes(observed: pl.LazyFrame) -> pl.LazyFrame:
    """By device a number that tells one make from another, of its latest observation."""
    spans = observed.group_by("visitor_id").agg(
        observed_at=pl.col("observed_at").max(), since=pl.col("observed_on").min(), until=pl.col("observed_on").max()
    )
    latest = (
        observed.join(spans, on=["visitor_id", "observed_at"])
        .sort("observation_id", "source_system")  # those of one moment
        .group_by("visitor_id")
        .agg(pl.col(MAKE).last(), pl.col("since", "until").first())
    )
    return latest.select("visitor_id", "since", "until", make=pl.struct(MAKE).rank("dense"))


def _candidates(seen: pl.LazyFrame, makes: pl.LazyFrame, known: pl.LazyFrame, rules: DeviceRules) -> pl.LazyFrame:
    """By device and person with another device on its networks: the shared days, the make, the order of likelihood. A
    network that was a place in some month is no home in the others."""
    people = pl.col("person_id").n_unique().over("network_id", "month")
    there = (
        seen.join(known, left_on="visitor_id", right_on="identifier")
        .select("network_id", "month", "person_id", device="visitor_id")
        .unique()
        .filter(people.max().over("network_id") <= rules.most_people)
        .drop("month")
        .unique()
        .join(makes.rename({"visitor_id": "device"}), on="device")
    )
    met = seen.join(makes, on="visitor_id").join(there, on="network_id")
    shared = (
        met.filter(pl.col("device") != pl.col("visitor_id"))
        .group_by("visitor_id", "person_id")
        .agg(
            shared_day_count=pl.col("observed_on").n_unique().cast(pl.Int64),
            is_same_device=(
                (pl.col("make") == pl.col("make_right"))
                & ((pl.col("since") > pl.col("until_right")) | (pl.col("until") < pl.col("since_right")))
            ).any(),
            first_on=pl.col("observed_on").min(),
            last_on=pl.col("observed_on").max(),
        )
    )
    return shared.with_columns(
        rival_count=pl.len().over("visitor_id").cast(pl.Int64) - 1,
        rank=pl.struct("is_same_device", "shared_day_count").rank("dense"),
    )


def _level() -> pl.Expr:
    days, rivals = pl.col("shared_day_count"), pl.col("rival_count")
    low, high = DAY_BANDS
    band = pl.when(days >= high).then(pl.lit(f"{high}+")).when(days >= low).then(pl.lit(f"{low}-{high - 1}"))
    others = pl.when(rivals == 0).then(pl.lit("alone"))
    make = pl.when("is_same_device").then(pl.lit("same device")).otherwise(pl.lit("other device"))
    return pl.format("{}, {}, {} days", make, others.otherwise(pl.lit("rivals")), band.otherwise(pl.lit("1")))


class DeviceLinkLevels(Table, table="gold.device_link_levels", partition_by=("as_of",), sort_by=("level",)):
    """One row per level of evidence and as_of date: how often it names the right person.

    Devices whose owner a login tells say how often (``right_rate``). But devices without a login are more often of
    people who never log in, whom no evidence can name: of them only ``known_share`` may be of a known person, if a
    device of one passes a day without a login as often as devices of known people do after their first, of those seen
    for as many days. A link is right with the product of both. Where more devices of known people should have passed
    without a login than there are, that does not hold, and nothing is known.
    """

    level = String(primary_key=True, description="As in gold.device_evidence")
    as_of = Date(primary_key=True)
    device_count = Integer(description="Devices of this evidence with one owner by login")
    right_count = Integer(description="Of these, where the evidence names the owner")
    right_rate = Float(nullable=True, description="right_count / device_count")
    anonymous_count = Integer(description="Devices of this evidence without a login")
    known_share = Float(nullable=True, description="Of these, who may be of a known person, at most")
    precision = Float(nullable=True, description="right_rate x known_share")
    precision_low = Float(
        nullable=True,
        description="The lower end of Wilson's (1927) interval of right_rate, one-sided 95 %, x known_share",
    )
    status = OneOf(
        "USED",
        "NOT_PRECISE_ENOUGH",
        NOT_ENOUGH_EVIDENCE,
        description="USED: precision_low reaches least_precision; NOT_ENOUGH_EVIDENCE: fewer than least_devices, or"
        " known_share is not known",
    )


CONFIDENCE = 0.95
LONG_LIFE, PRIOR_DAYS = 4, 20  # days; how many days the chance of all devices weighs against those of one life


@builds(
    DeviceLinkLevels,
    rules="enrichment",
    reads={
        "gold.device_evidence": ("level", "person_id", "owner_id", "day_count", "later_day_count", "login_day_count")
    },
)
def device_link_levels(gold_device_evidence: pl.LazyFrame, as_of: date, params: EnrichmentRules) -> pl.LazyFrame:
    """Leave one device out: its own logins are no part of its evidence."""
    owned = pl.col("owner_id").is_not_null()
    silent = (1 - pl.col("logs_in")) ** pl.col("day_count")  # chance that such a device never logged in on its days
    odds = silent / (1 - silent)  # devices that never did, for each of its kind that did
    devices = pl.col("device_count")
    counted = (
        gold_device_evidence.with_columns(life=_life())
        .join(_logins(gold_device_evidence.filter(owned)), on="life", how="left")
        .group_by("level")
        .agg(
            device_count=owned.sum().cast(pl.Int64),
            right_count=(pl.col("owner_id") == pl.col("person_id")).sum().cast(pl.Int64),
            anonymous_count=(~owned).sum().cast(pl.Int64),
            expected=sums.total(odds.filter(owned)),
            variance=sums.total((odds + odds**2).filter(owned)),
        )
        .with_columns(least=pl.col("expected") - ndtri(CONFIDENCE) * pl.col("variance").sqrt())
        .with_columns(
            # More than there are: what the expectation supposes does not hold here.
            known_share=pl.when(pl.col("anonymous_count") > 0, pl.col("least") <= pl.col("anonymous_count")).then(
                (pl.col("expected") / pl.col("anonymous_count")).clip(0, 1)
            )
        )
        .with_columns(right_rate=pl.when(devices > 0).then(pl.col("right_count") / devices))
    )
    share, least = pl.col("known_share"), pl.col("least")
    low = pl.when(devices > 0).then(wilson_low(pl.col("right_count"), devices))
    share_low = pl.when(share.is_not_null()).then((least / pl.col("anonymous_count")).clip(0, 1))
    return (
        counted.with_columns(as_of=pl.lit(as_of), precision=pl.col("right_rate") * share, precision_low=low * share_low)
        .with_columns(status=_status(params.devices))
        .drop("expected", "variance", "least")
    )


def _life() -> pl.Expr:
    """How many days a device is seen, up to `LONG_LIFE`: devices that stay log in on other shares of their days."""
    return pl.col("day_count").clip(1, LONG_LIFE)


def _logins(owned: pl.LazyFrame) -> pl.LazyFrame:
    """By life the chance that a device of a known person logs in on a day; of few devices drawn towards that of all."""
    hits, days = pl.col("login_day_count").sum(), pl.col("later_day_count").sum()
    overall = ((pl.col("hits").sum() + 1) / (pl.col("days").sum() + 2)).fill_null(1.0)
    told = owned.with_columns(life=_life()).group_by("life").agg(hits=hits, days=days)
    lives = pl.LazyFrame({"life": range(1, LONG_LIFE + 1)}, schema={"life": pl.Int64})
    return (
        lives.join(told, on="life", how="left")
        .with_columns(pl.col("hits", "days").fill_null(0))
        .select("life", logs_in=(pl.col("hits") + overall * PRIOR_DAYS) / (pl.col("days") + PRIOR_DAYS))
    )


def wilson_low(hits: pl.Expr, count: pl.Expr) -> pl.Expr:
    """Lower end of the one-sided 95 % score interval of a share."""
    z = float(ndtri(CONFIDENCE))
    share = hits / count
    centre, spread = share + z * z / (2 * count), z * (share * (1 - share) / count + z * z / (4 * count**2)).sqrt()
    return ((centre - spread) / (1 + z * z / count)).clip(0, 1)


def _status(rules: DeviceRules) -> pl.Expr:
    return (
        pl.when(pl.col("device_count") < rules.least_devices).then(pl.lit(NOT_ENOUGH_EVIDENCE))
        .when(pl.col("precision_low") >= rules.least_precision).then(pl.lit("USED"))
        .when(pl.col("known_share").is_null()).then(pl.lit(NOT_ENOUGH_EVIDENCE))
        .otherwise(pl.lit("NOT_PRECISE_ENOUGH"))
    )  # fmt: skip


class CrossDeviceLinks(
    Table,
    table="gold.cross_device_links",
    partition_by=("as_of",),
    sort_by=("person_id", "visitor_id"),
    serves="PROFILING",
):
    """One row per person and device that is theirs, and as_of date, by login or by shared networks."""

    person_id = String(primary_key=True)
    visitor_id = String(primary_key=True, metadata=personal("device"))
    as_of = Date(primary_key=True)
    method = OneOf(
        "LOGIN", "NETWORK", description="LOGIN: the person logged in on it; NETWORK: by gold.device_evidence"
    )
    confidence = Float(
        min=0,
        max=1,
        description="LOGIN: 1, of a shared device 1 / people who log in on it; NETWORK: the precision of its level",
    )
    confidence_low = Float(min=0, max=1, description="Of NETWORK precision_low of its level")
    shared_day_count = Integer(nullable=True, description="Null of a login")
    is_shared = Boolean(description="Others log in on it, too")
    first_at = Timestamp(nullable=True, description="First login; null of a network")


@builds(
    CrossDeviceLinks,
    reads={
        "gold.device_evidence": ("visitor_id", "person_id", "owner_id", "shared_day_count", "level"),
        "gold.device_link_levels": ("level", "precision", "precision_low", "status"),
    },
)
def cross_device_links(
    silver_device_links: pl.LazyFrame,
    gold_device_evidence: pl.LazyFrame,
    gold_device_link_levels: pl.LazyFrame,
    as_of: date,
) -> pl.LazyFrame:
    """Logins before ``as_of``, and devices without one whose level of evidence is used."""
    people = pl.len().over("identifier")
    by_login = silver_device_links.filter(pl.col("first_at").dt.date() < as_of).select(
        "person_id",
        "first_at",
        visitor_id="identifier",
        method=pl.lit("LOGIN"),
        confidence=1 / people,
        confidence_low=1 / people,
        shared_day_count=pl.lit(None, pl.Int64),
        is_shared=people > 1,
    )
    used = gold_device_link_levels.filter(pl.col("status") == "USED")
    by_network = (
        gold_device_evidence.filter(pl.col("owner_id").is_null())
        .join(used, on="level")
        .select(
            "person_id",
            "visitor_id",
            "shared_day_count",
            first_at=pl.lit(None, pl.Datetime("us", "UTC")),
            method=pl.lit("NETWORK"),
            confidence="precision",
            confidence_low="precision_low",
            is_shared=pl.lit(False),
        )
    )
    return pl.concat([by_login, by_network], how="diagonal").with_columns(as_of=pl.lit(as_of))
