"""What a customer has brought and cost: margin where the catalogue knows costs, acquisition where a campaign came
first.
"""

from __future__ import annotations

from datetime import date, time, timedelta

import polars as pl

from customer360.pipelines.campaigns import NAMES, one_campaign
from customer360.pipelines.money import ZERO, converted, with_rate
from customer360.pipelines.rules import EnrichmentRules
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Float, Integer, Money, String, Table

ACQUIRING: dict[str, tuple[str, ...]] = {
    "silver.sessions": ("subject_id", "person_id", "campaign_id", "started_at"),
    "silver.messages": ("subject_id", "person_id", "campaign_id", "clicked_at"),
    "silver.subject_days": ("subject_id", "person_id", "on", "order_count"),
    "silver.transactions": ("subject_id", "person_id", "occurred_at", "occurred_on", "is_sale"),
    "silver.campaign_synonyms": NAMES,
}


class CampaignAcquisitions(
    Table, table="gold.campaign_acquisitions", partition_by=("as_of",), sort_by=("campaign_id",)
):
    """One row per listed campaign and as_of date: customers who first bought after they answered it, and what each
    cost.

    An answer is a visit from the campaign or a click by a person on a message, under any name that means the campaign
    (silver.campaign_names); that a message was sent is none. It counts within the rule's lookback_days before the first
    purchase, the earliest one alone. That is an agreement of who gets the credit, no finding: most of them might have
    come anyway, which gold.campaign_lifts tells.
    """

    campaign_id = String(primary_key=True, description="As in silver.campaigns")
    as_of = Date(primary_key=True)
    acquired_count = Integer(
        description="Buyers whose earliest answered touch in the lookback_days before their first purchase was its"
    )
    short_history_count = Integer(
        description="Of these, who may have bought before the data begin: registered before the first sale of the data,"
        " or first purchase fewer than reactivated_after_days after it"
    )
    is_history_short = Boolean(description="short_history_count is above 0: fewer may be new than acquired_count says")
    spent_amount = Money(
        nullable=True,
        description="In the reporting currency, at the rate of the campaign's first day; null without a rate",
    )
    cost_per_acquisition = Float(
        nullable=True, description="Spent over acquired; null without a spending or a customer"
    )


