"""Over which channel, and at which hour, messages are answered: by segment, and by person as far as it is known.

A person has few messages, so its rates are drawn towards those of its segment (empirical Bayes). Two answers of one
person are alike because it is keen (`person_correlation`), two over one channel or at one hour because it prefers that
(`choice_correlation`, beyond the first); both are measured from pairs of answers. The rate of a choice is a beta
distribution round what the person's answers to its other choices let expect, as firm as both correlations say, and then
learns from the person's own answers to it. Where nobody prefers anything, all rates of a person become one.
"""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
from scipy.special import betaincinv, chdtrc, ndtr

from customer360.pipelines.campaigns import midnight
from customer360.pipelines.inference import sums
from customer360.pipelines.inference.proportions import design_effect, squares_of, wilson
from customer360.pipelines.inference.verdicts import NO_DIFFERENCE_SHOWN, NOT_ENOUGH_EVIDENCE
from customer360.pipelines.rules import EngagementRules, EnrichmentRules
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Float, Integer, OneOf, String, Table

EVERYBODY, UNSTATED = "ALL", "UNSTATED"  # the segment of all people, and of those whose master data name none
KINDS = ("CHANNEL", "HOUR")
PARTS = 2**32  # of an answer, as which residuals are added up
READ = {
    "gold.message_outcomes": ("subject_id", "person_id", "channel", "sent_at", "is_bounced", "is_answered"),
    "silver.people": ("person_id", "customer_segment"),
}
LEAST, MOST = 0.001, 0.95  # of rates and correlations: a prior of 0 or 1 could learn nothing


class ResponseRates(Table, table="gold.response_rates", partition_by=("as_of",), sort_by=("kind", "segment", "choice")):
    """One row per segment, channel or hour of sending, and as_of date: how often messages are answered.

    The segment is that of the master data, ALL everybody. `is_best` stands where the choices of the segment differ at
    the rule's confidence, on the one with the highest rate. People choose neither, but whoever sends may choose by
    person: hours and channels that were not varied at random tell of their readers, too.
    """

    kind = OneOf(*KINDS, primary_key=True, description="Whether the choice is a channel or an hour")
    segment = String(
        primary_key=True, description=f"Of the master data; {EVERYBODY}: everybody, {UNSTATED}: it names none"
    )
    choice = String(primary_key=True, description="The channel, or the hour of sending, 00 to 23, UTC")
    as_of = Date(primary_key=True)
    status = OneOf(
        "DIFFERENT", NO_DIFFERENCE_SHOWN, NOT_ENOUGH_EVIDENCE, "ONE_CHOICE",
        description="Of the segment's choices, those with too few people left out",
    )  # fmt: skip
    is_best = Boolean(description="The choice with the highest rate, where the choices of the segment differ")
    person_count = Integer(description="People who got such messages")
    message_count = Integer(description="Messages of the rule's history whose days for an answer are over")
    response_count = Integer(description="Opened or clicked by a person within the rule's days")
    response_rate = Float(description="response_count / message_count; Wilson's interval, wider as answers of one"
                          " person are alike")  # fmt: skip
    response_rate_low = Float()
    response_rate_high = Float()
    p_value = Float(nullable=True, description="That all choices of the segment are answered alike (chi-square, with"
                    " the scatter of people: Rao and Scott 1984)")  # fmt: skip
    person_correlation = Float(
        description="Of two answers of one person to different choices; of everybody where the segment is small"
    )
    choice_correlation = Float(description="Of two answers of one person to one choice, beyond that")


