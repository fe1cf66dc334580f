"""Paths to purchase: what people did before they bought, in which order, and where it began and ended."""

from __future__ import annotations

from datetime import date

import polars as pl

from customer360.pipelines.funnels import is_followed
from customer360.pipelines.inference.proportions import shares_of_kinds, wilson
from customer360.pipelines.rules.journey import JourneyRules
from customer360.pipelines.streams import RUN, streams
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Float, Integer, OneOf, String, Table

READS: dict[str, tuple[str, ...]] = {
    "silver.touchpoints": ("subject_id", "person_id", "sequence_number", "occurred_at", "kind", "channel", "is_active")
}  # fmt: skip
DIRECT, OTHER = "(direct)", "(other)"


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


def paths_to_purchase(
    touchpoints: pl.LazyFrame, as_of: date, params: JourneyRules
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Purchases within the history before ``as_of``, of subjects that can be followed: `RUN` and ``purchase``, a
    number; and in order what led to each: ``purchase``, ``touch``, and ``since``, the time until the purchase.
    """
    now, at, is_purchase = pl.lit(as_of).cast(pl.Datetime("us", "UTC")), pl.col("occurred_at"), pl.col("is_purchase")
    start, long = now.dt.offset_by(f"-{params.history_months}mo"), pl.duration(days=params.path_days)
    past = touchpoints.filter(
        is_followed(), "is_active", pl.col("kind") != "BROWSING", at >= start - long, at < now
    ).with_columns(is_purchase=pl.col("kind") == "PURCHASE")
    following = pl.when(is_purchase).then(pl.int_range(pl.len(), dtype=pl.UInt32)).backward_fill()
    bought = (
        streams(past, "subject_id", "sequence_number")
        .lazy()
        .with_columns(purchase=following)
        .with_columns(bought_at=at.gather("purchase"), buyer=pl.col(RUN).gather("purchase"))
        .filter(pl.col("buyer") == pl.col(RUN), pl.col("bought_at") >= start)
    )
    label = pl.when(pl.col("kind") == "VISIT").then(pl.concat_str(pl.lit("VISIT_"), "channel")).otherwise("kind")
    since = pl.col("bought_at") - at
    before = bought.filter(~is_purchase).filter(since <= long).select("purchase", touch=label, since=since)
    purchases, touches = pl.collect_all([bought.filter(is_purchase).select(RUN, "purchase"), before])
    return purchases, touches


@builds(PurchasePaths, rules="journey", reads=READS)
def purchase_paths(silver_touchpoints: pl.LazyFrame, as_of: date, params: JourneyRules) -> pl.LazyFrame:
    """The most frequent paths, and the others together."""
    purchases, touches = paths_to_purchase(silver_touchpoints, as_of, params)
    is_same = (pl.col("purchase") == pl.col("purchase").shift(1)) & (pl.col("touch") == pl.col("touch").shift(1))
    folded = (
        touches.lazy()
        .with_columns(is_new=~is_same.fill_null(False))
        .group_by("purchase")
        .agg(
            touches=pl.col("touch").filter("is_new").tail(params.path_steps),
            touch_count=pl.len().cast(pl.Int64),
            hours=pl.col("since").first().dt.total_seconds() / 3600,
        )
    )
    named = (
        purchases.lazy()
        .join(folded, on="purchase", how="left")
        .select(
            RUN, "hours", pl.col("touch_count").fill_null(0),
            path=pl.col("touches").list.join(" > ").fill_null(DIRECT),
        )
        .collect()
        .lazy()  # used four times, the plan would make it as often
    )  # fmt: skip
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
    purchases, touches = paths_to_purchase(silver_touchpoints, as_of, params)
    parts = [
        purchases.join(touches.unique("purchase", keep=end, maintain_order=True), on="purchase", how="left").select(
            RUN, position=pl.lit(end.upper()), touch=pl.col("touch").fill_null(DIRECT)
        )
        for end in ("first", "last")
    ]
    return (
        _shared(pl.concat(parts).lazy(), "touch", params)
        .with_columns(as_of=pl.lit(as_of))
        .select(list(PurchaseTouches.columns()))
    )


def _shared(purchases: pl.LazyFrame, kind: str, params: JourneyRules) -> pl.LazyFrame:
    """Purchases by position and kind, and their share of all of the position."""
    counted = shares_of_kinds(purchases, kind, "position", RUN)
    known = counted.rename({"count": "purchase_count", "of": "all_purchase_count"})
    count, every, design = (pl.col(c) for c in ("purchase_count", "all_purchase_count", "design"))
    low, high = wilson(count / design, every / design, params.confidence)
    return known.with_columns(share=count / every, share_low=low, share_high=high)
