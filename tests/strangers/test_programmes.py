"""Strangers' loyalty programmes and touchpoints: as Square, Salesforce and Talon.One write them, through a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

pytestmark = pytest.mark.slow

AS_OF = date(2026, 4, 1)
SQUARE = {
    "ENTRY_ID": "id", "CUSTOMER_ID": "loyalty_account_id", "ENTRY_DATE": "created_at", "REASON": "adjust_points.reason",
    "ENTRY_TYPE": "CASE type WHEN 'CREATE_REWARD' THEN 'REDEEM' WHEN 'DELETE_REWARD' THEN 'REVERSE'"
    " WHEN 'EXPIRE_POINTS' THEN 'EXPIRE' WHEN 'ADJUST_POINTS' THEN 'ADJUST' ELSE 'EARN' END",
    "POINTS": "COALESCE(accumulate_points.points, accumulate_promotion_points.points, create_reward.points,"
    " delete_reward.points, adjust_points.points, expire_points.points)",
    "REFERENCE_ID": "accumulate_points.order_id",
}  # fmt: skip
SALESFORCE = {
    "ENTRY_ID": "Id", "CUSTOMER_ID": "LoyaltyProgramMemberId", "ENTRY_DATE": "ActivityDate", "POINTS": "Points",
    "ENTRY_TYPE": "CASE EventType WHEN 'Credit' THEN 'EARN' WHEN 'Debit' THEN 'REDEEM' WHEN 'Expiry' THEN 'EXPIRE' END",
    "EXPIRY_DATE": "ExpiryDate", "REFERENCE_ID": "TransactionJournalId",
}  # fmt: skip
TALON = {
    "ENTRY_ID": "id", "CUSTOMER_ID": "profile", "ENTRY_DATE": "created", "POINTS": "amount",
    "EXPIRY_DATE": "expiryDate",
    "ENTRY_TYPE": "CASE WHEN type = 'addition' THEN 'EARN' WHEN name LIKE '%expir%' THEN 'EXPIRE' ELSE 'REDEEM' END",
}  # fmt: skip
FOOTFALL = {
    "TOUCHPOINT_ID": "no", "CUSTOMER_ID": "card", "TOUCHPOINT_TYPE": "what", "TOUCHPOINT_DATE": "at",
    "CHANNEL": "place",
}  # fmt: skip


def source(path: str, table: str, system: str, mapping: dict[str, str]) -> dict[str, Any]:
    kind = "json" if path.endswith("jsonl") else "csv"
    return {"kind": "files", "path": path, "format": kind, "table": f"bronze.{table}", "system": system,
            "mapping": mapping}  # fmt: skip


@pytest.fixture
def found(site: Callable[..., Any], tmp_path: Path) -> Any:
    sources = {
        "square": source("square.jsonl", "loyalty_ledger", "SQUARE", SQUARE),
        "salesforce": source("salesforce.csv", "loyalty_ledger", "SFDC", SALESFORCE),
        "talon": source("talon.jsonl", "loyalty_ledger", "TALON", TALON),
        "footfall": source("footfall.csv", "touchpoints", "STORES", FOOTFALL),
    }
    made = site(tmp_path, SOURCES=json.dumps(sources))
    only = {name: made.settings.sources[name] for name in sources}
    return type(made)(made.root, made.settings.model_copy(update={"sources": only}))


def event(number: int, kind: str, day: str, **more: Any) -> str:
    told = {"id": f"ev-{number}", "type": kind, "created_at": f"{day}T10:00:00Z", "loyalty_account_id": "acc-1"}
    return json.dumps(told | more)


def test_ledgers_of_three_programmes_add_up(found: Any) -> None:
    found.deliver("square.jsonl", [
        event(1, "ACCUMULATE_POINTS", "2026-01-05", accumulate_points={"points": 40, "order_id": "o-1"}),
        event(2, "ACCUMULATE_PROMOTION_POINTS", "2026-01-05", accumulate_promotion_points={"points": 10}),
        event(3, "CREATE_REWARD", "2026-01-20", create_reward={"points": -30, "reward_id": "r-1"}),
        event(4, "REDEEM_REWARD", "2026-01-21", redeem_reward={"reward_id": "r-1"}),
        event(5, "DELETE_REWARD", "2026-01-22", delete_reward={"points": 30, "reward_id": "r-1"}),
        event(6, "EXPIRE_POINTS", "2026-02-01", expire_points={"points": -15}),
        event(7, "ADJUST_POINTS", "2026-02-02", adjust_points={"points": -60, "reason": "entered twice"}),
    ])  # fmt: skip
    found.deliver("salesforce.csv", [
        "Id,LoyaltyProgramMemberId,EventType,Points,ActivityDate,ExpiryDate,TransactionJournalId",
        "0lL1,0lM7,Credit,120.0000,2026-01-02T08:00:00.000Z,2027-01-02,0lV1",
        "0lL2,0lM7,Debit,45.0000,2026-02-02T08:00:00.000Z,,0lV2",
        "0lL3,0lM7,Expiry,20,2026-03-02T08:00:00.000Z,,",
    ])  # fmt: skip
    entry = {"programId": 5, "profile": "user-9", "created": "2026-01-09T14:02:11Z", "type": "addition"}
    later = {"type": "subtraction", "created": "2026-01-19T14:02:11Z"}
    entries = [
        entry | {"id": 71, "name": "order", "amount": 25.0, "expiryDate": "unlimited"},
        entry | {"id": 72, "name": "bonus", "amount": 5, "expiryDate": "2026-02-09T14:02:11Z"},
        entry | later | {"id": 73, "name": "spent", "amount": 8},
    ]
    found.deliver("talon.jsonl", [json.dumps(each) for each in entries])
    found.run(as_of=AS_OF, end="silver.loyalty_breaks")
    found.run(as_of=AS_OF, end="silver.loyalty_balances")
    told = found.lake.scan("silver.loyalty_balances").sort("source_system").collect()
    assert told.select("source_system", "balance_points", "entry_count").rows() == [
        ("SFDC", 55, 3), ("SQUARE", -25, 6), ("TALON", 22, 3),
    ]  # fmt: skip
    broken = found.lake.scan("silver.loyalty_breaks").collect()
    assert broken.select("entry_id", "break_type").rows() == [("ev-7", "NEGATIVE_BALANCE")]
    lots = (
        found.lake.scan("silver.loyalty_ledger").filter(pl.col("source_system") == "TALON").sort("entry_id").collect()
    )
    assert lots["expires_on"].to_list() == [None, date(2026, 2, 9), None], "unlimited is no date, and no fault"
    refused = found.lake.scan("quality.quarantine").collect()
    assert refused.height == 1, "a reward that is handed out moves no points"


def test_touchpoints_in_the_words_of_a_store(found: Any) -> None:
    found.deliver("footfall.csv", [
        "no,card,what,at,place",
        "1,,Store visit,2026-03-01T10:00:00Z,Flagship store",
        "2,C9,product demo,2026-03-02T10:00:00Z,",
        "3,C9,Référral,2026-03-03T10:00:00Z,Web",
    ])  # fmt: skip
    found.run(as_of=AS_OF, end="silver.touchpoints")
    told = found.lake.scan("silver.touchpoints").sort("occurred_at").collect()
    assert told.select("kind", "channel", "stage", "sequence_number").rows() == [
        ("STORE_VISIT", "FLAGSHIP_STORE", "AWARENESS", 1), ("PRODUCT_DEMO", "UNKNOWN", "AWARENESS", 1),
        ("RÉFÉRRAL", "WEB", "AWARENESS", 2),
    ]  # fmt: skip
    assert told["subject_id"].to_list() == ["tp:STORES/1", "a:STORES/C9", "a:STORES/C9"]
