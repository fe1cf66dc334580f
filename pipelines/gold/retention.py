"""Who is about to leave, why, what is at stake and what to do about it."""

from __future__ import annotations

from datetime import date

import polars as pl

from customer360.pipelines.rules import EnrichmentRules, RetentionAction, RetentionRules
from customer360.platform.graph import builds
from customer360.platform.tables import Date, Float, Integer, String, Table


class RetentionWorklist(
    Table, table="gold.retention_worklist", partition_by=("as_of",), sort_by=("rank",), serves="PROFILING"
):
    """One row per customer worth keeping and as_of date, the highest value at stake first.

    Whoever may be contacted over no channel stands in it, too, with `channel` null: such an action waits until the
    person comes.
    """

    rank = Integer(primary_key=True, min=1, description="1: the highest value at stake")
    as_of = Date(primary_key=True)
    person_id = String()
    churn_probability = Float(min=0, max=1, description="By the champion of churn")
    expected_revenue = Float(description="Of the window that both models look at (clv), in the reporting currency")
    value_at_stake = Float(description="Churn probability times expected revenue")
    warning = String(
        description="LATE: silent for longer than usual; DECLINING: fewer orders than before; AT_RISK else"
    )
    reasons = String(nullable=True, description="What speaks for leaving, the strongest first, by the churn model")
    action = String(
        description="First action of the rule file whose floors are passed, that is meant for the person: those for"
        " members, or over a channel, are taken of nobody else"
    )
    channel = String(
        nullable=True,
        description="That of the action, else EMAIL or SMS: the first that gold.contact_permissions permits. Null: the"
        " person may not be contacted over these",
    )


@builds(
    RetentionWorklist,
    rules="enrichment",
    reads={
        "gold.customer_360": ("person_id", "is_member"),
        "gold.contact_permissions": ("person_id", "channel", "is_permitted"),
        "gold.customer_features": ("person_id", "order_trend", "recency_to_gap"),
    },
)
def retention_worklist(
    gold_customer_360: pl.LazyFrame,
    gold_customer_features: pl.LazyFrame,
    gold_predictions: pl.LazyFrame,
    gold_contact_permissions: pl.LazyFrame,
    as_of: date,
    params: EnrichmentRules,
) -> pl.LazyFrame:
    """Customers whom both models scored and whose risk and stake pass the rule file's floors."""
    rules = params.retention
    risk = gold_predictions.filter(pl.col("model") == "churn").select(
        "person_id", churn_probability="score", reasons=_spoken()
    )
    value = gold_predictions.filter(pl.col("model") == "clv").select("person_id", expected_revenue="score")
    permitted = gold_contact_permissions.filter("is_permitted").group_by("person_id").agg(permitted="channel")
    scored = (
        risk.join(value, on="person_id")
        .join(gold_customer_360.select("person_id", "is_member"), on="person_id")
        .join(permitted, on="person_id", how="left")
        .join(gold_customer_features.select("person_id", "order_trend", "recency_to_gap"), on="person_id", how="left")
        .with_columns(value_at_stake=pl.col("churn_probability") * pl.col("expected_revenue"))
    )
    wanted = scored.filter(
        pl.col("churn_probability") >= rules.risk_from, pl.col("value_at_stake") >= rules.stake_from
    ).sort("value_at_stake", "person_id", descending=[True, False])
    return (
        wanted.head(rules.size)
        .with_row_index("rank", offset=1)
        .with_columns(
            pl.col("rank").cast(pl.Int64),
            as_of=pl.lit(as_of),
            warning=_warning(rules),
            action=_action(rules),
        )
        .with_columns(channel=_channel(rules))
        .select(list(RetentionWorklist.columns()))
    )


def _spoken() -> pl.Expr:
    """Features that raise the risk, as `name = value`, in the order of the reasons."""
    part = pl.element().struct
    raised = pl.element().filter(part.field("contribution") > 0)
    text = pl.concat_str(
        raised.struct.field("feature"),
        pl.lit(" = "),
        raised.struct.field("value").round(1).cast(pl.String).fill_null("unknown"),
    )
    joined = pl.col("reasons").list.eval(text).list.join("; ")
    return pl.when(joined != "").then(joined)


def _warning(rules: RetentionRules) -> pl.Expr:
    return (
        pl.when(pl.col("recency_to_gap") >= rules.late_from_gaps).then(pl.lit("LATE"))
        .when(pl.col("order_trend") <= -rules.declining_from).then(pl.lit("DECLINING"))
        .otherwise(pl.lit("AT_RISK"))
    )  # fmt: skip


def _action(rules: RetentionRules) -> pl.Expr:
    passed = (pl.when(_is_meant(action)).then(pl.lit(action.name)) for action in rules.actions)
    return pl.coalesce(*passed, pl.lit(rules.other_action))


def _is_meant(action: RetentionAction) -> pl.Expr:
    fits = (pl.col("value_at_stake") >= action.stake_from) & (pl.col("churn_probability") >= action.risk_from)
    if action.members_only:
        fits &= pl.col("is_member").fill_null(False)
    return fits & _may(action.channel) if action.channel else fits


def _may(channel: str) -> pl.Expr:
    return pl.col("permitted").list.contains(channel).fill_null(False)


def _channel(rules: RetentionRules) -> pl.Expr:
    own = {action.name: action.channel for action in rules.actions if action.channel}
    written = pl.coalesce(pl.when(_may(channel)).then(pl.lit(channel)) for channel in ("EMAIL", "SMS"))
    return pl.coalesce(pl.col("action").replace_strict(own, default=None, return_dtype=pl.String), written)
