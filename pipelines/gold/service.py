"""How support does: tickets as they stood at a date, by month, and who does better or worse than the others."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import partial

import numpy as np
import polars as pl

from customer360.pipelines.inference import sums
from customer360.pipelines.inference.comparisons import holm, shrunk, t_interval, t_p_value
from customer360.pipelines.inference.estimates import mean_interval
from customer360.pipelines.inference.proportions import wilson
from customer360.pipelines.inference.verdicts import BETTER, MEASURED, NO_DIFFERENCE_SHOWN, NOT_ENOUGH_EVIDENCE, WORSE
from customer360.pipelines.rules.service import ServiceRules
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Float, Integer, OneOf, String, Table, Timestamp, schema

KEY = ["ticket_id", "source_system"]
ALL = "ALL"
UNKNOWN = "UNKNOWN"
CONFIDENCE = 0.95


class TicketOutcomes(
    Table,
    table="gold.ticket_outcomes",
    partition_by=("as_of",),
    sort_by=("created_at", "ticket_id"),
    bucketed=False,
    serves="OPERATION",
):
    """One row per ticket of the rule file's window and as_of date: how it stood, and how it went."""

    ticket_id = String(primary_key=True)
    source_system = String(primary_key=True)
    as_of = Date(primary_key=True)
    person_id = String(nullable=True)
    created_at = Timestamp(description="When the ticket was opened")
    created_on = Date(description="Day of it, UTC")
    queue = String(description="Of the rule file, whose clocks run")
    agent_id = String(nullable=True, description="Agent, by the id of its system; null: nobody is named")
    channel = String(nullable=True, description="Where the ticket came from, as delivered")
    category = String(nullable=True, description="As delivered, else as read from the words of its contacts")
    is_solved = Boolean(description="Resolved before as_of")
    solved_at = Timestamp(nullable=True, description="Null: not before as_of")
    response_minutes = Integer(nullable=True, description="Open minutes to the first answer")
    resolution_minutes = Integer(nullable=True, description="Open minutes to the resolution, without waits")
    is_response_late = Boolean(
        nullable=True,
        description="Null: not answered and not due yet, or no longer open; or no ticket of its system says when it was"
        " answered",
    )
    is_resolution_late = Boolean(
        nullable=True, description="Null: not due yet, the customer is waited for, or closed without a date"
    )
    contact_count = Integer(description="Up to the resolution, of those delivered")
    was_escalated = Boolean(nullable=True, description="Null: no contact of it was delivered")
    is_reopened = Boolean(nullable=True, description="Null: not solved for reopen_days yet, and not reopened")
    is_first_contact_resolution = Boolean(
        nullable=True,
        description="Solved with one contact and not reopened; null: cannot be told yet, or no contact up to its"
        " resolution was delivered",
    )
    satisfaction = Integer(nullable=True, description="1 to 5, of a solved ticket")
    text_sentiment = Float(nullable=True, description="Mean of its contacts' words")


