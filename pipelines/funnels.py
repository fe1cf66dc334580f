"""How far people get through the steps of a funnel: each start on its own, then the best of each person's.

From each first step the next step is looked for at the earliest moment possible, which gets at least as far as any
other choice; so the count equals that over all ways to choose touchpoints (`test_funnels` tries them).
"""

from __future__ import annotations

import polars as pl

from customer360.pipelines.rules.journey import Funnel
from customer360.pipelines.streams import RUN

UNIT, PLACE = "subject_id", "place"
LASTING = ("a:", "v:")  # a subject that is an account, or a cookie or device (`pipelines.subjects`)


def attempts(touchpoints: pl.DataFrame, funnel: Funnel) -> pl.DataFrame:
    """One row per start of a funnel, in order: `RUN`, started_at, the segments' columns of the start, ``depth`` (steps
    that were reached within the window), and ``at_0``, ``at_1``, …: when each step was (null: not reached).

    touchpoints: streams of subjects by sequence_number, with occurred_at, kind, action, channel, is_active, and the
    columns that ``funnel.by`` names. A touchpoint of the funnel's steps counts whether the person did it or not; for
    ``strict``, others count as between only if the person did them.
    """
    fits = {f"fits_{n}": s.matches() for n, s in enumerate(funnel.steps)}
    counts = [*fits, "is_active"] if funnel.order == "strict" else list(fits)
    rows = (
        touchpoints.lazy()
        .select(RUN, *funnel.by, "is_active", at="occurred_at", **fits)
        .filter(pl.any_horizontal(counts))
        .with_columns(pl.int_range(pl.len(), dtype=pl.UInt32).alias(PLACE))
        .collect()
    )
    return _any_order(rows, funnel) if funnel.order == "any" else _in_order(rows, funnel)


def is_followed() -> pl.Expr:
    """Whether a touchpoint is of a subject that can come again: a known person, or an account or visitor whom
    nobody knows. A receipt without an account, or a ticket of a stranger, is a subject of its own, which does nothing
    ever after.
    """
    return pl.col("person_id").is_not_null() | pl.any_horizontal(pl.col(UNIT).str.starts_with(kind) for kind in LASTING)


def _starts(rows: pl.DataFrame, is_start: pl.Expr, funnel: Funnel) -> pl.DataFrame:
    until = pl.col("at") + pl.duration(days=funnel.within_days)
    return rows.filter(is_start).select(RUN, PLACE, *funnel.by, started_at="at", until=until)


def _reached(found: pl.DataFrame, rows: pl.DataFrame, next_hit: pl.Expr) -> pl.DataFrame:
    """By start, the place and time of the hit that its place leads to, of the same subject within the window."""
    hit = rows.select(next_hit).to_series().gather(found[PLACE])
    led = pl.DataFrame({"hit": hit, "at": rows["at"].gather(hit), "of": rows[RUN].gather(hit)})
    own = ((led["of"] == found[RUN]) & (led["at"] <= found["until"])).fill_null(False)
    return led.select(pl.when(own).then(pl.col("hit")), pl.when(own).then(pl.col("at")))


def _in_order(rows: pl.DataFrame, funnel: Funnel) -> pl.DataFrame:
    """Step by step: the next touchpoint of the step (``strict``: the next of all), if it is in the window."""
    found = _starts(rows, pl.col("fits_0"), funnel).with_columns(at_0=pl.col("started_at"))
    for number in range(1, len(funnel.steps)):
        hits = pl.when(f"fits_{number}").then(PLACE)
        led = _reached(found, rows, (hits if funnel.order == "strict" else hits.backward_fill()).shift(-1))
        found = found.with_columns(led["hit"].alias(PLACE), led["at"].alias(f"at_{number}"))
    return _told(found, funnel)


def _any_order(rows: pl.DataFrame, funnel: Funnel) -> pl.DataFrame:
    """From each touchpoint of any step: how many different steps the window holds. A touchpoint that fits several steps
    is of the first of them."""
    rows = rows.with_columns(step=pl.coalesce(pl.when(f"fits_{n}").then(n) for n in range(len(funnel.steps))))
    found = _starts(rows, pl.col("step").is_not_null(), funnel)
    own = {
        f"own_{n}": _reached(found, rows, pl.when(pl.col("step") == n).then(PLACE).backward_fill())["at"]
        for n in range(len(funnel.steps))
    }
    times = found.select(pl.concat_list(own.values()).list.sort(nulls_last=True)).to_series()
    return _told(found.with_columns(times.list.get(n).alias(f"at_{n}") for n in range(len(funnel.steps))), funnel)


def _told(found: pl.DataFrame, funnel: Funnel) -> pl.DataFrame:
    times = [f"at_{n}" for n in range(len(funnel.steps))]
    depth = pl.sum_horizontal(pl.col(time).is_not_null().cast(pl.Int64) for time in times)
    return found.select(RUN, *funnel.by, "started_at", *times, depth=depth)
