"""Which of several answers on consent holds. Silence is no consent, and in doubt a refusal wins.

- An answer is given for a *contact point*: the e-mail address for EMAIL, the telephone number for SMS and PHONE, the
  account for everything else, and where the address is not known. Accounts with one address answer for each other.
- Of one contact point and purpose the latest dated answer holds. A refusal of the same day, and one without a date
  while it is active, wins: nothing shows that a yes came after it. A yes without a date is older than any other answer.
- ALL:NO refuses every purpose, MARKETING:NO (a suppression list) every channel, until the same contact point says yes
  to the purpose later. ALL:YES and MARKETING:YES only take such a refusal back: consent is to something.
- Of the versions of one answer (PREFERENCE_ID) the newest by date counts; a refusal that comes without a date after a
  dated answer counts as newer.
- A person may be reached if none of its contact points that answered refuses: after a merge a refusal stands until its
  own contact point says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from customer360.platform.delivery import DELIVERY, INPUT, ranked

CHANNELS = ("EMAIL", "SMS", "PHONE", "PUSH")
UNSUBSCRIBABLE = ("EMAIL", "SMS", "PUSH")  # over which nobody is written to who once unsubscribed from a campaign
WHOLES = {  # purposes that stand for several
    "ALL": (*CHANNELS, "PERSONALIZATION", "PROFILING", "TRAINING", "SALE"),
    "MARKETING": CHANNELS,
}
POINTS = {"EMAIL": "email_point", "SMS": "phone_point", "PHONE": "phone_point"}
YES = ("YES", "TRUE", "ALLOW")
# Each rests on the one before: who never answered about it is treated by what holds there.
RESTING = ("PERSONALIZATION", "PROFILING", "TRAINING")
RESTRICTED = "restricted by request"  # because of what a person was denied a purpose: of no answer
GROUP = ["person_id", "purpose"]
POINT = [*GROUP, "point"]


def email_point(address: pl.Expr) -> pl.Expr:
    """An e-mail address as it is compared; null where there is none."""
    plain = address.str.strip_chars().str.to_lowercase()
    return pl.when(plain.str.contains("@")).then(plain)


def phone_point(number: pl.Expr) -> pl.Expr:
    """A telephone number as it is compared: its digits; null where there are fewer than seven."""
    digits = number.str.replace_all("[^0-9]", "").str.replace("^00", "")
    return pl.when(digits.str.len_chars() >= 7).then(digits)


def answer(value: pl.Expr) -> pl.Expr:
    """Whether PURPOSE:ANSWER is a yes; what cannot be read as one is a refusal."""
    said = value.str.split(":").list.get(1, null_on_oob=True).str.strip_chars().str.to_uppercase()
    return said.is_in(YES).fill_null(False)


def answers_of_who_refuses(stored: pl.LazyFrame) -> pl.Expr:
    """Rows of bronze.preferences that no age takes away: every answer of an account that ever refused anything. A
    refusal holds until it is taken back, and whether it was tells the later answer.
    """
    account, value = pl.concat_str("_source_system", "CUSTOMER_ID", separator="/"), pl.col("PREFERENCE_VALUE")
    is_answer = pl.col("PREFERENCE_TYPE") == "COMMUNICATION"
    refusing = stored.filter(is_answer, ~answer(value)).select(account.unique()).collect().to_series()
    return is_answer & account.is_in(refusing.implode())


def undated_refusals_last(rows: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """Versions of one answer (``platform.tables.Settle``), in order, a refusal without a date after all others unless
    its source delivered a dated one since: without a date it would pass for older than what stood before it.
    """
    own, undated = ["_source", *key], pl.col("PREFERENCE_DATE").is_null()
    numbered = ranked(rows.with_row_index("order__")).sort(DELIVERY).with_row_index("delivered__").drop(INPUT)
    order, delivered = pl.col("order__"), pl.col("delivered__")
    last = order == order.filter(undated).max().over(own)
    dated_since = (delivered.filter(~undated).max().over(own) > delivered).fill_null(False)
    is_active = pl.col("PREFERENCE_STATUS").fill_null("ACTIVE") == "ACTIVE"
    refuses = (pl.col("PREFERENCE_TYPE") == "COMMUNICATION") & is_active & ~answer(pl.col("PREFERENCE_VALUE"))
    wins = (undated & last & refuses & ~dated_since).fill_null(False)
    return numbered.with_columns(wins__=wins).sort("wins__", "order__").drop("wins__", "order__", "delivered__")


def answers_by_point(said: pl.LazyFrame, always: pl.Expr) -> pl.LazyFrame:
    """Answers (person, purpose, ``is_allowed``, ``is_active``, ``stated_on``, account and points) by contact point and
    day: ``is_whole`` where they are about several purposes, ``valid_from`` their day or ``always``, ``refuses_always``
    where one without a date does. What is no longer active and was never followed by another is left out.
    """
    wholes = pl.LazyFrame(
        [(whole, purpose) for whole, purposes in WHOLES.items() for purpose in purposes],
        schema={"purpose": pl.String, "covered": pl.String}, orient="row",
    )  # fmt: skip
    is_whole = pl.col("covered").is_not_null()
    by_purpose = [pl.when(pl.col("purpose") == purpose).then(pl.col(column)) for purpose, column in POINTS.items()]
    told = said.join(wholes, on="purpose", how="left").with_columns(
        is_whole=is_whole, purpose=pl.coalesce("covered", "purpose"), valid_from=pl.col("stated_on").fill_null(always)
    )
    known = told.with_columns(
        point=pl.coalesce(*by_purpose, pl.concat_str("source_system", pl.lit("/"), "customer_id"))
    )
    undated_no = pl.col("stated_on").is_null() & pl.col("is_active") & ~pl.col("is_allowed")
    own = [*POINT, "is_whole"]
    daily = known.group_by(*own, "valid_from").agg(
        pl.col("is_allowed").all(), pl.col("is_active").any(), refuses_always=undated_no.any()
    )
    ordered = daily.sort(*own, "valid_from").with_columns(
        pl.col("refuses_always").any().over(POINT), is_followed=pl.col("valid_from").shift(-1).over(own).is_not_null()
    )
    return ordered.filter(pl.col("is_active") | pl.col("is_followed")).drop("is_active", "is_followed")


def state_by_day(answers: pl.LazyFrame) -> pl.LazyFrame:
    """What holds for a person and purpose from each day on which something was answered: ``is_allowed``, null where
    nothing does.
    """
    state = pl.col("state")
    return _state_by_point(answers).group_by(*GROUP, "valid_from").agg(
        is_allowed=pl.when(state.is_not_null().any()).then(state.all())
    )  # fmt: skip


def allowing_points(answers: pl.LazyFrame) -> pl.LazyFrame:
    """The contact points (`POINT`) whose own answer that holds now is a yes; see `answers_by_point`."""
    last = _state_by_point(answers).group_by(POINT).agg(pl.col("state").sort_by("valid_from").last())
    return last.filter("state").select(POINT)


def _state_by_point(answers: pl.LazyFrame) -> pl.LazyFrame:
    """By `POINT` and day of the person's answers about the purpose: ``state``, null where nothing holds."""
    days = answers.select(*GROUP, "valid_from").unique()
    points = answers.select(*POINT, "refuses_always").unique()
    grid = days.join(points, on=GROUP).sort("valid_from")
    held = _latest(_latest(grid, answers.filter(~pl.col("is_whole")), "own"), answers.filter("is_whole"), "whole")
    own, whole = pl.col("own"), pl.col("whole")
    is_covered = ~whole & (pl.col("own_from").is_null() | (pl.col("own_from") <= pl.col("whole_from")))
    state = (
        pl.when(pl.col("refuses_always") | is_covered.fill_null(False)).then(pl.lit(False)).otherwise(own)
    )  # an answer of its own purpose, or none
    return held.with_columns(state=state)


