"""Third parties' profiles and sentiment, and how far a profile can be trusted."""

from __future__ import annotations

import polars as pl

from customer360.pipelines.rules import EnrichmentRules
from customer360.pipelines.subjects import BY_ACCOUNT, Owner
from customer360.pipelines.vocabulary import Activity
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Float, Integer, List, String, Table, Timestamp, personal

ACTIVITY: Activity = "enrichment"


class ExternalProfiles(
    Table, table="silver.external_profiles", per="profile_id", sort_by=("profiled_on", "profile_id")
):
    """One row per third party's profile of an account, as last delivered."""

    profile_id = String(primary_key=True)
    source_system = String(primary_key=True)
    subject_id = String()
    person_id = String(nullable=True)
    customer_id = String(metadata=personal("account"))
    data_source = String()
    profile_type = String(nullable=True)
    profiled_on = Date(nullable=True)
    age_range = String(nullable=True, metadata=personal("birth"))
    gender = String(nullable=True, metadata=personal("person"))
    education_level = String(nullable=True, metadata=personal("person"))
    occupation = String(nullable=True, metadata=personal("person"))
    income_range = String(nullable=True, metadata=personal("person"))
    interests = List(String(), nullable=True, description="Empty where the source's JSON is none")
    lifestyle_factors = List(String(), nullable=True)
    social_media_activity = String(nullable=True)
    influence_score = Float(nullable=True)
    data_quality_score = Float(nullable=True, description="The source's own opinion")
    last_updated_at = Timestamp(nullable=True)


def listed(column: str) -> pl.Expr:
    """A JSON array of texts as a list; what is no array gives an empty one (an optional remark must not stop a run)."""
    entries = pl.col(column).str.extract(r"^\s*\[(.*)\]\s*$").str.extract_all(r'"(?:[^"\\]|\\.)*"')
    meant = pl.element().str.json_path_match("$")  # its escapes resolved; null where one is none that JSON knows
    written = pl.element().str.strip_prefix('"').str.strip_suffix('"')
    return pl.when(pl.col(column).is_not_null()).then(entries.fill_null([]).list.eval(pl.coalesce(meant, written)))


PROFILE_OWNER = Owner(at="profiled_on", otherwise=BY_ACCOUNT)


@builds(ExternalProfiles, follows=PROFILE_OWNER.of, reached=PROFILE_OWNER.reached)
def external_profiles(bronze_external_profiles: pl.LazyFrame, silver_identity_links: pl.LazyFrame) -> pl.LazyFrame:
    """Profiles with their subject."""
    same = ("profile_id", "customer_id", "data_source", "profile_type", "age_range", "gender", "education_level", "occupation",  # noqa: E501
            "income_range", "social_media_activity", "influence_score", "data_quality_score")  # fmt: skip
    facts = bronze_external_profiles.select(
        *(pl.col(c.upper()).alias(c) for c in same),
        source_system="_source_system",
        profiled_on="PROFILE_DATE",
        interests=listed("INTERESTS"),
        lifestyle_factors=listed("LIFESTYLE_FACTORS"),
        last_updated_at="LAST_UPDATED",
    )
    return PROFILE_OWNER.of(facts, silver_identity_links)


class ProfileReliability(Table, table="silver.profile_reliability", per="person_id", sort_by=("profile_id",)):
    """One row per external profile of a resolved person: how far it can be trusted, and why."""

    person_id = String(primary_key=True)
    profile_id = String(primary_key=True)
    source_system = String(primary_key=True)
    data_source = String()
    agrees_on_age = Boolean(nullable=True, description="With the master record; null where either is unknown")
    agrees_on_gender = Boolean(nullable=True)
    reliability_score = Float(description="0 to 1: quality x source weight x factors of the rule file")
    is_reliable = Boolean()


AGE_RANGES = {"18-24": (18, 24), "25-34": (25, 34), "35-44": (35, 44), "45-54": (45, 54), "55+": (55, 150)}


