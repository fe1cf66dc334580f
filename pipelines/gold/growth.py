"""Where a segment buys less of a category than similar customers do.

Similar are customers of other segments who order as often: who orders ten times has bought more categories than who
orders once, and no segment lacks anything for that. In each band of order counts the segment's share of buyers is held
against that of all others; bands weigh as the segment's customers lie in them (direct standardization). The test is
Cochran's (1954) for differences in strata; the interval is Wald's with one success and one failure added to both sides
of a band (Agresti and Caffo, 2000). False discoveries are held over all segments and categories (Benjamini and
Hochberg, 1995); those that are too small to be judged count as looked at, which keeps a margin for gaps that depend on
each other: what one segment has more, the others have less.
"""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
from scipy.special import ndtr

from customer360.pipelines.inference import sums
from customer360.pipelines.inference.intervals import adjusted
from customer360.pipelines.inference.verdicts import NO_DIFFERENCE_SHOWN, NOT_ENOUGH_EVIDENCE
from customer360.pipelines.money import UNSTATED
from customer360.pipelines.points import with_tier
from customer360.pipelines.rules import EnrichmentRules, GrowthRules
from customer360.platform.graph import builds
from customer360.platform.tables import Date, Float, Integer, OneOf, String, Table

# Orders in the window, at most; more are a band of their own. Coarse bands would keep what they should take out: who
# orders three times buys less than who orders four times.
BANDS = (1, 2, 3, 4, 5, 6, 8, 11, 16, 24)
LEAST_PEERS = 10  # of a band, else its customers are compared with nobody
LEAST_EXPECTED = 5.0  # buyers, and customers who do not buy, below which the test's normal tail is not one
Z = 1.959963984540054  # two-sided 95 %


class GrowthOpportunities(
    Table, table="gold.growth_opportunities", partition_by=("as_of",), sort_by=("segment_kind", "segment", "category")
):
    """One row per segment, category and as_of date: how far its customers buy less, or more, than similar ones do.

    Segments are of one kind each: the state where customers live, their loyalty tier, the channel of most orders.
    Customers are known persons with an order in the window.
    """

    segment_kind = OneOf(
        "STATE",
        "LOYALTY_TIER",
        "CHANNEL",
        primary_key=True,
        description="State of the address, tier of the programme, or channel of most orders",
    )
    segment = String(primary_key=True, description="NONE: members of no tier")
    category = String(primary_key=True, description="Of sold lines")
    as_of = Date(primary_key=True)
    status = OneOf(
        "OPPORTUNITY", "AHEAD", NO_DIFFERENCE_SHOWN, NOT_ENOUGH_EVIDENCE,
        description="OPPORTUNITY: fewer buy it than of similar customers; AHEAD: more",
    )  # fmt: skip
    customer_count = Integer(description="Of the segment")
    compared_count = Integer(description="Of these, with enough similar customers")
    buyer_count = Integer(description="Of compared_count, who bought the category in the window")
    peer_count = Integer(description="Similar customers of other segments")
    buyer_rate = Float(nullable=True, min=0, max=1, description="buyer_count / compared_count")
    peer_rate = Float(nullable=True, min=0, max=1, description="Of similar customers, weighed as the segment's")
    gap_rate = Float(nullable=True, description="buyer_rate - peer_rate; below 0: fewer than similar customers")
    gap_low = Float(nullable=True, description="95 % interval")
    gap_high = Float(nullable=True)
    p_value = Float(nullable=True, min=0, max=1, description="Of such a gap either way if there were none")
    q_value = Float(nullable=True, min=0, max=1, description="p_value adjusted for all rows, judged or not")
    currency = String(description=f"The reporting currency, of all amounts; {UNSTATED}: nothing names one")
    peer_spend = Float(nullable=True, description="Mean of a similar customer who bought the category, in the window")
    opportunity_amount = Float(
        nullable=True, description="Of an OPPORTUNITY: buyers missing at peer_spend, in a window; not a forecast"
    )
    opportunity_low = Float(nullable=True, description="At gap_high; peer_spend is taken as known")
    opportunity_high = Float(nullable=True)


LINES = ("person_id", "occurred_on", "is_sale", "is_product", "category", "gross_amount", "transaction_id",
         "source_system")  # fmt: skip
