"""What a customer has brought and cost: margin where the catalogue knows costs, acquisition where a campaign came
first.
"""

from __future__ import annotations

from datetime import date

import polars as pl

from customer360.pipelines.money import converted, with_rate
from customer360.platform.graph import builds
from customer360.platform.tables import Date, Float, Integer, Money, String, Table

ACQUIRING: dict[str, tuple[str, ...]] = {
    "silver.sessions": ("subject_id", "person_id", "campaign_id", "started_at"),
    "silver.messages": ("subject_id", "person_id", "campaign_id", "first_at"),
    "silver.subject_days": ("subject_id", "person_id", "on", "order_count"),
}


class CampaignAcquisitions(
    Table, table="gold.campaign_acquisitions", partition_by=("as_of",), sort_by=("campaign_id",)
):
    """One row per campaign and as_of date: customers that it touched first, and what each of them cost."""

    campaign_id = String(primary_key=True)
    as_of = Date(primary_key=True)
    acquired_count = Integer(
        description="Buyers whose first touch, no later than their first purchase, was this campaign"
    )
    spent_amount = Money(
        nullable=True,
        description="In the reporting currency, at the rate of the campaign's first day; null without a rate",
    )
    cost_per_acquisition = Float(
        nullable=True, description="Spent over acquired; null without a spending or a customer"
    )


@builds(CampaignAcquisitions, reads=ACQUIRING)
def campaign_acquisitions(
    silver_campaigns: pl.LazyFrame,
    silver_sessions: pl.LazyFrame,
    silver_messages: pl.LazyFrame,
    silver_subject_days: pl.LazyFrame,
    silver_reporting_rates: pl.LazyFrame,
    as_of: date,
) -> pl.LazyFrame:
    """The whole spending of a campaign, shared evenly by the customers that it brought before ``as_of``."""
    acquired = _first_touches(silver_sessions, silver_messages, silver_subject_days, as_of)
    counted = acquired.group_by("campaign_id").agg(acquired_count=pl.len().cast(pl.Int64))
    campaigns = silver_campaigns.select("campaign_id", "spent_amount", "currency", "started_on")
    return (
        with_rate(campaigns, silver_reporting_rates, currency="currency", on="started_on", into="rate")
        .with_columns(spent_amount=converted(pl.col("spent_amount"), pl.col("rate")))
        .join(counted, on="campaign_id", how="left")
        .with_columns(pl.col("acquired_count").fill_null(0), as_of=pl.lit(as_of))
        .with_columns(
            cost_per_acquisition=pl.when(pl.col("acquired_count") > 0).then(
                pl.col("spent_amount").cast(pl.Float64) / pl.col("acquired_count")
            )
        )
        .select(list(CampaignAcquisitions.columns()))
    )


class CustomerValue(
    Table,
    table="gold.customer_value",
    per="person_id",
    partition_by=("as_of",),
    sort_by=("person_id",),
    serves="OPERATION",
):
    """One row per buyer and as_of date: spending, margin and acquisition cost, as far as the data know them."""

    person_id = String(primary_key=True)
    as_of = Date(primary_key=True)
    first_purchase_on = Date()
    gross_amount = Money(description="Amounts are in the reporting currency, without what is unconverted")
    return_amount = Money()
    net_amount = Money(description="Gross less returns, the sum over the person's days")
    unconverted_order_count = Integer(description="Orders in a currency without a rate: in no amount")
    costed_amount = Money(description="Sold lines, less returned ones, of products whose cost is known")
    cost_amount = Money(description="Cost of those goods")
    margin_amount = Money(nullable=True, description="Costed less cost; null where no cost is known")
    margin_rate = Float(nullable=True)
    costed_share = Float(nullable=True, description="Costed over net: how much of the spending the margin speaks of")
    acquisition_campaign_id = String(nullable=True, description="Campaign of the first touch, if it came before buying")
    acquisition_cost = Float(nullable=True, description="Spending of that campaign over the customers it brought")
    profit = Float(nullable=True, description="Margin less acquisition cost; null where no cost is known")


