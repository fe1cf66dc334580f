"""CUSTOMER_PREFERENCE_DATA: what loyalty members stated to the CRM, and what it inferred."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from customer360.pipelines.sample.catalog import CATEGORIES, brand_names
from customer360.pipelines.sample.streams import Streams
from customer360.pipelines.sample.tastes import Tastes

# share of members who say no
REFUSALS = {"EMAIL": 0.22, "SMS": 0.45, "PERSONALIZATION": 0.07}
INFERRED_SHARE = 0.8  # members with an inferred favourite category
BRAND_SHARE = 0.3  # members who name a favourite brand


def preferences(streams: Streams, members: pl.DataFrame, taste: Tastes, start_on: date) -> pl.DataFrame:
    """One row per stated or inferred preference of a CRM account; members: the CRM rows of the accounts.

    COMMUNICATION rows hold "EMAIL:NO", "SMS:YES", "PERSONALIZATION:NO" and the like, one of each topic for every
    member.
    """
    rng = streams.stream("preferences")
    count = len(members)
    day = members["registered"].to_numpy()
    parts = []
    for topic, refusal in REFUSALS.items():
        said = np.where(rng.random(count) < refusal, f"{topic}:NO", f"{topic}:YES")
        parts.append(_part(members, "COMMUNICATION", said, np.ones(count), "EXPLICIT", day))
    weight = taste.category[members["person"].to_numpy()]
    best = weight.argmax(axis=1)
    inferred = rng.random(count) < INFERRED_SHARE
    category = _part(
        members, "CATEGORY", np.array(CATEGORIES)[best], weight[np.arange(count), best].round(2), "INFERRED", day
    )
    parts.append(category.filter(pl.Series(inferred)))
    brand = brand_names()[best, taste.brand[members["person"].to_numpy(), best]]
    named = _part(members, "BRAND", brand, np.full(count, 0.6), "EXPLICIT", day)
    parts.append(named.filter(pl.Series(rng.random(count) < BRAND_SHARE)))
    rows = pl.concat(parts).sort("CUSTOMER_ID", "PREFERENCE_TYPE", "PREFERENCE_VALUE", maintain_order=True)
    return rows.select(
        PREFERENCE_ID=pl.format("PF{}", (pl.int_range(pl.len()) + 1).cast(pl.String).str.zfill(8)),
        CUSTOMER_ID="CUSTOMER_ID",
        PREFERENCE_TYPE="PREFERENCE_TYPE",
        PREFERENCE_VALUE="PREFERENCE_VALUE",
        PREFERENCE_STRENGTH=pl.col("strength").cast(pl.Decimal(3, 2)),
        PREFERENCE_SOURCE="PREFERENCE_SOURCE",
        PREFERENCE_DATE=pl.lit(start_on) + pl.duration(days="day"),
        PREFERENCE_STATUS=pl.lit("ACTIVE"),
    )


def _part(
    members: pl.DataFrame, kind: str, value: np.ndarray, strength: np.ndarray, source: str, day: np.ndarray
) -> pl.DataFrame:
    return members.select(
        CUSTOMER_ID="customer_id",
        PREFERENCE_TYPE=pl.lit(kind),
        PREFERENCE_VALUE=pl.Series(value.astype(str)),
        strength=pl.Series(strength),
        PREFERENCE_SOURCE=pl.lit(source),
        day=pl.Series(day),
    )
