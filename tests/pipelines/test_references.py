"""Foreign keys: every relation is counted, and nothing is lost for a missing parent (S7)."""

from __future__ import annotations

import polars as pl

from customer360.pipelines.gold.references import reference_counts
from customer360.platform import graph


def counts(retailer) -> pl.DataFrame:
    inputs = [retailer.frame(t) for t in graph.NODES["gold.reference_counts"].inputs]
    return reference_counts(*inputs).collect()


def test_relations_are_counted_and_rows_conserved(retailer) -> None:
    found = counts(retailer)
    for child in set(found["child"]):
        rows = retailer.frame(child).select(pl.len()).collect().item()
        assert set(found.filter(child=child)["row_count"]) == {rows}, child
    lines = retailer.frame("silver.transaction_items").collect()
    headers = found.filter(child="silver.transaction_items", foreign_key="transaction_id")
    assert headers["orphan_count"].item() == lines["is_orphan"].sum()


def test_planted_orphans_are_found_and_kept(retailer) -> None:
    found = counts(retailer)
    touches = retailer.frame("silver.touches").collect()
    campaign = found.filter(child="silver.touches", foreign_key="campaign_id")["orphan_count"].item()
    assert campaign == touches["is_orphan"].sum() == (touches["campaign_id"] == "CMP900").sum()
    sent = retailer.frame("bronze.engagement_events").collect()
    assert touches.height == sent.height
    contacts = retailer.frame("silver.service_contacts").collect()
    ticket = found.filter(child="silver.service_contacts", foreign_key="ticket_id")
    assert ticket["orphan_count"].item() == contacts["is_orphan"].sum()
    assert ticket["null_count"].item() == contacts["ticket_id"].null_count()


def test_facts_of_the_retailer_never_look_ahead(retailer) -> None:
    """Cutting history off at a date changes no fact before it."""
    node = graph.NODES["silver.transaction_facts"]
    frames = {t: retailer.frame(t) for t in node.inputs}
    cut = {
        t: f
        if t == "silver.people"
        else f.filter(pl.col("occurred_on") < pl.lit(retailer.as_of) - pl.duration(days=90))
        for t, f in frames.items()
    }
    whole, part = (
        node.function(*inputs.values(), params=retailer.rules["enrichment"]).collect() for inputs in (frames, cut)
    )
    assert 0 < part.height < whole.height
    key = ["source_system", "transaction_id"]
    assert part.sort(key).equals(whole.join(part.select(key), on=key, how="semi").sort(key))
