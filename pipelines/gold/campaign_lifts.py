"""What campaigns caused: people who were chosen compared with people who were held back at random."""

from __future__ import annotations

from datetime import date

import polars as pl
from scipy.special import erfc

from customer360.pipelines.campaigns import NAMES, one_campaign, reporting, spending
from customer360.pipelines.inference import sums
from customer360.pipelines.inference.intervals import adjusted_column
from customer360.pipelines.inference.proportions import newcombe, z_of
from customer360.pipelines.inference.verdicts import NO_DIFFERENCE_SHOWN, NOT_ENOUGH_EVIDENCE
from customer360.pipelines.money import TOTAL, UNSTATED
from customer360.pipelines.rules import EngagementRules, EnrichmentRules
from customer360.platform.graph import builds
from customer360.platform.tables import Date, Float, Integer, OneOf, String, Table, Total

STATUSES = (
    "NO_HOLDOUT", "RUNNING", "SAMPLE_RATIO_MISMATCH", "UNBALANCED_BEFORE", NOT_ENOUGH_EVIDENCE, "HIGHER", "LOWER",
    NO_DIFFERENCE_SHOWN,
)  # fmt: skip
# Alarms of a broken assignment are looked at for every campaign: one in a thousand rings without a cause (Fabijan and
# others 2019, Diagnosing Sample Ratio Mismatch in Online Controlled Experiments).
ALARM = 0.001
LEAST_BUYERS = 5  # in both groups together, below which shares of buyers say nothing


class CampaignLifts(Table, table="gold.campaign_lifts", partition_by=("as_of",), sort_by=("campaign_id",)):
    """One row per campaign and as_of date: how much more often people bought because they were chosen for it.

    Everybody counts as assigned, whether a message reached him or not (intention to treat), in the rule's days from his
    assignment on, once these are over. Accounts are drawn, people compared: who was drawn under several accounts is in
    neither group, whatever the draws, for those of one outcome alone are other people than the rest. Intervals are
    each row's own; what is called HIGHER or LOWER is corrected for the number of campaigns that could be judged.
    """

    campaign_id = String(primary_key=True, description="That people were chosen for or held back from")
    as_of = Date(primary_key=True)
    campaign_name = String(nullable=True, description="As listed")
    status = OneOf(
        *STATUSES,
        description="NO_HOLDOUT: one of the groups is empty, nothing can be said. RUNNING: nobody's days are over."
        " SAMPLE_RATIO_MISMATCH: more or fewer were held back than was meant. UNBALANCED_BEFORE: the groups bought"
        " differently before. NOT_ENOUGH_EVIDENCE: too few people or buyers. HIGHER, LOWER: of the share of buyers,"
        " q_value at most 1 - the rule's confidence; of money, see net_amount_status",
    )
    treated_count = Integer(description="People (else accounts) chosen whose days are over")
    control_count = Integer(description="Held back, likewise")
    waiting_count = Integer(description="Of either group, whose days are not over")
    both_count = Integer(description="Chosen under one account and held back under another: in neither group")
    several_count = Integer(
        nullable=True, description="Drawn under several accounts, those of both_count included: in neither group"
    )
    planned_control_share = Float(nullable=True, description="As the campaign's list says")
    sample_ratio_p_value = Float(
        nullable=True, description="Of the shares of accounts held back and planned; null where not known"
    )
    balance_p_value = Float(
        nullable=True,
        description="Of the shares of buyers in as many days before assignment; null, and not compared, where nobody or"
        " everybody bought then, as before the data begin",
    )
    treated_buyer_count = Integer(description="Of treated_count, who bought in their days")
    control_buyer_count = Integer(description="Of control_count, likewise")
    treated_rate = Float(nullable=True, description="treated_buyer_count / treated_count")
    control_rate = Float(nullable=True, description="control_buyer_count / control_count")
    difference = Float(nullable=True, description="treated_rate - control_rate")
    difference_low = Float(nullable=True, description="Newcombe's interval")
    difference_high = Float(nullable=True)
    p_value = Float(nullable=True, description="Of two equal shares (z-test), two-sided")
    q_value = Float(
        nullable=True, description="p_value adjusted for all campaigns that could be judged (Benjamini-Hochberg)"
    )
    incremental_buyer_count = Float(nullable=True, description="difference x treated_count; likewise its interval")
    incremental_buyer_count_low = Float(nullable=True)
    incremental_buyer_count_high = Float(nullable=True)
    currency = String(description=f"The reporting currency, of all amounts; {UNSTATED}: nothing names one")
    treated_net_amount = Total(description="Net revenue of the treated in their days")
    control_net_amount = Total(description="Net revenue of those held back")
    incremental_net_amount = Float(
        nullable=True, description="Difference of the means by person x treated_count, with Welch's interval"
    )
    incremental_net_amount_low = Float(nullable=True)
    incremental_net_amount_high = Float(nullable=True)
    net_amount_p_value = Float(nullable=True, description="Of two equal means (Welch), two-sided")
    net_amount_q_value = Float(nullable=True, description="Adjusted as q_value")
    net_amount_status = OneOf(
        "HIGHER", "LOWER", NO_DIFFERENCE_SHOWN, nullable=True,
        description="By net_amount_q_value; null where the status says that nothing can be told",
    )  # fmt: skip
    spent_amount = Total(nullable=True, description="In the reporting currency, at the rate of the first day")
    cost_per_incremental_buyer = Float(nullable=True, description="Where the status is HIGHER")
    incremental_roi = Float(
        nullable=True,
        description="(incremental_net_amount - spent_amount) / spent_amount, of net revenue, not of margin, in the"
        " rule's days alone; null without a spending",
    )
    incremental_roi_low = Float(nullable=True)
    incremental_roi_high = Float(nullable=True)


