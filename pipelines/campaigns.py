"""Campaigns under all their names, and events of messages folded to messages: what tables about marketing share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time

import polars as pl

from customer360.pipelines.inference.proportions import design_effect, wilson
from customer360.pipelines.money import TOTAL, UNSTATED, converted, with_rate

# What analytics tools write for a visit that no campaign brought.
NO_CAMPAIGN = ("", "not_set", "none", "null", "direct", "organic", "referral", "undefined")
TOUCHES = (  # what tables about messages read of silver.touches
    "source_system", "customer_id", "subject_id", "person_id", "campaign_id", "channel", "action", "status",
    "is_machine", "message_id", "occurred_at", "minutes_to_open", "minutes_to_click",
)  # fmt: skip
NAMES = ("said", "campaign_id", "method")  # and of silver.campaign_names: what each name means
# And for a visit whose source is the address bar, or is not known.
NO_SOURCE = ("", "not_set", "none", "null", "direct", "direct_none", "undefined")
RESPONSES = ("DELIVERED", "OPENED", "CLICKED")  # by a person
UNNAMED = "(none)"  # stands for the campaign of a message without one; as a name it means none, too
MESSAGE = ("source_system", "customer_id", "campaign_id", "channel", "message")


def spelling(name: pl.Expr) -> pl.Expr:
    """A campaign's name as names are compared: letters and digits in small letters, anything between them one ``_``."""
    plain = name.str.replace_all("%20", " ", literal=True).str.to_lowercase()
    return plain.str.replace_all(r"[^\p{L}\p{N}]+", "_").str.strip_chars("_")


def without_prefixes(spelt: pl.Expr, prefixes: Sequence[str]) -> pl.Expr:
    """A spelling without what platforms put before it; itself where nothing would be left."""
    known = "|".join(sorted((p for p in prefixes), key=lambda p: (-len(p), p)))
    return spelt.str.replace(rf"^(?:(?:{known})_)+", "") if known else spelt


def one_campaign(rows: pl.LazyFrame, names: pl.LazyFrame) -> pl.LazyFrame:
    """Rows with the campaign that their ``campaign_id`` means by silver.campaign_names; one that means none stays as it
    is, one that says that there is no campaign becomes null."""
    told = names.select(campaign_id="said", means__="campaign_id", method__="method")
    meant = pl.when(pl.col("method__") != "NO_CAMPAIGN").then(pl.coalesce("means__", "campaign_id"))
    unknown = pl.when(pl.col("method__").is_null()).then(pl.col("campaign_id")).otherwise(meant)
    joined = rows.join(told, on="campaign_id", how="left", maintain_order="left")
    return joined.with_columns(campaign_id=unknown).drop("means__", "method__")


def midnight(day: date) -> datetime:
    """The instant at which a day begins, UTC."""
    return datetime.combine(day, time(), UTC)


def revenue_before(as_of: date) -> pl.Expr:
    """Revenue of a sale of silver.transactions, less what was given back of it before a date."""
    known = pl.col("returned_at").is_null() | (pl.col("returned_at") < midnight(as_of))
    back = pl.when(known).then(pl.col("return_amount")).otherwise(0)
    return pl.col("gross_amount").cast(TOTAL) - back.cast(TOTAL)


def reporting(currency: pl.LazyFrame) -> pl.LazyFrame:
    """One row: the reporting currency, or the word for none."""
    return pl.concat([currency.select("currency"), pl.LazyFrame({"currency": [UNSTATED]})]).head(1)


def spending(campaigns: pl.LazyFrame, exchange: pl.LazyFrame) -> pl.LazyFrame:
    """Listed campaigns with ``spent_amount`` in the reporting currency, at the rate of their first day; null without
    one."""
    rated = with_rate(campaigns, exchange, currency="currency", on="started_on", into="rate")
    return rated.with_columns(spent_amount=converted(pl.col("spent_amount"), pl.col("rate")).cast(TOTAL))


