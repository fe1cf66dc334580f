"""Foreign keys: every relation is counted, and nothing is lost for a missing parent (S7)."""

from __future__ import annotations

import polars as pl

from customer360.pipelines.gold.references import CHILDREN, JUDGED, NAMED, OTHERWISE, PARENTS, reference_counts
from customer360.platform import graph, tables
from customer360.serve.compose import compose

ORDER = "purchase_order_id"


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
    judged = found.filter(pl.col("child").is_in(list(JUDGED)) & pl.col("foreign_key").is_in(["transaction_id", ORDER]))
    assert dict(judged.select("child", "is_within_system").rows()) == {
        "silver.transaction_items": True, "silver.deliveries": False,
    }, "a warehouse receives what another system ordered"  # fmt: skip


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


def test_every_key_that_a_source_table_states_is_counted() -> None:
    """A new column that names a row of another source table is a relation, or said here to be none."""
    compose()
    own = {name: table for name, table in tables.TABLES.items() if (node := graph.NODES.get(name)) and node.records}
    stated = {
        (name, column)
        for name, table in own.items()
        for column in table.columns()
        if column in {**NAMED, **OTHERWISE} and PARENTS.get(name, ("",))[0] != column
    }
    counted = {(child, key) for child, keys in CHILDREN.items() for key in keys}
    counted |= {(child, key) for child, (key, _, _) in JUDGED.items()}
    read_off_the_parent = {("silver.deliveries", "vendor_id"), ("silver.deliveries", "product_id")}
    account_of_a_processor = {("silver.payment_events", "customer_id")}  # Stripe's customers are not the shop's
    may_be_a_warehouse = {("silver.purchase_orders", "location_id"), ("silver.stock_days", "location_id")}
    assert stated - counted == read_off_the_parent | account_of_a_processor | may_be_a_warehouse


def test_a_key_of_another_name_and_one_of_any_system(retailer) -> None:
    inputs = {t: retailer.frame(t) for t in graph.NODES["gold.reference_counts"].inputs}
    visits = inputs["silver.touchpoint_records"].filter(pl.col("location_id").is_not_null()).head(1).collect()
    inputs["silver.touchpoint_records"] = pl.concat([visits, visits.with_columns(location_id=pl.lit("NOWHERE"))]).lazy()
    paid = inputs["silver.payment_events"].filter(pl.col("transaction_id").is_not_null()).head(1)
    inputs["silver.payment_events"] = paid.with_columns(source_system=pl.lit("BANK"))
    rows = reference_counts(*inputs.values()).collect()
    (visit,) = rows.filter(child="silver.touchpoint_records", foreign_key="location_id").to_dicts()
    assert (visit["parent"], visit["parent_key"]) == ("silver.stores", "store_id")
    assert visit["row_count"] == 2 and visit["orphan_count"] == visit["orphan_rate"] * 2 == 1
    (payment,) = rows.filter(child="silver.payment_events").to_dicts()
    assert (payment["orphan_count"], payment["row_count"], payment["is_within_system"]) == (0, 1, False)


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
