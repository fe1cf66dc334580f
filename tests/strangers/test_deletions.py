"""What sources delete: marked records, keys that a snapshot no longer holds, and snapshots that cannot be trusted."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from customer360.platform import ledger, quality
from customer360.platform.sources.files import Files

STORES = Files(table="bronze.stores", system="ERP", path="st/*")
PEOPLE = Files(table="bronze.customers", system="CRM", path="crm/*")


@pytest.fixture
def shop(site: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """A site with the named sources alone."""

    def opened(**sources: Files) -> Any:
        found = site(tmp_path)
        return type(found)(found.root, found.settings.model_copy(update={"sources": sources}))

    return opened


def cli(shop: Any, *words: str) -> Any:
    from customer360.serve import cli

    config = shop.root / "config.json"  # JSON is YAML
    config.write_text(shop.settings.model_dump_json())
    log = logging.getLogger("customer360")
    before = list(log.handlers)
    result = CliRunner().invoke(cli.app, [*words, "--config", str(config)])
    log.handlers[:] = before
    return result


LOST = 5  # all was done, and a batch lost rows


def stores(shop: Any) -> dict[str, str]:
    assert cli(shop, "run", "silver.stores").exit_code in (0, LOST)
    return dict(sorted(shop.lake.scan("silver.stores").select("store_id", "store_name").collect().rows()))


# ---- marked records


@pytest.mark.parametrize(
    ("condition", "head", "kept", "gone"),
    [
        ("op = 'd'", "op,STORE_ID,STORE_NAME", "u,H1,Harbour", "d,H2,"),
        ("__deleted = 'true'", "__deleted,STORE_ID,STORE_NAME", "false,H1,Harbour", "true,H2,"),
        ("_fivetran_deleted", "_fivetran_deleted,STORE_ID,STORE_NAME", "False,H1,Harbour", "True,H2,"),
        ("_ab_cdc_deleted_at IS NOT NULL", "_ab_cdc_deleted_at,STORE_ID,STORE_NAME", ",H1,Harbour", "2026-03-01,H2,"),
    ],
)
def test_a_record_that_its_source_marks_deletes_its_key(
    shop: Any, condition: str, head: str, kept: str, gone: str
) -> None:
    site = shop(stores=STORES.model_copy(update={"deleted": condition}))
    site.deliver("st/1.csv", [head, kept, kept.replace("H1", "H2").replace("Harbour", "Hill")])
    assert stores(site) == {"H1": "Harbour", "H2": "Hill"}
    site.deliver("st/2.csv", [head, gone, gone.replace("H2", "H9")])
    assert stores(site) == {"H1": "Harbour"}
    facts = ledger.last_facts(site.lake, "silver.stores", "node:silver.stores")
    assert (facts["bronze"], facts["deleted"], facts["superseded"], facts["quarantined"]) == (4, 2, 1, 0)
    assert quality.record_balance("", facts).holds
    site.deliver("st/3.csv", [head, kept.replace("H1", "H2").replace("Harbour", "Hill again")])
    assert stores(site) == {"H1": "Harbour", "H2": "Hill again"}, "a later record brings it back"


def test_a_condition_that_gives_no_truth_is_said(shop: Any) -> None:
    site = shop(stores=STORES.model_copy(update={"deleted": "removed_at"}))
    site.deliver("st/1.csv", ["removed_at,STORE_ID,STORE_NAME", ",H1,Harbour", "2026-03-01 10:00,H2,Hill"])
    said = cli(site, "batch", "list", "stores").output if cli(site, "run", "silver.stores").exit_code else ""
    assert "neither true nor false" in said and "IS NOT NULL" in said
    absent = shop(stores=STORES.model_copy(update={"deleted": "gone"}))
    site.deliver("st/2.csv", ["STORE_ID", "H3"])
    assert "deleted needs file column(s) ['gone']" in " ".join(
        cli(absent, "run", "silver.stores", "--dry-run").output.split()
    )


def test_objects_that_leave_out_the_mark_stand(shop: Any) -> None:
    site = shop(stores=STORES.model_copy(update={"deleted": "__deleted = 'true'"}))
    site.deliver("st/1.jsonl", ['{"STORE_ID": "H1", "STORE_NAME": "Harbour"}', '{"STORE_ID": "H2"}'])
    site.deliver("st/2.jsonl", ['{"STORE_ID": "H2", "__deleted": "true"}', '{"STORE_ID": "H1"}'])
    assert list(stores(site)) == ["H1"]


def test_of_versions_the_newest_decides_and_not_the_delivery(shop: Any) -> None:
    site = shop(people=PEOPLE.model_copy(update={"deleted": "op = 'd'"}))
    head = "op,CUSTOMER_ID,FIRST_NAME,LAST_UPDATED_DATE"

    def names() -> list[str]:
        assert cli(site, "run", "silver.customer_records").exit_code == 0
        return site.lake.scan("silver.customer_records").collect().sort("first_name")["first_name"].to_list()

    site.deliver("crm/1.csv", [head, "c,K1,Ada,2026-01-01", "c,K2,Bo,2026-01-01", "d,K1,,2026-03-01"])
    assert names() == ["Bo"]
    site.deliver("crm/2.csv", [head, "u,K1,Ada late,2026-02-01"])
    assert names() == ["Bo"], "an older version that comes late stays deleted"
    site.deliver("crm/3.csv", [head, "u,K1,Ada anew,2026-04-01"])
    assert names() == ["Ada anew", "Bo"]


def test_a_deletion_may_hold_its_key_alone(shop: Any) -> None:
    """As change logs write it that keep no image of the row before: no version, no required column, typed flags."""
    site = shop(people=PEOPLE.model_copy(update={"deleted": "removed_at IS NOT NULL"}))
    site.landing.joinpath("crm").mkdir(parents=True)
    columns = {
        "CUSTOMER_ID": pl.Int64,
        "FIRST_NAME": pl.String,
        "LAST_UPDATED_DATE": pl.Datetime,
        "removed_at": pl.Datetime,
    }
    moment = [datetime(2026, 1, day) for day in range(1, 5)]

    def deliver(name: str, *rows: tuple[Any, ...]) -> list[str]:
        pl.DataFrame(rows, schema=columns, orient="row").write_parquet(site.landing / "crm" / name)
        assert cli(site, "run", "silver.customer_records").exit_code == 0
        return sorted(site.lake.scan("silver.customer_records").collect()["first_name"])

    assert deliver("1.parquet", (1, "Ada", moment[2], None), (2, "Bo", moment[2], None)) == ["Ada", "Bo"]
    assert deliver("2.parquet", (1, None, None, moment[3])) == ["Bo"]
    assert deliver("3.parquet", (1, "Ada late", moment[1], None)) == ["Bo"]
    assert deliver("4.parquet", (1, "Ada anew", moment[3], None)) == ["Ada anew", "Bo"]


# ---- files of deletions alone


TILL = Files(table="bronze.transactions", system="SHOP", path="till/*")
SALE = "TRANSACTION_ID,CHANNEL,TRANSACTION_DATE,TRANSACTION_TYPE,TOTAL_AMOUNT,TRANSACTION_STATUS"
ORDERS = {
    "TRANSACTION_ID": "id", "CHANNEL": "'ECOMMERCE'", "TRANSACTION_DATE": "created_at", "TOTAL_AMOUNT": "total.amount",
    "TRANSACTION_TYPE": "'PURCHASE'", "TRANSACTION_STATUS": "upper(status)",
}  # fmt: skip


LINES = Files(table="bronze.transaction_items", system="SHOP", path="lines/*")


def test_lines_of_a_deleted_order_stay_and_are_worth_nothing(shop: Any) -> None:
    """A change log says that an order is gone, and nothing of its lines: these are orphans until they are deleted, too,
    nobody's, and move no money; an order that comes back has its lines again."""
    marked = {"deleted": "op = 'd'"}
    site = shop(till=TILL.model_copy(update=marked), lines=LINES.model_copy(update=marked))
    head, line = "op," + SALE + ",CUSTOMER_ID", "op,TRANSACTION_ID,ITEM_ID,PRODUCT_ID,QUANTITY,TOTAL_PRICE"
    sale = ",WEB,2026-03-01T10:00:00,PURCHASE,12.00,COMPLETED,K1"

    def after(**delivered: list[str]) -> list[tuple[Any, ...]]:
        for name, rows in delivered.items():
            folder, _, number = name.rpartition("_")
            site.deliver(f"{folder}/{number}.csv", rows)
        assert cli(site, "run", "silver.transaction_items").exit_code in (0, LOST)
        rows = site.lake.scan("silver.transaction_items").sort("item_id").collect()
        return rows.select("item_id", "is_orphan", "is_sale", pl.col("gross_amount").cast(pl.Float64)).rows()

    bought = [("1", False, True, 5.0), ("2", False, True, 7.0)]
    assert after(till_1=[head, "c,T1" + sale], lines_1=[line, "c,T1,1,P1,1,5.00", "c,T1,2,P2,1,7.00"]) == bought
    alone = [("1", True, False, 0.0), ("2", True, False, 0.0)]
    assert after(till_2=[head, "d,T1,,,,,,"]) == alone
    subjects = site.lake.scan("silver.transaction_items").select("subject_id", "person_id").collect()
    assert subjects["person_id"].null_count() == 2
    assert after(lines_2=[line, "d,T1,2,,,"]) == alone[:1]
    assert after(till_3=[head, "u,T1" + sale]) == bought[:1]


