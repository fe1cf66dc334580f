"""Support: agents, tickets with their cause, and the contacts about them.

Tickets follow what went wrong: payments that failed, orders that came late, goods that were taken back; others have no
cause. Support knows people by their shop account; some callers stay unknown.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl

from customer360.pipelines.sample.orders import orders
from customer360.pipelines.sample.sales import FAILED, PURCHASE, words
from customer360.pipelines.sample.streams import spread
from customer360.pipelines.sample.visits import DAY_US, midnight_us
from customer360.pipelines.sample.world import World

CAUSES = ("PAYMENT_FAILED", "LATE_DELIVERY", "RETURN", "NONE")
CAUSE_SHARES = (0.45, 0.5, 0.25)  # of failed payments, late orders, returns; `World.questions` of the other orders
CATEGORIES = ("BILLING", "GENERAL", "PRODUCT", "TECHNICAL")  # by cause; without a cause any of them
SUBJECTS = ("My payment was refused", "Where is my order?", "I sent something back", "A question")
AGENT_COUNT = 14
UNLISTED_AGENT = f"AG{AGENT_COUNT + 1:03d}"  # answers contacts, and the list lacks it
UNKNOWN_SHARE, NO_TICKET_SHARE, LOST_TICKET_SHARE = 0.06, 0.08, 0.006
KINDS, KIND_SHARES = ("EMAIL", "PHONE", "CHAT", "SOCIAL", "IN_PERSON"), (0.34, 0.3, 0.28, 0.05, 0.03)
PRIORITIES = ("LOW", "MEDIUM", "HIGH", "URGENT")
OUTCOMES = ("ANSWERED", "REFUNDED", "ESCALATED", "WAITING FOR CUSTOMER")
MINUTE_US = 60_000_000


def agent_rows(world: World) -> pl.DataFrame:
    """AGENTS, one row each."""
    rng = world.streams.stream("agents")
    hired = [world.start_on - timedelta(days=int(d)) for d in rng.integers(30, 3000, AGENT_COUNT)]
    given, family = world.people["given"].unique().sort(), world.people["surname"].unique().sort()
    return pl.DataFrame(
        {
            "AGENT_ID": [f"AG{n + 1:03d}" for n in range(AGENT_COUNT)],
            "AGENT_NAME": given.gather(rng.integers(0, len(given), AGENT_COUNT))
            + " "
            + family.gather(rng.integers(0, len(family), AGENT_COUNT)),
            "TEAM": pl.Series(("Payments", "Delivery", "Returns")).gather(rng.integers(0, 3, AGENT_COUNT)),
            "HIRED_DATE": hired,
            "AGENT_STATUS": pl.Series(("ACTIVE", "INACTIVE")).gather((rng.random(AGENT_COUNT) < 0.1).astype(int)),
        }
    )


def tickets(world: World) -> pl.DataFrame:
    """One row per ticket in order of time: number, person, account (-1: unknown), receipt, cause (row of CAUSES), at,
    response and resolution (minutes), resolved (inside the story), priority, agent."""
    rng = world.streams.stream("tickets")
    bought = orders(world).join(
        world.sales.receipts.with_row_index("receipt").cast({"receipt": pl.Int64}).select("receipt", "kind"),
        on="receipt",
    )
    failed = bought.filter(pl.col("status") == FAILED).select("receipt", "person", "account", at="at", cause=pl.lit(0))
    late = bought.filter("late").select(
        "receipt",
        "person",
        "account",
        at=pl.col("at") + pl.col("promised").sub(pl.col("day")) * DAY_US,
        cause=pl.lit(1),
    )
    back = world.sales.receipts.with_row_index("receipt").cast({"receipt": pl.Int64})
    back = back.filter(pl.col("online") & (pl.col("kind") > PURCHASE)).select(
        "receipt", "person", "account", "at", cause=pl.lit(2)
    )
    others = bought.filter((pl.col("status") != FAILED) & ~pl.col("late")).select(
        "receipt", "person", "account", "at", cause=pl.lit(3)
    )
    rows = pl.concat([failed, late, back, others])
    rows = rows.filter(
        pl.Series(rng.random(len(rows)) < np.array([*CAUSE_SHARES, world.questions])[rows["cause"].to_numpy()])
    )
    count, end = len(rows), midnight_us(world.end_on) + DAY_US
    at = rows["at"].to_numpy() + rng.integers(5, 2 * 1440, count) * MINUTE_US
    urgent = np.where(rows["cause"].to_numpy() == 1, 1, 0)
    response = np.minimum(rng.lognormal(np.log(45), 1.0, count), 4000).astype(np.int64) + 1
    resolution = response + np.minimum(rng.lognormal(np.log(600), 1.1, count), 20_000).astype(np.int64)
    known = (rows["account"].to_numpy() >= 0) & (rng.random(count) > UNKNOWN_SHARE)
    made = rows.with_columns(
        at=at, response=response, resolution=resolution,
        account=np.where(known, rows["account"].to_numpy(), -1),
        resolved=at + resolution * MINUTE_US < end,
        priority=np.minimum(rng.choice(4, count, p=[0.3, 0.45, 0.2, 0.05]) + urgent, 3),
        agent=rng.integers(0, AGENT_COUNT, count),
        mood=rng.normal(0, 0.6, count),
    ).filter(pl.col("at") < end)  # fmt: skip
    return made.sort("at", "receipt").with_columns(number=pl.int_range(pl.len()) + 1)


def _satisfaction(rows: pl.DataFrame) -> np.ndarray:
    """1 to 5, lower the longer it took: Int64 [tickets]."""
    slow = np.log(rows["resolution"].to_numpy() / 600)
    return np.clip(np.round(4.0 - 0.9 * slow + rows["mood"].to_numpy()), 1, 5).astype(np.int64)


def _customers(world: World, account: pl.Series) -> pl.Expr:
    known = pl.Series(account.to_numpy() >= 0)
    return pl.when(known).then(world.accounts["customer_id"].gather(np.maximum(account.to_numpy(), 0)))


def _ticket_id(number: str, world: World) -> pl.Expr:
    return pl.format("TK{}{}", pl.lit(world.label), pl.col(number).cast(pl.String).str.zfill(8))


def _agent_id(number: str) -> pl.Expr:
    return pl.format("AG{}", (pl.col(number) + 1).cast(pl.String).str.zfill(3))


def ticket_rows(world: World) -> pl.DataFrame:
    """CUSTOMER_SERVICE_TICKETS, one row per ticket as it stands at the end of the story."""
    rng, rows = world.streams.stream("tickets.rows"), tickets(world)
    moment = pl.Datetime("us", "UTC")
    rated = pl.Series(rng.random(len(rows)) < 0.45) & pl.col("resolved")
    closed = pl.Series(rng.random(len(rows)) < 0.7)
    solved_at = pl.when("resolved").then(pl.col("at") + pl.col("resolution") * MINUTE_US)
    category = np.where(rows["cause"].to_numpy() == 3, rng.integers(0, 4, len(rows)), rows["cause"].to_numpy())
    return rows.select(
        TICKET_ID=_ticket_id("number", world),
        CUSTOMER_ID=_customers(world, rows["account"]),
        TICKET_STATUS=pl.when("resolved").then(pl.when(closed).then(pl.lit("CLOSED")).otherwise(pl.lit("RESOLVED")))
        .otherwise(pl.when(closed).then(pl.lit("IN_PROGRESS")).otherwise(pl.lit("OPEN"))),
        TICKET_PRIORITY=words(rows["priority"], PRIORITIES),
        CREATION_DATE=pl.col("at").cast(moment),
        RESOLUTION_DATE=solved_at.cast(moment),
        FIRST_RESPONSE_TIME="response",
        TOTAL_RESOLUTION_TIME=pl.when("resolved").then("resolution"),
        ASSIGNED_AGENT_ID=_agent_id("agent"),
        TICKET_SOURCE=words(pl.Series(rng.choice(5, len(rows), p=KIND_SHARES)), KINDS),
        TICKET_CATEGORY=words(pl.Series(category), CATEGORIES),
        CUSTOMER_SATISFACTION=pl.when(rated).then(pl.Series(_satisfaction(rows))),
        LAST_UPDATED_DATE=pl.coalesce(solved_at, pl.col("at") + pl.col("response") * MINUTE_US).cast(moment),
    )  # fmt: skip


def interaction_rows(world: World) -> pl.DataFrame:
    """CUSTOMER_SERVICE_INTERACTIONS in order of time: one to four a ticket, between its creation and its resolution;
    some belong to no ticket, few name one that was never delivered."""
    rng, rows = world.streams.stream("interactions"), tickets(world)
    owner, position = spread(1 + np.minimum(rng.poisson(0.9, len(rows)), 3))
    rows = rows[owner]
    count = len(rows)
    share = np.where(position == 0, 0.0, rng.random(count))
    at = rows["at"].to_numpy() + (share * rows["resolution"].to_numpy()).astype(np.int64) * MINUTE_US
    kind = rng.choice(len(KINDS), count, p=KIND_SHARES)
    cause = rows["cause"].to_numpy()
    subject = words(pl.Series(cause), SUBJECTS)
    outcome = rng.choice(4, count, p=[0.62, 0.14, 0.08, 0.16])
    sentiment = np.clip(0.25 - 0.3 * (cause < 2) + 0.25 * rows["mood"].to_numpy() + rng.normal(0, 0.25, count), -1, 1)
    lost, none = rng.random(count) < LOST_TICKET_SHARE, rng.random(count) < NO_TICKET_SHARE
    agent = pl.when(pl.Series(rng.random(count) < 0.01)).then(pl.lit(UNLISTED_AGENT)).otherwise(_agent_id("agent"))
    unlisted = pl.format("TK9{}{}", pl.lit(world.label), pl.col("number").cast(pl.String).str.zfill(7))
    order = pl.format("O{}{}", pl.lit(world.label), pl.col("receipt").cast(pl.String).str.zfill(10))
    made = rows.with_columns(at=at).select(
        "at",
        CUSTOMER_ID=_customers(world, rows["account"]),
        TICKET_ID=pl.when(pl.Series(lost)).then(unlisted)
        .when(~pl.Series(none)).then(_ticket_id("number", world)),
        INTERACTION_TYPE=words(pl.Series(kind), KINDS),
        INTERACTION_DATE=pl.Series(at).cast(pl.Datetime("us", "UTC")),
        INTERACTION_CHANNEL=words(pl.Series(kind), ("WEB", "PHONE", "WEB", "SOCIAL", "STORE")),
        AGENT_ID=agent,
        INTERACTION_SUBJECT=subject,
        INTERACTION_DESCRIPTION=pl.format("{} (order {})", subject, order),
        INTERACTION_OUTCOME=words(pl.Series(outcome), OUTCOMES),
        RESOLUTION_TIME=pl.Series(rng.integers(1, 60, count)),
        SATISFACTION_SCORE=pl.when(pl.Series(rng.random(count) < 0.3)).then(pl.Series(_satisfaction(rows))),
        SENTIMENT_SCORE=pl.Series(sentiment.round(2)).cast(pl.Decimal(3, 2)),
        PRIORITY_LEVEL=words(rows["priority"], PRIORITIES),
        CATEGORY=words(pl.Series(cause), CATEGORIES),
        SUBCATEGORY=words(pl.Series(cause), CAUSES),
        FOLLOW_UP_REQUIRED=pl.Series(outcome == 3),
        ESCALATION_LEVEL=pl.Series((outcome == 2).astype(np.int64)),
    ).filter(pl.col("at") < midnight_us(world.end_on) + DAY_US)  # fmt: skip
    ordered = made.sort("at", maintain_order=True).drop("at")
    number = pl.format("IN{}{}", pl.lit(world.label), (pl.int_range(pl.len()) + 1).cast(pl.String).str.zfill(9))
    return ordered.select(INTERACTION_ID=number, **{c: pl.col(c) for c in ordered.columns})


def service_truth(world: World) -> pl.DataFrame:
    """One row per ticket: ticket_id, entity_id (unknown callers too), cause, transaction_id."""
    rows = tickets(world)
    return rows.select(
        ticket_id=_ticket_id("number", world),
        entity_id=world.people["entity_id"].gather(rows["person"]),
        cause=words(rows["cause"], CAUSES),
        transaction_id=pl.format("T{}", pl.col("receipt").cast(pl.String).str.zfill(10)),
    )
