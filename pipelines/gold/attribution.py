"""Which touches purchases are credited to: models by rule, and a Markov chain over the paths that led to them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import stdtrit

from customer360.pipelines.campaigns import (
    MESSAGE,
    NAMES,
    NO_CAMPAIGN,
    NO_SOURCE,
    UNNAMED,
    midnight,
    one_campaign,
    reporting,
    revenue_before,
    spelling,
)
from customer360.pipelines.inference import sums
from customer360.pipelines.money import UNSTATED
from customer360.pipelines.rules import EngagementRules, EnrichmentRules
from customer360.pipelines.vocabulary import SESSION_GAP_MINUTES
from customer360.platform.graph import builds
from customer360.platform.tables import Date, Float, Integer, OneOf, String, Table

MODELS = ("FIRST", "LAST", "LINEAR", "TIME_DECAY", "POSITION", "MARKOV")
NONE = "NONE"  # a visit without a campaign; a purchase that nothing came before
ENDS = 0.4  # of the credit, to the first and to the last touch each (model by position, U-shaped)
GROUPS = 20  # of the subjects, each left out once for the interval of the chain's credits (jackknife)
MOST_STATES, OTHER = 200, "OTHER"  # campaigns and channels told apart: names in URLs are anybody's to make up
UNTYPED = ("DIRECT", "OTHER")  # types of silver.session_facts that name no source
KEY = ["campaign_id", "channel"]

Array = NDArray[np.float64]


class CampaignAttribution(
    Table, table="gold.campaign_attribution", partition_by=("as_of",), sort_by=("model", "campaign_id", "channel")
):
    """One row per model, campaign, channel and as_of date: the purchases and the revenue that are credited to it.

    Touches are clicks on messages and visits from a campaign or another source than the address bar, where the tracker
    names none by the type of the site that led here. A site of no type in the rule file, such as a payment page or
    another host of the shop's own, is no source. Campaigns and channels beyond the 200 with the most touches are one,
    OTHER. A touch has a part in the subject's next purchase, if that comes within the rule's days, and in no other; so
    the credit of each model adds up to the purchases. Purchases that no touch came before stand under NONE.

    FIRST, LAST, LINEAR, TIME_DECAY (a touch older by the rule's half life counts half) and POSITION (0.4 to the first
    and the last, the rest to those between) are agreements, not findings. MARKOV shares all purchases with touches by
    the removal effect of each campaign and channel in a first-order chain of all paths, those without a purchase
    included (Anderl and others 2016): how much less often a path would end in a purchase if it ended there instead.
    None of them tells what a campaign caused: gold.campaign_lifts does.
    """

    model = OneOf(*MODELS, primary_key=True, description="How the credit is shared")
    campaign_id = String(primary_key=True, description=f"{NONE}: visits without a campaign, purchases without a touch;"
                         f" {OTHER}: of those with the fewest touches")  # fmt: skip
    channel = String(primary_key=True, description=f"Of the message, or where the visit came from; {NONE}: no touch")
    as_of = Date(primary_key=True)
    touch_count = Integer(description="Touches in the window of the rule's history")
    path_count = Integer(description="Paths with a purchase that it is part of")
    conversion_credit = Float(description="Purchases, by part")
    conversion_credit_low = Float(
        nullable=True, description="Interval of MARKOV's credit (jackknife over groups of subjects); null where counted"
    )
    conversion_credit_high = Float(nullable=True)
    conversion_share = Float(nullable=True, description="Of all purchases of the window; null without one")
    removal_effect = Float(nullable=True, description="Of MARKOV: the share of purchases that would be lost without it")
    currency = String(description=f"The reporting currency, of all amounts; {UNSTATED}: nothing names one")
    revenue_credit = Float(description="Revenue less returns before as_of, by part")


@builds(
    CampaignAttribution,
    rules="enrichment",
    reads={
        "silver.message_clicks": (*MESSAGE, "subject_id", "occurred_at"),
        "silver.campaign_synonyms": NAMES,
        "silver.sessions": ("session_id", "subject_id", "started_at", "campaign_id", "traffic_source"),
        "silver.session_facts": ("session_id", "subject_id", "channel_type"),
        "silver.transactions": ("subject_id", "occurred_at", "is_sale", "gross_amount", "return_amount", "returned_at", "source_system", "transaction_id"),  # noqa: E501
    },
)  # fmt: skip
def campaign_attribution(
    silver_message_clicks: pl.LazyFrame,
    silver_sessions: pl.LazyFrame,
    silver_session_facts: pl.LazyFrame,
    silver_campaign_synonyms: pl.LazyFrame,
    silver_transactions: pl.LazyFrame,
    silver_reporting_currency: pl.LazyFrame,
    as_of: date,
    params: EnrichmentRules,
) -> pl.LazyFrame:
    """Purchases of the rule's history before ``as_of``."""
    rules = params.engagement
    start = midnight(as_of - timedelta(days=rules.history_days))
    # Of a purchase early in the window, what led to it lies before the window.
    since = start - timedelta(days=rules.lookback_days)
    sales = _sales(silver_transactions, since, as_of)
    arrivals = _arrivals(silver_sessions, silver_session_facts, silver_campaign_synonyms, since, as_of)
    clicks = silver_message_clicks.filter(pl.col("occurred_at").is_between(since, midnight(as_of), closed="left"))
    touches = _touches(clicks, arrivals)
    counts = pl.when("is_conversion").then(pl.col("sold_at") >= start).otherwise(pl.col("at") >= start)
    paths = _folded(_paths(touches, sales, rules).filter(counts))
    bought = sales.filter(pl.col("sold_at") >= start)
    credited = pl.concat([_by_rule(paths, rules), _by_chain(paths, rules)])
    alone = bought.join(paths.filter("is_conversion").select("sale").unique(), on="sale", how="anti")
    met = paths.group_by(KEY).agg(
        touch_count=(pl.col("at") >= start).sum().cast(pl.Int64),
        path_count=pl.col("sale").filter("is_conversion").n_unique().cast(pl.Int64),
    )
    told = credited.join(met, on=KEY, how="left")
    rest = pl.DataFrame({"model": MODELS}).select(
        "model", campaign_id=pl.lit(NONE), channel=pl.lit(NONE), touch_count=pl.lit(0, pl.Int64),
        path_count=pl.lit(0, pl.Int64), conversion_credit=pl.lit(float(alone.height)),
        revenue_credit=pl.lit(float(alone["revenue"].sum() or 0)),
    ).filter(bool(alone.height))  # fmt: skip
    return (
        pl.concat([told, rest], how="diagonal").lazy()
        .join(reporting(silver_reporting_currency), how="cross")
        .with_columns(
            as_of=pl.lit(as_of),
            conversion_share=pl.col("conversion_credit") / bought.height if bought.height else pl.lit(None, pl.Float64),
        )
        .select(list(CampaignAttribution.columns()))
    )  # fmt: skip


