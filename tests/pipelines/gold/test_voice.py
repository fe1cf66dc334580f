"""What customers say, at a date: DuckDB counts the same, what is set apart counts nowhere, alerts open and clear."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import duckdb
import polars as pl
import pytest

from customer360.pipelines.gold.customers.voice import voice
from customer360.pipelines.gold.reputation import reputation_alerts
from customer360.pipelines.gold.voice import aspect_trends, brand_comparison, survey_scores
from customer360.pipelines.rules.voice import VoiceRules
from customer360.pipelines.silver.voice import Feedback, SurveyAnswers
from customer360.platform import tables

AS_OF, RULES = date(2026, 6, 1), VoiceRules()


def rows(table: type[tables.Table], *given: dict[str, Any], **defaults: Any) -> pl.LazyFrame:
    schema = tables.schema(table)
    full = [{**dict.fromkeys(schema), "source_system": "S", "aspects": [], **defaults, **row} for row in given]
    return pl.DataFrame([{c: row.get(c) for c in schema} for row in full], schema=schema, orient="row").lazy()


SCORES = """
    SELECT survey_type, date_trunc('month', occurred_on)::DATE AS month, count(*) AS n,
           100.0 * (count(*) FILTER (score >= 9) - count(*) FILTER (score <= 6)) / count(*) AS nps,
           100.0 * count(*) FILTER (score >= 4) / count(*) AS csat
    FROM answers WHERE score IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2
