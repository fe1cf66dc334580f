"""Lineage over a whole retailer, by command: a value back to records of files, a file forward, versions, an erasure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from customer360.platform import audit
from customer360.platform.errors import GraphError, LakeError
from customer360.platform.lake import Lake
from customer360.platform.privacy import MASK
from customer360.serve import jobs, lineage
from customer360.serve.cli import app
from customer360.serve.compose import compose, state_folder

pytestmark = pytest.mark.slow
PEOPLE, DAYS, SEED = 34, 60, 5


@dataclass
class Case:
    """A retailer that ran once, the settings file by which commands find it, and one of its customers."""

    site: Any
    config: Path
    person: str
    sale: dict[str, Any]

    def said(self, *words: str) -> dict[str, Any]:
        done = CliRunner().invoke(app, [*words, "--json", "-c", str(self.config)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return json.loads(done.output.splitlines()[-1])


@pytest.fixture(scope="module")
def case(
    site: Callable[..., Any], raw_retailer: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Case]:
    made = site(raw_retailer(PEOPLE, DAYS, SEED)).copy(tmp_path_factory.mktemp("lineage") / "site")
    made.run()
    sales = made.lake.scan("silver.transactions").filter(pl.col("person_id").is_not_null()).collect()
    (sale,) = sales.sort("transaction_id").head(1).to_dicts()
    config = made.root / "site.yaml"
    config.write_text(json.dumps(made.settings.model_dump(mode="json", exclude={"micro_batches"})))
    yield Case(made, config, sale["person_id"], sale)


def test_a_persons_value_is_followed_to_records_of_files(case: Case) -> None:
    found = case.said("lineage", "--person", case.person, "--column", "gross_amount")
    assert found["rows"][0]["person_id"] == case.person
    files = {(f["table"], f["_source"], f["_file"]): f["positions"] for f in found["files"]}
    bronze = case.site.lake.scan("bronze.transactions").filter(
        pl.col("TRANSACTION_ID") == case.sale["transaction_id"],
        pl.col("_source_system") == case.sale["source_system"],
    )
    for source, file, position in bronze.select("_source", "_file", "_position").collect().rows():
        assert (
            position in files["bronze.transactions", source, file]
            or len(files["bronze.transactions", source, file]) == lineage.SHOWN_POSITIONS
        )
    assert "silver.transactions.gross_amount" in found["columns"]


def test_names_are_masked_and_the_reading_is_noted(case: Case) -> None:
    shown = case.said("lineage", "--person", case.person)["rows"][0]
    assert shown["last_name"] in (MASK, None)
    last = list(audit.entries(state_folder(case.site.settings)))[-1]
    assert (last["asked"], last["person"]) == ("lineage gold.customer_360", case.person)
    seen = case.said("lineage", "--person", case.person, "--personal")["rows"][0]
    assert seen["last_name"] not in (MASK, None)
    assert list(audit.entries(state_folder(case.site.settings)))[-1]["asked"].endswith("--personal")


def test_a_file_is_followed_forward(case: Case) -> None:
    lake = case.site.lake
    record = lake.scan("bronze.transactions").filter(pl.col("TRANSACTION_ID") == case.sale["transaction_id"])
    source, seq, file = record.select("_source", "_seq", "_file").collect().row(0)
    found = case.said("blast-radius", file)
    assert (found["delivered"][0]["source"], found["delivered"][0]["seq"]) == (source, seq)
    landed = lake.scan("bronze.transactions").filter(pl.col("_file") == file).select(pl.len()).collect().item()
    assert found["landed"]["bronze.transactions"] == landed
    reached = {t["table"]: t["rows"] for t in found["tables"]}
    assert reached["gold.customer_360"] == found["persons"] > 0
    assert reached["silver.transactions"] > 0
    assert "customer.fact_transactions" in found["warehouse"]
    assert next(f"customer360 batch drop {source} {seq}" in command for command, _ in found["remedies"])


def test_every_version_of_a_sale(case: Case) -> None:
    found = case.said("history", "silver.transactions", case.sale["transaction_id"], case.sale["source_system"])
    assert found["delivered"][-1]["state"] == "current"
    assert found["delivered"][-1]["values"]["CUSTOMER_ID"] in (MASK, None)
    asked = [line["asked"] for line in audit.entries(state_folder(case.site.settings))]
    key = f"TRANSACTION_ID={case.sale['transaction_id']} _source_system={case.sale['source_system']}"
    assert f"history bronze.transactions {key}" in asked, "whose record was read, also where no person is known"
    assert next(v["state"] for v in found["stored"]) == "stored"


def test_personal_parts_of_a_key_stand_in_the_audit_as_digests_of_this_lake_alone(tmp_path: Path) -> None:
    compose()
    key = {"TRANSACTION_ID": "T-1", "CUSTOMER_ID": "C-1"}
    lakes = [Lake(str(tmp_path / name), 2) for name in ("one", "other")]
    first, again, other = (lineage._named(lake, "bronze.transactions", key) for lake in (*lakes[:1] * 2, lakes[1]))
    assert first.startswith("TRANSACTION_ID=T-1 CUSTOMER_ID=digest:") and "C-1" not in first
    assert first == again != other, "who has the audit alone cannot try all account numbers"


def test_what_is_not_there_is_said(case: Case) -> None:
    settings = case.site.settings
    with pytest.raises(LakeError, match=r"silver\.transactions has no row with transaction_id = T-no"):
        lineage.trace(settings, "silver.transactions", ["T-no"])
    with pytest.raises(GraphError, match=r"did you mean churn_probability"):
        lineage.columns_behind(settings, "gold.customer_360", "churn_probabilty")
    assert lineage.parted("gold.customer_360.net_amount") == ("gold.customer_360", "net_amount")
    assert lineage.parted("gold.customer_360") == ("gold.customer_360", None)
    done = CliRunner().invoke(app, ["history", "bronze.transactions", "T-no", "-c", str(case.config)])
    assert (done.exit_code, "nothing is, or was, known of T-no" in done.output) == (1, True)


def test_events_of_a_run_are_made_again_and_delivered(case: Case) -> None:
    again = [list(lineage.events(case.site.settings, None)) for _ in range(2)]
    assert again[0] == again[1]
    kinds = [e["eventType"] for e in again[0]]
    assert (kinds[0], kinds[-1], kinds.count("FAIL")) == ("START", "COMPLETE", 0)
    file = case.site.root / "events.ndjson"
    told = case.site.settings.model_copy(
        update={"openlineage": case.site.settings.openlineage.model_copy(update={"file": str(file)})}
    )
    assert lineage.deliver(told, again[0]) == len(file.read_text().splitlines())
    with pytest.raises(LakeError, match="there is no run nope in the ledger"):
        lineage.events(case.site.settings, "nope")


def test_nothing_of_an_erased_person_is_left_in_any_version(case: Case) -> None:
    """The last test: it erases the case's customer."""
    settings, sale = case.site.settings, case.sale
    key = [sale["transaction_id"], sale["source_system"]]
    accounts = case.site.lake.scan("silver.identities").filter(pl.col("person_id") == case.person).collect()
    jobs.erase(settings, case.person)
    delivered, stored, _ = lineage.versions(settings, "silver.transactions", key)
    assert all(v.values["CUSTOMER_ID"] is None for v in delivered), "the money stays, and is nobody's"
    assert all(v.values["person_id"] is None for v in stored)
    for account in accounts["record_id"]:
        system, _, number = account.partition("/")
        assert lineage.versions(settings, "bronze.customers", [number, system])[0] == []
    assert lineage.versions(settings, "gold.customer_360", [case.person])[:2] == ([], [])
