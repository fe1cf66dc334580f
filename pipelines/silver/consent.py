"""What each account allows, by purpose."""

from __future__ import annotations

import polars as pl

from customer360.pipelines.consents import answer, email_point, phone_point
from customer360.pipelines.subjects import BY_ACCOUNT, Owner
from customer360.pipelines.vocabulary import Activity
from customer360.platform.graph import builds, joined_on
from customer360.platform.tables import Boolean, Date, String, Table, personal

ACTIVITY: Activity = "validation"


class Preferences(Table, table="silver.preferences", per="preference_id", sort_by=("preference_id",)):
    """One row per stated preference of an account, as last delivered."""

    preference_id = String(primary_key=True)
    source_system = String(primary_key=True)
    subject_id = String()
    person_id = String(nullable=True)
    customer_id = String(metadata=personal("account"))
    preference_type = String()
    purpose = String(
        description="For communication preferences: EMAIL, SMS, … or ALL, MARKETING; else the preferred value"
    )
    is_allowed = Boolean(nullable=True, description="For communication preferences; null for tastes")
    is_active = Boolean()
    stated_on = Date(nullable=True)
    email_point = String(
        nullable=True,
        metadata=personal("email"),
        description="The account's address as contact points are compared: whose answer one about EMAIL is",
    )
    phone_point = String(nullable=True, metadata=personal("phone"), description="Likewise for SMS and PHONE")


PREFERENCE_OWNER = Owner(at="stated_on", otherwise=BY_ACCOUNT)


@builds(
    Preferences,
    reads={"silver.customer_records": ("source_system", "customer_id", "email_address", "phone_number")},
    follows=PREFERENCE_OWNER.of,
    reached=PREFERENCE_OWNER.reached,
    concerns={"silver.customer_records": joined_on("source_system", "customer_id")},
)
def preferences(
    bronze_preferences: pl.LazyFrame, silver_customer_records: pl.LazyFrame, silver_identity_links: pl.LazyFrame
) -> pl.LazyFrame:
    """Communication preferences split into purpose and answer; an unreadable answer counts as a refusal."""
    value = pl.col("PREFERENCE_VALUE")
    communication = pl.col("PREFERENCE_TYPE") == "COMMUNICATION"
    facts = bronze_preferences.select(
        preference_id="PREFERENCE_ID",
        source_system="_source_system",
        customer_id="CUSTOMER_ID",
        preference_type="PREFERENCE_TYPE",
        purpose=pl.when(communication)
        .then(value.str.split(":").list.first().str.strip_chars().str.to_uppercase())
        .otherwise(value),
        is_allowed=pl.when(communication).then(answer(value)),
        is_active=pl.col("PREFERENCE_STATUS").fill_null("ACTIVE") == "ACTIVE",
        stated_on="PREFERENCE_DATE",
    )
    points = silver_customer_records.select(
        "source_system",
        "customer_id",
        email_point=email_point(pl.col("email_address")),
        phone_point=phone_point(pl.col("phone_number")),
    )
    known = facts.join(points, on=["source_system", "customer_id"], how="left")
    return PREFERENCE_OWNER.of(known, silver_identity_links)
