"""Statements of customers, read: language, sentiment, aspects and kind; what is no feedback is set apart and counted.

The words themselves stay in bronze. A statement is read once, when it lands.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

import polars as pl

from customer360.pipelines.rules.voice import VoiceRules
from customer360.pipelines.subjects import Owner, own_key
from customer360.pipelines.texts import statements as texts
from customer360.pipelines.texts.brands import clauses_of, spoken_of
from customer360.pipelines.vocabulary import Activity
from customer360.platform import tables
from customer360.platform.graph import builds
from customer360.platform.tables import (
    Boolean,
    Date,
    Float,
    Integer,
    List,
    OneOf,
    String,
    Struct,
    Table,
    Timestamp,
    personal,
)  # fmt: skip

ACTIVITY: Activity = "enrichment"
KINDS = ("REVIEW", "POST", "ANSWER")
CATEGORIES = ("COMPLAINT", "PRAISE", "QUESTION", "SUGGESTION", "NEUTRAL", "UNKNOWN")
REASONS = ("EMPTY", "REPOST", "SPAM", "COPIED", "REPEATED")
WORD_OR_NUMBER = re.compile(r"\w+")
AUTHOR = "Account with its system, or handle with its platform; null: none, as of a name alone or [deleted]"


class _Said(Table):
    """What is read of a statement's words."""

    source_system = String(primary_key=True)
    subject_id = String()
    person_id = String(nullable=True)
    customer_id = String(nullable=True, metadata=personal("account"))
    author = String(nullable=True, metadata=personal("handle"), description=AUTHOR)
    occurred_at = Timestamp()
    occurred_on = Date()
    channel = String(nullable=True)
    brand = String()
    language = String(nullable=True, description="ISO 639-1; null: no text, or a language that is not told")
    sentiment_score = Float(
        nullable=True,
        description="-1 to 1, of the words, of a post that names several brands of those on its own; null: not read in"
        " this language, or none on it",
    )
    score_sentiment = Float(nullable=True, description="-1 to 1, of stars or answer")
    aspects = List(Struct({"aspect": String(), "sentiment_score": Float(nullable=True)}))
    mentions = List(
        Struct({"brand": String(), "sentiment_score": Float(nullable=True)}),
        description="Of a post that names several brands, or another than its own: how it speaks of each",
    )
    is_question = Boolean()
    is_suggestion = Boolean()
    is_spam = Boolean(description="Terms or links by which the rule file knows advertising")
    is_repost = Boolean()
    text_key = String(nullable=True, description="Equal where the words are; null: no text")
    letter_count = Integer()


class Reviews(_Said, table="silver.reviews", per="review_id", sort_by=("occurred_at", "review_id")):
    """One row per review, as last delivered."""

    review_id = String(primary_key=True)
    product_id = String(nullable=True)
    store_id = String(nullable=True)
    rating = Float(nullable=True)
    is_verified = Boolean(nullable=True)
    helpful_count = Integer(nullable=True)


class SocialPosts(_Said, table="silver.social_posts", per="post_id", sort_by=("occurred_at", "post_id")):
    """One row per post, as last delivered."""

    post_id = String(primary_key=True)
    engagement_count = Integer(description="Likes, shares and replies")


class SurveyAnswers(_Said, table="silver.survey_answers", per="answer_id", sort_by=("occurred_at", "answer_id")):
    """One row per answer to a survey, as last delivered."""

    answer_id = String(primary_key=True)
    survey_id = String(nullable=True)
    survey_type = String()
    score = Integer(nullable=True)
    transaction_id = String(nullable=True)
    ticket_id = String(nullable=True)
    sent_at = Timestamp(nullable=True)


ACCOUNT = pl.concat_str("_source_system", "CUSTOMER_ID", separator="/")
REVIEW_OWNER = Owner(at="occurred_at", otherwise=own_key("w", "review_id"))
POST_OWNER = Owner(at="occurred_at", otherwise=own_key("p", "post_id"))
ANSWER_OWNER = Owner(at="occurred_at", otherwise=own_key("n", "answer_id"))


