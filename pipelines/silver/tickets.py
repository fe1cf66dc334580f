"""Clocks of tickets in the hours that their desk works, and which tickets are one matter that came back."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import polars as pl

from customer360.pipelines.business_hours import MINUTE_US, Hours, hours_between
from customer360.pipelines.rules.service import Queue, ServiceRules
from customer360.pipelines.vocabulary import Activity
from customer360.platform.graph import builds
from customer360.platform.tables import Integer, String, Table, Timestamp

ACTIVITY: Activity = "validation"
KEY = ["ticket_id", "source_system"]
FOREVER = int(datetime(2200, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
MOMENT = pl.Datetime("us", "UTC")


class TicketClocks(Table, table="silver.ticket_clocks", per="ticket_id", sort_by=("ticket_id",)):
    """One row per ticket: its two clocks in open minutes of its queue, by which moment they run out, its contacts.

    The clock of the resolution stands still from a contact after which the customer is waited for (rule file
    `service`) to the next contact, and what is left of an open minute counts as none.
    """

    ticket_id = String(primary_key=True)
    source_system = String(primary_key=True)
    queue = String(description="Of the rule file")
    responded_at = Timestamp(nullable=True, description="First answer, by the reported minutes")
    response_target_minutes = Integer()
    response_minutes = Integer(nullable=True, description="Open minutes; null: not answered")
    response_due_at = Timestamp(nullable=True)
    resolution_target_minutes = Integer()
    resolution_minutes = Integer(nullable=True, description="Open minutes without those waited for the customer")
    waited_minutes = Integer(description="Open minutes that the customer was waited for, as far as they are over")
    resolution_due_at = Timestamp(
        nullable=True, description="Null while the customer is waited for and the clock has not run out before"
    )
    contact_count = Integer(description="Contacts up to the resolution, or all of an open ticket")
    recontacted_at = Timestamp(nullable=True, description="First contact after the resolution")


@builds(
    TicketClocks,
    rules="service",
    reads={
        "silver.service_tickets": (*KEY, "created_at", "resolved_at", "priority", "category", "origin",
                                   "first_response_minutes"),
        "silver.service_contacts": (*KEY, "occurred_at", "outcome"),
    },
)  # fmt: skip
def ticket_clocks(
    silver_service_tickets: pl.LazyFrame, silver_service_contacts: pl.LazyFrame, params: ServiceRules
) -> pl.LazyFrame:
    """Clocks of every ticket, queue by queue."""
    rows = _with_contacts(silver_service_tickets, silver_service_contacts, params)
    responded = pl.col("created_at") + pl.duration(minutes="first_response_minutes")
    tickets = (
        rows.with_columns(
            queue=_queue(params.queues),
            responded_at=responded,
            priority=pl.when(pl.col("priority").is_in(list(params.targets)))
            .then("priority")
            .otherwise(pl.lit(params.priority_if_unknown)),
        )
        .with_columns(
            response_target_minutes=_target(params, "first_response_minutes"),
            resolution_target_minutes=_target(params, "resolution_minutes"),
        )
        .collect()
    )
    calendars = {queue.name: params.calendars[queue.calendar] for queue in params.queues}
    parts = []
    for (name,), part in tickets.partition_by("queue", as_dict=True).items():
        last = part.select(pl.max_horizontal("created_at", "responded_at", "resolved_at", _last_wait()).max()).item()
        hours = hours_between(calendars[str(name)], _us(part["created_at"]).min(), _us(pl.Series([last]))[0])
        parts.append(_clocks(part, hours))
    return (pl.concat(parts) if parts else _clocks(tickets, None)).lazy().select(list(TicketClocks.columns()))


def _last_wait() -> pl.Expr:
    """The last moment of a ticket's waits: hours that other tickets reach to must not decide how long they were."""
    wait = pl.element().struct
    return pl.col("waits").list.eval(pl.max_horizontal(wait.field("begin"), wait.field("end"))).list.max()