@builds(
    TicketOutcomes,
    rules="service",
    reads={
        "silver.service_contacts": (
            *KEY, "interaction_id", "occurred_on", "occurred_at", "escalation_level", "text_sentiment",
        ),
    },
)  # fmt: skip
def ticket_outcomes(
    silver_service_tickets: pl.LazyFrame,
    silver_ticket_clocks: pl.LazyFrame,
    silver_ticket_chains: pl.LazyFrame,
    silver_service_contacts: pl.LazyFrame,
    silver_contact_categories: pl.LazyFrame,
    as_of: date,
    params: ServiceRules,
) -> pl.LazyFrame:
    """Nothing of ``as_of`` or later is known. Not split by ticket: whether a system says when it answers is asked of
    all of its tickets."""
    cut, start = _midnight(as_of), _midnight(as_of - timedelta(days=params.window_days))
    tickets = silver_service_tickets.filter(pl.col("created_at").is_between(start, cut, closed="left"))
    contacts = silver_service_contacts.filter(pl.col("ticket_id").is_not_null(), pl.col("occurred_at") < cut)
    read = silver_contact_categories.select("interaction_id", "source_system", "category_read")
    told = (
        contacts.join(read, on=["interaction_id", "source_system"], how="left")
        .group_by(KEY)
        .agg(
            was_escalated=(pl.col("escalation_level") > 0).any(),
            text_sentiment=sums.mean(pl.col("text_sentiment")).round(6),
            category_read=pl.col("category_read").sort_by("occurred_at", "interaction_id").drop_nulls().first(),
            contacts_so_far=pl.len().cast(pl.Int64),
        )
    )
    back = silver_ticket_chains.filter(pl.col("reopened_at") < cut).select(*KEY, "reopened_at")
    clocks = silver_ticket_clocks.rename({"resolution_minutes": "open_minutes"})
    solved = (pl.col("resolved_at") < cut).fill_null(False)
    answered = (pl.col("responded_at") < cut).fill_null(False)
    stands_open = pl.when(pl.col("resolved_at").is_null()).then("is_open").otherwise(~pl.col("is_solved"))
    is_told = answered.any().over("source_system")  # whether the system says at all when tickets are answered
    is_ripe = pl.col("resolved_at") + pl.duration(days=params.reopen_days) < cut
    contacted = (pl.col("recontacted_at") < cut) & (
        pl.col("recontacted_at") - pl.col("resolved_at") <= pl.duration(days=params.reopen_days)
    )
    came_back = pl.col("reopened_at").is_not_null() | contacted.fill_null(False)
    return (
        tickets.join(clocks, on=KEY)
        .join(told, on=KEY, how="left")
        .join(back, on=KEY, how="left")
        .with_columns(is_solved=solved, came_back=came_back & solved, is_ripe=(is_ripe & solved).fill_null(False))
        .with_columns(
            is_reopened=pl.when(pl.col("came_back") | pl.col("is_ripe")).then("came_back"),
            contact_count=pl.when("is_solved").then("contact_count").otherwise(pl.col("contacts_so_far").fill_null(0)),
        )
        .select(
            *KEY,
            "person_id",
            "created_at",
            "queue",
            "agent_id",
            "is_solved",
            "contact_count",
            "is_reopened",
            "text_sentiment",
            as_of=pl.lit(as_of),
            created_on=pl.col("created_at").dt.date(),
            channel="origin",
            category=pl.coalesce("category", "category_read"),
            solved_at=pl.when("is_solved").then("resolved_at"),
            response_minutes=pl.when(answered).then("response_minutes"),
            resolution_minutes=pl.when("is_solved").then("open_minutes"),
            is_response_late=_late("responded_at", "response_due_at", answered, stands_open & is_told, cut),
            is_resolution_late=_late("resolved_at", "resolution_due_at", pl.col("is_solved"), stands_open, cut),
            was_escalated="was_escalated",
            is_first_contact_resolution=pl.when(pl.col("is_reopened").is_not_null(), pl.col("contact_count") > 0).then(
                (pl.col("contact_count") == 1) & ~pl.col("is_reopened")
            ),
            satisfaction=pl.when("is_solved").then("satisfaction"),
        )
    )


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _late(done_at: str, due_at: str, is_done: pl.Expr, is_awaited: pl.Expr, cut: datetime) -> pl.Expr:
    """Whether a clock ran out: done after it was due, or due and not done where it can be told that it is not."""
    due, is_overdue = pl.col(due_at), (pl.col(due_at) < cut) & is_awaited
    return pl.when(is_done).then((pl.col(done_at) > due).fill_null(False)).when(is_overdue).then(pl.lit(True))


DIMENSIONS = {ALL: None, "CATEGORY": "category", "CHANNEL": "channel", "QUEUE": "queue"}
FLAGS = {"response_late": "is_response_late", "resolution_late": "is_resolution_late", "reopened": "is_reopened",
         "first_contact": "is_first_contact_resolution"}  # fmt: skip
SHARES = {"response_late": "late answers", "resolution_late": "late resolutions", "reopened": "reopened tickets",
          "first_contact": "resolutions at the first contact"}  # fmt: skip