def receipts(site: Any) -> dict[str, int]:
    """What stands, after a run that lost nothing."""
    planned = cli(site, "run", "silver.transactions", "--dry-run")
    assert not any(word in planned.output for word in ("error", "warning", "needs", "lack")), planned.output
    ran = cli(site, "run", "silver.transactions")
    assert ran.exit_code == 0, ran.output
    rows = site.lake.scan("silver.transactions").select("transaction_id", "total_amount").collect().rows()
    return {key: int(amount) for key, amount in sorted(rows)}


def sale(key: int, **beside: Any) -> str:
    made = {"id": key, "created_at": "2026-03-02T09:30:00Z", "total": {"amount": "10.00"}, "status": "completed"}
    return json.dumps(made | beside)


@pytest.mark.parametrize(
    ("condition", "gone"),
    [
        ("deleted", '{"id": 2, "deleted": true}'),
        ("created_at IS NULL", '{"id": 2}'),
        ("topic = 'orders/delete'", '{"topic": "orders/delete", "id": 2}'),
        ("op = 'd'", '{"op": "d", "before": {"id": 2}}'),
        ("op = 'd' OR meta.gone = 'true'", '{"id": "2", "meta": {"gone": true, "by": "clerk"}, "op": null}'),
    ],
)
def test_a_file_of_objects_that_are_all_deletions_names_their_keys_alone(shop: Any, condition: str, gone: str) -> None:
    mapping = ORDERS | {"TRANSACTION_ID": "COALESCE(id, before.id)"}
    site = shop(till=TILL.model_copy(update={"mapping": mapping, "deleted": condition}))
    site.deliver("till/1.jsonl", [sale(n, before=None) for n in (1, 2, 3)])
    assert receipts(site) == {"1": 10, "2": 10, "3": 10}
    site.deliver("till/2.json", [gone])
    assert receipts(site) == {"1": 10, "3": 10}
    facts = ledger.last_facts(site.lake, "bronze.transactions", "batch:till")
    assert (facts["read"], facts["landed"], facts["dead"], facts.get("refused", 0)) == (1, 1, 0, 0)
    site.deliver("till/3.jsonl", [sale(2, before=None)])
    assert receipts(site) == {"1": 10, "2": 10, "3": 10}, "a later record brings it back"


