"""How much care a person's account needs, and why: signs of abuse, of payment trouble, of a mistaken identity, of
leaving.
"""

from __future__ import annotations

from datetime import date

import polars as pl

from customer360.pipelines.inference.verdicts import NOT_ENOUGH_EVIDENCE
from customer360.pipelines.rules import RiskRules
from customer360.platform.purposes import Part
from customer360.platform.tables import Float, Integer, List, OneOf, String, Struct, Table, Timestamp


class Risk(Table, serves="OPERATION"):
    """Points of the signs that apply (rule file: risk), together at most 1. Against fraud and abuse it is kept of who
    refuses to be profiled, too, from orders, payments, accounts and tickets alone."""

    failed_order_count = Integer(description="Orders that failed or were cancelled, before as_of")
    failed_order_rate = Float(nullable=True, description="Of all orders, completed or not")
    return_rate = Float(
        nullable=True,
        description="Amount given back of the amount bought, at most 1; that of gold.customer_features counts orders",
    )
    payment_risk_status = OneOf(
        "ALERT",
        "WATCH",
        "CLEAR",
        NOT_ENOUGH_EVIDENCE,
        nullable=True,
        description="risk_status of gold.payment_risks, which tells fraud in payments; null: no attempt in its window",
    )
    risk_score = Float(
        description="Points of risk_reasons: how much care the account needs, for whatever reason. The risk_score of"
        " gold.payment_risks is another: how unusual the payments are"
    )
    risk_level = OneOf(
        "LOW",
        "MEDIUM",
        "HIGH",
        description="By risk_score, from the rule file's medium_from and high_from on. With its points an alert about"
        " payments alone is HIGH, and a weak match of accounts alone MEDIUM: risk_reasons tell which it is",
    )
    risk_reasons = List(
        Struct({"feature": String(), "value": Float(nullable=True), "contribution": Float()}),
        description="Signs that apply with their value and points, the heaviest first; payment_alert: 1 for an ALERT",
    )
    risk_until_at = Timestamp(nullable=True, description="Latest fact of the groups that it is made of")


PROFILED = ("sentiment_score", "churn_probability")  # signs that judge how somebody feels, or will act
FAILED = ("FAILED", "CANCELLED", "DECLINED")
UNTIL = ("value_until_at", "identity_until_at", "service_until_at", "sentiment_until_at", "devices_until_at",
         "payments_until_at")  # fmt: skip


def risk(
    profile: pl.LazyFrame, orders: pl.LazyFrame, payers: pl.LazyFrame, rules: RiskRules, as_of: date
) -> pl.LazyFrame:
    """Adds Risk to a profile with Value, Identity, Service, Sentiment, Devices, PaymentHabits and Churn; ``orders``:
    silver.transactions, ``payers``: gold.payment_risks.
    """
    judged = payers.filter(pl.col("person_id").is_not_null()).select("person_id", payment_risk_status="risk_status")
    tried = orders.filter(
        pl.col("person_id").is_not_null(), pl.col("transaction_type") == "PURCHASE", pl.col("occurred_on") < as_of
    )
    failed = pl.col("transaction_status").is_in(FAILED)
    counted = tried.group_by("person_id").agg(failed_order_count=failed.sum().cast(pl.Int64), tried=pl.len())
    rated = (
        profile.join(counted, on="person_id", how="left")
        .join(judged, on="person_id", how="left")
        .with_columns(
            pl.col("failed_order_count").fill_null(0),
            failed_order_rate=pl.when(pl.col("tried") > 0).then(pl.col("failed_order_count") / pl.col("tried")),
            return_rate=pl.when(pl.col("gross_amount") > 0).then(
                (pl.col("return_amount").cast(pl.Float64) / pl.col("gross_amount").cast(pl.Float64)).clip(0, 1)
            ),
            risk_until_at=pl.max_horizontal(UNTIL),
            payment_alert=pl.when(pl.col("payment_risk_status") == "ALERT").then(1.0),
        )
        .with_columns(risk_reasons=_reasons(rules))
    )
    return rated.with_columns(risk_score=_score(pl.col("risk_reasons"))).with_columns(
        risk_level=_level(pl.col("risk_score"), rules)
    )