class ServiceMonths(
    Table, table="gold.service_months", partition_by=("as_of",), sort_by=("month", "dimension", "value")
):
    """One row per month of creation, dimension and value of it, and as_of date: tickets, clocks, and orders beside.

    Each rate has the tickets that it is of: those of which it can be told at the date. Of fewer than least_tickets
    (rule file), and of fewer ratings, there are counts and no rate or mean.
    """

    as_of = Date(primary_key=True)
    month = Date(primary_key=True, description="First day; the last may not be over")
    dimension = OneOf(*DIMENSIONS, primary_key=True, description="What value is of")
    value = String(primary_key=True, description=f"{UNKNOWN}: the tickets do not say; {ALL}: all tickets")
    ticket_count = Integer(description="Tickets that were created in the month")
    solved_count = Integer(description="Of these, solved before as_of")
    contact_count = Integer(description="About these tickets")
    order_count = Integer(description="Completed orders of the whole shop in the month")
    tickets_per_1000_orders = Float(nullable=True, description="Contact load; null: no order")
    tickets_per_1000_orders_low = Float(nullable=True, description="Of the exact 95 % interval of a Poisson count")
    tickets_per_1000_orders_high = Float(nullable=True)
    response_late_count = Integer(description="First answered after it was due, or overdue")
    response_late_of = Integer(description="Tickets of which that can be told")
    response_late_rate = Float(nullable=True, description="Late answers; null below least_tickets, as all rates")
    response_late_low = Float(nullable=True, description="Wilson's 95 % interval")
    response_late_high = Float(nullable=True)
    resolution_late_count = Integer(description="Solved after it was due, or overdue")
    resolution_late_of = Integer(description="Tickets of which that can be told")
    resolution_late_rate = Float(nullable=True, description="Late resolutions")
    resolution_late_low = Float(nullable=True)
    resolution_late_high = Float(nullable=True)
    reopened_count = Integer(description="Opened again after they were solved")
    reopened_of = Integer(description="Tickets of which that can be told")
    reopened_rate = Float(nullable=True, description="reopened_count / reopened_of")
    reopened_low = Float(nullable=True)
    reopened_high = Float(nullable=True)
    first_contact_count = Integer(description="Solved with one contact and not reopened")
    first_contact_of = Integer(description="Tickets of which that can be told")
    first_contact_rate = Float(nullable=True, description="First-contact resolution")
    first_contact_low = Float(nullable=True)
    first_contact_high = Float(nullable=True)
    mean_satisfaction = Float(nullable=True, description="Null, as its interval, of fewer than least_tickets ratings")
    satisfaction_low = Float(nullable=True, description="95 % interval (Student), within 1 to 5")
    satisfaction_high = Float(nullable=True, description="See satisfaction_low")
    satisfaction_count = Integer(description="Ratings that the mean is of")
    status = OneOf(
        MEASURED, NOT_ENOUGH_EVIDENCE,
        description=f"{NOT_ENOUGH_EVIDENCE}: fewer than least_tickets tickets, nothing but counts and the load is told",
    )  # fmt: skip


@builds(ServiceMonths, rules="service", reads={"silver.subject_days": ("on", "order_count")})
def service_months(
    gold_ticket_outcomes: pl.LazyFrame, silver_subject_days: pl.LazyFrame, as_of: date, params: ServiceRules
) -> pl.LazyFrame:
    """Months by creation of the ticket."""
    tickets = gold_ticket_outcomes.with_columns(month=pl.col("created_on").dt.truncate("1mo"))
    orders = (
        silver_subject_days.filter(pl.col("on") < as_of)
        .group_by(month=pl.col("on").dt.truncate("1mo"))
        .agg(order_count=pl.col("order_count").sum())
    )
    counts = {f"{name}_{kind}": expression for name, flag in FLAGS.items()
              for kind, expression in (("count", pl.col(flag).sum()), ("of", pl.col(flag).count()))}  # fmt: skip
    parts = [
        tickets.with_columns(
            dimension=pl.lit(name), value=pl.col(column).fill_null(UNKNOWN) if column else pl.lit(ALL)
        )
        .group_by("month", "dimension", "value")
        .agg(
            **{name: expression.cast(pl.Int64) for name, expression in counts.items()},
            ticket_count=pl.len().cast(pl.Int64),
            solved_count=pl.col("is_solved").sum().cast(pl.Int64),
            contact_count=pl.col("contact_count").sum(),
            mean_satisfaction=sums.mean(pl.col("satisfaction")),
            deviation=sums.deviation(pl.col("satisfaction").cast(pl.Float64)),
            satisfaction_count=pl.col("satisfaction").count().cast(pl.Int64),
        )
        for name, column in DIMENSIONS.items()
    ]  # fmt: skip
    rows = pl.concat(parts).join(orders, on="month", how="left").with_columns(pl.col("order_count").fill_null(0))
    is_measured = pl.when(pl.col("ticket_count") >= params.least_tickets)
    return rows.with_columns(
        **_load(),
        **_rates(params.least_tickets),
        as_of=pl.lit(as_of),
        status=is_measured.then(pl.lit(MEASURED)).otherwise(pl.lit(NOT_ENOUGH_EVIDENCE)),
    ).select(list(ServiceMonths.columns()))