@pytest.mark.parametrize("mapping", [{}, {"TRANSACTION_ID": "TRANSACTION_ID", "TRANSACTION_DATE": "TRANSACTION_DATE"}])
def test_a_table_of_deletions_alone_has_the_columns_of_the_key_and_the_condition(
    shop: Any, mapping: dict[str, str]
) -> None:
    site = shop(till=TILL.model_copy(update={"mapping": mapping, "deleted": "op = 'd'", "where": "shop = 'A'"}))
    row = "POS,2026-03-02T09:30:00Z,PURCHASE,10,COMPLETED,u,A"
    site.deliver("till/1.csv", [f"{SALE},op,shop", f"R1,{row}", f"R2,{row}"])
    site.deliver("till/2.csv", ["TRANSACTION_ID,op,shop", "R2,d,A", "R9,d,A", "R1,d,B"])
    assert receipts(site) == {"R1": 10}
    site.deliver("till/3.csv", ["TRANSACTION_ID,op,shop", "R1,d,A"])
    assert receipts(site) == {}


@pytest.mark.parametrize("mapping", [{}, {"STORE_ID": "code", "STORE_NAME": "name", "CITY": "town", "REGION": "kind"}])
def test_deleted_stores_of_which_nothing_is_told_but_their_key(
    shop: Any, mapping: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    site = shop(stores=STORES.model_copy(update={"mapping": mapping, "deleted": "gone"}))
    head = ",".join(mapping.values()) or "STORE_ID,STORE_NAME,CITY,REGION"
    site.deliver("st/1.csv", [f"{head},gone", "H1,Harbour,Bremen,x,false", "H2,Hill,Bremen,x,false"])
    assert stores(site) == {"H1": "Harbour", "H2": "Hill"}
    site.deliver("st/2.csv", [f"{head.split(',')[0]},gone", "H2,true"])
    caplog.clear()
    assert stores(site) == {"H1": "Harbour"}
    assert not [r.message for r in caplog.records if "lack" in r.message or "without the column" in r.message]
    site.deliver("st/3.csv", [f"{head.replace('name', 'label').replace('STORE_NAME', 'LABEL')},gone", "H3,x,y,z,false"])
    caplog.clear()
    cli(site, "run", "silver.stores")
    assert "name" in caplog.text.lower(), "columns of the last records are remembered over it"


@pytest.mark.parametrize(
    ("name", "lines", "condition"),
    [
        ("2.csv", ["id,deleted", "2,true", "3,false"], "deleted"),
        ("2.jsonl", ['{"id": 2, "deleted": true}', '{"id": 3}'], "deleted"),
        ("2.csv", ["number,deleted", "2,true"], "deleted"),  # no key
        ("2.jsonl", ['{"number": 2, "deleted": true}'], "deleted"),
        ("2.csv", ["id", "2"], "deleted"),  # nothing says so
        ("2.jsonl", ['{"id": 2, "createdAt": "2026-03-02"}'], "created_at IS NULL"),  # a column of a new name
    ],
)
def test_other_files_are_asked_for_everything(shop: Any, name: str, lines: list[str], condition: str) -> None:
    site = shop(till=TILL.model_copy(update={"mapping": ORDERS, "deleted": condition}))
    site.deliver("till/1.jsonl", [sale(1, deleted=False), sale(2), sale(3)])
    receipts(site)
    site.deliver(f"till/{name}", lines)
    assert "error" in cli(site, "run", "silver.transactions", "--dry-run").output
    assert cli(site, "run", "silver.transactions").exit_code
    assert site.lake.scan("silver.transactions").select(pl.len()).collect().item() == 3
    facts = ledger.last_facts(site.lake, "bronze.transactions", "batch:till")
    assert (facts["landed"], facts["dead"], facts["failed"]) == (0, 1, 1)


def test_a_record_that_is_no_deletion_far_down_is_refused_alone(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from customer360.platform.sources.formats import text

    monkeypatch.setattr(text, "BLOCK", 64)
    site = shop(till=TILL.model_copy(update={"mapping": ORDERS, "deleted": "deleted"}))
    site.deliver("till/1.jsonl", [sale(n) for n in range(1, 41)])
    assert len(receipts(site)) == 40
    rows = [f"{n},{str(n != 30).lower()}" for n in range(1, 40)]
    site.deliver("till/2.csv", ["id,deleted", *rows])
    assert cli(site, "run", "silver.transactions").exit_code in (0, LOST)
    kept = site.lake.scan("silver.transactions").select("transaction_id").collect()["transaction_id"]
    assert sorted(kept) == ["30", "40"]
    facts = ledger.last_facts(site.lake, "bronze.transactions", "batch:till")
    assert (facts["read"], facts["landed"], facts["dead"]) == (39, 38, 1)
    letter = site.lake.scan("quality.dead_letters").collect().row(0, named=True)
    assert "no deletion" in letter["reason"] and json.loads(letter["raw"]) == {"id": "30", "deleted": "false"}
    objects = [json.dumps({"id": n, "deleted": True}) for n in range(1, 30)]
    site.deliver("till/3.jsonl", [*objects, sale(30, total={"amount": "12.00"})])
    assert cli(site, "run", "silver.transactions").exit_code == 0
    assert receipts(site) == {"30": 12, "40": 10}, "objects may bring what others left out"


# ---- snapshots


SNAPSHOT = STORES.model_copy(update={"mode": "snapshot"})
HEAD = "STORE_ID,STORE_NAME"


def snapshot(*keys: str) -> list[str]:
    return [HEAD, *(f"{key},Store {key}" for key in keys)]


def test_what_the_newest_snapshot_lacks_is_deleted_until_it_comes_back(shop: Any) -> None:
    site = shop(stores=SNAPSHOT)
    site.deliver("st/all.csv", snapshot("H1", "H2", "H3"))
    assert list(stores(site)) == ["H1", "H2", "H3"]
    site.deliver("st/all.csv", snapshot("H1", "H3"))
    assert list(stores(site)) == ["H1", "H3"]
    facts = ledger.last_facts(site.lake, "silver.stores", "node:silver.stores")
    assert (facts["deleted"], facts["duplicates"]) == (1, 2) and quality.record_balance("", facts).holds
    site.deliver("st/all.csv", snapshot("H1", "H2", "H3"))
    assert list(stores(site)) == ["H1", "H2", "H3"]
    assert cli(site, "run", "silver.stores", "--full-refresh", "silver.stores").exit_code == 0
    assert list(stores(site)) == ["H1", "H2", "H3"]


def test_of_several_snapshots_of_a_batch_the_order_of_delivery_decides(shop: Any) -> None:
    site = shop(stores=SNAPSHOT)
    site.deliver("st/day9.csv", snapshot("H1", "H2", "H3"))
    site.deliver("st/day10.csv", snapshot("H1", "H3", "H4"))
    assert list(stores(site)) == ["H1", "H3", "H4"]


def test_the_parts_of_a_snapshot_are_one(shop: Any) -> None:
    site = shop(stores=SNAPSHOT.model_copy(update={"parts": True}))
    site.deliver("st/1-north.csv", snapshot("H1", "H2"))
    site.deliver("st/1-south.csv", snapshot("H3", "H4"))
    assert list(stores(site)) == ["H1", "H2", "H3", "H4"]
    site.deliver("st/2-north.csv", snapshot("H1"))
    site.deliver("st/2-south.csv", snapshot("H3", "H4"))
    assert list(stores(site)) == ["H1", "H3", "H4"]


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (snapshot(), "would delete 3 of 3: it is empty"),
        (snapshot("H1"), "would delete 2 of 3, more than `may_delete` allows"),
        ([*snapshot("H1", "H2"), "H3,a,b,c"], "would delete 1 of 3, but 1 of its records could not be read"),
        ([*snapshot("H1", "H2"), ",Store H3"], "would delete 1 of 3, but 1 of its records could not be read"),
    ],
)
def test_a_snapshot_that_cannot_be_trusted_deletes_nothing_until_it_is_confirmed(
    shop: Any, lines: list[str], why: str
) -> None:
    site = shop(stores=SNAPSHOT)
    site.deliver("st/all.csv", snapshot("H1", "H2", "H3"))
    stores(site)
    site.deliver("st/all.csv", lines)
    assert list(stores(site)) == ["H1", "H2", "H3"]
    listed = " ".join(cli(site, "batch", "list", "stores").output.split())
    assert "held" in listed and why in " ".join(ledger.outcomes(site.lake, "stores")[2].inputs[0].snapshot.split())
    assert "sticks: stores #2 held" in cli(site, "status").output
    assert cli(site, "batch", "confirm", "stores", "1").exit_code == 1
    assert cli(site, "batch", "confirm", "stores", "2").exit_code == 0
    keys = [line.split(",")[0] for line in lines[1:] if not line.startswith((",", "H3"))]
    assert list(stores(site)) == keys
    assert "sticks" not in cli(site, "status").output


