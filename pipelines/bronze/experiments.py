"""Who saw which arm of an experiment: written down by this platform's own API, or delivered by a tool that assigns."""

from __future__ import annotations

import dataframely as dy
import polars as pl

from customer360.pipelines import vocabulary as v
from customer360.platform.tables import Float, Identifier, Integer, String, Table, Timestamp, personal


class Exposures(Table, table="bronze.exposures", key=("EXPOSURE_ID", "EXPERIMENT"), past=("EXPOSED_AT",)):
    """One row per delivered version of an exposure: somebody met an arm of an experiment, or an item of one."""

    EXPOSURE_ID = Identifier(nullable=False)
    EXPERIMENT = String(max_length=255)
    ARM = String(max_length=255)
    CUSTOMER_ID = Identifier(nullable=True, metadata=personal("account"), description="Null: a visitor")
    VISITOR_ID = Identifier(nullable=True, metadata=personal("device"))
    EXPOSED_AT = Timestamp()
    PROPENSITY = Float(
        nullable=True, min_exclusive=0, max=1, description="Probability of the arm when it was chosen; null: its share"
    )
    EDITION = Integer(nullable=True, min=0, description="Of what a bandit had learnt when it chose")
    PRODUCT_ID = Identifier(nullable=True, description="Item of a mixed list; ARM is the ranker that gave it")
    POSITION = Integer(nullable=True, min=1, description="Of the item in its list")

    @dy.rule()
    def names_somebody(cls) -> pl.Expr:
        return pl.col("CUSTOMER_ID").is_not_null() | pl.col("VISITOR_ID").is_not_null()

    @dy.rule()
    def happened_in_sensible_time(cls) -> pl.Expr:
        return v.is_sensible("EXPOSED_AT")