class ResponsePreferences(Table):
    """What stands of a person and one of its channels or hours."""

    segment = String(description="Towards whose rate it is drawn")
    status = OneOf(
        "CLEAR", "NOT_CLEAR", NOT_ENOUGH_EVIDENCE, "ONE_CHOICE",
        description="Of the person: CLEAR where the best is above each other at the rule's confidence;"
        " NOT_ENOUGH_EVIDENCE: fewer messages than the rule's least; ONE_CHOICE: it was never tried another",
    )  # fmt: skip
    rank = Integer(min=1, description="1: the highest posterior mean; in the order of names among equals")
    message_count = Integer(description="Messages of the rule's history whose days for an answer are over")
    response_count = Integer(description="Of these, opened or clicked by the person within the rule's days")
    response_rate = Float(min=0, max=1, description="Posterior mean")
    response_rate_low = Float(min=0, max=1, description="Of the equal-tailed credible interval")
    response_rate_high = Float(min=0, max=1)


class ChannelPreferences(
    ResponsePreferences, table="gold.channel_preferences", per="person_id", partition_by=("as_of",),
    sort_by=("person_id", "rank"), serves="PROFILING",
):  # fmt: skip
    """One row per person, channel that it got messages over, and as_of date: how likely it answers there."""

    person_id = String(primary_key=True)
    channel = String(primary_key=True, description="That the messages were sent over")
    as_of = Date(primary_key=True)


class SendHourPreferences(
    ResponsePreferences, table="gold.send_hour_preferences", per="person_id", partition_by=("as_of",),
    sort_by=("person_id", "rank"), serves="PROFILING",
):  # fmt: skip
    """One row per person, hour at which it was sent messages (UTC), and as_of date: how likely it answers those."""

    person_id = String(primary_key=True)
    send_hour = Integer(primary_key=True, min=0, max=23, description="Hour at which the messages were sent, UTC")
    as_of = Date(primary_key=True)


@builds(
    ResponseRates,
    rules="enrichment",
    reads=READ,
)
def response_rates(
    gold_message_outcomes: pl.LazyFrame,
    silver_people: pl.LazyFrame,
    as_of: date,
    params: EnrichmentRules,
) -> pl.LazyFrame:
    """Rates over everybody, in a table of its own: preferences are built person by person and could not see them."""
    rules = params.engagement
    # Made once: a plan that used it six times would make it six times.
    sent = _segmented(_answers(gold_message_outcomes, as_of, rules), silver_people).collect().lazy()
    people = pl.concat([_by_person(sent, kind).with_columns(kind=pl.lit(kind)) for kind in KINDS])
    every = pl.concat([people, people.with_columns(segment=pl.lit(EVERYBODY))])
    group = ["kind", "segment", "choice"]
    counted = every.group_by(group).agg(
        person_count=pl.len().cast(pl.Int64),
        message_count=pl.col("n").sum().cast(pl.Int64),
        response_count=pl.col("a").sum().cast(pl.Int64),
        residuals=squares_of(pl.col("a"), pl.col("n")),
    )
    counted = counted.with_columns(
        design=design_effect(pl.col("response_count"), pl.col("message_count"), pl.col("residuals"))
    )
    answers, messages = (pl.col(c) / pl.col("design") for c in ("response_count", "message_count"))
    low, high = wilson(answers, messages, rules.confidence)
    rated = counted.with_columns(
        response_rate=pl.col("response_count") / pl.col("message_count"), response_rate_low=low, response_rate_high=high
    )
    rated = rated.collect().lazy()
    scattered = rated.join(_correlations(every, rated, rules), on=["kind", "segment"], how="left")
    return _compared(scattered, rules).with_columns(as_of=pl.lit(as_of)).select(list(ResponseRates.columns()))


def _answers(messages: pl.LazyFrame, as_of: date, rules: EngagementRules) -> pl.LazyFrame:
    """Messages to persons, sent in the rule's history, whose days for an answer are over: person_id, CHANNEL, HOUR,
    ``responds``."""
    begin, end = (midnight(as_of - timedelta(days=days)) for days in (rules.history_days, rules.response_days))
    return messages.filter(
        pl.col("person_id").is_not_null(), pl.col("sent_at") >= begin, pl.col("sent_at") < end, ~pl.col("is_bounced")
    ).select("person_id", CHANNEL="channel", HOUR=pl.col("sent_at").dt.strftime("%H"), responds="is_answered")