@builds(
    CustomerValue,
    reads={
        **ACQUIRING,
        "silver.subject_days": ("subject_id", "person_id", "on", "order_count", "gross_amount", "return_amount", "net_amount", "unconverted_order_count"),  # noqa: E501
        "silver.transaction_items": ("subject_id", "person_id", "occurred_on", "product_id", "quantity", "gross_amount", "return_amount", "is_unconverted"),  # noqa: E501
        "silver.products": ("product_id", "cost", "currency"),
    },
)  # fmt: skip
def customer_value(
    silver_subject_days: pl.LazyFrame,
    silver_transaction_items: pl.LazyFrame,
    silver_products: pl.LazyFrame,
    silver_reporting_rates: pl.LazyFrame,
    silver_sessions: pl.LazyFrame,
    silver_messages: pl.LazyFrame,
    gold_campaign_acquisitions: pl.LazyFrame,
    as_of: date,
) -> pl.LazyFrame:
    """Every person with a purchase strictly before ``as_of``."""
    past = silver_subject_days.filter(pl.col("person_id").is_not_null(), pl.col("on") < as_of)
    spending = (
        past.group_by("person_id")
        .agg(
            pl.col("gross_amount", "return_amount", "net_amount", "unconverted_order_count").sum(),
            first_purchase_on=pl.col("on").filter(pl.col("order_count") > 0).min(),
        )
        .filter(pl.col("first_purchase_on").is_not_null())
    )
    touched = _first_touches(silver_sessions, silver_messages, silver_subject_days, as_of)
    costs = gold_campaign_acquisitions.select("campaign_id", acquisition_cost="cost_per_acquisition")
    margin, net = pl.col("margin_amount").cast(pl.Float64), pl.col("net_amount").cast(pl.Float64)
    return (
        spending.join(
            _costed(silver_transaction_items, silver_products, silver_reporting_rates, as_of),
            on="person_id",
            how="left",
        )
        .join(touched, on="person_id", how="left")
        .join(costs, on="campaign_id", how="left")
        .with_columns(pl.col("costed_amount", "cost_amount").fill_null(0), as_of=pl.lit(as_of))
        .with_columns(
            margin_amount=pl.when(pl.col("costed_line_count") > 0).then(pl.col("costed_amount") - pl.col("cost_amount"))
        )
        .with_columns(
            margin_rate=pl.when(pl.col("costed_amount") > 0).then(margin / pl.col("costed_amount").cast(pl.Float64)),
            costed_share=pl.when(net > 0).then(pl.col("costed_amount").cast(pl.Float64) / net),
            acquisition_campaign_id="campaign_id",
            profit=margin - pl.col("acquisition_cost").fill_null(0.0),
        )
        .select(list(CustomerValue.columns()))
    )


def _first_touches(sessions: pl.LazyFrame, messages: pl.LazyFrame, days: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """``person_id``, ``campaign_id`` of buyers: the earliest visit or message of a campaign, no later than the day of
    the first purchase; of equally early ones the first by name.
    """
    buyers = (
        days.filter(pl.col("person_id").is_not_null(), pl.col("order_count") > 0, pl.col("on") < as_of)
        .group_by("person_id")
        .agg(bought_on=pl.col("on").min())
    )
    visits = sessions.select("person_id", "campaign_id", at="started_at")
    touches = pl.concat([visits, messages.select("person_id", "campaign_id", at="first_at")])
    early = touches.drop_nulls(["person_id", "campaign_id", "at"]).join(buyers, on="person_id")
    return (
        early.filter(pl.col("at").dt.date() <= pl.col("bought_on"))
        .sort("person_id", "at", "campaign_id")
        .group_by("person_id", maintain_order=True)
        .agg(pl.col("campaign_id").first())
    )


def _costed(items: pl.LazyFrame, products: pl.LazyFrame, rates: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """Lines of products with a known cost, by person; what comes back takes its cost back. A cost, or a line, in a
    currency without a rate that day is not known.
    """
    known = products.filter(pl.col("cost").is_not_null()).select("product_id", "cost", cost_currency="currency")
    sold, back = pl.col("gross_amount") != 0, pl.col("return_amount") != 0
    units = pl.when(sold).then(pl.col("quantity").abs()).when(back).then(-pl.col("quantity").abs()).otherwise(0)
    past = items.filter(
        pl.col("person_id").is_not_null(), pl.col("occurred_on") < as_of, ~pl.col("is_unconverted").fill_null(False)
    ).join(known, on="product_id")
    cost = converted(pl.col("cost"), pl.col("cost_rate"))
    return (
        with_rate(past, rates, currency="cost_currency", on="occurred_on", into="cost_rate")
        .with_columns(cost=cost)
        .filter(pl.col("cost").is_not_null())
        .group_by("person_id")
        .agg(
            costed_amount=(pl.col("gross_amount") - pl.col("return_amount")).sum(),
            cost_amount=(pl.col("cost").cast(pl.Decimal(18, 2)) * units.cast(pl.Decimal(18, 0)))
            .sum()
            .cast(pl.Decimal(12, 2)),
            costed_line_count=pl.len(),
        )
    )
