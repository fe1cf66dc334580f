"""Upkeep by command: under the run lock, on what is stored, within what is promised."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from customer360.platform import tables
from customer360.platform.errors import ContractError, LakeError, LakeLocked
from customer360.platform.lake import Lake
from customer360.serve.cli import app
from customer360.serve.compose import compose

NAME = "bronze.stores"


@pytest.fixture
def stored(lake: Lake) -> Lake:
    """A lake with three batches of stores."""
    compose()
    contract = tables.by_name(NAME)
    lake.ensure(contract)
    wanted = tables.schema(contract)
    for seq in range(1, 4):
        row = dict.fromkeys(wanted) | {
            "STORE_ID": f"S{seq}",
            "_source": "erp",
            "_seq": seq,
            "_ingested_at": datetime(2026, 1, seq, tzinfo=UTC),
        }
        add = lake.write_file(NAME, pl.DataFrame([row], schema=wanted), {"_source": "erp"})
        lake.append_batch(NAME, [add], source="erp", seq=seq)
    return lake


def customer360(lake: Lake, *words: str, typed: str | None = None) -> Any:
    environment = {
        "CUSTOMER360__LAKE__ROOT": lake.root,
        "CUSTOMER360__LAKE__BUCKETS": "4",
        "CUSTOMER360__STATE": f"{lake.root}-state",
    }
    return CliRunner().invoke(app, ["lake", *words], env=environment, input=typed)


def parquet(lake: Lake) -> list[Path]:
    return sorted(Path(lake.uri(NAME)).rglob("*.parquet"))


def test_bronze_is_folded(stored: Lake) -> None:
    before = stored.scan(NAME).sort("STORE_ID").collect()
    assert "Would fold" in customer360(stored, "compact", "--dry-run").output
    assert len(stored.files(NAME)) == 3
    said = customer360(stored, "compact")
    assert said.exit_code == 0 and NAME in said.output
    assert len(stored.files(NAME)) == 1 and stored.scan(NAME).sort("STORE_ID").collect().equals(before)


def test_what_builds_write_is_not_folded(stored: Lake) -> None:
    refused = customer360(stored, "compact", NAME, "silver.stores")
    assert refused.exit_code == 2 and "silver.stores" in refused.output
    assert len(stored.files(NAME)) == 3


def test_folded_files_stay_for_a_month_unless_less_is_asked_for(stored: Lake) -> None:
    customer360(stored, "compact")
    assert len(parquet(stored)) == 4
    done = customer360(stored, "vacuum", "--yes")
    assert done.exit_code == 0 and "0 files, 0 bytes of 1 tables freed" in done.output
    refused = customer360(stored, "vacuum", "--retention-days", "6", "--yes")
    assert isinstance(refused.exception, LakeError) and "last 7 days" in str(refused.exception)
    assert len(parquet(stored)) == 4


def test_deleting_asks_first_and_a_dry_run_does_not(stored: Lake) -> None:
    assert customer360(stored, "vacuum", typed="n\n").exit_code == 1
    assert "would be freed" in customer360(stored, "vacuum", "--dry-run").output


@pytest.mark.parametrize("words", [("compact",), ("vacuum", "--yes")])
def test_upkeep_keeps_out_of_a_run(stored: Lake, words: tuple[str, ...]) -> None:
    with stored.run_lock("run 1"):
        assert isinstance(customer360(stored, *words).exception, LakeLocked)


def test_an_unknown_table_is_refused(stored: Lake) -> None:
    assert isinstance(customer360(stored, "vacuum", "bronze.storse", "--yes").exception, ContractError)
