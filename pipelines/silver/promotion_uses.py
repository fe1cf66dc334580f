"""Which promotions and coupons sales used."""

from __future__ import annotations

import polars as pl

from customer360.pipelines.money import MONEY
from customer360.pipelines.vocabulary import Activity
from customer360.platform.graph import builds
from customer360.platform.tables import Date, Integer, Money, OneOf, String, Table

ACTIVITY: Activity = "enrichment"


class PromotionUses(
    Table, table="silver.promotion_uses", per="transaction_id",
    sort_by=("occurred_on", "code", "transaction_id", "source_system", "code_kind"),
):  # fmt: skip
    """One row per completed sale and code that it names: a promotion of the shop, or a coupon of the customer.

    Amounts add up to those of the sales: of a sale with two codes each has half, as nobody tells which gave how much.
    """

    transaction_id = String(primary_key=True)
    source_system = String(primary_key=True)
    code_kind = OneOf("PROMOTION", "COUPON", primary_key=True)
    code = String(description="Upper case, without blanks around it")
    subject_id = String()
    person_id = String(nullable=True)
    occurred_on = Date()
    channel_group = String()
    code_count = Integer(min=1, max=2, description="Codes of the sale, which share its amounts evenly")
    discount_amount = Money(
        nullable=True, description="Its part of that of the sale's header, positive, in currency; null: not told"
    )
    currency = String(nullable=True)
    gross_amount = Money(description="Its part of that of the sale, in the reporting currency")


USED = ("transaction_id", "source_system", "subject_id", "person_id", "occurred_on", "channel_group", "is_sale",
        "promotion_code", "coupon_code", "discount_amount", "currency", "gross_amount")  # fmt: skip


@builds(PromotionUses, reads={"silver.transactions": USED})
def promotion_uses(silver_transactions: pl.LazyFrame) -> pl.LazyFrame:
    """Codes of sales; a sale that two channels deliver used its codes once."""
    told = silver_transactions.filter("is_sale").with_columns(
        pl.col(c).str.strip_chars().str.to_uppercase().replace("", None) for c in ("promotion_code", "coupon_code")
    )
    counted = told.with_columns(
        code_count=pl.sum_horizontal(pl.col(c).is_not_null() for c in ("promotion_code", "coupon_code")).cast(pl.Int64),
        discount_amount=pl.col("discount_amount").abs(),
    )
    kinds = {"PROMOTION": "promotion_code", "COUPON": "coupon_code"}
    uses = [
        counted.filter(pl.col(c).is_not_null()).with_columns(
            code_kind=pl.lit(kind), code=pl.col(c), **{a: _part(a, kind == "COUPON") for a in AMOUNTS}
        )
        for kind, c in kinds.items()
    ]
    return pl.concat(uses).select(list(PromotionUses.columns()))


AMOUNTS = ("discount_amount", "gross_amount")


def _part(amount: str, is_second: bool) -> pl.Expr:
    """An amount of a sale for one of its codes: all of it, or half; the first has the odd cent."""
    half = ((pl.col(amount).cast(pl.Float64) * 100).round() // 2 / 100).round(2).cast(MONEY)
    part = half if is_second else pl.col(amount) - half
    return pl.when(pl.col("code_count") == 2).then(part).otherwise(amount).cast(MONEY)
