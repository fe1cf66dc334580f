"""Products in one form, and prices and stock as intervals: hand-made cases and independent statements."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import polars as pl
import pytest

from customer360.pipelines.rules import Repair, StandardizationRules
from customer360.pipelines.rules.repairs import StandardizationRepairs
from customer360.pipelines.silver.catalog.attributes import brands, categories, product_attributes
from customer360.pipelines.silver.catalog.classes import product_categories
from customer360.pipelines.silver.catalog.intervals import (
    list_prices,
    price_intervals,
    stock_counts,
    stock_intervals,
)

RULES = StandardizationRules()
NO_CODES = pl.LazyFrame(schema={"product_id": pl.String, "gtin": pl.String})
START = datetime(2026, 1, 1, tzinfo=UTC)


def goods(**columns: list[object]) -> pl.LazyFrame:
    count = len(next(iter(columns.values())))
    names = ("product_name", "category", "subcategory", "brand", "sku", "attributes", "description")
    empty = {name: pl.Series([None] * count, dtype=pl.String) for name in names}
    ids = [f"G{n}" for n in range(count)]
    return pl.LazyFrame({"product_id": ids, **empty} | columns).with_columns(is_product=True)


def test_a_brand_is_spelt_as_most_of_its_products_spell_it() -> None:
    names = (
        ["Northfield"] * 30
        + ["NORTHFIELD"] * 2
        + ["Nortfield", "North-field", "Southfield", "Roastery 9", "Roastery 8"]
    )
    found = brands(goods(brand=[*names, None, " "]), RULES).collect()
    by_spelling = {row["spelling"]: (row["brand"], row["reason"]) for row in found.iter_rows(named=True)}
    assert by_spelling["Northfield"] == ("Northfield", "AS_WRITTEN")
    assert by_spelling["NORTHFIELD"] == by_spelling["North-field"] == ("Northfield", "SIGNS")
    assert by_spelling["Nortfield"] == ("Northfield", "ONE_LETTER")
    assert by_spelling["Southfield"] == ("Southfield", "AS_WRITTEN")
    assert by_spelling["Roastery 8"][0] == "Roastery 8" and None not in by_spelling and " " not in by_spelling
    ruled = StandardizationRules(brands={"North Field": ["nortfield", "NorthField"]})
    again = brands(goods(brand=names), ruled).collect()
    assert set(again.filter(pl.col("reason") == "RULE")["brand"]) == {"North Field"}


def test_spellings_that_the_rule_file_spares_stay_as_they_are() -> None:
    given = goods(brand=["Northfield"] * 30 + ["Nortfield", "NORTHFIELD ", "Acme", "ACME"])

    def read(repair: Repair, **rules: Any) -> dict[str, tuple[str, str]]:
        ruled = StandardizationRules(repairs=StandardizationRepairs(brand_spelling=repair), **rules)
        rows = brands(given, ruled).collect().iter_rows(named=True)
        return {row["spelling"]: (row["brand"], row["reason"]) for row in rows}

    one = read(Repair(spare=["Nortfield"]))
    assert one["Nortfield"] == ("Nortfield", "AS_WRITTEN") and one["NORTHFIELD "] == ("Northfield", "SIGNS")
    seen = read(Repair(spare=["NORTHFIELD"]))
    assert seen["NORTHFIELD "] == ("NORTHFIELD", "AS_WRITTEN"), "as it is shown: nobody sees the blank"
    none = read(Repair(apply=False), brands={"ACME": ["Acme"]})
    assert none["Nortfield"] == ("Nortfield", "AS_WRITTEN") and none["NORTHFIELD "] == ("NORTHFIELD", "AS_WRITTEN")
    assert none["Acme"] == ("ACME", "RULE"), "what the retailer wrote itself is no automatic repair"


def test_a_slip_of_a_brand_that_a_rule_renames_has_the_new_name() -> None:
    found = brands(
        goods(brand=["Northfield"] * 30 + ["Nortfield"]), StandardizationRules(brands={"North AG": ["Northfield"]})
    )
    assert dict(found.select("spelling", "brand").collect().rows()) == {
        "Northfield": "North AG",
        "Nortfield": "North AG",
    }


def test_categories_are_a_tree_whatever_form_their_paths_have() -> None:
    table = goods(
        category=["Home > Kitchen", "home / kitchen ", "Home", None, "Café", "Home"],
        subcategory=["Oils", "Home > Kitchen > Oils", None, "Lost", None, "Kitchen"],
    )
    tree = {row["path"]: row for row in categories(table).collect().iter_rows(named=True)}
    assert set(tree) == {"Home", "Home > Kitchen", "Home > Kitchen > Oils", "Café"}
    assert tree["Home"]["product_count"] == 4 and tree["Home"]["own_product_count"] == 1
    assert tree["Home > Kitchen"] | {"name": "Kitchen", "level": 2, "product_count": 3, "own_product_count": 1,
                                      "parent_path": "Home", "child_count": 1} == tree["Home > Kitchen"]  # fmt: skip
    assert tree["Café"]["parent_path"] is None and tree["Home"]["child_count"] == 1


def test_attributes_come_from_the_name_first_and_from_any_json() -> None:
    table = goods(
        product_name=["Oil 2 x 500 ml", "Tee - Navy", None, "Lamp", "Box"],
        sku=["7610050000009", "A1", None, None, None],
        attributes=['{"weight_kg": 1.4, "color": "Olive"}', "none", '{"size": "M", "ean": "036000291452"}',
                    '{"weight": "1.5 kg", "color": ["a"]}', "{broken"],
    )  # fmt: skip
    codes = pl.LazyFrame({"product_id": ["G3", "G3"], "gtin": ["00036000291452", None]})
    found = product_attributes(table, brands(table, RULES), codes, RULES).sort("product_id").collect()
    rows = {row["product_id"]: row for row in found.iter_rows(named=True)}
    assert (rows["G0"]["total_size"], rows["G0"]["size_unit"], rows["G0"]["size_from"]) == (1000, "ml", "NAME")
    assert (rows["G0"]["color"], rows["G0"]["gtin"], rows["G1"]["color"]) == ("GREEN", "07610050000009", "BLUE")
    assert (rows["G2"]["size_label"], rows["G2"]["size_value"], rows["G2"]["gtin"]) == ("M", None, "00036000291452")
    assert (rows["G3"]["size_value"], rows["G3"]["size_from"], rows["G3"]["color"]) == (1500, "ATTRIBUTES", None)
    assert rows["G3"]["gtin"] == "00036000291452" and rows["G4"]["size_value"] is None


def test_categories_are_read_from_texts_only_where_they_are_sure() -> None:
    texts = [f"green tea number {n} leaf" for n in range(40)] + [f"steel pan model {n} handle" for n in range(40)]
    names = [*texts, "green tea leaf", "steel pan", "umbrella", None, "steel pan model 99"]
    kinds = ["Tea"] * 40 + ["Pans"] * 40 + [None] * 4 + ["Tea"]
    table = goods(product_name=names, category=kinds)
    attributes = product_attributes(table, brands(table, RULES), NO_CODES, RULES)
    found = product_categories(table, attributes, categories(table), RULES).collect()
    rows = {row["product_id"]: row for row in found.iter_rows(named=True)}
    assert [rows[f"G{n}"]["category"] for n in range(80, 84)] == ["Tea", "Pans", None, None]
    assert [rows[f"G{n}"]["status"] for n in (0, 80, 82)] == ["STATED", "CLASSIFIED", "UNKNOWN"]
    assert rows["G84"]["is_disputed"] and rows["G84"]["category"] == "Tea"
    assert rows["G0"]["precision_low"] >= RULES.category_precision
    spared = StandardizationRules(repairs=StandardizationRepairs(category_from_text=Repair(spare=["G80"])))
    left = product_categories(table, attributes, categories(table), spared).collect()
    rows = {row["product_id"]: row for row in left.iter_rows(named=True)}
    assert (rows["G80"]["category"], rows["G80"]["status"], rows["G80"]["text_category"]) == (None, "UNKNOWN", "Tea")
    assert rows["G81"]["status"] == "CLASSIFIED"
    few = product_categories(table.head(3), attributes, categories(table.head(3)), RULES).collect()
    assert set(few["status"]) == {"STATED"} and few["precision"].null_count() == 3


def lines(*rows: tuple[str, int, float, int]) -> pl.LazyFrame:
    """Lines of product, day, unit price, quantity."""
    sold = pl.DataFrame(
        {"product_id": [r[0] for r in rows], "occurred_on": [(START + timedelta(days=r[1])).date() for r in rows],
         "unit_price": [Decimal(str(r[2])) for r in rows], "quantity": [r[3] for r in rows]},
        schema_overrides={"unit_price": pl.Decimal(12, 2)},
    )  # fmt: skip
    currency = pl.lit(None, pl.String)
    return sold.lazy().with_columns(source_system=pl.lit("POS"), is_sale=True, is_product=True, currency=currency)


def entries(*rows: tuple[str | None, str | None, int, int | None, str]) -> pl.LazyFrame:
    """Entries of a price list in bronze: kind, currency, day that it begins and ends, price."""
    instant = pl.Datetime("us", "UTC")
    return pl.DataFrame(
        [("G", kind, Decimal(price), currency, START + timedelta(days=since),
          None if until is None else START + timedelta(days=until), "ERP")
         for kind, currency, since, until, price in rows],
        schema={"PRODUCT_ID": pl.String, "PRICE_TYPE": pl.String, "PRICE": pl.Decimal(12, 2),
                "CURRENCY_CODE": pl.String, "VALID_FROM": instant, "VALID_TO": instant, "_source_system": pl.String},
        orient="row",
    ).lazy()  # fmt: skip


def test_a_list_in_two_currencies_has_both_and_one_price_of_each_kind() -> None:
    rows = entries(
        ("LIST", "EUR", 0, None, "10"), ("LIST", "USD", 0, None, "12"), (None, "USD", 0, None, "11"),
        ("LIST", None, 0, None, "9"),
    )  # fmt: skip
    found = list_prices(rows).collect()
    assert found.select("product_id", "price_type", "currency", "valid_from", "source_system").is_unique().all()
    assert dict(found.select("currency", "price").rows()) == {
        "EUR": Decimal(10), "USD": Decimal(11), "unstated": Decimal(9)
    }  # fmt: skip
    held = price_intervals(found.lazy(), lines(), pl.LazyFrame({"currency": ["EUR"]})).collect()
    assert dict(held.select("currency", "price").rows()) == {"EUR": Decimal(9), "USD": Decimal(11)}


def test_a_price_holds_again_when_the_temporary_one_ends() -> None:
    rows = entries(
        ("LIST", "EUR", 0, None, "100"), ("LIST", "EUR", 10, 20, "80"), ("LIST", "EUR", 12, 15, "70"),
        ("LIST", "EUR", 40, None, "110"), ("LIST", "EUR", 41, 50, "90"), ("LIST", "EUR", 30, 35, "95"),
    )  # fmt: skip
    found = (
        price_intervals(list_prices(rows), lines(), pl.LazyFrame({"currency": ["EUR"]})).sort("valid_from").collect()
    )
    told = [((a - START).days, (b - START).days if b else None, int(p)) for a, b, p in
            found.select("valid_from", "valid_until", "price").rows()]  # fmt: skip
    assert told == [
        (0, 10, 100), (10, 12, 80), (12, 15, 70), (15, 20, 80), (20, 30, 100), (30, 35, 95), (35, 40, 100),
        (40, 41, 110), (41, 50, 90), (50, None, 110),
    ]  # fmt: skip
    assert found["observation_count"].sum() == 6


def test_a_price_that_began_within_a_temporary_one_and_goes_on_holds_after_its_end() -> None:
    rows = entries(("LIST", "EUR", 0, None, "10"), ("LIST", "EUR", 31, 59, "8"), ("LIST", "EUR", 45, None, "12"))
    held = price_intervals(list_prices(rows), lines(), pl.LazyFrame({"currency": ["EUR"]})).sort("valid_from").collect()
    assert held["price"].to_list() == [10, 8, 12]
    assert held["valid_until"].to_list() == [*held["valid_from"][1:], None]


@pytest.mark.parametrize("seed", range(12))
def test_every_day_has_the_price_of_the_latest_entry_that_holds(seed: int) -> None:
    chance = random.Random(seed)
    begun = [chance.randrange(20) for _ in range(8)]
    told = [(at, chance.choice([None, at + chance.randint(1, 12)]), chance.randint(5, 15)) for at in begun]
    told = list({(at, price): (at, end, price) for at, end, price in told}.values())
    lists = list_prices(entries(*(("LIST", "EUR", at, end, str(price)) for at, end, price in told)))
    rows = lists.select("valid_from", "valid_to", "price").collect().rows()
    found = price_intervals(lists, lines(), pl.LazyFrame({"currency": ["EUR"]})).collect()
    for day in (START + timedelta(days=n) for n in range(35)):
        holding = [(at, -price) for at, end, price in rows if at <= day and (end is None or day < end)]
        since, until = pl.col("valid_from"), pl.col("valid_until")
        price = found.filter(since <= day, until.is_null() | (until > day))["price"].to_list()
        assert price == [-p for _, p in sorted(holding)[-1:]], day


def test_prices_hold_until_the_next_and_equal_ones_are_one_interval() -> None:
    entries = [
        ("LIST", 0, None, "10"),
        ("LIST", 10, None, "10"),
        ("LIST", 20, None, "8"),
        ("PROMO", 12, 15, "5"),
        ("PROMO", 30, None, "6"),
    ]
    listed = pl.LazyFrame(
        [{"product_id": "G", "price_type": kind, "currency": "EUR", "source_system": "ERP",
          "price": Decimal(price), "valid_from": START + timedelta(days=since),
          "valid_to": START + timedelta(days=until) if until else None} for kind, since, until, price in entries],
        schema_overrides={"price": pl.Decimal(12, 2), "valid_to": pl.Datetime("us", "UTC"), "valid_from": pl.Datetime("us", "UTC")},  # noqa: E501
    )  # fmt: skip
    sold = lines(
        ("G", 1, 9.5, 1), ("G", 1, 9.5, 2), ("G", 1, 3.0, 1), ("G", 4, 9.5, 1), ("G", 6, 8.0, 1), ("G", 7, 7.0, -1)
    )
    found = (
        price_intervals(listed, sold, pl.LazyFrame({"currency": ["EUR"]})).sort("price_type", "valid_from").collect()
    )

    def told(kind: str) -> list[tuple[object, ...]]:
        rows = found.filter(price_type=kind).select("valid_from", "valid_until", "price", "observation_count")
        return [((a - START).days, (b - START).days if b else None, float(p), n) for a, b, p, n in rows.iter_rows()]

    assert told("LIST") == [(0, 20, 10.0, 2), (20, None, 8.0, 1)]
    assert told("PROMO") == [(12, 15, 5.0, 1), (30, None, 6.0, 1)]
    assert told("SOLD") == [(1, 6, 9.5, 3), (6, None, 8.0, 1)]
    assert found.filter(price_type="LIST")["previous_price"].to_list() == [None, Decimal("10.00")]


def test_a_product_has_its_stock_whichever_feed_counts_it() -> None:
    instant, at = pl.Datetime("us", "UTC"), START + timedelta(hours=9)
    levels = pl.LazyFrame(
        {"product_id": "L", "store_id": "S", "counted_at": [at, at + timedelta(days=3)], "source_system": "POS",
         "quantity_on_hand": [5, 0]}, schema_overrides={"counted_at": instant},
    )  # fmt: skip
    stock = pl.LazyFrame(
        {"product_id": ["I", "U"], "store_id": "S", "quantity_on_hand": [7, 8], "updated_at": [at, None]},
        schema_overrides={"updated_at": instant},
    )
    snapshots = pl.LazyFrame(
        {"product_id": ["D", "D", "L"], "location_id": "S", "quantity_on_hand": [3, -1, 99],
         "on": [START.date(), START.date() + timedelta(days=1), START.date()]}
    )  # fmt: skip
    counts = stock_counts(levels, stock, snapshots).sort("product_id", "counted_at").collect()
    assert counts.select("product_id", "quantity_on_hand").rows() == [("D", 3), ("D", -1), ("I", 7), ("L", 5), ("L", 0)]
    assert counts["counted_at"][0] == START + timedelta(days=1) - timedelta(microseconds=1)
    shelves = stock_intervals(counts.lazy()).collect()
    assert shelves.sort("valid_from").filter(product_id="D")["is_in_stock"].to_list() == [True, False]


def test_duckdb_finds_the_same_intervals_of_stock(retailer) -> None:  # type: ignore[no-untyped-def]
    levels, stock = retailer.frame("silver.stock_levels"), retailer.frame("silver.stock")
    ours = stock_intervals(retailer.frame("silver.stock_counts")).collect()
    statement = """
    WITH counts AS (
      SELECT product_id, store_id, moment, min(quantity) AS quantity FROM (
        SELECT product_id, store_id, counted_at AS moment, quantity_on_hand AS quantity FROM levels
        UNION ALL SELECT product_id, store_id, updated_at, quantity_on_hand FROM stock WHERE updated_at IS NOT NULL)
      GROUP BY ALL),
    turns AS (
      SELECT *, (quantity > 0) IS DISTINCT FROM
        lag(quantity > 0) OVER (PARTITION BY product_id, store_id ORDER BY moment) AS turned FROM counts)
    SELECT product_id, store_id, moment AS valid_from, quantity > 0 AS is_in_stock FROM turns WHERE turned ORDER BY ALL
    """
    with duckdb.connect() as base:
        base.register("levels", levels.collect().to_arrow())
        base.register("stock", stock.collect().to_arrow())
        theirs = base.sql(statement).pl()
    mine = ours.select(theirs.columns).sort(theirs.columns)
    assert mine.height == theirs.height > 100 and (~mine["is_in_stock"]).any()
    assert (
        mine.select("product_id", "store_id", "is_in_stock").rows()
        == theirs.select("product_id", "store_id", "is_in_stock").rows()
    )
    assert mine["valid_from"].dt.epoch().to_list() == theirs["valid_from"].dt.epoch().to_list()
    open_ones = ours.group_by("product_id", "store_id").agg(pl.col("valid_until").null_count())
    assert set(open_ones["valid_until"]) == {1}, "every shelf has one interval that has not ended"