"""


def test_duckdb_counts_the_same_scores(retailer) -> None:
    held = retailer.frame("silver.survey_answers").collect()
    apart = retailer.frame("silver.feedback").filter(pl.col("kind") == "ANSWER", pl.col("set_apart").is_not_null())
    answers = held.join(apart.collect(), left_on="answer_id", right_on="statement_id", how="anti")
    answers = answers.filter(pl.col("occurred_on") < retailer.as_of).select("survey_type", "occurred_on", "score")
    made = retailer.frame("gold.survey_scores").collect()
    con = duckdb.connect()
    con.register("answers", answers.to_arrow())
    whole = made.filter(dimension="ALL").sort("survey_type", "month").to_dicts()
    wanted = con.sql(SCORES).fetchall()
    assert len(wanted) == len(whole) > 10
    for got, (kind, month, count, nps, csat) in zip(whole, wanted, strict=True):
        assert (got["survey_type"], got["month"], got["answer_count"]) == (kind, month, count)
        assert got["score"] == pytest.approx(nps if kind == "NPS" else csat)
        assert got["score_low"] <= got["score"] <= got["score_high"]
    for dimension in ("CHANNEL", "SEGMENT", "SURVEY"):
        assert made.filter(dimension=dimension)["answer_count"].sum() == answers["score"].count()


def test_every_statement_of_the_retailer_is_kept_once(retailer) -> None:
    made = retailer.frame("silver.feedback").collect()
    sources = [retailer.frame(f"silver.{name}").collect() for name in ("reviews", "social_posts", "survey_answers")]
    assert len(made) == sum(map(len, sources)) == made.select("kind", "statement_id", "source_system").n_unique()
    assert {"SPAM", "REPOST"} <= set(made["set_apart"].drop_nulls())
    assert made.filter(pl.col("set_apart").is_null()).height > 0.8 * len(made)
    languages = made.filter(pl.col("set_apart").is_null())["language"].value_counts().sort("count", descending=True)
    assert set(languages["language"].drop_nulls().head(3)) == {"en", "de", "es"}


def test_what_is_set_apart_or_later_or_of_others_counts_nowhere() -> None:
    mine = {"occurred_on": date(2026, 5, 2), "subject_id": "s", "brand": "OWN", "channel": "X", "kind": "POST",
            "opinion_score": 0.5, "aspects": [{"aspect": "PRICE", "sentiment_score": 0.5}]}  # fmt: skip
    others = [{"set_apart": "SPAM"}, {"occurred_on": AS_OF}, {"brand": "ACME"}]
    given = rows(Feedback, mine, *({**mine, **o} for o in others))
    trend = aspect_trends(given, AS_OF, RULES).collect()
    assert trend.select("statement_count", "feedback_count", "trend").rows() == [(1, 1, "NOT_ENOUGH_EVIDENCE")]
    brands = {r["brand"]: r for r in brand_comparison(given, AS_OF, RULES).collect().to_dicts()}
    assert {b: r["verdict"] for b, r in brands.items()} == {"OWN": "OWN", "ACME": "NOT_ENOUGH_EVIDENCE"}
    assert sum(r["share_of_voice"] for r in brands.values()) == pytest.approx(1)


def test_praise_against_a_rival_is_not_the_rivals() -> None:
    mentions = [{"brand": "ACME", "sentiment_score": -0.6}, {"brand": "OWN", "sentiment_score": 0.6}]
    post = {"occurred_on": date(2026, 5, 2), "author": "a", "brand": "OWN", "kind": "POST", "opinion_score": 0.6}
    rival = {**post, "author": "b", "brand": "ACME", "mentions": []}
    made = brand_comparison(rows(Feedback, {**post, "mentions": mentions}, rival), AS_OF, RULES).collect()
    told = {r["brand"]: (r["statement_count"], r["mean_sentiment"]) for r in made.to_dicts()}
    assert told == {"OWN": (1, pytest.approx(0.6)), "ACME": (2, pytest.approx(0.0))}


def test_who_says_much_counts_once_a_month() -> None:
    quiet = [{"author": f"u{n}", "opinion_score": 1.0} for n in range(9)]
    loud = [{"author": "loud", "opinion_score": -1.0}] * 50 + quiet
    given = rows(Feedback, *loud, occurred_on=date(2026, 5, 2), brand="OWN", kind="POST")
    row = brand_comparison(given, AS_OF, RULES).collect().row(0, named=True)
    assert (row["statement_count"], row["author_count"], row["mean_sentiment"]) == (59, 10, pytest.approx(0.8))


def test_one_angry_author_makes_no_aspect_worse() -> None:
    def spoken(month: int, count: int, author: str, score: float) -> list[dict[str, Any]]:
        told = [{"aspect": "PRICE", "sentiment_score": score}]
        return [{"occurred_on": date(2026, month, 5), "author": f"{author}{n}" if author != "angry" else author,
                 "aspects": told, "subject_id": f"{month}{n}"} for n in range(count)]  # fmt: skip

    usual = [row for month in (2, 3, 4) for row in spoken(month, 20, "u", 0.5) + spoken(month, 20, "v", 0.3)]
    for author, said, trend, of in (("angry", 40, "NOT_ENOUGH_EVIDENCE", 1), ("w", 40, "WORSE", 40)):
        given = rows(Feedback, *usual, *spoken(5, said, author, -0.9), brand="OWN", kind="POST")
        row = (
            aspect_trends(given, AS_OF, RULES).filter(pl.col("month") == date(2026, 5, 1)).collect().row(0, named=True)
        )
        assert (row["statement_count"], row["negative_count"], row["read_count"]) == (40, 40, of)
        assert row["trend"] == trend


def test_the_way_back_from_a_bad_month_is_no_improvement() -> None:
    def spoken(month: int, score: float) -> list[dict[str, Any]]:
        return [{"occurred_on": date(2026, month, 5), "author": f"{month}-{n}", "subject_id": f"{month}-{n}",
                 "aspects": [{"aspect": "PRICE", "sentiment_score": score + (0.2 if n % 2 else -0.2)}]}
                for n in range(40)]  # fmt: skip

    for last, levels in {"RECOVERED": (0.5, 0.5, -0.2, 0.5), "EASED": (0.2, 0.2, 0.8, 0.2),
                         "BETTER": (0.2, 0.2, -0.3, 0.7)}.items():  # fmt: skip
        given = [row for month, level in enumerate(levels, 2) for row in spoken(month, level)]
        made = aspect_trends(rows(Feedback, *given, brand="OWN", kind="POST"), AS_OF, RULES).collect()
        trends = dict(made.select("month", "trend").rows())
        assert trends[date(2026, 4, 1)] == ("BETTER" if last == "EASED" else "WORSE")
        assert trends[date(2026, 5, 1)] == last


def opinions(levels: list[float], each: int = 6) -> pl.LazyFrame:
    """So many statements a day, half above and half below a day's level; the last day is the one before AS_OF."""
    given = [
        {"occurred_on": AS_OF - timedelta(days=len(levels) - day), "author": f"{day}-{n}",
         "opinion_score": level + (0.2 if n % 2 else -0.2)}
        for day, level in enumerate(levels) for n in range(each)
    ]  # fmt: skip
    return rows(Feedback, *given, brand="OWN", channel="X", kind="POST")


def alerts(levels: list[float], each: int = 6) -> list[dict[str, Any]]:
    return reputation_alerts(opinions(levels, each), AS_OF, RULES).filter(channel="X").collect().to_dicts()


