"""What really happened, for judging what the platform finds out: written beside the landing zone, never read by a
pipeline."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from customer360.pipelines.sample.business import business_truth
from customer360.pipelines.sample.catalog import CATEGORIES
from customer360.pipelines.sample.collected import collection_truth
from customer360.pipelines.sample.engagement import campaign_truth
from customer360.pipelines.sample.external import profile_truth
from customer360.pipelines.sample.impressions import effect_truth
from customer360.pipelines.sample.loyalty import loyalty_truth
from customer360.pipelines.sample.market import market_truth
from customer360.pipelines.sample.openings import opening_truth
from customer360.pipelines.sample.payments import fraud_truth
from customer360.pipelines.sample.records import NEVER
from customer360.pipelines.sample.service import service_truth
from customer360.pipelines.sample.supply import vendor_truth
from customer360.pipelines.sample.visits import CHURN_HOUR
from customer360.pipelines.sample.world import World

DirtLog = list[tuple[str, str, str | None, str | None]]


def records(world: World) -> pl.DataFrame:
    """One row per source account: source_system, customer_id, entity_id, household_id."""
    who = world.people.select("entity_id", "household_id")[world.accounts["person"].to_numpy()]
    return pl.concat([world.accounts.select("source_system", "customer_id"), who], how="horizontal")


def visitors(world: World) -> pl.DataFrame:
    """One row per (visitor_id, entity_id) with the start of its first and last visit (from, to); shared devices have
    several."""
    used = (
        world.visits.group_by("visitor", "person")
        .agg(first=pl.col("at").min(), last=pl.col("at").max())
        .sort("visitor", "person")
    )
    return used.select(
        visitor_id=world.devices.visitor_ids.gather(used["visitor"]),
        entity_id=world.people["entity_id"].gather(used["person"]),
        **{"from": pl.col("first").cast(pl.Datetime("us", "UTC")), "to": pl.col("last").cast(pl.Datetime("us", "UTC"))},
    )


def tastes(world: World) -> pl.DataFrame:
    """One row per (entity_id, category): weight, summing to one a person."""
    people = len(world.people)
    return pl.DataFrame(
        {
            "entity_id": world.people["entity_id"].gather(np.repeat(np.arange(people), len(CATEGORIES))),
            "category": pl.Series(CATEGORIES).gather(np.tile(np.arange(len(CATEGORIES)), people)),
            "weight": world.tastes.category.ravel(),
        }
    )


def churn(world: World) -> pl.DataFrame:
    """One row per person: rate_at_start (purchases a day), churned_at (null while a customer), slowed (the rate fell
    before)."""
    midnight = pl.lit(world.start_on).cast(pl.Datetime("us", "UTC"))
    left = pl.col("gone") < NEVER
    life = world.lives.with_columns(gone=pl.when(left).then("gone"))
    return life.select(
        entity_id=world.people["entity_id"],
        rate_at_start="buy_rate",
        churned_at=midnight + pl.duration(days="gone", hours=CHURN_HOUR),
        slowed=pl.col("slows") & left.fill_null(False),
    )


def guests(world: World) -> pl.DataFrame:
    """One row per receipt without a customer: transaction_id, entity_id."""
    rows = world.sales.receipts.with_row_index("receipt").filter(pl.col("account") < 0)
    return rows.select(
        transaction_id=pl.format("T{}", pl.col("receipt").cast(pl.String).str.zfill(10)),
        entity_id=world.people["entity_id"].gather(rows["person"]),
    )


def dirt(log: DirtLog) -> pl.DataFrame:
    """One row per (file, kind, field, key): count of rows; for new_column and missing_column the rows of the file,
    without a key."""
    schema = {"file": pl.String, "kind": pl.String, "field": pl.String, "key": pl.String}
    frame = pl.DataFrame(log, schema=schema, orient="row")
    return frame.group_by(frame.columns).agg(count=pl.len().cast(pl.Int64)).sort("file", "kind", "field", "key")


TRUTHS: dict[str, Callable[[World], pl.DataFrame]] = {
    "records": records,
    "visitors": visitors,
    "tastes": tastes,
    "churn": churn,
    "guests": guests,
    "campaigns": campaign_truth,
    "service": service_truth,
    "profiles": profile_truth,
    "fraudsters": fraud_truth,
    "vendors": vendor_truth,
    "loyalty": loyalty_truth,
    "competitor_products": market_truth,
    "context_effects": effect_truth,
    "openings": lambda world: opening_truth(world.openings),
    "collections": collection_truth,
    "organisations": business_truth,
}