def messages_of(touches: pl.LazyFrame, names: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """One row per message and account before ``as_of``: when it was sent, delivered, opened and clicked by a person.

    A message is told by the platform's id, else it is the latest one of its campaign and channel, and another begins on
    each day on which one was sent (a weekly newsletter); an event of neither belongs to no message. A stage that a
    later one needs was passed, whether it was reported or not: a click without an opening (images blocked) is an
    opening. Columns: `MESSAGE`, subject_id, person_id, first_at; sent_at, opened_at, clicked_at (the first),
    last_clicked_at, responded_at; says_delivered: whether that was reported, has_arrived: or followed from something
    else; is_unsubscribed, is_bounced, is_machine_opened; minutes_to_open, minutes_to_click.
    """
    action, at, fine, by_person = pl.col("action"), pl.col("occurred_at"), _fine(), _by_person()
    told = _with_message(touches.filter(at < midnight(as_of)), names).with_columns(
        sent__=pl.when(action == "SENT").then(at),
        **{f"{word}__": pl.when(fine & by_person & (action == word)).then(at) for word in RESPONSES},
        unsubscribed__=fine & (action == "UNSUBSCRIBED"),
        failed__=~fine,
        machine__=fine & ~by_person,
        opening__=pl.when(by_person).then("minutes_to_open"),
        clicking__=pl.when(by_person).then("minutes_to_click"),
    )
    # Of values that were picked before: a filter within each group takes four times as long.
    folded = told.group_by(MESSAGE).agg(
        pl.col("subject_id", "person_id").min(),
        first_at=at.min(),
        sent_at=pl.col("sent__").min(),
        delivered_at=pl.col("DELIVERED__").min(),
        opened_at=pl.col("OPENED__").min(),
        clicked_at=pl.col("CLICKED__").min(),
        last_clicked_at=pl.col("CLICKED__").max(),
        is_unsubscribed=pl.col("unsubscribed__").any(),
        has_failed=pl.col("failed__").any(),
        is_machine_opened=pl.col("machine__").any(),
        minutes_to_open=pl.col("opening__").min(),
        minutes_to_click=pl.col("clicking__").min(),
    )
    return _staged(folded)


def clicks_of(touches: pl.LazyFrame, names: pl.LazyFrame) -> pl.LazyFrame:
    """Every click by a person, of the messages of `messages_of`: `MESSAGE`, subject_id, person_id, occurred_at."""
    is_click = _fine() & _by_person() & (pl.col("action") == "CLICKED")
    clicks = touches.filter(is_click)
    # Which message was clicked say, beside the click, only those that were sent to the same account.
    sent = touches.filter(_is_sending()).join(clicks, on="customer_id", how="semi", nulls_equal=True)
    return (
        _with_message(pl.concat([clicks, sent]), names)
        .filter(is_click)
        .select(*MESSAGE, "subject_id", "person_id", "occurred_at")
        .unique()
    )


def _fine() -> pl.Expr:
    return pl.col("status").fill_null("SUCCESS") == "SUCCESS"


def _by_person() -> pl.Expr:
    return ~pl.col("is_machine").fill_null(False)


def _is_sending() -> pl.Expr:
    """Whether a message was sent that the platform has no id of."""
    return (pl.col("action") == "SENT") & pl.col("message_id").is_null()


def _with_message(touches: pl.LazyFrame, names: pl.LazyFrame) -> pl.LazyFrame:
    """Events of messages with their campaign and ``message``, which no later event changes."""
    known = one_campaign(touches, names)
    series = ["source_system", "customer_id", "campaign_id", "channel"]
    day = pl.when(_is_sending()).then(pl.col("occurred_at").dt.date())
    ordered = known.with_columns(day__=day).sort(*series, "occurred_at", "day__", nulls_last=True)
    before = pl.col("day__").forward_fill().shift().over(series)
    begins = pl.col("day__").is_not_null() & pl.col("day__").ne_missing(before)
    numbered = ordered.with_columns(number__=begins.cum_sum().over(series))
    later = pl.when(pl.col("number__") > 1).then(pl.format("{}#{}", "campaign_id", "number__"))
    return numbered.with_columns(message=pl.coalesce("message_id", later, "campaign_id")).filter(
        pl.col("message").is_not_null()
    ).drop("day__", "number__")  # fmt: skip


def _staged(folded: pl.LazyFrame) -> pl.LazyFrame:
    clicked, opened = pl.col("clicked_at").is_not_null(), pl.col("opened_at").is_not_null()
    delivered = pl.col("delivered_at").is_not_null()
    arrived = delivered | clicked | opened | pl.col("is_machine_opened") | pl.col("is_unsubscribed")

    def minutes(until: str) -> pl.Expr:
        return (pl.col(until) - pl.col("sent_at")).dt.total_minutes()

    return folded.with_columns(
        says_delivered=delivered,
        has_arrived=arrived,
        is_bounced=pl.col("has_failed") & ~arrived,
        responded_at=pl.min_horizontal("opened_at", "clicked_at"),
        minutes_to_open=pl.coalesce("minutes_to_open", minutes("opened_at")),
        minutes_to_click=pl.coalesce("minutes_to_click", minutes("clicked_at")),
    ).drop("has_failed", "delivered_at")


def stages(messages: pl.LazyFrame) -> pl.LazyFrame:
    """Messages of whole campaigns with is_sent, is_delivered, is_opened, is_clicked and says_sent. Where a platform
    reports no delivery of a campaign, what was sent and did not come back was delivered."""
    clicked = pl.col("clicked_at").is_not_null()
    reports = pl.col("says_delivered").any().over("source_system", "campaign_id", "channel")
    return messages.with_columns(
        is_sent=pl.lit(True),
        is_delivered=pl.when(reports).then("has_arrived").otherwise(~pl.col("is_bounced")),
        is_opened=clicked | pl.col("opened_at").is_not_null(),
        is_clicked=clicked,
        says_sent=pl.col("sent_at").is_not_null(),
    )


def rates(counts: pl.LazyFrame, of: dict[str, tuple[str, str]], confidence: float) -> pl.LazyFrame:
    """Adds for each name ``<name>_rate`` of two counts, and its Wilson interval, as wide as ``<name>_squares`` make it
    (`design_effect`); null without a denominator."""
    for name, (count, total) in of.items():
        design = design_effect(pl.col(count), pl.col(total), pl.col(f"{name}_squares"))
        low, high = wilson(pl.col(count) / design, pl.col(total) / design, confidence)
        share = pl.when(pl.col(total) > 0).then(pl.col(count) / pl.col(total))
        counts = counts.with_columns(
            share.alias(f"{name}_rate"), low.alias(f"{name}_rate_low"), high.alias(f"{name}_rate_high")
        )
    return counts
