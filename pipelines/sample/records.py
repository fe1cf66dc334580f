"""CUSTOMERS: the accounts that people hold in three source systems, with the errors, gaps and old values such records
have.

`accounts` says who has an account where and since when; `customer_rows` writes one system's CUSTOMERS table as that
system sees its people.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from customer360.pipelines.sample import names
from customer360.pipelines.sample.stores import places
from customer360.pipelines.sample.streams import Streams, scrambled

SYSTEMS = ("POS", "SHOP", "CRM")
PREFIXES = {"POS": "P", "SHOP": "S", "CRM": "L"}
POS_SHARE, SHOP_SHARE, CRM_SHARE = 0.42, 0.62, 0.25
SECOND_SHARE = 0.035  # people who register a second shop account
NEVER = 1 << 30  # day number of what does not happen


@dataclass(frozen=True)
class Flaws:
    """Shares of one system's records: columns that are missing, values that are junk, and people who are misspelt."""

    no_email: float
    no_phone: float
    no_birth: float
    no_address: float
    nickname: float
    upper: float
    junk: float
    typo: float = 0.03
    swap: float = 0.006
    other_surname: float = 0.025
    second_email: float = 0.12
    landline: float = 0.25
    wrong_birth: float = 0.02


FLAWS = {
    "POS": Flaws(no_email=0.45, no_phone=0.25, no_birth=0.5, no_address=0.35, nickname=0.14, upper=0.12, junk=0.015),
    "SHOP": Flaws(no_email=0.0, no_phone=0.3, no_birth=0.5, no_address=0.12, nickname=0.16, upper=0.03, junk=0.006),
    "CRM": Flaws(no_email=0.12, no_phone=0.1, no_birth=0.06, no_address=0.05, nickname=0.06, upper=0.02, junk=0.004),
}


def accounts(streams: Streams, joined: np.ndarray, until: np.ndarray, first_number: int = 0) -> pl.DataFrame:
    """One row per account: person (row of people), source_system, customer_id, registered (day number), second (a
    repeated registration).

    Everybody has at least a POS or a SHOP account; the first begins on the day of joining, the others later, if that
    is before `until` (Int64 per person: the day of leaving, or the end of the story). Numbers in customer ids begin
    after `first_number`.
    """
    rng = streams.stream("accounts")
    count = len(joined)
    pos, shop = rng.random(count) < POS_SHARE, rng.random(count) < SHOP_SHARE
    none = ~pos & ~shop
    coin = rng.random(count) < POS_SHARE / (POS_SHARE + SHOP_SHARE)
    pos, shop = pos | (none & coin), shop | (none & ~coin)
    pos_first = pos & (~shop | (rng.random(count) < 0.5))
    held = {"POS": pos, "SHOP": shop, "CRM": rng.random(count) < CRM_SHARE}
    first = {"POS": pos_first, "SHOP": ~pos_first, "CRM": np.zeros(count, dtype=bool)}
    parts = []
    for system in SYSTEMS:
        since = joined + np.where(first[system], 0, rng.exponential(90, count).astype(np.int64) + 1)
        who = np.flatnonzero(held[system] & (since < until))
        parts.append(_part(system, who, since[who], second=False))
        if system == "SHOP":
            again = since + 30 + rng.exponential(250, count).astype(np.int64)
            who = np.flatnonzero(held[system] & (rng.random(count) < SECOND_SHARE) & (again < until))
            parts.append(_part(system, who, again[who], second=True))
    table = pl.concat(parts)
    numbers = {
        system: pl.Series(scrambled(len(table), streams.stream("accounts.number", i)) + first_number)
        for i, system in enumerate(SYSTEMS)
    }
    number = pl.coalesce(*(pl.when(pl.col("source_system") == s).then(numbers[s]) for s in SYSTEMS))
    prefix = pl.col("source_system").replace_strict(PREFIXES)
    return table.with_columns(customer_id=pl.format("{}{}", prefix, number.cast(pl.String).str.zfill(8)))


def _part(system: str, who: np.ndarray, since: np.ndarray, *, second: bool) -> pl.DataFrame:
    return pl.DataFrame({"person": who, "registered": since}).with_columns(
        source_system=pl.lit(system), second=pl.lit(second)
    )


