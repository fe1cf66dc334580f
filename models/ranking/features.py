"""What a ranker knows of a product in a list at the moment that it was shown: the same words for a log and a request.

Of the product: its category, log price (less the mean of its currency), margin rate (from -1 to 1), freshness (halves
every 30 days after the launch) and popularity (log of purchases in the 28 days before). Of the moment: values of
contexts, each of which may change how much the properties of a product count. Of the person: the share of the products
bought before, and of those seen in the session, that are of the product's category. Of what people did, nothing of the
day of the list or later reaches a feature; price, margin and category are those of the catalogue as it is, whatever
they were on that day.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from customer360.models.base import Snapshot

IMPRESSIONS, INTERACTIONS, PRODUCTS = "silver.impressions", "gold.interactions", "silver.products"
NUMBERS = ("price", "margin", "fresh", "popularity")
SHARES = ("score", "log_score", "affinity", "activity")  # of a candidate, the same weight at every moment
# What a context is made of: columns of a moment. `activity` is of the shares.
CONTEXTS: Mapping[str, tuple[str, ...]] = {
    "location": ("region", "store"),
    "time": ("hour",),
    "weekday": ("weekday",),
    "device": ("device",),
    "activity": (),
    "session": ("depth",),
}
MOMENTS = tuple(column for columns in CONTEXTS.values() for column in columns)
HOURS = 4  # of one part of the day
DEPTHS = (1, 3, 6)  # products seen in the session from which it is further on
POPULAR_DAYS = 28
FRESH_DAYS = 30.0
LATELY_SEEN = 10  # products of a session that say what it is about
LEAST_LOG_SCORE = -5.0
KEYS = ["source_system", "list_id"]
ORDERS = ("score", "position")  # what tells the order of a list without a ranker, the surer first

Dense = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Examples:
    """Products of lists, those of a list beside each other. By product: the number of its list, relevant (clicked or
    bought), bought, position (from 0, -1 unknown), base (by which it stood where no ranker had a say, the largest
    first), category, numbers [products, NUMBERS] (NaN: not known), shares [products, SHARES]. By list: subject,
    placement, moment (columns of MOMENTS, null: not known), whether its score is known."""

    group: Ints
    relevant: Flags
    bought: Flags
    position: Ints
    base: Dense
    category: pl.Series
    numbers: Dense
    shares: Dense
    lists: pl.DataFrame

    @property
    def count(self) -> int:
        """How many lists there are."""
        return self.lists.height


def moment(
    *, on: date, hour: int | None, region: str | None, store: str | None, device: str | None, depth: int | None
) -> dict[str, str | None]:
    """The values of MOMENTS of one request. ``hour`` in UTC, ``depth``: products seen in the session."""
    return {
        "region": region,
        "store": store,
        "hour": None if hour is None else str(hour // HOURS),
        "weekday": str(on.isoweekday()),
        "device": None if device is None else device.strip().lower(),
        "depth": None if depth is None else str(sum(depth >= least for least in DEPTHS)),
    }


def products_at(snapshot: Snapshot) -> pl.DataFrame:
    """One row per product as it is known before `snapshot.as_of`: product_id, category and NUMBERS."""
    wanted = _facts(snapshot).select("product_id").with_columns(on=pl.lit(snapshot.as_of))
    return _known(snapshot, wanted).select("product_id", "category", *NUMBERS).sort("product_id").collect()


def shares_of(categories: Sequence[str | None]) -> dict[str, float]:
    """The share of each category among those of some products that have one."""
    found = [c for c in categories if c is not None]
    return {c: round(found.count(c) / len(found), 4) for c in dict.fromkeys(found)}


def lately_seen(products: Iterable[str]) -> list[str]:
    """Of the products of a session, the newest first, those that say what it is about."""
    return list(dict.fromkeys(products))[:LATELY_SEEN]


def examples(
    snapshot: Snapshot, since: date | None, until: date, most_lists: int, *, are_ordered: bool = False
) -> Examples:
    """The newest lists of the days from ``since`` (None: the first) to the day before ``until`` in which something was
    taken and something was not: others teach nothing of the order. What was taken on ``until`` or later is not known to
    be. ``are_ordered``: only those whose order is known."""
    shown = snapshot[IMPRESSIONS].filter(pl.col("on") < until, *([] if since is None else [pl.col("on") >= since]))
    end = pl.lit(until).cast(pl.Datetime("us", "UTC"))
    clicked, bought = ((pl.col(c) < end).fill_null(False) for c in ("clicked_at", "bought_at"))
    shown = shown.with_columns(is_clicked=clicked | bought, is_bought=bought)
    kept, shown = _newest(shown, most_lists, are_ordered=are_ordered)
    lists = kept.lazy().select(KEYS).with_row_index("group").with_columns(pl.col("group").cast(pl.Int64))
    # What only some rows of a list tell says which rows these are: those of a click, where it is told again.
    whole = (pl.when(pl.col(c).is_not_null().all().over("group")).then(c) for c in ORDERS)
    rows = shown.join(lists, on=KEYS).with_columns(whole).sort("group", "position", "impression_id", nulls_last=True)
    told = _with_shares(snapshot, _known(snapshot, rows)).sort("group", "place").collect()
    return _examples(told)


def _newest(shown: pl.LazyFrame, most: int, *, are_ordered: bool) -> tuple[pl.DataFrame, pl.LazyFrame]:
    """The newest lists that teach something (KEYS, at), and the rows of the days that they are of: of a long log only
    as many days are read as it takes, the newest first."""
    clicked = shown.filter("is_clicked").group_by("on").agg(count=pl.len()).sort("on", descending=True).collect()
    taken = pl.col("is_clicked").any() & ~pl.col("is_clicked").all()
    if are_ordered:
        taken &= pl.any_horizontal(pl.col(c).is_not_null().all() for c in ORDERS)
    wanted, total = most, int(clicked["count"].sum())
    while True:
        enough = clicked.filter(pl.col("count").cum_sum() >= wanted)["on"]  # a list has one click at least
        is_whole = enough.is_empty()
        since = None if is_whole else enough[0]
        # A list that goes on past midnight has its first rows on the day before.
        rows = shown if since is None else shown.filter(pl.col("on") >= since - timedelta(days=1))
        lists = rows.group_by(KEYS).agg(pl.col("on").min(), at=pl.col("shown_at").min(), taken=taken).filter("taken")
        if since is not None:
            lists = lists.filter(pl.col("on") >= since)
        kept = lists.sort("at", *KEYS, descending=[True, False, False]).head(most).sort("at", *KEYS).collect()
        if kept.height >= most or is_whole:
            return kept, rows
        wanted = min(wanted * 4, total + 1)


def _examples(told: pl.DataFrame) -> Examples:
    lists = told.group_by("group", maintain_order=True).agg(
        pl.col("subject_id").first(), pl.col("placement").first(), *(pl.col(c).drop_nulls().first() for c in MOMENTS),
        is_scored=pl.col("score").is_not_null().all(), length=pl.len(),
    )  # fmt: skip
    return Examples(
        told["group"].to_numpy(),
        told["is_clicked"].to_numpy(),
        told["is_bought"].to_numpy(),
        told["rank"].to_numpy(),
        told.select(pl.coalesce("score", -pl.col("rank")).cast(pl.Float64)).to_series().to_numpy(),
        told["category"],
        told.select(pl.col(NUMBERS).cast(pl.Float64).fill_null(float("nan"))).to_numpy(),
        told.select(
            "share", pl.col("share").log().clip(lower_bound=LEAST_LOG_SCORE).alias("log_score"), "affinity", "activity"
        ).to_numpy(),
        lists,
    )


def _facts(snapshot: Snapshot) -> pl.LazyFrame:
    price, cost = pl.col("price").cast(pl.Float64), pl.col("cost").cast(pl.Float64)
    facts = snapshot[PRODUCTS].unique("product_id", keep="first", maintain_order=True).select(
        "product_id",
        "category",
        "launched_on",
        "currency",
        price=pl.when(price > 0).then(price.log()),
        # What costs more than twice its price, or less than nothing, is mistyped: one such product would stretch the
        # scale on which all others' margins count.
        margin=pl.when(price > 0).then((1 - cost / price).clip(-1, 1)),
    )  # fmt: skip
    return facts.with_columns(pl.col("price") - pl.col("price").mean().over("currency")).drop("currency")


def _known(snapshot: Snapshot, rows: pl.LazyFrame) -> pl.LazyFrame:
    """Rows (product_id, on) with what is known of the product on the eve of the day."""
    sold = _sold(snapshot)
    told = rows.join(_facts(snapshot), on="product_id", how="left", maintain_order="left")
    age = (pl.col("on") - pl.col("launched_on")).dt.total_days()
    told = told.with_columns(fresh=pl.when(age >= 0).then(0.5 ** (age / FRESH_DAYS)), earlier=pl.col("on") - timedelta(days=POPULAR_DAYS))  # fmt: skip # noqa: E501
    told = told.with_row_index("order__")
    for name, at in (("until", "on"), ("before", "earlier")):
        counted = sold.rename({"on": at, "sold": name})
        told = told.sort(at).join_asof(
            counted, on=at, by="product_id", strategy="backward", check_sortedness=False
        ).with_columns(pl.col(name).fill_null(0))  # fmt: skip
    popular = (pl.col("until") - pl.col("before") + 1).cast(pl.Float64).log()
    return told.with_columns(popularity=popular).sort("order__").drop("until", "before", "earlier", "order__")


def _sold(snapshot: Snapshot) -> pl.LazyFrame:
    """Purchases of a product up to the eve of a day: product_id, on, sold, sorted by on."""
    bought = snapshot[INTERACTIONS].filter(pl.col("kind") == "purchase")
    daily = bought.group_by("product_id", "on").agg(sold=pl.len()).sort("product_id", "on")
    summed = daily.with_columns(sold=pl.col("sold").cum_sum().over("product_id"), on=pl.col("on") + timedelta(days=1))
    return summed.sort("on")


def _with_shares(snapshot: Snapshot, rows: pl.LazyFrame) -> pl.LazyFrame:
    """Rows with their place and rank in the list, the moment, and the shares."""
    best = pl.col("score").max().over("group")
    depth = pl.col("seen_product_ids").list.n_unique()
    told = rows.with_columns(
        place=pl.int_range(pl.len()).over("group"),
        rank=pl.when(pl.col("position").is_null()).then(-1).otherwise(pl.col("position").rank("dense").over("group").cast(pl.Int64) - 1),  # noqa: E501
        share=pl.when(best > 0).then(pl.col("score") / best).fill_null(0.0),
        store=pl.col("store_id"),
        hour=(pl.col("shown_at").dt.hour() // HOURS).cast(pl.String),
        weekday=pl.col("on").dt.weekday().cast(pl.String),
        depth=pl.sum_horizontal((depth >= least).cast(pl.Int64) for least in DEPTHS).cast(pl.String),
    )  # fmt: skip
    told = told.with_columns(depth=pl.when(pl.col("seen_product_ids").is_not_null()).then("depth"))
    categories = snapshot[PRODUCTS].select("product_id", "category").unique("product_id", keep="first")
    seen = (
        told.group_by("group").agg(seen=pl.col("seen_product_ids").drop_nulls().first())
        .with_columns(pl.col("seen").list.unique(maintain_order=True).list.head(LATELY_SEEN))  # as `lately_seen`
        .explode("seen", empty_as_null=True).join(categories, left_on="seen", right_on="product_id")
    )  # fmt: skip
    lists = told.group_by("group").agg(pl.col("person_id").first(), pl.col("on").min())
    bought = (
        snapshot[INTERACTIONS].filter(pl.col("kind") == "purchase")
        .join(lists.select("person_id").drop_nulls().unique(), on="person_id", how="semi")  # few of millions
        .group_by("person_id", "product_id").agg(first=pl.col("on").min())
        .join(categories, on="product_id")
    )  # fmt: skip
    owned = lists.join(bought, on="person_id").filter(pl.col("first") < pl.col("on"))
    for name, of in (("activity", seen), ("affinity", owned)):
        told = told.join(_share(of, name), on=["group", "category"], how="left").with_columns(
            pl.col(name).fill_null(0.0)
        )
    return told


def _share(of: pl.LazyFrame, name: str) -> pl.LazyFrame:
    """The share of each category among the products of a list's subject: group, category, NAME."""
    counts = of.drop_nulls("category").group_by("group", "category").agg(count=pl.len())
    share = (pl.col("count") / pl.col("count").sum().over("group")).round(4)
    return counts.select("group", "category", share.alias(name))
