"""Campaigns, touches with their subject, what became of each message, and when which purpose was allowed."""

from __future__ import annotations

from datetime import date

import polars as pl

from customer360.pipelines.campaigns import spelling
from customer360.pipelines.consents import GROUP, answers_by_point, state_by_day
from customer360.pipelines.subjects import BY_ACCOUNT, Owner
from customer360.pipelines.vocabulary import Activity
from customer360.platform.graph import builds, joined_on
from customer360.platform.tables import Boolean, Date, Float, Integer, Money, String, Table, Timestamp, personal

ACTIVITY: Activity = "validation"


class Campaigns(Table, table="silver.campaigns", per="campaign_id", sort_by=("campaign_id",)):
    """One row per campaign. Systems share one campaign namespace."""

    campaign_id = String(primary_key=True)
    campaign_name = String(nullable=True)
    campaign_type = String(nullable=True)
    started_on = Date(nullable=True)
    ended_on = Date(nullable=True)
    budget_amount = Money(nullable=True)
    spent_amount = Money(nullable=True)
    currency = String(nullable=True, description="Of budget and spending; null: the reporting currency")
    control_share = Float(nullable=True, description="Share of the chosen customers that was to be held back")
    spent_rate = Float(nullable=True, description="Spent share of the budget; null without a budget")
    target_audience = String(nullable=True)
    campaign_status = String(nullable=True)


@builds(Campaigns)
def campaigns(bronze_marketing_campaigns: pl.LazyFrame) -> pl.LazyFrame:
    """Current campaigns; of one that two systems list, the row of the source that comes last by name."""
    budget, spent = pl.col("BUDGET").cast(pl.Float64), pl.col("SPENT_AMOUNT").cast(pl.Float64)
    named = bronze_marketing_campaigns.select(
        *(pl.col(c.upper()).alias(c) for c in ("campaign_id", "campaign_name", "campaign_type", "spent_amount")),
        started_on="START_DATE",
        ended_on="END_DATE",
        budget_amount="BUDGET",
        currency="CURRENCY_CODE",
        control_share="CONTROL_SHARE",
        spent_rate=pl.when(budget > 0).then(spent / budget),
        target_audience="TARGET_AUDIENCE",
        campaign_status="CAMPAIGN_STATUS",
        source="_source",
    )
    newest = named.sort("source").unique(subset="campaign_id", keep="last", maintain_order=True)
    return newest.drop("source")


class CampaignAliases(Table, table="silver.campaign_aliases", per="alias", sort_by=("platform", "alias")):
    """One row per other name that a platform has for a campaign, as last delivered."""

    platform = String(primary_key=True)
    alias = String(primary_key=True)
    source_system = String(primary_key=True)
    spelling = String(description="The name as names are compared")
    campaign_id = String(description="As the system of campaigns calls it")


@builds(CampaignAliases)
def campaign_aliases(bronze_campaign_aliases: pl.LazyFrame) -> pl.LazyFrame:
    """Names as delivered, and as they are compared."""
    return bronze_campaign_aliases.select(
        platform="PLATFORM",
        alias="ALIAS",
        source_system="_source_system",
        spelling=spelling(pl.col("ALIAS")),
        campaign_id="CAMPAIGN_ID",
    )


class Touches(Table, table="silver.touches", per="engagement_id", sort_by=("occurred_at", "engagement_id")):
    """One row per message event: sent, delivered, opened, clicked or unsubscribed."""

    engagement_id = String(primary_key=True)
    source_system = String(primary_key=True)
    subject_id = String()
    person_id = String(nullable=True)
    customer_id = String(metadata=personal("account"))
    occurred_at = Timestamp()
    occurred_on = Date()
    channel = String(description="EMAIL, SMS, PUSH, SOCIAL, IN_APP or ADS")
    action = String()
    status = String(nullable=True)
    is_machine = Boolean(
        description="Fetched or followed by a program: the platform says so, or a user agent that only programs have"
    )
    is_response = Boolean(description="Opened or clicked by a person, and not failed")
    campaign_id = String(nullable=True)
    campaign_name = String(nullable=True, description="Of the campaign, else as the message says")
    campaign_type = String(nullable=True)
    is_orphan = Boolean(description="Names a campaign that no list has")
    is_in_flight = Boolean(nullable=True, description="Within the campaign's dates; null where they are unknown")
    message_subject = String(nullable=True, metadata=personal("text"))
    device_type = String(nullable=True)
    country = String(nullable=True)
    minutes_to_open = Integer(nullable=True)
    minutes_to_click = Integer(nullable=True)
    conversion_result = String(nullable=True)
    message_id = String(nullable=True, description="The platform's id of the message; null: it gives none")