def _queue(queues: list[Queue]) -> pl.Expr:
    """The first queue that takes a ticket."""
    named = {"source_system": "systems", "category": "categories", "origin": "origins", "priority": "priorities"}
    takes = [
        pl.when(
            pl.all_horizontal(
                pl.col(column).is_in(wanted).fill_null(False) if (wanted := getattr(queue, words)) else pl.lit(True)
                for column, words in named.items()
            )
        ).then(pl.lit(queue.name))
        for queue in queues
    ]
    return pl.coalesce(takes)


def _target(rules: ServiceRules, clock: str) -> pl.Expr:
    minutes = {priority: getattr(target, clock) for priority, target in rules.targets.items()}
    return pl.col("priority").replace_strict(minutes, return_dtype=pl.Int64)


def _with_contacts(tickets: pl.LazyFrame, contacts: pl.LazyFrame, rules: ServiceRules) -> pl.LazyFrame:
    """Tickets with their contacts up to the resolution counted, the first one after it, and when the customer was
    waited for: ``waits``, a list of (begin, end) in order, the last one open where nothing followed."""
    dated = contacts.filter(pl.col("ticket_id").is_not_null()).join(
        tickets.select(*KEY, "created_at", "resolved_at"), on=KEY
    )
    before = pl.col("resolved_at").is_null() | (pl.col("occurred_at") <= pl.col("resolved_at"))
    following = pl.col("occurred_at").sort_by("occurred_at", "outcome").shift(-1).over(KEY)
    pauses = pl.col("outcome").is_in(rules.waiting_outcomes).fill_null(False) & before
    ordered = dated.sort(*KEY, "occurred_at", "outcome").with_columns(following=following)
    wait = pl.struct(
        begin=pl.max_horizontal("occurred_at", "created_at"), end=pl.min_horizontal("following", "resolved_at")
    )
    told = ordered.group_by(KEY).agg(
        contact_count=before.sum().cast(pl.Int64),
        recontacted_at=pl.col("occurred_at").filter(~before).min(),
        waits=wait.filter(pauses),
    )
    return tickets.join(told, on=KEY, how="left").with_columns(pl.col("contact_count").fill_null(0))


def _us(moments: pl.Series) -> np.ndarray:
    """Microseconds since 1970, `FOREVER` for a null: Int64 [n]."""
    return moments.dt.timestamp("us").fill_null(FOREVER).to_numpy()


def _moments(us: np.ndarray) -> pl.Series:
    """Moments of microseconds; null where they are none."""
    raw = pl.Series(us, dtype=pl.Int64)
    return pl.select(pl.when(raw.is_between(1, FOREVER - 1)).then(raw).cast(MOMENT)).to_series()


