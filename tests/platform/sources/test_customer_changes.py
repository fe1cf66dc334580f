"""CDC_CUSTOMER_CHANGES: what a log tells of customers is a table, beside the customers that it changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from customer360.pipelines.bronze.customers import CustomerChanges
from customer360.platform import tables

SPECIFIED = ["CHANGE_ID", "CUSTOMER_ID", "CHANGE_TYPE", "CHANGED_COLUMNS", "OLD_VALUES", "NEW_VALUES", "CDC_TIMESTAMP"]
CUSTOMERS = {"table": "bronze.customers", "system": "CRM", "mapping": {
    "CUSTOMER_ID": "id", "FIRST_NAME": "first_name", "LAST_NAME": "last_name", "EMAIL_ADDRESS": "email"}}  # fmt: skip
ODD, CITY = "Quillonessa", "Zarvogrund"


def person(number: int, first: str, last: str, mail: str) -> dict[str, Any]:
    return {
        "id": number,
        "first_name": first,
        "last_name": last,
        "email": mail,
        "city": CITY if first == ODD else "Ulm",
    }


def message(op: str, before: Any, after: Any, pos: int) -> str:
    source = {"connector": "mysql", "db": "crm", "table": "customers", "file": "bin.000001", "pos": pos, "row": 0}
    return json.dumps({"before": before, "after": after, "source": source | {"ts_ms": 1_709_287_200_000 + pos},
                       "op": op})  # fmt: skip


ADA = person(1, "Ada", "Moss", "ada@example.org")
OLD, NEW = (person(2, ODD, "Brimworth", f"{name}@example.org") for name in ("quill.old", "quill.new"))
LOG = [
    message("r", None, ADA, 1),
    message("c", None, OLD, 2),
    message("u", OLD, NEW, 3),
    message("c", None, person(3, "Cy", "Dorn", "cy@example.org"), 4),
    message("d", person(3, "Cy", "Dorn", "cy@example.org"), None, 5),
    message("t", None, None, 6),
]


def configured(**keys: Any) -> dict[str, Any]:
    """The customers, and the changes themselves, of one log."""
    return {
        "crm_customers": {**CUSTOMERS, **keys, "on_truncate": "ignore"},
        "crm": {"recipe": "changes/customers", "system": "CRM", **keys, "on_truncate": "record"},
    }


@pytest.fixture
def debezium(site: Callable[..., Any], tmp_path: Path) -> Any:
    made = site(tmp_path, SOURCES=json.dumps(configured(path="crm/*.jsonl", format="json", envelope="debezium")))
    only = {n: s for n, s in made.settings.sources.items() if n.startswith("crm_c")}
    made = type(made)(made.root, made.settings.model_copy(update={"sources": only}))
    made.deliver("crm/1.jsonl", list(LOG))
    return made


def test_it_has_the_columns_of_the_specification() -> None:
    assert list(CustomerChanges.columns()) == SPECIFIED  # SOURCE_SYSTEM is _source_system of every bronze table
    assert set(tables.pii_columns(CustomerChanges)) == {"CUSTOMER_ID", "OLD_VALUES", "NEW_VALUES"}


def test_a_log_fills_the_customers_and_the_table_of_changes(debezium: Any) -> None:
    debezium.run(end="silver")
    records = debezium.lake.scan("silver.customer_records").collect()
    assert sorted(records.select("customer_id", "email_address").rows()) == [
        ("1", "ada@example.org"), ("2", "quill.new@example.org")
    ]  # fmt: skip
    changes = debezium.lake.scan("silver.customer_changes").collect().sort("cdc_timestamp")
    assert changes.select("customer_id", "change_type", "source_system").rows() == [
        ("2", "INSERT", "CRM"), ("2", "UPDATE", "CRM"), ("3", "INSERT", "CRM"), ("3", "DELETE", "CRM"),
        (None, "TRUNCATE", "CRM"),
    ]  # fmt: skip
    update = changes.row(1, named=True)
    assert update["changed_columns"] == '["email"]'
    assert json.loads(update["old_values"])["email"] == "quill.old@example.org"
    assert json.loads(update["new_values"])["email"] == "quill.new@example.org"
    debezium.deliver("crm/2.jsonl", LOG[2:4])  # a connector that began again
    debezium.run(end="silver")
    assert debezium.lake.scan("silver.customer_changes").collect().height == 5


def test_a_change_that_names_no_account_is_refused(debezium: Any) -> None:
    nobody = {**ADA, "id": None}
    debezium.deliver("crm/3.jsonl", [message("u", nobody, nobody, 9)])
    debezium.run(end="silver")
    refused = debezium.lake.scan("quality.quarantine").filter(table_name="bronze.customer_changes").collect()
    assert refused["rule"].to_list() == ["names_its_account"]


@pytest.mark.slow
def test_an_erased_person_is_gone_from_every_byte_of_the_changes(debezium: Any) -> None:
    from customer360.serve import jobs

    debezium.run(end="silver")
    ids = debezium.lake.scan("silver.identities").filter(record_id="CRM/2").collect()
    jobs.erase(debezium.settings, ids["person_id"][0])
    words = [ODD.lower(), "brimworth", "quill.old", "quill.new", CITY.lower()]
    root = Path(debezium.lake.root)
    for file in root.rglob("*.parquet"):
        told = str(pl.read_parquet(file).rows()).lower()
        assert not [word for word in words if word in told], file.relative_to(root)
    left = debezium.lake.scan("silver.customer_changes").collect()
    assert sorted(left["change_type"]) == ["DELETE", "INSERT", "TRUNCATE"]
    debezium.deliver("crm/4.jsonl", [message("u", NEW, {**NEW, "city": "Bonn"}, 11)])  # the log goes on naming it
    debezium.run(end="silver")
    assert "2" not in debezium.lake.scan("silver.customer_changes").collect()["customer_id"].to_list()