def _segmented(sent: pl.LazyFrame, people: pl.LazyFrame) -> pl.LazyFrame:
    told = people.select("person_id", segment=pl.col("customer_segment").fill_null(UNSTATED))
    return sent.join(told, on="person_id", how="left").with_columns(pl.col("segment").fill_null(UNSTATED))


def _by_person(sent: pl.LazyFrame, kind: str) -> pl.LazyFrame:
    """``n`` messages and ``a`` answers by person, segment and choice."""
    return sent.group_by("person_id", "segment", choice=kind).agg(
        n=pl.len().cast(pl.Int64), a=pl.col("responds").sum().cast(pl.Int64)
    )


def _correlations(people: pl.LazyFrame, rated: pl.LazyFrame, rules: EngagementRules) -> pl.LazyFrame:
    """By kind and segment: the covariance of pairs of answers of one person, over the variance of an answer."""
    group = ["kind", "segment"]
    m, n, a = pl.col("response_rate"), pl.col("n"), pl.col("a")
    joined = people.join(rated.select(*group, "choice", "response_rate"), on=[*group, "choice"])
    # Whole numbers of parts add up the same in any order; a sum of floats by person would have to be sorted.
    person = joined.with_columns(r=((a - n * m) * PARTS).round().cast(pl.Int64)).group_by(*group, "person_id").agg(
        r=pl.col("r").sum() / PARTS, n=n.sum()
    )  # fmt: skip
    # Rows of one choice with the same counts are alike: what is summed over rows is summed over these.
    alike = joined.group_by(*group, "n", "a", "response_rate").agg(times=pl.len().cast(pl.Int64))
    alone = a * (1 - m) ** 2 + (n - a) * m**2  # products of an answer with itself, which are no pairs
    rows = alike.with_columns(r2=(a - n * m) ** 2 * pl.col("times"), alone=alone * pl.col("times")).group_by(group).agg(
        r2=sums.total(pl.col("r2")), alone=sums.total(pl.col("alone")),
        n=(n * pl.col("times")).sum(), n2=(n * n * pl.col("times")).sum(),
    )  # fmt: skip
    whole = person.group_by(group).agg(people=pl.len(), r_squares=sums.total(pl.col("r") ** 2), n_squares=(n * n).sum())
    summed = whole.join(rows, on=group).with_columns(
        across=pl.col("r_squares") - pl.col("r2"), across_pairs=pl.col("n_squares") - pl.col("n2"),
        within=pl.col("r2") - pl.col("alone"), within_pairs=pl.col("n2") - n,
        variance=pl.col("alone") / n,
    )  # fmt: skip

    def correlation(of: str) -> pl.Expr:
        known = (pl.col(f"{of}_pairs") > 0) & (pl.col("variance") > 0)
        return pl.when(known).then(pl.col(of) / pl.col(f"{of}_pairs") / pl.col("variance"))

    measured = summed.with_columns(across=correlation("across"), within=correlation("within"))
    person_alike = pl.coalesce("across", "within").clip(LEAST, MOST)
    told = measured.with_columns(
        own_person=person_alike,
        own_choice=(pl.col("within") - pl.col("across")).fill_null(0.0).clip(0.0, MOST),
    )
    small = (pl.col("people") < rules.least) & (pl.col("segment") != EVERYBODY)

    def of_all(column: str) -> pl.Expr:
        return pl.col(column).filter(pl.col("segment") == EVERYBODY).first().over("kind")

    return told.select(
        *group,
        *(
            pl.when(small).then(of_all(f"own_{name}")).otherwise(pl.col(f"own_{name}")).fill_null(unknown)
            .alias(f"{name}_correlation")
            for name, unknown in (("person", LEAST), ("choice", 0.0))
        ),
    )  # fmt: skip


