"""Third parties: profiles of loyalty members, a stated share of them of somebody else, and monthly sentiment."""

from __future__ import annotations

import numpy as np
import polars as pl

from customer360.pipelines.sample.catalog import CATEGORIES
from customer360.pipelines.sample.records import NEVER
from customer360.pipelines.sample.sales import words
from customer360.pipelines.sample.streams import spread
from customer360.pipelines.sample.world import World

PROFILED_SHARE, WRONG_SHARE = 0.45, 0.15
SOURCES = ("FACEBOOK", "TWITTER", "LINKEDIN", "ENRICHMENT")
TYPES = ("SOCIAL", "SOCIAL", "DEMOGRAPHIC", "PSYCHOGRAPHIC")
AGES, AGE_FLOORS = ("18-24", "25-34", "35-44", "45-54", "55+"), np.array([25, 35, 45, 55])
EDUCATION = ("HIGH_SCHOOL", "BACHELOR", "MASTER", "DOCTORATE")
OCCUPATIONS = ("Teacher", "Engineer", "Nurse", "Clerk", "Manager", "Cook", "Driver", "Artist")
INCOMES = ("<30K", "30-60K", "60-100K", ">100K")
LIFESTYLES = ("family", "outdoors", "travel", "homebody", "athlete")
LEVELS = ("HIGH", "MEDIUM", "LOW")
TALKED_SHARE = 0.3  # members with a sentiment series
MATTERS = ("BRAND", "SERVICE")
SOUR_DAYS, SOUR = 60, 0.5  # sentiment falls by SOUR in the last days before a member leaves


def _profiles(world: World) -> pl.DataFrame:
    """One row per profile: person and customer_id it is filed under, whose (the person that it describes), source,
    day.
    """
    rng, members = world.streams.stream("external.profiles"), world.accounts.filter(source_system="CRM")
    chosen = members.filter(pl.Series(rng.random(len(members)) < PROFILED_SHARE * min(world.reach, 1.0)))
    owner, _ = spread(1 + (rng.random(len(chosen)) < 0.4).astype(np.int64))
    rows = chosen[owner]
    count, people = len(rows), len(world.people)
    wrong = rng.random(count) < WRONG_SHARE
    stranger = (rows["person"].to_numpy() + rng.integers(1, max(people, 2), count)) % people
    day = np.minimum(np.maximum(rows["registered"].to_numpy(), 0) + rng.integers(1, 60, count), world.days - 1)
    return rows.select("person", "customer_id").with_columns(
        whose=np.where(wrong, stranger, rows["person"].to_numpy()),
        is_wrong=wrong,
        source=rng.integers(0, len(SOURCES), count),
        day=day,
        number=np.arange(count) + 1,
    )


def profile_rows(world: World) -> pl.DataFrame:
    """EXTERNAL_CUSTOMER_PROFILES, one row per profile."""
    rng, rows = world.streams.stream("external.profiles.rows"), _profiles(world)
    count = len(rows)
    person = world.people[rows["whose"].to_numpy()]
    age = (pl.lit(world.start_on) + pl.duration(days=pl.lit(rows["day"])) - person["dob"]).dt.total_days() // 365.25
    years = pl.select(age.cast(pl.Int64)).to_series().to_numpy()
    best = world.tastes.category[rows["whose"].to_numpy()].argsort(axis=1)[:, ::-1]
    interest = pl.Series([f'["{a}", "{b}"]' for a, b in np.array(CATEGORIES)[best[:, :2]]], dtype=pl.String)
    quality = np.where(rows["is_wrong"].to_numpy(), rng.beta(6, 4, count), rng.beta(9, 2, count)).round(2)
    decimal = pl.Decimal(3, 2)
    return rows.select(
        PROFILE_ID=pl.format("XP{}{}", pl.lit(world.label), pl.col("number").cast(pl.String).str.zfill(8)),
        CUSTOMER_ID="customer_id",
        DATA_SOURCE=words(rows["source"], SOURCES),
        PROFILE_TYPE=words(rows["source"], TYPES),
        PROFILE_DATE=(pl.lit(world.start_on) + pl.duration(days="day")).cast(pl.Date),
        AGE_RANGE=words(pl.Series(np.searchsorted(AGE_FLOORS, years, side="right")), AGES),
        GENDER=pl.when(pl.Series(rng.random(count) < 0.9)).then(person["gender"]),
        EDUCATION_LEVEL=words(pl.Series(rng.integers(0, 4, count)), EDUCATION),
        OCCUPATION=words(pl.Series(rng.integers(0, len(OCCUPATIONS), count)), OCCUPATIONS),
        INCOME_RANGE=words(pl.Series(rng.integers(0, 4, count)), INCOMES),
        INTERESTS=interest,
        LIFESTYLE_FACTORS=pl.format('["{}"]', words(pl.Series(rng.integers(0, 5, count)), LIFESTYLES)),
        SOCIAL_MEDIA_ACTIVITY=words(pl.Series(rng.integers(0, 3, count)), LEVELS),
        INFLUENCE_SCORE=pl.Series(rng.beta(1.5, 6, count).round(2)).cast(decimal),
        DATA_QUALITY_SCORE=pl.Series(quality).cast(decimal),
        LAST_UPDATED=(pl.lit(world.start_on).cast(pl.Datetime("us", "UTC")) + pl.duration(days="day", hours=3)),
    )