CUSTOMERS = {"STATE": "state_code", "LOYALTY_TIER": "loyalty_tier", "CHANNEL": "channel_group"}


@builds(
    GrowthOpportunities,
    rules="enrichment",
    reads={
        "silver.transaction_items": LINES,
        "silver.transactions": ("person_id", "occurred_on", "is_sale", "channel_group"),
        "silver.people": ("person_id", "state_code", "loyalty_tier"),
    },
)
def growth_opportunities(
    silver_transaction_items: pl.LazyFrame,
    silver_transactions: pl.LazyFrame,
    silver_people: pl.LazyFrame,
    silver_reporting_currency: pl.LazyFrame,
    silver_loyalty_tiers: pl.LazyFrame,
    as_of: date,
    params: EnrichmentRules,
) -> pl.LazyFrame:
    """Customers of the window before ``as_of``. Who has no state is in no segment of that kind; tiers as in
    gold.customer_360."""
    rules = params.growth
    window = pl.col("occurred_on").is_between(as_of - timedelta(days=rules.window_days), as_of, closed="left")
    known = pl.col("person_id").is_not_null() & window & pl.col("is_sale")
    people = with_tier(silver_people.select("person_id", "state_code", "loyalty_tier"), silver_loyalty_tiers, as_of)
    customers = _customers(silver_transactions.filter(known), people).collect()
    bought = (
        silver_transaction_items.filter(known, "is_product", pl.col("category").is_not_null())
        .group_by("person_id", "category")
        .agg(spend=pl.col("gross_amount").sum().cast(pl.Float64))
        .collect()
    )
    found = [_compared(customers, bought, kind, column) for kind, column in CUSTOMERS.items()]
    currency = pl.concat([silver_reporting_currency.select("currency"), pl.LazyFrame({"currency": [UNSTATED]})]).head(1)
    judged = _judged(pl.concat(found), rules).lazy().join(currency, how="cross")
    return judged.with_columns(as_of=pl.lit(as_of)).select(list(GrowthOpportunities.columns()))


def _customers(sales: pl.LazyFrame, people: pl.LazyFrame) -> pl.LazyFrame:
    """Each customer's band of orders and segments; of channels with as many orders the first by name."""
    orders = sales.group_by("person_id").agg(order_count=pl.len())
    channels = (
        sales.group_by("person_id", "channel_group").agg(n=pl.len())
        .sort("n", "channel_group", descending=[True, False])
        .group_by("person_id").agg(pl.col("channel_group").first())
    )  # fmt: skip
    band = pl.sum_horizontal(pl.col("order_count") > limit for limit in BANDS).cast(pl.Int64)
    told = people.select("person_id", "state_code", pl.col("loyalty_tier").fill_null("NONE"))
    return (
        orders.with_columns(band=band)
        .join(channels, on="person_id", how="left")
        .join(told, on="person_id", how="left")
        .with_columns(pl.col("loyalty_tier").fill_null("NONE"))
    )


