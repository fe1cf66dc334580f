"""Web visits: what a visitor does in a session, as CUSTOMER_BEHAVIORAL_EVENTS and CUSTOMER_SESSION_DATA.

A visit is a landing followed by explorations of products. One exploration is a row of a mask over the steps below, so
that reading the mask row by row gives the events in order without a sort. A visit that buys explores every bought
product, puts it in the cart, and ends with CHECKOUT_START and PURCHASE at the receipt's time (a FAILED payment has no
PURCHASE). CUSTOMER_ID is the SHOP id from login on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from customer360.pipelines.sample.catalog import Shelf
from customer360.pipelines.sample.sales import FAILED, Sales, words
from customer360.pipelines.sample.stores import places
from customer360.pipelines.sample.streams import spread
from customer360.pipelines.sample.tastes import Tastes
from customer360.pipelines.sample.visits import AGENTS

STEPS = (
    "PAGE_VIEW",
    "LOGIN",
    "SEARCH",
    "CATEGORY_VIEW",
    "PRODUCT_VIEW",
    "SCROLL",
    "CLICK",
    "WISHLIST_ADD",
    "CART_ADD",
    "CART_REMOVE",
    "LOGIN",
    "CHECKOUT_START",
    "PURCHASE",
)
LANDING, EARLY_LOGIN, SEARCH, CATEGORY, PRODUCT, SCROLL, CLICK, WISH, CART, UNCART, LATE_LOGIN, CHECKOUT, BUY = range(
    len(STEPS)
)
PAGES = [LANDING, SEARCH, CATEGORY, PRODUCT]  # steps that show a page
# Chance of each step in an exploration of a product that is not bought.
CHANCES = np.array([0, 0, 0.22, 0.3, 1.0, 0.42, 0.38, 0.06, 0.11, 0.02, 0, 0, 0])
EXTRA_EXPLORATIONS = 1.6  # mean beyond the first
MOST_EXPLORATIONS = 14
BOUNCE_SHARE = 0.2
ABANDON_SHARE = 0.25  # visits with something in the cart that reach the checkout without buying
DWELL_MEDIAN_S, DWELL_SPREAD, DWELL_MOST_S = 14.0, 0.9, 480.0
SITE = "https://shop.example.com"
SOURCES = ("DIRECT", "ORGANIC_SEARCH", "PAID_SEARCH", "EMAIL", "SOCIAL", "REFERRAL")
SOURCE_SHARES = np.array([0.3, 0.28, 0.14, 0.12, 0.1, 0.06])
REFERRERS = (
    None,
    "https://www.google.com/",
    "https://www.google.com/",
    "https://mail.google.com/",
    "https://www.instagram.com/",
    "https://deals.example.org/",
)
CAMPAIGNS = 24


@dataclass(frozen=True)
class Trail:
    """Events of some visits in order: visit (row of the visits), step (row of STEPS), product (-1 without), at,
    dwell_s, depth."""

    visit: np.ndarray
    step: np.ndarray
    product: np.ndarray
    at: np.ndarray
    dwell_s: np.ndarray
    depth: np.ndarray


def _explorations(
    visits: pl.DataFrame, bought: tuple[np.ndarray, np.ndarray], taste: Tastes, shelf: Shelf, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(visit, product, is bought) of every exploration, in order of visits; a bounce has one exploration with product
    -1."""
    count = len(visits)
    buys = visits["purchase"].to_numpy() >= 0
    bounce = ~buys & (rng.random(count) < BOUNCE_SHARE)
    extra = np.minimum(rng.geometric(1 / (1 + EXTRA_EXPLORATIONS), count) - buys, MOST_EXPLORATIONS)
    visit, _ = spread(np.where(bounce, 1, extra))
    person, day = visits["person"].to_numpy()[visit], visits["day"].to_numpy()[visit]
    month = (
        visits.select(pl.col("at").cast(pl.Datetime("us")).dt.month()).to_series().to_numpy().astype(np.int64)[visit]
        - 1
    )
    product = np.where(bounce[visit], -1, taste.draw(shelf, person, month, day, rng))
    visit, product = np.concatenate([visit, bought[0]]), np.concatenate([product, bought[1]])
    is_bought = np.arange(len(visit)) >= len(person)
    order = np.lexsort((rng.random(len(visit)), visit))
    return visit[order], product[order], is_bought[order]