def profile_truth(world: World) -> pl.DataFrame:
    """One row per external profile: profile_id, entity_id it is filed under, described (whose facts it holds),
    is_wrong.
    """
    rows, ids = _profiles(world), world.people["entity_id"]
    return rows.select(
        profile_id=pl.format("XP{}", pl.col("number").cast(pl.String).str.zfill(8)),
        entity_id=ids.gather(rows["person"]),
        described=ids.gather(rows["whose"]),
        is_wrong="is_wrong",
    )


def sentiment_rows(world: World) -> pl.DataFrame:
    """EXTERNAL_CUSTOMER_SENTIMENT: one row per member with a series, matter and month from registration on. Scores
    scatter round a level of the member's own, and fall before the member leaves."""
    rng, members = world.streams.stream("external.sentiment"), world.accounts.filter(source_system="CRM")
    chosen = members.filter(pl.Series(rng.random(len(members)) < TALKED_SHARE))
    level = rng.normal(0.25, 0.25, len(chosen))
    first = np.maximum(chosen["registered"].to_numpy(), 0)
    owner, month = spread(np.maximum((world.days - 1 - first) // 30, 0))
    owner, month = np.repeat(owner, len(MATTERS)), np.repeat(month, len(MATTERS))
    matter = np.tile(np.arange(len(MATTERS)), len(owner) // len(MATTERS))
    day = first[owner] + month * 30 + rng.integers(0, 30, len(owner))
    gone = world.lives["gone"].to_numpy()[chosen["person"].to_numpy()][owner]
    heard = (rng.random(len(owner)) < 0.6) & (day < np.minimum(gone, world.days))
    return _said(world, chosen, level, owner[heard], matter[heard], day[heard], rng)


def sentiment_of_the_day(world: World, count: int) -> pl.DataFrame:
    """`count` rows of EXTERNAL_CUSTOMER_SENTIMENT on the first day of the story, of members drawn at random."""
    rng, members = world.streams.stream("external.sentiment"), world.accounts.filter(source_system="CRM")
    owner, matter = rng.integers(0, len(members), count), rng.integers(0, len(MATTERS), count)
    level = rng.normal(0.25, 0.25, len(members))
    return _said(world, members, level, owner, matter, np.zeros(count, dtype=np.int64), rng)


def _said(
    world: World, chosen: pl.DataFrame, level: np.ndarray, owner: np.ndarray, matter: np.ndarray, day: np.ndarray,
    rng: np.random.Generator,
) -> pl.DataFrame:  # fmt: skip
    """Sentiment of members (`owner`: row of `chosen`), each about one matter on one day."""
    gone = world.lives["gone"].to_numpy()[chosen["person"].to_numpy()][owner]
    sour = SOUR * ((gone < NEVER) & (gone - day <= SOUR_DAYS))
    score = np.clip(level[owner] - sour + rng.normal(0, 0.15, len(owner)), -1, 1).round(2)
    mentions = 1 + rng.poisson(3, len(owner))
    positive = rng.binomial(mentions, np.clip(0.5 + 0.4 * score, 0.05, 0.9))
    negative = rng.binomial(mentions - positive, np.clip(0.4 - 0.3 * score, 0.05, 0.9))
    tone = np.where(score < -0.2, 0, np.where(score > 0.3, 2, 1))
    decimal = pl.Decimal(3, 2)
    rows = pl.DataFrame(
        {
            "CUSTOMER_ID": chosen["customer_id"].gather(owner),
            "DATA_SOURCE": words(pl.Series(rng.integers(0, 2, len(owner))), SOURCES[:2]),
            "SENTIMENT_DATE": pl.select(pl.lit(world.start_on) + pl.duration(days=pl.lit(pl.Series(day))))
            .to_series()
            .cast(pl.Date),
            "SENTIMENT_TYPE": words(pl.Series(matter), MATTERS),
            "SENTIMENT_SCORE": pl.Series(score).cast(decimal),
            "SENTIMENT_MAGNITUDE": pl.Series(np.clip(np.abs(score) + 0.1, 0, 1).round(2)).cast(decimal),
            "MENTION_COUNT": mentions,
            "POSITIVE_MENTIONS": positive,
            "NEGATIVE_MENTIONS": negative,
            "NEUTRAL_MENTIONS": mentions - positive - negative,
            "KEYWORDS": words(pl.Series(tone), ('["late", "never again"]', '["shop"]', '["great", "love it"]')),
            "CONTEXT": words(pl.Series(tone), ("They let me down.", "Ordered there.", "Would order again.")),
        }
    ).sort("SENTIMENT_DATE", "CUSTOMER_ID", "SENTIMENT_TYPE")
    number = pl.format("XS{}{}", pl.lit(world.label), (pl.int_range(pl.len()) + 1).cast(pl.String).str.zfill(8))
    return rows.select(SENTIMENT_ID=number, **{c: pl.col(c) for c in rows.columns})