@builds(Reviews, rules="voice", follows=REVIEW_OWNER.of, reached=REVIEW_OWNER.reached)
def reviews(bronze_reviews: pl.LazyFrame, silver_identity_links: pl.LazyFrame, params: VoiceRules) -> pl.LazyFrame:
    """Title and text are read together."""
    facts = bronze_reviews.select(
        *(pl.col(c.upper()).alias(c) for c in ("review_id", "customer_id", "product_id", "store_id", "rating",
                                               "is_verified", "helpful_count")),
        source_system="_source_system",
        author=ACCOUNT,
        occurred_at="REVIEW_DATE",
        channel=pl.coalesce("PLATFORM", pl.lit("SHOP")),
        brand="BRAND",
        score_sentiment=(pl.col("RATING") - 3) / 2,
        is_repost=pl.lit(False),
        text__=pl.concat_str("REVIEW_TITLE", "REVIEW_TEXT", separator=".\n", ignore_nulls=True),
    )  # fmt: skip
    return REVIEW_OWNER.of(_read(facts, params), silver_identity_links)


@builds(SocialPosts, rules="voice", follows=POST_OWNER.of, reached=POST_OWNER.reached)
def social_posts(
    bronze_social_posts: pl.LazyFrame, silver_identity_links: pl.LazyFrame, params: VoiceRules
) -> pl.LazyFrame:
    """A post without a brand is of the own one where its words name it or measure it by another, else of the competitor
    that they name, else of the own brand."""
    counts = [pl.col(c).fill_null(0) for c in ("LIKE_COUNT", "SHARE_COUNT", "REPLY_COUNT")]
    handle = pl.concat_str(pl.coalesce("PLATFORM", "_source_system"), "AUTHOR_HANDLE", separator=":")
    facts = bronze_social_posts.select(
        post_id="POST_ID",
        customer_id="CUSTOMER_ID",
        source_system="_source_system",
        author=pl.coalesce(ACCOUNT, pl.when(tables.tells_somebody("AUTHOR_HANDLE")).then(handle)),
        occurred_at="POST_DATE",
        channel=pl.coalesce("PLATFORM", pl.lit("SOCIAL")),
        brand="BRAND",
        score_sentiment=pl.lit(None, pl.Float64),
        is_repost=pl.col("IS_REPOST").fill_null(False) | pl.col("POST_TEXT").str.starts_with("RT @").fill_null(False),
        engagement_count=pl.sum_horizontal(counts),
        text__="POST_TEXT",
    )
    return POST_OWNER.of(_read(facts, params, may_name_others=True), silver_identity_links)


@builds(SurveyAnswers, rules="voice", follows=ANSWER_OWNER.of, reached=ANSWER_OWNER.reached)
def survey_answers(
    bronze_surveys: pl.LazyFrame, silver_identity_links: pl.LazyFrame, params: VoiceRules
) -> pl.LazyFrame:
    """Scores of three scales as sentiment: promoters 1 and detractors -1 of NPS, the scale from -1 to 1 of others."""
    score = pl.col("SCORE")
    nps = pl.when(score >= 9).then(1.0).when(score <= 6).then(-1.0).when(score.is_not_null()).then(0.0)
    of_type = pl.when(pl.col("SURVEY_TYPE") == "NPS").then(nps)
    facts = bronze_surveys.select(
        *(pl.col(c.upper()).alias(c) for c in ("answer_id", "survey_id", "customer_id", "survey_type", "score",
                                               "transaction_id", "ticket_id", "channel")),
        source_system="_source_system",
        author=ACCOUNT,
        occurred_at="ANSWER_DATE",
        sent_at="SENT_DATE",
        brand=pl.lit(None, pl.String),
        score_sentiment=of_type.when(pl.col("SURVEY_TYPE") == "CSAT").then((score - 3) / 2).otherwise((score - 4) / 3),
        is_repost=pl.lit(False),
        text__="COMMENT",
    )  # fmt: skip
    return ANSWER_OWNER.of(_read(facts, params), silver_identity_links)


READ: dict[str, Any] = {
    "brand": pl.String, "language": pl.String, "sentiment_score": pl.Float64, "aspects": texts.ASPECTS,
    "is_question": pl.Boolean, "is_suggestion": pl.Boolean, "is_spam": pl.Boolean, "text_key": pl.String,
    "letter_count": pl.Int64, "mentions": texts.MENTIONS,
}  # fmt: skip


def _read(facts: pl.LazyFrame, rules: VoiceRules, *, may_name_others: bool = False) -> pl.LazyFrame:
    """With what the words say in place of them, and a brand: one that words name only of what was not said to us, for
    who answers or reviews us may well compare."""
    rows = facts.collect()
    said = [
        (column if (column := text and text.strip()) else None, brand)
        for text, brand in rows.select("text__", "brand").iter_rows()
    ]
    known = {
        (text, brand): _reading(text, brand, rules, may_name_others=may_name_others)
        for text, brand in set(said)
        if text is not None
    }
    nothing = {
        "aspects": [],
        "mentions": [],
        "is_question": False,
        "is_suggestion": False,
        "is_spam": False,
        "letter_count": 0,
    }
    empty = {**dict.fromkeys(READ), **nothing}
    read = pl.DataFrame(
        [known[each] if each in known else {**empty, "brand": each[1] or rules.own_brand} for each in said], schema=READ
    )
    whole = rows.drop("text__", "brand").hstack(read)
    return whole.with_columns(occurred_on=pl.col("occurred_at").dt.date()).lazy()


