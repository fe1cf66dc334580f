"""How far people get through the steps of a funnel: each start on its own, then the best of each person's.

From each first step the next step is looked for at the earliest moment possible, which gets at least as far as any
other choice; so the count equals that over all ways to choose touchpoints (`test_funnels` tries them).
"""

from __future__ import annotations

import polars as pl

from customer360.pipelines.rules.journey import Funnel

UNIT, PLACE = "subject_id", "place"
LASTING = r"^[av]:"  # a subject that is an account, a cookie or a device (`pipelines.subjects`)
NEVER = 2**62  # a place that no touchpoint has


def attempts(touchpoints: pl.LazyFrame, funnel: Funnel) -> pl.LazyFrame:
    """One row per start of a funnel: subject_id, started_at, the segments' columns of the start, ``depth`` (steps that
    were reached within the window), and ``reached_at`` of each step (a list; null for what was not reached).

    touchpoints: subject_id, sequence_number, occurred_at, kind, action, channel, is_active, and the columns that
    ``funnel.by`` names. A touchpoint of the funnel's steps counts whether the person did it or not; for ``strict``,
    others count as between only if the person did them.
    """
    step = pl.coalesce(*(pl.when(s.matches()).then(n) for n, s in enumerate(funnel.steps)), pl.lit(None, pl.Int64))
    fits = {f"fits_{n}": s.matches() for n, s in enumerate(funnel.steps)}
    rows = (
        touchpoints.with_columns(**fits, step=step)
        .filter(pl.col("step").is_not_null() | (pl.col("is_active") if funnel.order == "strict" else False))
        .sort(UNIT, "sequence_number")
        .with_columns(pl.int_range(pl.len(), dtype=pl.Int64).over(UNIT).alias(PLACE))
    )
    return _any_order(rows, funnel) if funnel.order == "any" else _in_order(rows, funnel)


def is_followed() -> pl.Expr:
    """Whether a touchpoint is of a subject that can come again: a known person, or an account or visitor whom
    nobody knows. A receipt without an account, or a ticket of a stranger, is a subject of its own, which does nothing
    ever after.
    """
    return pl.col("person_id").is_not_null() | pl.col(UNIT).str.contains(LASTING)


def _starts(rows: pl.LazyFrame, is_start: pl.Expr, funnel: Funnel) -> pl.LazyFrame:
    return rows.filter(is_start).select(UNIT, PLACE, *funnel.by, started_at="occurred_at")


def _in_order(rows: pl.LazyFrame, funnel: Funnel) -> pl.LazyFrame:
    """Step by step: the next touchpoint of the step (``strict``: the next of all), if it is in the window."""
    until = pl.col("started_at") + pl.duration(days=funnel.within_days)
    found = _starts(rows, pl.col("fits_0"), funnel).with_columns(at_0=pl.col("started_at"))
    for number in range(1, len(funnel.steps)):
        hits = rows.filter(f"fits_{number}").select(UNIT, hit=PLACE, at="occurred_at")
        if funnel.order == "strict":
            found = found.with_columns(hit=pl.col(PLACE) + 1).join(hits, on=[UNIT, "hit"], how="left")
        else:
            found = found.with_columns(wanted=(pl.col(PLACE) + 1).fill_null(NEVER)).sort("wanted").join_asof(
                hits.sort("hit"), left_on="wanted", right_on="hit", by=UNIT, strategy="forward", check_sortedness=False
            ).drop("wanted")  # fmt: skip
        in_time = (pl.col("at") <= until).fill_null(False)
        found = found.with_columns(
            pl.when(in_time).then("at").alias(f"at_{number}"), pl.when(in_time).then("hit").alias(PLACE)
        ).drop("hit", "at")
    return _told(found, funnel)


def _any_order(rows: pl.LazyFrame, funnel: Funnel) -> pl.LazyFrame:
    """From each touchpoint of any step: how many different steps the window holds. A touchpoint that fits several steps
    is of the first of them."""
    found = _starts(rows, pl.col("step").is_not_null(), funnel)
    until = pl.col("started_at") + pl.duration(days=funnel.within_days)
    names = []
    for number in range(len(funnel.steps)):
        hits = rows.filter(pl.col("step") == number).select(UNIT, hit=PLACE, at="occurred_at").sort("hit")
        found = found.sort(PLACE).join_asof(
            hits, left_on=PLACE, right_on="hit", by=UNIT, strategy="forward", check_sortedness=False
        )
        names.append(f"own_{number}")
        found = found.with_columns(pl.when(pl.col("at") <= until).then("at").alias(names[-1])).drop("hit", "at")
    reached = pl.concat_list(names).list.sort(nulls_last=True)
    found = found.with_columns(reached_at=reached)
    numbered = {f"at_{n}": pl.col("reached_at").list.get(n) for n in range(len(funnel.steps))}
    return _told(found.with_columns(**numbered).drop(*names, "reached_at"), funnel)


def _told(found: pl.LazyFrame, funnel: Funnel) -> pl.LazyFrame:
    times = [f"at_{n}" for n in range(len(funnel.steps))]
    depth = pl.sum_horizontal(pl.col(time).is_not_null().cast(pl.Int64) for time in times)
    return found.select(UNIT, *funnel.by, "started_at", depth=depth, reached_at=pl.concat_list(times))
