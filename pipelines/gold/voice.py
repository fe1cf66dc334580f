"""What customers say of us: scores of surveys, aspects of statements, brands beside each other."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from customer360.pipelines.inference import sums
from customer360.pipelines.inference.comparisons import Z, holm, t_interval, t_p_value
from customer360.pipelines.inference.proportions import wilson
from customer360.pipelines.inference.verdicts import BETTER, MEASURED, NO_DIFFERENCE_SHOWN, NOT_ENOUGH_EVIDENCE, WORSE
from customer360.pipelines.rules.voice import VoiceRules
from customer360.platform.graph import builds
from customer360.platform.tables import Date, Float, Integer, OneOf, String, Table

ALL, UNKNOWN = "ALL", "UNKNOWN"
CONFIDENCE = 0.95
DIMENSIONS = {ALL: None, "CHANNEL": "channel", "SEGMENT": "customer_segment", "SURVEY": "survey_id"}
HIGH = {"NPS": 9, "CSAT": 4, "CES": 5}  # from which an answer is a good one: promoters, satisfied, easy
LOW = {"NPS": 6, "CSAT": 2, "CES": 3}  # up to which it is a bad one
ADDED = 3.0  # answers that the adjusted interval of a net score adds, a third of each kind


class SurveyScores(
    Table, table="gold.survey_scores", partition_by=("as_of",),
    sort_by=("survey_type", "dimension", "value", "month"),
):  # fmt: skip
    """One row per type of survey, month, dimension and value of it, and as_of date: its score with its interval.

    Of NPS the score is promoters (9 and 10) minus detractors (0 to 6) of a hundred answers, from -100 to 100; of CSAT
    and CES the answers of 4 and 5, and of 5 to 7, of a hundred. The interval of NPS is the adjusted Wald interval for a
    difference of shares (Agresti and Min 2005), that of the others Wilson's.
    """

    as_of = Date(primary_key=True)
    survey_type = OneOf(
        *HIGH, primary_key=True, description="How the survey asks: to recommend (NPS), satisfaction (CSAT), ease (CES)"
    )
    month = Date(primary_key=True, description="First day, of the answer; the last may not be over")
    dimension = OneOf(*DIMENSIONS, primary_key=True, description="What value is of")
    value = String(primary_key=True, description=f"{ALL}: all answers; {UNKNOWN}: not said")
    answer_count = Integer(description="Answers with a score")
    good_count = Integer(description="Promoters, satisfied, easy")
    bad_count = Integer(description="Detractors, unsatisfied, hard")
    mean_score = Float(description="Of these answers, on the scale of the survey")
    score = Float(description="-100 to 100 for NPS, 0 to 100 for others")
    score_low = Float(description="95 % interval")
    score_high = Float()
    status = OneOf(
        MEASURED, NOT_ENOUGH_EVIDENCE, description="NOT_ENOUGH_EVIDENCE: fewer than least_answers, read the interval"
    )


@builds(
    SurveyScores,
    rules="voice",
    reads={
        "silver.survey_answers": ("answer_id", "source_system", "person_id", "survey_id", "survey_type", "score",
                                  "channel", "occurred_on"),
        "silver.people": ("person_id", "customer_segment"),
        "silver.feedback": ("statement_id", "kind", "source_system", "set_apart"),
    },
)  # fmt: skip
def survey_scores(
    silver_survey_answers: pl.LazyFrame,
    silver_feedback: pl.LazyFrame,
    silver_people: pl.LazyFrame,
    as_of: date,
    params: VoiceRules,
) -> pl.LazyFrame:
    """Answers with a score before ``as_of`` that are not set apart."""
    apart = silver_feedback.filter(pl.col("kind") == "ANSWER", pl.col("set_apart").is_not_null())
    answers = (
        silver_survey_answers.filter(pl.col("score").is_not_null(), pl.col("occurred_on") < as_of)
        .join(apart, left_on=["answer_id", "source_system"], right_on=["statement_id", "source_system"], how="anti")
        .join(silver_people, on="person_id", how="left")
        .with_columns(
            month=pl.col("occurred_on").dt.truncate("1mo"),
            good=pl.col("score") >= pl.col("survey_type").replace_strict(HIGH, return_dtype=pl.Int64),
            bad=pl.col("score") <= pl.col("survey_type").replace_strict(LOW, return_dtype=pl.Int64),
        )
    )
    parts = [
        answers.with_columns(dimension=pl.lit(name), value=pl.col(column).fill_null(UNKNOWN) if column else pl.lit(ALL))
        for name, column in DIMENSIONS.items()
    ]
    rows = (
        pl.concat(parts)
        .group_by("survey_type", "month", "dimension", "value")
        .agg(
            answer_count=pl.len().cast(pl.Int64),
            good_count=pl.col("good").sum().cast(pl.Int64),
            bad_count=pl.col("bad").sum().cast(pl.Int64),
            mean_score=sums.mean(pl.col("score")),
        )
    )
    few = pl.col("answer_count") < params.least_answers
    return rows.with_columns(
        as_of=pl.lit(as_of),
        **_scored(),
        status=pl.when(few).then(pl.lit(NOT_ENOUGH_EVIDENCE)).otherwise(pl.lit(MEASURED)),
    ).select(list(SurveyScores.columns()))


def _scored() -> dict[str, pl.Expr]:
    good, bad, count = pl.col("good_count"), pl.col("bad_count"), pl.col("answer_count")
    net = (good - bad) / count
    n = count + ADDED
    up, down = (good + ADDED / 3) / n, (bad + ADDED / 3) / n
    half = Z * ((up + down - (up - down) ** 2) / n).sqrt()
    low, high = wilson(good, count, CONFIDENCE)
    is_nps = pl.col("survey_type") == "NPS"
    ends = (up - down - half).clip(-1, 1), (up - down + half).clip(-1, 1)
    return {
        "score": 100 * pl.when(is_nps).then(net).otherwise(good / count),
        "score_low": 100 * pl.when(is_nps).then(ends[0]).otherwise(low),
        "score_high": 100 * pl.when(is_nps).then(ends[1]).otherwise(high),
    }


BACK = {BETTER: "RECOVERED", WORSE: "EASED"}  # a change that only takes another one back


class AspectTrends(Table, table="gold.aspect_trends", partition_by=("as_of",), sort_by=("aspect", "month")):
    """One row per aspect, month and as_of date: how statements on the own brand speak of it, and whether that changed.

    A month that is over is compared with the rule file's trend_months before it; who says much counts once a month in
    the sentiment, with its mean.
    """

    as_of = Date(primary_key=True)
    aspect = String(primary_key=True, description="Of the rule file")
    month = Date(primary_key=True, description="First day; the last may not be over")
    statement_count = Integer(description="That name the aspect")
    feedback_count = Integer(description="All statements of the month on the own brand that count")
    mention_rate = Float(description="Share of these that name it")
    mention_rate_low = Float(description="Wilson's 95 % interval")
    mention_rate_high = Float()
    positive_count = Integer(description="Of these, clearly in favour (clear of the rule file)")
    negative_count = Integer(description="Of these, clearly against")
    read_count = Integer(description="Authors whose sentiment could be read; who cannot be told counts each time")
    mean_sentiment = Float(nullable=True, description="Over these authors")
    sentiment_low = Float(nullable=True, description="95 % interval; null: fewer than two were read")
    sentiment_high = Float(nullable=True, description="Upper end of the interval of mean_sentiment")
    change = Float(nullable=True, description="Of mean sentiment against the months before")
    change_low = Float(nullable=True, description="Welch's 95 % interval, for this row alone")
    change_high = Float(nullable=True)
    p_value = Float(
        nullable=True,
        description="Adjusted for all aspects of the month (Holm): of 20 months without a change one has a false claim",
    )
    trend = OneOf(
        BETTER, WORSE, *BACK.values(), NO_DIFFERENCE_SHOWN, NOT_ENOUGH_EVIDENCE,
        description="At the rule file's level. RECOVERED: better than months that were WORSE, and not shown to be"
        f" better than the other months before; EASED: likewise after BETTER ones. {NOT_ENOUGH_EVIDENCE}: fewer than"
        " least_mentions on a side, or the month not over",
    )  # fmt: skip


FEEDBACK = ("subject_id", "author", "occurred_on", "brand", "opinion_score", "aspects", "set_apart")


@builds(AspectTrends, rules="voice", reads={"silver.feedback": FEEDBACK})
def aspect_trends(silver_feedback: pl.LazyFrame, as_of: date, params: VoiceRules) -> pl.LazyFrame:
    """Statements before ``as_of`` on the own brand that are not set apart."""
    own = (
        silver_feedback.filter(
            pl.col("set_apart").is_null(), pl.col("occurred_on") < as_of, pl.col("brand") == params.own_brand
        )
        .with_columns(month=pl.col("occurred_on").dt.truncate("1mo"))
        .collect()
    )
    everything = own.group_by("month").agg(feedback_count=pl.len().cast(pl.Int64))
    score = pl.col("sentiment_score")
    told = (
        own.select("month", "aspects", who=pl.coalesce("author", "subject_id"))
        .explode("aspects")
        .filter(pl.col("aspects").is_not_null())
        .unnest("aspects")
        .group_by("aspect", "month", "who")
        .agg(
            sums.mean(score),
            said=pl.len(),
            positive=(score >= params.clear).sum(),
            negative=(score <= -params.clear).sum(),
        )
        .group_by("aspect", "month")
        .agg(
            statement_count=pl.col("said").sum().cast(pl.Int64),
            positive_count=pl.col("positive").sum().cast(pl.Int64),
            negative_count=pl.col("negative").sum().cast(pl.Int64),
            read_count=score.count().cast(pl.Int64),
            sum=sums.total(score),
            squares=sums.total(score**2),
        )
        .join(everything, on="month", how="left")
        .sort("aspect", "month")
    )
    low, high = wilson(pl.col("statement_count"), pl.col("feedback_count"), CONFIDENCE)
    rows = _with_change(told, params, as_of).with_columns(
        as_of=pl.lit(as_of),
        mention_rate=pl.col("statement_count") / pl.col("feedback_count"),
        mention_rate_low=low,
        mention_rate_high=high,
    )
    return rows.lazy().select(list(AspectTrends.columns()))


def _moments(n: np.ndarray, total: np.ndarray, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean, squared error of the mean); NaN without two values."""
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(n > 0, total / n, np.nan)
        variance = np.maximum(squares - n * mean**2, 0) / np.where(n > 1, n - 1, np.nan)
        return mean, variance / n


