"""Paths to purchase: what people did before they bought, in which order, and where it began and ended."""

from __future__ import annotations

from datetime import date

import polars as pl

from customer360.pipelines.funnels import is_followed
from customer360.pipelines.inference.proportions import shares_of_kinds, wilson
from customer360.pipelines.rules.journey import JourneyRules
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Float, Integer, OneOf, String, Table

READS: dict[str, tuple[str, ...]] = {
    "silver.touchpoints": ("subject_id", "person_id", "sequence_number", "occurred_at", "kind", "channel", "is_active")
}  # fmt: skip
DIRECT, OTHER = "(direct)", "(other)"
PURCHASE = ["subject_id", "purchase"]


class PurchasePaths(Table, table="gold.purchase_paths", partition_by=("as_of",), sort_by=("rank",)):
    """One row per path and as_of date: the purchases of the rule file's history that it led to; all rows add up.

    A path is what the person did within days before the purchase and since the purchase before: visits by the channel
    that led to them, other touchpoints by their kind, repeats at once told once, the last steps of a long one.
    Purchases without an account or a visitor have no path, not a direct one.
    """

    as_of = Date(primary_key=True)
    rank = Integer(primary_key=True, min=1, description="By purchases; the last row is of all other paths")
    path = String(description=f"Steps with ` > ` between; {DIRECT}: none was seen")
    is_other = Boolean(description="The last row, of the paths that are not told one by one")
    purchase_count = Integer(description="Purchases that the path led to")
    all_purchase_count = Integer(description="Purchases of all paths")
    guest_purchase_count = Integer(
        description="Beside all of these: receipts without an account, whose path is unknown"
    )
    share = Float(
        description="purchase_count / all_purchase_count; its interval is wider as purchases of one are alike"
    )
    share_low = Float()
    share_high = Float()
    mean_touch_count = Float(description="Touchpoints before the purchase, repeats included")
    median_hours = Float(nullable=True, description="From the first touchpoint to the purchase; null without one")


class PurchaseTouches(Table, table="gold.purchase_touches", partition_by=("as_of",), sort_by=("position", "touch")):
    """One row per position, touchpoint and as_of date: purchases whose path began (FIRST) or ended (LAST) with it."""

    as_of = Date(primary_key=True)
    position = OneOf("FIRST", "LAST", primary_key=True, description="FIRST or LAST of the path")
    touch = String(primary_key=True, description=f"As in paths; {DIRECT}: none was seen")
    purchase_count = Integer(description="Purchases whose path has the touchpoint there")
    all_purchase_count = Integer(description="Purchases of all touchpoints")
    share = Float(
        description="purchase_count / all_purchase_count; its interval is wider as purchases of one are alike"
    )
    share_low = Float()
    share_high = Float()


def paths_to_purchase(touchpoints: pl.LazyFrame, as_of: date, params: JourneyRules) -> pl.LazyFrame:
    """One row per purchase within the history before ``as_of``, of subjects that can be followed: subject_id,
    bought_at, touches (a list), touch_count, hours from the first touchpoint.
    """
    now = pl.lit(as_of).cast(pl.Datetime("us", "UTC"))
    is_purchase = pl.col("kind") == "PURCHASE"
    label = pl.when(pl.col("kind") == "VISIT").then(pl.concat_str(pl.lit("VISIT_"), "channel")).otherwise("kind")
    rows = (
        touchpoints.filter(is_followed(), "is_active", pl.col("kind") != "BROWSING", pl.col("occurred_at") < now)
        .sort("subject_id", "sequence_number")
        .with_columns(purchase=(is_purchase.cum_sum() - is_purchase).over("subject_id"), touch=label)
        .with_columns(bought_at=pl.col("occurred_at").filter(is_purchase).first().over(PURCHASE))
        .filter(pl.col("bought_at") >= now.dt.offset_by(f"-{params.history_months}mo"))
    )
    before = rows.filter(
        ~is_purchase, pl.col("occurred_at") >= pl.col("bought_at") - pl.duration(days=params.path_days)
    ).with_columns(is_new=(pl.col("touch") != pl.col("touch").shift(1).over(PURCHASE)).fill_null(True))
    folded = before.group_by(PURCHASE, maintain_order=True).agg(
        touches=pl.col("touch").filter("is_new"),
        touch_count=pl.len().cast(pl.Int64),
        hours=(pl.col("bought_at") - pl.col("occurred_at")).first().dt.total_seconds() / 3600,
    )
    return (
        rows.filter(is_purchase)
        .select(*PURCHASE, "bought_at")
        .join(folded, on=PURCHASE, how="left")
        .with_columns(pl.col("touch_count").fill_null(0), pl.col("touches").fill_null([]))
    )