def test_one_alert_a_fall_which_clears_when_it_is_made_up() -> None:
    (only,) = alerts([0.3] * 80 + [-0.3] * 15 + [0.3] * 30)
    fall = AS_OF - timedelta(days=45)
    assert only["status"] == "CLEARED" and only["began_after_on"] < fall <= only["opened_on"]
    assert fall + timedelta(days=15) <= only["closed_on"] <= fall + timedelta(days=22)
    assert only["lowest_sentiment"] == pytest.approx(-0.3)


def test_an_alert_stays_open_until_the_level_is_made_up_or_usual() -> None:
    assert [a["status"] for a in alerts([0.3] * 80 + [-0.3] * 10)] == ["OPEN"]
    assert [a["status"] for a in alerts([0.3] * 80 + [-0.3] * 90)] == ["NEW_LEVEL"]
    assert alerts([0.3] * 80 + [-0.3] * 10)[0]["closed_on"] is None


def test_no_alert_of_few_statements_small_falls_or_a_short_past() -> None:
    assert alerts([0.3] * 80 + [-0.3] * 15, each=2) == [], "14 statements in seven days are too few"
    assert alerts([0.3] * 80 + [0.25] * 15, each=200) == [], "clear, and too small to matter"
    assert alerts([0.3] * 30 + [-0.3] * 15) == [], "no whole baseline"
    assert alerts([]) == []


def test_an_alert_is_the_same_seen_from_a_later_day() -> None:
    """The future changes nothing of what had opened."""
    levels = [0.3] * 80 + [-0.3] * 15 + [0.3] * 30
    early = reputation_alerts(opinions(levels), AS_OF - timedelta(days=35), RULES).filter(channel="X").collect()
    assert early["opened_on"].to_list() == [a["opened_on"] for a in alerts(levels)]
    assert early["status"].to_list() == ["OPEN"]


def test_statements_in_any_order_give_the_same_alerts_to_the_last_bit() -> None:
    """The sample has no alert, so that the test for every build says nothing of them."""
    given = opinions([0.31 - 0.001 * (n % 7) for n in range(80)] + [-0.3] * 15, each=20).collect()
    given = given.with_columns(opinion_score=pl.col("opinion_score") + pl.int_range(pl.len()) % 97 / 970)
    made = [
        reputation_alerts(rows.lazy(), AS_OF, RULES).collect()
        for rows in (given, *(given.sample(fraction=1.0, shuffle=True, seed=n) for n in range(2)))
    ]
    assert made[0].height and all(one.equals(made[0]) for one in made)


def test_nothing_is_said_of_nothing() -> None:
    none, people = rows(Feedback), pl.LazyFrame(schema={"person_id": pl.String, "customer_segment": pl.String})
    assert survey_scores(rows(SurveyAnswers), none, people, AS_OF, RULES).collect().is_empty()
    for build in (aspect_trends, brand_comparison, reputation_alerts):
        assert build(none, AS_OF, RULES).collect().is_empty()


def test_a_person_is_told_by_its_latest_answer_before_the_date() -> None:
    told = [
        (date(2026, 5, 1), -1.0, "COMPLAINT", None), (date(2026, 5, 2), 0.5, "PRAISE", None),
        (date(2026, 5, 3), -1.0, "COMPLAINT", "SPAM"), (AS_OF, -1.0, "COMPLAINT", None),
    ]  # fmt: skip
    names = ("occurred_on", "opinion_score", "category", "set_apart")
    said = [dict(zip(names, each, strict=True)) | {"statement_id": str(each[0])} for each in told]
    asked = [(date(2026, 4, 1), 9), (date(2026, 5, 1), 3), (AS_OF, 10)]
    answers = [{"occurred_on": on, "answer_id": str(on), "score": score, "survey_type": "NPS"} for on, score in asked]
    profile = pl.LazyFrame({"person_id": ["p", "silent"]})
    made = voice(
        profile, rows(Feedback, *said, person_id="p", is_own=True), rows(SurveyAnswers, *answers, person_id="p"), AS_OF
    )
    known, silent = made.sort("person_id").collect().to_dicts()
    assert (known["last_nps"], known["last_nps_on"]) == (3, date(2026, 5, 1))
    assert (known["statement_count_365d"], known["complaint_count_365d"]) == (2, 1)
    assert (known["feedback_sentiment"], known["latest_feedback_category"]) == (-0.25, "PRAISE")
    assert silent["statement_count_365d"] == 0 and silent["feedback_sentiment"] is None