def _reading(text: str, stated: str | None, rules: VoiceRules, *, may_name_others: bool) -> dict[str, Any]:
    """What a text says of the brand that it is on: the ``stated`` one, else the own one where the words speak of it,
    else the first that they name, else the own one."""
    words = texts.words_of(text)
    said = texts.read(text, rules.aspects)
    terms = texts.found_terms(text, {"spam": rules.spam_terms, "suggestion": rules.suggestions})
    links = text.count("http://") + text.count("https://")
    spoken, sentiment, aspects = {}, said.sentiment, said.aspects
    asked = (text, said.language, rules.brands, stated or rules.own_brand)
    if may_name_others:
        spoken = spoken_of(*asked, is_stated=stated is not None)
    brand = stated or (rules.own_brand if rules.own_brand in spoken else next(iter(spoken), rules.own_brand))
    if spoken.keys() - {brand}:  # what is said of others is none of the opinion of this one
        clauses = clauses_of(*asked, is_stated=stated is not None)
        sentiment = spoken[brand]
        aspects = texts.aspects_of((c.words for c in clauses if brand in c.of), said.language, rules.aspects)
    return {
        "brand": brand,
        "language": said.language,
        "sentiment_score": sentiment,
        "aspects": [{"aspect": a, "sentiment_score": s} for a, s in aspects.items()],
        "is_question": text.rstrip(" )\"'").endswith(("?", "？")),
        "is_suggestion": "suggestion" in terms,
        "is_spam": links > rules.most_links or "spam" in terms,
        "text_key": hashlib.blake2b(
            " ".join(WORD_OR_NUMBER.findall(text.lower()) or [text]).encode(), digest_size=12
        ).hexdigest(),
        "letter_count": sum(map(len, words)),
        "mentions": [{"brand": b, "sentiment_score": s} for b, s in sorted(spoken.items()) if spoken.keys() - {brand}],
    }


class RepeatedTexts(
    Table, table="silver.repeated_texts", per="text_key", sort_by=("text_key", "kind", "statement_id"), bucketed=False
):
    """One row per statement whose words another statement has, too; reposts, which are so by nature, left out."""

    text_key = String()
    kind = OneOf(*KINDS, primary_key=True)
    statement_id = String(primary_key=True)
    source_system = String(primary_key=True)
    subject_id = String()
    author_count = Integer(description="Different authors of these words; who cannot be told is one each time")
    position = Integer(
        description="1: the first statement of its author with these words on this product, store and brand; answers by"
        " themselves"
    )


@builds(RepeatedTexts)
def repeated_texts(
    silver_reviews: pl.LazyFrame, silver_social_posts: pl.LazyFrame, silver_survey_answers: pl.LazyFrame
) -> pl.LazyFrame:
    """Words are compared without case and punctuation."""
    rows = _together(silver_reviews, silver_social_posts, silver_survey_answers)
    own = rows.filter(pl.col("text_key").is_not_null(), ~pl.col("is_repost"))
    order, is_answer = pl.struct("occurred_at", "kind", "source_system", "statement_id"), pl.col("kind") == "ANSWER"
    return (
        own.with_columns(who=pl.coalesce("author", "subject_id"))
        .with_columns(
            count=pl.len().over("text_key"),
            author_count=pl.col("who").n_unique().over("text_key").cast(pl.Int64),
            position=order.rank("ordinal").over("text_key", "who", is_answer, *ABOUT).cast(pl.Int64),
        )
        .filter(pl.col("count") > 1)
        .select(list(RepeatedTexts.columns()))
    )


ABOUT = ("product_id", "store_id", "brand")


