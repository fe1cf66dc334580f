"""One row of many records, delivered as retailers deliver: months apart, split, mended, by the log of a shop."""

from __future__ import annotations

import logging
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from customer360.platform import ledger, quality
from customer360.platform.settings import find

HEAD = "Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country"


@pytest.fixture
def log(site: Callable[..., Any], tmp_path: Path) -> Any:
    """The configuration of the public log Online Retail II, without its files."""
    return site(tmp_path, find("online_retail.yaml"))


def line(invoice: str, code: str, day: str, price: str, buyer: str = "17001", units: int = 1) -> str:
    return f"{invoice},{code},Mug,{units},{day} 10:00:00,{price},{buyer},France"


def run(site: Any, *words: str) -> str:
    from customer360.serve import cli

    config = site.root / "config.json"  # JSON is YAML
    config.write_text(site.settings.model_dump_json())
    handlers = list(logging.getLogger("customer360").handlers)
    result = CliRunner().invoke(cli.app, [*(words or ("run", "silver.transaction_items")), "--config", str(config)])
    logging.getLogger("customer360").handlers[:] = handlers
    assert result.exit_code == 0, result.output
    for name in site.settings.sources:
        assert all(quality.batch_balance("", o.facts).holds for o in ledger.outcomes(site.lake, name).values())
    return result.output


def totals(site: Any) -> dict[str, Decimal]:
    rows = site.lake.scan("silver.transactions").select("transaction_id", "total_amount").collect().rows()
    return dict(sorted(rows))


def test_an_invoice_over_two_files_is_the_sum_of_its_lines(log: Any) -> None:
    log.deliver("a.csv", [HEAD, line("1", "AA", "2010-12-01", "5", units=2), line("2", "BB", "2010-12-01", "7")])
    log.deliver("b.csv", [HEAD, line("2", "CC", "2010-12-01", "30")])
    run(log)
    assert totals(log) == {"1": 10, "2": 37}
    log.deliver("c.csv", [HEAD, line("2", "DD", "2010-12-01", "3"), line("3", "AA", "2011-06-01", "5")])
    run(log)
    assert totals(log) == {"1": 10, "2": 40, "3": 5}
    (buyer,) = log.lake.scan("silver.customer_records").collect().to_dicts()
    assert str(buyer["registered_on"]) == "2010-12-01" and str(buyer["last_updated_at"])[:10] == "2011-06-01"
    lines = log.lake.scan("silver.transaction_items").collect()["total_price"].sum()
    assert lines == sum(totals(log).values())


def test_a_mended_file_replaces_its_lines_and_a_copy_is_no_news(log: Any) -> None:
    log.deliver("a.csv", [HEAD, line("1", "AA", "2010-12-09", "5"), line("1", "BB", "2010-12-09", "500")])
    log.deliver("b.csv", [HEAD, line("1", "CC", "2010-12-01", "1")])
    run(log)
    log.deliver("a.csv", [HEAD, line("1", "AA", "2010-12-09", "5"), line("1", "BB", "2010-12-09", "50")])
    run(log)
    assert totals(log) == {"1": 56}
    (log.landing / "a.csv").touch()
    run(log)
    assert totals(log) == {"1": 56}
    run(log, "run", "silver.transaction_items", "--reland", "invoices")
    assert totals(log) == {"1": 56}


def test_a_batch_that_is_dropped_leaves_its_groups(log: Any) -> None:
    log.deliver("a.csv", [HEAD, line("1", "AA", "2010-12-09", "5")])
    run(log)
    log.deliver("b.csv", [HEAD, line("1", "BB", "2010-12-09", "50"), line("2", "BB", "2010-12-09", "50")])
    run(log)
    assert totals(log) == {"1": 55, "2": 50}
    run(log, "batch", "drop", "invoices", "2", "--ignore")
    run(log)
    assert totals(log) == {"1": 5}