def unprofiled(rules: RiskRules) -> Part:
    """Signs of how somebody feels and whether it leaves, in rows of before a refusal to be profiled: without them, and
    points and level as they are then."""
    left = pl.col("risk_reasons").list.filter(~pl.element().struct.field("feature").is_in(PROFILED))
    score = _score(left)
    holds = left.list.len() < pl.col("risk_reasons").list.len()
    without = {"risk_reasons": left, "risk_score": score, "risk_level": _level(score, rules)}
    return Part("PROFILING", holds, without)


def _score(reasons: pl.Expr) -> pl.Expr:
    points = reasons.list.eval(pl.element().struct.field("contribution")).list.sum()
    none = reasons.list.len() == 0  # the sum of no points is -0.0, which would be printed
    return pl.when(none).then(0.0).otherwise(points.clip(0, 1).round(6))


def _reasons(rules: RiskRules) -> pl.Expr:
    """The signs that apply with their value and points, the heaviest first; no list is null."""
    applies = _signs(rules)
    heaviest = sorted(rules.points.items(), key=lambda item: (-item[1], item[0]))
    values = [pl.when(applies[name]).then(pl.col(name).cast(pl.Float64)).alias(name) for name, _ in heaviest]
    signs = pl.DataFrame(heaviest, schema={"feature": pl.String, "contribution": pl.Float64}, orient="row")

    # Few people have a sign, and a list of structs made of nine columns costs ten times what is made of those few.
    def listed(told: pl.Series) -> pl.Series:
        rows = told.struct.unnest().with_row_index("row")
        long = rows.unpivot(index="row", variable_name="feature").filter(pl.col("value").is_not_null())
        reason = pl.struct("feature", "value", "contribution")
        found = signs.join(long, on="feature", maintain_order="left").group_by("row").agg(reasons=reason)
        reasons = rows.select("row").join(found, on="row", how="left", maintain_order="left")["reasons"]
        return reasons.fill_null(pl.Series([[]], dtype=reasons.dtype)).alias(told.name)

    shape = pl.List(pl.Struct({"feature": pl.String, "value": pl.Float64, "contribution": pl.Float64}))
    return pl.struct(values).map_batches(listed, return_dtype=shape, is_elementwise=True)


def _signs(rules: RiskRules) -> dict[str, pl.Expr]:
    """Whether each sign applies, by the column of its value. How who refuses to be profiled feels, and whether it
    leaves, is judged for nothing, risk included.
    """
    may_profile = pl.col("may_profile")
    enough = pl.col("order_count") >= rules.least_orders
    tried = pl.col("tried").fill_null(0) >= rules.least_orders
    applies = {
        "payment_alert": pl.col("payment_alert").is_not_null(),
        "return_rate": enough & (pl.col("return_rate") > rules.return_rate_above),
        "failed_order_rate": tried & (pl.col("failed_order_rate") > rules.failed_order_rate_above),
        "identity_confidence": pl.col("identity_confidence") < rules.identity_confidence_below,
        "shared_device_count": pl.col("has_shared_device"),
        "open_ticket_count": pl.col("open_ticket_count") > 0,
        "escalation_count_365d": pl.col("escalation_count_365d") > 0,
        "sentiment_score": pl.col("sentiment_score") < rules.sentiment_below,
        "churn_probability": pl.col("churn_probability") > rules.churn_probability_above,
    }
    return applies | {name: may_profile & applies[name] for name in PROFILED}


def _level(score: pl.Expr, rules: RiskRules) -> pl.Expr:
    return (
        pl.when(score >= rules.high_from).then(pl.lit("HIGH"))
        .when(score >= rules.medium_from).then(pl.lit("MEDIUM"))
        .otherwise(pl.lit("LOW"))
    )  # fmt: skip
