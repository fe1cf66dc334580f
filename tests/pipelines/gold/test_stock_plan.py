"""When a product is to be ordered again."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl

from customer360.pipelines.gold.stock import INSTANT, _empirical, _position
from customer360.pipelines.inference.verdicts import MEASURED
from customer360.pipelines.rules import EnrichmentRules

AS_OF = date(2026, 6, 1)


def test_a_product_that_was_sold_in_one_lump_is_not_ordered_at_less_than_nothing() -> None:
    """Its demand in most stretches is none, which is below the mean; out of stock, it is due."""
    rules = EnrichmentRules().supply
    plans = pl.DataFrame(
        {"status": [MEASURED], "product_id": ["p"], "vendor_id": ["v"], "source_system": ["ERP"],
         "day_count": [rules.demand_days], "fitted_median_days": [5.0], "fitted_log_sd": [0.0], "line_count": [12]}
    )  # fmt: skip
    leads = pl.DataFrame({"vendor": ["v"], "system": ["ERP"], "days": [[5] * 12]})
    sold = pl.DataFrame({"product_id": ["p"], "on": [AS_OF - timedelta(days=60)], "units": [60]})
    assert _empirical(plans, leads, sold, AS_OF, rules).to_list() == [0.0]


def test_stock_is_that_of_all_locations_whichever_feed_reports_them() -> None:
    """A warehouse has snapshots, stores report counts: both hold what the demand of all is met from."""
    may = date(2026, 5, 1)
    days = pl.LazyFrame({"product_id": "p", "location_id": ["DC", "DC", "S1"], "on": [may, AS_OF, may],
                         "source_system": "ERP", "quantity_on_hand": [8, 99, 50]})  # fmt: skip
    counts = pl.LazyFrame(
        {"product_id": "p", "store_id": ["S1", "S2", "S2"], "quantity_on_hand": [30, -4, 99],
         "counted_at": [datetime(2026, 5, 20, tzinfo=UTC), datetime(2026, 5, 2, tzinfo=UTC),
                        datetime(2026, 6, 1, tzinfo=UTC)]}, schema_overrides={"counted_at": INSTANT},
    )  # fmt: skip
    stock = pl.LazyFrame(
        {"product_id": "p", "store_id": ["S3", "S1"], "quantity_on_hand": [700, 1], "updated_at": None},
        schema_overrides={"updated_at": INSTANT},
    )
    shops = pl.LazyFrame(
        {"store_id": ["S1", "S3"], "closed_on": [None, AS_OF]}, schema_overrides={"closed_on": pl.Date}
    )
    told = _position(days, stock, counts, shops, AS_OF).collect().row(0, named=True)
    assert told == {"product_id": "p", "on_hand": 8 + 30 + 0 + 700, "location_count": 4, "other_location_count": 2}
    later = _position(days, stock, counts, shops, AS_OF + timedelta(days=1)).collect().row(0, named=True)
    assert (later["on_hand"], later["location_count"]) == (99 + 30 + 99, 3), "S3 has closed"
