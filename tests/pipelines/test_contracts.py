"""The source contracts equal the specification's column definitions; every deviation is listed with its reason (S9)."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest

from customer360.pipelines.vocabulary import MEANINGS
from customer360.platform import catalogue, tables
from customer360.serve.compose import compose

SPECIFICATION = Path(__file__).resolve().parents[3] / "shared" / "spec" / "retail-customer-360.md"
TABLE_OF = {
    "CUSTOMERS": "bronze.customers",
    "CUSTOMER_TRANSACTIONS": "bronze.transactions",
    "CUSTOMER_TRANSACTION_ITEMS": "bronze.transaction_items",
    "CUSTOMER_BEHAVIORAL_EVENTS": "bronze.events",
    "CUSTOMER_SESSION_DATA": "bronze.sessions",
    "CUSTOMER_PREFERENCE_DATA": "bronze.preferences",
    "CUSTOMER_ENGAGEMENT_EVENTS": "bronze.engagement_events",
    "MARKETING_CAMPAIGNS": "bronze.marketing_campaigns",
    "CUSTOMER_SERVICE_INTERACTIONS": "bronze.service_interactions",
    "CUSTOMER_SERVICE_TICKETS": "bronze.service_tickets",
    "EXTERNAL_CUSTOMER_PROFILES": "bronze.external_profiles",
    "EXTERNAL_CUSTOMER_SENTIMENT": "bronze.external_sentiment",
}
ADDED = {  # columns that the specification lacks
    "bronze.marketing_campaigns": {
        "CONTROL_SHARE": "whether as many were held back as was meant",
        "CURRENCY_CODE": "spending of several currencies is never added",
    },
    "bronze.engagement_events": {
        "MESSAGE_ID": "events of one message are counted once",
        "USER_AGENT": "openings by programs are told from those by people",
        "IS_MACHINE": "the same, where the platform says so",
    },
    "bronze.customers": {
        "LAST_UPDATED_DATE": "update column of incremental loads",
        "LOYALTY_ID": "a number that says who is one person without a score",
        "ORGANISATION_NAME": "accounts of firms, and firms of contacts",
        "ENTITY_TYPE": "whether an account is of a person or of a firm, where the source says",
        "WEBSITE": "a firm's domain tells which it is",
        "ORGANISATION_NUMBER": "a register's number tells which firm it is",
    },
    "bronze.transactions": {
        "LAST_UPDATED_DATE": "update column of incremental loads",
        "REFUNDED_AMOUNT": "what was given back of a sale, as shops deliver it: without it a refunded sale is whole",
        "REFUNDED_CURRENCY": "a refund may be paid in another currency than the sale",
        "REFUNDED_DATE": "a return belongs to its own day",
        "VISITOR_ID": "guest checkouts of known devices",
    },
    "bronze.events": {"VISITOR_ID": "anonymous visitors (S2)", "USER_AGENT": "device logic needs it"},
    "bronze.sessions": {"VISITOR_ID": "anonymous visitors (S2)"},
    "bronze.service_tickets": {"LAST_UPDATED_DATE": "a ticket changes until it is closed; orders its versions"},
}
LISTED_ELSEWHERE = {  # extended lists
    ("bronze.events", "EVENT_TYPE"), ("bronze.transaction_items", "ITEM_STATUS"),
    ("bronze.engagement_events", "ENGAGEMENT_TYPE"),
}  # fmt: skip

pytestmark = pytest.mark.skipif(
    not SPECIFICATION.exists(), reason="the specification does not lie beside this checkout"
)


def definitions() -> dict[str, dict[str, tuple[str, str]]]:
    """Table to column to (type, remark), from the specification's SQL blocks."""
    found: dict[str, dict[str, tuple[str, str]]] = {}
    current = None
    for line in SPECIFICATION.read_text(encoding="utf-8").splitlines()[229:500]:
        if heading := re.match(r"-- (\w+) table", line):
            current = found.setdefault(heading[1], {})
        elif current is not None and (column := re.match(r"([A-Z_0-9]+) \(([A-Z]+(?:\([\d,]+\))?)\)(.*)", line)):
            current[column[1]] = (column[2], column[3])
        elif line.startswith("```"):
            current = None
    return found | {name: columns for name, columns in diagram().items() if name not in found}