def _together(reviews: pl.LazyFrame, posts: pl.LazyFrame, answers: pl.LazyFrame) -> pl.LazyFrame:
    """The rows of all three with their kind and key, what they are about, and one author for all accounts of a
    person."""
    shared = [c for c in _Said.columns() if c not in ("customer_id", "author")]
    nothing = {c: pl.lit(None, pl.String) for c in ABOUT if c not in shared}
    full = (reviews, posts.with_columns(**nothing), answers.with_columns(**nothing))
    author = pl.coalesce("person_id", "author")
    return pl.concat(
        [
            part.select(*shared, *nothing, author=author, statement_id=key, kind=pl.lit(kind))
            for kind, part, key in zip(KINDS, full, ("review_id", "post_id", "answer_id"), strict=True)
        ]
    )


class Feedback(Table, table="silver.feedback", per="subject_id", sort_by=("subject_id", "occurred_at", "statement_id")):
    """One row per statement, whatever its source: every review, post and answer, with what it says.

    What is no feedback of a customer has a reason in ``set_apart`` and counts in no gold table.
    """

    statement_id = String(primary_key=True)
    kind = OneOf(*KINDS, primary_key=True)
    source_system = String(primary_key=True)
    subject_id = String()
    person_id = String(nullable=True)
    author = String(nullable=True, metadata=personal("handle"), description=f"The person if known. {AUTHOR}")
    occurred_at = Timestamp()
    occurred_on = Date()
    channel = String(nullable=True)
    brand = String()
    is_own = Boolean(description="Of the own shop: of the brand that the rule file calls so")
    language = String(nullable=True)
    sentiment_score = Float(nullable=True, description="Of the words, of those on `brand` where others are named too")
    score_sentiment = Float(nullable=True, description="Of stars or answer")
    opinion_score = Float(nullable=True, description="That of stars or answer, else that of the words")
    category = OneOf(*CATEGORIES)
    aspects = List(Struct({"aspect": String(), "sentiment_score": Float(nullable=True)}))
    mentions = List(
        Struct({"brand": String(), "sentiment_score": Float(nullable=True)}),
        description="How it speaks of each brand, where of others than `brand` alone",
    )
    set_apart = OneOf(
        *REASONS, nullable=True,
        description="EMPTY: neither words nor a score; REPOST; SPAM: links or terms of advertising; COPIED: one text of"
        " many authors; REPEATED: the same author said the same before, of the same product, store and brand. Null: it"
        " counts",
    )  # fmt: skip


@builds(Feedback, rules="voice")
def feedback(
    silver_reviews: pl.LazyFrame,
    silver_social_posts: pl.LazyFrame,
    silver_survey_answers: pl.LazyFrame,
    silver_repeated_texts: pl.LazyFrame,
    params: VoiceRules,
) -> pl.LazyFrame:
    """All statements, none left out. A score is asked for each time, so an answer is never a repeat."""
    key = ["kind", "statement_id", "source_system"]
    repeats = silver_repeated_texts.select(*key, "author_count", "position")
    rows = _together(silver_reviews, silver_social_posts, silver_survey_answers).join(repeats, on=key, how="left")
    is_long = pl.col("letter_count") >= params.least_letters_of_a_copy
    statement, repairs = pl.concat_str("source_system", "statement_id", separator="/"), params.repairs
    copied, repeated = (~r.leaves(statement) for r in (repairs.copied_statement, repairs.repeated_statement))
    reason = (
        pl.when(pl.col("text_key").is_null() & pl.col("score_sentiment").is_null()).then(pl.lit("EMPTY"))
        .when("is_repost").then(pl.lit("REPOST"))
        .when("is_spam").then(pl.lit("SPAM"))
        .when((pl.col("author_count") >= params.copied_by) & is_long & copied).then(pl.lit("COPIED"))
        .when((pl.col("position") > 1) & (pl.col("kind") != "ANSWER") & repeated).then(pl.lit("REPEATED"))
    )  # fmt: skip
    opinion = pl.coalesce("score_sentiment", "sentiment_score")  # who gives one star is not read as content
    return (
        rows.with_columns(set_apart=reason, opinion_score=opinion, is_own=pl.col("brand") == params.own_brand)
        .with_columns(category=_category(params.clear))
        .select(list(Feedback.columns()))
    )


def _category(clear: float) -> pl.Expr:
    """A suggestion or a question by its form; else praise or complaint by its opinion."""
    opinion = pl.col("opinion_score")
    return (
        pl.when("is_suggestion").then(pl.lit("SUGGESTION"))
        .when("is_question").then(pl.lit("QUESTION"))
        .when(opinion >= clear).then(pl.lit("PRAISE"))
        .when(opinion <= -clear).then(pl.lit("COMPLAINT"))
        .when(opinion.is_not_null()).then(pl.lit("NEUTRAL"))
        .otherwise(pl.lit("UNKNOWN"))
    )  # fmt: skip