@builds(PurchasePaths, rules="journey", reads=READS)
def purchase_paths(silver_touchpoints: pl.LazyFrame, as_of: date, params: JourneyRules) -> pl.LazyFrame:
    """The most frequent paths, and the others together."""
    steps = pl.col("touches").list.tail(params.path_steps)
    # Made once: used four times, the plan would make it as often.
    named = (
        paths_to_purchase(silver_touchpoints, as_of, params)
        .collect()
        .lazy()
        .with_columns(path=pl.when(steps.list.len() > 0).then(steps.list.join(" > ")).otherwise(pl.lit(DIRECT)))
    )
    ranks = (
        named.group_by("path").len().sort("len", "path", descending=[True, False])
        .with_row_index("rank", offset=1).select("path", rank=pl.col("rank").cast(pl.Int64).clip(0, params.paths + 1))
    )  # fmt: skip
    is_other = pl.col("rank") > params.paths
    ranked = named.join(ranks, on="path").with_columns(position=pl.lit(""))
    described = ranked.group_by("rank").agg(
        path=pl.when(is_other.first()).then(pl.lit(OTHER)).otherwise(pl.col("path").first()),
        is_other=is_other.first(),
        mean_touch_count=pl.col("touch_count").mean(),
        median_hours=pl.col("hours").median(),
    )
    told = described.join(_shared(ranked, "rank", params), on="rank").join(
        _guests(silver_touchpoints, as_of, params), how="cross"
    )
    return told.with_columns(as_of=pl.lit(as_of)).select(list(PurchasePaths.columns()))


def _guests(touchpoints: pl.LazyFrame, as_of: date, params: JourneyRules) -> pl.LazyFrame:
    """One row: guest_purchase_count."""
    now = pl.lit(as_of).cast(pl.Datetime("us", "UTC"))
    is_past = pl.col("occurred_at").is_between(now.dt.offset_by(f"-{params.history_months}mo"), now, closed="left")
    bought = touchpoints.filter(pl.col("kind") == "PURCHASE", "is_active", is_past)
    return bought.select(guest_purchase_count=(~is_followed()).sum().cast(pl.Int64))


@builds(PurchaseTouches, rules="journey", reads=READS)
def purchase_touches(silver_touchpoints: pl.LazyFrame, as_of: date, params: JourneyRules) -> pl.LazyFrame:
    """First and last touchpoint of each path."""
    found = paths_to_purchase(silver_touchpoints, as_of, params).collect().lazy()
    ends = {"FIRST": pl.col("touches").list.first(), "LAST": pl.col("touches").list.last()}
    parts = [
        found.select("subject_id", position=pl.lit(name), touch=end.fill_null(DIRECT)) for name, end in ends.items()
    ]
    return (
        _shared(pl.concat(parts), "touch", params)
        .with_columns(as_of=pl.lit(as_of))
        .select(list(PurchaseTouches.columns()))
    )


def _shared(purchases: pl.LazyFrame, kind: str, params: JourneyRules) -> pl.LazyFrame:
    """Purchases by position and kind, and their share of all of the position."""
    counted = shares_of_kinds(purchases, kind, "position", "subject_id")
    known = counted.rename({"count": "purchase_count", "of": "all_purchase_count"})
    count, every, design = (pl.col(c) for c in ("purchase_count", "all_purchase_count", "design"))
    low, high = wilson(count / design, every / design, params.confidence)
    return known.with_columns(share=count / every, share_low=low, share_high=high)