@builds(CampaignAcquisitions, rules="enrichment", reads={**ACQUIRING, "silver.people": ("person_id", "registered_on")})
def campaign_acquisitions(
    silver_campaigns: pl.LazyFrame,
    silver_sessions: pl.LazyFrame,
    silver_messages: pl.LazyFrame,
    silver_campaign_synonyms: pl.LazyFrame,
    silver_subject_days: pl.LazyFrame,
    silver_transactions: pl.LazyFrame,
    silver_people: pl.LazyFrame,
    silver_reporting_rates: pl.LazyFrame,
    as_of: date,
    params: EnrichmentRules,
) -> pl.LazyFrame:
    """The whole spending of a campaign, shared evenly by the customers that it brought before ``as_of``."""
    touches = _answered(silver_sessions, silver_messages, silver_campaign_synonyms)
    buyers = _first_bought(silver_subject_days, silver_transactions, as_of)
    acquired = _first_touches(touches, buyers, params.engagement.lookback_days)
    begin = silver_subject_days.filter(pl.col("order_count") > 0).select(begin__=pl.col("on").min())
    may_have_bought = (pl.col("registered_on") < pl.col("begin__")).fill_null(False) | (
        pl.col("bought_on") < pl.col("begin__") + pl.duration(days=params.reactivated_after_days)
    )
    counted = (
        acquired.join(silver_people.select("person_id", "registered_on"), on="person_id", how="left")
        .join(begin, how="cross")
        .group_by("campaign_id")
        .agg(acquired_count=pl.len().cast(pl.Int64), short_history_count=may_have_bought.sum().cast(pl.Int64))
    )
    campaigns = silver_campaigns.select("campaign_id", "spent_amount", "currency", "started_on")
    return (
        with_rate(campaigns, silver_reporting_rates, currency="currency", on="started_on", into="rate")
        .with_columns(spent_amount=converted(pl.col("spent_amount"), pl.col("rate")))
        .join(counted, on="campaign_id", how="left")
        .with_columns(pl.col("acquired_count", "short_history_count").fill_null(0), as_of=pl.lit(as_of))
        .with_columns(
            is_history_short=pl.col("short_history_count") > 0,
            cost_per_acquisition=pl.when(pl.col("acquired_count") > 0).then(
                pl.col("spent_amount").cast(pl.Float64) / pl.col("acquired_count")
            ),
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
    first_purchase_on = Date(description="First day with a completed purchase")
    gross_amount = Money(description="Amounts are in the reporting currency, without what is unconverted")
    return_amount = Money(description="Given back before as_of")
    net_amount = Money(description="Gross less returns, the sum over the person's days")
    unconverted_order_count = Integer(description="Orders in a currency without a rate: in no amount")
    costed_amount = Money(description="Sold lines, less returned ones, of products whose cost is known")
    cost_amount = Money(description="Cost of those goods")
    margin_amount = Money(nullable=True, description="Costed less cost; null where no cost is known")
    margin_rate = Float(
        nullable=True, description="margin_amount / costed_amount; null where no costed goods are kept, or at no price"
    )
    costed_share = Float(
        nullable=True,
        min=0,
        max=1,
        description="Of what was sold, before returns, how much is of products whose cost is known: what the margin"
        " speaks of",
    )
    acquisition_campaign_id = String(
        nullable=True, description="As gold.campaign_acquisitions counts: first purchase soon after answering it"
    )
    acquisition_cost = Float(nullable=True, description="Spending of that campaign over the customers it brought")
    contribution_margin = Float(
        nullable=True,
        description="Margin less acquisition cost; null where no cost of goods, or none of the campaign, is known",
    )


@builds(
    CustomerValue,
    rules="enrichment",
    reads={
        **ACQUIRING,
        "silver.subject_days": ("subject_id", "person_id", "on", "order_count", "gross_amount", "return_amount", "net_amount", "unconverted_order_count"),  # noqa: E501
        "silver.transaction_items": ("subject_id", "person_id", "occurred_on", "product_id", "quantity", "gross_amount", "return_amount", "is_unconverted", "is_sale", "is_return", "returned_on", "item_status"),  # noqa: E501
        "silver.products": ("product_id", "cost", "currency"),
    },
)  # fmt: skip
def customer_value(
    silver_subject_days: pl.LazyFrame,
    silver_transactions: pl.LazyFrame,
    silver_transaction_items: pl.LazyFrame,
    silver_products: pl.LazyFrame,
    silver_reporting_rates: pl.LazyFrame,
    silver_sessions: pl.LazyFrame,
    silver_messages: pl.LazyFrame,
    silver_campaign_synonyms: pl.LazyFrame,
    gold_campaign_acquisitions: pl.LazyFrame,
    as_of: date,
    params: EnrichmentRules,
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
    touches = _answered(silver_sessions, silver_messages, silver_campaign_synonyms)
    buyers = _first_bought(silver_subject_days, silver_transactions, as_of)
    touched = _first_touches(touches, buyers, params.engagement.lookback_days)
    costs = gold_campaign_acquisitions.select("campaign_id", acquisition_cost="cost_per_acquisition")
    margin, costed = pl.col("margin_amount").cast(pl.Float64), pl.col("costed_amount").cast(pl.Float64)
    # Receipts without lines are spending too, and lines may come to more than a receipt that has a discount.
    sold = pl.max_horizontal(pl.col("gross_amount").cast(pl.Float64), pl.col("sold__").fill_null(0.0))
    of_goods, no_campaign = pl.col("costed_sold__").fill_null(0.0), pl.col("campaign_id").is_null()
    return (
        spending.join(
            _costed(silver_transaction_items, silver_products, silver_reporting_rates, as_of),
            on="person_id",
            how="left",
        )
        .join(touched.drop("bought_on"), on="person_id", how="left")
        .join(costs, on="campaign_id", how="left")
        .with_columns(pl.col("costed_amount", "cost_amount").fill_null(0), as_of=pl.lit(as_of))
        .with_columns(
            margin_amount=pl.when(pl.col("costed_line_count") > 0).then(pl.col("costed_amount") - pl.col("cost_amount"))
        )
        .with_columns(
            margin_rate=pl.when((costed > 0) & (pl.col("kept__") > 0)).then(margin / costed),
            costed_share=pl.when(sold > 0).then((of_goods / sold).clip(0, 1)),
            acquisition_campaign_id="campaign_id",
            contribution_margin=margin - pl.when(no_campaign).then(0.0).otherwise("acquisition_cost"),
        )
        .select(list(CustomerValue.columns()))
    )


def _answered(sessions: pl.LazyFrame, messages: pl.LazyFrame, names: pl.LazyFrame) -> pl.LazyFrame:
    """``person_id``, ``campaign_id`` and ``at`` of visits from a campaign and clicks on a message, under the campaign
    that the name means which they bear: an alias, or a UTM name.
    """
    visits = sessions.select("person_id", "campaign_id", at="started_at")
    touches = pl.concat([visits, messages.select("person_id", "campaign_id", at="clicked_at")])
    return one_campaign(touches.drop_nulls(), names).filter(pl.col("campaign_id").is_not_null())


def _first_bought(days: pl.LazyFrame, transactions: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """``person_id``, ``bought_on`` of the first purchase and ``sold_at``, its moment: null where its source tells the
    day alone (midnight).
    """
    sold_at = pl.col("occurred_at").min()
    first = (
        transactions.filter("is_sale", pl.col("person_id").is_not_null(), pl.col("occurred_on") < as_of)
        .group_by("person_id", bought_on="occurred_on")
        .agg(sold_at=pl.when(sold_at.dt.time() != time()).then(sold_at))
    )
    buyers = (
        days.filter(pl.col("person_id").is_not_null(), pl.col("order_count") > 0, pl.col("on") < as_of)
        .group_by("person_id")
        .agg(bought_on=pl.col("on").min())
    )
    return buyers.join(first, on=["person_id", "bought_on"], how="left")


def _first_touches(touches: pl.LazyFrame, buyers: pl.LazyFrame, lookback_days: int) -> pl.LazyFrame:
    """``person_id``, ``campaign_id``, ``bought_on`` of buyers: the earliest visit from a campaign or click on its
    message, in the days before the first purchase or on its day, and not after it; of equally early ones the first by
    name.
    """
    bought_on = pl.col("bought_on")
    before = (pl.col("at") <= pl.col("sold_at")).fill_null(True)
    early = touches.join(buyers, on="person_id")
    return (
        early.filter(before, pl.col("at").dt.date().is_between(bought_on - timedelta(days=lookback_days), bought_on))
        .sort("person_id", "at", "campaign_id")
        .group_by("person_id", maintain_order=True)
        .agg(pl.col("campaign_id", "bought_on").first())
    )


def _costed(items: pl.LazyFrame, products: pl.LazyFrame, rates: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """Lines by person: those of products with a known cost, where what comes back takes its cost back on the day that
    it does, and what was sold in all. Goods for nothing cost what they cost. A cost, or a line, in a currency without
    a rate that day is not known.
    """
    known = products.filter(pl.col("cost").is_not_null()).select("product_id", "cost", cost_currency="currency")
    came_back = (pl.coalesce("returned_on", "occurred_on") < as_of).fill_null(False)
    # What is RETURNED was sold on its receipt, also for nothing.
    for_nothing = (pl.col("gross_amount") == 0) & (pl.col("return_amount") == 0) & (pl.col("quantity") >= 0)
    was_sold = for_nothing & (pl.col("item_status") == "RETURNED").fill_null(False)
    sold = (pl.col("gross_amount") != 0) | pl.col("is_sale").fill_null(False) | was_sold
    back = came_back & ((pl.col("return_amount") != 0) | pl.col("is_return").fill_null(False))
    units = pl.col("quantity").abs() * (sold.cast(pl.Int64) - back.cast(pl.Int64))
    given_back = pl.when(came_back).then("return_amount").otherwise(ZERO)
    past = items.filter(
        pl.col("person_id").is_not_null(), pl.col("occurred_on") < as_of, ~pl.col("is_unconverted").fill_null(False)
    ).join(known, on="product_id", how="left")
    cost = converted(pl.col("cost"), pl.col("cost_rate"))
    has_cost, gross = pl.col("cost").is_not_null(), pl.col("gross_amount")
    of_goods = (pl.col("cost").cast(pl.Decimal(18, 2)) * units.cast(pl.Decimal(18, 0))).filter(has_cost).sum()
    return (
        with_rate(past, rates, currency="cost_currency", on="occurred_on", into="cost_rate")
        .with_columns(cost=cost)
        .group_by("person_id")
        .agg(
            costed_amount=(gross - given_back).filter(has_cost).sum(),
            cost_amount=of_goods.cast(pl.Decimal(12, 2)),
            costed_line_count=has_cost.sum(),
            kept__=units.filter(has_cost).sum(),
            costed_sold__=gross.filter(has_cost, gross > 0).sum().cast(pl.Float64),
            sold__=gross.filter(gross > 0).sum().cast(pl.Float64),
        )
    )