def _with_change(told: pl.DataFrame, rules: VoiceRules, as_of: date) -> pl.DataFrame:
    """Adds mean sentiment, its interval, and the change against the months before."""
    later = pl.concat(
        [told.select("aspect", "read_count", "sum", "squares", month=pl.col("month").dt.offset_by(f"{n}mo"))
         for n in range(1, rules.trend_months + 1)]
    )  # fmt: skip
    before = later.group_by("aspect", "month").agg(
        n0=pl.col("read_count").sum(), sum0=sums.total(pl.col("sum")), squares0=sums.total(pl.col("squares"))
    )
    rows = told.join(before, on=["aspect", "month"], how="left", maintain_order="left").with_columns(
        pl.col("n0", "sum0", "squares0").fill_null(0)
    )
    n, total, squares, n0, total0, squares0 = (
        rows[c].cast(pl.Float64).to_numpy() for c in ("read_count", "sum", "squares", "n0", "sum0", "squares0")
    )
    (mean, error), (mean0, error0) = _moments(n, total, squares), _moments(n0, total0, squares0)
    is_over = (rows["month"].dt.offset_by("1mo") <= as_of).to_numpy() if len(rows) else np.zeros(0, dtype=bool)
    enough = (n >= rules.least_mentions) & (n0 >= rules.least_mentions) & is_over
    change, both = mean - mean0, error + error0
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = both**2 / (error**2 / (n - 1) + error0**2 / (n0 - 1))
    freedom = np.where(np.isfinite(freedom), freedom, 1.0)
    p = np.where(enough, t_p_value(change, np.sqrt(both), freedom), np.nan)
    months = rows["month"].to_numpy()
    for month in np.unique(months):
        p[months == month] = holm(p[months == month])
    ends, own_ends = t_interval(change, np.sqrt(both), freedom), t_interval(mean, np.sqrt(error), np.maximum(n - 1, 1))
    trend = np.where(
        ~enough,
        NOT_ENOUGH_EVIDENCE,
        np.where(p < rules.level, np.where(change > 0, BETTER, WORSE), NO_DIFFERENCE_SHOWN),
    )
    trend = _taken_back(rows, trend, rules)
    columns = {"mean_sentiment": mean, "sentiment_low": own_ends[0], "sentiment_high": own_ends[1],
               "change": np.where(enough, change, np.nan), "change_low": np.where(enough, ends[0], np.nan),
               "change_high": np.where(enough, ends[1], np.nan), "p_value": p}  # fmt: skip
    return rows.with_columns(
        **{name: pl.Series(values).fill_nan(None) for name, values in columns.items()},
        trend=pl.Series(trend, dtype=pl.String),
    )