def test_an_unreadable_snapshot_is_none_and_a_later_one_answers_a_held_one(shop: Any) -> None:
    site = shop(stores=SNAPSHOT)
    site.deliver("st/all.csv.gz", snapshot("H1", "H2", "H3"))
    stores(site)
    (site.landing / "st/all.csv.gz").write_bytes(b"\x1f\x8b\x08\x00 no gzip")
    cli(site, "run", "silver.stores")
    assert list(pl.read_delta(site.lake.uri("silver.stores"))["store_id"].sort()) == ["H1", "H2", "H3"]
    site.deliver("st/all.csv.gz", snapshot("H2"))
    assert list(stores(site)) == ["H1", "H2", "H3"]
    site.deliver("st/all.csv.gz", snapshot("H2", "H3"))
    assert list(stores(site)) == ["H2", "H3"]
    assert "held" not in cli(site, "status").output


def test_a_snapshot_that_is_dropped_takes_its_deletions_back(shop: Any) -> None:
    site = shop(stores=SNAPSHOT)
    site.deliver("st/all.csv", snapshot("H1", "H2", "H3"))
    stores(site)
    site.deliver("st/all.csv", snapshot("H1", "H2"))
    assert list(stores(site)) == ["H1", "H2"]
    assert cli(site, "batch", "drop", "stores", "2", "--ignore").exit_code == 0
    assert list(stores(site)) == ["H1", "H2", "H3"]