def _rates(least: int) -> dict[str, pl.Expr]:
    """Shares and the mean rating with their intervals, where there are enough."""
    rated, mean = pl.col("satisfaction_count"), pl.col("mean_satisfaction")
    low, high = mean_interval(mean, pl.col("deviation"), rated)
    told = {"mean_satisfaction": mean, "satisfaction_low": low.clip(1, 5), "satisfaction_high": high.clip(1, 5)}
    found: dict[str, pl.Expr] = {name: pl.when(rated >= least).then(value) for name, value in told.items()}
    for name in FLAGS:
        hits, count = pl.col(f"{name}_count"), pl.col(f"{name}_of")
        low, high = wilson(hits, count, CONFIDENCE)
        for end, value in (("rate", hits / count), ("low", low), ("high", high)):
            found[f"{name}_{end}"] = pl.when(count >= least).then(value)
    return found


def _load() -> dict[str, pl.Expr]:
    """Tickets a thousand orders, with the exact interval of a Poisson count (Garwood 1936)."""

    def scaled(tickets: pl.Expr) -> pl.Expr:
        return pl.when(pl.col("order_count") > 0).then(1000 * tickets / pl.col("order_count"))

    count, name = pl.col("ticket_count"), "tickets_per_1000_orders"
    low, high = (count.map_batches(partial(_poisson_end, upper=u), return_dtype=pl.Float64) for u in (False, True))
    return {name: scaled(count), f"{name}_low": scaled(low), f"{name}_high": scaled(high)}


def _poisson_end(counts: pl.Series, upper: bool) -> pl.Series:
    from scipy.special import gammaincinv

    n = counts.cast(pl.Float64).to_numpy()
    ends = gammaincinv(n + 1, 0.975) if upper else np.where(n > 0, gammaincinv(np.maximum(n, 1), 0.025), 0.0)
    return pl.Series(counts.name, ends)


GROUPS = {"AGENT": "agent_id", "CHANNEL": "channel", "CATEGORY": "category"}
MEASURES = {"SATISFACTION": "satisfaction", "FIRST_CONTACT_RESOLUTION": "is_first_contact_resolution",
            "REOPENED": "is_reopened", "RESOLUTION_LATE": "is_resolution_late"}  # fmt: skip
GOOD_IS_HIGH = ("SATISFACTION", "FIRST_CONTACT_RESOLUTION")
VERDICTS = (BETTER, WORSE, NO_DIFFERENCE_SHOWN, NOT_ENOUGH_EVIDENCE)


class ServiceQuality(
    Table, table="gold.service_quality", partition_by=("as_of",), sort_by=("dimension", "measure", "value")
):
    """One row per agent, channel or category, measure and as_of date: how it does beside the others of its kind.

    Agents are compared within categories: what their tickets' categories explain is taken out first. ``estimate`` is
    the mean after that, shrunk to the common one by as much as chance explains; order agents by it, not by the mean.
    """

    as_of = Date(primary_key=True)
    dimension = OneOf(*GROUPS, primary_key=True, description="What value is of")
    measure = OneOf(*MEASURES, primary_key=True, description="Satisfaction is 1 to 5, the others are shares")
    value = String(primary_key=True, description="The agent, channel or category")
    ticket_count = Integer(description="Of which the measure can be told")
    mean = Float(description="Of its own tickets, as they are")
    expected = Float(description="Mean of all tickets; for agents of the categories of their tickets")
    estimate = Float(description="Adjusted and shrunk (empirical Bayes)")
    estimate_low = Float(description="95 % interval of the estimate, within what the measure can be")
    estimate_high = Float()
    difference = Float(nullable=True, description="Adjusted mean against that of the others")
    difference_low = Float(nullable=True, description="95 % interval, for this row alone")
    difference_high = Float(nullable=True)
    p_value = Float(nullable=True, description="Adjusted for all rows of its dimension and measure (Holm)")
    verdict = OneOf(
        *VERDICTS,
        description=f"Of the difference at the rule file's level; {NOT_ENOUGH_EVIDENCE}: fewer than least_tickets, or"
        " no others",
    )


