"""What happened since the date of the run: events, what people are doing, what to show them now.

Every other gold table ends with ``as_of``, the last day that is complete. These begin there, so that both together tell
all that has landed and nothing twice. Runs in micro-batches keep them minutes old; an answer over HTTP is younger, as
it knows what was acknowledged and has not landed (`serve.realtime`).
"""

from __future__ import annotations

from datetime import date

import polars as pl

from customer360.pipelines.inference import sums
from customer360.pipelines.sessions import of_humans
from customer360.pipelines.vocabulary import SESSION_GAP_MINUTES
from customer360.platform import tables
from customer360.platform.graph import builds
from customer360.platform.tables import Date, Float, Integer, List, OneOf, String, Table, Timestamp, personal

LONGEST_LIST = 100  # products of one kind, as `serve.realtime` keeps them
LONGEST_ANSWER = 20
FUSION = 60  # constant of reciprocal rank fusion: Cormack, Clarke and Buettcher (2009)
DATA = ("product_id", "category", "search_query", "page_url", "seconds_on_page", "scroll_depth", "device_type")


class RealTimeEvents(
    Table, table="gold.real_time_events", per="subject_id", sort_by=("occurred_at", "event_id"), serves="OPERATION"
):
    """One row per behavioural event on or after as_of, without those that silver.events sets apart."""

    event_id = String(primary_key=True, description="By the source")
    source_system = String(primary_key=True)
    as_of = Date(description="Date from which on events are here")
    subject_id = String()
    person_id = String(nullable=True)
    customer_id = String(nullable=True, metadata=personal("account"))
    event_type = String(description="As in silver.events")
    event_timestamp = Timestamp(description="When it happened")
    session_id = String(nullable=True, description="The tracker's")
    event_data = String(metadata=personal("text"), description="What else the event says: a JSON object")
    processing_status = OneOf("RESOLVED", "ANONYMOUS", description="Whether a person is known")
    occurred_at = Timestamp(description="event_timestamp, under the name that all facts have")


