"""What customers say of the shop: reviews, posts on social networks, answers to surveys."""

from __future__ import annotations

import dataframely as dy
import polars as pl

from customer360.pipelines import vocabulary as v
from customer360.platform.tables import Boolean, Float, Identifier, Integer, OneOf, String, Table, Timestamp, personal

SCALES = {"NPS": (0, 10), "CSAT": (1, 5), "CES": (1, 7)}  # least and most of an answer


class Reviews(
    Table, table="bronze.reviews", key=("REVIEW_ID",), version="LAST_UPDATED_DATE", past=("REVIEW_DATE",)
):  # fmt: skip
    """One row per delivered version of a review of a product, a store or the shop."""

    REVIEW_ID = Identifier(nullable=False)
    CUSTOMER_ID = Identifier(nullable=True, metadata=personal("account"), description="Null: not identified")
    AUTHOR_NAME = String(nullable=True, max_length=500, metadata=personal("name"))
    PLATFORM = String(nullable=True, max_length=100, description="Where it was written; null: the own shop")
    BRAND = String(nullable=True, max_length=255, description="Null: the own one")
    PRODUCT_ID = Identifier(nullable=True)
    STORE_ID = Identifier(nullable=True)
    RATING = Float(nullable=True, min=1, max=5, description="1 to 5 stars")
    REVIEW_TITLE = String(nullable=True, max_length=1000, metadata=personal("text"))
    REVIEW_TEXT = String(nullable=True, metadata=personal("text"))
    IS_VERIFIED = Boolean(nullable=True, description="Whether the platform knows the purchase")
    HELPFUL_COUNT = Integer(nullable=True, min=0)
    REVIEW_DATE = Timestamp()
    LAST_UPDATED_DATE = Timestamp(nullable=True, description="Orders versions: reviews may be rewritten")

    @dy.rule()
    def was_written_in_sensible_time(cls) -> pl.Expr:
        return v.is_sensible("REVIEW_DATE")


class SocialPosts(
    Table, table="bronze.social_posts", key=("POST_ID",), version="LAST_UPDATED_DATE", past=("POST_DATE",)
):  # fmt: skip
    """One row per delivered version of a post or comment that names a brand."""

    POST_ID = Identifier(nullable=False)
    CUSTOMER_ID = Identifier(nullable=True, metadata=personal("account"), description="Null: not identified")
    AUTHOR_HANDLE = String(nullable=True, max_length=500, metadata=personal("handle", within="PLATFORM"))
    PLATFORM = String(nullable=True, max_length=100)
    BRAND = String(nullable=True, max_length=255, description="Null: told from the words of the rule file `voice`")
    POST_TEXT = String(nullable=True, metadata=personal("text"))
    POST_DATE = Timestamp()
    IS_REPOST = Boolean(nullable=True)
    LIKE_COUNT = Integer(nullable=True, min=0)
    SHARE_COUNT = Integer(nullable=True, min=0)
    REPLY_COUNT = Integer(nullable=True, min=0)
    LAST_UPDATED_DATE = Timestamp(nullable=True, description="Orders versions: counts grow")

    @dy.rule()
    def was_posted_in_sensible_time(cls) -> pl.Expr:
        return v.is_sensible("POST_DATE")


class Surveys(
    Table, table="bronze.surveys", key=("ANSWER_ID",), version="LAST_UPDATED_DATE", past=("ANSWER_DATE", "SENT_DATE")
):  # fmt: skip
    """One row per delivered version of an answer to the question of a survey."""

    ANSWER_ID = Identifier(nullable=False)
    SURVEY_ID = Identifier(nullable=True)
    CUSTOMER_ID = Identifier(nullable=True, metadata=personal("account"), description="Null: not identified")
    SURVEY_TYPE = OneOf(*SCALES, description="NPS: 0 to 10; CSAT: 1 to 5; CES: 1 to 7")
    SCORE = Integer(nullable=True, description="Null: a comment alone")
    COMMENT = String(nullable=True, metadata=personal("text"))
    CHANNEL = String(nullable=True, max_length=100, description="Where it was asked")
    TRANSACTION_ID = Identifier(nullable=True)
    TICKET_ID = Identifier(nullable=True)
    SENT_DATE = Timestamp(nullable=True)
    ANSWER_DATE = Timestamp()
    LAST_UPDATED_DATE = Timestamp(nullable=True, description="Orders versions: a comment may follow the score")

    @dy.rule()
    def score_is_on_the_scale_of_its_type(cls) -> pl.Expr:
        low, high = (
            pl.col("SURVEY_TYPE").replace_strict(
                {name: ends[place] for name, ends in SCALES.items()}, default=None, return_dtype=pl.Int64
            )
            for place in (0, 1)
        )
        return pl.col("SCORE").is_between(low, high)

    @dy.rule()
    def was_answered_in_sensible_time(cls) -> pl.Expr:
        return v.is_sensible("ANSWER_DATE")