def customer_rows(
    streams: Streams, system: str, people: pl.DataFrame, held: pl.DataFrame, activity: pl.DataFrame, start_on: date
) -> pl.DataFrame:
    """The CUSTOMERS table of one system, one row per account, ordered by customer id.

    people: `people.people`; held: the accounts of the system; activity per account of the system (customer_id,
    last_login day or null, preferred_channel, preferred_store, spend in cents, is_gone). Raises nothing; every column
    of the specification is present.
    """
    rng = streams.stream(f"customers.{system}")
    flaws = FLAWS[system]
    rows = held.join(
        people.with_row_index("person").cast({"person": pl.Int64}), on="person", how="left", maintain_order="left"
    )
    rows = rows.join(activity, on="customer_id", how="left", maintain_order="left")
    rows = _named(rows, flaws, rng)
    rows = _contacted(rows, flaws, rng)
    rows = _addressed(rows, flaws, rng)
    rows = _dated(rows, flaws, rng)
    count = len(rows)
    tier = pl.col("spend").fill_null(0)
    loyal = pl.lit(system == "CRM") | pl.Series(rng.random(count) < 0.1)
    blocked = pl.Series(rng.random(count) < 0.005)
    day = pl.lit(start_on)
    touched = pl.max_horizontal(pl.col("registered"), pl.col("last_login"))
    return rows.select(
        CUSTOMER_ID="customer_id",
        FIRST_NAME="first",
        LAST_NAME="last",
        EMAIL_ADDRESS="mail",
        PHONE_NUMBER="phone",
        DATE_OF_BIRTH="birth",
        GENDER=pl.when(pl.Series(rng.random(count) < 0.8)).then(
            pl.col("gender").replace_strict({"M": "MALE", "F": "FEMALE"})
        ),
        ADDRESS_LINE_1="line",
        CITY="town",
        STATE_CODE="state",
        ZIP_CODE="post",
        COUNTRY_CODE=pl.lit("US" if system == "POS" else "USA"),
        CUSTOMER_SEGMENT=pl.when(tier > 150_000)
        .then(pl.lit("PREMIUM"))
        .when(tier > 30_000)
        .then(pl.lit("STANDARD"))
        .otherwise(pl.lit("BASIC")),
        LOYALTY_TIER=pl.when(loyal).then(
            pl.when(tier > 200_000)
            .then(pl.lit("PLATINUM"))
            .when(tier > 90_000)
            .then(pl.lit("GOLD"))
            .when(tier > 30_000)
            .then(pl.lit("SILVER"))
            .otherwise(pl.lit("BRONZE"))
        ),
        LOYALTY_POINTS=pl.when(loyal).then(tier // 100),
        REGISTRATION_DATE=day + pl.duration(days="registered"),
        LAST_LOGIN_DATE=day + pl.duration(days="last_login"),
        CUSTOMER_STATUS=pl.when(blocked)
        .then(pl.lit("BLOCKED"))
        .when("is_gone")
        .then(pl.lit("INACTIVE"))
        .otherwise(pl.lit("ACTIVE")),
        PREFERRED_CHANNEL="preferred_channel",
        PREFERRED_STORE="preferred_store",
        LAST_UPDATED_DATE=day.cast(pl.Datetime("us", "UTC"))
        + pl.duration(days=touched, seconds=pl.lit(pl.Series(rng.integers(0, 86_400, count)))),
    ).sort("CUSTOMER_ID")


def _mistyped(text: pl.Expr, rows: pl.DataFrame, share: float, rng: np.random.Generator) -> pl.Expr:
    """Drop, double or swap one letter in a share of the values."""
    count = len(rows)
    at = pl.Series(rng.integers(1, 5, count))
    head, here, after, tail = (
        text.str.slice(0, at),
        text.str.slice(at, 1),
        text.str.slice(at + 1, 1),
        text.str.slice(at + 2),
    )
    kind = pl.Series(rng.integers(0, 3, count))
    wrong = (
        pl.when(kind == 0)
        .then(pl.concat_str(head, after, tail))
        .when(kind == 1)
        .then(pl.concat_str(head, here, here, after, tail))
        .otherwise(pl.concat_str(head, after, here, tail))
    )
    return pl.when(pl.Series(rng.random(count) < share)).then(wrong).otherwise(text)


def _named(rows: pl.DataFrame, flaws: Flaws, rng: np.random.Generator) -> pl.DataFrame:
    """Add first and last: nicknames, other surnames, juniors, typing errors, swapped fields, capitals and junk."""
    count = len(rows)
    short = pl.DataFrame(
        [(given, nick, i) for given, nicks in names.NICKNAMES.items() for i, nick in enumerate(nicks)],
        schema=["given", "nick", "choice"],
        orient="row",
    )
    rows = rows.with_columns(choice=pl.Series(rng.integers(0, 2, count)))
    rows = rows.join(short, on=["given", "choice"], how="left", maintain_order="left")
    nick = pl.coalesce("nick", "given")
    rows = rows.with_columns(
        first=pl.when(pl.Series(rng.random(count) < flaws.nickname)).then(nick).otherwise("given"),
        last=pl.when(pl.Series(rng.random(count) < flaws.other_surname) & (pl.col("gender") == "F"))
        .then("maiden")
        .otherwise("surname"),
    )
    rows = rows.with_columns(
        _mistyped(pl.col("first"), rows, flaws.typo, rng).alias("first"),
        _mistyped(pl.col("last"), rows, flaws.typo, rng).alias("last"),
    ).with_columns(
        pl.when(pl.col("junior") & pl.Series(rng.random(count) < 0.6))
        .then(pl.col("last") + " Jr")
        .otherwise("last")
        .alias("last")
    )
    swapped = pl.Series(rng.random(count) < flaws.swap)
    upper = pl.Series(rng.random(count) < flaws.upper)
    junk = pl.Series(names.JUNK_NAMES).gather(rng.integers(0, len(names.JUNK_NAMES), count))
    first, last = pl.when(swapped).then("last").otherwise("first"), pl.when(swapped).then("first").otherwise("last")
    return rows.with_columns(
        first=pl.when(pl.Series(rng.random(count) < flaws.junk / 2))
        .then(junk)
        .when(upper)
        .then(first.str.to_uppercase())
        .otherwise(first),
        last=pl.when(upper).then(last.str.to_uppercase()).otherwise(last),
    )


def _contacted(rows: pl.DataFrame, flaws: Flaws, rng: np.random.Generator) -> pl.DataFrame:
    """Add mail and phone: second addresses, landlines, six ways to write a number, junk and gaps."""
    count = len(rows)
    second = pl.Series(rng.random(count) < flaws.second_email) | pl.col("second")
    mail = pl.when(second).then("second_email").otherwise("email")
    mail = _mistyped(mail, rows, flaws.typo / 3, rng)
    mail = pl.when(pl.Series(rng.random(count) < 0.08)).then(mail.str.to_uppercase()).otherwise(mail)
    junk_mail = pl.Series(names.JUNK_EMAILS).gather(rng.integers(0, len(names.JUNK_EMAILS), count))
    landline = pl.col("landline").is_not_null() & pl.Series(rng.random(count) < flaws.landline)
    number = pl.when(landline).then("landline").otherwise("mobile").cast(pl.String)
    a, b, c = number.str.slice(0, 3), number.str.slice(3, 3), number.str.slice(6, 4)
    shapes = [
        pl.format("({}) {}-{}", a, b, c), pl.format("{}-{}-{}", a, b, c), pl.format("+1{}", number),
        number, pl.format("{}.{}.{}", a, b, c), pl.format("1 {} {} {}", a, b, c),
    ]  # fmt: skip
    shape = pl.Series(rng.integers(0, len(shapes), count))
    phone = pl.coalesce(*(pl.when(shape == i).then(text) for i, text in enumerate(shapes)))
    junk_phone = pl.Series(names.JUNK_PHONES).gather(rng.integers(0, len(names.JUNK_PHONES), count))
    mail = pl.when(pl.Series(rng.random(count) < flaws.junk)).then(junk_mail).otherwise(mail)
    phone = pl.when(pl.Series(rng.random(count) < flaws.junk)).then(junk_phone).otherwise(phone)
    return rows.with_columns(
        mail=pl.when(pl.Series(rng.random(count) >= flaws.no_email)).then(mail),
        phone=pl.when(pl.Series(rng.random(count) >= flaws.no_phone)).then(phone),
    )


def _addressed(rows: pl.DataFrame, flaws: Flaws, rng: np.random.Generator) -> pl.DataFrame:
    """Add line, town, state and post; a record made before a move often still shows the address of that time."""
    count = len(rows)
    where = places()
    old = (pl.col("registered") < pl.col("moved")).fill_null(False) & pl.Series(rng.random(count) < 0.7)
    rows = rows.with_columns(
        spot=pl.when(old).then("old_place").otherwise("place"),
        line=pl.when(old).then("old_street").otherwise("street"),
        post=pl.when(old).then("old_zip").otherwise("zip"),
    )
    spot = rows["spot"].to_numpy()
    gap, no_zip = pl.Series(rng.random(count) < flaws.no_address), pl.Series(rng.random(count) < 0.3)
    rows = rows.with_columns(town=where["city"].gather(spot), state=where["state_code"].gather(spot))
    return rows.with_columns(
        pl.when(~gap).then(_mistyped(pl.col("line"), rows, flaws.typo / 2, rng)).alias("line"),
        pl.when(~gap).then("town").alias("town"),
        pl.when(~gap).then("state").alias("state"),
        pl.when(~(gap & no_zip)).then("post").alias("post"),
    )


def _dated(rows: pl.DataFrame, flaws: Flaws, rng: np.random.Generator) -> pl.DataFrame:
    """Add birth: a year off, day and month exchanged, the filler 1900-01-01, gaps."""
    count = len(rows)
    year, month, day = pl.col("dob").dt.year(), pl.col("dob").dt.month(), pl.col("dob").dt.day()
    off = pl.date(
        year + pl.Series(rng.choice([-1, 1], count)), month, pl.min_horizontal(day, pl.lit(28, dtype=pl.Int8))
    )
    swapped = pl.when(day <= 12).then(pl.date(year, day.clip(1, 12), month))
    birth = (
        pl.when(pl.Series(rng.random(count) < flaws.wrong_birth / 2))
        .then(off)
        .when(pl.Series(rng.random(count) < flaws.wrong_birth / 2))
        .then(pl.coalesce(swapped, "dob"))
        .when(pl.Series(rng.random(count) < flaws.junk))
        .then(pl.date(1900, 1, 1))
        .otherwise("dob")
    )
    return rows.with_columns(birth=pl.when(pl.Series(rng.random(count) >= flaws.no_birth)).then(birth))