def _latest(grid: pl.LazyFrame, answers: pl.LazyFrame, name: str) -> pl.LazyFrame:
    """The answer that each contact point gave last, in ``name``, and its day."""
    given = answers.select(
        *POINT, "valid_from", pl.col("is_allowed").alias(name), pl.col("valid_from").alias(f"{name}_from")
    )
    return grid.join_asof(
        given.sort("valid_from"), on="valid_from", by=POINT, strategy="backward", check_sortedness=False
    )


def standing(intervals: pl.LazyFrame) -> pl.LazyFrame:
    """The answers that hold now: person_id, purpose, is_allowed, one row a person and purpose."""
    holds = intervals.filter(pl.col("valid_to").is_null())
    return holds.group_by("person_id", "purpose").agg(pl.col("is_allowed").all())


def denied_by(people: pl.LazyFrame, now: pl.LazyFrame, allows: Mapping[str, bool]) -> pl.LazyFrame:
    """Denials of persons by the answers that hold; ``allows`` says what holds of a purpose that was not asked for."""
    said = people
    for purpose in RESTING:
        answer = now.filter(pl.col("purpose") == purpose).select("person_id", pl.col("is_allowed").alias(purpose))
        said = said.join(answer, on="person_id", how="left")
    personalization, profiling, training = (pl.col(purpose) for purpose in RESTING)
    told = (
        said.with_columns(may_0=personalization.fill_null(allows[RESTING[0]]) & profiling.fill_null(True))
        .with_columns(may_1=profiling.fill_null(pl.col("may_0") & allows[RESTING[1]]))
        .with_columns(may_2=training.fill_null(pl.col("may_1") & allows[RESTING[2]]))
    )
    refuses = personalization.not_().fill_null(False) | profiling.not_().fill_null(False)
    wider = (profiling.fill_null(True), pl.col("may_0"), pl.col("may_1"))
    because = (
        pl.when(pl.col(p).not_().fill_null(False)).then(pl.lit("refused"))
        .when(refuses & ~may).then(pl.lit("follows")).otherwise(pl.lit("not asked"))
        for p, may in zip(RESTING, wider, strict=True)
    )  # fmt: skip
    parts = [
        told.filter(~pl.col(f"may_{n}")).select("person_id", purpose=pl.lit(p), because=why)
        for n, (p, why) in enumerate(zip(RESTING, because, strict=True))
    ]
    others = ~pl.col("is_allowed") & pl.col("purpose").is_in([*CHANNELS, "SALE"])
    parts.append(now.filter(others).select("person_id", "purpose", because=pl.lit("refused")))
    return pl.concat(parts).sort("person_id", "purpose")