def _sales(transactions: pl.LazyFrame, since: datetime, as_of: date) -> pl.DataFrame:
    """Sales from a moment on in order, numbered: a touch leads to none before it."""
    sold = transactions.filter("is_sale", pl.col("occurred_at").is_between(since, midnight(as_of), closed="left"))
    in_order = sold.sort("occurred_at", "source_system", "transaction_id")
    return (
        in_order.select("subject_id", sold_at="occurred_at", revenue=revenue_before(as_of))
        .collect()
        .with_row_index("sale")
    )


def _arrivals(
    sessions: pl.LazyFrame, facts: pl.LazyFrame, names: pl.LazyFrame, since: datetime, as_of: date
) -> pl.DataFrame:
    """Visits from a campaign or a source: subject_id, campaign_id, channel, at."""
    came = one_campaign(
        sessions.filter(pl.col("started_at").is_between(since, midnight(as_of), closed="left")), names
    ).with_columns(told=pl.col("traffic_source").str.strip_chars().str.to_uppercase().replace("", None))
    # Where the tracker names no source, the type of the site is one.
    typed = facts.filter(~pl.col("channel_type").is_in(UNTYPED))
    unsaid = came.filter(pl.col("told").is_null()).join(typed, on=["session_id", "subject_id"], how="left")
    columns = ("subject_id", "started_at", "campaign_id")
    every = pl.concat(
        [
            came.filter(pl.col("told").is_not_null()).select(*columns, source="told"),
            unsaid.select(*columns, source="channel_type"),
        ]
    ).collect()
    no_campaign, no_source = _spelt(every["campaign_id"], NO_CAMPAIGN), _spelt(every["source"], NO_SOURCE)
    campaign = pl.when(~pl.col("campaign_id").is_in(no_campaign.implode())).then("campaign_id")
    source = pl.when(~pl.col("source").is_in(no_source.implode())).then("source")
    return (
        every.with_columns(campaign_id=campaign, source=source)
        .filter(pl.col("campaign_id").is_not_null() | pl.col("source").is_not_null())
        .select("subject_id", "campaign_id", channel=pl.col("source").fill_null("WEB"), at="started_at")
    )