def _taken_back(rows: pl.DataFrame, trend: np.ndarray, rules: VoiceRules) -> np.ndarray:
    """The trends, those called RECOVERED or EASED that are no change from the months before without the odd ones."""
    sums_of = rows.select("read_count", "sum", "squares").cast(pl.Float64).to_numpy()
    at = {key: n for n, key in enumerate(rows.select("aspect", "month").iter_rows())}
    months = [rows["month"].dt.offset_by(f"-{n}mo").to_list() for n in range(1, rules.trend_months + 1)]
    told = trend.astype(object)
    for number in np.flatnonzero(np.isin(trend, list(BACK))):
        found = [at.get((rows["aspect"][int(number)], before[number])) for before in months]
        earlier = [n for n in found if n is not None]
        other = WORSE if trend[number] == BETTER else BETTER
        calm = [n for n in earlier if trend[n] != other]
        if len(calm) == len(earlier):
            continue
        n, n0 = sums_of[[number]], sums_of[calm].sum(axis=0, keepdims=True)
        if n0[0, 0] < rules.least_mentions:  # nothing to compare it with but the odd months
            continue
        (mean, error), (mean0, error0) = _moments(*n.T), _moments(*n0.T)
        both = error + error0
        freedom = both**2 / (error**2 / (n[:, 0] - 1) + error0**2 / (n0[:, 0] - 1))
        p = t_p_value(mean - mean0, np.sqrt(both), np.where(np.isfinite(freedom), freedom, 1.0))
        if p[0] < rules.level and (mean[0] > mean0[0]) == (trend[number] == BETTER):
            continue
        told[number] = BACK[str(trend[number])]
    return told


