"""What the synthetic retailer plants in its further feeds is found: firms, collected orders, foreign money, a log of
changes, new stores.
"""

from __future__ import annotations

import polars as pl
import pytest


def truth(retailer, name: str) -> pl.DataFrame:  # type: ignore[no-untyped-def]
    return pl.read_parquet(retailer.truth / f"{name}.parquet")


def test_each_firm_is_one_with_its_branch_and_its_contacts(retailer) -> None:  # type: ignore[no-untyped-def]
    known = truth(retailer, "organisations")
    held = retailer.frame("silver.identities").filter(pl.col("source_system") == "B2B").collect()
    told = known.join(held, on="customer_id")
    firms = told.filter(pl.col("role") != "CONTACT")
    assert len(told) == len(known) and set(firms["entity_type"]) == {"organisation"}
    ids = firms.select("firm", "person_id").unique()
    assert ids["firm"].is_unique().all() and ids["person_id"].is_unique().all()
    contacts = retailer.frame("silver.organisation_contacts").with_columns(
        customer_id=pl.col("record_id").str.split("/").list.last()
    )
    at = contacts.collect().join(known, on="customer_id").join(ids, on="firm")
    assert len(at) == (known["role"] == "CONTACT").sum() and (at["organisation_id"] == at["person_id_right"]).all()


def test_a_collected_order_counts_once_and_what_was_bought_beside_it_too(retailer) -> None:  # type: ignore[no-untyped-def]
    known = truth(retailer, "collections")
    found = retailer.frame("silver.sale_duplicates").collect()
    both = known.join(found, on="transaction_id", how="full", coalesce=True, suffix="_found")
    planted = pl.concat_str(pl.lit("SHOP/"), "duplicate_of")
    assert known["duplicate_of"].count() > 0 and known["duplicate_of"].null_count() > 0
    assert both.filter(planted.ne_missing(pl.col("duplicate_of_found"))).is_empty()
    sales = retailer.frame("silver.transactions").filter(pl.col("is_sale")).collect()
    counted = known.join(sales, on="transaction_id", how="semi")
    assert counted.height and counted["duplicate_of"].count() == 0


def test_money_of_abroad_is_kept_and_told_at_the_rate_of_the_day(retailer) -> None:  # type: ignore[no-untyped-def]
    sales = retailer.frame("silver.transactions").filter(pl.col("currency") == "CAD").collect()
    rates = retailer.frame("silver.exchange_rates").filter(pl.col("from_currency") == "CAD").sort("on").collect()
    rated = sales.sort("occurred_on").join_asof(rates, left_on="occurred_on", right_on="on")
    off = pl.col("gross_amount").cast(pl.Float64) - pl.col("total_amount").cast(pl.Float64) * pl.col("rate")
    assert len(sales) and rated.select(off.abs().max()).item() <= 0.005 + 1e-9
    assert sales["is_unconverted"].not_().all() and sales["person_id"].count() > 0
    by_currency = retailer.frame("gold.money_by_currency").filter(pl.col("currency") == "CAD").collect()
    own = sales.filter(pl.col("person_id").is_not_null(), pl.col("occurred_on") < retailer.as_of)
    assert by_currency["gross_amount"].sum() == own["total_amount"].sum()


def test_changes_are_those_of_the_log(retailer) -> None:  # type: ignore[no-untyped-def]
    kept = retailer.frame("silver.customer_changes").collect()
    assert {"INSERT", "UPDATE", "DELETE"} == set(kept["change_type"])
    accounts = retailer.frame("silver.customer_records").filter(pl.col("source_system") == "CRM").collect()
    last = kept.sort("cdc_timestamp").group_by("customer_id").agg(pl.all().last())
    gone = last.filter(pl.col("change_type") == "DELETE")
    assert gone.join(accounts, on="customer_id", how="semi").is_empty()
    stands = last.filter(pl.col("change_type") != "DELETE").join(accounts, on="customer_id")
    now = stands.with_columns(said=pl.col("new_values").str.json_path_match("$.email"))
    assert len(stands) == len(last) - len(gone) and (now["said"].eq_missing(now["email_address"])).all()


def test_new_stores_are_compared_and_a_restricted_person_is_told(retailer) -> None:  # type: ignore[no-untyped-def]
    known, found = truth(retailer, "openings"), retailer.frame("gold.cannibalization").collect()
    assert set(found["store_id"]) == set(known["store_id"]) and set(found["opened_on"]) == set(known["opened_on"])
    for row in found.join(known, on="store_id").drop_nulls("change_low").iter_rows(named=True):
        assert row["change_low"] <= -row["taken_share"] <= row["change_high"] or row["status"] != "EFFECT"
    assert retailer.frame("gold.restrictions").collect()["person_id"].n_unique() == 1


@pytest.mark.parametrize("name", ["b2b/customers", "crm/changes", "pos/collections", "abroad/transactions"])
def test_nothing_of_a_feed_is_refused(retailer, name: str) -> None:  # type: ignore[no-untyped-def]
    for table in ("quality.quarantine", "quality.dead_letters"):
        refused = retailer.lake.scan(table).filter(pl.col("file").str.contains(f"{name}/")).collect()
        assert refused.is_empty(), f"{table}: {refused.head(3)}"