def diagram() -> dict[str, dict[str, tuple[str, str]]]:
    """The same from the ER diagram, which alone defines MARKETING_CAMPAIGNS."""
    text = SPECIFICATION.read_text(encoding="utf-8").partition("erDiagram")[2].partition("%% Relationships")[0]
    remarks = {"PK": " - Primary Key", "FK": " - Foreign Key", "": ""}
    return {
        block[1]: {
            column[2]: (column[1], remarks[column[3] or ""])
            for column in re.finditer(r"([A-Z]+(?:\([\d,]+\))?) ([A-Z_0-9]+)(?: (PK|FK))?\n", block[2])
        }
        for block in re.finditer(r"([A-Z_]+) \{\n(.*?)\}", text, re.S)
    }


def test_the_diagram_and_the_definitions_agree() -> None:
    drawn = diagram()
    assert set(TABLE_OF) == set(drawn)
    for source, columns in definitions().items():
        assert {c: kind for c, (kind, _) in columns.items()} == {c: kind for c, (kind, _) in drawn[source].items()}


@pytest.mark.parametrize("source", sorted(TABLE_OF))
def test_columns_types_and_lists_are_the_specification_s(source: str) -> None:
    compose()
    name = TABLE_OF[source]
    contract, wanted = tables.by_name(name).columns(), definitions()[source]
    assert set(contract) - set(ADDED.get(name, {})) == set(wanted)
    for column, (kind, remark) in wanted.items():
        have = contract[column]
        if length := re.match(r"VARCHAR\((\d+)\)", kind):
            assert have.dtype == pl.String
            limit = int(length[1])
            if "values" in (have.metadata or {}):
                if (name, column) in LISTED_ELSEWHERE or "," not in remark:
                    continue
                listed = {w.strip() for w in remark.lstrip(" -").split(",")}
                assert set(have.metadata["values"]) == listed, f"{name}.{column}"
                assert max(map(len, listed)) <= limit
            else:
                # Wider than the specification everywhere: an id or a name of a real system is never cut or refused.
                assert have.max_length is None or have.max_length >= limit, f"{name}.{column}"
        else:
            family = kind.partition("(")[0]
            allowed = {"DATE": (pl.Date,), "TIMESTAMP": (pl.Datetime,), "INTEGER": (pl.Int64,), "BOOLEAN": (pl.Boolean,), "TEXT": (pl.String,),  # noqa: E501
                       "DECIMAL": (pl.Decimal, pl.Float64)}[family]  # fmt: skip
            assert have.dtype.base_type() in allowed, f"{name}.{column} is {have.dtype}, the specification says {kind}"


def test_keys_are_the_specification_s() -> None:
    compose()
    for source, name in TABLE_OF.items():
        key = next(c for c, (_, remark) in definitions()[source].items() if "Primary Key" in remark)
        assert key in tables.spec(tables.by_name(name)).key


def test_every_column_of_gold_says_what_it_means() -> None:
    compose()
    gold = {name: tables.by_name(name) for name in tables.TABLES if name.startswith("gold.")}
    silent = [
        f"{name}.{column}"
        for name, table in gold.items()
        for column in table.columns()
        if not catalogue.meaning(table, column, MEANINGS)
    ]
    assert not silent, f"add description= to {', '.join(silent)}"


def test_what_names_a_customer_is_marked_and_erased() -> None:
    compose()
    for name in (*TABLE_OF.values(), "bronze.online_orders"):
        table = tables.by_name(name)
        if "CUSTOMER_ID" in table.columns():
            assert tables.pii_columns(table)["CUSTOMER_ID"] == "account"
            assert tables.spec(table).erasure in ("delete", "anonymize"), name