def _compared(rated: pl.LazyFrame, rules: EngagementRules) -> pl.LazyFrame:
    """Adds ``p_value``, ``status`` and ``is_best`` of each segment's choices."""
    group = ["kind", "segment"]
    counts = pl.col("person_count") >= rules.least
    messages, answers = pl.col("message_count"), pl.col("response_count")
    n, a = pl.when(counts).then(messages), pl.when(counts).then(answers)
    pooled = a.sum().over(group) / n.sum().over(group)
    effect = sums.mean(pl.when(counts).then("design")).over(group)
    square = sums.total((a - n * pooled) ** 2 / (n * pooled * (1 - pooled))).over(group) / effect
    choices = counts.sum().over(group)
    told = rated.with_columns(square=square, choices=choices, compared=counts)
    told = told.with_columns(
        p_value=pl.when((pl.col("choices") > 1) & pl.col("square").is_finite()).then(
            pl.struct("choices", "square").map_batches(_chi_square, return_dtype=pl.Float64)
        )
    )
    differs = pl.col("p_value") < 1 - rules.confidence
    best = pl.col("response_rate") == pl.when("compared").then("response_rate").max().over(group)
    several = pl.len().over(group) > 1
    return told.with_columns(
        status=pl.when(~several).then(pl.lit("ONE_CHOICE"))
        .when(pl.col("p_value").is_null()).then(pl.lit(NOT_ENOUGH_EVIDENCE))
        .when(differs).then(pl.lit("DIFFERENT"))
        .otherwise(pl.lit(NO_DIFFERENCE_SHOWN)),
        is_best=(differs & pl.col("compared") & best).fill_null(False),
    )  # fmt: skip


def _chi_square(of: pl.Series) -> pl.Series:
    values = of.struct.unnest()
    square = np.nan_to_num(values["square"].cast(pl.Float64).to_numpy())
    return pl.Series(chdtrc(np.maximum(values["choices"].to_numpy() - 1, 1).astype(float), np.maximum(square, 0)))


@builds(
    ChannelPreferences,
    rules="enrichment",
    reads=READ,
)
def channel_preferences(
    gold_message_outcomes: pl.LazyFrame,
    silver_people: pl.LazyFrame,
    gold_response_rates: pl.LazyFrame,
    as_of: date,
    params: EnrichmentRules,
) -> pl.LazyFrame:
    """People with a message in the rule's history."""
    sent = _answers(gold_message_outcomes, as_of, params.engagement)
    told = _of_people(sent, silver_people, gold_response_rates, "CHANNEL", as_of, params)
    return told.with_columns(channel="choice").select(list(ChannelPreferences.columns()))


@builds(
    SendHourPreferences,
    rules="enrichment",
    reads=READ,
)
def send_hour_preferences(
    gold_message_outcomes: pl.LazyFrame,
    silver_people: pl.LazyFrame,
    gold_response_rates: pl.LazyFrame,
    as_of: date,
    params: EnrichmentRules,
) -> pl.LazyFrame:
    """People with a message in the rule's history."""
    sent = _answers(gold_message_outcomes, as_of, params.engagement)
    told = _of_people(sent, silver_people, gold_response_rates, "HOUR", as_of, params)
    return told.with_columns(send_hour=pl.col("choice").cast(pl.Int64)).select(list(SendHourPreferences.columns()))


def _of_people(
    sent: pl.LazyFrame, people: pl.LazyFrame, rates: pl.LazyFrame, kind: str, as_of: date, params: EnrichmentRules
) -> pl.LazyFrame:
    """`ResponsePreferences` of each person with a message, by ``choice``."""
    counted = _by_person(_segmented(sent, people), kind).collect().lazy()
    told = _preferred(counted, rates, kind, params.engagement)
    return told.with_columns(as_of=pl.lit(as_of))