def test_a_deleted_account_leaves_its_person_and_keeps_its_facts(shop: Any) -> None:
    till = Files(table="bronze.transactions", system="CRM", path="till/*")
    site = shop(people=PEOPLE.model_copy(update={"deleted": "op = 'd'"}), till=till)
    head = "op,CUSTOMER_ID,FIRST_NAME,LAST_NAME,EMAIL_ADDRESS,DATE_OF_BIRTH,LAST_UPDATED_DATE"
    ada = "Ada,Byron,ada@x.example,1990-01-01,2026-01-01"
    site.deliver("crm/1.csv", [head, f"c,K1,{ada}", f"c,K2,{ada}"])
    sales = [f"R{n},K{n},POS,2026-03-02T09:30:00Z,PURCHASE,10,COMPLETED" for n in (1, 2)]
    site.deliver("till/1.csv", ["TRANSACTION_ID,CUSTOMER_ID,CHANNEL,TRANSACTION_DATE,TRANSACTION_TYPE,TOTAL_AMOUNT,TRANSACTION_STATUS", *sales])  # fmt: skip # noqa: E501

    def whose() -> dict[str, tuple[str, str | None]]:
        assert cli(site, "run", "silver.transactions").exit_code == 0
        rows = site.lake.scan("silver.transactions").select("customer_id", "subject_id", "person_id").collect().rows()
        return {account: (subject, person) for account, subject, person in rows}

    before = whose()
    assert before["K1"] == before["K2"] and before["K1"][1]
    site.deliver("crm/2.csv", [head, "d,K1,,,,,2026-02-01"])
    assert whose() == {"K1": ("a:CRM/K1", None), "K2": before["K2"]}
    site.deliver("crm/3.csv", [head, "d,K2,,,,,2026-02-01"])
    assert whose() == {"K1": ("a:CRM/K1", None), "K2": ("a:CRM/K2", None)}, "and nobody is left to resolve"
    assert site.lake.scan("silver.identities").collect().is_empty()
    site.deliver("crm/4.csv", [head, f"c,K1,{ada.replace('2026-01', '2026-03')}"])
    assert whose()["K1"][1]


