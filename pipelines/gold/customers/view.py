"""The customer view: every group of a profile, put together."""

from __future__ import annotations

from datetime import date

import polars as pl

from customer360.pipelines.gold.customers.affinity import Affinity, affinity
from customer360.pipelines.gold.customers.consent import Consent, consent, contacts
from customer360.pipelines.gold.customers.contact import Contact, contact
from customer360.pipelines.gold.customers.devices import TECHNOLOGY, Devices, devices
from customer360.pipelines.gold.customers.engagement import Engagement, engagement
from customer360.pipelines.gold.customers.external import External, external
from customer360.pipelines.gold.customers.household import Household, household
from customer360.pipelines.gold.customers.identity import Identity, identity
from customer360.pipelines.gold.customers.journey import Journey, journey
from customer360.pipelines.gold.customers.lifecycle import Lifecycle, Standing, lifecycle
from customer360.pipelines.gold.customers.location import Location, location
from customer360.pipelines.gold.customers.loyalty import Loyalty, loyalty, programme
from customer360.pipelines.gold.customers.payments import PaymentHabits, payment_habits
from customer360.pipelines.gold.customers.preference import Preference, preference
from customer360.pipelines.gold.customers.rfm import Rfm, rfm
from customer360.pipelines.gold.customers.risk import Risk, risk
from customer360.pipelines.gold.customers.scores import Churn, Clv, Propensity, Segment, propensity, scores
from customer360.pipelines.gold.customers.sentiment import Sentiment, sentiment
from customer360.pipelines.gold.customers.service import Service, service
from customer360.pipelines.gold.customers.value import Value, value
from customer360.pipelines.gold.customers.voice import Voice, voice
from customer360.pipelines.rules import EnrichmentRules
from customer360.platform.graph import builds
from customer360.platform.tables import Date, String, Table


class Key(Table, serves="OPERATION"):
    """Whom and when a profile is about."""

    person_id = String(primary_key=True, description="The person, by the id that silver.identities gives")
    as_of = Date(primary_key=True, description="The profile knows what happened before this day")


GROUPS: dict[str, type[Table]] = {
    "identity": Identity, "consent": Consent, "value": Value, "rfm": Rfm, "lifecycle": Lifecycle,
    "standing": Standing, "clv": Clv, "churn": Churn, "segment": Segment, "propensity": Propensity,
    "affinity": Affinity, "preference": Preference, "engagement": Engagement, "contact": Contact,
    "service": Service, "sentiment": Sentiment, "voice": Voice, "loyalty": Loyalty, "devices": Devices,
    "household": Household, "location": Location, "external": External, "payments": PaymentHabits, "risk": Risk,
    "journey": Journey,
}  # fmt: skip
# Groups of which nothing is stored or shown for a person who refuses the purpose that they serve.
REFUSABLE = {name: serves for name, group in GROUPS.items() if (serves := vars(group)["__serves__"]) != "OPERATION"}


class Customer360(
    Key, Identity, Consent, Value, Rfm, Lifecycle, Standing, Clv, Churn, Segment, Propensity, Affinity, Preference,
    Engagement, Contact, Service, Sentiment, Voice, Loyalty, Devices, Household, Location, External, PaymentHabits,
    Risk, Journey,
    table="gold.customer_360", per="person_id", partition_by=("as_of",), sort_by=("person_id",),
):  # fmt: skip
    """One row per person and as_of date: who it is, what it is worth, how it behaves, what is expected of it.

    The columns stand in groups, each declared beside the function that computes it; `<group>_until_at` is the latest
    fact that the group knows.
    """