@builds(
    ProfileReliability,
    rules="enrichment",
    reads={
        "silver.people": ("person_id", "date_of_birth", "gender"),
        "silver.external_profiles": ("person_id", "profile_id", "source_system", "data_source", "profiled_on", "age_range", "gender",  # noqa: E501
                                     "data_quality_score"),
    },
)  # fmt: skip
def profile_reliability(
    silver_external_profiles: pl.LazyFrame, silver_people: pl.LazyFrame, params: EnrichmentRules
) -> pl.LazyFrame:
    """Profiles checked against what the golden record knows about the person."""
    rules = params.reliability
    known = silver_people.select("person_id", "date_of_birth", known_gender=_gender("gender"))
    joined = silver_external_profiles.filter(pl.col("person_id").is_not_null()).join(known, on="person_id", how="left")
    quality = pl.col("data_quality_score").fill_null(rules.unknown_quality)
    weight = pl.col("data_source").replace_strict(
        rules.source_weights, default=rules.unknown_source_weight, return_dtype=pl.Float64
    )
    checks = ("agrees_on_age", "agrees_on_gender")
    factors = [
        pl.when(pl.col(c)).then(1.0).when(~pl.col(c)).then(rules.contradiction_factor).otherwise(rules.unchecked_factor)
        for c in checks
    ]
    return (
        joined.with_columns(agrees_on_age=_age_fits(), agrees_on_gender=_gender("gender") == pl.col("known_gender"))
        .with_columns(reliability_score=(quality * weight * factors[0] * factors[1]).round(6))
        .with_columns(is_reliable=pl.col("reliability_score") >= rules.reliable_from)
        .select(list(ProfileReliability.columns()))
    )


def _gender(column: str) -> pl.Expr:
    """F or M; null for everything that says neither."""
    first = pl.col(column).str.strip_chars().str.to_uppercase().str.slice(0, 1)
    return pl.when(first.is_in(["F", "M"])).then(first)


def _age_fits() -> pl.Expr:
    """Whether the age on the profile's day lies in its range, give or take a year: ranges are not dated exactly."""
    age = (pl.col("profiled_on") - pl.col("date_of_birth")).dt.total_days() / 365.25
    low, high = (
        pl.col("age_range").replace_strict(
            {k: v[i] for k, v in AGE_RANGES.items()}, default=None, return_dtype=pl.Int64
        )
        for i in (0, 1)
    )
    return (age >= low - 1) & (age < high + 2)


class ExternalSentiment(Table, table="silver.external_sentiment", per="sentiment_id", sort_by=("on", "sentiment_id")):
    """One row per day's sentiment of an account about one matter, as a third party measured it."""

    sentiment_id = String(primary_key=True)
    source_system = String(primary_key=True)
    subject_id = String()
    person_id = String(nullable=True)
    customer_id = String(metadata=personal("account"))
    data_source = String(nullable=True)
    on = Date()
    sentiment_type = String()
    sentiment_score = Float()
    sentiment_magnitude = Float(nullable=True)
    mention_count = Integer(nullable=True)
    positive_count = Integer(nullable=True)
    negative_count = Integer(nullable=True)
    neutral_count = Integer(nullable=True)
    keywords = List(String(), nullable=True)


SENTIMENT_OWNER = Owner(at="on", otherwise=BY_ACCOUNT)


@builds(ExternalSentiment, follows=SENTIMENT_OWNER.of, reached=SENTIMENT_OWNER.reached)
def external_sentiment(bronze_external_sentiment: pl.LazyFrame, silver_identity_links: pl.LazyFrame) -> pl.LazyFrame:
    """Sentiment with its subject; the quoted context stays in bronze."""
    same = (
        "sentiment_id",
        "customer_id",
        "data_source",
        "sentiment_type",
        "sentiment_score",
        "sentiment_magnitude",
        "mention_count",
    )
    facts = bronze_external_sentiment.select(
        *(pl.col(c.upper()).alias(c) for c in same),
        source_system="_source_system",
        on="SENTIMENT_DATE",
        positive_count="POSITIVE_MENTIONS",
        negative_count="NEGATIVE_MENTIONS",
        neutral_count="NEUTRAL_MENTIONS",
        keywords=listed("KEYWORDS"),
    )
    return SENTIMENT_OWNER.of(facts, silver_identity_links)