# User agents of programs that fetch every message, read or not: Apple Mail Privacy Protection names itself with these
# eleven letters alone; the others scan mail for threats or build previews. A proxy that fetches when the message is
# shown (GoogleImageProxy) is none of them.
APPLE_PRIVACY = "Mozilla/5.0"
SCANNERS = r"(?i)barracuda|mimecast|proofpoint|safelinks|symantec|trendmicro|bot\b|crawler|spider|preview|python-|curl/"

TOUCH_OWNER = Owner(at="occurred_at", otherwise=BY_ACCOUNT)


@builds(
    Touches,
    follows=TOUCH_OWNER.of,
    reached=TOUCH_OWNER.reached,
    reads={"silver.campaigns": ("campaign_id", "campaign_name", "campaign_type", "started_on", "ended_on")},
    concerns={"silver.campaigns": joined_on("campaign_id")},
)
def touches(
    bronze_engagement_events: pl.LazyFrame, silver_identity_links: pl.LazyFrame, silver_campaigns: pl.LazyFrame
) -> pl.LazyFrame:
    """Message events with the attributes of their campaign; the message's text stays in bronze."""
    same = (
        "engagement_id", "customer_id", "campaign_id", "message_subject", "device_type", "conversion_result",
        "message_id",
    )  # fmt: skip
    action, status = pl.col("ENGAGEMENT_ACTION"), pl.col("ENGAGEMENT_STATUS").fill_null("SUCCESS")
    responds = action.is_in(["OPENED", "CLICKED"])
    facts = bronze_engagement_events.select(
        *(pl.col(c.upper()).alias(c) for c in same),
        source_system="_source_system",
        occurred_at="ENGAGEMENT_DATE",
        occurred_on=pl.col("ENGAGEMENT_DATE").dt.date(),
        channel="ENGAGEMENT_TYPE",
        action=action,
        status="ENGAGEMENT_STATUS",
        is_machine=responds & _is_machine(),
        is_response=responds & (status == "SUCCESS") & ~_is_machine(),
        said_name="CAMPAIGN_NAME",
        country="LOCATION_COUNTRY",
        minutes_to_open="TIME_TO_OPEN",
        minutes_to_click="TIME_TO_CLICK",
    )
    listed = silver_campaigns.select(
        "campaign_id", "campaign_name", "campaign_type", "started_on", "ended_on", is_listed=pl.lit(True)
    )
    on = pl.col("occurred_on")
    joined = facts.join(listed, on="campaign_id", how="left").with_columns(
        campaign_name=pl.coalesce("campaign_name", "said_name"),
        is_orphan=pl.col("campaign_id").is_not_null() & pl.col("is_listed").is_null(),
        is_in_flight=(on >= pl.col("started_on")) & (on <= pl.col("ended_on")),
    )
    bare = joined.drop("said_name", "started_on", "ended_on", "is_listed")
    return TOUCH_OWNER.of(bare, silver_identity_links)


def _is_machine() -> pl.Expr:
    agent = pl.col("USER_AGENT").str.strip_chars()
    by_agent = (agent == APPLE_PRIVACY) | agent.str.contains(SCANNERS)
    return pl.coalesce("IS_MACHINE", by_agent, pl.lit(False))


class CampaignAudiences(
    Table, table="silver.campaign_audiences", per="customer_id", sort_by=("campaign_id", "customer_id")
):
    """One row per account and campaign that it was chosen for or held back from."""

    customer_id = String(primary_key=True, metadata=personal("account"))
    source_system = String(primary_key=True)
    campaign_id = String(primary_key=True)
    subject_id = String()
    person_id = String(nullable=True)
    is_treated = Boolean(description="False: control group, no message is sent")
    assigned_on = Date()


AUDIENCE_OWNER = Owner(at="assigned_on", otherwise=BY_ACCOUNT)


@builds(CampaignAudiences, follows=AUDIENCE_OWNER.of, reached=AUDIENCE_OWNER.reached)
def campaign_audiences(bronze_campaign_audiences: pl.LazyFrame, silver_identity_links: pl.LazyFrame) -> pl.LazyFrame:
    """Assignments with their subject; a person with two accounts may stand in both groups."""
    facts = bronze_campaign_audiences.select(
        customer_id="CUSTOMER_ID",
        source_system="_source_system",
        campaign_id="CAMPAIGN_ID",
        is_treated=pl.col("AUDIENCE_GROUP") == "TREATMENT",
        assigned_on="ASSIGNED_DATE",
    )
    return AUDIENCE_OWNER.of(facts, silver_identity_links)


