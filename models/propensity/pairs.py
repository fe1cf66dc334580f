"""Persons and categories at a date: what was known of each pair before it, and whether a purchase followed.

A pure function of `gold.interactions` and `silver.subject_days`: features read rows strictly before `as_of`, labels the
window `[as_of, as_of + horizon)`. A category is known by how it sells, not by its name, so a new one is scored at once.
"""

from datetime import date, timedelta

import numpy as np
import polars as pl

from customer360.models import frames

YEAR, QUARTER, MONTH = 365, 90, 30
PERSON = (
    "recency_days", "tenure_days", "purchase_day_count_90d", "purchase_day_count_365d", "mean_gap_days",
    "recency_to_gap", "order_trend", "mean_order_amount", "session_count_30d", "session_count_90d",
)  # fmt: skip
OWN = (
    "own_recency_days", "own_days_90d", "own_days_365d", "own_quantity_365d", "own_gap_days", "own_recency_to_gap",
    "own_share", "own_view_days_30d", "own_view_days_90d", "own_seen_days_ago", "own_cart_days_90d", "category_count",
)  # fmt: skip
CATEGORY = ("category_rate_30d", "category_rate_90d", "category_rate_365d", "category_last_year")
FEATURES = (*OWN, *PERSON, *CATEGORY)
SMALLEST_GAP = 1.0  # days; as in `frames`, a mean gap below would make the ratio explode


def categories(interactions: pl.LazyFrame, as_of: date, least_buyers: int, at_most: int) -> list[str]:
    """Categories with at least `least_buyers` known buyers in the year before `as_of`, those with most buyers, by
    name."""
    bought = _past(interactions, as_of, YEAR).filter(pl.col("kind") == "purchase", pl.col("category").is_not_null())
    counted = bought.group_by("category").agg(buyers=pl.col("person_id").n_unique())
    kept = counted.filter(pl.col("buyers") >= least_buyers).sort("buyers", "category", descending=[True, False])
    return sorted(kept.head(at_most).collect()["category"].to_list())


def people(days: pl.LazyFrame, as_of: date, active_within_days: int) -> pl.DataFrame:
    """`person_id` and the features `PERSON` of everybody who bought within `active_within_days`, sorted by person."""
    active = frames.population(days, as_of, active_within_days)
    known = frames.features(days, as_of).select("person_id", *PERSON)
    return active.join(known, on="person_id", how="left").sort("person_id").collect()


def drawn(persons: pl.DataFrame, at_most: int, seed: int) -> pl.DataFrame:
    """At most so many persons, drawn without replacement, in their order."""
    if persons.height <= at_most:
        return persons
    rows = np.random.default_rng(seed).choice(persons.height, at_most, replace=False)
    return persons[np.sort(rows)]


def rates(
    interactions: pl.LazyFrame, days: pl.LazyFrame, as_of: date, names: list[str], horizon_days: int
) -> pl.DataFrame:
    """`category` and `CATEGORY`: the share of last year's buyers who bought it in a day of the last 30, 90, 365 days,
    and in last year's window from the same day on over that of the year (null where no year is known).
    """
    active = frames.population(days, as_of, YEAR).select(pl.len()).collect().item() or 1
    bought = _past(interactions, as_of, YEAR).filter(pl.col("kind") == "purchase")
    start = as_of - timedelta(days=YEAR)
    season = pl.col("on").is_between(start, start + timedelta(days=horizon_days), closed="left")
    age = (pl.lit(as_of) - pl.col("on")).dt.total_days()

    def share(within: pl.Expr, length: int) -> pl.Expr:
        return pl.struct("person_id", "on").filter(within).n_unique() / (active * length)

    known = frames.first_purchase_on(days) <= start
    found = bought.group_by("category").agg(
        category_rate_30d=share(age <= MONTH, MONTH),
        category_rate_90d=share(age <= QUARTER, QUARTER),
        category_rate_365d=share(age <= YEAR, YEAR),
        category_last_year=share(season, horizon_days) if known else pl.lit(None, pl.Float64),
    )
    every = pl.DataFrame({"category": names}, schema={"category": pl.String})
    ratio = pl.col("category_last_year") / pl.col("category_rate_365d")
    return every.join(found.collect(), on="category", how="left").with_columns(category_last_year=ratio)