def _clocks(tickets: pl.DataFrame, hours: Hours | None) -> pl.DataFrame:
    """Tickets of one queue with their clocks."""
    if hours is None:
        nothing = {c: pl.lit(None, pl.Int64) for c in ("response_minutes", "resolution_minutes", "waited_minutes")}
        return tickets.with_columns(
            **nothing, response_due_at=pl.lit(None, MOMENT), resolution_due_at=pl.lit(None, MOMENT)
        )
    opened, solved, answered = (_us(tickets[c]) for c in ("created_at", "resolved_at", "responded_at"))
    start = hours.worked(opened)
    end = hours.worked(np.minimum(solved, FOREVER))
    response = (hours.worked(answered) - start) // MINUTE_US
    waits = _waits(tickets, hours)
    waited = np.zeros(len(tickets), dtype=np.int64)
    np.add.at(waited, waits["row"].to_numpy(), (waits["to"] - waits["from"]).to_numpy() * waits["is_over"].to_numpy())
    target = tickets["response_target_minutes"].to_numpy() * MINUTE_US
    due = _due(tickets, waits, start, hours)
    minutes = (end - start - waited) // MINUTE_US
    return tickets.with_columns(
        response_minutes=pl.when(pl.col("responded_at").is_not_null()).then(pl.Series(response)),
        response_due_at=_moments(hours.after(start + target)),
        resolution_minutes=pl.when(pl.col("resolved_at").is_not_null()).then(pl.Series(minutes)),
        waited_minutes=pl.Series(waited // MINUTE_US),
        resolution_due_at=_moments(due),
    )


def _waits(tickets: pl.DataFrame, hours: Hours) -> pl.DataFrame:
    """One row per wait: row of its ticket, from and to in open microseconds, whether it is over."""
    rows = (
        tickets.select("waits")
        .with_row_index("row")
        .cast({"row": pl.Int64})
        .filter(pl.col("waits").list.len() > 0)
        .explode("waits")
        .unnest("waits")
    )
    begin, end = _us(rows["begin"]), _us(rows["end"])
    return pl.DataFrame(
        {"row": rows["row"], "from": hours.worked(begin), "to": hours.worked(np.maximum(end, begin)),
         "is_over": (end < FOREVER).astype(np.int64)}
    )  # fmt: skip


def _due(tickets: pl.DataFrame, waits: pl.DataFrame, start: np.ndarray, hours: Hours) -> np.ndarray:
    """Moment at which the resolution's clock runs out: Int64 [tickets], -1 while it stands still."""
    due = start + tickets["resolution_target_minutes"].to_numpy() * MINUTE_US  # in open microseconds
    stands = np.zeros(len(tickets), dtype=bool)
    for row, begin, end, is_over in waits.sort("row", "from").iter_rows():
        if begin >= due[row]:
            continue  # it had run out before
        due[row] += (end - begin) * is_over
        stands[row] |= not is_over
    return np.where(stands, -1, hours.after(due))


class TicketChains(
    Table, table="silver.ticket_chains", per="subject_id", sort_by=("subject_id", "created_at", "ticket_id")
):
    """One row per ticket: the matter that it belongs to. A ticket of the same subject and category within reopen_days
    (rule file `service`) of the resolution of the one before reopens it; without a category nobody can tell."""

    ticket_id = String(primary_key=True)
    source_system = String(primary_key=True)
    subject_id = String()
    created_at = Timestamp()
    chain_id = String(description="The first ticket of the matter")
    chain_position = Integer(min=1)
    reopens_ticket_id = String(nullable=True, description="Null: a new matter")
    reopened_at = Timestamp(nullable=True, description="When a later ticket reopened this one")


@builds(
    TicketChains,
    rules="service",
    reads={"silver.service_tickets": (*KEY, "subject_id", "created_at", "resolved_at", "category")},
)
def ticket_chains(silver_service_tickets: pl.LazyFrame, params: ServiceRules) -> pl.LazyFrame:
    """Tickets in their order; one that was opened before the last was solved is a matter of its own."""
    matter = ["subject_id", "source_system", "category"]
    ordered = silver_service_tickets.sort(*matter, "created_at", "ticket_id", nulls_last=True)
    gap = pl.col("created_at") - pl.col("resolved_at").shift(1).over(matter)
    soon = gap.is_between(pl.duration(), pl.duration(days=params.reopen_days)).fill_null(False)
    reopens = soon & pl.col("category").is_not_null()
    return (
        ordered.with_columns(is_first=~reopens, before=pl.col("ticket_id").shift(1).over(matter))
        .with_columns(
            number=pl.col("is_first").cum_sum().over(matter),
            reopened_at=pl.when(~pl.col("is_first")).then("created_at").shift(-1).over(matter),
        )
        .with_columns(
            chain_id=pl.col("ticket_id").first().over(*matter, "number"),
            chain_position=pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over(*matter, "number"),
            reopens_ticket_id=pl.when(~pl.col("is_first")).then("before"),
        )
        .select(list(TicketChains.columns()))
    )