class BrandComparison(Table, table="gold.brand_comparison", partition_by=("as_of",), sort_by=("month", "brand")):
    """One row per brand, month and as_of date: its share of what is said in public, and how it is spoken of beside us.

    Reviews and posts; a person who says much counts once a month in the sentiment, with its mean. A post that names
    several brands counts for each with what it says of that one.
    """

    as_of = Date(primary_key=True)
    month = Date(primary_key=True, description="First day; the last may not be over")
    brand = String(primary_key=True, description="That is spoken of; the own one is a row, too")
    statement_count = Integer(description="Reviews and posts of the month that speak of it")
    author_count = Integer(description="Authors; who cannot be told counts each time")
    share_of_voice = Float(description="Of the authors of all brands")
    share_of_voice_low = Float(description="Wilson's 95 % interval")
    share_of_voice_high = Float()
    mean_sentiment = Float(nullable=True, description="Over authors")
    read_count = Integer(description="Authors of whom there is an opinion")
    difference = Float(nullable=True, description="Of mean sentiment against the own brand; null for that one")
    difference_low = Float(nullable=True, description="Welch's 95 % interval, for this row alone")
    difference_high = Float(nullable=True)
    p_value = Float(nullable=True, description="Adjusted for all brands of the month (Holm)")
    verdict = OneOf(
        "OWN", BETTER, WORSE, NO_DIFFERENCE_SHOWN, NOT_ENOUGH_EVIDENCE,
        description=f"Spoken of better or worse than the own brand; {NOT_ENOUGH_EVIDENCE}: fewer than least_mentions of"
        " either",
    )  # fmt: skip


