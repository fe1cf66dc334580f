"""Exposures to arms of experiments, with the subject that met them."""

from __future__ import annotations

import polars as pl

from customer360.pipelines.subjects import Owner, own_key
from customer360.pipelines.vocabulary import Activity
from customer360.platform.graph import builds
from customer360.platform.tables import Float, Integer, String, Table, Timestamp, personal

ACTIVITY: Activity = "validation"


class Exposures(
    Table, table="silver.exposures", per="exposure_id", sort_by=("exposed_at", "exposure_id", "experiment")
):
    """One row per exposure of somebody to an arm of an experiment, or to an item of a mixed list."""

    exposure_id = String(primary_key=True)
    source_system = String(primary_key=True)
    subject_id = String()
    person_id = String(nullable=True)
    customer_id = String(nullable=True, metadata=personal("account"))
    visitor_id = String(nullable=True, metadata=personal("device"))
    experiment = String(primary_key=True)
    arm = String()
    exposed_at = Timestamp()
    propensity = Float(nullable=True, description="Probability of the arm when it was chosen; null: its share")
    edition = Integer(nullable=True, description="Of what a bandit had learnt when it chose")
    product_id = String(nullable=True, description="Item of a mixed list; arm is the ranker that gave it")
    position = Integer(nullable=True)


EXPOSURE_OWNER = Owner(at="exposed_at", visitor="visitor_id", otherwise=own_key("x", "exposure_id"))


@builds(Exposures, follows=EXPOSURE_OWNER.of, reached=EXPOSURE_OWNER.reached)
def exposures(bronze_exposures: pl.LazyFrame, silver_identity_links: pl.LazyFrame) -> pl.LazyFrame:
    """Exposures as delivered, each with the person of its account, else the owner of the device at that time."""
    same = (
        "exposure_id", "customer_id", "visitor_id", "experiment", "arm", "exposed_at", "propensity", "edition",
        "product_id", "position",
    )  # fmt: skip
    facts = bronze_exposures.select(*(pl.col(c.upper()).alias(c) for c in same), source_system="_source_system")
    return EXPOSURE_OWNER.of(facts, silver_identity_links)