def _mask(
    visits: pl.DataFrame,
    visit: np.ndarray,
    product: np.ndarray,
    is_bought: np.ndarray,
    pays: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Which steps each exploration has: Bool [explorations, steps]."""
    count = len(visit)
    mask = rng.random((count, len(STEPS))) < CHANCES
    mask[product < 0] = False
    mask[is_bought, CART], mask[is_bought, UNCART], mask[is_bought, PRODUCT] = True, False, True
    mask[:, UNCART] |= mask[:, CART] & ~is_bought & (rng.random(count) < 0.2)
    mask[:, UNCART] &= mask[:, CART]
    first, last = np.diff(visit, prepend=-1) != 0, np.diff(visit, append=-1) != 0
    mask[:, LANDING] = first
    logs_in = (visits["account"].to_numpy() >= 0)[visit]
    late = visits["late_login"].to_numpy()[visit]
    mask[:, EARLY_LOGIN] = first & logs_in & ~late & (rng.random(count) < 0.3)  # others arrive with a live login
    mask[:, LATE_LOGIN] = last & logs_in & late
    purchase = visits["purchase"].to_numpy()[visit] >= 0
    carted = np.bincount(visit, weights=mask[:, CART] & ~mask[:, UNCART], minlength=len(visits))[visit] > 0
    mask[:, CHECKOUT] = last & (purchase | (carted & (rng.random(count) < ABANDON_SHARE)))
    mask[:, BUY] = last & pays[visit]
    return mask


def trail(
    visits: pl.DataFrame, sales: Sales, first_receipt: np.ndarray, taste: Tastes, shelf: Shelf, rng: np.random.Generator
) -> Trail:
    """The events of some visits (rows of `visits.sessions`). first_receipt: the receipt number of each purchase, Int64
    [purchases]."""
    purchase = visits["purchase"].to_numpy()
    receipt = np.where(purchase >= 0, first_receipt[np.maximum(purchase, 0)], -1)
    status = sales.receipts["status"].to_numpy()[np.maximum(receipt, 0)]
    pays = (receipt >= 0) & (status != FAILED)
    key = pl.DataFrame({"receipt": receipt, "visit": np.arange(len(visits))}).filter(pl.col("receipt") >= 0)
    goods = key.join(sales.lines.select("receipt", "product"), on="receipt", how="inner", maintain_order="left_right")
    bought = goods["visit"].to_numpy(), goods["product"].to_numpy()
    visit, product, is_bought = _explorations(visits, bought, taste, shelf, rng)
    row, step = np.nonzero(_mask(visits, visit, product, is_bought, pays, rng))
    owner = visit[row]
    dwell = np.minimum(rng.lognormal(np.log(DWELL_MEDIAN_S), DWELL_SPREAD, len(row)), DWELL_MOST_S)
    milliseconds = np.maximum((dwell * 1000).astype(np.int64), 300)
    before = np.cumsum(milliseconds) - milliseconds
    first = np.searchsorted(owner, np.arange(len(visits)))
    last = np.searchsorted(owner, np.arange(len(visits)), side="right") - 1
    # A visit that buys is fixed by its last event, the others by their first.
    anchor = np.where(purchase >= 0, last, first)
    at = visits["at"].to_numpy()[owner] + (before - before[anchor][owner]) * 1000
    about = np.isin(step, (CATEGORY, PRODUCT, SCROLL, CLICK, WISH, CART, UNCART, SEARCH))
    depth = np.round(rng.beta(1.6, 1.4, len(row)), 2)
    return Trail(owner, step, np.where(about, product[row], -1), at, milliseconds // 1000, depth)


def uuids(count: int, rng: np.random.Generator, order: np.ndarray) -> pl.Series:
    """Random identifiers in the usual form of 36 characters; `order`: which of them comes first, and so on."""
    digits = np.frombuffer(rng.bytes(16 * count).hex().encode(), dtype=np.uint8).reshape(count, 32)[order]
    text = np.full((count, 36), ord("-"), dtype=np.uint8)
    for start, stop, at in ((0, 8, 0), (8, 12, 9), (12, 16, 14), (16, 20, 19), (20, 32, 24)):
        text[:, at : at + stop - start] = digits[:, start:stop]
    offsets = pa.py_buffer(np.arange(0, 36 * count + 1, 36, dtype=np.int64))
    array = pa.LargeStringArray.from_buffers(count, offsets, pa.py_buffer(text))
    return pl.Series("EVENT_ID", array)


def _lower(column: str) -> pl.Expr:
    return pl.col(column).str.to_lowercase()


def _pages() -> tuple[pl.Expr, pl.Expr]:
    """(PAGE_URL, PAGE_TITLE) of events that carry step, landing, order and the columns of their product."""
    step = pl.col("step")
    searched = _lower("SUBCATEGORY").str.replace_all(" ", "+", literal=True)
    url = (
        pl.when(step == LANDING)
        .then("landing")
        .when(step == BUY)
        .then(pl.format(SITE + "/order/confirmation/{}", "order"))
        .when(step == CHECKOUT)
        .then(pl.lit(SITE + "/checkout"))
        .when(step.is_in([EARLY_LOGIN, LATE_LOGIN]))
        .then(pl.lit(SITE + "/login"))
        .when(step == CATEGORY)
        .then(pl.format(SITE + "/c/{}", _lower("CATEGORY")))
        .when(step == SEARCH)
        .then(pl.format(SITE + "/search?q={}", searched))
        .otherwise(pl.format(SITE + "/p/{}", "PRODUCT_ID"))
    )
    title = (
        pl.when(step == LANDING).then(pl.lit("Welcome"))
        .when(step == BUY).then(pl.lit("Thank you for your order"))
        .when(step == CHECKOUT).then(pl.lit("Checkout"))
        .when(step.is_in([EARLY_LOGIN, LATE_LOGIN])).then(pl.lit("Sign in"))
        .when(step == CATEGORY).then("CATEGORY")
        .when(step == SEARCH).then(pl.lit("Search results"))
        .otherwise("PRODUCT_NAME")
    )  # fmt: skip
    return url, title


def visit_rows(
    visits: pl.DataFrame,
    sales: Sales,
    first_receipt: np.ndarray,
    first_number: int,
    customer_ids: pl.Series,
    visitor_ids: pl.Series,
    place: np.ndarray,
    rng: np.random.Generator,
    label: str = "",
) -> pl.DataFrame:
    """What the tables say about each visit: session_id, customer_id, visitor_id, city, landing, order, cents, source,
    campaign, agent.

    Session numbers begin at `first_number`; `label` stands in ids before numbers. place: row of places per person;
    order and cents are those of the receipt (any without one).
    """
    source = rng.choice(len(SOURCES), len(visits), p=SOURCE_SHARES)
    campaign = pl.format("CMP{}", pl.Series(rng.integers(0, CAMPAIGNS, len(visits))).cast(pl.String).str.zfill(3))
    account = visits["account"].to_numpy()
    receipt = pl.Series(first_receipt[np.maximum(visits["purchase"].to_numpy(), 0)])
    frame = pl.DataFrame(
        {"source": source, "agent": visits["agent"], "receipt": receipt, "word": words(pl.Series(source), SOURCES)}
    )
    frame = frame.with_columns(campaign=pl.when(pl.col("source").is_in([2, 3, 4])).then(campaign))
    utm = pl.format(SITE + "/?utm_source={}&utm_campaign={}", _lower("word"), "campaign")
    return frame.with_columns(
        session_id=pl.format(
            "SES{}{}", pl.lit(label), (first_number + pl.int_range(pl.len())).cast(pl.String).str.zfill(9)
        ),
        customer_id=pl.when(pl.Series(account >= 0)).then(customer_ids.gather(np.maximum(account, 0))),
        visitor_id=visitor_ids.gather(visits["visitor"]),
        city=places()["city"].gather(place[visits["person"].to_numpy()]),
        landing=pl.coalesce(utm, pl.lit(SITE + "/")),
        order=pl.format("O{}{}", pl.lit(label), pl.col("receipt").cast(pl.String).str.zfill(10)),
        cents=sales.receipts["total"].gather(receipt),
    )


def event_rows(path: Trail, said: pl.DataFrame, products: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """CUSTOMER_BEHAVIORAL_EVENTS of some visits in order of time; `said` is their `visit_rows`."""
    login_at = np.full(len(said), -1, dtype=np.int64)
    is_login = np.isin(path.step, (EARLY_LOGIN, LATE_LOGIN))
    login_at[path.visit[is_login]] = np.flatnonzero(is_login)
    # Without a LOGIN event the visitor arrived logged in; else the customer is known from that event on.
    known = np.arange(len(path.visit)) >= login_at[path.visit]
    order = np.argsort(path.at, kind="stable")
    goods = products.select("PRODUCT_ID", "PRODUCT_NAME", "CATEGORY", "SUBCATEGORY", "BRAND")[
        np.maximum(path.product, 0)[order]
    ]
    visit = said.select("session_id", "customer_id", "visitor_id", "city", "landing", "order", "source", "agent")[
        path.visit[order]
    ]
    frame = pl.concat([goods, visit], how="horizontal").with_columns(
        step=pl.Series(path.step[order]), has=pl.Series(path.product[order] >= 0), known=pl.Series(known[order])
    )
    step, agent = pl.col("step"), frame["agent"]
    url, title = _pages()
    branded = pl.Series(rng.random(len(frame))[order] < 0.3)
    query = (
        pl.when(branded)
        .then(pl.format("{} {}", _lower("BRAND"), _lower("SUBCATEGORY")))
        .otherwise(_lower("SUBCATEGORY"))
    )
    return frame.select(
        EVENT_ID=uuids(len(frame), rng, order),
        CUSTOMER_ID=pl.when("known").then("customer_id"),
        SESSION_ID="session_id",
        EVENT_TYPE=words(frame["step"], STEPS),
        EVENT_DATE=pl.Series(path.at[order]).cast(pl.Datetime("us", "UTC")),
        PAGE_URL=url,
        PAGE_TITLE=title,
        PRODUCT_ID=pl.when(pl.col("has") & ~step.is_in([CATEGORY, SEARCH])).then("PRODUCT_ID"),
        CATEGORY_VIEWED=pl.when(pl.col("has") & (step != SEARCH)).then("CATEGORY"),
        SEARCH_QUERY=pl.when(step == SEARCH).then(query),
        TIME_ON_PAGE=pl.when(step.is_in(PAGES)).then(pl.Series(path.dwell_s[order])),
        SCROLL_DEPTH=pl.when(step == SCROLL).then(pl.Series(path.depth[order])),
        DEVICE_TYPE=words(agent, tuple(a[0] for a in AGENTS)),
        BROWSER=words(agent, tuple(a[1] for a in AGENTS)),
        OPERATING_SYSTEM=words(agent, tuple(a[2] for a in AGENTS)),
        LOCATION_COUNTRY=pl.lit("USA"),
        LOCATION_CITY="city",
        REFERRER_URL=pl.when(step == LANDING).then(pl.Series(REFERRERS).gather(frame["source"])),
        VISITOR_ID="visitor_id",
        USER_AGENT=words(agent, tuple(a[3] for a in AGENTS)),
    )


def session_rows(path: Trail, said: pl.DataFrame) -> pl.DataFrame:
    """CUSTOMER_SESSION_DATA of some visits in order of their start, plus VISITOR_ID."""
    # A visit has one event at least, and its events lie together in order of time.
    first = np.flatnonzero(np.diff(path.visit, prepend=-1))
    events = np.diff(first, append=len(path.visit))
    pages, bought = np.isin(path.step, PAGES), path.step == BUY
    closing = pl.DataFrame(
        {
            "start": path.at[first],
            "end": path.at[first + events - 1],
            "pages": np.add.reduceat(pages.astype(np.int64), first) if len(first) else first,
            "events": events,
            "bought": np.add.reduceat(bought.astype(np.int64), first) > 0 if len(first) else first > 0,
        }
    )
    money = pl.Decimal(10, 2)
    rows = pl.concat([closing, said], how="horizontal").select(
        SESSION_ID="session_id",
        CUSTOMER_ID="customer_id",
        SESSION_START=pl.col("start").cast(pl.Datetime("us", "UTC")),
        SESSION_END=pl.col("end").cast(pl.Datetime("us", "UTC")),
        SESSION_DURATION=(pl.col("end") - pl.col("start")) // 1_000_000,
        PAGE_VIEWS="pages",
        BOUNCE_RATE=(pl.col("events") == 1).cast(pl.Int64).cast(pl.Decimal(3, 2)),
        CONVERSION_EVENT="bought",
        CONVERSION_VALUE=pl.when("bought").then((pl.col("cents").cast(pl.Decimal(14, 2)) / 100).cast(money)),
        TRAFFIC_SOURCE="word",
        CAMPAIGN_ID="campaign",
        VISITOR_ID="visitor_id",
    )
    return rows.sort("SESSION_START", maintain_order=True)