def _spelt(said: pl.Series, words: Sequence[str]) -> pl.Series:
    """What of many names, of which few differ, reads as one of the words."""
    different = said.drop_nulls().unique().to_frame("said")
    return different.filter(spelling(pl.col("said")).is_in(words))["said"]


def _touches(clicks: pl.LazyFrame, arrivals: pl.DataFrame) -> pl.DataFrame:
    """subject_id, at, campaign_id, channel, in order: clicks and visits; a click and the visit that it opens are one
    touch."""
    campaign = pl.when(pl.col("campaign_id") != UNNAMED).then("campaign_id")
    message = pl.concat_str(*(pl.col(c).fill_null("") for c in MESSAGE), separator="/")
    recent = clicks.with_columns(campaign).select("subject_id", *KEY, at="occurred_at", order=message).collect()
    named = (
        pl.concat([recent, arrivals.select("subject_id", *KEY, "at", order=pl.lit("~"))])
        .with_columns(pl.col("campaign_id").fill_null(NONE))
        .sort("subject_id", "at", "order", *KEY)
    )
    gap = pl.col("at") - pl.col("at").shift()
    is_own, same, again = (pl.col(c) == pl.col(c).shift() for c in ("subject_id", "campaign_id", "order"))
    is_one = (same & (pl.col("campaign_id") != NONE)) | (again & (pl.col("order") != "~"))
    follows = is_own & is_one & (gap <= timedelta(minutes=SESSION_GAP_MINUTES))
    return named.filter(~follows.fill_null(False))


def _folded(paths: pl.DataFrame) -> pl.DataFrame:
    """Paths in which all but the campaigns and channels with the most touches are `OTHER`."""
    met = paths.group_by(KEY).len().sort("len", *KEY, descending=[True, False, False])
    if met.height <= MOST_STATES:
        return paths
    kept = met.head(MOST_STATES - 1).select(KEY).with_columns(is_kept=pl.lit(True))
    known = paths.join(kept, on=KEY, how="left", maintain_order="left")
    return known.with_columns(pl.when("is_kept").then(pl.col(c)).otherwise(pl.lit(OTHER)).alias(c) for c in KEY).drop(
        "is_kept"
    )


def _paths(touches: pl.DataFrame, sales: pl.DataFrame, rules: EngagementRules) -> pl.DataFrame:
    """Touches in order with the purchase that each leads to: ``path`` (a number), ``sale``, ``is_conversion``, ``age``
    in days; those that lead to none within the rule's days are a path without a purchase, up to the next one."""
    next_sale = sales.unique(["subject_id", "sold_at"], keep="first", maintain_order=True)
    led = touches.with_row_index("place").sort("at").join_asof(
        next_sale, left_on="at", right_on="sold_at", by="subject_id", strategy="forward", check_sortedness=False
    ).sort("place")  # fmt: skip
    until = pl.col("sold_at") - pl.col("at")
    told = led.with_columns(is_conversion=(until <= timedelta(days=rules.lookback_days)).fill_null(False))
    begins = pl.any_horizontal(pl.col(c).ne_missing(pl.col(c).shift()) for c in ("subject_id", "sale", "is_conversion"))
    return told.with_columns(
        path=begins.cum_sum().cast(pl.Int64),
        age=pl.when("is_conversion").then(until.dt.total_seconds() / 86_400),
        revenue=pl.when("is_conversion").then(pl.col("revenue").cast(pl.Float64)),
    )