def test_a_lake_of_before_deletions_were_kept_goes_on(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from customer360.platform import tables

    site = shop(stores=SNAPSHOT)
    site.deliver("st/all.csv", snapshot("H1", "H2", "H3"))
    older = {c: t for c, t in tables.BRONZE_METADATA.items() if c not in ("_deleted", "_restates")}
    with monkeypatch.context() as before:
        before.setattr(tables, "BRONZE_METADATA", older)
        before.setattr(tables, "_schema_of", tables._schema_of.__wrapped__)  # as it is asked once a process
        site.lake.ensure(tables.by_name("bronze.stores"))
    assert "_deleted" not in pl.read_delta(site.lake.uri("bronze.stores")).columns
    assert list(stores(site)) == ["H1", "H2", "H3"]
    site.deliver("st/all.csv", snapshot("H1", "H3"))
    assert list(stores(site)) == ["H1", "H3"]


def test_a_change_in_its_envelope_that_deletes_needs_no_row_after(shop: Any) -> None:
    def change(op: str, before: dict[str, Any] | None, after: dict[str, Any] | None) -> str:
        source = {"connector": "mysql", "ts_ms": 1_615_928_994_000, "query": None}
        payload = {"before": before, "after": after, "source": source, "op": op, "transaction": None}
        return json.dumps({"schema": {"type": "struct", "optional": False}, "payload": payload})

    mapping = {"STORE_ID": "COALESCE(payload.after.id, payload.before.id)", "STORE_NAME": "payload.after.name"}
    site = shop(stores=STORES.model_copy(update={"deleted": "payload.op = 'd'", "mapping": mapping}))
    site.deliver("st/1.json", [change("c", None, {"id": i, "name": n}) for i, n in ((1, "Harbour"), (2, "Hill"))])
    assert stores(site) == {"1": "Harbour", "2": "Hill"}
    site.deliver("st/2.json", [change("d", {"id": 2}, None)])
    assert cli(site, "run", "silver.stores").exit_code == 0
    assert stores(site) == {"1": "Harbour"}
