"""How often each value stands among the records: what is compared of them, and the counts and shares of its values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from customer360.models.identity.evidence.features import Features
from customer360.models.identity.spill import kept
from customer360.models.identity.threads import at_once
from customer360.models.identity.weighing.comparisons import NAMES, STANDARD, Comparison, borne, identifier


def comparisons_of(features: Features) -> list[Comparison]:
    """The comparisons for which the records hold any values."""
    compared = features.kind.comparisons if features.kind else STANDARD
    known = [*compared, *(identifier(column) for column in features.identifiers)]
    filled = {name for name in features.frame.columns if features.frame[name].null_count() < features.frame.height}
    return [comparison for comparison in known if filled & set(comparison.columns)]


def term_frequencies(features: Features, threads: int = 1) -> dict[str, pl.DataFrame]:
    """Per adjusted column the hashes and counts of its values, sorted by hash."""
    columns = sorted({level.exact_on for c in comparisons_of(features) for level in c.levels if level.exact_on})
    counts = at_once(lambda name: _counted(features.frame[name]), columns, threads)
    return dict(zip(columns, counts, strict=True))


def _counted(column: pl.Series) -> pl.DataFrame:
    codes, counts = np.unique(column.drop_nulls().hash(seed=0).to_numpy(), return_counts=True)
    return pl.DataFrame({"value": codes, "count": counts})


def with_shares(features: Features, counts: dict[str, pl.DataFrame]) -> Features:
    """The features with the shares of names, which say what is a misspelling of what. `counts`: of these records."""
    columns = []
    for name in NAMES:
        found = counts.get(name, pl.DataFrame(schema={"value": pl.UInt64, "count": pl.Int64}))
        shares = found.select("value", share=pl.col("count") / pl.col("count").sum())
        hashed = features.frame.select(value=pl.when(pl.col(name).is_not_null()).then(pl.col(name).hash(seed=0)))
        joined = hashed.join(shares, on="value", how="left", maintain_order="left")
        share = pl.col("share")
        columns += kept(joined.select(share.alias(f"tf_{name}"), share.alias(borne(name)))).get_columns()
    return replace(features, frame=features.frame.with_columns(columns))