@builds(
    CampaignLifts,
    rules="enrichment",
    reads={
        "silver.campaign_synonyms": NAMES,
        "silver.campaign_audiences": (
            "campaign_id",
            "source_system",
            "customer_id",
            "subject_id",
            "is_treated",
            "assigned_on",
        ),
        "silver.subject_days": ("subject_id", "on", "order_count", "net_amount"),
    },
)
def campaign_lifts(
    silver_campaign_audiences: pl.LazyFrame,
    silver_campaigns: pl.LazyFrame,
    silver_campaign_synonyms: pl.LazyFrame,
    silver_subject_days: pl.LazyFrame,
    silver_reporting_rates: pl.LazyFrame,
    silver_reporting_currency: pl.LazyFrame,
    as_of: date,
    params: EnrichmentRules,
) -> pl.LazyFrame:
    """Every listed campaign, and every one that somebody was chosen for, before ``as_of``."""
    rules = params.engagement
    chosen = one_campaign(silver_campaign_audiences.filter(pl.col("assigned_on") < as_of), silver_campaign_synonyms)
    account = pl.struct(pl.col("source_system", "customer_id"))
    people = chosen.filter(pl.col("campaign_id").is_not_null()).group_by("campaign_id", "subject_id").agg(
        is_treated=pl.col("is_treated").all(), is_both=pl.col("is_treated").n_unique() > 1,
        is_several=account.n_unique() > 1, assigned_on=pl.col("assigned_on").min(),
        treated_drawn=account.filter(pl.col("is_treated")).n_unique(),
        control_drawn=account.filter(~pl.col("is_treated")).n_unique(),
    )  # fmt: skip
    counted = _counted(_outcomes(people, silver_subject_days, as_of, rules))
    listed = spending(silver_campaigns, silver_reporting_rates).select(
        "campaign_id", "campaign_name", "spent_amount", "started_on", planned_control_share="control_share"
    )
    begun = listed.filter(pl.col("started_on").is_null() | (pl.col("started_on") < as_of)).drop("started_on")
    every = begun.join(counted, on="campaign_id", how="full", coalesce=True)
    return (
        _judged(every.with_columns(pl.col(COUNTS).fill_null(0)), rules)
        .join(reporting(silver_reporting_currency), how="cross")
        .with_columns(as_of=pl.lit(as_of))
        .select(list(CampaignLifts.columns()))
    )