def _compared(customers: pl.DataFrame, bought: pl.DataFrame, kind: str, column: str) -> pl.DataFrame:
    """Rates of the segments of one kind and of similar customers, with the variances of their difference."""
    held = customers.filter(pl.col(column).is_not_null()).select("person_id", "band", segment=column)
    sizes = held.group_by("segment", "band").agg(n=pl.len())
    of_band = held.group_by("band").agg(all_n=pl.len())
    buyers = held.join(bought, on="person_id").group_by("segment", "band", "category").agg(
        k=pl.len(), spent=sums.total(pl.col("spend"))
    )  # fmt: skip
    of_all = buyers.group_by("band", "category").agg(all_k=pl.col("k").sum(), all_spent=sums.total(pl.col("spent")))
    cells = (
        sizes.join(bought.select("category").unique(), how="cross")
        .join(of_band, on="band")
        .join(buyers, on=["segment", "band", "category"], how="left")
        .join(of_all, on=["band", "category"], how="left")
        .with_columns(pl.col("k", "all_k", "spent", "all_spent").fill_null(0))
        .with_columns(others=pl.col("all_n").cast(pl.Int64) - pl.col("n"), other_k=pl.col("all_k") - pl.col("k"))
        .with_columns(is_compared=pl.col("others") >= LEAST_PEERS)
        .sort("segment", "category", "band")
    )
    n, m, own, others = pl.col("n"), pl.col("others"), pl.col("k") / pl.col("n"), pl.col("other_k") / pl.col("others")
    pooled = pl.col("all_k") / pl.col("all_n")
    a, b = (pl.col("k") + 1) / (n + 2), (pl.col("other_k") + 1) / (m + 2)
    used, total = pl.col("is_compared"), n.filter(pl.col("is_compared")).sum()

    def over(value: pl.Expr) -> pl.Expr:
        return sums.total(value.filter(used))

    summed = cells.group_by("segment", "category", maintain_order=True).agg(
        customer_count=n.sum().cast(pl.Int64),
        compared_count=total.cast(pl.Int64),
        buyer_count=over(pl.col("k")).cast(pl.Int64),
        peer_count=over(m).cast(pl.Int64),
        buyer_rate=over(n * own) / total,
        peer_rate=over(n * others) / total,
        variance=over(n**2 * (a * (1 - a) / (n + 2) + b * (1 - b) / (m + 2))) / total**2,
        variance_of_none=over(n**2 * pooled * (1 - pooled) * (1 / n + 1 / m)) / total**2,
        peer_spend=over(pl.col("all_spent") - pl.col("spent")) / over(pl.col("other_k")),
    )
    return summed.with_columns(segment_kind=pl.lit(kind))


def _judged(cells: pl.DataFrame, rules: GrowthRules) -> pl.DataFrame:
    """Gaps with intervals, p-values and what they say."""
    gap, half = pl.col("buyer_rate") - pl.col("peer_rate"), Z * pl.col("variance").sqrt()
    expected = pl.col("peer_rate") * pl.col("compared_count")
    rest = pl.col("compared_count") - expected
    enough = (
        (pl.col("compared_count") >= rules.least_customers)
        & (expected >= LEAST_EXPECTED) & (rest >= LEAST_EXPECTED) & (pl.col("variance_of_none") > 0)
    ).fill_null(False)  # fmt: skip
    rated = cells.with_columns(
        gap_rate=gap, gap_low=(gap - half).clip(-1, 1), gap_high=(gap + half).clip(-1, 1), enough=enough
    ).with_columns(pl.col("buyer_rate", "peer_rate", "gap_rate", "gap_low", "gap_high", "peer_spend").fill_nan(None))
    tested = rated.filter("enough")
    widest = tested.select(pl.max_horizontal("variance", "variance_of_none").sqrt()).to_series()  # the careful one
    half_a_buyer = 0.5 / tested["compared_count"] + 0.5 / tested["peer_count"]  # counts go in steps (Yates, 1934)
    z = ((tested["gap_rate"].abs() - half_a_buyer).clip(lower_bound=0) / widest).to_numpy()
    p_value = 2 * ndtr(-z)
    key = ["segment_kind", "segment", "category"]
    values = tested.select(key).with_columns(
        p_value=pl.Series(p_value, dtype=pl.Float64),
        q_value=pl.Series(adjusted(p_value, cells.height), dtype=pl.Float64),
    )
    said = rated.join(values, on=key, how="left").with_columns(status=_status(rules))
    missing = pl.when(pl.col("status") == "OPPORTUNITY").then(pl.col("compared_count") * pl.col("peer_spend"))
    return said.with_columns(
        opportunity_amount=(-pl.col("gap_rate") * missing).round(2),
        opportunity_low=(-pl.col("gap_high") * missing).clip(lower_bound=0).round(2),
        opportunity_high=(-pl.col("gap_low") * missing).round(2),
    )


def _status(rules: GrowthRules) -> pl.Expr:
    counts = pl.col("q_value") <= rules.false_discovery_rate
    return (
        pl.when(~pl.col("enough")).then(pl.lit(NOT_ENOUGH_EVIDENCE))
        .when(counts & (pl.col("gap_rate") < 0)).then(pl.lit("OPPORTUNITY"))
        .when(counts & (pl.col("gap_rate") > 0)).then(pl.lit("AHEAD"))
        .otherwise(pl.lit(NO_DIFFERENCE_SHOWN))
    )  # fmt: skip