class Messages(
    Table, table="silver.messages", per="subject_id", sort_by=("first_at", "campaign_id", "channel", "customer_id")
):
    """One row per subject, account, campaign and channel: how far the messages of a campaign got, and how fast.

    All messages of a campaign over a channel are one row here, a weekly newsletter's of a year too. Tables of campaigns
    (gold.campaign_performance and those beside it) tell them apart: by the platform's MESSAGE_ID, and where none is
    given by the day of sending. So counts of the two differ where a campaign sends to an account more than once.
    """

    subject_id = String(primary_key=True)
    source_system = String(primary_key=True)
    customer_id = String(primary_key=True, metadata=personal("account"))
    campaign_id = String(primary_key=True)
    channel = String(primary_key=True)
    person_id = String(nullable=True)
    first_at = Timestamp(description="First event of any kind")
    sent_count = Integer()
    sent_at = Timestamp(nullable=True, description="First that was sent, and so on")
    delivered_at = Timestamp(nullable=True)
    opened_at = Timestamp(nullable=True, description="By a person; so is clicked_at")
    machine_opened_at = Timestamp(nullable=True, description="First fetching by a program: no sign that anybody read")
    clicked_at = Timestamp(nullable=True)
    unsubscribed_at = Timestamp(nullable=True)
    bounced_count = Integer(description="Failed or bounced")
    minutes_to_open = Integer(nullable=True, description="As reported, else from first sending to first opening")
    minutes_to_click = Integer(nullable=True)


@builds(Messages)
def messages(silver_touches: pl.LazyFrame) -> pl.LazyFrame:
    """Events of campaigns folded to their message; a click without an opening (images blocked) stays one."""
    fine = pl.col("status").fill_null("SUCCESS") == "SUCCESS"

    by_person = ~pl.col("is_machine").fill_null(False)

    def first(action: str, by: pl.Expr = by_person) -> pl.Expr:
        return pl.col("occurred_at").filter(fine & by & (pl.col("action") == action)).min()

    folded = (
        silver_touches.filter(pl.col("campaign_id").is_not_null())
        .group_by("subject_id", "source_system", "customer_id", "campaign_id", "channel")
        .agg(
            pl.col("person_id").first(),
            first_at=pl.col("occurred_at").min(),
            sent_count=(pl.col("action") == "SENT").sum().cast(pl.Int64),
            sent_at=first("SENT"),
            delivered_at=first("DELIVERED"),
            opened_at=first("OPENED"),
            machine_opened_at=first("OPENED", ~by_person),
            clicked_at=first("CLICKED"),
            unsubscribed_at=first("UNSUBSCRIBED"),
            bounced_count=(~fine).sum().cast(pl.Int64),
            minutes_to_open=pl.col("minutes_to_open").filter(by_person).min(),
            minutes_to_click=pl.col("minutes_to_click").filter(by_person).min(),
        )
    )

    def minutes(until: str) -> pl.Expr:
        return (pl.col(until) - pl.col("sent_at")).dt.total_minutes()

    return folded.with_columns(
        minutes_to_open=pl.coalesce("minutes_to_open", minutes("opened_at")),
        minutes_to_click=pl.coalesce("minutes_to_click", minutes("clicked_at")),
    )


class ConsentIntervals(Table, table="silver.consent_intervals", per="person_id", sort_by=("purpose", "valid_from")):
    """One row per person, purpose and stretch of days with one answer.

    Of one contact point (address, number; else account) the latest dated answer holds; a tie and a refusal without a
    date refuse. A person with several contact points refuses as long as one of them does. ALL:NO and MARKETING:NO cover
    the purposes that they stand for. Before the first answer, and where none holds, there is no row: not asked.
    """

    person_id = String(primary_key=True)
    purpose = String(primary_key=True)
    valid_from = Date(primary_key=True, description="1970-01-01 where the source gives no date")
    valid_to = Date(nullable=True, description="First day on which something else holds; null while it does")
    is_allowed = Boolean()


ALWAYS = date(1970, 1, 1)


@builds(ConsentIntervals)
def consent_intervals(silver_preferences: pl.LazyFrame) -> pl.LazyFrame:
    """Answers of all accounts of a person in order of time, by the rules of pipelines.consents: the latest of a contact
    point holds, and at any time one refusal refuses.
    """
    said = silver_preferences.filter(pl.col("preference_type") == "COMMUNICATION", pl.col("person_id").is_not_null())
    daily = state_by_day(answers_by_point(said, pl.lit(ALWAYS))).sort(*GROUP, "valid_from")
    before = pl.col("is_allowed").shift().over(GROUP)
    changes = daily.filter(pl.col("is_allowed").ne_missing(before))
    ended = changes.with_columns(valid_to=pl.col("valid_from").shift(-1).over(GROUP))
    return ended.filter(pl.col("is_allowed").is_not_null())
