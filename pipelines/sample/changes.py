"""The log of the CRM's relation of customers, as Debezium writes it: what was entered, changed and deleted since the
story began. The accounts as they stand at its end are what the CRM delivers beside it.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from customer360.pipelines.sample.records import customer_rows
from customer360.pipelines.sample.visits import DAY_US, midnight_us
from customer360.pipelines.sample.world import World

# Of the accounts: changed their mail address, their telephone; entered by mistake and deleted again, besides.
NEW_MAIL, NEW_PHONE, MISTAKES = 0.1, 0.08, 0.02
COLUMNS = {
    "id": "CUSTOMER_ID", "first_name": "FIRST_NAME", "last_name": "LAST_NAME", "email": "EMAIL_ADDRESS",
    "phone": "PHONE_NUMBER",
}  # fmt: skip
FILE = "binlog.000007"
INSERT, MAIL, PHONE, DELETE = range(4)


def change_rows(world: World) -> pl.DataFrame:
    """Debezium's messages in the order of the log: before, after (rows of the relation), source, op."""
    log = _changes(world).sort("at", "id", "step")
    row = {name: pl.col(name) for name in COLUMNS}
    # What a later message changed is told here as it was.
    was = {"email": pl.col("old_email"), "phone": pl.col("old_phone")}
    told = log.with_columns(at=pl.col("at") // 1000, place=4 + 200 * pl.int_range(1, pl.len() + 1))
    mail, phone = pl.col("mail_then"), pl.col("phone_then")
    now = row | {"email": pl.when(mail).then("email").otherwise(was["email"]),
                 "phone": pl.when(phone).then("phone").otherwise(was["phone"])}  # fmt: skip
    before = now | {
        "email": pl.when(pl.col("step") == MAIL).then(was["email"]).otherwise(now["email"]),
        "phone": pl.when(pl.col("step") == PHONE).then(was["phone"]).otherwise(now["phone"]),
    }
    step = pl.col("step")
    return told.select(
        before=pl.when(step != INSERT).then(_row(before)),
        after=pl.when(step != DELETE).then(_row(now)),
        source=pl.struct(
            pl.lit("mysql").alias("connector"), pl.lit("crm").alias("db"), pl.lit("customers").alias("table"),
            pl.lit(FILE).alias("file"), pl.col("place").alias("pos"), pl.lit(0).alias("row"),
            pl.col("at").alias("ts_ms"),
        ),
        op=step.replace_strict({INSERT: "c", MAIL: "u", PHONE: "u", DELETE: "d"}, return_dtype=pl.String),
    )  # fmt: skip


def _row(columns: dict[str, pl.Expr]) -> pl.Expr:
    return pl.struct([value.alias(name) for name, value in columns.items()])


def _changes(world: World) -> pl.DataFrame:
    """One row per change: the account as it stands at the end, what mail and telephone were before, and whether the
    row has its later mail (`mail_then`) and telephone (`phone_then`) after it."""
    held = world.accounts.filter(source_system="CRM")
    said = customer_rows(world.streams, "CRM", world.people, held, world.activity("CRM"), world.start_on)
    rng = world.streams.stream("changes")
    rows = said.select(**COLUMNS, on="REGISTRATION_DATE")
    rows = rows.with_columns(day=(pl.col("on") - world.start_on).dt.total_days()).drop("on")
    count = len(rows)
    since = np.maximum(rows["day"].to_numpy(), 0)
    in_time = since < world.days - 2
    moved, called = (rng.random(count) < NEW_MAIL) & in_time, (rng.random(count) < NEW_PHONE) & in_time
    mail_day, phone_day = (since + 1 + rng.random(count) * (world.days - since - 1) for _ in range(2))
    number = pl.Series(rng.integers(1000, 9999, count)).cast(pl.String)
    old = pl.format("{}{}", pl.col("email").str.extract(r"^([^@]*)"), number)
    rows = rows.with_columns(
        old_email=pl.when(pl.Series(moved) & pl.col("email").is_not_null())
        .then(old + "@" + pl.col("email").str.extract(r"@(.*)$"))
        .otherwise("email"),
        old_phone=pl.when(pl.Series(called)).then(pl.lit(None, pl.String)).otherwise("phone"),
        mail_at=pl.Series(mail_day),
        phone_at=pl.Series(phone_day),
    )
    parts = [
        _step(rows.filter(pl.col("day") >= 0), INSERT, pl.col("day") + 0.4),
        _step(rows.filter(pl.col("old_email") != pl.col("email")), MAIL, pl.col("mail_at")),
        _step(rows.filter(pl.Series(called), pl.col("phone").is_not_null()), PHONE, pl.col("phone_at")),
        *_mistakes(rows, rng, world.days),
    ]
    midnight = midnight_us(world.start_on)
    both = pl.concat(parts).filter(pl.col("when") < world.days)
    return both.with_columns(at=midnight + (pl.col("when") * DAY_US).cast(pl.Int64))


def _step(rows: pl.DataFrame, step: int, when: pl.Expr) -> pl.DataFrame:
    """A change of each account, on a day of the story with its fraction."""
    moments = rows.with_columns(step=pl.lit(step, pl.Int64), when=when.cast(pl.Float64))
    return moments.with_columns(
        mail_then=pl.col("mail_at") <= pl.col("when"), phone_then=pl.col("phone_at") <= pl.col("when")
    )


def _mistakes(rows: pl.DataFrame, rng: np.random.Generator, days: int) -> list[pl.DataFrame]:
    """Somebody is entered a second time, and the entry is deleted within the hour."""
    if rows.is_empty():
        return []
    count = max(round(MISTAKES * len(rows)), 1)
    again = rows[rng.integers(0, len(rows), count)].with_columns(
        id=pl.format("L9{}", pl.int_range(1, count + 1).cast(pl.String).str.zfill(7)),
        old_email="email",
        old_phone="phone",
    )
    day = pl.lit(pl.Series(rng.random(count) * (days - 1)))
    return [_step(again, INSERT, day), _step(again, DELETE, day + 0.03)]