@builds(
    Customer360,
    rules="enrichment",
    # The columns that decide: another value of any other makes no profile anew, and lists cannot be compared.
    reads={
        "silver.subject_days": (
            "person_id", "on", "last_at", "order_count", "unconverted_order_count", "gross_amount", "return_amount",
            "net_amount", "return_count", "store_order_count", "online_order_count", "mobile_order_count",
            "session_count",
        ),
        "silver.transactions": (
            "person_id", "occurred_on", "transaction_type", "transaction_status", "source_system",
            "loyalty_points_earned", "loyalty_points_redeemed",
        ),
        "silver.transaction_facts": ("person_id", "occurred_at", "occurred_on", "is_sale"),
        "silver.session_facts": ("person_id", "started_at", "started_on"),
        "silver.messages": (
            "person_id", "channel", "sent_at", "opened_at", "clicked_at", "unsubscribed_at", "minutes_to_open",
        ),
        "silver.service_tickets": (
            "person_id", "created_at", "resolved_at", "is_open", "resolution_minutes", "satisfaction",
        ),
        "silver.service_contacts": (
            "person_id", "occurred_at", "occurred_on", "escalation_level", "satisfaction", "sentiment_score",
        ),
        "silver.device_links": ("person_id", "first_at", "is_shared"),
        "silver.payments": (
            "person_id", "attempted_at", "attempted_on", "payment_method", "instrument_id", "captured_by_at",
            "declined_at", "charged_back_at",
        ),
        "silver.products": ("product_id", "brand"),
        "silver.touchpoints": (
            "person_id", "sequence_number", "occurred_at", "kind", "channel", "stage", "is_active",
        ),
        "gold.interactions": ("person_id", "product_id", "on", "kind", "category", "count"),
        "gold.visit_profiles": (
            "person_id", "last_session_at", "usual_device_type", "usual_channel_type", "furthest_stage",
            "is_mobile_user", "is_top_engaged",
        ),
        "gold.technology_profiles": ("person_id", "main_time_zone", *TECHNOLOGY),
        "gold.ticket_outcomes": ("person_id", "is_response_late", "is_resolution_late", "is_reopened"),
        "gold.channel_preferences": ("person_id", "rank", "channel", "message_count", "status"),
        "gold.send_hour_preferences": ("person_id", "rank", "send_hour", "message_count", "status"),
        "gold.response_rates": ("kind", "segment", "choice", "is_best", "message_count"),
        "gold.payment_risks": ("person_id", "risk_status"),
    },
)  # fmt: skip
def customer_360(
    silver_people: pl.LazyFrame,
    silver_person_accounts: pl.LazyFrame,
    silver_loyalty_systems: pl.LazyFrame,
    silver_subject_days: pl.LazyFrame,
    silver_consent_intervals: pl.LazyFrame,
    silver_transactions: pl.LazyFrame,
    silver_transaction_facts: pl.LazyFrame,
    silver_session_facts: pl.LazyFrame,
    silver_messages: pl.LazyFrame,
    silver_service_tickets: pl.LazyFrame,
    silver_service_contacts: pl.LazyFrame,
    silver_external_sentiment: pl.LazyFrame,
    silver_feedback: pl.LazyFrame,
    silver_survey_answers: pl.LazyFrame,
    silver_external_profiles: pl.LazyFrame,
    silver_profile_reliability: pl.LazyFrame,
    silver_device_links: pl.LazyFrame,
    silver_payments: pl.LazyFrame,
    silver_person_areas: pl.LazyFrame,
    silver_store_places: pl.LazyFrame,
    silver_store_visits: pl.LazyFrame,
    silver_products: pl.LazyFrame,
    silver_loyalty_lot_movements: pl.LazyFrame,
    silver_loyalty_tiers: pl.LazyFrame,
    silver_touchpoints: pl.LazyFrame,
    gold_interactions: pl.LazyFrame,
    gold_visit_profiles: pl.LazyFrame,
    gold_technology_profiles: pl.LazyFrame,
    gold_households: pl.LazyFrame,
    gold_ticket_outcomes: pl.LazyFrame,
    gold_rfm_scores: pl.LazyFrame,
    gold_predictions: pl.LazyFrame,
    gold_category_scores: pl.LazyFrame,
    gold_channel_preferences: pl.LazyFrame,
    gold_send_hour_preferences: pl.LazyFrame,
    gold_response_rates: pl.LazyFrame,
    gold_payment_risks: pl.LazyFrame,
    gold_denials: pl.LazyFrame,
    as_of: date,
    params: EnrichmentRules,
) -> pl.LazyFrame:
    """Every resolved person with its history strictly before ``as_of``; people without activity are prospects."""
    people, visits, reliability = silver_people, gold_visit_profiles, silver_profile_reliability
    return (
        identity(people, silver_person_accounts)
        .pipe(consent, silver_consent_intervals, gold_denials, params, as_of)
        .pipe(value, silver_subject_days, params, as_of)
        .pipe(rfm, gold_rfm_scores)
        .pipe(lifecycle, people, silver_subject_days, visits, params, as_of)
        .pipe(scores, gold_predictions)
        .pipe(propensity, gold_category_scores)
        .pipe(affinity, gold_interactions, silver_products, as_of)
        .pipe(
            preference,
            people,
            silver_transaction_facts,
            silver_session_facts,
            visits,
            gold_technology_profiles,
            params.customer_time_zone,
            as_of,
        )
        .pipe(engagement, silver_messages, as_of)
        .pipe(contacts)
        .pipe(service, silver_service_tickets, silver_service_contacts, gold_ticket_outcomes, as_of)
        .pipe(contact, people, gold_channel_preferences, gold_send_hour_preferences, gold_response_rates)
        .pipe(sentiment, silver_service_contacts, silver_external_sentiment, reliability, params.reliability, as_of)
        .pipe(voice, silver_feedback, silver_survey_answers, as_of)
        .pipe(loyalty, people, silver_person_accounts, silver_transactions, silver_loyalty_systems, as_of)
        .pipe(programme, silver_loyalty_lot_movements, silver_loyalty_tiers, as_of)
        .pipe(devices, silver_device_links, visits, gold_technology_profiles, as_of)
        .pipe(household, gold_households)
        .pipe(location, silver_person_areas, silver_store_places, silver_store_visits, as_of)
        .pipe(external, silver_external_profiles, reliability, as_of)
        .pipe(payment_habits, silver_payments, as_of)
        .pipe(risk, silver_transactions, gold_payment_risks, params.risk, as_of)
        .pipe(journey, silver_touchpoints, as_of)
        .with_columns(as_of=pl.lit(as_of))
        .select(list(Customer360.columns()))
    )