def _by_rule(paths: pl.DataFrame, rules: EngagementRules) -> pl.DataFrame:
    """Credits of the models by rule."""
    led = paths.lazy().filter("is_conversion")
    place, length = pl.int_range(pl.len()).over("path"), pl.len().over("path")
    is_first, is_last = place == 0, place == length - 1
    half = (-(pl.col("age") / rules.half_life_days) * np.log(2)).exp()
    decay = half / sums.total(half).over("path")
    recent = pl.when(decay.is_finite()).then(decay).otherwise(is_last.cast(pl.Float64))
    ends = (is_first.cast(pl.Float64) + is_last.cast(pl.Float64)) * ENDS
    position = (
        pl.when(length == 1).then(1.0)
        .when(length == 2).then(0.5)
        .when(is_first | is_last).then(ends)
        .otherwise((1 - 2 * ENDS) / (length - 2))
    )  # fmt: skip
    weights = {
        "FIRST": is_first.cast(pl.Float64), "LAST": is_last.cast(pl.Float64), "LINEAR": 1 / length,
        "TIME_DECAY": recent, "POSITION": position,
    }  # fmt: skip
    weighed = led.with_columns(**weights)
    parts = [
        weighed.group_by(KEY).agg(
            model=pl.lit(model),
            conversion_credit=sums.total(pl.col(model)),
            revenue_credit=sums.total(pl.col(model) * pl.col("revenue")),
        )
        for model in weights
    ]
    none = pl.lit(None, pl.Float64)
    every = pl.concat(pl.collect_all(parts))
    return every.with_columns(conversion_credit_low=none, conversion_credit_high=none, removal_effect=none).select(
        *KEY, "model", "conversion_credit", "revenue_credit", *MARKOV_ONLY
    )


MARKOV_ONLY = ("conversion_credit_low", "conversion_credit_high", "removal_effect")


def _by_chain(paths: pl.DataFrame, rules: EngagementRules) -> pl.DataFrame:
    """Credits of the chain."""
    states = paths.select(KEY).unique().sort(KEY).with_row_index("state")
    if states.is_empty():
        return _by_rule(paths, rules).clear()
    known = paths.join(states, on=KEY, how="left", maintain_order="left").with_columns(
        group=(pl.col("subject_id").rank("dense") % GROUPS).cast(pl.Int64)
    )
    counts = _transitions(known, len(states))
    conversions = known.filter("is_conversion").select("path", "revenue").unique("path")
    total, revenue = conversions.height, float(conversions["revenue"].sort().sum())
    effects, shares = removal_effects(counts.sum(axis=0))
    left = np.array([removal_effects(counts.sum(axis=0) - counts[g])[1] for g in range(GROUPS)])
    error = np.sqrt((GROUPS - 1) / GROUPS * ((left - left.mean(axis=0)) ** 2).sum(axis=0))
    half = stdtrit(GROUPS - 1, 0.5 + rules.confidence / 2) * error
    found = states.with_columns(
        model=pl.lit("MARKOV"),
        conversion_credit=pl.Series(shares * total),
        revenue_credit=pl.Series(shares * revenue),
        conversion_credit_low=pl.Series(np.clip(shares - half, 0, 1) * total),
        conversion_credit_high=pl.Series(np.clip(shares + half, 0, 1) * total),
        removal_effect=pl.Series(effects),
    )
    return found.select(*KEY, "model", "conversion_credit", "revenue_credit", *MARKOV_ONLY)


def _transitions(known: pl.DataFrame, states: int) -> Array:
    """Steps by group of subjects: from a state (row; the last row: from the start) to a state (column; then to a
    purchase, then to nothing)."""
    start, bought, nothing = states, states, states + 1
    path, state = known["path"].to_numpy(), known["state"].to_numpy().astype(np.int64)
    group, ends = known["group"].to_numpy(), known["is_conversion"].to_numpy()
    is_last = np.append(path[1:] != path[:-1], True)
    is_first = np.append(True, path[1:] != path[:-1])
    counts = np.zeros((GROUPS, states + 1, states + 2))
    np.add.at(counts, (group[is_first], start, state[is_first]), 1)
    inner = ~is_last
    np.add.at(counts, (group[inner], state[inner], np.roll(state, -1)[inner]), 1)
    np.add.at(counts, (group[is_last], state[is_last], np.where(ends[is_last], bought, nothing)), 1)
    return counts


def removal_effects(counts: Array) -> tuple[Array, Array]:
    """Of steps counted as in `_transitions` (one group): by state its removal effect, and its share of all effects.

    With N the expected visits, a path ever comes to i with chance (start N)_i / N_ii, and is bought from there with
    (N bought)_i; without i, both together are lost.
    """
    states = len(counts) - 1
    sums = counts.sum(axis=1, keepdims=True)
    steps = np.divide(counts, sums, out=np.zeros_like(counts), where=sums > 0)
    inner, bought, start = steps[:states, :states], steps[:states, states], steps[states, :states]
    visits = np.linalg.inv(np.eye(states) - inner)
    reached = (start @ visits) / np.diag(visits)
    lost, all_bought = reached * (visits @ bought), float(start @ visits @ bought)
    effects = lost / all_bought if all_bought > 0 else np.zeros(states)
    return effects, effects / effects.sum() if effects.sum() > 0 else np.zeros(states)
