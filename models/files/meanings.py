"""Rows of an interaction file that are no purchase: views beside orders, ratings of what was not liked. All count
alike, so the file is asked for the rows that are meant.
"""

from __future__ import annotations

import polars as pl

from customer360.models.files import reading

KINDS = ("event", "eventtype", "eventname", "action", "activity", "behavior", "behaviour", "behaviortype",
         "interaction", "interactiontype", "type")  # fmt: skip
SEEN = ("view", "pv", "click", "impression", "cart", "fav", "wish", "search", "detail", "remove")  # parts of words
RATINGS = ("rating", "ratings", "stars", "starrating", "overall", "score")
MOST_KINDS = 20  # different values; more are no kinds
NAMED = 4


def told(frame: pl.DataFrame) -> list[str]:
    """A line for a column of kinds of events, and one for a column of ratings, that say that rows are not alike."""
    found = [(name, reading.plain(name), frame[name].drop_nulls()) for name in frame.columns]
    notes = [_kinds(name, values) for name, plain, values in found if plain in KINDS]
    notes += [_ratings(name, values) for name, plain, values in found if plain in RATINGS]
    return [note for note in notes if note]


def _kinds(name: str, values: pl.Series) -> str:
    counts = values.cast(pl.String).str.to_lowercase().value_counts(sort=True, name="rows")
    kind = counts.columns[0]
    seen = counts.filter(pl.col(kind).str.contains_any(list(SEEN)))
    if not 1 < counts.height <= MOST_KINDS or seen.is_empty() or seen.height == counts.height:
        return ""
    shown = ", ".join(f"{row[kind]} ({row['rows']:,})" for row in counts.head(NAMED).iter_rows(named=True))
    bought = counts.join(seen, on=kind, how="anti")[kind][0]
    return (
        f"warning: column {name} tells kinds of rows apart: {shown}; here all count alike. Where lists are to hold "
        f"what is bought, give the rows of {bought!r} alone"
    )


def _ratings(name: str, values: pl.Series) -> str:
    numbers = values.cast(pl.String).str.strip_chars().cast(pl.Float64, strict=False).drop_nulls()
    if len(numbers) < len(values) or not 1 < numbers.n_unique() <= MOST_KINDS:
        return ""
    low, high = float(numbers.min()), float(numbers.max())  # type: ignore[arg-type]
    poor = int((numbers < (low + high) / 2).sum())
    if low < 0 or not poor:
        return ""
    return (
        f"warning: column {name} holds ratings from {low:g} to {high:g}, and the {poor:,} rows below the middle count "
        "as liked like all others; leave out the rows of what was not liked"
    )
