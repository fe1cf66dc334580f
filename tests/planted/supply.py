"""Truths about vendors and stock."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache

import numpy as np
import planted
import polars as pl

from customer360.pipelines.gold.stock import product_demand, stock_plan
from customer360.pipelines.gold.vendors import lead_times, vendor_scorecard
from customer360.pipelines.rules import EnrichmentRules

RULES, AS_OF = EnrichmentRules(), date(2026, 7, 1)
EUR = pl.LazyFrame({"currency": ["EUR"]})
LEVEL = RULES.supply.service_level


def _lines(vendor: np.ndarray, lead: np.ndarray, late: np.ndarray, rejected: np.ndarray) -> tuple[pl.LazyFrame, ...]:
    """Order lines of ten units, promised after 20 days, received after ``lead`` days, or a week late."""
    count, rng = len(vendor), np.random.default_rng(len(vendor))
    ordered = [date(2025, 8, 1) + timedelta(days=int(d)) for d in rng.integers(0, 250, count)]
    orders = pl.DataFrame(
        {"source_system": "E", "purchase_order_id": [f"PO{n}" for n in range(count)], "line_number": 1,
         "vendor_id": [f"V{v}" for v in vendor], "product_id": "p", "ordered_on": ordered, "ordered_quantity": 10,
         "promised_on": [d + timedelta(days=20) for d in ordered], "is_cancelled": False, "is_open": True}
    ).with_columns(reporting_unit_cost=pl.lit(Decimal("2.00")))  # fmt: skip
    took = np.where(late, 27, lead)
    receipts = orders.select(
        "source_system", "purchase_order_id", "vendor_id", "ordered_on", purchase_order_line="line_number",
        order_source_system="source_system", accepted_quantity=pl.lit(10) - pl.Series(rejected),
        received_on=pl.col("ordered_on") + pl.duration(days=pl.lit(pl.Series(took))), is_orphan=False,
        received_quantity=pl.lit(10),
        rejected_quantity=pl.Series(rejected), lead_days=pl.Series(took),
    )  # fmt: skip
    return orders.lazy(), receipts.lazy()


PRODUCTS = pl.LazyFrame({"product_id": ["p"], "cost": [Decimal("2.00")], "currency": ["EUR"]})


@lru_cache(maxsize=2)
def _vendors(seed: int) -> tuple[pl.DataFrame, np.ndarray, np.ndarray]:
    """Forty vendors of few and many lines, whose chances to be on time and share of bad units are drawn."""
    rng = np.random.default_rng(seed)
    on_time, bad = rng.beta(16, 4, 40), rng.beta(2, 60, 40)
    vendor = np.repeat(np.arange(40), rng.integers(1, 60, 40))
    orders, receipts = _lines(
        vendor, np.full(len(vendor), 15), rng.random(len(vendor)) > on_time[vendor], rng.binomial(10, bad[vendor])
    )
    table = vendor_scorecard(orders, receipts, PRODUCTS, EUR, AS_OF, RULES).collect().sort("vendor_id")
    return table, on_time * (1 - bad) ** 10, bad  # a line with a bad unit is not in full


def _of_one(name: str, which: int):  # type: ignore[no-untyped-def]
    def find(seed: int) -> planted.Found:
        table, *truth = _vendors(seed)
        one = int(np.random.default_rng(seed + 9_000).integers(40))
        row = table.row(by_predicate=pl.col("vendor_id") == f"V{one}", named=True)
        ends = (row[f"{name}_{end}"] for end in ("estimate", "low", "high"))
        return planted.Found(*ends, planted=float(truth[which][one]))

    return find


def _bad_batches(seed: int) -> planted.Found:
    """Twenty vendors of forty receipts; one receipt in twenty is bad by half, of all vendors alike."""
    rng = np.random.default_rng(seed)
    batch = rng.random(800) < 0.05
    vendor, rejected = np.repeat(np.arange(20), 40), np.where(batch, rng.binomial(10, 0.5, 800), 0)
    orders, receipts = _lines(vendor, np.full(800, 15), np.zeros(800, bool), rejected)
    table = vendor_scorecard(orders, receipts, PRODUCTS, EUR, AS_OF, RULES).collect().sort("vendor_id")
    row = table.row(int(rng.integers(20)), named=True)
    return planted.Found(row["defect_estimate"], row["defect_low"], row["defect_high"])


def _few_perfect_lines(seed: int) -> planted.Found:
    """Of a vendor with twelve perfect lines and one with 400 of which 2 % are late the second ranks higher."""
    rng = np.random.default_rng(seed)
    vendor = np.concatenate([np.zeros(12, int), np.ones(400, int), np.repeat(np.arange(2, 12), 60)])
    late = np.concatenate([np.zeros(12, bool), np.arange(400) % 50 == 0, rng.random(600) < 0.15])
    orders, receipts = _lines(vendor, np.full(len(vendor), 15), late, np.zeros(len(vendor), int))
    table = vendor_scorecard(orders, receipts, PRODUCTS, EUR, AS_OF, RULES).collect()
    ranks = dict(table.select("vendor_id", "vendor_rank").iter_rows())
    first = float(ranks["V1"] < ranks["V0"])
    return planted.Found(first, first, first)


def _median_days(seed: int) -> planted.Found:
    """Thirty vendors with lognormal lead times about medians of their own, of five to forty lines."""
    rng = np.random.default_rng(seed)
    median = rng.lognormal(3, 0.4, 30)
    vendor = np.repeat(np.arange(30), rng.integers(5, 40, 30))
    days = np.maximum(np.round(median[vendor] * rng.lognormal(0, 0.3, len(vendor))), 1).astype(int)
    orders, receipts = _lines(vendor, days, np.zeros(len(vendor), bool), np.zeros(len(vendor), int))
    one = int(rng.integers(30))
    row = (
        lead_times(orders, receipts, AS_OF, RULES).filter(pl.col("vendor_id") == f"V{one}").collect().row(0, named=True)
    )
    ends = (row[f"fitted_median_{end}"] for end in ("days", "low", "high"))
    return planted.Found(*ends, planted=float(median[one]))


PLANNED, VENDORS = 60, 10


def _plan(seed: int, demand: np.ndarray, size: float, spread: float) -> tuple[pl.DataFrame, np.random.Generator]:
    """The plan of sixty products sold by negative binomial days, six of a vendor, with lognormal lead times of a median
    of 12 days."""
    rng = np.random.default_rng(seed)
    sold = rng.negative_binomial(size, size / (size + demand[:, None]), (PLANNED, 182))
    product, day = np.nonzero(sold)
    ids = [f"p{n:02d}" for n in range(PLANNED)]
    items = pl.DataFrame({"product_id": pl.Series(ids)[product], "quantity": sold[product, day], "day": day}).select(
        "product_id", "quantity", occurred_on=pl.lit(AS_OF) - pl.duration(days=182 - pl.col("day")), is_sale=True,
        is_product=True,
    ).lazy()  # fmt: skip
    goods = pl.LazyFrame({"product_id": ids}).with_columns(launched_on=pl.lit(date(2020, 1, 1)), is_product=True)
    days = pl.LazyFrame({"on": [AS_OF - timedelta(days=400)]})
    vendor, nothing = np.arange(1200) % VENDORS, np.zeros(1200, int)
    lead = np.maximum(np.round(12 * rng.lognormal(0, spread, 1200)), 1).astype(int)
    orders, receipts = _lines(vendor, lead, nothing > 0, nothing)
    orders = orders.with_columns(product_id=pl.Series([ids[n % PLANNED] for n in range(1200)]))
    demand_table = product_demand(items, goods, days, AS_OF, RULES).collect()
    stock = pl.LazyFrame(schema={"product_id": pl.String, "location_id": pl.String, "on": pl.Date,
                                 "source_system": pl.String, "quantity_on_hand": pl.Int64})  # fmt: skip
    shelf = {"product_id": pl.String, "store_id": pl.String, "quantity_on_hand": pl.Int64}
    current, counts = (
        pl.LazyFrame(schema=shelf | {at: pl.Datetime("us", "UTC")}) for at in ("updated_at", "counted_at")
    )
    shops = pl.LazyFrame(schema={"store_id": pl.String, "closed_on": pl.Date})
    leads = lead_times(orders, receipts, AS_OF, RULES)
    plan = stock_plan(
        demand_table.lazy(), leads, items, orders, receipts, stock, current, counts, shops, AS_OF, RULES
    ).collect()
    return plan.sort("product_id"), rng


def _by_formula(seed: int) -> planted.Found:
    """Of one of the products: what the formula gives with the mean and spread that its days and lead times have."""
    demand, size, spread = np.linspace(5, 20, PLANNED), 4.0, 0.3
    plan, rng = _plan(seed, demand, size, spread)
    one = int(rng.integers(PLANNED))
    d, lead = demand[one], 12 * np.exp(spread**2 / 2)
    of_day, of_lead = d + d**2 / size, lead**2 * np.expm1(spread**2)
    point = d * lead + 1.6449 * np.sqrt(lead * of_day + d**2 * of_lead)
    row = plan.row(one, named=True)
    return planted.Found(
        row["reorder_point"], row["reorder_point_low"], row["reorder_point_high"], planted=float(point)
    )


def _achieved(column: str, most: float, size: float, spread: float):  # type: ignore[no-untyped-def]
    """Share of new order cycles in which demand stayed within the reorder point: the mean of ten vendors, with the
    interval of their spread."""

    def find(seed: int) -> planted.Found:
        demand = np.linspace(most / 4, most, PLANNED)
        plan, rng = _plan(seed, demand, size, spread)
        took = np.maximum(np.round(12 * rng.lognormal(0, spread, (600, PLANNED))), 1)
        asked = rng.negative_binomial(size * took, size / (size + demand))
        reached = (asked <= plan[column].to_numpy()).mean(axis=0)
        by_vendor = np.array([reached[np.arange(PLANNED) % VENDORS == v].mean() for v in range(VENDORS)])
        half = 2.262 * by_vendor.std(ddof=1) / np.sqrt(VENDORS)  # Student's t of nine degrees
        mean = float(reached.mean())
        return planted.Found(mean, mean - half, mean + half)

    return find


SURE = 0.95
TRUTHS = [
    planted.Truth(
        "gold.vendor_scorecard", "a vendor's chance to deliver on time in full", 0.8, _of_one("on_time_in_full", 0),
        confidence=SURE,
    ),
    planted.Truth(
        "gold.vendor_scorecard", "a vendor's share of bad units", 0.032, _of_one("defect", 1), confidence=SURE
    ),
    planted.Truth(
        "gold.vendor_scorecard", "a vendor's share of bad units, which come by batch", 0.025, _bad_batches,
        confidence=SURE,
    ),
    planted.Truth("gold.vendor_scorecard", "a few perfect lines do not beat many good ones", 1.0, _few_perfect_lines),
    planted.Truth("gold.lead_times", "a vendor's median days", 20.0, _median_days, confidence=SURE),
    planted.Truth("gold.stock_plan", "reorder point of the formula", 250.0, _by_formula, confidence=SURE),
    planted.Truth(
        "gold.stock_plan", "service level reached by the empirical reorder point", LEVEL,
        _achieved("empirical_reorder_point", 20.0, 4.0, 0.3), confidence=SURE,
    ),
]  # fmt: skip