def pairs(interactions: pl.LazyFrame, persons: pl.DataFrame, rated: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """`person_id`, `category` and the Float64 columns `FEATURES`: one row per person of `persons` (`people`) and
    category of `rated` (`rates`), in that order. Never bought or seen: null.
    """
    mine = pl.LazyFrame({"person_id": persons["person_id"]})
    past = (
        _past(interactions, as_of, YEAR).filter(pl.col("category").is_not_null()).join(mine, on="person_id", how="semi")
    )
    age = (pl.lit(as_of) - pl.col("on")).dt.total_days()
    bought, viewed, carted = (pl.col("kind") == kind for kind in ("purchase", "view", "cart_add"))

    def days_of(kind: pl.Expr, within: int) -> pl.Expr:
        return pl.col("on").filter(kind & (age <= within)).n_unique().cast(pl.Float64)

    span = age.filter(bought).max() - age.filter(bought).min()
    own = past.group_by("person_id", "category").agg(
        own_recency_days=age.filter(bought).min(),
        own_days_90d=days_of(bought, QUARTER),
        own_days_365d=days_of(bought, YEAR),
        own_quantity_365d=pl.col("quantity").filter(bought).sum(),
        own_gap_days=span / (pl.col("on").filter(bought).n_unique() - 1.0),
        own_view_days_30d=days_of(viewed, MONTH),
        own_view_days_90d=days_of(viewed, QUARTER),
        own_seen_days_ago=age.filter(~bought).min(),
        own_cart_days_90d=days_of(carted, QUARTER),
    )
    known = pl.col("own_days_365d") > 1  # a gap takes two days
    ratio = pl.col("own_recency_days") / pl.max_horizontal("own_gap_days", pl.lit(SMALLEST_GAP))
    shared = own.with_columns(
        own_share=pl.col("own_days_365d") / pl.col("own_days_365d").sum().over("person_id"),
        category_count=(pl.col("own_days_365d") > 0).sum().over("person_id"),
        own_gap_days=pl.when(known).then("own_gap_days"),
        own_recency_to_gap=pl.when(known).then(ratio),
    )
    every = persons.lazy().join(rated.lazy(), how="cross", maintain_order="left_right")
    joined = every.join(shared, on=["person_id", "category"], how="left", maintain_order="left")
    return joined.select(
        "person_id", "category", *(pl.col(name).cast(pl.Float64).fill_nan(None) for name in FEATURES)
    ).collect()


def bought_after(interactions: pl.LazyFrame, frame: pl.DataFrame, as_of: date, horizon_days: int) -> pl.Series:
    """For each row of `pairs` whether the category was bought in `[as_of, as_of + horizon_days)`."""
    window = pl.col("on").is_between(as_of, as_of + timedelta(days=horizon_days), closed="left")
    bought = (
        interactions.filter(window, pl.col("kind") == "purchase")
        .select("person_id", "category", bought=pl.lit(True))
        .unique()
        .collect()
    )
    keys = frame.select("person_id", "category")
    return keys.join(bought, on=["person_id", "category"], how="left", maintain_order="left")["bought"].fill_null(False)


def season_step(
    interactions: pl.LazyFrame,
    days: pl.LazyFrame,
    names: list[str],
    since: date,
    as_of: date,
    horizon_days: int,
    least: int,
) -> float:
    """By how much purchases of a window from `as_of` on should lie above those of the window from `since` on, as a
    factor: what they did between the same windows a year before, which growth does not touch. Where that year is known
    but not the window before it, half of the way (the root) from the window of `since` to last year's window. 1 where
    no year is known, or a window has fewer than `least` pairs of a person and a category.
    """
    first, year = frames.first_purchase_on(days), timedelta(days=YEAR)
    bought = interactions.filter(pl.col("kind") == "purchase", pl.col("category").is_in(names))

    def count(start: date) -> int:
        window = pl.col("on").is_between(start, start + timedelta(days=horizon_days), closed="left")
        pairs_bought = bought.filter(window & (pl.col("on") < as_of)).select("person_id", "category").unique()
        return int(pairs_bought.select(pl.len()).collect().item())

    if first > as_of - year:
        return 1.0
    whole = first <= since - year
    later, earlier = count(as_of - year), count(since - year if whole else since)
    if min(later, earlier) < least:
        return 1.0
    return later / earlier if whole else float(np.sqrt(later / earlier))


def _past(interactions: pl.LazyFrame, as_of: date, within: int) -> pl.LazyFrame:
    window = pl.col("on").is_between(as_of - timedelta(days=within), as_of, closed="left")
    return interactions.filter(window, pl.col("person_id").is_not_null())