@builds(ServiceQuality, rules="service")
def service_quality(gold_ticket_outcomes: pl.LazyFrame, as_of: date, params: ServiceRules) -> pl.LazyFrame:
    """Every dimension by every measure."""
    columns = {*GROUPS.values(), *MEASURES.values()}
    tickets = gold_ticket_outcomes.select(*sorted(columns)).collect()
    parts = [
        _compared(tickets, dimension, measure, params)
        for dimension in GROUPS for measure in MEASURES
    ]  # fmt: skip
    kinds = {c: t for c, t in schema(ServiceQuality).items() if c != "as_of"}
    rows = pl.concat([pl.DataFrame(schema=kinds), *(p.select(list(kinds)) for p in parts if len(p))])
    return rows.lazy().with_columns(as_of=pl.lit(as_of)).select(list(ServiceQuality.columns()))


def _compared(tickets: pl.DataFrame, dimension: str, measure: str, rules: ServiceRules) -> pl.DataFrame:
    """Rows of one dimension and measure, without as_of."""
    group, value = GROUPS[dimension], pl.col(MEASURES[measure]).cast(pl.Float64)
    known = tickets.filter(pl.col(group).is_not_null(), value.is_not_null()).select(
        name=pl.col(group), value=value, cell=pl.col("category").fill_null(UNKNOWN)
    )
    if known.is_empty():
        return pl.DataFrame()
    every = sums.mean(pl.col("value"))
    cell = every.over("cell") if dimension == "AGENT" else every
    known = known.with_columns(expected=cell).with_columns(adjusted=pl.col("value") - pl.col("expected") + every)
    groups = known.group_by("name").agg(
        n=pl.len(), mean=every, expected=sums.mean(pl.col("expected")), own=sums.mean(pl.col("adjusted")),
        squares=sums.total((pl.col("adjusted") - sums.mean(pl.col("adjusted"))) ** 2),
    ).sort("name")  # fmt: skip
    return _judged(groups, known["adjusted"].sort().to_numpy(), measure, rules).with_columns(
        dimension=pl.lit(dimension), measure=pl.lit(measure)
    )


def _judged(groups: pl.DataFrame, values: np.ndarray, measure: str, rules: ServiceRules) -> pl.DataFrame:
    n, own, squares = (groups[c].cast(pl.Float64).to_numpy() for c in ("n", "own", "squares"))
    total = len(values)
    pooled = max(squares.sum() / max(total - len(n), 1), 1e-12)
    estimate, error = shrunk(own, pooled / n)
    least, most = (1.0, 5.0) if measure == "SATISFACTION" else (0.0, 1.0)
    estimate_low, estimate_high = (np.clip(estimate + end * error, least, most) for end in (-1.96, 1.96))
    rest = total - n
    others = (values.sum() - n * own) / np.maximum(rest, 1)
    rest_squares = ((values - values.mean()) ** 2).sum() - squares - n * (own - values.mean()) ** 2
    rest_squares -= rest * (others - values.mean()) ** 2
    a = np.maximum(squares / np.maximum(n - 1, 1), pooled) / n  # few tickets may look alike by chance
    b = np.maximum(rest_squares, 0) / np.maximum(rest - 1, 1) / np.maximum(rest, 1)
    freedom = (a + b) ** 2 / np.maximum(a**2 / np.maximum(n - 1, 1) + b**2 / np.maximum(rest - 1, 1), 1e-300)
    wide = np.sqrt(np.maximum(a + b, pooled * 1e-6))
    enough = (n >= rules.least_tickets) & (rest >= rules.least_tickets)
    difference = own - others
    p = holm(np.where(enough, t_p_value(difference, wide, freedom), np.nan))
    low, high = t_interval(difference, wide, freedom)
    is_good = (difference > 0) == (measure in GOOD_IS_HIGH)
    verdict = np.where(
        ~enough, NOT_ENOUGH_EVIDENCE, np.where(p < rules.level, np.where(is_good, BETTER, WORSE), NO_DIFFERENCE_SHOWN)
    )
    shown = {"difference": difference, "difference_low": low, "difference_high": high, "p_value": p}
    return groups.select(
        "mean", "expected", value="name", ticket_count=pl.col("n").cast(pl.Int64),
        estimate=pl.Series(np.clip(estimate, least, most)), estimate_low=pl.Series(estimate_low),
        estimate_high=pl.Series(estimate_high), verdict=pl.Series(verdict, dtype=pl.String),
        **{name: pl.when(pl.Series(enough)).then(pl.Series(column)) for name, column in shown.items()},
    )  # fmt: skip