def _preferred(people: pl.LazyFrame, rates: pl.LazyFrame, kind: str, rules: EngagementRules) -> pl.LazyFrame:
    """Posterior means, intervals and the order of each person's choices."""
    known = rates.filter(pl.col("kind") == kind)
    own = known.select("segment", "choice", m="response_rate", of="person_count")
    everybody = known.filter(pl.col("segment") == EVERYBODY).select("choice", m_all="response_rate")
    scatter = known.group_by("segment").agg(pl.col("person_correlation", "choice_correlation").first())
    joined = (
        people.join(own, on=["segment", "choice"], how="left")
        .join(everybody, on="choice", how="left")
        .join(scatter, on="segment", how="left")
    )
    is_own = pl.col("of").fill_null(0) >= rules.least
    rate = pl.when(is_own).then("m").otherwise("m_all").clip(LEAST, 1 - LEAST)
    told = joined.with_columns(rate=rate, drawn_to=pl.when(is_own).then("segment").otherwise(pl.lit(EVERYBODY)))
    person, choice = pl.col("person_correlation"), pl.col("choice_correlation")
    firm = 1 / person - 1
    # Answers to another choice tell of the person as far as they do not tell of that choice (design effect).
    told = told.with_columns(design=1 + (pl.col("n") - 1) * (choice / (1 - person)).clip(0, 1)).with_columns(
        told_n=pl.col("n") / pl.col("design"), told_a=pl.col("a") / pl.col("design")
    )
    other_n, other_a = (sums.total(pl.col(c)).over("person_id") - pl.col(c) for c in ("told_n", "told_a"))
    hoped = pl.col("told_n") * pl.col("rate")
    keen = (firm * pl.col("rate") + other_a) / (firm * pl.col("rate") + sums.total(hoped).over("person_id") - hoped)
    scattered = choice + (1 - choice) / (firm + other_n + 1)
    told = told.with_columns(
        mean=(pl.col("rate") * keen).clip(LEAST, 1 - LEAST), weight=1 / scattered.clip(1e-6, MOST) - 1
    ).with_columns(
        alpha=pl.col("mean") * pl.col("weight") + pl.col("a"),
        beta=(1 - pl.col("mean")) * pl.col("weight") + pl.col("n") - pl.col("a"),
    )
    alpha, beta = pl.col("alpha"), pl.col("beta")
    tail = (1 - rules.confidence) / 2
    told = told.with_columns(
        segment="drawn_to", message_count="n", response_count="a",
        response_rate=alpha / (alpha + beta),
        variance=alpha * beta / ((alpha + beta) ** 2 * (alpha + beta + 1)),
        response_rate_low=_quantile(tail), response_rate_high=_quantile(1 - tail),
    )  # fmt: skip
    return _ranked(told, rules)


def _ranked(told: pl.LazyFrame, rules: EngagementRules) -> pl.LazyFrame:
    who = "person_id"
    ordered = told.sort(who, pl.col("response_rate").round(9), "choice", descending=[False, True, False])
    ranked = ordered.with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over(who))
    best, spread = (pl.col(c).first().over(who) for c in ("response_rate", "variance"))
    above = (best - pl.col("response_rate")) / (spread + pl.col("variance")).sqrt()
    others = pl.len().over(who) - 1
    # Each of the others would be passed by chance: the error is shared among them (Bonferroni).
    doubt = pl.when(pl.col("rank") > 1).then(
        above.map_batches(lambda z: pl.Series(z.name, ndtr(-z.to_numpy())), return_dtype=pl.Float64)
    )
    clear = (doubt.max().over(who) * others) < 1 - rules.confidence
    few = pl.col("n").sum().over(who) < rules.least_messages
    return ranked.with_columns(
        status=pl.when(few).then(pl.lit(NOT_ENOUGH_EVIDENCE))
        .when(others == 0).then(pl.lit("ONE_CHOICE"))
        .when(clear).then(pl.lit("CLEAR"))
        .otherwise(pl.lit("NOT_CLEAR"))
    )  # fmt: skip


def _quantile(at: float) -> pl.Expr:
    def of(values: pl.Series) -> pl.Series:
        told = values.struct.unnest()
        return pl.Series(betaincinv(told["alpha"].to_numpy(), told["beta"].to_numpy(), at))

    return pl.struct("alpha", "beta").map_batches(of, return_dtype=pl.Float64)
