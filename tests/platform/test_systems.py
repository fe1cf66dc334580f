"""Recipes: what an entry stands for, what is said beside it, and what files are recognized by."""

from __future__ import annotations

from pathlib import Path

import pytest

from customer360.platform import systems
from customer360.platform.errors import ConfigError
from customer360.platform.settings import load

ENTRY = {"recipe": "shopify/orders_csv", "path": "shop/orders*.csv"}


def test_an_entry_is_one_source_a_table() -> None:
    made = systems.expanded("shop", ENTRY)
    assert list(made) == ["shop_transactions", "shop_transaction_items", "shop_customers"]
    assert {(s["system"], s["path"]) for s in made.values()} == {("SHOPIFY", "shop/orders*.csv")}
    assert made["shop_transactions"]["group_by"] == ["Name"]


def test_what_is_said_beside_goes_to_each_source() -> None:
    beside = {"system": "OUTLET", "timezone": "Europe/Oslo", "where": "Email LIKE '%@x.example'"}
    more = {"only": ["transactions", "customers"], "mapping": {"transactions": {"CHANNEL": "'POS'"}}}
    made = systems.expanded("shop", {**ENTRY, **beside, **more})
    assert list(made) == ["shop_transactions", "shop_customers"]
    assert {(s["system"], s["timezone"]) for s in made.values()} == {("OUTLET", "Europe/Oslo")}
    assert made["shop_transactions"]["mapping"]["CHANNEL"] == "'POS'"
    assert made["shop_transactions"]["mapping"]["TRANSACTION_ID"] == "Name"
    assert made["shop_transactions"]["where"] == "(Email LIKE '%@x.example')"
    own = systems.export_of("shopify/orders_csv").sources["customers"]["where"]
    assert made["shop_customers"]["where"] == f"({own}) AND (Email LIKE '%@x.example')"


def test_a_currency_is_taken_where_the_export_says_none() -> None:
    products = systems.expanded("p", {"recipe": "shopify/products_csv", "path": "p.csv", "currency": "NOK"})
    assert products["p_products"]["mapping"]["CURRENCY_CODE"] == "'NOK'"
    orders = systems.expanded("o", {**ENTRY, "currency": "NOK"})
    assert orders["o_transactions"]["mapping"]["CURRENCY_CODE"] == "MAX(Currency)"


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({**ENTRY, "recipe": "shopify/order_csv"}, ("'shopify/order_csv'", "did you mean shopify/orders_csv")),
        ({**ENTRY, "recipe": "shopify"}, ("shopify/orders_csv", "shopify/customers_csv")),
        ({**ENTRY, "recipe": "customers_csv"}, ("shopify/customers_csv",)),
        ({**ENTRY, "recipe": "zzzz"}, ("'zzzz'", "customer360 systems")),
        ({**ENTRY, "only": ["sales"]}, ("sources.shop.only", "sales", "transaction_items")),
        ({**ENTRY, "mapping": {"CHANNEL": "'POS'"}}, ("sources.shop.mapping", "CHANNEL", "transactions")),
        ({**ENTRY, "mapping": "CHANNEL"}, ("sources.shop.mapping",)),
        ({**ENTRY, "group_by": ["Id"]}, ("group_by", "customer360 systems shopify/orders_csv")),
    ],
)
def test_faults_say_what_to_do(entry: dict[str, object], words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as fault:
        systems.expanded("shop", entry)
    assert all(word in str(fault.value) for word in words), str(fault.value)


def test_settings_take_a_recipe(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("sources:\n  shop: {recipe: shopify/orders_csv, path: shop/*.csv}\n", encoding="utf-8")
    loaded = load(file, {"CUSTOMER360__SOURCES__SHOP__TIMEZONE": "Europe/Oslo"})
    assert list(loaded.sources) == ["shop_transactions", "shop_transaction_items", "shop_customers"]
    assert {s.timezone for s in loaded.sources.values()} == {"Europe/Oslo"}
    assert "Lineitem name" in (loaded.sources["shop_transactions"].needs or [])


def test_one_name_is_one_source(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    own = "shop_customers: {table: bronze.customers, system: X, path: c.csv}"
    file.write_text(f"sources:\n  shop: {{recipe: shopify/orders_csv, path: o.csv}}\n  {own}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="shop_customers is the name of another source"):
        load(file, {})


def test_recognition_takes_the_export_that_asks_most() -> None:
    orders = systems.export_of("shopify/orders_csv").recognize
    assert systems.recognized([*orders, "Notes"])[0] == "shopify/orders_csv"
    assert systems.recognized([f" {name.upper()} " for name in orders])[0] == "shopify/orders_csv"
    assert "shopify/orders_csv" not in systems.recognized(orders[1:])
    assert systems.recognized(["a", "b"]) == []


def test_a_joined_file_lies_in_the_folder_of_the_entry() -> None:
    for path, expected in (("shop/items.csv", "shop/olist_orders_dataset.csv"), ("i.csv", "olist_orders_dataset.csv")):
        made = systems.expanded("m", {"recipe": "olist/order_items_csv", "path": path})
        assert made["m_transactions"]["join"]["orders"] == {"path": expected, "on": {"order_id": "order_id"}}


def test_one_of_several_names_will_do() -> None:
    fixed = ["id", "Amount", "Amount Refunded", "Currency", "Status"]
    for name in ("Created (UTC)", "Created date (UTC)", "Created"):
        assert "stripe/payments_csv" in systems.recognized([*fixed, name])
    assert "stripe/payments_csv" not in systems.recognized(fixed)
    assert (
        "Created" not in systems.expanded("s", {"recipe": "stripe/payments_csv", "path": "p"})["s_customers"]["needs"]
    )
