"""What people do after what: first-order transitions between events of a visit, and how visits begin."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import polars as pl
from scipy.special import ndtri

from customer360.pipelines.inference.proportions import design_effect, squares_of
from customer360.pipelines.rules import StandardizationRules
from customer360.pipelines.sessions import automated_of, with_sessions
from customer360.pipelines.streams import RUN, numbers, streams
from customer360.platform.graph import builds
from customer360.platform.tables import Float, Integer, String, Table

WINDOW_DAYS = 90
START, EXIT = "START", "EXIT"
PATH_STEPS, LEAST_SESSIONS, PATHS = 4, 20, 200  # of a path; that begin with it, to be told; kept, the most frequent
EVENTS = ("event_id", "subject_id", "occurred_at", "event_type", "tracker_session_id", "page_url", "set_apart")
CONFIDENCE = 0.95
FREE = pl.lit(1.0)  # design effect where each row is independent of the others


class EventTransitions(Table, table="gold.event_transitions", sort_by=("from_type", "to_type")):
    """One row per type of event and type that came next in the same visit, of the 90 days before as_of."""

    from_type = String(primary_key=True, description=f"{START}: the visit began with it")
    to_type = String(primary_key=True, description=f"{EXIT}: the visit ended after it")
    transition_count = Integer(description="Times that the one came next after the other")
    from_count = Integer(description="Transitions from the type, to whatever")
    session_count = Integer(description="Different visits with the transition")
    probability = Float(min=0, max=1, description="transition_count / from_count")
    probability_low = Float(
        min=0, max=1, description="Wilson's (1927) interval, 95 %, of steps that depend on the last alone"
    )
    probability_high = Float(min=0, max=1)


@builds(EventTransitions, rules="standardization", reads={"silver.events": EVENTS})
def event_transitions(silver_events: pl.LazyFrame, as_of: date, params: StandardizationRules) -> pl.LazyFrame:
    """Visits of humans that lie in the window as a whole or in part; repeats of one type are transitions, too."""
    rows, kind = _steps(silver_events, as_of, params), pl.col("event_type")
    came = pl.when("begins").then(pl.lit(START)).otherwise(kind.shift())
    steps = rows.select("visit", from_type=came, to_type=kind)
    ends = rows.filter(pl.col("begins").shift(-1).fill_null(True)).select("visit", from_type=kind, to_type=pl.lit(EXIT))
    counted = (
        pl.concat([steps, ends])
        .lazy()
        .group_by("from_type", "to_type")
        .agg(transition_count=pl.len().cast(pl.Int64), session_count=pl.col("visit").n_unique().cast(pl.Int64))
        .with_columns(from_count=pl.col("transition_count").sum().over("from_type"))
    )
    return _with_rate(counted, "transition_count", "from_count", "probability")


class EventPaths(Table, table="gold.event_paths", sort_by=("rank",)):
    """One row per frequent beginning of a visit, of the 90 days before as_of: its first four events of changing type,
    and how often a visit that begins so ends in a purchase."""

    rank = Integer(primary_key=True, min=1, description="1: the most visits")
    path = String(description=f"Types in their order, repeats told once, ended by {EXIT} where the visit ended before")
    session_count = Integer(description=f"Visits that began so, {LEAST_SESSIONS} at least")
    share = Float(min=0, max=1, description="Of all visits of the window")
    converted_session_count = Integer(description="Of these visits, with a purchase at any step")
    conversion_rate = Float(min=0, max=1, description="converted_session_count / session_count")
    conversion_rate_low = Float(
        min=0, max=1, description="Wilson's interval, 95 %, wider as visits of one visitor are alike"
    )
    conversion_rate_high = Float(min=0, max=1)


@builds(EventPaths, rules="standardization", reads={"silver.events": EVENTS})
def event_paths(silver_events: pl.LazyFrame, as_of: date, params: StandardizationRules) -> pl.LazyFrame:
    """The most frequent beginnings; rare ones are left out, as they name people."""
    rows, kind = _steps(silver_events, as_of, params), pl.col("event_type")
    number = pl.int_range(pl.len()) - pl.when("begins").then(pl.int_range(pl.len())).forward_fill()
    changes = rows.filter(pl.col("begins") | (kind != kind.shift())).filter(number < PATH_STEPS)
    bought = rows.filter(kind == "PURCHASE")["visit"].unique()
    visits = (
        changes.lazy()
        .group_by("visit", maintain_order=True)
        .agg(pl.col("subject_id").first(), steps="event_type")
        .with_columns(converts=pl.col("visit").is_in(bought.implode()))
    )
    whole = pl.concat_list("steps", pl.lit(EXIT)).list.head(PATH_STEPS)
    # Visits of one visitor are alike: whoever comes to buy buys again.
    visitors = visits.group_by("subject_id", path=whole.list.join(" > ")).agg(
        n=pl.len().cast(pl.Int64), a=pl.col("converts").sum().cast(pl.Int64)
    )
    counted = (
        visitors.group_by("path")
        .agg(
            session_count=pl.col("n").sum(),
            converted_session_count=pl.col("a").sum(),
            squares=squares_of(pl.col("a"), pl.col("n")),
        )
        .with_columns(share=pl.col("session_count") / pl.col("session_count").sum())
        .filter(pl.col("session_count") >= LEAST_SESSIONS)
        .sort(["session_count", "path"], descending=[True, False])
        .head(PATHS)
        .with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int64))
    )
    design = design_effect(pl.col("converted_session_count"), pl.col("session_count"), pl.col("squares"))
    rated = _with_rate(counted, "converted_session_count", "session_count", "conversion_rate", design)
    return rated.select(list(EventPaths.columns()))


def _steps(events: pl.LazyFrame, as_of: date, rules: StandardizationRules) -> pl.DataFrame:
    """Events of the window visit by visit, each in order, without visits that no human makes: subject_id (a number),
    ``visit`` (a number), whether the event ``begins`` it, event_type."""
    rows = _by_visit(streams(_seen(events, as_of, rules), "subject_id", "occurred_at", "event_id"))
    odd = automated_of(rows.lazy(), ["visit"], rules.traffic).collect()
    human = rows.filter(~pl.col("visit").is_in(odd["visit"].implode())) if odd.height else rows
    begins = (pl.col("visit") != pl.col("visit").shift()).fill_null(True)
    return human.select("visit", "event_type", subject_id=RUN, begins=begins)


def _seen(events: pl.LazyFrame, as_of: date, rules: StandardizationRules) -> pl.LazyFrame:
    """Events of the window that count, with their ``session_id`` and whether the tracker ``said`` it."""
    end = datetime.combine(as_of, time(), UTC)
    recent = events.select(EVENTS).filter(
        pl.col("occurred_at") >= end - timedelta(days=WINDOW_DAYS), pl.col("occurred_at") < end,
        pl.col("set_apart").is_null(),
    )  # fmt: skip
    by_tracker, columns = pl.col("tracker_session_id"), ("subject_id", "occurred_at", "event_id", "event_type")
    tracked = recent.filter(by_tracker.is_not_null()).select(*columns, session_id=by_tracker, said=True)
    # Few events name no visit: what else tells where one ends is read for them alone.
    untracked = with_sessions(recent.filter(by_tracker.is_null()), rules.traffic)
    return pl.concat([tracked, untracked.select(*columns, "session_id", said=False)])


def _by_visit(rows: pl.DataFrame) -> pl.DataFrame:
    """Streams of events visit by visit, with the number of each, ``visit``. An id of the tracker that reads as one of
    another visit is not that one's."""
    visit, begins = (RUN, "session_id", "said"), pl.lit(False)
    for name in visit:
        begins = begins | (pl.col(name) != pl.col(name).shift()).fill_null(True)
    parts = rows.with_columns(part=(begins.cum_sum() - 1).cast(pl.UInt32))
    heads = rows.filter(begins).with_row_index("visit")
    first = heads.with_columns(numbers(heads["session_id"])).select(pl.col("visit").min().over(visit)).to_series()
    told = parts.select(RUN, "occurred_at", "event_type", visit=first.gather(parts["part"]))
    # Visits of one subject at one time, over two devices, stand in each other.
    return told if told["visit"].is_sorted() else told.sort("visit", maintain_order=True)


def _with_rate(rows: pl.LazyFrame, hits: str, count: str, name: str, design: pl.Expr = FREE) -> pl.LazyFrame:
    """A share with the ends of its score interval, of so many times fewer free draws."""
    z = float(ndtri((1 + CONFIDENCE) / 2))
    n, share = pl.col(count) / design, pl.col(hits) / pl.col(count)
    centre, spread = share + z * z / (2 * n), z * (share * (1 - share) / n + z * z / (4 * n**2)).sqrt()
    low, high = ((end / (1 + z * z / n)).clip(0, 1) for end in (centre - spread, centre + spread))
    ends = pl.min_horizontal(low, share), pl.max_horizontal(high, share)  # rounding may pass a share of 0 or 1
    return rows.with_columns(share.alias(name), ends[0].alias(f"{name}_low"), ends[1].alias(f"{name}_high"))
