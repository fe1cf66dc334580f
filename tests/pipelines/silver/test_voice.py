"""Every statement is kept; what is no feedback says why; what it says is read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from customer360.pipelines.bronze.voice import Reviews, SocialPosts, Surveys
from customer360.pipelines.rules.repairs import Repair, VoiceRepairs
from customer360.pipelines.rules.voice import VoiceRules
from customer360.pipelines.silver.voice import Feedback, feedback, repeated_texts, reviews, social_posts, survey_answers
from customer360.platform import tables
from customer360.platform.privacy import MASK, masked
from customer360.platform.run.records import current_records

RULES = VoiceRules(competitors={"ACME": ["acme"]})
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
NO_LINKS = pl.LazyFrame(
    schema={"kind": pl.String, "identifier": pl.String, "valid_from": pl.Datetime("us", "UTC"),
            "valid_to": pl.Datetime("us", "UTC"), "person_id": pl.String}
)  # fmt: skip
LONG = "I have never bought anything better in all of my long life as a customer"


def rows(table: type[tables.Table], *given: dict[str, Any]) -> pl.LazyFrame:
    schema = dict(tables.schema(table))
    full = [{**dict.fromkeys(schema), "_source_system": "S", **row} for row in given]
    return pl.DataFrame(full, schema=schema, orient="row").lazy()


def heard(
    written: list[dict[str, Any]] = (), posted: list[dict[str, Any]] = (), asked: list[dict[str, Any]] = (),  # type: ignore[assignment]
    links: pl.LazyFrame = NO_LINKS, rules: VoiceRules = RULES,
) -> pl.DataFrame:  # fmt: skip
    """silver.feedback of reviews, posts and answers, by way of all that lies between."""
    given = (
        rows(Reviews, *({"REVIEW_ID": f"r{n}", "REVIEW_DATE": NOON, **each} for n, each in enumerate(written))),
        rows(SocialPosts, *({"POST_ID": f"p{n}", "POST_DATE": NOON, **each} for n, each in enumerate(posted))),
        rows(Surveys, *({"ANSWER_ID": f"a{n}", "ANSWER_DATE": NOON, **each} for n, each in enumerate(asked))),
    )
    made = zip((reviews, social_posts, survey_answers), given, strict=True)
    parts = [build(frame, links, rules) for build, frame in made]
    told = feedback(*parts, repeated_texts(*parts), rules).collect().sort("kind", "statement_id")
    assert len(told) == len(written) + len(posted) + len(asked), "every statement is kept"
    return told


def test_what_is_no_feedback_says_why() -> None:
    posted = [
        {"POST_TEXT": "Lovely shop, thanks", "AUTHOR_HANDLE": "@ann"},
        {"POST_TEXT": "Lovely shop thanks!", "AUTHOR_HANDLE": "@ann"},
        {"POST_TEXT": "Lovely shop, thanks", "AUTHOR_HANDLE": "@bob"},
        {"POST_TEXT": "RT @ann Lovely shop", "AUTHOR_HANDLE": "@cid"},
        {"POST_TEXT": "Sale https://a.test and https://b.test", "AUTHOR_HANDLE": "@dan"},
        {"POST_TEXT": "Use my PROMO CODE now", "AUTHOR_HANDLE": "@eve"},
        {"POST_TEXT": " ", "AUTHOR_HANDLE": "@fay"},
        *({"POST_TEXT": LONG, "AUTHOR_HANDLE": f"@bot{n}"} for n in range(3)),
    ]
    by_id = dict(heard(posted=posted).select("statement_id", "set_apart").iter_rows())
    told = [by_id[f"p{n}"] for n in range(len(posted))]
    assert told[:7] == [None, "REPEATED", None, "REPOST", "SPAM", "SPAM", "EMPTY"]
    assert told[7:] == ["COPIED"] * 3


def test_who_says_the_same_twice_counts_once_and_each_answer_counts() -> None:
    twice = [{"REVIEW_TEXT": "Fine", "RATING": 4.0, "CUSTOMER_ID": "c"}] * 2
    asked = [{"SURVEY_TYPE": "NPS", "SCORE": 9, "COMMENT": "Fine", "CUSTOMER_ID": "c"}] * 2
    made = heard(written=twice, asked=asked)
    assert made["set_apart"].to_list() == [None, None, None, "REPEATED"]
    for repair in (Repair(apply=False), Repair(spare=["S/r1"])):
        spared = RULES.model_copy(update={"repairs": VoiceRepairs(repeated_statement=repair)})
        assert heard(written=twice, rules=spared)["set_apart"].to_list() == [None, None], "the rule file takes it back"


@pytest.mark.parametrize(
    ("said", "category"),
    [
        ({"REVIEW_TEXT": "Terrible quality, it broke"}, "COMPLAINT"),
        ({"REVIEW_TEXT": "Wonderful, I love it"}, "PRAISE"),
        ({"REVIEW_TEXT": "Do you ship to Norway?"}, "QUESTION"),
        ({"REVIEW_TEXT": "It would be nice to have more colours"}, "SUGGESTION"),
        ({"REVIEW_TEXT": "I bought it on Monday"}, "NEUTRAL"),
        ({"REVIEW_TEXT": "Товар отличный"}, "UNKNOWN"),
        ({"REVIEW_TEXT": "Товар отличный", "RATING": 5.0}, "PRAISE"),
        ({"RATING": 1.0}, "COMPLAINT"),
        ({"REVIEW_TITLE": "Leider", "REVIEW_TEXT": "Die Ware ist kaputt"}, "COMPLAINT"),
    ],
)
def test_a_statement_has_the_category_that_a_reader_gives_it(said: dict[str, Any], category: str) -> None:
    assert heard(written=[said])["category"].item() == category


@pytest.mark.parametrize(
    ("said", "opinion"),
    [
        ({"REVIEW_TEXT": "Arrived on Tuesday and the zipper came off.", "RATING": 1.0}, -1),
        ({"REVIEW_TEXT": "Great, another week of waiting", "RATING": 1.0}, -1),
        ({"REVIEW_TEXT": "Arrived on Tuesday"}, 0),
    ],
)
def test_stars_tell_more_than_words(said: dict[str, Any], opinion: float) -> None:
    assert heard(written=[said])["opinion_score"].item() == opinion


def test_who_compares_us_in_a_review_or_answer_speaks_of_us() -> None:
    written = [{"REVIEW_TEXT": "Much cheaper than Acme, love it"}]
    made = heard(written=written, asked=[{"SURVEY_TYPE": "NPS", "SCORE": 10, "COMMENT": "better than acme"}])
    assert made["brand"].to_list() == ["OWN", "OWN"]


def test_a_name_or_a_number_alone_is_no_author() -> None:
    """Whoever signs as Anonymous, and customers 77 of two systems, are not one."""
    named = [{"REVIEW_TEXT": "Great", "AUTHOR_NAME": "Anonymous", "PLATFORM": p} for p in ("GOOGLE", "TRUSTPILOT")]
    numbered = [{"REVIEW_TEXT": "Fine", "CUSTOMER_ID": "77", "_source_system": system} for system in ("A", "B")]
    made = heard(written=[*named, *numbered])
    assert made["set_apart"].to_list() == [None] * 4 and made["author"].to_list() == [None, None, "A/77", "B/77"]


@pytest.mark.parametrize("handle", ["[deleted]", "Deleted_User", "Anonymous", "@guest", "-", "Instagram user"])
def test_a_handle_of_anybody_is_no_author(handle: str) -> None:
    made = heard(posted=[{"POST_TEXT": "Great", "AUTHOR_HANDLE": handle, "PLATFORM": "REDDIT"}] * 2)
    assert made["set_apart"].to_list() == [None, None] and made["author"].to_list() == [None, None]


def test_a_person_is_one_author_whatever_the_account() -> None:
    links = pl.LazyFrame(
        [{"kind": "account", "identifier": account, "person_id": "p"} for account in ("A/1", "B/2")],
        schema=NO_LINKS.collect_schema(),
    )
    written = [{"REVIEW_TEXT": "Great", "CUSTOMER_ID": n, "_source_system": s} for s, n in (("A", "1"), ("B", "2"))]
    assert heard(written=written, links=links)["set_apart"].to_list() == [None, "REPEATED"]


def test_the_same_words_of_another_product_are_no_repeat() -> None:
    stars = (("A", 5.0), ("B", 4.0), ("A", 5.0))
    written = [{"REVIEW_TEXT": "Great", "CUSTOMER_ID": "3", "PRODUCT_ID": p, "RATING": r} for p, r in stars]
    assert heard(written=written)["set_apart"].to_list() == [None, None, "REPEATED"]


def test_nothing_is_left_to_see_of_an_author() -> None:
    told = heard(posted=[{"POST_TEXT": "Fine", "AUTHOR_HANDLE": "@ann", "PLATFORM": "X"}])
    assert told["author"].to_list() == ["X:@ann"] and masked(Feedback, told)["author"].to_list() == [MASK]


def test_scores_of_three_scales_are_sentiment() -> None:
    asked = [("NPS", 10), ("NPS", 8), ("NPS", 6), ("CSAT", 1), ("CSAT", 5), ("CES", 4), ("CES", 7), ("NPS", None)]
    made = heard(asked=[{"SURVEY_TYPE": kind, "SCORE": score} for kind, score in asked])
    assert made["score_sentiment"].to_list() == [1, 0, -1, -1, 1, 0, 1, None]
    assert made["set_apart"].to_list() == [None] * 7 + ["EMPTY"]


def test_a_post_is_of_the_brand_that_it_names() -> None:
    posted = [{"POST_TEXT": "Acme is slow"}, {"POST_TEXT": "You are slow"}, {"POST_TEXT": "Slow", "BRAND": "ZETA"}]
    assert heard(posted=posted)["brand"].to_list() == ["ACME", "OWN", "ZETA"]


def test_what_a_post_says_of_a_rival_is_no_opinion_of_its_own_brand() -> None:
    rules = VoiceRules(own_terms=["myshop"], competitors={"ACME": ["acme"], "ZETA": ["zeta"]})
    rant = "Acme is terrible, awful prices, the worst scam. myshop delivers on time"
    thanks = "Great delivery, I love your shop. Acme is horrible"
    posted = [{"POST_TEXT": rant}, {"POST_TEXT": thanks, "BRAND": "OWN"}, {"POST_TEXT": thanks},
              {"POST_TEXT": "You are so much better than Zeta, I love it", "BRAND": "ACME"}]  # fmt: skip
    made = heard(posted=posted, rules=rules)
    assert made["brand"].to_list() == ["OWN", "OWN", "ACME", "ACME"]
    assert made["category"].to_list()[:2] == ["NEUTRAL", "PRAISE"] and made["category"][3] == "PRAISE"
    assert [[each["aspect"] for each in row] for row in made["aspects"][:2]] == [["DELIVERY"], ["DELIVERY"]]
    named = [{m["brand"]: (m["sentiment_score"] > 0) - (m["sentiment_score"] < 0) for m in row}
             for row in made["mentions"]]  # fmt: skip
    assert named == [{"ACME": -1, "OWN": 0}, {"ACME": -1, "OWN": 1}, {}, {"ACME": 1, "ZETA": -1}]


def test_a_score_beyond_its_scale_is_none() -> None:
    asked = [("NPS", 11), ("NPS", 0), ("CSAT", 0), ("CES", 7)]
    given = rows(
        Surveys,
        *({"ANSWER_ID": str(n), "ANSWER_DATE": NOON, "SURVEY_TYPE": kind, "SCORE": score}
          for n, (kind, score) in enumerate(asked)),
    )  # fmt: skip
    judged = current_records(Surveys, given.collect(), set())
    assert judged.rows.sort("ANSWER_ID")["SCORE"].to_list() == [None, 0, None, 7]