GROUPS = {"treated": pl.col("is_treated"), "control": ~pl.col("is_treated")}
COUNTS = [
    "waiting_count", "both_count", "several_count",
    *(f"{g}_{c}" for g in GROUPS for c in ("count", "buyer_count", "before_count", "net_amount")),
]  # fmt: skip


def _outcomes(people: pl.LazyFrame, days: pl.LazyFrame, as_of: date, rules: EngagementRules) -> pl.LazyFrame:
    """Of each person and campaign: whether it bought in its days and in as many before, and for how much."""
    length = pl.duration(days=rules.holdout_days)
    traded = days.filter(pl.col("on") < as_of).select("subject_id", "on", "order_count", "net_amount")
    after = pl.col("on") - pl.col("assigned_on")
    met = people.join(traded, on="subject_id").filter(after >= -length, after < length)
    is_after, buys = after >= pl.duration(days=0), pl.col("order_count") > 0
    folded = met.group_by("campaign_id", "subject_id").agg(
        bought=(buys & is_after).any(), before=(buys & ~is_after).any(), net=pl.col("net_amount").filter(is_after).sum()
    )
    return people.join(folded, on=["campaign_id", "subject_id"], how="left").with_columns(
        pl.col("bought", "before").fill_null(False),
        pl.col("net").fill_null(0).cast(TOTAL),
        is_over=pl.col("assigned_on") + length <= as_of,
    )


def _counted(outcomes: pl.LazyFrame) -> pl.LazyFrame:
    clear = ~pl.col("is_both") & ~pl.col("is_several")
    counts = pl.col("is_over") & clear
    parts = []
    for name, group in GROUPS.items():
        of, net = counts & group, pl.col("net").cast(pl.Float64)
        parts += [
            of.sum().cast(pl.Int64).alias(f"{name}_count"),
            (of & pl.col("bought")).sum().cast(pl.Int64).alias(f"{name}_buyer_count"),
            (of & pl.col("before")).sum().cast(pl.Int64).alias(f"{name}_before_count"),
            (clear & group).sum().cast(pl.Int64).alias(f"{name}_chosen"),
            pl.col(f"{name}_drawn").sum().cast(pl.Int64),
            pl.col("net").filter(of).sum().cast(TOTAL).alias(f"{name}_net_amount"),
            sums.variance(net.filter(of)).alias(f"{name}_variance"),
        ]
    waiting = (clear & ~pl.col("is_over")).sum().cast(pl.Int64)
    both, several = (pl.col(c).sum().cast(pl.Int64) for c in ("is_both", "is_several"))
    return outcomes.group_by("campaign_id").agg(*parts, waiting_count=waiting, both_count=both, several_count=several)


def _judged(counted: pl.LazyFrame, rules: EngagementRules) -> pl.LazyFrame:
    treated, control = pl.col("treated_count"), pl.col("control_count")
    bought, other = pl.col("treated_buyer_count"), pl.col("control_buyer_count")
    low, high = newcombe(bought, treated, other, control, rules.confidence)
    money = [pl.col(f"{g}_net_amount").cast(pl.Float64) / pl.col(f"{g}_count") for g in GROUPS]
    both = (treated > 1) & (control > 1)
    error = (pl.col("treated_variance") / treated + pl.col("control_variance") / control).sqrt()
    gain, z = money[0] - money[1], z_of(rules.confidence)
    held, all_of = pl.col("control_drawn"), pl.col("control_drawn") + pl.col("treated_drawn")
    planned = pl.col("planned_control_share")
    off = (held - all_of * planned) / (all_of * planned * (1 - planned)).sqrt()
    is_planned = (all_of > 0) & planned.is_between(0, 1, closed="none")
    some = (treated > 0) & (control > 0)
    told = counted.with_columns(
        treated_rate=pl.when(treated > 0).then(bought / treated),
        control_rate=pl.when(control > 0).then(other / control),
        difference=pl.when(some).then(bought / treated - other / control),
        difference_low=low, difference_high=high,
        p_value=_two_shares(bought, treated, other, control),
        sample_ratio_p_value=pl.when(is_planned).then(_p_value(off)),
        balance_p_value=_two_shares(pl.col("treated_before_count"), treated, pl.col("control_before_count"), control),
        net_amount_p_value=pl.when(both & (error > 0)).then(_p_value(gain / error)),
        incremental_net_amount=pl.when(both).then(gain * treated),
        incremental_net_amount_low=pl.when(both).then((gain - z * error) * treated),
        incremental_net_amount_high=pl.when(both).then((gain + z * error) * treated),
    )  # fmt: skip
    ends = {"": "difference", "_low": "difference_low", "_high": "difference_high"}
    told = told.with_columns((pl.col(of) * treated).alias(f"incremental_buyer_count{end}") for end, of in ends.items())
    told = _claimed(told.with_columns(silent__=_silent(rules)), rules)
    is_higher = pl.col("status") == "HIGHER"
    spent, amount = pl.col("spent_amount").cast(pl.Float64), "incremental_net_amount"
    return told.with_columns(
        *(pl.when(spent > 0).then(pl.col(f"{amount}{end}") / spent - 1).alias(f"incremental_roi{end}") for end in ends),
        cost_per_incremental_buyer=pl.when(is_higher).then(spent / pl.col("incremental_buyer_count")),
    )


