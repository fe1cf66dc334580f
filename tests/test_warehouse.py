"""The star of a whole retailer: equal to the lake by count and sum, current when nothing is new, and as fresh as a new
one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from customer360.platform import stars, telemetry

pytestmark = pytest.mark.slow

PEOPLE, DAYS = 34, 60


@pytest.fixture(scope="module")
def loaded(
    site: Callable[..., Any], raw_retailer: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """A site after a run and a load."""
    from customer360.serve import jobs

    made = site(raw_retailer(PEOPLE, DAYS)).copy(tmp_path_factory.mktemp("star") / "site")
    made.run()
    assert not jobs.load_warehouse(made.settings).is_current
    return made


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """A command logs to the error stream that it finds; the one that a test lends it is closed afterwards."""
    before = list(telemetry.log.handlers)
    yield
    telemetry.log.handlers[:] = before


def read(file: Path, statement: str) -> pl.DataFrame:
    with duckdb.connect(str(file), read_only=True) as star:
        return star.sql(statement).pl()


def contents(file: Path) -> dict[str, list[str]]:
    with duckdb.connect(str(file), read_only=True) as star:
        rows = {name: star.execute(f"SELECT t::VARCHAR FROM {name} AS t").fetchall() for name in sorted(stars.LOADS)}
        return {name: sorted(row for (row,) in found) for name, found in rows.items()}


def test_facts_equal_silver_and_gold(loaded: Any) -> None:
    from customer360.serve import jobs

    file, lake = jobs.warehouse_file(loaded.settings), loaded.lake
    sums = "count(*), sum(gross_amount), sum(return_amount), sum(net_amount)"
    wanted = [pl.len(), *(pl.col(c).sum() for c in ("gross_amount", "return_amount", "net_amount"))]
    for fact, source in (("fact_transactions", "silver.transactions"), ("fact_customer_values", "gold.customer_360")):
        there = lake.scan(source).select(wanted).collect().row(0)
        assert read(file, f"SELECT {sums} FROM customer.{fact}").row(0) == there, fact
        assert there[0] > 0 and there[3] > 0


def test_a_second_load_changes_nothing_and_says_so(loaded: Any) -> None:
    from typer.testing import CliRunner

    from customer360.serve import jobs
    from customer360.serve.cli import app

    before = jobs.warehouse_file(loaded.settings).read_bytes()
    config = loaded.root / "config.json"
    config.write_text(loaded.settings.model_dump_json())
    said = CliRunner().invoke(app, ["warehouse", "load", "--config", str(config)])
    assert said.exit_code == 0, said.output
    assert jobs.warehouse_file(loaded.settings).read_bytes() == before
    shown = jobs.load_warehouse(loaded.settings)
    assert shown.is_current and all(check.holds for check in shown.checks)


def test_the_commands_show_the_star_and_query_it(loaded: Any, capfd: pytest.CaptureFixture[str]) -> None:
    from typer.testing import CliRunner

    from customer360.serve.cli import app

    config = loaded.root / "config.json"
    config.write_text(loaded.settings.model_dump_json())
    asked = "SELECT count(*) AS n FROM customer.fact_transactions JOIN customer.dim_dates USING (date_key) WHERE year = 2026"  # noqa: E501
    answer = CliRunner().invoke(app, ["sql", asked, "--format", "table", "--config", str(config)])
    assert answer.exit_code == 0, answer.output
    in_lake = loaded.lake.scan("silver.transactions").filter(pl.col("occurred_on").dt.year() == 2026).collect().height
    assert int(re.findall(r"│\s+(\d+) │", answer.output)[0]) == in_lake > 0
    assert CliRunner().invoke(app, ["warehouse", "status", "--config", str(config)]).exit_code == 0
    script = CliRunner().invoke(app, ["warehouse", "ddl", "--dialect", "snowflake"]).output
    assert script.count("CREATE TABLE") == len(stars.LOADS) and script.count("CLUSTER BY") == len(stars.LOADS)


def test_after_another_delivery_a_load_gives_what_a_new_file_holds(loaded: Any, tmp_path: Path) -> None:
    from customer360.platform.warehouse.load import load
    from customer360.serve import jobs

    site = loaded.copy(tmp_path / "site")
    source = sorted((site.landing / "pos/transactions").glob("*.csv"))[0]
    header, first, *_ = source.read_text().splitlines()
    site.deliver("pos/transactions/later.csv", [header, re.sub(r"^T\d", "T9", first)])
    site.run()
    report = {t.table: t for t in jobs.load_warehouse(site.settings).tables}
    facts = report["customer.fact_transactions"]
    assert (facts.loaded, facts.changed) == (1, 1) and facts.parts > 1  # one bucket, one row
    assert report["customer.dim_products"].changed == 0 and report["customer.dim_dates"].state == "current"
    load(site.lake, tmp_path / "fresh.duckdb")
    assert contents(tmp_path / "fresh.duckdb") == contents(jobs.warehouse_file(site.settings))