@builds(BrandComparison, rules="voice", reads={"silver.feedback": (*FEEDBACK, "kind", "mentions")})
def brand_comparison(silver_feedback: pl.LazyFrame, as_of: date, params: VoiceRules) -> pl.LazyFrame:
    """Reviews and posts before ``as_of`` that are not set apart."""
    public = silver_feedback.filter(
        pl.col("set_apart").is_null(), pl.col("occurred_on") < as_of, pl.col("kind") != "ANSWER"
    )
    authors = (
        _by_brand(public)
        .with_columns(month=pl.col("occurred_on").dt.truncate("1mo"), who=pl.coalesce("author", "subject_id"))
        .group_by("month", "brand", "who")
        .agg(said=pl.len(), opinion=sums.mean(pl.col("opinion_score")))
    )
    brands = (
        authors.group_by("month", "brand")
        .agg(
            statement_count=pl.col("said").sum().cast(pl.Int64),
            author_count=pl.len().cast(pl.Int64),
            read_count=pl.col("opinion").count().cast(pl.Int64),
            mean_sentiment=sums.mean(pl.col("opinion")),
            error=sums.variance(pl.col("opinion")) / pl.col("opinion").count(),
        )
        .with_columns(all=pl.col("author_count").sum().over("month"))
        .sort("month", "brand")
    )
    own = brands.filter(pl.col("brand") == params.own_brand).select(
        "month", own_mean="mean_sentiment", own_error="error", own_n="read_count"
    )
    rows = brands.join(own, on="month", how="left", maintain_order="left").collect()
    low, high = wilson(pl.col("author_count"), pl.col("all"), CONFIDENCE)
    return (
        _beside(rows, params)
        .lazy()
        .with_columns(
            as_of=pl.lit(as_of), share_of_voice=pl.col("author_count") / pl.col("all"),
            share_of_voice_low=low, share_of_voice_high=high,
        )
        .select(list(BrandComparison.columns()))
    )  # fmt: skip


def _by_brand(statements: pl.LazyFrame) -> pl.LazyFrame:
    """A row per statement and brand that it speaks of, with its opinion of that one."""
    names_others = (pl.col("mentions").list.len() > 0).fill_null(False)
    each = (
        statements.filter(names_others)
        .explode("mentions", empty_as_null=False, keep_nulls=False)
        .with_columns(
            brand=pl.col("mentions").struct.field("brand"),
            opinion_score=pl.col("mentions").struct.field("sentiment_score"),
        )
    )
    return pl.concat([statements.filter(~names_others).drop("mentions"), each.drop("mentions")])


def _beside(rows: pl.DataFrame, rules: VoiceRules) -> pl.DataFrame:
    """Adds the difference of each brand from the own one."""
    n, own_n = rows["read_count"].to_numpy(), rows["own_n"].fill_null(0).to_numpy()
    mean, error, own_mean, own_error = (
        rows[c].cast(pl.Float64).fill_null(np.nan).to_numpy()
        for c in ("mean_sentiment", "error", "own_mean", "own_error")
    )
    is_own = (rows["brand"] == rules.own_brand).to_numpy()
    enough = ~is_own & (n >= rules.least_mentions) & (own_n >= rules.least_mentions)
    both = error + own_error
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = both**2 / (error**2 / (n - 1) + own_error**2 / (own_n - 1))
    freedom = np.where(np.isfinite(freedom), freedom, 1.0)
    difference = mean - own_mean
    p = np.where(enough, t_p_value(difference, np.sqrt(both), freedom), np.nan)
    months = rows["month"].to_numpy()
    for month in np.unique(months):
        p[months == month] = holm(p[months == month])
    low, high = t_interval(difference, np.sqrt(both), freedom)
    told = np.where(p < rules.level, np.where(difference > 0, BETTER, WORSE), NO_DIFFERENCE_SHOWN)
    verdict = np.where(is_own, "OWN", np.where(enough, told, NOT_ENOUGH_EVIDENCE))
    columns = {"difference": difference, "difference_low": low, "difference_high": high, "p_value": p}
    return rows.with_columns(
        **{name: pl.Series(np.where(enough, values, np.nan)).fill_nan(None) for name, values in columns.items()},
        verdict=pl.Series(verdict, dtype=pl.String),
    )
