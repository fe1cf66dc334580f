"""The customer view: every group of a profile, put together."""

from __future__ import annotations

from datetime import date

import polars as pl

from customer360.pipelines.gold.customers.affinity import Affinity, affinity
from customer360.pipelines.gold.customers.consent import Consent, consent, contacts
from customer360.pipelines.gold.customers.contact import Contact, contact
from customer360.pipelines.gold.customers.devices import Devices, devices
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
    reads={
        "silver.transaction_facts": ("person_id", "occurred_at", "occurred_on", "is_sale"),
        "silver.session_facts": ("person_id", "started_at", "started_on"),
        "silver.transactions": (
            "person_id", "occurred_on", "transaction_type", "transaction_status", "source_system",
            "loyalty_points_earned", "loyalty_points_redeemed",
        ),
        "gold.payment_risks": ("person_id", "risk_status"),
        "silver.touchpoints": (
            "person_id", "sequence_number", "occurred_at", "kind", "channel", "stage", "is_active",
        ),
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
    gold_rfm_bounds: pl.LazyFrame,
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
        .pipe(rfm, gold_rfm_bounds)
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