def _claimed(told: pl.LazyFrame, rules: EngagementRules) -> pl.LazyFrame:
    """Adds q-values of what can be judged, and what they let be said of buyers and of money."""
    judged = pl.col("silent__").is_null()
    adjusted = told.with_columns(
        adjusted_column(pl.when(judged).then(p)).alias(q)
        for p, q in (("p_value", "q_value"), ("net_amount_p_value", "net_amount_q_value"))
    )

    def said(q: str, of: str) -> pl.Expr:
        is_shown = pl.col(q) <= 1 - rules.confidence
        return (
            pl.when(is_shown & (pl.col(f"{of}_low") > 0)).then(pl.lit("HIGHER"))
            .when(is_shown & (pl.col(f"{of}_high") < 0)).then(pl.lit("LOWER"))
            .otherwise(pl.lit(NO_DIFFERENCE_SHOWN))
        )  # fmt: skip

    return adjusted.with_columns(
        status=pl.coalesce("silent__", said("q_value", "difference")),
        net_amount_status=pl.when(judged).then(said("net_amount_q_value", "incremental_net_amount")),
    )


def _silent(rules: EngagementRules) -> pl.Expr:
    """Why nothing can be told of a campaign; null where something can."""
    treated, control = pl.col("treated_count"), pl.col("control_count")
    chosen = [pl.col(f"{group}_chosen").fill_null(0) for group in GROUPS]
    buyers = pl.col("treated_buyer_count") + pl.col("control_buyer_count")
    least = pl.min_horizontal(treated, control)
    return (
        pl.when(pl.min_horizontal(chosen) == 0).then(pl.lit("NO_HOLDOUT"))
        .when(treated + control == 0).then(pl.lit("RUNNING"))
        .when(pl.col("sample_ratio_p_value") < ALARM).then(pl.lit("SAMPLE_RATIO_MISMATCH"))
        .when(pl.col("balance_p_value") < ALARM).then(pl.lit("UNBALANCED_BEFORE"))
        .when((least < rules.least) | (buyers < LEAST_BUYERS)).then(pl.lit(NOT_ENOUGH_EVIDENCE))
    )  # fmt: skip


def _two_shares(count: pl.Expr, of: pl.Expr, other: pl.Expr, of_other: pl.Expr) -> pl.Expr:
    """Two-sided p-value that two shares are equal, by the pooled z-test; null where nobody or everybody counts."""
    share = (count + other) / (of + of_other)
    error = (share * (1 - share) * (1 / of + 1 / of_other)).sqrt()
    some = (of > 0) & (of_other > 0) & (error > 0)
    return pl.when(some).then(_p_value((count / of - other / of_other) / error))


def _p_value(z: pl.Expr) -> pl.Expr:
    return z.map_batches(
        lambda s: pl.Series(s.name, erfc(abs(s.to_numpy()) / 2**0.5)), return_dtype=pl.Float64
    ).fill_nan(None)
