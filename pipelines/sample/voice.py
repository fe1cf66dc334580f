"""What people say: reviews after purchases, posts about us and two competitors, answers to surveys after orders.

Texts are put together from clauses in English, German and Spanish; whether a clause praises or blames is drawn for each
aspect; each names what was bought, as no two customers say the same. Accounts are those of the shop; who bought at a
till answers without a name. In the bad weeks delivery goes wrong: its clauses blame, and answers to surveys fall.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from customer360.pipelines.sample.orders import orders
from customer360.pipelines.sample.sales import COMPLETED, PURCHASE, words
from customer360.pipelines.sample.visits import DAY_US, midnight_us
from customer360.pipelines.sample.world import World

LANGUAGES, LANGUAGE_SHARES = ("en", "de", "es"), (0.8, 0.1, 0.1)
ASPECTS = ("PRICE", "QUALITY", "DELIVERY", "STAFF", "FIT")
PRAISED = np.array([0.5, 0.75, 0.8, 0.7, 0.6])  # share of the clauses about each aspect that praise it
REVIEWED_SHARE, POSTED_SHARE, ASKED_SHARE = 0.1, 0.15, 0.15  # of completed receipts
BAD_WEEKS_BEFORE_END, BAD_DAYS = 63, 28  # where the bad weeks begin, and how long they last
BAD_PRAISED, BAD_SHIFT = 0.05, -0.2  # of the clauses about delivery; added to what is praised of all else
PROMOTERS, DETRACTORS = 0.55, 0.15  # of answers to NPS
BAD_PROMOTERS, BAD_DETRACTORS = 0.25, 0.5
COMPETITORS, COMPETITOR_SHARES = ("", "Northwind", "Contoso"), (0.6, 0.25, 0.15)  # the empty one: us
COMPETITOR_PRAISED = np.array([0.0, -0.25, 0.1])  # added to what is praised of us
PLATFORMS = ("X", "INSTAGRAM", "FACEBOOK", "REDDIT")
SPAM_SHARE, COPIED_SHARE, REPOST_SHARE, TWICE_SHARE = 0.04, 0.06, 0.05, 0.02
SPAM = "Earn money from home, click here https://deals.example.com https://win.example.com"
COPIED = "Best shop I have ever seen in my whole life, everybody should buy everything here"
CLAUSES = {  # by language and aspect: praise, blame
    "en": {
        "PRICE": ("The price is great", "It is far too expensive, a terrible price"),
        "QUALITY": ("Excellent quality, I love it", "Bad quality, it broke after a week"),
        "DELIVERY": ("Delivery was fast and perfect", "The delivery was awful and too late"),
        "STAFF": ("The staff were friendly and helpful", "The staff were rude and useless"),
        "FIT": ("It fits perfectly, very happy", "The size is wrong and it fits badly"),
    },
    "de": {
        "PRICE": ("Der Preis ist sehr gut", "Der Preis ist leider viel zu teuer"),
        "QUALITY": ("Die Qualität ist hervorragend", "Schlechte Qualität, nach einer Woche kaputt"),
        "DELIVERY": ("Die Lieferung war schnell und pünktlich", "Die Lieferung kam verspätet, sehr ärgerlich"),
        "STAFF": ("Das Personal war freundlich und hilfsbereit", "Das Personal war unfreundlich"),
        "FIT": ("Die Größe passt perfekt", "Die Größe ist falsch, ich bin enttäuscht"),
    },
    "es": {
        "PRICE": ("El precio es muy bueno", "El precio es malo, demasiado caro"),
        "QUALITY": ("La calidad es excelente", "Mala calidad, llegó roto"),
        "DELIVERY": ("El envío fue rápido y perfecto", "El envío fue pésimo y con retraso"),
        "STAFF": ("El personal fue muy amable", "El personal fue grosero, una vergüenza"),
        "FIT": ("La talla es perfecta", "La talla es incorrecta, estoy decepcionado"),
    },
}
MOMENT = pl.Datetime("us", "UTC")


def _bad(world: World, day: np.ndarray) -> np.ndarray:
    """Whether a day lies in the bad weeks; a story too short for them has none: bool [n]."""
    begin = world.days - BAD_WEEKS_BEFORE_END
    return (day >= begin) & (day < begin + BAD_DAYS) if begin > 0 else np.zeros(len(day), dtype=bool)


BOUGHT = ("I bought {} ({}).", "Gekauft: {} ({}).", "Compré {} ({}).")


def _texts(
    world: World, rng: np.random.Generator, rows: pl.DataFrame, day: np.ndarray, shift: np.ndarray
) -> tuple[pl.Series, np.ndarray]:
    """(a text of two clauses for each receipt, share of them that praise [n]). shift: added to the share that is
    praised."""
    count = len(day)
    language = rng.choice(len(LANGUAGES), count, p=LANGUAGE_SHARES)
    first = rng.integers(0, len(ASPECTS), count)
    second = (first + rng.integers(1, len(ASPECTS), count)) % len(ASPECTS)
    bad, parts, praised = _bad(world, day), [], np.zeros(count)
    flat = pl.Series([CLAUSES[lang][aspect][blame] for lang in LANGUAGES for aspect in ASPECTS for blame in (0, 1)])
    for aspect in (first, second):
        share = (
            np.where(bad & (aspect == ASPECTS.index("DELIVERY")), BAD_PRAISED, PRAISED[aspect] + BAD_SHIFT * bad)
            + shift
        )
        good = rng.random(count) < share
        praised += good / 2
        parts.append(flat.gather((language * len(ASPECTS) + aspect) * 2 + ~good))
    what = world.products["PRODUCT_NAME"].gather(_product(world, rows))
    when = (pl.lit(world.start_on) + pl.duration(days=pl.lit(pl.Series(day)))).cast(pl.Date).dt.strftime("%d.%m.")
    told = [pl.format(form, pl.lit(what), when) for form in BOUGHT]
    tail = pl.when(pl.lit(pl.Series(language == 0))).then(told[0]).when(pl.lit(pl.Series(language == 1))).then(told[1])
    return pl.select(pl.format("{}. {}. {}", *map(pl.lit, parts), tail.otherwise(told[2]))).to_series(), praised


def _product(world: World, rows: pl.DataFrame) -> pl.Series:
    """The first product (row of world.products) of each receipt."""
    lines = world.sales.lines.group_by("receipt").agg(pl.col("product").first())
    return rows.select("receipt").join(lines, on="receipt", how="left", maintain_order="left")["product"]


def _accounts(world: World, rows: pl.DataFrame) -> pl.Series:
    """The shop account of each receipt; null where another system or nobody was named."""
    held = world.accounts.select("customer_id", "source_system")[np.maximum(rows["account"].to_numpy(), 0)]
    is_shop = (held["source_system"] == "SHOP") & (rows["account"] >= 0)
    return held.select(pl.when(is_shop).then("customer_id")).to_series()


def _receipts(
    world: World, name: str, share: float, online: bool = False
) -> tuple[pl.DataFrame, np.ndarray, np.random.Generator]:
    """Completed purchases, a share of them, with the moment (microseconds) of what is said of each,
    inside the story; and the stream to go on with."""
    rng = world.streams.stream(name)
    bought = world.sales.receipts.with_row_index("receipt").cast({"receipt": pl.Int64})
    bought = bought.filter((pl.col("kind") == PURCHASE) & (pl.col("status") == COMPLETED))
    bought = bought.filter("online") if online else bought
    rows = bought.filter(pl.Series(rng.random(len(bought)) < share))
    at = rows["at"].to_numpy() + rng.integers(DAY_US, 10 * DAY_US, len(rows))
    inside = at < midnight_us(world.end_on) + DAY_US
    return rows.filter(pl.Series(inside)), at[inside], rng


def _day(world: World, at: np.ndarray) -> np.ndarray:
    return (at - midnight_us(world.start_on)) // DAY_US


def _numbered(prefix: str, world: World, rows: pl.DataFrame) -> pl.DataFrame:
    """In order of time with an id: its first column, named ID."""
    ordered = rows.sort("at", maintain_order=True)
    number = pl.format(
        f"{prefix}{{}}{{}}", pl.lit(world.label), (pl.int_range(pl.len()) + 1).cast(pl.String).str.zfill(8)
    )
    return ordered.select(ID=number, **{c: pl.col(c) for c in ordered.columns})


def review_rows(world: World) -> pl.DataFrame:
    """REVIEWS of what was bought, one row each; stars follow the text."""
    rows, at, rng = _receipts(world, "reviews", REVIEWED_SHARE, online=True)
    count = len(rows)
    said, praised = _texts(world, rng, rows, _day(world, at), np.zeros(count))
    stars = np.clip(np.round(1.5 + 3 * praised + rng.normal(0, 0.6, count)), 1, 5).astype(np.int64)
    silent = rng.random(count) < 0.15
    made = pl.DataFrame({"at": at, "CUSTOMER_ID": _accounts(world, rows)}).with_columns(
        PRODUCT_ID=world.products["PRODUCT_ID"].gather(_product(world, rows)),
        RATING=pl.Series(stars),
        REVIEW_TEXT=pl.when(~pl.Series(silent)).then(said),
        IS_VERIFIED=pl.Series(rng.random(count) < 0.8),
        HELPFUL_COUNT=pl.Series(rng.poisson(1.5, count).astype(np.int64)),
        REVIEW_DATE=pl.col("at").cast(MOMENT),
    )
    return _numbered("RV", world, made).rename({"ID": "REVIEW_ID"}).drop("at")


def post_rows(world: World) -> pl.DataFrame:
    """SOCIAL_POSTS, one row each, about us and the competitors; few are advertising, reposts, or said twice."""
    rows, at, rng = _receipts(world, "posts", POSTED_SHARE)
    count = len(rows)
    brand = rng.choice(len(COMPETITORS), count, p=COMPETITOR_SHARES)
    said, _ = _texts(world, rng, rows, _day(world, at), COMPETITOR_PRAISED[brand])
    kind = rng.random(count)
    known = pl.Series(rng.random(count) < 0.3)
    named = words(pl.Series(brand), COMPETITORS)
    bounds = np.cumsum([SPAM_SHARE, COPIED_SHARE, REPOST_SHARE])
    is_spam, is_copied = (pl.Series(kind < bounds[0]), pl.Series((kind >= bounds[0]) & (kind < bounds[1])))
    text = pl.when(is_spam).then(pl.lit(SPAM)).when(is_copied).then(pl.lit(COPIED)).otherwise(said)
    made = pl.DataFrame({"at": at}).with_columns(
        CUSTOMER_ID=pl.when(known).then(_accounts(world, rows)),
        AUTHOR_HANDLE=pl.format("@shopper{}", rows["person"]),
        PLATFORM=words(pl.Series(rng.integers(0, len(PLATFORMS), count)), PLATFORMS),
        BRAND=pl.when(named != "").then(named),
        POST_TEXT=text,
        POST_DATE=pl.col("at").cast(MOMENT),
        IS_REPOST=pl.Series((kind >= bounds[1]) & (kind < bounds[2])),
        LIKE_COUNT=pl.Series(rng.poisson(6, count).astype(np.int64)),
        SHARE_COUNT=pl.Series(rng.poisson(1, count).astype(np.int64)),
        REPLY_COUNT=pl.Series(rng.poisson(1, count).astype(np.int64)),
    )
    twice = made.filter(pl.Series(rng.random(count) < TWICE_SHARE))
    return _numbered("SP", world, pl.concat([made, twice])).rename({"ID": "POST_ID"}).drop("at")


def survey_rows(world: World) -> pl.DataFrame:
    """SURVEYS, one row per answer: whether one would recommend us (NPS) after any purchase, and how satisfied one is
    (CSAT) after online orders."""
    rows, at, rng = _receipts(world, "surveys", ASKED_SHARE)
    count, bad = len(rows), _bad(world, _day(world, at))
    late = rows.select("receipt").join(
        orders(world).select("receipt", "late"), on="receipt", how="left", maintain_order="left"
    )["late"].fill_null(False).to_numpy()  # fmt: skip
    nps = ~rows["online"].to_numpy() | (rng.random(count) < 0.6)
    draw, spread = rng.random(count), rng.random(count)
    low = np.where(bad | late, BAD_DETRACTORS, DETRACTORS)
    high = np.where(bad | late, BAD_PROMOTERS, PROMOTERS)
    of_ten = np.where(
        draw < low, (7 * spread).astype(int), np.where(draw > 1 - high, 9 + (spread > 0.5), 7 + (spread > 0.5))
    )
    of_five = np.where(
        draw < low, 1 + (spread > 0.5), np.where(draw > 1 - high, 4 + (spread > 0.4), 3 + (spread > 0.6))
    )
    said, _ = _texts(world, rng, rows, _day(world, at), np.where(draw < low, -0.4, np.where(draw > 1 - high, 0.2, 0.0)))
    made = pl.DataFrame({"at": at, "CUSTOMER_ID": _accounts(world, rows)}).with_columns(
        SURVEY_ID=words(pl.Series(nps.astype(np.int64)), ("AFTER_DELIVERY", "RECOMMEND")),
        SURVEY_TYPE=words(pl.Series(nps.astype(np.int64)), ("CSAT", "NPS")),
        SCORE=pl.Series(np.where(nps, of_ten, of_five).astype(np.int64)),
        COMMENT=pl.when(pl.Series(rng.random(count) < 0.35)).then(said),
        CHANNEL=words(pl.Series(rows["online"].to_numpy().astype(np.int64)), ("STORE", "ONLINE")),
        TRANSACTION_ID=pl.format("T{}{}", pl.lit(world.label), rows["receipt"].cast(pl.String).str.zfill(10)),
        SENT_DATE=(pl.col("at") - DAY_US // 2).cast(MOMENT),
        ANSWER_DATE=pl.col("at").cast(MOMENT),
    )
    return _numbered("SA", world, made).rename({"ID": "ANSWER_ID"}).drop("at")