@builds(RealTimeEvents)
def real_time_events(silver_events: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """Events of days that are not complete yet."""
    status = pl.when(pl.col("person_id").is_null()).then(pl.lit("ANONYMOUS")).otherwise(pl.lit("RESOLVED"))
    return silver_events.filter(pl.col("occurred_on") >= as_of, pl.col("set_apart").is_null()).select(
        "event_id", "source_system", pl.lit(as_of).alias("as_of"), "subject_id", "person_id", "customer_id",
        "event_type", pl.col("occurred_at").alias("event_timestamp"), pl.col("tracker_session_id").alias("session_id"),
        pl.struct(DATA).struct.json_encode().alias("event_data"), status.alias("processing_status"), "occurred_at",
    )  # fmt: skip


class RealTimeProfiles(
    Table, table="gold.real_time_profiles", per="person_id", sort_by=("person_id",), serves="PERSONALIZATION"
):
    """One row per person who did something on or after as_of: what it did, products newest first, each once."""

    person_id = String(primary_key=True)
    as_of = Date(description="Date from which on the row knows")
    event_count = Integer(description="Events of humans since")
    session_count = Integer(description=f"Stretches without {SESSION_GAP_MINUTES} minutes of silence")
    session_started_at = Timestamp(nullable=True, description="Of the latest of them")
    session_event_count = Integer(description="Events of the latest of them")
    viewed_products = List(String(), description="Looked at since")
    cart_products = List(String(), description="Put in the cart since, neither taken out nor followed by a purchase")
    bought_products = List(String(), description="By events of purchases and by receipts")
    receipt_count = Integer(description="Completed sales")
    until_at = Timestamp(description="The latest event or sale")


@builds(
    RealTimeProfiles,
    reads={
        "silver.events": (
            "subject_id", "person_id", "event_id", "source_system", "event_type", "product_id", "occurred_at",
            "occurred_on", "tracker_session_id", "set_apart",
        ),
        "silver.set_apart_sessions": ("subject_id", "person_id", "session_id", "started_at", "ended_at"),
        "silver.transaction_items": (
            "person_id", "source_system", "transaction_id", "product_id", "is_sale", "is_product", "occurred_at",
            "occurred_on",
        ),
    },
)  # fmt: skip
def real_time_profiles(
    silver_events: pl.LazyFrame,
    silver_set_apart_sessions: pl.LazyFrame,
    silver_transaction_items: pl.LazyFrame,
    as_of: date,
) -> pl.LazyFrame:
    """Persons of either kind of fact; of events those of humans."""
    since = (pl.col("occurred_on") >= as_of) & pl.col("person_id").is_not_null()
    begun, sold = pl.collect_all(
        [silver_events.filter(since), silver_transaction_items.filter(since, pl.col("is_sale"))]
    )  # few or none of a long history, asked for in several places
    if begun.is_empty() and sold.is_empty():
        return pl.LazyFrame(schema=tables.schema(RealTimeProfiles))
    events = of_humans(begun.lazy(), silver_set_apart_sessions).sort(
        "person_id", "occurred_at", "event_id", "source_system"
    )
    return _profiles(events, sold.lazy(), as_of)


def _profiles(events: pl.LazyFrame, sold: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """Of persons with any of them; ``events`` in order of time."""
    done = _sessions(events).join(_lists(events, sold), on="person_id", how="full", coalesce=True)
    receipts = sold.group_by("person_id").agg(
        receipt_count=pl.struct("source_system", "transaction_id").n_unique().cast(pl.Int64),
        sold_at=pl.col("occurred_at").max(),
    )
    lists = ("viewed_products", "cart_products", "bought_products")
    counts = ("event_count", "session_count", "session_event_count", "receipt_count")
    return (
        done.join(receipts, on="person_id", how="full", coalesce=True)
        .with_columns(
            pl.col(lists).fill_null([]),
            pl.col(counts).fill_null(0),
            as_of=pl.lit(as_of),
            until_at=pl.max_horizontal("seen_at", "sold_at"),
        )
        .select(list(RealTimeProfiles.columns()))
    )


def _sessions(events: pl.LazyFrame) -> pl.LazyFrame:
    silence = (pl.col("occurred_at") - pl.col("occurred_at").shift().over("person_id")) > pl.duration(
        minutes=SESSION_GAP_MINUTES
    )
    numbered = events.with_columns(session=silence.fill_null(True).cum_sum().over("person_id"))
    latest = pl.col("session") == pl.col("session").max()
    return numbered.group_by("person_id").agg(
        event_count=pl.len().cast(pl.Int64),
        session_count=pl.col("session").max().cast(pl.Int64),
        session_started_at=pl.col("occurred_at").filter(latest).min(),
        session_event_count=latest.sum().cast(pl.Int64),
        seen_at=pl.col("occurred_at").max(),
    )


def _lists(events: pl.LazyFrame, sold: pl.LazyFrame) -> pl.LazyFrame:
    """Lists of products by person; ``events`` in order of time."""
    named = events.with_columns(step=pl.int_range(pl.len()).over("person_id"))
    kind = pl.col("event_type")
    emptied = named.group_by("person_id").agg(emptied=pl.col("step").filter(kind == "PURCHASE").max())
    last = (
        named.filter(pl.col("product_id").is_not_null())
        .group_by("person_id", "product_id")
        .agg(
            viewed=pl.col("step").filter(kind == "PRODUCT_VIEW").max(),
            added=pl.col("step").filter(kind == "CART_ADD").max(),
            removed=pl.col("step").filter(kind == "CART_REMOVE").max(),
            bought_at=pl.col("occurred_at").filter(kind == "PURCHASE").max(),
        )
        .join(emptied, on="person_id", how="left")
    )
    receipts = (
        sold.filter(pl.col("is_product"), pl.col("product_id").is_not_null())
        .group_by("person_id", "product_id")
        .agg(sold_at=pl.col("occurred_at").max())
    )
    known = last.join(receipts, on=["person_id", "product_id"], how="full", coalesce=True).with_columns(
        bought=pl.max_horizontal("bought_at", "sold_at")
    )
    gone = pl.max_horizontal("removed", "emptied")
    in_cart = pl.col("added").is_not_null() & (gone.is_null() | (pl.col("added") > gone)) & pl.col("sold_at").is_null()
    return (
        known.sort("person_id", "product_id")
        .group_by("person_id", maintain_order=True)
        .agg(
            viewed_products=_latest("viewed", pl.col("viewed").is_not_null()),
            cart_products=_latest("added", in_cart),
            bought_products=_latest("bought", pl.col("bought").is_not_null()),
        )
    )


def _latest(order: str, those: pl.Expr) -> pl.Expr:
    chosen = pl.col("product_id").filter(those)
    return chosen.sort_by(pl.col(order).filter(those), descending=True, maintain_order=True).head(LONGEST_LIST)


class RealTimeRecommendations(
    Table,
    table="gold.real_time_recommendations",
    per="person_id",
    sort_by=("person_id", "rank"),
    serves="PERSONALIZATION",
):
    """One row per person who did something on or after as_of, and rank: what to show now.

    The published lists, and what is bought together with what the person looks at or has in the cart, fused by
    reciprocal rank; nothing that lies in the cart or was bought since.
    """

    person_id = String(primary_key=True)
    rank = Integer(primary_key=True, min=1, description="1: shown first")
    as_of = Date(description="Date from which on the row knows what was done")
    product_id = String()
    score = Float(description=f"Sum of 1 / ({FUSION} + rank) over the lists that hold the product")
    because_of = String(nullable=True, description="Product of now that it is bought together with; null: none")


@builds(
    RealTimeRecommendations,
    reads={"gold.product_affinity": ("product_id", "other_product_id", "rank", "is_significant")},
)
def real_time_recommendations(
    gold_real_time_profiles: pl.LazyFrame,
    gold_recommendations: pl.LazyFrame,
    gold_product_affinity: pl.LazyFrame,
    as_of: date,
) -> pl.LazyFrame:
    """Lists of mode new of every model count alike."""
    active, person = gold_real_time_profiles, ["person_id", "product_id"]
    published = (
        gold_recommendations.filter(pl.col("mode") == "new")
        .join(active.select("person_id"), on="person_id", how="semi")
        .select(*person, "rank", because_of=pl.lit(None, pl.String))
    )
    now = pl.concat(
        [
            active.select("person_id", product_id=column).explode("product_id", empty_as_null=False)
            for column in ("viewed_products", "cart_products")
        ]
    ).unique()
    pairs = gold_product_affinity.filter("is_significant").select("product_id", "other_product_id", "rank")
    together = (
        now.join(pairs, on="product_id")
        .sort("person_id", "other_product_id", "rank", "product_id")
        .group_by("person_id", "other_product_id", maintain_order=True)
        .agg(pl.col("rank").first(), because_of=pl.col("product_id").first())
        .rename({"other_product_id": "product_id"})
        .select(*person, "rank", "because_of")
    )
    gone = pl.concat(
        [
            active.select("person_id", product_id=column).explode("product_id", empty_as_null=False)
            for column in ("cart_products", "bought_products")
        ]
    )
    return (
        pl.concat([published, together])
        .join(gone, on=person, how="anti")
        .with_columns(share=1 / (FUSION + pl.col("rank")))
        .sort(*person, "share")
        .group_by(*person, maintain_order=True)
        .agg(score=sums.total(pl.col("share")), because_of=pl.col("because_of").drop_nulls().first())
        .sort("person_id", "score", "product_id", descending=[False, True, False])
        .with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over("person_id"))
        .filter(pl.col("rank") <= LONGEST_ANSWER)
        .select("person_id", "rank", pl.lit(as_of).alias("as_of"), "product_id", "score", "because_of")
    )
