"""The customer view as a whole: its groups, their freshness, and that the synthetic retailer knows something of
each.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from customer360.pipelines.gold.customers import GROUPS, REFUSABLE, Customer360
from customer360.platform import tables

# Least share of the synthetic retailer's people of whom a group knows a fact; scores need a trained model.
COVERED = {
    "identity": 0.95, "consent": 0.1, "value": 0.5, "rfm": 0.5, "lifecycle": 0.5, "standing": 0.5, "affinity": 0.5,
    "preference": 0.5, "engagement": 0.1, "contact": 0.05, "service": 0.03, "sentiment": 0.03, "voice": 0.03,
    "loyalty": 0.1, "devices": 0.4, "household": 0.5, "external": 0.01, "location": 0.05, "payments": 0.4,
    "risk": 0.5, "journey": 0.5,
}  # fmt: skip

# What the synthetic retailer, who sells to people alone, cannot fill.
UNFILLED = {
    "organisation_name",
    "best_send_hour", "best_send_hour_basis", "best_send_hour_message_count",  # its readers mind neither the hour
    "contact_channel", "contact_channel_message_count",  # nor the channel
}  # fmt: skip


@pytest.mark.parametrize("group", sorted(COVERED))
def test_the_sample_covers_every_group(group: str, retailer) -> None:
    known = retailer.frame("gold.customer_360").collect()
    assert known[f"{group}_until_at"].is_not_null().mean() >= COVERED[group]
    empty = {c for c in GROUPS[group].columns() if known[c].is_null().all()}
    assert empty <= UNFILLED, "some columns are never filled"


def test_no_zero_is_negative(retailer) -> None:
    """Sums of nothing are -0.0 in Polars, and would be printed so."""
    known = retailer.frame("gold.customer_360").select(pl.col(pl.Float64)).collect()
    negative = [c for c in known.columns if ((known[c] == 0) & (known[c].cast(pl.String) == "-0.0")).any()]
    assert negative == []


def test_only_scores_need_more_than_the_sample() -> None:
    assert set(GROUPS) - set(COVERED) == {"clv", "churn", "segment", "propensity"}


def test_every_column_stands_in_one_group_that_says_how_fresh_it_is() -> None:
    columns = [c for group in GROUPS.values() for c in group.columns()]
    assert len(columns) == len(set(columns))
    assert ["person_id", "as_of", *columns] == list(Customer360.columns())
    for name, group in GROUPS.items():
        assert f"{name}_until_at" in group.columns()
        assert tables.summary(group).endswith("."), name
    assert set(REFUSABLE) <= set(GROUPS)


def test_no_group_knows_what_comes_later(retailer) -> None:
    """Master data, as of today, may be newer; what is dated may not."""
    cut = datetime(retailer.as_of.year, retailer.as_of.month, retailer.as_of.day, tzinfo=UTC)
    known = retailer.frame("gold.customer_360").collect()
    for group in (
        "consent",
        "location",
        "value",
        "lifecycle",
        "affinity",
        "preference",
        "engagement",
        "service",
        "sentiment",
        "devices",
        "journey",
    ):
        latest = known[f"{group}_until_at"].max()
        assert isinstance(latest, datetime) and latest < cut, group


def test_the_future_changes_nothing(retailer) -> None:
    """Point in time: rows dated on as_of or later are as if they were not there."""
    from customer360.platform import graph

    node = graph.NODES["gold.customer_360"]
    dated = {
        "silver.subject_days": "on", "silver.transactions": "occurred_on", "silver.transaction_facts": "occurred_on",
        "silver.session_facts": "started_on", "silver.service_contacts": "occurred_on", "silver.external_sentiment": "on",  # noqa: E501
        "gold.interactions": "on", "silver.consent_intervals": "valid_from", "silver.touchpoints": "occurred_at",
        "silver.loyalty_lot_movements": "occurred_at", "silver.loyalty_tiers": "valid_from",
    }  # fmt: skip
    frames = {t: retailer.frame(t) for t in node.inputs}
    day = retailer.as_of - timedelta(days=20)  # the data of the sample are complete to its end
    past = {t: f.filter(pl.col(dated[t]) < day) if t in dated else f for t, f in frames.items()}
    values = {"as_of": day, "params": retailer.rules["enrichment"]}
    made = [node.function(*given.values(), **values).sort("person_id").collect() for given in (frames, past)]
    assert any(frames[t].collect().height > past[t].collect().height for t in dated), "the sample has no future"
    changed = [c for c in made[0].columns if not made[0][c].equals(made[1][c])]
    assert changed == []
